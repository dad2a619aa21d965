//! How long each station takes, in time of this thread's own: what else runs on the machine makes that no longer, or not
//! much.

use crate::STATIONS;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput};
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Times every station; criterion's own arguments choose among them and say how thoroughly.
pub fn all() {
    let mut criterion = Criterion::default().with_measurement(ThreadTime).configure_from_args();
    for station in STATIONS.iter().copied().flatten() {
        let mut group = criterion.benchmark_group(station.folder);
        group.throughput(match station.bytes {
            0 => Throughput::Elements(station.units),
            bytes => Throughput::Bytes(bytes),
        });
        let mut step = None;
        group.bench_function(station.name, |bencher| bencher.iter(step.get_or_insert_with(|| (station.make)())));
        group.finish();
    }
    criterion.final_summary();
}

/// The time that the processor gave to this thread.
struct ThreadTime;

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock").into()
    }

    fn end(&self, started: Duration) -> Duration {
        self.start() - started
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}
