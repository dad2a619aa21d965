//! The model checker: what two arbiters, one register, and what lies between them can do, step by step, within bounds; and
//! long walks at random beyond them.
//!
//! A world is the two machines as they are, with everything else made simple (`world`): logs are lists of numbers, a timer that is
//! armed may go off at any moment, and what the real world does in many steps is one where nothing can come between. Worlds
//! are visited breadth first, each once, so that the way to the first fault found is a shortest one; it is printed step by
//! step. What must hold in each of them is in `World::check`.
//!
//! Two searches begin at each start. The near one visits the first so many worlds. The far one follows the calm course of
//! things to its end, and every course that turns from it no more than so often: a turn is a fault, a crash, a command, or any
//! step out of order. It leaves out nothing within its bounds. From one of so many worlds all faults end, and the pair must get
//! back to mirrored by itself, unless every copy that the register counts on is gone; and all faults end but that one box
//! is off, and the other must work (`heal`).
//!
//! `ROHRPOST_ARBITER_WORLDS` says how many worlds are visited near each start and how many walks are taken,
//! `ROHRPOST_ARBITER_TURNS` how many turns the far search takes (4: an hour's patience), and `ROHRPOST_ARBITER_SEED` where the
//! walks begin.

mod steps;
mod world;

use super::{Cause, Command, Settings, Stage};
use crate::env::Instant;
use crate::mirror::register::{Mode, Node};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use world::{Budget, MET, Step, Timer, World};

/// Worlds visited from each start, unless the environment asks for more.
const WORLDS: usize = 5_000;
/// Steps out of the calm course, on the searches that go far.
const TURNS: usize = 2;
/// The longest walk.
const WALK_STEPS_MAX: usize = 1000;
/// From one of so many worlds the healing is tried.
const HEALED: usize = 4;

