//! What a job came to: held while the beginning of its message is read for a notice or there is no room for one, and then
//! written down.

use super::Home;
use crate::delivery::{self, Bounce, Fate, HopPath, JobResult, Verdict};
use crate::env::disk::Disk;
use crate::env::{Instant, Now};
use crate::event::{self, Event};
use crate::flow::Transport;
use crate::limits::{NOTICE_RETRY_DELAY, NOTICE_RETURNED_MAX};
use crate::smtp::dsn::Status;
use crate::smtp::{OwnMessage, domain_of};
use crate::spool::{MessageId, Outcome, Piece, Queued, Reader};
use crate::worker::notice::{self, Original};
use crate::worker::parts::Parts;
use std::time::Duration;

/// A result that waits for the beginning of its message.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) result: JobResult,
    reader: Option<Reader>,
    returned: Vec<u8>,
}

/// How far reading the beginning of a message is.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    Done,
    Pending,
}

impl Home {
    /// A job is over.
    pub(in crate::worker) fn finished<T: Transport, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        mut result: JobResult,
    ) {
        if parts.logs.get(result.id).is_some_and(|log| log.is_damaged(result.id)) {
            // What failed for the damage says nothing about a recipient. Who has it or refused it is settled.
            for (_, fate) in result.fates.iter_mut().filter(|(_, fate)| matches!(fate, Fate::Deferred { .. })) {
                *fate = Fate::Untried;
            }
        }
        let Some(message) = parts.logs.get(result.id).and_then(|log| log.message(result.id)) else {
            self.queue(result.id).discard(parts.now, &result);
            return;
        };
        if let Some(why) = self.schedule_of(result.id).overdue(parts.now, &message, &result) {
            result.fates.iter_mut().for_each(|(_, fate)| *fate = Fate::deferred(why.clone()));
        }
        if !self.may_need_notice(parts.now, &message, &result) {
            self.conclude(parts, &result, None);
            return;
        }
        self.write_down_deliveries(parts, &result);
        let reader = parts.logs.of(result.id).and_then(|log| log.reader(result.id));
        let mut held = Held { result, reader, returned: Vec::new() };
        match read_beginning(parts, &mut held) {
            Reading::Done if self.conclude(parts, &held.result, Some(&held.returned)) => {}
            _ => self.hold(parts.now.mono, held),
        }
    }

    /// What was delivered does not wait for the notice about what was not: else it would be delivered again after a crash.
    fn write_down_deliveries<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, result: &JobResult) {
        let Some(message) = parts.logs.get(result.id).and_then(|log| log.message(result.id)) else { return };
        let verdicts = self.schedule_of(result.id).verdicts(parts.now, &message, result);
        for (verdict, (_, fate)) in verdicts.into_iter().zip(&result.fates) {
            if matches!(verdict.1, Verdict::Delivered { notify_success: false }) {
                self.write_down(parts, result, verdict, fate, None);
            }
        }
    }

    /// Looks at the held results again, all or those of one message: content was read, or there is room in the log.
    pub(super) fn resume<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, only: Option<MessageId>) {
        if only.is_none() {
            self.held_until = None;
        }
        for mut held in std::mem::take(&mut self.held) {
            if only.is_some_and(|id| id != held.result.id) {
                self.held.push(held);
                continue;
            }
            match read_beginning(parts, &mut held) {
                Reading::Done if self.conclude(parts, &held.result, Some(&held.returned)) => {}
                _ => self.hold(parts.now.mono, held),
            }
        }
    }

    fn hold(&mut self, now: Instant, held: Held) {
        self.held_until = Some(now + NOTICE_RETRY_DELAY);
        self.held.push(held);
    }

    /// Results that wait for a disk read or for room.
    pub(in crate::worker) fn held_count(&self) -> usize {
        self.held.len()
    }

    fn may_need_notice(&self, now: Now, message: &Queued<'_>, result: &JobResult) -> bool {
        if message.reverse_path().is_empty() {
            return false;
        }
        let expired = self.retry.expired(message.received_at(), now.wall);
        result.fates.iter().any(|(index, fate)| notice::may_follow(fate, expired, || message.recipient(*index)?.notify))
    }

    /// Writes down what a job came to. `returned`: the beginning of the message, if a notice may follow. False if there is no
    /// room for one that must be written first.
    fn conclude<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, result: &JobResult, returned: Option<&[u8]>) -> bool {
        if parts.logs.get(result.id).is_none_or(|log| log.message(result.id).is_none()) {
            self.queue(result.id).discard(parts.now, result);
            return true;
        }
        let dsn = match returned.and_then(|returned| self.compose_notice(parts, result, returned)) {
            None => None,
            Some(notice) => {
                // In the log that holds the message, so that no crash keeps the outcome and loses the notice.
                let log = parts.logs.of(result.id).expect("it was there above");
                match notice::append(log, parts.now, &notice) {
                    Some(draft) => Some(draft.id),
                    None if log.failed() => {
                        // It is found in the log as it was when the process starts again.
                        self.queue(result.id).discard(parts.now, result);
                        return true;
                    }
                    None => return false,
                }
            }
        };
        let message = parts.logs.get(result.id).and_then(|log| log.message(result.id)).expect("it was there above");
        let verdicts = self.queue(result.id).settle(parts.now, &message, result);
        for (verdict, (_, fate)) in verdicts.into_iter().zip(&result.fates) {
            self.write_down(parts, result, verdict, fate, dsn);
        }
        if parts.logs.get(result.id).is_none_or(|log| log.message(result.id).is_none_or(|message| !message.is_open())) {
            parts.reporter.message(|| Event::Done { id: result.id });
        }
        true
    }

    /// The notice about what a job came to, made before the queue hears of that, since it may have to wait for room.
    fn compose_notice<T, D: Disk>(
        &mut self,
        parts: &Parts<T, D>,
        result: &JobResult,
        beginning: &[u8],
    ) -> Option<OwnMessage> {
        // Nobody shall take two notices about one message for the same: each has a number of its own.
        self.notices += 1;
        let seed = self.seed ^ self.notices.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let message = parts.logs.get(result.id).and_then(|log| log.message(result.id))?;
        let verdicts = self.schedule_of(result.id).verdicts(parts.now, &message, result);
        let is_last_hop = self.schedule_of(result.id).is_last_hop(result);
        let original = Original { message: &message, beginning, is_last_hop, age_max: self.retry.age_max };
        notice::compose(&self.hostname, parts.now, seed, &original, result, &verdicts)
    }

    /// Writes down what came of one recipient, unless that is known already.
    fn write_down<T, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        result: &JobResult,
        (index, verdict): (u32, Verdict),
        fate: &Fate,
        dsn: Option<MessageId>,
    ) {
        let id = result.id;
        let Some(message) = parts.logs.get(id).and_then(|log| log.message(id)) else { return };
        let Some(recipient) = message.recipient(index).filter(|recipient| recipient.state.is_open()) else { return };
        if verdict == Verdict::Busy {
            // It was not part of the transaction. Of damaged content nobody knows that.
            let log = parts.logs.of(id).filter(|log| !log.is_damaged(id));
            return log.into_iter().for_each(|log| log.spared(id, index));
        }
        let Some(answer) = fate.answer() else { return };
        let reply = answer.text.clone();
        let delay = parts.now.wall.since(message.received_at());
        let outcome = match verdict {
            Verdict::Busy => return,
            Verdict::Delivered { .. } => {
                self.counts.delivered += 1;
                crate::worker::record(&mut parts.stages.delivery, delay);
                Outcome::Delivered { reply }
            }
            Verdict::Deferred { attempts, next_attempt_at, .. } => {
                self.counts.deferred += 1;
                Outcome::Deferred { attempts, next_attempt_at, reply }
            }
            Verdict::Bounced { bounce, .. } => {
                self.counts.bounced += 1;
                self.counts.double_bounced += u64::from(message.reverse_path().is_empty());
                match bounce {
                    Bounce::Permanent => Outcome::Bounced { reply },
                    Bounce::Expired => Outcome::Expired { reply },
                }
            }
        };
        let routes = &parts.routes;
        parts.reporter.message(|| {
            let destination = routes.describe(domain_of(recipient.address));
            verdict_event(id, recipient.address.to_owned(), destination, answer, verdict, delay, dsn)
        });
        if let Some(log) = parts.logs.of(id) {
            log.settle(id, index, outcome);
        }
    }
}

