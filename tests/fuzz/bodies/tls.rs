//! TLS with a pinned peer on a wire that somebody else has in his hands: bytes that are passed on, held back, changed, left out or
//! put in. What arrives is the beginning of what was sent, whatever he does; as long as he only cuts, nothing goes wrong.
//!
//! The keys are new in each process, and so are the bytes of a handshake: what is promised does not depend on them.

use super::choices::Choices;
use rohrpost::tls::{OwnKey, Pinned, Tls};
use std::sync::OnceLock;

const TEXT_SIZE: usize = 40_000;

fn two() -> &'static [Pinned; 2] {
    static PINNED: OnceLock<[Pinned; 2]> = OnceLock::new();
    PINNED.get_or_init(|| {
        let keys = [OwnKey::generate(), OwnKey::generate()];
        let [a, b] = [keys[0].fingerprint(), keys[1].fingerprint()];
        let [one, other] = keys;
        let fits = "a new key fits its certificate";
        [Pinned::new(one, b).expect(fits), Pinned::new(other, a).expect(fits)]
    })
}

struct Side {
    tls: Tls,
    /// Bytes of the wire on their way to it.
    wire: Vec<u8>,
    sent: usize,
    got: usize,
    failed: bool,
}

impl Side {
    fn new(tls: Tls) -> Side {
        Side { tls, wire: Vec::new(), sent: 0, got: 0, failed: false }
    }

    /// Takes what has arrived, and sends. Gives what goes out.
    fn act(&mut self, text: &[u8], other: &[u8]) -> Vec<u8> {
        while !self.failed {
            let Ok(taken) = self.tls.receive(&self.wire) else {
                self.failed = true;
                break;
            };
            self.wire.drain(..taken);
            let count = self.tls.received().bytes.len();
            assert_eq!(self.tls.received().bytes, &other[self.got..][..count], "what arrives is what was sent");
            self.tls.consume(count);
            self.got += count;
            if taken == 0 && count == 0 {
                break;
            }
        }
        let end = text.len().min(self.sent + 3000);
        self.sent += self.tls.send(&text[self.sent..end]);
        let mut out = Vec::new();
        self.tls.output(|bytes| {
            out.extend_from_slice(bytes);
            bytes.len()
        });
        out
    }
}

pub fn run(data: &[u8]) {
    let texts = [3, 7].map(|step: usize| (0..TEXT_SIZE).map(|place| (place * step) as u8).collect::<Vec<u8>>());
    let [client, server] = two();
    let mut sides = [Side::new(client.connect()), Side::new(server.accept())];
    // What is on the wire, by whom it goes to.
    let mut held = [Vec::new(), Vec::new()];
    let mut honest = true;
    let mut choices = Choices::new(data);
    while !choices.is_over() {
        for place in 0..2 {
            let out = sides[place].act(&texts[place], &texts[1 - place]);
            held[1 - place].extend(out);
        }
        let choice = choices.byte();
        let to = usize::from(choice & 1);
        let count = usize::from(choices.byte()) * if choice & 0x80 == 0 { 1 } else { 64 };
        let front = count.min(held[to].len());
        match choice >> 1 & 7 {
            0..4 => sides[to].wire.extend(held[to].drain(..front)),
            4 => sides[to].wire.append(&mut held[to]),
            5 if front > 0 => {
                held[to][front - 1] ^= 1 << (choice >> 4 & 7);
                honest = false;
            }
            6 if front > 0 => {
                held[to].drain(..front);
                honest = false;
            }
            7 => {
                let noise = choices.bytes(count.min(64));
                honest &= noise.is_empty();
                held[to].splice(front..front, noise.iter().copied());
            }
            _ => {}
        }
    }
    if !honest {
        return;
    }
    for _ in 0..1000 {
        for place in 0..2 {
            let out = sides[place].act(&texts[place], &texts[1 - place]);
            held[1 - place].extend(out);
            sides[1 - place].wire.append(&mut held[1 - place]);
        }
    }
    assert!(sides.iter().all(|side| !side.failed && side.got == TEXT_SIZE), "cuts alone lose nothing");
}
