//! The Internet checksum (RFC 1071), and that of TCP with it.

/// The protocol number.
const TCP: u8 = 6;

/// A sum that is being made up, of 16-bit words as they lie in memory: folding and the byte order come at the end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Of the pseudo header of a segment (RFC 9293 §3.1, RFC 8200 §8.1): both addresses, the protocol, and the segment's
    /// length.
    pub fn of_pseudo_header(addresses: &[u8], length: u16) -> Sum {
        Sum::default().add(addresses).add(&[0, TCP]).add(&length.to_be_bytes())
    }

    /// Adds bytes that begin at an even place. Only the last ones added may be odd in number.
    pub fn add(self, bytes: &[u8]) -> Sum {
        let (words, rest) = bytes.as_chunks::<4>();
        // 2^32 words would be needed to overflow.
        let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        let (pairs, last) = rest.as_chunks::<2>();
        sum += pairs.iter().map(|pair| u64::from(u16::from_ne_bytes(*pair))).sum::<u64>();
        if let [last] = last {
            sum += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        Sum(self.0 + sum)
    }

    fn fold(self) -> u16 {
        let mut sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    /// The sum so far, as whoever goes on with it finds it in the checksum's place.
    #[cfg(any(feature = "dpdk", test))]
    pub fn unfinished(self) -> [u8; 2] {
        self.fold().to_ne_bytes()
    }

    /// The checksum, as it stands in a header.
    pub fn finish(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }

    /// Whether bytes with their checksum among them are sound.
    pub fn is_sound(self) -> bool {
        self.fold() == 0xffff
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 §4.1, word by word.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn it_is_the_sum_of_the_words(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..100) {
            prop_assert_eq!(Sum::default().add(&bytes).finish(), reference(&bytes).to_be_bytes());
            let (first, second) = bytes.split_at((2 * cut).min(bytes.len() / 2 * 2));
            prop_assert_eq!(Sum::default().add(first).add(second).finish(), reference(&bytes).to_be_bytes());
        }
    }

    #[test]
    fn bytes_with_their_checksum_are_sound() {
        let mut bytes = *b"..some words";
        bytes[..2].fill(0);
        let sum = Sum::default().add(&bytes).finish();
        bytes[..2].copy_from_slice(&sum);
        assert!(Sum::default().add(&bytes).is_sound());
        bytes[7] ^= 4;
        assert!(!Sum::default().add(&bytes).is_sound());
    }
}
