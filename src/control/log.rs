//! Log lines on their way to standard output.
//!
//! In: lines. Out: the same lines, whole and in order. A thread of its own writes them, since a reader that does not
//! read (a stopped journal, a terminal on hold) must stop neither the admin socket nor the end of the process.

use crate::env::WallTime;
use crate::event::Event;
use crate::limits::{LOG_CLOSE_TIMEOUT, LOG_LINES_MAX};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::io::{self, BufWriter, Write};

/// The control thread's end.
pub(super) struct Log {
    lines: Sender<String>,
    ended: Receiver<()>,
    /// Since the start.
    lost: u64,
    /// Of these, told in the log itself.
    lost_told: u64,
}

impl Log {
    pub fn start(out: Box<dyn Write + Send>) -> io::Result<Log> {
        let (lines, receiver) = bounded::<String>(LOG_LINES_MAX);
        let (end, ended) = bounded::<()>(0);
        std::thread::Builder::new().name("log".into()).spawn(move || {
            // Dropped when the thread ends, which is what `close` waits for.
            let _end = end;
            // Standard output that is closed ends the log and nothing else: the lines then count as lost.
            let _ = write(&receiver, out);
        })?;
        Ok(Log { lines, ended, lost: 0, lost_told: 0 })
    }

    pub fn event(&mut self, event: &Event, now: WallTime) {
        if self.lines.try_send(event.line(now)).is_err() {
            self.lost += 1;
        }
    }

    /// Says in the log that lines are missing, once there is room to say it. Called once a second.
    pub fn tell_lost(&mut self, now: WallTime) {
        let count = self.lost - self.lost_told;
        if count > 0 && self.lines.try_send(Event::EventsLost { count }.line(now)).is_ok() {
            self.lost_told = self.lost;
        }
    }

    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Waits until all lines are out, but not for ever.
    pub fn close(self) {
        drop(self.lines);
        let _ = self.ended.recv_timeout(LOG_CLOSE_TIMEOUT);
    }
}

fn write(lines: &Receiver<String>, out: Box<dyn Write + Send>) -> io::Result<()> {
    let mut out = BufWriter::new(out);
    while let Ok(line) = lines.recv() {
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
        if lines.is_empty() {
            out.flush()?;
        }
    }
    out.flush()
}
