//! The table of states and events, as text; and what depends on time.
//!
//! `table.txt` holds what one machine, on box a, does in each state with each event. After a change of the machine run
//! this test with `ROHRPOST_WRITE_TABLE=1`, and read what has become of the table: its differences are the change.

use super::machine::Arbiter;
use super::{Action, Command, Event, Found, Notice, Order, Outcome, Refusal, Role, Settings, Stage, Trouble, Words};
use crate::env::Instant;
use crate::mirror::register::{Incarnation, Memory, Mode, Node, Register};
use crate::spool::Room;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

const START: Instant = Instant::from_nanos(1_000_000_000);

fn ours() -> Incarnation {
    Incarnation::new(0xa).expect("not zero")
}

fn theirs() -> Incarnation {
    Incarnation::new(0xb).expect("not zero")
}

fn foreign() -> Incarnation {
    Incarnation::new(0xf).expect("not zero")
}

fn own_mirrored(epoch: u64) -> Register {
    Register::mirrored(epoch, Node::A, ours(), theirs())
}

fn their_mirrored(epoch: u64) -> Register {
    Register::mirrored(epoch, Node::B, theirs(), ours())
}

fn own_solo(epoch: u64) -> Register {
    Register::solo(epoch, Node::A, ours())
}

fn their_solo(epoch: u64) -> Register {
    Register::solo(epoch, Node::B, theirs())
}

fn words(epoch: u64, role: Role) -> Event {
    Event::Heard(Words { epoch, role, incarnation: theirs(), able: true, roomy: true, standing: None, orders: 0 })
}

/// A machine and what it said last.
#[derive(Clone)]
struct Bench {
    arbiter: Arbiter,
    now: Instant,
    said: Vec<Action>,
}

impl Bench {
    fn with(settings: Settings, memory: Memory, fit: bool) -> Bench {
        let arbiter = Arbiter::new(Node::A, settings, memory, fit, START);
        Bench { arbiter, now: START, said: Vec::new() }.drained()
    }

    fn started() -> Bench {
        Bench::with(Settings::default(), Memory { epoch_seen: 7, left: 6, incarnation: ours() }, true)
    }

    fn drained(mut self) -> Bench {
        self.said = std::iter::from_fn(|| self.arbiter.action()).collect();
        self
    }

    fn event(mut self, event: Event) -> Bench {
        self.arbiter.handle(event, self.now);
        self.drained()
    }

    /// The answer to a read that has been asked for just now.
    fn read(mut self, found: Found) -> Bench {
        if self.arbiter.reading.is_none() {
            self = self.event(Event::Stirred);
        }
        self.arbiter.reading = Some(self.arbiter.seen());
        self.event(Event::Read(found))
    }

    fn register(self, register: Register) -> Bench {
        self.read(Found::Register(register))
    }

    fn heard(self, epoch: u64, role: Role) -> Bench {
        self.event(words(epoch, role))
    }

    fn done(self) -> Bench {
        let order = self.arbiter.order;
        self.event(Event::Done { order })
    }

    fn persisted(self) -> Bench {
        self.event(Event::Persisted)
    }

    fn won(self) -> Bench {
        self.event(Event::Proposed(Outcome::Won))
    }

    fn unknown(self) -> Bench {
        self.event(Event::Proposed(Outcome::Unknown))
    }

    fn command(mut self, command: Command) -> Bench {
        self.arbiter.command(command, self.now).expect("the state allows it");
        self.drained()
    }

    /// Goes to the deadline, and lets it pass.
    fn deadline(mut self) -> Bench {
        self.now = self.now.max(self.arbiter.deadline());
        self.arbiter.expire(self.now);
        self.drained()
    }

    /// Nothing more is heard, and nothing else happens.
    fn silent(mut self) -> Bench {
        let heard_at = self.now;
        let bench = {
            self.arbiter.handle(Event::Silent { heard_at }, self.now);
            self.now = self.now + self.arbiter.silence_max();
            self.arbiter.expire(self.now);
            self
        };
        bench.drained()
    }

    fn at(self, stage: Stage) -> Bench {
        assert_eq!(self.arbiter.stage(), stage);
        self
    }
}

