mod pair;

use super::*;
use crate::control::status::About;
use crate::control::switchboard::Switchboard;
use crate::delivery::{Hop, Protocol, Route};
use crate::limits::{ORDER_NAME_SIZE_MAX, ORDER_REASON_SIZE_MAX, ORDERS_DAMAGED_MAX};
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

/// What a box starts with whose file is damaged.
fn damaged() -> OrdersKept {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("orders.json"), b"{").unwrap();
    OrdersFile::open(folder.path(), at(0).wall).unwrap().1
}

#[test]
fn orders_that_are_given_anew_after_damage_outlive_the_one_that_kept_all_mail_back() {
    let (mut board, disk) = board(damaged(), at(0));
    assert!(board.damage().unwrap().contains("give the orders anew, and then say `rohrpost queue resume --all`"));
    board.command(suspend("a.example", None), at(1)).unwrap();
    let resume = || OrderCommand::End { selector: Selector::All };
    let done = board.command(resume(), at(2)).unwrap();
    assert_eq!(names(&done.events), ["order_ended 1"]);
    let stands = |board: &OrderBoard| {
        let orders = board.compile();
        (board.damage().is_some(), ["a.example", "b.example"].map(|domain| orders.why("", domain).is_some()))
    };
    assert_eq!(stands(&board), (false, [true, false]));
    let kept = OrdersKept::from_bytes(&disk.lock().unwrap().0).unwrap();
    assert_eq!(stands(&self::board(kept, at(3)).0), (false, [true, false]), "after a restart, too");
    // Then it is as ever.
    board.command(resume(), at(4)).unwrap();
    assert_eq!((board.count(), stands(&board)), (0, (false, [false, false])));
}

#[test]
fn a_file_was_damaged_for_as_long_as_all_mail_is_kept_back_and_no_longer() {
    let all = |treatment| OrderCommand::Give {
        selector: Selector::All,
        treatment,
        duration_seconds: Some(60),
        reason: String::new(),
    };
    let (mut of_time, _) = board(damaged(), at(0));
    of_time.command(all(Treatment::Suspend), at(0)).unwrap();
    assert!(of_time.damage().is_some() && of_time.compile().why("", "a.example").is_some());
    assert_eq!(names(&of_time.expire(at(60))), ["order_expired 2"]);
    assert_eq!((of_time.damage(), of_time.count()), (None, 0));

    let (mut rerouted, disk) = board(damaged(), at(0));
    disk.lock().unwrap().1 = false;
    let reroute = || all(Treatment::Reroute { to: "b.example".into() });
    rerouted.command(reroute(), at(0)).unwrap_err();
    assert!(rerouted.damage().is_some(), "nothing has changed");
    disk.lock().unwrap().1 = true;
    rerouted.command(reroute(), at(0)).unwrap();
    assert!(rerouted.damage().is_none() && rerouted.compile().why("", "a.example").is_none());
    assert_eq!(OrdersKept::from_bytes(&disk.lock().unwrap().0).unwrap().damage, None);
}

#[test]
fn a_start_that_ends_while_a_damaged_file_is_set_aside_leaves_no_box_without_orders() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let open = || OrdersFile::open(folder.path(), at(0).wall);
    fs::write(place("orders.json"), b"{\"version\":1,").unwrap();
    // What takes the place of the damaged one cannot be written.
    fs::create_dir(place("orders.new")).unwrap();
    for _ in 0..2 {
        open().unwrap_err();
        assert_eq!(fs::read(place("orders.json")).unwrap(), b"{\"version\":1,");
    }
    fs::remove_dir(place("orders.new")).unwrap();
    assert!(open().unwrap().1.damage.unwrap().contains("orders.damaged,"));
    assert!(!place("orders.damaged-2").exists(), "it was set aside once");

    // Each is kept that is another one, as far as there is room; the operator is told which one it is.
    for number in 2..ORDERS_DAMAGED_MAX + 2 {
        fs::write(place("orders.json"), number.to_string()).unwrap();
        let name = format!("orders.damaged-{}", number.min(ORDERS_DAMAGED_MAX));
        let damage = open().unwrap().1.damage.unwrap();
        assert!(damage.contains(&format!("{name},")), "{damage}");
        assert_eq!(fs::read_to_string(place(&name)).unwrap(), number.to_string());
    }
    assert_eq!(fs::read(place("orders.damaged")).unwrap(), b"{\"version\":1,");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2 + ORDERS_DAMAGED_MAX);

    // What is wrong with a file may be as long as that.
    fs::write(place("orders.json"), format!("{{\"version\":1,\"{}\":1}}", "x".repeat(1 << 20))).unwrap();
    let kept = open().unwrap().1;
    assert!(kept.damage.as_ref().is_some_and(|damage| damage.len() < 1000), "{:?}", kept.damage.map(|text| text.len()));
}

