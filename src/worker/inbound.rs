//! Server sessions: flow → session → log → 250.
//!
//! Each accepted flow has one session. A session reads from the flow's ring in place, writes content into the
//! log's open batch, and gets its 250 when the log says that the message is durable.

use super::parts::{Logs, Parts};
use crate::delivery::{Fate, Routes, Work};
use crate::env::disk::Disk;
use crate::env::{Instant, Now};
use crate::event::Event;
use crate::flow::{FlowId, Transport};
use crate::mirror::link::{ClientFlow, ClientNews};
use crate::mirror::register::Node;
use crate::policy::{self, Decision, Policy, Role, Verdict, VerifyCache};
use crate::smtp::server::{self, Client, Host, RecipientRefusal, RecipientVerdict, Session, StorageRefusal};
use crate::smtp::{Envelope, domain_of};
use crate::spool::{Draft, Log, MessageId, Refusal};
use crate::tls::{Line, Secured, Server, TlsError};
use hashbrown::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A listener, as sessions see it.
#[derive(Clone, Debug)]
pub struct Listener {
    /// What clients of this listener may do.
    pub role: Role,
    /// What comes here is signed before it goes out.
    pub signs: bool,
    /// TLS begins with the connection, and not when a client asks for it.
    pub implicit_tls: bool,
    /// How its sessions behave.
    pub settings: Arc<server::Settings>,
}

/// All server sessions of a worker.
#[derive(Debug)]
pub(super) struct Inbound {
    listeners: Vec<Listener>,
    /// What clients are shown that want TLS.
    tls: Option<Arc<Server>>,
    /// By the flow's index.
    slots: Vec<Option<Box<Slot>>>,
    /// Who waits for what is being written.
    drafts: HashMap<Draft, Waiting>,
    count: usize,
    /// Clients that have come and gone, for the partner of a box that has one.
    comings: Option<Vec<(ClientNews, ClientFlow)>>,
}

/// Who waits for a message to become durable. The session may end before, the message stays.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    flow: FlowId,
    sender: Sender,
}

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) client: IpAddr,
    /// How its connection was secured, if it was.
    pub(super) secured: Option<Secured>,
}

/// A flow's session and what it has under way.
#[derive(Debug)]
struct Slot {
    line: Line,
    local: SocketAddr,
    session: Session,
    intake: Intake,
    /// When the timer of this session goes off at the latest.
    armed: Option<Instant>,
}

/// What a session has under way with the rest of the worker.
#[derive(Debug)]
struct Intake {
    client: SocketAddr,
    secured: Option<Secured>,
    /// The log that takes its mail; none while the identity of the address is not ours.
    log: Option<u16>,
    role: Role,
    /// What it sends is signed before it goes out.
    signs: bool,
    draft: Option<Draft>,
    /// When the last byte of content was read, once it was.
    finished_at: Option<Instant>,
    /// The recipient that the session waits for, until the question is sent.
    check: Option<Box<str>>,
    /// The recipient that was asked about.
    checking: Option<Box<str>>,
}

impl Inbound {
    pub(super) fn new(listeners: Vec<Listener>, tls: Option<Arc<Server>>) -> Inbound {
        Inbound { listeners, tls, slots: Vec::new(), drafts: HashMap::new(), count: 0, comings: None }
    }

    /// From now on clients that want TLS are shown this.
    pub(super) fn show(&mut self, tls: Arc<Server>) {
        self.tls = Some(tls);
    }

    /// How many listeners there are for clients.
    pub(super) fn listeners_count(&self) -> usize {
        self.listeners.len()
    }

    /// How many sessions there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether this flow is one of ours.
    pub(super) fn has(&self, flow: FlowId) -> bool {
        self.slots
            .get(flow.index as usize)
            .is_some_and(|slot| slot.as_ref().is_some_and(|slot| slot.line.flow() == flow))
    }

