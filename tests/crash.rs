//! Killed at any moment, the appliance loses nothing that it has acknowledged.

mod appliance;

use appliance::load::{self, Load, RETRY_SOON};
use appliance::receiver::Receiver;
use appliance::{APPLIANCE, Appliance, Lab, MX, RELAY, Setup};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

const KILLS: u32 = 20;
/// Messages that are to be acknowledged before each kill at least: a run that accepts nothing shows nothing.
const ACKNOWLEDGED_PER_LIFE_MIN: usize = 20;

#[test]
fn nothing_acknowledged_is_lost_in_20_kills_on_af_xdp() {
    survive("af_xdp", APPLIANCE);
}

#[test]
fn nothing_acknowledged_is_lost_in_20_kills_on_kernel_sockets() {
    survive("kernel", RELAY);
}

fn survive(transport: &str, address: &str) {
    let Some(lab) = Lab::up(1) else { return };
    let seed = load::seed();
    let mut random = StdRng::seed_from_u64(seed);
    let receiver =
        Receiver::start(&lab.namespace("mx"), format!("{MX}:25").parse().expect("an address"), load::message);
    let setup = Setup { transport, to: &format!("smtp://{MX}:25"), cores: "", more: RETRY_SOON };
    let mut appliance = Appliance::start(&lab, &setup);
    let mut load = Load::start(&lab, format!("{address}:25").parse().expect("an address"));
    for kill in 0..KILLS {
        load.run_for(ACKNOWLEDGED_PER_LIFE_MIN, Duration::from_micros(random.random_range(0..100_000)));
        appliance.kill();
        appliance.restart();
        println!("kill {}: {} acknowledged so far", kill + 1, load.acknowledged());
    }
    load.stop();
    appliance.wait_until_empty(Duration::from_secs(120));
    load.check(&receiver, seed, &format!("{transport}: {KILLS} kills"));
}
