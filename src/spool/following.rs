//! The replica of a log: batches come from the owner and are written as they are.
//!
//! A replica log *is* the log: the same bytes at the same places of the same uses of segments (which file holds which use is
//! each box's own affair). What is queued is kept in memory here, too, so that the box can lead in no time. Nothing is
//! appended, nothing is moved and no segment is freed but as the owner's batches say.
//!
//! What the owner sends is believed as little as what a disk gives: a batch follows the one before, stands where it says, and
//! holds what its checksum vouches for, or it is [`Unfit`] and changes nothing.

use crate::checksum::crc32c;
use std::fmt;
use std::sync::Arc;

use super::copies::{Copies, Point};
use super::format::{FLAG_TAINTED, HEADER_SIZE, Header, NUMBER_END, Opening};
use super::log::{Link, Log};
use super::record::{Record, decode};
use super::recovery::{NUMBERS_SKIPPED, OpenError, Recovery, SEQUENCES_SKIPPED};
use super::replay::{Unfinished, apply};
use super::scan::padded;
use super::settings::Settings;
use crate::env::Now;
use crate::env::disk::{Block, Completion, Disk};
use crate::limits::{BLOCK_SIZE, EPOCH_MAX};

/// Uses of segments that are passed over when a replica begins to lead: the former owner may have begun some that it never
/// heard of.
const GENERATIONS_SKIPPED: u64 = 1024;

/// What a replica keeps besides what every log does.
#[derive(Debug, Default)]
pub(super) struct Following {
    unfinished: Unfinished,
    /// A batch found no segment, and none could be made; so it is until enough are ready.
    pub starved: bool,
    /// It was begun anew, and that did not succeed: what is there was made since.
    is_new: bool,
}

/// Why a batch is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is none, or was damaged on its way.
    #[error("what came is no batch, or damaged")]
    Damaged,
    /// It is another log's, or of another incarnation of it.
    #[error("the batch belongs to another log")]
    Foreign,
    /// The segments of the two boxes differ in size.
    #[error("[spool] segment_size must be the same on both boxes")]
    SegmentSize,
    /// It does not follow the last one.
    #[error("the batch does not follow the one before")]
    Gap,
    /// It stands where it cannot.
    #[error("the batch stands in the wrong place")]
    Place,
    /// The log does not follow, or failed.
    #[error("the log takes no batches")]
    Closed,
    /// There is no room for it now: no segment is ready, or the disk has enough to do first.
    #[error("there is no room for a batch now")]
    NoRoom,
}

/// A log that could not be read anew.
pub struct NotRewound<D: Disk> {
    /// What is left of it: good for another try.
    pub log: Log<D>,
    /// Why.
    pub error: OpenError,
}

impl<D: Disk> fmt::Debug for NotRewound<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<D: Disk> Log<D> {
    /// Opens the copy of a log as one that follows its owner; [`Log::lead`] makes it take mail. Blocks.
    pub fn open_replica(disk: D, settings: Settings, now: Now) -> Result<(Log<D>, Recovery), OpenError> {
        settings.check().map_err(OpenError::Settings)?;
        let mut log = Log::new_replica(disk, settings);
        let recovery = log.read_all(now)?;
        Ok((log, recovery))
    }

    fn new_replica(disk: D, settings: Settings) -> Log<D> {
        let mut log = Log::new(disk, settings);
        log.following = Some(Following::default());
        log
    }

    fn read_all(&mut self, now: Now) -> Result<Recovery, OpenError> {
        self.disk.settle_now()?;
        let recovery = self.recover(now)?;
        self.make_ready(now)?;
        Ok(recovery)
    }

    /// Begins to take mail in `epoch`: the box owns the identity now. All that it took as a replica must be durable.
    pub fn lead(&mut self, epoch: u64, copies: Copies, now: Now) {
        self.settings.epoch = epoch;
        self.set_copies(copies);
        self.frozen = false;
        if self.following.take().is_none() {
            return;
        }
        assert!(self.in_flight.is_empty(), "a log is led from its last durable batch on");
        // Behind the last batch, also where its segment is full: what a crash left there is of an earlier opening.
        let behind = self.segments.current().map(|live| (live.generation, self.segments.offset));
        let (generation, offset) = behind.unwrap_or((self.segments.generation_next(), 0));
        self.segments.pass_over(GENERATIONS_SKIPPED);
        self.opening = Opening {
            at: now.wall.micros().max(self.opened + 1),
            generation,
            offset: u32::try_from(offset).expect("segments are small"),
        };
        self.opened = self.opening.at;
        // The former owner may have given out more than it could send.
        self.number_next = (self.number_next + NUMBERS_SKIPPED).min(NUMBER_END);
        self.sequence_next += SEQUENCES_SKIPPED;
        self.release_emptied();
        self.look_for_space(now);
    }

