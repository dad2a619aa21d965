//! Who has been asked what, who has answered, and who has stopped. Sans-IO but for the channels, which never block.
//!
//! In: requests with a place for their answers, messages from workers, the time. Out: messages to workers, answers,
//! events for the log.

use super::alert::AlertCounts;
use super::destination::{self, Walk};
use super::health::Health;
use super::links::{FromWorker, Shared, ToWorker, WorkerLink};
use super::orders::{Done, OrderBoard};
use super::pair::PairStatus;
use super::protocol::{Answer, Question, QueueCommand, QueueEntry, QueueReply, Reply, Request};
use super::status::{About, Process, StatusReport};
use crate::delivery::{OrderError, Orders, StandingOrder};
use crate::env::{Instant, Now};
use crate::event::Event;
use crate::limits::{ADMIN_REPLY_TIMEOUT, PULSES_WAITING_MAX, QUEUE_LIST_MAX};
use crate::spool::MessageId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A request that waits for workers. Few at a time: each belongs to one of the admin clients.
struct Pending {
    request: Request,
    /// Workers that have not answered.
    waiting: Vec<u16>,
    /// Workers that were too busy to be asked, or are gone.
    silent: Vec<u16>,
    replies: Vec<Reply>,
    /// What workers told that go on with the rest.
    told: Told,
    deadline: Instant,
    answer: oneshot::Sender<Vec<Answer>>,
}

/// The sum of what takes workers more than a breath.
#[derive(Default)]
struct Told {
    /// Messages changed.
    changed: u64,
    destinations: destination::Sum,
    /// Deliveries of each standing order, by its number.
    ordered: BTreeMap<u64, u64>,
    /// The standing orders that the answer is about; none: all.
    orders: Option<Vec<StandingOrder>>,
}

impl Told {
    /// Adds a reply; what its worker is to be asked next, if anything. Others are given back.
    fn take(&mut self, request: &Request, reply: Reply) -> Result<Option<Question>, Reply> {
        let hosts = matches!(request, Request::Queue(QueueCommand::Destinations { hosts: true, .. }));
        let rest = |next: MessageId| {
            let Request::Queue(command) = request else { return None };
            let mut command = command.clone();
            command.narrow(next);
            Some(Question::Queue(command))
        };
        match reply {
            Reply::Queue(QueueReply::Changed { count, next }) => {
                self.changed += count;
                Ok(next.and_then(rest))
            }
            Reply::Queue(QueueReply::Destinations { destinations, next }) => {
                self.destinations.add_entries(destinations);
                // What waits is known then, and how it is delivered is not yet.
                let owned = Question::Destinations { from: Walk::OWNED, hosts };
                Ok(next.map_or(Some(owned), rest))
            }
            Reply::Destinations(reply) => {
                let next = self.destinations.add(reply);
                Ok(next.map(|from| Question::Destinations { from, hosts }))
            }
            Reply::Orders(counts) => {
                counts.into_iter().for_each(|(number, count)| *self.ordered.entry(number).or_default() += count);
                Ok(None)
            }
            other => Err(other),
        }
    }
}

enum Worker {
    Running,
    /// Shall stop, but its channel was full.
    StopUnsent,
    Stopping,
    Stopped,
}

/// The control thread's decisions about workers and operators.
pub struct Switchboard {
    about: About,
    links: Vec<WorkerLink>,
    workers: Vec<Worker>,
    health: Health,
    alerts: AlertCounts,
    pair: Option<PairStatus>,
    orders: OrderBoard,
    orders_shared: Shared<Orders>,
    /// What is to be logged.
    news: Vec<Event>,
    pending: BTreeMap<u64, Pending>,
    token_next: u64,
    /// How long workers may take to stop, once they have been asked to.
    stopping: Option<Duration>,
    failure: Option<(u16, String)>,
}

