//! Frames: the port on AF_XDP and DPDK, and ordinary sockets in its place.

use std::time::Duration;

// kernel: ordinary sockets in place of port and tcp.

/// Connections taken from one listener in one poll: a flood of new clients must not starve the old ones.
pub const ACCEPT_BURST_MAX: usize = 64;

/// Flows served in one poll; the others keep their place in the line.
pub const READY_BURST_MAX: usize = 1024;

/// How long a closed connection is read and its bytes dropped, so that no reset destroys our last reply on its
/// way. Longer than a few retransmissions, shorter than what a peer that never ends could use to fill the table.
pub const LINGER_DURATION: Duration = Duration::from_secs(10);

/// How long no connection is accepted after the process or the system ran out of descriptors or memory: the
/// listener stays readable all the while, and asking again at once would spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Receive buffers kept for reuse when their flows have none to hold: enough for the flows of one poll.
pub const BUFFERS_SPARE_MAX: usize = READY_BURST_MAX;

/// Connections that the kernel completes before we accept them. It lowers this to `net.core.somaxconn` (4096 today).
pub const LISTEN_BACKLOG: i32 = 4096;

/// Frames of one queue unless the configuration says otherwise: 32 MiB on AF_XDP and 20 MiB on DPDK in hugepages. Half of them are for
/// receiving: 5 ms of full frames at 10 Gb/s, more than a worker that shares its core is away (3 ms, a turn of Linux's
/// scheduler). With half as many, what is lost meanwhile costs a sender of large messages up to half of its speed.
pub const PORT_FRAMES_DEFAULT: u32 = 8192;

/// The fewest frames of a queue: two bursts for each direction, so that one can be in the NIC while the other is here.
pub const PORT_FRAMES_MIN: u32 = 256;

/// The most frames of a queue: 512 MiB of memory that cannot be swapped.
pub const PORT_FRAMES_MAX: u32 = 131_072;

// port::af_xdp

/// The largest MTU of a device, bytes: a page less what the kernel keeps in front of (256) and behind (about 320) a
/// frame in native mode, the Ethernet header and a tag.
pub const AF_XDP_MTU_MAX: usize = 3498;

/// Own addresses of one device: the size of the steering program's tables.
pub const STEERED_ADDRESSES_MAX: usize = 256;

/// How long a queue that is still bound is waited for: the kernel takes sockets apart some time after they are closed.
pub const QUEUE_BIND_PATIENCE: Duration = Duration::from_secs(2);

/// The pause between two tries to bind a queue.
pub const QUEUE_BIND_PAUSE: Duration = Duration::from_millis(20);

// port::dpdk

/// The least MTU that a device is given, bytes: what IPv6 asks of every link (RFC 8200 §5).
pub const DPDK_MTU_MIN: u16 = 1280;

/// The largest, bytes: what cards and switches with jumbo frames have in common.
pub const DPDK_MTU_MAX: u16 = 9216;

/// DPDK's memory unless the configuration says otherwise, bytes: room for the frames of sixteen workers and for what
/// drivers need of their own.
pub const DPDK_MEMORY_DEFAULT: u64 = 384 << 20;

/// What drivers and DPDK itself take of that memory besides the frames, bytes: rings, tables, the heap's own.
pub const DPDK_MEMORY_OVERHEAD: u64 = 16 << 20;

/// Frames that wait for room in a queue's transmit ring. More would only be late: TCP sends them again.
pub const DPDK_PENDING_MAX: usize = 256;

/// The least content of the segments that a NIC is asked to cut, bytes: some refuse less.
pub const CUT_SIZE_MIN: u32 = 256;

/// The longest frame that a NIC is given to cut (TSO), bytes: ten segments of 1448 bytes and their headers, which leaves a
/// tenth of the work. Drivers hand it to the NIC in one piece, and some NICs take no more than 15.5 KiB in one.
pub const DPDK_CUT_FRAME_SIZE_MAX: u16 = 15 * 1024;

/// How many of those a queue has: 2 MB. With none left, segments go one by one.
pub const DPDK_CUT_FRAMES: u32 = 128;

/// How long a link may take to come up before addresses are claimed on it: a 10 Gb/s port negotiates for some seconds.
pub const LINK_PATIENCE: Duration = Duration::from_secs(8);

/// How often the link of the port is looked at: a box of a pair whose cable is drawn is to be relieved in no time.
pub const LINK_WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// The pause between two looks at a link that is waited for.
pub const LINK_PAUSE: Duration = Duration::from_millis(20);