/// What the log says of a verdict.
fn verdict_event(
    id: MessageId,
    recipient: String,
    destination: String,
    answer: &delivery::Answer,
    verdict: Verdict,
    delay: Duration,
    dsn: Option<MessageId>,
) -> Event {
    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    let attempt = event::Attempt {
        id,
        recipient,
        destination,
        remote: answer.remote.as_deref().map(str::to_owned),
        tls: answer.tls,
        path: answer.path.clone(),
        reply: answer.text.to_string(),
        queue_ms: HopPath::queue_ms(answer.path.as_deref(), delay_ms),
        delay_ms,
        dsn: dsn.filter(|_| notice::action(&verdict, false).is_some()),
    };
    let reaction = answer.reaction.as_deref().map(str::to_owned);
    let status = Status::new(answer.status.0, answer.status.1, answer.status.2);
    match verdict {
        Verdict::Busy => unreachable!("nothing is written down of what was not tried"),
        Verdict::Delivered { .. } => Event::Delivered(attempt),
        Verdict::Deferred { attempts, next_attempt_at, .. } => {
            Event::Deferred { attempt, status, reaction, attempts, next_attempt_at }
        }
        Verdict::Bounced { bounce: Bounce::Permanent, .. } => Event::Bounced { attempt, status, reaction },
        Verdict::Bounced { bounce: Bounce::Expired, attempts, .. } => Event::Expired { attempt, status, attempts },
    }
}

/// Reads as much of the message as a notice returns.
fn read_beginning<T, D: Disk>(parts: &mut Parts<T, D>, held: &mut Held) -> Reading {
    let Some(reader) = &mut held.reader else { return Reading::Done };
    let Some(log) = parts.logs.of(held.result.id) else { return Reading::Done };
    loop {
        match log.read(reader) {
            Piece::Pending => return Reading::Pending,
            Piece::Ready(bytes) => {
                let count = bytes.len().min(NOTICE_RETURNED_MAX - held.returned.len());
                held.returned.extend_from_slice(&bytes[..count]);
                let all = bytes.len();
                reader.consume(all);
                if held.returned.len() == NOTICE_RETURNED_MAX {
                    break;
                }
            }
            // A notice without the message is better than none.
            Piece::End | Piece::Damaged | Piece::Failed => break,
        }
    }
    if let Some(reader) = held.reader.take() {
        log.close_reader(reader);
    }
    Reading::Done
}
