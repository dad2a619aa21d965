//! Every bound of the appliance in one place, each with its reason.
//!
//! What an operator may change is a key of the configuration and has its default here; what is fixed
//! by a protocol or by the shape of the code is a constant. A full table means 421, 452 or a smaller TCP
//! window, never growth.

use std::time::Duration;

/// How full something is that has a limit. Whoever has a table shows one, so that a test can see that none is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// What is counted.
    pub name: &'static str,
    /// How many there are.
    pub count: u64,
    /// How many there may be.
    pub limit: u64,
}

impl Gauge {
    /// `count` of `limit`.
    pub fn new(name: &'static str, count: usize, limit: usize) -> Gauge {
        Gauge { name, count: count as u64, limit: limit as u64 }
    }

    /// Whether the limit is kept.
    pub fn holds(&self) -> bool {
        self.count <= self.limit
    }
}

/// The longest command line with its CRLF, bytes. RFC 5321 §4.5.3.1.4 asks for at least 512; MAIL and
/// RCPT grow by their extensions' parameters (SIZE, BODY, RET, ENVID, NOTIFY, ORCPT: RFC 3461 §4.2).
pub const COMMAND_LINE_SIZE_MAX: usize = 2048;

/// The longest local part, octets (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_SIZE_MAX: usize = 64;

/// The longest domain, octets (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_SIZE_MAX: usize = 255;

/// The longest path with its brackets, octets (RFC 5321 §4.5.3.1.3).
pub const PATH_SIZE_MAX: usize = 256;

/// The longest reply line with its CRLF that we send, octets (RFC 5321 §4.5.3.1.5).
pub const REPLY_LINE_SIZE_MAX: usize = 512;

/// How much of a remote reply is kept, bytes; the rest of a longer one is read and dropped.
pub const REMOTE_REPLY_SIZE_MAX: usize = 1024;

/// Recipients of one transaction (RFC 5321 §4.5.3.1.8 asks for at least 100).
pub const RECIPIENTS_DEFAULT: usize = 1000;

/// The largest message, bytes.
pub const MESSAGE_SIZE_DEFAULT: u64 = 50_000_000;

/// `Received:` lines after which a message is taken to be in a loop (RFC 5321 §6.3 asks for at least 100).
pub const HOPS_DEFAULT: usize = 100;

/// Content is taken from a flow in pieces of at least this size, bytes, unless it ends before: it bounds the
/// number of chunks that a message of many tiny segments can make.
pub const CHUNK_SIZE_MIN: usize = 4096;

/// The largest chunk of content in one record, bytes.
pub const CHUNK_SIZE_MAX: usize = 64 * 1024;

/// Initial 220 as a client, MAIL, RCPT: five minutes; DATA initiation two; a data block three; the final dot
/// ten (RFC 5321 §4.5.3.2). A server waits five for the next command (§4.5.3.2.7).
pub const SERVER_COMMAND_TIMEOUT: Duration = Duration::from_secs(300);

// smtp::client

/// The longest reply line taken from a remote server, with its CRLF, bytes. RFC 5321 §4.5.3.1.5 allows 512; servers
/// that explain a refusal with a link exceed it, none was seen to exceed this.
pub const CLIENT_REPLY_LINE_SIZE_MAX: usize = 4096;

/// Lines of one remote reply. The longest EHLO answers have about forty; an endless reply must end somewhere.
pub const CLIENT_REPLY_LINES_MAX: u32 = 128;

/// Commands are written while less than this waits to be sent, bytes: two segments' worth, so that a pipelined group
/// of a thousand RCPTs fills the wire without being held in memory.
pub const CLIENT_OUTPUT_SIZE: usize = 4096;

/// The longest parameter taken from our own envelope into a command, bytes (RFC 3461 §4.2 allows 500 for ORCPT).
pub const CLIENT_PARAMETER_SIZE_MAX: usize = 512;

/// A user or a password that is shown to a server, bytes. RFC 4616 §2 wants servers to take 255 of each.
pub const CREDENTIAL_SIZE_MAX: usize = 255;

/// Content bytes that count as a block for the block timeout. Without it, a server that takes one byte every three
/// minutes would hold a session for years.
pub const CLIENT_BLOCK_SIZE: u64 = 4096;

/// Timeouts of a client, RFC 5321 §4.5.3.2.1: the greeting.
pub const CLIENT_GREETING_TIMEOUT: Duration = Duration::from_secs(300);

/// The answer to EHLO, HELO or LHLO. The RFC names none; as for MAIL.
pub const CLIENT_HELLO_TIMEOUT: Duration = Duration::from_secs(300);

/// The answer to MAIL (§4.5.3.2.2).
pub const CLIENT_MAIL_TIMEOUT: Duration = Duration::from_secs(300);

/// The answer to RCPT (§4.5.3.2.3).
pub const CLIENT_RCPT_TIMEOUT: Duration = Duration::from_secs(300);

/// The answer to DATA (§4.5.3.2.4).
pub const CLIENT_DATA_TIMEOUT: Duration = Duration::from_secs(120);

/// A block of content, and the answer to a BDAT chunk that is not the last (§4.5.3.2.5).
pub const CLIENT_BLOCK_TIMEOUT: Duration = Duration::from_secs(180);

/// The answer to the final dot (§4.5.3.2.6); shorter ones make duplicates.
pub const CLIENT_DOT_TIMEOUT: Duration = Duration::from_secs(600);

/// The answer to RSET. Nothing is at stake any more, so it need not be waited for as long as for the others.
pub const CLIENT_RSET_TIMEOUT: Duration = Duration::from_secs(20);

/// The answer to QUIT; it changes nothing, so politeness is brief.
pub const CLIENT_QUIT_TIMEOUT: Duration = Duration::from_secs(2);

