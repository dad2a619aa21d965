//! The home half of delivery: what the messages in this worker's logs need, and what became of it.
//!
//! In: messages that became durable, results of jobs, requests for content. Out: jobs, outcome records, notices to
//! senders, pieces of content for other workers.
//!
//! With a partner, each job is recorded before it may come to its end ([`Letter::Attempt`]), so that whoever leads the log next
//! knows of it. What is found in a log that begins to be led, and has no outcome, is in doubt: it is told, counted, and tried
//! again with a delay.
//!
//! A result that may end in a notice is held until the beginning of the message has been read for it ([`outcome`]). The notice
//! is appended to the log before the outcomes are, so that no crash can keep the outcome and lose the notice.

mod on_hold;
mod outcome;

use super::exchange::{ContentPiece, Letter};
use super::inbound::Sender;
use super::notice;
use super::parts::Parts;
use super::signing::{Signing, SigningEquipment};
use crate::control::MessageCounts;
use crate::delivery::{
    ConnectionId, MessageView, Orders, Progress, Queue, QueueStatus, RecipientView, Retry, Work, WorkResult,
};
use crate::dns::{Answer, Enquiries};
use crate::env::disk::Disk;
use crate::env::{Instant, WallTime};
use crate::event::Event;
use crate::flow::Transport;
use crate::limits::{CHUNK_SIZE_MAX, EVENT_RECIPIENTS_MAX, Gauge};
use crate::mirror::identity_of_log;
use crate::mirror::register::Node;
use crate::smtp::{BodyType, OwnMessage, Priority, Return, domain_of};
use crate::spool::{Log, MessageId, Piece, Queued, Reader};
use crate::tlsrpt::Session;
use outcome::Held;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// The home half's state.
#[derive(Debug)]
pub(super) struct Home {
    /// Of identity a, which is the only one on a box without a partner, and of b.
    queues: [Queue; 2],
    /// Of these nothing more is given out, as the identity is being moved.
    held_back: [bool; 2],
    retry: Retry,
    hostname: Box<str>,
    /// With the number of notices written it makes each of them differ.
    seed: u64,
    notices: u64,
    held: Vec<Held>,
    /// Nothing more is given out: the log failed and could not keep outcomes, or the worker stops.
    closed: bool,
    /// Of these nothing more is given out until outcomes have found room in the logs, or the identity is settled.
    waiting: [bool; 2],
    /// When the held results are looked at again.
    held_until: Option<Instant>,
    /// The look-out for messages that are on hold for too long, by identity.
    rounds: [on_hold::Round; 2],
    /// Attempts whose records are on their way to the disks, by the names that the logs know them by.
    attempts: BTreeMap<u64, Attempt>,
    attempts_count: u64,
    /// Messages that other workers deliver and are reading.
    readers: BTreeMap<(u16, ConnectionId), Remote>,
    /// Domains that the control thread is asked about.
    enquiries: Enquiries,
    /// Messages of our own that the control thread waits for, by its numbers of them: no more than it has under way.
    submissions: BTreeMap<MessageId, u64>,
    /// What is to be signed before it is scheduled.
    pub(super) signing: Signing,
    pub(super) counts: MessageCounts,
}

/// A delivery that waits for its record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// The worker that delivers.
    pub from: u16,
    pub connection: ConnectionId,
    pub number: u64,
    /// The log that it is recorded in.
    pub log: u16,
}

/// Another worker's reading of a message.
#[derive(Debug)]
struct Remote {
    reader: Reader,
    offset: u64,
    size: u64,
    /// It has asked, and waits for the disk.
    waiting: bool,
}

impl Home {
    pub(super) fn new(
        queues: [Queue; 2],
        retry: Retry,
        hostname: Box<str>,
        seed: u64,
        signing: Option<SigningEquipment>,
    ) -> Home {
        Home {
            queues,
            held_back: [false; 2],
            retry,
            hostname,
            seed,
            notices: 0,
            held: Vec::new(),
            closed: false,
            waiting: [false; 2],
            held_until: None,
            rounds: Default::default(),
            attempts: BTreeMap::new(),
            attempts_count: 0,
            readers: BTreeMap::new(),
            enquiries: Enquiries::default(),
            submissions: BTreeMap::new(),
            signing: Signing::new(signing),
            counts: MessageCounts::default(),
        }
    }

