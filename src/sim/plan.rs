//! What a seed means: the appliance, its load, and all that will go wrong.

use super::attacker::Attack;
use super::fault::{Exchange, Fault, Say, Side, Tampering, Way, Whose, reached};
use super::ledger::Promise;
use super::mail::DOMAINS;
use super::names;
use super::node::Linger;
use super::proof::Demand;
use super::receiver::Manner;
use crate::env::disk::Lie;
use crate::limits::SEGMENTS_MIN;
use crate::mirror::arbiter::{Cause, Command, Stage};
use crate::port::sim::{Link, Steering};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Next hops: `d0` to `d3`, an LMTP server, a second choice for `d1`, and the home of all senders.
pub(super) const HOPS: usize = 7;
/// The place of the LMTP server.
pub(super) const LMTP: usize = 4;
/// The place of the senders' home.
pub(super) const HOME: usize = 6;

/// Workers of an appliance; their logs share what the spool may take.
pub(super) const WORKERS_MAX: u64 = 3;

/// The same of a box of a pair, where starts bring different numbers: as many logs has each identity then.
pub(super) const WORKERS_OF_PAIRS_MAX: u16 = 3;

/// Kinds of faults that a world may have; each seed has some of them, so that their combinations are met, too.
const KINDS: usize = 20;

/// In a burst all sessions begin within this time.
pub(super) const BURST_DURATION: Duration = Duration::from_secs(2);

/// Of a hundred worlds, in so many logs go round all the time, and power is lost as they do.
const SMALL_PERCENT: u32 = 15;

/// Of a hundred worlds, in so many messages get too old while next hops defer them.
const HASTY_PERCENT: u32 = 15;

/// What was added later is drawn from a stream of its own. It is one in which the worlds that had shown a bug by then, and
/// are kept in `tests/sim.rs`, stay what they were.
const LATER_STREAM: u64 = 0x2_cd71 << 32;

/// The same for worlds with a pair.
const LATER_STREAM_OF_PAIRS: u64 = 0x7_a11e << 32;

/// The same for what goes wrong with disks, stores and releases of a pair.
const TRIALS_STREAM: u64 = 0x9_d15c << 32;

/// Of a hundred worlds with a pair, so many see some of it, and so many others a disk that is exchanged.
const TRIALS_PERCENT: u32 = 45;
const EXCHANGED_PERCENT: u32 = 8;

/// The same for what arbiters meet where they seldom are.
const ENCOUNTERS_STREAM: u64 = 0xc_e0c0 << 32;

/// Of a hundred worlds with a pair, in so many they do.
const ENCOUNTERS_PERCENT: u32 = 40;

/// What they meet there. Some of it is what an identity that lingers hears in the end.
const ENCOUNTERED: [Cause; 9] = [
    Cause::Missing,
    Cause::Lost,
    Cause::Silent,
    Cause::Done,
    Cause::StorageFailed,
    Cause::Room,
    Cause::Port,
    Cause::Solo,
    Cause::Rejoin,
];

/// Where an owner is as it finds or loses its partner.
const STAGES_OF_OWNERS: [Stage; 8] = [
    Stage::CatchingUp,
    Stage::Requiring,
    Stage::Pairing,
    Stage::Draining,
    Stage::Stopping,
    Stage::Leaving,
    Stage::Deciding,
    Stage::Levelling,
];

/// Where a box is as an epoch begins for it, as it ends, and where it does nothing.
const STAGES_AT_THE_BEGINNING: [Stage; 2] = [Stage::Entering, Stage::Adopting];
const STAGES_AT_THE_END: [Stage; 2] = [Stage::Proposing, Stage::SteppingDown];
const STAGES_IDLE: [Stage; 3] = [Stage::Waits, Stage::Closed, Stage::Barred];

/// The same for mail that goes by MX.
const NAMES_STREAM: u64 = 0x3_d490 << 32;

/// Of a hundred worlds, in so many it does.
const NAMES_PERCENT: u32 = 40;