    pub(super) fn accepted<T: Transport, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        flow: FlowId,
        (listener, identity): (usize, Node),
        local: SocketAddr,
        remote: SocketAddr,
    ) {
        let Listener { role, signs, settings, implicit_tls } = &self.listeners[listener];
        let bare_newline = match parts.policy.bare_newline(remote.ip()) {
            policy::BareNewline::Reject => server::BareNewline::Reject,
            policy::BareNewline::Normalize => server::BareNewline::Normalize,
        };
        let client = Client { remote, local, bare_newline, relays: parts.policy.relays(remote.ip()) };
        let (role, signs, implicit_tls) = (*role, *signs, *implicit_tls);
        let new = if implicit_tls { Session::behind_tls } else { Session::new };
        let session = new(Arc::clone(settings), client, parts.now);
        let log = parts.logs.taking(identity);
        let intake = Intake {
            client: remote,
            secured: None,
            log,
            role,
            signs,
            draft: None,
            finished_at: None,
            check: None,
            checking: None,
        };
        let index = flow.index as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        let before = self.slots[index].replace(Box::new(Slot {
            line: Line::new(flow, None),
            local,
            session,
            intake,
            armed: None,
        }));
        assert!(before.is_none(), "a flow ends before its place is used again");
        self.count += 1;
        self.note(ClientNews::Joined, ClientFlow { local, remote });
        if implicit_tls || parts.transport.received(flow).bytes.is_empty() {
            self.pump(parts, flow);
        } else {
            self.with_host(parts, flow, |session, now, host| session.spoke_too_early(now, host));
        }
    }

    /// Moves everything that can move: bytes into the session, replies out of it.
    pub(super) fn pump<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, flow: FlowId) {
        let Some(slot) = self.slots.get_mut(flow.index as usize).and_then(Option::as_mut) else { return };
        if slot.line.flow() != flow {
            return;
        }
        loop {
            slot.send(&mut parts.transport);
            let received = match slot.line.received_in_turn(&mut parts.transport, &mut parts.handshakes) {
                Ok(received) => received,
                Err(error) => return self.failed(parts, flow, error),
            };
            let spoke = !received.bytes.is_empty();
            let answered = slot.session.output().len();
            let mut host = IntakeHost {
                now: parts.now,
                flow,
                intake: &mut slot.intake,
                drafts: &mut self.drafts,
                logs: &mut parts.logs,
                policy: &parts.policy,
                routes: &parts.routes,
                checks: &mut parts.checks,
            };
            let count = slot.session.receive(parts.now, received, &mut host);
            slot.line.consume(&mut parts.transport, count);
            // Without input too, a session may have something to finish since it was last looked at.
            if count == 0 && slot.session.output().len() == answered {
                if !slot.session.is_handshaking() {
                    break;
                }
                // What is sent in the clear comes first, and what comes behind it is the layer's.
                if !slot.line.is_secure() {
                    let tls = self.tls.as_ref().and_then(|tls| tls.accept().ok());
                    let (true, Some(tls)) = (slot.session.output().is_empty(), tls) else { break };
                    slot.line.secure(tls);
                } else if let Some(secured) = slot.line.secured() {
                    slot.intake.secured = Some(secured);
                    let mut host = IntakeHost::new(parts, flow, &mut slot.intake, &mut self.drafts);
                    slot.session.secured(host.now, secured, spoke, &mut host);
                } else {
                    break;
                }
            }
        }
        slot.send(&mut parts.transport);
        if let Some(recipient) = slot.intake.check.take() {
            let destination = parts.routes.destination(domain_of(&recipient));
            slot.intake.checking = Some(recipient.clone());
            let work = Work::Verify { token: token(flow), destination, recipient };
            parts.give(work);
        }
        self.settle(parts, flow);
    }

    fn slot(&mut self, flow: FlowId) -> Option<&mut Slot> {
        self.slots.get_mut(flow.index as usize)?.as_deref_mut().filter(|slot| slot.line.flow() == flow)
    }

    /// Closes a session that is over, or sets its timer.
    fn settle<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, flow: FlowId) {
        let Some(slot) = self.slots[flow.index as usize].as_mut() else { return };
        let over = slot.session.closing() && slot.session.output().is_empty();
        // What a layer has taken goes out first, unless nobody takes it.
        let waits = |slot: &Slot| {
            slot.line.has_output() && slot.session.deadline().is_some_and(|deadline| parts.now.mono < deadline)
        };
        if over && !waits(slot) {
            if let Some(slot) = self.remove(parts, flow) {
                slot.line.close(&mut parts.transport);
            }
        } else if let Some(deadline) = slot.session.deadline()
            && slot.armed.is_none_or(|armed| deadline < armed)
        {
            slot.armed = Some(deadline);
            parts.timers.schedule(flow, deadline);
        }
    }

    /// The layer on a flow came to a bad end; the peer is told why, where that is possible.
    fn failed<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, flow: FlowId, error: TlsError) {
        let Some(slot) = self.remove(parts, flow) else { return };
        // Many a client hangs up without a word when it has nothing more to say.
        if error != TlsError::Truncated || slot.line.secured().is_none() {
            let stage = if slot.line.secured().is_none() { "handshake" } else { "session" };
            parts.reporter.event(Event::TlsFailed {
                client: slot.intake.client.ip(),
                stage: stage.to_owned(),
                error: error.to_string(),
            });
        }
        slot.line.close(&mut parts.transport);
    }

    fn remove<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, flow: FlowId) -> Option<Box<Slot>> {
        let mut slot = self.slots[flow.index as usize].take()?;
        self.count -= 1;
        self.note(ClientNews::Left, ClientFlow { local: slot.local, remote: slot.intake.client });
        parts.timers.cancel(flow);
        let Slot { session, intake, .. } = &mut *slot;
        let mut host = IntakeHost::new(parts, flow, intake, &mut self.drafts);
        session.ended(&mut host);
        Some(slot)
    }

    /// The flow is gone.
    pub(super) fn ended<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, flow: FlowId) {
        self.remove(parts, flow);
    }

    /// The timer of this flow went off; the deadline may have moved since.
    pub(super) fn expired<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, flow: FlowId) {
        self.with_host(parts, flow, |session, now, host| {
            if session.deadline().is_some_and(|deadline| deadline <= now.mono) {
                session.expired(now, host);
            }
        });
    }

    /// No new transactions: every session ends as soon as its state allows.
    pub(super) fn shutdown<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>) {
        let flows: Vec<FlowId> = self.slots.iter().flatten().map(|slot| slot.line.flow()).collect();
        for flow in flows {
            self.with_host(parts, flow, |session, now, host| session.shutdown(now, host));
        }
    }

    /// Resets what is left: the time to finish is over.
    pub(super) fn abort<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>) {
        let flows: Vec<FlowId> = self.slots.iter().flatten().map(|slot| slot.line.flow()).collect();
        for flow in flows {
            parts.transport.abort(flow);
            self.remove(parts, flow);
        }
    }

    /// No new transactions on these own addresses.
    pub(super) fn shut_down_at<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, addresses: &[IpAddr]) {
        for flow in self.flows_at(addresses) {
            self.shut_down(parts, flow);
        }
    }

    /// This session ends as soon as its state allows.
    pub(super) fn shut_down<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, flow: FlowId) {
        self.with_host(parts, flow, |session, now, host| session.shutdown(now, host));
    }

    /// Resets the sessions of these own addresses, which are another box's now: a client that waits for an answer would wait for
    /// ten minutes, and one that is reset comes again, to that box.
    pub(super) fn abort_at<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, addresses: &[IpAddr]) {
        for flow in self.flows_at(addresses) {
            parts.transport.abort(flow);
            self.remove(parts, flow);
        }
    }

    /// Nobody waits for messages of this log any more.
    pub(super) fn forget_drafts(&mut self, log: u16) {
        self.drafts.retain(|draft, _| draft.id.log() != log);
    }

    /// Takes note of a client that has come or gone, if somebody wants to know.
    fn note(&mut self, news: ClientNews, client: ClientFlow) {
        self.comings.iter_mut().for_each(|comings| comings.push((news, client)));
    }

    /// From now on it takes note of clients that come and go.
    pub(super) fn watch_clients(&mut self) {
        self.comings = Some(Vec::new());
    }

    /// Who has come and gone since the last time.
    pub(super) fn take_comings(&mut self) -> Vec<(ClientNews, ClientFlow)> {
        self.comings.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Who is there, at these own addresses.
    pub(super) fn clients_at<'a>(&'a self, addresses: &'a [IpAddr]) -> impl Iterator<Item = ClientFlow> + 'a {
        let slots = self.slots.iter().flatten().filter(|slot| addresses.contains(&slot.local.ip()));
        slots.map(|slot| ClientFlow { local: slot.local, remote: slot.intake.client })
    }

    /// How many sessions these own addresses have.
    pub(super) fn count_at(&self, addresses: &[IpAddr]) -> usize {
        self.slots.iter().flatten().filter(|slot| addresses.contains(&slot.local.ip())).count()
    }

    fn flows_at(&self, addresses: &[IpAddr]) -> Vec<FlowId> {
        let slots = self.slots.iter().flatten().filter(|slot| addresses.contains(&slot.local.ip()));
        slots.map(|slot| slot.line.flow()).collect()
    }

    /// A recipient check that the session of `token` asked for is answered.
    pub(super) fn verified<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, token: u64, fate: &Fate) {
        let flow = FlowId { index: (token >> 32) as u32, generation: token as u32 };
        let Some(recipient) = self.slot(flow).and_then(|slot| slot.intake.checking.take()) else { return };
        let verdict = match fate {
            Fate::Delivered(_) => Some(Verdict::Known),
            Fate::Failed(_) => Some(Verdict::Unknown),
            // No answer: it is asked again with the next message.
            Fate::Deferred { .. } | Fate::Untried => None,
        };
        if let Some(verdict) = verdict {
            parts.checks.insert(&recipient, verdict, parts.now.mono);
        }
        let verdict = verdict.map_or(RecipientVerdict::Refuse(RecipientRefusal::CheckUnavailable), recipient_verdict);
        self.with_host(parts, flow, |session, now, host| session.recipient_checked(now, verdict, host));
    }

    /// What a session waited for is durable, or will never be. Says who sent it; nobody did if it is not a session's.
    pub(super) fn committed<T: Transport, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        draft: Draft,
        result: Result<(), StorageRefusal>,
    ) -> Option<Sender> {
        let Waiting { flow, sender } = self.drafts.remove(&draft)?;
        if let Some(slot) = self.slot(flow) {
            slot.intake.draft = None;
            slot.session.committed(parts.now, result);
            if let Some(finished_at) = slot.intake.finished_at.take() {
                super::record(&mut parts.stages.accept, parts.now.mono.since(finished_at));
            }
            self.pump(parts, flow);
        }
        Some(sender)
    }

    /// There is room for content again.
    pub(super) fn room<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, draft: Draft) {
        if let Some(waiting) = self.drafts.get(&draft) {
            self.pump(parts, waiting.flow);
        }
    }

    fn with_host<T: Transport, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        flow: FlowId,
        act: impl FnOnce(&mut Session, Now, &mut IntakeHost<'_, D>),
    ) {
        let Some(slot) = self.slots.get_mut(flow.index as usize).and_then(Option::as_mut) else { return };
        if slot.line.flow() != flow {
            return;
        }
        slot.armed = None;
        let Slot { session, intake, .. } = &mut **slot;
        let mut host = IntakeHost::new(parts, flow, intake, &mut self.drafts);
        let now = host.now;
        act(session, now, &mut host);
        self.pump(parts, flow);
    }
}

