//! The states of a session and the moves between them.

use super::line::{Cut, LineCutter};
use super::transfer::{Pace, Transfer};
use super::{BareNewline, Client, Host, RecipientVerdict, Settings, StorageRefusal};
use crate::env::{Instant, Now};
use crate::flow::Received;
use crate::limits::{FAREWELL_TIMEOUT, HANDSHAKE_TIMEOUT, OUTPUT_SIZE_HIGH};
use crate::smtp::grammar::Offer;
use crate::smtp::{Envelope, Recipient, Reply};
use crate::spool::MessageId;
use crate::tls::Secured;
use std::sync::Arc;

/// What the session is waiting for.
#[derive(Debug)]
pub(super) enum State {
    /// The greeting delay to pass, without a byte from the client.
    Greeting { until: Instant },
    /// EHLO or HELO.
    Fresh,
    /// MAIL.
    Ready,
    /// RCPT, DATA or BDAT.
    Mail(Box<Envelope>),
    /// The verdict about a recipient.
    Checking { envelope: Box<Envelope>, recipient: Recipient },
    /// Content up to CRLF "." CRLF.
    Data(Box<Transfer>),
    /// The octets of a BDAT.
    Chunk { transfer: Box<Transfer>, size: u64, remaining: u64, last: bool },
    /// The next BDAT.
    Chunked(Box<Transfer>),
    /// The octets of a BDAT that is refused, to be thrown away before the reply.
    Skip { remaining: u64, reply: Reply, pace: Pace },
    /// The message to become durable.
    Committing(MessageId),
    /// The layer below to be put on the flow, and to be done with its handshake.
    Handshake { banner_due: bool },
    /// The replies to be sent, and the flow to be closed.
    Closed,
}

/// How the client named itself.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) name: Box<str>,
    /// By EHLO.
    pub(super) extended: bool,
}

/// One connection of a client.
#[derive(Debug)]
pub struct Session {
    pub(super) settings: Arc<Settings>,
    pub(super) client: Client,
    pub(super) state: State,
    pub(super) hello: Option<Hello>,
    /// How the flow is secured, once it is.
    pub(super) secured: Option<Secured>,
    /// MAIL commands accepted.
    pub(super) transactions: u32,
    line: LineCutter,
    output: Vec<u8>,
    /// How much of the output is sent.
    output_sent: usize,
    /// Errors since the last accepted message.
    errors: u32,
    /// Close as soon as no message is on its way.
    stopping: bool,
    /// When the peer has been silent for too long.
    pub(super) idle_deadline: Instant,
    /// Bytes left in the ring by the last [`receive`](Session::receive).
    unread: usize,
}

/// How one step of [`Session::receive`] went.
pub(super) enum Progress {
    /// So many bytes were consumed; go on.
    More(usize),
    /// So many bytes were consumed; nothing can be done without more input.
    Hungry(usize),
    /// So many bytes were consumed; something else than input is waited for.
    Busy(usize),
}

impl Session {
    /// A session on a flow that was just accepted. Without a greeting delay the banner is in the output at once.
    pub fn new(settings: Arc<Settings>, client: Client, now: Now) -> Session {
        let until = now.mono + settings.greeting_delay;
        let mut session = Session::waiting(settings, client, State::Greeting { until }, until);
        if session.settings.greeting_delay.is_zero() {
            session.greet(now);
        }
        session
    }

    /// A session on a flow that was just accepted, and on which TLS comes first.
    pub fn behind_tls(settings: Arc<Settings>, client: Client, now: Now) -> Session {
        Session::waiting(settings, client, State::Handshake { banner_due: true }, now.mono + HANDSHAKE_TIMEOUT)
    }

    fn waiting(settings: Arc<Settings>, client: Client, state: State, idle_deadline: Instant) -> Session {
        Session {
            settings,
            client,
            state,
            hello: None,
            secured: None,
            transactions: 0,
            line: LineCutter::default(),
            output: Vec::new(),
            output_sent: 0,
            errors: 0,
            stopping: false,
            idle_deadline,
            unread: 0,
        }
    }

