//! The mail of a world: every message is made from its number and the seed, so that nothing has to be remembered to know
//! what it was.

use crate::smtp::Priority;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Domains that the appliance has a route to, `d0.test` and so on.
pub(super) const DOMAINS: usize = 5;

/// The domain of all senders: their bounces come back to it.
pub(super) const ORIGIN: &str = "origin.test";

/// A message as its client sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mail {
    pub number: u32,
    pub sender: String,
    pub recipients: Vec<String>,
    /// Lines that end in CRLF, dots not stuffed.
    pub content: Vec<u8>,
    /// What its client asks for, if it asks.
    pub priority: Option<Priority>,
    /// It asks for REQUIRETLS, if it is under TLS.
    pub requiretls: bool,
}

/// The highest that the appliance grants, where priorities are spoken of.
pub(super) const PRIORITY_MAX: i8 = 6;

impl Mail {
    pub(super) fn new(seed: u64, number: u32) -> Mail {
        let mut random = StdRng::seed_from_u64(seed ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let count = if random.random_bool(0.8) { 1 } else { random.random_range(2..=8) };
        let mut recipients: Vec<String> = (0..count)
            .map(|place| {
                let domain = random.random_range(0..DOMAINS);
                // Whatever begins with "no" exists nowhere.
                let name = if random.random_bool(0.06) { "no" } else { "u" };
                format!("{name}{place}.{number}@d{domain}.test")
            })
            .collect();
        recipients.dedup();
        let size = match random.random_range(0..100) {
            0..60 => random.random_range(0..2_000),
            60..90 => random.random_range(2_000..20_000),
            90..98 => random.random_range(20_000..100_000),
            _ => random.random_range(100_000..300_000),
        };
        let sender = format!("s{number}@{ORIGIN}");
        let mut content = format!(
            "From: <{sender}>\r\nMessage-ID: <{number}@{ORIGIN}>\r\nX-Number: {number}\r\nSubject: number {number}\r\n\r\n"
        )
        .into_bytes();
        body(&mut random, size, &mut content);
        Mail { number, sender, recipients, content, priority: None, requiretls: false }
    }

    /// The same in a world in which priorities are spoken of: two of three messages have one.
    pub(super) fn with_priority(mut self) -> Mail {
        let number = self.number.wrapping_mul(0x9e37_79b9) >> 16;
        self.priority =
            (!number.is_multiple_of(3)).then(|| Priority::try_from((number / 3 % 19) as i8 - 9).ok()).flatten();
        self
    }

    /// The same in a world in which REQUIRETLS is offered: one of six messages asks for it.
    pub(super) fn with_requiretls(mut self) -> Mail {
        self.requiretls = (self.number.wrapping_mul(0x9e37_79b9) >> 16).is_multiple_of(6);
        self
    }

    /// What the appliance has granted.
    pub(super) fn granted(&self) -> i8 {
        self.priority.map_or(0, |priority| priority.number().min(PRIORITY_MAX))
    }

    /// The same with dots stuffed, as DATA wants it, without the end.
    pub(super) fn stuffed(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.content.len() + 64);
        for line in self.content.split_inclusive(|byte| *byte == b'\n') {
            if line.starts_with(b".") {
                out.push(b'.');
            }
            out.extend_from_slice(line);
        }
        out
    }
}

fn body(random: &mut StdRng, size: usize, out: &mut Vec<u8>) {
    let end = out.len() + size;
    while out.len() < end {
        match random.random_range(0..12) {
            0 => out.extend_from_slice(b".\r\n"),
            1 => out.extend_from_slice(b"..\r\n"),
            2 => out.extend_from_slice(b"\r\n"),
            3 => out.extend_from_slice(b".QUIT\r\n"),
            _ => {
                let length = if random.random_bool(0.05) { 990 } else { 76 };
                let first = random.random_range(b' '..=b'~');
                let line =
                    (0..random.random_range(1..=length)).map(|place| b' ' + (first.wrapping_add(place as u8) % 95));
                out.extend(line);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// The number that a content names in its header, if it does.
pub(super) fn number_of(content: &[u8]) -> Option<u32> {
    let at = memchr::memmem::find(content, b"X-Number: ")? + b"X-Number: ".len();
    let digits: String =
        content[at..].iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| *byte as char).collect();
    digits.parse().ok()
}

/// The number of the message that a recipient belongs to.
pub(super) fn number_of_recipient(recipient: &str) -> Option<u32> {
    recipient.split_once('.')?.1.split_once('@')?.0.parse().ok()
}

/// The number of the message that a sender belongs to.
pub(super) fn number_of_sender(sender: &str) -> Option<u32> {
    sender.strip_prefix('s')?.strip_suffix(ORIGIN)?.strip_suffix('@')?.parse().ok()
}
