//! The trace header that we put in front of a message (RFC 5321 §4.4).

use crate::env::WallTime;
use crate::smtp::Priority;
use crate::spool::MessageId;
use crate::tls::Secured;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use std::net::IpAddr;

/// What goes into a Received header. Everything in it was checked by the grammar.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trace<'a> {
    pub(super) ehlo_name: &'a str,
    pub(super) remote: IpAddr,
    pub(super) hostname: &'a str,
    /// The client said EHLO.
    pub(super) extended: bool,
    pub(super) smtputf8: bool,
    /// What the message was given, where priorities are spoken of.
    pub(super) priority: Option<Priority>,
    pub(super) secured: Option<Secured>,
    pub(super) id: MessageId,
    /// The forward-path if there is just one: naming one of several would tell the others (RFC 5321 §7.6).
    pub(super) only_recipient: Option<&'a str>,
    pub(super) at: WallTime,
}

impl Trace<'_> {
    /// The header with its CRLF.
    pub(super) fn header(&self) -> Vec<u8> {
        // RFC 6531 §4.3 registers UTF8SMTP for transactions that use SMTPUTF8, and RFC 3848 the S for those under TLS; there is none
        // for HELO.
        let protocol = match (self.smtputf8, self.extended, self.secured.is_some()) {
            (true, _, false) => "UTF8SMTP",
            (true, _, true) => "UTF8SMTPS",
            (false, true, false) => "ESMTP",
            (false, true, true) => "ESMTPS",
            (false, false, _) => "SMTP",
        };
        let mut out = Vec::with_capacity(256);
        let mut put = |text: &str| out.extend_from_slice(text.as_bytes());
        put("Received: from ");
        put(self.ehlo_name);
        let address = self.remote.to_canonical();
        put(if address.is_ipv4() { " ([" } else { " ([IPv6:" });
        put(&address.to_string());
        put("])\r\n\t");
        if let Some(Secured { version, cipher, .. }) = self.secured {
            put(&format!("(using {version} with cipher {cipher})\r\n\t"));
        }
        ["by ", self.hostname, " with ", protocol, " id ", &self.id.text()].into_iter().for_each(&mut put);
        if let Some(recipient) = self.only_recipient {
            ["\r\n\tfor <", recipient, ">"].into_iter().for_each(&mut put);
        }
        // One of the additional clauses (RFC 5321 §4.4), as RFC 6710 has it.
        if let Some(priority) = self.priority {
            put(&format!("\r\n\tpriority {priority}"));
        }
        [";\r\n\t", &date(self.at), "\r\n"].into_iter().for_each(put);
        out
    }
}

/// RFC 5322 §3.3, in UTC.
fn date(at: WallTime) -> String {
    let micros = i64::try_from(at.micros()).unwrap_or(i64::MAX);
    // A clock beyond the calendar is as wrong as one that was never set.
    let timestamp = jiff::Timestamp::from_microsecond(micros).unwrap_or_default();
    // It has no year before zero, the only one that could not be written.
    rfc2822::to_string(&timestamp.to_zoned_datetime(TimeZone::UTC)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_who_when_and_how() {
        let trace = Trace {
            ehlo_name: "client.example",
            remote: "2001:db8::1".parse().expect("an address"),
            hostname: "mx.example",
            extended: true,
            smtputf8: false,
            priority: None,
            secured: None,
            id: MessageId::new(1, 2),
            only_recipient: Some("a@b.example"),
            at: WallTime::from_micros(1_795_407_575_000_000),
        };
        assert_eq!(
            String::from_utf8_lossy(&trace.header()),
            "Received: from client.example ([IPv6:2001:db8::1])\r\n\tby mx.example with ESMTP id 0008000000002\r\n\
             \tfor <a@b.example>;\r\n\tMon, 23 Nov 2026 04:19:35 +0000\r\n"
        );
        let mapped = Trace { remote: "::ffff:192.0.2.1".parse().expect("an address"), only_recipient: None, ..trace };
        let header = String::from_utf8_lossy(&mapped.header()).into_owned();
        assert!(header.contains("([192.0.2.1])\r\n"));
        assert!(header.contains("id 0008000000002;\r\n\tMon"));
        let bulk = Trace { priority: Some(Priority::LOWEST), ..trace };
        assert!(String::from_utf8_lossy(&bulk.header()).contains("\tfor <a@b.example>\r\n\tpriority -9;\r\n\tMon"));
    }

    #[test]
    fn no_clock_makes_it_panic() {
        assert_eq!(date(WallTime::from_micros(0)), "Thu, 1 Jan 1970 00:00:00 +0000");
        date(WallTime::from_micros(u64::MAX));
    }
}
