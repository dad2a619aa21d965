//! Events on their way to the log: nobody waits for whoever reads them.

use super::*;

#[test]
fn a_worker_drops_events_instead_of_waiting_and_counts_them() {
    let (sender, receiver) = crossbeam::channel::bounded(2);
    let wakeup = crate::env::Wakeup::new().unwrap();
    let mut reporter = Reporter::new(0, sender, wakeup);
    for _ in 0..5 {
        reporter.event(Event::QueueFull { log: 0, reason: String::new() });
    }
    assert_eq!(reporter.events_lost(), 3);
    assert_eq!(receiver.len(), 2);
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    /// A terminal on hold.
    struct Held(crossbeam::channel::Receiver<()>);
    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (release, held) = crossbeam::channel::bounded::<()>(0);
    let mut log = crate::control::log::Log::start(Box::new(Held(held)), None).unwrap();
    let now = WallTime::default();
    for _ in 0..2 * crate::limits::LOG_BLOCKS_MAX {
        log.event(&Event::QueueFull { log: 0, reason: String::new() }, now);
        log.event(&Event::QueueSpace { log: 0 }, now);
        log.flush();
    }
    assert!(log.lost() > 0);
    drop(release);
    log.close();
}
