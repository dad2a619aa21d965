//! The home half: what is due for which destination, and what a fate means for the message.
//!
//! In: messages when they become durable, are recovered or released; results of jobs. Out: jobs that are due, verdicts
//! to write down. It never stores a verdict and holds no part of a message: what is open is asked of the spool at
//! the moment of need, through [`MessageView`].
//!
//! An *entry* is one message at one destination, and is in one place at a time: waiting in its destination's lane,
//! ordered by when it is due, or in hand. So a recipient is never given out twice, and a message with more recipients
//! than a transaction takes goes out in one transaction after another. A lane gives out a bounded number of jobs;
//! lanes that are due take turns. Every operation costs O(log n), and a queued message about 85 bytes.
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
//! Times of the wall clock are written down, but waited for on the monotonic clock: a wall clock that jumps
//! neither sets off all retries nor stops them.

mod lane;
mod overdue;
mod status;
mod verdict;

pub use status::LaneStatus;
pub use verdict::{Bounce, Verdict};

use super::route::key_of;
use super::turns::{Class, Ring, UnderWay};
use super::{DestinationId, Fate, Job, JobRecipient, JobResult, PoolId, Protocol, Retry, RouteId, Routes, Way};
use crate::dns;
use crate::env::{Instant, Now, WallTime};
use crate::limits::{BUSY_DELAY, Gauge, JOBS_IN_HAND_MAX, JOBS_IN_HAND_TOTAL_MAX, RECIPIENTS_PER_TRANSACTION_MAX};
use crate::smtp::{BodyType, Notify, Priority, Return, domain_of};
use crate::spool::{self, MessageId};
use hashbrown::HashMap;
use lane::{Domain, Lane, Outlook};
use siphasher::sip::SipHasher13;
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
}

