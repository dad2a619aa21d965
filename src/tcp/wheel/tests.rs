use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const MILLI: Duration = Duration::from_millis(1);

fn all_expired(wheel: &mut Wheel<u16>, now: Instant) -> Vec<u16> {
    std::iter::from_fn(|| wheel.expired(now)).collect()
}

fn at(millis: u32) -> Instant {
    Instant::ZERO + MILLI * millis
}

#[test]
fn a_key_comes_when_its_deadline_is_over_and_never_before() {
    let mut wheel = Wheel::new();
    wheel.schedule(1, at(10));
    wheel.schedule(2, at(300_000));
    assert_eq!(wheel.expired(Instant::from_nanos(at(10).nanos() - 1)), None);
    assert_eq!(wheel.expired(at(10) + TICK), Some(1));
    assert_eq!(wheel.expired(at(299_999)), None);
    assert_eq!(wheel.expired(at(300_000) + TICK), Some(2));
    assert_eq!((wheel.next_deadline(), wheel.count()), (None, 0));
}

#[test]
fn a_moved_timer_goes_off_once_at_its_new_time() {
    let mut wheel = Wheel::new();
    wheel.schedule(1, at(10));
    wheel.schedule(1, at(50));
    assert_eq!(wheel.expired(at(20)), None);
    wheel.schedule(1, at(30));
    assert_eq!(all_expired(&mut wheel, at(60)), [1]);
    assert_eq!(wheel.count(), 0);
}

#[test]
fn a_cancelled_timer_never_goes_off() {
    let mut wheel = Wheel::new();
    wheel.schedule(1, at(10));
    wheel.schedule(2, at(10));
    assert!(wheel.cancel(1));
    assert!(!wheel.cancel(1));
    assert_eq!(all_expired(&mut wheel, at(60)), [2]);
}

#[test]
fn a_deadline_in_the_past_is_due_at_once() {
    let mut wheel = Wheel::new();
    assert_eq!(wheel.expired(at(1000)), None);
    wheel.schedule(1, at(10));
    wheel.schedule(2, Instant::ZERO);
    assert!(wheel.next_deadline().unwrap() <= at(1000));
    assert_eq!(all_expired(&mut wheel, at(1000)), [1, 2]);
}

#[test]
fn a_key_that_schedules_itself_again_while_keys_are_taken_comes_in_its_turn() {
    let mut wheel = Wheel::new();
    (1..=3).for_each(|key| wheel.schedule(key, at(10)));
    assert_eq!(wheel.expired(at(11)), Some(1));
    wheel.schedule(1, at(20));
    wheel.cancel(2);
    assert_eq!(all_expired(&mut wheel, at(11)), [3]);
    assert_eq!(all_expired(&mut wheel, at(21)), [1]);
}

#[test]
fn the_end_of_time_is_a_deadline_too() {
    let mut wheel = Wheel::new();
    wheel.schedule(1, Instant::FAR);
    assert_eq!(wheel.expired(at(u32::MAX)), None);
    assert!(wheel.next_deadline().is_some());
    assert_eq!(wheel.expired(Instant::FAR), Some(1));
}

#[test]
fn whoever_sleeps_until_the_next_deadline_wakes_a_few_times_and_is_never_late() {
    for millis in [1, 60, 1000, 60_000, 300_000, 86_400_000] {
        let mut wheel = Wheel::new();
        let mut now = at(12_345);
        assert_eq!(wheel.expired(now), None);
        let deadline = now + MILLI * millis;
        wheel.schedule(1, deadline);
        let mut wakes = 0;
        while let Some(next) = wheel.next_deadline() {
            assert!(next > now, "every wake is a step");
            now = next;
            wakes += 1;
            if wheel.expired(now).is_some() {
                assert!(now >= deadline);
                assert!(now.since(deadline) < TICK);
            }
        }
        assert!(wakes <= LEVELS);
    }
}

#[test]
fn places_are_used_again() {
    let mut wheel = Wheel::new();
    for round in 0..1000 {
        for key in 0..10 {
            wheel.schedule(key, at(round * 7 + u32::from(key)));
        }
        wheel.cancel(3);
        all_expired(&mut wheel, at(round * 7 + 20));
    }
    assert_eq!(wheel.timers.len(), 10);
}

