//! What a device was told, in order, and what its power loss leaves of it.
//!
//! ```text
//! record: kind (64): 0 flush, 1 write, 2 write of zeros; offset (64); length (64), all little-endian; of kind 1 the bytes
//! ```
//!
//! A record is written before the device answers. So whoever saw an answer finds its request below the length that the
//! journal had then: that length is a moment of the device's life, and the position of an acknowledgement.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const HEADER_SIZE: usize = 24;
const BLOCK_SIZE: usize = 4096;

/// What a device writes whole or not at all, bytes.
const SECTOR_SIZE: usize = 512;

/// The ext4 superblock spans two sectors, its checksum stands in the second, and mounting reads it before the journal
/// that could repair it: a torn one needs a file system check, which is not what is looked at here. So writes that
/// touch the first block land or do not land, as they do on a device whose sectors have 4096 bytes.
const UNTORN: u64 = BLOCK_SIZE as u64;

/// The content of a device, with blocks of zeros left out. A copy costs little.
#[derive(Clone)]
pub struct Image {
    blocks: Vec<Option<Arc<[u8; BLOCK_SIZE]>>>,
}

impl Image {
    pub fn load(path: &Path) -> io::Result<Image> {
        let bytes = std::fs::read(path)?;
        let block = |bytes: &[u8]| {
            let block: [u8; BLOCK_SIZE] = bytes.try_into().expect("a device has whole blocks");
            (block != [0; BLOCK_SIZE]).then(|| Arc::new(block))
        };
        Ok(Image { blocks: bytes.chunks(BLOCK_SIZE).map(block).collect() })
    }

    pub fn save(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len((self.blocks.len() * BLOCK_SIZE) as u64)?;
        let written = self.blocks.iter().enumerate().filter_map(|(place, block)| Some((place, block.as_ref()?)));
        for (place, block) in written {
            file.write_all_at(&block[..], (place * BLOCK_SIZE) as u64)?;
        }
        Ok(())
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) {
        let mut offset = usize::try_from(offset).expect("devices are small");
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let (place, within) = (offset / BLOCK_SIZE, offset % BLOCK_SIZE);
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_SIZE - within));
            if now.len() == BLOCK_SIZE && now.iter().all(|byte| *byte == 0) {
                self.blocks[place] = None;
            } else {
                let block = self.blocks[place].get_or_insert_with(|| Arc::new([0; BLOCK_SIZE]));
                Arc::make_mut(block)[within..within + now.len()].copy_from_slice(now);
            }
            offset += now.len();
            bytes = later;
        }
    }
}

/// Writes a device's journal.
pub struct Recorder(File);

impl Recorder {
    pub fn create(path: &Path) -> io::Result<Recorder> {
        File::options().create_new(true).append(true).open(path).map(Recorder)
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let zeros = bytes.iter().all(|byte| *byte == 0);
        self.append(if zeros { 2 } else { 1 }, offset, bytes.len() as u64, if zeros { &[] } else { bytes })
    }

    pub fn flush(&self) -> io::Result<()> {
        self.append(0, 0, 0, &[])
    }

    /// In one call, so that a reader sees whole records.
    fn append(&self, kind: u64, offset: u64, length: u64, bytes: &[u8]) -> io::Result<()> {
        let mut record = Vec::with_capacity(HEADER_SIZE + bytes.len());
        [kind, offset, length].into_iter().for_each(|number| record.extend(number.to_le_bytes()));
        record.extend_from_slice(bytes);
        (&self.0).write_all(&record)
    }
}

enum Request {
    Flush,
    /// The bytes in the journal; zeros if there are none.
    Write {
        offset: u64,
        length: usize,
        bytes: Range<usize>,
    },
}

/// The journal of a device from its start up to a moment.
pub struct Journal {
    bytes: Vec<u8>,
    requests: Vec<Request>,
    /// The length of the journal after each request.
    ends: Vec<u64>,
}

impl Journal {
    /// Reads it up to its length `until`.
    pub fn load(path: &Path, until: u64) -> io::Result<Journal> {
        let mut bytes = vec![0; usize::try_from(until).expect("journals are small")];
        File::open(path)?.read_exact_at(&mut bytes, 0)?;
        let (mut requests, mut ends, mut at) = (Vec::new(), Vec::new(), 0);
        while let Some(header) = bytes.get(at..at + HEADER_SIZE) {
            let number = |place: usize| u64::from_le_bytes(header[place..place + 8].try_into().expect("eight bytes"));
            let (kind, offset, length) = (number(0), number(8), number(16) as usize);
            let data = at + HEADER_SIZE..at + HEADER_SIZE + if kind == 1 { length } else { 0 };
            at = data.end;
            ends.push(at as u64);
            requests.push(match kind {
                0 => Request::Flush,
                1 | 2 => Request::Write { offset, length, bytes: data },
                _ => return Err(io::ErrorKind::InvalidData.into()),
            });
        }
        assert_eq!(at, bytes.len(), "the journal ends with a whole record");
        Ok(Journal { bytes, requests, ends })
    }