    /// Schedules what the logs hold at the start.
    pub(super) fn recover<T, D: Disk>(&mut self, parts: &mut Parts<T, D>) {
        let led: Vec<u16> =
            parts.logs.numbered().filter(|(_, log)| !log.is_replica()).map(|(number, _)| number).collect();
        led.into_iter().for_each(|number| self.schedule(parts, number));
    }

    /// Schedules what a log holds that begins to be led.
    pub(super) fn schedule<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, number: u16) {
        let now = parts.now;
        let Some(log) = parts.logs.by_number(number) else { return };
        let doubted = log.in_doubt(now);
        for message in log.messages().filter(|message| !log.is_damaged(message.id())) {
            if message.held() {
                self.expect_on_hold(now.mono, message.id());
            }
            if message.unsigned() {
                self.signing.add(now.mono, message.id());
            } else {
                self.queue(message.id()).add(now, &message);
            }
        }
        for doubted in doubted.chunk_by(|(id, _), (other, _)| id == other) {
            self.tell_doubts(parts, doubted);
        }
    }

    /// These recipients of a message may have it.
    fn tell_doubts<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, doubted: &[(MessageId, u32)]) {
        let Some(id) = doubted.first().map(|(id, _)| *id) else { return };
        let Some(message) = parts.logs.get(id).and_then(|log| log.message(id)) else { return };
        let mut by_destination: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for recipient in doubted.iter().filter_map(|(_, recipient)| message.recipient(*recipient)) {
            let destination = parts.routes.describe(domain_of(recipient.address));
            by_destination.entry(destination).or_default().push(recipient.address);
        }
        for (destination, recipients) in by_destination {
            self.counts.in_doubt += recipients.len() as u64;
            for recipients in recipients.chunks(EVENT_RECIPIENTS_MAX) {
                parts.reporter.message(|| Event::DeliveryInDoubt {
                    id,
                    recipients: recipients.iter().copied().collect(),
                    destination: destination.clone(),
                });
            }
        }
    }

    /// A delivery begins: it is recorded, or refused.
    pub(super) fn attempt<T, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        attempt: Attempt,
        id: MessageId,
        recipients: &[u32],
    ) {
        self.attempts_count += 1;
        let name = self.attempts_count;
        self.attempts.insert(name, attempt);
        if !parts.logs.of(id).is_some_and(|log| log.attempt(id, recipients, name)) {
            self.attempted(parts, name, false);
        }
    }

    /// The record of an attempt is durable, or never will be.
    pub(super) fn attempted<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, name: u64, recorded: bool) {
        if let Some(Attempt { from, connection, number, .. }) = self.attempts.remove(&name) {
            parts.exchange.send(from, Letter::Attempted { connection, number, recorded });
        }
    }

    /// Of this log nothing more will become durable here.
    pub(super) fn refuse_attempts<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, log: u16) {
        let lost = self.attempts.iter().filter(|(_, attempt)| attempt.log == log).map(|(name, _)| *name);
        for name in lost.collect::<Vec<_>>() {
            self.attempted(parts, name, false);
        }
    }

    /// What this log holds is no affair of this box any more.
    pub(super) fn forget<D: Disk>(&mut self, log: &Log<D>, number: u16) {
        for message in log.messages() {
            self.queue(message.id()).remove(message.id());
        }
        self.held.retain(|held| held.result.id.log() != number);
        self.readers.retain(|_, remote| remote.reader.id().log() != number);
        self.submissions.retain(|id, _| id.log() != number);
        self.signing.forget(number);
    }

    /// Content of a message turned out to be damaged: it is not given out any more, and waits for an operator.
    pub(super) fn damaged<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, id: MessageId) {
        self.queue(id).remove(id);
        parts.reporter.event(Event::Damaged { id });
    }

    /// Takes a message of our own into the queue, if there is room for it.
    pub(super) fn submit<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, number: u64, message: &OwnMessage) {
        let signs = self.signing.signs();
        let log = Node::BOTH.into_iter().find_map(|identity| parts.logs.taking(identity));
        let log = log.filter(|_| !self.closed).and_then(|number| parts.logs.by_number(number));
        match log.and_then(|log| notice::submit(log, parts.now, message, signs)) {
            Some(draft) => drop(self.submissions.insert(draft.id, number)),
            None => parts.reporter.submitted(number, None),
        }
    }

    /// A message will never be durable.
    pub(super) fn lost<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, id: MessageId) {
        if let Some(number) = self.submissions.remove(&id) {
            parts.reporter.submitted(number, None);
        }
    }

    /// A message is durable. `client` sent it, unless it is one of our own.
    pub(super) fn durable<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, id: MessageId, sender: Option<Sender>) {
        let Some(message) = parts.logs.get(id).and_then(|log| log.message(id)) else { return };
        if message.unsigned() {
            self.signing.add(parts.now.mono, id);
        } else {
            self.queue(id).add(parts.now, &message);
        }
        if let Some(number) = self.submissions.remove(&id) {
            parts.reporter.submitted(number, Some(id));
        }
        if let Some(Sender { client, secured }) = sender {
            self.counts.accepted += 1;
            let recipients_count = message.recipients_count();
            let mut paths = message.recipients().map(|recipient| recipient.address);
            parts.reporter.message(|| Event::Accepted {
                id,
                client,
                tls: secured,
                sender: message.reverse_path().to_owned(),
                priority: message.priority(),
                recipients_count,
                recipients: paths.by_ref().take(EVENT_RECIPIENTS_MAX).collect(),
                size_bytes: message.size(),
            });
            for _ in 1..recipients_count.div_ceil(EVENT_RECIPIENTS_MAX) {
                let next = paths.by_ref().take(EVENT_RECIPIENTS_MAX);
                parts.reporter.message(|| Event::Queued { id, recipients: next.collect() });
            }
        } else {
            parts.reporter.message(|| Event::Composed {
                id,
                sender: message.reverse_path().to_owned(),
                recipients: message.recipients().map(|to| to.address).take(EVENT_RECIPIENTS_MAX).collect(),
                size_bytes: message.size(),
            });
        }
    }

    /// What becomes of a message's signature is durable: it may be delivered.
    pub(super) fn signed<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, id: MessageId) {
        self.signing.signed(parts, id);
        let log = parts.logs.get(id).filter(|log| !log.is_damaged(id));
        if let Some(message) = log.and_then(|log| log.message(id)) {
            self.queue(id).add(parts.now, &message);
        }
    }

    /// The schedule that a message belongs to.
    pub(super) fn queue(&mut self, id: MessageId) -> &mut Queue {
        &mut self.queues[identity_of_log(id.log()) as usize]
    }

    /// The schedule that a message belongs to, to be read.
    pub(super) fn schedule_of(&self, id: MessageId) -> &Queue {
        &self.queues[identity_of_log(id.log()) as usize]
    }

    /// All schedules, one for each identity.
    pub(super) fn schedules(&self) -> &[Queue] {
        &self.queues
    }

    /// Shows how full its tables are.
    pub(super) fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        self.queues.iter().for_each(|queue| queue.gauge(see));
        self.enquiries.gauge(see);
        self.signing.gauge(see);
    }

    /// Whether nothing more of an identity is given out.
    pub(super) fn hold_back(&mut self, identity: Node, held: bool) {
        self.held_back[identity as usize] = held;
    }

    /// Jobs of an identity that are under way.
    pub(super) fn in_hand_of(&self, identity: Node) -> usize {
        self.queues[identity as usize].status().in_hand
    }

    /// Gives out what is due.
    pub(super) fn give_out<T, D: Disk>(&mut self, parts: &mut Parts<T, D>) -> bool {
        let mut given = false;
        for identity in Node::BOTH {
            given |= self.give_out_of(parts, identity);
        }
        self.enquire(parts);
        given
    }

    fn give_out_of<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, identity: Node) -> bool {
        let queue = &mut self.queues[identity as usize];
        let (mut given, mut sorted) = (false, false);
        loop {
            let mut may = true;
            for (_, log) in parts.logs.iter_mut().filter(|(number, _)| identity_of_log(*number) == identity) {
                log.owe(queue.outcomes_size());
                may &= log.may_give_out();
            }
            self.waiting[identity as usize] = !may;
            if self.closed || self.held_back[identity as usize] || !may {
                break;
            }
            let logs = &parts.logs;
            let lookup = |id: MessageId| {
                // What became of a delivery out of a log that failed could not be written down.
                let log = logs.get(id).filter(|log| !log.failed() && !log.is_damaged(id))?;
                log.message(id)
            };
            if !std::mem::replace(&mut sorted, true) {
                given |= queue.sort_out(parts.now, lookup);
            }
            let Some(job) = queue.next(parts.now, lookup) else {
                given |= self.give_up_on_hold(parts, identity);
                break;
            };
            given = true;
            match job.settled() {
                Some(result) => {
                    let worker = parts.exchange.worker();
                    parts.exchange.send(worker, Letter::Result(WorkResult::Deliver(result)));
                }
                None => parts.give(Work::Deliver(job)),
            }
        }
        while let Some(domain) = self.queues[identity as usize].wanted() {
            self.enquiries.want(&domain);
        }
        given
    }

    /// Goes on with what the control thread is asked for.
    fn enquire<T, D: Disk>(&mut self, parts: &mut Parts<T, D>) {
        while let Some(domain) = self.enquiries.next(parts.now.mono) {
            if !parts.reporter.ask(domain.clone()) {
                self.enquiries.refused(parts.now.mono, domain);
            }
        }
    }

    /// What is known of domains that were asked about.
    pub(super) fn resolved<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, domains: &[(Box<str>, Answer)]) {
        for (domain, answer) in domains {
            self.enquiries.answered(domain);
            self.report_refusal(parts, domain, answer);
            for queue in &mut self.queues {
                queue.resolved(parts.now, domain, answer);
            }
        }
    }

    /// Tells of a domain none of whose hosts may be used: nothing will be tried that could tell of it. What heeds nothing of that does not
    /// count, or a report would be the reason for the next one.
    fn report_refusal<T, D: Disk>(&self, parts: &mut Parts<T, D>, domain: &str, answer: &Answer) {
        let heeded = || self.queues.iter().any(|queue| queue.heeds_demands_of(domain));
        let (Ok(hosts), Some(route)) = (&answer.result, parts.routes.lookup(domain)) else { return };
        let route = parts.routes.route(route);
        if parts.reporter.reports_tls() && route.admit(hosts).is_err() && heeded() {
            let (domain, tls, hosts) = (domain.into(), route.tls, Arc::clone(hosts));
            parts.reporter.tls(Session { domain, hosts, tls, attempt: None });
        }
    }

    /// What an operator has said about some of the mail, from now on.
    pub(super) fn set_orders(&mut self, orders: &Arc<Orders>) {
        self.queues.iter_mut().for_each(|queue| queue.set_orders(Arc::clone(orders)));
    }

    /// How many deliveries each order keeps, or sends elsewhere, by its number.
    pub(super) fn ordered(&self) -> BTreeMap<u64, u64> {
        let mut counts = BTreeMap::new();
        for (number, count) in self.queues.iter().flat_map(Queue::ordered) {
            *counts.entry(number).or_default() += count as u64;
        }
        counts
    }

    /// Gives out nothing more.
    pub(super) fn close<T, D: Disk>(&mut self, parts: &mut Parts<T, D>) {
        self.closed = true;
        self.signing.close(parts);
    }

    /// Another worker wants the content at `offset`.
    pub(super) fn content_wanted<T, D: Disk>(
        &mut self,
        parts: &mut Parts<T, D>,
        from: u16,
        connection: ConnectionId,
        id: MessageId,
        offset: u64,
    ) {
        let key = (from, connection);
        if self.readers.get(&key).is_some_and(|remote| remote.reader.id() != id || remote.offset != offset) {
            self.content_done(parts, from, connection);
        }
        match self.readers.entry(key) {
            Entry::Occupied(mut remote) => remote.get_mut().waiting = true,
            Entry::Vacant(place) => {
                let size = parts.logs.get(id).and_then(|log| log.message(id)).map(|message| message.size());
                let reader = parts.logs.of(id).and_then(|log| log.reader(id));
                let (Some(reader), Some(size), 0) = (reader, size, offset) else {
                    return parts.exchange.send(from, Letter::Content { connection, offset, content: None });
                };
                place.insert(Remote { reader, offset, size, waiting: true });
            }
        }
        self.send_content(parts, key);
    }

    fn send_content<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, key: (u16, ConnectionId)) {
        let Some(remote) = self.readers.get_mut(&key) else { return };
        let id = remote.reader.id();
        let Some(log) = parts.logs.of(id) else { return };
        let content = match log.read(&mut remote.reader) {
            Piece::Pending => return,
            Piece::Ready(bytes) => {
                let count = bytes.len().min(CHUNK_SIZE_MAX);
                let last = remote.offset + count as u64 == remote.size;
                let piece = ContentPiece { bytes: bytes[..count].into(), last };
                remote.reader.consume(count);
                Some(piece)
            }
            Piece::End | Piece::Damaged | Piece::Failed => None,
        };
        let offset = remote.offset;
        remote.waiting = false;
        remote.offset += content.as_ref().map_or(0, |piece| piece.bytes.len() as u64);
        parts.exchange.send(key.0, Letter::Content { connection: key.1, offset, content });
    }

    /// Another worker has read enough.
    pub(super) fn content_done<T, D: Disk>(&mut self, parts: &mut Parts<T, D>, from: u16, connection: ConnectionId) {
        if let Some(remote) = self.readers.remove(&(from, connection))
            && let Some(log) = parts.logs.of(remote.reader.id())
        {
            log.close_reader(remote.reader);
        }
    }

    /// Content of a message came from the disk.
    pub(super) fn read<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>, id: MessageId) {
        let waiting: Vec<_> = (self.readers.iter())
            .filter(|(_, remote)| remote.waiting && remote.reader.id() == id)
            .map(|(key, _)| *key)
            .collect();
        for key in waiting {
            self.send_content(parts, key);
        }
        self.signing.read(id);
        if self.held.iter().any(|held| held.result.id == id) {
            self.resume(parts, Some(id));
        }
    }

    /// When something must be looked at even if nothing is reported.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let gives = |place: &usize| !self.closed && !self.waiting[*place] && !self.held_back[*place];
        let queues = (0..self.queues.len()).filter(gives).filter_map(|place| self.queues[place].next_deadline());
        let signing = self.signing.next_deadline().filter(|_| !self.closed);
        let rounds = (0..self.rounds.len()).filter(gives).filter_map(|place| self.rounds[place].at);
        queues.chain(rounds).chain(self.held_until).chain(self.enquiries.next_deadline()).chain(signing).min()
    }

    /// Looks at what is due. Whether anything was.
    pub(super) fn tick<T: Transport, D: Disk>(&mut self, parts: &mut Parts<T, D>) -> bool {
        let due = self.held_until.is_some_and(|until| until <= parts.now.mono);
        if due {
            self.resume(parts, None);
        }
        let signs = !self.closed && self.signing.step(parts, &self.retry, self.held_back);
        due || signs
    }

    pub(super) fn status(&self) -> QueueStatus {
        let [a, b] = [&self.queues[0], &self.queues[1]].map(Queue::status);
        QueueStatus { scheduled: a.scheduled + b.scheduled, in_hand: a.in_hand + b.in_hand }
    }
}

