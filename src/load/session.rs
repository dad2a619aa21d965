//! One client of the generator, sans I/O.
//!
//! In: the server's bytes, messages to send, the time. Out: bytes, in whatever portions the flow takes them, and figures.
//!
//! ```text
//! Greeting ─► Hello ─► Ready ─► Transaction ─┐     any ─► Over
//!                        ▲                   │     Ready ─► Leaving ─► Left
//!                        └──── Resetting ◄───┘
//! ```
//!
//! Each message has a header of its own, with a Message-Id by which a lost or doubled one can be found, and a body that is
//! made on the way.

use super::content::piece;
use super::failure::{Command, Failure};
use super::plan::{Class, Pace, Plan, Recipient, Transfer};
use super::report::Figures;
use crate::env::Instant;
use crate::limits::CLIENT_OUTPUT_SIZE;
use crate::smtp::client::{Extensions, Output, ReplyReader};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// How long a server may take to end the connection after QUIT. Whoever ends first keeps the port for a minute, and a
/// client that opens many connections would run out of them.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// A message to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// Tells it from all others of the run.
    pub number: u64,
    /// Header and body together, bytes.
    pub size: u64,
    /// When it was meant to be sent; latency counts from there.
    pub intended: Instant,
}

/// What a session can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It waits for the server.
    Busy,
    /// It can be given a message.
    Ready,
    /// The connection is of no more use.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Hello {
        extended: bool,
    },
    Ready,
    Transaction(Transaction),
    Resetting,
    Leaving,
    /// Ended in good order.
    Left,
    /// Ended otherwise.
    Over,
}

/// A message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Transaction {
    message: Message,
    /// When MAIL was written.
    begun: Instant,
    /// Commands written and answered: MAIL, each RCPT, then DATA or BDAT.
    asked: u32,
    answered: u32,
    /// Recipients that the server took.
    accepted: u32,
    /// There is an answer that makes the message fail; the others are still waited for.
    failed: bool,
    content: Content,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Its time has not come.
    Waiting,
    /// So many bytes of the body are still to be sent.
    Body(u64),
    /// All is written but not all taken by the flow; then it is the server's turn.
    End,
    /// The last byte went out then.
    Sent(Instant),
}

/// A client's conversation.
#[derive(Debug)]
pub(super) struct Session {
    plan: Arc<Plan>,
    class: usize,
    state: State,
    /// When the connection was asked for.
    opened: Instant,
    offered: Extensions,
    reader: ReplyReader,
    out: Output,
    /// Of the message that is on its way.
    header: Vec<u8>,
    body_size: u64,
    /// Messages begun.
    begun_count: u64,
    /// Not before then may it write again, being slow.
    silent_until: Instant,
    /// When something came or went last.
    active_at: Instant,
}

impl Session {
    /// A session on a connection that was asked for at `opened` and is there now.
    pub(super) fn new(plan: Arc<Plan>, class: usize, opened: Instant, now: Instant) -> Session {
        Session {
            plan,
            class,
            state: State::Greeting,
            opened,
            offered: Extensions::default(),
            reader: ReplyReader::default(),
            out: Output::default(),
            header: Vec::new(),
            body_size: 0,
            begun_count: 0,
            silent_until: Instant::ZERO,
            active_at: now,
        }
    }

    fn class(&self) -> &Class {
        &self.plan.classes[self.class]
    }

    pub(super) fn standing(&self) -> Standing {
        match self.state {
            State::Ready => Standing::Ready,
            State::Left | State::Over => Standing::Over,
            _ => Standing::Busy,
        }
    }

    /// Whether a message is on its way.
    pub(super) fn is_sending(&self) -> bool {
        matches!(self.state, State::Transaction(_))
    }

    /// Whether QUIT was said.
    pub(super) fn is_leaving(&self) -> bool {
        self.state == State::Leaving
    }

    /// Whether it has ended as it should.
    pub(super) fn has_left(&self) -> bool {
        self.state == State::Left
    }

