//! Client sessions: the owner's half of delivery. Job → connection → session → fates.
//!
//! [`Destinations`] decides; this carries out: it connects flows, runs a client session on each, and feeds it
//! the content straight from the log's memory, or piece by piece from the worker that holds it.
//!
//! On a box with a partner nothing is delivered of which the partner could not know. When a job begins, the worker that holds
//! the message records it, and all content goes out meanwhile. What ends the content goes out when the record is durable and,
//! at that moment, nobody else can have taken over ([`Parts::may_end`]). So one of two is true of a job when its log gets
//! another leader: it has not ended, or that leader knows that it may have.

mod connection;

use self::connection::Course;
use super::exchange::{ContentPiece, Letter};
use super::parts::{Parts, worker_of_log};
use crate::delivery::{
    Action, Answer, Behalf, ConnectionId, CredentialsId, Demand, Destinations, Fate, Job, JobRecipient, News, Orders,
    Security, TaskResult, Work,
};
use crate::env::Instant;
use crate::env::disk::Disk;
use crate::flow::{ConnectError, FlowEnd, FlowId, PathFacts, Transport};
use crate::limits::END_HELD_MAX;
use crate::mirror::identity_of_log;
use crate::mirror::register::Node;
use crate::smtp::client::{
    self, Credentials, Event, Reason, Session, Settings, Stage, StartTls, Task, Transaction, TransactionRecipient,
};
use crate::spool::{MessageId, Reader};
use crate::tls::{Client, Line, TlsError};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// All connections of a worker to next hops.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) destinations: Destinations,
    /// In order, so that what is done for each comes in the same order everywhere, in the simulator too.
    connections: BTreeMap<ConnectionId, Connection>,
    flows: HashMap<FlowId, ConnectionId>,
    /// Sessions from one own address to one kind of host share their settings.
    settings: HashMap<Manner, Arc<Settings>>,
    /// Who we are to next hops.
    credentials: Arc<[Arc<Credentials>]>,
    /// Those that were refused and have not been taken since, and what was said.
    refused: BTreeMap<CredentialsId, String>,
    /// What connections are secured with; none: they are in the clear.
    tls: Option<Client>,
    /// Attempts that others were asked to record.
    attempts: u64,
    /// Connections on which nothing but the end of a message is missing, which is held back until then at most.
    held: BTreeMap<ConnectionId, Instant>,
}

/// What all sessions with the same settings have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Manner {
    ehlo_name: Arc<str>,
    protocol: client::Protocol,
    starttls: StartTls,
    credentials: Option<CredentialsId>,
}

#[derive(Debug)]
struct Connection {
    line: Line,
    security: Security,
    /// What is wrong with the layer, if its handshake failed.
    tls_error: Option<TlsError>,
    local: IpAddr,
    /// The pool that it leaves from, by its name.
    pool: Option<Arc<str>>,
    /// What it had met when something was said last.
    met: Option<PathFacts>,
    course: Course,
    remote: SocketAddr,
    /// The host's name, for replies and notices.
    host: Arc<str>,
    /// The domain that it was opened for, if the DNS has named the host.
    behalf: Option<Box<Behalf>>,
    /// Domains for which it was told what came of TLS: at most [`REPORT_DOMAINS_PER_CONNECTION_MAX`].
    reported: Vec<Arc<str>>,
    settings: Arc<Settings>,
    /// None until the connection is there.
    session: Option<Session>,
    task: InHand,
    /// The end of the message in hand has reached the host.
    end_arrived: bool,
    /// Why no more tasks can be started, once that is so.
    closing: Option<Option<Reason>>,
    armed: Option<Instant>,
}

/// What a connection works on.
#[derive(Debug)]
enum InHand {
    Nothing,
    Delivery {
        id: MessageId,
        /// Of its content, bytes.
        size: u64,
        fates: Vec<(u32, Fate)>,
        content: Content,
        attempt: Attempt,
        broken_off: bool,
    },
    Verification {
        fate: Option<Fate>,
    },
}

/// What is known of a job by those who may have to go on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// There is nobody else.
    Alone,
    /// The record with this number is not durable yet.
    Recording { number: u64 },
    /// Whoever takes over knows of it.
    Recorded,
}

