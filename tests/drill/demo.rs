//! `scripts/demo --pair`: one box is killed while mail comes in, told in plain words.

use crate::appliance::eventually;
use crate::appliance::pair::{Links, NODES, PATIENCE, Pair, server};
use crate::appliance::stream::Stream;
use rohrpost::control::PairStatus;
use rohrpost::mirror::register::{Mode, Node};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Sessions that begin in a second, for each identity.
const PER_SECOND: u32 = 100;

pub fn demo() -> ExitCode {
    let Some(mut pair) = Pair::up(Links::OwnPort) else { return ExitCode::FAILURE };
    println!(
        "Two boxes, a and b, with etcd beside them and a receiver behind them, each in a network namespace of its own:"
    );
    pair.create();
    tell(&pair, Node::A);

    println!("Mail comes in for both: {} sessions a second, a message each.", 2 * PER_SECOND);
    let streams = NODES.map(|identity| {
        Stream::start(&pair.lab.namespace("client"), &format!("demo-{identity}"), server(identity), PER_SECOND)
    });
    sleep(Duration::from_secs(3));
    let counts = streams.each_ref().map(Stream::acknowledged);
    println!("  {} to identity a and {} to identity b were answered with 250 in three seconds", counts[0], counts[1]);

    println!("\nNow box a is killed (SIGKILL), in the middle of it.");
    let killed = Instant::now();
    pair.of_mut(Node::A).kill();
    eventually("box b works for both", PATIENCE, || {
        let status = pair.status(Node::B);
        status.is_some_and(|status| status.identities.iter().all(|identity| identity.works))
    });
    println!("  {} ms later box b works for both identities:", killed.elapsed().as_millis());
    tell(&pair, Node::B);
    sleep(Duration::from_secs(3));

    println!("Box a is started again.");
    let started = Instant::now();
    pair.of_mut(Node::A).restart();
    pair.wait_until_mirrored();
    println!("  {:.1} s later both boxes have a copy of everything again:", started.elapsed().as_secs_f64());
    tell(&pair, Node::B);
    sleep(Duration::from_secs(2));

    let sums = streams.map(|stream| stream.finish(Duration::from_secs(3)));
    println!("No more mail is sent. The longest time between two 250s:");
    for (identity, sums) in NODES.into_iter().zip(&sums) {
        println!(
            "  identity {identity}: {} ms in the quiet before, {} ms when box a was killed",
            sums.gap_until(killed).as_millis(),
            sums.gap_from(killed).1.as_millis()
        );
    }
    let unanswered: usize = sums.iter().map(|sums| sums.in_doubt + sums.hanging.len()).sum();
    println!("  {unanswered} clients had sent a message to the box that died, and never heard what became of it");
    pair.wait_until_empty();
    count(&pair, sums.iter().flat_map(|sums| &sums.acknowledged))
}

/// Who works for what, as one of the boxes sees it.
fn tell(pair: &Pair, node: Node) {
    let PairStatus { identities, .. } = pair.status(node).expect("the box can be asked");
    for identity in identities {
        let (Some(owner), Some(mode)) = (identity.owner, identity.mode) else { continue };
        let copies = match mode {
            Mode::Mirrored => "every message is on both disks before its 250",
            Mode::Solo => "alone, until the other box is back",
        };
        println!(
            "  identity {} ({}): box {owner} works for it, {copies}",
            identity.identity,
            server(identity.identity)
        );
    }
    println!();
}

/// How often what was acknowledged has arrived.
fn count<'a>(pair: &Pair, acknowledged: impl Iterator<Item = &'a String>) -> ExitCode {
    let arrived = pair.receiver.arrived.lock().expect("the counts");
    let (mut all, mut once, mut more, mut lost) = (0, 0, 0, 0);
    for id in acknowledged {
        all += 1;
        match arrived.count.get(id) {
            None => lost += 1,
            Some(1) => once += 1,
            Some(_) => more += 1,
        }
    }
    let besides = arrived.count.len() as u64 - (once + more);
    println!(
        "\nOf {all} messages that were answered with 250, {once} have arrived once, {more} more than once, and {lost} never."
    );
    println!("{besides} more have arrived whose clients did not hear the 250.");
    if lost > 0 || !arrived.altered.is_empty() {
        println!("demo: mail was LOST, or altered ({})", arrived.altered.len());
        return ExitCode::FAILURE;
    }
    println!("All acknowledged mail was delivered.");
    ExitCode::SUCCESS
}
