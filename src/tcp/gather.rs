//! Segments that follow one another as one large one, which the NIC cuts again (segmentation offload, TSO).
//!
//! In: a connection and the first segment. Out: the stretch of content that goes along in one frame. To the connection each
//! of them is a segment that was sent: losses, windows and round trips are accounted for as if there were no such frame.

use super::connection::sender::Part;
use super::connection::{Connection, Header, Outgoing};
use super::frame::segment_length;
use super::segment::{ACK, ECE, FIN, PSH};
use super::tuple::Tuple;
use crate::env::Instant;
use crate::limits::CUT_SIZE_MIN;
use crate::port::Segmentation;

/// Whether others may go along with this segment: it is new, nothing but content, not the last of what there is, and of a
/// size that the NIC cuts to. A header that says more than ACK and ECE is for one segment only: CWR too, which not every NIC
/// takes off the others (RFC 3168 §6.1.2).
pub(super) fn leads(limits: &Segmentation, tuple: &Tuple, header: &Header, part: &Part) -> bool {
    let piece = segment_length(tuple, header, part.length as usize);
    part.length >= CUT_SIZE_MIN
        && part.repeats.is_none()
        && header.flags & !ECE == ACK
        && piece <= limits.piece_max
        && (limits.ipv6 || tuple.local.is_ipv4())
        && piece + part.length as usize <= limits.frame_max
}

/// Takes all segments that go along with the first for sent, the first too, up to `room` bytes of content. Gives them as
/// one, and completes its header.
pub(super) fn gather(
    connection: &mut Connection,
    header: &mut Header,
    first: Part,
    room: usize,
    now: Instant,
) -> Outgoing {
    connection.sent(&Outgoing::Part(first), now);
    let mut whole = first;
    while let Some(Outgoing::Part(next)) = connection.next(now) {
        let follows = next.repeats.is_none() && next.sequence == first.sequence.after(whole.length);
        let fits = next.length <= first.length && (whole.length + next.length) as usize <= room;
        if !follows || !fits || next.length == 0 {
            break;
        }
        connection.sent(&Outgoing::Part(next), now);
        whole.length += next.length;
        (whole.fin, whole.push) = (next.fin, next.push);
        // What comes after a short one would be cut in the wrong places.
        if next.length < first.length || next.fin {
            break;
        }
    }
    header.flags |= if whole.fin { FIN } else { 0 } | if whole.push { PSH } else { 0 };
    Outgoing::Part(whole)
}