// smtp::dsn

/// Where the lines of a notice that we write are folded, bytes (RFC 5322 §2.1.1 asks for 78).
pub const DSN_LINE_SIZE: usize = 76;

/// The longest word in a notice, bytes; a longer one is cut in two, so that no line exceeds the 998 of RFC 5322 §2.1.1.
pub const DSN_WORD_SIZE_MAX: usize = 800;
// dns

/// Questions that resolvers have at the same time. Each has a socket of its own; a resolver on the same box answers thousands a
/// second with fewer.
pub const LOOKUPS_MAX: usize = 256;

/// Domains that one worker may have asked the control thread about.
pub const LOOKUPS_PER_WORKER_MAX: usize = 256;

/// A worker asks again about a domain after so long without an answer: more than all steps of a lookup take with resolvers that
/// are silent.
pub const LOOKUP_PATIENCE: Duration = Duration::from_secs(60);

/// The pause before a worker that found the channel to the control thread full asks again.
pub const LOOKUP_ASK_DELAY: Duration = Duration::from_millis(100);

/// Answers that one message to a worker carries.
pub const LOOKUP_ANSWERS_PER_MESSAGE: usize = 64;

/// How long one resolver is waited for before the next is asked. glibc has the same.
pub const DNS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Resolvers that are asked in turn: with more, a worker would lose patience before the last had its say.
pub const RESOLVERS_MAX: usize = 4;

/// How long an answer holds at least: a domain with mail under way is not asked about all the time, whatever it says.
pub const DNS_TTL_MIN: Duration = Duration::from_secs(30);

/// How long it holds at most.
pub const DNS_TTL_MAX: Duration = Duration::from_secs(86_400);

/// How long a "there is none" holds at most (RFC 2308 §5 has three hours as the most that is sensible): a domain that is new
/// has its mail soon.
pub const DNS_NEGATIVE_TTL_MAX: Duration = Duration::from_secs(900);

/// How long a failure of resolvers is remembered (RFC 2308 §7.1 allows five minutes): messages of one domain that are due
/// together ask once.
pub const DNS_FAILURE_TTL: Duration = Duration::from_secs(5);

/// Answers of resolvers that are remembered, each of some hundred bytes; at the worst, with [`DNS_RECORDS_MAX`] of the longest
/// names in each, 300 MB.
pub const DNS_CACHE_MAX: usize = 16_384;

/// Records that are taken from one answer.
pub const DNS_RECORDS_MAX: usize = 64;

/// Hosts of one domain, those with the lowest preferences. Large providers have a dozen.
pub const MX_HOSTS_MAX: usize = 32;

/// What is taken of one TXT record about the mail of a domain, bytes: a longer one is not about what is asked for here.
pub const TXT_SIZE_MAX: usize = 256;

/// Policies that are fetched at a time (MTA-STS), out of [`LOOKUPS_MAX`] and beside the questions to resolvers: servers that never
/// answer hold up no more than these.
pub const POLICY_FETCHES_MAX: usize = 64;

/// How long a fetch of a policy may take (RFC 8461 §3.3 suggests a minute). Mail of its domain waits for it.
pub const POLICY_FETCH_TIMEOUT: Duration = Duration::from_secs(20);

/// Addresses of a policy's server that are tried.
pub const POLICY_ADDRESSES_MAX: usize = 4;

/// The largest policy, bytes (RFC 8461 §3.2 suggests this limit).
pub const POLICY_SIZE_MAX: usize = 64 << 10;

/// Hosts that a policy may name. Large providers need a handful.
pub const POLICY_HOSTS_MAX: usize = 64;

/// How long a policy counts at most: RFC 8461 §3.2 sets this limit of about a year.
pub const POLICY_AGE_MAX: Duration = Duration::from_secs(31_557_600);

/// How long a policy is not fetched again, whether that failed or its record has changed once more (RFC 8461 §3.3 wants five minutes).
pub const POLICY_RETRY_DELAY: Duration = Duration::from_secs(300);

/// When a policy is fetched again though its record is the same, so that one that counts for long is not found too old on the day on
/// which its server is down.
pub const POLICY_REFRESH_DELAY_MAX: Duration = Duration::from_secs(86_400);

/// Policies that are remembered: of the size of a name mostly, at the worst, with [`POLICY_HOSTS_MAX`] of the longest names in each,
/// 130 MB.
pub const POLICIES_MAX: usize = 8192;

/// The largest file of them that is read at the start, bytes: what [`POLICIES_MAX`] of them take at the worst. One or two megabytes
/// are usual.
pub const POLICIES_FILE_SIZE_MAX: usize = 160 << 20;

/// How often policies are written down while they change. A crash may take what was fetched since: it is fetched again when there is
/// mail for its domain.
pub const POLICIES_SAVE_INTERVAL: Duration = Duration::from_secs(10);

// tlsrpt

/// Domains that are counted for reports in a day, each of some hundred bytes: those that want no reports are known by name alone.
pub const REPORT_DOMAINS_MAX: usize = 16_384;

/// Policies in one report: those of all hosts of a domain, and what they were before they changed in the day.
pub const REPORT_POLICIES_MAX: usize = 32;

/// Failures of one policy in a report that differ in kind, host, address or text; more than these are counted only.
pub const REPORT_FAILURES_MAX: usize = 64;

/// What is kept of the text of a failure, bytes.
pub const REPORT_REASON_SIZE_MAX: usize = 256;

/// What is taken of any TXT record, bytes: as much as one takes that names a few places for reports. It is not remembered.
pub const REPORT_RECORD_SIZE_MAX: usize = 1024;

/// Places that one domain may have its reports sent to (RFC 8460 §3 gives no limit).
pub const REPORT_TARGETS_MAX: usize = 4;

