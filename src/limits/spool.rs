//! The queue on disk.

use super::CHUNK_SIZE_MAX;
use std::time::Duration;

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

/// A batch that is smaller than such a part of the largest waits for the write that is under way, and takes along what comes
/// meanwhile: a write of its own would cost the processor and the disk as much as one that is larger.
pub const BATCH_PART_APART: usize = 8;

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

/// The largest message on a mirror link, bytes: one that tells of a standing order with the longest names.
pub const MIRROR_MESSAGE_SIZE_MAX: usize = 10 << 10;

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

/// What came of an attempt waits this long for a batch that somebody waits for, before it has one written of its own: about as
/// long as a sync takes. A crash in between has the message sent once more, as one during the sync would.
pub const OUTCOME_DELAY: Duration = Duration::from_millis(1);

/// How often the file system is asked for its free space.
pub const FREE_SPACE_INTERVAL: Duration = Duration::from_secs(1);

/// How long after a segment could not be made the next attempt is.
pub const PREPARE_RETRY_DELAY: Duration = Duration::from_secs(5);

/// Content waits this long for space before its transaction is given up.
pub const SPACE_WAIT_MAX: Duration = Duration::from_secs(10);