    /// Whether it takes mail and lets it go, or would if the storage worked.
    pub fn leads(&self) -> bool {
        self.following.is_none() && !self.frozen
    }

    /// Whether another box writes it.
    pub fn is_replica(&self) -> bool {
        self.following.is_some()
    }

    /// Whether batches of the owner are under way to the disk.
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Takes the first `length` bytes of `block`, the next batch of the owner. It is durable when
    /// [`durable_points`](Log::durable_points) has it. What is not taken comes back.
    pub fn follow(&mut self, block: Block, length: usize, now: Now) -> Result<Point, (Unfit, Block)> {
        match self.judge(&block, length) {
            Ok((header, checksum, records)) => Ok(self.take(block, length, (header, checksum), records, now)),
            Err(unfit) => Err((unfit, block)),
        }
    }

    /// Whether a batch can be the next one, and what is in it; the segment that it goes to is begun.
    fn judge(&mut self, block: &Block, length: usize) -> Result<(Header, u32, Vec<Record>), Unfit> {
        let bytes = block.bytes().get(..length).ok_or(Unfit::Damaged)?;
        let (header, checksum) = Header::decode(bytes).ok_or(Unfit::Damaged)?;
        self.place(&header, length)?;
        let payload = bytes.get(HEADER_SIZE..HEADER_SIZE + header.length as usize).ok_or(Unfit::Damaged)?;
        if crc32c(payload) != header.payload_checksum {
            return Err(Unfit::Damaged);
        }
        let (mut rest, mut records) = (payload, Vec::new());
        for _ in 0..header.records {
            records.push(decode(&mut rest, header.generation).map_err(|_| Unfit::Damaged)?);
        }
        if !rest.is_empty() {
            return Err(Unfit::Damaged);
        }
        // Its header vouches for batches before it: found without them after a crash it would make them look lost.
        let vouched = self.in_flight.front().is_some_and(|oldest| oldest.point.sequence <= header.synced);
        if vouched || self.in_flight.len() >= self.settings.batches_in_flight_max {
            return Err(Unfit::NoRoom);
        }
        let begun = self.segments.current().is_some_and(|current| current.generation == header.generation);
        if !begun && !self.segments.roll_to(header.generation) {
            if let Some(following) = &mut self.following {
                following.starved |= self.segments.available() == 0;
            }
            return Err(Unfit::NoRoom);
        }
        Ok((header, checksum, records))
    }

    fn take(
        &mut self,
        block: Block,
        length: usize,
        (header, checksum): (Header, u32),
        records: Vec<Record>,
        now: Now,
    ) -> Point {
        self.replay(records);
        let point = Point::of(&header, checksum);
        let at = self.segments.current().expect("it was begun before");
        while self.segments.live.len() > 1 && self.segments.start() < header.start {
            self.segments.release_oldest();
        }
        let tainted = header.flags & FLAG_TAINTED != 0;
        self.write_batch(at, point, (Arc::new(block), length), tainted, (Vec::new(), Vec::new(), Vec::new()), now);
        self.incarnation = header.incarnation;
        self.opened = self.opened.max(header.opening.at);
        self.sequence_next = header.sequence + 1;
        self.number_next = self.number_next.max(header.number_next);
        self.synced_announced = header.synced;
        if header.records > 0 {
            self.recorded = header.sequence;
        }
        point
    }

    /// Whether a batch can stand where it says, as the next one.
    fn place(&self, header: &Header, length: usize) -> Result<(), Unfit> {
        if self.failed.is_some() || self.following.is_none() {
            return Err(Unfit::Closed);
        }
        if header.segment_size != self.settings.segment_size {
            return Err(Unfit::SegmentSize);
        }
        let first = self.previous == Link::default();
        if header.log != self.settings.log || !first && header.incarnation != self.incarnation {
            return Err(Unfit::Foreign);
        }
        let previous = Link { sequence: header.previous_sequence, checksum: header.previous_checksum };
        if !first && previous != self.previous {
            return Err(Unfit::Gap);
        }
        let end = u64::from(header.offset) + length as u64;
        if padded(header) != length as u64 || end > self.settings.segment_size {
            return Err(Unfit::Damaged);
        }
        let here = self.segments.current().is_some_and(|current| {
            current.generation == header.generation && u64::from(header.offset) == self.segments.offset
        });
        let next =
            self.segments.current().is_none_or(|current| current.generation < header.generation) && header.offset == 0;
        if !here && !next || !u64::from(header.offset).is_multiple_of(BLOCK_SIZE as u64) {
            return Err(Unfit::Place);
        }
        Ok(())
    }

