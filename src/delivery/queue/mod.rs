//! The home half: what is due for which destination, and what a fate means for the message.
//!
//! In: messages when they become durable, are recovered or released; results of jobs. Out: jobs that are due, verdicts
//! to write down. It never stores a verdict and holds no part of a message: what is open is asked of the spool at
//! the moment of need, through [`MessageView`].
//!
//! An *entry* is one message at one destination, and is in one place at a time: waiting in its destination's lane,
//! ordered by when it is due, or in hand. So a recipient is never given out twice, and a message with more recipients
//! than a transaction takes goes out in one transaction after another. A lane gives out a bounded number of jobs;
//! lanes that are due take turns. Every operation costs O(log n), and a queued message about 95 bytes.
//!
//! Of what is due in a lane what is more urgent goes first, and a lane with something more urgent has its turn first; what is less
//! urgent has turns as well, so that it never starves, and leaves room to what may come ([`turns`](super::turns)). When an attempt is due
//! and when a message is too old do not depend on how urgent it is.
//!
//! A destination that takes nothing for a while, as its owner says ([`Standstill`](super::Standstill)), closes its lane: what is due waits
//! there in its order, no attempt is lost and nothing is written down, and then one job finds out whether mail goes again. What waits
//! in vain, in whatever state, is looked through for messages that are too old ([`overdue`]).
//!
//! A domain whose route goes by MX has a lane of its own for as long as there is mail for it, or several where its mail leaves from several
//! pools, or is to arrive rather than to be secured: what stops one of them must not stop another. Its lane stands still until the hosts
//! are known ([`Queue::wanted`], [`Queue::resolved`]), and again when that holds no longer; so nothing that is scheduled depends
//! on what the DNS says.
//!
//! What an operator says about some of the mail keeps entries where they are, or has them wait at another destination ([`standing`]).
//!
//! Times of the wall clock are written down, but waited for on the monotonic clock: a wall clock that jumps
//! neither sets off all retries nor stops them.

mod lane;
mod overdue;
mod places;
mod standing;
mod status;
mod verdict;

pub use status::LaneStatus;
pub use verdict::{Bounce, Verdict};

use super::route::key_of;
use super::turns::{Class, Ring, UnderWay};
use super::{DestinationId, Fate, Job, JobRecipient, JobResult, PoolId, Protocol, Retry, RouteId, Routes, Way};
use crate::dns;
use crate::env::{Instant, Now, WallTime};
use crate::limits::{
    BUSY_DELAY, Gauge, JOBS_IN_HAND_MAX, JOBS_IN_HAND_TOTAL_MAX, ORDER_LOOKS, ORDERS_MAX,
    RECIPIENTS_PER_TRANSACTION_MAX,
};
use crate::smtp::{BodyType, Notify, Priority, Return, domain_of};
use crate::spool::{self, MessageId};
use hashbrown::HashMap;
use lane::{Lane, Outlook};
use siphasher::sip::SipHasher13;
use standing::{Book, Choice, Course, Note, Spot};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::Hasher;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What the queue needs to know of a message; the spool's index entry provides it.
///
/// A verdict that [`Queue::settle`] returned must show here before the queue is called again.
pub trait MessageView {
    /// Its name.
    fn id(&self) -> MessageId;
    /// When it was accepted.
    fn received_at(&self) -> WallTime;
    /// Size of its content, bytes.
    fn size(&self) -> u64;
    /// The operator holds it, or it has no signature yet: nothing is given out.
    fn held(&self) -> bool;
    /// Who sends; empty for the null sender.
    fn reverse_path(&self) -> &str;
    /// `BODY`.
    fn body(&self) -> BodyType;
    /// `SMTPUTF8` was given.
    fn smtputf8(&self) -> bool;
    /// `REQUIRETLS` was given.
    fn require_tls(&self) -> bool;
    /// It is to arrive rather than to be secured (`TLS-Required: No`).
    fn tls_optional(&self) -> bool;
    /// How urgent it is.
    fn priority(&self) -> Priority;
    /// `RET`, if given.
    fn ret(&self) -> Option<Return>;
    /// `ENVID`, if given.
    fn envelope_id(&self) -> Option<&str>;
    /// Who receives, in the order of the envelope.
    fn recipients(&self) -> impl Iterator<Item = RecipientView<'_>>;
}

