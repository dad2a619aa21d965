//! Replies: every word that the server says is said here (RFC 5321 §4.2, RFC 2034, RFC 3463).
//!
//! In: what happened. Out: reply lines of at most [`REPLY_LINE_SIZE_MAX`] octets. Nothing that a peer sent goes
//! into a reply unless it was checked by the grammar or went through [`sanitise`].

use crate::limits::REPLY_LINE_SIZE_MAX;
use crate::smtp::Priority;
use crate::smtp::content::ContentFault;
use crate::smtp::grammar::SyntaxError;
use crate::spool::MessageId;
use std::borrow::Cow;

/// A reply: its code, its enhanced status code if it has one, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    status: Option<(u8, u16, u16)>,
    /// Lines are separated by LF.
    text: Cow<'static, str>,
}

/// Which end of an address was malformed: it decides the detail of the status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    /// In MAIL.
    Reverse,
    /// In RCPT.
    Forward,
}

const fn fixed(code: u16, status: (u8, u16, u16), text: &'static str) -> Reply {
    Reply { code, status: Some(status), text: Cow::Borrowed(text) }
}

impl Reply {
    /// The three digits.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Whether it says that the peer did something wrong (5yz).
    pub fn is_permanent_failure(&self) -> bool {
        self.code >= 500
    }

    /// 220: the banner.
    pub fn banner(hostname: &str) -> Reply {
        Reply { code: 220, status: None, text: format!("{hostname} ESMTP Rohrpost").into() }
    }

    /// 220: the last word in the clear.
    pub fn start_tls() -> Reply {
        fixed(220, (2, 0, 0), "Ready to start TLS")
    }

    /// 250: the answer to HELO.
    pub fn hello(hostname: &str) -> Reply {
        Reply { code: 250, status: None, text: hostname.to_owned().into() }
    }

    /// 250: the answer to EHLO; `extensions` are separated by LF.
    pub fn extended_hello(hostname: &str, extensions: &str) -> Reply {
        Reply { code: 250, status: None, text: format!("{hostname}\n{extensions}").into() }
    }

    /// 250 to MAIL.
    pub fn sender_accepted() -> Reply {
        fixed(250, (2, 1, 0), "Sender OK")
    }

    /// 250 to MAIL where the message gets another priority than was asked for (RFC 6710): the new one is the first word.
    pub fn priority_changed(priority: Priority) -> Reply {
        Reply { code: 250, status: Some((2, 3, 6)), text: format!("{priority} is the new priority, sender OK").into() }
    }

    /// 250 to RCPT.
    pub fn recipient_accepted() -> Reply {
        fixed(250, (2, 1, 5), "Recipient OK")
    }

    /// 354: content may come. No status code: RFC 2034 §3 has them on 2yz, 4yz and 5yz only.
    pub fn start_content() -> Reply {
        Reply { code: 354, status: None, text: Cow::Borrowed("End data with <CR><LF>.<CR><LF>") }
    }

    /// 250 to a BDAT that was not the last.
    pub fn chunk_taken(size: u64) -> Reply {
        Reply { code: 250, status: Some((2, 0, 0)), text: format!("{size} octets received").into() }
    }

    /// 250: the message is durable, and ours from now on.
    pub fn queued(id: MessageId) -> Reply {
        Reply { code: 250, status: Some((2, 0, 0)), text: ["Queued as ", &id.text()].concat().into() }
    }

    /// 250 to RSET and NOOP.
    pub fn okay() -> Reply {
        fixed(250, (2, 0, 0), "OK")
    }

    /// 221 to QUIT.
    pub fn goodbye(hostname: &str) -> Reply {
        Reply { code: 221, status: Some((2, 0, 0)), text: format!("{hostname} closing connection").into() }
    }

    /// 252 to VRFY (RFC 5321 §3.5.3): we do not say who exists.
    pub fn cannot_verify() -> Reply {
        fixed(252, (2, 1, 5), "Cannot VRFY user, but will accept message and attempt delivery")
    }

    /// 214 to HELP.
    pub fn help() -> Reply {
        fixed(214, (2, 0, 0), "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\nSee RFC 5321")
    }

    /// 500: no such verb.
    pub fn unknown_command() -> Reply {
        fixed(500, (5, 5, 1), "Command not recognized")
    }

    /// 502: a verb that we know and do not offer.
    pub fn not_offered() -> Reply {
        fixed(502, (5, 5, 1), "Command not implemented")
    }

    /// 503: a command out of its order; `wanted` says what is missing.
    pub fn bad_sequence(wanted: &'static str) -> Reply {
        fixed(503, (5, 5, 1), wanted)
    }

    /// 500: the line has a CR, LF or NUL inside, or is no UTF-8.
    pub fn bad_line() -> Reply {
        fixed(500, (5, 5, 2), "Command lines must be text that ends in CRLF")
    }

