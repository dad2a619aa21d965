//! What the boxes of a pair tell each other of their orders, so that both have the same: each that stands, and each that has ended.
//!
//! Of two that are about the same mail the later one counts. So both boxes come to the same whatever they hear first, and however often;
//! what is lost on the way is told again for as long as their digests differ.

use crate::checksum::crc32c;
use crate::delivery::{Selector, StandingOrder, Treatment};
use crate::env::{Instant, Now, WallTime};
use crate::event::rfc3339;
use crate::limits::{ORDER_DURATION_MAX, ORDERS_ENDED_MAX, ORDERS_MAX};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// That no order stands about some mail any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// About which mail.
    pub selector: Selector,
    /// Since when; later than the order was given, whatever the clock of the box says on which it was ended.
    #[serde(with = "rfc3339")]
    pub at: WallTime,
}

impl Ended {
    /// An order has held for as long as it was given for.
    pub(super) fn behind(order: &StandingOrder) -> Ended {
        Ended { selector: order.selector.clone(), at: order.given_at + STEP }
    }
}

/// What is said later of the same mail has a time that is later by so much at least.
const STEP: Duration = Duration::from_micros(1);

/// One that stands, with the end that it has on the monotonic clock, so that a wall clock that jumps ends none.
pub(super) type Standing = (StandingOrder, Option<Instant>);

/// All that a box knows of orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Book {
    /// Those that stand.
    pub orders: Vec<Standing>,
    /// What has ended, in that order, as far as the partner may not know.
    pub ended: Vec<Ended>,
}

/// One of the things that are told.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Stands {
        order: StandingOrder,
        /// For how long, as the wall clocks of the boxes may differ.
        left_micros: Option<u64>,
    },
    Ended(Ended),
}

/// What about some mail counts: the greatest. At the same moment an order does.
type Rank<'a> = (WallTime, Option<(&'a Treatment, &'a str, Option<WallTime>)>);

fn rank(order: &StandingOrder) -> Rank<'_> {
    (order.given_at, Some((&order.treatment, &order.reason, order.ends_at)))
}

impl Book {
    fn known(&self, selector: &Selector) -> Option<Rank<'_>> {
        let order = self.orders.iter().find(|(order, _)| order.selector == *selector).map(|(order, _)| rank(order));
        let ended = self.ended.iter().find(|ended| ended.selector == *selector).map(|ended| (ended.at, None));
        order.max(ended)
    }

    /// The time of what is said now about some mail: later than that of all that was said before.
    pub fn time(&self, selector: &Selector, now: WallTime) -> WallTime {
        self.known(selector).map_or(now, |(at, _)| now.max(at + STEP))
    }

    /// Puts an order in the place of what is known about the same mail: the one that stood.
    pub fn give(&mut self, order: StandingOrder, end: Option<Instant>) -> Option<StandingOrder> {
        self.ended.retain(|ended| ended.selector != order.selector);
        let before = self.remove(&order.selector);
        self.orders.push((order, end));
        before
    }

    /// Notes that none stands: the one that stood.
    pub fn end(&mut self, ended: Ended) -> Option<StandingOrder> {
        let before = self.remove(&ended.selector);
        self.ended.retain(|other| other.selector != ended.selector);
        if self.ended.len() == ORDERS_ENDED_MAX {
            self.ended.remove(0);
        }
        self.ended.push(ended);
        before
    }

    fn remove(&mut self, selector: &Selector) -> Option<StandingOrder> {
        let place = self.orders.iter().position(|(order, _)| order.selector == *selector)?;
        Some(self.orders.remove(place).0)
    }

    /// Takes what the partner tells, if it is news, and not about the mail of `but`. `number`: that of an order that comes to stand.
    pub fn hear(&mut self, bytes: &[u8], number: u64, but: Option<&Selector>, now: Now) -> Result<Heard, Unheard> {
        let word: Word = serde_json::from_slice(bytes).map_err(|_| Unheard::NoWord)?;
        match word {
            word if Some(word.selector()) == but => Ok(Heard::Nothing),
            Word::Ended(ended) => {
                let ended = Ended { selector: ended.selector.normal(), ..ended };
                if !ended.selector.is_bounded() {
                    return Err(Unheard::NoWord);
                }
                if self.known(&ended.selector) >= Some((ended.at, None)) {
                    return Ok(Heard::Nothing);
                }
                Ok(Heard::Ended(self.end(ended)))
            }
            Word::Stands { order, left_micros } => {
                let order = StandingOrder { number, selector: order.selector.normal(), ..order };
                let left = left_micros.map(Duration::from_micros);
                if order.ends_at.is_some() != left.is_some() || order.check_texts().is_err() {
                    return Err(Unheard::NoWord);
                }
                let known = self.known(&order.selector);
                if known >= Some(rank(&order)) {
                    return Ok(Heard::Nothing);
                }
                let replaces = self.orders.iter().any(|(other, _)| other.selector == order.selector);
                if !replaces && self.orders.len() >= ORDERS_MAX {
                    return Err(Unheard::TooMany);
                }
                let end = left.map(|left| now.mono + left.min(ORDER_DURATION_MAX));
                Ok(Heard::Given { before: self.give(order.clone(), end), order })
            }
        }
    }

    /// Tells the partner all, but what is about the mail of `but`.
    pub fn tell(&self, but: Option<&Selector>, now: Instant) -> Vec<Box<[u8]>> {
        let orders = self.orders.iter().map(|(order, end)| Word::Stands {
            order: StandingOrder { number: 0, ..order.clone() },
            left_micros: end.map(|end| end.since(now).as_micros() as u64),
        });
        let ended = self.ended.iter().cloned().map(Word::Ended);
        let words = orders.chain(ended).filter(|word| Some(word.selector()) != but);
        words.map(|word| serde_json::to_vec(&word).expect("orders have text keys only").into_boxed_slice()).collect()
    }

    /// The same on both boxes if the same orders stand on them, but for those that `but` names; 0 where none does.
    pub fn digest(&self, but: Option<&Selector>) -> u32 {
        let stands = self.orders.iter().map(|(order, _)| order).filter(|order| Some(&order.selector) != but);
        let mut orders: Vec<_> = stands.map(|order| StandingOrder { number: 0, ..order.clone() }).collect();
        if orders.is_empty() {
            return 0;
        }
        orders.sort_by(|one, other| one.selector.cmp(&other.selector));
        crc32c(&serde_json::to_vec(&orders).expect("orders have text keys only")).max(1)
    }
}

impl Word {
    fn selector(&self) -> &Selector {
        match self {
            Word::Stands { order, .. } => &order.selector,
            Word::Ended(ended) => &ended.selector,
        }
    }
}

/// What came of something that the partner told.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// It was known, or something later.
    Nothing,
    /// An order stands now.
    Given { before: Option<StandingOrder>, order: StandingOrder },
    /// None does; the one that did.
    Ended(Option<StandingOrder>),
}

/// Why nothing came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unheard {
    #[error("what it says of a standing order cannot be read")]
    NoWord,
    #[error("the two boxes have more than {ORDERS_MAX} standing orders between them: end some")]
    TooMany,
}