    /// Begins a message. Only in [`Standing::Ready`].
    pub(super) fn begin(&mut self, mut message: Message, now: Instant, figures: &mut Figures) {
        assert_eq!(self.state, State::Ready, "one message at a time");
        if self.class().transfer == Transfer::Bdat && !self.offered.chunking {
            self.count_failed(message, Failure::NoChunking, figures);
            return self.leave(now);
        }
        if self.plan.pace == Pace::Closed {
            // It was not meant for any time, and did not wait.
            message.intended = now;
        }
        self.begun_count += 1;
        self.header.clear();
        let Plan { sender, date, ehlo_name, seed, .. } = &*self.plan;
        let recipient = Recipient { plan: &self.plan, message: message.number, place: None };
        write!(
            self.header,
            "From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: load\r\nDate: {date}\r\n\
             Message-Id: <{seed}.{}@{ehlo_name}>\r\n\r\n",
            message.number
        )
        .expect("a vector takes every byte");
        // A line's end must have room.
        self.body_size = message.size.saturating_sub(self.header.len() as u64).max(2);
        self.active_at = now;
        self.state = State::Transaction(Transaction {
            message,
            begun: now,
            asked: 0,
            answered: 0,
            accepted: 0,
            failed: false,
            content: Content::Waiting,
        });
    }

    /// Says QUIT. Only in [`Standing::Ready`].
    pub(super) fn leave(&mut self, now: Instant) {
        self.out.end().extend_from_slice(b"QUIT\r\n");
        self.active_at = now;
        self.state = State::Leaving;
    }

    /// Takes in what the server sent; all of it is consumed.
    pub(super) fn receive(&mut self, mut input: &[u8], now: Instant, figures: &mut Figures) {
        self.active_at = now;
        while !input.is_empty() && self.standing() != Standing::Over {
            let hello = matches!(self.state, State::Hello { .. });
            let offered = &mut self.offered;
            let (consumed, reply) = self.reader.read(input, |line, text| {
                if hello && line > 0 {
                    offered.note(text);
                }
            });
            input = &input[consumed..];
            match reply {
                None => return,
                Some(Ok(reply)) => self.answered(reply.code, now, figures),
                Some(Err(_)) => self.fail(Failure::Unintelligible, figures),
            }
        }
    }

    fn answered(&mut self, code: u16, now: Instant, figures: &mut Figures) {
        let good = code < 400;
        match self.state {
            State::Greeting if good => {
                figures.greeting.record(now.since(self.opened));
                write!(self.out.end(), "EHLO {}\r\n", self.plan.ehlo_name).expect("a vector takes every byte");
                self.state = State::Hello { extended: true };
            }
            State::Hello { .. } if good => self.rest(now),
            State::Hello { extended: true } if code != 421 => {
                write!(self.out.end(), "HELO {}\r\n", self.plan.ehlo_name).expect("a vector takes every byte");
                self.state = State::Hello { extended: false };
            }
            State::Hello { .. } => self.fail(Failure::Refused(Command::Hello, code), figures),
            State::Greeting | State::Ready => self.fail(Failure::Refused(Command::Greeting, code), figures),
            State::Transaction(transaction) => self.transaction_answered(transaction, code, now, figures),
            State::Resetting if good => self.rest(now),
            State::Resetting => self.fail(Failure::Refused(Command::Reset, code), figures),
            // 221, and now the server ends the connection.
            State::Leaving | State::Left | State::Over => {}
        }
    }

