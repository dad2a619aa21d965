//! Room for one frame that answers another.

/// A reply is made here while the received frame is lent in place, and then copied once.
pub(super) struct Scratch {
    buffer: Box<[u8]>,
    length: usize,
}

impl Scratch {
    pub fn new(size: usize) -> Scratch {
        Scratch { buffer: vec![0; size].into_boxed_slice(), length: 0 }
    }

    /// The frame written since the last call, if any.
    pub fn take(&mut self) -> Option<&[u8]> {
        let length = std::mem::take(&mut self.length);
        if length == 0 { None } else { Some(&self.buffer[..length]) }
    }

    /// A frame of `length` bytes to be written, or `None` if it does not fit.
    pub fn write(&mut self, length: usize) -> Option<&mut [u8]> {
        let frame = self.buffer.get_mut(..length)?;
        self.length = length;
        Some(frame)
    }
}
