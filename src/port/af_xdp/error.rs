//! Why a device was not opened: what is wrong, and what to do about it.
//!
//! All of these are for the operator to act on; none of them comes up once a device is open.

use crate::limits::{AF_XDP_MTU_MAX, STEERED_ADDRESSES_MAX};
use crate::port::interface::HeldByKernel;
use crate::port::numbers::NumberError;
use std::io;

/// Why a device cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no interface of this name, here.
    #[error("there is no interface {device}: `ip link` lists those of this host (and of this network namespace)")]
    NoSuchInterface { device: String },

    /// The interface is administratively down.
    #[error("interface {device} is down: bring it up with `ip link set {device} up`")]
    InterfaceDown { device: String },

    /// Loopback, a tunnel, or the like.
    #[error(
        "interface {device} carries no Ethernet frames: name a network card (or one end of a veth pair); \
         for loopback use transport = \"kernel\""
    )]
    NotEthernet { device: String },

    /// A bond or team: its frames come and go on the members' queues.
    #[error(
        "interface {device} is a {kind}: AF_XDP needs the queues of a network card. Use the members, one [[port]] each, \
         taken out of the {kind}, or transport = \"kernel\" on top of it"
    )]
    Bond { device: String, kind: String },

    /// A frame would not fit into a buffer.
    #[error(
        "the MTU of {device} is {mtu} bytes and a frame of the port holds packets of at most {max}: \
         `ip link set {device} mtu 1500`",
        max = AF_XDP_MTU_MAX
    )]
    MtuTooLarge { device: String, mtu: usize },

    /// A queue was named that the interface does not have.
    #[error(
        "interface {device} has no queue {queue}: it has {count}, counted from 0. Correct `queues`, or set the number of \
         queues with `ethtool -L {device} combined N`"
    )]
    NoSuchQueue { device: String, queue: u32, count: u32 },

    /// A queue was named twice.
    #[error("queue {queue} of {device} is listed twice: each queue has one worker; list it once")]
    QueueListedTwice { device: String, queue: u32 },

    /// The list of queues is empty.
    #[error("no queue of {device} is listed: write queues = \"auto\", or name at least one")]
    NoQueues { device: String },

    /// More RX than TX queues.
    #[error(
        "interface {device} has {receive} RX queues but only {transmit} TX queues in use, and a worker needs one of each: \
         `ethtool -L {device} combined {transmit}`, or list the first {transmit} under `queues`"
    )]
    QueuesUnpaired { device: String, receive: u32, transmit: u32 },

    /// A number that no port can have.
    #[error(transparent)]
    Number(#[from] NumberError),

    /// More own addresses than the steering program's table holds.
    #[error("{count} own addresses on one port: at most {max} can be steered; spread them over several ports",
        max = STEERED_ADDRESSES_MAX)]
    TooManyAddresses { count: usize },

    /// The kernel would answer for the address too.
    #[error(transparent)]
    AddressHeldByKernel(#[from] HeldByKernel),

    /// This process may not do what a port needs.
    #[error(
        "missing {missing}: run as root, or with `AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW CAP_BPF` in the \
         systemd unit"
    )]
    MissingCapabilities { missing: String },

    /// The kernel said no although the capabilities are there.
    #[error(
        "the kernel does not permit to {step}: the capabilities count only in the host's own user namespace, so run \
         outside an unprivileged container; a security module (lockdown, SELinux) may also forbid it"
    )]
    NotPermitted { step: &'static str },

    /// The frames cannot be locked into memory.
    #[error(
        "the frames need {needed} bytes of locked memory and the limit is {limit}: set `LimitMEMLOCK=infinity` in the \
         systemd unit (`ulimit -l unlimited` in a shell), or lower `frames` of the [[port]]"
    )]
    MemoryLock { needed: u64, limit: u64 },

    /// Another program is at the interface.
    #[error(
        "another XDP program{program} is attached to {device}: stop what attached it (another Rohrpost?), or, if that \
         is gone, detach it with `ip link set {device} xdp off`",
        program = program.map_or_else(String::new, |id| format!(" (id {id}, see `bpftool prog show id {id}`)"))
    )]
    AlreadyAttached { device: String, program: Option<u32> },

    /// Another AF_XDP socket has the queue.
    #[error(
        "queue {queue} of {device} is already bound by another AF_XDP socket: stop the process that holds it \
         (another Rohrpost?; `ss --xdp -p` may name it), or list other queues"
    )]
    QueueBusy { device: String, queue: u32 },

    /// The verifier did not accept the steering program.
    #[error("the kernel refuses the steering program ({source}); Linux 5.9 or newer is needed. Its reasons: {log}")]
    ProgramRefused { source: io::Error, log: String },

    /// AF_XDP or BPF links are not in this kernel.
    #[error("this kernel cannot {step}: Linux 5.9 or newer with CONFIG_XDP_SOCKETS and CONFIG_BPF_SYSCALL is needed")]
    KernelLacks { step: &'static str },

    /// Anything else that the system said no to.
    #[error("cannot {step} on {device}: {source}. This is not a fault that Rohrpost knows; `dmesg` may say more")]
    System { step: &'static str, device: String, source: io::Error },
}

impl OpenError {
    /// What an error of the system means when nothing more is known about the step.
    pub(super) fn from_step(step: &'static str, device: &str, source: io::Error) -> OpenError {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => OpenError::NotPermitted { step },
            Some(libc::ENOSYS | libc::EAFNOSUPPORT | libc::ENOPROTOOPT) => OpenError::KernelLacks { step },
            Some(libc::ENODEV) => OpenError::NoSuchInterface { device: device.to_owned() },
            Some(libc::ENETDOWN) => OpenError::InterfaceDown { device: device.to_owned() },
            _ => OpenError::System { step, device: device.to_owned(), source },
        }
    }
}
