use super::*;
use crate::control::pair::PairCounts;
use crate::mirror::arbiter::{self, Stage};
use crate::mirror::register::Node;
use std::time::Duration;

const FAILED: &str = "write: Input/output error (os error 5)";

/// What may happen to a box.
#[derive(Clone, Debug)]
enum Step {
    /// All workers answer, their logs being so.
    Pulses(LogState),
    /// Worker 1 answers, its own log and that of a former worker being so.
    Pulse(LogState, LogState),
    /// Both workers are asked.
    Asked,
    Event(Box<Event>),
    Gone(u16),
    Drain,
}

/// A name, what happens, and whether the box is live and ready then, and why not.
type Case = (&'static str, Vec<Step>, (bool, bool, &'static str));

fn at(seconds: u64) -> Now {
    Now { mono: Instant::ZERO + Duration::from_secs(seconds), wall: WallTime::from_micros(seconds * 1_000_000) }
}

fn log(log: u16, state: LogState) -> LogPulse {
    let error = (state != LogState::Open).then(|| FAILED.to_owned());
    LogPulse { log, state, error, ..LogPulse::default() }
}

fn event(event: Event) -> Step {
    Step::Event(Box::new(event))
}

fn take(health: &mut Health, step: &Step, now: WallTime) {
    match step {
        Step::Pulses(state) => {
            for worker in 0..2 {
                let logs = vec![log(worker, *state)];
                health.pulse(Pulse { worker, logs, ..Pulse::default() }, now);
            }
        }
        Step::Pulse(own, former) => {
            let logs = vec![log(1, *own), log(3, *former)];
            health.pulse(Pulse { worker: 1, logs, ..Pulse::default() }, now);
        }
        Step::Asked => (0..2).for_each(|worker| health.asked(worker, now)),
        Step::Event(event) => health.event(event, now),
        Step::Gone(worker) => health.worker_gone(*worker),
        Step::Drain => health.drain(),
    }
}

/// Live, ready, and why not.
fn told(health: &Health) -> (bool, bool, String) {
    let report = health.report();
    let reasons = report.reasons.iter().map(|reason| format!("{}({})", reason.reason, reason.subject));
    (report.live, report.ready, reasons.collect::<Vec<_>>().join(" "))
}

fn link(up: bool) -> Step {
    event(Event::Link(Link { up, speed_mbps: None }))
}

