use super::memory::{begin, persist};
use super::*;
use crate::control::{OrderBoard, OrderCommand, OrdersKept, PairReport, PairWish, ToWorker, links};
use crate::delivery::{Selector, Treatment};
use crate::env::{Instant, Now};
use crate::limits::{ORDERS_TELL_INTERVAL, STORE_ERRORS_SIZE_MAX};
use crate::mirror::arbiter::{Command, Event, Found, Outcome, Refusal, Role, Settings, Stage, Words};
use crate::mirror::register::{Incarnation, Memory, Node, Register};
use crate::mirror::standing::Standing;
use crate::spool::Room;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;

#[test]
fn a_memory_is_there_again_after_a_start_and_replaced_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(recall(directory.path(), Node::A).unwrap(), None);
    let begun = begin(directory.path(), Node::A).unwrap();
    assert_eq!(recall(directory.path(), Node::A).unwrap(), Some(begun));
    assert_eq!(recall(directory.path(), Node::B).unwrap(), None);
    let later = Memory { epoch_seen: 7, left: 6, ..begun };
    persist(directory.path(), Node::A, later).unwrap();
    assert_eq!(recall(directory.path(), Node::A).unwrap(), Some(later));
    // Each is written over the one before the last, and takes no room on a disk that may have none.
    let number = |name: &str| fs::metadata(directory.path().join(name)).unwrap().ino();
    let mut numbers = [number("identity-a.json"), number("identity-a.new")];
    for epoch_seen in 8..12 {
        persist(directory.path(), Node::A, Memory { epoch_seen, ..later }).unwrap();
        numbers.reverse();
        assert_eq!([number("identity-a.json"), number("identity-a.new")], numbers);
    }
    // What a crash left of the next one changes nothing.
    fs::write(directory.path().join("identity-a.new"), [b'x'; 4096]).unwrap();
    let last = Memory { epoch_seen: 12, ..later };
    persist(directory.path(), Node::A, last).unwrap();
    assert_eq!(recall(directory.path(), Node::A).unwrap(), Some(last));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn what_is_no_memory_is_refused_with_advice() {
    let directory = tempfile::tempdir().unwrap();
    begin(directory.path(), Node::B).unwrap();
    let path = directory.path().join("identity-b.json");
    let bytes = fs::read(&path).unwrap();
    for broken in [&bytes[..bytes.len() - 1], b"", &[b'x'; 4096]] {
        fs::write(&path, broken).unwrap();
        let text = recall(directory.path(), Node::B).unwrap_err().to_string();
        assert!(text.contains("identity-b.json") && text.contains("start with an empty one"), "{text}");
    }
}

/// What a worker says with which nothing is wrong, which was told nothing and has heard nobody.
fn quiet(identity: Node) -> PairReport {
    PairReport { worker: 0, identity, done: 0, heard: None, silent_since: None, failed: false, room: Room::Enough }
}

fn copy(number: u64) -> Incarnation {
    Incarnation::new(number).expect("not zero")
}