/// Reports that wait to be sent; beyond it the oldest is given up. At the worst, with all policies and failures that a report may have,
/// each takes a megabyte; mostly a kilobyte.
pub const REPORTS_WAITING_MAX: usize = 16_384;

/// Within how long after midnight the reports of a day are sent (RFC 8460 §4.1 suggests up to four hours).
pub const REPORT_SPREAD: Duration = Duration::from_secs(4 * 3600);

/// The pause before a report that could not be sent is sent again, and a record that could not be found is looked for again.
pub const REPORT_RETRY_DELAY: Duration = Duration::from_secs(3600);

/// Attempts to send a report, or to find out where to: a day of them (RFC 8460 §5.5).
pub const REPORT_ATTEMPTS_MAX: u32 = 24;

/// A report that waits for longer than this after its day, whatever for, is given up.
pub const REPORT_AGE_MAX: Duration = Duration::from_secs(3 * 86_400);

/// Reports that are sent, and records that are looked for, at a time: mail comes first.
pub const REPORTS_UNDER_WAY_MAX: usize = 8;

/// How long posting a report may take.
pub const REPORT_POST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the control thread waits until a worker has a report on its disk.
pub const REPORT_SUBMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// How often what is counted is written down while it changes: so much of it a crash may take.
pub const REPORT_SAVE_INTERVAL: Duration = Duration::from_secs(60);

/// How long an end waits for a file that the control thread has had written.
pub const SAVE_PATIENCE: Duration = Duration::from_secs(5);

/// The largest file of what is counted that is read at the start, bytes.
pub const REPORT_FILE_SIZE_MAX: usize = 256 << 20;

/// Domains for which one connection is counted; its receiver has many, or it is used for very long.
pub const REPORT_DOMAINS_PER_CONNECTION_MAX: usize = 64;

/// TLSA records by which one host is known: two keys, of an authority and of its own, in every form, and more.
pub const TLSA_RECORDS_MAX: usize = 16;

/// What is kept of the TLSA records of one answer, bytes: two whole certificates, or digests without end. What is left out counts as
/// a record that is of no use, so that it can only make a host stricter.
pub const TLSA_SIZE_MAX: usize = 8 << 10;

/// Addresses of one host, of each family.
pub const HOST_ADDRESSES_MAX: usize = 16;

/// Aliases on the way to one answer: resolvers follow about as many themselves.
pub const ALIASES_MAX: usize = 8;

// delivery

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

/// When a recipient that was not tried (no room, shutdown, too many recipients at once) is due again.
pub const BUSY_DELAY: Duration = Duration::from_secs(1);

/// The age at which a sender who asked for it (`NOTIFY=DELAY`) is told that delivery takes long.
pub const DELAY_WARNING_AFTER: Duration = Duration::from_secs(4 * 3600);
// kernel: ordinary sockets in place of port and tcp.

/// Connections taken from one listener in one poll: a flood of new clients must not starve the old ones.
pub const ACCEPT_BURST_MAX: usize = 64;

/// Flows served in one poll; the others keep their place in the line.
pub const READY_BURST_MAX: usize = 1024;

/// How long a closed connection is read and its bytes dropped, so that no reset destroys our last reply on its
/// way. Longer than a few retransmissions, shorter than what a peer that never ends could use to fill the table.
pub const LINGER_DURATION: Duration = Duration::from_secs(10);

/// How long no connection is accepted after the process or the system ran out of descriptors or memory: the
/// listener stays readable all the while, and asking again at once would spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Receive buffers kept for reuse when their flows have none to hold: enough for the flows of one poll.
pub const BUFFERS_SPARE_MAX: usize = READY_BURST_MAX;

/// Connections that the kernel completes before we accept them. It lowers this to `net.core.somaxconn` (4096 today).
pub const LISTEN_BACKLOG: i32 = 4096;

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

/// What is read of the file with the standing orders, bytes: more than the most of them take.
pub const ORDERS_FILE_SIZE_MAX: usize = 4 << 20;

// Two names and a reason, of which each byte may need an escape, and what stands around them. The longest of ours is never taken
// for a damaged one.
const _: () =
    assert!((ORDERS_MAX + 1) * (2 * (2 * ORDER_NAME_SIZE_MAX + ORDER_REASON_SIZE_MAX) + 512) <= ORDERS_FILE_SIZE_MAX);

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
// smtp::server

/// Errors of one session, without a message accepted in between, after which it is cut off with 421. Twenty is
/// more than a person at a terminal makes and less than a dictionary attack needs.
pub const SESSION_ERRORS_DEFAULT: u32 = 20;

/// MAIL commands of one session (`LIMITS MAILMAX`, RFC 9422): large enough for connection reuse, small enough
/// that no session lasts for ever.
pub const TRANSACTIONS_DEFAULT: u32 = 10_000;

/// A server waits three minutes for the next block of content (RFC 5321 §4.5.3.2.5).
pub const SERVER_DATA_TIMEOUT: Duration = Duration::from_secs(180);

/// A transaction's content must come at this rate, bytes per second, after [`CONTENT_RATE_GRACE`]: slower than
/// a modem, faster than an attacker who sends a byte now and then to hold a session.
pub const CONTENT_RATE_DEFAULT: u64 = 100;

/// How long a transaction's content may take whatever its size, before the minimum rate counts.
pub const CONTENT_RATE_GRACE: Duration = Duration::from_secs(60);

/// Replies waiting to be sent, bytes, above which a session reads no more commands: a client that pipelines must
/// take its replies. One breath's pipelined replies fit many times.
pub const OUTPUT_SIZE_HIGH: usize = 4096;

