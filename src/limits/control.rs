//! The control thread: admin socket, event log, health and alerts.

use super::PATH_SIZE_MAX;
use std::time::Duration;

// control: the control thread.

/// The longest request on the admin socket, bytes: some 60 000 queue ids in one.
pub const ADMIN_REQUEST_SIZE_MAX: usize = 1024 * 1024;

/// Clients of the admin socket at a time; more wait in the backlog.
pub const ADMIN_CLIENTS_MAX: usize = 16;

/// Queue entries in one answer: a worker makes them between two breaths, and must not be kept long. A client asks
/// again for what comes after the last one.
pub const QUEUE_LIST_MAX: usize = 1000;

/// The shortest interval of `rohrpost top`: each look costs every worker some tens of microseconds.
pub const TOP_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Recipients of queued messages that one request looks at, each message counted as one more: a millisecond or two.
/// What is left is looked at in a later breath.
pub const QUEUE_LOOKS_MAX: usize = 20_000;

/// Destinations that one request looks at in one breath: a millisecond or two. Those that are left are looked at in a later one.
pub const DESTINATION_LOOKS_MAX: usize = 2000;

/// Messages that one request changes in one breath: each costs a record, and a line in the log.
pub const QUEUE_CHANGES_MAX: usize = 2000;

/// Standing orders at a time: all are gone through when something waits under one, listed as one answer, and kept as one file.
pub const ORDERS_MAX: usize = 256;

/// How long a standing order holds unless something else is said: as long as a receiver takes to be mended, and not so long that
/// mail expires for an order that was forgotten.
pub const ORDER_DURATION_DEFAULT: Duration = Duration::from_secs(3600);

/// How long it holds at most, unless it is to hold until it is ended: longer than a message lives.
pub const ORDER_DURATION_MAX: Duration = Duration::from_secs(7 * 86_400);

/// The longest reason of a standing order, bytes: a line for whoever reads it next.
pub const ORDER_REASON_SIZE_MAX: usize = 256;

/// The longest name that a standing order is about, bytes: that of a route with many hosts is the longest.
pub const ORDER_NAME_SIZE_MAX: usize = 2048;

/// Ended standing orders that are remembered until the partner knows: as many as can stand; the one that was ended first is forgotten first.
pub const ORDERS_ENDED_MAX: usize = ORDERS_MAX;

/// While the partner has other orders, it is told all of ours so often.
pub const ORDERS_TELL_INTERVAL: Duration = Duration::from_secs(1);

/// What is read of the file with the standing orders, bytes: more than the most of them take.
pub const ORDERS_FILE_SIZE_MAX: usize = 4 << 20;

// Two names and a reason, of which each byte may need an escape, and what stands around them. The longest of ours is never taken
// for a damaged one.
const ORDER_SIZE_MAX: usize = 2 * (2 * ORDER_NAME_SIZE_MAX + ORDER_REASON_SIZE_MAX) + 512;
const _: () = assert!(
    (ORDERS_MAX + 1) * ORDER_SIZE_MAX + ORDERS_ENDED_MAX * (2 * ORDER_NAME_SIZE_MAX + 128) <= ORDERS_FILE_SIZE_MAX
);

// So can be what the boxes of a pair tell each other of one.
const _: () = assert!(ORDER_SIZE_MAX + 64 <= super::MIRROR_MESSAGE_SIZE_MAX);

/// Files with standing orders that were damaged and are kept for the operator; the next one is written over the last of them.
pub const ORDERS_DAMAGED_MAX: usize = 8;

/// Recipients of entries of the schedule that are looked at to bring those to where orders want them, in one breath: some hundred
/// microseconds. A million entries take some two thousand breaths. One message more may be gone through.
pub const ORDER_LOOKS: usize = 512;

/// How long workers have to answer an admin request. They do so between breaths, so that this means a hung one.
pub const ADMIN_REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after the shutdown limit a worker is waited for before it is given up.
pub const STOP_GRACE: Duration = Duration::from_secs(1);

/// Blocks of log lines that wait for a slow standard output, each of one turn of the control thread; the lines of more are
/// dropped and counted.
pub const LOG_BLOCKS_MAX: usize = 16;

/// The same for the files of events, whose disk may take its time.
pub const EVENT_BLOCKS_MAX: usize = 256;

/// When a file of events is followed by another one, bytes and time.
pub const EVENT_FILE_SIZE_DEFAULT: u64 = 256_000_000;
pub const EVENT_FILE_AGE_DEFAULT: Duration = Duration::from_secs(3600);

/// What the compressed ones may have together, bytes: some hundred million events.
pub const EVENT_FILES_SIZE_DEFAULT: u64 = 10_000_000_000;

