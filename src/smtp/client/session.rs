//! The state machine of a client session. See the module above for what enters and what leaves.

mod answer;

use super::command;
use super::content::{Chunks, LoneNewline, Stuffing};
use super::exchange::{Exchange, Purpose, push_fate};
use super::output::Output;
use super::reply::{RemoteReply, ReplyReader};
use super::{
    Event, Extensions, Failure, Fate, LocalReason, Reason, Settings, Stage, Task, Transaction, TransactionRecipient,
};
use crate::env::Instant;
use crate::limits::{CLIENT_BLOCK_SIZE, CLIENT_OUTPUT_SIZE, HANDSHAKE_TIMEOUT};
use crate::smtp::BodyType;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

/// A dialogue with one server, over one flow.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    state: State,
    /// When the answer or the progress that `state` waits for is overdue.
    deadline: Option<Instant>,
    reader: ReplyReader,
    extensions: Extensions,
    output: Output,
    events: VecDeque<Event>,
    transactions_count: u32,
    /// `quit` was asked for while a task was under way.
    quit_wanted: bool,
    /// TLS is in use.
    secured: bool,
    /// What ends the content of this task waits for [`Session::allow_end`].
    end_held: bool,
    /// The end of the content has not reached the server yet.
    end_in_flight: bool,
    /// It was closed when the outcome of a message was due.
    in_doubt: bool,
}

#[derive(Debug)]
enum State {
    /// Connected; the server speaks first.
    Greeting,
    /// EHLO, HELO or LHLO sent, as the stage says.
    Hello(Stage),
    /// STARTTLS sent.
    StartTls,
    /// The layer below to be put on the flow, and to be done with its handshake. `greeting_due`: the server has not spoken yet.
    Handshake { greeting_due: bool },
    /// AUTH sent, or an answer to what it asked for.
    Auth(Asked),
    /// A task may be started.
    Idle,
    /// MAIL, RCPT and DATA on their way, or their answers.
    Envelope(Exchange),
    /// The server waits for content. `ending`: it has all of it, but for what ends it.
    Content { exchange: Exchange, framing: Framing, block_size: u64, ending: bool },
    /// The content is sent (but for what of its end waits in the output); the answers to `chunks_count` chunks, then
    /// those to its end, are due.
    Outcome { exchange: Exchange, chunks_count: u32 },
    /// A lone dot was sent after DATA was accepted for nobody; its answer means nothing.
    Discard,
    /// RSET sent.
    Reset,
    /// QUIT sent; `Closing` was told.
    Quit,
    /// Nothing more will be said or heard; `Closing` was told.
    Closed,
}

/// What a server may ask for by AUTH next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    User,
    Password,
    Nothing,
}

#[derive(Debug)]
enum Framing {
    Data(Stuffing),
    Bdat(Chunks),
}

/// What ends a session early.
#[derive(Clone, Debug)]
enum Cause {
    /// 421, or another answer after which going on makes no sense.
    Reply(RemoteReply),
    /// The flow is gone, or silent.
    Connection(Failure),
    /// Not SMTP.
    Protocol,
    /// The spool failed us.
    ContentUnreadable,
    /// What the spool gave cannot be sent.
    LoneNewline,
    /// The end of the content is not allowed.
    Unrecorded,
    /// There is no TLS, and no mail without.
    TlsNotOffered,
    /// There is no way to say who we are.
    AuthNotOffered,
}

impl Session {
    /// A session over a flow that is connected.
    pub fn new(settings: Arc<Settings>, now: Instant) -> Session {
        let deadline = now + settings.timeouts.greeting;
        Session::waiting(settings, State::Greeting, deadline)
    }

    /// A session over a flow that is connected, and on which TLS comes first.
    pub fn behind_tls(settings: Arc<Settings>, now: Instant) -> Session {
        Session::waiting(settings, State::Handshake { greeting_due: true }, now + HANDSHAKE_TIMEOUT)
    }

    fn waiting(settings: Arc<Settings>, state: State, deadline: Instant) -> Session {
        Session {
            settings,
            state,
            deadline: Some(deadline),
            reader: ReplyReader::default(),
            extensions: Extensions::default(),
            output: Output::default(),
            events: VecDeque::new(),
            transactions_count: 0,
            quit_wanted: false,
            secured: false,
            end_held: false,
            end_in_flight: false,
            in_doubt: false,
        }
    }

