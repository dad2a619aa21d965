//! Standing orders: what an operator has said about some of the mail, until that is over.
//!
//! In: the orders that stand, the routes and the tenants. Out: for a sender and the domain of a recipient, the [`Rule`] that holds for the
//! delivery. Never changed after it was made; workers share it, and get another one when an order is given or ends.
//!
//! An order that stops mail goes before one that sends it elsewhere, and of two of a kind the one about the recipient goes before
//! the one about the sender. Mail that is sent elsewhere goes as that of another domain does, with the hosts, TLS and credentials of
//! its route, but only where that route demands as much of TLS as its own one does ([`TlsPolicy::is_met_by`]); else it goes its own
//! way. What a message itself demands (REQUIRETLS) it demands everywhere. It is sent elsewhere once: what is stopped there stops it.
//!
//! [`TlsPolicy::is_met_by`]: super::TlsPolicy::is_met_by

use super::route::key_of;
use super::{Answer, DestinationId, Job, RouteId, Routes, TenantId, Tenants, Way};
use crate::env::WallTime;
use crate::event::rfc3339;
use crate::limits::{ORDER_NAME_SIZE_MAX, ORDER_REASON_SIZE_MAX};
use crate::smtp::domain_of;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The destinations of domains whose mail goes by MX are called so, followed by the domain.
const BY_MX: &str = "mx://";

/// Which mail an order is about. Names are compared without regard to ASCII case, but those of tenants as they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// All mail.
    All,
    /// What goes to a destination, by the name that [`Routes::describe`] gives it.
    Destination(String),
    /// What goes to recipients in this domain.
    Domain(String),
    /// What comes from this reverse-path (empty for the null sender), or from this domain.
    Sender(String),
    /// What is this tenant's, by its name.
    Tenant(String),
}

impl Selector {
    /// In the form in which selectors are equal if they are about the same mail.
    pub fn normal(self) -> Selector {
        match self {
            Selector::All => Selector::All,
            Selector::Destination(name) => match by_mx(&name) {
                Some(domain) => Selector::Domain(key_of(domain).into_owned()),
                None => Selector::Destination(name.to_ascii_lowercase()),
            },
            Selector::Domain(domain) => Selector::Domain(key_of(&domain).into_owned()),
            Selector::Sender(sender) => Selector::Sender(key_of(&sender).into_owned()),
            Selector::Tenant(name) => Selector::Tenant(name),
        }
    }

    /// Whether its name is one that an order may be about.
    pub fn is_bounded(&self) -> bool {
        is_line(self.name(), ORDER_NAME_SIZE_MAX)
    }

    fn name(&self) -> &str {
        match self {
            Selector::All => "",
            Selector::Destination(name) | Selector::Domain(name) | Selector::Sender(name) | Selector::Tenant(name) => {
                name
            }
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::All => f.write_str("all mail"),
            Selector::Destination(name) => write!(f, "destination {name}"),
            Selector::Domain(domain) => write!(f, "domain {domain}"),
            Selector::Sender(sender) if sender.is_empty() => f.write_str("sender <>"),
            Selector::Sender(sender) => write!(f, "sender {sender}"),
            Selector::Tenant(name) => write!(f, "tenant {name}"),
        }
    }
}

/// What is done with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Treatment {
    /// No delivery of it begins. What is under way is finished.
    Suspend,
    /// The same, and connections that are open to the destination end when they have done what they are at.
    Drain,
    /// It goes elsewhere.
    Reroute {
        /// As mail for this domain does, or to the destination of this name.
        to: String,
    },
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Treatment::Suspend => f.write_str("suspended"),
            Treatment::Drain => f.write_str("drained"),
            Treatment::Reroute { to } => write!(f, "rerouted to {to}"),
        }
    }
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingOrder {
    /// No other order of the box has it; rises.
    pub number: u64,
    /// About which mail.
    pub selector: Selector,
    /// What is done with it.
    pub treatment: Treatment,
    /// Why, as the operator says; may be empty.
    pub reason: String,
    /// When it was given.
    #[serde(with = "rfc3339")]
    pub given_at: WallTime,
    /// When it is over; none: when an operator says so.
    #[serde(with = "rfc3339::option")]
    pub ends_at: Option<WallTime>,
}

impl StandingOrder {
    /// About which mail, and why.
    pub fn about(&self) -> String {
        let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        format!("({}){reason}", self.selector)
    }
}

