//! What can go wrong, in the words of the report.

use crate::flow::{ConnectError, FlowEnd};
use std::fmt;

/// What a server was asked when it gave a bad answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Command {
    /// Nothing: it spoke first, or when nobody had asked.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The final dot, or BDAT.
    Content,
    /// RSET.
    Reset,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Command::Greeting => "greeting",
            Command::Hello => "EHLO",
            Command::Mail => "MAIL",
            Command::Rcpt => "RCPT",
            Command::Data => "DATA",
            Command::Content => "content",
            Command::Reset => "RSET",
        })
    }
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The server said no.
    Refused(Command, u16),
    /// It said what is no reply.
    Unintelligible,
    /// It said nothing for too long.
    Silent,
    /// It ended the connection.
    Closed,
    /// The connection ended, or never was.
    Ended(&'static str),
    /// There was still no answer when the run was given up.
    Unfinished,
    /// The server does not offer BDAT.
    NoChunking,
    /// What was said under TLS, or about it, was not as it should be.
    Tls,
}

impl From<FlowEnd> for Failure {
    fn from(end: FlowEnd) -> Failure {
        Failure::Ended(match end {
            FlowEnd::Refused => "connection refused",
            FlowEnd::Reset => "connection reset",
            FlowEnd::TimedOut => "connection timed out",
            FlowEnd::Unreachable => "host unreachable",
        })
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Failure {
        Failure::Ended(match error {
            ConnectError::TableFull => "too many connections of our own",
            ConnectError::PortsExhausted => "no free port of our own",
            ConnectError::NoRoute => "no route from our address",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(command, code) => write!(f, "{command} {code}"),
            Failure::Unintelligible => f.write_str("no valid reply"),
            Failure::Silent => f.write_str("no reply in time"),
            Failure::Closed => f.write_str("connection closed"),
            Failure::Ended(why) => f.write_str(why),
            Failure::Unfinished => f.write_str("unfinished at the end"),
            Failure::NoChunking => f.write_str("BDAT not offered"),
            Failure::Tls => f.write_str("TLS failed"),
        }
    }
}