#[test]
fn each_step_of_a_box_says_whether_it_lives_and_takes_mail() {
    let up = Step::Pulses(LogState::Open);
    let silence = |count: usize| vec![Step::Asked; count];
    let full = event(Event::QueueFull { log: 1, reason: "no space".into() });
    let space = event(Event::QueueSpace { log: 1 });
    let failed = event(Event::StorageFailed { log: 0, error: FAILED.into() });
    let died = vec![Step::Gone(1), event(Event::WorkerFailed { worker: 1, text: "a panic".into() })];
    let (missed, most) = (PULSES_MISSED_MAX as usize, PULSES_MISSED_MAX as usize + 1);
    let cases: Vec<Case> = vec![
        ("nobody was heard", vec![], (true, false, "starting(worker 0) starting(worker 1)")),
        ("one was heard", vec![Step::Pulse(LogState::Open, LogState::Open)], (true, false, "starting(worker 0)")),
        ("all were heard", vec![up.clone()], (true, true, "")),
        ("all are busy", [vec![up.clone()], silence(missed)].concat(), (true, true, "")),
        (
            "all are silent",
            [vec![up.clone()], silence(most)].concat(),
            (false, false, "worker_silent(worker 0) worker_silent(worker 1)"),
        ),
        ("all speak again", [vec![up.clone()], silence(most), vec![up.clone()]].concat(), (true, true, "")),
        (
            "one speaks again",
            [vec![up.clone()], silence(most), vec![Step::Pulse(LogState::Open, LogState::Open)]].concat(),
            (false, false, "worker_silent(worker 0)"),
        ),
        (
            "never heard, and silent",
            silence(most),
            (false, false, "worker_silent(worker 0) worker_silent(worker 1) starting(worker 0) starting(worker 1)"),
        ),
        ("one failed", [vec![up.clone()], died.clone()].concat(), (false, false, "worker_failed(worker 1)")),
        (
            "a failed one is not silent as well",
            [vec![up.clone()], silence(most), died].concat(),
            (false, false, "worker_failed(worker 1) worker_silent(worker 0)"),
        ),
        ("full", vec![up.clone(), full.clone()], (true, false, "log_full(log 1)")),
        ("space again", vec![up.clone(), full.clone(), space.clone()], (true, true, "")),
        ("space again, by a pulse", vec![up.clone(), full.clone(), up.clone()], (true, true, "")),
        (
            "full, by a pulse",
            vec![up.clone(), Step::Pulse(LogState::Full, LogState::Open)],
            (true, false, "log_full(log 1)"),
        ),
        (
            "a former worker's log takes no mail, and may be full",
            vec![up.clone(), Step::Pulse(LogState::Open, LogState::Full)],
            (true, true, ""),
        ),
        (
            "a former worker's log that failed holds mail back",
            vec![up.clone(), Step::Pulse(LogState::Open, LogState::Failed)],
            (true, false, "storage_failed(log 3)"),
        ),
        ("failed", vec![up.clone(), failed.clone()], (true, false, "storage_failed(log 0)")),
        (
            "failed while it was full",
            vec![up.clone(), full.clone(), event(Event::StorageFailed { log: 1, error: FAILED.into() })],
            (true, false, "storage_failed(log 1)"),
        ),
        ("no link", vec![up.clone(), link(false)], (true, false, "link_down(port)")),
        ("a link again", vec![up.clone(), link(false), link(true)], (true, true, "")),
        ("draining", vec![up.clone(), Step::Drain], (true, false, "draining(appliance)")),
        (
            "draining and full",
            vec![up.clone(), full, Step::Drain],
            (true, false, "draining(appliance) log_full(log 1)"),
        ),
        (
            "drained",
            vec![up.clone(), Step::Drain, Step::Gone(0), Step::Gone(1), Step::Asked],
            (true, false, "draining(appliance)"),
        ),
        ("space that was never short", vec![up, space], (true, true, "")),
    ];
    for (name, steps, expected) in cases {
        let mut health = Health::new(2, None, WallTime::default());
        steps.iter().for_each(|step| take(&mut health, step, WallTime::default()));
        let (live, ready, reasons) = told(&health);
        assert_eq!((live, ready, reasons.as_str()), expected, "{name}");
    }
}

#[test]
fn a_link_that_is_down_at_the_start_is_no_link() {
    let down = Link { up: false, speed_mbps: None };
    let mut health = Health::new(1, Some(down), at(7).wall);
    assert_eq!(told(&health).2, "link_down(port) starting(worker 0)");
    assert_eq!(health.troubles().next().unwrap().since, at(7).wall);
    health.event(&Event::Link(Link { up: true, speed_mbps: Some(1000) }), at(8).wall);
    health.pulse(Pulse::default(), at(8).wall);
    assert_eq!(told(&health), (true, true, String::new()));
}

#[test]
fn damage_takes_mail_all_the_same_and_is_told_until_an_operator_has_looked() {
    let mut health = Health::new(1, None, WallTime::default());
    let pulse = |damaged, damages| {
        let damage = (damages > 0).then(|| "segment 3 (use 1)".to_owned());
        let logs = vec![LogPulse { damaged, damages, damage, ..log(0, LogState::Open) }];
        Pulse { logs, ..Pulse::default() }
    };
    let found = |health: &Health| -> Vec<(Condition, u64)> {
        health.troubles().map(|trouble| (trouble.condition, trouble.count)).collect()
    };
    health.pulse(pulse(0, 0), at(1).wall);
    assert!(found(&health).is_empty());
    health.pulse(pulse(2, 1), at(2).wall);
    health.pulse(pulse(2, 3), at(3).wall);
    assert_eq!(told(&health), (true, true, String::new()));
    assert_eq!(found(&health), [(Condition::MessagesDamaged, 2), (Condition::LogDamaged, 3)]);
    assert!(health.troubles().all(|trouble| trouble.since == at(2).wall), "it began then");
    assert!(health.troubles().any(|trouble| trouble.text.contains("the first: segment 3 (use 1)")));
    // The messages were deleted; that the log was damaged stays true.
    health.pulse(pulse(0, 3), at(4).wall);
    assert_eq!(found(&health), [(Condition::LogDamaged, 3)]);
}

