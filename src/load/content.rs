//! Bodies of any size, made on the way.
//!
//! In: how large a body is, and how much of it is left. Out: the next bytes: slices of one block that all sessions share, so
//! that a message costs no memory and no copy but the flow's. No line of it begins with a dot, so that none need be stuffed.

/// Bytes of a line of content, its end included.
const LINE_SIZE: usize = 80;

/// The block of content: many lines, so that a slice of it fills a segment or a socket's buffer.
static BLOCK: [u8; 800 * LINE_SIZE] = lines::<{ 800 * LINE_SIZE }>(LINE_SIZE);

/// The last line of content, of which the end is used: what is left behind whole lines, and one line, so that there is
/// always room for the line's own end.
static LAST_LINE: [u8; 2 * LINE_SIZE] = lines::<{ 2 * LINE_SIZE }>(2 * LINE_SIZE);

const fn lines<const SIZE: usize>(line: usize) -> [u8; SIZE] {
    let mut bytes = [b'r'; SIZE];
    let mut end = line;
    while end <= SIZE {
        bytes[end - 2] = b'\r';
        bytes[end - 1] = b'\n';
        end += line;
    }
    bytes
}

/// The next bytes of a body of which so many are left.
pub(super) fn piece(size: u64, left: u64) -> &'static [u8] {
    let line = LINE_SIZE as u64;
    let last = if size < line { size } else { line + size % line };
    if left > last {
        let begin = ((size - left) % line) as usize;
        let length = (left - last).min((BLOCK.len() - begin) as u64) as usize;
        &BLOCK[begin..begin + length]
    } else {
        &LAST_LINE[LAST_LINE.len() - left as usize..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_any_size_is_made_of_lines() {
        for size in (2..400).chain([799, 800, 63_999, 64_000, 64_001, 64_159, 200_003]) {
            let (mut body, mut left) = (Vec::new(), size);
            while left > 0 {
                let piece = piece(size, left);
                // As a flow does that takes only a part.
                let taken = piece.len().div_ceil(2).max(piece.len().min(7));
                body.extend_from_slice(&piece[..taken]);
                left -= taken as u64;
            }
            assert_eq!(body.len() as u64, size);
            assert!(body.ends_with(b"\r\n"), "{size}");
            assert!(!body.starts_with(b".") && !body.windows(2).any(|pair| pair == b"\n."), "{size}");
            let lines = body.split_inclusive(|byte| *byte == b'\n');
            assert!(lines.clone().all(|line| line.ends_with(b"\r\n") && line.len() < 2 * LINE_SIZE), "{size}");
        }
    }
}
