//! The standing orders of the operator: given, ended, kept, and over in time. Sans-IO.
//!
//! In: commands, what the partner tells of its orders, the time. Out: the orders that stand, for the workers; what the partner is to be
//! told; events; and bytes to be kept, durably, before an order counts or has ended: a restart finds what the operator was told.
//!
//! The boxes of a pair have the same orders: whoever takes over must not deliver what an operator keeps back.

mod file;
#[cfg(test)]
mod tests;
mod told;

pub use file::{OrdersFile, OrdersKept};
pub use told::Ended;

use told::{Book, Heard, Standing};

use crate::delivery::{OrderError, Orders, Routes, Selector, StandingOrder, Tenants, Treatment};
use crate::env::{Instant, Now, WallTime};
use crate::event::Event;
use crate::limits::{ORDER_DURATION_MAX, ORDERS_MAX};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What an operator may do with standing orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum OrderCommand {
    /// All that stand.
    List,
    /// Gives one, in the place of the one about the same mail if there is one.
    Give {
        /// About which mail.
        selector: Selector,
        /// What is to be done with it.
        treatment: Treatment,
        /// For how long, up to [`ORDER_DURATION_MAX`]; null: until it is ended.
        duration_seconds: Option<u64>,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// Ends the one about this mail; with [`Selector::All`] all of them, but after damage ([`OrderBoard::damage`]) only the one that
    /// keeps all mail back for it.
    End {
        /// About which mail.
        selector: Selector,
    },
}

/// An order, for the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderReport {
    /// The order.
    #[serde(flatten)]
    pub order: StandingOrder,
    /// How long it holds; null: until it is ended.
    pub seconds_left: Option<u64>,
    /// Deliveries that it keeps back, or that wait to go elsewhere: messages, each counted once for every destination.
    pub waiting: u64,
    /// Why it could not be given with this configuration, with which it does less than it was given for, or nothing; null: it could.
    pub misfit: Option<String>,
}

/// Makes bytes durable in the place of those before; if it cannot, it says why, and those before are still there.
pub type Keep = Box<dyn FnMut(&[u8]) -> Result<(), String> + Send>;

/// The orders of a box.
pub struct OrderBoard {
    routes: Arc<Routes>,
    tenants: Arc<Tenants>,
    started_at: Instant,
    book: Book,
    number_next: u64,
    /// What was wrong with what was kept, while all mail is kept back for it.
    damage: Option<String>,
    /// What is the same where the same orders stand.
    digest: u32,
    /// Why not all that the partner tells can be heeded, as it was said last.
    unheard: Option<String>,
    keep: Keep,
}

/// What a command has done.
#[derive(Debug, PartialEq)]
pub struct Done {
    /// The orders that it is about; none: all that stand.
    pub orders: Option<Vec<StandingOrder>>,
    /// What is to be logged.
    pub events: Vec<Event>,
}

impl OrderBoard {
    /// With the orders of an earlier life. What comes to stand or ends goes to `keep` first.
    pub fn new((routes, tenants): (Arc<Routes>, Arc<Tenants>), kept: OrdersKept, keep: Keep, now: Now) -> OrderBoard {
        let number_next = kept.orders.iter().map(|order| order.number + 1).max().unwrap_or(1);
        let orders = kept.orders.into_iter().map(|order| {
            // Where the wall clock is behind the one that it was given by, it holds no longer than it was given for.
            let left = |at: WallTime| at.since(now.wall).min(at.since(order.given_at)).min(ORDER_DURATION_MAX);
            let end = order.ends_at.map(|at| now.mono + left(at));
            (StandingOrder { selector: order.selector.normal(), ..order }, end)
        });
        let book = Book { orders: orders.collect(), ended: kept.ended };
        let (damage, unheard) = (kept.damage, None);
        let started_at = now.mono;
        let empty = Book::default();
        let mut board =
            OrderBoard { routes, tenants, started_at, book: empty, number_next, damage, digest: 0, unheard, keep };
        board.adopt(book);
        board
    }

    /// All that stand, for the workers.
    pub fn compile(&self) -> Orders {
        let (routes, tenants) = (Arc::clone(&self.routes), Arc::clone(&self.tenants));
        Orders::new(routes, tenants, self.book.orders.iter().map(|(order, _)| order.clone()))
    }

    /// Those that stand.
    pub fn orders(&self) -> impl Iterator<Item = &StandingOrder> {
        self.book.orders.iter().map(|(order, _)| order)
    }