#[test]
fn messages_that_wait_for_a_key_are_told_until_they_do_not() {
    let mut health = Health::new(1, None, WallTime::default());
    let pulse = |keyless| Pulse { keyless, ..Pulse::default() };
    health.pulse(pulse(3), at(1).wall);
    let trouble = health.troubles().next().unwrap();
    assert_eq!((trouble.condition, trouble.count), (Condition::SigningKeyMissing, 3));
    assert_eq!(told(&health), (true, true, String::new()), "mail is taken all the same");
    health.pulse(pulse(0), at(2).wall);
    assert!(health.troubles().next().is_none());
}

#[test]
fn lost_lines_are_told_until_none_was_lost_for_a_while() {
    let mut health = Health::new(1, None, WallTime::default());
    let lost = |health: &Health| health.troubles().map(|trouble| trouble.count).next();
    health.lines_lost(0, at(1));
    assert_eq!(lost(&health), None);
    // The log's own and the workers' are counted together.
    health.pulse(Pulse { events_lost: 5, ..Pulse::default() }, at(2).wall);
    health.lines_lost(2, at(2));
    assert_eq!(lost(&health), Some(7));
    let over = 2 + EVENTS_LOST_DURATION.as_secs();
    health.lines_lost(2, at(over - 1));
    assert_eq!(lost(&health), Some(7));
    health.lines_lost(2, at(over));
    assert_eq!(lost(&health), None);
    health.lines_lost(3, at(over + 1));
    assert_eq!(lost(&health), Some(8));
}

