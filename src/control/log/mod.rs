//! Log lines on their way to standard output, and to files if they are kept.
//!
//! In: events. Out: a line each, whole and in order. Each way out has a thread of its own that writes, since a reader that does not
//! read (a stopped journal, a terminal on hold), or a disk that takes its time, must stop neither the admin socket nor the end of the
//! process, and not each other. With files the steps of single messages go there alone.

mod files;

pub use files::{EventFiles, EventFilesError, EventFilesSettings};

/// What the files of events are called.
pub mod event_files {
    pub use super::files::{COMPRESSED, CURRENT, rotated};
}

use crate::env::WallTime;
use crate::event::Event;
use crate::limits::{EVENT_BLOCKS_MAX, LOG_BLOCKS_MAX, LOG_CLOSE_TIMEOUT};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::io::{self, Write};

/// The control thread's end.
pub(super) struct Log {
    ways: Vec<Way>,
    /// Since the start, on whichever way.
    lost: u64,
    /// Of these, told in the log itself.
    lost_told: u64,
}

/// One way out.
struct Way {
    blocks: Sender<String>,
    /// Lines that are sent together: a thread that is woken for each one costs more than the line.
    block: String,
    block_lines: u64,
    /// The steps of single messages go here, too.
    messages: bool,
    ended: Receiver<()>,
}

impl Log {
    pub fn start(out: Box<dyn Write + Send>, files: Option<EventFiles>) -> io::Result<Log> {
        let mut ways = vec![Way::start("log", LOG_BLOCKS_MAX, files.is_none(), out)?];
        if let Some(files) = files {
            ways.push(Way::start("events", EVENT_BLOCKS_MAX, true, Box::new(files))?);
        }
        Ok(Log { ways, lost: 0, lost_told: 0 })
    }

    pub fn event(&mut self, event: &Event, now: WallTime) {
        let line = event.line(now) + "\n";
        let of_message = event.is_of_message();
        for way in self.ways.iter_mut().filter(|way| way.messages || !of_message) {
            way.block.push_str(&line);
            way.block_lines += 1;
        }
    }

    /// Gives away what was logged since the last time.
    pub fn flush(&mut self) {
        self.lost += self.ways.iter_mut().map(Way::flush).sum::<u64>();
    }

    /// Says in the log that lines are missing, once there is room to say it. Called once a second.
    pub fn tell_lost(&mut self, now: WallTime) {
        let count = self.lost - self.lost_told;
        if count > 0 {
            let line = Event::EventsLost { count }.line(now) + "\n";
            let told = self.ways.iter().filter(|way| way.blocks.try_send(line.clone()).is_ok()).count();
            if told > 0 {
                self.lost_told = self.lost;
            }
        }
    }

    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Waits until all lines are out, but not for ever.
    pub fn close(mut self) {
        self.flush();
        for Way { blocks, ended, .. } in self.ways {
            drop(blocks);
            let _ = ended.recv_timeout(LOG_CLOSE_TIMEOUT);
        }
    }
}

impl Way {
    fn start(name: &str, blocks_max: usize, messages: bool, out: Box<dyn Write + Send>) -> io::Result<Way> {
        let (blocks, receiver) = bounded::<String>(blocks_max);
        let (end, ended) = bounded::<()>(0);
        std::thread::Builder::new().name(name.into()).spawn(move || {
            // Dropped when the thread ends, which is what `close` waits for.
            let _end = end;
            // Standard output that is closed ends this way and nothing else: the lines then count as lost.
            let _ = write(&receiver, out);
        })?;
        Ok(Way { blocks, block: String::new(), block_lines: 0, messages, ended })
    }

    /// How many lines there was no room for.
    fn flush(&mut self) -> u64 {
        let lines = std::mem::take(&mut self.block_lines);
        if lines > 0 && self.blocks.try_send(std::mem::take(&mut self.block)).is_err() { lines } else { 0 }
    }
}

fn write(blocks: &Receiver<String>, mut out: Box<dyn Write + Send>) -> io::Result<()> {
    while let Ok(block) = blocks.recv() {
        out.write_all(block.as_bytes())?;
        out.flush()?;
    }
    Ok(())
}