    /// How many stand.
    pub fn count(&self) -> usize {
        self.book.orders.len()
    }

    /// What was wrong with what was kept, until an operator has ended what follows from it.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Does what an operator asks for.
    ///
    /// # Errors
    /// It cannot be done, for this reason; nothing has changed.
    pub fn command(&mut self, command: OrderCommand, now: Now) -> Result<Done, String> {
        match command {
            OrderCommand::List => Ok(Done { orders: None, events: Vec::new() }),
            OrderCommand::Give { selector, treatment, duration_seconds, reason } => {
                let duration = duration_seconds.map(Duration::from_secs);
                if duration.is_some_and(|duration| duration.is_zero() || duration > ORDER_DURATION_MAX) {
                    let days = ORDER_DURATION_MAX.as_secs() / 86_400;
                    return Err(format!("an order holds for up to {days} days, or until it is ended"));
                }
                let (number, selector) = (self.number_next, selector.normal());
                let given_at = self.book.time(&selector, now.wall);
                let ends_at = duration.map(|duration| given_at + duration);
                let order = StandingOrder { number, selector, treatment, reason, given_at, ends_at };
                order.check(&self.routes, &self.tenants).map_err(|error| error.to_string())?;
                self.give(order, duration.map(|duration| now.mono + duration))
            }
            OrderCommand::End { selector } => self.end(&selector.normal(), now.wall),
        }
    }

    fn give(&mut self, order: StandingOrder, end: Option<Instant>) -> Result<Done, String> {
        let mut after = self.book.clone();
        let before = after.give(order.clone(), end);
        if after.orders.len() > ORDERS_MAX {
            return Err(format!("there are {ORDERS_MAX} orders already: end some, or give one about more mail"));
        }
        self.persist(&after)?;
        self.number_next += 1;
        self.adopt(after);
        let ended = before.into_iter().map(Event::OrderEnded);
        let events = ended.chain([Event::OrderGiven(order.clone())]).collect();
        Ok(Done { orders: Some(vec![order]), events })
    }

    fn end(&mut self, selector: &Selector, now: WallTime) -> Result<Done, String> {
        let mut after = self.book.clone();
        // What was given anew after damage is to outlive the order that kept all mail back for so long.
        let is_every = *selector == Selector::All && self.damage.is_none();
        let is_meant = |order: &StandingOrder| is_every || order.selector == *selector;
        let ended: Vec<StandingOrder> =
            after.orders.extract_if(.., |(order, _)| is_meant(order)).map(|(order, _)| order).collect();
        if ended.is_empty() {
            let what = if *selector == Selector::All { String::new() } else { format!(" about {selector}") };
            return Err(format!("no order{what} stands: `rohrpost queue orders` lists them"));
        }
        for order in ended.iter().filter(|order| Some(&order.selector) != self.own()) {
            let at = self.book.time(&order.selector, now);
            after.end(Ended { selector: order.selector.clone(), at });
        }
        self.persist(&after)?;
        self.adopt(after);
        let events = ended.iter().cloned().map(Event::OrderEnded).collect();
        Ok(Done { orders: Some(ended), events })
    }

    /// Ends what has held for long enough; what is to be logged.
    pub fn expire(&mut self, now: Now) -> Vec<Event> {
        if self.next_deadline().is_none_or(|end| end > now.mono) {
            return Vec::new();
        }
        let is_over = |(_, end): &mut Standing| end.is_some_and(|end| end <= now.mono);
        let (mut after, mut events) = (self.book.clone(), Vec::new());
        let over: Vec<Standing> = after.orders.extract_if(.., is_over).collect();
        for (order, end) in over {
            // The partner may not have heard of it, but of one before it. Of what was over at the start, by a wall clock that may be
            // wrong, the partner knows better.
            let is_known = end > Some(self.started_at);
            if is_known && Some(&order.selector) != self.own() {
                after.end(Ended::behind(&order));
            }
            events.push(Event::OrderExpired(order));
        }
        if let Err(error) = self.persist(&after) {
            // It is over all the same: a later start finds that its time has passed.
            events.push(Event::Warning { text: format!("the end of a standing order could not be kept: {error}") });
        }
        self.adopt(after);
        events
    }

    /// The mail that only this box's orders are about: all of it, while that is kept back for damage that the partner does not have.
    fn own(&self) -> Option<&Selector> {
        self.damage.as_ref().map(|_| &Selector::All)
    }