/// What the queue needs to know of a recipient.
#[derive(Clone, Copy, Debug)]
pub struct RecipientView<'a> {
    /// The forward-path.
    pub address: &'a str,
    /// `NOTIFY`, if given.
    pub notify: Option<Notify>,
    /// `ORCPT`, if given.
    pub original: Option<&'a str>,
    /// How far it is.
    pub progress: Progress,
}

/// Recipients by their places. Those of a job come in the order of the envelope, which is walked through once then.
fn places<'m, M: MessageView>(message: &'m M) -> impl FnMut(u32) -> Option<RecipientView<'m>> {
    let (mut recipients, mut position) = (message.recipients(), 0);
    move |index| {
        if index < position {
            (recipients, position) = (message.recipients(), 0);
        }
        let found = recipients.nth((index - position) as usize);
        position = index + 1;
        found
    }
}

/// How far one recipient is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Neither delivered nor given up.
    pub open: bool,
    /// Failed attempts so far.
    pub attempts: u32,
    /// When the next attempt is due; the time of reception, or zero, before the first.
    pub next_attempt_at: WallTime,
}

/// One message at one destination.
type Key = (MessageId, DestinationId);

/// A message at all its destinations.
fn all_of(id: MessageId) -> RangeInclusive<Key> {
    (id, DestinationId::MIN)..=(id, DestinationId::NOWHERE)
}

/// What a message says of its own way. What wishes the same shares lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The pool that it leaves from, where that is for its sender to say.
    pool: Option<PoolId>,
    /// Nothing is heeded of what domains demand of TLS with their hosts: it is to arrive rather than to be secured (RFC 8689 §4.2.2), unless
    /// its envelope says the opposite, which counts for more (§4.1).
    waives: bool,
}

/// No recipient is forced.
const NONE_FORCED: u32 = u32::MAX;

/// An entry that was given out. `removed`: not to be scheduled again. The other field is as in [`Queue::forced`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InHand {
    forced_from: u32,
    removed: bool,
    /// What its attempt and its outcomes may take in the log, bytes.
    outcomes_size: u32,
    class: Class,
    /// When it was due.
    due: Instant,
    /// It is not given out, as it is known what becomes of it.
    is_settled: bool,
    /// The lane that it was in.
    place: usize,
}

/// What there was of an entry that waited.
#[derive(Clone, Copy, Debug)]
struct Left {
    due: Instant,
    /// As in [`Queue::forced`].
    forced_from: u32,
    /// The lane that it was in.
    place: usize,
    course: Course,
}

/// A recipient that is still to be delivered to.
#[derive(Clone, Copy, Debug)]
struct Open {
    index: u32,
    at: WallTime,
    course: Course,
}

// A million queued messages are two million of these: among those that wait, and in the lanes.
const _: () = assert!(size_of::<Key>() + size_of::<Instant>() <= 24);

/// Counts for `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStatus {
    /// Messages at a destination that wait for their time or their turn.
    pub scheduled: usize,
    /// Jobs given out.
    pub in_hand: usize,
}

/// The schedule of one log's messages.
#[derive(Debug)]
pub struct Queue {
    routes: Arc<Routes>,
    retry: Retry,
    seed: u64,
    in_hand_max: u32,
    /// Recipients of one transaction, by routes.
    recipients_max: Box<[usize]>,
    /// A record is written of each job that begins, too.
    records_attempts: bool,
    /// Entries that wait, and the times under which they stand in their lanes.
    waiting: BTreeMap<Key, Instant>,
    /// Of those that wait: recipients from this place on are due whatever their time, as the operator asked.
    forced: BTreeMap<Key, u32>,
    /// Entries that were given out: as many as the lanes' `in_hand` together.
    in_hand: BTreeMap<Key, InHand>,
    /// How many they are.
    under_way: UnderWay,
    outcomes_size: u64,
    /// One per route, then one for what has no route, then those of domains.
    lanes: Vec<Lane>,
    /// The lanes of domains by their names: one for each kind of [`Wishes`] that there is mail with.
    domains: HashMap<Box<str>, Vec<usize>>,
    /// Lanes of no domain, to be used again.
    free: Vec<usize>,
    /// Domains that somebody has to be asked about.
    wanted: VecDeque<Box<str>>,
    /// Lanes of which something may be given out at a time in the future.
    timed: BTreeSet<(Instant, usize)>,
    /// Lanes that may give something out now, in the order of their turns.
    ready: Ring,
    /// The look-out for messages that wait in vain.
    round: overdue::Round,
    /// What an operator has said.
    book: Book,
}

