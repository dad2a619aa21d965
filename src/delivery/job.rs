//! What the two halves exchange: jobs on the way out, fates on the way back. Plain owned values, which cross a ring.

use super::turns::Class;
use super::{DestinationId, RouteId};
use crate::dns::{Failure, MailHosts};
use crate::env::Instant;
use crate::flow::PathFacts;
use crate::smtp::client::Stage;
use crate::smtp::{BodyType, Notify, Priority, Return};
use crate::spool::MessageId;
use crate::tls::Secured;
use serde::Serialize;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// One message for one destination: one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The message; its log reads the content.
    pub id: MessageId,
    /// Where it goes, by the queue's own name.
    pub destination: DestinationId,
    /// How it gets there.
    pub way: Way,
    /// To whom; in the order of the envelope, never empty.
    pub recipients: Vec<JobRecipient>,
    /// From whom; empty for the null sender.
    pub reverse_path: Box<str>,
    /// Size of the content, bytes.
    pub size: u64,
    /// What the content may contain.
    pub body: BodyType,
    /// The envelope needs SMTPUTF8.
    pub smtputf8: bool,
    /// `REQUIRETLS` was given: to pass on, and to heed.
    pub require_tls: bool,
    /// How urgent it is: to pass on, and to heed.
    pub priority: Priority,
    /// `RET`, to pass on.
    pub ret: Option<Return>,
    /// `ENVID`, to pass on.
    pub envelope_id: Option<Box<str>>,
}

/// How a job gets to its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// Over the hosts of the route that the destination is.
    Route,
    /// Over those of another route, as an operator has said.
    Via(RouteId),
    /// Over those that the DNS names for a domain, by way of a route.
    Hosts {
        /// That of the recipients, unless an operator has said something else. As it stands in addresses, in lower case.
        domain: Arc<str>,
        /// It says where from and how much.
        route: RouteId,
        /// Where to.
        hosts: Arc<MailHosts>,
    },
    /// The DNS names none: it is answered at home, and never given out.
    Failed(Failure),
    /// It has waited for too long, for this reason: it is answered at home, too.
    Overdue(Box<Answer>),
}

impl Way {
    /// The domain whose hosts the DNS has named.
    pub(super) fn domain(&self) -> Option<&Arc<str>> {
        if let Way::Hosts { domain, .. } = self { Some(domain) } else { None }
    }
}

/// One recipient of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRecipient {
    /// Its place in the message's envelope.
    pub index: u32,
    /// The forward-path.
    pub address: Box<str>,
    /// `NOTIFY`, to pass on.
    pub notify: Option<Notify>,
    /// `ORCPT`, to pass on.
    pub original: Option<Box<str>>,
}

/// What a connection is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Deliver a message.
    Deliver(Job),
    /// Ask the next hop whether it knows a recipient. Served before deliveries, as a client waits at RCPT.
    Verify {
        /// The asker's own name for the question.
        token: u64,
        /// The hosts to ask.
        destination: DestinationId,
        /// The forward-path.
        recipient: Box<str>,
    },
}

impl Work {
    /// The result of work that nobody has touched.
    pub fn untried(self) -> WorkResult {
        match self {
            Work::Verify { token, .. } => WorkResult::Verify { token, fate: Fate::Untried },
            Work::Deliver(job) => WorkResult::Deliver(JobResult {
                id: job.id,
                destination: job.destination,
                fates: job.recipients.iter().map(|recipient| (recipient.index, Fate::Untried)).collect(),
                dsn_offered: false,
                standstill: None,
            }),
        }
    }

    /// How urgent it is. Who asks is a client that waits for the answer.
    pub(super) fn class(&self) -> Class {
        match self {
            Work::Deliver(job) => job.priority.into(),
            Work::Verify { .. } => Class::Urgent,
        }
    }

    /// Where it goes, by its giver's name.
    pub fn destination(&self) -> DestinationId {
        match self {
            Work::Deliver(job) => job.destination,
            Work::Verify { destination, .. } => *destination,
        }
    }
}

impl Job {
    /// What becomes of it, if that is known without any host.
    pub fn settled(&self) -> Option<JobResult> {
        let fate = match &self.way {
            Way::Route | Way::Via(_) | Way::Hosts { .. } => return None,
            Way::Failed(failure) => {
                let answer = Answer::local(failure.status, failure.text.clone());
                if failure.is_permanent() { Fate::Failed(answer) } else { Fate::deferred(answer) }
            }
            Way::Overdue(why) => Fate::deferred((**why).clone()),
        };
        Some(JobResult {
            id: self.id,
            destination: self.destination,
            fates: self.recipients.iter().map(|recipient| (recipient.index, fate.clone())).collect(),
            dsn_offered: false,
            standstill: None,
        })
    }
}

/// What was said about a recipient, by the remote or by ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status as class, subject and detail (RFC 3463).
    pub status: (u8, u16, u16),
    /// One line for the queue listing and the log: the remote's reply, or what happened.
    pub text: Box<str>,
    /// The host that was spoken to, if any: `Remote-MTA` of a notice.
    pub remote: Option<Box<str>>,
    /// `text` is this reply of the remote: `Diagnostic-Code: smtp` of a notice.
    pub reply: Option<ReplyTo>,
    /// How the connection to it was secured, if there was one and it was.
    pub tls: Option<HopSecured>,
    /// How it was reached, if there was a connection.
    pub path: Option<Box<HopPath>>,
    /// The reaction that it called for, by name.
    pub reaction: Option<Arc<str>>,
}

