//! Sessions on a transport, when the schedule says so.
//!
//! In: flow events, due moments. Out: connections, bytes, figures. There is a fixed number of places for sessions. A message that is due takes a session that is ready, else a place for a new one, else it waits, and its latency
//! with it; so memory is bounded by the plan whatever the server does.

use super::failure::Failure;
use super::live::Live;
use super::party::Party;
use super::plan::{Plan, PlanError};
use super::report::Figures;
use super::schedule::Schedule;
use super::session::{Message, Session, Standing};
use crate::env::Instant;
use crate::flow::{FlowEvent, FlowId, Transport};
use crate::tcp::wheel::Wheel;
use crate::tls::{self, Line, Verification};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Connections that a worker opens at a time: as many as any server has in its backlog, so that what is measured is the
/// server and not the retransmission of SYNs that it had no room for.
const CONNECTING_MAX: usize = 100;

/// The pause before a place is used again whose connection could not be opened, or whose session ended badly.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// How long a run that is over waits for answers to what is on its way, beyond the time that each answer may take.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// From where to where.
#[derive(Debug)]
pub struct Route {
    /// Our addresses, used in turn; unspecified ones let the kernel choose.
    pub sources: Vec<IpAddr>,
    /// The server.
    pub target: SocketAddr,
    /// What connections are under from their first byte, if they are.
    pub tls: Option<tls::Client>,
}

impl Route {
    fn line(&mut self, flow: FlowId) -> Result<Line, Failure> {
        let layer = self.tls.as_mut().map(|tls| tls.connect(&self.target.ip().to_string(), &Verification::Nothing));
        Ok(Line::new(flow, layer.transpose().map_err(|_| Failure::Tls)?))
    }
}

/// A place for a session.
#[derive(Debug)]
struct Place {
    class: usize,
    line: Option<Line>,
    opened: Instant,
    /// The message that the connection was opened for.
    waiting: Option<Message>,
    session: Option<Session>,
    /// It waits in the line of its class that are ready.
    listed: bool,
    /// When the wheel comes to it.
    timer_at: Instant,
}

#[derive(Debug)]
struct ClassState {
    schedule: Schedule,
    /// Places whose session can be given a message, the one that waits longest first. Some may have ended since.
    ready: VecDeque<u32>,
    /// Places without a connection.
    vacant: Vec<u32>,
    figures: Figures,
    open: u64,
}

/// One worker's clients.
#[derive(Debug)]
pub struct Generator {
    plan: Arc<Plan>,
    route: Route,
    live: Arc<Live>,
    random: StdRng,
    classes: Vec<ClassState>,
    places: Vec<Place>,
    /// By the flow's place: whose it is.
    by_flow: Vec<u32>,
    timers: Wheel<u32>,
    connecting: usize,
    /// Messages begun or waiting for their connection.
    in_flight: usize,
    until: Instant,
    /// When all is given up that is not answered by then; set when nothing more is begun.
    give_up_at: Option<Instant>,
    published: [u64; 4],
    over: bool,
}

impl Generator {
    /// The clients of one of `workers`, which begins now.
    ///
    /// # Errors
    /// The plan cannot be carried out.
    pub fn new(
        plan: Arc<Plan>,
        worker: usize,
        workers: usize,
        route: Route,
        live: Arc<Live>,
        now: Instant,
    ) -> Result<Generator, PlanError> {
        let sessions = plan.sessions_of(worker, workers)?;
        let mut random = StdRng::seed_from_u64(plan.seed.wrapping_add(worker as u64));
        let until = plan.time.map_or(Instant::FAR, |time| now + time);
        let (mut classes, mut places) = (Vec::new(), Vec::new());
        for (class, count) in sessions.into_iter().enumerate() {
            let sends_until = if plan.classes[class].idles() || count == 0 { now } else { until };
            let first = places.len() as u32;
            places.extend((0..count).map(|_| Place {
                class,
                line: None,
                opened: Instant::ZERO,
                waiting: None,
                session: None,
                listed: false,
                timer_at: Instant::FAR,
            }));
            classes.push(ClassState {
                schedule: Schedule::new(plan.pace_of(class, count), now, sends_until, &mut random),
                ready: VecDeque::new(),
                vacant: (first..places.len() as u32).rev().collect(),
                figures: Figures::new(now + plan.warm_up),
                open: 0,
            });
        }
        Ok(Generator {
            plan,
            route,
            live,
            random,
            classes,
            places,
            by_flow: Vec::new(),
            timers: Wheel::new(),
            connecting: 0,
            in_flight: 0,
            until,
            give_up_at: None,
            published: [0; 4],
            over: false,
        })
    }

