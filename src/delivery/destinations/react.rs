//! What is done about what a receiver says, besides what it means for the one message.

use super::{Destinations, News};
use crate::delivery::{Answer, Fate, React, WorkResult};
use crate::env::Instant;

impl Destinations {
    /// Does what the table says about the refusals in a result, and changes the fates that it wants changed. Whether the receiver wants
    /// to be spared.
    pub(super) fn react(&mut self, now: Instant, place: usize, host: usize, result: &mut WorkResult) -> bool {
        let WorkResult::Deliver(result) = result else { return false };
        let mut asks = false;
        for index in 0..result.fates.len() {
            let (before, rest) = result.fates.split_at_mut(index);
            let fate = &mut rest[0].1;
            // Recipients that were refused together have the same answer.
            if let Some((_, same)) = before.last().filter(|(_, before)| is_reply_of(before, fate)) {
                *fate = same.clone();
                continue;
            }
            let (Fate::Deferred { answer, .. } | Fate::Failed(answer)) = fate else { continue };
            let react = self.react_to(now, place, host, answer);
            let is_failed = matches!(fate, Fate::Failed(_));
            match react {
                Some(React::BackOff(_) | React::Suspend(_)) => asks = true,
                Some(React::Bounce) if !is_failed => *fate = Fate::Failed(of_class(fate, 5)),
                Some(React::Defer) if is_failed => *fate = Fate::deferred(of_class(fate, 4)),
                Some(React::Bounce | React::Defer) | None => {}
            }
        }
        asks
    }

    /// Does what the table says about an answer, names it there, and says what it was. What would change the fate of a message is
    /// left to the caller, who knows whether there is one.
    pub(super) fn react_to(&mut self, now: Instant, place: usize, host: usize, answer: &mut Answer) -> Option<React> {
        let reaction = self.reactions.to(answer)?;
        let (react, name) = (reaction.react, reaction.name.clone());
        answer.reaction = Some(name.clone());
        let target = &mut self.targets[place];
        let (period, is_new, suspends) = match react {
            React::Bounce | React::Defer => return Some(react),
            React::BackOff(period) => (period, target.hosts[host].spared_until <= now, false),
            React::Suspend(period) => (period, target.suspended(now).is_none(), true),
        };
        let until = now + period;
        target.last_failure = Some(answer.clone());
        if suspends {
            let until = target.suspended(now).map_or(until, |(before, _)| until.max(*before));
            target.suspended = Some((until, answer.clone()));
        } else {
            let spared_until = &mut target.hosts[host].spared_until;
            *spared_until = until.max(*spared_until);
        }
        if is_new {
            let (host, remote) = (target.hosts[host].name.clone(), target.hosts[host].remote);
            let (pool, why) = (target.pool.clone(), answer.clone());
            self.news.push_back(News::Reacted { reaction: name, suspends, host, remote, pool, until, why });
        }
        self.spare(now, place);
        Some(react)
    }

    /// Ends the idle connections of hosts that want to be spared.
    fn spare(&mut self, now: Instant, place: usize) {
        let target = &self.targets[place];
        let is_spared =
            |connection: &super::ConnectionId| target.is_spared(now, self.connections[connection.index as usize].host);
        let spared: Vec<_> = target.idle.iter().copied().filter(is_spared).collect();
        spared.into_iter().for_each(|connection| self.quit(now, connection));
    }
}

/// Whether `fate` is what was said to the one before, whom something was done about.
fn is_reply_of(before: &Fate, fate: &Fate) -> bool {
    let is_refused = matches!(fate, Fate::Deferred { soon: false, .. } | Fate::Failed(_));
    let (Some(one), Some(other)) = (before.answer(), fate.answer()) else { return false };
    is_refused && one.reaction.is_some() && one.reply == other.reply && one.text == other.text
}

/// The answer with a status of this class: what becomes of a message, and not what was said about it.
fn of_class(fate: &Fate, class: u8) -> Answer {
    let mut answer = fate.answer().expect("a fate that a reaction changes has an answer").clone();
    answer.status.0 = class;
    answer
}
