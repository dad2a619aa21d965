//! How much may be under way: CUBIC (RFC 9438) with slow start (RFC 5681) and an initial window of ten (RFC 6928).
//!
//! Windows are bytes. What is lost and when is the sender's business; it tells what arrived and that something was lost.

use crate::env::Instant;
use crate::limits::INITIAL_WINDOW_SEGMENTS;
use std::mem::offset_of;
use std::time::Duration;

/// RFC 9438 §5: C, segments per cubic second.
const C: f64 = 0.4;
/// RFC 9438 §4.6: what is kept of the window at a loss or a mark.
const BETA: f64 = 0.7;
/// RFC 9438 §4.3: growth that is fair to Reno, segments a round trip.
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// The window and how it grows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cubic {
    /// cwnd, bytes.
    window: f64,
    /// ssthresh, bytes.
    threshold: f64,
    /// W_max, bytes: the window in which something was lost last.
    window_max: f64,
    /// cwnd_prior, bytes: the window when something was lost last, whatever W_max was made.
    prior: f64,
    /// W_est, bytes.
    estimate: f64,
    /// K, seconds.
    plateau: f64,
    /// When congestion avoidance began after the last loss.
    epoch: Option<Instant>,
    /// Window, threshold, W_max and cwnd_prior before the last loss, to be had back if it was none (RFC 4015).
    before: Option<(f64, f64, f64, f64)>,
}

impl Cubic {
    /// Every segment needs what lies before this.
    pub const NEEDED: usize = offset_of!(Cubic, window_max);

    pub fn new(segment_size: u32) -> Cubic {
        Cubic {
            window: initial_window(segment_size),
            threshold: f64::INFINITY,
            window_max: 0.0,
            prior: 0.0,
            estimate: 0.0,
            plateau: 0.0,
            epoch: None,
            before: None,
        }
    }

    /// Bytes that may be under way.
    pub fn window(&self) -> u32 {
        self.window as u32
    }

    /// What the window is to be after the loss that it shrinks for.
    pub fn threshold(&self) -> u32 {
        self.threshold.min(f64::from(u32::MAX)) as u32
    }

    /// cwnd, ssthresh and W_max, bytes.
    pub fn numbers(&self) -> (f64, f64, f64) {
        (self.window, self.threshold, self.window_max)
    }

    /// Goes on with another stack's numbers; false if they can be nobody's.
    pub fn resume(&mut self, (window, threshold, window_max): (f64, f64, f64), segment_size: u32) -> bool {
        let sane =
            window.is_finite() && window_max.is_finite() && window >= 0.0 && window_max >= 0.0 && threshold >= 0.0;
        self.prior = window_max;
        // What recovery had brought down to less than a segment begins with one.
        (self.window, self.threshold, self.window_max) = (window.max(f64::from(segment_size)), threshold, window_max);
        sane
    }

    pub fn in_slow_start(&self) -> bool {
        self.window < self.threshold
    }

    /// Takes a window that is made up elsewhere: by rate reduction in recovery.
    pub fn set_window(&mut self, window: u32) {
        self.window = f64::from(window);
    }

    /// `count` bytes arrived while the window was what held us back.
    pub fn grow(&mut self, count: u32, segment_size: u32, round_trip: Duration, now: Instant) {
        let count = f64::from(count);
        if self.in_slow_start() {
            // What is beyond the threshold is for the next acknowledgement: a rounding error.
            self.window = (self.window + count).min(self.threshold.max(self.window));
            return;
        }
        let size = f64::from(segment_size);
        let epoch = *self.epoch.get_or_insert_with(|| {
            self.estimate = self.window;
            if self.window_max <= self.window {
                (self.window_max, self.plateau) = (self.window, 0.0);
            } else {
                self.plateau = ((self.window_max - self.window) / size / C).cbrt();
            }
            now
        });
        let cubic = |time: f64| C * (time - self.plateau).powi(3) * size + self.window_max;
        let time = now.since(epoch).as_secs_f64();
        // §4.3: once it has caught up with the window of the loss, as fast as Reno itself.
        let alpha = if self.estimate >= self.prior { 1.0 } else { ALPHA };
        self.estimate += alpha * size * count / self.window;
        let target = cubic(time + round_trip.as_secs_f64()).clamp(self.window, 1.5 * self.window);
        if cubic(time) < self.estimate {
            self.window = self.window.max(self.estimate);
        } else {
            self.window += (target - self.window) / self.window * count;
        }
    }

    /// Something was lost: a window of `flight` bytes is too much. The window itself stays for recovery to bring down.
    pub fn reduce(&mut self, segment_size: u32) {
        self.before = Some((self.window, self.threshold, self.window_max, self.prior));
        self.prior = self.window;
        self.epoch = None;
        // §4.7, fast convergence: a window that did not reach the last one makes room for others.
        let shrinking = self.window < self.window_max;
        self.window_max = if shrinking { self.window * (1.0 + BETA) / 2.0 } else { self.window };
        self.threshold = (self.window * BETA).max(2.0 * f64::from(segment_size));
    }

