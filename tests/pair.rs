//! Two real boxes with a real etcd, or without one: they mirror each other's queue, and take over from each other.

mod appliance;

use appliance::authority::Authority;
use appliance::client::{Client, in_namespace};
use appliance::load::message;
use appliance::pair::{Links, NODES, PATIENCE, Pair, both_ways, folder, host, link, server, spool};
use appliance::receiver::ID_HEADER;
use appliance::stream::{Stream, Sums};
use appliance::{binary, eventually};
use rohrpost::mirror::arbiter::{Stage, Trouble};
use rohrpost::mirror::register::{Mode, Node};
use rohrpost::smtp::client::Reason;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Sessions a second: enough that some are open at any moment.
const PER_SECOND: u32 = 50;

/// Waits until `count` more messages are acknowledged.
fn go_on(stream: &Stream, count: usize) {
    let before = stream.acknowledged();
    eventually("messages are acknowledged", PATIENCE, || stream.acknowledged() >= before + count);
}

/// Waits until `count` more messages have been begun, whatever becomes of them.
fn begin(stream: &Stream, count: usize) {
    let before = stream.begun();
    eventually("messages are begun", PATIENCE, || stream.begun() >= before + count);
}

/// Checks that all that was acknowledged has arrived as it was sent, and gives how many copies came besides.
fn copies_besides(pair: &Pair, sums: &Sums) -> u32 {
    pair.wait_until_empty();
    let arrived = pair.receiver.arrived.lock().expect("the counts");
    let lost: Vec<_> = sums.acknowledged.iter().filter(|id| !arrived.count.contains_key(*id)).collect();
    println!(
        "{} begun, {} acknowledged, {} in doubt, {} hanging, {} delivered",
        sums.begun,
        sums.acknowledged.len(),
        sums.in_doubt,
        sums.hanging.len(),
        arrived.count.len()
    );
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert!(arrived.altered.is_empty(), "altered: {:?}", arrived.altered);
    arrived.count.values().map(|count| count - 1).sum()
}