#[test]
fn credentials_are_refused_until_no_worker_is_refused_with_them() {
    let mut health = Health::new(2, None, WallTime::default());
    let mut pulse = |worker, refused: &[u16]| {
        let refused = refused.iter().map(|id| (CredentialsId(*id), format!("mx{id}: 535 no"))).collect();
        health.pulse(Pulse { worker, refused, ..Pulse::default() }, WallTime::default());
        assert!(health.reasons().all(|reason| matches!(reason, Reason::Starting { .. })), "mail is taken all the same");
        let troubles = health.troubles().map(|trouble| format!("{} {}", trouble.condition, trouble.subject));
        troubles.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(pulse(0, &[1]), "credentials_refused credentials 1");
    assert_eq!(pulse(1, &[0, 1]), "credentials_refused credentials 0, credentials_refused credentials 1");
    assert_eq!(pulse(0, &[]), "credentials_refused credentials 0, credentials_refused credentials 1");
    assert_eq!(pulse(1, &[0]), "credentials_refused credentials 0");
    assert_eq!(pulse(1, &[]), "");
}

#[test]
fn a_certificate_is_told_of_two_weeks_before_its_end_until_there_is_another() {
    const DAY: u64 = 24 * 3600;
    let mut health = Health::new(0, None, at(0).wall);
    let shown = |health: &mut Health, day: u64, now: u64| {
        let file = "/etc/rohrpost/mx.pem".to_owned();
        health.event(&Event::Certificate { number: 3, file, expires_at: at(day * DAY).wall }, at(now * DAY).wall);
    };
    let told = |health: &mut Health, now: u64| {
        health.watch_certificates(at(now * DAY).wall);
        let all: Vec<_> =
            health.troubles().map(|trouble| format!("{} {}", trouble.condition, trouble.subject)).collect();
        all.join(", ")
    };
    shown(&mut health, 90, 0);
    assert_eq!(told(&mut health, 76), "");
    assert_eq!(told(&mut health, 77), "certificate_expires certificate 3");
    assert_eq!(told(&mut health, 90), "certificate_expired certificate 3");
    assert!(health.is_live() && health.report().ready, "mail comes in all the same");
    shown(&mut health, 180, 91);
    assert_eq!(told(&mut health, 91), "");
}

#[test]
fn whatever_is_wrong_the_answer_stays_short() {
    let mut health = Health::new(64, None, WallTime::default());
    for log in 0..=u16::MAX {
        let error = "é".repeat(100_000 / (1 + usize::from(log)).pow(2));
        health.event(&Event::StorageFailed { log, error }, WallTime::default());
    }
    assert_eq!(health.troubles().count(), CONDITIONS_MAX);
    let report = health.report();
    assert_eq!(report.reasons.len(), HEALTH_REASONS_MAX);
    assert!(report.reasons.iter().all(|reason| reason.text.len() <= CONDITION_TEXT_SIZE_MAX));
    assert!(health.reasons().any(|reason| reason == Reason::TooMuch), "a box with more than fits is not ready");
}

#[test]
fn the_answer_has_the_names_that_are_documented() {
    let mut health = Health::new(1, None, WallTime::default());
    health.pulse(Pulse::default(), WallTime::default());
    let json = serde_json::to_value(health.report()).unwrap();
    let expected = serde_json::json!({"version": 1, "live": true, "ready": true, "draining": false, "reasons": []});
    assert_eq!(json, expected);
    health.drain();
    health.event(&Event::QueueFull { log: 0, reason: "no space".into() }, WallTime::default());
    let json = serde_json::to_value(health.report()).unwrap();
    let expected = serde_json::json!([
        {
            "reason": "draining",
            "subject": "appliance",
            "text": "rohrpost is ending: sessions finish, and no new ones begin",
        },
        {"reason": "log_full", "subject": "log 0", "text": "log 0 is full and mail is refused with 452: no space"},
    ]);
    assert_eq!(json["reasons"], expected);
}

#[test]
fn of_a_pair_engineers_hear_what_is_wrong_and_that_it_is_over() {
    let identity = |identity, works| IdentityStatus {
        identity,
        stage: if works { Stage::Leading } else { Stage::Following },
        works,
        epoch: 7,
        owner: Some(Node::A),
        mode: Some(Mode::Mirrored),
        partner_heard: true,
        trouble: None,
        counts: PairCounts::default(),
    };
    let well = |works| PairStatus {
        node: Node::A,
        arbiter: ArbiterKind::Etcd,
        store_error: None,
        orders_are_same: Some(true),
        identities: [identity(Node::A, works), identity(Node::B, false)],
    };
    let mut health = Health::new(2, None, WallTime::default());
    take(&mut health, &Step::Pulses(LogState::Open), at(0).wall);
    let mut conditions = |status: &PairStatus| {
        health.pair(status, at(1).wall);
        let mut raised: Vec<_> = health.troubles().map(|it| (it.condition, it.subject.to_string())).collect();
        raised.sort_unstable();
        (raised, told(&health).1)
    };
    assert_eq!(conditions(&well(true)), (vec![], true));
    assert_eq!(conditions(&well(false)), (vec![], false), "the standby takes no mail");
    let mut alone = well(true);
    alone.identities[0].mode = Some(Mode::Solo);
    assert_eq!(conditions(&alone), (vec![(Condition::PairSolo, "identity a".to_owned())], true));
    let mut broken = well(true);
    broken.store_error = Some("connection refused".to_owned());
    broken.identities[1].trouble = Some(arbiter::Trouble::CopyUnfit);
    let mut expected =
        vec![(Condition::PairStore, "appliance".to_owned()), (Condition::PairTrouble, "identity b".to_owned())];
    expected.sort_unstable();
    assert_eq!(conditions(&broken), (expected, true));
    assert_eq!(conditions(&well(true)), (vec![], true), "all of it is over");
}
