//! Killed at any moment, the appliance loses nothing that it has acknowledged.

mod appliance;

use appliance::client::{Client, in_namespace};
use appliance::receiver::{ID_HEADER, Receiver};
use appliance::{APPLIANCE, Appliance, Lab, MX, RELAY, Setup, eventually};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const KILLS: u32 = 20;
const SESSIONS: u32 = 10;
/// Messages that are to be acknowledged before each kill at least: a run that accepts nothing shows nothing.
const ACKNOWLEDGED_PER_LIFE_MIN: u64 = 20;

/// A killed server says nothing: a client that waits for it gives up after this.
const PATIENCE: Duration = Duration::from_secs(2);

/// The message that belongs to an id: its size and its lines follow from it.
fn message(id: &str) -> String {
    let seed = id.bytes().fold(7u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut text = format!("From: <a@example.test>\r\n{ID_HEADER}{id}\r\nSubject: test\r\n\r\n");
    for line in 0..seed % 200 {
        text.push_str(&format!("line {line} of {id}: {:064x}\r\n", seed.wrapping_mul(line + 1)));
    }
    text
}

#[test]
fn nothing_acknowledged_is_lost_in_20_kills_on_af_xdp() {
    survive("af_xdp", APPLIANCE);
}

#[test]
fn nothing_acknowledged_is_lost_in_20_kills_on_kernel_sockets() {
    survive("kernel", RELAY);
}

fn fresh_seed() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("randomness");
    u64::from_le_bytes(bytes)
}

fn survive(transport: &str, address: &str) {
    let Some(lab) = Lab::up(1) else { return };
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(fresh_seed);
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let receiver = Receiver::start(&lab.namespace("mx"), format!("{MX}:25").parse().expect("an address"), message);
    // What fails because of a kill is tried again soon; the default would wait a minute.
    let more = "[retry]\nfirst = \"1s\"\nmax = \"2s\"\n[delivery]\nhost_backoff = \"1s\"\nhost_backoff_max = \"1s\"\n";
    let setup = Setup { transport, to: &format!("smtp://{MX}:25"), cores: "", more };
    let mut appliance = Appliance::start(&lab, &setup);

    let server: SocketAddr = format!("{address}:25").parse().expect("an address");
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let acknowledged = Arc::new(Mutex::new(HashSet::new()));
    let clients: Vec<_> = (0..SESSIONS)
        .map(|session| {
            let (stop, sent, acknowledged) = (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&acknowledged));
            in_namespace(&lab.namespace("client"), move || {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    // Without a server there is nobody to wait for but time.
                    let Ok(mut client) = Client::connect_for(server, PATIENCE) else { continue };
                    if client.command("EHLO client.example.test").is_err() {
                        continue;
                    }
                    while !stop.load(Ordering::Relaxed) {
                        let id = format!("{session}-{number}");
                        number += 1;
                        sent.fetch_add(1, Ordering::Relaxed);
                        match client.deliver("a@example.test", "b@example.test", &message(&id)) {
                            Ok(true) => assert!(acknowledged.lock().expect("the ids").insert(id)),
                            Ok(false) => {}
                            Err(_) => break,
                        }
                    }
                }
            })
        })
        .collect();

    for kill in 0..KILLS {
        let before = acknowledged.lock().expect("the ids").len() as u64;
        eventually("messages are acknowledged", Duration::from_secs(60), || {
            acknowledged.lock().expect("the ids").len() as u64 >= before + ACKNOWLEDGED_PER_LIFE_MIN
        });
        // A random moment, not a wait for anything.
        let moment = Instant::now() + Duration::from_micros(random.random_range(0..100_000));
        while Instant::now() < moment {
            std::thread::yield_now();
        }
        appliance.kill();
        appliance.restart();
        println!("kill {}: {} acknowledged so far", kill + 1, acknowledged.lock().expect("the ids").len());
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client thread");
    }
    appliance.wait_until_empty(Duration::from_secs(120));

    let acknowledged = acknowledged.lock().expect("the ids");
    let arrived = receiver.arrived.lock().expect("the counts");
    let lost: Vec<_> = acknowledged.iter().filter(|id| !arrived.count.contains_key(*id)).collect();
    let duplicated = arrived.count.values().filter(|count| **count > 1).count();
    let unacknowledged = arrived.count.keys().filter(|id| !acknowledged.contains(*id)).count();
    println!(
        "{transport}: {} kills, {} sent, {} acknowledged, {} delivered, {duplicated} of them more than once, \
         {unacknowledged} delivered though the client never saw the 250, {} altered, {} lost",
        KILLS,
        sent.load(Ordering::Relaxed),
        acknowledged.len(),
        arrived.count.len(),
        arrived.altered.len(),
        lost.len(),
    );
    assert!(lost.is_empty(), "SEED={seed}: acknowledged and lost: {lost:?}");
    assert!(arrived.altered.is_empty(), "SEED={seed}: altered: {:?}", arrived.altered);
}