/// The same for what receivers bear, and what the appliance is told to spare them.
const BEARING_STREAM: u64 = 0x5_0cc3 << 32;

/// Of a hundred worlds, in so many some of them bear little.
const BEARING_PERCENT: u32 = 40;

/// The same for where mail leaves from.
const POOLS_STREAM: u64 = 0x6_900f << 32;

/// Of a hundred worlds, in so many it leaves from pools.
const POOLS_PERCENT: u32 = 30;

/// The same for mail that is more urgent or less.
const PRIORITIES_STREAM: u64 = 0xb_6f8c << 32;

/// Of a hundred worlds, in so many clients say how urgent their mail is.
const PRIORITIES_PERCENT: u32 = 40;

/// The same for standing orders of the operator.
const ORDERS_STREAM: u64 = 0x4_5e7d << 32;

/// In worlds whose seeds leave one of these when they are divided by eleven there are some. Those that are kept leave others.
const ORDERS_RESIDUES: [u64; 4] = [1, 3, 6, 7];

/// The same for whether their links have a network of their own.
const LINK_STREAM: u64 = 0x7_11c0 << 32;

/// Of a hundred worlds with a pair, so many have one.
const OWN_LINK_PERCENT: u32 = 40;

/// The same for whether each start of a box of theirs brings another number of workers, up to as many as there are logs.
const REGROUPS_STREAM_OF_PAIRS: u64 = 0xd_10c5 << 32;

/// Of a hundred worlds with a pair, in so many it does.
const REGROUPS_PERCENT: u32 = 20;

/// Which worlds with a pair have the manual arbiter, and how many of a hundred do.
const MANUAL_STREAM_OF_PAIRS: u64 = 0x0_4a1d << 32;
const MANUAL_PERCENT: u32 = 15;

/// Of a hundred worlds with a pair, in so many a box dies with a delivery that it knows nothing of.
const DOUBT_PERCENT: u32 = 40;

/// Of a hundred worlds, so many have a medium that does not keep what it promised.
const ROTTEN_PERCENT: u32 = 8;

/// What the appliance may ask of the next hop of a domain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shaping {
    pub domain: usize,
    /// The section names the domain, and not the address of its next hop.
    pub by_domain: bool,
    pub connections_max: u32,
    pub message_rate: &'static str,
}

/// All that a seed decides before its world begins.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub promise: Promise,
    /// There are two boxes, each the other's partner.
    pub pair: bool,
    /// Their links have a network of their own.
    pub own_link: bool,
    /// They have no store.
    pub manual: bool,
    pub workers: u16,
    pub steering: Steering,
    /// Queues of the card; as many as there are workers, where none are said.
    pub queues: Option<u16>,
    /// Nanoseconds.
    pub disk_latency: RangeInclusive<u64>,
    pub load_duration: Duration,
    pub sessions: u32,
    /// Bytes of a segment, and how many all logs together may have.
    pub segment_size: u64,
    pub segments: u64,
    /// Bytes of a batch at most.
    pub batch_size: u64,
    /// Bytes of the file system that are left free.
    pub free_min: u64,
    pub retry_first: Duration,
    pub retry_max: Duration,
    pub age_max: Duration,
    /// All sessions begin at once, nearly.
    pub burst: bool,
    /// Connections that the appliance takes, and handshakes under way.
    pub connections: usize,
    pub half_open: usize,
    /// `d0.test` asks its next hop who exists.
    pub checks: bool,
    /// Mail goes by MX: that of all domains whose next hops speak SMTP, and are not asked who exists.
    pub by_mx: bool,
    /// What is demanded of TLS with the next hops of each domain.
    pub demands: [Demand; DOMAINS],
    /// REQUIRETLS is offered to clients, and by all next hops under TLS or only by some.
    pub requiretls: Option<bool>,
    /// Limits of the appliance's own for some next hops.
    pub shaping: Vec<Shaping>,
    /// Mail leaves from pools of own addresses.
    pub pools: bool,
    /// It leaves next hops alone that are too busy.
    pub reacts: bool,
    /// Clients say how urgent their mail is, and so does the appliance to next hops.
    pub priorities: bool,
    /// A start brings another number of workers than the one before it.
    pub regroups: bool,
    /// When everything is put right the process goes on, and nothing is scheduled anew, unless its storage failed.
    pub heals_in_place: bool,
    /// The box of a pair to which everything comes, since its disk is not what it was: the other one's is.
    pub victim: Option<usize>,
    /// The store tells the boxes of a pair when a register has changed.
    pub watched: bool,
    pub faults: Vec<(Duration, Fault)>,
    /// The same, with the box that it happens to.
    pub aimed: Vec<(Duration, Fault, usize)>,
}

