//! When something is written down that changes now and then: not again too soon, one writing at a time, and once more what failed.
//!
//! In: that it has changed, the time, what came of a writing. Out: whether to write now, and what is to be logged. The writing itself is
//! an errand of whoever owns what changes.

use crate::env::Instant;
use crate::event::Event;
use crate::limits::SAVE_PATIENCE;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What of it is not written down, and what is under way.
#[derive(Debug)]
pub(super) struct Saving {
    what: &'static str,
    interval: Duration,
    is_unsaved: bool,
    is_under_way: bool,
    /// Not before then.
    next_at: Instant,
    /// That it cannot be written down was told.
    is_trouble_told: bool,
}

impl Saving {
    /// Nothing has changed. `what` it is, for the log; from one writing to the next no less than `interval` passes.
    pub fn new(what: &'static str, interval: Duration, next_at: Instant) -> Saving {
        Saving { what, interval, is_unsaved: false, is_under_way: false, next_at, is_trouble_told: false }
    }

    /// It has changed, or not.
    pub fn note(&mut self, is_changed: bool) {
        self.is_unsaved |= is_changed;
    }

    /// Whether to write it down now, as it is; then [`done`](Saving::done) hears what came of it.
    pub fn begin(&mut self, now: Instant) -> bool {
        let begins = self.is_unsaved && !self.is_under_way && now >= self.next_at;
        if begins {
            (self.is_unsaved, self.is_under_way, self.next_at) = (false, true, now + self.interval);
        }
        begins
    }

    /// It was written down, or why not: told once, until it works again.
    pub fn done(&mut self, result: Result<(), String>) -> Option<Event> {
        self.is_under_way = false;
        self.is_unsaved |= result.is_err();
        let is_told = std::mem::replace(&mut self.is_trouble_told, result.is_err());
        let error = result.err().filter(|_| !is_told)?;
        Some(Event::Warning { text: self.trouble(&error) })
    }

    /// What is said of a failure.
    pub fn trouble(&self, error: &str) -> String {
        format!("{} could not be written down: {error}", self.what)
    }

    /// At the end: waits for the writing that is under way, not for long. Whether there is still something to write.
    /// `result` finds what came of it among the errands.
    pub async fn finish<N: 'static>(
        &mut self,
        errands: &mut JoinSet<N>,
        result: impl Fn(N) -> Option<Result<(), String>>,
    ) -> bool {
        let written = async {
            while self.is_under_way
                && let Some(news) = errands.join_next().await
            {
                // One that panicked has written nothing.
                if let Some(result) = news.map_or_else(|error| Some(Err(error.to_string())), &result) {
                    self.done(result);
                }
            }
        };
        timeout(SAVE_PATIENCE, written).await.is_ok() && self.is_unsaved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_written_when_it_has_changed_and_no_more_often_than_it_may() {
        let mut saving = Saving::new("it", INTERVAL, at(5));
        assert!(!saving.begin(at(5)), "nothing has changed");
        saving.note(true);
        saving.note(false);
        assert!(!saving.begin(at(4)), "not so soon");
        assert!(saving.begin(at(5)) && !saving.begin(at(20)), "one at a time");
        saving.note(true);
        assert!(!saving.begin(at(30)), "it is under way");
        assert_eq!(saving.done(Ok(())), None);
        assert!(!saving.begin(at(14)) && saving.begin(at(15)));
    }

    #[test]
    fn what_failed_is_tried_again_and_told_once() {
        let mut saving = Saving::new("it", INTERVAL, at(0));
        saving.note(true);
        let mut tell = |second, result: Result<(), String>| {
            assert!(saving.begin(at(second)), "{second}");
            saving.done(result)
        };
        let full = || Err("the disk is full".to_owned());
        let told = Some(Event::Warning { text: "it could not be written down: the disk is full".to_owned() });
        assert_eq!([tell(0, full()), tell(10, full()), tell(20, Ok(()))], [told.clone(), None, None]);
        saving.note(true);
        assert!(saving.begin(at(30)));
        assert_eq!(saving.done(full()), told);
    }

    #[tokio::test]
    async fn at_the_end_what_is_under_way_is_waited_for() {
        let mut saving = Saving::new("it", INTERVAL, at(0));
        for (result, is_left) in [(Ok(()), false), (Err("the disk is full".to_owned()), true)] {
            saving.note(true);
            saving.next_at = at(0);
            assert!(saving.begin(at(0)));
            let mut errands = JoinSet::new();
            errands.spawn(async { None });
            errands.spawn(async { Some(result) });
            assert_eq!(saving.finish(&mut errands, |news| news).await, is_left);
        }
    }
}
