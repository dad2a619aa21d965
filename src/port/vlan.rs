//! The 802.1Q tag of a port whose addresses live in a VLAN: taken off what comes, put on what goes.
//!
//! ```text
//! | destination, source: 12 | 81 00 | priority, VLAN id: 2 | EtherType: 2 | ...
//! ```
//! What stands in front of the tag is moved, so that the rest of the frame stays where it is in its buffer.

use super::Frame;

/// An 802.1Q tag, bytes.
pub(super) const TAG_SIZE: usize = 4;

/// Both MAC addresses, in front of which nothing and behind which the tag stands, bytes.
const MAC_ADDRESSES_SIZE: usize = 12;

/// The id in the frame's tag; `None` if it has no tag, or nothing behind it.
pub(super) fn tag(bytes: &[u8]) -> Option<u16> {
    let [0x81, 0x00, high, low, _, _, ..] = bytes.get(MAC_ADDRESSES_SIZE..)? else { return None };
    // The upper four bits are priority and drop eligibility.
    Some(u16::from_be_bytes([*high, *low]) & 0x0fff)
}

/// The frame without its tag; `bytes` are all of it.
pub(super) fn strip(bytes: &mut [u8], frame: Frame) -> Frame {
    bytes.copy_within(..MAC_ADDRESSES_SIZE, TAG_SIZE);
    moved_start(frame, TAG_SIZE as i32)
}

/// The frame with room for a tag, which is in its headroom.
pub(super) fn make_room(frame: Frame) -> Frame {
    moved_start(frame, -(TAG_SIZE as i32))
}

/// Writes the tag into the room made for it; `bytes` are the whole frame.
pub(super) fn write(bytes: &mut [u8], vlan: u16) {
    let [high, low] = vlan.to_be_bytes();
    bytes.copy_within(TAG_SIZE..TAG_SIZE + MAC_ADDRESSES_SIZE, 0);
    bytes[MAC_ADDRESSES_SIZE..MAC_ADDRESSES_SIZE + TAG_SIZE].copy_from_slice(&[0x81, 0x00, high, low]);
}

/// The same frame, its start moved by `by` bytes (towards the headroom if negative), its end in place.
fn moved_start(frame: Frame, by: i32) -> Frame {
    let offset = i32::from(frame.offset()) + by;
    let length = frame.length() as i32 - by;
    assert!(offset >= 0);
    assert!(length >= 0);
    Frame::new(frame.buffer(), offset as u16, length as u16)
}

const _: () = assert!(super::FRAME_HEADROOM >= TAG_SIZE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_comes_off_as_it_went_on() {
        let mut buffer: Vec<u8> = (0..80).collect();
        buffer[72..74].copy_from_slice(&[8, 0]);
        let untagged = buffer[60..].to_vec();
        assert_eq!(tag(&untagged), None);
        let frame = make_room(Frame::new(0, 60, 20));
        let range = usize::from(frame.offset())..80;
        write(&mut buffer[range.clone()], 0x7ff);
        assert_eq!(tag(&buffer[range.clone()]), Some(0x7ff));
        let frame = strip(&mut buffer[range], frame);
        assert_eq!(frame, Frame::new(0, 60, 20));
        assert_eq!(buffer[60..], untagged);
    }

    #[test]
    fn a_tag_with_nothing_behind_it_is_none() {
        let mut bytes = vec![0; 12];
        bytes.extend([0x81, 0x00, 0x60, 7, 8, 0]);
        assert_eq!(tag(&bytes), Some(7));
        for length in 0..18 {
            assert_eq!(tag(&bytes[..length]), None);
        }
    }
}
