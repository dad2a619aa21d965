//! Which queue of a host a frame comes to: what receive-side scaling does in a NIC.

use rand::RngExt;
use rand::rngs::StdRng;

/// How a host with several queues spreads its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// All segments of a TCP connection to one queue, by a hash of addresses and ports; all else to the first.
    Flow,
    /// Everything to this queue.
    Queue(usize),
    /// Every frame to any queue: the worst NIC that there could be.
    Random,
}

impl Steering {
    pub(super) fn queue(self, frame: &[u8], count: usize, random: &mut StdRng) -> usize {
        match self {
            Steering::Flow => flow_hash(frame).map_or(0, |hash| (hash % count as u64) as usize),
            Steering::Queue(queue) => queue.min(count - 1),
            Steering::Random => random.random_range(0..count),
        }
    }
}

/// A hash of the 4-tuple, or `None` for what is no TCP segment (or is a fragment, which has no ports).
fn flow_hash(frame: &[u8]) -> Option<u64> {
    let packet = frame.get(14..)?;
    let (addresses, segment) = match frame.get(12..14)? {
        [0x08, 0x00] => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff;
            if *packet.get(9)? != 6 || fragment != 0 {
                return None;
            }
            (packet.get(12..20)?, packet.get(header..)?)
        }
        [0x86, 0xdd] if *packet.get(6)? == 6 => (packet.get(8..40)?, packet.get(40..)?),
        _ => return None,
    };
    // FNV-1a: spreads well enough over a few queues, and nobody attacks a simulation.
    let bytes = addresses.iter().chain(segment.get(..4)?);
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    Some(hash ^ (hash >> 32))
}