    /// 500: a lone LF where a line should end. The session closes after it: such a client would wait for ever for
    /// an answer to the line that it believes to have sent.
    pub fn bare_newline_command() -> Reply {
        fixed(
            500,
            (5, 5, 2),
            "Bare LF in a command: lines must end in CRLF (RFC 5321 section 2.3.8), closing connection",
        )
    }

    /// 500: the line is longer than we keep.
    pub fn line_too_long() -> Reply {
        fixed(500, (5, 5, 2), "Command line too long")
    }

    /// 501: the argument of EHLO, HELO or another command is missing or malformed.
    pub fn bad_arguments() -> Reply {
        fixed(501, (5, 5, 4), "Syntax error in arguments")
    }

    /// 501 after a BDAT whose size was not understood: where its octets end is unknown, so nothing may follow.
    pub fn bad_chunk_size() -> Reply {
        fixed(501, (5, 5, 4), "Syntax error in BDAT size, closing connection")
    }

    /// The answer to a command that the grammar did not take.
    pub fn syntax(error: SyntaxError, path: PathKind) -> Reply {
        let address_detail = match path {
            PathKind::Reverse => 7,
            PathKind::Forward => 3,
        };
        match error {
            SyntaxError::Address => fixed(501, (5, 1, address_detail), "Bad address syntax"),
            SyntaxError::AddressTooLong => fixed(501, (5, 1, address_detail), "Address too long"),
            SyntaxError::NeedsSmtpUtf8 => fixed(553, (5, 6, 7), "Address is not ASCII and SMTPUTF8 was not given"),
            SyntaxError::UnknownParameter => fixed(555, (5, 5, 4), "Parameter not recognized or not offered"),
            SyntaxError::BadParameter => fixed(501, (5, 5, 4), "Bad or repeated parameter"),
            SyntaxError::Arguments => Reply::bad_arguments(),
        }
    }

    /// 552: larger than we take (RFC 1870 §6).
    pub fn message_too_large() -> Reply {
        fixed(552, (5, 3, 4), "Message exceeds the size limit")
    }

    /// 452: there is no room for now.
    pub fn storage_full() -> Reply {
        fixed(452, (4, 3, 1), "Insufficient storage, try again later")
    }

    /// 451: the disk cannot be trusted now.
    pub fn storage_failed() -> Reply {
        fixed(451, (4, 3, 0), "Storage is unavailable, try again later")
    }

    /// 452: one transaction has all the recipients that it may have (RFC 5321 §4.5.3.1.10).
    pub fn too_many_recipients() -> Reply {
        fixed(452, (4, 5, 3), "Too many recipients, send the rest in another transaction")
    }

    /// 550: we do not relay for this client.
    pub fn relay_denied() -> Reply {
        fixed(550, (5, 7, 1), "Relaying denied")
    }

    /// 550: nobody of that name.
    pub fn unknown_recipient() -> Reply {
        fixed(550, (5, 1, 1), "No such recipient here")
    }

    /// 451: whether the recipient exists cannot be found out now.
    pub fn recipient_check_unavailable() -> Reply {
        fixed(451, (4, 4, 3), "Recipient cannot be checked now, try again later")
    }

    /// What the next hop said about a recipient. A code that is no refusal becomes 451; `text`, which may begin with
    /// an enhanced status code, is sanitised.
    pub fn next_hop(code: u16, text: &str) -> Reply {
        let code = if (400..600).contains(&code) { code } else { 451 };
        let (status, text) = split_status(text, code);
        let clean = sanitise(text);
        Reply { code, status: Some(status), text: format!("Next hop said: {clean}").into() }
    }

    /// 554 to DATA or BDAT when every recipient was refused (RFC 5321 §4.1.1.4, RFC 2920 §3.1).
    pub fn no_recipients() -> Reply {
        fixed(554, (5, 5, 1), "No valid recipients")
    }

    /// Content that breaks the rules of lines.
    pub fn content_fault(fault: ContentFault) -> Reply {
        match fault {
            ContentFault::BareNewline => fixed(
                550,
                (5, 5, 2),
                "Bare CR or LF in the message: every line must end in CRLF (RFC 5321 section 2.3.8), \
                 fix the sending program or ask the postmaster here to normalize its line ends",
            ),
            ContentFault::Nul => fixed(554, (5, 6, 0), "NUL in the message (RFC 5322 section 4)"),
        }
    }

    /// 554: it has been through too many hands.
    pub fn too_many_hops() -> Reply {
        fixed(554, (5, 4, 6), "Too many hops, this message is in a loop")
    }

    /// 503: bytes came behind STARTTLS before it was answered. Who sent them cannot be known, and they count for nothing.
    pub fn spoke_behind_start_tls() -> Reply {
        fixed(503, (5, 5, 1), "Nothing may follow STARTTLS before its reply")
    }