impl Queue {
    /// An empty queue. `seed` places delays within their jitter.
    pub fn new(routes: Arc<Routes>, retry: Retry, seed: u64) -> Queue {
        let lanes = (0..=routes.count()).map(|_| Lane::default()).collect();
        let ids = (0..routes.count()).map(DestinationId::from_index);
        let recipients_max = ids.map(|id| {
            let hops = routes.route(id).hops.iter().map(|hop| (&*hop.name, &*hop.addresses));
            routes.recipients_max(id, hops)
        });
        let recipients_max = recipients_max.collect();
        Queue {
            routes,
            retry,
            seed,
            in_hand_max: JOBS_IN_HAND_MAX,
            recipients_max,
            records_attempts: false,
            waiting: BTreeMap::new(),
            forced: BTreeMap::new(),
            in_hand: BTreeMap::new(),
            under_way: UnderWay::default(),
            outcomes_size: 0,
            lanes,
            domains: HashMap::new(),
            free: Vec::new(),
            wanted: VecDeque::new(),
            timed: BTreeSet::new(),
            ready: Ring::default(),
            round: overdue::Round::default(),
            book: Book::default(),
        }
    }

    /// With another limit of jobs in hand per destination.
    pub fn with_in_hand_max(mut self, in_hand_max: u32) -> Queue {
        self.in_hand_max = in_hand_max.max(1);
        self
    }

    /// Jobs need room in the log for the record of their attempt, too.
    pub fn with_attempts(mut self, recorded: bool) -> Queue {
        self.records_attempts = recorded;
        self
    }