impl Plan {
    pub(super) fn new(seed: u64, random: &mut StdRng) -> Plan {
        let rotten = random.random_range(0..100) < ROTTEN_PERCENT;
        let load_duration = seconds(random, 120..=2400);
        let segment_size = (64 * 1024) << random.random_range(1..=4);
        let mut plan = Plan {
            promise: if rotten { Promise::Detected } else { Promise::Kept },
            pair: false,
            own_link: false,
            manual: false,
            workers: *pick(random, &[1, 1, 1, 2, 2, 3]),
            steering: *pick(random, &[Steering::Flow, Steering::Flow, Steering::Queue(0)]),
            queues: None,
            disk_latency: pick(random, &[20_000..=200_000, 100_000..=3_000_000, 1_000_000..=40_000_000]).clone(),
            load_duration,
            sessions: if random.random_bool(0.03) { 300 } else { random.random_range(10..=60) },
            segment_size,
            segments: random.random_range(8..=24) * WORKERS_MAX,
            batch_size: segment_size / 2,
            free_min: 0,
            retry_first: seconds(random, 10..=120),
            retry_max: seconds(random, 300..=1800),
            age_max: seconds(random, 3600..=20_000),
            burst: random.random_bool(0.2),
            connections: *pick(random, &[4, 16, 1000, 1000]),
            half_open: *pick(random, &[8, 64, 1000]),
            checks: random.random_bool(0.3),
            by_mx: false,
            demands: Default::default(),
            requiretls: None,
            shaping: Vec::new(),
            pools: StdRng::seed_from_u64(seed ^ POOLS_STREAM).random_range(0..100) < POOLS_PERCENT,
            reacts: false,
            priorities: StdRng::seed_from_u64(seed ^ PRIORITIES_STREAM).random_range(0..100) < PRIORITIES_PERCENT,
            regroups: random.random_bool(0.3),
            heals_in_place: false,
            victim: None,
            watched: false,
            faults: Vec::new(),
            aimed: Vec::new(),
        };
        for kind in 0..KINDS {
            if random.random_bool(0.35) {
                for _ in 0..random.random_range(1..=3) {
                    // A burst is over soon: much of what goes wrong goes wrong in it.
                    let window = if plan.burst && random.random_bool(0.5) { BURST_DURATION } else { load_duration };
                    let at = window.mul_f64(random.random::<f64>());
                    plan.faults.push((at, fault(random, kind)));
                }
            }
        }
        if rotten {
            for _ in 0..random.random_range(1..=4) {
                let at = load_duration.mul_f64(random.random::<f64>());
                let fault = *pick(
                    random,
                    &[Fault::Rot, Fault::Rot, Fault::DiskLies(Lie::Lost), Fault::DiskLies(Lie::Misdirected)],
                );
                plan.faults.push((at, fault));
            }
        }
        plan.add_later(&mut StdRng::seed_from_u64(seed ^ LATER_STREAM));
        plan.add_names(&mut StdRng::seed_from_u64(seed ^ NAMES_STREAM));
        plan.add_bearing(&mut StdRng::seed_from_u64(seed ^ BEARING_STREAM));
        plan.add_orders(seed);
        plan
    }