    /// The same for a mark: nothing is to be recovered, and the window comes down at once (§4.6).
    pub fn settle(&mut self, segment_size: u32) {
        self.window = (self.window * BETA).max(f64::from(segment_size));
    }

    /// The timeout came: what is known of the path's room is void, and one segment begins anew.
    pub fn collapse(&mut self, segment_size: u32) {
        self.window = f64::from(segment_size);
        self.epoch = None;
    }

    /// What looked like a loss was none.
    pub fn undo(&mut self) {
        if let Some((window, threshold, window_max, prior)) = self.before.take() {
            self.window = self.window.max(window);
            (self.threshold, self.window_max, self.prior, self.epoch) = (threshold, window_max, prior, None);
        }
    }

    /// Nothing was sent for a while: the window is not known to be right any more (RFC 5681 §4.1).
    pub fn restart(&mut self, segment_size: u32) {
        self.window = self.window.min(initial_window(segment_size));
        self.epoch = None;
    }
}

fn initial_window(segment_size: u32) -> f64 {
    // RFC 6928 §2: fourteen kilobytes, or two segments if these are larger.
    let size = f64::from(segment_size);
    (f64::from(INITIAL_WINDOW_SEGMENTS) * size).min((2.0 * size).max(14_600.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 1460;
    const TRIP: Duration = Duration::from_millis(20);

    /// Round trips of full windows from `now` on.
    fn run(cubic: &mut Cubic, from: Instant, trips: u32) -> Instant {
        let mut now = from;
        for _ in 0..trips {
            now = now + TRIP;
            for _ in 0..cubic.window() / SIZE {
                cubic.grow(SIZE, SIZE, TRIP, now);
            }
        }
        now
    }

    #[test]
    fn slow_start_doubles() {
        let mut cubic = Cubic::new(SIZE);
        assert_eq!(cubic.window(), 14_600);
        run(&mut cubic, Instant::ZERO, 3);
        assert_eq!(cubic.window(), 8 * 14_600);
    }

    #[test]
    fn a_loss_takes_three_tenths_and_the_window_comes_back_after_k_seconds() {
        let mut cubic = Cubic::new(SIZE);
        cubic.set_window(100 * SIZE);
        cubic.reduce(SIZE);
        assert_eq!(cubic.threshold(), 70 * SIZE);
        cubic.set_window(cubic.threshold());
        // K = cbrt(30 / 0.4) = 4.2 s, 211 round trips. Reno would take 57 at ALPHA: the Reno-friendly region rules here.
        run(&mut cubic, Instant::ZERO, 60);
        assert!((95 * SIZE..110 * SIZE).contains(&cubic.window()), "{}", cubic.window() / SIZE);
    }

    #[test]
    fn on_a_long_path_the_cubic_region_is_faster_than_reno() {
        let (mut cubic, trip) = (Cubic::new(SIZE), Duration::from_millis(200));
        cubic.set_window(1000 * SIZE);
        cubic.reduce(SIZE);
        cubic.set_window(cubic.threshold());
        let mut now = Instant::ZERO;
        // K = cbrt(300 / 0.4) = 9.1 s.
        for _ in 0..46 {
            now = now + trip;
            for _ in 0..cubic.window() / SIZE {
                cubic.grow(SIZE, SIZE, trip, now);
            }
        }
        assert!((960 * SIZE..1040 * SIZE).contains(&cubic.window()), "{}", cubic.window() / SIZE);
    }

    #[test]
    fn room_made_for_others_does_not_end_the_reno_friendly_growth_early() {
        let mut cubic = Cubic::new(SIZE);
        cubic.set_window(100 * SIZE);
        cubic.reduce(SIZE);
        cubic.set_window(80 * SIZE);
        cubic.reduce(SIZE);
        cubic.set_window(cubic.threshold());
        // From 56, ALPHA a round trip: up to 80 (cwnd_prior), not only to 68 (W_max, by fast convergence).
        run(&mut cubic, Instant::ZERO, 30);
        assert!((71 * SIZE..73 * SIZE).contains(&cubic.window()), "{}", cubic.window() / SIZE);
    }

    #[test]
    fn undo_gives_the_window_back() {
        let mut cubic = Cubic::new(SIZE);
        cubic.set_window(50 * SIZE);
        let before = cubic;
        cubic.reduce(SIZE);
        cubic.collapse(SIZE);
        assert_eq!(cubic.window(), SIZE);
        cubic.undo();
        assert_eq!((cubic.window(), cubic.threshold()), (before.window(), before.threshold()));
    }
}
