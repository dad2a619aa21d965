//! Two boxes that tell each other of their orders.

use super::*;
use crate::limits::ORDERS_ENDED_MAX;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What stands on a box, but for its own numbers.
fn stands(board: &OrderBoard) -> Vec<StandingOrder> {
    let mut orders: Vec<_> = board.orders().map(|order| StandingOrder { number: 0, ..order.clone() }).collect();
    orders.sort_by(|one, other| one.selector.cmp(&other.selector));
    orders
}

/// The first tells the second all.
fn tell(boards: &mut [(OrderBoard, Disk); 2], from: usize, now: Now) -> Vec<String> {
    let told = boards[from].0.tell(now.mono);
    names(&boards[1 - from].0.hear(&told, now))
}

fn boards() -> [(OrderBoard, Disk); 2] {
    [(); 2].map(|()| board(OrdersKept::default(), at(0)))
}

fn resume(domain: &str) -> OrderCommand {
    OrderCommand::End { selector: Selector::Domain(domain.into()) }
}

#[test]
fn both_boxes_have_what_was_said_on_either_and_after_a_restart_too() {
    let mut boards = boards();
    boards[0].0.command(suspend("a.example", Some(600)), at(1)).unwrap();
    boards[1].0.command(suspend("b.example", None), at(2)).unwrap();
    assert_ne!(boards[0].0.digest(), boards[1].0.digest());
    assert_eq!(tell(&mut boards, 0, at(3)), ["order_given 2"]);
    assert_eq!(tell(&mut boards, 1, at(3)), ["order_given 2"]);
    assert_eq!(boards[0].0.digest(), boards[1].0.digest());
    assert_eq!(tell(&mut boards, 0, at(3)), [""; 0], "it is no news");
    assert_eq!(boards[1].0.next_deadline(), Some(at(601).mono));

    // What is ended here does not come back from there.
    boards[0].0.command(resume("b.example"), at(4)).unwrap();
    assert_eq!(tell(&mut boards, 1, at(5)), [""; 0]);
    assert_eq!(tell(&mut boards, 0, at(5)), ["order_ended 1"]);
    for place in 0..2 {
        let kept = OrdersKept::from_bytes(&boards[place].1.lock().unwrap().0).unwrap();
        let (restarted, _) = board(kept, at(6));
        assert_eq!(stands(&restarted), stands(&boards[1 - place].0));
        assert_eq!(restarted.digest(), boards[0].0.digest());
    }
    // Both know by themselves when one is over.
    assert_eq!(names(&boards[0].0.expire(at(601))), ["order_expired 1"]);
    assert_eq!(tell(&mut boards, 1, at(601)), [""; 0]);
    assert_eq!((boards[0].0.digest(), boards[0].0.count()), (0, 0));
}

#[test]
fn what_was_over_while_the_partner_was_away_does_not_let_an_earlier_order_come_back() {
    let mut boards = boards();
    boards[0].0.command(suspend("a.example", None), at(1)).unwrap();
    tell(&mut boards, 0, at(1));
    boards[0].0.command(suspend("a.example", Some(60)), at(2)).unwrap();
    boards[0].0.expire(at(62));
    assert_eq!(tell(&mut boards, 1, at(63)), [""; 0]);
    assert_eq!(tell(&mut boards, 0, at(63)), ["order_ended 1"]);
}

#[test]
fn what_a_start_with_a_wrong_clock_takes_for_over_the_partner_has_still() {
    let mut boards = boards();
    boards[0].0.command(suspend("a.example", Some(600)), at(1)).unwrap();
    tell(&mut boards, 0, at(1));
    let kept = OrdersKept::from_bytes(&boards[0].1.lock().unwrap().0).unwrap();
    let wrong = Now { mono: at(2).mono, wall: at(90_000).wall };
    boards[0] = board(kept, wrong);
    assert_eq!(names(&boards[0].0.expire(wrong)), ["order_expired 1"]);
    assert_eq!(tell(&mut boards, 0, at(3)), [""; 0]);
    assert_eq!(tell(&mut boards, 1, at(3)), ["order_given 2"]);
    assert_eq!(boards[0].0.next_deadline(), Some(at(601).mono));
}

