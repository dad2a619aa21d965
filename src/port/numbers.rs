//! The numbers that every port over a NIC is given, whatever drives it.

use crate::limits::{PORT_FRAMES_MAX, PORT_FRAMES_MIN};

/// A number that no port can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// A VLAN id out of range.
    #[error("VLAN {vlan} does not exist: ids are 1 to 4094, and 0 means untagged")]
    NoSuchVlan { vlan: u16 },

    /// The number of frames is out of range or no power of two.
    #[error(
        "{frames} frames a queue: the number must be a power of two from {min} to {max}",
        min = PORT_FRAMES_MIN,
        max = PORT_FRAMES_MAX
    )]
    FramesPerQueue { frames: u32 },
}

/// What is wrong with them; nothing if there is nothing.
pub(super) fn check(vlan: u16, frames_per_queue: u32) -> impl Iterator<Item = NumberError> {
    let vlan = (vlan > 4094).then_some(NumberError::NoSuchVlan { vlan });
    let fits = frames_per_queue.is_power_of_two() && (PORT_FRAMES_MIN..=PORT_FRAMES_MAX).contains(&frames_per_queue);
    let frames = (!fits).then_some(NumberError::FramesPerQueue { frames: frames_per_queue });
    vlan.into_iter().chain(frames)
}
