//! Status codes (RFC 3463) and what they mean to the sender of a message.
//!
//! In: why a recipient was not delivered to. Out: a code, and a sentence of advice.

use super::Action;
use crate::smtp::client::{LocalReason, Reason, RemoteReply, Stage};
use serde::{Serialize, Serializer};
use std::fmt;

/// `class.subject.detail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// 2 success, 4 not now, 5 never.
    pub class: u8,
    /// What it is about.
    pub subject: u16,
    /// What exactly.
    pub detail: u16,
}

impl Status {
    /// Given up because it took too long (RFC 3463 §3.5).
    pub const EXPIRED: Status = Status::new(4, 4, 7);
    /// Delivered, or passed on.
    pub const SUCCESS: Status = Status::new(2, 0, 0);

    /// A code.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Status {
        Status { class, subject, detail }
    }

    /// What the sender can do about a failure with this code.
    pub(super) fn advice(self) -> &'static str {
        match (self.subject, self.detail) {
            (4, 7) => {
                "It could not be delivered in the time allowed. Please try again later, or reach the recipient in \
                 another way."
            }
            (4, _) => "The recipient's mail system could not be reached. Please try again later.",
            (1, 7 | 8) => "The sender's address was not accepted. Please ask your administrator for help.",
            (1, _) => "Please check the address for typing errors. If it is right, the recipient may have moved.",
            (2, 2) => "The mailbox is full. Please try again later, or reach the recipient in another way.",
            (2, 3) | (3, 4) => "The message is too large. Please send it with smaller or fewer attachments.",
            (2, _) => "The mailbox takes no messages at the moment. Please reach the recipient in another way.",
            (6, 7) => "The recipient's mail system does not support addresses with letters beyond ASCII.",
            (6, _) => "The recipient's mail system cannot handle the form of this message.",
            (7, _) => {
                "The recipient's mail system refuses it by its rules. Please ask the recipient or their administrator."
            }
            _ => "If this looks wrong to you, please show this report to your administrator.",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The sentence above all recipients that have met the same fate.
pub(super) fn introduction(action: Action) -> &'static str {
    match action {
        Action::Failed => {
            "Your message could not be delivered to the following recipients. It will not be tried again for them."
        }
        Action::Delayed => {
            "Your message has not been delivered to the following recipients yet. You need do nothing: it is still \
             being tried."
        }
        Action::Relayed => {
            "Your message was passed on for the following recipients, to servers that may not report its delivery."
        }
        Action::Delivered => "Your message was delivered to the following recipients.",
    }
}

/// The status code of a reason.
pub fn status_of(reason: &Reason) -> Status {
    match reason {
        Reason::Reply { stage, reply } => status_of_reply(*stage, reply),
        Reason::Connection(..) | Reason::UnknownOutcome => Status::new(4, 4, 2),
        Reason::TooManyRecipients => Status::new(4, 5, 3),
        Reason::Local(reason) => match reason {
            LocalReason::Smtputf8NotOffered => Status::new(5, 6, 7),
            LocalReason::BinaryNotOffered => Status::new(5, 6, 3),
            // RFC 8689 §7.
            LocalReason::RequireTlsUnmet => Status::new(5, 7, 30),
            LocalReason::TooLarge { .. } => Status::new(5, 3, 4),
            LocalReason::AddressUnusable => Status::new(5, 1, 3),
            LocalReason::SenderUnusable => Status::new(5, 1, 7),
            LocalReason::LoneNewline => Status::new(5, 6, 0),
            LocalReason::ContentUnreadable | LocalReason::Unrecorded => Status::new(4, 3, 0),
            LocalReason::NotBegun => Status::new(4, 4, 2),
            // RFC 3463 §3.8: X.7.10 is encryption that is needed and not there.
            LocalReason::TlsNotOffered => Status::new(4, 7, 10),
            LocalReason::AuthNotOffered => Status::new(4, 7, 0),
            LocalReason::Protocol(_) => Status::new(4, 5, 0),
        },
    }
}

/// The server's own code, or the nearest to what a bare reply code says (RFC 3463 §2, RFC 5321 §4.2.3).
fn status_of_reply(stage: Stage, reply: &RemoteReply) -> Status {
    if let Some((class, subject, detail)) = reply.enhanced {
        return Status::new(class, subject, detail);
    }
    let (subject, detail) = match (reply.code, stage) {
        (421, _) => (3, 2),
        (450, Stage::Rcpt) => (2, 0),
        (451, _) => (3, 0),
        (452, _) => (3, 1),
        (500..=504, _) => (5, 0),
        (530 | 535, _) => (7, 0),
        (550 | 553, Stage::Rcpt) => (1, 0),
        (552, _) => (2, 2),
        _ => (0, 0),
    };
    Status::new((reply.code / 100) as u8, subject, detail)
}
