use super::*;
use proptest::prelude::*;

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    content: Vec<u8>,
    faults: Vec<ContentFault>,
    /// Bytes consumed up to the end, if it was found.
    end: Option<usize>,
}

/// Feeds `input` in pieces of the given sizes (the last one repeated), appending at most `room` bytes at a time.
fn scan(framing: Framing, rule: LineRule, input: &[u8], pieces: &[usize], room: usize) -> Outcome {
    let mut scanner = Scanner::new(framing, rule);
    let mut outcome = Outcome::default();
    let (mut at, mut piece) = (0, 0);
    while at < input.len() {
        let size = pieces.get(piece).or(pieces.last()).copied().unwrap_or(usize::MAX).max(1);
        piece += 1;
        let stop = input.len().min(at.saturating_add(size));
        while at < stop {
            let front = &input[at..stop];
            match scanner.step(front) {
                Step::Append(run) if run.len() > room => {
                    outcome.content.extend_from_slice(&run[..room]);
                    let (consumed, owed) = scanner.cut(run, room);
                    outcome.content.extend_from_slice(owed);
                    at += consumed;
                }
                Step::Append(run) => {
                    outcome.content.extend_from_slice(run);
                    at += run.len();
                }
                Step::Replace { consumed, with } => {
                    outcome.content.extend_from_slice(with);
                    at += consumed;
                }
                Step::Fault { consumed, fault } => {
                    outcome.faults.push(fault);
                    at += consumed;
                }
                Step::End { consumed } => {
                    outcome.end = Some(at + consumed);
                    return outcome;
                }
            }
        }
    }
    outcome
}

fn whole(rule: LineRule, input: &[u8]) -> Outcome {
    scan(Framing::Dots, rule, input, &[], usize::MAX)
}

/// The same by the letter, with the whole input at hand: split into lines, then look at each line.
fn naive(rule: LineRule, input: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut line_start = 0;
    let mut after_crlf = true;
    while line_start < input.len() {
        // The line's end: one past its newline, or the end of the input.
        let mut end = line_start;
        let mut newline: &[u8] = b"";
        while end < input.len() {
            if input[end] == b'\n' {
                let crlf = end > line_start && input[end - 1] == b'\r';
                if crlf || rule == LineRule::Normalize {
                    newline = if crlf { b"\r\n" } else { b"\n" };
                    end += 1;
                    break;
                }
            }
            end += 1;
        }
        let mut text = &input[line_start..end - newline.len()];
        let complete = !newline.is_empty();
        if text == b"." && newline == b"\r\n" && after_crlf {
            outcome.end = Some(end);
            return outcome;
        }
        if text.first() == Some(&b'.') {
            text = &text[1..];
        }
        for (index, &byte) in text.iter().enumerate() {
            let undecided = !complete && index + 1 == text.len();
            match byte {
                0 => outcome.faults.push(ContentFault::Nul),
                b'\r' if undecided => {}
                b'\r' if rule == LineRule::Normalize => outcome.content.push(b' '),
                b'\r' | b'\n' => outcome.faults.push(ContentFault::BareNewline),
                _ => outcome.content.push(byte),
            }
        }
        if complete {
            outcome.content.extend_from_slice(b"\r\n");
        }
        after_crlf = newline == b"\r\n";
        line_start = end;
    }
    outcome
}

/// Lines that look like an end of data and are lawful content.
const LAWFUL: [&[u8]; 3] = [b"\r\n. \r\n", b"\r\n..\r\n", b"\r\n.\t\r\n"];

#[test]
fn nothing_but_crlf_dot_crlf_ends_the_content() {
    for rule in [LineRule::Reject, LineRule::Normalize] {
        for variant in FALSE_ENDS.into_iter().chain(LAWFUL) {
            let mut input = b"Subject: a\r\n\r\nb".to_vec();
            input.extend_from_slice(variant);
            input.extend_from_slice(b"MAIL FROM:<evil@example.org>\r\n");
            let size = input.len() + 3;
            input.extend_from_slice(b".\r\nQUIT\r\n");
            let shown = variant.escape_ascii().to_string();
            for pieces in [vec![], vec![1], vec![2], vec![3]] {
                let outcome = scan(Framing::Dots, rule, &input, &pieces, usize::MAX);
                assert_eq!(outcome.end, Some(size), "{rule:?} {shown}");
                let repaired = rule == LineRule::Normalize && !variant.contains(&0);
                let accepted = LAWFUL.contains(&variant) || repaired;
                assert_eq!(outcome.faults.is_empty(), accepted, "{rule:?} {shown}");
                let whole = String::from_utf8_lossy(&outcome.content).replace("\r\n", "");
                assert!(!whole.contains(['\r', '\n']), "{rule:?} {shown}: a CR or LF stands alone in {whole:?}");
            }
        }
    }
}

#[test]
fn the_false_ends_are_eighteen() {
    let distinct: std::collections::BTreeSet<&[u8]> = FALSE_ENDS.into_iter().collect();
    assert_eq!(distinct.len(), 18);
    assert!(FALSE_ENDS.iter().all(|end| !end.windows(5).any(|window| window == b"\r\n.\r\n")), "none is the true one");
}

