//! What is said on the admin socket, and between the control thread and the workers.

use super::destination::{DeliveryReport, DestinationsReply, TrafficEntry, TrafficOrder, Walk};
use super::names::DomainReport;
use super::orders::{OrderCommand, OrderReport};
use super::pair::PairStatus;
use super::reports::ReportsStatus;
use super::status::{StatusReport, WorkerStatus};
use crate::delivery::DestinationKey;
use crate::env::WallTime;
use crate::event::rfc3339;
use crate::mirror::arbiter;
use crate::mirror::register::Node;
use crate::smtp::{Priority, domain_of};
use crate::spool::MessageId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The version of every object on the admin socket, and of what `--json` prints.
pub const PROTOCOL_VERSION: u32 = 1;

/// An object with its version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// The object.
    #[serde(flatten)]
    pub content: T,
}

impl<T> Versioned<T> {
    /// With the version that we speak.
    pub fn new(content: T) -> Versioned<T> {
        Versioned { version: PROTOCOL_VERSION, content }
    }
}

/// What an operator may ask. What is asked of the queue goes to all workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// What the box is doing.
    Status,
    /// Something about queued messages.
    Queue(QueueCommand),
    /// What is going on with the destinations of mail.
    Traffic {
        /// Which come first.
        #[serde(default)]
        order: TrafficOrder,
        /// How many at most, up to [`crate::limits::QUEUE_LIST_MAX`].
        limit: usize,
    },
    /// Something about standing orders.
    Orders(OrderCommand),
    /// Something about the pair.
    Pair(PairCommand),
    /// Where the mail of a domain goes by MX.
    Domain {
        /// As it stands in an address.
        domain: String,
    },
    /// Something about reports on TLS.
    Reports(ReportsCommand),
}

/// What an operator may do with reports on TLS. Each is answered with how they stand then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum ReportsCommand {
    /// Nothing.
    List,
    /// Sends all that was counted so far, without waiting for the end of the day.
    Send,
}

/// What a worker may be asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    /// How it is.
    Status,
    /// Something about queued messages.
    Queue(QueueCommand),
    /// How its destinations are.
    Destinations {
        /// From there on.
        from: Walk,
        /// With the hosts of each.
        hosts: bool,
    },
    /// How many deliveries each standing order keeps back or sends elsewhere. Who answers has heard of all that were given before.
    Orders,
}

/// What an operator may do with the identities of a pair. It is begun when the answer comes, and done when the status says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum PairCommand {
    /// How the pair stands.
    Status,
    /// Creates the identity, once in a pair's life.
    Create {
        /// Which.
        identity: Node,
    },
    /// Gives it to the partner.
    Move {
        /// Which.
        identity: Node,
    },
    /// Works for it alone.
    Solo {
        /// Which.
        identity: Node,
        /// With a stale copy.
        accept_loss: bool,
        /// The operator vouches that the other box is off.
        partner_is_off: bool,
    },
    /// Takes it over from a partner that may still work.
    TakeOver {
        /// Which.
        identity: Node,
        /// The operator vouches that the other box is off.
        partner_is_off: bool,
    },
    /// Works for it with the partner again, or gives up a copy that nothing counts on.
    Rejoin {
        /// Which.
        identity: Node,
    },
}

impl PairCommand {
    /// As the arbiter of an identity knows it; `None`: nothing is to be done.
    pub fn for_arbiter(self) -> Option<(Node, arbiter::Command)> {
        match self {
            PairCommand::Status => None,
            PairCommand::Create { identity } => Some((identity, arbiter::Command::Create)),
            PairCommand::Move { identity } => Some((identity, arbiter::Command::Move)),
            PairCommand::Solo { identity, accept_loss, partner_is_off } => {
                Some((identity, arbiter::Command::Solo { accept_loss, partner_is_off }))
            }
            PairCommand::TakeOver { identity, partner_is_off } => {
                Some((identity, arbiter::Command::TakeOver { partner_is_off }))
            }
            PairCommand::Rejoin { identity } => Some((identity, arbiter::Command::Rejoin)),
        }
    }
}

