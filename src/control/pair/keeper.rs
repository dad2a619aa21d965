//! The keeper: a thread that reads logs anew for workers, which would have to wait for the disk.
//!
//! In: errands. Out: each log back to its worker, and to the desk the word that one cannot be read; that one is tried again
//! until it can.

use crate::env::disk::Disk;
use crate::env::{Clock, Wakeup};
use crate::limits::{KEEPER_RETRY_DELAY, KEEPER_TRIES};
use crate::spool::NotRewound;
use crate::worker::{Errand, Kept};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use std::io;
use tokio::sync::mpsc;

/// The keeper before it begins: workers' ends are made here.
pub struct Keeper<D: Disk> {
    to: Sender<Errand<D>>,
    errands: Receiver<Errand<D>>,
    back: Vec<(Sender<Kept<D>>, Wakeup)>,
}

impl<D: Disk> Keeper<D> {
    /// For no worker yet. The channels are as long as there are logs.
    pub fn new() -> Keeper<D> {
        let (to, errands) = unbounded();
        Keeper { to, errands, back: Vec::new() }
    }

    /// The ends of the next worker, whose bell this is.
    pub fn attend(&mut self, wakeup: Wakeup) -> (Sender<Errand<D>>, Receiver<Kept<D>>) {
        let (back, kept) = unbounded();
        self.back.push((back, wakeup));
        (self.to.clone(), kept)
    }
}

impl<D: Disk> Default for Keeper<D> {
    fn default() -> Keeper<D> {
        Keeper::new()
    }
}

impl<D: Disk + Send + 'static> Keeper<D> {
    /// Begins. It ends with the last worker. Logs that cannot be read come out of the receiver, with the reason.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(self, clock: impl Clock + Send + 'static) -> io::Result<mpsc::UnboundedReceiver<(u16, String)>> {
        let (failed, failures) = mpsc::unbounded_channel();
        let Keeper { to, errands, back } = self;
        drop(to);
        std::thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            // Each with the number of tries before.
            let mut undone: Vec<(Errand<D>, u32)> = Vec::new();
            loop {
                let errand = match undone.is_empty() {
                    true => errands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    false => errands.recv_timeout(KEEPER_RETRY_DELAY),
                };
                match errand {
                    Ok(errand) => undone.push((errand, 0)),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                for (Errand { worker, number, log, until }, tries) in std::mem::take(&mut undone) {
                    let (back, wakeup) = &back[usize::from(worker)];
                    match log.rewind(until, clock.now()) {
                        Ok((log, _)) => {
                            // A worker that has ended wants nothing back.
                            let _ = back.send((number, log));
                            wakeup.notify();
                        }
                        Err(failure) => {
                            let NotRewound { log, error } = *failure;
                            if tries + 1 == KEEPER_TRIES {
                                let _ = failed.send((number, error.to_string()));
                            }
                            undone.push((Errand { worker, number, log, until }, tries.saturating_add(1)));
                        }
                    }
                }
            }
        })?;
        Ok(failures)
    }
}