impl Switchboard {
    /// With all workers running.
    pub fn new(about: About, links: Vec<WorkerLink>) -> Switchboard {
        let workers = links.iter().map(|_| Worker::Running).collect();
        let health = Health::new(links.len(), about.link, about.started_at);
        let orders = OrderBoard::default();
        let orders_shared = Shared::new(&Arc::new(orders.compile()), &links);
        Switchboard {
            about,
            links,
            workers,
            health,
            alerts: AlertCounts::default(),
            pair: None,
            orders,
            orders_shared,
            news: Vec::new(),
            pending: BTreeMap::new(),
            token_next: 1,
            stopping: None,
            failure: None,
        }
    }

    /// With standing orders, which the workers have had from their start.
    pub fn with_orders(mut self, orders: OrderBoard, now: Now) -> Switchboard {
        self.orders_shared = Shared::new(&Arc::new(orders.compile()), &self.links);
        self.orders = orders;
        self.news.extend(self.orders.damage().map(|error| Event::OrdersDamaged { error: error.to_owned() }));
        let warning = |(order, error): (&StandingOrder, OrderError)| {
            let StandingOrder { selector, treatment, .. } = order;
            let text = format!("the order that {selector} is {treatment} does not fit this configuration: {error}");
            Event::Warning { text }
        };
        self.news.extend(self.orders.misfits().map(warning));
        self.health.orders_damaged(self.orders.damage(), now.wall);
        self
    }