#[test]
fn what_is_said_last_counts_though_the_clock_of_its_box_is_behind() {
    let mut boards = boards();
    let behind = |seconds: u64| Now { mono: at(seconds).mono, wall: WallTime::from_micros(1_000_000) };
    boards[0].0.command(suspend("a.example", Some(3600)), at(10)).unwrap();
    tell(&mut boards, 0, behind(10));
    // It holds as long as on the other box.
    assert_eq!(boards[1].0.next_deadline(), Some(at(3610).mono));
    boards[1].0.command(resume("a.example"), behind(11)).unwrap();
    assert_eq!(tell(&mut boards, 0, behind(12)), [""; 0]);
    assert_eq!(tell(&mut boards, 1, at(12)), ["order_ended 1"]);
    boards[1].0.command(suspend("a.example", Some(60)), behind(13)).unwrap();
    assert_eq!(tell(&mut boards, 1, at(13)), ["order_given 2"]);
    assert_eq!(stands(&boards[0].0), stands(&boards[1].0));
    let seconds_left = boards[0].0.reports(None, &BTreeMap::new(), at(13))[0].seconds_left;
    assert_eq!(seconds_left, Some(60));
}

#[test]
fn boxes_come_to_the_same_whatever_is_said_and_lost_meanwhile() {
    for seed in 0..200 {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut boards = boards();
        for step in 0..40 {
            let skew = random.random_range(0..100);
            let now = |place: usize| Now { wall: at(step + if place == 1 { skew } else { 0 }).wall, ..at(step) };
            let place = random.random_range(0..2);
            let domain = ["a.example", "b.example"][random.random_range(0..2)];
            match random.random_range(0..5) {
                0 => drop(boards[place].0.command(suspend(domain, None), now(place))),
                1 => drop(boards[place].0.command(suspend(domain, Some(random.random_range(1..30))), now(place))),
                2 => drop(boards[place].0.command(resume(domain), now(place))),
                3 => drop(boards[place].0.command(OrderCommand::End { selector: Selector::All }, now(place))),
                _ => {
                    let mut told = boards[place].0.tell(at(step).mono);
                    told.retain(|_| random.random_bool(0.6));
                    boards[1 - place].0.hear(&told, now(1 - place));
                }
            }
            boards.iter_mut().for_each(|(board, _)| drop(board.expire(at(step))));
        }
        for from in [0, 1, 0] {
            tell(&mut boards, from, at(40));
        }
        assert_eq!(stands(&boards[0].0), stands(&boards[1].0), "seed {seed}");
        assert_eq!(boards[0].0.digest(), boards[1].0.digest(), "seed {seed}");
    }
}

