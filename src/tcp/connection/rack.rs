//! What is lost: by the time that passed since something sent later arrived (RACK, RFC 8985 §6).

use super::flight::{Fate, Flight, Sent};
use super::sequence::Sequence;
use crate::env::Instant;
use std::time::Duration;

/// RFC 8985 §6.2.4: recoveries after which a widened window is narrow again.
const WIDE_RECOVERIES: u8 = 16;

/// Segments that arrived beyond a hole after which it is one (RFC 5681 §3.2).
const DUPLICATES_MAX: u32 = 3;

/// Which copy of a segment that was sent more than once has arrived, as far as its acknowledgement tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    Unknown,
    /// Perhaps one from before the last repetition.
    PerhapsEarlier,
    /// One from before the last repetition.
    Earlier,
}

/// The newest segment that is known to have arrived, and how much the path mixes up.
#[derive(Clone, Copy, Debug)]
pub struct Rack {
    sent_at: Instant,
    end: Sequence,
    round_trip: Duration,
    /// The farthest that has arrived.
    farthest: Sequence,
    /// Something arrived behind what was sent after it.
    pub reordering: bool,
    /// The reordering window, in quarters of the least round trip.
    quarters: u8,
    wide_for: u8,
    /// Duplicates reported before this has arrived widen the window no more.
    widened_until: Option<Sequence>,
}

impl Rack {
    pub fn new(initial: Sequence) -> Rack {
        Rack {
            sent_at: Instant::ZERO,
            end: initial,
            round_trip: Duration::ZERO,
            farthest: initial,
            reordering: false,
            quarters: 1,
            wide_for: 0,
            widened_until: None,
        }
    }

    /// It is news that this segment has arrived.
    pub fn arrived(&mut self, sent: &Sent, arrival: Arrival, now: Instant, least: Duration) {
        let round_trip = now.since(sent.at);
        // Step 2: an answer faster than light answers the copy before.
        if !sent.repeated || !(arrival != Arrival::Unknown || round_trip < least) {
            let newer = sent.at > self.sent_at || sent.at == self.sent_at && sent.end.is_beyond(self.end);
            if newer {
                (self.sent_at, self.end, self.round_trip) = (sent.at, sent.end, round_trip);
            }
        }
        // Step 3. A repetition is no proof, unless it turns out to have been in vain.
        if sent.end.is_beyond(self.farthest) {
            self.farthest = sent.end;
        } else if sent.end.is_before(self.farthest) && (!sent.repeated || arrival == Arrival::Earlier) {
            self.reordering = true;
        }
    }

    /// The peer got something twice: we were too quick to give it up (§6.2.4).
    pub fn duplicate(&mut self, base: Sequence, next: Sequence) {
        if self.widened_until.is_none_or(|until| !base.is_before(until)) {
            self.widened_until = Some(next);
            self.quarters = self.quarters.saturating_add(1);
            self.wide_for = WIDE_RECOVERIES;
        }
    }

    /// A recovery is over.
    pub fn recovered(&mut self) {
        self.wide_for = self.wide_for.saturating_sub(1);
        if self.wide_for == 0 {
            self.quarters = 1;
        }
    }

    fn reordering_window(&self, recovering: bool, arrived: u32, least: Duration, smoothed: Duration) -> Duration {
        if !self.reordering && (recovering || arrived >= DUPLICATES_MAX) {
            return Duration::ZERO;
        }
        (least / 4 * u32::from(self.quarters)).min(smoothed)
    }

    /// Gives up what should have arrived by now (step 5). Says how many bytes that is, and when to look again.
    pub fn detect(
        &self,
        flight: &mut Flight,
        now: Instant,
        recovering: bool,
        least: Duration,
        smoothed: Duration,
    ) -> (u32, Option<Instant>) {
        let patience = self.round_trip + self.reordering_window(recovering, flight.arrived_count(), least, smoothed);
        let mut again = None;
        let lost = flight.give_up(|sent| {
            let earlier = sent.at < self.sent_at || sent.at == self.sent_at && sent.end.is_before(self.end);
            if !earlier {
                return false;
            }
            let deadline = sent.at + patience;
            if deadline <= now {
                return true;
            }
            again = again.max(Some(deadline));
            false
        });
        (lost, again)
    }
}

