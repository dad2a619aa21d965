//! How fast content is scanned, on its way in and on its way out: typical lines, lines that all begin with a dot, and one
//! endless line.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rohrpost::env::Instant;
use rohrpost::smtp::client::{Protocol, Session, Settings, Task, Timeouts, Transaction, TransactionRecipient};
use rohrpost::smtp::content::{Framing, LineRule, Scanner, Step};
use std::hint::black_box;
use std::sync::Arc;

/// What the flow takes in one go, bytes: a send buffer that has room for half of itself.
const ROOM: usize = 16 * 1024;

fn scan(input: &[u8]) -> usize {
    let mut scanner = Scanner::new(Framing::Dots, LineRule::Reject);
    let (mut rest, mut appended) = (input, 0);
    while !rest.is_empty() {
        let consumed = match scanner.step(rest) {
            Step::Append(run) => {
                appended += run.len();
                run.len()
            }
            Step::Replace { consumed, with } => {
                appended += with.len();
                consumed
            }
            Step::Fault { consumed, .. } => consumed,
            Step::End { .. } => break,
        };
        rest = &rest[consumed..];
    }
    appended
}

/// A client session whose server waits for the content.
fn session() -> Session {
    let now = Instant::ZERO;
    let settings = Settings { ehlo_name: "us.example".into(), protocol: Protocol::Smtp, timeouts: Timeouts::default() };
    let recipient = TransactionRecipient { address: "to@them.example".into(), ..TransactionRecipient::default() };
    let transaction = Transaction { recipients: vec![recipient], ..Transaction::default() };
    let mut session = Session::new(Arc::new(settings), now);
    let mut task = Some(Task::Deliver(transaction));
    for reply in ["220 them\r\n", "250 them\r\n", "250 sender\r\n", "250 recipient\r\n", "354 go on\r\n"] {
        session.receive(now, reply.as_bytes());
        while session.poll_event().is_some() {}
        if session.ready()
            && let Some(task) = task.take()
        {
            session.start(now, task);
        }
        session.sent(now, session.output().len());
    }
    assert!(session.wants_content());
    session
}

/// Sends content as a connection does: piece by piece, as much as the flow takes at a time.
fn send(session: &mut Session, input: &[u8]) -> usize {
    let (mut rest, mut sent) = (input, 0);
    while !rest.is_empty() {
        let mut room = ROOM;
        let taken = session.content(Instant::ZERO, rest, false, &mut |bytes| {
            let count = bytes.len().min(room);
            room -= count;
            sent += count;
            count
        });
        rest = &rest[taken..];
    }
    sent
}

fn content(criterion: &mut Criterion) {
    let line = format!("{}\r\n", "x".repeat(76));
    let inputs = [
        ("lines of 76", line.repeat(1000)),
        ("dotted lines of 76", format!(".{line}").repeat(1000)),
        ("one line", "x".repeat(78_000)),
    ];
    let mut group = criterion.benchmark_group("content");
    for (name, input) in &inputs {
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(*name, |bencher| bencher.iter(|| scan(black_box(input.as_bytes()))));
    }
    group.finish();
    let mut group = criterion.benchmark_group("content out");
    for (name, input) in &inputs {
        let mut session = session();
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(*name, |bencher| bencher.iter(|| send(&mut session, black_box(input.as_bytes()))));
    }
    group.finish();
}

criterion_group!(benches, content);
criterion_main!(benches);
