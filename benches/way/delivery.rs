//! `src/delivery`: one message through both halves: scheduled, given out, matched with a connection that is open, and settled.

use crate::Station;
use rohrpost::delivery::{
    Action, Answer, Destinations, Fate, Hop, MessageView, Progress, Protocol, Queue, RecipientView, ReplyTo, Retry,
    Route, Routes, Settings, TaskResult, Work, WorkResult,
};
use rohrpost::env::{Instant, Now, WallTime};
use rohrpost::smtp::client::Stage;
use rohrpost::smtp::{BodyType, Priority, Return};
use rohrpost::spool::MessageId;
use std::sync::Arc;
use std::time::Duration;

pub const STATIONS: &[Station] = &[
    Station::new("delivery", "a message, nothing else queued", || one_of(1)),
    Station::new("delivery", "a message, 100 000 others queued", || one_of(100_000)),
];

/// A message as the queue sees it.
#[derive(Clone, Copy)]
struct Message {
    id: MessageId,
    received_at: WallTime,
    next_attempt_at: WallTime,
}

impl MessageView for Message {
    fn id(&self) -> MessageId {
        self.id
    }
    fn received_at(&self) -> WallTime {
        self.received_at
    }
    fn size(&self) -> u64 {
        10_240
    }
    fn held(&self) -> bool {
        false
    }
    fn reverse_path(&self) -> &str {
        "someone@client.example.com"
    }
    fn body(&self) -> BodyType {
        BodyType::SevenBit
    }
    fn smtputf8(&self) -> bool {
        false
    }
    fn require_tls(&self) -> bool {
        false
    }
    fn tls_optional(&self) -> bool {
        false
    }
    fn priority(&self) -> Priority {
        Priority::NORMAL
    }
    fn ret(&self) -> Option<Return> {
        None
    }
    fn envelope_id(&self) -> Option<&str> {
        None
    }
    fn recipients(&self) -> impl Iterator<Item = RecipientView<'_>> {
        let progress = Progress { open: true, attempts: 0, next_attempt_at: self.next_attempt_at };
        std::iter::once(RecipientView {
            address: "someone.else@mx.example.org",
            notify: None,
            original: None,
            progress,
        })
    }
}

fn one_of(queued: u64) -> Box<dyn FnMut()> {
    let hop = Hop {
        protocol: Protocol::Smtp,
        addresses: vec!["192.0.2.30".parse().expect("an address")],
        port: 25,
        implicit_tls: false,
        preference: 10,
        name: "mx.example.org".into(),
        demand: None,
    };
    let routes = Arc::new(
        Routes::new([("example.org".into(), Route::new(vec![hop.clone()])), ("*".into(), Route::new(vec![hop]))])
            .expect("routes"),
    );
    let mut queue = Queue::new(Arc::clone(&routes), Retry::default(), 1);
    let own = [("192.0.2.25".parse().expect("an address"), "us.example".into())];
    let settings = Settings { transactions_per_connection_max: u32::MAX, ..Settings::default() };
    let mut destinations = Destinations::new(&routes, settings, &own, 1);
    let mut now = Now { mono: Instant::ZERO, wall: WallTime::from_micros(1_795_407_575_000_000) };
    // They were tried in vain, and wait.
    for number in 1..queued {
        let next_attempt_at = now.wall + Duration::from_secs(1_000_000 + number);
        queue.add(now, &Message { id: MessageId::new(0, number), received_at: now.wall, next_attempt_at });
    }
    let (mut number, mut connected) = (queued, false);
    Box::new(move || {
        now.mono = now.mono + Duration::from_micros(100);
        now.wall = now.wall + Duration::from_micros(100);
        number += 1;
        let message = Message { id: MessageId::new(0, number), received_at: now.wall, next_attempt_at: now.wall };
        queue.add(now, &message);
        let job = queue.next(now, |_| Some(message)).expect("it is due");
        assert!(destinations.push(now.mono, 0, Work::Deliver(job)).is_ok());
        let mut finished = false;
        while let Some(action) = destinations.poll(now.mono) {
            match action {
                Action::Connect { connection, .. } if !connected => {
                    destinations.established(now.mono, connection);
                    destinations.ready(now.mono, connection);
                    connected = true;
                }
                Action::Start { connection, .. } => {
                    let code = ReplyTo { code: 250, stage: Stage::Outcome };
                    let answer = Answer::reply(code, (2, 0, 0), "250 2.0.0 queued as 4cN1xk2Vb7z", "mx.example.org");
                    let fates = vec![(0, Fate::Delivered(answer))];
                    let result = TaskResult::Deliver { fates, dsn_offered: false, broken_off: false };
                    destinations.done(now.mono, connection, result, true);
                }
                Action::Finished { result: WorkResult::Deliver(result), .. } => {
                    finished = queue.settle(now, &message, &result).len() == 1;
                }
                _ => panic!("one connection is enough, and stays"),
            }
        }
        assert!(finished);
    })
}