    /// What goes wrong with names, where mail goes by them.
    fn add_names(&mut self, random: &mut StdRng) {
        self.by_mx = random.random_range(0..100) < NAMES_PERCENT;
        if !self.by_mx {
            return;
        }
        for _ in 0..random.random_range(1..=6) {
            let at = self.load_duration.mul_f64(random.random::<f64>());
            let domain = *pick(random, &self.domains_by_mx());
            let most = if self.pair { 60 } else { 900 };
            self.faults.push((at, Fault::Name(domain, names::trouble(random), seconds(random, 1..=most))));
        }
    }

    /// Receivers that bear few connections, limits that spare them, and a reaction to those that say how busy they are.
    fn add_bearing(&mut self, random: &mut StdRng) {
        if random.random_range(0..100) >= BEARING_PERCENT {
            return;
        }
        self.reacts = random.random_bool(0.5);
        for hop in 0..HOPS {
            if random.random_bool(0.5) {
                let at = self.load_duration.mul_f64(random.random::<f64>());
                let manner = Manner { crowd: random.random_range(1..=4), ..Manner::default() };
                let most = if self.pair { 60 } else { 1800 };
                self.faults.push((at, Fault::Manner(hop, manner, seconds(random, 10..=most))));
            }
        }
        for domain in 0..DOMAINS {
            if random.random_bool(0.4) {
                let connections_max = random.random_range(1..=4);
                let message_rate = *pick(random, &["1/s", "5/s", "20/m", "60/m"]);
                let by_domain = random.random_bool(0.5);
                self.shaping.push(Shaping { domain, by_domain, connections_max, message_rate });
            }
        }
    }

    /// What the operator says about some of the mail. In a pair, where each box heeds its own, it is soon over.
    fn add_orders(&mut self, seed: u64) {
        if !ORDERS_RESIDUES.contains(&(seed % 11)) {
            return;
        }
        let random = &mut StdRng::seed_from_u64(seed ^ ORDERS_STREAM);
        let most = if self.pair { 60 } else { 3600 };
        for _ in 0..random.random_range(1..=8) {
            let at = self.load_duration.mul_f64(random.random::<f64>());
            let domain = random.random_range(0..DOMAINS);
            let other = random.random_range(0..DOMAINS);
            let say = *pick(
                random,
                &[Say::Suspend, Say::Suspend, Say::Drain, Say::Reroute(other), Say::Reroute(other), Say::Resume],
            );
            let whose = *pick(
                random,
                &[Whose::Domain(domain), Whose::Domain(domain), Whose::Destination(domain), Whose::Senders, Whose::All],
            );
            self.faults.push((at, Fault::Order(say, whose, seconds(random, 1..=most))));
        }
    }

    /// An operator says what is to be done with some of the mail.
    pub(super) fn is_ordered(&self) -> bool {
        self.faults.iter().any(|(_, fault)| matches!(fault, Fault::Order(..)))
    }

    /// Domains whose mail goes by MX.
    pub(super) fn domains_by_mx(&self) -> Vec<usize> {
        (0..DOMAINS).filter(|domain| self.by_mx && *domain != LMTP && (*domain != 0 || !self.checks)).collect()
    }

