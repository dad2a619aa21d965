//! What is asked, and which worker hears what.

use crate::control::links::{ToWorker, WorkerLink};
use crate::dns::{Answer, Clerk, Question, Reply, Rules};
use crate::env::Instant;
use crate::limits::{Gauge, LOOKUP_ANSWERS_PER_MESSAGE, LOOKUPS_PER_WORKER_MAX};
use crate::sts::Shelf;
use std::collections::VecDeque;

/// Who asks for an operator: no worker has this number.
pub(super) const OPERATOR: u16 = u16::MAX;

/// The clerk, and its answers on their way to the workers.
pub struct NameBoard {
    clerk: Clerk,
    links: Vec<WorkerLink>,
    /// What waits for room in each worker's channel, no more than it may have asked for: one that does not listen asks again.
    outboxes: Vec<VecDeque<(Box<str>, Answer)>>,
    /// What operators asked about.
    shown: Vec<(Box<str>, Answer)>,
}

impl NameBoard {
    /// For these workers.
    pub fn new(rules: Rules, links: Vec<WorkerLink>) -> NameBoard {
        let (clerk, outboxes) = (Clerk::new(rules, links.len()), vec![VecDeque::new(); links.len()]);
        NameBoard { clerk, links, outboxes, shown: Vec::new() }
    }

    /// A worker asks about a domain.
    pub fn ask(&mut self, now: Instant, worker: u16, domain: &str) {
        self.clerk.ask(now, worker, domain);
    }

    /// The next question for a resolver; [`tell`](NameBoard::tell) must follow, whatever happens.
    pub fn question(&mut self) -> Option<Question> {
        self.clerk.question()
    }

    /// What a resolver said.
    pub fn tell(&mut self, now: Instant, question: &Question, reply: Reply) {
        self.clerk.tell(now, question, reply);
    }

    /// Whether [`send`](NameBoard::send) has something to do.
    pub fn has_answers(&self) -> bool {
        self.clerk.has_answers() || self.outboxes.iter().any(|outbox| !outbox.is_empty())
    }

    /// Sends answers. False if a channel had no room: to be tried again.
    pub fn send(&mut self) -> bool {
        while let Some((worker, domain, answer)) = self.clerk.answer() {
            if worker == OPERATOR {
                self.shown.push((domain, answer));
            } else if let Some(outbox) = self.outboxes.get_mut(usize::from(worker))
                && outbox.len() < LOOKUPS_PER_WORKER_MAX
            {
                outbox.push_back((domain, answer));
            }
        }
        let mut all_sent = true;
        for (link, outbox) in self.links.iter().zip(&mut self.outboxes) {
            let mut any = false;
            while !outbox.is_empty() && !link.to.is_full() {
                let count = outbox.len().min(LOOKUP_ANSWERS_PER_MESSAGE);
                // A worker that has ended needs no answers.
                let _ = link.to.try_send(ToWorker::Domains(outbox.drain(..count).collect()));
                any = true;
            }
            if any {
                link.wakeup.notify();
            }
            all_sent &= outbox.is_empty();
        }
        all_sent
    }

    /// The policies of domains that are remembered.
    pub(super) fn policies(&mut self) -> &mut Shelf {
        self.clerk.policies()
    }

    /// What is known of domains that operators asked about, since the last time.
    pub(super) fn shown(&mut self) -> Vec<(Box<str>, Answer)> {
        std::mem::take(&mut self.shown)
    }

    /// Shows how full its tables are.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        self.clerk.gauge(see);
        for outbox in &self.outboxes {
            see(Gauge::new("answers that wait for a worker", outbox.len(), LOOKUPS_PER_WORKER_MAX));
        }
    }
}
