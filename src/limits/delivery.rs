//! The delivery engine: destinations, hosts, retries, and standing orders.

use std::time::Duration;

/// Recipients of one outgoing transaction unless the route says otherwise. RFC 5321 §4.5.3.1.8 makes every server take
/// 100; more would be answered with 452 by the strict ones. A message with more goes in several transactions.
pub const RECIPIENTS_PER_TRANSACTION_MAX: usize = 100;

/// Jobs that one worker's queue has in hand at one destination. It bounds what a dead destination can take from the
/// others, and is enough to keep the connections of one destination busy over a ring's round trip. Of urgent mail there may be more, of
/// bulk less: [`PRIORITY_SHARE`].
pub const JOBS_IN_HAND_MAX: u32 = 128;

/// Jobs that one worker's queue has in hand at all destinations. It leaves room at their owners for eight workers' worth of those
/// that have few, and many domains may be slow at a time.
pub const JOBS_IN_HAND_TOTAL_MAX: usize = 16_384;

/// One part in so many of the jobs that there may be is kept for urgent mail, on top of what other mail may take, and one is kept from bulk.
/// It is room enough for what is seldom, and takes little from the rest.
pub const PRIORITY_SHARE: usize = 8;

/// [`JOBS_IN_HAND_TOTAL_MAX`] with those of urgent mail alone.
pub const JOBS_IN_HAND_MOST: usize = JOBS_IN_HAND_TOTAL_MAX + JOBS_IN_HAND_TOTAL_MAX.div_ceil(PRIORITY_SHARE);

/// How often in a row what is less urgent is passed over, of priorities below 0, of 0 and above, before it has its turn. Whoever fills all
/// turns with urgent mail leaves every fifth to other mail, and every seventeenth to bulk.
pub const PASSED_OVER_MAX: [u8; 3] = [16, 4, 0];

/// MX sets that one worker keeps the hosts of, with what it knows of their failures: about a kilobyte each, and at the worst as much
/// for each host, for what it said last. The one that was not used for longest makes room; with mail under way for all of them more has
/// to wait.
pub const MX_DESTINATIONS_MAX: usize = 16_384;

/// Jobs that wait at one destination: eight workers with all their credit.
pub const DESTINATION_QUEUE_MAX: usize = 8 * JOBS_IN_HAND_MAX as usize;

/// By so much more may wait at an MX set, whose hosts may have the mail of many domains.
pub const MX_SET_QUEUE_FACTOR: usize = 16;

/// How long a job waits at its destination for a connection, or for what limits allow, before its giver has a look at the age of the
/// message: the age at which it is given up is met so exactly, and a job goes back and forth seldom enough.
pub const WORK_WAIT_MAX: Duration = Duration::from_secs(300);

/// How long a message must have been due in vain before it is given up for its age without having been tried: what is older when
/// the appliance comes back after a long time has its chance.
pub const OVERDUE_GRACE: Duration = Duration::from_secs(600);

/// The pause between two rounds in which the messages that wait in vain are looked through for such that are too old: they are given
/// up for days of age.
pub const OVERDUE_ROUND_INTERVAL: Duration = Duration::from_secs(300);

/// Entries of the schedule that are looked at in one breath of such a round, so that a breath ends.
pub const OVERDUE_LOOKS: usize = 256;

/// The pause after so many: a million entries take five minutes.
pub const OVERDUE_LOOKS_PAUSE: Duration = Duration::from_millis(75);

/// Jobs that wait at all destinations of one worker; a job of few recipients takes about half a kilobyte.
pub const DELIVERY_QUEUE_MAX: usize = 65_536;

/// Outgoing connections of one worker to one destination.
pub const CONNECTIONS_PER_DESTINATION_DEFAULT: u32 = 20;

/// Sections of limits by destination: each is looked at when a destination with new hosts begins.
pub const SHAPING_MAX: usize = 256;

/// Pools of own addresses: of a route there is one destination for each pool that senders can choose, in each worker.
pub const POOLS_MAX: usize = 256;