    /// How many requests there are; a cut lies after any number of them.
    pub fn count(&self) -> usize {
        self.requests.len()
    }

    pub fn flushes(&self) -> usize {
        self.requests.iter().filter(|request| matches!(request, Request::Flush)).count()
    }

    /// Writes that a power loss after `cut` requests finds not flushed.
    pub fn unflushed(&self, cut: usize) -> usize {
        self.requests[..cut].iter().rev().take_while(|request| !matches!(request, Request::Flush)).count()
    }

    /// The moment after `cut` requests, as the length of the journal.
    pub fn moment(&self, cut: usize) -> u64 {
        cut.checked_sub(1).map_or(0, |last| self.ends[last])
    }
}

/// Cuts a journal at later and later places.
pub struct Cutter<'a> {
    journal: &'a Journal,
    /// What the device had for certain at the last flush before the last cut.
    durable: Image,
    applied: usize,
}

/// What a power loss did to the writes after the last flush.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unflushed {
    pub landed: u64,
    pub dropped: u64,
    pub torn: u64,
}

impl Unflushed {
    pub fn count(&self) -> u64 {
        self.landed + self.dropped + self.torn
    }
}

impl std::fmt::Display for Unflushed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} landed, {} dropped, {} torn", self.landed, self.dropped, self.torn)
    }
}

impl std::ops::AddAssign for Unflushed {
    fn add_assign(&mut self, other: Unflushed) {
        self.landed += other.landed;
        self.dropped += other.dropped;
        self.torn += other.torn;
    }
}

impl<'a> Cutter<'a> {
    pub fn new(journal: &'a Journal, before: Image) -> Cutter<'a> {
        Cutter { journal, durable: before, applied: 0 }
    }

    /// The device as it is found when the power fails after `cut` requests, which must not lie before an earlier cut.
    /// Everything up to the last flush is there; each write after it is there, or not, or some of its sectors are, as
    /// `seed` says, even where a later one landed.
    pub fn cut(&mut self, cut: usize, seed: u64) -> (Image, Unflushed) {
        let journal = self.journal;
        let flushed = cut - journal.unflushed(cut);
        assert!(flushed >= self.applied, "cuts go forward");
        for request in &journal.requests[self.applied..flushed] {
            if let Request::Write { offset, length, bytes } = request {
                self.durable.put(*offset, &self.bytes(*length, bytes.clone()));
            }
        }
        self.applied = flushed;

        let mut random = StdRng::seed_from_u64(seed);
        let (mut image, mut unflushed) = (self.durable.clone(), Unflushed::default());
        // Some losses take everything, some nothing; most are a mixture.
        let (lands, tears) = match random.random_range(0..8) {
            0 => (0.0, 0.0),
            1 => (1.0, 0.0),
            _ => (random.random_range(0.1..0.9), random.random_range(0.0..0.8)),
        };
        for request in &journal.requests[flushed..cut] {
            let Request::Write { offset, length, bytes } = request else { unreachable!("no flush after the last") };
            let bytes = self.bytes(*length, bytes.clone());
            if *offset >= UNTORN && bytes.len() > SECTOR_SIZE && random.random_bool(tears) {
                unflushed.torn += 1;
                tear(&mut image, *offset, &bytes, &mut random);
            } else if random.random_bool(lands) {
                unflushed.landed += 1;
                image.put(*offset, &bytes);
            } else {
                unflushed.dropped += 1;
            }
        }
        (image, unflushed)
    }

    fn bytes(&self, length: usize, bytes: Range<usize>) -> Vec<u8> {
        if bytes.is_empty() { vec![0; length] } else { self.journal.bytes[bytes].to_vec() }
    }
}

/// Lands the beginning of a write, its end, or any of its sectors.
fn tear(image: &mut Image, offset: u64, bytes: &[u8], random: &mut StdRng) {
    let sectors = bytes.len().div_ceil(SECTOR_SIZE);
    let (kind, edge) = (random.random_range(0..3), random.random_range(1..sectors));
    for (place, sector) in bytes.chunks(SECTOR_SIZE).enumerate() {
        let lands = match kind {
            0 => place < edge,
            1 => place >= edge,
            _ => random.random_bool(0.5),
        };
        if lands {
            image.put(offset + (place * SECTOR_SIZE) as u64, sector);
        }
    }
}
