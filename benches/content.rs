//! How fast content is scanned: typical lines, lines that all begin with a dot, and one endless line.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rohrpost::smtp::content::{Framing, LineRule, Scanner, Step};
use std::hint::black_box;

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
}

criterion_group!(benches, content);
criterion_main!(benches);