/// A machine in each state that it can be in, with a name.
fn states() -> Vec<(&'static str, Bench)> {
    let started = Bench::started();
    let manual = Settings { manual: true, ..Settings::default() };
    let remembers = Memory { epoch_seen: 7, left: 6, incarnation: ours() };
    let new = Bench::with(Settings::default(), Memory::new(ours()), true);

    // An owner that restarts, with its replica there.
    let stopping = started.clone().heard(7, Role::Follows).register(own_mirrored(7)).at(Stage::Stopping);
    let leaving = stopping.clone().done().at(Stage::Leaving);
    let levelling = leaving.clone().persisted().at(Stage::Levelling);
    let deciding =
        started.clone().heard(7, Role::Waits).register(own_mirrored(7)).done().persisted().at(Stage::Deciding);
    let proposing = levelling.clone().done().at(Stage::Proposing);
    let entering = proposing.clone().won().at(Stage::Entering);
    let adopting = entering.clone().persisted().at(Stage::Adopting);
    let leading = adopting.clone().done().heard(8, Role::Follows).at(Stage::Leading);

    // Alone, and together again.
    let alone_asks = leading.clone().silent().done().persisted().at(Stage::Proposing);
    let solo = alone_asks.clone().won().persisted().done().at(Stage::Leading);
    let told_solo = solo.clone().command(Command::Solo { accept_loss: false, partner_is_off: false });
    let catching_up = solo.clone().heard(9, Role::Follows).at(Stage::CatchingUp);
    let requiring = catching_up.clone().done().at(Stage::Requiring);
    let pairing = requiring.clone().done().at(Stage::Pairing);

    // Moved to the partner.
    let draining = leading.clone().command(Command::Move).at(Stage::Draining);
    let moving = draining.clone().done().done().persisted().done().at(Stage::Proposing);
    let stepping_down = moving.clone().won().persisted().at(Stage::SteppingDown);

    // By hand.
    let by_hand = Bench::with(manual, remembers, true).register(own_mirrored(7)).done().persisted();
    let by_hand = by_hand.heard(7, Role::Follows).at(Stage::Levelling);

    // A replica.
    let joining = Bench::with(Settings::default(), Memory { epoch_seen: 6, left: 6, incarnation: ours() }, true)
        .register(their_mirrored(7))
        .at(Stage::Entering);
    let following = started.clone().heard(7, Role::Leads).register(their_mirrored(7)).at(Stage::Following);
    let stale = started.clone().heard(7, Role::Leads).register(their_solo(7)).at(Stage::Following);
    let uncounted = started
        .clone()
        .heard(7, Role::Leads)
        .register(Register::mirrored(7, Node::B, theirs(), foreign()))
        .at(Stage::Following);
    let losing = following.clone().silent().at(Stage::Stopping);
    let losing_leaves = losing.clone().done().at(Stage::Leaving);
    let left = losing_leaves.clone().heard(7, Role::Leads).persisted().at(Stage::Following);
    let taking_over = losing_leaves.clone().persisted().at(Stage::Proposing);

    vec![
        ("has started", started.clone()),
        ("has started for the first time, and there is no register", new.clone().read(Found::Missing).at(Stage::Waits)),
        ("asks for the first register", new.read(Found::Missing).command(Command::Create).at(Stage::Proposing)),
        ("the register is missing", started.clone().read(Found::Missing).at(Stage::Closed)),
        ("leads, and the register is set back", leading.clone().register(own_mirrored(7)).at(Stage::Closed)),
        ("owns with a copy that was replaced", {
            started.clone().register(Register::mirrored(7, Node::A, foreign(), theirs())).at(Stage::Barred)
        }),
        ("owns, and its disk has failed", leading.clone().event(Event::StorageFailed).at(Stage::Barred)),
        ("is a replica with a damaged copy", {
            Bench::with(Settings::default(), remembers, false).register(their_solo(7)).at(Stage::Barred)
        }),
        ("owns, and stops", stopping),
        ("owns, and has stopped", leaving),
        ("owns, has left, and the partner does not follow yet", deciding),
        ("owns, has left, and makes the replica level", levelling),
        ("owns, and asks to be mirrored again", proposing.clone()),
        ("owns, and does not know what came of it", proposing.unknown()),
        ("owns the next epoch", entering),
        ("owns, and applies the logs", adopting),
        ("leads, mirrored", leading),
        ("owns, and asks to be alone", alone_asks.clone()),
        ("leads alone", solo),
        ("leads alone by command", told_solo),
        ("leads alone, and the partner catches up", catching_up),
        ("leads alone, and requires both", requiring),
        ("leads alone, requires both, and asks to be mirrored", pairing.clone()),
        ("leads alone, requires both, and does not know what came of it", pairing.unknown()),
        ("leads, and sessions end", draining),
        ("owns, and asks to hand over", moving),
        ("has handed over, and lets go", stepping_down),
        ("owns by hand, and the partner is silent", {
            let bench = Bench::with(manual, remembers, true).register(own_mirrored(7)).done().persisted();
            bench.silent().at(Stage::Deciding)
        }),
        ("owns by hand, and the partner that followed is silent", by_hand.clone().silent().at(Stage::Deciding)),
        ("owns by hand, and is told that the partner is off", {
            by_hand.silent().command(Command::TakeOver { partner_is_off: true }).at(Stage::Proposing)
        }),
        ("owns by hand alone, and looks for the partner", {
            Bench::with(manual, remembers, true).register(own_solo(7)).done().persisted().at(Stage::Deciding)
        }),
        ("owns by hand, and both have gone on", {
            let bench = Bench::with(manual, remembers, true).register(own_solo(7));
            bench.read(Found::Split { epoch: 9 }).at(Stage::Closed)
        }),
        ("is about to follow", joining),
        ("follows", following.clone()),
        ("follows, and has left the epoch", left),
        ("follows with a stale copy", stale),
        ("follows with a copy that does not count", uncounted),
        ("follows by hand, and the owner is silent", {
            let bench = Bench::with(manual, remembers, true).heard(7, Role::Leads).register(their_mirrored(7));
            bench.silent().at(Stage::Following)
        }),
        ("follows by hand since a start, and the owner was not heard", {
            let bench = Bench::with(manual, remembers, true).register(their_mirrored(7)).silent();
            bench.deadline().at(Stage::Following)
        }),
        ("asks by hand to take over", {
            let bench = Bench::with(manual, remembers, true).heard(7, Role::Leads).register(their_mirrored(7));
            let told = bench.silent().command(Command::TakeOver { partner_is_off: true });
            told.done().persisted().at(Stage::Proposing)
        }),
        ("follows, and stops since the owner is silent", losing),
        ("follows, and has stopped", losing_leaves),
        ("asks to take over", taking_over.clone()),
        ("asks to take over, and does not know what came of it", taking_over.unknown()),
    ]
}

