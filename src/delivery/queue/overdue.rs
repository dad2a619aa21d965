//! What waits in vain: lanes that are closed, and the messages that grow too old in lanes that stand still.
//!
//! A lane stands still when its destination takes nothing, when the hosts of its domain are not known yet, when all jobs that
//! it may have are with the owner, and when an operator has said that something in it is not to go out. While any does, and some
//! message may be too old, all entries are looked through in rounds, a few in each breath. What is due there, and beyond its age, is
//! given up; what would have warned its sender of a delay by now is deferred once for that.

use super::{InHand, Key, MessageView, NONE_FORCED, Queue};
use crate::delivery::turns::Class;
use crate::delivery::{Answer, Fate, Job, JobResult, Standstill, Way};
use crate::env::{Instant, Now};
use crate::limits::{
    DELAY_WARNING_AFTER, JOBS_IN_HAND_TOTAL_MAX, OVERDUE_GRACE, OVERDUE_LOOKS, OVERDUE_LOOKS_PAUSE,
    OVERDUE_ROUND_INTERVAL,
};
use crate::smtp::domain_of;
use crate::spool::MessageId;
use std::ops::Bound;

/// How far the look-out is.
#[derive(Debug)]
pub(super) struct Round {
    /// Lanes that stand still.
    standing: usize,
    /// When it goes on, not before `quiet_until`.
    at: Instant,
    /// No message that waits, or was in hand when that was found out, is too old before then.
    quiet_until: Instant,
    /// What this round has found for the next `quiet_until`.
    lowest: Instant,
    /// What was looked at last; none: a round begins.
    after: Option<Key>,
}

impl Default for Round {
    fn default() -> Round {
        let (at, quiet_until) = (Instant::ZERO, Instant::FAR);
        Round { standing: 0, at, quiet_until, lowest: quiet_until, after: None }
    }
}

impl Round {
    /// One more lane stands still, or one less.
    pub fn count(&mut self, now: Instant, one_more: bool) {
        match (one_more, self.standing) {
            (true, 0) => {
                // A lane that stands still on and off must not put the look-out off each time.
                let first = if self.at == Instant::ZERO { OVERDUE_ROUND_INTERVAL } else { OVERDUE_LOOKS_PAUSE };
                (self.standing, self.at) = (1, self.at.max(now + first));
            }
            (true, _) => self.standing += 1,
            (false, _) => self.standing -= 1,
        }
    }

    /// When there is something to look at.
    pub fn deadline(&self) -> Option<Instant> {
        (self.standing > 0).then_some(self.at.max(self.quiet_until))
    }

    /// A message comes, or comes back, that may be too old from then on.
    pub fn expect(&mut self, at: Instant) {
        self.quiet_until = self.quiet_until.min(at);
        self.lowest = self.lowest.min(at);
    }
}

impl Queue {
    /// Takes note of what a result says about the destination of a lane.
    pub(super) fn heed(&mut self, place: usize, result: &JobResult) {
        let max = self.in_hand_max;
        let lane = &mut self.lanes[place];
        match result.standstill.as_deref() {
            Some(Standstill::Closed { until, why }) => {
                (lane.closed_until, lane.probing) = (*until, true);
                lane.why = Some(Box::new(why.clone()));
            }
            Some(Standstill::Waited { why }) => {
                lane.restraint += lane.in_hand_max(max) / 2;
                lane.why = Some(Box::new(why.clone()));
            }
            None if result.fates.iter().any(|(_, fate)| *fate != Fate::Untried) => {
                (lane.closed_until, lane.probing, lane.why) = (Instant::ZERO, false, None);
                lane.restraint = lane.restraint.saturating_sub(1);
            }
            None => {}
        }
    }

    /// Why a message is given up that its owner has given back after a long wait, if it is too old for another one.
    pub fn overdue(&self, now: Now, message: &impl MessageView, result: &JobResult) -> Option<Answer> {
        let Some(Standstill::Waited { why }) = result.standstill.as_deref() else { return None };
        self.retry.expired(message.received_at(), now.wall).then(|| why.clone())
    }

    /// Why nothing of a message goes to a domain now, if nothing does.
    pub fn why_nothing_goes_to(&self, message: &impl MessageView, domain: &str) -> Option<&Answer> {
        self.book.orders.why(message.reverse_path(), domain).or_else(|| {
            let destination = self.found(domain, self.wishes(message))?;
            self.lanes[self.lane_of((message.id(), destination))].why.as_deref()
        })
    }

