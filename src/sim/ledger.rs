//! What was promised and what came of it: the checkers.
//!
//! In: what clients were told, what next hops took, what senders got back, what went wrong on purpose. Out: the first
//! broken invariant, if there is one, and the sums. It knows nothing of how the appliance works.

use super::mail::Mail;
use super::plan::LMTP;
use super::proof::{Proof, Shown};
use super::trace::Trace;
use crate::delivery::{Selector, StandingOrder, Treatment};
use crate::dkim::verify::Published;
use crate::env::Instant;
use crate::event::Event;
use crate::smtp::domain_of;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How long after a delivery a crash can still keep its outcome from the disk, if the disk does not stall.
const OUTCOME_DELAY_MAX: Duration = Duration::from_secs(30);

/// A message may overtake another to the same destination, as each has a connection of its own; but not one that has waited
/// for so much longer without having been tried at all.
const OVERTAKE_MAX: Duration = Duration::from_secs(1800);

/// For so long the former owner of a pair may go on with what it has begun: it hears its partner and is not heard by it.
pub(super) const FORMER_OWNER_MAX: Duration = Duration::from_secs(5);

/// An attempt that was broken off may still reach its next hop for so long: its commands are on the wire.
const TRANSIT_MAX: Duration = Duration::from_secs(1);

/// What was begun before an order was given may take so long until a next hop hears of it: slow ones take their time for each reply.
const BEGUN_MAX: Duration = Duration::from_secs(600);

/// The clock of a breath is a little behind the one of its log lines.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// What a client knows about its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is being sent.
    Begun,
    /// 250: the appliance has it.
    Acknowledged,
    /// The connection ended between the final dot and the answer.
    Unknown,
    /// 4yz or 5yz, or the final dot was never sent.
    Refused,
}

/// A recipient and what came of it.
#[derive(Debug)]
struct Fate {
    address: String,
    /// Whether RCPT was answered with 250, once it was answered.
    accepted: Option<bool>,
    deliveries: Vec<Delivery>,
    bounced: u32,
    /// The next hop refused it for good at some time.
    refused: bool,
    /// The appliance tried it, or found that it cannot be tried now.
    attempted: bool,
    /// It must not be tried again before then.
    due: Instant,
    /// Until then one attempt may arrive that was broken off.
    under_way_until: Instant,
    /// How many times the appliance said that it may be delivered again, and it was not.
    doubts: u32,
}

/// One time that a next hop took the message.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    at: Instant,
    /// By when the appliance can have written down what it learnt by the 250; it went on in the same connection after it,
    /// else nobody knows whether it learnt anything.
    recorded_by: Option<Instant>,
    /// The storage had failed: no outcome can be kept.
    forgotten: bool,
}

#[derive(Debug)]
struct Entry {
    mail: Mail,
    standing: Standing,
    /// When its client began: it cannot be older.
    begun_at: Instant,
    /// When its client learnt what came of it: it cannot be younger if that was 250.
    known_at: Instant,
    fates: Vec<Fate>,
    /// An operator deleted it.
    deleted: bool,
    /// The appliance said that it is damaged.
    damaged: bool,
    /// A notice about it did not reach its sender.
    notice_given_up: bool,
    /// An operator holds it, or held it until then.
    held_until: Instant,
    /// What stood before it when it was delivered.
    signatures: Option<Vec<u8>>,
}

/// Names a delivery until it is confirmed.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeliveryId {
    number: u32,
    fate: usize,
    place: usize,
}

/// Sums of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sums {
    /// Messages that clients began to send.
    pub begun: u64,
    /// Messages answered with 250.
    pub acknowledged: u64,
    /// Messages whose answer was lost.
    pub unknown: u64,
    /// Recipients that a next hop took at least once.
    pub delivered: u64,
    /// Further times that it took them, all with a cause.
    pub duplicated: u64,
    /// Recipients bounced to their senders.
    pub bounced: u64,
    /// Messages that were delivered though their client was told otherwise, or nothing.
    pub recovered: u64,
    /// Messages that an operator deleted.
    pub deleted: u64,
    /// Acknowledged messages that the appliance reported as damaged.
    pub damaged: u64,
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, other: Sums) {
        self.begun += other.begun;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.delivered += other.delivered;
        self.duplicated += other.duplicated;
        self.bounced += other.bounced;
        self.recovered += other.recovered;
        self.deleted += other.deleted;
        self.damaged += other.damaged;
    }
}