/// What may happen in a state, in words; `None` where it cannot.
fn events(bench: &Bench) -> Vec<(String, Option<Bench>)> {
    let arbiter = &bench.arbiter;
    let known = arbiter.memory.epoch_seen;
    let next = known + 1;
    let read = |found: Found| Some(bench.clone().read(found));
    let told = |event: Event| Some(bench.clone().event(event));
    let asked = arbiter.asked;
    let answered = |outcome: Outcome| asked.and(told(Event::Proposed(outcome)));
    let wanted = asked.map(|(_, wanted)| wanted);
    let expected = asked.and_then(|(expected, _)| expected);
    let heard = |epoch: u64, role: Role| told(words(epoch, role));
    let other = |incarnation: Incarnation, able: bool| {
        told(Event::Heard(Words {
            epoch: known,
            role: Role::Follows,
            incarnation,
            able,
            roomy: true,
            standing: None,
            orders: 0,
        }))
    };
    let mut events = vec![
        ("reads what it knows".to_owned(), arbiter.known.and_then(|register| read(Found::Register(register)))),
        ("reads: we alone, next".to_owned(), read(Found::Register(own_solo(next)))),
        ("reads: we mirrored, next".to_owned(), read(Found::Register(own_mirrored(next)))),
        ("reads: the partner alone, next".to_owned(), read(Found::Register(their_solo(next)))),
        ("reads: the partner mirrored, next".to_owned(), read(Found::Register(their_mirrored(next)))),
        ("reads: we mirrored, after next".to_owned(), read(Found::Register(own_mirrored(next + 1)))),
        ("reads another one of this epoch".to_owned(), {
            arbiter.known.and_then(|register| read(Found::Register(Register::solo(register.epoch, Node::B, foreign()))))
        }),
        ("reads an older one".to_owned(), (known > 1).then(|| read(Found::Register(their_solo(known - 1)))).flatten()),
        ("reads: missing".to_owned(), read(Found::Missing)),
        ("reads: unreadable".to_owned(), read(Found::Unreadable)),
        ("reads: unreachable".to_owned(), read(Found::Unreachable)),
        ("won".to_owned(), answered(Outcome::Won)),
        ("lost to what it asked for".to_owned(), {
            wanted.and_then(|wanted| answered(Outcome::Lost(Found::Register(wanted))))
        }),
        ("lost to the partner".to_owned(), {
            wanted.and_then(|wanted| answered(Outcome::Lost(Found::Register(their_solo(wanted.epoch)))))
        }),
        ("lost to nothing".to_owned(), expected.and_then(|_| answered(Outcome::Lost(Found::Missing)))),
        ("outcome unknown".to_owned(), answered(Outcome::Unknown)),
        ("persisted".to_owned(), arbiter.persisting.and(told(Event::Persisted))),
        ("done".to_owned(), (!arbiter.done).then(|| bench.clone().done())),
        ("done, an older order".to_owned(), told(Event::Done { order: 0 })),
        ("heard: follows".to_owned(), heard(known, Role::Follows)),
        ("heard: has left".to_owned(), heard(known, Role::Left)),
        ("heard: leads".to_owned(), heard(known, Role::Leads)),
        ("heard: frozen".to_owned(), heard(known, Role::Frozen)),
        ("heard: waits".to_owned(), heard(known, Role::Waits)),
        ("heard: follows in the epoch before".to_owned(), heard(known.saturating_sub(1), Role::Follows)),
        ("heard: leads the next epoch".to_owned(), heard(next, Role::Leads)),
        ("heard: with another copy".to_owned(), other(foreign(), true)),
        ("heard: not able".to_owned(), other(theirs(), false)),
        ("the disk is full".to_owned(), told(Event::Room(Room::Scarce))),
        ("nothing more can be written".to_owned(), told(Event::Room(Room::None))),
        ("the port has no link".to_owned(), told(Event::Port { up: false })),
        ("not heard any more".to_owned(), told(Event::Silent { heard_at: bench.now })),
        ("not heard for too long".to_owned(), Some(bench.clone().silent())),
        ("storage failed".to_owned(), told(Event::StorageFailed)),
        ("deadline".to_owned(), Some(bench.clone().deadline())),
    ];
    let commands = [
        Command::Create,
        Command::Move,
        Command::Solo { accept_loss: false, partner_is_off: false },
        Command::Solo { accept_loss: false, partner_is_off: true },
        Command::Solo { accept_loss: true, partner_is_off: true },
        Command::TakeOver { partner_is_off: false },
        Command::TakeOver { partner_is_off: true },
        Command::Rejoin,
    ];
    for command in commands {
        let mut after = bench.clone();
        match after.arbiter.command(command, after.now) {
            Ok(()) => events.push((format!("told to {command:?}"), Some(after.drained()))),
            Err(refusal) => events.push((format!("told to {command:?}: {refusal:?}"), None)),
        }
    }
    events
}