    /// 530: this listener takes no mail in the clear (RFC 3207 §4).
    pub fn tls_required() -> Reply {
        fixed(530, (5, 7, 0), "Must issue a STARTTLS command first")
    }

    /// 421 in place of the banner: the client did not wait for it (RFC 5321 §4.3.1).
    pub fn spoke_too_early() -> Reply {
        fixed(421, (4, 7, 0), "Spoke before the greeting")
    }

    /// 421: that was HTTP.
    pub fn not_http() -> Reply {
        fixed(421, (4, 7, 0), "This is not an HTTP server")
    }

    /// 421 after too many errors.
    pub fn too_many_errors() -> Reply {
        fixed(421, (4, 7, 0), "Too many errors")
    }

    /// 421: the session has made all the transactions that it may make (RFC 9422).
    pub fn too_many_transactions() -> Reply {
        fixed(421, (4, 7, 0), "Too many transactions in this session, open another")
    }

    /// 421: nothing came in time.
    pub fn timeout() -> Reply {
        fixed(421, (4, 4, 2), "Timeout, closing connection")
    }

    /// 421: content came too slowly.
    pub fn too_slow() -> Reply {
        fixed(421, (4, 4, 2), "Content comes too slowly, closing connection")
    }

    /// 421: we are going down.
    pub fn shutting_down() -> Reply {
        fixed(421, (4, 3, 2), "Shutting down, try again later")
    }

    /// Appends the reply's lines to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let start = out.len();
            push_number(out, self.code, if lines.peek().is_some() { b'-' } else { b' ' });
            if let Some((class, subject, detail)) = self.status {
                push_number(out, class.into(), b'.');
                push_number(out, subject, b'.');
                push_number(out, detail, b' ');
            }
            out.extend_from_slice(line.as_bytes());
            out.truncate(start + REPLY_LINE_SIZE_MAX - 2);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Writes a number and what stands behind it. The machinery of `write!` took longer than all else about a reply.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u16, after: u8) {
    let digit = b'0' + (number % 10) as u8;
    if number >= 10 {
        push_number(out, number / 10, digit);
    } else {
        out.push(digit);
    }
    out.push(after);
}

/// Takes an enhanced status code of the right class off the front of `text`, or makes one up.
fn split_status(text: &str, code: u16) -> ((u8, u16, u16), &str) {
    let class = if code >= 500 { 5 } else { 4 };
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let mut numbers = word.split('.');
    let mut next =
        || numbers.next().filter(|digits| (1..=3).contains(&digits.len())).and_then(|d| d.parse::<u16>().ok());
    match (next(), next(), next()) {
        (Some(found), Some(subject), Some(detail)) if found == class && numbers.next().is_none() => {
            ((class as u8, subject, detail), rest)
        }
        _ => ((class as u8, 1, 0), text),
    }
}

/// The longest text of a peer that we repeat, bytes: it leaves room for codes and our own words in one line.
const FOREIGN_TEXT_SIZE_MAX: usize = 400;

/// A peer's text as one line of printable ASCII, cut to a bounded length.
pub fn sanitise(text: &str) -> String {
    let printable = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.trim().chars().take(FOREIGN_TEXT_SIZE_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        String::from_utf8(out).expect("replies are text")
    }

    #[test]
    fn a_reply_of_several_lines_repeats_its_codes() {
        assert_eq!(text(&Reply::extended_hello("a", "B\nC 1")), "250-a\r\n250-B\r\n250 C 1\r\n");
        assert!(text(&Reply::help()).starts_with("214-2.0.0 "));
    }

    #[test]
    fn no_line_is_longer_than_the_limit() {
        let long = Reply::hello(&"x".repeat(1000));
        assert_eq!(text(&long).len(), REPLY_LINE_SIZE_MAX);
        assert!(text(&Reply::next_hop(550, &"y".repeat(1000))).len() <= REPLY_LINE_SIZE_MAX);
    }

    #[test]
    fn what_the_next_hop_said_cannot_break_out_of_its_line() {
        let reply = Reply::next_hop(550, "5.1.1 no\r\n250 such <user>\u{7f}ü");
        assert_eq!(text(&reply), "550 5.1.1 Next hop said: no??250 such <user>??\r\n");
    }

    #[test]
    fn what_the_next_hop_said_keeps_or_gets_a_status_code() {
        assert_eq!(text(&Reply::next_hop(550, "unknown")), "550 5.1.0 Next hop said: unknown\r\n");
        assert_eq!(text(&Reply::next_hop(450, "5.1.1 x")), "450 4.1.0 Next hop said: 5.1.1 x\r\n");
        assert_eq!(text(&Reply::next_hop(250, "2.0.0 x")), "451 4.1.0 Next hop said: 2.0.0 x\r\n");
    }
}
