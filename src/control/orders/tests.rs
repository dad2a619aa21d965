use super::*;
use crate::delivery::{Hop, Protocol, Route};
use crate::env::WallTime;
use std::fs;
use std::sync::Mutex;

/// What was kept, and whether the disk takes it.
type Disk = Arc<Mutex<(Vec<u8>, bool)>>;

fn routes() -> Arc<Routes> {
    let route = |last: u8| {
        Route::new(vec![Hop {
            protocol: Protocol::Smtp,
            addresses: vec![[192, 0, 2, last].into()],
            port: 25,
            implicit_tls: false,
            preference: 10,
            name: format!("192.0.2.{last}").into(),
            demand: None,
        }])
    };
    Arc::new(Routes::new([("a.example".into(), route(1)), ("b.example".into(), route(2))]).unwrap())
}

fn at(seconds: u64) -> Now {
    let delay = Duration::from_secs(seconds);
    Now { mono: Instant::ZERO + delay, wall: WallTime::from_micros(1_700_000_000_000_000) + delay }
}

fn board(kept: OrdersKept, now: Now) -> (OrderBoard, Disk) {
    let disk: Disk = Arc::new(Mutex::new((Vec::new(), true)));
    let place = Arc::clone(&disk);
    let keep: Keep = Box::new(move |bytes| {
        let mut disk = place.lock().unwrap();
        if !disk.1 {
            return Err("the disk is full".into());
        }
        disk.0 = bytes.to_vec();
        Ok(())
    });
    (OrderBoard::new((routes(), Arc::default()), kept, keep, now), disk)
}

fn suspend(domain: &str, duration_seconds: Option<u64>) -> OrderCommand {
    let selector = Selector::Domain(domain.into());
    OrderCommand::Give { selector, treatment: Treatment::Suspend, duration_seconds, reason: "it is slow".into() }
}

fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| {
        let line: serde_json::Value = serde_json::from_str(&event.line(WallTime::default())).unwrap();
        format!("{} {}", line["event"].as_str().unwrap(), line["number"])
    };
    events.iter().map(name).collect()
}

#[test]
fn an_order_is_kept_before_it_counts_and_found_after_a_restart_with_the_time_that_is_left() {
    let (mut board, disk) = board(OrdersKept::default(), at(0));
    let done = board.command(suspend("A.Example.", Some(600)), at(0)).unwrap();
    assert_eq!(names(&done.events), ["order_given 1"]);
    board.command(suspend("b.example", None), at(1)).unwrap();
    assert_eq!((board.count(), board.next_deadline()), (2, Some(at(600).mono)));
    let kept = OrdersKept::from_bytes(&disk.lock().unwrap().0).unwrap();

    // Another process has another monotonic clock.
    let later = Now { mono: at(5).mono, wall: at(400).wall };
    let (mut board, _) = self::board(kept, later);
    let waiting = BTreeMap::from([(1, 17)]);
    let reports = board.reports(None, &waiting, later);
    let told: Vec<_> = reports.iter().map(|report| (report.seconds_left, report.waiting)).collect();
    assert_eq!(told, [(Some(200), 17), (None, 0)]);
    assert_eq!(board.compile().why("x@y.example", "a.example").unwrap().status, (4, 3, 2));
    assert_eq!(board.expire(Now { mono: at(204).mono, wall: at(0).wall }), []);
    // A wall clock that jumps ends nothing.
    assert_eq!(board.expire(Now { mono: at(204).mono, wall: at(90_000).wall }), []);
    assert_eq!(names(&board.expire(Now { mono: at(205).mono, wall: at(600).wall })), ["order_expired 1"]);
    assert!(board.compile().why("x@y.example", "a.example").is_none());
    let done = board.command(suspend("a.example", Some(1)), later).unwrap();
    assert_eq!(names(&done.events), ["order_given 3"], "no number is given twice");
}

#[test]
fn what_cannot_be_kept_is_refused_and_changes_nothing() {
    let (mut board, disk) = board(OrdersKept::default(), at(0));
    board.command(suspend("a.example", Some(60)), at(0)).unwrap();
    disk.lock().unwrap().1 = false;
    assert_eq!(board.command(suspend("b.example", None), at(0)), Err("the disk is full".into()));
    let end = || OrderCommand::End { selector: Selector::Domain("a.example".into()) };
    assert_eq!(board.command(end(), at(0)), Err("the disk is full".into()));
    assert_eq!(board.count(), 1);
    // But what is over is over.
    let events = board.expire(at(60));
    assert!(matches!(&events[..], [Event::OrderExpired(_), Event::Warning { .. }]), "{events:?}");
    assert_eq!(board.count(), 0);
}