    /// Whether TLS is waited for: first for the layer, which is to be put on the flow, then for
    /// [`secured`](Session::secured).
    pub fn is_handshaking(&self) -> bool {
        matches!(self.state, State::Handshake { .. })
    }

    /// The handshake is done. Nothing counts any more that the server said before (RFC 3207 §4.2).
    pub fn secured(&mut self, now: Instant) {
        let State::Handshake { greeting_due } = self.state else { return };
        self.secured = true;
        self.extensions = Extensions::default();
        self.reader = ReplyReader::default();
        if greeting_due {
            self.enter(now, State::Greeting);
        } else {
            self.say_hello(now, self.first_hello());
        }
    }

    /// Takes the server's bytes, all of them, and returns how many that were.
    pub fn receive(&mut self, now: Instant, input: &[u8]) -> usize {
        let mut rest = input;
        while !rest.is_empty() && !matches!(self.state, State::Closed) {
            let extensions = &mut self.extensions;
            let hello = matches!(self.state, State::Hello(Stage::Ehlo | Stage::Lhlo));
            let (consumed, reply) = self.reader.read(rest, |place, line| {
                if hello && place > 0 {
                    extensions.note(line);
                }
            });
            rest = &rest[consumed..];
            match reply {
                Some(Ok(reply)) => {
                    self.answer(now, reply);
                    // Whatever it is, the server did not say it under TLS.
                    if self.is_handshaking() && !rest.is_empty() {
                        self.state = State::StartTls;
                        self.fail(Cause::Protocol);
                    }
                }
                Some(Err(_)) => self.fail(Cause::Protocol),
                None => {}
            }
        }
        input.len()
    }

    /// Starts a task. Only when [`ready`](Session::ready); a session that has meanwhile closed settles it at once.
    pub fn start(&mut self, now: Instant, task: Task) {
        let (purpose, mut transaction) = match task {
            Task::Deliver(transaction) => (Purpose::Deliver, transaction),
            Task::Verify { recipient } => {
                let recipient = TransactionRecipient { address: recipient, ..TransactionRecipient::default() };
                (Purpose::Verify, Transaction { recipients: vec![recipient], ..Transaction::default() })
            }
        };
        if !matches!(self.state, State::Idle) {
            debug_assert!(matches!(self.state, State::Quit | State::Closed), "a task is under way");
            return self.refuse(purpose, &transaction, Reason::Local(LocalReason::NotBegun));
        }
        if let Some(reason) = self.obstacle(&transaction) {
            return self.refuse(purpose, &transaction, Reason::Local(reason));
        }
        self.leave_out(purpose, &mut transaction);
        if transaction.recipients.is_empty() {
            return self.events.push_back(Event::TaskDone);
        }
        self.transactions_count += 1;
        self.end_held = transaction.end_held;
        let exchange = Exchange {
            purpose,
            transaction,
            issued: 0,
            answered: 0,
            accepted: Vec::new(),
            accepted_settled: 0,
            abandoned: false,
        };
        self.enter(now, State::Envelope(exchange));
        self.issue();
    }

    /// The next thing to know, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Bytes to be sent before anything else.
    pub fn output(&self) -> &[u8] {
        self.output.waiting()
    }

    /// The flow has taken the first `count` bytes of [`output`](Session::output).
    pub fn sent(&mut self, _now: Instant, count: usize) {
        self.output.sent(count);
        self.issue();
    }

    /// Whether [`content`](Session::content) would take bytes, or the news that there are no more.
    pub fn wants_content(&self) -> bool {
        match &self.state {
            State::Content { ending: true, .. } => false,
            State::Content { framing: Framing::Data(_), .. } => true,
            State::Content { framing: Framing::Bdat(chunks), .. } => {
                chunks.open_size > 0 || self.may_send_chunk(chunks)
            }
            _ => false,
        }
    }

