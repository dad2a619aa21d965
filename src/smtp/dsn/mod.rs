//! Delivery status notifications: `multipart/report` (RFC 6522) with a `message/delivery-status` part (RFC 3464), or its
//! international form (RFC 6533).
//!
//! In: what became of recipients. Out: the bytes of a notice, around the original content, which passes by in
//! pieces and is never held. Nothing here decides whether a notice is due, or sends one: never for the null
//! sender, and never about a notice, are the caller's rules.
//!
//! ```text
//! prologue │ header
//!          │ --boundary   text/plain                   what happened, for people
//!          │ --boundary   message/delivery-status      the same, for programs
//!          │ --boundary   message/rfc822               (or the header only: text/rfc822-headers)
//! content  │ the original, as it is
//! epilogue │ --boundary--
//! ```
//!
//! No remote word can add a line to the notice: control characters are replaced, long lines are folded at
//! [`DSN_LINE_SIZE`](crate::limits::DSN_LINE_SIZE). The boundary holds 64 bits of the seed, which no author of an original can foresee.

mod status;
#[cfg(test)]
mod tests;
mod text;

pub use status::{Status, status_of};
pub use text::HeaderCut;

use crate::env::WallTime;
use crate::smtp::client::Reason;
use crate::smtp::grammar::unitext;
use crate::smtp::{BodyType, Return};
use crate::spool::MessageId;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fmt;
use text::{Writer, from_xtext};

/// What happened to a recipient (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Given up.
    Failed,
    /// Not delivered yet, still being tried.
    Delayed,
    /// Handed to its mailbox.
    Delivered,
    /// Passed on to a server that sends no notices itself.
    Relayed,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Relayed => "relayed",
        })
    }
}

/// Why, in words (RFC 3464 §2.3.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Diagnostic {
    /// What the remote server replied.
    Remote(Box<str>),
    /// What we found ourselves.
    Local(Box<str>),
}

impl From<&Reason> for Diagnostic {
    fn from(reason: &Reason) -> Diagnostic {
        match reason {
            Reason::Reply { reply, .. } => Diagnostic::Remote(reply.to_string().into()),
            reason => Diagnostic::Local(reason.to_string().into()),
        }
    }
}

/// One recipient that is reported on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRecipient<'a> {
    /// `ORCPT` as received (`type;xtext`), if given.
    pub original: Option<&'a str>,
    /// The address as tried.
    pub address: &'a str,
    /// What happened.
    pub action: Action,
    /// RFC 3463. Where a message has been given up for its age, `4.4.7`.
    pub status: Status,
    /// Name or address of the server that had the last word, if one was reached.
    pub remote: Option<&'a str>,
    /// Why.
    pub diagnostic: Option<Diagnostic>,
    /// When it was tried last.
    pub last_attempt: Option<WallTime>,
    /// Until when it will be tried ([`Action::Delayed`] only).
    pub retry_until: Option<WallTime>,
}

/// What a notice says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// Our host name.
    pub reporting_mta: &'a str,
    /// The queue id of the original.
    pub id: MessageId,
    /// Random; makes the boundary unforeseeable and the Message-ID of each notice about one original its own.
    pub seed: u64,
    /// The reverse-path of the original, to whom the notice goes; never empty.
    pub sender: &'a str,
    /// When the original arrived.
    pub arrival: WallTime,
    /// When the notice is written.
    pub written: WallTime,
    /// `ENVID` as received (xtext), if given.
    pub envelope_id: Option<&'a str>,
    /// At least one.
    pub recipients: &'a [ReportRecipient<'a>],
    /// How much of the original follows the prologue; `None` for nothing. BINARYMIME content cannot be returned.
    pub returned: Option<Return>,
    /// The original needs SMTPUTF8.
    pub smtputf8: bool,
    /// What is returned of the original may hold bytes above 127.
    pub eight_bit: bool,
}

impl Report<'_> {
    /// Whether the notice itself has to go out with SMTPUTF8.
    pub fn smtputf8(&self) -> bool {
        self.smtputf8
            || !self.sender.is_ascii()
            || self.recipients.iter().any(|recipient| !recipient.address.is_ascii())
    }

    /// The body type of the notice.
    pub fn body(&self) -> BodyType {
        let returns_eight_bit = self.eight_bit && self.returned.is_some();
        if self.smtputf8() || returns_eight_bit { BodyType::EightBitMime } else { BodyType::SevenBit }
    }

    /// The worst of the actions, which names the notice.
    fn action(&self) -> Action {
        let has = |action| self.recipients.iter().any(|recipient| recipient.action == action);
        [Action::Failed, Action::Delayed, Action::Relayed]
            .into_iter()
            .find(|action| has(*action))
            .unwrap_or(Action::Delivered)
    }

    fn boundary(&self) -> String {
        format!("{}/{:016x}", self.id, self.seed)
    }
}