    /// Shows how many jobs each destination has in hand.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        let most = |max| UnderWay::max(Class::Urgent, max);
        for lane in &self.lanes {
            see(Gauge::new("jobs in hand", lane.in_hand.total(), most(self.in_hand_max as usize)));
        }
        see(Gauge::new("jobs in hand at all destinations", self.under_way.total(), most(JOBS_IN_HAND_TOTAL_MAX)));
        see(Gauge::new("standing orders", self.book.orders.rules().len(), ORDERS_MAX));
    }

    /// Schedules the open recipients of a message that is newly durable, recovered or released. Harmless if it is
    /// scheduled already.
    pub fn add(&mut self, now: Now, message: &impl MessageView) {
        if message.held() {
            return;
        }
        let wishes = self.wishes(message);
        let of_sender = self.book.orders.of_sender(message.reverse_path());
        let mut due: Vec<(DestinationId, Instant, Course)> = Vec::new();
        for RecipientView { address, progress, .. } in message.recipients() {
            if progress.open {
                let domain = domain_of(address);
                let at = self.instant_of(now, progress.next_attempt_at);
                due.push((self.destination(domain, wishes), at, self.book.course(of_sender, domain)));
            }
        }
        if !due.is_empty() {
            let overdue_at = self.overdue_at(now, message);
            self.round.expect(overdue_at);
        }
        due.sort_unstable();
        for recipients in due.chunk_by(|one, other| one.0 == other.0) {
            let key = (message.id(), recipients[0].0);
            let choice: Choice = recipients.iter().map(|(_, at, course)| (*at, *course)).collect();
            if let Some(in_hand) = self.in_hand.get_mut(&key) {
                in_hand.removed = false;
            } else if let Some(spot) = choice.spot() {
                self.wait(now, key, message, spot, NONE_FORCED);
            }
        }
    }

    /// Gives out nothing more of a message that was held or deleted. A job in hand runs to its end, and its
    /// result is settled, or discarded if the message is gone.
    pub fn remove(&mut self, id: MessageId) {
        for (_, in_hand) in self.in_hand.range_mut(all_of(id)) {
            in_hand.removed = true;
        }
        while let Some(key) = self.waiting.range(all_of(id)).next().map(|(key, _)| *key) {
            let Left { due, place, .. } = self.forget(key);
            let lane = &mut self.lanes[place];
            lane.remove(due, key);
            if lane.standing && lane.is_empty() {
                lane.standing = false;
                self.round.count(Instant::ZERO, false);
            }
            // A lane whose turn comes for an entry that is gone looks again; but one whose entries were elsewhere has no turns.
            self.free_if_unused(self.place_of(key.1));
        }
    }

    /// Makes all open recipients of a message due now, as the operator asked. Those in hand stay there.
    pub fn retry(&mut self, now: Now, id: MessageId) {
        let entries: Vec<(Key, Instant)> = self.waiting.range(all_of(id)).map(|(key, at)| (*key, *at)).collect();
        for (key, at) in entries {
            let place = self.lane_of(key);
            self.waiting.insert(key, now.mono);
            self.forced.insert(key, 0);
            let lane = &mut self.lanes[place];
            lane.closed_until = Instant::ZERO;
            lane.shift(at, now.mono, key);
            self.refresh(now, place);
        }
    }

    /// The next domain that must be asked about, once.
    pub fn wanted(&mut self) -> Option<Box<str>> {
        self.wanted.pop_front()
    }

    /// What is known of a domain now.
    pub fn resolved(&mut self, now: Now, domain: &str, answer: &dns::Answer) {
        let Some(places) = self.domains.get(domain).cloned() else { return };
        for place in places {
            if let Some(domain) = &mut self.lanes[place].domain {
                let route = self.routes.route(domain.route);
                let admitted = |hosts: &Arc<dns::MailHosts>| {
                    if domain.waives { Ok(Arc::new(hosts.waived())) } else { route.admit(hosts) }
                };
                let result = answer.result.as_ref().map_err(Clone::clone).and_then(admitted);
                domain.known = Some((result, now.mono + answer.ttl));
                domain.wanted = false;
                if let Ok(found) = &answer.result {
                    let hosts = found.hosts.iter().map(|host| (&*host.name, &*host.addresses));
                    domain.recipients_max = self.routes.recipients_max(domain.route, hosts);
                }
            }
            self.refresh(now, place);
        }
    }

    /// Whether there is mail for a domain that heeds what it demands of TLS.
    pub fn heeds_demands_of(&self, domain: &str) -> bool {
        let places = self.domains.get(domain).into_iter().flatten();
        places.filter_map(|place| self.lanes[*place].domain.as_ref()).any(|domain| !domain.waives)
    }

    /// What is known of the hosts of a domain, if there is mail for it with these wishes.
    pub fn hosts_of(&self, wishes: Wishes, domain: &str) -> Option<&dns::MailHosts> {
        let place = self.place_of(self.found(domain, wishes)?);
        let (known, _) = self.lanes[place].domain.as_ref()?.known.as_ref()?;
        known.as_deref().ok()
    }

    /// Whether all hosts that a job in hand may have gone to have the mailboxes.
    pub fn is_last_hop(&self, result: &JobResult) -> bool {
        let place = self.in_hand.get(&(result.id, result.destination)).map(|in_hand| in_hand.place);
        let route = place.filter(|place| *place < self.routes.count()).map(RouteId::from_index);
        route.is_some_and(|id| self.routes.route(id).hops.iter().all(|hop| hop.protocol == Protocol::Lmtp))
    }

    /// The next job that is due, more urgent ones first. Lanes take turns, and one whose jobs are not settled stands back at its limit.
    pub fn next<M: MessageView>(&mut self, now: Now, lookup: impl Fn(MessageId) -> Option<M>) -> Option<Job> {
        if let Some(job) = self.next_overdue(now, &lookup) {
            return Some(job);
        }
        while let Some(&(at, place)) = self.timed.first() {
            if at > now.mono {
                break;
            }
            self.refresh(now, place);
        }
        let mut looks = 0;
        while looks < ORDER_LOOKS
            && let Some(place) = self.ready.next(|class| self.under_way.has_room(class, JOBS_IN_HAND_TOTAL_MAX))
        {
            self.lanes[place].place = None;
            let job = self.next_of(now, place, &lookup, &mut looks);
            self.refresh(now, place);
            if job.is_some() {
                return job;
            }
        }
        None
    }

    /// The next job of a lane, if it can give one out. An entry that belongs elsewhere moves there instead.
    fn next_of<M: MessageView>(
        &mut self,
        now: Now,
        place: usize,
        lookup: &impl Fn(MessageId) -> Option<M>,
        looks: &mut usize,
    ) -> Option<Job> {
        let lane = &mut self.lanes[place];
        lane.outlook(now.mono, self.in_hand_max).ready?;
        let way = match &mut lane.domain {
            None => Way::Route,
            Some(domain) => match domain.way(now.mono) {
                Some(way) => way,
                None => {
                    domain.wanted = true;
                    self.wanted.push_back((*domain.name).into());
                    return None;
                }
            },
        };
        let may = |class| self.under_way.has_room(class, JOBS_IN_HAND_TOTAL_MAX);
        let key = lane.next(now.mono, self.in_hand_max, may)?;
        let message = lookup(key.0);
        if let Some(message) = &message
            && self.set_right(now, key, message, looks)
        {
            *looks += 1;
            return None;
        }
        let is_own = place == self.place_of(key.1);
        let way = match way {
            Way::Route if !is_own => Way::Via(self.destination_at(place)),
            // What is wrong with the hosts of another domain says nothing about a recipient.
            Way::Failed(failure) if !is_own => Way::Failed(failure.for_now()),
            way => way,
        };
        self.take(now, key, way, message)
    }

    /// Turns the result of a job into what to write down: one verdict for each of its fates, in their order. The
    /// message is scheduled again if recipients stay open. A result of a job that is not in hand gives nothing.
    pub fn settle(&mut self, now: Now, message: &impl MessageView, result: &JobResult) -> Vec<(u32, Verdict)> {
        let key = (result.id, result.destination);
        let Some(&InHand { forced_from, removed, due, place, .. }) = self.in_hand.get(&key) else { return Vec::new() };
        let verdicts = self.verdicts(now, message, result);
        // What waits for its destination keeps its place; it is not asked for again at once.
        let busy_until = if result.standstill.is_some() { due } else { now.mono + BUSY_DELAY };
        let next = if removed { None } else { self.next_due(now, message, key.1, forced_from, &verdicts, busy_until) };
        self.heed(place, result);
        if let Some((spot, forced_from)) = next {
            self.wait(now, key, message, spot, forced_from);
            let overdue_at = self.overdue_at(now, message);
            self.round.expect(overdue_at);
        }
        self.release(now, key);
        verdicts
    }

    /// What [`settle`](Queue::settle) would return now, for a caller that has something to write before it.
    pub fn verdicts(&self, now: Now, message: &impl MessageView, result: &JobResult) -> Vec<(u32, Verdict)> {
        let key = (result.id, result.destination);
        // "Too many recipients" for every recipient would be asked again for ever; it is a common deferral then.
        let progressed =
            result.fates.iter().any(|(_, fate)| !matches!(fate, Fate::Deferred { soon: true, .. } | Fate::Untried));
        let mut verdicts = Vec::with_capacity(result.fates.len());
        let mut recipient_at = places(message);
        for (index, fate) in &result.fates {
            if let Some(RecipientView { notify, progress, .. }) = recipient_at(*index) {
                let context = verdict::Context {
                    retry: &self.retry,
                    now: now.wall,
                    entropy: self.entropy(key, progress.attempts),
                    received_at: message.received_at(),
                    null_sender: message.reverse_path().is_empty(),
                    dsn_offered: result.dsn_offered,
                    progressed,
                };
                verdicts.push((*index, context.verdict(notify, progress, fate)));
            }
        }
        verdicts
    }

    /// Whether a message is on its way to any destination.
    pub fn is_in_hand(&self, id: MessageId) -> bool {
        self.in_hand.range(all_of(id)).next().is_some()
    }

    /// What a message says of its own way.
    pub fn wishes(&self, message: &impl MessageView) -> Wishes {
        let pool = self.routes.pool_of(message.reverse_path());
        Wishes { pool, waives: message.tls_optional() && !message.require_tls() }
    }

    /// Whether a message with these wishes is on its way to this domain.
    pub fn is_domain_in_hand(&self, id: MessageId, wishes: Wishes, domain: &str) -> bool {
        let found = self.found(domain, wishes);
        found.is_some_and(|destination| self.in_hand.contains_key(&(id, destination)))
    }

    /// Takes note of a job whose message was deleted meanwhile: there is nothing to write down.
    pub fn discard(&mut self, now: Now, result: &JobResult) {
        self.release(now, (result.id, result.destination));
    }

    /// When [`next`](Queue::next) will have something, if nothing is settled before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let is_ready = || self.ready.is_ready(|class| self.under_way.has_room(class, JOBS_IN_HAND_TOTAL_MAX));
        if self.has_to_sort() || is_ready() {
            return Some(Instant::ZERO);
        }
        // At the limit nothing comes before something is settled, unless it is more urgent.
        let round = self.round.deadline().filter(|_| self.in_hand.len() < JOBS_IN_HAND_TOTAL_MAX);
        self.timed.first().map(|(at, _)| *at).into_iter().chain(round).min()
    }

    /// What the attempts and outcomes of the jobs in hand may take in the log, bytes.
    pub fn outcomes_size(&self) -> u64 {
        self.outcomes_size
    }

    /// Counts for `status`.
    pub fn status(&self) -> QueueStatus {
        QueueStatus { scheduled: self.waiting.len(), in_hand: self.in_hand.len() }
    }

    /// Makes a job of an entry whose turn has come; the entry goes with it, or ends if nothing is open.
    fn take(&mut self, now: Now, key: Key, way: Way, message: Option<impl MessageView>) -> Option<Job> {
        let is_settled = matches!(way, Way::Overdue(_));
        let Left { due, forced_from, place, course } = self.forget(key);
        let own = self.place_of(key.1);
        let made = message.filter(|message| !message.held()).and_then(|message| {
            let (mut open, _) = self.open_recipients(&message, key.1);
            // What is too old is so everywhere.
            open.retain(|open| is_settled || open.course == course);
            // Usually the time is past. If the wall clock was set back, what was due first is due now.
            let until = open.iter().map(|open| open.at).min()?.max(now.wall);
            let (job, forced_from) = self.job(&message, (key.1, way), place, open, until, forced_from);
            Some((job, forced_from, Class::from(message.priority())))
        });
        let Some((job, forced_from, class)) = made else {
            self.free_if_unused(own);
            return None;
        };
        let outcomes_size = self.outcomes_size_of(&job);
        self.give(key, InHand { forced_from, removed: false, outcomes_size, class, due, is_settled, place });
        Some(job)
    }

    /// What the attempt and the outcomes of a job may take in the log, bytes.
    fn outcomes_size_of(&self, job: &Job) -> u32 {
        let count = job.recipients.len();
        let attempt_size = if self.records_attempts { spool::attempt_size_max(count) } else { 0 };
        spool::outcomes_size_max(count) + attempt_size
    }

    /// Takes note of an entry that is given out.
    fn give(&mut self, key: Key, in_hand: InHand) {
        let InHand { outcomes_size, class, is_settled, place, .. } = in_hand;
        let own = self.place_of(key.1);
        self.in_hand.insert(key, in_hand);
        self.under_way.add(class);
        self.outcomes_size += u64::from(outcomes_size);
        self.lanes[own].away += usize::from(own != place);
        let lane = &mut self.lanes[place];
        if is_settled { lane.settling += 1 } else { lane.in_hand.add(class) }
    }

    /// Takes an entry out of those that wait, but not out of its lane, and says what there was of it.
    fn forget(&mut self, key: Key) -> Left {
        let due = self.waiting.remove(&key).expect("an entry in a lane is waiting");
        let forced_from = self.forced.remove(&key).unwrap_or(NONE_FORCED);
        let own = self.place_of(key.1);
        let Note { place, course, .. } = self.book.strike(key).unwrap_or(Note::plain(own));
        self.lanes[own].away -= usize::from(own != place);
        Left { due, forced_from, place, course }
    }

    /// The open recipients of a message at a destination, when each is due, and what orders make of them; and of how many recipients
    /// they are.
    fn open_recipients(&self, message: &impl MessageView, destination: DestinationId) -> (Vec<Open>, usize) {
        let wishes = self.wishes(message);
        let of_sender = self.book.orders.of_sender(message.reverse_path());
        let (mut open, mut looked_at) = (Vec::new(), 0);
        for (index, RecipientView { address, progress, .. }) in (0..).zip(message.recipients()) {
            looked_at += 1;
            let domain = domain_of(address);
            if progress.open && self.found(domain, wishes) == Some(destination) {
                let course = self.book.course(of_sender, domain);
                open.push(Open { index, at: progress.next_attempt_at, course });
            }
        }
        (open, looked_at)
    }

    /// The job, and from where on recipients are still forced after it.
    fn job(
        &self,
        message: &impl MessageView,
        (destination, way): (DestinationId, Way),
        place: usize,
        open: Vec<Open>,
        due: WallTime,
        forced_from: u32,
    ) -> (Job, u32) {
        let recipients_max = match (&way, destination) {
            (Way::Hosts { .. }, _) => self.lanes[place].domain.as_ref().map(|domain| domain.recipients_max),
            (Way::Via(route), _) => Some(self.recipients_max[route.index()]),
            (Way::Failed(_) | Way::Overdue(_), _) | (_, DestinationId::NOWHERE) => None,
            (Way::Route, _) => Some(self.recipients_max[destination.index()]),
        }
        .unwrap_or(RECIPIENTS_PER_TRANSACTION_MAX);
        let mut recipient_at = places(message);
        let mut chosen = open.into_iter().filter(|open| open.index >= forced_from || open.at <= due);
        let recipients: Vec<JobRecipient> = (chosen.by_ref().take(recipients_max))
            .filter_map(|Open { index, .. }| {
                let RecipientView { address, notify, original, .. } = recipient_at(index)?;
                Some(JobRecipient { index, address: address.into(), notify, original: original.map(Into::into) })
            })
            .collect();
        let left = chosen.next().map_or(NONE_FORCED, |open| open.index);
        let forced_left = if forced_from == NONE_FORCED { NONE_FORCED } else { left };
        let job = Job {
            id: message.id(),
            destination,
            way,
            recipients,
            reverse_path: message.reverse_path().into(),
            size: message.size(),
            body: message.body(),
            smtputf8: message.smtputf8(),
            require_tls: message.require_tls(),
            priority: message.priority(),
            ret: message.ret(),
            envelope_id: message.envelope_id().map(Into::into),
        };
        (job, forced_left)
    }

    /// Where an entry waits after these verdicts, and who is forced then; `None` if nobody is open.
    fn next_due(
        &self,
        now: Now,
        message: &impl MessageView,
        destination: DestinationId,
        forced_from: u32,
        verdicts: &[(u32, Verdict)],
        busy_until: Instant,
    ) -> Option<(Spot, u32)> {
        let mut settled: Vec<(u32, Option<Instant>)> = (verdicts.iter())
            .map(|(index, verdict)| {
                let at = match verdict {
                    Verdict::Deferred { next_attempt_at, .. } => Some(self.instant_of(now, *next_attempt_at)),
                    Verdict::Busy => Some(busy_until),
                    Verdict::Delivered { .. } | Verdict::Bounced { .. } => None,
                };
                (*index, at)
            })
            .collect();
        settled.sort_unstable();
        let mut choice = Choice::default();
        let mut forced_left = NONE_FORCED;
        for Open { index, at, course } in self.open_recipients(message, destination).0 {
            let due = match settled.binary_search_by_key(&index, |(index, _)| *index) {
                Ok(found) => settled[found].1,
                Err(_) if index >= forced_from => {
                    forced_left = forced_left.min(index);
                    Some(now.mono)
                }
                Err(_) => Some(self.instant_of(now, at)),
            };
            due.into_iter().for_each(|due| choice.add(due, course));
        }
        // The next job would take the same recipients first, as nothing was written down for them: without the pause an
        // owner that hands everything back would be asked again at once, for ever.
        let busy = verdicts.iter().any(|(_, verdict)| *verdict == Verdict::Busy);
        let earliest = if busy { busy_until } else { now.mono };
        choice.spot().map(|spot| (Spot { at: spot.at.max(earliest), ..spot }, forced_left))
    }

    /// Takes an entry out of hand, if it is.
    fn release(&mut self, now: Now, key: Key) {
        let Some(InHand { outcomes_size, class, is_settled, place, .. }) = self.in_hand.remove(&key) else { return };
        self.under_way.remove(class);
        self.outcomes_size -= u64::from(outcomes_size);
        let own = self.place_of(key.1);
        self.lanes[own].away -= usize::from(own != place);
        let lane = &mut self.lanes[place];
        if is_settled {
            lane.settling -= 1
        } else {
            lane.in_hand.remove(class)
        }
        self.refresh(now, place);
        self.free_if_unused(own);
    }

    /// Puts an entry where it belongs, from where it was if it was waiting.
    fn wait(&mut self, now: Now, key: Key, message: &impl MessageView, spot: Spot, forced_from: u32) {
        let before = self.waiting.contains_key(&key).then(|| self.forget(key));
        if let Some(Left { due, place, .. }) = before {
            self.lanes[place].remove(due, key);
        }
        self.waiting.insert(key, spot.at);
        if forced_from != NONE_FORCED {
            self.forced.insert(key, forced_from);
        }
        let (own, place) = (self.place_of(key.1), self.place_for(key.1, message, spot.course));
        self.book.note(key, own, Note { course: spot.course, place, parted: spot.parted, also: spot.also });
        self.lanes[own].away += usize::from(own != place);
        let lane = &mut self.lanes[place];
        match spot.course {
            Course::Kept(_) => lane.keep(spot.at, key),
            Course::Own | Course::Elsewhere(_) => lane.insert(message.priority().into(), spot.at, key),
        }
        self.refresh(now, place);
        if let Some(Left { place: before, .. }) = before.filter(|before| before.place != place) {
            self.refresh(now, before);
        }
    }

    /// Brings a lane to where its entries and its credit say: `ready`, `timed`, both or neither.
    fn refresh(&mut self, now: Now, place: usize) {
        let lane = &mut self.lanes[place];
        let Outlook { ready, timed_at, standing } = lane.outlook(now.mono, self.in_hand_max);
        if lane.standing != standing {
            lane.standing = standing;
            self.round.count(now.mono, standing);
        }
        if lane.timed_at != timed_at {
            if let Some(at) = lane.timed_at {
                self.timed.remove(&(at, place));
            }
            if let Some(at) = timed_at {
                self.timed.insert((at, place));
            }
            lane.timed_at = timed_at;
        }
        self.ready.set(place, &mut lane.place, ready);
        self.free_if_unused(place);
    }

    /// The moment on the monotonic clock for a time that was written down. Not further away than a retry can
    /// be, as only a wall clock that was set back says so.
    fn instant_of(&self, now: Now, at: WallTime) -> Instant {
        now.mono + at.since(now.wall).min(self.retry.max.max(self.retry.first))
    }

    /// Decides where in the jitter a delay falls: the same for all recipients that share a transaction.
    fn entropy(&self, key: Key, attempts: u32) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.seed, u64::from(attempts));
        hasher.write_u64(key.0.bits());
        hasher.write_usize(key.1.index());
        hasher.finish()
    }
}

#[cfg(test)]
mod tests;
