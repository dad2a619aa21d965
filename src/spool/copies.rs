//! Two copies: where a batch must be durable before it counts, and what the partner is sent.
//!
//! The owner of a log sends each batch as it stands on its disk. Where the partner's copy ends is named by a [`Point`]: a
//! batch's sequence and checksum, which stand for all batches before it, too. From a point that both have the owner goes on,
//! out of memory where the batches are recent, else from disk, up to the last one that was sealed. So catching up and keeping
//! up are one thing.
//!
//! Where a batch on the own disk is damaged, what follows it cannot be given: a copy is a chain. The damage is noted, what is
//! needed of the segments up to there is moved forward, as recycling does, and the partner begins anew behind them. So a box
//! that worked alone while its disk lost something is mirrored again by itself.
//!
//! `acked ≤ min(synced here, durable there)` while [`Copies::Both`] are wanted.

use crate::checksum::crc32c;
use std::collections::VecDeque;
use std::sync::Arc;

use super::damage::{Damage, Damaged};
use super::format::{HEADER_SIZE, Header};
use super::log::{InFlight, Link, Log};
use super::scan::padded;
use crate::env::Instant;
use crate::env::disk::{Block, Disk, DiskError, Token};
use crate::limits::{BLOCK_SIZE, PARTNER_SPACE_PATIENCE, POINTS_MAX, READ_FAILURES_DURATION, READ_FAILURES_MAX};

pub(super) const TOKEN_KIND: u64 = 3;

/// What is read at a time for a partner that is behind, bytes; a batch that is larger is read whole.
const WINDOW_SIZE: u64 = 512 * 1024;

/// A batch of a log, and with it all that stand before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Point {
    /// Its sequence.
    pub sequence: u64,
    /// The checksum of its header, which covers that of the header before.
    pub checksum: u32,
    /// The use of a segment that it stands in.
    pub generation: u64,
    /// Where in the segment it begins, bytes.
    pub offset: u32,
}

impl Point {
    pub(super) fn of(header: &Header, checksum: u32) -> Point {
        Point { sequence: header.sequence, checksum, generation: header.generation, offset: header.offset }
    }

    pub(super) fn link(&self) -> Link {
        Link { sequence: self.sequence, checksum: self.checksum }
    }
}

/// The last batches, oldest first: as many as two boxes can differ in that have worked together.
#[derive(Debug, Default)]
pub(super) struct Points(VecDeque<Point>);

impl Points {
    pub(super) fn push(&mut self, point: Point) {
        if self.0.len() == POINTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(point);
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Point> {
        self.0.iter().copied()
    }

    pub(super) fn last(&self) -> Option<Point> {
        self.0.back().copied()
    }

    /// Whether it is one of these.
    fn has(&self, point: Point) -> bool {
        self.place(point).is_some()
    }

    /// The batch behind this one; `None` if this is the last, or none of these.
    fn after(&self, point: Point) -> Option<Point> {
        self.0.get(self.place(point)? + 1).copied()
    }

    fn place(&self, point: Point) -> Option<usize> {
        let place = self.0.partition_point(|known| known.sequence < point.sequence);
        (self.0.get(place) == Some(&point)).then_some(place)
    }
}

/// Where a batch must be durable before what is in it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// On the own disk: there is no partner, or the identity is knowingly `solo`.
    Own,
    /// Here and there.
    Both,
}

/// The partner as the owner of a log knows it.
#[derive(Debug, Default)]
pub(super) struct Partner {
    /// It is durable through this batch.
    durable: u64,
    /// It is level when it is durable through this batch: the last one that was written without it.
    level_at: u64,
    /// Where its copy goes on; `None` while there is no link.
    cursor: Option<Cursor>,
    reads: u64,
    /// A batch in this use of a segment, or in one before, cannot be given: the partner waits until nothing is needed of them.
    evacuates: Option<u64>,
    /// What it gets next could not be read: how often in a row, and since when.
    unread: Option<(u32, Instant)>,
}

/// What the partner gets next.
#[derive(Debug, Default)]
struct Cursor {
    /// The last batch that it has; `None` before the first.
    after: Option<Point>,
    /// The segment that it has come to.
    generation: u64,
    /// Where the next batch stands, unless it stands in a later segment. `None`: behind `after`, wherever that ends.
    offset: Option<u64>,
    /// Where it was looked for first, and is not.
    gap: Option<(u64, u64)>,
    window: Option<Window>,
    reading: Option<(Token, Place)>,
    /// The segment that is kept for it, and since when.
    pinned: Option<u64>,
    pinned_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    generation: u64,
    offset: u64,
    length: u64,
}

/// What was read from disk.
#[derive(Debug)]
struct Window {
    at: Place,
    /// `None` where the disk could not be read.
    block: Option<Arc<Block>>,
}

