//! The pair: links between the boxes.

use std::time::Duration;

/// The largest register or memory of an identity that is read, bytes: none that is written has 200.
pub const REGISTER_SIZE_MAX: usize = 512;

/// The largest file that is read of what a box with the manual arbiter keeps of a register, bytes: three of them and a little.
pub const STANDING_SIZE_MAX: usize = 1024;

/// The highest epoch. Nobody gets there, and one more than it can still be said.
pub const EPOCH_MAX: u64 = (1 << 62) - 1;

/// A replica that is heard, but does not follow, or is not level, is waited for so long: it may be reading the register.
/// No 250 leaves meanwhile, so it is less than a client waits; more than a slow store needs, lest the pair swing for ever
/// between solo and mirrored.
pub const JOIN_DELAY: Duration = Duration::from_secs(2);

/// With the manual arbiter: an owner that is alone by its register looks for its partner so long after a start, before it works.
/// The partner may have been made to work meanwhile, and a link may need some seconds to come up.
pub const SEEK_DELAY: Duration = Duration::from_secs(10);

/// How often the register is read when all is well. A watch tells changes at once, and may be lost without a word.
pub const REGISTER_READ_INTERVAL: Duration = Duration::from_secs(5);

/// How often the register is read when something waits for it, and how long a question to the store that had no answer is
/// left alone before it is asked again.
pub const REGISTER_RETRY_DELAY: Duration = Duration::from_millis(50);

/// How long etcd is waited for. It answers within milliseconds, and one that does not is left for the next endpoint: a takeover
/// waits for it.
pub const REGISTER_TIMEOUT: Duration = Duration::from_millis(400);

/// The pause before a watch on the registers that has ended begins anew.
pub const WATCH_RETRY_DELAY: Duration = Duration::from_secs(1);

/// How long sessions may go on when an identity is moved on command.
pub const DRAIN_DELAY: Duration = Duration::from_secs(30);

/// How long sessions may go on when an identity is given away because this box's disk is full: it takes no new mail meanwhile,
/// so this is part of the time for which there is nobody who does.
pub const DRAIN_DELAY_FULL: Duration = Duration::from_millis(500);

/// How long a move waits, after the last session, for handshakes that have begun and for what ended sessions said last: the way
/// to the most distant clients and back. Who is cut off there may wait for a greeting until its own patience ends.
pub const PASSAGE_MAX: Duration = Duration::from_millis(300);