    /// What is to be logged.
    pub fn news(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.news)
    }

    /// Lets the workers know of standing orders that have changed, as far as they can be told now.
    fn share_orders(&mut self, events: Vec<Event>, now: Now) {
        if !events.is_empty() {
            self.news.extend(events);
            self.orders_shared.replace(Arc::new(self.orders.compile()));
            self.health.orders_damaged(self.orders.damage(), now.wall);
        }
        self.orders_shared.offer(&self.links, ToWorker::Orders);
    }

    /// The standing orders.
    pub fn orders(&self) -> &OrderBoard {
        &self.orders
    }

    /// The partner tells of its standing orders.
    pub fn hear_orders(&mut self, told: &[Box<[u8]>], now: Now) {
        let events = self.orders.hear(told, now);
        self.share_orders(events, now);
    }

    /// Once a second: asks every worker how it is. `lost`: log lines since the start.
    pub fn feel_pulses(&mut self, now: Now, lost: u64) {
        for (number, (worker, link)) in self.workers.iter().zip(&self.links).enumerate() {
            if matches!(worker, Worker::Stopped) {
                continue;
            }
            if link.to.len() < PULSES_WAITING_MAX && link.to.try_send(ToWorker::Pulse).is_ok() {
                link.wakeup.notify();
            }
            // One that has too much to read to be asked has to answer all the same.
            self.health.asked(number as u16, now.wall);
        }
        self.health.lines_lost(lost, now);
        self.health.watch_certificates(now.wall);
    }

    /// How the box is.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Takes note of what became of alerts, for `status`.
    pub fn note_alerts(&mut self, counts: AlertCounts) {
        self.alerts = counts;
    }

    /// Takes note of how the pair stands, for `status` and for who asks whether we are well.
    pub fn note_pair(&mut self, pair: PairStatus, now: Now) {
        self.health.pair(&pair, now.wall);
        self.pair = Some(pair);
    }

    /// Asks all workers. What is asked of the pair, about a domain or about reports is answered before it comes here, on a box that
    /// has a partner, routes by MX, or makes some.
    pub fn ask(&mut self, mut request: Request, answer: oneshot::Sender<Vec<Answer>>, now: Now, lost: u64) {
        if let Request::Queue(QueueCommand::List { limit, .. }) = &mut request {
            *limit = (*limit).clamp(1, QUEUE_LIST_MAX);
        }
        let mut told = Told::default();
        let question = match &request {
            Request::Status => Question::Status,
            Request::Orders(command) => {
                match self.orders.command(command.clone(), now) {
                    Ok(Done { orders, events }) => {
                        told.orders = orders;
                        self.share_orders(events, now);
                    }
                    Err(text) => {
                        // The client may have hung up.
                        let _ = answer.send(vec![Answer::Error { text }]);
                        return;
                    }
                }
                Question::Orders
            }
            Request::Queue(command) => Question::Queue(command.clone()),
            Request::Traffic { .. } => Question::Destinations { from: Walk::ALL, hosts: false },
            Request::Pair(_) | Request::Domain { .. } | Request::Reports(_) => {
                let text = match request {
                    Request::Pair(_) => "this box has no partner: its configuration has no [pair]",
                    Request::Reports(_) => "no TLS reports are made: the configuration has no [tls_reports]",
                    _ => "no route goes by MX here: the appliance was started with another configuration",
                };
                let text = text.to_owned();
                // The client may have hung up.
                let _ = answer.send(vec![Answer::Error { text }]);
                return;
            }
        };
        let token = self.token_next;
        self.token_next += 1;
        let (mut waiting, mut silent) = (Vec::new(), Vec::new());
        for (number, link) in self.links.iter().enumerate() {
            let number = number as u16;
            // Who has not heard of an order must not say that it is heeded.
            let is_late = matches!(question, Question::Orders) && self.orders_shared.is_owed_to(number);
            let letter = ToWorker::Request { token, question: question.clone() };
            if is_late || link.to.try_send(letter).is_err() {
                silent.push(number);
            } else {
                link.wakeup.notify();
                waiting.push(number);
            }
        }
        let deadline = now.mono + ADMIN_REPLY_TIMEOUT;
        self.pending.insert(token, Pending { request, waiting, silent, replies: Vec::new(), told, deadline, answer });
        self.finish(token, now, lost);
    }

    /// Takes note of what the process itself found out.
    pub fn note(&mut self, event: &Event, now: Now) {
        if let Event::Link(link) = event {
            self.about.link = Some(*link);
        }
        self.health.event(event, now.wall);
    }

    /// Takes a message; what belongs into the log comes back.
    pub fn take(&mut self, message: FromWorker, now: Now, lost: u64) -> Option<Event> {
        match message {
            FromWorker::Event(event) => {
                self.health.event(&event, now.wall);
                return Some(event);
            }
            FromWorker::Pulse(pulse) => self.health.pulse(pulse, now.wall),
            FromWorker::Reply { token, worker, reply } => {
                // An answer that comes after the deadline finds nobody who waits for it.
                let pending = self.pending.get_mut(&token).filter(|pending| pending.waiting.contains(&worker));
                if let Some(pending) = pending {
                    match pending.told.take(&pending.request, reply) {
                        Ok(Some(question)) => self.go_on(token, worker, question, now),
                        Ok(None) => pending.waiting.retain(|waiting| *waiting != worker),
                        Err(reply) => {
                            pending.waiting.retain(|waiting| *waiting != worker);
                            pending.replies.push(reply);
                        }
                    }
                    self.finish(token, now, lost);
                }
            }
            // Others take these before they come here.
            FromWorker::Pair(_)
            | FromWorker::PartnerTold(_)
            | FromWorker::Domain { .. }
            | FromWorker::Tls { .. }
            | FromWorker::Submitted { .. } => {}
            FromWorker::Stopped { worker } => self.worker_gone(worker),
            FromWorker::Failed { worker, text } => {
                self.worker_gone(worker);
                let event = Event::WorkerFailed { worker, text: text.clone() };
                self.health.event(&event, now.wall);
                self.failure.get_or_insert((worker, text));
                return Some(event);
            }
        }
        None
    }

    /// Asks a worker for the rest of what takes more than one of its breaths.
    fn go_on(&mut self, token: u64, worker: u16, question: Question, now: Now) {
        let Some(pending) = self.pending.get_mut(&token) else { return };
        pending.deadline = now.mono + ADMIN_REPLY_TIMEOUT;
        let link = &self.links[usize::from(worker)];
        if link.to.try_send(ToWorker::Request { token, question }).is_ok() {
            link.wakeup.notify();
        } else {
            pending.waiting.retain(|waiting| *waiting != worker);
            pending.silent.push(worker);
        }
    }

    fn worker_gone(&mut self, worker: u16) {
        if let Some(state) = self.workers.get_mut(usize::from(worker)) {
            *state = Worker::Stopped;
        }
        self.health.worker_gone(worker);
    }

    /// When [`Switchboard::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let answers = self.pending.values().map(|pending| pending.deadline);
        answers.chain(self.order_ends_at()).min()
    }

    /// Answers what has waited too long, and repeats what could not be sent.
    pub fn expire(&mut self, now: Now, lost: u64) {
        let due: Vec<u64> =
            self.pending.iter().filter(|(_, pending)| pending.deadline <= now.mono).map(|(token, _)| *token).collect();
        for token in due {
            if let Some(pending) = self.pending.get_mut(&token) {
                pending.silent.append(&mut pending.waiting);
            }
            self.finish(token, now, lost);
        }
        let over = self.orders.expire(now);
        self.share_orders(over, now);
        self.send_stops();
    }

    fn finish(&mut self, token: u64, now: Now, lost: u64) {
        if self.pending.get(&token).is_none_or(|pending| !pending.waiting.is_empty()) {
            return;
        }
        let Some(Pending { request, silent, replies, told, answer, .. }) = self.pending.remove(&token) else {
            return;
        };
        let answers = match request {
            Request::Status => {
                let workers = replies.into_iter().filter_map(|reply| match reply {
                    Reply::Status(status) => Some(*status),
                    Reply::Queue(_) | Reply::Destinations(_) | Reply::Orders(_) => None,
                });
                let process = Process {
                    about: self.about.clone(),
                    stopping: self.stopping.is_some(),
                    health: self.health.report(),
                    alerts: self.alerts,
                    pair: self.pair.clone(),
                    orders: self.orders.count() as u64,
                    log_lines_lost: lost,
                };
                let report = StatusReport::new(process, now.wall, workers.collect(), silent);
                vec![Answer::Status { status: Box::new(report) }]
            }
            Request::Queue(command) => {
                let replies = replies.into_iter().filter_map(|reply| match reply {
                    Reply::Queue(reply) => Some(reply),
                    Reply::Status(_) | Reply::Destinations(_) | Reply::Orders(_) => None,
                });
                combine(&command, replies.collect(), told, &silent)
            }
            Request::Orders(_) => match no_answer(&silent) {
                None => vec![Answer::Orders { orders: self.orders.reports(told.orders, &told.ordered, now) }],
                Some(text) => {
                    let kept = match told.orders {
                        Some(_) => "; what was said is kept, and holds there as soon as it answers",
                        None => "",
                    };
                    vec![Answer::Error { text: text + kept }]
                }
            },
            Request::Traffic { order, limit } => match no_answer(&silent) {
                Some(text) => vec![Answer::Error { text }],
                None => {
                    let (destinations, count) = told.destinations.traffic(order, limit.min(QUEUE_LIST_MAX));
                    vec![Answer::Traffic { destinations, count }]
                }
            },
            // Answered before.
            Request::Pair(_) | Request::Domain { .. } | Request::Reports(_) => Vec::new(),
        };
        // The client may have hung up.
        let _ = answer.send(answers);
    }

    /// Asks all workers to stop.
    pub fn stop(&mut self, finish_within: Duration) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(finish_within);
        self.health.drain();
        for worker in &mut self.workers {
            if matches!(worker, Worker::Running) {
                *worker = Worker::StopUnsent;
            }
        }
        self.send_stops();
    }

    fn send_stops(&mut self) {
        let Some(finish_within) = self.stopping else { return };
        for (worker, link) in self.workers.iter_mut().zip(&self.links) {
            if matches!(worker, Worker::StopUnsent) {
                match link.to.try_send(ToWorker::Stop { finish_within }) {
                    Ok(()) => *worker = Worker::Stopping,
                    Err(error) if error.is_full() => {}
                    // Its thread is gone, and its last words are on their way or were never said.
                    Err(_) => *worker = Worker::Stopped,
                }
                link.wakeup.notify();
            }
        }
    }

    /// A stop could not be sent yet.
    pub fn stop_unsent(&self) -> bool {
        self.workers.iter().any(|worker| matches!(worker, Worker::StopUnsent))
    }

    /// When the next standing order ends by itself.
    pub fn order_ends_at(&self) -> Option<Instant> {
        self.orders.next_deadline()
    }

    /// Standing orders could not be sent yet.
    pub fn orders_unsent(&self) -> bool {
        self.stopping.is_none() && self.orders_shared.is_owed()
    }

    /// The workers have been asked to stop.
    pub fn stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// The first worker that failed, and why.
    pub fn failure(&self) -> Option<(u16, &str)> {
        self.failure.as_ref().map(|(worker, text)| (*worker, text.as_str()))
    }

    /// Workers that have not stopped.
    pub fn running(&self) -> Vec<u16> {
        let numbers = self.workers.iter().enumerate();
        numbers.filter(|(_, worker)| !matches!(worker, Worker::Stopped)).map(|(number, _)| number as u16).collect()
    }
}