/// A batch as it stands on the disk.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which.
    pub point: Point,
    previous: Link,
    block: Arc<Block>,
    start: usize,
    length: usize,
}

impl Batch {
    fn of(header: &Header, checksum: u32, block: Arc<Block>, start: usize, length: usize) -> Batch {
        let previous = Link { sequence: header.previous_sequence, checksum: header.previous_checksum };
        Batch { point: Point::of(header, checksum), previous, block, start, length }
    }

    /// All of it: a multiple of 4096 bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.block.bytes()[self.start..self.start + self.length]
    }
}

/// The next that a partner is to get.
#[derive(Clone, Debug)]
pub enum ForPartner {
    /// This batch.
    Batch(Batch),
    /// The disk is being read: it comes after one of the next [`Log::poll`]s.
    Pending,
    /// It has all that was sealed.
    Level,
    /// What it lacks is not there any more, or cannot be read.
    Lost,
}

/// What is found where a batch might stand.
enum Look {
    Batch(Batch),
    Pending,
    Nothing,
    /// The disk does not give it.
    Unread,
}

/// What a window has of a batch.
enum Seen {
    Batch(Batch),
    /// A part of it; all of it is so many bytes.
    Larger(u64),
    Nothing,
    Unread,
}

impl<D: Disk> Log<D> {
    /// From now on a batch counts when it is durable there, also one that was sealed before.
    pub fn set_copies(&mut self, copies: Copies) {
        self.copies = copies;
        // A copy that begins where the log begins now is whole when a batch says so.
        self.partner.level_at = if self.segments.unannounced() { self.sequence_next } else { self.previous.sequence };
    }

    /// Nothing is acknowledged, taken or given out while it is frozen: who owns the identity is being settled.
    pub fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// Whether a batch has to be durable there, too.
    pub fn requires_both(&self) -> bool {
        self.copies == Copies::Both
    }

    /// Whether this batch is durable where it must be.
    pub(super) fn is_durable(&self, batch: &InFlight) -> bool {
        let there = self.copies == Copies::Own || batch.point.sequence <= self.partner.durable;
        batch.done && (self.is_replica() || there && !self.frozen)
    }

    /// The last batches that are durable here, the last one first: where this copy can go on. None if it cannot.
    pub fn durable_points(&self) -> impl Iterator<Item = Point> {
        self.points.iter().rev().filter(|point| point.sequence <= self.synced && !self.lacks_beginning)
    }

    /// The last batch that was sealed.
    pub fn last_point(&self) -> Option<Point> {
        self.points.last()
    }

    /// The partner says that it is durable through a batch: counts if the log has it, and had it lately.
    pub fn durable_there(&mut self, point: Point) {
        if self.points.has(point) {
            self.partner.durable = self.partner.durable.max(point.sequence);
        }
    }

    /// Whether the partner is durable through the last batch that was written before both copies counted.
    pub fn is_level(&self) -> bool {
        self.partner.level_at <= self.partner.durable || self.points.last().is_none()
    }

    /// Whether all that was sealed is durable here.
    pub fn is_written(&self) -> bool {
        self.in_flight.iter().all(|batch| batch.done)
    }

    /// The link to the partner is gone.
    pub fn partner_gone(&mut self) {
        if let Some(cursor) = self.partner.cursor.take()
            && let Some(generation) = cursor.pinned
        {
            self.index.unpin(generation);
        }
        self.partner.durable = 0;
    }

    /// The partner goes on behind this batch, or begins anew.
    pub fn give_partner_from(&mut self, point: Option<Point>) {
        self.partner_gone();
        let cursor = match point {
            Some(point) => Cursor { after: Some(point), generation: point.generation, ..Cursor::default() },
            None => Cursor { generation: self.segments.start(), offset: Some(0), ..Cursor::default() },
        };
        self.pin(cursor);
        if let Some(point) = point {
            self.durable_there(point);
        }
    }

    /// Keeps what the partner still needs.
    fn pin(&mut self, mut cursor: Cursor) {
        if self.partner.evacuates.is_some_and(|until| cursor.generation <= until) {
            cursor.pinned.take().into_iter().for_each(|before| self.index.unpin(before));
        } else if cursor.pinned != Some(cursor.generation) {
            self.index.pin(cursor.generation);
            cursor.pinned_at = self.polled_at;
            if let Some(before) = cursor.pinned.replace(cursor.generation) {
                self.index.unpin(before);
            }
        }
        self.partner.cursor = Some(cursor);
    }