/// How long a session that has said its last word waits for the peer to take it.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest `ENVID`, characters of xtext (RFC 3461 §4.4).
pub const ENVELOPE_ID_SIZE_MAX: usize = 100;

/// The longest `ORCPT`, characters (RFC 3461 §4.2).
pub const ORIGINAL_RECIPIENT_SIZE_MAX: usize = 500;

/// Parameters of one MAIL or RCPT command; there are no more that we know, and each may come once.
pub const PARAMETERS_MAX: usize = 8;
// port

/// Frames of one queue unless the configuration says otherwise: 16 MiB on AF_XDP and 10 MiB on DPDK, a full window of
/// 1 500-byte frames for each direction at 10 Gb/s and a few milliseconds' absence of the worker.
pub const PORT_FRAMES_DEFAULT: u32 = 4096;

/// The fewest frames of a queue: two bursts for each direction, so that one can be in the NIC while the other is here.
pub const PORT_FRAMES_MIN: u32 = 256;

/// The most frames of a queue: 512 MiB of memory that cannot be swapped.
pub const PORT_FRAMES_MAX: u32 = 131_072;

// port::af_xdp

/// The largest MTU of a device, bytes: a page less what the kernel keeps in front of (256) and behind (about 320) a
/// frame in native mode, the Ethernet header and a tag.
pub const AF_XDP_MTU_MAX: usize = 3498;

/// Own addresses of one device: the size of the steering program's tables.
pub const STEERED_ADDRESSES_MAX: usize = 256;

/// How long a queue that is still bound is waited for: the kernel takes sockets apart some time after they are closed.
pub const QUEUE_BIND_PATIENCE: Duration = Duration::from_secs(2);

/// The pause between two tries to bind a queue.
pub const QUEUE_BIND_PAUSE: Duration = Duration::from_millis(20);

// port::dpdk

/// The least MTU that a device is given, bytes: what IPv6 asks of every link (RFC 8200 §5).
pub const DPDK_MTU_MIN: u16 = 1280;

/// The largest, bytes: what cards and switches with jumbo frames have in common.
pub const DPDK_MTU_MAX: u16 = 9216;

/// DPDK's memory unless the configuration says otherwise, bytes: room for the frames of sixteen workers and for what
/// drivers need of their own.
pub const DPDK_MEMORY_DEFAULT: u64 = 256 << 20;

/// What drivers and DPDK itself take of that memory besides the frames, bytes: rings, tables, the heap's own.
pub const DPDK_MEMORY_OVERHEAD: u64 = 16 << 20;

/// Frames that wait for room in a queue's transmit ring. More would only be late: TCP sends them again.
pub const DPDK_PENDING_MAX: usize = 256;

/// The least content of the segments that a NIC is asked to cut, bytes: some refuse less.
pub const CUT_SIZE_MIN: u32 = 256;

/// The longest frame that a NIC is given to cut (TSO), bytes: ten segments of 1448 bytes and their headers, which leaves a
/// tenth of the work. Drivers hand it to the NIC in one piece, and some NICs take no more than 15.5 KiB in one.
pub const DPDK_CUT_FRAME_SIZE_MAX: u16 = 15 * 1024;

/// How many of those a queue has: 2 MB. With none left, segments go one by one.
pub const DPDK_CUT_FRAMES: u32 = 128;

/// How long a link may take to come up before addresses are claimed on it: a 10 Gb/s port negotiates for some seconds.
pub const LINK_PATIENCE: Duration = Duration::from_secs(8);

/// How often the link of the port is looked at: a box of a pair whose cable is drawn is to be relieved in no time.
pub const LINK_WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// The pause between two looks at a link that is waited for.
pub const LINK_PAUSE: Duration = Duration::from_millis(20);

// config

/// Own addresses: what the stack's interface holds (`iface-max-addr-count-8`).
pub const ADDRESSES_MAX: usize = 8;

/// A configuration file larger than this, bytes, is a mistake; recipients belong into maps.
pub const CONFIG_SIZE_MAX: u64 = 4 * 1024 * 1024;

/// The greeting is not held back unless an operator wants it: every honest client would pay for it too.
pub const GREETING_DELAY_DEFAULT: Duration = Duration::ZERO;

/// Connections of all clients.
pub const CONNECTIONS_DEFAULT: usize = 100_000;

/// Connections of one client: more than a large sender opens, far fewer than fill the table.
pub const CONNECTIONS_PER_CLIENT_DEFAULT: usize = 1000;

/// Handshakes under way: some round trips' worth at 10 000 connections a second.
pub const HALF_OPEN_DEFAULT: usize = 16_384;

/// Bytes received and unread, a flow: 13 MB/s at a round trip of 20 ms. Held only while there is something in it.
pub const RECEIVE_BUFFER_DEFAULT: u64 = 256 * 1024;

/// Bytes sent and unacknowledged, a flow.
pub const SEND_BUFFER_DEFAULT: u64 = 256 * 1024;

/// Bytes of both of all flows: 4 000 that are full, or half a million with a command or a reply each.
pub const BUFFER_MEMORY_DEFAULT: u64 = 1 << 30;

/// What is kept in memory of queued messages: seven million small ones, as many as fit into [`SPOOL_SIZE_DEFAULT`].
pub const QUEUE_MEMORY_DEFAULT: u64 = 2 << 30;

/// Time for sessions at a stop, well under systemd's 90 s before it kills.
pub const SHUTDOWN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Answers of next hops remembered in a worker: about 20 MB.
pub const VERIFY_CACHE_DEFAULT: u32 = 100_000;

/// A "yes" stays true for long, and a wrong one costs a bounce.
pub const VERIFY_KNOWN_TTL_DEFAULT: Duration = Duration::from_secs(3600);

/// A "no" is short-lived: the mailbox may be made at any moment.
pub const VERIFY_UNKNOWN_TTL_DEFAULT: Duration = Duration::from_secs(600);

