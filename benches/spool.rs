//! Group commit: messages of 2 KB from twenty sessions, each waiting for its own acknowledgement, on the file system of
//! the target directory.

mod common;

use common::log_settings;
use std::collections::VecDeque;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rohrpost::env::disk::RealDisk;
use rohrpost::env::{Clock, SystemClock};
use rohrpost::smtp::{Envelope, Recipient};
use rohrpost::spool::{Draft, Log, LogEvent, Outcome};

const SESSIONS: usize = 20;
const MESSAGES: u64 = 2000;

fn envelope() -> Envelope {
    Envelope {
        reverse_path: "sender@example.net".into(),
        recipients: vec![Recipient { address: "recipient@example.org".into(), notify: None, original: None }],
        ..Envelope::default()
    }
}

/// Commits `count` messages, `SESSIONS` at a time, and settles each when it is durable.
fn commit(log: &mut Log<RealDisk>, clock: SystemClock, content: &[u8], count: u64) {
    let (mut begun, mut durable) = (0, 0);
    let (mut events, mut pushed_back) = (Vec::new(), Vec::new());
    let mut free = SESSIONS;
    let mut settle: VecDeque<Draft> = VecDeque::new();
    while durable < count {
        let now = clock.now();
        while free > 0 && begun < count {
            let Ok(draft) = log.begin() else { break };
            let mut taken = log.content(draft, content);
            while taken < content.len() {
                // The end of a segment: the batch goes out and the next one takes the rest.
                log.poll(clock.now(), &mut pushed_back);
                taken += log.content(draft, &content[taken..]);
            }
            events.append(&mut pushed_back);
            log.finish(draft, envelope(), now);
            free -= 1;
            begun += 1;
        }
        while let Some(draft) = settle.pop_front() {
            log.settle(draft.id, 0, Outcome::Delivered { reply: "250 2.0.0 ok".into() });
        }
        log.poll(now, &mut events);
        for event in events.drain(..) {
            match event {
                LogEvent::Durable { draft } => {
                    free += 1;
                    durable += 1;
                    settle.push_back(draft);
                }
                LogEvent::Failed { .. } | LogEvent::Closed { .. } => panic!("the disk failed"),
                _ => {}
            }
        }
    }
    for draft in settle {
        log.settle(draft.id, 0, Outcome::Delivered { reply: "250 2.0.0 ok".into() });
    }
}

fn bench(criterion: &mut Criterion) {
    let directory = Path::new(option_env!("CARGO_TARGET_TMPDIR").unwrap_or("target")).join("bench-spool");
    let _ = std::fs::remove_dir_all(&directory);
    let clock = SystemClock::new();
    let disk = RealDisk::open(&directory).expect("the directory can be used");
    let (mut log, _) = Log::open(disk, log_settings(16), clock.now()).expect("a new log opens");
    let mut group = criterion.benchmark_group("spool");
    group.sample_size(10);
    group.throughput(Throughput::Elements(MESSAGES));
    for size in [2048, 10_240] {
        let content = vec![b'x'; size];
        group.bench_function(format!("commit {MESSAGES} messages of {size} bytes, {SESSIONS} at a time"), |bencher| {
            bencher.iter(|| commit(black_box(&mut log), clock, &content, MESSAGES));
        });
    }
    group.finish();
    let status = log.status();
    let latency = |quantile| status.commit_latency.value_at_quantile(quantile) / 1000;
    println!(
        "{}: {} batches of {} bytes, commit p50 {} µs, p99 {} µs",
        status.disk,
        status.batches,
        status.batch_bytes / status.batches.max(1),
        latency(0.5),
        latency(0.99)
    );
    drop(log);
    let _ = std::fs::remove_dir_all(&directory);
}

criterion_group!(benches, bench);
criterion_main!(benches);