#[test]
fn what_is_kept_of_a_register_is_there_again_after_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Kept::open(directory.path()).unwrap();
    let mut kept = open();
    assert_eq!(kept.standing(Node::A), Standing::default());
    let ask = |kept: &mut Kept, task| kept.ask(Node::A, Node::A, task).unwrap();
    assert_eq!(ask(&mut kept, PairTask::Read), Some(Event::Read(Found::Missing)));
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none(), "nothing is written that says nothing");
    let first = Register::solo(1, Node::A, copy(1));
    let create = PairTask::Propose { expected: None, wanted: first };
    assert_eq!(ask(&mut kept, create), Some(Event::Proposed(Outcome::Won)));
    assert_eq!(ask(&mut open(), create), Some(Event::Proposed(Outcome::Lost(Found::Register(first)))));

    // The partner has gone on from it.
    let next = Register::mirrored(2, Node::A, copy(1), copy(2));
    let theirs = Standing { register: Some(next), agreed: Some(first), rival: None };
    assert_eq!(ask(&mut kept, PairTask::Hear(theirs)), Some(Event::Stirred));
    assert_eq!(ask(&mut open(), PairTask::Read), Some(Event::Read(Found::Register(next))));
    // What is older changes nothing, and is no news.
    let older = Standing { register: Some(first), agreed: None, rival: None };
    assert_eq!(ask(&mut kept, PairTask::Hear(older)), None);
    // It has gone on from something else, and that is not forgotten.
    let other = Standing { register: Some(Register::solo(5, Node::B, copy(2))), agreed: Some(first), rival: None };
    assert_eq!(ask(&mut kept, PairTask::Hear(other)), Some(Event::Stirred));
    assert_eq!(ask(&mut open(), PairTask::Read), Some(Event::Read(Found::Split { epoch: 5 })));
    assert_eq!(ask(&mut kept, PairTask::Settle(copy(1))), Some(Event::Stirred));
    let settled = Register::solo(6, Node::A, copy(1));
    assert_eq!(ask(&mut open(), PairTask::Read), Some(Event::Read(Found::Register(settled))));
    assert_eq!(open().standing(Node::B), Standing::default());
    // The file, and the one that it is exchanged with.
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn a_register_that_cannot_be_kept_is_not_spoken_of() {
    let directory = tempfile::tempdir().unwrap();
    let mut kept = Kept::open(directory.path()).unwrap();
    let first = Register::solo(1, Node::A, copy(1));
    let create = PairTask::Propose { expected: None, wanted: first };
    // A folder is where the file is written first.
    fs::create_dir(directory.path().join("register-a.new")).unwrap();
    let error = kept.ask(Node::A, Node::A, create).unwrap_err().to_string();
    assert!(error.contains("register-a.new"), "{error}");
    assert_eq!(kept.standing(Node::A), Standing::default());
    fs::remove_dir(directory.path().join("register-a.new")).unwrap();
    assert_eq!(kept.ask(Node::A, Node::A, create).unwrap(), Some(Event::Proposed(Outcome::Won)));
}

#[test]
fn a_register_that_is_damaged_is_refused_with_advice() {
    let directory = tempfile::tempdir().unwrap();
    let mut kept = Kept::open(directory.path()).unwrap();
    let wanted = Register::solo(1, Node::B, copy(1));
    kept.ask(Node::B, Node::B, PairTask::Propose { expected: None, wanted }).unwrap();
    let path = directory.path().join("register-b.json");
    let bytes = fs::read(&path).unwrap();
    for broken in [&bytes[..bytes.len() - 1], b"", &[b' '; 4096]] {
        fs::write(&path, broken).unwrap();
        let text = Kept::open(directory.path()).unwrap_err().to_string();
        assert!(text.contains("register-b.json") && text.contains("move the file away"), "{text}");
    }
}

#[test]
fn what_a_partner_keeps_is_looked_at_before_the_arbiter_reads() {
    let (workers, ends, _) = links(1, 16).unwrap();
    let settings = Settings { manual: true, ..Settings::default() };
    let copies = [(Memory::new(copy(1)), true), (Memory::new(copy(2)), true)];
    let standings = Some([Standing::default(); 2]);
    let now = Instant::from_nanos(1_000_000_000);
    let mut board = PairBoard::new(Node::A, 1, settings, copies, standings, now);
    let tasks = |board: &mut PairBoard| std::iter::from_fn(|| board.task()).collect::<Vec<_>>();
    assert_eq!(tasks(&mut board), [(Node::A, PairTask::Read), (Node::B, PairTask::Read)]);
    assert_eq!(board.command(Node::B, Command::Create, now), Err(Refusal::NotHome));
    board.tell(Node::B, Event::Read(Found::Missing), now);

    // Identity b was created at home.
    let register = Register::solo(1, Node::B, copy(7));
    let standing = Standing { register: Some(register), ..Standing::default() };
    let heard = Words {
        epoch: 1,
        role: Role::Leads,
        incarnation: copy(7),
        able: true,
        roomy: true,
        standing: Some(standing),
        orders: 0,
    };
    let report = PairReport { heard: Some(heard), ..quiet(Node::B) };
    board.report(report, now);
    let expected = [(Node::B, PairTask::Hear(standing)), (Node::B, PairTask::Read)];
    assert_eq!(tasks(&mut board), expected);
    // Once is enough.
    board.report(PairReport { done: 1, ..report }, now);
    assert_eq!(tasks(&mut board), []);

    // What is kept is what is said, with all that is said.
    let kept = standing.hear(Node::A, standing);
    board.keep(Node::B, kept);
    board.send(&workers);
    let mut said = None;
    while let Ok(wish) = ends[0].requests.try_recv() {
        if let ToWorker::Pair { identity: Node::B, wish: PairWish::Say(words) } = wish {
            assert!(words.standing.is_some(), "{words:?}");
            said = words.standing;
        }
    }
    assert_eq!(said, Some(kept));
}