fn register_text(register: Register) -> String {
    let mode = if register.mode == Mode::Solo { "alone" } else { "mirrored" };
    format!("{} {} {mode}", register.epoch, register.owner)
}

fn order_text(order: Order) -> String {
    let with = |both: Option<Incarnation>| both.map_or("alone".to_owned(), |with| format!("with {:x}", with.number()));
    match order {
        Order::Reconcile { epoch, with: copy } => format!("Reconcile {epoch} {}", with(Some(copy))),
        Order::Lead { epoch, both } => format!("Lead {epoch} {}", with(both)),
        Order::Adopt { epoch, both } => format!("Adopt {epoch} {}", with(both)),
        Order::CatchUp { with: copy } => format!("CatchUp {}", with(Some(copy))),
        Order::RequireBoth { with: copy } => format!("RequireBoth {}", with(Some(copy))),
        Order::Follow { epoch, acknowledge: true } => format!("Follow {epoch} acknowledging"),
        Order::Follow { epoch, .. } => format!("Follow {epoch}"),
        Order::Drain { .. } => "Drain".to_owned(),
        Order::Freeze | Order::StepDown | Order::StopFollowing => format!("{order:?}"),
    }
}

fn action_text(action: Action) -> Option<String> {
    Some(match action {
        Action::Read => "read".to_owned(),
        Action::Propose { expected, wanted } => {
            format!("propose {} for {}", register_text(wanted), expected.map_or("nothing".to_owned(), register_text))
        }
        Action::Persist(memory) => format!("persist seen {} left {}", memory.epoch_seen, memory.left),
        Action::Order { order, .. } => order_text(order),
        Action::Withdraw => "withdraw".to_owned(),
        Action::Say(Words { epoch, role, able, roomy, .. }) => {
            let (able, roomy) = (if able { "" } else { ", not able" }, if roomy { "" } else { ", no room" });
            format!("say {role:?} {epoch}{able}{roomy}")
        }
        Action::Renew => "renew".to_owned(),
        Action::Settle(_) => "settle".to_owned(),
        Action::Tell(Notice::Trouble(Some(trouble))) => format!("TROUBLE {trouble:?}"),
        Action::Tell(Notice::Trouble(None)) => "no trouble".to_owned(),
        Action::Tell(Notice::Store { reachable }) => {
            format!("store {}", if reachable { "back" } else { "unreachable" })
        }
        // The stage is shown anyway, and who is isolated withdraws.
        Action::Tell(Notice::Stage { .. } | Notice::Isolated) => return None,
    })
}

