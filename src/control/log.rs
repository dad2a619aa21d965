//! Log lines on their way to standard output.
//!
//! In: lines. Out: the same lines, whole and in order. A thread of its own writes them, since a reader that does not
//! read (a stopped journal, a terminal on hold) must stop neither the admin socket nor the end of the process.

use crate::env::WallTime;
use crate::event::Event;
use crate::limits::{LOG_BLOCKS_MAX, LOG_CLOSE_TIMEOUT};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::io::{self, Write};

/// The control thread's end.
pub(super) struct Log {
    blocks: Sender<String>,
    /// Lines that are sent together: a thread that is woken for each one costs more than the line.
    block: String,
    block_lines: u64,
    ended: Receiver<()>,
    /// Since the start.
    lost: u64,
    /// Of these, told in the log itself.
    lost_told: u64,
}

impl Log {
    pub fn start(out: Box<dyn Write + Send>) -> io::Result<Log> {
        let (blocks, receiver) = bounded::<String>(LOG_BLOCKS_MAX);
        let (end, ended) = bounded::<()>(0);
        std::thread::Builder::new().name("log".into()).spawn(move || {
            // Dropped when the thread ends, which is what `close` waits for.
            let _end = end;
            // Standard output that is closed ends the log and nothing else: the lines then count as lost.
            let _ = write(&receiver, out);
        })?;
        Ok(Log { blocks, block: String::new(), block_lines: 0, ended, lost: 0, lost_told: 0 })
    }

    pub fn event(&mut self, event: &Event, now: WallTime) {
        self.block.push_str(&event.line(now));
        self.block.push('\n');
        self.block_lines += 1;
    }

    /// Gives away what was logged since the last time.
    pub fn flush(&mut self) {
        if self.block_lines > 0 {
            let lines = std::mem::take(&mut self.block_lines);
            if self.blocks.try_send(std::mem::take(&mut self.block)).is_err() {
                self.lost += lines;
            }
        }
    }

    /// Says in the log that lines are missing, once there is room to say it. Called once a second.
    pub fn tell_lost(&mut self, now: WallTime) {
        let count = self.lost - self.lost_told;
        if count > 0 && self.blocks.try_send(Event::EventsLost { count }.line(now) + "\n").is_ok() {
            self.lost_told = self.lost;
        }
    }

    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Waits until all lines are out, but not for ever.
    pub fn close(mut self) {
        self.flush();
        drop(self.blocks);
        let _ = self.ended.recv_timeout(LOG_CLOSE_TIMEOUT);
    }
}

fn write(blocks: &Receiver<String>, mut out: Box<dyn Write + Send>) -> io::Result<()> {
    while let Ok(block) = blocks.recv() {
        out.write_all(block.as_bytes())?;
        out.flush()?;
    }
    Ok(())
}
