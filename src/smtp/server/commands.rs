//! What each verb does (RFC 5321 §4.1.1, RFC 3030).

use super::received::Trace;
use super::session::{Hello, Session, State};
use super::transfer::{Pace, Transfer};
use super::{Host, RecipientVerdict, Settings, StorageRefusal};
use crate::env::Now;
use crate::smtp::content::{Framing, LineRule, Scanner};
use crate::smtp::grammar::{self, Verb};
use crate::smtp::{BodyType, Envelope, PathKind, Priority, Recipient, Reply};

impl Session {
    /// Takes one command line without its end. `is_last`: nothing has come behind it.
    pub(super) fn command(&mut self, now: Now, line: &[u8], is_last: bool, host: &mut impl Host) {
        if memchr::memchr3(b'\r', b'\n', 0, line).is_some() {
            return self.refuse(now, &Reply::bad_line(), host);
        }
        let (verb, arguments) = Verb::split(line);
        let Ok(arguments) = std::str::from_utf8(arguments) else {
            return self.refuse(now, &Reply::bad_line(), host);
        };
        match verb {
            // RFC 3207 §4: the rest of what may be said without it is NOOP, EHLO, STARTTLS and QUIT.
            Verb::Helo | Verb::Mail | Verb::Rcpt | Verb::Data | Verb::Rset | Verb::Vrfy | Verb::Help
                if self.needs_tls() =>
            {
                self.refuse(now, &Reply::tls_required(), host);
            }
            Verb::Ehlo => self.hello(now, arguments, true, host),
            Verb::Helo => self.hello(now, arguments, false, host),
            Verb::Mail => self.mail(now, arguments, host),
            Verb::Rcpt => self.rcpt(now, arguments, host),
            Verb::Bdat => self.bdat(now, arguments, host),
            Verb::StartTls if self.settings.starttls => self.start_tls(now, arguments, is_last, host),
            Verb::Data | Verb::Rset | Verb::Quit if !arguments.is_empty() => {
                self.refuse(now, &Reply::bad_arguments(), host);
            }
            Verb::Data => self.data(now, host),
            Verb::Rset => {
                self.reset(now, host);
                self.say(&Reply::okay());
            }
            Verb::Quit => {
                let goodbye = Reply::goodbye(&self.settings.hostname);
                self.cut_off(now, &goodbye, host);
            }
            Verb::Noop => self.say(&Reply::okay()),
            Verb::Help => self.say(&Reply::help()),
            Verb::Vrfy if arguments.is_empty() => self.refuse(now, &Reply::bad_arguments(), host),
            Verb::Vrfy => self.say(&Reply::cannot_verify()),
            Verb::NotOffered | Verb::StartTls => self.refuse(now, &Reply::not_offered(), host),
            Verb::Http => self.cut_off(now, &Reply::not_http(), host),
            Verb::Unknown => self.refuse(now, &Reply::unknown_command(), host),
        }
    }

    /// RFC 3207. The handshake begins when the reply has gone out.
    fn start_tls(&mut self, now: Now, arguments: &str, is_last: bool, host: &mut impl Host) {
        if !arguments.is_empty() {
            return self.refuse(now, &Reply::bad_arguments(), host);
        }
        if self.secured.is_some() {
            return self.refuse(now, &Reply::bad_sequence("TLS is in use already"), host);
        }
        match self.state {
            State::Ready => {}
            State::Fresh => return self.refuse(now, &Reply::bad_sequence("Send EHLO first"), host),
            _ => return self.refuse(now, &Reply::bad_sequence("A transaction is open, send RSET first"), host),
        }
        if !is_last {
            return self.cut_off(now, &Reply::spoke_behind_start_tls(), host);
        }
        self.say(&Reply::start_tls());
        self.enter(now, State::Handshake { banner_due: false });
    }

    /// EHLO and HELO also end a transaction, as RSET does (RFC 5321 §4.1.4).
    fn hello(&mut self, now: Now, name: &str, extended: bool, host: &mut impl Host) {
        if !grammar::is_ehlo_name(name) {
            return self.refuse(now, &Reply::bad_arguments(), host);
        }
        self.hello = Some(Hello { name: name.into(), extended });
        self.reset(now, host);
        let settings = &self.settings;
        let reply = if extended {
            Reply::extended_hello(&settings.hostname, &self.extensions())
        } else {
            Reply::hello(&settings.hostname)
        };
        self.say(&reply);
    }