/// All addresses of a pool have the same share unless somebody says otherwise.
pub const POOL_WEIGHT_DEFAULT: u32 = 1;

/// Routes, times the pools that senders can choose: each is a destination, of about a kilobyte in each worker.
pub const ROUTES_AND_POOLS_MAX: usize = 65_536;

/// Work waits so long for a connection from the own address that it prefers while one from another address of its pool idles:
/// longer than a handshake on any path takes.
pub const PREFERRED_PATIENCE: Duration = Duration::from_secs(5);

/// Work that waits at a destination is looked through so far for what prefers the own address of an idle connection.
pub const PREFERRED_LOOKS: usize = 16;

/// Tenants: a number of two bytes names each.
pub const TENANTS_MAX: usize = 10_000;

/// Reactions to replies: each refusal is held against all of them.
pub const REACTIONS_MAX: usize = 64;

/// What the pattern of one may take compiled, and its notes as well, bytes: patterns of texts take some kilobytes.
pub const REACTION_PATTERN_SIZE_MAX: usize = 1 << 20;

/// Jobs that must wait for each connection that is being opened beside those that are busy: a single job is
/// sooner served by a connection that is there already.
pub const BACKLOG_PER_CONNECTION_DEFAULT: usize = 2;

/// Transactions after which a connection is ended, so that load spreads again over the hosts.
pub const TRANSACTIONS_PER_CONNECTION_DEFAULT: u32 = 1000;

/// How long a connection waits for more work before QUIT: long enough for a stream of mail, short enough not to hold
/// the remote's slots.
pub const DELIVERY_IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// How long a TCP handshake may take: room for four SYNs with a retransmission timer that doubles from one second.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// How long a connection may take to go away after QUIT or after it failed; then it is reset.
pub const QUIT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a host is left alone after its first failure.
pub const HOST_BACKOFF_FIRST_DEFAULT: Duration = Duration::from_secs(30);

/// The longest that a failing host is left alone: a host that came back is found within this time.
pub const HOST_BACKOFF_MAX_DEFAULT: Duration = Duration::from_secs(600);

/// Connections to one host that may die in a row, each with work in hand, before the host counts as failed. One message
/// that kills the remote must not hold up all others.
pub const HOST_DROPS_MAX: u32 = 5;

/// Transactions after which even the last connection of a destination makes room for a destination that has none, when
/// the limit of all connections is reached.
pub const STARVED_TRANSACTIONS: u32 = 8;

/// The delay after the first failed attempt (RFC 5321 §4.5.4.1 suggests 30 minutes, which greylisting made too long).
pub const RETRY_FIRST_DEFAULT: Duration = Duration::from_secs(60);

/// What each delay is multiplied with to get the next.
pub const RETRY_GROWTH_DEFAULT: f64 = 2.0;

/// The longest delay (RFC 5321 §4.5.4.1: two to three hours once a day has passed).
pub const RETRY_MAX_DEFAULT: Duration = Duration::from_secs(4 * 3600);

/// By which part of itself a delay varies, so that what failed together does not come back together.
pub const RETRY_JITTER_DEFAULT: f64 = 0.1;

/// When a message is given up (RFC 5321 §4.5.4.1: at least 4–5 days).
pub const RETRY_AGE_MAX_DEFAULT: Duration = Duration::from_secs(5 * 86_400);

/// When a message is given up that an operator holds: he may be looking into it for weeks, and forget it.
pub const RETRY_HELD_AGE_MAX_DEFAULT: Duration = Duration::from_secs(30 * 86_400);

/// When a recipient that was not tried (no room, shutdown, too many recipients at once) is due again.
pub const BUSY_DELAY: Duration = Duration::from_secs(1);

/// The age at which a sender who asked for it (`NOTIFY=DELAY`) is told that delivery takes long.
pub const DELAY_WARNING_AFTER: Duration = Duration::from_secs(4 * 3600);
