//! How many connections a destination opens, by how its receiver takes them.

use super::*;

/// A destination with more mail than it can get rid of, and the connections that it has.
struct Stream {
    owner: Destinations,
    now: u64,
    number: u64,
    /// Those that were greeted.
    open: Vec<ConnectionId>,
    /// Those with work; what is to come of it is decided by the test.
    busy: Vec<ConnectionId>,
    /// Connections that were ever begun.
    opened: usize,
}

impl Stream {
    fn new(connections_max: u32) -> Stream {
        let mut route = Route::new(vec![hop(1, 10)]);
        route.connections_max = connections_max;
        let routes = Routes::new([("*".into(), route)]).unwrap();
        let mut stream = Stream {
            owner: owner(&routes, Settings::default()),
            now: 0,
            number: 0,
            open: Vec::new(),
            busy: Vec::new(),
            opened: 0,
        };
        // Nobody has refused anything: it grows as fast as it is served.
        stream.settle(|_| true);
        stream
    }

    /// Brings more mail, and does what is asked for until nothing more is. `greets`: whether the receiver takes one more than it has.
    fn settle(&mut self, greets: impl Fn(usize) -> bool) {
        while status(&self.owner, at(self.now).mono).first().is_none_or(|target| target.waiting < 100) {
            self.number += 1;
            self.owner.push(at(self.now).mono, 0, job(self.number, first())).unwrap();
        }
        loop {
            let made = actions(&mut self.owner, self.now);
            if made.is_empty() {
                return;
            }
            for action in made {
                match action {
                    Action::Connect { connection, .. } => {
                        self.opened += 1;
                        self.owner.established(at(self.now).mono, connection);
                        if greets(self.open.len()) {
                            self.open.push(connection);
                            self.owner.ready(at(self.now).mono, connection);
                        } else {
                            let refusal = said(421, Stage::Greeting, "421 4.7.0 too many connections");
                            self.owner.closed(at(self.now).mono, connection, Some(refusal));
                        }
                    }
                    Action::Start { connection, .. } => self.busy.push(connection),
                    Action::Quit { connection } => {
                        self.open.retain(|open| *open != connection);
                        self.owner.closed(at(self.now).mono, connection, None);
                    }
                    Action::Finished { .. } | Action::Abort { .. } => {}
                }
            }
        }
    }

    /// All that is under way ends like this, one after another.
    fn finish(&mut self, fate: &Fate, reusable: bool) {
        for connection in std::mem::take(&mut self.busy) {
            let fates = vec![(0, fate.clone()), (2, fate.clone())];
            let result = TaskResult::Deliver { fates, dsn_offered: false, broken_off: false };
            self.owner.done(at(self.now).mono, connection, result, reusable);
            if !reusable {
                self.open.retain(|open| *open != connection);
            }
        }
    }

    fn window(&self) -> u32 {
        status(&self.owner, at(self.now).mono)[0].window
    }
}

fn taken() -> Fate {
    Fate::Delivered(answer())
}

#[test]
fn a_receiver_that_never_refuses_gets_all_connections() {
    let stream = Stream::new(20);
    assert_eq!((stream.busy.len(), stream.window()), (20, 20));
}

#[test]
fn connections_follow_what_a_receiver_bears() {
    let mut stream = Stream::new(20);
    stream.finish(&taken(), true);
    // It has enough of us: what it says at MAIL halves them, once for all that were under way together.
    let refused = Fate::deferred(said(452, Stage::Mail, "452 4.3.1 insufficient system storage"));
    stream.settle(|_| true);
    stream.finish(&refused, true);
    stream.settle(|_| true);
    assert_eq!((stream.busy.len(), stream.window()), (10, 10));
    // As it takes mail again, one more with each round.
    for more in 11..=20 {
        stream.now += 1;
        stream.finish(&taken(), true);
        stream.settle(|_| true);
        assert_eq!(stream.busy.len(), more);
    }
    stream.finish(&taken(), true);
    stream.settle(|_| true);
    assert_eq!(stream.busy.len(), 20, "never more than configured");
}

#[test]
fn connections_that_die_with_work_in_hand_halve_the_window_and_never_close_it() {
    let mut stream = Stream::new(16);
    let mut windows = Vec::new();
    for _ in 0..6 {
        stream.now += 1000;
        for connection in std::mem::take(&mut stream.busy) {
            stream.owner.closed(at(stream.now).mono, connection, None);
            stream.open.clear();
        }
        windows.push(stream.window());
        stream.now += 1000;
        stream.settle(|_| true);
        assert_eq!(stream.busy.len(), stream.window() as usize, "it comes back by itself");
    }
    assert_eq!(windows, [8, 4, 2, 1, 1, 1]);
}

#[test]
fn a_receiver_that_takes_so_many_is_asked_for_one_more_less_and_less_often() {
    let mut stream = Stream::new(20);
    let takes_three = |busy: usize| busy < 3;
    stream.finish(&taken(), false);
    stream.now += 100;
    stream.settle(takes_three);
    assert_eq!(stream.window(), 3);
    let mut asked = Vec::new();
    for _ in 0..400 {
        stream.now += 1;
        let before = stream.opened;
        stream.finish(&taken(), true);
        stream.settle(takes_three);
        assert_eq!(stream.busy.len(), 3, "those that are served go on");
        if stream.opened > before {
            asked.push(stream.now);
        }
    }
    let pauses: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [60, 120], "{asked:?}");
}

#[test]
fn replies_about_a_sender_or_a_recipient_say_nothing_of_the_receiver() {
    let mut stream = Stream::new(8);
    for text in ["450 4.1.8 no such sender domain", "450 4.2.0 greylisted", "451 4.3.0 later"] {
        let stage = if text.contains("sender") { Stage::Mail } else { Stage::Rcpt };
        stream.finish(&Fate::deferred(said(450, stage, text)), true);
        stream.settle(|_| true);
        assert_eq!((stream.busy.len(), stream.window()), (8, 8), "{text}");
    }
    stream.finish(&Fate::deferred(said(421, Stage::Rcpt, "421 4.7.0 slow down")), false);
    stream.now += 100;
    assert_eq!(stream.window(), 4);
}

#[test]
fn a_destination_that_cannot_be_reached_comes_back_carefully() {
    let mut stream = Stream::new(16);
    stream.finish(&taken(), false);
    for expected in [8, 4, 2, 1, 1] {
        stream.now += 1000;
        stream.settle(|_| false);
        assert_eq!(stream.window(), expected);
    }
    stream.now += 1000;
    stream.settle(|_| true);
    assert_eq!(stream.busy.len(), 1);
    stream.finish(&taken(), true);
    stream.settle(|_| true);
    assert_eq!(stream.busy.len(), 2);
}
