//! The system calls of an AF_XDP socket, and of the packet socket that joins multicast groups.
//!
//! In: sizes, memory, a device and a queue. Out: a bound socket and its rings. What they carry is the business of
//! [`super::queue`].
#![allow(unsafe_code)]

use super::memory::Region;
use super::ring::{self, ConsumerRing, ProducerRing};
use socket2::{Domain, Socket, Type};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

const SOL_PACKET: libc::c_int = 263;
const PACKET_ADD_MEMBERSHIP: libc::c_int = 1;
const PACKET_DROP_MEMBERSHIP: libc::c_int = 2;
const PACKET_MR_MULTICAST: u16 = 0;

/// `struct packet_mreq`, packet(7).
#[repr(C)]
struct PacketMembership {
    interface: libc::c_int,
    kind: u16,
    address_length: u16,
    address: [u8; 8],
}

/// The rings of one socket.
#[derive(Debug)]
pub struct Rings {
    pub fill: ProducerRing<u64>,
    pub completion: ConsumerRing<u64>,
    pub receive: ConsumerRing<libc::xdp_desc>,
    pub transmit: ProducerRing<libc::xdp_desc>,
}

fn set_option<T>(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of a live value.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads an option of the SOL_XDP level into `value`; a shorter answer (an older kernel's) leaves the rest as it was.
fn xdp_option<T>(socket: BorrowedFd<'_>, name: libc::c_int, value: &mut T) -> io::Result<usize> {
    let mut length = size_of::<T>() as libc::socklen_t;
    let to: *mut T = value;
    // SAFETY: the kernel writes at most `length` bytes, and every T used here is made of integers.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, name, to.cast(), &mut length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(length as usize) }
}

/// Makes an AF_XDP socket. Asks for CAP_NET_RAW.
pub fn open() -> io::Result<Socket> {
    Socket::new(Domain::from(libc::AF_XDP), Type::RAW, None)
}

/// Registers the frames of a queue. They must not be unmapped before the socket is closed.
pub fn register_frames(socket: BorrowedFd<'_>, frames: &Region, frame_size: u32) -> io::Result<()> {
    let registration = libc::xdp_umem_reg {
        addr: frames.address(),
        len: frames.size() as u64,
        chunk_size: frame_size,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set_option(socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)
}

/// Lets the kernel's copies of a whole ring of frames be under way at once: in copy mode the usual limit of a socket
/// holds fewer than a hundred. Where it is not permitted, sending takes more system calls and nothing else.
pub fn raise_send_buffer(socket: BorrowedFd<'_>, size: usize) {
    let size = libc::c_int::try_from(size).unwrap_or(libc::c_int::MAX);
    let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &size);
}

/// Makes and maps the four rings with `size` slots each.
pub fn make_rings(socket: BorrowedFd<'_>, size: u32) -> io::Result<Rings> {
    for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING] {
        set_option(socket, libc::SOL_XDP, ring, &size)?;
    }
    let none = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
    let mut offsets = libc::xdp_mmap_offsets { rx: none, tx: none, fr: none, cr: none };
    if xdp_option(socket, libc::XDP_MMAP_OFFSETS, &mut offsets)? != size_of::<libc::xdp_mmap_offsets>() {
        // Before Linux 5.4 the rings had no flags, and so no way to say that they sleep.
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(Rings {
        fill: ring::map_producer(socket, offsets.fr.into(), size, libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t)?,
        completion: ring::map_consumer(
            socket,
            offsets.cr.into(),
            size,
            libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t,
        )?,
        receive: ring::map_consumer(socket, offsets.rx.into(), size, libc::XDP_PGOFF_RX_RING as libc::off_t)?,
        transmit: ring::map_producer(socket, offsets.tx.into(), size, libc::XDP_PGOFF_TX_RING as libc::off_t)?,
    })
}

/// Binds a socket to a queue, zero-copy or copy, with wake-ups only when the kernel asks for them.
pub fn bind(socket: BorrowedFd<'_>, interface: u32, queue: u32, zero_copy: bool) -> io::Result<()> {
    let copy = if zero_copy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: copy | libc::XDP_USE_NEED_WAKEUP,
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let length = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of a live sockaddr_xdp.
    let result = unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What the kernel counted for a socket; zeros if it does not say.
pub fn statistics(socket: BorrowedFd<'_>) -> libc::xdp_statistics {
    let mut statistics = libc::xdp_statistics {
        rx_dropped: 0,
        rx_invalid_descs: 0,
        tx_invalid_descs: 0,
        rx_ring_full: 0,
        rx_fill_ring_empty_descs: 0,
        tx_ring_empty_descs: 0,
    };
    // Older kernels write only the first three, newer ones all: what is not written stays zero.
    let _ = xdp_option(socket, libc::XDP_STATISTICS, &mut statistics);
    statistics
}

/// A packet socket that receives nothing (its protocol is 0) and can hold memberships. Asks for CAP_NET_RAW.
pub fn open_membership() -> io::Result<Socket> {
    Socket::new(Domain::PACKET, Type::DGRAM, None)
}

/// Has the interface take frames for a multicast MAC address for as long as the socket is open.
pub fn join(socket: &Socket, interface: u32, group: [u8; 6]) -> io::Result<()> {
    set_option(socket.as_fd(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership(interface, group))
}

/// Ends one [`join`] of the group.
pub fn leave(socket: &Socket, interface: u32, group: [u8; 6]) -> io::Result<()> {
    set_option(socket.as_fd(), SOL_PACKET, PACKET_DROP_MEMBERSHIP, &membership(interface, group))
}

fn membership(interface: u32, group: [u8; 6]) -> PacketMembership {
    let mut address = [0; 8];
    address[..6].copy_from_slice(&group);
    PacketMembership { interface: interface as libc::c_int, kind: PACKET_MR_MULTICAST, address_length: 6, address }
}

/// How much memory this process may lock, bytes: what counts now and what it could be raised to.
pub fn memory_lock_limit() -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one live rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Raises the memory that may be locked by `size` bytes, as far as we are allowed to: what was locked before counts, too.
pub fn raise_memory_lock_limit(size: u64) -> io::Result<()> {
    let (soft, hard) = memory_lock_limit()?;
    let wanted = soft.saturating_add(size);
    // Beyond the hard limit only some may; others get as far as it is.
    set_memory_lock_limit(wanted, hard.max(wanted)).or_else(|_| set_memory_lock_limit(wanted.min(hard), hard))
}

fn set_memory_lock_limit(soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads one live rlimit.
    if unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
