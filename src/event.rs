//! What happens to messages, and to the appliance as a whole: one structured log line each.
//!
//! In: typed events from the workers. Out: JSON objects, one a line, that begin with `time` and `event`. Nothing
//! here writes them anywhere; the control thread does.

use crate::control::{AlertState, Condition, Notice};
use crate::delivery::{HopPath, HopSecured, StandingOrder};
use crate::env::WallTime;
use crate::mirror::arbiter::{Stage, Trouble};
use crate::mirror::register::Node;
use crate::port::Link;
use crate::smtp::Priority;
use crate::smtp::dsn::Status;
use crate::spool::MessageId;
use crate::tls::Secured;
use serde::{Serialize, Serializer};
use std::net::{IpAddr, SocketAddr};

/// One event. Every message transition is one, with the queue id.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The appliance serves from now on.
    Started {
        /// The transport of the configuration.
        transport: String,
        /// What it stands on: devices, queues, modes, or the listeners.
        detail: String,
    },
    /// The link of the device came up or went down, or changed its speed.
    Link(Link),
    /// A log was replayed.
    Recovered {
        /// The log's number.
        log: u16,
        /// How it is written ("io_uring, O_DIRECT"), and why not better if it is not.
        disk: String,
        /// Messages that are still to be delivered.
        messages: u64,
        /// Batches read.
        batches: u64,
        /// Bytes read.
        bytes: u64,
        /// Places that are not as they were written.
        #[serde(skip_serializing_if = "is_zero")]
        damages: u64,
        /// Messages whose content is damaged.
        #[serde(skip_serializing_if = "is_zero")]
        damaged: u64,
        /// What was cut off at the end, in words, if anything was.
        #[serde(skip_serializing_if = "Option::is_none")]
        cut: Option<String>,
    },
    /// Something in a log is not as it was written.
    LogDamaged {
        /// The log's number.
        log: u16,
        /// Where, and what of it.
        damage: String,
    },
    /// Content of a message is damaged: it is not delivered, and waits for an operator.
    Damaged {
        /// The queue id.
        id: MessageId,
    },
    /// A message is durable, and the client has been told so.
    Accepted {
        /// The queue id.
        id: MessageId,
        /// Who sent it.
        client: IpAddr,
        /// How its connection was secured, if it was.
        #[serde(skip_serializing_if = "Option::is_none")]
        tls: Option<Secured>,
        /// The reverse-path; empty for the null sender.
        sender: String,
        /// How urgent it is, where it is not 0.
        #[serde(skip_serializing_if = "Priority::is_normal")]
        priority: Priority,
        /// How many recipients it has.
        recipients_count: usize,
        /// The first of them, [`EVENT_RECIPIENTS_MAX`](crate::limits::EVENT_RECIPIENTS_MAX) at most; [`Event::Queued`] names the others.
        recipients: ForwardPaths,
        /// Its size as stored, bytes.
        size_bytes: u64,
    },
    /// Recipients of a message that has more than [`Event::Accepted`] names. Follows it, as often as it takes to name all.
    Queued {
        /// The queue id.
        id: MessageId,
        /// The next of them, [`EVENT_RECIPIENTS_MAX`](crate::limits::EVENT_RECIPIENTS_MAX) at most.
        recipients: ForwardPaths,
    },
    /// A message that nobody sent us is in the queue: a notice to a sender, whose cause names it as `dsn`, or a report.
    Composed {
        /// The queue id.
        id: MessageId,
        /// The reverse-path; empty for the null sender.
        sender: String,
        /// Whom it goes to, [`EVENT_RECIPIENTS_MAX`](crate::limits::EVENT_RECIPIENTS_MAX) at most.
        recipients: ForwardPaths,
        /// Its size as stored, bytes.
        size_bytes: u64,
    },
    /// A message of ours has its signatures (DKIM), and is delivered from now on.
    Signed {
        /// The queue id.
        id: MessageId,
        /// The domain that signed.
        domain: String,
        /// Its selectors, one for each signature.
        selectors: Vec<String>,
    },
    /// A message cannot be signed now, and waits until it can.
    SigningDeferred {
        /// The queue id.
        id: MessageId,
        /// Why.
        reason: String,
    },
    /// A message that was to be signed goes out without a signature.
    Unsigned {
        /// The queue id.
        id: MessageId,
        /// Why.
        reason: String,
    },
    /// An identity of the pair is in another stage on this box.
    PairStage {
        /// Which identity.
        identity: Node,
        /// What this box does for it.
        stage: Stage,
        /// In which epoch; 0: none.
        epoch: u64,
    },
    /// The store of the registers answers again, or does no longer.
    PairStore {
        /// Whose register.
        identity: Node,
        /// Whether it answers.
        reachable: bool,
    },
    /// The box has stopped answering for the addresses of an identity, since it cannot tell whether it still owns it.
    PairIsolated {
        /// Which.
        identity: Node,
    },
    /// A damaged copy that nothing counts on was set aside, and an empty one takes its place: it is filled from the partner's.
    PairRenewed {
        /// Of which identity.
        identity: Node,
    },
    /// A link of the pair cannot be used until somebody changes something, or can be used again.
    PairLink {
        /// The number of the log that it is for.
        log: u16,
        /// What is wrong; none: nothing any more.
        trouble: Option<String>,
    },
    /// An identity needs an operator, or does no longer.
    PairTrouble {
        /// Which.
        identity: Node,
        /// What is wrong; none: nothing any more.
        trouble: Option<Trouble>,
    },
    /// A client was refused: a command, a message or the connection.
    Refused {
        /// The client.
        client: IpAddr,
        /// The command or the state it was refused in.
        stage: String,
        /// What it was told.
        reply: String,
    },
    /// A client's TLS came to a bad end: in its handshake, or later.
    TlsFailed {
        /// The client.
        client: IpAddr,
        /// The state of the session.
        stage: String,
        /// What went wrong.
        error: String,
    },
    /// A next hop refused the credentials of its route, or offers no way to show them: nothing is sent to it.
    CredentialsRefused {
        /// The host.
        remote: String,
        /// What it said, or what went wrong.
        reply: String,
    },
    /// A report on TLS has gone to a domain (RFC 8460): into the queue, or over the web.
    TlsReportSent {
        /// To whom.
        domain: String,
        /// Where to.
        to: String,
        /// Its id.
        report_id: String,
        /// Sessions that went well.
        successful: u64,
        /// Those that did not.
        failed: u64,
        /// The message's queue id, if it goes by mail.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<MessageId>,
    },
    /// A report on TLS could not be sent.
    TlsReportFailed {
        /// To whom.
        domain: String,
        /// Where to.
        to: String,
        /// Attempts so far.
        attempts: u32,
        /// Whether it is not tried again.
        given_up: bool,
        /// What went wrong.
        error: String,
    },
    /// A recipient's next hop took the message.
    Delivered(Attempt),
    /// A recipient's next hop could not take the message now.
    Deferred {
        /// The attempt.
        #[serde(flatten)]
        attempt: Attempt,
        /// The reply as a code (RFC 3463).
        status: Status,
        /// The reaction that it called for, if it did.
        #[serde(skip_serializing_if = "Option::is_none")]
        reaction: Option<String>,
        /// Attempts so far.
        attempts: u32,
        /// When it is tried again.
        #[serde(with = "rfc3339")]
        next_attempt_at: WallTime,
    },
    /// A host that mail goes to cannot be reached, or does not serve: it is left alone for a while. What has no other host waits.
    HostDown {
        /// Its name.
        host: String,
        /// Its address and port.
        remote: SocketAddr,
        /// For mail from which pool of own addresses, if it leaves from one.
        #[serde(skip_serializing_if = "Option::is_none")]
        pool: Option<String>,
        /// Failures in a row.
        failures: u32,
        /// When it is tried again, if there is mail for it.
        #[serde(with = "rfc3339")]
        next_attempt_at: WallTime,
        /// What it said, or what went wrong.
        reply: String,
    },
    /// What a host said calls for a reaction that concerns more than one message.
    Reacted {
        /// The reaction's name.
        reaction: String,
        /// "back_off": the host is left alone; "suspend": all hosts of the destination are.
        action: String,
        /// Its name.
        host: String,
        /// Its address and port.
        remote: SocketAddr,
        /// For mail from which pool of own addresses, if it leaves from one.
        #[serde(skip_serializing_if = "Option::is_none")]
        pool: Option<String>,
        /// For how long.
        #[serde(with = "rfc3339")]
        until: WallTime,
        /// What it said.
        reply: String,
    },
    /// A host that could not be reached, or did not serve, has answered for a message again.
    HostUp {
        /// Its name.
        host: String,
        /// Its address and port.
        remote: SocketAddr,
        /// For mail from which pool of own addresses, if it leaves from one.
        #[serde(skip_serializing_if = "Option::is_none")]
        pool: Option<String>,
    },
    /// Whoever led the log before may have delivered a message and said so to nobody, or may not: it is tried again after a
    /// while, and may be delivered twice.
    DeliveryInDoubt {
        /// The queue id.
        id: MessageId,
        /// The forward-paths, [`EVENT_RECIPIENTS_MAX`](crate::limits::EVENT_RECIPIENTS_MAX) at most; of more there are more events.
        recipients: ForwardPaths,
        /// The route.
        destination: String,
    },
    /// A recipient failed for good.
    Bounced {
        /// The attempt.
        #[serde(flatten)]
        attempt: Attempt,
        /// The reply as a code (RFC 3463).
        status: Status,
        /// The reaction that it called for, if it did.
        #[serde(skip_serializing_if = "Option::is_none")]
        reaction: Option<String>,
    },
    /// A recipient was given up for its age.
    Expired {
        /// The last attempt, or why there was none.
        #[serde(flatten)]
        attempt: Attempt,
        /// The reply as a code (RFC 3463).
        status: Status,
        /// Attempts made.
        attempts: u32,
    },
    /// An operator holds the message back.
    Held {
        /// The queue id.
        id: MessageId,
    },
    /// An operator lets the message go on.
    Released {
        /// The queue id.
        id: MessageId,
    },
    /// An operator deleted the message.
    Deleted {
        /// The queue id.
        id: MessageId,
    },
    /// An operator has said what is to be done with some of the mail: a standing order.
    OrderGiven(StandingOrder),
    /// An operator has ended a standing order, or put another in its place.
    OrderEnded(StandingOrder),
    /// A standing order has held for as long as it was to.
    OrderExpired(StandingOrder),
    /// Standing orders of an earlier process cannot be read: nothing is delivered until an operator says so.
    OrdersDamaged {
        /// What is wrong, and what to do.
        error: String,
    },
    /// No recipient is open any more; the message leaves the queue.
    Done {
        /// The queue id.
        id: MessageId,
    },
    /// The disk failed: nothing is accepted and nothing delivered until a restart.
    StorageFailed {
        /// The log's number.
        log: u16,
        /// What failed.
        error: String,
    },
    /// A log is full: mail is refused with 452.
    QueueFull {
        /// The log's number.
        log: u16,
        /// What there is too little of.
        reason: String,
    },
    /// A log has space again: mail is accepted.
    QueueSpace {
        /// The log's number.
        log: u16,
    },
    /// The configuration or a map was read anew.
    Reloaded {
        /// What was.
        detail: String,
    },
    /// A certificate is shown to clients from now on.
    Certificate {
        /// Its place in the configuration.
        number: u16,
        /// Its file.
        file: String,
        /// Until when it is valid.
        #[serde(with = "rfc3339")]
        expires_at: WallTime,
    },
    /// A worker cannot go on.
    WorkerFailed {
        /// Which.
        worker: u16,
        /// Why.
        text: String,
    },
    /// Something that the operator should look at, and that ends nothing.
    Warning {
        /// What.
        text: String,
    },
    /// Lines are missing here, since what reads the log was too slow.
    EventsLost {
        /// How many since the last line of this kind.
        count: u64,
    },
    /// Engineers are told that a condition began, lasts or is over.
    Alert(Notice),
    /// A hook could not tell a notice.
    AlertFailed {
        /// "webhook" or "command".
        hook: String,
        /// The notice's.
        condition: Condition,
        /// The notice's.
        subject: String,
        /// The notice's.
        state: AlertState,
        /// Attempts so far.
        attempts: u32,
        /// Whether it is not tried again.
        given_up: bool,
        /// What went wrong.
        error: String,
    },
    /// The end of an orderly shutdown, or of a less orderly one.
    Stopped {
        /// How it ended.
        reason: String,
    },
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Event {
    /// Whether this is a step of one message, and not of the appliance.
    pub fn is_of_message(&self) -> bool {
        matches!(
            self,
            Event::Accepted { .. }
                | Event::Queued { .. }
                | Event::Composed { .. }
                | Event::Signed { .. }
                | Event::SigningDeferred { .. }
                | Event::Unsigned { .. }
                | Event::Delivered(_)
                | Event::Deferred { .. }
                | Event::DeliveryInDoubt { .. }
                | Event::Bounced { .. }
                | Event::Expired { .. }
                | Event::Held { .. }
                | Event::Released { .. }
                | Event::Deleted { .. }
                | Event::Done { .. }
        )
    }

    /// The log line, without its line end.
    pub fn line(&self, time: WallTime) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            #[serde(with = "rfc3339")]
            time: WallTime,
            #[serde(flatten)]
            event: &'a Event,
        }
        serde_json::to_string(&Line { time, event: self }).expect("an event has text keys only")
    }
}