/// Why an order cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A text is too long, or no text for one line.
    #[error("{0} must be one line of at most {1} bytes")]
    Text(&'static str, usize),
    /// No destination has this name.
    #[error("no destination of this configuration is called {0}: `rohrpost queue destinations` has their names")]
    NoDestination(String),
    /// No tenant has this name.
    #[error("no [[tenant]] of this configuration is called {0}")]
    NoTenant(String),
    /// No mail goes there.
    #[error("mail for {0} has no route")]
    NoRoute(String),
    /// What went there would be lost.
    #[error("mail for {0} is discarded: nothing is sent there")]
    Discards(String),
    /// It is no other way.
    #[error("mail of {0} goes to {1} anyway")]
    SameWay(Selector, String),
    /// It would be less safe on its way.
    #[error(
        "the route of {0} demands more of TLS than the one to {1}, and mail must not be less safe than it was promised to be: choose \
         a way with tls = \"verify\""
    )]
    LessSafe(Selector, String),
    /// There are no connections of it alone.
    #[error("connections belong to destinations: {0} can be suspended, but not drained")]
    NoConnections(Selector),
}

/// The way of mail that is sent elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    route: RouteId,
    /// The domain whose hosts the DNS names, if the route goes by MX.
    domain: Option<Box<str>>,
    /// The rule that stops mail there.
    blocked: Option<usize>,
}

/// What an order comes to with the routes of this box.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Effect {
    /// It names what this configuration does not have.
    Nothing,
    /// For this reason nothing is delivered.
    Stop(Answer),
    /// It goes this way.
    Reroute(Target),
}

/// An order that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    order: StandingOrder,
    effect: Effect,
}

impl Rule {
    /// The number of its order.
    pub fn number(&self) -> u64 {
        self.order.number
    }

    /// Why nothing is delivered, if that is what it says.
    pub fn stops(&self) -> Option<&Answer> {
        if let Effect::Stop(why) = &self.effect { Some(why) } else { None }
    }
}

/// The rules that are about a sender, by their places.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OfSender([Option<usize>; 4]);

/// All orders that stand, compiled for lookup.
#[derive(Debug, Default)]
pub struct Orders {
    routes: Arc<Routes>,
    tenants: Arc<Tenants>,
    rules: Vec<Rule>,
    all: Option<usize>,
    by_destination: HashMap<DestinationId, usize>,
    by_domain: HashMap<Box<str>, usize>,
    by_sender: HashMap<Box<str>, usize>,
    by_tenant: HashMap<TenantId, usize>,
}

impl Orders {
    /// These orders, of which each has another selector. One that names what is not there does nothing.
    pub fn new(routes: Arc<Routes>, tenants: Arc<Tenants>, orders: impl IntoIterator<Item = StandingOrder>) -> Orders {
        let mut compiled = Orders { routes, tenants, ..Orders::default() };
        for (place, order) in orders.into_iter().enumerate() {
            let routes = &compiled.routes;
            let effect = match &order.treatment {
                Treatment::Suspend | Treatment::Drain => {
                    let text = format!("{} by the operator {}", order.treatment, order.about());
                    // The system accepts no messages now, as its operator has said (RFC 3463 §3.4).
                    Effect::Stop(Answer::local((4, 3, 2), text))
                }
                Treatment::Reroute { to } => {
                    // The configuration may have changed since the order was given: nothing that it sends elsewhere may be lost.
                    let target = target(routes, to).filter(|target| !routes.route(target.route).discards());
                    target.map_or(Effect::Nothing, Effect::Reroute)
                }
            };
            match &order.selector {
                Selector::All => compiled.all = Some(place),
                Selector::Destination(name) => {
                    let ids: Vec<RouteId> = routes.named(name).collect();
                    compiled.by_destination.extend(ids.into_iter().map(|id| (id, place)));
                }
                Selector::Domain(domain) => {
                    compiled.by_domain.insert(domain.as_str().into(), place);
                }
                Selector::Sender(sender) => {
                    compiled.by_sender.insert(sender.as_str().into(), place);
                }
                Selector::Tenant(name) => {
                    compiled.by_tenant.extend(compiled.tenants.find(name).map(|id| (id, place)));
                }
            }
            compiled.rules.push(Rule { order, effect });
        }
        for place in 0..compiled.rules.len() {
            let blocked = match &compiled.rules[place].effect {
                Effect::Reroute(target) => compiled.stopped_at(target.route, target.domain.as_deref()),
                _ => None,
            };
            if let Effect::Reroute(target) = &mut compiled.rules[place].effect {
                target.blocked = blocked;
            }
        }
        compiled
    }

    /// The rule by which nothing goes by a route, or to the hosts that the DNS names for a domain.
    fn stopped_at(&self, route: RouteId, domain: Option<&str>) -> Option<usize> {
        let of_domain = domain.and_then(|domain| self.by_domain.get(domain));
        let found = [of_domain, self.by_destination.get(&route)];
        found.into_iter().flatten().copied().find(|place| self.rules[*place].stops().is_some())
    }