    fn extensions(&self) -> String {
        let settings = &self.settings;
        let binarymime = if settings.binarymime { "BINARYMIME\n" } else { "" };
        let starttls = if settings.starttls && self.secured.is_none() { "STARTTLS\n" } else { "" };
        let requiretls = if self.offers_requiretls() { "REQUIRETLS\n" } else { "" };
        let mt_priority = if settings.mt_priority { "MT-PRIORITY\n" } else { "" };
        format!(
            "PIPELINING\nSIZE {}\n8BITMIME\nCHUNKING\n{binarymime}SMTPUTF8\nDSN\nENHANCEDSTATUSCODES\n{starttls}{requiretls}\
             {mt_priority}LIMITS MAILMAX={} RCPTMAX={}",
            settings.message_size_max, settings.transactions_max, settings.recipients_max
        )
    }

    fn mail(&mut self, now: Now, arguments: &str, host: &mut impl Host) {
        match self.state {
            State::Ready => {}
            State::Fresh => return self.refuse(now, &Reply::bad_sequence("Send EHLO first"), host),
            _ => return self.refuse(now, &Reply::bad_sequence("A transaction is open, send RSET first"), host),
        }
        if self.transactions >= self.settings.transactions_max {
            return self.cut_off(now, &Reply::too_many_transactions(), host);
        }
        let mail = match grammar::mail(arguments, &self.offer()) {
            Ok(mail) => mail,
            Err(error) => return self.refuse(now, &Reply::syntax(error, PathKind::Reverse), host),
        };
        let parameters = mail.parameters;
        if parameters.size.is_some_and(|size| size > self.settings.message_size_max) {
            return self.refuse(now, &Reply::message_too_large(), host);
        }
        if let Err(refusal) = host.sender(mail.reverse_path, parameters.size) {
            return self.say(&refusal.reply());
        }
        self.transactions += 1;
        let priority = self.priority(parameters.priority);
        let envelope = Envelope {
            reverse_path: mail.reverse_path.into(),
            recipients: Vec::new(),
            body: parameters.body.unwrap_or_default(),
            smtputf8: parameters.smtputf8,
            require_tls: parameters.require_tls,
            tls_optional: false,
            priority,
            ret: parameters.ret,
            envelope_id: parameters.envelope_id.map(Into::into),
        };
        self.enter(now, State::Mail(Box::new(envelope)));
        // RFC 6710: without the parameter it is 0 that was asked for.
        let changed = self.settings.mt_priority && priority != parameters.priority.unwrap_or_default();
        self.say(&if changed { Reply::priority_changed(priority) } else { Reply::sender_accepted() });
    }

    /// What the client gets that asks for this.
    fn priority(&self, asked: Option<Priority>) -> Priority {
        let Settings { priority, priority_max, .. } = *self.settings;
        let highest = if self.client.relays { priority_max } else { priority };
        asked.map_or(priority, |asked| asked.min(highest))
    }

    fn rcpt(&mut self, now: Now, arguments: &str, host: &mut impl Host) {
        let offer = self.offer();
        let envelope = match &mut self.state {
            State::Mail(envelope) => envelope,
            State::Chunked(_) => {
                return self.refuse(now, &Reply::bad_sequence("Content has begun, no more recipients"), host);
            }
            _ => return self.refuse(now, &Reply::bad_sequence("Send MAIL first"), host),
        };
        let rcpt = match grammar::rcpt(arguments, &offer, envelope.smtputf8) {
            Ok(rcpt) => rcpt,
            Err(error) => return self.refuse(now, &Reply::syntax(error, PathKind::Forward), host),
        };
        if envelope.recipients.len() >= self.settings.recipients_max {
            return self.say(&Reply::too_many_recipients());
        }
        let verdict = host.recipient(&envelope.reverse_path, rcpt.forward_path);
        let recipient = Recipient {
            address: rcpt.forward_path.into(),
            notify: rcpt.parameters.notify,
            original: rcpt.parameters.original.map(Into::into),
        };
        let State::Mail(envelope) = self.enter(now, State::Ready) else {
            unreachable!("the state was just looked at");
        };
        if verdict == RecipientVerdict::Pending {
            self.enter(now, State::Checking { envelope, recipient });
        } else {
            self.recipient_decided(now, envelope, recipient, verdict, host);
        }
    }