fn render() -> String {
    let mut text = String::from(
        "What the machine of box a does in each state with each event: the stage that it is in then, and what it says. Its copy\n\
         is a, the partner's is b. Events that change nothing stand at the end of each state, refused commands with the reason.\n",
    );
    for (name, bench) in states() {
        let stage = bench.arbiter.stage();
        let known = bench.arbiter.known.map_or("no register".to_owned(), register_text);
        let memory = bench.arbiter.memory;
        write!(text, "\n# {name}\n{stage:?}; {known}; seen {}, left {}", memory.epoch_seen, memory.left).expect("text");
        let trouble = bench.arbiter.trouble().map_or(String::new(), |trouble| format!("; {trouble:?}"));
        writeln!(text, "{trouble}").expect("text");
        let mut nothing = Vec::new();
        for (event, after) in events(&bench) {
            let Some(after) = after else {
                if event.starts_with("told") {
                    nothing.push(event);
                }
                continue;
            };
            let actions: Vec<String> = after.said.iter().filter_map(|action| action_text(*action)).collect();
            if actions.is_empty() && after.arbiter.stage() == stage {
                nothing.push(event);
            } else {
                writeln!(text, "  {event} -> {:?}: {}", after.arbiter.stage(), actions.join("; ")).expect("text");
            }
        }
        writeln!(text, "  nothing: {}", nothing.join("; ")).expect("text");
    }
    text
}

#[test]
fn the_table_is_what_the_machine_does() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/mirror/arbiter/table.txt");
    let rendered = render();
    if std::env::var_os("ROHRPOST_WRITE_TABLE").is_some() {
        std::fs::write(&path, &rendered).expect("the table can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    for (ours, theirs) in rendered.lines().zip(written.lines()) {
        assert_eq!(ours, theirs, "read the module doc, then run this test with ROHRPOST_WRITE_TABLE=1");
    }
    assert_eq!(rendered.lines().count(), written.lines().count());
}

#[test]
fn a_deadline_that_has_passed_is_over() {
    for (name, bench) in states() {
        let mut bench = bench;
        for _ in 0..20 {
            if bench.arbiter.deadline() == Instant::FAR {
                break;
            }
            bench = bench.deadline();
            assert!(bench.arbiter.deadline() > bench.now, "{name}");
        }
    }
}

#[test]
fn every_stage_is_in_the_table() {
    let mut stages: Vec<Stage> = states().iter().map(|(_, bench)| bench.arbiter.stage()).collect();
    stages.sort();
    stages.dedup();
    assert_eq!(stages.len(), 17, "{stages:?}");
}

/// The machine in the state of this name.
fn state(name: &str) -> Bench {
    let mut states = states();
    let index = states.iter().position(|(other, _)| *other == name).expect("it is there");
    states.swap_remove(index).1
}

fn leading() -> Bench {
    state("leads, mirrored")
}

fn following() -> Bench {
    state("follows")
}

#[test]
fn silence_counts_from_when_the_partner_was_heard_and_the_owner_waits_less() {
    let owner = leading();
    let heard_at = owner.now;
    let mut owner = Bench { now: heard_at + Duration::from_millis(30), ..owner }.event(Event::Silent { heard_at });
    assert_eq!(owner.arbiter.deadline(), heard_at + Duration::from_millis(150));
    owner.now = heard_at + Duration::from_millis(149);
    owner.arbiter.expire(owner.now);
    let owner = owner.at(Stage::Leading).deadline().at(Stage::Stopping);
    assert_eq!(owner.now, heard_at + Duration::from_millis(150));
    // Not settled: the addresses go before the partner may take them.
    let owner = owner.deadline().event(Event::Read(Found::Unreachable));
    assert_eq!(owner.arbiter.deadline(), heard_at + Duration::from_millis(200));
    let owner = owner.deadline();
    assert!(owner.said.contains(&Action::Withdraw), "{:?}", owner.said);

    let replica = following().event(Event::Silent { heard_at });
    assert_eq!(replica.arbiter.deadline(), heard_at + Duration::from_millis(250));
    replica.deadline().at(Stage::Stopping);
}

#[test]
fn an_owner_that_starts_leaves_a_replica_that_it_does_not_hear_the_time_to_take_over() {
    // That it was heard once makes no difference: whom it hears a replica does not relieve.
    for started in [Bench::started(), Bench::started().heard(7, Role::Waits)] {
        let owner = started.register(own_mirrored(7)).done().persisted().at(Stage::Deciding);
        let mut owner = owner.event(Event::Silent { heard_at: START });
        owner.now = START + Settings::default().takeover_after;
        owner.arbiter.expire(owner.now);
        let mut owner = owner.at(Stage::Deciding);
        owner.now = START + Settings::default().start_alone_after;
        owner.arbiter.expire(owner.now);
        owner.at(Stage::Proposing);
    }
}

