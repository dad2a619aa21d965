//! Frames from and to the queues of any Linux network card, by AF_XDP.
//!
//! In: a device, its queues, and the addresses that are ours. Out: one [`Queue`] (a [`Port`](crate::port::Port)) for
//! each NIC queue, and an [`Attachment`] that keeps the steering going. It never touches a frame of the kernel's: the
//! program (its table is in `program.rs`) redirects what is for own addresses and passes everything else.
//!
//! ```text
//!               ┌─ steering program ─► sockets map ─► receive ring ─► Queue 0 ─► worker
//! NIC queue 0 ──┤                                     fill ring    ◄─
//!               └─ everything else ─► kernel: SSH, DNS, ...
//! ```
//!
//! The program is attached by a BPF link, which ends with the process: SIGKILL leaves nothing behind. It runs in
//! the driver (native) where the driver can, else in the kernel (generic); frames are not copied where the driver
//! can (zero-copy), else once. [`Mode`] says which it is, and `run` and `status` repeat it.
//!
//! # What the box needs
//!
//! - Linux 5.9 or newer; CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF, or root.
//! - With a VLAN: `ethtool -K DEV rxvlan off`. A NIC that takes the tag off itself shows the program untagged
//!   frames, which then stay with the kernel. It is not switched here, because the setting is the whole host's.
//!   Without a VLAN the same offload lets the frames of *any* VLAN for an own address come to us.
//! - On veth: `ethtool -K PEER tx off tso off gso off` on the *other* end (and `txvlan off` with a VLAN), because
//!   frames that never see a wire keep their checksums unfinished and their segments unsplit otherwise.
//!   There is no zero-copy on veth.
//! - Queues that are not opened pass even our frames to the kernel, which does not know our addresses: if `queues`
//!   lists only some, steer the flows there (`ethtool -X DEV equal N`, or flow rules).
//! - A worker that shares its core must not only spin: the kernel's side of the rings runs there too. Spin
//!   briefly, then sleep on [`wakeup`](crate::port::Port::wakeup).

mod assembler;
mod bpf;
mod error;
mod frames;
mod memory;
mod preflight;
mod program;
mod queue;
mod ring;
mod socket;
#[cfg(test)]
mod tests;

pub use error::OpenError;
pub use preflight::preflight;
pub use queue::Queue;

use super::interface::{self, Interface};
use super::{ALL_NODES_MAC, Link, solicited_node_mac};
use crate::limits::{QUEUE_BIND_PATIENCE, QUEUE_BIND_PAUSE, STEERED_ADDRESSES_MAX};
use queue::QueueSettings;
use socket2::Socket;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// Which queues of a device are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queues {
    /// All that are in use.
    Auto,
    /// These, by the NIC's numbers.
    List(Vec<u32>),
}

/// What a port is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// Name of the interface.
    pub device: String,
    /// Its queues.
    pub queues: Queues,
    /// The 802.1Q id of our frames; 0 means untagged.
    pub vlan: u16,
    /// Own addresses, whose frames come to us.
    pub addresses: Vec<IpAddr>,
    /// Frames of 4096 bytes for each queue, half of them for each
    /// direction; a power of two.
    pub frames_per_queue: u32,
}

/// Who runs the steering program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// The driver, before the kernel makes a buffer of its own for the frame.
    Native,
    /// The kernel, after that.
    Generic,
}

/// How frames get into our memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copying {
    /// The NIC writes there.
    ZeroCopy,
    /// The kernel copies them there.
    Copy,
}

/// How a device was opened; as text `native, zero-copy` and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    pub attach: Attach,
    /// `Copy` if any queue copies.
    pub copying: Copying,
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attach = match self.attach {
            Attach::Native => "native",
            Attach::Generic => "generic",
        };
        let copying = match self.copying {
            Copying::ZeroCopy => "zero-copy",
            Copying::Copy => "copy",
        };
        write!(formatter, "{attach}, {copying}")
    }
}

/// An open device.
#[derive(Debug)]
pub struct Device {
    /// In the order of the settings; by number for [`Queues::Auto`].
    pub queues: Vec<Queue>,
    /// Keep it for as long as frames are to come.
    pub attachment: Attachment,
    /// How it was opened.
    pub mode: Mode,
}

