//! Connections that are over and whose last segments may still be under way (RFC 9293 §3.6.1): the tuple and two
//! numbers instead of a socket with its buffers.

use super::connection::Connection;
use super::connection::sequence::Sequence;
use super::tuple::{Keyed, Tuple};
use crate::env::Instant;
use crate::limits::{TIME_WAIT_DURATION, TIME_WAITS_MAX};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// Where a connection stood at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remains {
    pub send_next: Sequence,
    pub receive_next: Sequence,
    /// The peer's last timestamp, if it used them.
    pub timestamp: Option<u32>,
    until: Instant,
}

/// All of them; the oldest make room when there are too many.
pub(super) struct TimeWaits {
    remains: HashMap<Tuple, Remains, Keyed>,
    /// In the order of their ends, since all wait equally long. Those removed or put in anew are passed over.
    line: VecDeque<(Instant, Tuple)>,
}

impl TimeWaits {
    pub fn new(keyed: Keyed) -> TimeWaits {
        TimeWaits { remains: HashMap::with_hasher(keyed), line: VecDeque::new() }
    }

    pub fn insert(&mut self, now: Instant, tuple: Tuple, connection: &Connection) {
        self.expire(now);
        while self.line.len() >= TIME_WAITS_MAX {
            self.pop();
        }
        let until = now + TIME_WAIT_DURATION;
        let remains = Remains {
            send_next: connection.send_next(),
            receive_next: connection.receive_next(),
            timestamp: connection.timestamp_recent(),
            until,
        };
        self.remains.insert(tuple, remains);
        self.line.push_back((until, tuple));
    }

    pub fn len(&self) -> usize {
        self.line.len()
    }

    pub fn find(&self, now: Instant, tuple: &Tuple) -> Option<Remains> {
        self.remains.get(tuple).copied().filter(|remains| remains.until > now)
    }

    pub fn remove(&mut self, tuple: &Tuple) {
        self.remains.remove(tuple);
    }

    fn expire(&mut self, now: Instant) {
        while self.line.front().is_some_and(|(until, _)| *until <= now) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some((until, tuple)) = self.line.pop_front() else { return };
        if self.remains.get(&tuple).is_some_and(|remains| remains.until == until) {
            self.remains.remove(&tuple);
        }
    }
}