/// What `rohrpost run` says when it refuses to start on the spool of a box, with a configuration that has been changed.
fn refused(pair: &Pair, node: Node, change: impl Fn(String) -> String) -> String {
    let config = pair.lab.directory.path().join("other.toml");
    std::fs::write(&config, change(pair.configuration(node))).expect("the configuration");
    let mut command = pair.lab.command(host(node), &binary().to_string_lossy());
    let output = command.args(["run", "--config"]).arg(&config).output().expect("rohrpost run");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it runs: {said}");
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The same configuration without a partner, and on addresses that no pair has.
fn single(text: String) -> String {
    let (before, rest) = text.split_once("[pair]").expect("a pair");
    let (_, after) = rest.split_once("[admin]").expect("an admin section");
    format!("{before}[admin]{after}").replace("identity = ", "# ").replace(".25", ".27").replace(".26", ".28")
}

#[test]
fn a_pair_comes_up_and_says_why_it_refuses() {
    let Some(mut pair) = Pair::up(Links::OnePort) else { return };
    let a = pair.of(Node::A);
    let said = a.try_rohrpost(&["pair", "move", "a"]).expect_err("there is nothing to move");
    assert!(said.contains("identity a: this node does not own the identity"), "{said}");
    let said = a.rohrpost(&["pair", "status"]);
    assert!(said.contains("NEEDS YOU: it does not exist yet: on its home box, say `rohrpost pair create`"), "{said}");
    let before = pair.status(Node::A).expect("a status");
    assert!(before.identities.iter().all(|identity| identity.owner.is_none()), "{before:?}");

    pair.create();
    let a = pair.of(Node::A);
    for (command, why) in [
        (&["pair", "create"][..], "identity a: the identity exists already"),
        (&["pair", "move", "b"], "identity b: this node does not own the identity"),
        (&["pair", "take-over", "a"], "identity a: this node does not hold the replica"),
        (&["pair", "solo", "a", "--accept-loss"], "--partner-is-off"),
        (&["pair", "rejoin", "b"], "identity b: "),
    ] {
        let said = a.try_rohrpost(command).expect_err("it is refused");
        assert!(said.contains(why), "{command:?}: {said}");
    }
    for node in NODES {
        let text = pair.of(node).rohrpost(&["pair", "status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&status["version"], &status["node"]), (&1.into(), &host(node).into()), "{text}");
        for (identity, place) in NODES.into_iter().zip(0..) {
            let told = &status["identities"][place];
            assert_eq!((&told["identity"], &told["owner"]), (&host(identity).into(), &host(identity).into()), "{text}");
            assert_eq!(told["works"], identity == node, "{text}");
            assert_eq!((&told["mode"], &told["partner_heard"]), (&"mirrored".into(), &true.into()), "{text}");
            assert!(told["trouble"].is_null(), "{text}");
        }
    }

    // A queue of two boxes is not that of one box, nor the other way round.
    assert!(pair.of_mut(Node::B).stop().success(), "an orderly end");
    eventually("box a works for both", PATIENCE, || {
        NODES.iter().all(|identity| pair.owner(*identity) == Some(Node::A))
    });
    let said = refused(&pair, Node::B, single);
    assert!(said.contains("is the spool of a box of a pair"), "{said}");
    pair.wipe(Node::B);
    let folder = pair.lab.directory.path().join("alone");
    std::fs::create_dir(&folder).expect("a folder");
    let text = single(pair.configuration(Node::B));
    let mut alone = appliance::Appliance::start_in(&pair.lab.namespace("b"), &folder, &text);
    assert!(alone.stop().success(), "an orderly end");
    let said = refused(&pair, Node::B, |text| text);
    assert!(said.contains("is the spool of a single box"), "{said}");
}

#[test]
fn a_killed_box_loses_nothing_and_a_move_sends_nothing_twice() {
    let Some(mut pair) = Pair::up(Links::OwnPort) else { return };
    pair.create();
    let start = |pair: &Pair, name: &str, identity| {
        Stream::start(&pair.lab.namespace("client"), name, server(identity), PER_SECOND)
    };

    let stream = start(&pair, "move", Node::A);
    go_on(&stream, 50);
    pair.of(Node::A).rohrpost(&["pair", "move", "a"]);
    go_on(&stream, 50);
    assert_eq!(pair.owner(Node::A), Some(Node::B));
    pair.of(Node::B).rohrpost(&["pair", "move", "a"]);
    go_on(&stream, 50);
    assert_eq!(pair.owner(Node::A), Some(Node::A));
    let sums = stream.finish(PATIENCE);
    assert_eq!(
        (sums.in_doubt, sums.hanging.len(), sums.unfinished, sums.broken),
        (0, 0, 0, 0),
        "every client knows what became of its mail"
    );
    assert_eq!(copies_besides(&pair, &sums), 0, "a move sends nothing twice");
    pair.wait_until_mirrored();

    let streams = NODES.map(|identity| start(&pair, &format!("kill-{}", host(identity)), identity));
    streams.iter().for_each(|stream| go_on(stream, 50));
    pair.of_mut(Node::A).kill();
    streams.iter().for_each(|stream| go_on(stream, 50));
    for identity in NODES {
        let status = pair.identity(Node::B, identity).expect("a status");
        assert!(status.works && status.mode == Some(Mode::Solo), "{status:?}");
    }
    pair.of_mut(Node::A).restart();
    pair.wait_until_mirrored();
    streams.iter().for_each(|stream| go_on(stream, 50));
    let sums = streams.map(|stream| stream.finish(Duration::from_secs(1)));
    for sums in &sums {
        println!("{} copies besides", copies_besides(&pair, sums));
        assert_eq!(sums.hanging.len(), 0, "the partner tells the clients of the other box");
    }
    assert_eq!(pair.owner(Node::A), Some(Node::B), "it stays where it is");
}

#[test]
fn boxes_with_one_worker_and_two_take_over_from_each_other() {
    let Some(mut pair) = Pair::up_uneven() else { return };
    pair.create();
    for killed in [Node::B, Node::A] {
        let stream = Stream::start(&pair.lab.namespace("client"), host(killed), server(Node::B), PER_SECOND);
        go_on(&stream, 30);
        pair.of_mut(killed).kill();
        go_on(&stream, 30);
        assert_eq!(pair.owner(Node::B), Some(killed.partner()), "it has taken over, or has gone on alone");
        pair.of_mut(killed).restart();
        pair.wait_until_mirrored();
        let sums = stream.finish(PATIENCE);
        copies_besides(&pair, &sums);
    }
}

#[test]
fn what_an_operator_keeps_back_whoever_takes_over_keeps_back_too() {
    let Some(mut pair) = Pair::up(Links::OwnPort) else { return };
    pair.create();
    let orders = |pair: &Pair, node| pair.of(node).rohrpost(&["queue", "orders"]);
    let same = |pair: &Pair| {
        eventually("both have the same orders", PATIENCE, || {
            NODES.iter().all(|node| pair.status(*node).is_some_and(|status| status.orders_are_same == Some(true)))
        });
    };
    pair.of(Node::A).rohrpost(&["queue", "suspend", "--domain", "example.test", "--reason", "it is being mended"]);
    same(&pair);
    assert!(orders(&pair, Node::B).contains("it is being mended"), "{}", orders(&pair, Node::B));

    let stream = Stream::start(&pair.lab.namespace("client"), "kept", server(Node::A), PER_SECOND);
    go_on(&stream, 30);
    pair.of_mut(Node::A).kill();
    go_on(&stream, 30);
    assert_eq!(pair.owner(Node::A), Some(Node::B));
    assert_eq!(pair.receiver.arrived.lock().expect("the counts").count.len(), 0, "it was to be kept back");

    // What is said while a box is away it hears when it is back.
    pair.of(Node::B).rohrpost(&["queue", "resume", "--domain", "example.test"]);
    pair.of_mut(Node::A).restart();
    pair.wait_until_mirrored();
    same(&pair);
    assert!(orders(&pair, Node::A).contains("no orders"), "{}", orders(&pair, Node::A));
    assert!(!pair.of(Node::A).events("order_ended").is_empty());
    let sums = stream.finish(PATIENCE);
    copies_besides(&pair, &sums);
}

/// What `rohrpost pair … --json` says of an identity on a box.
fn told(pair: &Pair, node: Node, identity: Node, command: &[&str]) -> serde_json::Value {
    let text = pair.of(node).rohrpost(&[&["pair"], command, &["--json"]].concat());
    let said: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&said["version"], &said["node"]), (&1.into(), &host(node).into()), "{text}");
    said["identities"][identity as usize].clone()
}

#[test]
fn a_box_works_alone_when_it_is_told_to_and_a_stale_copy_when_its_loss_is_accepted() {
    let Some(mut pair) = Pair::up(Links::OwnPort) else { return };
    pair.create();
    // What is acknowledged stays queued, so that it is known which of it was on which disk.
    pair.lab.cut(&[both_ways("a", "mx"), both_ways("b", "mx")].concat()).leave();
    let send = |pair: &Pair, name: &str, count| {
        let stream = Stream::start(&pair.lab.namespace("client"), name, server(Node::A), 4 * PER_SECOND);
        go_on(&stream, count);
        stream.finish(PATIENCE)
    };
    let mut sums = send(&pair, "on-both", 20);
    let is_alone = |said: &serde_json::Value, owner: Node| {
        assert_eq!((&said["owner"], &said["mode"]), (&host(owner).into(), &"solo".into()), "{said}");
        assert!(said["works"] == true && said["trouble"].is_null(), "{said}");
    };

    // Before the partner is taken away: it goes and comes back, and nothing waits for it, nor counts on it.
    let said = pair.of(Node::B).try_rohrpost(&["pair", "solo", "a"]).expect_err("it is not the owner");
    assert!(said.contains("identity a: this node does not own the identity"), "{said}");
    let epoch = pair.identity(Node::A, Node::A).expect("a status").epoch;
    let said = told(&pair, Node::A, Node::A, &["solo", "a"]);
    is_alone(&said, Node::A);
    assert_eq!((said["epoch"].as_u64(), &said["partner_heard"]), (Some(epoch + 1), &true.into()), "{said}");
    pair.of_mut(Node::B).kill();
    sums.acknowledged.extend(send(&pair, "alone", 20).acknowledged);
    pair.of_mut(Node::B).restart();
    let other_is_mirrored = |pair: &Pair| {
        NODES.iter().all(|node| pair.identity(*node, Node::B).is_some_and(|it| it.mode == Some(Mode::Mirrored)))
    };
    eventually("the other identity is mirrored by itself", PATIENCE, || other_is_mirrored(&pair));
    is_alone(&told(&pair, Node::A, Node::A, &["status"]), Node::A);
    let said = pair.of(Node::A).try_rohrpost(&["pair", "solo", "a"]).expect_err("it is already");
    assert!(said.contains("identity a: nothing to do"), "{said}");
    let said = told(&pair, Node::A, Node::A, &["rejoin", "a"]);
    assert_eq!(
        (&said["owner"], &said["mode"], &said["works"]),
        (&"a".into(), &"mirrored".into(), &true.into()),
        "{said}"
    );
    pair.wait_until_mirrored();
    let said = pair.of(Node::A).try_rohrpost(&["pair", "rejoin", "a"]).expect_err("it has");
    assert!(said.contains("identity a: nothing to do"), "{said}");

    // A box that works alone is lost with its disk: what only it had is gone, and all that was ever on both is not.
    is_alone(&told(&pair, Node::A, Node::A, &["solo", "a"]), Node::A);
    pair.of_mut(Node::B).kill();
    let given_up = send(&pair, "given-up", 20).acknowledged;
    pair.of_mut(Node::A).kill();
    pair.wipe(Node::A);
    pair.of_mut(Node::B).restart();
    for identity in NODES {
        eventually("box b says what it needs", PATIENCE, || {
            pair.identity(Node::B, identity).is_some_and(|status| status.trouble == Some(Trouble::OwnerGone))
        });
        let said = told(&pair, Node::B, identity, &["status"]);
        assert_eq!((&said["works"], &said["trouble"]), (&false.into(), &"owner_gone".into()), "{said}");
        let name = host(identity);
        for command in [&["pair", "take-over", name][..], &["pair", "solo", name]] {
            pair.of(Node::B).try_rohrpost(command).expect_err("its copy is stale");
        }
        let command = ["solo", name, "--accept-loss", "--partner-is-off"];
        is_alone(&told(&pair, Node::B, identity, &command), Node::B);
    }
    sums.acknowledged.extend(send(&pair, "after", 20).acknowledged);

    // With an empty disk it comes back, and nobody told the other one to go on without it.
    pair.of_mut(Node::A).restart();
    pair.wait_until_mirrored();
    assert_eq!(pair.owner(Node::A), Some(Node::B), "it stays where it is");
    pair.lab.mend();
    assert_eq!(copies_besides(&pair, &sums), 0, "nothing was sent before");
    let arrived = pair.receiver.arrived.lock().expect("the counts");
    assert!(given_up.iter().all(|id| !arrived.count.contains_key(id)), "what was given up was on one disk only");
}

/// A session of a client that has sent all of a message but its end.
fn unfinished(id: &str) -> Client {
    let mut client = Client::connect(server(Node::A)).expect("a session");
    for (line, code) in [
        ("EHLO client.example.test".to_owned(), 250),
        ("MAIL FROM:<sender@example.test>".to_owned(), 250),
        (format!("RCPT TO:<{id}@example.test>"), 250),
        ("DATA".to_owned(), 354),
    ] {
        assert_eq!(client.command(&line).expect("a reply").code, code, "{line}");
    }
    client.send(message(id).as_bytes()).expect("sent");
    client
}

#[test]
fn a_move_waits_for_sessions_until_its_limit_and_cuts_off_those_that_do_not_end() {
    let limit = Duration::from_secs(3);
    let Some(pair) = Pair::up_hasty(limit) else { return };
    pair.create();
    let stream = Stream::start(&pair.lab.namespace("client"), "hasty", server(Node::A), PER_SECOND);
    go_on(&stream, 20);
    // One ends when it is told to, one does not.
    let (tell, told) = mpsc::channel::<()>();
    let (begun, both) = mpsc::channel();
    let clients = in_namespace(&pair.lab.namespace("client"), move || {
        let [mut quick, mut slow] = ["quick", "slow"].map(unfinished);
        begun.send(()).expect("the test waits");
        told.recv().expect("the test says so");
        quick.send(b".\r\n").expect("sent");
        let quick = quick.reply().map(|reply| reply.code);
        let slow = slow.reply().map_err(|error| error.kind());
        // It comes again, as a client does.
        let mut again = unfinished("slow");
        again.send(b".\r\n").expect("sent");
        (quick, slow, again.reply().map(|reply| reply.code))
    });
    both.recv_timeout(PATIENCE).expect("two sessions");
    let began = Instant::now();
    pair.of(Node::A).rohrpost(&["pair", "move", "a", "--wait", "0s"]);
    let is_draining = || pair.identity(Node::A, Node::A).is_some_and(|status| status.stage == Stage::Draining);
    assert!(is_draining(), "it does not wait for them");
    tell.send(()).expect("the clients wait");
    eventually("it is moved", PATIENCE, || pair.owner(Node::A) == Some(Node::B));
    assert!(began.elapsed() >= limit, "it did not wait: {:?}", began.elapsed());
    let (quick, slow, again) = clients.join().expect("the clients");
    assert_eq!(quick.expect("a reply"), 250, "it ended within the limit");
    // It is told at once, and not by its own patience.
    assert!(matches!(slow, Err(ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof)), "{slow:?}");
    assert_eq!(again.expect("a reply"), 250, "the other box takes it");
    pair.wait_until_mirrored();
    go_on(&stream, 20);
    let mut sums = stream.finish(PATIENCE);
    assert_eq!((sums.in_doubt, sums.hanging.len(), sums.unfinished), (0, 0, 0), "only what does not end is cut off");
    sums.acknowledged.extend(["quick", "slow"].map(str::to_owned));
    assert_eq!(copies_besides(&pair, &sums), 0, "a move sends nothing twice");
}

#[test]
fn without_etcd_the_pair_works_on_and_without_both_a_box_acknowledges_nothing() {
    let Some(mut pair) = Pair::up(Links::OwnPort) else { return };
    pair.create();
    let stream = Stream::start(&pair.lab.namespace("client"), "etcd", server(Node::A), PER_SECOND);
    go_on(&stream, 20);
    pair.lab.kill_etcd();
    eventually("the loss is noticed", PATIENCE, || {
        NODES.iter().all(|node| pair.status(*node).is_some_and(|status| status.store_error.is_some()))
    });
    go_on(&stream, 50);
    assert!(pair.is_mirrored());

    pair.of_mut(Node::B).kill();
    eventually("box a stops working", PATIENCE, || pair.identity(Node::A, Node::A).is_some_and(|status| !status.works));
    // What was released in the moment before may still be on its way.
    begin(&stream, 10);
    let until_then = stream.acknowledged();
    begin(&stream, 100);
    assert_eq!(stream.acknowledged(), until_then, "nothing is acknowledged that neither partner nor etcd knows of");

    pair.lab.start_etcd();
    go_on(&stream, 20);
    let status = pair.identity(Node::A, Node::A).expect("a status");
    assert_eq!((status.works, status.mode), (true, Some(Mode::Solo)));
    pair.of_mut(Node::B).restart();
    pair.wait_until_mirrored();
    let sums = stream.finish(Duration::from_secs(1));
    copies_besides(&pair, &sums);
}

#[test]
fn an_etcd_that_serves_only_whom_it_knows_is_asked_at_an_endpoint_that_is_left() {
    let right = RefCell::new(Vec::new());
    let up = Pair::up_guarded(|lab| {
        let wrong = [
            (Node::A, "etcd.password", "another one\n".to_owned()),
            (Node::B, "etcd-ca.pem", Authority::new().certificate().pem()),
        ];
        for (node, file, text) in wrong {
            let path = folder(lab, node).join(file);
            right.borrow_mut().push((path.clone(), std::fs::read(&path).expect("written")));
            std::fs::write(path, text).expect("written");
        }
    });
    let Some(mut pair) = up else { return };
    // Whoever is not served says why.
    for (node, why) in
        [(Node::A, "authentication failed, invalid user ID or password"), (Node::B, "invalid peer certificate")]
    {
        eventually("a box says why it is not served", PATIENCE, || {
            pair.status(node).and_then(|status| status.store_error).is_some_and(|error| error.contains(why))
        });
        // It asks at one endpoint after the other, and says this of each that there is.
        eventually("its operator is told", PATIENCE, || {
            let said = pair.of(node).rohrpost(&["pair", "status"]);
            said.contains("ETCD DOES NOT ANSWER: https://") && said.contains(why)
        });
        assert!(!pair.of(node).events("pair_store").is_empty());
        pair.of(node).try_rohrpost(&["pair", "create"]).expect_err("nobody knows whether it exists");
    }
    for (path, text) in right.into_inner() {
        std::fs::write(path, text).expect("written");
    }
    for node in NODES {
        pair.of_mut(node).kill();
        pair.of_mut(node).restart();
        eventually("a box is served", PATIENCE, || {
            pair.status(node).is_some_and(|status| {
                status.store_error.is_none()
                    && status.identities.iter().all(|identity| identity.trouble == Some(Trouble::Uncreated))
            })
        });
    }
    pair.create();

    // The member that a box asks dies, and while the two that are left agree who leads them, the other box does.
    let stream = Stream::start(&pair.lab.namespace("client"), "guarded", server(Node::A), PER_SECOND);
    go_on(&stream, 20);
    pair.lab.kill_member(pair.lab.member_asked_by(Node::B).expect("it is served"));
    pair.of_mut(Node::A).kill();
    go_on(&stream, 20);
    // Each identity asks for itself, and the one that no client waits for may be the later one to be answered.
    eventually("the box that is left works alone for both, and is served", PATIENCE, || {
        pair.status(Node::B).is_some_and(|status| {
            status.store_error.is_none()
                && status.identities.iter().all(|identity| identity.works && identity.mode == Some(Mode::Solo))
        })
    });
    pair.of_mut(Node::A).restart();
    pair.wait_until_mirrored();
    go_on(&stream, 20);
    let sums = stream.finish(Duration::from_secs(1));
    copies_besides(&pair, &sums);
}

#[test]
fn a_link_that_is_cut_leaves_the_owner_where_it_is() {
    let Some(pair) = Pair::up(Links::OwnPort) else { return };
    pair.create();
    let stream = Stream::start(&pair.lab.namespace("client"), "cut", server(Node::A), PER_SECOND);
    go_on(&stream, 20);
    let cut = pair.lab.cut(&both_ways(link(Node::A), link(Node::B)));
    eventually("both work alone for what they owned", PATIENCE, || {
        NODES.iter().all(|node| pair.identity(*node, *node).is_some_and(|it| it.works && it.mode == Some(Mode::Solo)))
    });
    go_on(&stream, 50);
    drop(cut);
    pair.wait_until_mirrored();
    go_on(&stream, 20);
    let owners: HashSet<_> = NODES.iter().map(|identity| (pair.owner(*identity), Some(*identity))).collect();
    assert!(owners.iter().all(|(owner, home)| owner == home), "{owners:?}");
    let sums = stream.finish(PATIENCE);
    copies_besides(&pair, &sums);
}

#[test]
fn a_client_that_only_the_former_owner_knew_is_told_when_that_box_is_back() {
    let Some(pair) = Pair::up_patient() else { return };
    pair.create();
    pair.lab.cut(&[(link(Node::A), link(Node::B))]).leave();
    // Box b does not hear of it, and hears nobody for two seconds: then it takes over.
    let (tell, told) = mpsc::channel();
    let waits = in_namespace(&pair.lab.namespace("client"), move || {
        let mut client = Client::connect(server(Node::A)).expect("a session");
        tell.send(()).expect("the test waits");
        client.reply().map_err(|error| error.kind())
    });
    told.recv_timeout(PATIENCE).expect("a session");
    // Nor does the client hear the former owner, which resets it once.
    pair.lab.cut(&[(host(Node::A), "client")]).leave();
    assert_eq!(pair.owner(Node::A), Some(Node::A), "nobody has taken over so soon");
    eventually("the partner works for both", PATIENCE, || pair.owner(Node::A) == Some(Node::B));
    pair.lab.mend();
    let outcome = waits.join().expect("the client");
    assert!(matches!(outcome, Err(ErrorKind::ConnectionReset)), "it waits for nobody: {outcome:?}");
    pair.wait_until_mirrored();
}

/// Draws the cable of the box that works, and plugs it in again.
fn relieved(links: Links) {
    let Some(pair) = Pair::up(links) else { return };
    pair.create();
    let stream = Stream::start(&pair.lab.namespace("client"), "unplugged", server(Node::A), PER_SECOND);
    go_on(&stream, 20);
    pair.lab.plug(Node::A, false);
    eventually("the partner works for both", PATIENCE, || {
        NODES.iter().all(|identity| pair.owner(*identity) == Some(Node::B))
    });
    go_on(&stream, 20);
    let said = pair.of(Node::A).rohrpost(&["status"]);
    assert!(said.contains("link       down") && said.contains("look at the cable"), "{said}");
    pair.lab.plug(Node::A, true);
    pair.wait_until_mirrored();
    go_on(&stream, 20);
    assert!(NODES.iter().all(|identity| pair.owner(*identity) == Some(Node::B)), "they stay where they are");
    let sums = stream.finish(PATIENCE);
    copies_besides(&pair, &sums);
    assert_eq!(sums.hanging.len(), 0, "the partner tells the clients of the other box");
}

#[test]
fn a_box_whose_cable_is_drawn_is_relieved() {
    relieved(Links::OwnPort);
}

#[test]
fn a_box_whose_only_cable_is_drawn_is_relieved() {
    relieved(Links::OnePort);
}

#[test]
fn by_hand_nothing_is_taken_over_before_an_operator_says_so() {
    let Some(mut pair) = Pair::up_by_hand() else { return };
    let needs = |pair: &Pair, node, trouble| {
        eventually("a box says what it needs", PATIENCE, || {
            let needs = |identity| pair.identity(node, identity).is_some_and(|status| status.trouble == Some(trouble));
            NODES.into_iter().all(needs)
        });
    };
    let refused = |pair: &Pair, node, command: &[&str], why: &str| {
        let said = pair.of(node).try_rohrpost(command).expect_err("it is refused");
        assert!(said.contains(why), "{command:?}: {said}");
    };
    let off = ["pair", "take-over", "a", "--partner-is-off"];
    refused(&pair, Node::A, &["pair", "create", "b"], "identity b: it is created on its home box");
    pair.create();
    let said = pair.of(Node::B).rohrpost(&["pair", "status"]);
    assert!(said.contains("the arbiter is manual"), "{said}");
    refused(&pair, Node::B, &off[..3], "confirm that it is off");
    refused(&pair, Node::B, &off, "it is not off: stop it first");
    refused(&pair, Node::A, &["pair", "solo", "a", "--partner-is-off"], "it is not off: stop it first");

    let stream = Stream::start(&pair.lab.namespace("client"), "by-hand", server(Node::A), PER_SECOND);
    go_on(&stream, 50);
    pair.of_mut(Node::A).kill();
    needs(&pair, Node::B, Trouble::CommandNeeded);
    // What was released in the moment before may still be on its way.
    begin(&stream, 10);
    let until_then = stream.acknowledged();
    begin(&stream, 100);
    assert_eq!(stream.acknowledged(), until_then, "nobody works");
    assert!(NODES.iter().all(|identity| pair.owner(*identity).is_none()));
    let said = pair.of(Node::B).rohrpost(&["pair", "status"]);
    assert!(said.contains("rohrpost pair take-over a --partner-is-off"), "{said}");
    assert!(said.contains("rohrpost pair take-over b --partner-is-off"), "{said}");

    pair.of(Node::B).rohrpost(&off);
    go_on(&stream, 50);
    pair.of(Node::B).rohrpost(&["pair", "take-over", "b", "--partner-is-off"]);
    for identity in NODES {
        let status = pair.identity(Node::B, identity).expect("a status");
        assert!(status.works && status.mode == Some(Mode::Solo), "{status:?}");
    }
    pair.of_mut(Node::A).restart();
    pair.wait_until_mirrored();
    go_on(&stream, 50);

    // Of two that were off, one alone does not know what the other did.
    NODES.iter().for_each(|node| pair.of_mut(*node).kill());
    pair.of_mut(Node::A).restart();
    needs(&pair, Node::A, Trouble::Unmet);
    refused(&pair, Node::A, &off, "has not heard the other one since it was started");
    pair.of_mut(Node::B).restart();
    pair.wait_until_mirrored();
    go_on(&stream, 50);
    assert!(NODES.iter().all(|identity| pair.owner(*identity) == Some(Node::B)), "they stay where they are");
    let sums = stream.finish(Duration::from_secs(1));
    copies_besides(&pair, &sums);
}

/// Turns bits over on the disk of a box, in the middle of a message of identity a that is queued there. The logs have it as it came.
fn rot(pair: &Pair, node: Node, id: &str) {
    let sought = format!("{ID_HEADER}{id}\r\nSubject: test");
    let mut hit = false;
    for entry in std::fs::read_dir(spool(&pair.lab, node).join("log-00")).expect("the log").flatten() {
        if !entry.file_name().to_string_lossy().starts_with("segment-") {
            continue;
        }
        let file = OpenOptions::new().read(true).write(true).open(entry.path()).expect("a segment");
        let bytes = std::fs::read(entry.path()).expect("a segment");
        let places = memchr::memmem::find_iter(&bytes, &sought).map(|place| place + sought.len() - 4);
        for place in places {
            let turned: Vec<u8> = bytes[place..place + 4].iter().map(|byte| byte ^ 0x04).collect();
            file.write_all_at(&turned, place as u64).expect("its disk");
            hit = true;
        }
        file.sync_all().expect("its disk");
    }
    assert!(hit, "{id} is not on the disk of box {node}");
}

/// Waits until a box has made its damaged copy of identity a anew, for the time that is given, and checks that it says so.
fn expect_repaired(pair: &Pair, node: Node, times: u64) {
    eventually("the copy is made anew", PATIENCE, || {
        pair.identity(node, Node::A).is_some_and(|status| status.counts.renewals == times)
    });
    pair.wait_until_mirrored();
    let renewed = pair.of(node).events("pair_renewed");
    assert!(renewed.iter().all(|event| event["identity"] == "a"), "{renewed:?}");
    assert!(!renewed.is_empty(), "nothing in the log of box {node}");
    for command in [&["pair", "status"][..], &["status"]] {
        let said = pair.of(node).rohrpost(command);
        let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
        assert!(said.contains(&format!("REPAIRED {times} since the start")), "{command:?}: {said}");
    }
    // What is damaged is gone with the copy that it was in.
    let status = pair.of(node).status();
    assert_eq!((&status["damages"], &status["queue"]["damaged"]), (&0.into(), &0.into()), "{status}");
}

/// What the log of a box says of damage, in words, since so many lines.
fn damage_told(pair: &Pair, node: Node, line: usize) -> Vec<String> {
    let told = pair.of(node).events_from(line, "log_damaged");
    told.iter().map(|event| event["damage"].as_str().expect("words").to_owned()).collect()
}

#[test]
fn bits_that_rot_on_one_disk_are_repaired_from_the_other_one() {
    let Some(mut pair) = Pair::up_patient() else { return };
    pair.create();
    let no_receiver = [both_ways("a", "mx"), both_ways("b", "mx")].concat();
    let client = pair.lab.namespace("client");

    // A queue on both disks.
    pair.lab.cut(&no_receiver).leave();
    let stream = Stream::start(&client, "rot", server(Node::A), PER_SECOND);
    go_on(&stream, 100);
    let sums = stream.finish(PATIENCE);
    // Not the last one: what ends a log and cannot be read is a write that a crash tore, and comes from the partner without a word.
    let rotten = "rot-0".to_owned();
    assert!(sums.acknowledged.contains(&rotten), "{sums:?}");

    // That of the replica: found by its start, which replays its records.
    pair.of_mut(Node::B).kill();
    rot(&pair, Node::B, &rotten);
    pair.of_mut(Node::B).restart();
    expect_repaired(&pair, Node::B, 1);
    let told = damage_told(&pair, Node::B, 0);
    assert!(told.iter().any(|damage| damage.starts_with("segment ")), "{told:?}");

    // That of the owner, likewise: meanwhile the replica, which was repaired, works.
    pair.of_mut(Node::A).kill();
    rot(&pair, Node::A, &rotten);
    pair.of_mut(Node::A).restart();
    expect_repaired(&pair, Node::A, 1);
    assert!(!damage_told(&pair, Node::A, 0).is_empty());
    assert_eq!(pair.owner(Node::A), Some(Node::B));
    pair.lab.mend();
    assert_eq!(copies_besides(&pair, &sums), 0, "a damaged copy sends nothing");

    // That of an owner at work, found by the read for delivery: nothing of the message is in memory any more.
    pair.of(Node::B).rohrpost(&["pair", "move", "a"]);
    pair.wait_until_mirrored();
    let (owner, last) = (Node::A, "rot-last");
    pair.lab.cut(&no_receiver).leave();
    let taken = in_namespace(&client, move || {
        let mut client = Client::connect(server(Node::A)).expect("a session");
        client.command("EHLO client.example.test").expect("a reply");
        client.deliver("a@example.test", &format!("{last}@example.test"), &message(last)).expect("a reply")
    });
    assert!(taken.join().expect("the client"), "it is not acknowledged");
    let list = pair.of(owner).rohrpost(&["queue", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let id = list["entries"][0]["id"].as_str().expect("its queue id").to_owned();
    let stream = Stream::start(&client, "rot-more", server(Node::A), 4 * PER_SECOND);
    go_on(&stream, 1100);
    let mut sums = stream.finish(PATIENCE);
    rot(&pair, owner, last);
    let before = pair.of(owner).log_length();
    pair.lab.mend();
    eventually("the damage is found", PATIENCE, || !pair.of(owner).events_from(before, "damaged").is_empty());
    assert_eq!(pair.of(owner).events_from(before, "damaged")[0]["id"], id.as_str());
    eventually("the partner works with its copy", PATIENCE, || pair.owner(Node::A) == Some(Node::B));
    expect_repaired(&pair, owner, 2);
    sums.acknowledged.insert(last.to_owned());
    // The box is deposed in the middle of its deliveries: what may come twice for that is named.
    copies_besides(&pair, &sums);
    // Either whoever takes over names it, or the deposed box, which sent it and heard no answer, before that was written on both.
    let unanswered = Reason::UnknownOutcome.to_string();
    let doubts_of = |node: &Node| {
        let deferred =
            pair.of(*node).events("deferred").into_iter().filter(|event| event["reply"] == unanswered.as_str());
        pair.of(*node).events("delivery_in_doubt").into_iter().chain(deferred).collect::<Vec<_>>()
    };
    let doubts: String = NODES.iter().flat_map(doubts_of).map(|event| event.to_string()).collect();
    let arrived = pair.receiver.arrived.lock().expect("the counts");
    let twice: Vec<_> = arrived.count.iter().filter(|(_, count)| **count > 1).map(|(id, _)| id).collect();
    let unnamed: Vec<_> = twice.iter().filter(|id| !doubts.contains(&format!("\"{id}@"))).collect();
    assert!(unnamed.is_empty(), "{unnamed:?} came twice, in doubt: {doubts}");
    assert_eq!(arrived.count[last], 1);
}
