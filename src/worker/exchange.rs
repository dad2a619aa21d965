//! Rings between workers.
//!
//! Workers exchange owned values only. What a ring has no room for waits in an outbox of its sender; the outbox is
//! bounded because every kind of letter is: jobs by the jobs in hand, results and attempts by the jobs, content by one request
//! a connection. Frames alone may be dropped, as a wire would.

use crate::delivery::{ConnectionId, Work, WorkResult};
use crate::env::Wakeup;
use crate::flow::{Peer, Transport};
use crate::limits::{EXCHANGE_RING_SIZE, Gauge};
use crate::spool::MessageId;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::collections::VecDeque;

/// What one worker tells another.
#[derive(Debug)]
pub enum Letter {
    /// A frame that came to the wrong queue of this port.
    Frame { port: u8, frame: Box<[u8]> },
    /// A frame of a worker without a queue on this port, to be sent.
    Outgoing { port: u8, frame: Box<[u8]> },
    /// Something to do for the owner of a destination.
    Work { from: u16, work: Work },
    /// What became of some work, for the worker that gave it.
    Result(WorkResult),
    /// Asks the worker whose log holds the message for the content at `offset`.
    ContentWanted { from: u16, connection: ConnectionId, id: MessageId, offset: u64 },
    /// The content asked for. `None`: it cannot be read.
    Content { connection: ConnectionId, offset: u64, content: Option<ContentPiece> },
    /// The connection wants no more of this message's content.
    ContentDone { from: u16, connection: ConnectionId },
    /// A delivery begins, on a box with a partner: the worker whose log holds the message records that before the delivery may
    /// come to its end. `number` tells it from others of the connection.
    Attempt { from: u16, connection: ConnectionId, number: u64, id: MessageId, recipients: Vec<u32> },
    /// It is recorded, durably; or it is not and never will be.
    Attempted { connection: ConnectionId, number: u64, recorded: bool },
    /// A worker that was told to stop has nothing left to do.
    Finished,
}

/// A piece of content on its way between workers.
#[derive(Debug)]
pub struct ContentPiece {
    /// The bytes; empty only for an empty message.
    pub bytes: Box<[u8]>,
    /// Nothing follows.
    pub last: bool,
}

/// One worker's end of all rings.
#[derive(Debug)]
pub struct Exchange {
    worker: u16,
    to: Vec<Sender<Letter>>,
    from: Receiver<Letter>,
    wakeups: Vec<Wakeup>,
    outboxes: Vec<VecDeque<Letter>>,
    to_self: VecDeque<Letter>,
}

impl Exchange {
    /// The ends for all workers, whose `wakeups` are given in their order.
    pub fn connect(wakeups: &[Wakeup]) -> Vec<Exchange> {
        let rings: Vec<_> = wakeups.iter().map(|_| bounded(EXCHANGE_RING_SIZE)).collect();
        let to: Vec<Sender<Letter>> = rings.iter().map(|(sender, _)| sender.clone()).collect();
        rings
            .into_iter()
            .enumerate()
            .map(|(worker, (_, from))| Exchange {
                worker: worker as u16,
                to: to.clone(),
                from,
                wakeups: wakeups.to_vec(),
                outboxes: wakeups.iter().map(|_| VecDeque::new()).collect(),
                to_self: VecDeque::new(),
            })
            .collect()
    }

    /// This worker's number.
    pub fn worker(&self) -> u16 {
        self.worker
    }

    /// How many workers there are.
    pub fn workers(&self) -> u16 {
        self.to.len() as u16
    }

    /// Sends to worker `to`, which may be this one.
    pub fn send(&mut self, to: u16, letter: Letter) {
        if to == self.worker {
            self.to_self.push_back(letter);
        } else if matches!(letter, Letter::Frame { .. } | Letter::Outgoing { .. }) {
            if self.to[usize::from(to)].try_send(letter).is_ok() {
                self.wakeups[usize::from(to)].notify();
            }
        } else {
            self.outboxes[usize::from(to)].push_back(letter);
        }
    }

    /// Hands frames that came to the wrong queue to the workers that they are for, and those that leave by another queue to
    /// the workers that send them.
    pub fn send_frames(&mut self, transport: &mut impl Transport) {
        let (worker, workers) = (self.worker(), self.workers());
        transport.take_foreign(&mut |peer, port, frame| match peer {
            Peer::Worker(to) => self.send(to, Letter::Frame { port, frame }),
            Peer::Carrier(to) => self.send(to, Letter::Outgoing { port, frame }),
            Peer::AllOthers => {
                for to in (0..workers).filter(|to| *to != worker) {
                    self.send(to, Letter::Frame { port, frame: frame.clone() });
                }
            }
        });
    }

    /// Moves what waits in the outboxes into the rings: once a breath.
    pub fn flush(&mut self) {
        for (to, outbox) in self.outboxes.iter_mut().enumerate() {
            let mut sent = false;
            while let Some(letter) = outbox.pop_front() {
                match self.to[to].try_send(letter) {
                    Ok(()) => sent = true,
                    Err(TrySendError::Full(letter)) => {
                        outbox.push_front(letter);
                        sent = true;
                        break;
                    }
                    // The other worker has stopped; what it was told dies with it and is found again in the logs.
                    Err(TrySendError::Disconnected(_)) => {}
                }
            }
            if sent {
                self.wakeups[to].notify();
            }
        }
    }

    /// The next letter to this worker.
    pub fn receive(&mut self) -> Option<Letter> {
        self.to_self.pop_front().or_else(|| self.from.try_recv().ok())
    }

    /// Shows how full its rings are, and of `jobs_max` jobs that may be under way how many wait for room in one.
    pub fn gauge(&self, jobs_max: usize, see: &mut dyn FnMut(Gauge)) {
        for (ring, outbox) in self.to.iter().zip(&self.outboxes) {
            see(Gauge::new("letters in a ring", ring.len(), EXCHANGE_RING_SIZE));
            let is_job = |letter: &&Letter| matches!(letter, Letter::Work { work: Work::Deliver(_), .. });
            see(Gauge::new("jobs that wait for room in a ring", outbox.iter().filter(is_job).count(), jobs_max));
        }
    }

    /// Whether something waits for room in a ring.
    pub fn has_outgoing(&self) -> bool {
        self.outboxes.iter().any(|outbox| !outbox.is_empty())
    }

    /// Whether something waits for room in a ring or for this worker itself.
    pub fn is_busy(&self) -> bool {
        !self.to_self.is_empty() || !self.from.is_empty() || self.has_outgoing()
    }
}