    fn replay(&mut self, records: Vec<Record>) {
        let Some(following) = &mut self.following else { return };
        for record in records {
            apply(&mut self.index, &mut following.unfinished, &mut self.number_next, record);
        }
    }

    /// Goes back to a batch that the owner has, too, or begins anew where there is none: what stands behind it was never
    /// acknowledged, and is put aside. Reads the log again. Blocks.
    ///
    /// # Errors
    /// The disk; the log is good for nothing but for another try then.
    pub fn rewind(mut self, until: Option<Point>, now: Now) -> Result<(Log<D>, Recovery), Box<NotRewound<D>>> {
        self.drain();
        // Whatever epoch it was led in here, the owners since then wrote in later ones.
        self.settings.epoch = EPOCH_MAX;
        if let Some(until) = until {
            if let Err(error) = self.put_aside_behind(until) {
                return Err(Box::new(NotRewound { log: self, error }));
            }
            self = Log::new_replica(self.disk, self.settings);
            self.until = Some(until.sequence);
            match self.read_through(until, now) {
                Ok(Some(recovery)) => return Ok((self, recovery)),
                Ok(None) => {}
                Err(error) => return Err(Box::new(NotRewound { log: self, error })),
            }
        }
        if let Err(error) = self.retire_all() {
            return Err(Box::new(NotRewound { log: self, error }));
        }
        self = Log::new_replica(self.disk, self.settings);
        match self.read_all(now) {
            Ok(recovery) => Ok((self, recovery)),
            Err(error) => {
                self.following.get_or_insert_default().is_new = true;
                Err(Box::new(NotRewound { log: self, error }))
            }
        }
    }

    /// `None`: the log cannot end there.
    fn read_through(&mut self, until: Point, now: Now) -> Result<Option<Recovery>, OpenError> {
        self.disk.settle_now()?;
        let recovery = self.recover(now)?;
        // A watermark behind the cut would make every later start take the cut for damage.
        if self.previous != until.link() || self.cut_a_watermark {
            return Ok(None);
        }
        self.make_ready(now)?;
        Ok(Some(recovery))
    }

    fn retire_all(&mut self) -> Result<(), OpenError> {
        let is_new = self.following.as_ref().is_some_and(|following| following.is_new);
        for (segment, _) in self.disk.segments()? {
            if is_new {
                self.disk.remove_now(segment)?;
            } else {
                self.disk.retire_now(segment)?;
            }
        }
        Ok(())
    }

    fn put_aside_behind(&mut self, until: Point) -> Result<(), OpenError> {
        for point in self.points.iter().filter(|point| point.sequence > until.sequence).collect::<Vec<_>>() {
            self.put_aside(point)?;
        }
        Ok(())
    }

    fn put_aside(&mut self, point: Point) -> Result<(), OpenError> {
        let Some(number) = self.segments.number_of(point.generation) else { return Ok(()) };
        let offset = u64::from(point.offset);
        let head = self.disk.read_now(number, offset, BLOCK_SIZE)?;
        // One that never came to the disk is nowhere.
        if let Some((header, _)) = Header::decode(head.bytes()).filter(|(_, found)| *found == point.checksum) {
            let length = usize::try_from(padded(&header)).expect("batches are small");
            let batch = self.disk.read_now(number, offset, length)?;
            let name = format!("cut-{}-{}-{}", point.sequence, point.generation, point.offset);
            self.disk.put_aside_now(&name, &batch.bytes()[..length])?;
        }
        Ok(())
    }

    /// Waits for the writes that are under way, for good or ill, and for a segment that is being made: who reads the log anew must find
    /// it, and not be told of it later as well. Blocks.
    fn drain(&mut self) {
        let mut completions = Vec::new();
        self.disk.submit();
        while self.in_flight.iter().any(|batch| !batch.done) || self.segments.preparing.is_some() {
            self.disk.poll(&mut completions);
            if completions.is_empty() {
                self.disk.wait();
            }
            for completion in completions.drain(..) {
                match completion {
                    Completion::Written { token, .. } => {
                        let batch = self.in_flight.iter_mut().find(|batch| batch.point.sequence == token);
                        batch.into_iter().for_each(|batch| batch.done = true);
                    }
                    Completion::Prepared { .. } => self.segments.preparing = None,
                    Completion::Read { .. } => {}
                }
            }
        }
    }
}