fn from_environment(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

fn hash_of(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

/// A pair that has been set up and is mirrored; identity a, which box a owns.
fn mirrored(settings: Settings) -> World {
    let mut world = created(settings);
    let mut trace = Vec::new();
    assert_eq!(world.heal(&mut trace), Ok(true), "{trace:?}");
    world
}

/// The same pair when box b was off for a while and comes back.
fn solo(settings: Settings) -> World {
    let mut world = mirrored(settings);
    world.crash(Node::B, false);
    let steps = [Step::Silent(Node::A), Step::Timer(Node::A, Timer::Silence), Step::Carry(Node::A)];
    for step in steps.into_iter().chain([Step::Persist(Node::A)]) {
        world.apply(step).expect("nothing is wrong yet");
    }
    if settings.manual {
        let command = Command::Solo { accept_loss: false, partner_is_off: true };
        world.with(Node::A, |arbiter| arbiter.command(command, Instant::ZERO).expect("it is asked for"));
        world.with(Node::A, |arbiter| arbiter.command(Command::Rejoin, Instant::ZERO).expect("it is alone"));
    }
    for step in [Step::ProposalLands(Node::A), Step::ProposalAnswers(Node::A), Step::Persist(Node::A)] {
        world.apply(step).expect("nothing is wrong yet");
    }
    for step in [Step::Carry(Node::A), Step::Restart(Node::B)] {
        world.apply(step).expect("nothing is wrong yet");
    }
    world
}

/// A pair whose register is about to be created.
fn created(settings: Settings) -> World {
    let mut world = World::new(settings, Budget { epochs: u8::MAX, ..Budget::default() });
    for node in Node::BOTH {
        for step in [Step::ReadSees(node), Step::ReadAnswers(node)] {
            world.apply(step).expect("nothing is wrong yet");
        }
    }
    world.with(Node::A, |arbiter| arbiter.command(Command::Create, Instant::ZERO).expect("there is no register"));
    world
}

/// Prints the way to a world that must not be.
fn fail(start: &World, way: &[Step], what: &str) -> ! {
    let mut world = start.clone();
    let mut story = String::new();
    for step in way {
        let result = world.apply(*step);
        let say = |node: Node| {
            let it = world.of(node);
            format!("{:?} {:?} {:?} {:?}", it.stage(), it.work, it.orders, it.log)
        };
        story +=
            &format!("{step:?}\n      a: {}\n      b: {}\n      {:?}\n", say(Node::A), say(Node::B), world.register);
        if result.is_err() {
            break;
        }
    }
    panic!("{what}, after\n{story}");
}

/// What was found on a search.
#[derive(Debug, Default)]
struct Search {
    worlds: usize,
    healed: usize,
    /// No world within the budget was left out.
    complete: bool,
    stages: HashSet<Stage>,
    registers: HashSet<(Node, Mode)>,
}

/// Visits worlds breadth first. The first step of the calm course is free, any other costs one of `turns`: with few turns the
/// search gets far, to the end of what a fault leads to, and leaves out nothing that takes no more turns.
fn search(start: &World, worlds_max: usize, turns: u8) -> Search {
    let mut found = Search::default();
    // Worlds, with the most turns that were left in them.
    let mut seen = HashMap::from([(hash_of(start), turns)]);
    // The step that led to each world, and from which.
    let mut ways: Vec<(usize, Option<Step>)> = vec![(0, None)];
    let mut next = VecDeque::from([(0, turns, start.clone())]);
    let way_to = |ways: &[(usize, Option<Step>)], mut index: usize| {
        let mut way = Vec::new();
        while let (from, Some(step)) = ways[index] {
            way.push(step);
            index = from;
        }
        way.reverse();
        way
    };
    let mut steps = Vec::new();
    while let Some((index, turns, world)) = next.pop_front() {
        found.worlds += 1;
        found.stages.extend(Node::BOTH.into_iter().filter_map(|node| world.of(node).stage()));
        found.registers.extend(world.register.map(|register| (register.owner, register.mode)));
        if index % HEALED == 0 {
            found.healed += 1;
            heal(start, &world, || way_to(&ways, index));
        }
        steps.clear();
        world.steps(&mut steps);
        for (place, step) in steps.iter().enumerate() {
            let Some(left) = turns.checked_sub(u8::from(place > 0)) else {
                break;
            };
            let mut after = world.clone();
            if let Err(what) = after.apply(*step) {
                let mut way = way_to(&ways, index);
                way.push(*step);
                fail(start, &way, &what);
            }
            if ways.len() == worlds_max {
                continue;
            }
            let before = seen.entry(hash_of(&after)).or_insert(u8::MAX);
            if *before == u8::MAX || *before < left {
                *before = left;
                ways.push((index, Some(*step)));
                next.push_back((ways.len() - 1, left, after));
            }
        }
    }
    found.complete = ways.len() < worlds_max;
    found
}

/// When all faults end, the pair gets back to mirrored, or every copy that counts is gone. When all end but one box is off,
/// the other works, if its copy counts.
fn heal(start: &World, world: &World, way: impl FnOnce() -> Vec<Step>) {
    for node in Node::BOTH {
        let mut alone = world.clone();
        let mut trace = Vec::new();
        let what = match alone.survive(node, &mut trace) {
            Ok(true) => continue,
            Ok(false) => "it does not work alone".to_owned(),
            Err(what) => what,
        };
        let it = alone.of(node);
        let what = format!("box {node}: {what}: {:?} {:?}, {:?}, {trace:?}", it.stage(), it.trouble(), alone.register);
        fail(start, &way(), &what);
    }
    let mut healed = world.clone();
    let mut trace = Vec::new();
    let what = match healed.heal(&mut trace) {
        Ok(true) => return,
        Ok(false) if healed.is_beyond_help() && Node::BOTH.iter().any(|node| healed.of(*node).trouble().is_some()) => {
            return;
        }
        Ok(false) => "it does not become mirrored".to_owned(),
        Err(what) => what,
    };
    let way = way();
    let stages = Node::BOTH.map(|node| (healed.of(node).stage(), healed.of(node).trouble()));
    fail(start, &way, &format!("{what}: {stages:?}, {:?}, healing with {trace:?}", healed.register));
}

/// Takes steps at random, most of them calm, until there are none; heals now and then.
fn walk(start: &World, seed: u64, mut random: StdRng) -> usize {
    let mut world = start.clone();
    let mut way = Vec::new();
    let mut steps = Vec::new();
    for _ in 0..WALK_STEPS_MAX {
        steps.clear();
        let calm_count = world.steps(&mut steps);
        if steps.is_empty() {
            break;
        }
        let calm = calm_count > 0 && random.random_range(0..8) > 0;
        let step = steps[random.random_range(0..if calm { calm_count } else { steps.len() })];
        way.push(step);
        if let Err(what) = world.apply(step) {
            fail(start, &way, &format!("seed {seed}: {what}"));
        }
        if random.random_range(0..64) == 0 {
            heal(start, &world, || way.clone());
        }
    }
    heal(start, &world, || way.clone());
    way.len()
}

fn run(name: &str, start: &World, budget: Budget) -> Search {
    let mut start = start.clone();
    start.budget = budget;
    let turns = from_environment("ROHRPOST_ARBITER_TURNS", TURNS) as u8;
    let far = search(&start, usize::MAX, turns);
    assert!(far.complete);
    let near = search(&start, from_environment("ROHRPOST_ARBITER_WORLDS", WORLDS), u8::MAX - 1);
    for (how, found) in [("far", &far), ("near", &near)] {
        let Search { worlds, healed, complete, stages, .. } = found;
        println!("{name}, {how}: {worlds} worlds, {healed} healed, complete: {complete}, {} stages", stages.len());
    }
    far
}

const FEW: Budget = Budget {
    batches: 1,
    silences: 0,
    crashes: 0,
    unreachable: 0,
    disks: 0,
    storage: 0,
    rooms: 0,
    tampering: 0,
    moves: 0,
    solos: 0,
    takeovers: 0,
    losses: 0,
    epochs: 5,
};

#[test]
fn no_acknowledged_batch_is_lost_when_the_link_and_the_store_fail() {
    let start = mirrored(Settings::default());
    run("link", &start, Budget { silences: 2, ..FEW });
    run("link and store", &start, Budget { silences: 2, unreachable: 2, ..FEW });
}

#[test]
fn no_acknowledged_batch_is_lost_when_boxes_crash() {
    let start = mirrored(Settings::default());
    run("crash", &start, Budget { crashes: 1, batches: 2, ..FEW });
    run("crash and link", &start, Budget { crashes: 2, silences: 1, ..FEW });
    run("crash and store", &start, Budget { crashes: 1, unreachable: 2, silences: 1, ..FEW });
}

#[test]
fn no_acknowledged_batch_is_lost_when_disks_fail() {
    let start = mirrored(Settings::default());
    run("disk", &start, Budget { crashes: 1, disks: 1, ..FEW });
    run("disks", &start, Budget { crashes: 2, disks: 2, ..FEW });
    run("storage", &start, Budget { storage: 1, crashes: 1, unreachable: 1, ..FEW });
}

#[test]
fn no_acknowledged_batch_is_lost_when_disks_are_full() {
    let start = mirrored(Settings::default());
    let found = run("full", &start, Budget { rooms: 3, ..FEW });
    assert!(found.registers.contains(&(Node::B, Mode::Mirrored)), "{found:?}");
    run("full and link", &start, Budget { rooms: 2, silences: 1, unreachable: 1, ..FEW });
    run("full and crash", &start, Budget { rooms: 2, crashes: 1, ..FEW });
    run("full and catch-up", &solo(Settings::default()), Budget { rooms: 2, unreachable: 1, ..FEW });
}

#[test]
fn a_register_that_was_set_back_is_believed_by_nobody() {
    let start = mirrored(Settings::default());
    run("tampering", &start, Budget { tampering: 1, silences: 1, ..FEW });
    run("tampering and crash", &start, Budget { tampering: 1, crashes: 1, unreachable: 1, ..FEW });
}

#[test]
fn no_acknowledged_batch_is_lost_by_a_command() {
    let start = mirrored(Settings::default());
    run("move", &start, Budget { moves: 1, silences: 1, crashes: 1, ..FEW });
    run("move and store", &start, Budget { moves: 2, unreachable: 1, silences: 1, ..FEW });
    run("solo", &start, Budget { solos: 1, takeovers: 1, crashes: 1, ..FEW });
    run("loss", &start, Budget { solos: 1, losses: 1, crashes: 2, ..FEW });
}

#[test]
fn a_pair_becomes_mirrored_from_nothing() {
    let start = created(Settings::default());
    run("creation", &start, Budget { batches: 2, silences: 1, crashes: 1, unreachable: 1, ..FEW });
}

#[test]
fn the_manual_arbiter_asks_for_nothing_because_of_silence() {
    let start = mirrored(Settings { manual: true, ..Settings::default() });
    let found = run("manual", &start, Budget { silences: 3, unreachable: 1, ..FEW });
    assert_eq!(found.registers, HashSet::from([(Node::A, Mode::Mirrored)]));
}

#[test]
fn a_copy_is_not_counted_on_before_it_is_level() {
    let start = solo(Settings::default());
    run("catch-up", &start, Budget { batches: 2, ..FEW });
    run("catch-up and store", &start, Budget { unreachable: 2, batches: 2, ..FEW });
    run("catch-up and crash", &start, Budget { crashes: 1, disks: 1, unreachable: 1, ..FEW });
}

/// `reached.txt` has the stages, and what was met in each on the walks: simulated worlds must meet it, too.
fn compare_what_was_met() {
    let mut met: BTreeMap<Stage, Vec<Cause>> = BTreeMap::new();
    MET.with_borrow(|all| all.iter().for_each(|(stage, cause)| met.entry(*stage).or_default().push(*cause)));
    let line = |(stage, causes): (&Stage, &Vec<Cause>)| {
        let causes: Vec<String> = causes.iter().map(|cause| format!("{cause:?}")).collect();
        format!("{stage:?}: {}\n", causes.join(" "))
    };
    let rendered: String = met.iter().map(line).collect();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/mirror/arbiter/reached.txt");
    if std::env::var_os("ROHRPOST_WRITE_TABLE").is_some() {
        std::fs::write(&path, &rendered).expect("it can be written");
    }
    assert_eq!(rendered, super::REACHED, "run this test with ROHRPOST_WRITE_TABLE=1, and then the simulator");
}

#[test]
fn long_walks_lose_nothing() {
    let first = from_environment("ROHRPOST_ARBITER_SEED", 0);
    let count = from_environment("ROHRPOST_ARBITER_WORLDS", WORLDS);
    let starts = [false, true].map(|manual| {
        let settings = Settings { manual, ..Settings::default() };
        [mirrored(settings), solo(settings), created(settings)]
    });
    let mut steps = 0;
    MET.with_borrow_mut(std::collections::BTreeSet::clear);
    for seed in first as u64..(first + count) as u64 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut start = starts[usize::from(seed % 8 == 7)][random.random_range(0..3)].clone();
        let mut up_to = |most: u8| random.random_range(0..=most);
        start.budget = Budget {
            batches: up_to(6),
            silences: up_to(8),
            crashes: up_to(4),
            unreachable: up_to(8),
            disks: up_to(2),
            storage: up_to(1),
            rooms: up_to(4),
            tampering: up_to(1),
            moves: up_to(3),
            solos: up_to(2),
            takeovers: up_to(2),
            losses: up_to(1),
            epochs: 18,
        };
        steps += walk(&start, seed, random);
    }
    println!("{steps} steps in {count} walks");
    if (first, count) == (0, WORLDS) {
        compare_what_was_met();
    }
}