/// An attempt to deliver a message to one recipient.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attempt {
    /// The queue id.
    pub id: MessageId,
    /// The forward-path.
    pub recipient: String,
    /// The route.
    pub destination: String,
    /// The host that took it, or was asked last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// How the connection to it was secured, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<HopSecured>,
    /// How it was reached, if there was a connection.
    #[serde(flatten)]
    pub path: Option<Box<HopPath>>,
    /// What it said, or what went wrong.
    pub reply: String,
    /// Of `delay_ms` that before the attempt ([`HopPath::queue_ms`]).
    pub queue_ms: u64,
    /// From our acceptance to the end of the attempt, milliseconds.
    pub delay_ms: u64,
    /// The notice to the sender, if one was made ([`Event::Composed`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dsn: Option<MessageId>,
}

/// Recipients of a message, as JSON a list of texts. In one piece: most events name one, and one allocation is enough for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardPaths(String);

impl ForwardPaths {
    /// Each, in the order of the envelope.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        // No forward-path is empty, and none contains the end of a line.
        self.0.split(Self::BETWEEN).filter(|path| !path.is_empty())
    }

    const BETWEEN: char = '\n';
}

impl<'a> FromIterator<&'a str> for ForwardPaths {
    fn from_iter<I: IntoIterator<Item = &'a str>>(paths: I) -> ForwardPaths {
        let mut paths = paths.into_iter();
        let mut all = paths.next().map(str::to_owned).unwrap_or_default();
        for path in paths {
            all.push(ForwardPaths::BETWEEN);
            all.push_str(path);
        }
        ForwardPaths(all)
    }
}