/// The pause before a disk that took no events is tried again.
pub const EVENT_FILES_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The longest line of the event log that is read, bytes: of a longer one the rest counts as another line.
pub const EVENT_LINE_SIZE_MAX: u64 = 1 << 20;

/// Recipients that one event names: as many as a transaction of RFC 5321 must bear (§4.5.3.1.8), so that most messages need one
/// event. In JSON an octet takes six at most.
pub const EVENT_RECIPIENTS_MAX: usize = 100;

const _: () = assert!((EVENT_RECIPIENTS_MAX * PATH_SIZE_MAX * 6) as u64 <= EVENT_LINE_SIZE_MAX / 4);

/// Messages that are traced at a time.
pub const TRACE_MESSAGES_MAX: usize = 10_000;

/// Events that are put in order of their messages at a time.
pub const TRACE_LINES_MAX: usize = 1_000_000;

/// How long the last log lines may take to go out when the process ends.
pub const LOG_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Recipients in one answer with queue entries, for the same reason: one message may have very many.
pub const QUEUE_LIST_RECIPIENTS_MAX: usize = 10_000;

/// How long a client of the admin socket may be silent, or take to read an answer, before it loses its place.
pub const ADMIN_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Messages from all workers that wait for the control thread: events beyond are dropped and counted, since a worker
/// never waits.
pub const FROM_WORKERS_MAX: usize = 65_536;

/// Messages to one worker that wait for the end of its breath. More than the admin clients can have under way.
pub const TO_WORKER_MAX: usize = 64;

// control::health and control::http

/// Messages that wait for a worker above which it is not asked for a pulse as well: it has enough to show by that it lives.
pub const PULSES_WAITING_MAX: usize = TO_WORKER_MAX / 8;

/// Pulses, one a second, that a worker may leave unanswered before it counts as silent. They are counted, and not timed: a
/// process that was stopped for a while finds no worker silent for it.
pub const PULSES_MISSED_MAX: u32 = 5;

/// What may be wrong at a time: several things with each of 64 workers and their logs. A box with more is not ready, and
/// the rest is in the log.
pub const CONDITIONS_MAX: usize = 1024;

/// Reasons in one answer of the health endpoint: it tells a load balancer that something is wrong, and a person what to
/// look at first.
pub const HEALTH_REASONS_MAX: usize = 16;

/// The longest text of a condition, bytes; what systems and disks say is shorter.
pub const CONDITION_TEXT_SIZE_MAX: usize = 512;

/// What is kept of why the endpoints of etcd do not answer, bytes, of which each has an equal share: the text of the condition
/// shows all of it.
pub const STORE_ERRORS_SIZE_MAX: usize = 400;

/// How long lost log lines count as a condition after the last one was lost.
pub const EVENTS_LOST_DURATION: Duration = Duration::from_secs(60);

/// Connections to the health endpoint at a time, far more than load balancers make. One more ends the oldest: the slow make
/// room for those who come to ask.
pub const HTTP_CLIENTS_MAX: usize = 64;

/// How long such a connection may take, from its first byte to its last: every load balancer has given up by then.
pub const HTTP_CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest request there, bytes, and the least that hyper reads with. A check has some hundred.
pub const HTTP_REQUEST_SIZE_MAX: usize = 8192;

/// Header fields of one such request.
pub const HTTP_HEADERS_MAX: usize = 64;

/// How long before its end a certificate is told of: two weeks are enough to get another one by hand, and those that are renewed by
/// a program, as a rule a month before, are never told of.
pub const CERTIFICATE_EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Certificates that are watched: half of what may be wrong at a time.
pub const CERTIFICATES_WATCHED_MAX: usize = CONDITIONS_MAX / 2;

// control::alert

/// How often a condition that lasts is told again.
pub const ALERT_REPEAT_DEFAULT: Duration = Duration::from_secs(3600);

/// How long a condition must be gone before its end is told. What comes back sooner was never over: what flaps pages once,
/// and its all clear is late rather than wrong.
pub const ALERT_CALM_DEFAULT: Duration = Duration::from_secs(120);

/// Notices that wait for one hook. With one more the oldest is given up: what lasts is told again anyway.
pub const ALERTS_WAITING_MAX: usize = 64;

/// The pause after the first failure of a hook; it doubles with each further one.
pub const ALERT_RETRY_FIRST: Duration = Duration::from_secs(5);

/// The longest pause: a hook that works again is used within this time.
pub const ALERT_RETRY_MAX: Duration = Duration::from_secs(300);

/// Attempts of one notice, some twenty minutes' worth. Then the next has its turn, so that news is not behind what is old.
pub const ALERT_ATTEMPTS_MAX: u32 = 10;

/// How long a webhook may take to answer, name and handshake included.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a command may run before it is killed.
pub const ALERT_COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the end of the process waits for its last notices, such as that a worker failed. A start that follows is held
/// up by no more than this.
pub const ALERT_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