#[test]
fn a_partner_does_not_catch_up_and_no_identity_moves_before_the_order_to_lead_is_carried_out() {
    let told = leading().silent().done().persisted().won().persisted().at(Stage::Leading);
    let told = told.heard(9, Role::Follows).at(Stage::Leading);
    told.done().at(Stage::CatchingUp).done().done().won().persisted().at(Stage::Leading);
    let mut again =
        leading().silent().heard(8, Role::Follows).done().persisted().done().won().persisted().at(Stage::Leading);
    again = again.heard(9, Role::Follows);
    assert_eq!(again.arbiter.command(Command::Move, again.now), Err(Refusal::Busy));
    again.done().command(Command::Move).at(Stage::Draining);
}

#[test]
fn an_owner_that_asks_to_be_mirrored_gives_way_to_a_replica_that_has_gone_on() {
    let pairing = state("leads alone, requires both, and asks to be mirrored");
    assert!(pairing.arbiter.works());
    // It has learned from the store what we asked for, or goes on from there.
    let told = pairing.clone().heard(10, Role::Follows).at(Stage::Pairing);
    assert!(told.arbiter.works());
    let passed = pairing.heard(11, Role::Leads).at(Stage::Pairing);
    assert!(passed.said.contains(&Action::Withdraw), "{:?}", passed.said);
    assert!(!passed.arbiter.works());
}

#[test]
fn a_partner_that_is_heard_again_in_time_changes_nothing() {
    let owner = leading();
    let heard_at = owner.now;
    let mut owner = owner.event(Event::Silent { heard_at }).heard(8, Role::Follows);
    owner.now = heard_at + Duration::from_secs(1);
    owner.arbiter.expire(owner.now);
    owner.at(Stage::Leading);
}

#[test]
fn a_pause_is_a_silence() {
    // The process stood still for a minute, and so has heard nothing.
    let owner = leading();
    let heard_at = owner.now;
    Bench { now: heard_at + Duration::from_secs(60), ..owner }.event(Event::Silent { heard_at }).at(Stage::Stopping);
}

#[test]
fn an_answer_that_is_older_than_what_is_known_is_not_believed_and_no_alarm() {
    // Asked in epoch 8; then the partner is heard in epoch 9; then comes the answer of epoch 8.
    let owner = leading().event(Event::Stirred).heard(9, Role::Leads);
    let owner = owner.event(Event::Read(Found::Register(own_mirrored(8))));
    assert_eq!(owner.arbiter.trouble(), None);
    assert!(owner.said.contains(&Action::Read), "{:?}", owner.said);
    // The same answer to a question that was asked later is one.
    let owner = owner.event(Event::Read(Found::Register(own_mirrored(8)))).at(Stage::Closed);
    assert_eq!(owner.arbiter.trouble(), Some(Trouble::RegisterBehind));
}

#[test]
fn the_same_question_is_asked_until_it_is_answered() {
    let mut bench = leading().silent().done().persisted().at(Stage::Proposing);
    let question = Action::Propose { expected: Some(own_mirrored(8)), wanted: own_solo(9) };
    assert!(bench.said.contains(&question), "{:?}", bench.said);
    for _ in 0..5 {
        bench = bench.unknown().register(own_mirrored(8)).at(Stage::Proposing);
        while !bench.said.contains(&question) {
            bench = bench.deadline();
        }
    }
    bench.event(Event::Proposed(Outcome::Lost(Found::Register(own_solo(9))))).persisted().at(Stage::Leading);
}

#[test]
fn a_replica_that_is_handed_over_to_leads_at_once_and_only_then() {
    let handed = following().register(own_mirrored(8)).at(Stage::Entering).persisted().at(Stage::Adopting);
    let order = Order::Adopt { epoch: 8, both: Some(theirs()) };
    assert!(matches!(handed.said[..], [Action::Order { order: given, .. }, ..] if given == order), "{:?}", handed.said);
    // What has left the epoch before asks first.
    following().silent().done().heard(7, Role::Leads).persisted().register(own_mirrored(8)).at(Stage::Stopping);
}

