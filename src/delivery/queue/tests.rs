use super::*;
use crate::delivery::testing::{Message, answer, at, hop, hosts, routes, said};
use crate::delivery::{Answer, Route};
use crate::smtp::client::Stage;
use std::collections::HashMap;
use std::time::Duration;

mod orders;
mod overdue;
mod priorities;
mod status;

/// A queue and the messages of its spool.
struct Home {
    queue: Queue,
    spool: HashMap<MessageId, Message>,
}

impl Home {
    fn new(retry: Retry) -> Home {
        Home { queue: Queue::new(routes(4), retry, 7), spool: HashMap::new() }
    }

    fn steady() -> Home {
        Home::new(Retry { jitter: 0.0, ..Retry::default() })
    }

    fn add(&mut self, now: Now, message: Message) -> MessageId {
        let id = message.id;
        self.queue.add(now, &message);
        self.spool.insert(id, message);
        id
    }

    fn next(&mut self, now: Now) -> Option<Job> {
        let spool = &self.spool;
        self.queue.next(now, |id| spool.get(&id).cloned())
    }

    fn settle(&mut self, now: Now, job: &Job, fate: impl Fn(u32) -> Fate) -> Vec<(u32, Verdict)> {
        let fates = job.recipients.iter().map(|recipient| (recipient.index, fate(recipient.index))).collect();
        let result =
            JobResult { id: job.id, destination: job.destination, fates, dsn_offered: false, standstill: None };
        self.conclude(now, &result)
    }

    fn conclude(&mut self, now: Now, result: &JobResult) -> Vec<(u32, Verdict)> {
        let message = self.spool.get_mut(&result.id).unwrap();
        let verdicts = self.queue.settle(now, &*message, result);
        message.apply(&verdicts);
        verdicts
    }
}

fn indexes(job: &Job) -> Vec<u32> {
    job.recipients.iter().map(|recipient| recipient.index).collect()
}

fn delivered(_: u32) -> Fate {
    Fate::Delivered(answer())
}

fn deferred(_: u32) -> Fate {
    Fate::deferred(answer())
}

fn too_many() -> Fate {
    Fate::Deferred { answer: answer(), soon: true, tried: true }
}

#[test]
fn recipients_that_share_a_destination_share_a_job() {
    let mut home = Home::steady();
    home.add(at(0), Message::new(1, at(0), &["a@d0.example", "b@d1.example", "c@D0.example"]));
    let first = home.next(at(0)).unwrap();
    let second = home.next(at(0)).unwrap();
    assert_eq!((indexes(&first), indexes(&second)), (vec![0, 2], vec![1]));
    assert_eq!(home.next(at(0)), None);
    assert_eq!(home.queue.status(), QueueStatus { scheduled: 0, in_hand: 2 });
    home.settle(at(0), &first, delivered);
    home.settle(at(0), &second, delivered);
    assert_eq!(home.queue.status(), QueueStatus::default());
    assert_eq!(home.queue.next_deadline(), None);
}

#[test]
fn a_deferred_recipient_comes_back_after_its_delay_and_not_before() {
    let mut home = Home::steady();
    home.add(at(0), Message::new(1, at(0), &["a@d0.example", "b@d0.example"]));
    let job = home.next(at(0)).unwrap();
    let verdicts = home.settle(at(0), &job, |index| if index == 0 { delivered(0) } else { deferred(1) });
    let again = Verdict::Deferred { attempts: 1, next_attempt_at: at(60).wall, delay_warning: false };
    assert_eq!(verdicts, [(0, Verdict::Delivered { notify_success: false }), (1, again)]);
    assert_eq!(home.next(at(59)), None);
    assert_eq!(home.queue.next_deadline(), Some(at(60).mono));
    let job = home.next(at(60)).unwrap();
    assert_eq!(indexes(&job), [1]);
    let verdicts = home.settle(at(60), &job, deferred);
    assert!(matches!(verdicts[0].1, Verdict::Deferred { attempts: 2, next_attempt_at, .. }
        if next_attempt_at == at(180).wall));
}