    /// The space of the segments up to this one is needed: a partner that has not come on for long has to begin anew.
    pub(super) fn give_up_partner(&mut self, generation: u64) {
        let now = self.polled_at;
        let holds = |cursor: &Cursor| cursor.pinned.is_some_and(|pinned| pinned <= generation);
        let is_slow = |cursor: &Cursor| now.since(cursor.pinned_at) >= PARTNER_SPACE_PATIENCE;
        if self.partner.cursor.as_ref().is_some_and(|cursor| holds(cursor) && is_slow(cursor)) {
            self.partner_gone();
        }
    }

    /// Whether the partner can go on behind this batch: the log has it, and what follows. `None`: the disk is being read.
    pub fn goes_on_from(&mut self, point: Point) -> Option<bool> {
        if self.points.has(point) {
            let next = self.points.after(point);
            return Some(next.is_none_or(|next| self.segments.number_of(next.generation).is_some()));
        }
        // One that is older than the recent ones may stand on the disk.
        if self.points.iter().next().is_none_or(|first| point.sequence >= first.sequence) {
            return Some(false);
        }
        let mut cursor = self.partner.cursor.take().unwrap_or_default();
        let look = self.look(&mut cursor, point.generation, u64::from(point.offset));
        self.partner.cursor = Some(cursor);
        match look {
            Look::Pending => None,
            Look::Batch(batch) => Some(batch.point == point),
            Look::Nothing | Look::Unread => Some(false),
        }
    }

    /// The next batch for the partner.
    pub fn next_for_partner(&mut self) -> ForPartner {
        if self.partner.evacuates.is_some() {
            return ForPartner::Pending;
        }
        let Some(mut cursor) = self.partner.cursor.take() else { return ForPartner::Lost };
        let next = self.next_at(&mut cursor);
        self.pin(cursor);
        next
    }

    fn next_at(&mut self, cursor: &mut Cursor) -> ForPartner {
        let last = self.points.last();
        if last.is_none() || cursor.after == last {
            return ForPartner::Level;
        }
        if self.segments.number_of(cursor.generation).is_none() {
            // What follows the batch that the partner has begins a segment, or is gone, too.
            cursor.offset = Some(self.settings.segment_size);
        }
        if cursor.offset.is_none()
            && let Some(after) = cursor.after
        {
            match self.look(cursor, after.generation, after.offset.into()) {
                Look::Pending => return ForPartner::Pending,
                Look::Batch(batch) if batch.point == after => {
                    cursor.offset = Some(u64::from(after.offset) + batch.length as u64);
                }
                Look::Unread if !self.is_unreadable() => return ForPartner::Lost,
                Look::Batch(_) | Look::Nothing | Look::Unread => {
                    return self.evacuate(after.generation, (after.generation, after.offset.into()));
                }
            }
        }
        // Behind the batch before, or at the beginning of a later segment. Where one follows, nothing more is written behind
        // the batch before.
        loop {
            let (generation, offset) = (cursor.generation, cursor.offset.unwrap_or(0));
            // A copy that begins anew begins where the log does.
            let begins = (generation, offset) == (self.segments.start(), 0);
            let after = cursor.after;
            let follows = |batch: &Batch| after.map_or(begins, |after| batch.previous == after.link());
            match self.look(cursor, generation, offset) {
                Look::Pending => return ForPartner::Pending,
                Look::Batch(batch) if follows(&batch) => {
                    (cursor.after, cursor.gap) = (Some(batch.point), None);
                    cursor.offset = Some(offset + batch.length as u64);
                    self.partner.unread = None;
                    return ForPartner::Batch(batch);
                }
                Look::Unread if !self.is_unreadable() => return ForPartner::Lost,
                // What a later segment begins with follows something that is lost.
                Look::Batch(_) if offset == 0 => {
                    let Some(gap) = cursor.gap else { return ForPartner::Lost };
                    let mut before = self.segments.live.iter().rev().map(|live| live.generation);
                    let until = before.find(|live| *live < generation).unwrap_or(generation);
                    return self.evacuate(until, gap);
                }
                Look::Batch(_) | Look::Nothing | Look::Unread => {
                    if self.segments.number_of(generation).is_some() {
                        cursor.gap.get_or_insert((generation, offset));
                    }
                }
            }
            let mut live = self.segments.live.iter().map(|live| live.generation);
            let Some(later) = live.find(|live| *live > generation) else {
                let Some(gap) = cursor.gap else { return ForPartner::Lost };
                return self.evacuate(generation, gap);
            };
            (cursor.generation, cursor.offset) = (later, Some(0));
        }
    }

    /// What a disk did not give is asked for some more times, by the links that follow, until it counts as damaged.
    fn is_unreadable(&mut self) -> bool {
        let (failures, since) = self.partner.unread.get_or_insert((0, self.polled_at));
        *failures += 1;
        *failures >= READ_FAILURES_MAX && self.polled_at.since(*since) >= READ_FAILURES_DURATION
    }