    /// Sends content: `bytes` come straight from the spool, `last` says that nothing follows them. What waits in
    /// [`output`](Session::output) goes first. Returns how many of `bytes` were taken; the next call begins with the
    /// rest. Less than all means that `send` took less than it was given, or that
    /// [`wants_content`](Session::wants_content) no longer holds. For BDAT, one call's `bytes` are one chunk.
    pub fn content(&mut self, now: Instant, bytes: &[u8], last: bool, send: &mut dyn FnMut(&[u8]) -> usize) -> usize {
        if !self.wants_content() || !self.output.drain_into(send) {
            return 0;
        }
        let taken = match &mut self.state {
            State::Content { framing: Framing::Data(stuffing), ending, .. } => {
                let written = stuffing.write(bytes, send).and_then(|taken| {
                    *ending = last && taken == bytes.len();
                    if *ending {
                        stuffing.end()?;
                    }
                    Ok(taken)
                });
                match written {
                    Ok(taken) => {
                        self.end_content(now);
                        taken
                    }
                    Err(LoneNewline) => {
                        self.fail(Cause::LoneNewline);
                        0
                    }
                }
            }
            State::Content { framing: Framing::Bdat(_), .. } => self.send_chunks(now, bytes, last, send),
            _ => 0,
        };
        self.note_progress(now, taken as u64);
        taken
    }

    /// The spool could not read the content. The connection is given up without a final dot, so that the server drops
    /// what it has (RFC 5321 §4.1.1.4); the recipients are deferred.
    pub fn content_failed(&mut self, _now: Instant) {
        if matches!(self.state, State::Envelope(_) | State::Content { .. }) {
            self.fail(Cause::ContentUnreadable);
        }
    }

    /// Whether nothing but [`allow_end`](Session::allow_end) is missing for the end of the content to go out.
    pub fn end_wanted(&self) -> bool {
        let State::Content { framing, ending: true, .. } = &self.state else { return false };
        self.end_held
            && match framing {
                Framing::Data(_) => true,
                Framing::Bdat(chunks) => self.may_send_chunk(chunks),
            }
    }

    /// What ends the content may go out, and does so if the content is through.
    pub fn allow_end(&mut self, now: Instant) {
        self.end_held = false;
        self.end_content(now);
    }

    /// What ends the content must not go out. The connection is given up without it, and the recipients are deferred. False if
    /// there is none that is held back.
    pub fn refuse_end(&mut self, _now: Instant) -> bool {
        let refused = self.end_held && matches!(self.state, State::Envelope(_) | State::Content { .. });
        if refused {
            self.fail(Cause::Unrecorded);
        }
        refused
    }

    /// The session is no longer needed. While a task is under way, that is finished first.
    pub fn quit(&mut self, now: Instant) {
        match self.state {
            State::Idle => self.say_goodbye(now),
            State::Greeting | State::Hello(_) | State::StartTls | State::Handshake { .. } | State::Auth(_) => {
                self.close(None);
            }
            State::Quit | State::Closed => {}
            _ => self.quit_wanted = true,
        }
    }

    /// The flow is gone; to be called after its last bytes were given to [`receive`](Session::receive).
    pub fn ended(&mut self, _now: Instant) {
        self.fail(Cause::Connection(Failure::Lost));
    }