    /// What came of each class.
    pub fn figures(self) -> Vec<(String, Figures)> {
        let names = self.plan.classes.iter().map(|class| class.name.clone());
        names.zip(self.classes.into_iter().map(|class| class.figures)).collect()
    }

    fn place_of(&self, flow: FlowId) -> Option<u32> {
        let place = *self.by_flow.get(flow.index as usize)?;
        (self.places.get(place as usize)?.line.as_ref()?.flow() == flow).then_some(place)
    }

    fn event<T: Transport>(&mut self, transport: &mut T, event: FlowEvent, now: Instant) {
        match event {
            FlowEvent::Connected { flow } => {
                let Some(index) = self.place_of(flow) else { return };
                self.connecting -= 1;
                let place = &mut self.places[index as usize];
                let class = &mut self.classes[place.class];
                class.figures.connect.record(now.since(place.opened));
                class.figures.sessions += 1;
                class.open += 1;
                class.figures.sessions_max = class.figures.sessions_max.max(class.open);
                place.session = Some(Session::new(Arc::clone(&self.plan), place.class, place.opened, now));
                self.pump(transport, index, now);
            }
            FlowEvent::Readable { flow } | FlowEvent::Writable { flow } => {
                if let Some(index) = self.place_of(flow) {
                    self.pump(transport, index, now);
                }
            }
            FlowEvent::Ended { flow, end } => {
                if let Some(index) = self.place_of(flow) {
                    self.lost(index, end.into(), now);
                }
            }
            // Nobody listens here.
            FlowEvent::Accepted { flow, .. } => transport.abort(flow),
        }
    }

    /// Moves bytes both ways, and the session on.
    fn pump<T: Transport>(&mut self, transport: &mut T, index: u32, now: Instant) {
        let place = &mut self.places[index as usize];
        let figures = &mut self.classes[place.class].figures;
        let (Some(line), Some(session)) = (place.line.as_mut(), place.session.as_mut()) else { return };
        let was_sending = session.is_sending();
        let lost = loop {
            match line.received(transport) {
                Ok(received) if received.bytes.is_empty() => break received.finished.then_some(Failure::Closed),
                Ok(received) => {
                    let count = received.bytes.len();
                    session.receive(received.bytes, now, figures);
                    line.consume(transport, count);
                }
                Err(_) => break Some(Failure::Tls),
            }
        };
        if let Some(failure) = lost {
            session.lost(failure, figures);
        }
        if was_sending && !session.is_sending() {
            self.in_flight -= 1;
        }
        self.go_on(transport, index, now);
    }

    /// Gives a session what it waits for, and sees what it is good for then.
    fn go_on<T: Transport>(&mut self, transport: &mut T, index: u32, now: Instant) {
        let place = &mut self.places[index as usize];
        let class = &mut self.classes[place.class];
        let (Some(line), Some(session)) = (place.line.as_mut(), place.session.as_mut()) else { return };
        if session.standing() == Standing::Ready
            && let Some(message) = place.waiting.take()
        {
            session.begin(message, now, &mut class.figures);
            if !session.is_sending() {
                self.in_flight -= 1;
            }
        }
        if line.has_output() {
            line.send(transport, &[]);
        }
        session.transmit(now, &mut |bytes| line.send(transport, bytes));
        match session.standing() {
            Standing::Busy => {}
            Standing::Ready if !place.listed => {
                place.listed = true;
                class.ready.push_back(index);
            }
            Standing::Ready => {}
            Standing::Over => {
                if let Some(line) = place.line.take() {
                    line.close(transport);
                }
                return self.vacate(index, now);
            }
        }
        let deadline = session.deadline();
        if deadline < place.timer_at {
            place.timer_at = deadline;
            self.timers.schedule(index, deadline);
        }
    }