    /// Whether TLS is waited for: first for the layer, which is to be put on the flow when the [output](Session::output) is
    /// empty, then for [`secured`](Session::secured).
    pub fn is_handshaking(&self) -> bool {
        matches!(self.state, State::Handshake { .. })
    }

    /// The handshake is done. Nothing counts any more that was said before (RFC 3207 §4.2). `spoke`: plaintext has come with
    /// it, which a client that waits for the banner does not have.
    pub fn secured(&mut self, now: Now, secured: Secured, spoke: bool, host: &mut impl Host) {
        let State::Handshake { banner_due } = self.state else { return };
        self.secured = Some(secured);
        self.hello = None;
        self.line = LineCutter::default();
        self.unread = 0;
        if !banner_due {
            self.enter(now, State::Fresh);
        } else if spoke {
            self.spoke_too_early(now, host);
        } else if self.settings.greeting_delay.is_zero() {
            self.greet(now);
        } else {
            let until = now.mono + self.settings.greeting_delay;
            self.enter(now, State::Greeting { until });
        }
        self.stop_if_idle(now, host);
    }

    /// How the flow is secured, once it is.
    pub fn security(&self) -> Option<Secured> {
        self.secured
    }

    /// Bytes were there before the banner could be sent: with such a client no line can be trusted to answer what it was
    /// told. Only for a session of which nothing was sent.
    pub fn spoke_too_early(&mut self, now: Now, host: &mut impl Host) {
        assert_eq!(self.output_sent, 0, "a client that has our banner cannot be too early");
        self.output.clear();
        self.cut_off(now, &Reply::spoke_too_early(), host);
    }

    /// Consumes what it can of the front of the receive ring and says how much. Call again while it consumes and more
    /// is there, after [`sent`](Session::sent), after [`committed`](Session::committed), after
    /// [`recipient_checked`](Session::recipient_checked), and when the host has room again.
    pub fn receive(&mut self, now: Now, input: Received<'_>, host: &mut impl Host) -> usize {
        let arrived = input.bytes.len() > self.unread;
        let mut used = 0;
        let hungry = loop {
            let rest = Received { bytes: &input.bytes[used..], ..input };
            match self.step(now, rest, host) {
                Progress::More(count) => used += count,
                Progress::Hungry(count) => {
                    used += count;
                    break true;
                }
                Progress::Busy(count) => {
                    used += count;
                    break false;
                }
            }
        };
        if hungry && arrived && matches!(self.state, State::Data(_) | State::Chunk { .. } | State::Skip { .. }) {
            self.idle_deadline = now.mono + self.settings.data_timeout;
        }
        if hungry && input.finished && !input.more {
            // What is begun will never be ended.
            used = input.bytes.len();
            self.close(now, host);
        }
        self.unread = input.bytes.len() - used;
        used
    }

    /// Replies to be sent.
    pub fn output(&self) -> &[u8] {
        &self.output[self.output_sent..]
    }

    /// The first `count` bytes of the output are sent.
    pub fn sent(&mut self, count: usize) {
        assert!(count <= self.output().len(), "more was sent than there was");
        self.output_sent += count;
        // A peer that never takes everything must not make the buffer grow.
        if self.output_sent == self.output.len() || self.output_sent > OUTPUT_SIZE_HIGH {
            self.output.drain(..self.output_sent);
            self.output_sent = 0;
        }
    }

    /// The verdict that followed [`RecipientVerdict::Pending`]. Ignored if nobody waits for it any more.
    pub fn recipient_checked(&mut self, now: Now, verdict: RecipientVerdict, host: &mut impl Host) {
        if verdict == RecipientVerdict::Pending || !matches!(self.state, State::Checking { .. }) {
            return;
        }
        let State::Checking { envelope, recipient } = self.enter(now, State::Ready) else {
            unreachable!("the state was just looked at");
        };
        self.recipient_decided(now, envelope, recipient, verdict, host);
    }

    /// The answer to [`Host::finish`]. Ignored if the session has ended.
    pub fn committed(&mut self, now: Now, result: Result<(), StorageRefusal>) {
        let State::Committing(id) = self.state else {
            return;
        };
        match result {
            Ok(()) => {
                self.errors = 0;
                self.say(&Reply::queued(id));
            }
            Err(refusal) => self.say(&refusal.reply()),
        }
        self.enter(now, State::Ready);
        if self.stopping {
            self.say(&Reply::shutting_down());
            self.enter(now, State::Closed);
        }
    }