impl Serialize for ForwardPaths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// Points in time as RFC 3339 text in UTC with microseconds, for serde's `with`.
pub mod rfc3339 {
    use crate::env::WallTime;
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::borrow::Cow;

    /// The text of a point in time.
    pub fn text(time: WallTime) -> String {
        let micros = i64::try_from(time.micros()).unwrap_or(i64::MAX);
        format!("{:.6}", Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX))
    }

    /// For serde.
    pub fn serialize<S: Serializer>(time: &WallTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(*time))
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WallTime, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let time: Timestamp = text.parse().map_err(D::Error::custom)?;
        Ok(WallTime::from_micros(u64::try_from(time.as_microsecond()).unwrap_or(0)))
    }

    /// The same for a time that may be missing.
    pub mod option {
        use crate::env::WallTime;
        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        #[derive(Serialize, Deserialize)]
        struct Text(#[serde(with = "super")] WallTime);

        /// For serde.
        pub fn serialize<S: Serializer>(time: &Option<WallTime>, serializer: S) -> Result<S::Ok, S::Error> {
            time.map(Text).serialize(serializer)
        }

        /// For serde.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<WallTime>, D::Error> {
            Ok(Option::<Text>::deserialize(deserializer)?.map(|text| text.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::PathFacts;

    #[test]
    fn a_line_begins_with_its_time_and_its_event() {
        let attempt = Attempt {
            id: MessageId::new(0, 42),
            recipient: "b@example.net".into(),
            destination: "example.net".into(),
            remote: Some("192.0.2.9:25".into()),
            tls: None,
            path: None,
            reply: "451 4.3.0 later\r\n\u{1b}[2J".into(),
            queue_ms: 40,
            delay_ms: 41,
            dsn: None,
        };
        let next_attempt_at = WallTime::from_micros(1_795_494_000_000_000);
        let event =
            Event::Deferred { attempt, status: Status::new(4, 3, 0), reaction: None, attempts: 2, next_attempt_at };
        assert_eq!(
            event.line(WallTime::from_micros(1_795_493_951_250_000)),
            "{\"time\":\"2026-11-24T04:19:11.250000Z\",\"event\":\"deferred\",\"id\":\"000000000001A\",\
             \"recipient\":\"b@example.net\",\"destination\":\"example.net\",\"remote\":\"192.0.2.9:25\",\
             \"reply\":\"451 4.3.0 later\\r\\n\\u001b[2J\",\"queue_ms\":40,\"delay_ms\":41,\
             \"status\":\"4.3.0\",\"attempts\":2,\"next_attempt_at\":\"2026-11-24T04:20:00.000000Z\"}"
        );
    }

    #[test]
    fn a_line_has_what_is_known_of_the_way_and_no_more() {
        let line = |path: Option<HopPath>| {
            let (id, recipient) = (MessageId::new(0, 42), "b@example.net".into());
            let (destination, reply) = ("mx".into(), "250 ok".into());
            let (path, remote, tls, queue_ms, delay_ms) = (path.map(Box::new), None, None, 1, 3);
            let attempt =
                Attempt { id, recipient, destination, remote, tls, path, reply, queue_ms, delay_ms, dsn: None };
            let line = Event::Delivered(attempt).line(WallTime::from_micros(0));
            line.split_once("\"mx\",").unwrap().1.to_owned()
        };
        let rest = "\"reply\":\"250 ok\",\"queue_ms\":1,\"delay_ms\":3}";
        let nothing = HopPath { local: None, pool: None, met: None, connect_ms: None, transaction_ms: None };
        assert_eq!(line(None), rest);
        assert_eq!(line(Some(nothing.clone())), rest);
        let (local, met) = (Some(IpAddr::from([192, 0, 2, 1])), PathFacts { round_trip_us: None, retransmissions: 2 });
        let path = HopPath { local, pool: Some("bulk".into()), met: Some(met), ..nothing };
        let told = format!("\"local\":\"192.0.2.1\",\"pool\":\"bulk\",\"retransmissions\":2,{rest}");
        assert_eq!(line(Some(path.clone())), told);
        let path = HopPath { pool: None, met: Some(PathFacts { round_trip_us: Some(1500), ..met }), ..path };
        assert!(
            line(Some(path.clone()))
                .starts_with("\"local\":\"192.0.2.1\",\"round_trip_us\":1500,\"retransmissions\":2,")
        );
        let path = HopPath { met: None, connect_ms: Some(31), transaction_ms: Some(7), ..path };
        assert_eq!(HopPath::queue_ms(Some(&path), 40), 2);
        assert!(line(Some(path)).starts_with("\"local\":\"192.0.2.1\",\"connect_ms\":31,\"transaction_ms\":7,"));
    }

    #[test]
    fn no_point_in_time_is_too_far_for_a_line() {
        assert!(rfc3339::text(WallTime::from_micros(u64::MAX)).starts_with("9999-12-"));
        assert_eq!(rfc3339::text(WallTime::from_micros(0)), "1970-01-01T00:00:00.000000Z");
    }
}