/// How long the appliance waits before it tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retry {
    pub first: Duration,
    pub max: Duration,
}

/// What may be expected of the appliance in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Nothing acknowledged is lost.
    Kept,
    /// The medium of one box of a pair changes what is on it: nothing acknowledged is lost, as the other copy mends it.
    Mended,
    /// The medium itself loses what it has promised to keep: a loss must be reported.
    Detected,
}

/// The book of a world.
pub(super) struct Ledger {
    pub trace: Trace,
    promise: Promise,
    entries: BTreeMap<u32, Entry>,
    /// The appliance has a partner, and says of whom it may deliver to again.
    pair: bool,
    /// Crashes, kills and failures of the storage, and takeovers.
    upsets: Vec<Instant>,
    /// When the operator last said what is to be done with some of the mail, or that was over: all that waited for it is due then.
    ordered_at: Instant,
    /// By which orders mail waits, and since when, on each box that runs: what all of them know of nobody may deliver.
    kept: BTreeMap<usize, Vec<(StandingOrder, Instant)>>,
    /// Nothing is written before then.
    stalled_until: Instant,
    /// When the process started last.
    started_at: Instant,
    /// The storage has failed and the process was not started again.
    failed: bool,
    /// The wall clock was set at some time.
    pub clock_jumped: bool,
    /// The appliance reported damage that it cannot put a name to.
    damage_reported: bool,
    /// How many times a next hop took a message.
    pub deliveries: u64,
    age_max: Duration,
    retry: Retry,
    violation: Option<String>,
    /// Domains that the DNS said to have no mail host; what was begun until then may bounce for it.
    no_mail: BTreeMap<String, Instant>,
    /// The keys that all mail must be signed with, if it is signed.
    pub published: Option<Published>,
    /// What next hops show, and who has to show who it is, where there is TLS.
    pub proof: Option<Proof>,
}

impl Ledger {
    pub(super) fn new(promise: Promise, pair: bool, age_max: Duration, retry: Retry, trace: Trace) -> Ledger {
        Ledger {
            trace,
            promise,
            pair,
            entries: BTreeMap::new(),
            upsets: Vec::new(),
            ordered_at: Instant::ZERO,
            kept: BTreeMap::new(),
            stalled_until: Instant::ZERO,
            started_at: Instant::ZERO,
            failed: false,
            clock_jumped: false,
            damage_reported: false,
            deliveries: 0,
            age_max,
            retry,
            violation: None,
            no_mail: BTreeMap::new(),
            published: None,
            proof: None,
        }
    }

    /// An invariant is broken. The first counts.
    pub(super) fn violate(&mut self, now: Instant, what: fmt::Arguments<'_>) {
        self.trace.note(now, format_args!("VIOLATION {what}"));
        self.violation.get_or_insert_with(|| what.to_string());
    }

    pub(super) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Something after which an outcome may be forgotten.
    pub(super) fn upset(&mut self, now: Instant) {
        self.upsets.push(now);
        self.forget_dues();
    }

    /// A box runs from now on, with these orders of the operator, or does so no more.
    pub(super) fn runs(&mut self, now: Instant, place: usize, orders: Option<Vec<StandingOrder>>) {
        self.kept.remove(&place);
        for order in orders.iter().flatten() {
            self.ordered(now, place, &Event::OrderGiven(order.clone()));
        }
        if orders.is_some() {
            self.kept.entry(place).or_default();
        }
    }

    /// An order of the operator begins or ends on a box.
    pub(super) fn ordered(&mut self, now: Instant, place: usize, event: &Event) {
        self.ordered_at = now;
        let kept = self.kept.entry(place).or_default();
        match event {
            Event::OrderGiven(order) if !matches!(order.treatment, Treatment::Reroute { .. }) => {
                kept.push((order.clone(), now));
            }
            Event::OrderEnded(order) | Event::OrderExpired(order) => {
                kept.retain(|(other, _)| other.number != order.number);
            }
            _ => {}
        }
    }

