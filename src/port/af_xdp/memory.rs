//! A mapped region: the frames of a queue, or one of its rings.
//!
//! In: a length, and a descriptor where the kernel shares the region. Out: addresses within it, checked. It
//! is unmapped when it is dropped and at no other time.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// Memory from mmap(2), readable and writable.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: a region is plain memory that belongs to no thread; what is done with it goes through `&self` for
// reading and `&mut self` for writing, or through atomics in the ring that owns it.
unsafe impl Send for Region {}

impl Region {
    /// Fresh zeroed memory, all pages present, in huge pages if the system has a mind to.
    pub fn anonymous(size: usize) -> io::Result<Region> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let address =
            unsafe { libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        Region::from_address(address, size)
    }

    /// A ring that an AF_XDP socket shares at `page_offset`.
    pub fn shared(socket: BorrowedFd<'_>, size: usize, page_offset: libc::off_t) -> io::Result<Region> {
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let address =
            unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, socket.as_raw_fd(), page_offset) };
        Region::from_address(address, size)
    }

    fn from_address(address: *mut libc::c_void, size: usize) -> io::Result<Region> {
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Region { base, size })
    }

    /// Where the region begins, for the kernel.
    pub fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    /// Bytes in it.
    pub fn size(&self) -> usize {
        self.size
    }

    /// `length` bytes at `offset`. The caller lends only what the kernel does not write to meanwhile: for frames
    /// that is what [`super::frames::Frames`] keeps book of.
    pub fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        let start = self.checked(offset, length);
        // SAFETY: the range was checked, the memory is initialised (it came zeroed) and lives as long as self.
        unsafe { std::slice::from_raw_parts(start, length) }
    }

    /// `length` bytes at `offset`, to be written; see [`bytes`](Region::bytes).
    pub fn bytes_mut(&mut self, offset: usize, length: usize) -> &mut [u8] {
        let start = self.checked(offset, length);
        // SAFETY: as for `bytes`, and `&mut self` rules out another slice.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }

    /// The place of `count` values of type `T` at `offset`: within the region and aligned.
    pub fn place<T>(&self, offset: usize, count: usize) -> NonNull<T> {
        let size = count.checked_mul(size_of::<T>()).expect("a ring's size is small");
        let start = self.checked(offset, size).cast::<T>();
        assert!(start.is_aligned());
        NonNull::new(start).expect("an address within a mapping is not null")
    }

    fn checked(&self, offset: usize, length: usize) -> *mut u8 {
        assert!(offset <= self.size);
        assert!(length <= self.size - offset);
        // SAFETY: the offset was just found to be within the mapping.
        unsafe { self.base.as_ptr().add(offset) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever borrowed from it is gone by now.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.size) };
    }
}