    /// No order stands.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What the orders come to.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The highest number of an order; 0: there is none.
    pub fn newest(&self) -> u64 {
        self.rules.iter().map(Rule::number).max().unwrap_or(0)
    }

    /// The route that mail goes by which the order of this number sends elsewhere, and the domain, if the DNS names the hosts of one.
    pub(super) fn target(&self, number: u64) -> Option<(RouteId, Option<&str>)> {
        let rule = self.rules.iter().find(|rule| rule.number() == number)?;
        let Effect::Reroute(target) = &rule.effect else { return None };
        Some((target.route, target.domain.as_deref()))
    }

    /// What there is about a sender.
    pub(super) fn of_sender(&self, reverse_path: &str) -> OfSender {
        let of_tenant = || self.by_tenant.get(&self.tenants.of(reverse_path)?).copied();
        let of_tenant = if self.by_tenant.is_empty() { None } else { of_tenant() };
        if self.by_sender.is_empty() {
            return OfSender([None, None, of_tenant, self.all]);
        }
        let path = key_of(reverse_path);
        let domain = domain_of(&path);
        // The null sender has no domain.
        let of_domain = if domain.is_empty() { None } else { self.by_sender.get(domain).copied() };
        OfSender([self.by_sender.get(&*path).copied(), of_domain, of_tenant, self.all])
    }

    /// The rule that holds for a recipient in this domain.
    pub(super) fn rule(&self, of_sender: OfSender, domain: &str) -> Option<&Rule> {
        // As it is on most boxes at most times, and asked for every recipient.
        if self.is_empty() {
            return None;
        }
        let own = self.routes.destination(domain);
        let of_domain = if self.by_domain.is_empty() { None } else { self.by_domain.get(&*key_of(domain)).copied() };
        let places = [of_domain, self.by_destination.get(&own).copied()].into_iter().chain(of_sender.0).flatten();
        let mut other = None;
        for place in places {
            let rule = &self.rules[place];
            match &rule.effect {
                Effect::Stop(_) => return Some(rule),
                Effect::Reroute(target) if other.is_none() && self.admits(own, domain, target) => {
                    other = Some(target.blocked.map_or(rule, |blocked| &self.rules[blocked]));
                }
                Effect::Reroute(_) | Effect::Nothing => {}
            }
        }
        other
    }

    /// The order that holds for mail of this sender to this domain; of nobody in particular: of those that are not about senders.
    pub fn order(&self, reverse_path: Option<&str>, domain: &str) -> Option<&StandingOrder> {
        let of_sender = reverse_path.map_or(OfSender([None, None, None, self.all]), |path| self.of_sender(path));
        self.rule(of_sender, domain).map(|rule| &rule.order)
    }

    /// Why mail of this sender to this domain is not delivered, if an order says so.
    pub fn why(&self, reverse_path: &str, domain: &str) -> Option<&Answer> {
        self.rule(self.of_sender(reverse_path), domain)?.stops()
    }

    /// Whether a delivery must not begin.
    pub fn stop(&self, job: &Job) -> bool {
        if self.is_empty() {
            return false;
        }
        // What sent it there may be over: it does not begin all the same where nothing is to go.
        let is_stopped_there = match &job.way {
            Way::Via(route) => self.stopped_at(*route, None).is_some(),
            Way::Hosts { domain, route, .. } => self.stopped_at(*route, Some(domain)).is_some(),
            Way::Route | Way::Failed(_) | Way::Overdue(_) => false,
        };
        let of_sender = self.of_sender(&job.reverse_path);
        let stopped = |domain| self.rule(of_sender, domain).is_some_and(|rule| rule.stops().is_some());
        let mut domains = job.recipients.iter().map(|recipient| domain_of(&recipient.address));
        let mut before = None;
        // Recipients in one domain mostly stand together, and one answer is that of all of them.
        is_stopped_there || domains.any(|domain| before.replace(domain) != Some(domain) && stopped(domain))
    }

    /// Whether mail that goes by a route otherwise may go to a target, and not only as it would anyway.
    fn admits(&self, own: RouteId, domain: &str, target: &Target) -> bool {
        own == DestinationId::NOWHERE || {
            let is_same = own == target.route && target.domain.as_deref().is_none_or(|other| *other == *key_of(domain));
            !is_same && self.routes.route(own).tls.is_met_by(self.routes.route(target.route).tls)
        }
    }

