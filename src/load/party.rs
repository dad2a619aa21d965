//! Turns the wheel for whoever has flows: a generator or a sink.
//!
//! In: a transport and a party. Out: breaths, until the party is over. Tests breathe in virtual time; [`drive`] does it on a
//! thread, and sleeps between breaths as long as nothing is due.

use crate::env::{Clock, Instant, Wakeup};
use crate::flow::{FlowEvent, Transport};
use crate::limits::LETTERS_PER_BREATH;
use crate::worker::{Exchange, Letter};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The longest sleep: how long a signal may go unnoticed.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// Nearer to a deadline than this, sleep would miss it: Linux wakes up to 50 us late, and waking takes its time.
const SLEEP_MARGIN: Duration = Duration::from_micros(100);

/// What is done while nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Look again at once: nothing wakes who waits for a port that can only be polled.
    Look,
    /// Sleep, and near to a deadline look again at once: on a core of its own.
    Stay,
    /// Sleep, and near to a deadline let others have the core.
    Yield,
}

/// Whoever has flows on a transport.
pub trait Party {
    /// Takes the events, and does all that can be done now.
    fn act<T: Transport>(&mut self, transport: &mut T, events: &mut Vec<FlowEvent>, now: Instant);

    /// When [`act`](Party::act) is due though nothing has happened.
    fn next_deadline(&self) -> Option<Instant>;

    /// Begins to come to an end.
    fn stop(&mut self, now: Instant);

    /// Has come to an end.
    fn is_over(&self) -> bool;
}

/// A party on its transport.
#[derive(Debug)]
pub struct Driver<T, P> {
    /// Carries its flows.
    pub transport: T,
    /// Has them.
    pub party: P,
    events: Vec<FlowEvent>,
}

impl<T: Transport, P: Party> Driver<T, P> {
    /// The two together.
    pub fn new(transport: T, party: P) -> Driver<T, P> {
        Driver { transport, party, events: Vec::new() }
    }

    /// One turn of the wheel; whether anything had happened.
    pub fn breath(&mut self, now: Instant) -> bool {
        self.transport.poll(now, &mut self.events);
        let busy = !self.events.is_empty();
        self.party.act(&mut self.transport, &mut self.events, now);
        self.events.clear();
        self.transport.flush(now);
        busy
    }

    /// When the next breath is due though nothing comes.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.transport.next_deadline().into_iter().chain(self.party.next_deadline()).min()
    }
}

/// Breathes until the party is over; `stop` makes it come to an end. `exchange` carries frames that came to the wrong queue.
pub fn drive<T: Transport, P: Party>(
    driver: &mut Driver<T, P>,
    clock: &impl Clock,
    mut exchange: Exchange,
    wakeup: &Wakeup,
    idle: Idle,
    stop: &AtomicBool,
) {
    let mut stopping = false;
    while !driver.party.is_over() {
        let now = clock.now().mono;
        if !stopping && stop.load(Ordering::Relaxed) {
            stopping = true;
            driver.party.stop(now);
        }
        for _ in 0..LETTERS_PER_BREATH {
            let Some(letter) = exchange.receive() else { break };
            match letter {
                Letter::Frame { port, frame } => driver.transport.inject(now, port, &frame),
                Letter::Outgoing { port, frame } => driver.transport.carry(port, &frame),
                _ => {}
            }
        }
        let busy = driver.breath(now);
        exchange.send_frames(&mut driver.transport);
        if busy || idle == Idle::Look || exchange.is_busy() {
            continue;
        }
        let now = clock.now().mono;
        let until_due = driver.party.next_deadline().map_or(SLEEP_MAX, |due| due.since(now));
        if until_due <= SLEEP_MARGIN {
            if idle == Idle::Yield {
                std::thread::yield_now();
            }
            continue;
        }
        let until_due = until_due - SLEEP_MARGIN;
        let timeout = driver.transport.next_deadline().map_or(SLEEP_MAX, |due| due.since(now));
        driver.transport.wait(timeout.min(until_due).min(SLEEP_MAX), &[wakeup.as_fd()]);
        wakeup.drain();
    }
}