/// What keeps the steering going: frames stay with the kernel from the moment this is dropped.
#[derive(Debug)]
pub struct Attachment {
    // Dropped first: the program ends before its maps and sockets do.
    _link: OwnedFd,
    _program: OwnedFd,
    addresses_v4: OwnedFd,
    addresses_v6: OwnedFd,
    sockets: OwnedFd,
    memberships: Socket,
    interface: u32,
}

impl Attachment {
    /// Whether the link is up, now; that of an interface that is gone is not.
    pub fn link(&self) -> Link {
        // A kernel that does not answer says nothing of the link.
        let up = interface::by_index(self.interface).map_or(true, |found| found.is_some_and(|found| found.is_running));
        Link { up, speed_mbps: None }
    }

    /// Has frames for `address` come to us from now on; a no-op if they do.
    pub fn steer(&self, address: IpAddr) -> io::Result<()> {
        match address {
            IpAddr::V4(v4) => bpf::insert_address(self.addresses_v4.as_fd(), &v4.octets()),
            IpAddr::V6(v6) => {
                socket::join(&self.memberships, self.interface, solicited_node_mac(v6))?;
                bpf::insert_address(self.addresses_v6.as_fd(), &v6.octets())
            }
        }
    }

    /// Leaves frames for `address` to the kernel from now on.
    pub fn unsteer(&self, address: IpAddr) -> io::Result<()> {
        match address {
            IpAddr::V4(v4) => bpf::remove_address(self.addresses_v4.as_fd(), &v4.octets()),
            IpAddr::V6(v6) => {
                bpf::remove_address(self.addresses_v6.as_fd(), &v6.octets())?;
                socket::leave(&self.memberships, self.interface, solicited_node_mac(v6))
            }
        }
    }
}

/// Opens the device: checks, loads and attaches the program, binds one socket a queue. Whatever was done is undone
/// when it fails. May take [`QUEUE_BIND_PATIENCE`] while a predecessor's socket is on its way out.
pub fn open(settings: &PortSettings) -> Result<Device, OpenError> {
    if let Some(problem) = preflight(settings).into_iter().next() {
        return Err(problem);
    }
    let device = settings.device.as_str();
    let link = interface::find(device)
        .map_err(|error| OpenError::from_step("look at the interface", device, error))?
        .ok_or_else(|| OpenError::NoSuchInterface { device: device.to_owned() })?;
    let queues = preflight::queue_list(settings, &link)?;
    // Without the permission the registration of the frames fails if it must, and names the limit.
    let _ = socket::raise_memory_lock_limit(preflight::locked_memory(settings, queues.len()));

    let (attachment, attach) = attach(settings, &link, &queues)?;
    let mut copying = if attach == Attach::Native { Copying::ZeroCopy } else { Copying::Copy };
    let mut opened = Vec::with_capacity(queues.len());
    for number in queues {
        let queue = open_queue(settings, &link, number)?;
        // A queue that copies makes the rest copy: one device, one mode.
        copying = bind(&queue, &link, copying)?;
        bpf::insert_socket(attachment.sockets.as_fd(), number, queue.socket())
            .map_err(|error| OpenError::from_step("give a queue its socket", device, error))?;
        opened.push(queue);
    }
    Ok(Device { queues: opened, attachment, mode: Mode { attach, copying } })
}

/// Loads the program and attaches it, native if the driver can.
fn attach(settings: &PortSettings, link: &Interface, queues: &[u32]) -> Result<(Attachment, Attach), OpenError> {
    let device = settings.device.as_str();
    let fail = |step| move |error| OpenError::from_step(step, device, error);
    let map = "make a BPF map";
    let addresses_v4 = bpf::create_address_set("rohrpost_v4", 4, STEERED_ADDRESSES_MAX).map_err(fail(map))?;
    let addresses_v6 = bpf::create_address_set("rohrpost_v6", 16, STEERED_ADDRESSES_MAX).map_err(fail(map))?;
    let slots = queues.iter().max().map_or(1, |highest| highest + 1);
    let sockets = bpf::create_socket_map("rohrpost_xsk", slots).map_err(fail(map))?;
    let maps = program::Maps {
        addresses_v4: descriptor(addresses_v4.as_fd()),
        addresses_v6: descriptor(addresses_v6.as_fd()),
        sockets: descriptor(sockets.as_fd()),
    };
    let program = bpf::load_program("rohrpost_steer", &program::steering(maps, settings.vlan)).map_err(|error| {
        match error.source.raw_os_error() {
            Some(libc::EPERM) => OpenError::NotPermitted { step: "load the steering program" },
            _ => OpenError::ProgramRefused { source: error.source, log: error.log },
        }
    })?;
    let memberships = socket::open_membership().map_err(fail("make a packet socket"))?;
    socket::join(&memberships, link.index, ALL_NODES_MAC).map_err(fail("join a multicast group"))?;
    let (bpf_link, attach) = attach_program(device, link, program.as_fd())?;
    let attachment = Attachment {
        _link: bpf_link,
        _program: program,
        addresses_v4,
        addresses_v6,
        sockets,
        memberships,
        interface: link.index,
    };
    for address in &settings.addresses {
        attachment.steer(*address).map_err(fail("steer an address"))?;
    }
    Ok((attachment, attach))
}