    /// When [`expired`](Session::expired) must be called. `None`: the session waits for the appliance, not for the peer.
    pub fn deadline(&self) -> Option<Instant> {
        let rate_min = self.settings.content_rate_min;
        let by_pace = |pace: &Pace| self.idle_deadline.min(pace.deadline(self.unread, rate_min));
        match &self.state {
            State::Checking { .. } | State::Committing(_) => None,
            State::Data(transfer) | State::Chunk { transfer, .. } if transfer.pace.is_blocked() => None,
            State::Data(transfer) | State::Chunk { transfer, .. } | State::Chunked(transfer) => {
                Some(by_pace(&transfer.pace))
            }
            State::Skip { pace, .. } => Some(by_pace(pace)),
            State::Greeting { until } => Some(*until),
            State::Handshake { .. } | State::Fresh | State::Ready | State::Mail(_) | State::Closed => {
                Some(self.idle_deadline)
            }
        }
    }

    /// The deadline has passed. Too early a call does nothing.
    pub fn expired(&mut self, now: Now, host: &mut impl Host) {
        if self.deadline().is_none_or(|deadline| now.mono < deadline) {
            return;
        }
        match &self.state {
            State::Greeting { .. } => self.greet(now),
            // There is nobody who could read a last word.
            State::Handshake { .. } => self.close(now, host),
            // The peer does not even take our last words.
            State::Closed => self.sent(self.output().len()),
            _ if now.mono < self.idle_deadline => self.cut_off(now, &Reply::too_slow(), host),
            _ => self.cut_off(now, &Reply::timeout(), host),
        }
    }

    /// Ends the session with 421 as soon as no content is on its way: at once, or after the message in hand.
    pub fn shutdown(&mut self, now: Now, host: &mut impl Host) {
        self.stopping = true;
        self.stop_if_idle(now, host);
    }

