//! What resolvers said lately.
//!
//! In: replies. Out: the same, for as long as they hold. Of bounded size: what ends first makes room.

use super::record::{Question, Reply, Said};
use crate::env::Instant;
use crate::limits::{DNS_CACHE_MAX, DNS_FAILURE_TTL, DNS_NEGATIVE_TTL_MAX, DNS_TTL_MAX, DNS_TTL_MIN};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Each with the time until which it holds.
    replies: BTreeMap<Question, (Reply, Instant)>,
    /// The same, by that time.
    ends: BTreeSet<(Instant, Question)>,
}

impl Cache {
    pub fn len(&self) -> usize {
        self.replies.len()
    }

    /// What was said, and until when it holds.
    pub fn get(&self, now: Instant, question: &Question) -> Option<(&Reply, Instant)> {
        self.replies.get(question).map(|(reply, until)| (reply, *until)).filter(|(_, until)| *until > now)
    }

    /// Keeps a reply, its time to live brought within bounds. Until when it holds.
    pub fn put(&mut self, now: Instant, question: Question, reply: Reply) -> Instant {
        let ttl = match reply.said {
            Said::Records(_) => reply.ttl.clamp(DNS_TTL_MIN, DNS_TTL_MAX),
            Said::Nothing | Said::NoName => reply.ttl.clamp(DNS_TTL_MIN, DNS_NEGATIVE_TTL_MAX),
            Said::Failed(_) => DNS_FAILURE_TTL,
        };
        let holds_until = now + ttl;
        if let Some((_, before)) = self.replies.insert(question.clone(), (reply, holds_until)) {
            self.ends.remove(&(before, question.clone()));
        }
        self.ends.insert((holds_until, question));
        while let Some((until, _)) = self.ends.first()
            && (*until <= now || self.replies.len() > DNS_CACHE_MAX)
            && let Some((_, question)) = self.ends.pop_first()
        {
            self.replies.remove(&question);
        }
        holds_until
    }
}