/// What an operator may do with queued messages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum QueueCommand {
    /// Entries in the order of their ids.
    List {
        /// Which.
        #[serde(default)]
        filter: QueueFilter,
        /// How many at most. On the socket no more than [`crate::limits::QUEUE_LIST_MAX`] come at once.
        limit: usize,
        /// Only those whose ids come after this one: how a long list goes on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<MessageId>,
    },
    /// One entry.
    Show {
        /// Which.
        id: MessageId,
    },
    /// What waits for each destination, those with most of it first.
    Destinations {
        /// Of which messages.
        #[serde(default)]
        filter: QueueFilter,
        /// How many destinations at most, up to [`crate::limits::QUEUE_LIST_MAX`].
        limit: usize,
        /// This one alone, also if nothing waits for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// With the hosts of each.
        #[serde(default)]
        hosts: bool,
    },
    /// Tries all open recipients now.
    Retry {
        /// Which.
        selection: QueueSelection,
    },
    /// Holds messages back until they are released.
    Hold {
        /// Which.
        selection: QueueSelection,
    },
    /// Lets held messages go on.
    Release {
        /// Which.
        selection: QueueSelection,
    },
    /// Deletes messages, without a notice to anyone.
    Delete {
        /// Which.
        selection: QueueSelection,
    },
}

/// The messages that a command is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueSelection {
    /// These; ids that are not in the queue are passed over.
    Ids(Vec<MessageId>),
    /// All that match.
    Filter(QueueFilter),
}

/// Which messages: those that every given condition fits. Without conditions, all. Addresses are compared without
/// regard to ASCII case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueFilter {
    /// The whole reverse-path; empty text for the null sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The whole forward-path of any recipient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// The domain of any recipient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The message's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<MessageState>,
    /// Its priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Accepted at least this long ago, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_seconds: Option<u64>,
    /// With an id that comes after this one: how what takes more than a breath goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<MessageId>,
}

impl QueueCommand {
    /// What is left of it when all messages up to this id are done.
    pub fn narrow(&mut self, after: MessageId) {
        match self {
            QueueCommand::Show { .. } => {}
            QueueCommand::List { filter, .. } | QueueCommand::Destinations { filter, .. } => filter.narrow(after),
            QueueCommand::Retry { selection }
            | QueueCommand::Hold { selection }
            | QueueCommand::Release { selection }
            | QueueCommand::Delete { selection } => match selection {
                QueueSelection::Ids(ids) => ids.retain(|id| *id > after),
                QueueSelection::Filter(filter) => filter.narrow(after),
            },
        }
    }
}

impl QueueFilter {
    fn narrow(&mut self, after: MessageId) {
        self.after = self.after.max(Some(after));
    }

    /// Whether a message fits; [`after`](QueueFilter::after) is for whoever walks through them.
    pub fn matches<'a>(
        &self,
        (sender, priority): (&str, Priority),
        state: impl FnOnce() -> MessageState,
        received_at: WallTime,
        mut recipients: impl Iterator<Item = &'a str> + Clone,
        now: WallTime,
    ) -> bool {
        let fits = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(found))
        };
        fits(&self.sender, sender)
            && self.priority.is_none_or(|wanted| wanted == priority)
            && self.older_than_seconds.is_none_or(|age| now.since(received_at) >= Duration::from_secs(age))
            && (self.domain.is_none() || recipients.clone().any(|address| fits(&self.domain, domain_of(address))))
            && (self.recipient.is_none() || recipients.any(|address| fits(&self.recipient, address)))
            // Last, as it costs most to find out.
            && self.state.is_none_or(|wanted| wanted == state())
    }
}

/// A message's state, for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageState {
    /// Not tried yet.
    Queued,
    /// Being delivered.
    Active,
    /// Waiting for its next attempt.
    Deferred,
    /// Held back by an operator.
    Held,
    /// Its content is not as it was written: it is not delivered.
    Damaged,
}

/// A word that names no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a state is one of queued, active, deferred, held, damaged")]
pub struct UnknownState;

