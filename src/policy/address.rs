//! Mailboxes in the one form in which they are looked up.
//!
//! In: `local-part@domain` as RFC 5321 §4.1.2 writes it. Out: the key, in place and without allocation: the local part
//! without quotes and with ASCII letters in lower case, `@`, and the domain as A-labels in lower case. A quoted local
//! part may hold `@`, a domain never does, so that the last `@` of a key parts the two.

use crate::config::canonical_domain;
use arrayvec::ArrayVec;

/// The longest key: a path of RFC 5321 §4.5.3.1.3, in which a domain of U-labels may have grown to A-labels.
const KEY_SIZE_MAX: usize = 512;

/// A mailbox, canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    key: ArrayVec<u8, KEY_SIZE_MAX>,
    local_size: usize,
}

impl Mailbox {
    /// Reads a mailbox. `None` if it is none, or is too long.
    pub fn parse(text: &str) -> Option<Mailbox> {
        let (local, domain) = text.rsplit_once('@')?;
        let domain = canonical_domain(domain)?;
        let mut key = ArrayVec::new();
        canonical_local(local, &mut key)?;
        let local_size = key.len();
        key.try_push(b'@').ok()?;
        key.try_extend_from_slice(domain.as_bytes()).ok()?;
        Some(Mailbox { key, local_size })
    }

    /// `local@domain`.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// What stands before the last `@`.
    pub fn local(&self) -> &[u8] {
        &self.key[..self.local_size]
    }

    /// What stands behind it.
    pub fn domain(&self) -> &str {
        // The domain was copied from a `str`, whole.
        std::str::from_utf8(&self.key[self.local_size + 1..]).unwrap_or_default()
    }

    /// Whether it is the reserved mailbox of its domain (RFC 5321 §4.5.1).
    pub fn is_postmaster(&self) -> bool {
        self.local() == b"postmaster"
    }

    /// The mailbox without the detail behind `delimiter`; `None` if it has none, or nothing would be left.
    pub fn without_detail(&self, delimiter: u8) -> Option<Mailbox> {
        let size = self.local().iter().position(|byte| *byte == delimiter).filter(|size| *size > 0)?;
        let mut key = self.key.clone();
        key.drain(size..self.local_size);
        Some(Mailbox { key, local_size: size })
    }
}

/// Appends `local` without quotes, in lower case. `None` if it is no local part, is empty, or does not fit.
pub fn canonical_local<const SIZE: usize>(local: &str, key: &mut ArrayVec<u8, SIZE>) -> Option<()> {
    if local.is_empty() || local.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    let Some(quoted) = local.strip_prefix('"') else {
        let bad = |byte: u8| matches!(byte, b'"' | b' ' | b'\\' | b'@');
        if local.bytes().any(bad) {
            return None;
        }
        for byte in local.bytes() {
            key.try_push(byte.to_ascii_lowercase()).ok()?;
        }
        return Some(());
    };
    // RFC 5321 §4.1.2: "\" makes the next character plain; the quoted and the plain form are the same mailbox.
    let mut bytes = quoted.bytes();
    loop {
        match bytes.next()? {
            b'"' => return bytes.next().is_none().then_some(()),
            b'\\' => key.try_push(bytes.next()?.to_ascii_lowercase()).ok()?,
            byte => key.try_push(byte.to_ascii_lowercase()).ok()?,
        }
    }
}