/// Where the content of a job comes from.
#[derive(Debug)]
enum Content {
    /// This worker's log.
    Here(Reader),
    /// Another worker's, one piece at a time.
    There { home: u16, offset: u64, piece: Option<ContentPiece>, position: usize, asked: bool },
    /// Not yet, or no longer, needed.
    Unopened,
}

impl Outbound {
    pub(super) fn new(
        destinations: Destinations,
        tls: Option<Client>,
        credentials: Arc<[Arc<Credentials>]>,
    ) -> Outbound {
        Outbound {
            destinations,
            connections: BTreeMap::new(),
            flows: HashMap::new(),
            settings: HashMap::new(),
            credentials,
            refused: BTreeMap::new(),
            tls,
            attempts: 0,
            held: BTreeMap::new(),
        }
    }

    /// Open connections.
    pub(super) fn count(&self) -> usize {
        self.connections.len()
    }

    /// What we show from now on, on new connections.
    pub(super) fn show(&mut self, credentials: Arc<[Arc<Credentials>]>) {
        self.credentials = credentials;
        self.settings.clear();
        self.refused.clear();
    }

    /// Credentials that were refused last, each with what was said.
    pub(super) fn refused(&self) -> Vec<(CredentialsId, String)> {
        self.refused.iter().map(|(id, text)| (*id, text.clone())).collect()
    }