#[test]
fn a_deferred_message_expires_at_its_age_but_never_untried() {
    let mut home = Home::steady();
    let old = at(6 * 86_400);
    home.add(old, Message::new(1, at(0), &["a@d0.example"]));
    let job = home.next(old).unwrap();
    let down = |_| Fate::Deferred { answer: answer(), soon: false, tried: false };
    assert!(matches!(home.settle(old, &job, down)[0].1, Verdict::Deferred { attempts: 1, .. }));
    let later = at(6 * 86_400 + 60);
    let job = home.next(later).unwrap();
    let expired = Verdict::Bounced { attempts: 2, bounce: Bounce::Expired, notify: true };
    assert_eq!(home.settle(later, &job, deferred), [(0, expired)]);
    assert_eq!(home.queue.status(), QueueStatus::default());
}

#[test]
fn a_life_of_failures_follows_the_schedule_warns_once_and_ends_at_the_age() {
    let mut home = Home::steady();
    home.add(at(0), Message::new(1, at(0), &["a@d0.example"]).notify(false, true, true));
    let mut times = Vec::new();
    let mut warned_at = Vec::new();
    let mut now = at(0);
    loop {
        let job = home.next(now).unwrap();
        let seconds = now.mono.since(Instant::ZERO).as_secs();
        times.push(seconds);
        match home.settle(now, &job, deferred)[0].1 {
            Verdict::Deferred { delay_warning, next_attempt_at, .. } => {
                if delay_warning {
                    warned_at.push(seconds);
                }
                now = at(next_attempt_at.since(at(0).wall).as_secs());
            }
            Verdict::Bounced { bounce: Bounce::Expired, notify: true, .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(times[..9], [0, 60, 180, 420, 900, 1860, 3780, 7620, 15_300]);
    assert_eq!(times[9], 15_300 + 14_400);
    assert_eq!(*times.last().unwrap(), 5 * 86_400);
    assert_eq!(warned_at, [7620], "the next attempt after this one is beyond four hours");
}

#[test]
fn who_is_told_follows_notify_and_the_reverse_path() {
    let failed = |_| Fate::Failed(said(550, Stage::Rcpt, "550 5.1.1 no"));
    let bounced = |notify| Verdict::Bounced { attempts: 1, bounce: Bounce::Permanent, notify };
    let plain = || Message::new(1, at(0), &["a@d0.example"]);
    let null = |mut message: Message| {
        message.envelope.reverse_path = "".into();
        message
    };
    for (message, on_failure, on_success) in [
        (plain(), true, false),
        (plain().notify(true, true, false), true, true),
        (plain().notify(true, false, false), false, true),
        (plain().notify(false, false, true), false, false),
        (plain().notify(false, false, false), false, false),
        (null(plain()), false, false),
        (null(plain().notify(true, true, true)), false, false),
    ] {
        let mut home = Home::steady();
        home.add(at(0), message.clone());
        let job = home.next(at(0)).unwrap();
        assert_eq!(home.settle(at(0), &job, failed), [(0, bounced(on_failure))], "{message:?}");
        let mut home = Home::steady();
        home.add(at(0), message.clone());
        let job = home.next(at(0)).unwrap();
        let done = Verdict::Delivered { notify_success: on_success };
        assert_eq!(home.settle(at(0), &job, delivered), [(0, done)], "{message:?}");
    }
}

#[test]
fn a_hop_with_dsn_tells_about_success_itself() {
    let mut home = Home::steady();
    let message = Message::new(1, at(0), &["a@d0.example"]).notify(true, true, false);
    home.add(at(0), message.clone());
    let job = home.next(at(0)).unwrap();
    let fates = vec![(0, delivered(0))];
    let result = JobResult { id: job.id, destination: job.destination, fates, dsn_offered: true, standstill: None };
    let verdicts = home.queue.settle(at(0), &message, &result);
    assert_eq!(verdicts, [(0, Verdict::Delivered { notify_success: false })]);
}

#[test]
fn many_recipients_go_out_one_transaction_after_another() {
    let mut home = Home::steady();
    let addresses: Vec<String> = (0..250).map(|n| format!("u{n}@d0.example")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let id = home.add(at(0), Message::new(1, at(0), &addresses));
    let mut sizes = Vec::new();
    while let Some(job) = home.next(at(0)) {
        assert_eq!(home.next(at(0)), None);
        sizes.push(job.recipients.len());
        home.settle(at(0), &job, delivered);
    }
    assert_eq!(sizes, [100, 100, 50]);
    assert_eq!(home.spool[&id].open_count(), 0);
}

#[test]
fn too_many_recipients_costs_no_attempt_unless_nobody_was_taken() {
    let mut home = Home::steady();
    home.add(at(0), Message::new(1, at(0), &["a@d0.example", "b@d0.example"]));
    let job = home.next(at(0)).unwrap();
    let verdicts = home.settle(at(0), &job, |index| if index == 0 { delivered(0) } else { too_many() });
    assert_eq!(verdicts[1], (1, Verdict::Busy));
    assert_eq!(home.next(at(0)), None);
    let job = home.next(at(1)).unwrap();
    assert_eq!(indexes(&job), [1]);
    let verdicts = home.settle(at(1), &job, |_| too_many());
    assert!(matches!(verdicts[0].1, Verdict::Deferred { attempts: 1, .. }));
}

#[test]
fn an_untried_job_comes_back_soon_and_costs_no_attempt() {
    let mut home = Home::steady();
    let id = home.add(at(0), Message::new(1, at(0), &["a@d0.example"]));
    let job = home.next(at(0)).unwrap();
    assert_eq!(home.settle(at(0), &job, |_| Fate::Untried), [(0, Verdict::Busy)]);
    assert_eq!(home.spool[&id].progress[0].attempts, 0);
    assert_eq!(home.queue.next_deadline(), Some(at(0).mono + BUSY_DELAY));
    assert!(home.next(at(1)).is_some());
}

#[test]
fn a_dead_destination_holds_up_no_other() {
    let mut home = Home::steady();
    for number in 0..1000 {
        home.add(at(0), Message::new(number, at(0), &["a@d0.example"]));
    }
    home.add(at(1), Message::new(1000, at(1), &["a@d1.example"]));
    let jobs: Vec<Job> = std::iter::from_fn(|| home.next(at(1))).collect();
    assert_eq!(jobs.len(), JOBS_IN_HAND_MAX as usize + 1);
    assert_eq!(jobs[1].recipients[0].address.as_ref(), "a@d1.example", "destinations take turns");
    let too_old = at(0).mono + Retry::default().age_max;
    assert_eq!(home.queue.next_deadline(), Some(too_old), "nothing to do before something is settled or too old");
    home.settle(at(1), &jobs[0], deferred);
    assert!(home.next(at(1)).is_some());
    assert_eq!(home.next(at(1)), None);
}

#[test]
fn a_removed_message_is_not_given_out_and_a_released_one_is() {
    let mut home = Home::steady();
    let id = home.add(at(0), Message::new(1, at(0), &["a@d0.example", "b@d1.example"]));
    let job = home.next(at(0)).unwrap();
    home.queue.remove(id);
    home.spool.get_mut(&id).unwrap().held = true;
    assert_eq!(home.next(at(0)), None);
    assert_eq!(home.settle(at(0), &job, deferred).len(), 1, "a job in hand runs to its end");
    assert_eq!(home.queue.status(), QueueStatus::default());
    home.spool.get_mut(&id).unwrap().held = false;
    let released = home.spool[&id].clone();
    home.queue.add(at(1), &released);
    home.queue.add(at(1), &released);
    assert_eq!(indexes(&home.next(at(1)).unwrap()), [1]);
    assert_eq!(home.next(at(1)), None, "the deferred one keeps its time");
    assert!(home.next(at(60)).is_some());
}

#[test]
fn a_message_released_while_in_hand_is_scheduled_again() {
    let mut home = Home::steady();
    let id = home.add(at(0), Message::new(1, at(0), &["a@d0.example"]));
    let job = home.next(at(0)).unwrap();
    home.queue.remove(id);
    let released = home.spool[&id].clone();
    home.queue.add(at(0), &released);
    assert_eq!(home.next(at(0)), None, "it is in hand");
    home.settle(at(0), &job, deferred);
    assert!(home.next(at(60)).is_some());
}

#[test]
fn a_deleted_message_leaves_nothing_behind() {
    let mut home = Home::steady();
    let id = home.add(at(0), Message::new(1, at(0), &["a@d0.example", "b@d1.example"]));
    let job = home.next(at(0)).unwrap();
    home.queue.remove(id);
    home.spool.remove(&id);
    let result = JobResult {
        id,
        destination: job.destination,
        fates: vec![(0, delivered(0))],
        dsn_offered: false,
        standstill: None,
    };
    home.queue.discard(at(0), &result);
    home.queue.discard(at(0), &result);
    assert_eq!(home.queue.status(), QueueStatus::default());
    assert_eq!(home.next(at(10_000)), None);
}

#[test]
fn the_operator_can_have_it_tried_now() {
    let mut home = Home::steady();
    let id = home.add(at(0), Message::new(1, at(0), &["a@d0.example", "b@d0.example"]));
    let job = home.next(at(0)).unwrap();
    home.settle(at(0), &job, deferred);
    assert_eq!(home.next(at(1)), None);
    home.queue.retry(at(1), id);
    let job = home.next(at(1)).unwrap();
    assert_eq!(indexes(&job), [0, 1]);
    home.settle(at(1), &job, deferred);
    assert_eq!(home.next(at(1)), None, "once");
}

#[test]
fn a_forced_retry_of_many_recipients_reaches_each_once() {
    let mut home = Home::steady();
    let addresses: Vec<String> = (0..250).map(|n| format!("u{n}@d0.example")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let id = home.add(at(0), Message::new(1, at(0), &addresses));
    while let Some(job) = home.next(at(0)) {
        home.settle(at(0), &job, deferred);
    }
    home.queue.retry(at(1), id);
    let mut seen = Vec::new();
    while let Some(job) = home.next(at(1)) {
        seen.extend(indexes(&job));
        home.settle(at(1), &job, deferred);
    }
    assert_eq!(seen, (0..250).collect::<Vec<u32>>());
}

#[test]
fn a_wall_clock_that_jumps_neither_stops_nor_hastens_retries() {
    let mut home = Home::steady();
    home.add(at(0), Message::new(1, at(0), &["a@d0.example"]));
    let job = home.next(at(0)).unwrap();
    home.settle(at(0), &job, deferred);
    let year = 365 * 86_400;
    let ahead = Now { mono: at(1).mono, wall: at(year).wall };
    assert_eq!(home.next(ahead), None, "set forward, it waits all the same");
    let back = Now { mono: at(60).mono, wall: WallTime::from_micros(0) };
    let job = home.next(back).expect("set back, it is due all the same");
    home.settle(back, &job, deferred);
    // Recovered under a clock that was set back: no later than a retry could be.
    let mut home = Home::steady();
    home.add(back, Message::new(1, at(0), &["a@d0.example"]));
    assert!(home.queue.next_deadline().unwrap() <= back.mono + Duration::from_secs(4 * 3600));
    assert!(home.next(Now { mono: back.mono + Duration::from_secs(4 * 3600), wall: back.wall }).is_some());
}

#[test]
fn what_has_no_route_is_given_out_to_be_deferred() {
    let mut home = Home::steady();
    home.add(at(0), Message::new(1, at(0), &["a@nowhere.example", "postmaster"]));
    let job = home.next(at(0)).unwrap();
    assert_eq!(job.destination, DestinationId::NOWHERE);
    assert_eq!(indexes(&job), [0, 1]);
    home.settle(at(0), &job, deferred);
    assert!(home.next(at(60)).is_some());
}

#[test]
fn a_result_that_comes_twice_counts_once() {
    let mut home = Home::steady();
    home.add(at(0), Message::new(1, at(0), &["a@d0.example"]));
    let job = home.next(at(0)).unwrap();
    assert_eq!(home.settle(at(0), &job, deferred).len(), 1);
    assert_eq!(home.settle(at(0), &job, deferred).len(), 0);
}

#[test]
fn an_untried_part_of_many_recipients_does_not_spin() {
    let mut home = Home::steady();
    let addresses: Vec<String> = (0..150).map(|n| format!("u{n}@d0.example")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    home.add(at(0), Message::new(1, at(0), &addresses));
    let job = home.next(at(0)).unwrap();
    home.settle(at(0), &job, |_| Fate::Untried);
    assert_eq!(home.next(at(0)), None);
    assert_eq!(home.next(at(1)).map(|job| job.recipients.len()), Some(100));
}

/// One whose domains all go by MX, but for `d0.example`.
fn by_mx() -> Home {
    let mut all: Vec<(Box<str>, Route)> = vec![("*".into(), Route::by_mx())];
    all.push(("d0.example".into(), Route::new(vec![hop(0, 10)])));
    let retry = Retry { jitter: 0.0, ..Retry::default() };
    let mut home = Home::steady();
    home.queue = Queue::new(Arc::new(Routes::new(all).unwrap()), retry, 7);
    home
}

fn found(hosts: &Arc<dns::MailHosts>, seconds: u64) -> dns::Answer {
    dns::Answer { result: Ok(Arc::clone(hosts)), ttl: Duration::from_secs(seconds) }
}

fn wanted(home: &mut Home) -> Vec<Box<str>> {
    std::iter::from_fn(|| home.queue.wanted()).collect()
}

#[test]
fn a_domain_that_is_looked_up_holds_up_nobody_else() {
    let mut home = by_mx();
    home.add(at(0), Message::new(1, at(0), &["a@One.example", "b@two.example.", "c@one.example", "d@d0.example"]));
    let job = home.next(at(0)).unwrap();
    assert_eq!((indexes(&job), &job.way), (vec![3], &Way::Route));
    assert_eq!(home.next(at(0)), None);
    assert_eq!(wanted(&mut home), ["one.example".into(), "two.example".into()]);
    assert_eq!(home.next(at(1)), None);
    assert!(wanted(&mut home).is_empty(), "they are asked about once");
    assert_eq!(home.queue.next_deadline(), Some(at(0).mono + Retry::default().age_max));

    let (one, two) = (hosts(1, &[(10, "mx.one.example", 1)]), hosts(2, &[(10, "mx.two.example", 2)]));
    home.queue.resolved(at(2), "two.example", &found(&two, 60));
    assert_eq!(home.queue.next_deadline(), Some(Instant::ZERO));
    let job = home.next(at(2)).unwrap();
    let Way::Hosts { hosts, .. } = &job.way else { panic!("{job:?}") };
    assert_eq!((indexes(&job), hosts), (vec![1], &two));
    let plain = Wishes::default();
    assert!(home.queue.is_domain_in_hand(job.id, plain, "TWO.example"));
    assert!(!home.queue.is_domain_in_hand(job.id, plain, "one.example"));
    home.settle(at(2), &job, delivered);

    home.queue.resolved(at(3), "one.example", &found(&one, 60));
    let job = home.next(at(3)).unwrap();
    assert_eq!(indexes(&job), [0, 2]);
    assert_eq!(home.queue.hosts_of(plain, "one.example"), Some(&*one));
    assert_eq!(home.queue.hosts_of(plain, "d0.example"), None);
    assert_eq!(Home::steady().queue.hosts_of(plain, "without-a-route.example"), None);
    home.settle(at(3), &job, delivered);
    assert_eq!(home.queue.hosts_of(plain, "one.example"), None, "a domain without mail is forgotten");
    home.queue.resolved(at(4), "one.example", &found(&one, 60));
    assert_eq!((home.queue.domains.len(), home.queue.free.len()), (0, 2));
}

#[test]
fn an_answer_holds_for_a_while_and_the_next_may_name_other_hosts() {
    let mut home = by_mx();
    for number in 0..3 {
        home.add(at(0), Message::new(number, at(0), &["a@one.example"]));
    }
    assert_eq!(home.next(at(0)), None);
    let first = hosts(1, &[(10, "mx.one.example", 1)]);
    home.queue.resolved(at(0), "one.example", &found(&first, 60));
    wanted(&mut home);
    let job = home.next(at(59)).unwrap();
    home.settle(at(59), &job, deferred);
    assert_eq!(home.next(at(60)), None);
    assert_eq!(wanted(&mut home), ["one.example".into()]);
    let later = hosts(2, &[(10, "mx.other.example", 2)]);
    home.queue.resolved(at(61), "one.example", &found(&later, 60));
    let job = home.next(at(61)).unwrap();
    assert!(matches!(&job.way, Way::Hosts { hosts, .. } if *hosts == later));
}

#[test]
fn a_domain_without_hosts_is_answered_without_a_connection() {
    let mut home = by_mx();
    home.add(at(0), Message::new(1, at(0), &["a@gone.example", "b@sick.example"]));
    assert_eq!(home.next(at(0)), None);
    let failure = |status, text: &str| {
        let result = Err(dns::Failure { status, text: text.into() });
        dns::Answer { result, ttl: Duration::from_secs(5) }
    };
    home.queue.resolved(at(0), "gone.example", &failure((5, 1, 2), "there is none"));
    home.queue.resolved(at(0), "sick.example", &failure((4, 4, 3), "nobody knows"));
    let mut fates = Vec::new();
    while let Some(job) = home.next(at(0)) {
        let result = job.settled().expect("a fate");
        fates.push(result.fates[0].1.clone());
        let message = home.spool.get_mut(&job.id).unwrap();
        let verdicts = home.queue.settle(at(0), &*message, &result);
        message.apply(&verdicts);
    }
    let [Fate::Failed(gone), Fate::Deferred { answer: sick, tried: true, soon: false }] = &fates[..] else {
        panic!("{fates:?}")
    };
    assert_eq!((gone.status, sick.status), ((5, 1, 2), (4, 4, 3)));
    // What may be well later is asked about again when its turn has come.
    assert_eq!(home.queue.next_deadline(), Some(at(60).mono));
    assert_eq!(home.next(at(60)), None);
    assert_eq!(wanted(&mut home).last().map(|domain| &**domain), Some("sick.example"));
}

#[test]
fn deleted_mail_leaves_no_domain_behind() {
    let mut home = by_mx();
    let id = home.add(at(0), Message::new(1, at(0), &["a@one.example"]));
    assert_eq!(home.next(at(0)), None);
    home.queue.remove(id);
    home.queue.resolved(at(1), "one.example", &found(&hosts(1, &[(10, "mx.one.example", 1)]), 60));
    assert_eq!((home.queue.domains.len(), home.queue.free.len()), (0, 1));
    home.add(at(2), Message::new(2, at(2), &["a@two.example"]));
    assert_eq!(home.queue.lanes.len(), home.queue.routes.count() + 2, "its place is used again");
}

#[test]
fn so_many_jobs_are_in_hand_and_no_more() {
    let mut home = by_mx();
    for number in 0..JOBS_IN_HAND_TOTAL_MAX as u64 + 10 {
        let domain = number % 1000;
        home.add(at(0), Message::new(number, at(0), &[&format!("a@d{domain}.of.example")]));
    }
    assert_eq!(home.next(at(0)), None);
    let set = hosts(1, &[(10, "mx.example", 1)]);
    for domain in wanted(&mut home) {
        home.queue.resolved(at(0), &domain, &found(&set, 60));
    }
    let jobs: Vec<Job> = std::iter::from_fn(|| home.next(at(0))).collect();
    assert_eq!(jobs.len(), JOBS_IN_HAND_TOTAL_MAX);
    home.queue.gauge(&mut |gauge| assert!(gauge.holds(), "{gauge:?}"));
    assert_eq!(home.queue.next_deadline(), None, "nothing to do before something is settled");
    home.settle(at(0), &jobs[0], delivered);
    assert_eq!(home.queue.next_deadline(), Some(Instant::ZERO));
    assert!(home.next(at(0)).is_some());
}