/// A reply code, and what it answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// 200–599.
    pub code: u16,
    /// How far the session was.
    pub stage: Stage,
}

/// How a next hop was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HopPath {
    /// The own address; none: it is the kernel's to choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<IpAddr>,
    /// The pool that it is of, by its name, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Arc<str>>,
    /// What the connection has met, if that is known.
    #[serde(flatten)]
    pub met: Option<PathFacts>,
    /// From the first segment until the host had greeted us, TLS and AUTH included, or until that failed, milliseconds. None: the
    /// connection had been used before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<u64>,
    /// From MAIL until what was said, milliseconds. None: it did not come to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction_ms: Option<u64>,
}

impl HopPath {
    /// What of a message's age at the end of an attempt, milliseconds, it had spent before: waiting for its time, for the DNS, for a
    /// connection or for what limits allow.
    pub fn queue_ms(path: Option<&HopPath>, age_ms: u64) -> u64 {
        let spent = path.map_or([None; 2], |path| [path.connect_ms, path.transaction_ms]);
        spent.into_iter().flatten().fold(age_ms, u64::saturating_sub)
    }
}

/// How a connection to a next hop was secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HopSecured {
    /// The version, the cipher.
    #[serde(flatten)]
    pub secured: Secured,
    /// It has shown who it is: by a certificate that we trust, for its name, or that the DNS knows.
    pub verified: bool,
    /// What was demanded ([`Demand::name`](super::Demand::name)).
    pub policy: &'static str,
}

impl Answer {
    /// Something that we say ourselves.
    pub fn local(status: (u8, u16, u16), text: impl Into<Box<str>>) -> Answer {
        Answer { status, text: text.into(), remote: None, reply: None, tls: None, path: None, reaction: None }
    }

    /// A reply of the remote.
    pub fn reply(
        reply: ReplyTo,
        status: (u8, u16, u16),
        text: impl Into<Box<str>>,
        remote: impl Into<Box<str>>,
    ) -> Answer {
        Answer { remote: Some(remote.into()), reply: Some(reply), ..Answer::local(status, text) }
    }

    /// Whether the remote says that it has too much to do, and nothing about a sender, a recipient or a message: 421, or another
    /// 4xx before there is any of these. RFC 3463 §3.2 has the status of addresses under X.1.
    pub fn is_overload(&self) -> bool {
        self.reply.is_some_and(|ReplyTo { code, stage }| {
            let early = matches!(stage, Stage::Greeting | Stage::Ehlo | Stage::Helo | Stage::Lhlo | Stage::Mail);
            code == 421 || (early && code / 100 == 4 && self.status.1 != 1)
        })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What one recipient met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The next hop has taken it.
    Delivered(Answer),
    /// It may go well later.
    Deferred {
        /// Why.
        answer: Answer,
        /// Only this transaction was too large for the next hop (452 too many recipients): another one soon will do.
        soon: bool,
        /// Something was tried on its behalf; false if the fault is ours. Such a message does not expire for it.
        tried: bool,
    },
    /// It will never go well.
    Failed(Answer),
    /// It was handed back untouched: no attempt.
    Untried,
}

impl Fate {
    /// Deferred after a real attempt.
    pub fn deferred(answer: Answer) -> Fate {
        Fate::Deferred { answer, soon: false, tried: true }
    }

    /// What was said, if anything was.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Fate::Delivered(answer) | Fate::Deferred { answer, .. } | Fate::Failed(answer) => Some(answer),
            Fate::Untried => None,
        }
    }
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobResult {
    /// The message.
    pub id: MessageId,
    /// Where it went.
    pub destination: DestinationId,
    /// For each recipient of the job, exactly once and in its order: the place in the envelope, and the fate.
    pub fates: Vec<(u32, Fate)>,
    /// The next hop offers DSN: it tells the sender about success itself (RFC 3461 §5.2.2).
    pub dsn_offered: bool,
    /// Nothing goes there for now, which concerns all that waits for it.
    pub standstill: Option<Box<Standstill>>,
}

/// Why a destination does not take what waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standstill {
    /// It takes nothing before then.
    Closed {
        /// On the monotonic clock, which all workers share.
        until: Instant,
        /// What is wrong with it.
        why: Answer,
    },
    /// This job has waited with its owner for as long as jobs may, for a connection or for what limits allow.
    Waited {
        /// That, in words.
        why: Answer,
    },
}

impl Standstill {
    /// The reason.
    pub fn why(&self) -> &Answer {
        let (Standstill::Closed { why, .. } | Standstill::Waited { why }) = self;
        why
    }
}

/// What became of some work, for the worker that gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkResult {
    /// Of [`Work::Deliver`].
    Deliver(JobResult),
    /// Of [`Work::Verify`].
    Verify {
        /// The asker's own name for the question.
        token: u64,
        /// The answer.
        fate: Fate,
    },
}

/// What a session reports about the work that it was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskResult {
    /// Of [`Work::Deliver`].
    Deliver {
        /// Place in the envelope and fate. What is missing counts as deferred, what was not asked for is dropped.
        fates: Vec<(u32, Fate)>,
        /// The remote offers DSN.
        dsn_offered: bool,
        /// We broke it off for want of the content: that says nothing about the remote.
        broken_off: bool,
    },
    /// Of [`Work::Verify`].
    Verify(Fate),
}