// A million queued messages are a million of these, and of (time, id) in the lanes.
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
    }

    /// Schedules the open recipients of a message that is newly durable, recovered or released. Harmless if it is
    /// scheduled already.
    pub fn add(&mut self, now: Now, message: &impl MessageView) {
        if message.held() {
            return;
        }
        let wishes = self.wishes(message);
        let mut due: Vec<(DestinationId, WallTime)> = Vec::new();
        for RecipientView { address, progress, .. } in message.recipients() {
            if progress.open {
                due.push((self.destination(domain_of(address), wishes), progress.next_attempt_at));
            }
        }
        if !due.is_empty() {
            let overdue_at = self.overdue_at(now, message);
            self.round.expect(overdue_at);
        }
        due.sort_unstable();
        due.dedup_by_key(|(destination, _)| *destination);
        for (destination, at) in due {
            let key = (message.id(), destination);
            if let Some(in_hand) = self.in_hand.get_mut(&key) {
                in_hand.removed = false;
            } else {
                let at = self.instant_of(now, at);
                self.wait(now, key, message.priority().into(), at, NONE_FORCED);
            }
        }
    }

    /// Gives out nothing more of a message that was held or deleted. A job in hand runs to its end, and its
    /// result is settled, or discarded if the message is gone.
    pub fn remove(&mut self, id: MessageId) {
        for (_, in_hand) in self.in_hand.range_mut(all_of(id)) {
            in_hand.removed = true;
        }
        while let Some((key, at)) = self.waiting.range(all_of(id)).next().map(|(key, at)| (*key, *at)) {
            self.forget(key);
            let place = self.place_of(key.1);
            let lane = &mut self.lanes[place];
            lane.remove(at, id);
            if lane.standing && lane.is_empty() {
                lane.standing = false;
                self.round.count(Instant::ZERO, false);
            }
            // A lane whose turn comes for an entry that is gone looks again; nothing else to do.
        }
    }

    /// Makes all open recipients of a message due now, as the operator asked. Those in hand stay there.
    pub fn retry(&mut self, now: Now, id: MessageId) {
        let entries: Vec<(Key, Instant)> = self.waiting.range(all_of(id)).map(|(key, at)| (*key, *at)).collect();
        for (key, at) in entries {
            let place = self.place_of(key.1);
            self.lanes[place].closed_until = Instant::ZERO;
            if let Some(class) = self.lanes[place].class_of(at, id) {
                self.wait(now, key, class, now.mono, 0);
            }
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

    /// Whether all hosts of a destination have the mailboxes.
    pub fn is_last_hop(&self, destination: DestinationId) -> bool {
        let is_route = destination.index() < self.routes.count();
        is_route && self.routes.route(destination).hops.iter().all(|hop| hop.protocol == Protocol::Lmtp)
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
        while let Some(place) = self.ready.next(|class| self.under_way.has_room(class, JOBS_IN_HAND_TOTAL_MAX)) {
            self.lanes[place].place = None;
            let job = self.next_of(now, place, &lookup);
            self.refresh(now, place);
            if job.is_some() {
                return job;
            }
        }
        None
    }

    /// The next job of a lane, if it can give one out.
    fn next_of<M: MessageView>(
        &mut self,
        now: Now,
        place: usize,
        lookup: &impl Fn(MessageId) -> Option<M>,
    ) -> Option<Job> {
        let lane = &mut self.lanes[place];
        lane.outlook(now.mono, self.in_hand_max).ready?;
        let way = match &mut lane.domain {
            None => Way::Route,
            Some(domain) => match domain.way(now.mono) {
                Some(way) => way,
                None => {
                    domain.wanted = true;
                    self.wanted.push_back(domain.name.clone());
                    return None;
                }
            },
        };
        let may = |class| self.under_way.has_room(class, JOBS_IN_HAND_TOTAL_MAX);
        let id = lane.next(now.mono, self.in_hand_max, may)?;
        self.take(now, (id, self.destination_at(place)), way, lookup(id))
    }

    /// Turns the result of a job into what to write down: one verdict for each of its fates, in their order. The
    /// message is scheduled again if recipients stay open. A result of a job that is not in hand gives nothing.
    pub fn settle(&mut self, now: Now, message: &impl MessageView, result: &JobResult) -> Vec<(u32, Verdict)> {
        let key = (result.id, result.destination);
        let Some(&InHand { forced_from, removed, due, .. }) = self.in_hand.get(&key) else { return Vec::new() };
        let verdicts = self.verdicts(now, message, result);
        // What waits for its destination keeps its place; it is not asked for again at once.
        let busy_until = if result.standstill.is_some() { due } else { now.mono + BUSY_DELAY };
        let next = if removed { None } else { self.next_due(now, message, key.1, forced_from, &verdicts, busy_until) };
        self.release(key);
        self.heed(result);
        if let Some((at, forced_from)) = next {
            self.wait(now, key, message.priority().into(), at, forced_from);
            let overdue_at = self.overdue_at(now, message);
            self.round.expect(overdue_at);
        }
        let place = self.place_of(key.1);
        self.refresh(now, place);
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
        let key = (result.id, result.destination);
        if self.in_hand.contains_key(&key) {
            self.release(key);
            let place = self.place_of(key.1);
            self.refresh(now, place);
        }
    }

    /// When [`next`](Queue::next) will have something, if nothing is settled before.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.ready.is_ready(|class| self.under_way.has_room(class, JOBS_IN_HAND_TOTAL_MAX)) {
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
        let (due, forced_from) = self.forget(key);
        let made = message.filter(|message| !message.held()).and_then(|message| {
            let open = self.open_recipients(&message, key.1);
            // Usually the time is past. If the wall clock was set back, what was due first is due now.
            let until = open.iter().map(|(_, at)| *at).min()?.max(now.wall);
            Some((self.job(&message, (key.1, way), open, until, forced_from), Class::from(message.priority())))
        });
        made.map(|((job, forced_from), class)| {
            let count = job.recipients.len();
            let attempt_size = if self.records_attempts { spool::attempt_size_max(count) } else { 0 };
            let outcomes_size = spool::outcomes_size_max(count) + attempt_size;
            self.in_hand.insert(key, InHand { forced_from, removed: false, outcomes_size, class, due, is_settled });
            self.under_way.add(class);
            self.outcomes_size += u64::from(outcomes_size);
            let place = self.place_of(key.1);
            let lane = &mut self.lanes[place];
            if is_settled {
                lane.settling += 1
            } else {
                lane.in_hand.add(class)
            }
            job
        })
    }

    /// Takes an entry out of those that wait, and says when it was due, and from where on its recipients were forced.
    fn forget(&mut self, key: Key) -> (Instant, u32) {
        let due = self.waiting.remove(&key).expect("an entry in a lane is waiting");
        (due, self.forced.remove(&key).unwrap_or(NONE_FORCED))
    }

    /// The open recipients of a message at a destination, and when each is due.
    fn open_recipients(&self, message: &impl MessageView, destination: DestinationId) -> Vec<(u32, WallTime)> {
        let wishes = self.wishes(message);
        let mut open = Vec::new();
        for (index, RecipientView { address, progress, .. }) in (0..).zip(message.recipients()) {
            if progress.open && self.found(domain_of(address), wishes) == Some(destination) {
                open.push((index, progress.next_attempt_at));
            }
        }
        open
    }

    /// The job, and from where on recipients are still forced after it.
    fn job(
        &self,
        message: &impl MessageView,
        (destination, way): (DestinationId, Way),
        open: Vec<(u32, WallTime)>,
        due: WallTime,
        forced_from: u32,
    ) -> (Job, u32) {
        let recipients_max = match (&way, destination) {
            (Way::Hosts { .. }, _) => {
                self.lanes[self.place_of(destination)].domain.as_ref().map(|domain| domain.recipients_max)
            }
            (Way::Failed(_) | Way::Overdue(_), _) | (_, DestinationId::NOWHERE) => None,
            (Way::Route, _) => Some(self.recipients_max[destination.index()]),
        }
        .unwrap_or(RECIPIENTS_PER_TRANSACTION_MAX);
        let mut recipient_at = places(message);
        let mut chosen = open.into_iter().filter(|(index, at)| *index >= forced_from || *at <= due);
        let recipients: Vec<JobRecipient> = (chosen.by_ref().take(recipients_max))
            .filter_map(|(index, _)| {
                let RecipientView { address, notify, original, .. } = recipient_at(index)?;
                Some(JobRecipient { index, address: address.into(), notify, original: original.map(Into::into) })
            })
            .collect();
        let left = chosen.next().map_or(NONE_FORCED, |(index, _)| index);
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

    /// When an entry is due again after these verdicts, and who is forced then; `None` if nobody is open.
    fn next_due(
        &self,
        now: Now,
        message: &impl MessageView,
        destination: DestinationId,
        forced_from: u32,
        verdicts: &[(u32, Verdict)],
        busy_until: Instant,
    ) -> Option<(Instant, u32)> {
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
        let mut first: Option<Instant> = None;
        let mut forced_left = NONE_FORCED;
        for (index, at) in self.open_recipients(message, destination) {
            let due = match settled.binary_search_by_key(&index, |(index, _)| *index) {
                Ok(found) => settled[found].1,
                Err(_) if index >= forced_from => {
                    forced_left = forced_left.min(index);
                    Some(now.mono)
                }
                Err(_) => Some(self.instant_of(now, at)),
            };
            first = [first, due].into_iter().flatten().min();
        }
        // The next job would take the same recipients first, as nothing was written down for them: without the pause an
        // owner that hands everything back would be asked again at once, for ever.
        let busy = verdicts.iter().any(|(_, verdict)| *verdict == Verdict::Busy);
        let earliest = if busy { busy_until } else { now.mono };
        first.map(|at| (at.max(earliest), forced_left))
    }

    /// Takes an entry out of hand.
    fn release(&mut self, key: Key) {
        let Some(InHand { outcomes_size, class, is_settled, .. }) = self.in_hand.remove(&key) else { return };
        self.under_way.remove(class);
        self.outcomes_size -= u64::from(outcomes_size);
        let place = self.place_of(key.1);
        let lane = &mut self.lanes[place];
        if is_settled { lane.settling -= 1 } else { lane.in_hand.remove(class) }
    }

    /// Puts an entry into its lane, from where it was if it was there.
    fn wait(&mut self, now: Now, key: Key, class: Class, at: Instant, forced_from: u32) {
        let place = self.place_of(key.1);
        if let Some(before) = self.waiting.insert(key, at) {
            self.lanes[place].remove(before, key.0);
        }
        match forced_from {
            NONE_FORCED => self.forced.remove(&key),
            _ => self.forced.insert(key, forced_from),
        };
        self.lanes[place].insert(class, at, key.0);
        self.refresh(now, place);
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

    /// Forgets a domain for which there is nothing left.
    fn free_if_unused(&mut self, place: usize) {
        let lane = &mut self.lanes[place];
        if lane.is_unused()
            && let Some(domain) = lane.domain.take_if(|domain| !domain.wanted)
        {
            if let Some(places) = self.domains.get_mut(&domain.name) {
                places.retain(|other| *other != place);
                if places.is_empty() {
                    self.domains.remove(&domain.name);
                }
            }
            *lane = Lane::default();
            self.free.push(place);
        }
    }

    /// The destination of a domain for mail with these wishes, which gets a lane if it has none.
    fn destination(&mut self, domain: &str, wishes: Wishes) -> DestinationId {
        if let Some(found) = self.found(domain, wishes) {
            return found;
        }
        let (name, (route, waives)) = (key_of(domain), self.way(domain, wishes));
        let place = self.free.pop().unwrap_or_else(|| {
            self.lanes.push(Lane::default());
            self.lanes.len() - 1
        });
        let domain = Domain { name: (*name).into(), route, waives, known: None, wanted: false, recipients_max: 1 };
        self.lanes[place].domain = Some(Box::new(domain));
        self.domains.entry((*name).into()).or_default().push(place);
        self.destination_at(place)
    }

    /// The destination of a domain for mail with these wishes; `None` if it would have a lane of its own and has none.
    fn found(&self, domain: &str, wishes: Wishes) -> Option<DestinationId> {
        let (route, waives) = self.way(domain, wishes);
        if !self.is_by_mx(route) {
            return Some(route);
        }
        let fits = |place: &&usize| {
            let lane = self.lanes[**place].domain.as_ref();
            lane.is_some_and(|lane| lane.route == route && lane.waives == waives)
        };
        self.domains.get(&*key_of(domain))?.iter().find(fits).map(|place| self.destination_at(*place))
    }

    /// The route to a domain, and whether its demands are waived there.
    fn way(&self, domain: &str, wishes: Wishes) -> (RouteId, bool) {
        let route = self.routes.with_pool(self.routes.destination(domain), wishes.pool);
        let waives = wishes.waives && self.is_by_mx(route) && self.routes.route(route).tls.heeds_domains();
        (route, waives)
    }

    fn is_by_mx(&self, route: RouteId) -> bool {
        route != DestinationId::NOWHERE && self.routes.route(route).mx
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

    fn place_of(&self, destination: DestinationId) -> usize {
        if destination == DestinationId::NOWHERE { self.routes.count() } else { destination.index() }
    }

    fn destination_at(&self, place: usize) -> DestinationId {
        if place == self.routes.count() { DestinationId::NOWHERE } else { DestinationId::from_index(place) }
    }
}

#[cfg(test)]
mod tests;