    /// Does what the destinations ask for.
    pub(super) fn act<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>) -> bool {
        let mut acted = false;
        while let Some(action) = self.destinations.poll(parts.now.mono) {
            acted = true;
            match action {
                Action::Connect {
                    connection,
                    local,
                    pool,
                    remote,
                    protocol,
                    security,
                    ehlo_name,
                    host,
                    behalf,
                    ..
                } => match parts.transport.connect(parts.now.mono, local, remote) {
                    Ok(flow) => {
                        let settings = self.settings(ehlo_name, protocol, &security);
                        self.flows.insert(flow, connection);
                        let fresh = Connection {
                            line: Line::new(flow, None),
                            security,
                            tls_error: None,
                            local,
                            pool,
                            met: None,
                            course: Course::new(parts.now.mono),
                            remote,
                            host,
                            behalf,
                            reported: Vec::new(),
                            settings,
                            session: None,
                            task: InHand::Nothing,
                            end_arrived: false,
                            closing: None,
                            armed: None,
                        };
                        self.connections.insert(connection, fresh);
                    }
                    Err(error) => {
                        let answer = Answer::local((4, 4, 1), error.to_string());
                        match error {
                            ConnectError::TableFull | ConnectError::PortsExhausted => {
                                self.destinations.connect_impossible(parts.now.mono, connection, answer);
                            }
                            ConnectError::NoRoute => {
                                self.destinations.connect_failed(parts.now.mono, connection, answer);
                            }
                        }
                    }
                },
                Action::Start { connection, work } => self.start(parts, connection, work),
                Action::Quit { connection } => {
                    if let Some(found) = self.connections.get_mut(&connection)
                        && let Some(session) = &mut found.session
                    {
                        session.quit(parts.now.mono);
                    }
                    self.pump(parts, connection);
                }
                Action::Abort { connection } => {
                    if let Some(gone) = self.forget(parts, connection) {
                        parts.transport.abort(gone.line.flow());
                    }
                }
                Action::Finished { worker, result } => parts.exchange.send(worker, Letter::Result(result)),
            }
        }
        while let Some(news) = self.destinations.news() {
            tell(parts, news);
        }
        acted
    }

    fn settings(
        &mut self,
        ehlo_name: Arc<str>,
        protocol: crate::delivery::Protocol,
        security: &Security,
    ) -> Arc<Settings> {
        let protocol = match protocol {
            crate::delivery::Protocol::Smtp => client::Protocol::Smtp,
            crate::delivery::Protocol::Lmtp => client::Protocol::Lmtp,
        };
        let starttls = match &security.demand {
            Demand::Require | Demand::Verify | Demand::Dane(_) | Demand::Sts => StartTls::Always,
            Demand::Opportunistic | Demand::StsTesting { .. } if self.tls.is_some() => StartTls::IfOffered,
            Demand::Opportunistic | Demand::StsTesting { .. } | Demand::None => StartTls::Never,
        };
        // Whose certificate is not looked at is not told who we are.
        let id = security.credentials.filter(|_| security.demand == Demand::Verify);
        let credentials = id.and_then(|CredentialsId(place)| self.credentials.get(usize::from(place)));
        let manner = Manner { ehlo_name, protocol, starttls, credentials: id };
        Arc::clone(self.settings.entry(manner).or_insert_with_key(|manner| {
            let credentials = credentials.cloned();
            Arc::new(Settings { starttls, credentials, ..Settings::new(&manner.ehlo_name, protocol) })
        }))
    }

    fn start<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, connection: ConnectionId, work: Work) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        if let Work::Deliver(job) = &work {
            found.report_session(parts, job);
        }
        let secured = found.secured();
        let session = found.session.as_mut().expect("work is given to a connection that was ready");
        let task = match work {
            Work::Verify { recipient, .. } => {
                found.task = InHand::Verification { fate: None };
                Task::Verify { recipient }
            }
            Work::Deliver(job) => {
                let mut attempt = Attempt::Alone;
                if parts.ends_until.is_some() {
                    self.attempts += 1;
                    let number = self.attempts;
                    attempt = Attempt::Recording { number };
                    let (from, workers) = (parts.exchange.worker(), parts.exchange.workers());
                    let recipients = job.recipients.iter().map(|recipient| recipient.index).collect();
                    let letter = Letter::Attempt { from, connection, number, id: job.id, recipients };
                    parts.exchange.send(worker_of_log(job.id.log(), workers), letter);
                }
                let authenticated = secured.is_some_and(|secured| secured.verified);
                let (id, size) = (job.id, job.size);
                let fates = Vec::with_capacity(job.recipients.len());
                let content = Content::Unopened;
                found.task = InHand::Delivery { id, size, fates, content, attempt, broken_off: false };
                Task::Deliver(transaction(job, authenticated, attempt != Attempt::Alone))
            }
        };
        found.end_arrived = false;
        found.course.task_begins(parts.now.mono);
        session.start(parts.now.mono, task);
        self.pump(parts, connection);
    }

    /// Takes work from a worker, or hands it back untried if too much waits already, or it must not begin.
    pub(super) fn take<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, from: u16, work: Work) {
        let is_stopped = matches!(&work, Work::Deliver(job) if parts.orders.stop(job));
        let taken = if is_stopped { Err(work) } else { self.destinations.push(parts.now.mono, from, work) };
        if let Err(work) = taken {
            parts.exchange.send(from, Letter::Result(work.untried()));
        }
    }

    /// Heeds what an operator says about some of the mail, which is not what it was `before`.
    pub(super) fn heed<T, D: Disk>(&mut self, parts: &Parts<T, D>, before: &Orders) {
        self.destinations.heed(parts.now.mono, &parts.orders, before.newest());
    }

    /// When something must be done even if nothing happens.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.destinations.next_deadline().into_iter().chain(self.held.values().copied()).min()
    }

    /// Whose flow this is.
    pub(super) fn connection_of(&self, flow: FlowId) -> Option<ConnectionId> {
        self.flows.get(&flow).copied()
    }

    pub(super) fn connected<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, connection: ConnectionId) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        self.destinations.established(parts.now.mono, connection);
        let new = if found.security.implicit { Session::behind_tls } else { Session::new };
        found.session = Some(new(Arc::clone(&found.settings), parts.now.mono));
        self.pump(parts, connection);
    }

    /// The flow is gone, or never came about.
    pub(super) fn ended<T: Transport, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        connection: ConnectionId,
        end: FlowEnd,
    ) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        match &mut found.session {
            None => {
                let text = format!("{}: {}", found.remote, connect_failure(end));
                let answer = Answer { path: Some(found.path(parts.now.mono)), ..Answer::local((4, 4, 1), text) };
                self.forget(parts, connection);
                self.destinations.connect_failed(parts.now.mono, connection, answer);
            }
            Some(session) => {
                session.ended(parts.now.mono);
                self.events(parts, connection);
                self.gone(parts, connection);
            }
        }
    }

    /// The timer of this flow went off; the deadline may have moved since.
    pub(super) fn expired<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, connection: ConnectionId) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        found.armed = None;
        if let Some(session) = &mut found.session
            && session.deadline().is_some_and(|deadline| deadline <= parts.now.mono)
        {
            session.expired(parts.now.mono);
        }
        self.pump(parts, connection);
    }

    /// A piece of content that was asked for has come.
    pub(super) fn content<T: Transport, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        connection: ConnectionId,
        at: u64,
        content: Option<ContentPiece>,
    ) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        let InHand::Delivery { content: Content::There { offset, piece, position, asked, .. }, broken_off, .. } =
            &mut found.task
        else {
            return;
        };
        // What an aborted job asked for may come late.
        if at != *offset || !*asked {
            return;
        }
        *asked = false;
        *position = 0;
        match content {
            Some(came) => *piece = Some(came),
            None => {
                let session = found.session.as_mut().expect("content is asked for by a session");
                *broken_off = true;
                session.content_failed(parts.now.mono);
            }
        }
        self.pump(parts, connection);
    }

    /// The attempt that a job is was recorded, or never will be.
    pub(super) fn attempted<T: Transport, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        connection: ConnectionId,
        number: u64,
        recorded: bool,
    ) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        // What was said of another job, which had ended before, means nothing for this one.
        let InHand::Delivery { attempt, .. } = &mut found.task else { return };
        if *attempt != (Attempt::Recording { number }) {
            return;
        }
        if recorded {
            *attempt = Attempt::Recorded;
        } else {
            found.refuse_end(parts.now.mono);
        }
        self.pump(parts, connection);
    }

    /// Ends what was held back for want of a sign of the partner, and gives up what waits for too long. Whether there was any.
    pub(super) fn end_held<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let mut any = false;
        for (connection, until) in self.held.clone() {
            let Some(found) = self.connections.get_mut(&connection).filter(|found| found.end_wanted()) else {
                self.held.remove(&connection);
                continue;
            };
            if until <= parts.now.mono {
                found.refuse_end(parts.now.mono);
            } else if !found.may_end(parts) {
                continue;
            }
            any = true;
            self.held.remove(&connection);
            self.pump(parts, connection);
        }
        any
    }

    /// Content that was being read from the disk is there.
    pub(super) fn read<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, id: MessageId) {
        let waiting: Vec<ConnectionId> = (self.connections.iter())
            .filter(|(_, connection)| {
                matches!(connection.task, InHand::Delivery { id: other, content: Content::Here(_), .. } if other == id)
            })
            .map(|(connection, _)| *connection)
            .collect();
        for connection in waiting {
            self.pump(parts, connection);
        }
    }

    /// Moves everything that can move.
    pub(super) fn pump<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, connection: ConnectionId) {
        loop {
            let Some(found) = self.connections.get_mut(&connection) else { return };
            let Some(session) = &mut found.session else { return };
            let mut moved = false;
            while !session.output().is_empty() {
                let count = found.line.send(&mut parts.transport, session.output());
                if count == 0 {
                    break;
                }
                session.sent(parts.now.mono, count);
                moved = true;
            }
            if session.wants_content() && session.output().is_empty() {
                moved |= found.feed(parts, connection);
            }
            let Some(session) = &mut found.session else { return };
            if session.awaits_outcome() && !found.end_arrived {
                // What comes with the answer is not answered by it: that is seen before.
                let flow = found.line.flow();
                found.end_arrived = !found.line.has_output() && parts.transport.acknowledged(flow);
                session.set_end_in_flight(!found.end_arrived);
            }
            match found.line.received_in_turn(&mut parts.transport, &mut parts.handshakes) {
                Ok(received) if !received.bytes.is_empty() && !session.is_handshaking() => {
                    let count = session.receive(parts.now.mono, received.bytes);
                    found.line.consume(&mut parts.transport, count);
                    moved |= count > 0;
                }
                Ok(received) => {
                    if received.finished && !received.more && received.bytes.is_empty() && !session.closed() {
                        session.ended(parts.now.mono);
                        moved = true;
                    }
                }
                Err(error) if !session.closed() => {
                    found.tls_error = Some(error);
                    session.ended(parts.now.mono);
                    moved = true;
                }
                Err(_) => {}
            }
            if session.is_handshaking() {
                moved |= found.secure(parts, self.tls.as_mut());
            }
            moved |= self.events(parts, connection);
            moved |= self.end(parts, connection);
            if !moved {
                break;
            }
        }
        let Some(found) = self.connections.get_mut(&connection) else { return };
        let Some(session) = &mut found.session else { return };
        if session.closed() {
            let ended = found.tls_error.is_some() || parts.transport.received(found.line.flow()).finished;
            if session.output().is_empty() || ended {
                let in_doubt = session.in_doubt();
                match self.gone(parts, connection) {
                    Some(gone) if in_doubt => parts.transport.abort(gone.line.flow()),
                    Some(gone) => gone.line.close(&mut parts.transport),
                    None => {}
                }
                return;
            }
        }
        if let Some(deadline) = session.deadline()
            && found.armed.is_none_or(|armed| deadline < armed)
        {
            found.armed = Some(deadline);
            parts.timers.schedule(found.line.flow(), deadline);
        }
    }

    /// Lets what ends a message go out, if that is all that is missing and it may.
    fn end<T, D: Disk>(&mut self, parts: &Parts<T, D>, connection: ConnectionId) -> bool {
        if parts.ends_until.is_none() {
            return false;
        }
        let Some(found) = self.connections.get_mut(&connection).filter(|found| found.end_wanted()) else {
            return false;
        };
        let may_end = found.may_end(parts);
        if may_end && let Some(session) = &mut found.session {
            session.allow_end(parts.now.mono);
            self.held.remove(&connection);
        } else {
            self.held.entry(connection).or_insert(parts.now.mono + END_HELD_MAX);
        }
        may_end
    }

    /// Passes on what the session tells.
    fn events<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, connection: ConnectionId) -> bool {
        let now = parts.now.mono;
        let mut told = false;
        while let Some(found) = self.connections.get_mut(&connection)
            && let Some(session) = &mut found.session
            && let Some(event) = session.poll_event()
        {
            told = true;
            match event {
                Event::Ready => {
                    found.course.ready(now);
                    if let Some(id) = found.security.credentials {
                        self.refused.remove(&id);
                    }
                    self.destinations.ready(now, connection);
                }
                Event::ContentWanted => {}
                Event::Settled { index, fate } => {
                    // All recipients of a transaction are told the same.
                    if matches!(&found.task, InHand::Delivery { fates, .. } if fates.is_empty()) {
                        found.look_back(&mut parts.transport);
                    }
                    if let client::Fate::Deferred(reason) = &fate {
                        found.note_refusal(parts, &mut self.refused, reason);
                    }
                    let fate = found.fate(fate, now);
                    if let InHand::Delivery { fates, .. } = &mut found.task {
                        fates.push((index, fate));
                    }
                }
                Event::Verified { fate } => found.task = InHand::Verification { fate: Some(found.fate(fate, now)) },
                Event::TaskDone => {
                    found.course.task_ended();
                    let dsn_offered = session.extensions().dsn;
                    let task = std::mem::replace(&mut found.task, InHand::Nothing);
                    let result = match task {
                        InHand::Delivery { fates, content, broken_off, .. } => {
                            close_content(parts, connection, content);
                            Some(TaskResult::Deliver { fates, dsn_offered, broken_off })
                        }
                        InHand::Verification { fate } => fate.map(TaskResult::Verify),
                        InHand::Nothing => None,
                    };
                    if let Some(result) = result {
                        let reusable = session.ready();
                        self.destinations.done(now, connection, result, reusable);
                    }
                }
                Event::Closing(reason) => {
                    found.look_back(&mut parts.transport);
                    if let Some(reason) = &reason {
                        found.note_refusal(parts, &mut self.refused, reason);
                    }
                    found.closing = Some(reason);
                }
            }
        }
        told
    }

    /// The connection is over, with or without work in hand.
    fn gone<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, connection: ConnectionId) -> Option<Connection> {
        let mut gone = self.forget(parts, connection)?;
        let reason = gone.closing.take().flatten();
        reason.iter().for_each(|reason| gone.report_failure(parts, reason));
        let answer = reason.as_ref().map(|reason| gone.deferral(reason, parts.now.mono));
        match (reason, answer) {
            // Lost, too late, or refused by one of the two: a server that cannot do it may be able to do without.
            (Some(Reason::Connection(_, Stage::Handshake)), Some(answer)) => {
                self.destinations.tls_failed(parts.now.mono, connection, answer);
            }
            (_, answer) => self.destinations.closed(parts.now.mono, connection, answer),
        }
        Some(gone)
    }

    fn forget<T: Transport, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        connection: ConnectionId,
    ) -> Option<Connection> {
        let mut gone = self.connections.remove(&connection)?;
        self.flows.remove(&gone.line.flow());
        self.held.remove(&connection);
        parts.timers.cancel(gone.line.flow());
        if let InHand::Delivery { content, .. } = std::mem::replace(&mut gone.task, InHand::Nothing) {
            close_content(parts, connection, content);
        }
        Some(gone)
    }

    /// Breaks off what delivers messages of an identity, and what leaves from these own addresses: both are the partner's now.
    pub(super) fn break_off<T: Transport, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        identity: Node,
        gone: &[IpAddr],
    ) {
        let affected = |connection: &Connection| {
            let InHand::Delivery { id, .. } = &connection.task else { return gone.contains(&connection.local) };
            let delivers = identity_of_log(id.log()) == identity;
            delivers || gone.contains(&connection.local)
        };
        let all = self.connections.iter().filter(|(_, connection)| affected(connection)).map(|(id, _)| *id);
        for connection in all.collect::<Vec<_>>() {
            let Some(found) = self.connections.get_mut(&connection) else { continue };
            let is_open = found.session.is_some();
            parts.transport.abort(found.line.flow());
            if is_open {
                found.break_off(parts.now.mono);
                self.events(parts, connection);
                self.gone(parts, connection);
            } else {
                self.forget(parts, connection);
                let answer = Answer::local((4, 4, 1), "the own address was given up");
                self.destinations.connect_impossible(parts.now.mono, connection, answer);
            }
        }
    }

    /// Resets what is left: the time to finish is over.
    pub(super) fn abort<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>) {
        let all: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for connection in all {
            if let Some(gone) = self.forget(parts, connection) {
                parts.transport.abort(gone.line.flow());
            }
        }
    }
}