    /// The flow is gone: drops a message that was begun and not finished.
    pub fn ended(&mut self, host: &mut impl Host) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        discard(state, host);
        self.sent(self.output().len());
    }

    /// Whether the flow is to be closed once the output is empty.
    pub fn closing(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// The state in one word, for `status`.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Greeting { .. } => "greeting",
            State::Fresh => "fresh",
            State::Ready => "ready",
            State::Mail(_) => "mail",
            State::Checking { .. } => "checking",
            State::Data(_) => "data",
            State::Chunk { .. } => "chunk",
            State::Chunked(_) => "chunked",
            State::Skip { .. } => "skip",
            State::Committing(_) => "committing",
            State::Handshake { .. } => "handshake",
            State::Closed => "closed",
        }
    }

    fn step(&mut self, now: Now, input: Received<'_>, host: &mut impl Host) -> Progress {
        match &self.state {
            State::Closed => return Progress::Busy(input.bytes.len()),
            State::Checking { .. } | State::Committing(_) | State::Handshake { .. } => return Progress::Busy(0),
            _ if self.output().len() > OUTPUT_SIZE_HIGH => return Progress::Busy(0),
            _ => {}
        }
        match &self.state {
            State::Greeting { .. } if input.bytes.is_empty() => Progress::Hungry(0),
            State::Greeting { .. } => {
                self.cut_off(now, &Reply::spoke_too_early(), host);
                Progress::More(0)
            }
            State::Data(_) => self.take_data(now, input, host),
            State::Chunk { .. } => self.take_chunk(now, input, host),
            State::Skip { .. } => self.skip_chunk(now, input, host),
            _ => self.take_command(now, input, host),
        }
    }

    fn take_command(&mut self, now: Now, input: Received<'_>, host: &mut impl Host) -> Progress {
        let take_over = input.more || input.full;
        let consumed = match self.line.cut(input.bytes, self.client.bare_newline, take_over) {
            Cut::Partial { consumed } => return Progress::Hungry(consumed),
            Cut::BareNewline { consumed } => {
                self.cut_off(now, &Reply::bare_newline_command(), host);
                return Progress::More(consumed);
            }
            Cut::TooLong { consumed } => {
                self.refuse(now, &Reply::line_too_long(), host);
                consumed
            }
            Cut::Line { consumed, line } => {
                let is_last = consumed == input.bytes.len() && !input.more;
                self.command(now, line.bytes(), is_last, host);
                consumed
            }
        };
        if !matches!(self.state, State::Closed) {
            self.idle_deadline = now.mono + self.timeout_of(&self.state);
        }
        self.stop_if_idle(now, host);
        Progress::More(consumed)
    }

    fn greet(&mut self, now: Now) {
        let banner = Reply::banner(&self.settings.hostname);
        self.say(&banner);
        self.enter(now, State::Fresh);
    }

    /// Where a session without a transaction rests.
    pub(super) fn resting(&self) -> State {
        if self.hello.is_some() { State::Ready } else { State::Fresh }
    }

    /// Drops the transaction, if there is one.
    pub(super) fn reset(&mut self, now: Now, host: &mut impl Host) {
        let old = self.enter(now, self.resting());
        discard(old, host);
    }

    /// The one place where the state changes. Returns the old one.
    pub(super) fn enter(&mut self, now: Now, next: State) -> State {
        self.idle_deadline = now.mono + self.timeout_of(&next);
        std::mem::replace(&mut self.state, next)
    }

    fn timeout_of(&self, state: &State) -> std::time::Duration {
        match state {
            State::Data(_) | State::Chunk { .. } | State::Skip { .. } => self.settings.data_timeout,
            State::Closed => FAREWELL_TIMEOUT,
            State::Handshake { .. } => HANDSHAKE_TIMEOUT,
            _ => self.settings.command_timeout,
        }
    }

    /// Appends a reply to the output.
    pub(super) fn say(&mut self, reply: &Reply) {
        reply.write(&mut self.output);
    }

    /// Refuses something, and cuts the client off if that was one error too many.
    pub(super) fn refuse(&mut self, now: Now, reply: &Reply, host: &mut impl Host) {
        self.say(reply);
        if reply.is_permanent_failure() {
            self.errors += 1;
            if self.errors >= self.settings.errors_max {
                self.cut_off(now, &Reply::too_many_errors(), host);
            }
        }
    }

    /// Says a last word and closes.
    pub(super) fn cut_off(&mut self, now: Now, reply: &Reply, host: &mut impl Host) {
        self.say(reply);
        self.close(now, host);
    }

    fn close(&mut self, now: Now, host: &mut impl Host) {
        let old = self.enter(now, State::Closed);
        discard(old, host);
    }

    pub(super) fn stop_if_idle(&mut self, now: Now, host: &mut impl Host) {
        let idle = match self.state {
            State::Greeting { .. } | State::Fresh | State::Ready | State::Mail(_) | State::Checking { .. } => true,
            State::Data(_) | State::Chunk { .. } | State::Chunked(_) | State::Skip { .. } => false,
            State::Committing(_) | State::Handshake { .. } | State::Closed => false,
        };
        if self.stopping && idle {
            self.cut_off(now, &Reply::shutting_down(), host);
        }
    }

    /// Whether TLS has to come before any mail.
    pub(super) fn needs_tls(&self) -> bool {
        self.settings.tls_required && self.secured.is_none()
    }

    /// What the client may use.
    pub(super) fn offer(&self) -> Offer {
        Offer {
            extended: self.hello.as_ref().is_some_and(|hello| hello.extended),
            binarymime: self.settings.binarymime,
            require_tls: self.offers_requiretls(),
            priority: self.settings.mt_priority,
        }
    }

    /// RFC 8689 §2: it is offered under TLS alone.
    pub(super) fn offers_requiretls(&self) -> bool {
        self.settings.requiretls && self.secured.is_some()
    }

    /// Whether a CR or LF on its own is repaired.
    pub(super) fn normalizes(&self) -> bool {
        self.client.bare_newline == BareNewline::Normalize
    }
}

/// Tells the host about a message that was begun and will not be finished. After a fault it knows already.
fn discard(state: State, host: &mut impl Host) {
    let (State::Data(transfer) | State::Chunk { transfer, .. } | State::Chunked(transfer)) = state else {
        return;
    };
    if transfer.fault.is_none() {
        host.abort();
    }
}