/// Whether anything flies that was sent before something that has arrived; if not, there is nothing to detect.
pub fn is_in_doubt(flight: &Flight, recovering: bool) -> bool {
    flight.arrived() > 0 || recovering || flight.first().is_some_and(|sent| sent.repeated && sent.fate == Fate::Flying)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::connection::sequence::Stretch;

    const TRIP: Duration = Duration::from_millis(20);

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    fn flight(count: u32) -> Flight {
        let mut flight = Flight::new(Sequence(0));
        (1..=count).for_each(|number| flight.push(Sequence(number * 100), at(u64::from(number))));
        flight
    }

    fn select(rack: &mut Rack, flight: &mut Flight, begin: u32, end: u32, now: Instant) {
        let stretch = Stretch { begin: Sequence(begin), end: Sequence(end) };
        flight.select(stretch, |sent| rack.arrived(sent, Arrival::Unknown, now, TRIP));
    }

    #[test]
    fn a_hole_waits_for_a_quarter_of_the_round_trip() {
        let (mut rack, mut flight) = (Rack::new(Sequence(0)), flight(3));
        select(&mut rack, &mut flight, 100, 200, at(22));
        let (lost, again) = rack.detect(&mut flight, at(22), false, TRIP, TRIP);
        // Sent at 1, round trip 20, a quarter of it 5.
        assert_eq!((lost, again), (0, Some(at(26))));
        let (lost, again) = rack.detect(&mut flight, at(26), false, TRIP, TRIP);
        assert_eq!((lost, again), (100, None));
    }

    #[test]
    fn three_that_arrived_beyond_it_are_enough() {
        let (mut rack, mut flight) = (Rack::new(Sequence(0)), flight(5));
        select(&mut rack, &mut flight, 100, 400, at(24));
        assert_eq!(rack.detect(&mut flight, at(24), false, TRIP, TRIP), (100, None));
    }

    #[test]
    fn a_path_that_mixes_up_gets_more_patience() {
        let (mut rack, mut flight) = (Rack::new(Sequence(0)), flight(6));
        select(&mut rack, &mut flight, 100, 400, at(24));
        select(&mut rack, &mut flight, 0, 100, at(24));
        assert!(rack.reordering);
        let mut flight = self::flight(9);
        flight.acknowledge(Sequence(400), |_| {});
        select(&mut rack, &mut flight, 500, 900, at(29));
        let (lost, again) = rack.detect(&mut flight, at(29), false, TRIP, TRIP);
        assert_eq!((lost, again), (0, Some(at(30))));
        rack.duplicate(Sequence(0), Sequence(900));
        let (lost, again) = rack.detect(&mut flight, at(30), false, TRIP, TRIP);
        assert_eq!((lost, again), (0, Some(at(35))));
    }

    #[test]
    fn a_repetition_that_is_lost_too_is_noticed() {
        let (mut rack, mut flight) = (Rack::new(Sequence(0)), flight(5));
        select(&mut rack, &mut flight, 100, 400, at(24));
        rack.detect(&mut flight, at(24), false, TRIP, TRIP);
        flight.repeat(0, 100, at(24));
        // Number 5 was sent before the repetition: its arrival says nothing.
        select(&mut rack, &mut flight, 400, 500, at(26));
        assert_eq!(rack.detect(&mut flight, at(26), true, TRIP, TRIP).0, 0);
        flight.push(Sequence(600), at(30));
        select(&mut rack, &mut flight, 500, 600, at(50));
        assert_eq!(rack.detect(&mut flight, at(50), true, TRIP, TRIP).0, 100);
    }
}