#[test]
fn by_hand_a_box_that_was_off_takes_no_word_for_what_the_other_did_meanwhile() {
    let manual = Settings { manual: true, ..Settings::default() };
    let remembers = Memory { epoch_seen: 7, left: 6, incarnation: ours() };
    let off = Command::TakeOver { partner_is_off: true };
    let loss = Command::Solo { accept_loss: true, partner_is_off: true };
    let mut replica = Bench::with(manual, remembers, true).register(their_mirrored(7)).silent();
    assert_eq!(replica.arbiter.trouble(), Some(Trouble::Unmet));
    assert_eq!(replica.arbiter.command(off, replica.now), Err(super::Refusal::Unmet));
    let taken = replica.clone().command(loss).done().persisted().at(Stage::Proposing);
    let question = Action::Propose { expected: Some(their_mirrored(7)), wanted: own_solo(9) };
    assert!(taken.said.contains(&question), "an epoch is left out: {:?}", taken.said);
    taken.won().persisted().at(Stage::Adopting);

    let mut owner = Bench::with(manual, remembers, true).register(own_mirrored(7)).done().persisted().silent();
    assert_eq!(owner.arbiter.trouble(), Some(Trouble::Unmet));
    assert_eq!(owner.arbiter.command(off, owner.now), Err(super::Refusal::Unmet));
    owner.command(loss).at(Stage::Proposing).won().persisted().at(Stage::Adopting);

    // Once it has been heard in this epoch it cannot have gone on since, but by a word that was no good.
    let heard = replica.heard(7, Role::Leads);
    let mut heard = heard.at(Stage::Following);
    assert_eq!(heard.arbiter.command(off, heard.now), Err(super::Refusal::PartnerHeard));
    assert_eq!(heard.arbiter.command(loss, heard.now), Err(super::Refusal::NotOwner));
    let silent = heard.silent();
    assert_eq!(silent.arbiter.trouble(), Some(Trouble::CommandNeeded));
    let told = silent.command(off).at(Stage::Stopping).done();
    // It was not off.
    told.clone().heard(7, Role::Leads).persisted().at(Stage::Following);
    told.persisted().at(Stage::Proposing);
}

#[test]
fn by_hand_an_owner_that_is_alone_looks_for_its_partner_before_it_works() {
    let manual = Settings { manual: true, ..Settings::default() };
    let remembers = Memory { epoch_seen: 7, left: 6, incarnation: ours() };
    let started = Bench::with(manual, remembers, true).register(own_solo(7)).done().persisted().at(Stage::Deciding);
    started.clone().heard(7, Role::Waits).at(Stage::Proposing);
    let replaced = started.clone().heard(9, Role::Leads).at(Stage::Deciding);
    replaced.register(their_solo(9)).persisted().done().at(Stage::Following);
    let mut alone = started;
    while alone.arbiter.stage() == Stage::Deciding {
        if alone.arbiter.reading.is_some() {
            alone = alone.register(own_solo(7));
        }
        alone = alone.deadline();
    }
    assert!(alone.now >= START + manual.seek_within);
    alone.at(Stage::Proposing);
}

#[test]
fn by_hand_a_split_is_settled_by_command_only() {
    let manual = Settings { manual: true, ..Settings::default() };
    let remembers = Memory { epoch_seen: 7, left: 6, incarnation: ours() };
    let split = Bench::with(manual, remembers, true).register(own_solo(7)).read(Found::Split { epoch: 9 });
    let mut split = split.at(Stage::Closed).persisted();
    assert_eq!(split.arbiter.trouble(), Some(Trouble::RegisterSplit));
    assert_eq!(split.arbiter.memory().epoch_seen, 9);
    let refused = split.arbiter.command(Command::Solo { accept_loss: false, partner_is_off: true }, split.now);
    assert_eq!(refused, Err(super::Refusal::LossNotAccepted));
    let settled = split.command(Command::Solo { accept_loss: true, partner_is_off: true });
    assert!(settled.said.contains(&Action::Settle(ours())), "{:?}", settled.said);
    settled
        .register(own_solo(10))
        .done()
        .persisted()
        .persisted()
        .at(Stage::Proposing)
        .won()
        .persisted()
        .at(Stage::Adopting);
}

#[test]
fn a_disk_that_was_restored_is_not_counted_on() {
    let memory = Memory { epoch_seen: 5, left: 4, incarnation: ours() };
    let started = || Bench::with(Settings::default(), memory, true);
    for register in [own_mirrored(7), their_mirrored(7), own_solo(7)] {
        let restored = started().register(register).at(Stage::Barred);
        assert_eq!(restored.arbiter.trouble(), Some(Trouble::CopySetBack));
        assert!(!restored.arbiter.words().able);
        assert_eq!(restored.arbiter.memory(), memory, "it would not be noticed after a restart");
        restored.register(their_solo(8)).persisted().at(Stage::Following);
    }
    // It may have missed one, and any number in which it did not count.
    started().register(their_mirrored(6)).persisted().at(Stage::Following);
    started().register(their_solo(9)).persisted().at(Stage::Following);
}

#[test]
fn a_copy_that_is_renewed_goes_on_with_what_was_remembered() {
    let memory = Memory { epoch_seen: 7, left: 6, incarnation: ours() };
    let damaged = Bench::with(Settings::default(), memory, false).register(their_solo(7)).command(Command::Rejoin);
    assert!(damaged.said.contains(&Action::Renew));
    // Once: whatever happens before the other machine is there, a second name for the copy would be drawn, and one of them lost.
    let mut ended = damaged.register(their_solo(8)).heard(8, Role::Leads).silent();
    assert_eq!(ended.arbiter.command(Command::Rejoin, ended.now), Err(super::Refusal::Busy));
    assert_eq!((ended.said.len(), ended.arbiter.deadline()), (0, Instant::FAR));
    let mut counted = Bench::with(Settings::default(), memory, false).register(their_mirrored(7));
    let refused = counted.arbiter.command(Command::Rejoin, START);
    assert_eq!(refused, Err(super::Refusal::CopyCounts));
}