    /// The plan of a world with a pair: what a world with one box may suffer, and what only a pair can. Damage comes to one box
    /// only, and then to that one alone comes anything else: the other copy must be there to mend it.
    pub(super) fn of_pair(seed: u64, by_hand: bool, random: &mut StdRng) -> Plan {
        let load_duration = seconds(random, 20..=180);
        let segment_size = (64 * 1024) << random.random_range(1..=3);
        let mut plan = Plan {
            promise: Promise::Kept,
            pair: true,
            own_link: StdRng::seed_from_u64(seed ^ LINK_STREAM).random_range(0..100) < OWN_LINK_PERCENT,
            manual: by_hand
                || StdRng::seed_from_u64(seed ^ MANUAL_STREAM_OF_PAIRS).random_range(0..100) < MANUAL_PERCENT,
            workers: *pick(random, &[1, 1, 1, 2]),
            steering: Steering::Flow,
            queues: None,
            disk_latency: pick(random, &[20_000..=200_000, 100_000..=3_000_000, 1_000_000..=20_000_000]).clone(),
            load_duration,
            sessions: random.random_range(20..=60),
            segment_size,
            segments: random.random_range(10..=24) * 4,
            batch_size: segment_size / 2,
            free_min: 0,
            retry_first: seconds(random, 2..=20),
            retry_max: seconds(random, 30..=120),
            age_max: seconds(random, 3600..=20_000),
            burst: random.random_bool(0.2),
            connections: 1000,
            half_open: 64,
            checks: random.random_bool(0.3),
            by_mx: false,
            demands: Default::default(),
            requiretls: None,
            shaping: Vec::new(),
            pools: StdRng::seed_from_u64(seed ^ POOLS_STREAM).random_range(0..100) < POOLS_PERCENT,
            reacts: false,
            priorities: StdRng::seed_from_u64(seed ^ PRIORITIES_STREAM).random_range(0..100) < PRIORITIES_PERCENT,
            regroups: StdRng::seed_from_u64(seed ^ REGROUPS_STREAM_OF_PAIRS).random_range(0..100) < REGROUPS_PERCENT,
            heals_in_place: random.random_bool(0.5),
            victim: None,
            watched: false,
            faults: Vec::new(),
            aimed: Vec::new(),
        };
        if plan.regroups {
            plan.segments = plan.segments.max(2 * u64::from(WORKERS_OF_PAIRS_MAX) * u64::from(SEGMENTS_MIN + 2));
        }
        if random.random_range(0..100) < ROTTEN_PERCENT {
            plan.rots(random);
            return plan;
        }
        for kind in (0..KINDS).filter(|kind| !matches!(kind, 3 | 4 | 5 | 17)) {
            if random.random_bool(0.12) {
                let at = load_duration.mul_f64(random.random::<f64>());
                plan.faults.push((at, fault(random, kind)));
            }
        }
        for _ in 0..random.random_range(1..=6) {
            let at = load_duration.mul_f64(random.random::<f64>());
            let duration = Duration::from_millis(random.random_range(20..20_000));
            let way = *pick(random, &[Way::Both, Way::ToAppliance, Way::FromAppliance]);
            let fault = match random.random_range(0..7) {
                0 => Fault::StoreCut(duration),
                1 => Fault::StoreLossy(random.random_range(0.1..0.9), duration),
                2 => Fault::PartnersCut(way, duration),
                3 => Fault::Kill(duration),
                4 => Fault::PowerLoss(duration),
                5 => Fault::Move,
                _ => Fault::Pause(duration / 10),
            };
            plan.faults.push((at, fault));
        }
        let later = &mut StdRng::seed_from_u64(seed ^ LATER_STREAM_OF_PAIRS);
        if later.random_range(0..100) < DOUBT_PERCENT {
            for _ in 0..later.random_range(1..=2) {
                let at = load_duration.mul_f64(later.random::<f64>());
                plan.faults.push((at, Fault::PowerLossAtDelivery(seconds(later, 1..=30))));
            }
        }
        plan.add_trials(&mut StdRng::seed_from_u64(seed ^ TRIALS_STREAM));
        plan.add_encounters(&mut StdRng::seed_from_u64(seed ^ ENCOUNTERS_STREAM));
        plan.add_names(&mut StdRng::seed_from_u64(seed ^ NAMES_STREAM));
        plan.add_bearing(&mut StdRng::seed_from_u64(seed ^ BEARING_STREAM));
        plan.add_orders(seed);
        plan
    }