/// A recipient map larger than this, bytes, is refused: offsets into it are 32 bits wide.
pub const RECIPIENT_MAP_SIZE_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Connections to all next hops.
pub const DELIVERY_CONNECTIONS_DEFAULT: u32 = 10_000;

/// All logs together.
pub const SPOOL_SIZE_DEFAULT: u64 = 10 * 1024 * 1024 * 1024;

/// Left free on the file system, for the logs' own outcomes and for everything else that lives there.
pub const SPOOL_FREE_DEFAULT: u64 = 512 * 1024 * 1024;

// spool

/// Batches are written in units of this many bytes: the largest logical block that storage in use has. A disk that
/// wants more is refused.
pub const BLOCK_SIZE: usize = 4096;

/// One segment of a log, bytes: large enough that rolling over is rare, small enough that zeroing one takes a
/// tenth of a second and that recycling frees space in useful steps.
pub const SEGMENT_SIZE_DEFAULT: u64 = 64 << 20;

/// The largest segment, bytes: offsets within a segment are 32 bits on disk.
pub const SEGMENT_SIZE_MAX: u64 = 1 << 30;

/// Fewer segments than this leave no room between the reserve and the point where recycling begins.
pub const SEGMENTS_MIN: u32 = 8;

/// Segments that accepted content never takes: two of them are for moving what is queued, of which one covers what copies
/// waste and what crashes throw away of them; the third is for outcomes.
pub const SEGMENTS_RESERVED: u32 = 3;

/// A batch that nobody waits for (content of unfinished messages only) is sealed at this size, bytes: small writes
/// would cut content into needless chunks.
pub const BATCH_SIZE_UNHURRIED: usize = 256 * 1024;

/// The largest batch, bytes.
pub const BATCH_SIZE_DEFAULT: usize = 1 << 20;

/// Batches on their way to the disk at a time: enough to keep a fast device busy.
pub const BATCHES_IN_FLIGHT_DEFAULT: usize = 4;

/// The largest record, bytes: a thousand recipients with the longest addresses and parameters, and the extents of a
/// large message.
pub const RECORD_SIZE_MAX: usize = 4 << 20;

/// Transactions whose content is being received, for one log: as many as a worker can have connections.
pub const DRAFTS_MAX: usize = 100_000;

/// The signatures (DKIM) of a message, bytes: two by RSA keys of 4096 bits and one by an Ed25519 key, with all
/// header fields that are signed by default. A message that is
/// to be signed is counted with so much more in its log.
pub const SIGNATURES_SIZE_MAX: usize = 4096;
const _: () = assert!(SIGNATURES_SIZE_MAX <= CHUNK_SIZE_MAX);

/// The header of a message that is signed, bytes: it is looked through for every key.
pub const SIGNED_HEADER_SIZE_MAX: usize = 256 * 1024;

/// Messages that a worker has in hand to be signed: enough to keep the crew busy while signatures are written.
pub const SIGNING_IN_HAND_MAX: usize = 32;

/// Content that a worker holds in memory to have it signed, bytes; one message that is larger is held alone.
pub const SIGNING_MEMORY: u64 = 16 << 20;

/// What a worker reads in a breath of content that is to be signed, bytes: as much as a few deliveries take.
pub const SIGNING_READ_MAX: usize = 256 * 1024;

/// When a message is looked at again that could not be signed for want of room, a reader or a disk that answers.
pub const SIGNING_RETRY_DELAY: Duration = Duration::from_secs(1);

/// When a message is looked at again for which no key is valid. Keys that are read again are tried at once.
pub const SIGNING_KEY_DELAY: Duration = Duration::from_secs(60);

/// Threads that sign: more than any box has cores for them.
pub const SIGNING_THREADS_MAX: usize = 64;

/// Keys that sign. All of them are read and tried at the start.
pub const DKIM_KEYS_MAX: usize = 1024;

/// The name of a header field that is signed, bytes.
pub const FIELD_NAME_SIZE_MAX: usize = 76;

/// Names of header fields that one key signs.
pub const DKIM_HEADERS_MAX: usize = 64;

/// Open readers of one log: each may hold one chunk from disk in memory.
pub const READERS_MAX: usize = 512;

/// What the index and the delivery queue keep of a queued message besides what is packed, bytes: its places in three
/// ordered maps, as they are measured by `benches/queue`.
pub const QUEUED_MESSAGE_MEMORY: u64 = 96;

/// What they keep besides for each recipient, bytes: at most one place in the schedule.
pub const QUEUED_RECIPIENT_MEMORY: u64 = 80;

/// Texts of last replies kept in one log's index, bytes: next hops can make each of them differ.
pub const REPLIES_SIZE_MAX: usize = 64 << 20;

/// Recently written batches kept in memory, bytes, so that immediate delivery reads no disk.
pub const SPOOL_CACHE_SIZE: usize = 32 << 20;

/// Damages of a log that are kept one by one; beyond that they are counted. Enough to see a pattern, few enough to be
/// sent with every status.
pub const DAMAGES_MAX: usize = 256;

/// Blocks that a start works around because the device does not give them. Each may take the device many seconds, and
/// one that fails more often is broken and not damaged.
pub const UNREADABLE_BLOCKS_MAX: usize = 4096;

/// Bytes that a start checks at most at places of a damaged region that only look like large records: what a sender
/// writes there must not hold it up for more than some seconds.
pub const SALVAGE_EFFORT_MAX: u64 = 16 << 30;

/// After so many failed reads, and not before [`READ_FAILURES_DURATION`], the content of a message counts as damaged.
pub const READ_FAILURES_MAX: u32 = 5;

