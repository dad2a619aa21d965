//! Who signs: threads of their own, and the rings to them.
//!
//! All workers share one ring to the crew, and each has one back. Both have room for all that workers have in hand, so that no
//! worker ever waits for room in them.

use super::keyring::Keyring;
use super::sign::{Signed, Unsignable, sign};
use crate::env::{Wakeup, WallTime};
use crate::limits::SIGNING_IN_HAND_MAX;
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::{io, thread};

/// A message to be signed.
#[derive(Debug)]
pub struct Task {
    /// The worker's own name for it.
    pub token: u64,
    /// With what.
    pub keyring: Arc<Keyring>,
    /// When.
    pub now: WallTime,
    /// All of its content.
    pub content: Vec<Box<[u8]>>,
}

/// What came of a [`Task`].
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    /// The task's.
    pub token: u64,
    /// As [`sign`] says it.
    pub result: Result<Option<Signed>, Unsignable>,
}

impl Task {
    /// Does it. Whatever the message holds, no thread ends for it.
    pub fn work(self) -> Done {
        let Task { token, keyring, now, content } = self;
        let result = catch_unwind(AssertUnwindSafe(|| sign(&keyring, &content, now)));
        let result = result.unwrap_or_else(|_| Err(Unsignable::Failed("the library panicked".to_owned())));
        Done { token, result }
    }
}

/// A worker's end of the rings.
#[derive(Debug)]
pub struct SigningEnd {
    worker: u16,
    to: Sender<(u16, Task)>,
    from: Receiver<Done>,
}

impl SigningEnd {
    /// Hands a task to the crew. A worker has no more than [`SIGNING_IN_HAND_MAX`] there: else it comes back.
    pub fn give(&self, task: Task) -> Result<(), Task> {
        self.to.try_send((self.worker, task)).map_err(|error| error.into_inner().1)
    }

    /// What has been done.
    pub fn take(&self) -> Option<Done> {
        self.from.try_recv().ok()
    }
}

/// The crew's end of the rings.
#[derive(Clone, Debug)]
pub struct Crew {
    tasks: Receiver<(u16, Task)>,
    to: Vec<(Sender<Done>, Wakeup)>,
}

/// The ends for all workers, whose `wakeups` are given in their order, and that of the crew.
pub fn connect(wakeups: &[Wakeup]) -> (Vec<SigningEnd>, Crew) {
    let (task, tasks) = bounded(wakeups.len() * SIGNING_IN_HAND_MAX);
    let (mut ends, mut to) = (Vec::new(), Vec::new());
    for (worker, wakeup) in (0..).zip(wakeups) {
        // What was given up meanwhile comes back as well.
        let (done, from) = bounded(2 * SIGNING_IN_HAND_MAX);
        ends.push(SigningEnd { worker, to: task.clone(), from });
        to.push((done, wakeup.clone()));
    }
    (ends, Crew { tasks, to })
}

impl Crew {
    /// The next task and who gave it, if there is one.
    ///
    /// # Errors
    /// There is none now, or there will never be another.
    pub fn take(&self) -> Result<(u16, Task), TryRecvError> {
        self.tasks.try_recv()
    }

    /// Gives a worker what was done.
    pub fn give(&self, worker: u16, done: Done) {
        let (to, wakeup) = &self.to[usize::from(worker)];
        // A worker takes all in every breath, so that this waits only for one that stands still; one that has ended wants nothing.
        let _ = to.send(done);
        wakeup.notify();
    }

    /// Puts so many threads to work, until no worker is left.
    ///
    /// # Errors
    /// The system has no thread.
    pub fn start(self, threads: usize) -> io::Result<()> {
        for number in 0..threads {
            let crew = self.clone();
            thread::Builder::new().name(format!("signer-{number}")).spawn(move || {
                for (worker, task) in &crew.tasks {
                    crew.give(worker, task.work());
                }
            })?;
        }
        Ok(())
    }
}