    /// Arbiters meet something where they seldom are, and what brings them there happens.
    fn add_encounters(&mut self, random: &mut StdRng) {
        if self.victim.is_some() || random.random_range(0..100) >= ENCOUNTERS_PERCENT {
            return;
        }
        let millis = |random: &mut StdRng, range| Duration::from_millis(random.random_range(range));
        // With a reserve it shows at once that a disk is full.
        self.free_min = *pick(random, &[0, 1 << 20]);
        for _ in 0..random.random_range(1..=3) {
            let at = self.load_duration.mul_f64(random.random::<f64>());
            let mut meets = |stage, cause, random: &mut StdRng| {
                let (duration, asks_late) = (millis(random, 100..4_000), random.random_bool(0.5));
                let meets_after = if random.random_bool(0.5) { Duration::ZERO } else { duration / 4 };
                let linger = Linger { stage, duration, meets_after, asks_late };
                self.aimed.push((at, Fault::Encounter(linger, cause), 0));
            };
            if random.random_bool(0.2) {
                // One thing leads to another.
                let (stage, cause) = encounter(random, self.manual);
                meets(stage, cause, random);
            }
            let (stage, cause) = encounter(random, self.manual);
            if cause == Cause::Rejoin {
                // Whoever is told that it need not be alone was told to be.
                let leads = random.random_bool(0.5);
                meets(if leads { Stage::Leading } else { *pick(random, &STAGES_OF_OWNERS) }, Cause::Solo, random);
            }
            meets(stage, cause, random);
            let tampers = stage == Stage::Closed && !self.manual;
            let occasion = match random.random_range(0..9) {
                _ if tampers => Fault::StoreTampered(Tampering::Removed, millis(random, 1_000..10_000)),
                0 | 1 => Fault::Kill(millis(random, 20..5_000)),
                2 => Fault::PowerLoss(millis(random, 20..5_000)),
                3 | 4 => Fault::Move,
                5 => Fault::Pause(millis(random, 200..1_500)),
                7 => Fault::PowerLossAtStage(*pick(random, &stages()), millis(random, 20..2_000)),
                6 if !self.manual => Fault::StoreTampered(Tampering::Removed, millis(random, 100..2_000)),
                _ => Fault::PartnersCut(Way::Both, millis(random, 200..1_500)),
            };
            let before = at.saturating_sub(Duration::from_millis(1));
            self.aimed.push((before, occasion, random.random_range(0..2)));
        }
    }

    /// What else a pair may meet.
    fn add_trials(&mut self, random: &mut StdRng) {
        self.watched = random.random_bool(0.5);
        if self.manual {
            // There is no store, and only an operator could tell a box that is off from one that will be another.
            return;
        }
        let lot = random.random_range(0..100);
        if lot < EXCHANGED_PERCENT {
            return self.exchanges(random);
        }
        if lot >= EXCHANGED_PERCENT + TRIALS_PERCENT {
            return;
        }
        for _ in 0..random.random_range(1..=3) {
            let at = self.load_duration.mul_f64(random.random::<f64>());
            let duration = Duration::from_millis(random.random_range(20..20_000));
            let stages = [&STAGES_AT_THE_BEGINNING[..], &STAGES_OF_OWNERS, &STAGES_AT_THE_END].concat();
            let commands = [
                Command::Solo { accept_loss: false, partner_is_off: false },
                Command::TakeOver { partner_is_off: false },
                Command::Rejoin,
            ];
            let fault = match random.random_range(0..16) {
                0 => Fault::WriteFails,
                1 => Fault::ReadsFail(duration),
                2 => Fault::DiskFull(duration),
                3 => Fault::SegmentsFail(*pick(random, &[libc::ENOSPC, libc::EDQUOT, libc::EMFILE]), duration),
                4 => Fault::DiskSlow(duration * 2),
                5 => Fault::Blackout(duration),
                6 => Fault::Isolation(duration),
                7 => Fault::Upgrade(duration),
                8 => Fault::Command(*pick(random, &commands)),
                14 | 15 => Fault::Unplugged(duration),
                9 | 10 => {
                    let tampering = [Tampering::SetBack, Tampering::Removed, Tampering::Overwritten];
                    Fault::StoreTampered(*pick(random, &tampering), duration)
                }
                _ => {
                    // Most of these a pair comes to when one has been away.
                    let before = at.saturating_sub(Duration::from_millis(random.random_range(0..5000)));
                    self.faults.push((before, Fault::Kill(duration / 4)));
                    Fault::PowerLossAtStage(*pick(random, &stages), duration)
                }
            };
            self.faults.push((at, fault));
        }
    }