/// Everything before the original content.
pub fn prologue(report: &Report<'_>, out: &mut Vec<u8>) {
    let mut writer = Writer::new(out, report.smtputf8());
    write_header(report, &mut writer);
    write_explanation(report, &mut writer);
    write_status(report, &mut writer);
    let Some(returned) = report.returned else { return };
    let (kind, description) = match (returned, report.smtputf8()) {
        (Return::Full, false) => ("message/rfc822", "The message"),
        (Return::Full, true) => ("message/global", "The message"),
        (Return::Headers, false) => ("text/rfc822-headers", "The header of the message"),
        (Return::Headers, true) => ("message/global-headers", "The header of the message"),
    };
    let encoding = if report.body() == BodyType::SevenBit { "7bit" } else { "8bit" };
    begin_part(report, &mut writer, kind, description, encoding);
}

/// Everything after the original content.
pub fn epilogue(report: &Report<'_>, out: &mut Vec<u8>) {
    Writer::new(out, false).line(&format!("\r\n--{}--", report.boundary()));
}

/// A whole notice, where the content is at hand. Of content in pieces, as many as are needed.
pub fn write(report: &Report<'_>, content: &[&[u8]], out: &mut Vec<u8>) {
    prologue(report, out);
    let mut cut = HeaderCut::default();
    for piece in content {
        match report.returned {
            Some(Return::Full) => out.extend_from_slice(piece),
            Some(Return::Headers) => out.extend_from_slice(&piece[..cut.take(piece)]),
            None => {}
        }
    }
    epilogue(report, out);
}

fn write_header(report: &Report<'_>, writer: &mut Writer<'_>) {
    let subject = match report.action() {
        Action::Failed => "Undeliverable: your message was not delivered",
        Action::Delayed => "Delayed: your message has not been delivered yet",
        Action::Delivered | Action::Relayed => "Delivery report: your message was passed on",
    };
    let host = report.reporting_mta;
    writer.field("Date", &date(report.written));
    writer.field("From", &format!("Mail Delivery System <MAILER-DAEMON@{host}>"));
    writer.field("To", &format!("<{}>", report.sender));
    writer.field("Subject", subject);
    writer.field("Message-ID", &format!("<{}.{:016x}@{host}>", report.id, report.seed));
    // RFC 3834 §5: nobody's vacation program answers this.
    writer.field("Auto-Submitted", "auto-replied");
    writer.field("MIME-Version", "1.0");
    let boundary = report.boundary();
    writer.field("Content-Type", &format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\""));
    if report.body() == BodyType::EightBitMime {
        writer.field("Content-Transfer-Encoding", "8bit");
    }
    writer.line("");
    writer.line("This is a delivery status notification in MIME format.");
}

fn begin_part(report: &Report<'_>, writer: &mut Writer<'_>, kind: &str, description: &str, encoding: &str) {
    writer.line(&format!("\r\n--{}", report.boundary()));
    writer.field("Content-Type", kind);
    writer.field("Content-Description", description);
    writer.field("Content-Transfer-Encoding", encoding);
    writer.line("");
}

fn write_explanation(report: &Report<'_>, writer: &mut Writer<'_>) {
    let utf8 = report.smtputf8();
    let (kind, encoding) =
        if utf8 { ("text/plain; charset=utf-8", "8bit") } else { ("text/plain; charset=us-ascii", "7bit") };
    begin_part(report, writer, kind, "What happened", encoding);
    writer.paragraph("", &format!("This is the mail system at {}.", report.reporting_mta));
    for action in [Action::Failed, Action::Delayed, Action::Relayed, Action::Delivered] {
        let mut of_action = report.recipients.iter().filter(|recipient| recipient.action == action).peekable();
        if of_action.peek().is_none() {
            continue;
        }
        writer.line("");
        writer.paragraph("", status::introduction(action));
        of_action.for_each(|recipient| explain(recipient, writer));
    }
    writer.line("");
    writer.paragraph("", &format!("Queue id of your message: {}. Please name it if you ask for help.", report.id));
    match report.returned {
        Some(Return::Full) => writer.paragraph("", "Your message is attached."),
        Some(Return::Headers) => writer.paragraph("", "The header of your message is attached."),
        None => {}
    }
}