    /// From now on nobody knows when what is due: it was forgotten, or an operator or a clock has changed it.
    pub(super) fn forget_dues(&mut self) {
        self.entries.values_mut().flat_map(|entry| &mut entry.fates).for_each(|fate| fate.due = Instant::ZERO);
    }

    /// The appliance will try a recipient again after `delay`; it was tried `attempts` times.
    pub(super) fn deferred(&mut self, now: Instant, number: u32, to: &str, attempts: u32, delay: Duration) {
        let (retry, age_max, jumped) = (self.retry, self.age_max, self.clock_jumped);
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let (age_at_most, age_at_least) = (now.since(entry.begun_at), now.since(entry.known_at));
        let is_known = entry.standing == Standing::Acknowledged;
        let Some(fate) = entry.fates.iter_mut().find(|fate| fate.address == to) else { return };
        fate.attempted = true;
        // What a log that failed was told is not known any more after the next start.
        fate.due = if self.failed { Instant::ZERO } else { now + delay };
        // RFC 5321 §4.5.4.1, as configured: twice as long each time, a tenth of jitter, and a last attempt at the end.
        let base = retry.first.as_secs_f64() * 2f64.powi(attempts.saturating_sub(1).min(60) as i32);
        let base = Duration::from_secs_f64(base.min(retry.max.as_secs_f64()));
        let range = base.mul_f64(0.9).saturating_sub(CLOCK_SLACK)..=base.mul_f64(1.1).min(retry.max) + CLOCK_SLACK;
        let is_last = age_at_most + delay + 2 * OUTCOME_DELAY_MAX >= age_max && delay <= *range.end();
        if !range.contains(&delay) && !is_last && !jumped {
            self.violate(now, format_args!("retry: message {number} to {to} waits {delay:?} after attempt {attempts}"));
        }
        // An attempt that fails so late is the last, unless it was the first: the appliance may have been down for long.
        if attempts > 1 && is_known && age_at_least > age_max + CLOCK_SLACK && !jumped {
            self.violate(
                now,
                format_args!("too old: message {number} to {to} is to be tried after attempt {attempts}"),
            );
        }
    }

