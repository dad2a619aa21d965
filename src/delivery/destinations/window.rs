//! How many connections a receiver bears at a time, as far as it has let us know.
//!
//! In: how transactions and connections ended. Out: a number of connections, never less than one. It grows by one when as many
//! transactions went well as it has connections, and is halved by trouble, once for all that was under way then; so it comes
//! back by itself. This is the feedback of TCP (RFC 5681 §3.1) and of queue managers: what a receiver bears is found from below, and
//! left alone a little under where it hurts. A destination that nothing is known of has no limit here: it is found out by opening
//! connections no faster than they are served.

/// What a receiver bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Connections at a time; at least one.
    size: u32,
    /// Transactions that went well since it changed last, while all connections were in use.
    successes: u32,
    /// Transactions that were under way when it shrank last: their trouble is the same one.
    stale: u32,
    /// Connections in a row that were refused beside others that were served.
    refusals: u32,
    /// How many were served at the last of these.
    served: u32,
}

impl Window {
    /// Nothing is known.
    pub const fn new() -> Window {
        Window { size: u32::MAX, successes: 0, stale: 0, refusals: 0, served: 0 }
    }

    /// Connections at a time.
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// A transaction went well while `open` connections were there. With fewer than there might have been it says nothing.
    pub fn succeed(&mut self, open: u32) {
        self.pass();
        if open < self.size {
            return;
        }
        self.successes += 1;
        if self.successes >= self.size {
            self.successes = 0;
            self.size = self.size.saturating_add(1);
        }
    }

    /// A transaction ended in a way that says nothing of the receiver.
    pub fn pass(&mut self) {
        self.stale = self.stale.saturating_sub(1);
    }

    /// A transaction ended in trouble, while `open` connections were there and `under_way` others had work.
    pub fn shrink(&mut self, open: u32, under_way: u32) {
        if self.stale > 0 {
            return self.pass();
        }
        self.stale = under_way;
        self.reduce(self.size.min(open) / 2);
    }

    /// A connection was refused while `serving` others were served: so many it bears. The refusals in a row.
    pub fn refuse(&mut self, serving: u32) -> u32 {
        self.refusals = self.refusals.saturating_add(1);
        self.served = serving;
        self.reduce(self.size.min(serving));
        self.refusals
    }

    /// A connection was greeted, and `serving` are served now.
    pub fn admit(&mut self, serving: u32) {
        if serving > self.served {
            self.refusals = 0;
        }
    }

    fn reduce(&mut self, size: u32) {
        self.size = size.max(1);
        self.successes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_grows_by_one_for_as_many_successes_as_it_has_connections() {
        let mut window = Window::new();
        window.shrink(4, 0);
        let mut sizes = Vec::new();
        for _ in 0..12 {
            window.succeed(window.size());
            sizes.push(window.size());
        }
        assert_eq!(sizes, [2, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5]);
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut window = Window::new();
        window.shrink(8, 0);
        (0..100).for_each(|_| window.succeed(3));
        assert_eq!(window.size(), 4);
    }

    #[test]
    fn trouble_of_what_was_under_way_together_counts_once() {
        let mut window = Window::new();
        window.shrink(16, 15);
        (0..15).for_each(|_| window.shrink(16, 0));
        assert_eq!(window.size(), 8);
        window.shrink(8, 7);
        assert_eq!(window.size(), 4);
    }

    #[test]
    fn a_window_is_never_less_than_one_and_comes_back() {
        let mut window = Window::new();
        (0..100).for_each(|_| window.shrink(1, 0));
        assert_eq!(window.size(), 1);
        (0..190).for_each(|_| window.succeed(window.size()));
        assert_eq!(window.size(), 20);
    }

    #[test]
    fn a_refused_connection_says_how_many_are_borne() {
        let mut window = Window::new();
        assert_eq!((window.refuse(5), window.size()), (1, 5));
        window.admit(5);
        assert_eq!((window.refuse(5), window.size()), (2, 5), "one that took the place of another says nothing");
        window.admit(6);
        assert_eq!((window.refuse(6), window.size()), (1, 5), "it grows by success alone");
        assert_eq!((window.refuse(0), window.size()), (2, 1));
    }
}