/// How long reads have to fail before content counts as damaged: a device that recovers, or a path to it, does so sooner,
/// and what is declared damaged needs an operator.
pub const READ_FAILURES_DURATION: Duration = Duration::from_secs(3600);

/// The pause after a failed read of content that is to be moved forward.
pub const MOVE_RETRY_DELAY: Duration = Duration::from_secs(5);

/// What a queued recipient is counted with, bytes, for the outcome records that it will need.
pub const OUTCOME_RESERVE: u64 = 256;

/// The end of a message that must not go out (the record of the attempt is not durable, the partner is not heard) is held back
/// for so long, then the delivery is deferred. A server waits for minutes (RFC 5321 §4.5.3.2), a pair decides within seconds.
pub const END_HELD_MAX: Duration = Duration::from_secs(60);

/// How long a recipient in doubt waits: the end of the message may still be on its way to the next hop, or be worked on there,
/// and one that looks for duplicates finds only what it has. Scanners take seconds, seldom more than half a minute.
pub const IN_DOUBT_DELAY: Duration = Duration::from_secs(30);

/// Outcomes and other changes that wait for room in a log before nothing more is given out for delivery: what comes of it
/// could only be kept in memory. More than come in during one breath, and about a megabyte.
pub const CHANGES_WAITING_MAX: usize = 4096;

/// The largest batch, bytes: what `batch_size` may be, and a record that is larger than a usual batch.
pub const BATCH_SIZE_LIMIT: usize = (16 << 20) + RECORD_SIZE_MAX + 4 * BLOCK_SIZE;

/// The largest message on a mirror link, bytes: one that names [`POINTS_MAX`] batches.
pub const MIRROR_MESSAGE_SIZE_MAX: usize = 4096;

/// What the owner of a log has given the partner and not heard to be durable there, bytes: as much as a fast disk writes in a
/// few of its latencies. A batch is given as a whole, and none is begun when it is reached.
pub const MIRROR_WINDOW: usize = 16 << 20;

/// The first port of the mirror links; [`LOGS_PER_IDENTITY`](crate::mirror::LOGS_PER_IDENTITY) of each identity follow.
pub const MIRROR_PORT_DEFAULT: u16 = 2600;

/// A partner that is not heard for so long has fallen silent, and its owner works without it: six heartbeats. A garbage
/// collection of the switch, or a spike of the scheduler, must not end an epoch.
pub const MIRROR_SILENCE_DEFAULT: Duration = Duration::from_millis(150);

/// A partner that has batches and makes none of them durable for so long is as good as silent: its disk hangs.
pub const MIRROR_PROGRESS_MAX: Duration = Duration::from_secs(2);

/// What a partner that catches up is given, bytes a second: a third of what a disk of today writes, so that live mail has the rest.
pub const CATCH_UP_RATE_DEFAULT: u64 = 200_000_000;

/// Clients of a log that the partner is told of: more are not reset when it takes over. 60 bytes each.
pub const MIRROR_CLIENTS_MAX: usize = 1 << 20;

/// Clients that one message names, so that it stays below [`MIRROR_MESSAGE_SIZE_MAX`].
pub const MIRROR_CLIENTS_PER_MESSAGE: usize = 64;

/// Clients that a worker has reset in one breath after a takeover.
pub const STALE_CLIENTS_PER_BREATH: usize = 64;

/// How long a client is tried that is to be told that its connection is gone.
pub const STALE_CLIENT_PATIENCE: Duration = Duration::from_secs(5);

/// After a takeover the addresses are announced at once, and again after these pauses, since nothing answers an announcement.
pub const ANNOUNCEMENT_PAUSES: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2)];

/// An announcement that is later than this is left out: a process that was away for longer may have lost the addresses, and
/// learns so after this one. Less than any silence that has consequences, and more than a busy worker takes for a turn.
pub const ANNOUNCEMENT_DELAY_MAX: Duration = Duration::from_millis(50);

/// Flows of a worker on a port that carries links alone: it has two or a few, and those of the last minute that could not come
/// to their end, as the cable was cut.
pub const MIRROR_FLOWS_MAX: usize = 1024;

/// Handshakes under way there: only the partner has any business with us.
pub const MIRROR_HALF_OPEN_MAX: usize = 64;

/// Bytes received and unread, or sent and unacknowledged, of all flows there: both buffers of 64 logs of each identity, full.
pub const MIRROR_BUFFER_MEMORY: usize = 64 << 20;

/// The pause before a link that failed or was refused is opened again.
pub const MIRROR_RECONNECT_DELAY: Duration = Duration::from_millis(20);

/// A log that could not be read anew is tried again after this time: a disk that was full, or had no answer, may have one.
pub const KEEPER_RETRY_DELAY: Duration = Duration::from_secs(1);

/// After so many tries its copy counts as failed: another one is begun where nobody counts on it.
pub const KEEPER_TRIES: u32 = 3;

/// For so long a full log keeps a segment for a partner that does not come on: then mail goes before it.
pub const PARTNER_SPACE_PATIENCE: Duration = Duration::from_secs(10);

/// Batches whose places a log knows by heart: where two copies that worked together differ, they do so within the batches in
/// flight, of which there are at most so many.
pub const POINTS_MAX: usize = 64;

/// An idle log waits this long before it writes the batch that carries the last watermark, so that a quiet log does
/// not write twice for every message.
pub const CLOSING_DELAY: Duration = Duration::from_millis(100);

/// How often the file system is asked for its free space.
pub const FREE_SPACE_INTERVAL: Duration = Duration::from_secs(1);

/// How long after a segment could not be made the next attempt is.
pub const PREPARE_RETRY_DELAY: Duration = Duration::from_secs(5);

/// Content waits this long for space before its transaction is given up.
pub const SPACE_WAIT_MAX: Duration = Duration::from_secs(10);