impl MessageView for Queued<'_> {
    fn id(&self) -> MessageId {
        Queued::id(self)
    }

    fn received_at(&self) -> WallTime {
        Queued::received_at(self)
    }

    fn size(&self) -> u64 {
        Queued::size(self)
    }

    fn held(&self) -> bool {
        Queued::held(self) || Queued::unsigned(self)
    }

    fn reverse_path(&self) -> &str {
        Queued::reverse_path(self)
    }

    fn body(&self) -> BodyType {
        Queued::body(self)
    }

    fn smtputf8(&self) -> bool {
        Queued::smtputf8(self)
    }

    fn require_tls(&self) -> bool {
        Queued::require_tls(self)
    }

    fn tls_optional(&self) -> bool {
        Queued::tls_optional(self)
    }

    fn priority(&self) -> Priority {
        Queued::priority(self)
    }

    fn ret(&self) -> Option<Return> {
        Queued::ret(self)
    }

    fn envelope_id(&self) -> Option<&str> {
        Queued::envelope_id(self)
    }

    fn recipients(&self) -> impl Iterator<Item = RecipientView<'_>> {
        Queued::recipients(self).map(|recipient| RecipientView {
            address: recipient.address,
            notify: recipient.notify,
            original: recipient.original,
            progress: Progress {
                open: recipient.state.is_open(),
                attempts: recipient.attempts,
                next_attempt_at: recipient.next_attempt_at,
            },
        })
    }
}
