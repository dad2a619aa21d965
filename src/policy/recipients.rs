//! Recipient maps: who receives in a domain, millions of them.
//!
//! In: a file with one entry a line: `local@domain`, `local` (in every domain that uses the file) or `@domain` (everyone
//! there); `#` at the start of a line, or behind a blank, begins a comment. Out: whether a mailbox is in it. Never: a
//! read while it is looked up.
//!
//! The entries lie one behind the other in one block, each as its key and a line feed, which no key holds; a table has
//! their 32-bit offsets by a seeded hash. An entry costs its own length and about six bytes more.
//!
//! ```text
//! block:  anna@example.net⏎info@⏎@sub.example.net⏎
//! table:  ^0               ^17   ^23
//! ```

use super::address::{Mailbox, canonical_local};
use crate::config::canonical_domain;
use crate::limits;
use arrayvec::ArrayVec;
use hashbrown::HashTable;
use siphasher::sip::SipHasher13;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Why a file is no recipient map.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// It cannot be read.
    #[error("cannot read the recipient map: {0}")]
    Read(#[from] io::Error),
    /// It is larger than offsets can name.
    #[error("the recipient map is larger than {} bytes", limits::RECIPIENT_MAP_SIZE_MAX)]
    TooLarge,
    /// A line is no UTF-8.
    #[error("line {line}: not UTF-8")]
    NotUtf8 {
        /// Counted from 1.
        line: usize,
    },
    /// A line is no entry.
    #[error("line {line}: \"{text}\" is no address, local part or \"@domain\"")]
    BadEntry {
        /// Counted from 1.
        line: usize,
        /// The beginning of the line.
        text: Box<str>,
    },
}

/// By what a change of a file is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file at `path`; `None` if there is none.
    pub fn of(path: &Path) -> Option<Stamp> {
        std::fs::metadata(path).ok().map(|metadata| Stamp::from(&metadata))
    }
}

impl From<&std::fs::Metadata> for Stamp {
    fn from(metadata: &std::fs::Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A recipient map.
pub struct RecipientMap {
    block: Vec<u8>,
    offsets: HashTable<u32>,
    seed: u64,
}

/// The longest key of an entry: as of a mailbox.
type Key = ArrayVec<u8, 512>;

impl RecipientMap {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// It cannot be read, is too large, or holds a bad line.
    pub fn load(path: &Path, seed: u64) -> Result<(RecipientMap, Stamp), MapError> {
        let mut file = File::open(path)?;
        // Before the content: what is written while we read makes the next look see a change.
        let stamp = Stamp::from(&file.metadata()?);
        let mut content = Vec::new();
        let size = file.by_ref().take(limits::RECIPIENT_MAP_SIZE_MAX + 1).read_to_end(&mut content)?;
        if size as u64 > limits::RECIPIENT_MAP_SIZE_MAX {
            return Err(MapError::TooLarge);
        }
        Ok((RecipientMap::parse(&content, seed)?, stamp))
    }

    /// Reads the content of a map file.
    ///
    /// # Errors
    /// A line is no entry.
    pub fn parse(content: &[u8], seed: u64) -> Result<RecipientMap, MapError> {
        let lines = memchr::memchr_iter(b'\n', content).count() + 1;
        let mut map = RecipientMap {
            block: Vec::with_capacity(content.len() + 16),
            offsets: HashTable::with_capacity(lines),
            seed,
        };
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
            let line_number = index + 1;
            let text = std::str::from_utf8(line).map_err(|_| MapError::NotUtf8 { line: line_number })?;
            let entry = without_comment(text).trim();
            if entry.is_empty() {
                continue;
            }
            let bad = || MapError::BadEntry { line: line_number, text: entry.chars().take(80).collect() };
            let key = key_of(entry).ok_or_else(bad)?;
            map.insert(&key)?;
        }
        map.block.shrink_to_fit();
        Ok(map)
    }

    fn insert(&mut self, key: &[u8]) -> Result<(), MapError> {
        if self.has(key) {
            return Ok(());
        }
        // A-labels are longer than U-labels, so that the block may grow beyond the file.
        let offset = u32::try_from(self.block.len()).map_err(|_| MapError::TooLarge)?;
        self.block.extend_from_slice(key);
        self.block.push(b'\n');
        let RecipientMap { block, offsets, seed } = self;
        offsets.insert_unique(hash(*seed, key), offset, |offset| hash(*seed, entry_at(block, *offset)));
        Ok(())
    }

    fn has(&self, key: &[u8]) -> bool {
        self.offsets.find(hash(self.seed, key), |offset| starts_entry(&self.block, *offset, key)).is_some()
    }

    /// How many different entries there are.
    pub fn count(&self) -> usize {
        self.offsets.len()
    }

    /// Whether `mailbox` receives: by itself, without its detail, or because everyone in its domain does.
    pub fn contains(&self, mailbox: &Mailbox, delimiter: Option<u8>) -> bool {
        let named = |mailbox: &Mailbox| {
            // `local@`, the key of a bare local part, is the beginning of the mailbox's own key.
            self.has(mailbox.key()) || self.has(&mailbox.key()[..=mailbox.local().len()])
        };
        named(mailbox)
            || delimiter.and_then(|delimiter| mailbox.without_detail(delimiter)).is_some_and(|plain| named(&plain))
            || self.has(&mailbox.key()[mailbox.local().len()..])
    }
}

fn hash(seed: u64, key: &[u8]) -> u64 {
    SipHasher13::new_with_keys(seed, !seed).hash(key)
}

/// Whether the entry at `offset` is `key`: no longer entry passes, since keys hold no line feed.
fn starts_entry(block: &[u8], offset: u32, key: &[u8]) -> bool {
    let rest = &block[offset as usize..];
    rest.get(key.len()) == Some(&b'\n') && rest.starts_with(key)
}

fn entry_at(block: &[u8], offset: u32) -> &[u8] {
    let rest = &block[offset as usize..];
    &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())]
}

/// A `#` begins a comment at the start of a line or behind a blank, but not within quotes: local parts may hold it.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut before = b' ';
    for (place, byte) in line.bytes().enumerate() {
        match byte {
            b'"' if before != b'\\' => quoted = !quoted,
            b'#' if !quoted && before.is_ascii_whitespace() => return &line[..place],
            _ => {}
        }
        before = byte;
    }
    line
}

fn key_of(entry: &str) -> Option<Key> {
    let mut key = Key::new();
    // The last `@` behind the quotes, if there are any.
    let quotes = entry.rfind('"').map_or(0, |place| place + 1);
    let (local, domain) = match entry[quotes..].rfind('@') {
        Some(place) => (&entry[..quotes + place], Some(&entry[quotes + place + 1..])),
        None => (entry, None),
    };
    if !local.is_empty() {
        canonical_local(local, &mut key)?;
    }
    key.try_push(b'@').ok()?;
    if let Some(domain) = domain {
        key.try_extend_from_slice(canonical_domain(domain)?.as_bytes()).ok()?;
    }
    Some(key)
}