impl FromStr for MessageState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<MessageState, UnknownState> {
        match text {
            "queued" => Ok(MessageState::Queued),
            "active" => Ok(MessageState::Active),
            "deferred" => Ok(MessageState::Deferred),
            "held" => Ok(MessageState::Held),
            "damaged" => Ok(MessageState::Damaged),
            _ => Err(UnknownState),
        }
    }
}

impl fmt::Display for MessageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            MessageState::Queued => "queued",
            MessageState::Active => "active",
            MessageState::Deferred => "deferred",
            MessageState::Held => "held",
            MessageState::Damaged => "damaged",
        })
    }
}

/// A recipient's state, for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecipientState {
    /// Not tried yet.
    Queued,
    /// Being delivered.
    Active,
    /// Waiting for the next attempt.
    Deferred,
    /// It may have been delivered by whoever led the log before; waiting for the next attempt.
    InDoubt,
    /// The next hop has it.
    Delivered,
    /// Failed for good, or given up for its age.
    Failed,
}

impl fmt::Display for RecipientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RecipientState::Queued => "queued",
            RecipientState::Active => "active",
            RecipientState::Deferred => "deferred",
            RecipientState::InDoubt => "in doubt",
            RecipientState::Delivered => "delivered",
            RecipientState::Failed => "failed",
        })
    }
}

/// A queued message, for the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueEntry {
    /// The queue id.
    pub id: MessageId,
    /// When it became durable.
    #[serde(with = "rfc3339")]
    pub received_at: WallTime,
    /// The reverse-path; empty for the null sender.
    pub sender: String,
    /// In the order of their RCPT commands.
    pub recipients: Vec<RecipientEntry>,
    /// Its size as stored, bytes.
    pub size_bytes: u64,
    /// How urgent it is, -9 to 9.
    #[serde(default)]
    pub priority: Priority,
    /// The message's state.
    pub state: MessageState,
}

/// A recipient of a queued message, for the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecipientEntry {
    /// The forward-path.
    pub address: String,
    /// The recipient's state.
    pub state: RecipientState,
    /// The route that it takes, if there is one.
    pub destination: Option<String>,
    /// Attempts made.
    pub attempts: u32,
    /// When it is tried next, if it is still to be.
    #[serde(with = "rfc3339::option")]
    pub next_attempt_at: Option<WallTime>,
    /// What was said at the last attempt, or why nothing goes there now.
    pub last_reply: Option<String>,
}

/// What waits for one destination, for the operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DestinationEntry {
    /// The route: its hops, or `mx://DOMAIN`.
    pub destination: String,
    /// Messages with a recipient there that is open.
    pub messages: u64,
    /// Their sizes, bytes.
    pub size_bytes: u64,
    /// Of the messages: those on their way there.
    pub active: u64,
    /// Those that were tried, and wait for their next attempt.
    pub deferred: u64,
    /// Those held by an operator, or damaged.
    pub held: u64,
    /// When the oldest of the messages was accepted, if there is one.
    #[serde(with = "rfc3339::option")]
    pub oldest_at: Option<WallTime>,
    /// The next attempt, if one is to come.
    #[serde(with = "rfc3339::option")]
    pub next_attempt_at: Option<WallTime>,
    /// What was said last about the youngest of the messages that were tried.
    pub last_reply: Option<String>,
    /// How they are delivered, if that has begun.
    #[serde(default)]
    pub delivery: Option<DeliveryReport>,
    /// By which its owner knows it.
    #[serde(skip)]
    pub key: Option<DestinationKey>,
}

impl DestinationEntry {
    /// One for which nothing waits.
    pub fn of_nothing(destination: String, key: Option<DestinationKey>) -> DestinationEntry {
        DestinationEntry {
            destination,
            messages: 0,
            size_bytes: 0,
            active: 0,
            deferred: 0,
            held: 0,
            oldest_at: None,
            next_attempt_at: None,
            last_reply: None,
            delivery: None,
            key,
        }
    }

