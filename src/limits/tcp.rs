//! TCP, and the addresses that it answers for.

use std::time::Duration;

// tcp::claim

/// Probes for an own address before it is used (RFC 5227 §1.1, PROBE_NUM): one that is lost is not the last.
pub const CLAIM_PROBES: u8 = 3;

/// The pause after each probe. RFC 5227 allows a second of random delay, then one to two seconds between probes and two
/// after the last, sized for hosts that boot together on slow, bridged networks. An appliance's address is fixed, its
/// neighbours answer within a millisecond, and mail waits meanwhile: a fifth of a second is a hundred times what it takes.
pub const CLAIM_PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// Announcements of a claimed address (RFC 5227 §1.1, ANNOUNCE_NUM), so that a lost one leaves no stale neighbour.
pub const CLAIM_ANNOUNCEMENTS: u8 = 2;

/// The pause between announcements: longer than the loss of one burst, and within the second that a claim may take.
pub const CLAIM_ANNOUNCE_INTERVAL: Duration = Duration::from_millis(200);

/// The pause before a probe that found no room in the port is tried again.
pub const CLAIM_RETRY_DELAY: Duration = Duration::from_millis(10);

/// Bursts that a claim listens to in one poll, so that a flood cannot keep it there.
pub const CLAIM_BURSTS_PER_POLL: usize = 16;

/// Frames taken from a port in one poll: sixteen bursts, so that a flood cannot keep a breath from ending.
pub const FRAMES_PER_POLL: usize = 1024;

/// The sizes of a connection's rings, bytes: a segment or a few commands, some lines, some segments, the default buffer,
/// large buffers.
pub const RING_SIZES: [usize; 6] = [2 << 10, 8 << 10, 32 << 10, 256 << 10, 2 << 20, 16 << 20];

/// Rings up to this size, bytes, may have the last quarter of the memory for rings.
pub const RING_SIZE_SMALL: usize = RING_SIZES[1];

/// Rings of one size that are kept for the next to ask, bytes; more go back to the allocator.
pub const RINGS_SPARE_SIZE_MAX: usize = 4 << 20;

/// Bytes that a flow may hold unread while the memory for rings is scarce: a few lines of any protocol.
pub const RECEIVE_SCARCE_SIZE: u32 = RING_SIZE_SMALL as u32;

/// Stretches that arrived beyond a hole: at one loss in thirty, a window of a thousand segments. What would make one more
/// is dropped, and sent again later.
pub const ISLANDS_MAX: usize = 32;

/// How long an acknowledgement may wait for something to ride on. RFC 1122 §4.2.3.2 allows half a second and RFC 9293 asks
/// for one per two full segments; a sender under Nagle's algorithm pays all of it, and a reply that waits for the disk
/// comes sooner.
pub const ACKNOWLEDGEMENT_DELAY: Duration = Duration::from_millis(1);

/// The first timeout, before a round trip was measured (RFC 6298 §2.1).
pub const RETRANSMISSION_TIMEOUT_INITIAL: Duration = Duration::from_secs(1);

/// The timeout after a handshake that went through only after one, until there is a measurement (RFC 6298 §5.7).
pub const RETRANSMISSION_TIMEOUT_CAUTIOUS: Duration = Duration::from_secs(3);

/// The least timeout: above the delayed acknowledgements of all systems in use, as Linux has it. RFC 6298 §2.4 asks for a
/// second, for clocks of half a second.
pub const RETRANSMISSION_TIMEOUT_MIN: Duration = Duration::from_millis(200);

/// The most that doubling makes of it (RFC 6298 §2.5).
pub const RETRANSMISSION_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// The least pause before a tail loss probe, above the granularity of timers (RFC 8985 §7.2).
pub const TAIL_PROBE_MIN: Duration = Duration::from_millis(10);

/// What a tail loss probe waits longer if one segment is under way, whose acknowledgement may be delayed (RFC 8985 §7.2).
pub const TAIL_PROBE_SINGLE_DELAY: Duration = Duration::from_millis(200);

/// Segments that may be under way at first (RFC 6928).
pub const INITIAL_WINDOW_SEGMENTS: u32 = 10;