#[test]
fn a_partner_with_other_orders_is_told_of_ours_until_it_has_the_same() {
    let (workers, ends, _) = links(2, 16).unwrap();
    let copies = [(Memory::new(copy(1)), true), (Memory::new(copy(2)), true)];
    let now = Instant::from_nanos(1_000_000_000);
    let mut board = PairBoard::new(Node::A, 2, Settings::default(), copies, None, now);
    let mut orders = OrderBoard::new(Default::default(), OrdersKept::default(), Box::new(|_| Ok(())), Now::default());
    let heard = |orders: u32, silent_since: Option<Instant>| {
        let words = Words {
            epoch: 1,
            role: Role::Follows,
            incarnation: copy(7),
            able: true,
            roomy: true,
            standing: None,
            orders,
        };
        PairReport { heard: Some(words), silent_since, ..quiet(Node::A) }
    };
    // How many words the partner is told, by each worker; and the digest that it is told.
    let turn = |board: &mut PairBoard, orders: &OrderBoard, now: Instant| {
        board.exchange_orders(orders, &workers, now);
        board.send(&workers);
        let (mut told, mut digest) = ([0; 2], None);
        for (end, told) in ends.iter().zip(&mut told) {
            for message in end.requests.try_iter() {
                match message {
                    ToWorker::TellPartner(words) => *told += words.len(),
                    ToWorker::Pair { wish: PairWish::Say(words), .. } => digest = Some(words.orders),
                    _ => {}
                }
            }
        }
        (told, digest)
    };
    assert_eq!((board.orders_are_same(), turn(&mut board, &orders, now).0), (None, [0; 2]), "nobody is heard");
    board.report(heard(0, None), now);
    assert_eq!((board.orders_are_same(), turn(&mut board, &orders, now).0), (Some(true), [0; 2]));

    let (treatment, reason) = (Treatment::Suspend, String::new());
    let command = OrderCommand::Give { selector: Selector::All, treatment, duration_seconds: None, reason };
    orders.command(command, Now::default()).unwrap();
    let digest = orders.digest();
    assert_eq!(turn(&mut board, &orders, now), ([1, 0], Some(digest)));
    assert_eq!(turn(&mut board, &orders, now).0, [0; 2]);
    assert!(board.next_deadline() <= now + ORDERS_TELL_INTERVAL);
    // It may have been lost.
    let later = now + ORDERS_TELL_INTERVAL;
    assert_eq!(turn(&mut board, &orders, later).0, [1, 0]);
    // What another worker heard long ago says nothing.
    board.report(PairReport { worker: 1, ..heard(0, None) }, later);
    board.report(heard(digest, None), later);
    assert_eq!(board.orders_are_same(), Some(true));
    assert_eq!(turn(&mut board, &orders, later + ORDERS_TELL_INTERVAL).0, [0; 2]);
    board.report(heard(digest, Some(later)), later);
    assert_eq!(board.orders_are_same(), None);
}

#[test]
fn what_a_worker_says_of_the_copy_before_does_not_have_the_next_one_set_aside() {
    let settings = Settings::default();
    let copies = [(Memory::new(copy(1)), true), (Memory::new(copy(2)), true)];
    let now = Instant::from_nanos(1_000_000_000);
    let mut board = PairBoard::new(Node::A, 1, settings, copies, None, now);
    let renews = |board: &mut PairBoard, event: Event| {
        board.tell(Node::A, event, now);
        std::iter::from_fn(|| board.task()).filter(|task| *task == (Node::A, PairTask::Renew)).count()
    };
    let partners = Register::solo(1, Node::B, copy(7));
    assert_eq!(renews(&mut board, Event::Read(Found::Register(partners))), 0);
    assert_eq!(renews(&mut board, Event::Persisted), 0);
    let report = |failed: bool, done: u64| PairReport { failed, done, ..quiet(Node::A) };
    board.report(report(true, 0), now);
    assert_eq!(renews(&mut board, Event::Stirred), 1, "nobody counts on it");
    let memory = board.arbiter(Node::A).memory();
    board.renew(Node::A, Memory { incarnation: copy(3), ..memory }, now);
    assert_eq!(renews(&mut board, Event::Read(Found::Register(partners))), 0);
    board.report(report(true, 1), now);
    assert_eq!(renews(&mut board, Event::Stirred), 0, "the worker has not set the copy aside yet");
    board.report(report(false, 1), now);
    board.report(report(true, 1), now);
    assert_eq!(renews(&mut board, Event::Stirred), 1, "the next copy is damaged, too");
}