    /// Adds it to a sum by destination, to whose parts it came later.
    pub fn add_to(self, sum: &mut BTreeMap<String, DestinationEntry>) {
        match sum.entry(self.destination.clone()) {
            Entry::Vacant(place) => drop(place.insert(self)),
            Entry::Occupied(mut known) => known.get_mut().add(self),
        }
    }

    fn add(&mut self, later: DestinationEntry) {
        let DestinationEntry { messages, size_bytes, active, deferred, held, oldest_at, .. } = later;
        self.messages += messages;
        self.size_bytes += size_bytes;
        self.active += active;
        self.deferred += deferred;
        self.held += held;
        self.oldest_at = [self.oldest_at, oldest_at].into_iter().flatten().min();
        self.next_attempt_at = [self.next_attempt_at, later.next_attempt_at].into_iter().flatten().min();
        self.last_reply = later.last_reply.or(self.last_reply.take());
        self.key = self.key.or(later.key);
    }
}

/// A worker's answer to a [`Request`].
#[derive(Debug)]
pub enum Reply {
    /// To [`Question::Status`].
    Status(Box<WorkerStatus>),
    /// To [`Question::Queue`].
    Queue(QueueReply),
    /// To [`Question::Destinations`].
    Destinations(DestinationsReply),
    /// To [`Question::Orders`]: by the numbers of the orders.
    Orders(BTreeMap<u64, u64>),
}

/// A worker's answer to a [`QueueCommand`].
#[derive(Clone, Debug, PartialEq)]
pub enum QueueReply {
    /// To `List`: the worker's *first* entries that match and come after `after`, by id, and no more than `limit`,
    /// [`crate::limits::QUEUE_LIST_RECIPIENTS_MAX`] and [`crate::limits::QUEUE_LOOKS_MAX`] allow.
    Entries {
        /// In any order.
        entries: Vec<QueueEntry>,
        /// All up to this id have been looked at; there may be others after it.
        next: Option<MessageId>,
    },
    /// To `Show`: nothing from the workers that do not hold it.
    Entry(Option<Box<QueueEntry>>),
    /// To `Destinations`.
    Destinations {
        /// In any order, each once.
        destinations: Vec<DestinationEntry>,
        /// All messages up to this id are in it; ask again for those after it.
        next: Option<MessageId>,
    },
    /// To the others: how many messages were changed.
    Changed {
        /// How many.
        count: u64,
        /// All up to this id have been looked at; ask again for those after it.
        next: Option<MessageId>,
    },
}

/// One object on the admin socket, towards the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Answer {
    /// To `status`.
    Status {
        /// What the box is doing.
        status: Box<StatusReport>,
    },
    /// One of the entries of `queue list`, or the one of `queue show`.
    Entry {
        /// The message.
        entry: Box<QueueEntry>,
    },
    /// To `queue destinations`.
    Destinations {
        /// Those with the most messages, and with most first.
        destinations: Vec<DestinationEntry>,
        /// How many there are in all.
        count: usize,
    },
    /// To `traffic`.
    Traffic {
        /// In the order that was asked for.
        destinations: Vec<TrafficEntry>,
        /// How many there are in all.
        count: usize,
    },
    /// After the last entry of a list.
    End {
        /// How many there were.
        count: usize,
        /// There are more: ask for those after this id.
        next: Option<MessageId>,
    },
    /// To what is asked about standing orders.
    Orders {
        /// Those that it is about.
        orders: Vec<OrderReport>,
    },
    /// To what is asked of the pair.
    Pair {
        /// How it stands.
        pair: Box<PairStatus>,
    },
    /// To what is asked about a domain.
    Domain {
        /// What is known of it.
        domain: Box<DomainReport>,
    },
    /// To what is asked about reports on TLS.
    Reports {
        /// How they stand.
        reports: Box<ReportsStatus>,
    },
    /// To what changes messages.
    Changed {
        /// How many were changed.
        count: u64,
    },
    /// It could not be done.
    Error {
        /// Why, for a person.
        text: String,
    },
}

impl Answer {
    /// Nothing follows this object.
    pub fn is_last(&self, to: &Request) -> bool {
        !matches!((self, to), (Answer::Entry { .. }, Request::Queue(QueueCommand::List { .. })))
    }
}