// worker

/// How long an adaptive worker without work spins before it sleeps: longer than the pause between two frames of a busy
/// client, shorter than what the scheduler would give to somebody else.
pub const IDLE_SPIN: Duration = Duration::from_micros(50);

/// The longest sleep of a worker: a deadline that was overlooked costs no more than this.
pub const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Letters between two workers that a ring holds.
pub const EXCHANGE_RING_SIZE: usize = 1024;

/// Letters of other workers that are taken in one go, so that a breath ends.
pub const LETTERS_PER_BREATH: usize = 1024;

/// How much of a message a notice returns at most, bytes: its header, and all of it where it is small.
pub const NOTICE_RETURNED_MAX: usize = 32 * 1024;

/// What a notice may come to, bytes: what it returns, and what it says about the recipients of one job. It must fit into
/// the smallest batch.
pub const NOTICE_SIZE_MAX: u64 = 256 * 1024;

/// When a notice that found no room in the log is tried again.
pub const NOTICE_RETRY_DELAY: Duration = Duration::from_millis(100);

/// What a Received header may add to a message of the largest size, bytes.
pub const HEADER_ADDED_SIZE_MAX: u64 = 64 * 1024;
// tcp::claim

/// Probes for an own address before it is used (RFC 5227 §1.1, PROBE_NUM): one that is lost is not the last.
pub const CLAIM_PROBES: u8 = 3;

/// The pause after each probe. RFC 5227 allows a second of random delay, then one to two seconds between probes and two
/// after the last, sized for hosts that boot together on slow, bridged networks. An appliance's address is fixed, its
/// neighbours answer within a millisecond, and mail waits meanwhile: a fifth of a second is a hundred times what it takes.
pub const CLAIM_PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// Announcements of a claimed address (RFC 5227 §1.1, ANNOUNCE_NUM), so that a lost one leaves no stale neighbour.
pub const CLAIM_ANNOUNCEMENTS: u8 = 2;

/// The pause between announcements: longer than the loss of one burst, and within the second that a claim may take.
pub const CLAIM_ANNOUNCE_INTERVAL: Duration = Duration::from_millis(200);

/// The pause before a probe that found no room in the port is tried again.
pub const CLAIM_RETRY_DELAY: Duration = Duration::from_millis(10);

/// Bursts that a claim listens to in one poll, so that a flood cannot keep it there.
pub const CLAIM_BURSTS_PER_POLL: usize = 16;
// tcp

/// Frames taken from a port in one poll: sixteen bursts, so that a flood cannot keep a breath from ending.
pub const FRAMES_PER_POLL: usize = 1024;

/// The sizes of a connection's rings, bytes: a segment or a few commands, some lines, some segments, the default buffer,
/// large buffers.
pub const RING_SIZES: [usize; 6] = [2 << 10, 8 << 10, 32 << 10, 256 << 10, 2 << 20, 16 << 20];

/// Rings up to this size, bytes, may have the last quarter of the memory for rings.
pub const RING_SIZE_SMALL: usize = RING_SIZES[1];

/// Rings of one size that are kept for the next to ask, bytes; more go back to the allocator.
pub const RINGS_SPARE_SIZE_MAX: usize = 4 << 20;

/// Bytes that a flow may hold unread while the memory for rings is scarce: a few lines of any protocol.
pub const RECEIVE_SCARCE_SIZE: u32 = RING_SIZE_SMALL as u32;

/// Stretches that arrived beyond a hole: at one loss in thirty, a window of a thousand segments. What would make one more
/// is dropped, and sent again later.
pub const ISLANDS_MAX: usize = 32;

/// How long an acknowledgement may wait for something to ride on. RFC 1122 §4.2.3.2 allows half a second and RFC 9293 asks
/// for one per two full segments; a sender under Nagle's algorithm pays all of it, and a reply that waits for the disk
/// comes sooner.
pub const ACKNOWLEDGEMENT_DELAY: Duration = Duration::from_millis(1);

/// The first timeout, before a round trip was measured (RFC 6298 §2.1).
pub const RETRANSMISSION_TIMEOUT_INITIAL: Duration = Duration::from_secs(1);

/// The timeout after a handshake that went through only after one, until there is a measurement (RFC 6298 §5.7).
pub const RETRANSMISSION_TIMEOUT_CAUTIOUS: Duration = Duration::from_secs(3);

/// The least timeout: above the delayed acknowledgements of all systems in use, as Linux has it. RFC 6298 §2.4 asks for a
/// second, for clocks of half a second.
pub const RETRANSMISSION_TIMEOUT_MIN: Duration = Duration::from_millis(200);

/// The most that doubling makes of it (RFC 6298 §2.5).
pub const RETRANSMISSION_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// The least pause before a tail loss probe, above the granularity of timers (RFC 8985 §7.2).
pub const TAIL_PROBE_MIN: Duration = Duration::from_millis(10);

/// What a tail loss probe waits longer if one segment is under way, whose acknowledgement may be delayed (RFC 8985 §7.2).
pub const TAIL_PROBE_SINGLE_DELAY: Duration = Duration::from_millis(200);

/// Segments that may be under way at first (RFC 6928).
pub const INITIAL_WINDOW_SEGMENTS: u32 = 10;

/// Timeouts in a row after which a path is taken to swallow large segments (RFC 8899 §4.3).
pub const BLACK_HOLE_TIMEOUTS: u8 = 2;

/// How often segments that are beside the window are answered: two ends that think each other wrong end there.
pub const OUT_OF_WINDOW_INTERVAL: Duration = Duration::from_millis(100);