    /// The next message that has waited in vain for too long.
    pub(super) fn next_overdue<M: MessageView>(
        &mut self,
        now: Now,
        lookup: &impl Fn(MessageId) -> Option<M>,
    ) -> Option<Job> {
        if self.round.deadline().is_none_or(|at| at > now.mono) || self.in_hand.len() >= JOBS_IN_HAND_TOTAL_MAX {
            return None;
        }
        for _ in 0..OVERDUE_LOOKS {
            let after = self.round.after.map_or(Bound::Unbounded, Bound::Excluded);
            let Some((&key, &due)) = self.waiting.range((after, Bound::Unbounded)).next() else {
                (self.round.after, self.round.at) = (None, now.mono + OVERDUE_ROUND_INTERVAL);
                self.round.quiet_until = std::mem::replace(&mut self.round.lowest, Instant::FAR);
                return None;
            };
            self.round.after = Some(key);
            let place = self.lane_of(key);
            let is_ripe = self.lanes[place].standing && due + OVERDUE_GRACE <= now.mono;
            let Some(message) = lookup(key.0) else { continue };
            if !(is_ripe && self.is_overdue(now, &message, key)) {
                let at = self.overdue_at(now, &message).max(due + OVERDUE_GRACE);
                self.round.lowest = self.round.lowest.min(at);
                continue;
            }
            let why = self.why(key, place);
            self.lanes[place].remove(due, key);
            let job = self.take(now, key, Way::Overdue(Box::new(why)), Some(message));
            self.refresh(now, place);
            if job.is_some() {
                return job;
            }
        }
        self.round.at = now.mono + OVERDUE_LOOKS_PAUSE;
        None
    }

    /// A job of a message that an operator holds, and that is too old: for this reason its recipients are given up. None: it has no more
    /// than are in hand, or too much is.
    pub fn give_up(&mut self, now: Now, message: &impl MessageView, why: Answer) -> Option<Job> {
        if self.in_hand.len() >= JOBS_IN_HAND_TOTAL_MAX {
            return None;
        }
        let wishes = self.wishes(message);
        let open = message.recipients().filter(|recipient| recipient.progress.open);
        let domains: Vec<String> = open.map(|recipient| domain_of(recipient.address).to_owned()).collect();
        for domain in domains {
            let key = (message.id(), self.destination(&domain, wishes));
            if self.in_hand.contains_key(&key) {
                continue;
            }
            let place = self.place_of(key.1);
            let (open, _) = self.open_recipients(message, key.1);
            let way = (key.1, Way::Overdue(Box::new(why)));
            // All of them, whatever their time; those that it has no room for are in the next one, as the message stays held.
            let (job, _) = self.job(message, way, place, open, now.wall, 0);
            let in_hand = InHand {
                forced_from: NONE_FORCED,
                removed: true,
                outcomes_size: self.outcomes_size_of(&job),
                class: Class::from(message.priority()),
                due: now.mono,
                is_settled: true,
                place,
            };
            self.give(key, in_hand);
            return Some(job);
        }
        None
    }

    /// When a message may be too old, or its sender is to be told that it takes long.
    pub(super) fn overdue_at(&self, now: Now, message: &impl MessageView) -> Instant {
        let line = message.received_at() + DELAY_WARNING_AFTER;
        let is_told = || message.recipients().any(|to| to.notify.is_some_and(|notify| notify.delay));
        let end = message.received_at() + self.retry.age_max;
        let at = if now.wall < line && line < end && is_told() { line } else { end };
        now.mono + at.since(now.wall)
    }

    /// Whether it is too old, or its sender is to be told that it takes long.
    fn is_overdue(&self, now: Now, message: &impl MessageView, (_, destination): Key) -> bool {
        if self.retry.expired(message.received_at(), now.wall) {
            return true;
        }
        let line = message.received_at() + DELAY_WARNING_AFTER;
        let wishes = self.wishes(message);
        now.wall >= line
            && !message.reverse_path().is_empty()
            && message.recipients().any(|recipient| {
                let asked = recipient.progress.open && recipient.notify.is_some_and(|notify| notify.delay);
                let is_here = || self.found(domain_of(recipient.address), wishes) == Some(destination);
                asked && recipient.progress.next_attempt_at < line && is_here()
            })
    }

    /// Why an entry does not go out of its lane.
    fn why(&self, key: Key, place: usize) -> Answer {
        if let Some(why) = self.why_kept(key) {
            return why.clone();
        }
        let lane = &self.lanes[place];
        if let Some(why) = &lane.why {
            return (**why).clone();
        }
        if lane.domain.as_ref().is_some_and(|domain| domain.wanted) {
            return Answer::local((4, 4, 3), "the DNS has not said who takes the mail of the domain");
        }
        Answer::local((4, 4, 5), "other mail for the destination is before it")
    }
}