impl Slot {
    fn send(&mut self, transport: &mut impl Transport) {
        loop {
            let output = self.session.output();
            if output.is_empty() {
                return;
            }
            let count = self.line.send(transport, output);
            if count == 0 {
                return;
            }
            self.session.sent(count);
        }
    }
}

/// Names a session in a question to another worker.
fn token(flow: FlowId) -> u64 {
    u64::from(flow.index) << 32 | u64::from(flow.generation)
}

/// A session's view of the appliance.
struct IntakeHost<'a, D: Disk> {
    now: Now,
    flow: FlowId,
    intake: &'a mut Intake,
    drafts: &'a mut HashMap<Draft, Waiting>,
    logs: &'a mut Logs<D>,
    policy: &'a Policy,
    routes: &'a Routes,
    checks: &'a mut VerifyCache,
}

impl<'a, D: Disk> IntakeHost<'a, D> {
    /// The log that takes the mail of this session.
    fn log(&mut self) -> Option<&mut Log<D>> {
        let log = self.logs.by_number(self.intake.log?)?;
        if log.is_replica() { None } else { Some(log) }
    }

    fn new<T>(
        parts: &'a mut Parts<T, D>,
        flow: FlowId,
        intake: &'a mut Intake,
        drafts: &'a mut HashMap<Draft, Waiting>,
    ) -> IntakeHost<'a, D> {
        IntakeHost {
            now: parts.now,
            flow,
            intake,
            drafts,
            logs: &mut parts.logs,
            policy: &parts.policy,
            routes: &parts.routes,
            checks: &mut parts.checks,
        }
    }
}