fn attach_program(device: &str, link: &Interface, program: BorrowedFd<'_>) -> Result<(OwnedFd, Attach), OpenError> {
    let modes = [(bpf::FLAG_NATIVE, Attach::Native), (bpf::FLAG_GENERIC, Attach::Generic)];
    let mut last = None;
    for (flags, attach) in modes {
        match bpf::attach(program, link.index, flags) {
            Ok(link) => return Ok((link, attach)),
            // Another program in this mode, or one in the other: trying further would only change the number.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)) => {
                let program = interface::find(device).ok().flatten().and_then(|link| link.program);
                return Err(OpenError::AlreadyAttached { device: device.to_owned(), program });
            }
            // Drivers say all sorts of things when they cannot: the generic mode's answer is the one that counts.
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| io::ErrorKind::Unsupported.into());
    Err(OpenError::from_step("attach the steering program", device, error))
}

/// The number of a descriptor, for an instruction.
fn descriptor(map: BorrowedFd<'_>) -> i32 {
    use std::os::fd::AsRawFd;
    map.as_raw_fd()
}

/// Makes the socket, the frames and the rings of a queue, not yet bound.
fn open_queue(settings: &PortSettings, link: &Interface, number: u32) -> Result<Queue, OpenError> {
    let device = settings.device.as_str();
    let fail = |step| move |error| OpenError::from_step(step, device, error);
    let frames = frames::Frames::new(settings.frames_per_queue).map_err(fail("get memory for the frames"))?;
    let socket = socket::open().map_err(fail("make an AF_XDP socket"))?;
    socket::register_frames(socket.as_fd(), frames.region(), frames::FRAME_SIZE as u32).map_err(|error| match error
        .raw_os_error()
    {
        Some(libc::ENOBUFS | libc::ENOMEM) => OpenError::MemoryLock {
            needed: preflight::locked_memory(settings, 1),
            limit: socket::memory_lock_limit().map_or(0, |(soft, _)| soft),
        },
        _ => OpenError::from_step("register the frames", device, error),
    })?;
    let ring_size = settings.frames_per_queue / 2;
    socket::raise_send_buffer(socket.as_fd(), ring_size as usize * frames::FRAME_SIZE);
    let rings = socket::make_rings(socket.as_fd(), ring_size).map_err(fail("make the rings"))?;
    let settings = QueueSettings {
        queue: number,
        vlan: settings.vlan,
        hardware_address: link.hardware_address.unwrap_or_default(),
        mtu: link.mtu,
        ring_size,
    };
    Ok(Queue::new(socket, rings, frames, settings))
}

/// Binds a queue: zero-copy if `wanted` and the driver can, else copy. Says which it became.
fn bind(queue: &Queue, link: &Interface, wanted: Copying) -> Result<Copying, OpenError> {
    let device = link.name.as_str();
    let deadline = Instant::now() + QUEUE_BIND_PATIENCE;
    let mut copying = wanted;
    loop {
        let error = match socket::bind(queue.socket(), link.index, queue.index(), copying == Copying::ZeroCopy) {
            Ok(()) => return Ok(copying),
            Err(error) => error,
        };
        match error.raw_os_error() {
            // The kernel takes a closed socket apart a moment later: the queue of a process that has just ended
            // is free soon.
            Some(libc::EBUSY) if Instant::now() < deadline => std::thread::sleep(QUEUE_BIND_PAUSE),
            Some(libc::EBUSY) => {
                return Err(OpenError::QueueBusy { device: device.to_owned(), queue: queue.index() });
            }
            _ if copying == Copying::ZeroCopy => copying = Copying::Copy,
            _ => return Err(OpenError::from_step("bind a queue", device, error)),
        }
    }
}
