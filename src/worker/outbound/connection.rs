//! One connection to a next hop: its handshake, its content, and what its session says in the words of the destinations.

use super::{Connection, Content, InHand};
use crate::delivery::{Answer, Behalf, ConnectionId, CredentialsId, Demand, Fate, HopPath, HopSecured, Job, ReplyTo};
use crate::env::Instant;
use crate::env::disk::Disk;
use crate::event::Event;
use crate::flow::Transport;
use crate::limits::{READER_RETRY_DELAY, REPORT_DOMAINS_PER_CONNECTION_MAX};
use crate::smtp::client::{self, LocalReason, Reason, Stage};
use crate::smtp::dsn;
use crate::spool::Piece;
use crate::tls::{Client, TlsError, Verification};
use crate::tlsrpt::{Attempt, Fault, Session};
use crate::worker::exchange::Letter;
use crate::worker::parts::{Parts, worker_of_log};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How far a connection had come when, for the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    began_at: Instant,
    ready_at: Option<Instant>,
    /// When the task in hand began.
    task_at: Option<Instant>,
    /// The task in hand is not the first.
    is_reused: bool,
}

impl Course {
    /// It begins.
    pub(super) fn new(now: Instant) -> Course {
        Course { began_at: now, ready_at: None, task_at: None, is_reused: false }
    }

    /// Tasks may begin.
    pub(super) fn ready(&mut self, now: Instant) {
        self.ready_at = Some(now);
    }

    /// One does.
    pub(super) fn task_begins(&mut self, now: Instant) {
        self.task_at = Some(now);
    }

    /// One has ended.
    pub(super) fn task_ended(&mut self) {
        self.task_at = None;
        self.is_reused = true;
    }

    /// How long it took until tasks could begin, unless that was for another one, and for how long this one has gone on, in
    /// milliseconds.
    fn spent(&self, now: Instant) -> (Option<u64>, Option<u64>) {
        let between = |from: Instant, to: Instant| u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX);
        let connect = (!self.is_reused).then(|| between(self.began_at, self.ready_at.unwrap_or(now)));
        (connect, self.task_at.map(|at| between(at, now)))
    }
}

impl Connection {
    /// Whether nothing but the end of a message is missing.
    pub(super) fn end_wanted(&self) -> bool {
        self.session.as_ref().is_some_and(client::Session::end_wanted)
    }

    /// Whether what ends the message in hand may go out.
    pub(super) fn may_end<T, D: Disk>(&self, parts: &Parts<T, D>) -> bool {
        matches!(self.task, InHand::Delivery { id, attempt: super::Attempt::Recorded, .. } if parts.may_end(id))
    }

    /// The message in hand is not delivered, unless its end has gone out.
    pub(super) fn refuse_end(&mut self, now: Instant) {
        if let InHand::Delivery { broken_off, .. } = &mut self.task
            && let Some(session) = &mut self.session
        {
            *broken_off |= session.refuse_end(now);
        }
    }

    /// If it is our credentials that are wrong, or cannot be shown, somebody has to know.
    pub(super) fn note_refusal<T, D: Disk>(
        &self,
        parts: &mut Parts<T, D>,
        refused: &mut BTreeMap<CredentialsId, String>,
        reason: &Reason,
    ) {
        let Some(id) = self.security.credentials.filter(|_| reason.refuses_credentials()) else { return };
        let (remote, reply) = (self.host.to_string(), reason.to_string());
        let text = format!("{remote}: {reply}");
        // Once for all recipients of a message.
        if refused.get(&id) != Some(&text) {
            refused.insert(id, text);
            parts.reporter.event(Event::CredentialsRefused { remote, reply });
        }
    }

