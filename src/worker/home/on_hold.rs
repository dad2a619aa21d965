//! Messages that an operator holds, and forgets: what is too old for that is given up, as all else is at its age.
//!
//! Held mail is in no schedule. So while there is any, the messages of the logs are looked through in rounds, a few in each breath.

use super::Home;
use crate::delivery::{Answer, WorkResult};
use crate::env::Instant;
use crate::env::disk::Disk;
use crate::limits::{OVERDUE_LOOKS, OVERDUE_LOOKS_PAUSE, OVERDUE_ROUND_INTERVAL};
use crate::mirror::register::Node;
use crate::mirror::{first_log_of, identity_of_log};
use crate::spool::MessageId;
use crate::worker::exchange::Letter;
use crate::worker::parts::Parts;

/// How far the look-out for the mail of an identity is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    /// When it goes on; none while nothing is held.
    pub at: Option<Instant>,
    /// What was looked at last; none: a round begins.
    after: Option<MessageId>,
    /// This round has met held mail.
    met: bool,
}

impl Home {
    /// A message is held from now on.
    pub(in crate::worker) fn expect_on_hold(&mut self, now: Instant, id: MessageId) {
        self.rounds[identity_of_log(id.log()) as usize].at.get_or_insert(now + OVERDUE_ROUND_INTERVAL);
    }

    /// Gives up a message of an identity that was held for too long. Whether there was one.
    pub(super) fn give_up_on_hold<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, identity: Node) -> bool {
        let (now, round) = (parts.now, &mut self.rounds[identity as usize]);
        if round.at.is_none_or(|at| at > now.mono) {
            return false;
        }
        let queue = &mut self.queues[identity as usize];
        // The messages of its logs stand together.
        let first = MessageId::new(first_log_of(identity), 0).bits();
        let after = round.after.max(first.checked_sub(1).map(MessageId::from_bits));
        let ours =
            parts.logs.messages_after(after).take_while(|message| identity_of_log(message.id().log()) == identity);
        let mut looks = 0;
        for message in ours.take(OVERDUE_LOOKS) {
            let id = message.id();
            round.after = Some(id);
            looks += 1;
            if !message.held() {
                continue;
            }
            round.met = true;
            // What became of it could not be written down.
            let is_sound = parts.logs.get(id).is_some_and(|log| !log.failed() && !log.is_damaged(id));
            if is_sound && self.retry.held_expired(message.received_at(), now.wall) {
                let why = Answer::local((4, 4, 7), "an operator has held it for too long");
                if let Some(result) = queue.give_up(now, &message, why).and_then(|job| job.settled()) {
                    // It has more destinations, perhaps.
                    round.after = after.max(Some(MessageId::from_bits(id.bits() - 1)));
                    let worker = parts.exchange.worker();
                    parts.exchange.send(worker, Letter::Result(WorkResult::Deliver(result)));
                    return true;
                }
            }
        }
        if looks == OVERDUE_LOOKS {
            round.at = Some(now.mono + OVERDUE_LOOKS_PAUSE);
        } else {
            let again = round.met.then_some(now.mono + OVERDUE_ROUND_INTERVAL);
            *round = Round { at: again, ..Round::default() };
        }
        false
    }
}