#[test]
fn every_transition_is_told_once_and_counted() {
    let copies = [(Memory::new(copy(1)), true), (Memory::new(copy(2)), true)];
    let now = Instant::from_nanos(1_000_000_000);
    let mut board = PairBoard::new(Node::A, 1, Settings::default(), copies, None, now);
    board.tell(Node::A, Event::Read(Found::Missing), now);
    board.command(Node::A, Command::Create, now).unwrap();
    board.tell(Node::A, Event::Proposed(Outcome::Won), now);
    board.tell(Node::A, Event::Persisted, now);
    board.report(PairReport { done: 1, ..quiet(Node::A) }, now);
    let stages = std::iter::from_fn(|| board.event()).filter_map(|event| match event {
        crate::event::Event::PairStage { identity: Node::A, stage, epoch } => Some((stage, epoch)),
        _ => None,
    });
    let expected = [(Stage::Proposing, 1), (Stage::Entering, 1), (Stage::Adopting, 1), (Stage::Leading, 1)];
    assert_eq!(stages.collect::<Vec<_>>(), expected);
    let counts = IdentityStatus::of(Node::A, &board).counts;
    assert_eq!((counts.transitions, counts.takeovers), (expected.len() as u64, 1));
}

/// What is in `etcd` and `more` of `[pair]`, opened.
fn store(etcd: &[String], more: &str) -> Result<Store, StoreError> {
    let text = format!(
        "transport = \"af_xdp\"\nhostname = \"mx1.example.net\"\n[[port]]\ndevice = \"eth1\"\n\
         [[address]]\nip = \"192.0.2.25/24\"\nidentity = \"a\"\n\
         [[listener]]\naddress = \"192.0.2.25:25\"\nrole = \"relay\"\n\
         [pair]\nnode = \"a\"\naddress = \"10.9.9.1/24\"\npartner = \"10.9.9.2\"\nencryption = \"none\"\n\
         etcd = {etcd:?}\n{more}"
    );
    let config = crate::config::parse(&text, "pair.toml").expect("a good file");
    Store::open(&config.pair.expect("a pair"))
}

#[test]
fn what_etcd_cannot_be_shown_is_refused_before_it_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let known = rcgen::generate_simple_self_signed(["relay.example.test".to_owned()]).unwrap();
    fs::write(path("ca.pem"), known.cert.pem()).unwrap();
    fs::write(path("etcd.key"), known.signing_key.serialize_pem()).unwrap();
    fs::write(path("broken.key"), "no key").unwrap();
    let open = |key: &str| {
        let (ca, key) = (path("ca.pem"), path(key));
        let more = format!("etcd_ca = \"{ca}\"\netcd_certificate = \"{ca}\"\netcd_key = \"{key}\"\n");
        let store = store(&["https://[2001:db8::10]:2379".to_owned()], &more);
        store.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(open("etcd.key"), Ok(()));
    let said = open("broken.key").unwrap_err();
    assert!(said.contains("https://[2001:db8::10]:2379 cannot be reached with `etcd_ca`"), "{said}");
}

#[test]
fn an_operator_is_told_of_every_endpoint_once_none_is_left() {
    // Nobody listens at these any more.
    let closed = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let endpoints = closed.map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    let store = store(&endpoints, "").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in &endpoints {
        assert_eq!(store.error(), None, "one is left");
        assert_eq!(runtime.block_on(store.ask(Node::A, PairTask::Read)), Event::Read(Found::Unreachable));
    }
    let said = store.error().expect("each has failed");
    let each: Vec<&str> = said.split("; ").collect();
    assert_eq!(each.len(), endpoints.len(), "{said}");
    for (said, endpoint) in each.iter().zip(&endpoints) {
        assert!(said.starts_with(&format!("{endpoint}: ")) && said.len() > endpoint.len() + 10, "{said}");
        assert!(said.len() <= STORE_ERRORS_SIZE_MAX / endpoints.len(), "{said}");
    }
}
