//! How fast MAIL and RCPT are parsed.

use criterion::{Criterion, criterion_group, criterion_main};
use rohrpost::smtp::grammar::{self, Offer, Verb};
use std::hint::black_box;

fn commands(criterion: &mut Criterion) {
    let offer = Offer { extended: true, binarymime: false };
    let mut group = criterion.benchmark_group("commands");
    for (name, line) in [
        ("mail", "MAIL FROM:<someone@client.example.com>"),
        (
            "mail with parameters",
            "MAIL FROM:<someone@client.example.com> SIZE=10240 BODY=8BITMIME RET=HDRS ENVID=QQ314159",
        ),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let (verb, arguments) = Verb::split(black_box(line.as_bytes()));
                let arguments = std::str::from_utf8(arguments).expect("ASCII");
                (verb, grammar::mail(arguments, &offer).map(|mail| mail.reverse_path.len()))
            });
        });
    }
    let line = "RCPT TO:<someone.else@mx.example.org>";
    group.bench_function("rcpt", |bencher| {
        bencher.iter(|| {
            let (verb, arguments) = Verb::split(black_box(line.as_bytes()));
            let arguments = std::str::from_utf8(arguments).expect("ASCII");
            (verb, grammar::rcpt(arguments, &offer, false).map(|rcpt| rcpt.forward_path.len()))
        });
    });
    group.finish();
}

criterion_group!(benches, commands);
criterion_main!(benches);
