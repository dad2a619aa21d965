//! What can be wrong with the box: the one list that the health endpoint and the alerts are made from.
//!
//! In and out: nothing; it is a table. A further condition is one line of `conditions!`, and a place in
//! [`super::health`] that raises it and clears it.

use crate::delivery::CredentialsId;
use crate::env::WallTime;
use crate::mirror::register::Node;
use serde::{Serialize, Serializer};
use std::fmt;

/// How soon somebody should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Now: mail is refused, or some of it is damaged.
    Critical,
    /// Today.
    Warning,
    /// It is good to know.
    Notice,
}

/// Whether the box takes new mail all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mail {
    Refused,
    Taken,
}

/// How a condition ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// It is cleared when it is over, and told again while it lasts.
    Lasts,
    /// It has happened, and nothing undoes it: it is told again only if it happens again.
    Happens,
}

macro_rules! conditions {
    ($($(#[$doc:meta])* $name:ident: $severity:ident, $mail:ident, $course:ident;)+) => {
        /// One kind of what can be wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Condition {
            $($(#[$doc])* $name,)+
        }

        impl Condition {
            /// All of them.
            pub const ALL: &[Condition] = &[$(Condition::$name),+];

            /// How soon somebody should look.
            pub const fn severity(self) -> Severity {
                match self { $(Condition::$name => Severity::$severity,)+ }
            }

            const fn mail(self) -> Mail {
                match self { $(Condition::$name => Mail::$mail,)+ }
            }

            const fn course(self) -> Course {
                match self { $(Condition::$name => Course::$course,)+ }
            }
        }
    };
}

conditions! {
    /// The process has started: what an earlier one raised is over. It is only told, and never holds.
    Started: Notice, Taken, Happens;
    /// A worker has ended, and with it soon the process.
    WorkerFailed: Critical, Refused, Lasts;
    /// A worker does not answer.
    WorkerSilent: Critical, Refused, Lasts;
    /// A log's disk failed: nothing is accepted and nothing delivered until a restart.
    StorageFailed: Critical, Refused, Lasts;
    /// A log is full: mail is refused with 452.
    LogFull: Critical, Refused, Lasts;
    /// The link of the port is down.
    LinkDown: Critical, Refused, Lasts;
    /// An identity of the pair needs an operator.
    PairTrouble: Critical, Taken, Lasts;
    /// etcd does not answer: while it does not, neither box can take over from the other.
    PairStore: Critical, Taken, Lasts;
    /// This box works for an identity without a second copy.
    PairSolo: Warning, Taken, Lasts;
    /// A next hop refuses the credentials of its route: the mail waits.
    CredentialsRefused: Critical, Taken, Lasts;
    /// A certificate that clients are shown has expired.
    CertificateExpired: Critical, Taken, Lasts;
    /// A certificate that clients are shown expires soon.
    CertificateExpires: Warning, Taken, Lasts;
    /// Messages whose content is damaged wait for an operator.
    MessagesDamaged: Critical, Taken, Lasts;
    /// Messages wait for a key (DKIM) that is valid.
    SigningKeyMissing: Critical, Taken, Lasts;
    /// The file with the standing orders is damaged: nothing is delivered until an operator says so.
    OrdersDamaged: Critical, Taken, Lasts;
    /// Places of a log are not as they were written.
    LogDamaged: Critical, Taken, Happens;
    /// Log lines are missing.
    EventsLost: Warning, Taken, Lasts;
}

impl Condition {
    /// Whether the box is not ready while it holds.
    pub const fn refuses_mail(self) -> bool {
        matches!(self.mail(), Mail::Refused)
    }

    /// Whether it has an end, so that it is told again until then.
    pub const fn lasts(self) -> bool {
        matches!(self.course(), Course::Lasts)
    }
}

impl fmt::Display for Condition {
    /// As in JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// What a condition is about. One condition with one subject is one thing, however often it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The whole box.
    Appliance,
    /// The network port.
    Port,
    /// A worker, by its number.
    Worker(u16),
    /// A log, by its number.
    Log(u16),
    /// An identity of the pair.
    Identity(Node),
    /// Credentials, by their place among those of the routes.
    Credentials(CredentialsId),
    /// A certificate, by its place in the configuration.
    Certificate(u16),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Appliance => f.write_str("appliance"),
            Subject::Port => f.write_str("port"),
            Subject::Worker(number) => write!(f, "worker {number}"),
            Subject::Log(number) => write!(f, "log {number}"),
            Subject::Identity(identity) => write!(f, "identity {identity}"),
            Subject::Certificate(place) => write!(f, "certificate {place}"),
            Subject::Credentials(CredentialsId(place)) => write!(f, "credentials {place}"),
        }
    }
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What.
    pub condition: Condition,
    /// With what.
    pub subject: Subject,
    /// Since when.
    pub since: WallTime,
    /// How often it has happened, for those conditions that do not end.
    pub count: u64,
    /// For a person: what it means, and what to do where that is not plain.
    pub text: String,
}