    /// The connection ended by itself.
    fn lost(&mut self, index: u32, failure: Failure, now: Instant) {
        let place = &mut self.places[index as usize];
        let figures = &mut self.classes[place.class].figures;
        match &mut place.session {
            Some(session) => {
                if session.is_sending() {
                    self.in_flight -= 1;
                }
                session.lost(failure, figures);
            }
            None => {
                self.connecting -= 1;
                figures.fail(failure);
            }
        }
        self.vacate(index, now);
    }

    /// A place has no connection any more.
    fn vacate(&mut self, index: u32, now: Instant) {
        let place = &mut self.places[index as usize];
        let class = &mut self.classes[place.class];
        class.open -= u64::from(place.session.is_some());
        let in_order = place.session.take().is_some_and(|session| session.has_left());
        place.line = None;
        place.listed = false;
        if let Some(message) = place.waiting.take() {
            self.in_flight -= 1;
            class.figures.failed += u64::from(message.intended >= class.figures.from);
        }
        if in_order {
            self.timers.cancel(index);
            place.timer_at = Instant::FAR;
            class.vacant.push(index);
        } else {
            place.timer_at = now + RECONNECT_PAUSE;
            self.timers.schedule(index, place.timer_at);
        }
    }

    fn run_timers<T: Transport>(&mut self, transport: &mut T, now: Instant) {
        while let Some(index) = self.timers.expired(now) {
            let place = &mut self.places[index as usize];
            place.timer_at = Instant::FAR;
            let class = &mut self.classes[place.class];
            match &mut place.session {
                None if place.line.is_none() => class.vacant.push(index),
                None => {}
                Some(session) => {
                    let was_sending = session.is_sending();
                    session.expired(now, &mut class.figures);
                    if was_sending && !session.is_sending() {
                        self.in_flight -= 1;
                    }
                    self.go_on(transport, index, now);
                }
            }
        }
    }

    /// Begins all messages that are due, as far as there are sessions or places for them.
    fn begin_due<T: Transport>(&mut self, transport: &mut T, now: Instant) {
        for class in 0..self.classes.len() {
            if self.plan.classes[class].idles() {
                while now < self.until && self.connecting < CONNECTING_MAX {
                    let Some(index) = self.classes[class].vacant.pop() else { break };
                    self.open(transport, index, None, now);
                }
                continue;
            }
            while let Some(intended) = self.classes[class].schedule.due(now).filter(|_| !self.live.is_spent()) {
                let Some(free) = self.free(class) else { break };
                let Some(number) = self.live.take() else { break };
                let size = self.plan.classes[class].size.draw(&mut self.random);
                self.classes[class].schedule.advance(&mut self.random);
                let message = Message { number, size, intended };
                self.in_flight += 1;
                match free {
                    Free::Session(index) => {
                        self.places[index as usize].waiting = Some(message);
                        self.go_on(transport, index, now);
                    }
                    Free::Place(index) => self.open(transport, index, Some(message), now),
                }
            }
        }
    }

    /// A session that is ready, else a place for a new one.
    fn free(&mut self, class: usize) -> Option<Free> {
        let state = &mut self.classes[class];
        while let Some(index) = state.ready.pop_front() {
            let place = &mut self.places[index as usize];
            // A place that ended and came back since stands further behind in the line.
            if std::mem::take(&mut place.listed)
                && place.session.as_ref().is_some_and(|session| session.standing() == Standing::Ready)
            {
                return Some(Free::Session(index));
            }
        }
        if self.connecting >= CONNECTING_MAX {
            return None;
        }
        state.vacant.pop().map(Free::Place)
    }

    fn open<T: Transport>(&mut self, transport: &mut T, index: u32, waiting: Option<Message>, now: Instant) {
        let place = &mut self.places[index as usize];
        place.opened = now;
        place.waiting = waiting;
        let target = self.route.target;
        let mut sources = self.route.sources.iter().filter(|source| source.is_ipv4() == target.is_ipv4()).cycle();
        let source = sources.nth(index as usize % self.route.sources.len().max(1));
        let unspecified = if target.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let flow = transport.connect(now, source.copied().unwrap_or(unspecified), target);
        match flow.map_err(Failure::from).and_then(|flow| Ok((flow, self.route.line(flow)?))) {
            Ok((flow, line)) => {
                place.line = Some(line);
                self.connecting += 1;
                let needed = flow.index as usize + 1;
                if self.by_flow.len() < needed {
                    self.by_flow.resize(needed, u32::MAX);
                }
                self.by_flow[flow.index as usize] = index;
            }
            Err(error) => {
                self.classes[place.class].figures.fail(error);
                self.vacate(index, now);
            }
        }
    }

