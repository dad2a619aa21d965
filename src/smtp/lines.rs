//! Lines of text, many at once: how far nothing in them needs a look.
//!
//! Content is scanned when it comes and when it leaves. Nearly all of it is lines that neither end the content nor have to be
//! mended, and looking for each line's end by itself takes longer than looking at all bytes of a block: so whole blocks are
//! passed over where they are plain, and only the others are looked at line by line.

/// Bytes that are looked at together; the compiler makes vectors of them.
const BLOCK_SIZE: usize = 64;

/// How many bytes at the front of `text`, which must not begin between a CR and its LF, are plain: every CR has its LF behind
/// it and every LF its CR before it, no line but the first begins with a dot, and there is no NUL. It says less than there are,
/// and never splits a CRLF.
pub(super) fn plain_size(text: &[u8]) -> usize {
    if text.len() <= BLOCK_SIZE || matches!(text[0], b'\n' | 0) {
        return 0;
    }
    let size = plain_blocks(text) * BLOCK_SIZE;
    match size.checked_sub(1).map(|last| text[last]) {
        Some(b'\r') => size + 1,
        _ => size,
    }
}

/// With vectors of twice the size where the processor has them.
fn plain_blocks(text: &[u8]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[target_feature(enable = "avx2")]
        fn count_wide(text: &[u8]) -> usize {
            count(text)
        }
        // SAFETY: the processor has what the function was compiled for.
        #[allow(unsafe_code)]
        return unsafe { count_wide(text) };
    }
    count(text)
}

#[inline(always)]
fn count(text: &[u8]) -> usize {
    // Each byte is judged by the one before it.
    let (before, _) = text.as_chunks::<BLOCK_SIZE>();
    let (bytes, _) = text[1..].as_chunks::<BLOCK_SIZE>();
    before.iter().zip(bytes).take_while(|(before, bytes)| is_plain(before, bytes)).count()
}

#[inline(always)]
fn is_plain(before: &[u8; BLOCK_SIZE], bytes: &[u8; BLOCK_SIZE]) -> bool {
    let mut odd = 0;
    for (before, byte) in before.iter().zip(bytes) {
        let halved = u8::from(*before == b'\r') ^ u8::from(*byte == b'\n');
        let dotted = u8::from(*before == b'\n') & u8::from(*byte == b'.');
        odd |= halved | dotted | u8::from(*byte == 0);
    }
    odd == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same, a byte at a time.
    fn is_plain_slowly(text: &[u8]) -> bool {
        (0..text.len()).all(|at| {
            let before = at.checked_sub(1).map(|at| text[at]);
            match text[at] {
                0 => false,
                b'\n' => before == Some(b'\r'),
                b'.' if before == Some(b'\n') => false,
                _ => before != Some(b'\r'),
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_passed_over_is_plain(pieces in proptest::collection::vec(
            prop_oneof![9 => Just("a line of some bytes"), 9 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"),
                1 => Just("."), 1 => Just("\0")], 0..40)) {
            let text = pieces.concat().into_bytes();
            let size = plain_size(&text);
            prop_assert!(is_plain_slowly(&text[..size]));
            prop_assert!(size == 0 || text[size - 1] != b'\r');
            // Less than a block and its neighbour are left, or something in them is not plain.
            let end = text.len().min(size + BLOCK_SIZE + 1);
            prop_assert!(end < size + BLOCK_SIZE + 1 || !is_plain_slowly(&text[size.saturating_sub(1)..end]));
        }
    }
}
