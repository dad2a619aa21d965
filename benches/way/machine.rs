//! What the machine itself can do, to hold the stations against: bytes that are moved or summed and nothing else.

use crate::Station;
use rohrpost::checksum::crc32c;
use std::hint::black_box;

const MESSAGE: usize = 10_240;
/// More than any cache holds.
const LARGE: usize = 256 << 20;

pub const STATIONS: &[Station] = &[
    Station::new("machine", "copy 10 KB within the cache", || copy(MESSAGE)).bytes(MESSAGE as u64),
    Station::new("machine", "copy 256 MB of memory", || copy(LARGE)).bytes(LARGE as u64),
    Station::new("machine", "CRC32C of 10 KB", checksum).bytes(MESSAGE as u64),
    Station::new("machine", "find a byte in 10 KB", find).bytes(MESSAGE as u64),
];

fn copy(size: usize) -> Box<dyn FnMut()> {
    let (from, mut to) = (vec![b'x'; size], vec![0; size]);
    Box::new(move || black_box(&mut to).copy_from_slice(black_box(&from)))
}

fn checksum() -> Box<dyn FnMut()> {
    let bytes = vec![b'x'; MESSAGE];
    Box::new(move || {
        black_box(crc32c(black_box(&bytes)));
    })
}

fn find() -> Box<dyn FnMut()> {
    let bytes = vec![b'x'; MESSAGE];
    Box::new(move || {
        black_box(memchr::memchr(b'\n', black_box(&bytes)));
    })
}
