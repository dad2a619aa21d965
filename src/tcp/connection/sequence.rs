//! Sequence numbers (RFC 9293 §3.4): a circle of 2^32, on which "before" means less than half a turn back.

/// A place in one direction of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequence(pub u32);

impl Sequence {
    /// The place `count` bytes further on.
    pub fn after(self, count: u32) -> Sequence {
        Sequence(self.0.wrapping_add(count))
    }

    /// How far this is beyond `earlier`, modulo 2^32: meaningful only if it is not before it.
    pub fn since(self, earlier: Sequence) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    pub fn is_before(self, other: Sequence) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    pub fn is_beyond(self, other: Sequence) -> bool {
        other.is_before(self)
    }

    pub fn later(self, other: Sequence) -> Sequence {
        if self.is_before(other) { other } else { self }
    }

    pub fn earlier(self, other: Sequence) -> Sequence {
        if self.is_before(other) { self } else { other }
    }
}

/// A stretch of a direction: from `begin` up to and without `end`, which is never before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    pub begin: Sequence,
    pub end: Sequence,
}

impl Stretch {
    pub fn length(&self) -> u32 {
        self.end.since(self.begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_and_beyond_go_round() {
        let (late, wrapped) = (Sequence(u32::MAX - 1), Sequence(3));
        assert!(late.is_before(wrapped));
        assert!(wrapped.is_beyond(late));
        assert!(!late.is_before(late));
        assert_eq!(wrapped.since(late), 5);
        assert_eq!(late.later(wrapped), wrapped);
        assert_eq!(late.earlier(wrapped), late);
    }
}