    /// Ends the run when all is done.
    fn wind_up<T: Transport>(&mut self, transport: &mut T, now: Instant) {
        if now >= self.until || self.live.is_spent() {
            let sends = |class: usize| !self.plan.classes[class].idles();
            let due =
                (0..self.classes.len()).any(|class| sends(class) && self.classes[class].schedule.due(now).is_some());
            let give_up_at = *self.give_up_at.get_or_insert(now + self.plan.timeout + DRAIN_MAX);
            let waits = self.in_flight > 0 || (due && !self.live.is_spent());
            if waits && now < give_up_at {
                return;
            }
            self.end_all(transport, now);
        }
    }

    /// Takes leave of all servers, and gives up what is still on its way.
    fn end_all<T: Transport>(&mut self, transport: &mut T, now: Instant) {
        let spent = self.live.is_spent();
        for (class, state) in self.plan.classes.iter().zip(&mut self.classes) {
            if !class.idles() && !spent {
                state.figures.unsent += state.schedule.drain(now, &mut self.random);
            }
            state.schedule.end(Instant::ZERO);
        }
        for index in 0..self.places.len() as u32 {
            let place = &mut self.places[index as usize];
            let Some(flow) = place.line.as_ref().map(Line::flow) else { continue };
            match &mut place.session {
                Some(session) if session.standing() == Standing::Ready => {
                    session.leave(now);
                    self.go_on(transport, index, now);
                }
                Some(session) if session.is_leaving() => {}
                session => {
                    let sends = session.as_ref().is_some_and(Session::is_sending) || place.waiting.is_some();
                    transport.abort(flow);
                    if sends {
                        self.lost(index, Failure::Unfinished, now);
                    } else {
                        // It was between two messages, or never meant to send one.
                        self.connecting -= usize::from(session.is_none());
                        self.vacate(index, now);
                    }
                }
            }
        }
        self.over = self.places.iter().all(|place| place.line.is_none());
    }

    /// Shows what has been done since the last time.
    fn publish(&mut self) {
        let sum = |of: fn(&ClassState) -> u64| self.classes.iter().map(of).sum::<u64>();
        let now = [
            sum(|class| class.figures.accepted),
            sum(|class| class.figures.bytes),
            sum(|class| class.figures.failed),
            sum(|class| class.open),
        ];
        let live = [&self.live.accepted, &self.live.bytes, &self.live.failed, &self.live.open];
        for ((shown, now), before) in live.into_iter().zip(now).zip(&mut self.published) {
            // Wrapping: the last one may get smaller.
            shown.fetch_add(now.wrapping_sub(*before), Ordering::Relaxed);
            *before = now;
        }
    }
}

enum Free {
    Session(u32),
    Place(u32),
}

impl Party for Generator {
    fn act<T: Transport>(&mut self, transport: &mut T, events: &mut Vec<FlowEvent>, now: Instant) {
        for event in events.drain(..) {
            self.event(transport, event, now);
        }
        self.run_timers(transport, now);
        self.begin_due(transport, now);
        self.wind_up(transport, now);
        self.publish();
    }

    fn next_deadline(&self) -> Option<Instant> {
        let mut due = self.timers.next_deadline().into_iter().chain(self.give_up_at).min().unwrap_or(Instant::FAR);
        if self.give_up_at.is_none() {
            due = due.min(self.until);
        }
        for state in &self.classes {
            // What is due already waits for a session, not for time.
            let possible = !state.ready.is_empty() || !state.vacant.is_empty();
            let next = state.schedule.next_deadline().filter(|_| possible && !self.live.is_spent());
            due = due.min(next.unwrap_or(Instant::FAR));
        }
        Some(due)
    }

    fn stop(&mut self, now: Instant) {
        self.until = self.until.min(now);
        for class in &mut self.classes {
            class.schedule.end(now);
        }
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