    /// What is the same on both boxes of a pair if the same orders stand there; 0 where none does.
    pub fn digest(&self) -> u32 {
        self.digest
    }

    /// All that the partner is to be told, in pieces that can be lost and come twice.
    pub fn tell(&self, now: Instant) -> Vec<Box<[u8]>> {
        self.book.tell(self.own(), now)
    }

    /// Takes what the partner tells; what is to be logged.
    pub fn hear(&mut self, told: &[Box<[u8]>], now: Now) -> Vec<Event> {
        let (mut after, mut number, own) = (self.book.clone(), self.number_next, self.own().cloned());
        let (mut events, mut unheard) = (Vec::new(), None);
        for bytes in told {
            match after.hear(bytes, number, own.as_ref(), now) {
                Ok(Heard::Nothing) => {}
                Ok(Heard::Given { before, order }) => {
                    number += 1;
                    events.extend(before.map(Event::OrderEnded));
                    events.push(Event::OrderGiven(order));
                }
                Ok(Heard::Ended(before)) => events.extend(before.map(Event::OrderEnded)),
                Err(why) => unheard = Some(why.to_string()),
            }
        }
        if after != self.book {
            match self.persist(&after) {
                Ok(()) => {
                    self.number_next = number;
                    self.adopt(after);
                }
                Err(error) => {
                    events.clear();
                    unheard = Some(error);
                }
            }
        }
        if unheard.is_some() && unheard != self.unheard {
            let why = unheard.as_deref().unwrap_or_default();
            events.push(Event::Warning { text: format!("a standing order of the partner does not count here: {why}") });
        }
        self.unheard = unheard;
        events
    }

    /// When [`expire`](OrderBoard::expire) has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.book.orders.iter().filter_map(|(_, end)| *end).min()
    }

    /// What was wrong, if all mail is still kept back for it when these orders stand.
    fn damage_with(&self, book: &Book) -> Option<String> {
        let keeps_all =
            |order: &StandingOrder| order.selector == Selector::All && order.treatment == Treatment::Suspend;
        self.damage.clone().filter(|_| book.orders.iter().any(|(order, _)| keeps_all(order)))
    }

    fn persist(&mut self, book: &Book) -> Result<(), String> {
        let (damage, ended) = (self.damage_with(book), book.ended.clone());
        let orders = book.orders.iter().map(|(order, _)| order.clone()).collect();
        (self.keep)(&OrdersKept { orders, ended, damage }.to_bytes())
    }

    /// From now on this is what is known.
    fn adopt(&mut self, book: Book) {
        self.damage = self.damage_with(&book);
        self.book = book;
        self.digest = self.book.digest(self.own());
    }

    /// Those that could not be given with this configuration, which may have changed since they were, and why not.
    pub fn misfits(&self) -> impl Iterator<Item = (&StandingOrder, OrderError)> {
        self.book.orders.iter().filter_map(|(order, _)| Some((order, self.check(order)?)))
    }

    fn check(&self, order: &StandingOrder) -> Option<OrderError> {
        order.check(&self.routes, &self.tenants).err()
    }

    /// For the operator: these orders, or all that stand. `waiting`: the deliveries of each, by its number.
    pub fn reports(
        &self,
        orders: Option<Vec<StandingOrder>>,
        waiting: &BTreeMap<u64, u64>,
        now: Now,
    ) -> Vec<OrderReport> {
        let orders = orders.unwrap_or_else(|| self.orders().cloned().collect());
        let report = |order: StandingOrder| {
            let end = self.book.orders.iter().find(|(other, _)| other.number == order.number).and_then(|(_, end)| *end);
            let seconds_left = order.ends_at.map(|_| end.map_or(0, |end| end.since(now.mono).as_secs()));
            let waiting = waiting.get(&order.number).copied().unwrap_or(0);
            OrderReport { seconds_left, waiting, misfit: self.check(&order).map(|error| error.to_string()), order }
        };
        orders.into_iter().map(report).collect()
    }
}

impl Default for OrderBoard {
    /// For no routes, and with nowhere to keep anything.
    fn default() -> OrderBoard {
        let keep: Keep = Box::new(|_| Err("there is nowhere to keep it".to_owned()));
        OrderBoard::new((Arc::default(), Arc::default()), OrdersKept::default(), keep, Now::default())
    }
}