impl<D: Disk> Host for IntakeHost<'_, D> {
    fn sender(&mut self, _reverse_path: &str, size: Option<u64>) -> Result<(), StorageRefusal> {
        self.log().ok_or(StorageRefusal::Failed)?.accepts(size).map_err(refusal)
    }

    fn recipient(&mut self, _reverse_path: &str, forward_path: &str) -> RecipientVerdict {
        match self.policy.recipient(self.intake.client.ip(), self.intake.role, forward_path) {
            Decision::Accept => RecipientVerdict::Accept,
            Decision::RelayDenied => RecipientVerdict::Refuse(RecipientRefusal::RelayDenied),
            Decision::UnknownRecipient => RecipientVerdict::Refuse(RecipientRefusal::Unknown),
            // Nobody can be asked about a domain without a route; mail for it waits, as for every such domain.
            Decision::Check if self.routes.lookup(domain_of(forward_path)).is_none() => RecipientVerdict::Accept,
            Decision::Check => match self.checks.lookup(forward_path, self.now.mono) {
                Some(verdict) => recipient_verdict(verdict),
                None => {
                    self.intake.check = Some(forward_path.into());
                    RecipientVerdict::Pending
                }
            },
        }
    }

    fn begin(&mut self) -> Result<MessageId, StorageRefusal> {
        let signs = self.intake.signs;
        let log = self.log().ok_or(StorageRefusal::Failed)?;
        let draft = log.begin().map_err(refusal)?;
        if signs {
            log.to_be_signed(draft);
        }
        self.intake.draft = Some(draft);
        let sender = Sender { client: self.intake.client.ip(), secured: self.intake.secured };
        self.drafts.insert(draft, Waiting { flow: self.flow, sender });
        Ok(draft.id)
    }

    fn content(&mut self, bytes: &[u8]) -> usize {
        let draft = self.intake.draft.expect("content comes between begin and finish");
        // A log that went to the partner meanwhile has taken the draft with it, and all is swallowed.
        self.log().map_or(bytes.len(), |log| log.content(draft, bytes))
    }

    fn finish(&mut self, envelope: Envelope) {
        let draft = self.intake.draft.expect("finish follows begin");
        self.intake.finished_at = Some(self.now.mono);
        let now = self.now;
        if let Some(log) = self.log() {
            log.finish(draft, envelope, now);
        }
    }

    fn abort(&mut self) {
        if let Some(draft) = self.intake.draft.take() {
            self.drafts.remove(&draft);
            if let Some(log) = self.log() {
                log.abort(draft);
            }
        }
    }
}

/// What the log refuses, as the session says it.
pub(super) fn refusal(refusal: Refusal) -> StorageRefusal {
    match refusal {
        Refusal::Full => StorageRefusal::Full,
        Refusal::Failed => StorageRefusal::Failed,
    }
}

/// What a recipient check found, as the session says it.
pub(super) fn recipient_verdict(verdict: Verdict) -> RecipientVerdict {
    match verdict {
        Verdict::Known => RecipientVerdict::Accept,
        Verdict::Unknown => RecipientVerdict::Refuse(RecipientRefusal::Unknown),
    }
}