    fn transaction_answered(&mut self, mut transaction: Transaction, code: u16, now: Instant, figures: &mut Figures) {
        let recipients = self.class().recipients;
        let bdat = self.class().transfer == Transfer::Bdat;
        if code == 421 {
            // The server closes the connection whatever it was asked.
            return self.fail(Failure::Refused(self.question(&transaction), code), figures);
        }
        let question = self.question(&transaction);
        if question == Command::Content && !bdat {
            return self.content_answered(transaction, code, now, figures);
        }
        if transaction.answered == transaction.asked {
            return self.fail(Failure::Unintelligible, figures);
        }
        transaction.answered += 1;
        let good = if question == Command::Data { code == 354 } else { code < 400 };
        let counts = transaction.message.intended >= figures.from;
        // After the first refusal that dooms the message the others follow from it.
        if !good && !transaction.failed && counts {
            figures.fail(Failure::Refused(question, code));
        }
        match question {
            Command::Mail => transaction.failed |= !good,
            Command::Rcpt => {
                transaction.accepted += u32::from(good);
                if transaction.answered == recipients + 1 {
                    transaction.failed |= transaction.accepted == 0;
                    if !transaction.failed && counts {
                        figures.envelope.record(now.since(transaction.begun));
                    }
                }
            }
            _ if bdat => {
                if good && !transaction.failed {
                    return self.content_answered(transaction, code, now, figures);
                }
                figures.failed += u64::from(counts);
                return if matches!(transaction.content, Content::Sent(_)) {
                    self.reset()
                } else {
                    self.state = State::Over
                };
            }
            // RFC 2920 §3.1: a server may ask for content though it took no recipient; it gets a dot and nothing else.
            _ if good && transaction.failed => {
                self.out.end().extend_from_slice(b".\r\n");
                transaction.content = Content::End;
            }
            _ if good => {
                self.out.end().extend_from_slice(&self.header);
                transaction.content = Content::Body(self.body_size);
            }
            _ => transaction.failed = true,
        }
        self.state = State::Transaction(transaction);
        if transaction.failed && transaction.answered == transaction.asked && transaction.content == Content::Waiting {
            figures.failed += u64::from(counts);
            self.reset();
        }
    }

    /// What the next answer is about.
    fn question(&self, transaction: &Transaction) -> Command {
        let recipients = self.class().recipients;
        match transaction.answered {
            0 => Command::Mail,
            answered if answered <= recipients => Command::Rcpt,
            answered if answered == recipients + 1 && self.class().transfer == Transfer::Data => Command::Data,
            _ => Command::Content,
        }
    }

    fn content_answered(&mut self, transaction: Transaction, code: u16, now: Instant, figures: &mut Figures) {
        let counts = transaction.message.intended >= figures.from;
        if transaction.failed {
            figures.failed += u64::from(counts);
        } else if code >= 400 {
            self.count_failed(transaction.message, Failure::Refused(Command::Content, code), figures);
        } else if counts {
            if let Content::Sent(at) = transaction.content {
                figures.accept.record(now.since(at));
            }
            figures.message.record(now.since(transaction.message.intended));
            figures.accepted += 1;
            figures.bytes += self.header.len() as u64 + self.body_size;
            figures.last_at = now;
        }
        // An answer before the end of the content leaves no way to go on.
        if matches!(transaction.content, Content::Sent(_)) { self.rest(now) } else { self.state = State::Over }
    }

    /// Between two messages, if there is to be another one.
    fn rest(&mut self, now: Instant) {
        self.state = State::Ready;
        let spent = |most: u64| most > 0 && self.begun_count >= most;
        if self.class().messages_per_session.is_some_and(spent) {
            self.leave(now);
        }
    }

    fn reset(&mut self) {
        self.out.end().extend_from_slice(b"RSET\r\n");
        self.state = State::Resetting;
    }

    /// The connection ended.
    pub(super) fn lost(&mut self, failure: Failure, figures: &mut Figures) {
        match self.state {
            State::Left | State::Over => {}
            State::Leaving => self.state = State::Left,
            _ => self.fail(failure, figures),
        }
    }

    fn fail(&mut self, failure: Failure, figures: &mut Figures) {
        match self.state {
            State::Transaction(transaction) => self.count_failed(transaction.message, failure, figures),
            _ => figures.fail(failure),
        }
        self.out.clear();
        self.state = State::Over;
    }

    fn count_failed(&self, message: Message, failure: Failure, figures: &mut Figures) {
        if message.intended >= figures.from {
            figures.failed += 1;
            figures.fail(failure);
        }
    }

    /// Hands to `send` all that may go out now, until it takes less than it is given.
    pub(super) fn transmit(&mut self, now: Instant, send: &mut dyn FnMut(&[u8]) -> usize) {
        let Some(slow) = self.class().slow else { return self.write(now, send) };
        if now < self.silent_until {
            return;
        }
        let mut left = slow.piece_size;
        self.write(now, &mut |bytes| {
            let piece = &bytes[..bytes.len().min(left)];
            let taken = if piece.is_empty() { 0 } else { send(piece) };
            left -= taken;
            taken
        });
        // Also where the flow had no room: it is looked at again then, and not at once.
        if left < slow.piece_size || self.has_output() {
            self.silent_until = now + slow.pause;
        }
    }

