//! Waking a thread that sleeps on descriptors.
//!
//! A socket pair instead of an eventfd, because the standard library makes one without unsafe code; it is off the
//! fast path, since a notification that is already under way costs one atomic operation.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A bell: any thread may ring it, one thread sleeps until it rings. Clones are the same bell.
#[derive(Clone, Debug)]
pub struct Wakeup {
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    writer: UnixStream,
    reader: UnixStream,
    /// A notification was given and not yet drained.
    rung: AtomicBool,
}

impl Wakeup {
    /// A bell that has not rung. Fails only for want of descriptors or memory.
    pub fn new() -> io::Result<Wakeup> {
        let (writer, reader) = UnixStream::pair()?;
        writer.set_nonblocking(true)?;
        reader.set_nonblocking(true)?;
        Ok(Wakeup { bell: Arc::new(Bell { writer, reader, rung: AtomicBool::new(false) }) })
    }

    /// Makes the descriptor readable. Call it after what the other thread shall find has been put in its place.
    pub fn notify(&self) {
        if !self.bell.rung.swap(true, Ordering::SeqCst) {
            // A full pipe is a bell that rings already.
            let _ = (&self.bell.writer).write(&[1]);
        }
    }

    /// Silences the bell. Call it *before* looking for what was put in place: what comes after rings again.
    pub fn drain(&self) {
        let mut bytes = [0u8; 64];
        while matches!((&self.bell.reader).read(&mut bytes), Ok(count) if count == bytes.len()) {}
        self.bell.rung.store(false, Ordering::SeqCst);
    }

    /// The readable end once more, for an event loop that wants to own what it watches.
    pub fn watch(&self) -> io::Result<UnixStream> {
        self.bell.reader.try_clone()
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::wait_readable;
    use std::time::{Duration, Instant};

    #[test]
    fn a_rung_bell_ends_the_wait_until_it_is_drained() {
        let bell = Wakeup::new().unwrap();
        for _ in 0..3 {
            bell.notify();
            bell.notify();
            let start = Instant::now();
            wait_readable(&[bell.as_fd()], Duration::from_secs(10));
            assert!(start.elapsed() < Duration::from_secs(5));
            bell.drain();
            let start = Instant::now();
            wait_readable(&[bell.as_fd()], Duration::from_millis(5));
            assert!(start.elapsed() >= Duration::from_millis(5));
        }
    }

    #[test]
    fn another_thread_ends_the_wait() {
        let bell = Wakeup::new().unwrap();
        let ringer = bell.clone();
        let start = Instant::now();
        let thread = std::thread::spawn(move || ringer.notify());
        wait_readable(&[bell.as_fd()], Duration::from_secs(10));
        assert!(start.elapsed() < Duration::from_secs(5));
        thread.join().unwrap();
    }
}