#[test]
fn what_the_partner_says_is_not_believed_to_be_of_ours() {
    let (mut board, disk) = board(OrdersKept::default(), at(0));
    let mut other = self::board(OrdersKept::default(), at(0)).0;
    let tell = |other: &OrderBoard| String::from_utf8(other.tell(at(1).mono)[0].to_vec()).unwrap();
    other.command(suspend("a.example", Some(3600)), at(0)).unwrap();
    let order = tell(&other);
    other.command(resume("a.example"), at(0)).unwrap();
    let ended = tell(&other);
    let hear = |board: &mut OrderBoard, text: String| names(&board.hear(&[text.into_bytes().into()], at(1)));
    let long = "x".repeat(ORDER_NAME_SIZE_MAX + 1);
    let strange = [
        String::new(),
        "{}".to_owned(),
        order[1..].to_owned(),
        order.replace("a.example", &long),
        order.replace("it is slow", "\\n"),
        order.replace("\"left_micros\":3599000000", "\"left_micros\":null"),
        ended.replace("a.example", &long),
    ];
    assert_eq!(hear(&mut board, strange[0].clone()), ["warning null"]);
    for text in strange {
        assert!(![&order, &ended].contains(&&text), "{text}");
        assert_eq!(hear(&mut board, text.clone()), [""; 0], "{text}: it was told that it cannot be read");
    }
    // It holds no longer than one that is given here may.
    hear(&mut board, order.replace("3599000000", &u64::MAX.to_string()));
    assert_eq!(board.next_deadline(), Some(at(1).mono + ORDER_DURATION_MAX));
    // What this configuration does not have is kept for the day on which it does.
    let unknown = order.replace("\"domain\":\"a.example\"", "\"tenant\":\"acme\"");
    assert_eq!(hear(&mut board, unknown), ["order_given 2"]);
    assert!(board.misfits().count() == 1);
    // What cannot be kept does not count, and is told again.
    disk.lock().unwrap().1 = false;
    assert_eq!(hear(&mut board, ended.clone()), ["warning null"]);
    assert_eq!(hear(&mut board, ended.clone()), [""; 0]);
    assert_eq!(board.count(), 2);
    disk.lock().unwrap().1 = true;
    assert_eq!(hear(&mut board, ended), ["order_ended 1"]);
}

#[test]
fn orders_of_both_boxes_are_limited_and_what_has_ended_too() {
    let mut boards = boards();
    let sender = |place: usize, number: usize| Selector::Sender(format!("s{number}@{place}.example"));
    let give = |selector| {
        let (treatment, reason) = (Treatment::Suspend, String::new());
        OrderCommand::Give { selector, treatment, duration_seconds: None, reason }
    };
    for (place, (board, _)) in boards.iter_mut().enumerate() {
        for number in 0..ORDERS_MAX {
            board.command(give(sender(place, number)), at(0)).unwrap();
        }
    }
    let told = boards[0].0.tell(at(0).mono);
    let [Event::Warning { text }] = &boards[1].0.hear(&told, at(1))[..] else { panic!("no warning") };
    assert!(text.contains("more than 256 standing orders"), "{text}");
    assert_eq!(boards[1].0.hear(&told, at(2)), [], "once");
    for number in 0..2 * ORDERS_ENDED_MAX {
        boards[1].0.command(OrderCommand::End { selector: sender(1, number) }, at(3)).unwrap();
        boards[1].0.command(give(sender(1, number + ORDERS_MAX)), at(3)).unwrap();
    }
    let kept = OrdersKept::from_bytes(&boards[1].1.lock().unwrap().0).unwrap();
    assert_eq!((kept.orders.len(), kept.ended.len()), (ORDERS_MAX, ORDERS_ENDED_MAX));
}

#[test]
fn a_box_whose_file_is_damaged_gets_the_partners_orders_and_keeps_the_damage_to_itself() {
    let mut boards = [board(damaged(), at(0)), board(OrdersKept::default(), at(0))];
    let all = |treatment| {
        let (reason, duration_seconds) = (String::new(), None);
        OrderCommand::Give { selector: Selector::All, treatment, duration_seconds, reason }
    };
    boards[1].0.command(suspend("a.example", None), at(1)).unwrap();
    boards[1].0.command(all(Treatment::Reroute { to: "b.example".into() }), at(1)).unwrap();
    assert_eq!(tell(&mut boards, 0, at(2)), [""; 0]);
    assert_eq!(tell(&mut boards, 1, at(2)), ["order_given 2"]);
    assert!(boards[0].0.damage().is_some() && boards[0].0.compile().why("", "b.example").is_some());
    boards[0].0.command(OrderCommand::End { selector: Selector::All }, at(3)).unwrap();
    assert_eq!(tell(&mut boards, 0, at(4)), [""; 0], "the order of the damage is ended, and no other one");
    assert_eq!(tell(&mut boards, 1, at(4)), ["order_given 3"]);
    assert_eq!(boards[0].0.digest(), boards[1].0.digest());
}