#[test]
fn an_order_takes_the_place_of_the_one_about_the_same_mail() {
    let (mut board, _) = board(OrdersKept::default(), at(0));
    board.command(suspend("a.example", None), at(0)).unwrap();
    let reroute = OrderCommand::Give {
        selector: Selector::Domain("A.example".into()),
        treatment: Treatment::Reroute { to: "b.example".into() },
        duration_seconds: Some(60),
        reason: String::new(),
    };
    let done = board.command(reroute, at(1)).unwrap();
    assert_eq!(names(&done.events), ["order_ended 1", "order_given 2"]);
    assert_eq!(board.count(), 1);
    board.command(suspend("b.example", None), at(1)).unwrap();
    let done = board.command(OrderCommand::End { selector: Selector::All }, at(2)).unwrap();
    assert_eq!(done.orders.map(|orders| orders.len()), Some(2), "`resume --all` ends all of them");
    let error = board.command(OrderCommand::End { selector: Selector::All }, at(2)).unwrap_err();
    assert!(error.starts_with("no order stands"), "{error}");
}

#[test]
fn orders_are_limited_in_number_and_time() {
    let (mut board, _) = board(OrdersKept::default(), at(0));
    for duration in [0, ORDER_DURATION_MAX.as_secs() + 1] {
        assert!(board.command(suspend("a.example", Some(duration)), at(0)).unwrap_err().contains("7 days"));
    }
    for number in 0..ORDERS_MAX {
        let selector = Selector::Sender(format!("s{number}@a.example"));
        let treatment = Treatment::Suspend;
        let command = OrderCommand::Give { selector, treatment, duration_seconds: None, reason: String::new() };
        board.command(command, at(0)).unwrap();
    }
    assert!(board.command(suspend("a.example", None), at(0)).unwrap_err().contains("256 orders"));
    let unknown = OrderCommand::Give {
        selector: Selector::Destination("smtp://192.0.2.9:25".into()),
        treatment: Treatment::Suspend,
        duration_seconds: None,
        reason: String::new(),
    };
    assert!(board.command(unknown, at(0)).unwrap_err().contains("queue destinations"));
}

#[test]
fn a_damaged_file_keeps_all_mail_back_until_an_operator_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.json");
    let (file, kept) = OrdersFile::open(folder.path(), at(0).wall).unwrap();
    assert_eq!(kept, OrdersKept::default());
    let (mut board, disk) = board(kept, at(0));
    board.command(suspend("a.example", None), at(0)).unwrap();
    file.keep(&disk.lock().unwrap().0).unwrap();
    let (_, kept) = OrdersFile::open(folder.path(), at(0).wall).unwrap();
    assert_eq!((kept.orders.len(), kept.damage), (1, None));

    let mut bytes = fs::read(&path).unwrap();
    let cut = bytes.len() / 2;
    bytes.truncate(cut);
    fs::write(&path, &bytes).unwrap();
    for _ in 0..2 {
        // The second start finds what the first has made of it.
        let (_, kept) = OrdersFile::open(folder.path(), at(9).wall).unwrap();
        assert!(kept.damage.as_ref().is_some_and(|text| text.contains("orders.damaged")), "{kept:?}");
        assert_eq!(kept.orders[0].selector, Selector::All);
    }
    assert_eq!(fs::read(folder.path().join("orders.damaged")).unwrap(), bytes, "nothing is thrown away");
    let (_, kept) = OrdersFile::open(folder.path(), at(9).wall).unwrap();
    let (mut board, _) = self::board(kept, at(9));
    assert!(board.damage().is_some() && board.compile().why("", "b.example").is_some());
    board.command(OrderCommand::End { selector: Selector::All }, at(9)).unwrap();
    assert!(board.damage().is_none() && board.compile().is_empty());
    for bytes in [&b"{\"version\":2,\"orders\":[]}"[..], b"", b"[]", b"{\"version\":1,\"orders\":[],\"more\":1}"] {
        assert!(OrdersKept::from_bytes(bytes).is_err());
    }
}