    /// Takes the verdict about a recipient, at once or later.
    pub(super) fn recipient_decided(
        &mut self,
        now: Now,
        mut envelope: Box<Envelope>,
        recipient: Recipient,
        verdict: RecipientVerdict,
        host: &mut impl Host,
    ) {
        match verdict {
            RecipientVerdict::Accept => {
                envelope.recipients.push(recipient);
                self.enter(now, State::Mail(envelope));
                self.say(&Reply::recipient_accepted());
            }
            RecipientVerdict::Refuse(refusal) => {
                self.enter(now, State::Mail(envelope));
                self.refuse(now, &refusal.reply(), host);
            }
            RecipientVerdict::Pending => unreachable!("the callers keep it away"),
        }
    }

    fn data(&mut self, now: Now, host: &mut impl Host) {
        let reply = match &self.state {
            State::Mail(envelope) if envelope.recipients.is_empty() => Reply::no_recipients(),
            // RFC 3030 §3: binary content has no dot that could end it.
            State::Mail(envelope) if envelope.body == BodyType::BinaryMime => {
                Reply::bad_sequence("BINARYMIME content comes by BDAT only")
            }
            State::Mail(_) => match self.begin(now, Framing::Dots, host) {
                Ok(transfer) => {
                    self.enter(now, State::Data(Box::new(transfer)));
                    return self.say(&Reply::start_content());
                }
                Err(refusal) => {
                    self.reset(now, host);
                    refusal.reply()
                }
            },
            State::Chunked(_) => Reply::bad_sequence("Content has begun by BDAT"),
            _ => Reply::bad_sequence("Send MAIL and RCPT first"),
        };
        self.refuse(now, &reply, host);
    }

    fn bdat(&mut self, now: Now, arguments: &str, host: &mut impl Host) {
        let Ok(bdat) = grammar::bdat(arguments) else {
            return self.cut_off(now, &Reply::bad_chunk_size(), host);
        };
        let begun = match &self.state {
            State::Chunked(_) => match self.enter(now, State::Ready) {
                State::Chunked(transfer) => Ok(transfer),
                other => unreachable!("the state was just looked at, not {other:?}"),
            },
            State::Mail(envelope) if envelope.recipients.is_empty() => Err(Reply::no_recipients()),
            State::Mail(_) => self.begin(now, Framing::Counted, host).map(Box::new).map_err(StorageRefusal::reply),
            _ if self.needs_tls() => Err(Reply::tls_required()),
            _ => Err(Reply::bad_sequence("Send MAIL and RCPT first")),
        };
        let next = match begun {
            Ok(transfer) => State::Chunk { transfer, size: bdat.size, remaining: bdat.size, last: bdat.last },
            // RFC 3030 §2: the octets come all the same, and must not be taken for commands.
            Err(reply) => State::Skip { remaining: bdat.size, reply, pace: Pace::new(now.mono) },
        };
        self.enter(now, next);
    }

    /// Opens a message for the envelope in hand, which is used up by that.
    fn begin(&mut self, now: Now, framing: Framing, host: &mut impl Host) -> Result<Transfer, StorageRefusal> {
        let id = host.begin()?;
        let State::Mail(envelope) = self.enter(now, State::Ready) else {
            unreachable!("a message is begun after MAIL");
        };
        let rule = match envelope.body {
            BodyType::BinaryMime => LineRule::Binary,
            _ if self.normalizes() => LineRule::Normalize,
            _ => LineRule::Reject,
        };
        let hello = self.hello.as_ref();
        let trace = Trace {
            ehlo_name: hello.map_or("unknown", |hello| &hello.name),
            remote: self.client.remote.ip(),
            hostname: &self.settings.hostname,
            extended: hello.is_some_and(|hello| hello.extended),
            smtputf8: envelope.smtputf8,
            priority: Some(envelope.priority).filter(|_| self.settings.mt_priority),
            secured: self.secured,
            id,
            only_recipient: match envelope.recipients.as_slice() {
                [recipient] => Some(&recipient.address),
                _ => None,
            },
            at: now.wall,
        };
        let header = trace.header();
        Ok(Transfer::new(id, *envelope, header, Scanner::new(framing, rule), now.mono))
    }
}