#[test]
fn an_order_holds_no_longer_than_it_was_given_for_whatever_the_wall_clock_says() {
    let (mut first, disk) = board(OrdersKept::default(), at(0));
    first.command(suspend("a.example", Some(3600)), at(0)).unwrap();
    let kept = || OrdersKept::from_bytes(&disk.lock().unwrap().0).unwrap();
    // A box that does not know the time yet.
    let now = Now { mono: at(5).mono, wall: WallTime::default() };
    let (restarted, _) = board(kept(), now);
    assert_eq!(restarted.next_deadline(), Some(at(5 + 3600).mono));
    assert_eq!(restarted.reports(None, &BTreeMap::new(), now)[0].seconds_left, Some(3600));
    let mut forged = kept();
    forged.orders[0].given_at = WallTime::default();
    let (restarted, _) = board(forged, now);
    assert_eq!(restarted.next_deadline(), Some(now.mono + ORDER_DURATION_MAX));
}

#[test]
fn the_most_and_longest_orders_are_found_again_and_others_than_ours_are_not_taken_for_them() {
    let name = |number: usize| format!("{number}{}", "\"".repeat(ORDER_NAME_SIZE_MAX - number.to_string().len()));
    let order = |number: usize| StandingOrder {
        number: u64::MAX - 1 - number as u64,
        selector: Selector::Sender(name(number)),
        treatment: Treatment::Reroute { to: name(number) },
        reason: "\\".repeat(ORDER_REASON_SIZE_MAX),
        given_at: at(0).wall,
        ends_at: Some(at(1).wall),
    };
    let kept = OrdersKept { orders: (0..ORDERS_MAX).map(order).collect(), ..OrdersKept::default() };
    assert_eq!(OrdersKept::from_bytes(&kept.to_bytes()).as_ref(), Ok(&kept));
    assert_eq!(board(kept, at(0)).0.count(), ORDERS_MAX);

    let two = |change: &dyn Fn(&mut StandingOrder)| {
        let mut kept = OrdersKept { orders: vec![order(0), order(1)], ..OrdersKept::default() };
        change(&mut kept.orders[1]);
        OrdersKept::from_bytes(&kept.to_bytes())
    };
    assert!(two(&|_| {}).is_ok());
    two(&|second| second.number = u64::MAX).unwrap_err();
    two(&|second| second.number = 0).unwrap_err();
    two(&|second| second.number = order(0).number).unwrap_err();
    two(&|second| second.selector = order(0).selector).unwrap_err();
}

#[test]
fn an_order_that_does_not_fit_a_changed_configuration_is_told_of() {
    let order = |number, selector, treatment| {
        let (reason, given_at, ends_at) = (String::new(), at(0).wall, None);
        StandingOrder { number, selector, treatment, reason, given_at, ends_at }
    };
    let named = |name: &str| Selector::Destination(name.into());
    let orders = vec![
        order(1, named("smtp://192.0.2.1:25 smtp://192.0.2.9:25"), Treatment::Suspend),
        order(2, named("SMTP://192.0.2.1:25"), Treatment::Suspend),
        order(3, Selector::Tenant("gone".into()), Treatment::Suspend),
        order(4, Selector::Domain("b.example".into()), Treatment::Reroute { to: "gone.example".into() }),
    ];
    let (board, _) = board(OrdersKept { orders, ..OrdersKept::default() }, at(0));
    let misfits: Vec<_> =
        board.reports(None, &BTreeMap::new(), at(0)).into_iter().map(|report| report.misfit).collect();
    let texts = ["no destination of this", "", "no [[tenant]] of this", "mail for gone.example has no route"];
    for (misfit, text) in misfits.iter().zip(texts) {
        assert_eq!(misfit.is_some(), !text.is_empty(), "{misfits:?}");
        assert!(misfit.as_ref().is_none_or(|misfit| misfit.contains(text)), "{misfits:?}");
    }
    let news = Switchboard::new(About::default(), Vec::new()).with_orders(board, at(0)).news();
    let texts = news.iter().map(|event| match event {
        Event::Warning { text } => text.as_str(),
        other => panic!("{other:?}"),
    });
    let texts: Vec<&str> = texts.collect();
    assert_eq!(texts.len(), 3);
    assert!(
        texts[1].starts_with("the order that tenant gone is suspended does not fit this configuration: "),
        "{texts:?}"
    );
}
