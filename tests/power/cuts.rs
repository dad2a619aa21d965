//! The whole appliance, with its spool on a file system under which the power fails.
//!
//! At a random moment under load the device stops answering, the appliance is killed, and of what the device was told since
//! its last flush, writes are dropped and torn. The next life begins with what is left. No client can have been told
//! 250 for what was lost: after that moment nothing became durable any more.
//!
//! `ROHRPOST_CUTS=50` cuts the power more often; `SEED=7` is another load of dice.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::appliance::load::{self, Load, RETRY_SOON};
use super::appliance::receiver::Receiver;
use super::appliance::{Appliance, Lab, MX, RELAY, Setup};
use super::device::{Device, available, formatted, mount_privately};
use super::from_environment;
use super::journal::{Cutter, Unflushed};

/// Power losses when the environment does not say how many.
const CUTS_DEFAULT: u64 = 5;

/// Messages that are to be acknowledged before each at least.
const ACKNOWLEDGED_PER_LIFE_MIN: usize = 20;

/// Bytes of the device: four times what the spool may take of it.
const DEVICE_SIZE: u64 = 256 << 20;
const SPOOL: &str = "segment_size = \"4MiB\"\nsize_max = \"64MiB\"\nfree_min = \"0B\"";

#[test]
fn nothing_acknowledged_is_lost_when_the_power_fails_under_load() {
    if !available() {
        return;
    }
    let Some(lab) = Lab::up(1) else { return };
    mount_privately();
    let (seed, cuts) = (load::seed(), from_environment("ROHRPOST_CUTS", CUTS_DEFAULT));
    let mut random = StdRng::seed_from_u64(seed);
    let spool = lab.directory.path().join("spool");
    std::fs::create_dir(&spool).expect("our own folder");
    let mut device = Device::start(formatted(DEVICE_SIZE), &spool);
    let setup = Setup { transport: "kernel", to: &format!("smtp://{MX}:25"), cores: "", more: RETRY_SOON };
    let mut appliance = Appliance::start_with_spool(&lab, &setup, SPOOL);
    let mut load = Load::start(&lab, format!("{RELAY}:25").parse().expect("an address"));
    let receive = || {
        let address = format!("{MX}:25").parse().expect("an address");
        Receiver::start(&lab.namespace("mx"), address, load::message)
    };
    // At first nobody takes anything: all that was acknowledged has to outlive several losses in the queue.
    let (mut receiver, mut total) = (None, Unflushed::default());
    for cut in 1..=cuts {
        if cut > cuts / 2 {
            receiver.get_or_insert_with(receive);
        }
        load.run_for(ACKNOWLEDGED_PER_LIFE_MIN, Duration::from_micros(random.random_range(0..100_000)));
        let moment = if random.random_bool(0.3) { device.freeze() } else { device.freeze_when_told() };
        // For a while it works against a device that is silent, and must not acknowledge what that never wrote.
        load.run_for(0, Duration::from_micros(random.random_range(0..20_000)));
        appliance.strike();
        device.thaw();
        appliance.kill();

        let journal = device.journal(moment);
        let (image, unflushed) = Cutter::new(&journal, device.before()).cut(journal.count(), random.random());
        drop(device);
        device = Device::start(image, &spool);
        appliance.restart();
        let recovered = appliance.events("recovered");
        assert!(!recovered.is_empty(), "SEED={seed}: the log was replayed");
        let sound = recovered.iter().all(|event| event.get("damages").is_none() && event.get("damaged").is_none());
        assert!(sound, "SEED={seed} cut {cut}: {recovered:?}");
        println!("cut {cut}: {} acknowledged so far, unflushed writes: {unflushed}", load.acknowledged());
        total += unflushed;
    }
    load.stop();
    let receiver = receiver.get_or_insert_with(receive);
    appliance.wait_until_empty(Duration::from_secs(120));
    load.check(receiver, seed, &format!("{cuts} power losses, unflushed writes: {total}"));
}