    /// The chain is broken at a place: the partner begins anew when nothing up to a use of a segment is needed any more.
    fn evacuate(&mut self, until: u64, (generation, offset): (u64, u64)) -> ForPartner {
        let segment = self.segments.number_of(generation);
        // What its records say is known: only what cannot be read of content is lost, and is found when that is moved.
        let what = Damaged::Records { lost: 0 };
        self.break_found(Damage { segment, generation, offset, length: 0, what });
        (self.partner.evacuates, self.partner.unread) = (Some(until), None);
        ForPartner::Pending
    }

    /// Whether this use of a segment is left because the partner cannot be given it.
    pub(super) fn is_evacuated(&self, generation: u64) -> bool {
        self.partner.evacuates.is_some_and(|until| generation <= until)
    }

    /// Nothing is needed of what could not be given: the partner comes again, and finds the log to begin behind it.
    pub(super) fn end_evacuation(&mut self) {
        if self.partner.evacuates.is_some() && !self.is_evacuated(self.segments.start()) {
            self.partner.evacuates = None;
            self.partner_gone();
        }
    }

    /// What stands at a place: in memory, or in what was read of the disk.
    fn look(&mut self, cursor: &mut Cursor, generation: u64, offset: u64) -> Look {
        let in_flight = self
            .in_flight
            .iter()
            .find(|batch| (batch.point.generation, u64::from(batch.point.offset)) == (generation, offset));
        let in_memory = in_flight.map(|batch| (&batch.block, batch.length));
        if let Some((block, length)) = in_memory.or_else(|| self.cache.batch_at(generation, offset)) {
            let (header, checksum) = Header::decode(block.bytes()).expect("it was sealed here");
            return Look::Batch(Batch::of(&header, checksum, Arc::clone(block), 0, length));
        }
        let Some(number) = self.segments.number_of(generation) else { return Look::Nothing };
        if offset >= self.settings.segment_size {
            return Look::Nothing;
        }
        let mut length = BLOCK_SIZE as u64;
        if let Some(window) = &cursor.window
            && window.at.generation == generation
            && (window.at.offset..window.at.offset + window.at.length).contains(&offset)
        {
            let anew = window.at.offset == offset;
            match self.look_into(window, generation, offset) {
                // It may have been read before that was written.
                Seen::Nothing | Seen::Unread if !anew => cursor.window = None,
                Seen::Nothing => return Look::Nothing,
                Seen::Unread => {
                    cursor.window = None;
                    return Look::Unread;
                }
                Seen::Batch(batch) => return Look::Batch(batch),
                Seen::Larger(whole) => length = whole,
            }
        }
        if cursor.reading.is_none() {
            let length = length.max(WINDOW_SIZE).min(self.settings.segment_size - offset);
            self.partner.reads += 1;
            let token = TOKEN_KIND << 56 | self.partner.reads & 0xffff_ffff;
            cursor.reading = Some((token, Place { generation, offset, length }));
            self.disk.read(token, number, offset, usize::try_from(length).expect("segments fit into memory"));
        }
        Look::Pending
    }

    /// What stands at a place that a window has.
    fn look_into(&self, window: &Window, generation: u64, offset: u64) -> Seen {
        let Some(block) = &window.block else { return Seen::Unread };
        let start = usize::try_from(offset - window.at.offset).expect("within a window");
        let Some((header, checksum)) = self.header_at(&block.bytes()[start..], generation, offset) else {
            return Seen::Nothing;
        };
        let length = padded(&header);
        if offset + length > self.settings.segment_size {
            return Seen::Nothing;
        }
        if offset + length > window.at.offset + window.at.length {
            return Seen::Larger(length);
        }
        let end = start + HEADER_SIZE + header.length as usize;
        if crc32c(&block.bytes()[start + HEADER_SIZE..end]) != header.payload_checksum {
            return Seen::Nothing;
        }
        let length = usize::try_from(length).expect("batches are small");
        Seen::Batch(Batch::of(&header, checksum, Arc::clone(block), start, length))
    }

    /// The header that these bytes begin with, if it is one of this log that belongs there.
    fn header_at(&self, bytes: &[u8], generation: u64, offset: u64) -> Option<(Header, u32)> {
        Header::decode(bytes).filter(|(header, _)| {
            header.log == self.settings.log
                && header.incarnation == self.incarnation
                && header.generation == generation
                && u64::from(header.offset) == offset
        })
    }

    pub(super) fn partner_read_completed(&mut self, token: Token, result: Result<Block, DiskError>) {
        let Some(cursor) = &mut self.partner.cursor else { return };
        if let Some((_, at)) = cursor.reading.take_if(|(expected, _)| *expected == token) {
            cursor.window = Some(Window { at, block: result.ok().map(Arc::new) });
        }
    }
}