    /// An attempt was deferred without an answer: the next hop may hear of it yet.
    pub(super) fn broken_off(&mut self, now: Instant, number: u32, to: &str) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if let Some(fate) = entry.fates.iter_mut().find(|fate| fate.address == to) {
            fate.under_way_until = now + TRANSIT_MAX;
        }
    }

    /// The appliance says that a recipient may have been delivered to, and that it will try again: not before `delay` is over.
    pub(super) fn in_doubt(&mut self, now: Instant, number: u32, to: &str, delay: Duration) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let Some(fate) = entry.fates.iter_mut().find(|fate| fate.address == to) else { return };
        self.trace.note(now, format_args!("message {number} to {to} is in doubt"));
        fate.doubts += 1;
        fate.due = fate.due.max(now + delay);
    }

    /// A next hop is asked to take a message.
    pub(super) fn attempted(&mut self, now: Instant, sender: &str, to: &str) {
        let Some(number) = super::mail::number_of_sender(sender) else { return };
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let known_at = entry.known_at;
        let Some(fate) = entry.fates.iter_mut().find(|fate| fate.address == to) else { return };
        let (due, is_first) = (fate.due, !std::mem::replace(&mut fate.attempted, true));
        let under_way = now <= std::mem::replace(&mut fate.under_way_until, Instant::ZERO);
        let former_owner = self.pair && self.upsets.last().is_some_and(|at| now.since(*at) <= FORMER_OWNER_MAX);
        if due > now + CLOCK_SLACK && !under_way && !former_owner {
            let early = due.since(now);
            return self.violate(now, format_args!("retry: message {number} to {to} is tried {early:?} too early"));
        }
        let domain = domain_of(to);
        let is_about = |selector: &Selector| match selector {
            Selector::All => true,
            Selector::Domain(name) => name == domain,
            Selector::Sender(name) => sender.ends_with(name.as_str()),
            Selector::Destination(_) | Selector::Tenant(_) => false,
        };
        let mut each = self.kept.values().map(|kept| {
            let mut kept = kept.iter().filter(|(_, since)| *since + BEGUN_MAX < now).map(|(order, _)| order);
            kept.find(|order| is_about(&order.selector))
        });
        let first = each.next().flatten().filter(|_| each.all(|order| order.is_some()));
        if let Some(StandingOrder { selector, treatment, .. }) = first {
            let what = format!("order: message {number} to {to} is tried, and {selector} is {treatment}");
            return self.violate(now, format_args!("{what}"));
        }
        let since = self.upsets.last().copied().unwrap_or(Instant::ZERO).max(self.ordered_at);
        if !is_first || known_at.since(since) <= OVERTAKE_MAX {
            return;
        }
        // All that was acknowledged so much earlier must have had its turn.
        let waits = |entry: &&Entry| {
            let known_at = entry.known_at.max(since).max(entry.held_until);
            let is_open = entry.standing == Standing::Acknowledged && !entry.deleted && !entry.damaged;
            let is_waiting = |fate: &Fate| {
                fate.accepted == Some(true) && !fate.attempted && fate.bounced == 0 && fate.address.ends_with(domain)
            };
            is_open && known_at + OVERTAKE_MAX < now && entry.fates.iter().any(is_waiting)
        };
        if let Some(other) = self.entries.values().find(waits) {
            let other = other.mail.number;
            self.violate(now, format_args!("order: message {number} to {to} is tried, and {other} never was"));
        }
    }

    /// A next hop is told how urgent a message is: as it was granted, whatever happened since, and never where that is not offered.
    pub(super) fn ranked(&mut self, now: Instant, sender: &str, told: Option<&str>, offered: bool) {
        let Some(number) = super::mail::number_of_sender(sender) else { return };
        let Some(entry) = self.entries.get(&number) else { return };
        let granted = entry.mail.granted();
        let expected = (offered && granted != 0).then(|| granted.to_string());
        if told != expected.as_deref() {
            self.violate(
                now,
                format_args!("priority: message {number} has {granted}, and a next hop is told {told:?}"),
            );
        }
    }

    /// An operator holds a message, or lets it go.
    pub(super) fn held(&mut self, now: Instant, number: u32, held: bool) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.held_until = if held { Instant::FAR } else { now };
        }
    }

    /// The disk or the whole process stands still: what is on its way to the disk gets there later.
    pub(super) fn stalled(&mut self, now: Instant, until: Instant) {
        self.stalled_until = self.stalled_until.max(until);
        let deliveries =
            self.entries.values_mut().flat_map(|entry| &mut entry.fates).flat_map(|fate| &mut fate.deliveries);
        for recorded_by in deliveries.filter_map(|delivery| delivery.recorded_by.as_mut()).filter(|by| **by > now) {
            *recorded_by = (*recorded_by).max(until + OUTCOME_DELAY_MAX);
        }
    }

    /// The storage failed: no outcome is kept until the process starts again.
    pub(super) fn storage_failed(&mut self, now: Instant) {
        self.upset(now);
        self.failed = true;
    }

    /// The process has started.
    pub(super) fn restarted(&mut self, now: Instant) {
        self.failed = false;
        self.started_at = now;
        if self.promise == Promise::Detected {
            self.forget_dues();
        }
    }

    /// A client begins to send.
    pub(super) fn begin(&mut self, now: Instant, mail: &Mail) {
        let fate = |address: &String| Fate {
            address: address.clone(),
            accepted: None,
            deliveries: Vec::new(),
            bounced: 0,
            refused: false,
            attempted: false,
            due: Instant::ZERO,
            under_way_until: Instant::ZERO,
            doubts: 0,
        };
        let entry = Entry {
            mail: mail.clone(),
            standing: Standing::Begun,
            begun_at: now,
            known_at: now,
            fates: mail.recipients.iter().map(fate).collect(),
            deleted: false,
            damaged: false,
            notice_given_up: false,
            held_until: Instant::ZERO,
            signatures: None,
        };
        let before = self.entries.insert(mail.number, entry);
        assert!(before.is_none(), "numbers are given once");
    }

    pub(super) fn recipient_answered(&mut self, number: u32, place: usize, accepted: bool) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.fates[place].accepted = Some(accepted);
        }
    }

    /// What the client knows at the end.
    pub(super) fn conclude(&mut self, now: Instant, number: u32, standing: Standing) {
        self.trace.note(now, format_args!("message {number} {standing:?}"));
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.standing = standing;
            entry.known_at = now;
        }
    }

    /// A next hop took a message for a recipient.
    pub(super) fn delivered(&mut self, now: Instant, sender: &str, to: &str, content: &[u8]) -> Option<DeliveryId> {
        let number = super::mail::number_of(content);
        let Some((number, entry)) = number.and_then(|number| Some((number, self.entries.get_mut(&number)?))) else {
            self.violate(
                now,
                format_args!("unexpected: something was delivered that nobody sent ({number:?} to {to})"),
            );
            return None;
        };
        self.trace.note(now, format_args!("message {number} delivered to {to}"));
        let (signatures, rest) = split_signatures(content);
        let altered = match rest.strip_suffix(entry.mail.content.as_slice()) {
            Some(before) => !is_received_header(before) || entry.mail.sender != sender,
            None => true,
        };
        let unsigned = match &self.published {
            None => (!signatures.is_empty()).then(|| "nobody signs".to_owned()),
            Some(published) => match published.verify(content) {
                Ok(selectors) if selectors.is_empty() => Some("there is no signature".to_owned()),
                result => result.err(),
            },
        };
        if let Some(why) = unsigned {
            self.violate(now, format_args!("signature: message {number} to {to}: {why}"));
            return None;
        }
        let before = entry.signatures.replace(signatures.to_vec());
        // A medium that forgets may have forgotten the first.
        if self.promise != Promise::Detected && before.is_some_and(|before| before != signatures) {
            self.violate(now, format_args!("signature: message {number} to {to} has another one than before"));
            return None;
        }
        if altered {
            self.violate(now, format_args!("altered: message {number} was delivered to {to} with other bytes"));
            return None;
        }
        if entry.standing == Standing::Refused && self.upsets.is_empty() {
            self.violate(now, format_args!("unexpected: message {number} was refused, and delivered to {to}"));
            return None;
        }
        let Some(place) = entry.fates.iter().position(|fate| fate.address == to && fate.accepted != Some(false)) else {
            self.violate(now, format_args!("unexpected: message {number} was delivered to {to}, who is no recipient"));
            return None;
        };
        let fate = &mut entry.fates[place];
        if let Some(before) = fate.deliveries.last().copied() {
            let recorded_by = before.recorded_by.unwrap_or(Instant::FAR);
            let upset = |at: &Instant| *at >= before.at && *at <= recorded_by;
            let damaged = self.promise == Promise::Detected && self.started_at >= before.at;
            let forgotten = before.forgotten || self.upsets.iter().any(upset) || damaged;
            // What a pair cannot know it says, whoever of the two it is.
            let excused = if self.pair { fate.doubts > 0 } else { before.recorded_by.is_none() || forgotten };
            fate.doubts = fate.doubts.saturating_sub(1);
            if !excused {
                self.violate(now, format_args!("duplicated: message {number} to {to} again, without a cause"));
                return None;
            }
        }
        self.deliveries += 1;
        fate.deliveries.push(Delivery { at: now, recorded_by: None, forgotten: self.failed });
        Some(DeliveryId { number, fate: place, place: fate.deliveries.len() - 1 })
    }

    /// A next hop that has shown this in the session took a message: whoever must show who it is did so.
    pub(super) fn prove(&mut self, now: Instant, to: &str, hop: usize, shown: Shown) {
        let Some(proof) = &mut self.proof else { return };
        let demand = proof.demand(domain_of(to));
        *proof.deliveries.entry((demand, shown)).or_default() += 1;
        if !proof.allows(now, domain_of(to), hop, shown) {
            self.violate(now, format_args!("unproved: {to} ({demand:?}) was delivered to hop {hop}: {shown:?}"));
        }
    }

    /// A next hop is told that a message demands proof of all, or not (RFC 8689 §4.2.1).
    pub(super) fn required(&mut self, now: Instant, sender: &str, told: bool, (hop, shown): (usize, Shown)) {
        let Some(proof) = &mut self.proof else { return };
        let Some(number) = super::mail::number_of_sender(sender) else { return };
        let Some(entry) = self.entries.get(&number) else { return };
        proof.required += u64::from(told);
        // Who has the mailbox passes nothing on.
        if entry.mail.requiretls != told && hop != LMTP || told && !proof.is_proved(now, hop, shown) {
            let told = if told { "with" } else { "without" };
            self.violate(now, format_args!("unproved: message {number} to hop {hop} {told} REQUIRETLS: {shown:?}"));
        }
    }

    /// The appliance has read the 250: it has gone on in the same connection.
    pub(super) fn confirm(&mut self, now: Instant, delivery: DeliveryId) {
        let recorded_by = now.max(self.stalled_until) + OUTCOME_DELAY_MAX;
        if let Some(entry) = self.entries.get_mut(&delivery.number) {
            let delivery = &mut entry.fates[delivery.fate].deliveries[delivery.place];
            delivery.recorded_by = Some(recorded_by);
            delivery.forgotten |= self.failed;
        }
    }

    /// A next hop said 5yz: to a recipient of its, or to the whole content.
    pub(super) fn refused(&mut self, sender: &str, to: &str) {
        let number = super::mail::number_of_sender(sender);
        let Some(entry) = number.and_then(|number| self.entries.get_mut(&number)) else { return };
        if let Some(fate) = entry.fates.iter_mut().find(|fate| fate.address == to) {
            fate.refused = true;
        }
    }

    /// The DNS says that a domain has no mail host; messages that were begun until then may bounce for it.
    pub(super) fn no_mail(&mut self, now: Instant, domain: &str, until: Instant) {
        self.trace.note(now, format_args!("the DNS says that {domain} has no mail host"));
        self.no_mail.insert(domain.to_owned(), until);
    }

    /// A sender got a failure notice.
    pub(super) fn bounced(&mut self, now: Instant, number: u32, to: &str) {
        self.trace.note(now, format_args!("message {number} bounced for {to}"));
        let Some(entry) = self.entries.get_mut(&number) else {
            return self.violate(now, format_args!("unexpected: a bounce of message {number}, which nobody sent"));
        };
        let Some(fate) = entry.fates.iter_mut().find(|fate| fate.address == to) else {
            return self
                .violate(now, format_args!("unexpected: message {number} bounced for {to}, who is no recipient"));
        };
        fate.bounced += 1;
        if !self.may_bounce(now, number, to) {
            self.violate(now, format_args!("bounced: message {number} for {to}, whom nobody refused"));
        }
    }

    /// Whether anything has happened for which a message may bounce.
    fn may_bounce(&self, now: Instant, number: u32, to: &str) -> bool {
        let Some(entry) = self.entries.get(&number) else { return false };
        let refused = entry.fates.iter().any(|fate| fate.address == to && fate.refused);
        let old = now.since(entry.begun_at) + CLOCK_SLACK >= self.age_max;
        let domain = domain_of(to);
        let no_mail = self.no_mail.get(domain).is_some_and(|until| entry.begun_at <= *until);
        let refusing = |proof: &Proof| entry.mail.requiretls && proof.may_refuse(domain);
        refused || old || self.clock_jumped || no_mail || self.proof.as_ref().is_some_and(refusing)
    }

    /// Whether a message must be in the queue: it was acknowledged, and nothing is known that can have ended it.
    pub(super) fn is_owed(&self, now: Instant, number: u32) -> bool {
        let Some(entry) = self.entries.get(&number) else { return false };
        let excused = entry.deleted || entry.damaged || self.promise == Promise::Detected;
        let is_open = |fate: &Fate| {
            let over = !fate.deliveries.is_empty() || fate.bounced > 0 || self.may_bounce(now, number, &fate.address);
            fate.accepted == Some(true) && !over
        };
        entry.standing == Standing::Acknowledged && !excused && entry.fates.iter().any(is_open)
    }

    /// A notice could not be delivered. There is no notice about a notice (RFC 5321 §6.1).
    pub(super) fn notice_given_up(&mut self, now: Instant, number: u32) {
        let (jumped, age_max) = (self.clock_jumped, self.age_max);
        let Some(entry) = self.entries.get_mut(&number) else { return };
        entry.notice_given_up = true;
        if !jumped && now.since(entry.known_at) + Duration::from_secs(60) < age_max {
            self.violate(now, format_args!("lost: the notice about message {number} was given up early"));
        }
    }

    pub(super) fn deleted(&mut self, number: u32) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.deleted = true;
        }
    }

    /// The appliance reports damage.
    pub(super) fn damage(&mut self, now: Instant, what: fmt::Arguments<'_>) {
        self.trace.note(now, format_args!("damage: {what}"));
        self.damage_reported = true;
        if self.promise == Promise::Kept {
            self.violate(now, format_args!("damaged: {what}, though the medium is sound"));
        }
    }

    /// The appliance reports that this message is damaged.
    pub(super) fn damaged(&mut self, now: Instant, number: u32) {
        self.damage(now, format_args!("message {number}"));
        // Where a copy is sound it is delivered from there.
        if self.promise != Promise::Mended
            && let Some(entry) = self.entries.get_mut(&number)
        {
            entry.damaged = true;
        }
    }

    /// A message is in the queue: it must not be older than messages may be.
    pub(super) fn queued(&mut self, now: Instant, number: u32, slack: Duration) {
        let Some(entry) = self.entries.get(&number) else {
            return self.violate(now, format_args!("unexpected: message {number} is queued, and nobody sent it"));
        };
        if now.since(entry.known_at) > self.age_max + slack && !self.clock_jumped {
            self.violate(now, format_args!("too old: message {number} is still queued"));
        }
    }

    /// All is over and the queue is empty but for `open`: is everything accounted for?
    pub(super) fn settle(&mut self, now: Instant, open: &dyn Fn(u32) -> bool) {
        let mut lost = Vec::new();
        for entry in self.entries.values() {
            let excused = entry.deleted || entry.damaged || entry.notice_given_up || open(entry.mail.number);
            let detected = self.promise == Promise::Detected && self.damage_reported;
            if entry.standing != Standing::Acknowledged || excused || detected {
                continue;
            }
            let missing = entry
                .fates
                .iter()
                .find(|fate| fate.accepted == Some(true) && fate.deliveries.is_empty() && fate.bounced == 0);
            lost.extend(missing.map(|fate| (entry.mail.number, fate.address.clone())));
        }
        for (number, to) in lost {
            self.violate(now, format_args!("lost: message {number} to {to} was acknowledged, and nothing came of it"));
        }
    }

    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for entry in self.entries.values() {
            let acknowledged = entry.standing == Standing::Acknowledged;
            let came = entry.fates.iter().any(|fate| !fate.deliveries.is_empty());
            sums.begun += 1;
            sums.acknowledged += u64::from(acknowledged);
            sums.unknown += u64::from(entry.standing == Standing::Unknown);
            sums.recovered += u64::from(!acknowledged && came);
            sums.deleted += u64::from(entry.deleted);
            sums.damaged += u64::from(acknowledged && entry.damaged);
            for fate in &entry.fates {
                let count = fate.deliveries.len() as u64;
                sums.delivered += u64::from(count > 0);
                sums.duplicated += count.saturating_sub(1);
                sums.bounced += u64::from(fate.bounced > 0);
            }
        }
        sums
    }
}

/// The signatures that a message begins with, and the rest.
fn split_signatures(content: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    let mut within = false;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        within = line.starts_with(b"DKIM-Signature: ") || within && (line.starts_with(b"\t") || line.starts_with(b" "));
        if !within {
            break;
        }
        end += line.len();
    }
    content.split_at(end)
}

/// Whether this is one Received header field and nothing else.
fn is_received_header(bytes: &[u8]) -> bool {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.next().is_some_and(|line| line.starts_with(b"Received: ") && line.ends_with(b"\r\n"))
        && lines.all(|line| line.starts_with(b"\t") || line.starts_with(b" "))
}