/// Not a clock but the number of timers touched is what must not grow: with a hundred thousand far timers, a near one
/// comes without any of them being moved.
#[test]
fn far_timers_cost_near_ones_nothing() {
    let mut wheel: Wheel<u32> = Wheel::new();
    (0..100_000).for_each(|key| wheel.schedule(key, at(300_000 + key)));
    let lists: Vec<u16> = wheel.timers.iter().map(|timer| timer.list).collect();
    wheel.schedule(100_000, at(5));
    assert_eq!(wheel.expired(at(6)), Some(100_000));
    assert_eq!(wheel.expired(at(6)), None);
    assert!(wheel.timers.iter().zip(lists).all(|(timer, list)| timer.list == list));
}

/// What a wheel should do, said plainly.
#[derive(Default)]
struct Model {
    /// Tick by key.
    timers: BTreeMap<u16, u64>,
}

impl Model {
    fn expired(&mut self, now: Instant) -> Vec<u16> {
        let now = now.nanos() >> TICK_BITS;
        let mut due: Vec<(u64, u16)> =
            self.timers.iter().filter(|(_, tick)| **tick <= now).map(|(key, tick)| (*tick, *key)).collect();
        due.sort_unstable();
        self.timers.retain(|_, tick| *tick > now);
        due.into_iter().map(|(_, key)| key).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Schedule { key: u16, delay: u64 },
    ScheduleAtTick { key: u16, tick: u64 },
    Cancel { key: u16 },
    Advance { by: u64 },
    Sleep,
}

/// From nanoseconds to centuries, each magnitude as likely as the next.
fn magnitude() -> impl Strategy<Value = u64> {
    (0..63_u32, any::<u64>()).prop_map(|(bits, value)| value >> (63 - bits) >> 1)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..24_u16;
    let step = prop_oneof![
        4 => (key.clone(), magnitude()).prop_map(|(key, delay)| Step::Schedule { key, delay }),
        2 => (key.clone(), 0..200_u64).prop_map(|(key, tick)| Step::ScheduleAtTick { key, tick }),
        1 => key.prop_map(|key| Step::Cancel { key }),
        2 => magnitude().prop_map(|by| Step::Advance { by: by >> 8 }),
        2 => Just(Step::Sleep),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_wheel_is_a_sorted_map_of_deadlines(steps in steps()) {
        let mut wheel = Wheel::new();
        let mut model = Model::default();
        let mut now = Instant::ZERO;
        for step in steps {
            match step {
                Step::Schedule { key, delay } => {
                    let deadline = now + Duration::from_nanos(delay);
                    wheel.schedule(key, deadline);
                    model.timers.insert(key, deadline.nanos().div_ceil(1 << TICK_BITS).min(TICK_MAX));
                }
                Step::ScheduleAtTick { key, tick } => {
                    let tick = (now.nanos() >> TICK_BITS) + tick;
                    wheel.schedule(key, Instant::from_nanos(tick.min(TICK_MAX) << TICK_BITS));
                    model.timers.insert(key, tick.min(TICK_MAX));
                }
                Step::Cancel { key } => {
                    let had = model.timers.remove(&key).is_some();
                    prop_assert_eq!(wheel.cancel(key), had);
                }
                Step::Advance { by } => now = now + Duration::from_nanos(by),
                Step::Sleep => now = wheel.next_deadline().unwrap_or(now).max(now),
            }
            if let Step::Advance { .. } | Step::Sleep = step {
                // Within a tick, and among those that were over when they were set, the wheel keeps the order of
                // scheduling, which the model does not know.
                let mut came = Vec::new();
                let over = wheel.tick;
                while let Some(key) = wheel.expired(now) {
                    came.push((model.timers[&key], key));
                }
                prop_assert!(came.is_sorted_by_key(|(tick, _)| (*tick).max(over)));
                came.sort_unstable();
                let came: Vec<u16> = came.into_iter().map(|(_, key)| key).collect();
                prop_assert_eq!(came, model.expired(now));
            }
            prop_assert_eq!(wheel.count(), model.timers.len());
            prop_assert_eq!(wheel.next_deadline().is_some(), !model.timers.is_empty());
            if let (Some(next), Some(first)) = (wheel.next_deadline(), model.timers.values().min()) {
                prop_assert!(next <= Instant::from_nanos(first.saturating_mul(1 << TICK_BITS)).max(now));
            }
        }
    }
}
