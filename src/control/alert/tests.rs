use super::*;
use crate::limits::{ALERT_ATTEMPTS_MAX, ALERT_RETRY_FIRST, ALERT_RETRY_MAX, ALERTS_WAITING_MAX};

const REPEAT: Duration = Duration::from_secs(3600);
const CALM: Duration = Duration::from_secs(120);

fn at(seconds: u64) -> Now {
    Now { mono: Instant::ZERO + Duration::from_secs(seconds), wall: WallTime::from_micros(seconds * 1_000_000) }
}

fn trouble(condition: Condition, log: u16, count: u64) -> Trouble {
    Trouble { condition, subject: Subject::Log(log), since: at(5).wall, count, text: format!("{condition} {count}") }
}

fn full(log: u16) -> Trouble {
    trouble(Condition::LogFull, log, 1)
}

/// What is told when these are wrong at these times, in seconds.
fn told(steps: &[(u64, &[Trouble])]) -> Vec<String> {
    let mut alerts = Alerts::new("mx1.example.net", REPEAT, CALM);
    let mut all = Vec::new();
    for (seconds, troubles) in steps {
        let state = |notice: &Notice| match notice.state {
            AlertState::Raised => "raised",
            AlertState::Continues => "continues",
            AlertState::Cleared => "cleared",
        };
        let notices = alerts.update(troubles.iter(), at(*seconds));
        all.extend(notices.iter().map(|notice| {
            format!("{seconds} {} {} {}: {}", notice.condition, notice.subject, state(notice), notice.text)
        }));
    }
    all
}

#[test]
fn a_condition_is_raised_once_repeated_while_it_lasts_and_cleared_once() {
    let full = &[full(0)][..];
    let steps: &[(u64, &[Trouble])] = &[
        (9, &[]),
        (10, full),
        (11, full),
        (3609, full),
        (3610, full),
        (3611, full),
        (7210, full),
        (7211, &[]),
        (7330, &[]),
        (7331, &[]),
        (7332, &[]),
        (20_000, &[]),
    ];
    let expected = [
        "10 log_full log 0 raised: log_full 1",
        "3610 log_full log 0 continues: log_full 1",
        "7210 log_full log 0 continues: log_full 1",
        "7331 log_full log 0 cleared: log_full 1",
    ];
    assert_eq!(told(steps), expected);
}

#[test]
fn what_flaps_pages_once_and_ends_once() {
    let full = [full(0)];
    // On for a second and off for as long as it may, a thousand times.
    let period = CALM.as_secs() + 1;
    let mut steps: Vec<(u64, &[Trouble])> = Vec::new();
    for turn in 0..1000 {
        steps.push((turn * period, &full));
        steps.push((turn * period + 1, &[]));
        steps.push((turn * period + CALM.as_secs(), &[]));
    }
    let last = steps.last().unwrap().0;
    steps.push((last + 1, &[]));
    steps.push((last + 2, &[]));
    let all = told(&steps);
    assert_eq!(all.iter().filter(|line| line.contains("raised")).count(), 1);
    assert_eq!(all.iter().filter(|line| line.contains("cleared")).count(), 1);
    // It is told again as if it had lasted, since for those who wait it did.
    let hours = last / REPEAT.as_secs();
    let repeated = all.iter().filter(|line| line.contains("continues")).count() as u64;
    assert!((hours - 2..=hours).contains(&repeated), "{repeated} in {hours} hours");
    assert_eq!(all.last().unwrap().split(' ').next(), Some((last + 1).to_string().as_str()));
}

#[test]
fn what_comes_back_after_its_end_was_told_is_raised_anew() {
    let full = &[full(0)][..];
    let expected = ["1 log_full log 0 raised: log_full 1", "122 log_full log 0 cleared: log_full 1"];
    let again = ["123 log_full log 0 raised: log_full 1"];
    assert_eq!(told(&[(1, full), (2, &[]), (122, &[]), (123, full)]), [&expected[..], &again[..]].concat());
}

#[test]
fn each_subject_is_a_condition_of_its_own() {
    let steps: &[(u64, &[Trouble])] =
        &[(1, &[full(0)]), (2, &[full(0), full(1)]), (122, &[full(1)]), (242, &[full(1)])];
    let expected = [
        "1 log_full log 0 raised: log_full 1",
        "2 log_full log 1 raised: log_full 1",
        "242 log_full log 0 cleared: log_full 1",
    ];
    assert_eq!(told(steps), expected);
}

#[test]
fn what_merely_happens_is_told_again_only_if_it_happens_again() {
    let damage = |count| [trouble(Condition::LogDamaged, 0, count)];
    let (one, two, three) = (damage(1), damage(2), damage(3));
    let steps: &[(u64, &[Trouble])] =
        &[(0, &one), (3600, &one), (9000, &one), (9001, &two), (9002, &three), (12_600, &three), (12_601, &three)];
    let expected = [
        "0 log_damaged log 0 raised: log_damaged 1",
        "9001 log_damaged log 0 continues: log_damaged 2",
        "12601 log_damaged log 0 continues: log_damaged 3",
    ];
    assert_eq!(told(steps), expected);
}