/// Writes down what happened to a host.
fn tell<T, D: Disk>(parts: &mut Parts<T, D>, news: News) {
    let now = parts.now;
    let name = |pool: Option<Arc<str>>| pool.map(|pool| pool.to_string());
    parts.reporter.event(match news {
        News::HostDown { host, remote, pool, failures, until, why } => crate::event::Event::HostDown {
            host: host.to_string(),
            remote,
            pool: name(pool),
            failures,
            next_attempt_at: now.wall + until.since(now.mono),
            reply: why.text.into(),
        },
        News::Reacted { reaction, suspends, host, remote, pool, until, why } => crate::event::Event::Reacted {
            reaction: reaction.to_string(),
            action: if suspends { "suspend" } else { "back_off" }.to_owned(),
            host: host.to_string(),
            remote,
            pool: name(pool),
            until: now.wall + until.since(now.mono),
            reply: why.text.into(),
        },
        News::HostUp { host, remote, pool } => {
            crate::event::Event::HostUp { host: host.to_string(), remote, pool: name(pool) }
        }
    });
}

fn close_content<T: Transport, D: Disk>(parts: &mut Parts<T, D>, connection: ConnectionId, content: Content) {
    match content {
        Content::Here(reader) => {
            if let Some(log) = parts.logs.of(reader.id()) {
                log.close_reader(reader);
            }
        }
        Content::There { home, .. } => {
            let from = parts.exchange.worker();
            parts.exchange.send(home, Letter::ContentDone { from, connection });
        }
        Content::Unopened => {}
    }
}

fn transaction(job: Job, authenticated: bool, end_held: bool) -> Transaction {
    Transaction {
        reverse_path: job.reverse_path,
        recipients: (job.recipients.into_iter())
            .map(|JobRecipient { index, address, notify, original }| TransactionRecipient {
                index,
                address,
                notify,
                original,
            })
            .collect(),
        size: job.size,
        body: job.body,
        smtputf8: job.smtputf8,
        require_tls: job.require_tls,
        priority: job.priority,
        authenticated,
        ret: job.ret,
        envelope_id: job.envelope_id,
        eight_bit: false,
        end_held,
    }
}

fn connect_failure(end: FlowEnd) -> &'static str {
    match end {
        FlowEnd::Refused => "connection refused",
        FlowEnd::Reset => "connection reset",
        FlowEnd::TimedOut => "connection timed out",
        FlowEnd::Unreachable => "host unreachable",
    }
}