#[test]
fn dots_in_front_of_lines_are_taken_off_once() {
    let outcome = whole(LineRule::Reject, b"..\r\n.a\r\nb.\r\n...\r\n.\r\n");
    assert_eq!(outcome.content, b".\r\na\r\nb.\r\n..\r\n");
    assert_eq!(outcome.end, Some(20));
}

#[test]
fn the_first_line_may_be_the_end() {
    assert_eq!(whole(LineRule::Reject, b".\r\nQUIT\r\n"), Outcome { end: Some(3), ..Outcome::default() });
}

#[test]
fn normalised_content_has_crlf_lines_only() {
    let outcome = whole(LineRule::Normalize, b"a\nb\r\nc\rd\n.\n..e\n.\r\n.\r\n");
    assert_eq!(outcome.content, b"a\r\nb\r\nc d\r\n\r\n.e\r\n\r\n");
    assert_eq!(outcome.end, Some(21));
    assert!(outcome.faults.is_empty());
}

#[test]
fn counted_content_keeps_its_dots_and_gets_a_last_line_end() {
    let mut scanner = Scanner::new(Framing::Counted, LineRule::Reject);
    assert_eq!(scanner.step(b"a\r\n.\r\n.b"), Step::Append(b"a\r\n.\r\n.b"));
    assert_eq!(scanner.finish(), Ok(&b"\r\n"[..]));
    assert_eq!(scanner.step(b"\r"), Step::Replace { consumed: 1, with: b"" });
    assert_eq!(scanner.finish(), Err(ContentFault::BareNewline));
    assert_eq!(scanner.finish(), Ok(&b""[..]));
}

#[test]
fn binary_content_passes_untouched() {
    let mut scanner = Scanner::new(Framing::Counted, LineRule::Binary);
    let bytes = b"\0\r\r\n.\n\n.\r\n";
    assert_eq!(scanner.step(bytes), Step::Append(bytes));
    assert_eq!(scanner.finish(), Ok(&b""[..]));
}

#[test]
fn hops_are_counted_in_the_header_only() {
    let content = b"Received: a\r\nX-Received: b\r\nreCEIVED: c\r\n\treceived: d\r\nReceive\r\n\r\nReceived: e\r\n";
    for size in [1, 2, 3, 7, content.len()] {
        let mut counter = HeaderScanner::default();
        content.chunks(size).for_each(|piece| counter.feed(piece));
        assert_eq!(counter.hops(), 2, "in pieces of {size}");
    }
}

#[test]
fn only_one_field_that_says_no_makes_tls_optional() {
    for (header, optional) in [
        ("TLS-Required: No\r\n", true),
        ("Subject: x\r\ntls-required:no \r\nTo: y\r\n", true),
        ("TLS-Required: No\r\nTLS-Required: No\r\n", false),
        ("TLS-Required: No\r\nTLS-Required: Yes\r\n", false),
        ("TLS-Required: Nothing\r\n", false),
        ("TLS-Required: N o\r\n", false),
        ("TLS-Required:\r\n", false),
        ("TLS-Required: No", false),
        ("X-TLS-Required: No\r\n", false),
        ("TLS-Require: No\r\n", false),
        ("Subject: x\r\n TLS-Required: No\r\n", false),
        ("Subject: x\r\n\r\nTLS-Required: No\r\n", false),
    ] {
        for size in [1, 2, 5, header.len()] {
            let mut scanner = HeaderScanner::default();
            header.as_bytes().chunks(size).for_each(|piece| scanner.feed(piece));
            assert_eq!(scanner.tls_optional(), optional, "{header:?} in pieces of {size}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_scanner_agrees_with_the_letter_however_it_is_cut(
        input in proptest::collection::vec(prop_oneof![
            3 => Just(b'\r'), 4 => Just(b'\n'), 3 => Just(b'.'), 1 => Just(0u8), 3 => Just(b'a'),
        ], 0..40),
        pieces in proptest::collection::vec(1usize..6, 0..20),
        room in prop_oneof![Just(usize::MAX), 1usize..5],
        normalize: bool,
    ) {
        let rule = if normalize { LineRule::Normalize } else { LineRule::Reject };
        let mut expected = naive(rule, &input);
        let mut found = scan(Framing::Dots, rule, &input, &pieces, room);
        if expected.end.is_none() {
            // A last line without its end may have a CR or a dot that nothing can be said about yet.
            let known = expected.content.len().min(found.content.len());
            prop_assert!(expected.content.len() - known <= 1);
            expected.content.truncate(known);
            found.content.truncate(known);
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn the_end_is_foreseen_where_it_is(input in "[\r\n.a\0]{0,24}", at in 0usize..24, normalize: bool) {
        let rule = if normalize { LineRule::Normalize } else { LineRule::Reject };
        let whole = whole(rule, input.as_bytes());
        let (before, after) = input.as_bytes().split_at(at.min(input.len()));
        let mut scanner = Scanner::new(Framing::Dots, rule);
        let mut rest = before;
        while !rest.is_empty() {
            rest = match scanner.step(rest) {
                Step::Append(run) => &rest[run.len()..],
                Step::Replace { consumed, .. } | Step::Fault { consumed, .. } => &rest[consumed..],
                Step::End { .. } => return Ok(()),
            };
        }
        prop_assert_eq!(scanner.ends_within(after), whole.end.is_some());
    }
}