fn room_there(epoch: u64, roomy: bool) -> Event {
    Event::Heard(Words {
        epoch,
        role: Role::Follows,
        incarnation: theirs(),
        able: true,
        roomy,
        standing: None,
        orders: 0,
    })
}

#[test]
fn an_owner_without_room_gives_way_to_a_replica_that_has_some_and_to_no_other() {
    // Neither has: there is nobody who could take the mail.
    let full = leading().event(room_there(8, false)).event(Event::Room(Room::Scarce)).at(Stage::Leading);
    assert!(full.arbiter.words().able, "it is asked for nothing");
    // The replica has, from then on.
    let full = full.event(room_there(8, true)).at(Stage::Draining);
    let within = Settings::default().give_way_within;
    assert!(full.said.iter().any(
        |action| matches!(action, Action::Order { order: Order::Drain { within: given }, .. } if *given == within)
    ));
    let moving = full.done().done().persisted().done().at(Stage::Proposing);
    assert_eq!(moving.arbiter.asked, Some((Some(own_mirrored(8)), their_mirrored(9))), "both copies count on");
    // It follows, with what is left of its disk, and says that there is no room for more.
    let follows = moving.won().persisted().done().at(Stage::Following);
    let words = follows.arbiter.words();
    assert!(words.able && !words.roomy, "{words:?}");
    // There is room again, and nothing moves.
    let follows = follows.event(Event::Room(Room::Enough)).heard(9, Role::Leads).at(Stage::Following);
    assert!(follows.arbiter.words().roomy);

    let manual = Bench::with(Settings { manual: true, ..Settings::default() }, leading().arbiter.memory(), true);
    let manual = manual.heard(8, Role::Follows).register(own_mirrored(8)).done().persisted().done().won().persisted();
    manual.done().heard(9, Role::Follows).event(Event::Room(Room::Scarce)).at(Stage::Leading);
}

#[test]
fn without_a_link_nobody_works_who_could_leave_it_to_the_other_one() {
    let (cut, mended) = (Event::Port { up: false }, Event::Port { up: true });
    // The partner is heard, over a port of its own, and can be reached by clients.
    leading().event(room_there(8, false)).event(cut).at(Stage::Leading);
    let moving = leading().event(room_there(8, true)).event(cut).at(Stage::Draining);
    let at_once =
        |action: &Action| matches!(action, Action::Order { order: Order::Drain { within }, .. } if within.is_zero());
    assert!(moving.said.iter().any(at_once));
    let moving = moving.done().done().persisted().done().at(Stage::Proposing);
    assert_eq!(moving.arbiter.asked, Some((Some(own_mirrored(8)), their_mirrored(9))), "both copies count on");

    // It is not heard: it can take over, and we could serve nobody.
    let alone = leading().event(cut).silent().done().persisted().at(Stage::Deciding);
    assert_eq!(alone.arbiter.asked, None);
    let back = alone.clone().event(mended).at(Stage::Proposing);
    assert_eq!(back.arbiter.asked, Some((Some(own_mirrored(8)), own_solo(9))), "nobody did");
    alone.heard(9, Role::Leads).register(their_solo(9)).done().persisted().at(Stage::SteppingDown);

    // A replica without a link takes over from nobody, before it has one.
    let replica = following().event(cut).silent().at(Stage::Following);
    replica.event(mended).at(Stage::Stopping);
    let replica = following().silent().at(Stage::Stopping).event(cut).done().persisted().at(Stage::Deciding);
    replica.clone().event(mended).at(Stage::Proposing);
    replica.heard(8, Role::Leads).at(Stage::Following);
}

#[test]
fn a_replica_that_cannot_take_a_batch_says_so_and_its_owner_waits_for_no_silence() {
    let stuck = following().event(Event::Room(Room::None)).at(Stage::Following);
    assert!(!stuck.arbiter.words().able);
    assert!(stuck.event(Event::Room(Room::Scarce)).arbiter.words().able);
    let hears = Event::Heard(Words {
        epoch: 8,
        role: Role::Follows,
        incarnation: theirs(),
        able: false,
        roomy: false,
        standing: None,
        orders: 0,
    });
    leading().event(hears).at(Stage::Stopping).done().persisted().at(Stage::Proposing);
    // A full owner is able: an order to take over from it would make its copy stale.
    assert!(leading().event(Event::Room(Room::None)).arbiter.words().able);
}
