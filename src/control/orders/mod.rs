//! The standing orders of the operator: given, ended, kept, and over in time. Sans-IO.
//!
//! In: commands, the time. Out: the orders that stand, for the workers; events; and bytes to be kept, durably, before an order
//! counts or has ended: a restart finds what the operator was told.

mod file;
#[cfg(test)]
mod tests;

pub use file::{OrdersFile, OrdersKept};

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

/// One that stands, with the end that it has on the monotonic clock, so that a wall clock that jumps ends none.
type Standing = (StandingOrder, Option<Instant>);

/// Makes bytes durable in the place of those before; if it cannot, it says why, and those before are still there.
pub type Keep = Box<dyn FnMut(&[u8]) -> Result<(), String> + Send>;

/// The orders of a box.
pub struct OrderBoard {
    routes: Arc<Routes>,
    tenants: Arc<Tenants>,
    orders: Vec<Standing>,
    number_next: u64,
    /// What was wrong with what was kept, while all mail is kept back for it.
    damage: Option<String>,
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
        let orders: Vec<Standing> = orders.collect();
        let mut board = OrderBoard { routes, tenants, orders: Vec::new(), number_next, damage: kept.damage, keep };
        board.adopt(orders);
        board
    }

    /// All that stand, for the workers.
    pub fn compile(&self) -> Orders {
        let (routes, tenants) = (Arc::clone(&self.routes), Arc::clone(&self.tenants));
        Orders::new(routes, tenants, self.orders.iter().map(|(order, _)| order.clone()))
    }

    /// How many stand.
    pub fn count(&self) -> usize {
        self.orders.len()
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
                let (number, ends_at) = (self.number_next, duration.map(|duration| now.wall + duration));
                let selector = selector.normal();
                let order = StandingOrder { number, selector, treatment, reason, given_at: now.wall, ends_at };
                order.check(&self.routes, &self.tenants).map_err(|error| error.to_string())?;
                self.give(order, duration.map(|duration| now.mono + duration))
            }
            OrderCommand::End { selector } => self.end(&selector.normal()),
        }
    }

    fn give(&mut self, order: StandingOrder, end: Option<Instant>) -> Result<Done, String> {
        let mut after = self.orders.clone();
        let before = after.extract_if(.., |(other, _)| other.selector == order.selector).map(|(before, _)| before);
        let before: Vec<StandingOrder> = before.collect();
        if after.len() >= ORDERS_MAX {
            return Err(format!("there are {ORDERS_MAX} orders already: end some, or give one about more mail"));
        }
        after.push((order.clone(), end));
        self.persist(&after)?;
        self.number_next += 1;
        self.adopt(after);
        let ended = before.into_iter().map(Event::OrderEnded);
        let events = ended.chain([Event::OrderGiven(order.clone())]).collect();
        Ok(Done { orders: Some(vec![order]), events })
    }

    fn end(&mut self, selector: &Selector) -> Result<Done, String> {
        let mut after = self.orders.clone();
        // What was given anew after damage is to outlive the order that kept all mail back for so long.
        let is_every = *selector == Selector::All && self.damage.is_none();
        let is_meant = |order: &StandingOrder| is_every || order.selector == *selector;
        let ended: Vec<StandingOrder> =
            after.extract_if(.., |(order, _)| is_meant(order)).map(|(order, _)| order).collect();
        if ended.is_empty() {
            let what = if *selector == Selector::All { String::new() } else { format!(" about {selector}") };
            return Err(format!("no order{what} stands: `rohrpost queue orders` lists them"));
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
        let mut after = self.orders.clone();
        let mut events: Vec<Event> =
            after.extract_if(.., is_over).map(|(order, _)| Event::OrderExpired(order)).collect();
        if let Err(error) = self.persist(&after) {
            // It is over all the same: a later start finds that its time has passed.
            events.push(Event::Warning { text: format!("the end of a standing order could not be kept: {error}") });
        }
        self.adopt(after);
        events
    }

    /// When [`expire`](OrderBoard::expire) has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.orders.iter().filter_map(|(_, end)| *end).min()
    }

    /// What was wrong, if all mail is still kept back for it when these orders stand.
    fn damage_with(&self, orders: &[Standing]) -> Option<String> {
        let keeps_all =
            |order: &StandingOrder| order.selector == Selector::All && order.treatment == Treatment::Suspend;
        self.damage.clone().filter(|_| orders.iter().any(|(order, _)| keeps_all(order)))
    }

    fn persist(&mut self, orders: &[Standing]) -> Result<(), String> {
        let damage = self.damage_with(orders);
        let orders = orders.iter().map(|(order, _)| order.clone()).collect();
        (self.keep)(&OrdersKept { orders, damage }.to_bytes())
    }

    /// These stand from now on.
    fn adopt(&mut self, orders: Vec<Standing>) {
        self.damage = self.damage_with(&orders);
        self.orders = orders;
    }

    /// Those that could not be given with this configuration, which may have changed since they were, and why not.
    pub fn misfits(&self) -> impl Iterator<Item = (&StandingOrder, OrderError)> {
        self.orders.iter().filter_map(|(order, _)| Some((order, self.check(order)?)))
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
        let orders = orders.unwrap_or_else(|| self.orders.iter().map(|(order, _)| order.clone()).collect());
        let report = |order: StandingOrder| {
            let end = self.orders.iter().find(|(other, _)| other.number == order.number).and_then(|(_, end)| *end);
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
