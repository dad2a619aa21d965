//! Who keeps the lookups: what workers ask, what resolvers are asked, and who waits for what.

use super::answer::Answer;
use super::cache::Cache;
use super::lookup::{Lookup, Rules};
use super::record::{Data, Kind, Question, Reply, Said};
use crate::env::Instant;
use crate::limits::{
    DNS_CACHE_MAX, DNS_RECORDS_MAX, Gauge, LOOKUPS_MAX, LOOKUPS_PER_WORKER_MAX, POLICY_FETCHES_MAX, TLSA_SIZE_MAX,
    TXT_SIZE_MAX,
};
use crate::sts::{Known, Shelf};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A lookup, and the workers that wait for it.
#[derive(Debug)]
struct Case {
    lookup: Lookup,
    askers: BTreeSet<u16>,
}

/// The lookups of all workers.
#[derive(Debug)]
pub struct Clerk {
    rules: Arc<Rules>,
    workers: usize,
    cache: Cache,
    /// By the domain that was asked about. No more than all workers may have asked for.
    cases: BTreeMap<Box<str>, Case>,
    /// Who waits for which question, whether it has been put to a resolver yet or not.
    waiting: BTreeMap<Question, BTreeSet<Box<str>>>,
    /// Questions of `waiting` that no resolver has yet.
    unasked: VecDeque<Question>,
    /// The same, about policies.
    unfetched: VecDeque<Question>,
    /// Questions that resolvers have: at most [`LOOKUPS_MAX`], and beside them [`POLICY_FETCHES_MAX`] about policies.
    asked: BTreeSet<Question>,
    /// How many of them are about policies.
    fetching: usize,
    policies: Shelf,
    answers: VecDeque<(u16, Box<str>, Answer)>,
    /// Lookups begun.
    count: u64,
}

impl Clerk {
    /// For so many workers.
    pub fn new(rules: Rules, workers: usize) -> Clerk {
        Clerk {
            rules: Arc::new(rules),
            workers,
            cache: Cache::default(),
            cases: BTreeMap::new(),
            waiting: BTreeMap::new(),
            unasked: VecDeque::new(),
            unfetched: VecDeque::new(),
            asked: BTreeSet::new(),
            fetching: 0,
            policies: Shelf::default(),
            answers: VecDeque::new(),
            count: 0,
        }
    }

    /// A worker asks about a domain. One that asks for more than it may have is not heard: it will ask again.
    pub fn ask(&mut self, now: Instant, worker: u16, domain: &str) {
        if let Some(case) = self.cases.get_mut(domain) {
            case.askers.insert(worker);
        } else if self.cases.len() < self.workers * LOOKUPS_PER_WORKER_MAX {
            self.count += 1;
            let lookup = Lookup::new(domain, Arc::clone(&self.rules), self.count);
            self.cases.insert(domain.into(), Case { lookup, askers: BTreeSet::from([worker]) });
            self.pursue(now, domain);
        }
    }

    /// The next question for a resolver, or for the web; [`tell`](Clerk::tell) must follow, whatever happens.
    pub fn question(&mut self) -> Option<Question> {
        let may_ask = self.asked.len() - self.fetching < LOOKUPS_MAX;
        let asked = if may_ask { self.unasked.pop_front() } else { None };
        let question = asked.or_else(|| {
            let fetched = if self.fetching < POLICY_FETCHES_MAX { self.unfetched.pop_front() } else { None };
            self.fetching += usize::from(fetched.is_some());
            fetched
        })?;
        self.asked.insert(question.clone());
        Some(question)
    }