    /// Tells what came of TLS, once for each domain whose mail the connection is used for.
    pub(super) fn report_session<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, job: &Job) {
        // A host that fails at TLS is spoken to in the clear for a while; that it failed was told.
        if !parts.reporter.reports_tls() || self.security.demand == Demand::None {
            return;
        }
        let Some(behalf) = Behalf::of(job) else { return };
        if self.reported.contains(&behalf.domain) || self.reported.len() >= REPORT_DOMAINS_PER_CONNECTION_MAX {
            return;
        }
        self.reported.push(Arc::clone(&behalf.domain));
        let fault = self.line.secured().is_none().then(Fault::no_starttls);
        self.report(parts, behalf, fault);
    }

    /// Tells of a connection that has ended before it could be used, if that had to do with TLS.
    pub(super) fn report_failure<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, reason: &Reason) {
        let unused = parts.reporter.reports_tls() && self.reported.is_empty();
        if let Some(fault) = Fault::of_end(reason, self.tls_error.as_ref()).filter(|_| unused)
            && let Some(behalf) = self.behalf.take()
        {
            self.report(parts, *behalf, Some(fault));
        }
    }

    fn report<T, D: Disk>(&self, parts: &mut Parts<T, D>, behalf: Behalf, fault: Option<Fault>) {
        let Behalf { domain, route, hosts } = behalf;
        let attempt = Attempt {
            host: Arc::clone(&self.host),
            remote: self.remote.ip(),
            local: self.local,
            fault,
            invalid: self.line.invalidity().map(Fault::of_certificate),
        };
        let tls = parts.routes.route(route).tls;
        parts.reporter.tls(Session { domain, hosts, tls, attempt: Some(attempt) });
    }

    /// Goes on with the handshake, which the session waits for. Whether that came a step further.
    pub(super) fn secure<T: Transport, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        client: Option<&mut Client>,
    ) -> bool {
        let Some(session) = &mut self.session else { return false };
        if self.line.secured().is_some() {
            session.secured(parts.now.mono);
            return true;
        }
        // Beginning one costs something as well.
        if self.line.is_secure() || !parts.handshakes.step(self.line.flow()) {
            return false;
        }
        let verification = match &self.security.demand {
            Demand::Verify | Demand::Sts => Verification::Name,
            Demand::StsTesting { .. } => Verification::Watched,
            Demand::Dane(known) => Verification::Dane(Arc::clone(known)),
            Demand::None | Demand::Opportunistic | Demand::Require => Verification::Nothing,
        };
        let nothing = || TlsError::Protocol(rustls::Error::General("TLS is not to be had here".to_owned()));
        match client.ok_or_else(nothing).and_then(|client| client.connect(&self.host, &verification)) {
            Ok(tls) => self.line.secure(tls),
            Err(error) => {
                self.tls_error = Some(error);
                session.ended(parts.now.mono);
            }
        }
        true
    }

    /// Gives content to the session for as long as both sides have some to give and to take.
    pub(super) fn feed<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, connection: ConnectionId) -> bool {
        let InHand::Delivery { id, size, content, broken_off, .. } = &mut self.task else { return false };
        let (id, size) = (*id, *size);
        let session = self.session.as_mut().expect("a session wants content");
        let log = parts.logs.of(id);
        let gone = log.as_ref().is_some_and(|log| log.failed() || log.message(id).is_none());
        if gone && !matches!(content, Content::Here(_)) || log.as_ref().is_some_and(|log| log.failed()) {
            // Deleted by the operator while the job was under way, or its outcome could not be written down: it would be
            // delivered again after a restart.
            *broken_off = true;
            session.content_failed(parts.now.mono);
            return true;
        }
        if matches!(content, Content::Unopened) {
            *content = match log.map(|log| log.reader(id)) {
                None => {
                    let home = worker_of_log(id.log(), parts.exchange.workers());
                    Content::There { home, offset: 0, piece: None, position: 0, asked: false }
                }
                Some(Some(reader)) => Content::Here(reader),
                Some(None) => {
                    // All readers are in use: this one has its turn later.
                    let retry_at = parts.now.mono + READER_RETRY_DELAY;
                    self.armed = Some(retry_at);
                    parts.timers.schedule(self.line.flow(), retry_at);
                    return false;
                }
            };
        }
        let (line, transport, now) = (&mut self.line, &mut parts.transport, parts.now.mono);
        let mut moved = false;
        match content {
            Content::Unopened => unreachable!("opened above"),
            Content::Here(reader) => {
                let Some(log) = parts.logs.of(id) else { return false };
                while session.wants_content() {
                    match log.read(reader) {
                        Piece::Ready(bytes) => {
                            let last = reader.position() + bytes.len() as u64 == size;
                            let count = session.content(now, bytes, last, &mut |bytes| line.send(transport, bytes));
                            let all = count == bytes.len();
                            reader.consume(count);
                            moved |= count > 0 || (last && all);
                            if !all || last {
                                break;
                            }
                        }
                        Piece::Pending => break,
                        Piece::End | Piece::Damaged | Piece::Failed => {
                            *broken_off = true;
                            session.content_failed(now);
                            return true;
                        }
                    }
                }
            }
            Content::There { home, offset, piece, position, asked } => {
                if let Some(held) = piece {
                    let bytes = &held.bytes[*position..];
                    let count = session.content(now, bytes, held.last, &mut |bytes| line.send(transport, bytes));
                    *position += count;
                    moved = count > 0;
                    if *position == held.bytes.len() && !held.last {
                        *offset += held.bytes.len() as u64;
                        *piece = None;
                    }
                }
                if piece.is_none() && !*asked {
                    *asked = true;
                    let from = parts.exchange.worker();
                    let wanted = Letter::ContentWanted { from, connection, id, offset: *offset };
                    parts.exchange.send(*home, wanted);
                }
            }
        }
        moved
    }

    /// The flow was ended by us: the host has nothing to do with it.
    pub(super) fn break_off(&mut self, now: Instant) {
        if let InHand::Delivery { broken_off, .. } = &mut self.task {
            *broken_off = true;
        }
        if let Some(session) = &mut self.session
            && !session.refuse_end(now)
        {
            session.ended(now);
        }
    }

    /// How it is secured, once it is.
    pub(super) fn secured(&self) -> Option<HopSecured> {
        let secured = self.line.secured()?;
        let demand = &self.security.demand;
        Some(HopSecured { secured, verified: demand.authenticates(self.line.is_valid()), policy: demand.name() })
    }

    /// Takes note of what it has met so far, as long as somebody knows.
    pub(super) fn look_back<T: Transport>(&mut self, transport: &mut T) {
        self.met = transport.path(self.line.flow()).or(self.met);
    }

    /// How the host was reached, and how long that took until now.
    pub(super) fn path(&self, now: Instant) -> Box<HopPath> {
        let local = Some(self.local).filter(|local| !local.is_unspecified());
        let (connect_ms, transaction_ms) = self.course.spent(now);
        Box::new(HopPath { local, pool: self.pool.clone(), met: self.met, connect_ms, transaction_ms })
    }

    pub(super) fn fate(&self, fate: client::Fate, now: Instant) -> Fate {
        match fate {
            client::Fate::Delivered(reply) => {
                let status = reply.enhanced.unwrap_or((2, 0, 0));
                let code = ReplyTo { code: reply.code, stage: Stage::Outcome };
                let answer = Answer::reply(code, status, reply.line(), &*self.host);
                Fate::Delivered(Answer { tls: self.secured(), path: Some(self.path(now)), ..answer })
            }
            // Nothing was said about it.
            client::Fate::Deferred(Reason::Local(LocalReason::NotBegun)) => Fate::Untried,
            client::Fate::Deferred(reason) => {
                let soon = matches!(reason, Reason::TooManyRecipients);
                let tried = reason != Reason::Local(LocalReason::Unrecorded);
                Fate::Deferred { answer: self.deferral(&reason, now), soon, tried }
            }
            client::Fate::Failed(reason) => Fate::Failed(self.answer(&reason, now)),
        }
    }

    /// What is put off is so for now, whatever the server has called it.
    pub(super) fn deferral(&self, reason: &Reason, now: Instant) -> Answer {
        let answer = self.answer(reason, now);
        let (_, subject, detail) = answer.status;
        Answer { status: (4, subject, detail), ..answer }
    }

    fn answer(&self, reason: &Reason, now: Instant) -> Answer {
        let status = match (&self.tls_error, reason) {
            // RFC 3463 §3.8: a failure of cryptography.
            (Some(_), Reason::Connection(_, Stage::Handshake)) => dsn::Status::new(4, 7, 5),
            _ => dsn::status_of(reason),
        };
        let text = match &self.tls_error {
            Some(error) => format!("{reason}: {error}"),
            None => reason.to_string(),
        };
        Answer {
            status: (status.class, status.subject, status.detail),
            text: text.into(),
            tls: self.secured(),
            path: Some(self.path(now)),
            reaction: None,
            remote: Some((*self.host).into()),
            reply: match reason {
                Reason::Reply { stage, reply } => Some(ReplyTo { code: reply.code, stage: *stage }),
                _ => None,
            },
        }
    }
}