fn explain(recipient: &ReportRecipient<'_>, writer: &mut Writer<'_>) {
    writer.line("");
    writer.paragraph("  ", &format!("<{}>", recipient.address));
    match (&recipient.diagnostic, recipient.remote) {
        (Some(Diagnostic::Remote(text)), Some(remote)) => {
            writer.paragraph("    ", &format!("The server {remote} said:"));
            writer.paragraph("      ", text);
        }
        (Some(Diagnostic::Remote(text)), None) => {
            writer.paragraph("    ", "The server there said:");
            writer.paragraph("      ", text);
        }
        (Some(Diagnostic::Local(text)), Some(remote)) => {
            writer.paragraph("    ", &format!("Server {remote}: {text}."));
        }
        (Some(Diagnostic::Local(text)), None) => writer.paragraph("    ", &format!("Reason: {text}.")),
        (None, Some(remote)) => writer.paragraph("    ", &format!("Server: {remote}.")),
        (None, None) => {}
    }
    if let Some(until) = recipient.retry_until.filter(|_| recipient.action == Action::Delayed) {
        writer.paragraph("    ", &format!("It will be tried until {}.", date(until)));
    }
    if recipient.action == Action::Failed {
        writer.paragraph("    ", recipient.status.advice());
    }
}

/// RFC 3464 §2.
fn write_status(report: &Report<'_>, writer: &mut Writer<'_>) {
    let utf8 = report.smtputf8();
    let (kind, encoding, address_type) = if utf8 {
        ("message/global-delivery-status", "8bit", "utf-8")
    } else {
        ("message/delivery-status", "7bit", "rfc822")
    };
    begin_part(report, writer, kind, "Delivery report", encoding);
    if let Some(id) = report.envelope_id {
        writer.field("Original-Envelope-Id", &from_xtext(id));
    }
    writer.field("Reporting-MTA", &format!("dns; {}", report.reporting_mta));
    writer.field("X-Rohrpost-Queue-ID", &report.id.to_string());
    writer.field("Arrival-Date", &date(report.arrival));
    for recipient in report.recipients {
        writer.line("");
        // RFC 3461 §5.2.3: given back as it was given, decoded.
        if let Some((kind, address)) = recipient.original.and_then(|original| original.split_once(';')) {
            let address = if !kind.eq_ignore_ascii_case("utf-8") {
                from_xtext(address)
            } else if utf8 {
                unitext::decode(address).unwrap_or_else(|| address.to_owned())
            } else {
                // RFC 6533 §3: a notice in ASCII has the form that is ASCII.
                unitext::to_ascii(address)
            };
            writer.field("Original-Recipient", &format!("{kind};{address}"));
        }
        writer.field("Final-Recipient", &format!("{address_type}; {}", recipient.address));
        writer.field("Action", &recipient.action.to_string());
        writer.field("Status", &recipient.status.to_string());
        if let Some(remote) = recipient.remote {
            writer.field("Remote-MTA", &format!("dns; {remote}"));
        }
        match &recipient.diagnostic {
            Some(Diagnostic::Remote(text)) => writer.field("Diagnostic-Code", &format!("smtp; {text}")),
            Some(Diagnostic::Local(text)) => writer.field("Diagnostic-Code", &format!("x-rohrpost; {text}")),
            None => {}
        }
        if let Some(last_attempt) = recipient.last_attempt {
            writer.field("Last-Attempt-Date", &date(last_attempt));
        }
        if let Some(until) = recipient.retry_until {
            writer.field("Will-Retry-Until", &date(until));
        }
    }
}

/// RFC 5322 §3.3, in UTC. A time beyond the calendar, from a clock gone mad, is written as 1970.
fn date(time: WallTime) -> String {
    let micros = i64::try_from(time.micros()).unwrap_or(0);
    let timestamp = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::UNIX_EPOCH);
    jiff::fmt::rfc2822::to_string(&timestamp.to_zoned_datetime(TimeZone::UTC))
        .or_else(|_| jiff::fmt::rfc2822::to_string(&Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC)))
        .expect("1970 can be written")
}