/// Timeouts in a row after which a path is taken to swallow large segments (RFC 8899 §4.3).
pub const BLACK_HOLE_TIMEOUTS: u8 = 2;

/// How often segments that are beside the window are answered: two ends that think each other wrong end there.
pub const OUT_OF_WINDOW_INTERVAL: Duration = Duration::from_millis(100);

/// The least MTU that a router is believed, IPv4: below it, headers are most of the traffic (RFC 1191 §7 has 576 as the
/// plateau that all paths take). IPv6 links take 1 280 (RFC 8200 §5).
pub const PATH_MTU_MIN_V4: u16 = 552;

/// As [`PATH_MTU_MIN_V4`], for IPv6.
pub const PATH_MTU_MIN_V6: u16 = 1280;

/// Hosts whose path is known to take less than our link; about 40 bytes each.
pub const PATHS_MAX: usize = 4096;

/// How long that is believed (RFC 8201 §4): then a path is tried anew.
pub const PATH_LIFETIME: Duration = Duration::from_secs(600);

/// Neighbours whose hardware addresses are known; about 50 bytes each.
pub const NEIGHBOURS_MAX: usize = 4096;

/// How long a neighbour's address is believed without a word from it.
pub const NEIGHBOUR_LIFETIME: Duration = Duration::from_secs(60);

/// How long SYN cookies are honoured after the last was sent: until the counter in it has turned once.
pub const COOKIE_LIFETIME: Duration = Duration::from_secs(64);

/// How long the oldest of a closed connection's segments may still be under way. Half of what RFC 9293 §3.4.3 reckons
/// with: initial sequence numbers grow with time, so that a new connection's are beyond the old one's.
pub const TIME_WAIT_DURATION: Duration = Duration::from_secs(30);

/// Connections in TIME-WAIT: about 100 bytes each. The oldest make room.
pub const TIME_WAITS_MAX: usize = 65_536;

/// How long a handshake that a client began may take: three repetitions of our SYN-ACK, after 1, 3 and 7 s.
pub const HALF_OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a handshake of ours may take, whoever waits for it.
pub const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// How long an established flow may hear nothing from its peer while it sends or probes (RFC 9293 §3.8.3 asks for at
/// least 100 s): three keep-alive probes.
pub const USER_TIMEOUT: Duration = Duration::from_secs(200);

/// Silence after which a peer is asked whether it is still there.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// How long a closed flow may take to send what it has, before it is reset.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Challenge acknowledgements a second, nominally (RFC 5961 §7).
pub const CHALLENGES_PER_SECOND: u32 = 200;

/// Resets a second for segments that belong to nothing, nominally: enough for honest clients, no reflector.
pub const RESETS_PER_SECOND: u32 = 1000;

/// Frames that wait to be handed to other workers; more are dropped, as a full ring would.
pub const FOREIGN_FRAMES_MAX: usize = 256;

/// Frames of a worker without a queue of its own that are being written or wait to be taken along: four bursts.
pub const GUEST_FRAMES_MAX: usize = 256;

/// How often a neighbour that does not answer is asked.
pub const NEIGHBOUR_RETRY_DELAY: Duration = Duration::from_millis(400);

/// How long a connection that we started waits for its next hop's hardware address.
pub const NEIGHBOUR_TIMEOUT: Duration = Duration::from_secs(3);

/// How often known gateways are asked again. The interface forgets a neighbour after 60 s without a packet from its own
/// address, and a gateway sends none.
pub const GATEWAY_REFRESH_INTERVAL: Duration = Duration::from_secs(25);

/// Local ports of connections that we start: the range that Linux uses.
pub const LOCAL_PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// The pause before a connection that we had no means to open (no free place, port or descriptor) is tried again.
pub const SHORTAGE_PAUSE: Duration = Duration::from_secs(1);

/// After so many such pauses in a row what waits is deferred: connections last for minutes, not for hours.
pub const SHORTAGES_MAX: u32 = 30;

/// The pause before a message that found all readers in use is read again.
pub const READER_RETRY_DELAY: Duration = Duration::from_millis(100);