#[test]
fn conditions_that_are_kept_are_bounded_and_no_new_one_is_missed() {
    let mut alerts = Alerts::new("mx1.example.net", REPEAT, CALM);
    let mut raised = 0;
    for round in 0..20_u16 {
        let troubles: Vec<Trouble> = (0..CONDITIONS_MAX as u16).map(|log| full(round * 1000 + log)).collect();
        let notices = alerts.update(troubles.iter(), at(u64::from(round)));
        raised += notices.iter().filter(|notice| notice.state == AlertState::Raised).count();
        assert!(alerts.count() <= CONDITIONS_MAX);
        let missed = troubles.iter().filter(|trouble| !alerts.told.contains_key(&(trouble.condition, trouble.subject)));
        assert_eq!(missed.count(), 0);
    }
    assert!(raised > 19_000, "{raised}");
}

#[test]
fn a_notice_has_the_names_that_are_documented() {
    let mut alerts = Alerts::new("mx1.example.net", REPEAT, CALM);
    let notices = alerts.update([full(0)].iter(), at(10));
    let expected = serde_json::json!({
        "version": 1,
        "hostname": "mx1.example.net",
        "condition": "log_full",
        "subject": "log 0",
        "state": "raised",
        "severity": "critical",
        "since": "1970-01-01T00:00:05.000000Z",
        "text": "log_full 1",
    });
    assert_eq!(serde_json::to_value(&notices[0]).unwrap(), expected);
    let started = serde_json::to_value(alerts.started(at(1).wall)).unwrap();
    assert_eq!((&started["condition"], &started["state"]), (&"started".into(), &"cleared".into()));
    assert_eq!(started["severity"], "notice");
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for condition in Condition::ALL {
        assert!(readme.contains(&format!("`{condition}`")), "{condition} is in the README");
    }
}

/// Notices that can be told apart.
fn notices(count: u16) -> Vec<Notice> {
    let alerts = Alerts::new("mx1.example.net", REPEAT, CALM);
    let notice =
        |log| alerts.notice(Condition::LogFull, Subject::Log(log), AlertState::Raised, at(0).wall, String::new());
    (0..count).map(notice).collect()
}

#[test]
fn a_hook_is_told_one_thing_at_a_time_in_order() {
    let mut outbox = Outbox::default();
    let all = notices(3);
    all.iter().for_each(|notice| outbox.push(notice.clone()));
    for (place, notice) in all.iter().enumerate() {
        assert_eq!(outbox.next(at(0).mono).as_ref(), Some(notice), "{place}");
        assert_eq!(outbox.next(at(9999).mono), None, "one is under way");
        assert_eq!(outbox.done(true, at(0).mono), None);
    }
    assert_eq!(outbox.next(at(0).mono), None);
    assert_eq!(outbox.counts(), AlertCounts { told: 3, ..AlertCounts::default() });
}

#[test]
fn a_hook_that_fails_is_tried_again_ever_more_rarely_and_then_given_up() {
    let mut outbox = Outbox::default();
    let all = notices(2);
    all.iter().for_each(|notice| outbox.push(notice.clone()));
    let mut now = at(0).mono;
    let mut wait = |outbox: &mut Outbox| {
        let begun = now;
        loop {
            if let Some(notice) = outbox.next(now) {
                return (notice, now, now.since(begun));
            }
            now = now + Duration::from_secs(1);
        }
    };
    let mut pauses = Vec::new();
    for attempt in 1..=ALERT_ATTEMPTS_MAX {
        let (notice, now, pause) = wait(&mut outbox);
        pauses.push(pause);
        assert_eq!(notice, all[0], "attempt {attempt}");
        let failure = outbox.done(false, now).unwrap();
        assert_eq!((failure.attempts, failure.given_up), (attempt, attempt == ALERT_ATTEMPTS_MAX));
    }
    assert_eq!(pauses[..3], [Duration::ZERO, ALERT_RETRY_FIRST, ALERT_RETRY_FIRST * 2]);
    assert!(pauses.iter().all(|pause| *pause <= ALERT_RETRY_MAX));
    assert_eq!(pauses.last(), Some(&ALERT_RETRY_MAX));
    // What comes behind it has its turn, and all attempts.
    let (notice, now, _) = wait(&mut outbox);
    assert_eq!(notice, all[1]);
    let failure = outbox.done(false, now).unwrap();
    assert_eq!((failure.attempts, failure.given_up), (1, false));
    let failed = u64::from(ALERT_ATTEMPTS_MAX) + 1;
    assert_eq!(outbox.counts(), AlertCounts { told: 0, failed, lost: 1, waiting: 1 });
    // The end of the process waits for no pause.
    assert_eq!(outbox.next(now), None);
    outbox.hurry();
    assert_eq!(outbox.next(now).as_ref(), Some(&all[1]));
}

#[test]
fn the_oldest_that_waits_makes_room_for_the_newest() {
    let most = ALERTS_WAITING_MAX as u16;
    let all = notices(most + 2);
    let mut outbox = Outbox::default();
    all[..usize::from(most)].iter().for_each(|notice| outbox.push(notice.clone()));
    assert_eq!(outbox.next(at(0).mono).as_ref(), Some(&all[0]));
    all[usize::from(most)..].iter().for_each(|notice| outbox.push(notice.clone()));
    assert_eq!(outbox.counts().waiting, u64::from(most));
    assert_eq!(outbox.counts().lost, 2);
    // What was under way stays it.
    assert_eq!(outbox.done(false, at(0).mono).unwrap().notice, all[0]);
    let mut left = Vec::new();
    while let Some(notice) = outbox.next(Instant::FAR) {
        left.push(notice);
        outbox.done(true, Instant::FAR);
    }
    assert_eq!(left[0], all[0]);
    assert_eq!(left[1..], all[3..]);
}