/// One answer of the workers' answers. Where a worker is silent nothing else would be the truth.
fn combine(command: &QueueCommand, replies: Vec<QueueReply>, told: Told, silent: &[u16]) -> Vec<Answer> {
    if let Some(text) = no_answer(silent) {
        let state = match command {
            QueueCommand::List { .. } | QueueCommand::Show { .. } | QueueCommand::Destinations { .. } => "",
            _ => "; what it holds may or may not have been changed",
        };
        return vec![Answer::Error { text: text + state }];
    }
    match command {
        QueueCommand::List { limit, .. } => merge(replies, *limit),
        QueueCommand::Show { id } => {
            let entry = replies.into_iter().find_map(|reply| match reply {
                QueueReply::Entry(entry) => entry,
                _ => None,
            });
            vec![match entry {
                Some(entry) => Answer::Entry { entry },
                None => Answer::Error { text: format!("{id} is not in the queue") },
            }]
        }
        QueueCommand::Destinations { limit, name, .. } => {
            let name = name.as_deref();
            let (destinations, count) = told.destinations.entries(name, (*limit).min(QUEUE_LIST_MAX));
            vec![match name {
                Some(name) if count == 0 => {
                    Answer::Error { text: format!("no mail waits for {name}, and none went there lately") }
                }
                _ => Answer::Destinations { destinations, count },
            }]
        }
        _ => vec![Answer::Changed { count: told.changed }],
    }
}