    /// Of the orders with higher numbers those that end connections: the routes, and the domains of such that go by MX.
    pub(super) fn drained(&self, after: u64) -> (Vec<RouteId>, Vec<&str>) {
        let orders = self.rules.iter().map(|rule| &rule.order);
        let drained = orders.filter(|order| order.number > after && order.treatment == Treatment::Drain);
        let (mut routes, mut domains) = (Vec::new(), Vec::new());
        for order in drained {
            match &order.selector {
                Selector::Destination(name) => routes.extend(self.routes.named(name)),
                Selector::Domain(domain) => domains.push(domain.as_str()),
                Selector::All | Selector::Sender(_) | Selector::Tenant(_) => {}
            }
        }
        (routes, domains)
    }
}

/// The domain after which a destination is named, if that is one by MX.
fn by_mx(name: &str) -> Option<&str> {
    let (scheme, domain) = name.split_at_checked(BY_MX.len())?;
    scheme.eq_ignore_ascii_case(BY_MX).then_some(domain)
}

/// The way of mail for a domain, or the one that has this name; none: there is none.
fn target(routes: &Routes, to: &str) -> Option<Target> {
    let (route, domain) = match by_mx(to) {
        None if to.contains("://") => (routes.named(to).next()?, ""),
        domain => {
            let domain = domain.unwrap_or(to);
            (routes.lookup(domain)?, domain)
        }
    };
    let domain = routes.route(route).mx.then(|| key_of(domain).into());
    Some(Target { route, domain, blocked: None })
}

fn is_line(text: &str, size_max: usize) -> bool {
    text.len() <= size_max && !text.chars().any(char::is_control)
}

impl StandingOrder {
    /// Whether its texts are lines of the size that they may have.
    ///
    /// # Errors
    /// Which is not.
    pub fn check_texts(&self) -> Result<(), OrderError> {
        if !is_line(&self.reason, ORDER_REASON_SIZE_MAX) {
            return Err(OrderError::Text("a reason", ORDER_REASON_SIZE_MAX));
        }
        let is_bounded = match &self.treatment {
            Treatment::Reroute { to } => is_line(to, ORDER_NAME_SIZE_MAX),
            Treatment::Suspend | Treatment::Drain => true,
        };
        if !is_bounded || !self.selector.is_bounded() {
            return Err(OrderError::Text("a name", ORDER_NAME_SIZE_MAX));
        }
        Ok(())
    }

    /// Whether it can be given where mail goes by these routes, and is that of these tenants.
    ///
    /// # Errors
    /// It names what is not there, or would do nothing, or harm.
    pub fn check(&self, routes: &Routes, tenants: &Tenants) -> Result<(), OrderError> {
        self.check_texts()?;
        let (own, domain) = match &self.selector {
            Selector::Destination(name) => {
                let own: Vec<RouteId> = routes.named(name).collect();
                if own.is_empty() {
                    return Err(OrderError::NoDestination(name.clone()));
                }
                (own, None)
            }
            Selector::Domain(domain) => {
                let own = routes.lookup(domain).ok_or_else(|| OrderError::NoRoute(domain.clone()))?;
                (vec![own], Some(domain.as_str()))
            }
            Selector::Tenant(name) if tenants.find(name).is_none() => return Err(OrderError::NoTenant(name.clone())),
            Selector::All | Selector::Sender(_) | Selector::Tenant(_) => (Vec::new(), None),
        };
        match &self.treatment {
            Treatment::Suspend => Ok(()),
            Treatment::Drain => {
                let has_connections = domain.is_none() || own.iter().all(|id| routes.route(*id).mx);
                let is_destination = !own.is_empty() && has_connections;
                if is_destination { Ok(()) } else { Err(OrderError::NoConnections(self.selector.clone())) }
            }
            Treatment::Reroute { to } => self.check_way(routes, &own, domain, to),
        }
    }

    fn check_way(&self, routes: &Routes, own: &[RouteId], domain: Option<&str>, to: &str) -> Result<(), OrderError> {
        let Some(target) = target(routes, to) else {
            let is_name = to.contains("://") && by_mx(to).is_none();
            return Err(if is_name { OrderError::NoDestination(to.into()) } else { OrderError::NoRoute(to.into()) });
        };
        let route = routes.route(target.route);
        if route.discards() {
            return Err(OrderError::Discards(to.into()));
        }
        for id in own {
            if *id == target.route && target.domain.as_deref().is_none_or(|other| domain == Some(other)) {
                return Err(OrderError::SameWay(self.selector.clone(), to.into()));
            }
            if !routes.route(*id).tls.is_met_by(route.tls) {
                return Err(OrderError::LessSafe(self.selector.clone(), to.into()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