    /// When [`expired`](Session::expired) must be called. `None` while idle: how long an unused connection is kept is
    /// decided elsewhere.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Time has passed.
    pub fn expired(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.fail(Cause::Connection(Failure::TimedOut));
        }
    }

    /// Whether the flow is to be closed, after what is left in [`output`](Session::output) has been sent.
    pub fn closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether all of a message was given out, and its outcome is due.
    pub fn awaits_outcome(&self) -> bool {
        matches!(self.state, State::Outcome { .. }) && self.output.is_empty()
    }

    /// Whether the end of the content has not reached the server, as far as that is known: what it says then is no consent.
    pub fn set_end_in_flight(&mut self, in_flight: bool) {
        self.end_in_flight = in_flight;
    }

    /// Whether it closed without knowing the outcome of a message. The flow may not have sent all of that yet, and must not any
    /// more: it is to be reset.
    pub fn in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Whether a task may be started.
    pub fn ready(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Transactions begun in this session.
    pub fn transactions_count(&self) -> u32 {
        self.transactions_count
    }

    /// What the server offers; nothing before `Ready`, and nothing after HELO.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The one place where the state changes for another that waits for something; sets the deadline.
    fn enter(&mut self, now: Instant, state: State) {
        self.state = state;
        self.deadline = self.patience().map(|patience| now + patience);
    }

    /// How long the state may wait for the next sign of life.
    fn patience(&self) -> Option<Duration> {
        let timeouts = &self.settings.timeouts;
        match &self.state {
            State::Greeting => Some(timeouts.greeting),
            State::Hello(_) | State::StartTls | State::Auth(_) => Some(timeouts.ehlo),
            State::Handshake { .. } => Some(HANDSHAKE_TIMEOUT),
            State::Envelope(exchange) => Some(match exchange.stage() {
                Stage::Mail => timeouts.mail,
                Stage::Rcpt => timeouts.rcpt,
                _ => timeouts.data,
            }),
            // It is not the server that is waited for.
            State::Content { .. } if self.end_wanted() => None,
            State::Content { .. } => Some(timeouts.block),
            State::Outcome { .. } | State::Discard => Some(timeouts.dot),
            State::Reset => Some(timeouts.rset),
            State::Quit => Some(timeouts.quit),
            State::Idle | State::Closed => None,
        }
    }

    fn stage(&self) -> Stage {
        match &self.state {
            State::Greeting => Stage::Greeting,
            State::Hello(stage) => *stage,
            State::StartTls => Stage::StartTls,
            State::Handshake { .. } => Stage::Handshake,
            State::Auth(_) => Stage::Auth,
            State::Idle => Stage::Idle,
            State::Envelope(exchange) => exchange.stage(),
            State::Content { framing: Framing::Data(_), .. } => Stage::Content,
            State::Content { framing: Framing::Bdat(_), .. } => Stage::Chunks,
            State::Outcome { chunks_count: 1.., .. } => Stage::Chunks,
            State::Outcome { .. } | State::Discard => Stage::Outcome,
            State::Reset => Stage::Rset,
            State::Quit | State::Closed => Stage::Quit,
        }
    }

    /// Writes the commands that are due, as far as the output has room.
    fn issue(&mut self) {
        let State::Envelope(exchange) = &mut self.state else { return };
        let offered = &self.extensions;
        while exchange.may_issue(offered.pipelining) && self.output.waiting().len() < CLIENT_OUTPUT_SIZE {
            let out = self.output.end();
            match exchange.issued {
                0 => command::mail(out, &exchange.transaction, offered),
                number if number < exchange.data() => {
                    command::rcpt(out, &exchange.transaction, number - 1, offered);
                }
                _ => out.extend_from_slice(b"DATA\r\n"),
            }
            exchange.issued += 1;
        }
    }

    fn begin_content(&mut self, now: Instant, exchange: Exchange, framing: Framing) {
        self.enter(now, State::Content { exchange, framing, block_size: 0, ending: false });
        self.events.push_back(Event::ContentWanted);
    }

    /// A chunk may follow at once where the server pipelines, else after the answer to the one before (RFC 3030 §2).
    fn may_send_chunk(&self, chunks: &Chunks) -> bool {
        self.extensions.pipelining || chunks.unanswered_count == 0
    }

    fn send_chunks(&mut self, now: Instant, bytes: &[u8], last: bool, send: &mut dyn FnMut(&[u8]) -> usize) -> usize {
        let pipelining = self.extensions.pipelining;
        // The end of a chunk that is called the last ends the content: while that is held back, none is.
        let may_end = !self.end_held;
        let State::Content { framing: Framing::Bdat(chunks), ending, .. } = &mut self.state else { return 0 };
        let mut taken = 0;
        loop {
            let rest = &bytes[taken..];
            if chunks.open_size == 0 {
                let finished = chunks.last || (rest.is_empty() && !(last && may_end));
                if finished || (rest.is_empty() && taken > 0) || !(pipelining || chunks.unanswered_count == 0) {
                    break;
                }
                command::bdat(self.output.end(), rest.len(), last && may_end);
                chunks.open_size = rest.len();
                chunks.last = last && may_end;
                chunks.unanswered_count += 1;
            }
            if !self.output.drain_into(send) {
                break;
            }
            let piece_size = chunks.open_size.min(rest.len());
            let sent = if piece_size > 0 { send(&rest[..piece_size]).min(piece_size) } else { 0 };
            chunks.open_size -= sent;
            taken += sent;
            if sent < piece_size || chunks.open_size > 0 {
                break;
            }
        }
        *ending = last && taken == bytes.len() && chunks.open_size == 0;
        self.end_content(now);
        taken
    }

    /// When all content is sent: goes on to its outcome with what ends it, a dot or an empty last chunk where none was called
    /// the last. Unless it is held back, or the answer to a chunk must come first.
    fn end_content(&mut self, now: Instant) {
        if self.end_wanted() {
            self.deadline = self.patience().map(|patience| now + patience);
            return;
        }
        let State::Content { framing, ending: true, .. } = &mut self.state else { return };
        match framing {
            Framing::Data(stuffing) => match stuffing.end() {
                Ok(end) => self.output.end().extend_from_slice(end),
                Err(LoneNewline) => return self.fail(Cause::LoneNewline),
            },
            Framing::Bdat(chunks) if !chunks.last => {
                if !(self.extensions.pipelining || chunks.unanswered_count == 0) {
                    return;
                }
                command::bdat(self.output.end(), 0, true);
                chunks.last = true;
                chunks.unanswered_count += 1;
            }
            Framing::Bdat(_) => {}
        }
        self.content_sent(now);
    }

    fn content_sent(&mut self, now: Instant) {
        let state = mem::replace(&mut self.state, State::Closed);
        let State::Content { exchange, framing, .. } = state else { unreachable!("only content can have been sent") };
        let chunks_count = match framing {
            Framing::Data(_) => 0,
            // The answer to the last chunk is the outcome itself.
            Framing::Bdat(chunks) => chunks.unanswered_count - 1,
        };
        self.enter(now, State::Outcome { exchange, chunks_count });
    }

    /// Puts the deadline off for each block that the flow has taken.
    fn note_progress(&mut self, now: Instant, taken: u64) {
        let State::Content { block_size, ending: false, .. } = &mut self.state else { return };
        *block_size += taken;
        if *block_size >= CLIENT_BLOCK_SIZE {
            *block_size = 0;
            self.deadline = Some(now + self.settings.timeouts.block);
        }
    }

    /// What stands in the way of the whole transaction, known before a byte of it is sent.
    fn obstacle(&self, transaction: &Transaction) -> Option<LocalReason> {
        let offered = &self.extensions;
        if !command::is_usable(&transaction.reverse_path) {
            return Some(LocalReason::SenderUnusable);
        }
        if transaction.needs_smtputf8() && !offered.smtputf8 {
            return Some(LocalReason::Smtputf8NotOffered);
        }
        if transaction.body == BodyType::BinaryMime && !(offered.chunking && offered.binary_mime) {
            return Some(LocalReason::BinaryNotOffered);
        }
        // RFC 8689 §5: a notice is not lost for it. What takes mail by LMTP has the mailbox, and passes nothing on.
        let required = transaction.require_tls && !transaction.reverse_path.is_empty();
        if required
            && self.settings.protocol == super::Protocol::Smtp
            && !(transaction.authenticated && offered.requiretls)
        {
            return Some(LocalReason::RequireTlsUnmet);
        }
        // RFC 1870 §4: SIZE without a number, or with 0, is no limit.
        let limit = offered.size.filter(|limit| *limit > 0)?;
        (transaction.size > limit).then_some(LocalReason::TooLarge { size: transaction.size, limit })
    }

    /// Settles the recipients that cannot be part of this transaction, and removes them.
    fn leave_out(&mut self, purpose: Purpose, transaction: &mut Transaction) {
        let recipients_max = self.extensions.recipients_max.unwrap_or(u32::MAX) as usize;
        let mut kept = 0;
        let events = &mut self.events;
        transaction.recipients.retain(|recipient| {
            let reason = if !command::is_usable(&recipient.address) {
                Reason::Local(LocalReason::AddressUnusable)
            } else if kept == recipients_max {
                Reason::TooManyRecipients
            } else {
                kept += 1;
                return true;
            };
            push_fate(events, purpose, recipient.index, reason.into());
            false
        });
    }

    /// Ends a task before it began.
    fn refuse(&mut self, purpose: Purpose, transaction: &Transaction, reason: Reason) {
        for recipient in &transaction.recipients {
            push_fate(&mut self.events, purpose, recipient.index, reason.clone().into());
        }
        self.events.push_back(Event::TaskDone);
    }

    fn settle(&mut self, exchange: &Exchange, place: u32, fate: Fate) {
        let index = exchange.transaction.recipients[place as usize].index;
        push_fate(&mut self.events, exchange.purpose, index, fate);
    }

    fn settle_refused(&mut self, exchange: &Exchange, places: &[u32], stage: Stage, reply: &RemoteReply) {
        for place in places {
            let reason = Reason::Reply { stage, reply: reply.clone() };
            let fate = match exchange.purpose {
                Purpose::Deliver => self.fate(reason),
                // A refused MAIL says nothing about the recipient that is being verified.
                Purpose::Verify => Fate::Deferred(reason),
            };
            self.settle(exchange, *place, fate);
        }
    }

    /// What a recipient meets for a reason. Nobody pays for a mistake in our credentials.
    fn fate(&self, reason: Reason) -> Fate {
        let own = self.settings.credentials.is_some() && reason.refuses_credentials();
        if own { Fate::Deferred(reason) } else { reason.into() }
    }

    /// A transaction that ended badly is cleared away before the next (RFC 5321 §4.1.1.5).
    fn reset(&mut self, now: Instant) {
        self.output.end().extend_from_slice(b"RSET\r\n");
        self.enter(now, State::Reset);
    }

    fn finish_task(&mut self, now: Instant) {
        self.events.push_back(Event::TaskDone);
        self.enter(now, State::Idle);
        let spent = self.extensions.transactions_max.is_some_and(|max| self.transactions_count >= max);
        if self.quit_wanted || spent {
            self.say_goodbye(now);
        }
    }

    fn say_goodbye(&mut self, now: Instant) {
        self.output.end().extend_from_slice(b"QUIT\r\n");
        self.enter(now, State::Quit);
        self.events.push_back(Event::Closing(None));
    }

    /// Ends the session here and now, and tells everyone who waits.
    fn fail(&mut self, cause: Cause) {
        let stage = self.stage();
        let reason = self.reason(cause, stage);
        self.in_doubt |= reason == Reason::UnknownOutcome;
        match mem::replace(&mut self.state, State::Closed) {
            State::Quit | State::Closed => self.close_quietly(),
            State::Envelope(exchange) | State::Content { exchange, .. } | State::Outcome { exchange, .. } => {
                for place in exchange.unsettled() {
                    let fate = match exchange.purpose {
                        Purpose::Deliver => reason.clone().into(),
                        Purpose::Verify => Fate::Deferred(reason.clone()),
                    };
                    self.settle(&exchange, place, fate);
                }
                self.events.push_back(Event::TaskDone);
                self.close(None);
            }
            State::Discard | State::Reset => {
                self.events.push_back(Event::TaskDone);
                self.close(None);
            }
            State::Greeting
            | State::Hello(_)
            | State::StartTls
            | State::Handshake { .. }
            | State::Auth(_)
            | State::Idle => {
                self.close(Some(reason));
            }
        }
    }

    fn reason(&self, cause: Cause, stage: Stage) -> Reason {
        // The end of the message has left us: the server may have acted on it (RFC 1047).
        let whole = matches!(self.state, State::Outcome { .. }) && self.output.is_empty();
        let is_crossing = match &cause {
            Cause::Reply(reply) => reply.code == 421,
            cause => matches!(cause, Cause::Connection(Failure::Lost)),
        };
        if is_crossing
            && self.transactions_count > 1
            && matches!(&self.state, State::Envelope(exchange) if exchange.answered == 0)
        {
            // It had ended the connection, or was about to, when MAIL came.
            return Reason::Local(LocalReason::NotBegun);
        }
        match cause {
            Cause::Reply(reply) => Reason::Reply { stage, reply },
            Cause::ContentUnreadable => Reason::Local(LocalReason::ContentUnreadable),
            Cause::LoneNewline => Reason::Local(LocalReason::LoneNewline),
            Cause::Unrecorded => Reason::Local(LocalReason::Unrecorded),
            Cause::TlsNotOffered => Reason::Local(LocalReason::TlsNotOffered),
            Cause::AuthNotOffered => Reason::Local(LocalReason::AuthNotOffered),
            Cause::Connection(_) | Cause::Protocol if whole => Reason::UnknownOutcome,
            Cause::Connection(failure) => Reason::Connection(failure, stage),
            Cause::Protocol => Reason::Local(LocalReason::Protocol(stage)),
        }
    }

    fn close(&mut self, reason: Option<Reason>) {
        self.events.push_back(Event::Closing(reason));
        self.close_quietly();
    }

    /// What was not sent yet must not be sent any more: it may be the end of a message that was just given up.
    fn close_quietly(&mut self) {
        self.output.clear();
        self.state = State::Closed;
        self.deadline = None;
    }
}