    /// The disk of one box of a pair is replaced, or restored from a copy that is old.
    fn exchanges(&mut self, random: &mut StdRng) {
        self.faults.clear();
        self.strikes_one(random, 3, |random, duration| {
            let exchange = *pick(random, &[Exchange::Empty, Exchange::Stale, Exchange::Stale]);
            Fault::DiskExchanged(exchange, duration)
        });
    }

    /// The disk of one box of a pair changes what is on it.
    fn rots(&mut self, random: &mut StdRng) {
        self.promise = Promise::Mended;
        self.strikes_one(random, 4, |_, _| Fault::Rot);
    }

    /// Something happens to the disk of one box of a pair, so many times at most, each with what may bring it to light.
    fn strikes_one(&mut self, random: &mut StdRng, times_max: u32, disk: impl Fn(&mut StdRng, Duration) -> Fault) {
        self.victim = Some(random.random_range(0..2));
        // The other box's copy counts all the time.
        self.heals_in_place = true;
        for _ in 0..random.random_range(1..=times_max) {
            let at = |random: &mut StdRng| self.load_duration.mul_f64(random.random::<f64>());
            let (first, second, third) = (at(random), at(random), at(random));
            let duration = Duration::from_millis(random.random_range(20..20_000));
            self.faults.push((first, disk(random, duration)));
            let fault =
                *pick(random, &[Fault::Stop(duration), Fault::Kill(duration), Fault::PowerLoss(duration), Fault::Move]);
            self.faults.push((second, fault));
            let slow = Manner { defer_recipient: random.random_range(0.1..0.9), ..Manner::default() };
            let hop = random.random_range(0..HOPS);
            self.faults.push((third, Fault::Manner(hop, slow, duration * 4)));
        }
    }

    fn add_later(&mut self, random: &mut StdRng) {
        let (small, hasty) = (random.random_range(0..100) < SMALL_PERCENT, random.random_range(0..100) < HASTY_PERCENT);
        self.heals_in_place = random.random_bool(0.5);
        if hasty {
            self.age_max = seconds(random, 300..=1800);
            self.retry_max = self.retry_max.min(self.age_max / 2);
            self.defer(random);
        }
        if small {
            // As small as segments can be, though enough of them: how a full log behaves is what other worlds show.
            (self.segment_size, self.batch_size, self.segments) = (128 * 1024, 64 * 1024, 10 * WORKERS_MAX);
            self.sessions = self.sessions.clamp(40, 60);
            (self.retry_first, self.retry_max) = (seconds(random, 5..=20), seconds(random, 20..=120));
            self.defer(random);
            for _ in 0..random.random_range(1..=4) {
                let at = self.load_duration.mul_f64(random.random::<f64>());
                self.faults.push((at, Fault::PowerLossAtReuse(seconds(random, 1..=30))));
            }
        }
        if random.random_bool(0.1) {
            self.workers = 4;
            self.segments = self.segments.max(u64::from(SEGMENTS_MIN) * 4);
        }
        self.queues = *pick(random, &[None, None, Some(1), Some(2), Some(4)]);
    }

    /// Most next hops defer most of what they are asked to take, for long.
    fn defer(&mut self, random: &mut StdRng) {
        for hop in (0..HOPS).filter(|hop| *hop != HOME) {
            let share = random.random_range(0.5..1.0);
            let manner = Manner { defer_recipient: share, ..Manner::default() };
            let at = self.load_duration.mul_f64(random.random_range(0.0..0.3));
            self.faults.push((at, Fault::Manner(hop, manner, seconds(random, 600..=3600))));
        }
    }
}

