//! Crash images of the shipped log on a real file system.
//!
//! A life is lived with the log on ext4 on a test device. Its journal is cut at moments from its first request to its
//! last; of what was not flushed then, each write landed, or did not, or was torn. Each image is mounted, the log opened,
//! and what is found must be the queue exactly as it was after some call, not earlier than after the last one that was
//! known to be durable at that moment, and every byte of it must be right. Some images live on and are cut again.
//!
//! `ROHRPOST_IMAGES=500 cargo test --release --test power -- --nocapture` is the campaign; `SEED=7` begins it at another
//! seed than 0. When the disk is done with something is not in the seed's hand: an image in which something is lost is
//! kept as a file.

use std::path::{Path, PathBuf};
use std::time::Instant as Stopwatch;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rohrpost::env::disk::Engine;

use super::device::{Device, available, formatted, mount_privately};
use super::from_environment;
use super::history::History;
use super::journal::{Cutter, Image, Journal, Unflushed};
use super::life::{Ground, Life, settings};

/// Images that are looked at when the environment does not say how many.
const IMAGES_DEFAULT: u64 = 50;

/// Images of one life, of those images that live on, and how often one does.
const IMAGES_PER_LIFE: usize = 12;
const IMAGES_PER_SECOND_LIFE: usize = 2;
const LIVES_ON: f64 = 0.2;

/// How often the process ends in a life before the power does.
const CRASHES: f64 = 0.5;

/// How often a life ends in order.
const SHUTDOWNS: f64 = 0.2;

/// Bytes of the device: ext4, its journal, and the largest log.
const DEVICE_SIZE: u64 = 32 << 20;

#[derive(Default)]
struct Tally {
    images: u64,
    again: u64,
    lives: u64,
    acknowledged: usize,
    promised: usize,
    batches: u64,
    moved: u64,
    requests: usize,
    flushes: usize,
    unflushed: Unflushed,
    /// Images in which two writes or more had not been flushed.
    several: u64,
    losses: Vec<String>,
    engines: Vec<String>,
}

/// How the lives from one seed are lived.
struct Campaign {
    ground: Ground,
    seed: u64,
    random: StdRng,
}

impl Campaign {
    fn open(&mut self, image: Image, before: &History, moment: u64) -> Result<Life, String> {
        let device = Device::start(image, &self.ground.mounted);
        Life::begin(device, self.ground.clone(), before, moment, self.random.random())
    }

    /// Cuts what was a life at `count` moments, and looks at each.
    fn cut(&mut self, ended: (History, Device), count: usize, first: bool, tally: &mut Tally) {
        let (history, device) = ended;
        let (journal, before) = (device.journal(device.moment()), device.before());
        drop(device);
        tally.lives += 1;
        tally.requests += journal.count();
        tally.flushes += journal.flushes();
        tally.acknowledged += history.acknowledged(u64::MAX);
        let mut cuts: Vec<usize> = (0..count).map(|_| self.place_for_a_cut(&journal)).collect();
        cuts.sort_unstable();
        let mut cutter = Cutter::new(&journal, before);
        for cut in cuts {
            let (fate, moment) = (self.random.random(), journal.moment(cut));
            let (image, unflushed) = cutter.cut(cut, fate);
            tally.images += 1;
            tally.again += u64::from(!first);
            tally.promised += history.acknowledged(moment);
            tally.unflushed += unflushed;
            tally.several += u64::from(unflushed.count() > 1);
            if let Err(loss) = self.look(image.clone(), &history, moment, first, tally) {
                let kept = keep(&image, self.seed, fate);
                let place = format!("cut {cut} of {}, unflushed writes: {unflushed}", journal.count());
                let seed = self.seed;
                tally.losses.push(format!("SEED={seed} {place}, image kept as {}: {loss}", kept.display()));
            }
        }
    }

    /// Anywhere, but rather where more can be lost: most writes of the log are flushed at once.
    fn place_for_a_cut(&mut self, journal: &Journal) -> usize {
        let candidates: Vec<usize> = (0..4).map(|_| self.random.random_range(0..=journal.count())).collect();
        if self.random.random_bool(0.3) {
            return candidates[0];
        }
        candidates.into_iter().max_by_key(|cut| journal.unflushed(*cut)).expect("four")
    }

    fn look(
        &mut self,
        image: Image,
        before: &History,
        moment: u64,
        first: bool,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let mut life = self.open(image, before, moment)?;
        life.read_all()?;
        if first && self.random.random_bool(LIVES_ON) {
            life.go_on(self.random.random_range(5..60));
            self.cut(life.lose_power(), IMAGES_PER_SECOND_LIFE, false, tally);
            return Ok(());
        }
        life.accept_again()
    }
}

fn keep(image: &Image, seed: u64, fate: u64) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("power-{seed}-{fate:016x}.ext4"));
    image.save(&path).expect("space for an image");
    path
}

#[test]
fn no_power_loss_takes_what_was_acknowledged_or_brings_back_what_was_done() {
    if !available() {
        return;
    }
    mount_privately();
    let (wanted, first) = (from_environment("ROHRPOST_IMAGES", IMAGES_DEFAULT), from_environment("SEED", 0));
    let start = Stopwatch::now();
    let place = tempfile::tempdir().expect("a temporary folder");
    let (new, mut tally, mut seed) = (formatted(DEVICE_SIZE), Tally::default(), first);
    while tally.images < wanted && tally.losses.len() < 10 {
        println!("SEED={seed}");
        let engine = if seed % 2 == 0 { Engine::Best } else { Engine::Threads };
        let ground = Ground { mounted: place.path().to_owned(), engine, settings: settings(seed % 4 < 2) };
        let mut campaign = Campaign { ground, seed, random: StdRng::seed_from_u64(seed) };
        let mut life = campaign.open(new.clone(), &History::default(), 0).expect("a new log opens");
        let engine = life.status().disk;
        if !tally.engines.contains(&engine) {
            tally.engines.push(engine);
        }
        life.go_on(campaign.random.random_range(100..600));
        if campaign.random.random_bool(CRASHES) {
            life = life.crash().expect("a crash without a power loss takes nothing");
            life.go_on(campaign.random.random_range(5..300));
        }
        if campaign.random.random_bool(SHUTDOWNS) {
            life.shut_down();
        }
        tally.batches += life.status().batches;
        tally.moved += life.status().moved;
        campaign.cut(life.lose_power(), IMAGES_PER_LIFE, true, &mut tally);
        seed += 1;
    }
    tally.losses.iter().for_each(|loss| println!("{loss}"));
    println!(
        "power: {} images ({} of images) of {} lives on {}, seeds {first} to {}: {} messages acknowledged, {} times one \
         was promised at a cut, {} batches, {} messages moved, {} requests of which {} flushes, unflushed writes: {}, in {} images more than one, {} lost, {:.1} s",
        tally.images,
        tally.again,
        tally.lives,
        tally.engines.join(" and "),
        seed - 1,
        tally.acknowledged,
        tally.promised,
        tally.batches,
        tally.moved,
        tally.requests,
        tally.flushes,
        tally.unflushed,
        tally.several,
        tally.losses.len(),
        start.elapsed().as_secs_f64()
    );
    assert!(tally.losses.is_empty(), "{:#?}", tally.losses);
    assert!(tally.promised > 0, "something was acknowledged before a cut");
    assert!(tally.several > 0 || wanted < IMAGES_DEFAULT, "writes were under way at a cut");
}
