//! Clients that send as fast as they are answered and remember what was acknowledged.

use super::client::{Client, in_namespace};
use super::receiver::{ID_HEADER, Receiver};
use super::{Lab, eventually};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SESSIONS: u32 = 10;

/// A killed server says nothing: a client that waits for it gives up after this.
const PATIENCE: Duration = Duration::from_secs(2);

/// What makes what fails because of a kill be tried again soon; the default would wait a minute.
pub const RETRY_SOON: &str =
    "[retry]\nfirst = \"1s\"\nmax = \"2s\"\n[delivery]\nhost_backoff = \"1s\"\nhost_backoff_max = \"1s\"\n";

/// The message that belongs to an id: its size and its lines follow from it.
pub fn message(id: &str) -> String {
    let seed = id.bytes().fold(7u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut text = format!("From: <a@example.test>\r\n{ID_HEADER}{id}\r\nSubject: test\r\n\r\n");
    for line in 0..seed % 200 {
        text.push_str(&format!("line {line} of {id}: {:064x}\r\n", seed.wrapping_mul(line + 1)));
    }
    text
}

/// The seed that the environment names, or a fresh one; printed.
pub fn seed() -> u64 {
    let fresh = || {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("randomness");
        u64::from_le_bytes(bytes)
    };
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(fresh);
    println!("SEED={seed}");
    seed
}

/// Ten clients of one server.
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    acknowledged: Arc<Mutex<HashSet<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Sends from the client host of the lab until it is stopped.
    pub fn start(lab: &Lab, server: SocketAddr) -> Load {
        let (stop, sent, acknowledged) = (Arc::default(), Arc::default(), Arc::default());
        let mut load = Load { stop, sent, acknowledged, clients: Vec::new() };
        for session in 0..SESSIONS {
            let (stop, sent, acknowledged) = (load.stop.clone(), load.sent.clone(), load.acknowledged.clone());
            let client = in_namespace(&lab.namespace("client"), move || {
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
            });
            load.clients.push(client);
        }
        load
    }

    /// Messages acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.lock().expect("the ids").len()
    }

    /// Waits until `count` more messages are acknowledged, and then for `more`: a random moment, not a wait for
    /// anything.
    pub fn run_for(&self, count: usize, more: Duration) {
        let before = self.acknowledged();
        eventually("messages are acknowledged", Duration::from_secs(60), || self.acknowledged() >= before + count);
        let moment = Instant::now() + more;
        while Instant::now() < moment {
            std::thread::yield_now();
        }
    }

    /// Stops sending.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().expect("a client thread");
        }
    }

    /// Prints what became of what was sent, and panics unless all that was acknowledged has arrived as it was. `what`
    /// says what happened to the appliance.
    pub fn check(&self, receiver: &Receiver, seed: u64, what: &str) {
        let acknowledged = self.acknowledged.lock().expect("the ids");
        let arrived = receiver.arrived.lock().expect("the counts");
        let lost: Vec<_> = acknowledged.iter().filter(|id| !arrived.count.contains_key(*id)).collect();
        let duplicated = arrived.count.values().filter(|count| **count > 1).count();
        let unacknowledged = arrived.count.keys().filter(|id| !acknowledged.contains(*id)).count();
        println!(
            "{what}, {} sent, {} acknowledged, {} delivered, {duplicated} of them more than once, {unacknowledged} \
             delivered though the client never saw the 250, {} altered, {} lost",
            self.sent.load(Ordering::Relaxed),
            acknowledged.len(),
            arrived.count.len(),
            arrived.altered.len(),
            lost.len(),
        );
        assert!(lost.is_empty(), "SEED={seed}: acknowledged and lost: {lost:?}");
        assert!(arrived.altered.is_empty(), "SEED={seed}: altered: {:?}", arrived.altered);
    }
}