/// Where arbiters meet something: wherever they are, but for an owner that leads.
fn stages() -> Vec<Stage> {
    [&STAGES_OF_OWNERS[..], &STAGES_IDLE, &STAGES_AT_THE_BEGINNING, &STAGES_AT_THE_END, &[Stage::Following]].concat()
}

/// One that the model of the arbiter has met, too. Without a store there is no register that could be missing.
fn encounter(random: &mut StdRng, manual: bool) -> (Stage, Cause) {
    let stages = stages();
    loop {
        let (stage, cause) = (*pick(random, &stages), *pick(random, &ENCOUNTERED));
        let (stage_name, cause_name) = (format!("{stage:?}"), format!("{cause:?}"));
        if !(manual && cause == Cause::Missing) && reached().any(|it| it == (&*stage_name, &*cause_name)) {
            return (stage, cause);
        }
    }
}

fn fault(random: &mut StdRng, kind: usize) -> Fault {
    let duration = seconds(random, 1..=300);
    let small = random.random_range(0.0..0.08);
    let some = random.random_range(0.05..0.9);
    let hop = random.random_range(0..HOPS);
    let manner = |manner: Manner, hop: usize| Fault::Manner(hop, manner, duration * 4);
    match kind {
        0 => {
            let delay = Duration::from_micros(random.random_range(20..100_000));
            let jitter = delay.mul_f64(random.random::<f64>());
            let link = Link { delay, jitter, loss: small, ..Link::default() };
            let (duplication, corruption) = (random.random_range(0.0..0.05), random.random_range(0.0..0.02));
            // A way that swallows large packets without a word, at times.
            let mtu = if random.random_bool(0.2) { 1280 } else { 1500 };
            Fault::Cable(Link { duplication, corruption, mtu, ..link }, duration)
        }
        1 => {
            let side = *pick(random, &[Side::Clients, Side::Receivers]);
            Fault::Cut(side, *pick(random, &[Way::Both, Way::ToAppliance, Way::FromAppliance]), duration)
        }
        2 => Fault::DiskStalls(duration / 4),
        3 => Fault::WriteFails,
        4 => Fault::ReadsFail(duration),
        5 => Fault::DiskFull(duration),
        6 => Fault::ClockJumps(random.random_range(-7200..=7200)),
        7 => Fault::Pause(duration / 10),
        8 => Fault::Kill(duration / 10),
        9 => Fault::PowerLoss(duration / 10),
        10 => Fault::Stop(duration / 10),
        11 => manner(Manner { busy: some, die: small, ..Manner::default() }, hop),
        12 => manner(Manner { defer_recipient: some, defer_content: some / 2.0, ..Manner::default() }, hop),
        13 => manner(Manner { die_at_dot: some, stall: small, ..Manner::default() }, hop),
        14 => manner(Manner { refuse_content: some, greylist: true, ..Manner::default() }, hop),
        15 => *pick(random, &[Fault::Hold, Fault::Release, Fault::Retry]),
        16 => Fault::Delete,
        17 => Fault::SegmentsFail(*pick(random, &[libc::ENOSPC, libc::EDQUOT, libc::EMFILE]), duration),
        18 => Fault::FramesShort(some, duration),
        _ => Fault::Attack(*pick(random, &[Attack::Flood, Attack::Forgery, Attack::Rubbish]), duration / 10),
    }
}

pub(super) fn seconds(random: &mut StdRng, range: RangeInclusive<u64>) -> Duration {
    Duration::from_secs(random.random_range(range))
}

pub(super) fn pick<'a, T>(random: &mut StdRng, choice: &'a [T]) -> &'a T {
    &choice[random.random_range(0..choice.len())]
}