    fn write(&mut self, now: Instant, send: &mut dyn FnMut(&[u8]) -> usize) {
        let mut active = false;
        let mut counted = |bytes: &[u8]| {
            let taken = send(bytes);
            active |= taken > 0;
            taken
        };
        loop {
            self.ask();
            if !self.out.drain_into(&mut counted) {
                break;
            }
            let asks = self.may_ask();
            let State::Transaction(transaction) = &mut self.state else { break };
            match transaction.content {
                Content::Waiting if asks => {}
                Content::Waiting | Content::Sent(_) => break,
                Content::Body(0) => {
                    transaction.content = Content::End;
                    if self.plan.classes[self.class].transfer == Transfer::Data {
                        self.out.end().extend_from_slice(b".\r\n");
                    }
                }
                Content::Body(left) => {
                    let piece = piece(self.body_size, left);
                    let taken = counted(piece);
                    transaction.content = Content::Body(left - taken as u64);
                    if taken < piece.len() {
                        break;
                    }
                }
                Content::End => {
                    transaction.content = Content::Sent(now);
                    break;
                }
            }
        }
        if active {
            self.active_at = now;
        }
    }

    /// Whether the next command may be written.
    fn may_ask(&self) -> bool {
        let State::Transaction(transaction) = &self.state else { return false };
        let pipelining = self.class().pipelining && self.offered.pipelining;
        transaction.asked < self.class().recipients + 2
            && !transaction.failed
            && (pipelining || transaction.asked == transaction.answered)
    }

    /// Writes the commands that may be written, as far as a buffer goes.
    fn ask(&mut self) {
        while self.may_ask() && self.out.waiting().len() < CLIENT_OUTPUT_SIZE {
            let plan = Arc::clone(&self.plan);
            let class = &plan.classes[self.class];
            let State::Transaction(transaction) = &mut self.state else { return };
            let out = self.out.end();
            let size = self.header.len() as u64 + self.body_size;
            let written = match transaction.asked {
                0 => {
                    let mut written = write!(out, "MAIL FROM:<{}>", plan.sender);
                    if self.offered.size.is_some() {
                        written = written.and_then(|()| write!(out, " SIZE={size}"));
                    }
                    if self.offered.mt_priority && !plan.priority.is_normal() {
                        written = written.and_then(|()| write!(out, " MT-PRIORITY={}", plan.priority));
                    }
                    written.and_then(|()| out.write_all(b"\r\n"))
                }
                number if number <= class.recipients => {
                    let place = Some(number).filter(|_| class.recipients > 1);
                    let recipient = Recipient { plan: &plan, message: transaction.message.number, place };
                    write!(out, "RCPT TO:<{recipient}>\r\n")
                }
                _ if class.transfer == Transfer::Bdat => {
                    transaction.content = Content::Body(self.body_size);
                    write!(out, "BDAT {size} LAST\r\n").and_then(|()| out.write_all(&self.header))
                }
                _ => write!(out, "DATA\r\n"),
            };
            written.expect("a vector takes every byte");
            transaction.asked += 1;
        }
    }

    /// Something is to be written that is not written yet.
    fn has_output(&self) -> bool {
        let content = match &self.state {
            State::Transaction(transaction) => matches!(transaction.content, Content::Body(_) | Content::End),
            _ => false,
        };
        content || !self.out.is_empty() || self.may_ask()
    }

    /// When [`expired`](Session::expired) must be called.
    pub(super) fn deadline(&self) -> Instant {
        let silence = match self.state {
            State::Ready | State::Left | State::Over => Instant::FAR,
            State::Leaving => self.active_at + FAREWELL_MAX,
            _ => self.active_at + self.plan.timeout,
        };
        let slow = self.class().slow.is_some() && self.has_output();
        if slow { silence.min(self.silent_until) } else { silence }
    }

    /// A deadline has come; a slow session may write again.
    pub(super) fn expired(&mut self, now: Instant, figures: &mut Figures) {
        match self.state {
            State::Ready | State::Left | State::Over => {}
            State::Leaving if now >= self.active_at + FAREWELL_MAX => self.state = State::Left,
            State::Leaving => {}
            _ if now >= self.active_at + self.plan.timeout => self.fail(Failure::Silent, figures),
            _ => {}
        }
    }
}