    /// What a resolver said.
    pub fn tell(&mut self, now: Instant, question: &Question, mut reply: Reply) {
        if !self.asked.remove(question) {
            return;
        }
        if question.kind == Kind::Policy {
            return self.tell_policy(now, question, reply);
        }
        if let Said::Records(records) = &mut reply.said {
            records.retain(|record| !matches!(&record.data, Data::Text(text) if text.len() > TXT_SIZE_MAX));
            // They come in any order: of too many hosts the best ones stay, and all aliases; of certificates the digests.
            records.sort_by_key(|record| match &record.data {
                Data::Alias(_) | Data::Address(_) | Data::Text(_) | Data::Policy(_) => 0,
                Data::Mx { preference, .. } => 1 + usize::from(*preference),
                Data::Tlsa(tlsa) => 1 + tlsa.data.len(),
            });
            records.truncate(DNS_RECORDS_MAX);
            let mut room = TLSA_SIZE_MAX;
            for record in records {
                if let Data::Tlsa(tlsa) = &mut record.data {
                    match room.checked_sub(tlsa.data.len()) {
                        Some(rest) => room = rest,
                        // That there is one must not be forgotten.
                        None => tlsa.data = Box::default(),
                    }
                }
            }
        }
        let until = self.cache.put(now, question.clone(), reply.clone());
        for domain in self.waiting.remove(question).unwrap_or_default() {
            // Not by way of the cache, which may have no room.
            if let Some(case) = self.cases.get_mut(&domain) {
                case.lookup.tell(question, &reply, until);
            }
            self.pursue(now, &domain);
        }
    }

    /// What came of fetching a policy.
    fn tell_policy(&mut self, now: Instant, question: &Question, reply: Reply) {
        self.fetching -= 1;
        let fetched = match reply.said {
            Said::Failed(why) => Err(why.into()),
            Said::Records(records) => records
                .into_iter()
                .find_map(|record| match record.data {
                    Data::Policy(policy) => Some(policy),
                    _ => None,
                })
                .unwrap_or_else(|| Err("there is none".into())),
            Said::Nothing | Said::NoName => Err("there is none".into()),
        };
        let domains = self.waiting.remove(question).unwrap_or_default();
        let id = domains.iter().find_map(|domain| self.cases.get(domain)?.lookup.policy_wanted()?.1);
        if let Some(id) = id {
            self.policies.put(now, &question.name, &id, fetched);
        }
        for domain in domains {
            self.pursue(now, &domain);
        }
    }

    /// Whether [`answer`](Clerk::answer) has something.
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// The next answer: for which worker, about which domain.
    pub fn answer(&mut self) -> Option<(u16, Box<str>, Answer)> {
        self.answers.pop_front()
    }

    /// The policies that are remembered.
    pub fn policies(&mut self) -> &mut Shelf {
        &mut self.policies
    }

    /// Shows how full its tables are.
    pub fn gauge(&self, see: &mut dyn FnMut(Gauge)) {
        see(Gauge::new("domains being looked up", self.cases.len(), self.workers * LOOKUPS_PER_WORKER_MAX));
        see(Gauge::new("questions to resolvers", self.asked.len() - self.fetching, LOOKUPS_MAX));
        see(Gauge::new("policies that are fetched", self.fetching, POLICY_FETCHES_MAX));
        self.policies.gauge(see);
        see(Gauge::new("answers of resolvers that are remembered", self.cache.len(), DNS_CACHE_MAX));
    }

    /// Goes on with a lookup as far as what is known carries it.
    fn pursue(&mut self, now: Instant, domain: &str) {
        let Some(case) = self.cases.get_mut(domain) else { return };
        loop {
            let known = case.lookup.questions().find_map(|question| {
                let (reply, until) = self.cache.get(now, question)?;
                Some((question.clone(), reply.clone(), until))
            });
            let Some((question, reply, until)) = known else { break };
            case.lookup.tell(&question, &reply, until);
        }
        let mut policy = None;
        if let Some((domain, id)) = case.lookup.policy_wanted() {
            match self.policies.get(now, domain, id.as_deref()) {
                Known::Counts(standing, until) => case.lookup.tell_policy(standing, until),
                Known::Unknown => policy = Some(Question::new(domain, Kind::Policy)),
            }
        }
        if let Some(answer) = case.lookup.answer(now) {
            let askers = std::mem::take(&mut case.askers);
            self.answers.extend(askers.into_iter().map(|worker| (worker, domain.into(), answer.clone())));
            self.cases.remove(domain);
            return;
        }
        for question in case.lookup.questions().chain(&policy) {
            let waiting = self.waiting.entry(question.clone()).or_insert_with(|| {
                let questions = if question.kind == Kind::Policy { &mut self.unfetched } else { &mut self.unasked };
                questions.push_back(question.clone());
                BTreeSet::new()
            });
            waiting.insert(domain.into());
        }
    }
}
