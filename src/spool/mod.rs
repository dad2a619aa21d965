//! The queue on disk: one append-only log per worker.
//!
//! What enters: content of messages as it arrives, envelopes, outcomes of deliveries, completions of the disk. What
//! leaves: batches to be written, events (this message is durable, there is room again, the storage failed), and content
//! for delivery. What it never does: acknowledge before the write is durable, rewrite a block that holds acknowledged
//! data, retry a failed write, block (after [`Log::open`]), or hold a large message in memory. It has no clock, no file
//! and no randomness: [`Now`](crate::env::Now) and a [`Disk`](crate::env::disk::Disk) are given to it.
//!
//! # Format
//!
//! A log is a directory of segment files of equal size, each written full of zeros before its first use. A segment that
//! is (re)used gets the next **generation**; its content is a run of **batches**, each beginning at a multiple of 4096
//! bytes and padded with zeros to the next. Integers are little-endian.
//!
//! ```text
//! batch header, 128 bytes
//!   0  "ROHRLOG" 02                    64  start: oldest generation needed
//!   8  log id (16)   10  flags (16)    72  number of the next message
//!  12  records (32)                    80  segment size
//!  16  incarnation of the log          88  offset in segment (32)   92  record bytes (32)
//!  24  segment generation              96  header checksum of the batch before (32)
//!  32  epoch                          100  checksum of the records (32)
//!  40  sequence                       104  opening of the log
//!  48  sequence of the batch before   112  where it went on: generation, 120  offset (32)
//!  56  synced watermark               124  checksum of bytes 0..124 (32)
//!
//! record: 8 bytes, body, zeros up to a multiple of 8
//!   0  kind (8): 1 chunk, 2 message, 3 outcome, 4 hold, 5 delete, 6 attempt      1  body bytes (24)
//!   4  checksum (32) over incarnation, opening, segment generation (64 each), offset of the record in the segment (32),
//!      bytes 0..4, and the body; of a chunk's body its first 16 bytes only
//!
//! chunk    id (64), checksum (32), 0 (32), content (at most 65536 bytes)
//! message  id (64), received µs (64), content bytes (64), digest (32), flags, body type, options, RET (8 each),
//!          priority (8, if the options say so), reverse-path, ENVID?,
//!          count (32) × { forward-path, ORCPT?, NOTIFY (8), state (8), attempts (32), next attempt µs (64), reply? },
//!          count (32) × { generation (64), offset (32), bytes (32), checksum (32) }
//! outcome  id (64), recipient (32), state (8), attempts (32), next attempt µs (64), reply
//! hold     id (64), held (8)
//! delete   id (64)
//! attempt  id (64), count (32) × recipient (32)
//! ```
//!
//! A text is its length (32) and its bytes; `?` is preceded by 0 or 1. All checksums are CRC32C; the digest of a message is
//! one over the lengths and checksums of its chunks. The copy of a message that was moved forward is a message
//! record like the first, with the states of the moment; on replay the later one stands. In its states bit 7 says that an
//! attempt is unsettled. Flags of a message: 1, an operator holds it; 2, it is to be signed. Its options: 1, SMTPUTF8; 2, REQUIRETLS;
//! 8, its priority follows, which is −9 to 9 and not 0.
//!
//! Flags of a batch: 1, sealed by a shutdown; 2, holds a copy of damaged content.
//!
//! # Rules
//!
//! - A batch follows another only by sequence and checksum of the one before. After a crash sequences and generations
//!   go on above everything that any readable header names, so that a stale batch is never taken for a new one.
//! - Batches in flight may complete in any order; they are acknowledged in order. The **synced** watermark in a header
//!   says what was durable when it was sealed. Where the chain ends at or above every watermark found, the tail was torn
//!   and is cut; below one, the log is damaged there.
//! - Each header names the **opening** of the log (the time when the process opened it) and the place where it went on
//!   then. What is true at a place was written by the last opening that went on at or before it; a batch or a record
//!   of another one was left there by a crash, and is not taken even when everything around it is damaged.
//! - Behind damage every record is taken that its own checksum vouches for, up to the next true header. So a damaged
//!   header costs nothing, a damaged record itself, and damaged content its message. That one stays in the queue, is not
//!   delivered, and keeps its space until an operator deletes it; its copy is damaged, too, and says so by a flag of
//!   the batch. The damage is written nowhere: each start finds it again.
//! - Where the end of the log was lost, it goes on in a fresh segment, with a link to the batch that was lost last: the
//!   gap stays a gap, and what stands in it stays where it is.
//! - An idle log seals an empty closing batch with the last watermark after [`CLOSING_DELAY`](crate::limits::CLOSING_DELAY).
//! - A header that names something later than itself (a sequence, a watermark, a start, an opening), or a count that no log
//!   gets to, is none, and neither is a record whose number or extent cannot be: a checksum vouches only for what was
//!   written.
//! - A message exists only through its message record. Chunks of sessions that ended before are garbage.
//! - Segments are freed oldest first: when nothing queued needs the oldest, and what made that so is durable, the next
//!   header names a later **start**; when that header is durable, the file may be written again.
//! - What is queued is kept in memory, packed. Acceptance ends where that takes what the settings allow.
//!
//! # Two copies
//!
//! A log may have a replica on another box: the same batches at the same places of the same uses of segments. A replica takes
//! batches as they come and frees segments when they say so; it appends nothing until it is told to lead.
//!
//! - With [`Copies::Both`] a batch counts, also as synced, when it is durable on both disks.
//! - A replica writes no batch while one before it is under way that this one's watermark vouches for.
//! - What a copy has behind the last batch that both know is put aside before it goes on, never deleted.
//! - A replica that finds no segment for the next batch waits for one, and says so ([`Room::None`]). It takes up its work only with
//!   [`SEGMENTS_RESERVED`](crate::limits::SEGMENTS_RESERVED) ready, lest it stop again with the next.
//! - Whoever begins to lead passes over sequences, numbers and uses of segments that the former owner may have given out.
//!
//! # Attempts
//!
//! Whoever has a partner records an attempt before it can succeed, so that whoever leads the log next knows what may have been
//! delivered. An outcome of a recipient ends its attempt; one that has none when the log begins to be led, after a takeover or
//! a crash, is **in doubt** ([`Log::in_doubt`]). A box without a partner records none: it is the only one that could deliver
//! the message twice, and only after a crash.
//!
//! # Signatures
//!
//! Content is written as it comes, and its signature (DKIM) stands before it. So a message that is to be signed is marked in its
//! record, and acknowledged like any other. Later [`Log::sign`] appends the signature as one more chunk, and another record of
//! the message, without the mark, whose first chunk that is: what is copied, mirrored, moved forward, checked and read is a
//! message like others, and its signature is the same at every attempt. Until that record is durable the message is
//! unsigned wherever its log is read, and nothing of it goes out.
//!
//! # Room
//!
//! What frees segments needs room itself, so each use of what is ready to be written leaves some to those below it:
//!
//! 1. A message is let in while a quarter of what is not reserved is left, so that moving always finds garbage that pays.
//! 2. Content of messages that were let in takes half of that quarter, as they seldom say how large they are. It leaves the
//!    [`SEGMENTS_RESERVED`](crate::limits::SEGMENTS_RESERVED).
//! 3. What can be refused, put off or left undone leaves two of them: ends of messages, notices of our own, signatures (which are
//!    counted before they are there), closing batches, and what is given out for delivery, each job with the room that its attempt and its outcomes may take.
//! 4. What operators ask for leaves one. It waits in memory, in order, and a crash takes it back.
//! 5. Copies leave what the outcomes of all jobs in hand may take, so that none of them ever waits for room.
//! 6. The batch that says that segments are free finds the last block of the last segment.
//!
//! Chunks and records are small beside a segment, so that a segment's copy takes little more than it did itself. A copy's record
//! is written after every eighth of a segment, so that a crash throws away no more of it, or of its room, than that.

mod batch;
mod commit;
mod copies;
mod damage;
mod event;
mod examine;
mod following;
mod format;
mod gauge;
mod id;
mod id_map;
mod index;
mod log;
mod message;
mod moving;
mod packed;
mod quarantine;
mod queued;
mod reader;
mod record;
mod recovery;
mod replay;
mod replies;
mod salvage;
mod scan;
mod segments;
mod settings;

#[cfg(test)]
mod tests;

pub use copies::{Batch, Copies, ForPartner, Point};
pub use damage::{Damage, Damaged, Damages};
pub use event::{Draft, LogEvent, LogState, Refusal, Room, Shortage, Status};
pub use examine::Examination;
pub use following::{NotRewound, Unfit};
pub use id::MessageId;
pub use log::Log;
pub use message::{DeliveryState, Message, Outcome, RecipientState};
pub use queued::{Queued, QueuedRecipient};
pub use reader::{Piece, Reader};
pub use record::{attempt_size_max, outcomes_size_max, rewritten};
pub use recovery::{Cut, OpenError, Recovery};
pub use settings::Settings;