/// Says which workers did not answer, if there are any.
fn no_answer(silent: &[u16]) -> Option<String> {
    let names: Vec<String> = silent.iter().map(u16::to_string).collect();
    (!names.is_empty()).then(|| format!("no answer from worker {}", names.join(", ")))
}

/// The first entries of all workers. Each gave its own first ones; beyond where a worker that may have more has looked,
/// nothing may be shown, since entries of that worker would be missing in between.
fn merge(replies: Vec<QueueReply>, limit: usize) -> Vec<Answer> {
    let mut all: Vec<QueueEntry> = Vec::new();
    let mut shown_up_to = None;
    for reply in replies {
        let QueueReply::Entries { entries, next } = reply else { continue };
        if let Some(next) = next {
            shown_up_to = Some(shown_up_to.map_or(next, |bound: MessageId| bound.min(next)));
        }
        all.extend(entries);
    }
    all.sort_by_key(|entry| entry.id);
    if let Some(bound) = shown_up_to {
        all.retain(|entry| entry.id <= bound);
    }
    let next = if all.len() > limit { all.get(limit - 1).map(|entry| entry.id) } else { shown_up_to };
    all.truncate(limit);
    let count = all.len();
    let mut answers: Vec<Answer> = all.into_iter().map(|entry| Answer::Entry { entry: Box::new(entry) }).collect();
    answers.push(Answer::End { count, next });
    answers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::health::{Pulse, Reason};
    use crate::control::links::links;
    use crate::control::protocol::{MessageState, QueueSelection};
    use crate::control::status::tests::worker_status;
    use crate::env::WallTime;
    use crate::limits::TO_WORKER_MAX;
    use crate::smtp::Priority;

    fn entry(log: u16, number: u64) -> QueueEntry {
        QueueEntry {
            id: MessageId::new(log, number),
            received_at: WallTime::default(),
            sender: String::new(),
            recipients: Vec::new(),
            size_bytes: 0,
            priority: Priority::NORMAL,
            state: MessageState::Queued,
        }
    }

    /// Lists page by page from workers that give `page` entries at once, with `limit` asked of the socket.
    fn list(workers: &[Vec<QueueEntry>], page: usize, limit: usize) -> Vec<MessageId> {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let replies = workers.iter().map(|entries| {
                let rest: Vec<_> = entries.iter().filter(|entry| Some(entry.id) > after).cloned().collect();
                let next = rest.get(page).and(rest.get(page - 1)).map(|entry| entry.id);
                QueueReply::Entries { entries: rest.into_iter().take(page).collect(), next }
            });
            let mut answers = merge(replies.collect(), limit);
            let Some(Answer::End { count, next }) = answers.pop() else { panic!("an end") };
            assert_eq!(count, answers.len());
            assert!(count <= limit);
            for answer in answers {
                let Answer::Entry { entry } = answer else { panic!("an entry") };
                seen.push(entry.id);
            }
            match next {
                None => return seen,
                Some(_) => after = next,
            }
        }
    }

    #[test]
    fn a_list_in_pages_shows_every_message_once_and_in_order() {
        // Logs may be adopted, so that a worker's ids need not come before the next one's.
        let workers = [
            vec![entry(0, 1), entry(0, 2), entry(1, 5), entry(2, 9)],
            vec![entry(0, 7), entry(1, 1)],
            vec![],
            vec![entry(1, 2), entry(1, 3), entry(3, 1)],
        ];
        let mut expected: Vec<MessageId> = workers.iter().flatten().map(|entry| entry.id).collect();
        expected.sort();
        for page in 1..6 {
            for limit in 1..12 {
                assert_eq!(list(&workers, page, limit), expected, "page {page}, limit {limit}");
            }
        }
    }

    #[test]
    fn a_change_with_a_silent_worker_is_no_success() {
        let command = QueueCommand::Delete { selection: QueueSelection::Ids(vec![MessageId::new(0, 1)]) };
        let answers = combine(&command, Vec::new(), Told { changed: 1, ..Told::default() }, &[1]);
        let [Answer::Error { text }] = answers.as_slice() else { panic!("{answers:?}") };
        assert!(text.contains("worker 1"), "{text}");
        let told = Told { changed: 13, ..Told::default() };
        assert_eq!(combine(&command, Vec::new(), told, &[]), vec![Answer::Changed { count: 13 }]);
    }

    #[test]
    fn a_change_that_takes_a_worker_many_breaths_is_asked_for_until_it_is_done() {
        let (links, ends, _from) = links(2, 1024).unwrap();
        let mut switchboard = Switchboard::new(About::default(), links);
        let selection = QueueSelection::Filter(crate::control::QueueFilter::default());
        let (answer, mut answered) = oneshot::channel();
        switchboard.ask(Request::Queue(QueueCommand::Hold { selection }), answer, at(Instant::ZERO), 0);
        let mut hear = |worker: u16, time: Instant, next: Option<MessageId>| {
            let request = ends[usize::from(worker)].requests.try_recv();
            let Ok(ToWorker::Request { token, question: Question::Queue(QueueCommand::Hold { selection }) }) = request
            else {
                panic!("a request")
            };
            let QueueSelection::Filter(filter) = selection else { panic!("a filter") };
            let reply = Reply::Queue(QueueReply::Changed { count: 10, next });
            switchboard.expire(at(time), 0);
            switchboard.take(FromWorker::Reply { token, worker, reply }, at(time), 0);
            filter.after
        };
        let almost = ADMIN_REPLY_TIMEOUT - Duration::from_nanos(1);
        assert_eq!(hear(0, Instant::ZERO + almost, None), None);
        // As long as it goes on, a worker has its time again with every answer.
        let (mut time, mut after) = (Instant::ZERO + almost, None);
        for number in 1..20 {
            let next = Some(MessageId::new(1, number));
            assert_eq!(hear(1, time, next), after);
            (time, after) = (time + almost, next);
        }
        assert!(answered.try_recv().is_err(), "it is not done");
        assert_eq!(hear(1, time, None), after);
        assert_eq!(answered.try_recv().unwrap(), vec![Answer::Changed { count: 210 }]);
    }

    fn at(time: Instant) -> Now {
        Now { mono: time, wall: WallTime::default() }
    }

    #[test]
    fn a_worker_that_does_not_answer_in_time_is_named() {
        let (links, ends, _from) = links(3, 1024).unwrap();
        let mut switchboard = Switchboard::new(About::default(), links);
        // The channel of the last worker is full of what it has not taken.
        for token in 0..TO_WORKER_MAX as u64 {
            switchboard.links[2].to.try_send(ToWorker::Request { token, question: Question::Status }).unwrap();
        }
        let (status, mut status_answer) = oneshot::channel();
        switchboard.ask(Request::Status, status, at(Instant::ZERO), 7);
        let Ok(ToWorker::Request { token, .. }) = ends[0].requests.try_recv() else { panic!("a request") };
        let reply = Reply::Status(Box::new(worker_status(0)));
        switchboard.take(FromWorker::Reply { token, worker: 0, reply }, at(Instant::ZERO), 7);
        // An answer given twice is one answer.
        let reply = Reply::Status(Box::new(worker_status(0)));
        switchboard.take(FromWorker::Reply { token, worker: 0, reply }, at(Instant::ZERO), 7);

        let deadline = switchboard.next_deadline().unwrap();
        switchboard.expire(at(Instant::from_nanos(deadline.nanos() - 1)), 7);
        assert!(status_answer.try_recv().is_err(), "worker 1 has time left");
        switchboard.expire(at(deadline), 7);
        let answers = status_answer.try_recv().unwrap();
        let [Answer::Status { status }] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!(status.workers.iter().map(|worker| worker.worker).collect::<Vec<_>>(), [0]);
        assert_eq!(status.workers_silent, [2, 1]);
        assert_eq!(status.events_lost, 7);
        assert_eq!(switchboard.next_deadline(), None);
        // And one that comes late harms nothing.
        let reply = Reply::Status(Box::new(worker_status(1)));
        switchboard.take(FromWorker::Reply { token, worker: 1, reply }, at(deadline), 7);
    }

    #[test]
    fn a_worker_is_asked_for_its_pulse_and_silent_when_it_does_not_answer() {
        let (links, mut ends, from) = links(2, 1024).unwrap();
        let mut switchboard = Switchboard::new(About::default(), links);
        for second in 0..100 {
            switchboard.feel_pulses(at(Instant::ZERO + Duration::from_secs(second)), 0);
            assert!(ends[0].requests.try_iter().all(|message| matches!(message, ToWorker::Pulse)));
            ends[0].reporter.pulse(Pulse::default());
            while let Ok(message) = from.receiver.try_recv() {
                switchboard.take(message, at(Instant::ZERO), 0);
            }
        }
        // A worker that hangs has room for a stop all the same.
        assert_eq!(ends[1].requests.len(), PULSES_WAITING_MAX);
        let reasons: Vec<_> = switchboard.health().reasons().map(|reason| reason.to_string()).collect();
        assert!(reasons[0].starts_with("worker 1 does not answer"), "{reasons:?}");
        assert!(!switchboard.health().is_live());
        switchboard.stop(Duration::ZERO);
        assert!(!switchboard.stop_unsent());
        assert_eq!(switchboard.health().reasons().next(), Some(Reason::Draining));
    }

    #[test]
    fn a_stop_reaches_a_worker_whose_channel_was_full() {
        let (links, ends, _from) = links(1, 1024).unwrap();
        let mut switchboard = Switchboard::new(About::default(), links);
        for token in 0..TO_WORKER_MAX as u64 {
            switchboard.links[0].to.try_send(ToWorker::Request { token, question: Question::Status }).unwrap();
        }
        switchboard.stop(Duration::from_secs(9));
        assert!(switchboard.stop_unsent());
        assert!(ends[0].requests.try_recv().is_ok());
        switchboard.expire(at(Instant::ZERO), 0);
        assert!(!switchboard.stop_unsent());
        let last = ends[0].requests.try_iter().last();
        assert!(matches!(last, Some(ToWorker::Stop { finish_within }) if finish_within == Duration::from_secs(9)));
        assert_eq!(switchboard.running(), [0]);
        switchboard.take(FromWorker::Stopped { worker: 0 }, at(Instant::ZERO), 0);
        assert!(switchboard.running().is_empty());
    }
}