/// The least MTU that a router is believed, IPv4: below it, headers are most of the traffic (RFC 1191 §7 has 576 as the
/// plateau that all paths take). IPv6 links take 1 280 (RFC 8200 §5).
pub const PATH_MTU_MIN_V4: u16 = 552;

/// As [`PATH_MTU_MIN_V4`], for IPv6.
pub const PATH_MTU_MIN_V6: u16 = 1280;

/// Hosts whose path is known to take less than our link; about 40 bytes each.
pub const PATHS_MAX: usize = 4096;

/// How long that is believed (RFC 8201 §4): then a path is tried anew.
pub const PATH_LIFETIME: Duration = Duration::from_secs(600);

/// Neighbours whose hardware addresses are known; about 50 bytes each.
pub const NEIGHBOURS_MAX: usize = 4096;

/// How long a neighbour's address is believed without a word from it.
pub const NEIGHBOUR_LIFETIME: Duration = Duration::from_secs(60);

/// How long SYN cookies are honoured after the last was sent: until the counter in it has turned once.
pub const COOKIE_LIFETIME: Duration = Duration::from_secs(64);

/// How long the oldest of a closed connection's segments may still be under way. Half of what RFC 9293 §3.4.3 reckons
/// with: initial sequence numbers grow with time, so that a new connection's are beyond the old one's.
pub const TIME_WAIT_DURATION: Duration = Duration::from_secs(30);

/// Connections in TIME-WAIT: about 100 bytes each. The oldest make room.
pub const TIME_WAITS_MAX: usize = 65_536;

/// How long a handshake that a client began may take: three repetitions of our SYN-ACK, after 1, 3 and 7 s.
pub const HALF_OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a handshake of ours may take, whoever waits for it.
pub const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// How long an established flow may hear nothing from its peer while it sends or probes (RFC 9293 §3.8.3 asks for at
/// least 100 s): three keep-alive probes.
pub const USER_TIMEOUT: Duration = Duration::from_secs(200);

/// Silence after which a peer is asked whether it is still there.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// How long a closed flow may take to send what it has, before it is reset.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Challenge acknowledgements a second, nominally (RFC 5961 §7).
pub const CHALLENGES_PER_SECOND: u32 = 200;

/// Resets a second for segments that belong to nothing, nominally: enough for honest clients, no reflector.
pub const RESETS_PER_SECOND: u32 = 1000;

/// Frames that wait to be handed to other workers; more are dropped, as a full ring would.
pub const FOREIGN_FRAMES_MAX: usize = 256;

/// Frames of a worker without a queue of its own that are being written or wait to be taken along: four bursts.
pub const GUEST_FRAMES_MAX: usize = 256;

/// How often a neighbour that does not answer is asked.
pub const NEIGHBOUR_RETRY_DELAY: Duration = Duration::from_millis(400);

/// How long a connection that we started waits for its next hop's hardware address.
pub const NEIGHBOUR_TIMEOUT: Duration = Duration::from_secs(3);

/// How often known gateways are asked again. The interface forgets a neighbour after 60 s without a packet from its own
/// address, and a gateway sends none.
pub const GATEWAY_REFRESH_INTERVAL: Duration = Duration::from_secs(25);

/// Local ports of connections that we start: the range that Linux uses.
pub const LOCAL_PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// The pause before a connection that we had no means to open (no free place, port or descriptor) is tried again.
pub const SHORTAGE_PAUSE: Duration = Duration::from_secs(1);

/// After so many such pauses in a row what waits is deferred: connections last for minutes, not for hours.
pub const SHORTAGES_MAX: u32 = 30;

/// The pause before a message that found all readers in use is read again.
pub const READER_RETRY_DELAY: Duration = Duration::from_millis(100);

// mirror

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

// tls

/// Output of a connection under TLS that waits for room in its flow, bytes: four records, enough to fill a window while the next
/// bytes come.
pub const TLS_OUTPUT_MAX: usize = 64 << 10;

/// What is read of a file with a key or a certificate, bytes: the longest chains have a tenth of it.
pub const KEY_FILE_SIZE_MAX: u64 = 1 << 20;

/// Steps of handshakes in one breath of a worker: each is what one side does with what the other sent, some 0.2 ms at most with
/// ECDSA and 1 ms with RSA-2048. The rest waits for the next breath, so that sessions go on in between.
pub const HANDSHAKE_STEPS_PER_BREATH: usize = 4;

/// How long a client's handshake may take: a few round trips, and the time until its turn comes.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a key of session tickets is used. Whoever gets hold of one can read what resumed TLS 1.2 in that time, and a client
/// that comes again within that time is spared an exchange of keys.
pub const TICKET_KEY_PERIOD: Duration = Duration::from_secs(6 * 3600);

/// The largest session ticket, bytes: ours have a few hundred.
pub const TICKET_SIZE_MAX: usize = 16 << 10;

/// The least that a file with the secret of session tickets has, bytes.
pub const TICKET_SECRET_SIZE_MIN: usize = 32;

/// Certificates of listeners: each is looked at for the name that a client asks for.
pub const CERTIFICATES_MAX: usize = 64;

/// Hosts whose sessions a worker can resume, of each kind: a few kilobytes for each.
pub const RESUMED_HOSTS_MAX: usize = 1024;

/// Hosts whose certificates the DNS knows and that a worker was connected to lately: some kilobytes for each, and a session that can be
/// resumed.
pub const ASSOCIATIONS_MAX: usize = 1024;

/// What is read of a file with the certificates of authorities, bytes: a system has 200 KB of them.
pub const ROOTS_SIZE_MAX: u64 = 16 << 20;

/// How long a host that failed at TLS is spoken to in the clear, where that is allowed: as long as a retry or two, so that one
/// that is mended is found out soon.
pub const TLS_FAILURE_MEMORY: Duration = Duration::from_secs(15 * 60);
