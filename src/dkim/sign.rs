//! One message, signed.
//!
//! What is signed and how it is made comparable is the library's affair. The time is not: the library would read the clock itself,
//! and a simulated world has another one. So it is given a key that only keeps what it is asked to sign ([`Draft`]); the time
//! is put in, and the true key signs that.

use super::key::Key;
use super::keyring::Keyring;
use crate::env::WallTime;
use crate::limits::{SIGNATURES_SIZE_MAX, SIGNED_HEADER_SIZE_MAX};
use crate::smtp::domain_of;
use mail_auth::AuthenticatedMessage;
use mail_auth::common::crypto::{Algorithm, Sha256, SigningKey};
use mail_auth::common::headers::{HeaderWriter, Writable};
use mail_auth::dkim::DkimSigner;
use memchr::memmem;
use std::cell::RefCell;
use std::rc::Rc;

/// Header fields to be put in front of a message, and who signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `DKIM-Signature` fields, one of each key.
    pub header: Vec<u8>,
    /// The domain in them.
    pub domain: Box<str>,
    /// The selectors in them.
    pub selectors: Vec<Box<str>>,
}

/// Why a message of ours has no signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsignable {
    /// There are keys for the domain, and none of them is valid now.
    #[error("{0} has no key that is valid now")]
    NoKey(Box<str>),
    /// There were keys when it came, and there are none any more.
    #[error("no keys are configured any more")]
    NoKeys,
    /// Nobody says that it is theirs.
    #[error("the message has no author in a From field")]
    NoAuthor,
    /// Receivers may show one author and check the other (RFC 5322 §3.6).
    #[error("the message has more than one From field")]
    Authors,
    /// Its header does not end, or far too late.
    #[error("the header of the message is longer than {SIGNED_HEADER_SIZE_MAX} bytes")]
    Header,
    /// Lines have no end in it that everybody agrees on.
    #[error("binary content (BINARYMIME) cannot be signed")]
    Binary,
    /// More signatures than there is room for.
    #[error("the signatures take more than {SIGNATURES_SIZE_MAX} bytes")]
    TooLong,
    /// The library failed.
    #[error("it could not be signed: {0}")]
    Failed(String),
}

impl Unsignable {
    /// Whether it may be signed later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Unsignable::NoKey(_))
    }
}

/// Signs a message whose content comes in these pieces, with all keys of its author's domain that are valid now. `None`: it is not
/// ours to sign.
///
/// # Errors
/// It is ours, and cannot be signed.
pub fn sign(keyring: &Keyring, content: &[Box<[u8]>], now: WallTime) -> Result<Option<Signed>, Unsignable> {
    let (head, rest) = split_header(content)?;
    let message = AuthenticatedMessage::parse(&head).ok_or(Unsignable::NoAuthor)?;
    let mut domains = message.from.iter().map(|author| domain_of(author)).filter(|domain| !domain.is_empty());
    if domains.clone().next().is_none() {
        return Err(Unsignable::NoAuthor);
    }
    let Some((domain, keys)) = domains.find_map(|domain| Some((domain, keyring.find(domain, now)?))) else {
        return Ok(None);
    };
    let is_from = |(name, _): &&(&[u8], &[u8])| name.trim_ascii().eq_ignore_ascii_case(b"From");
    if message.headers.iter().filter(is_from).count() > 1 {
        return Err(Unsignable::Authors);
    }
    let Some(key) = keys.first() else { return Err(Unsignable::NoKey(domain.into())) };
    let mut signed = Signed { header: Vec::new(), domain: key.domain().into(), selectors: Vec::new() };
    for key in keys {
        signed.header.extend(sign_with(key, &head, &rest, now)?);
        signed.selectors.push(key.selector().into());
    }
    if signed.header.len() > SIGNATURES_SIZE_MAX { Err(Unsignable::TooLong) } else { Ok(Some(signed)) }
}

/// The header of a message with the empty line behind it, and the rest of the pieces.
fn split_header(content: &[Box<[u8]>]) -> Result<(Vec<u8>, Vec<&[u8]>), Unsignable> {
    let mut head = Vec::new();
    let mut pieces = content.iter().map(|piece| &**piece);
    for piece in pieces.by_ref() {
        // The end of the header may lie across two pieces.
        let from = head.len().saturating_sub(3);
        head.extend_from_slice(piece);
        if let Some(at) = memmem::find(&head[from..], b"\r\n\r\n") {
            let end = from + at + 4;
            if end > SIGNED_HEADER_SIZE_MAX {
                return Err(Unsignable::Header);
            }
            let begun = &piece[piece.len() - (head.len() - end)..];
            head.truncate(end);
            return Ok((head, std::iter::once(begun).chain(pieces).collect()));
        }
        if head.len() > SIGNED_HEADER_SIZE_MAX {
            return Err(Unsignable::Header);
        }
    }
    // A message may be all header (RFC 5322 §3.5).
    Ok((head, Vec::new()))
}

/// The `DKIM-Signature` field that a key makes for a message.
pub(super) fn sign_with(key: &Key, head: &[u8], rest: &[&[u8]], now: WallTime) -> Result<Vec<u8>, Unsignable> {
    let failed = |error: mail_auth::Error| Unsignable::Failed(error.to_string());
    let asked = Rc::new(RefCell::new(Vec::new()));
    let draft = Draft { algorithm: key.secret.algorithm(), asked: Rc::clone(&asked) };
    let (of_header, of_body) = key.canonicalizations();
    let signer = DkimSigner::from_key(draft)
        .domain(key.domain())
        .selector(key.selector())
        .headers(fields(key, head))
        .header_canonicalization(of_header)
        .body_canonicalization(of_body);
    let mut stream = signer.sign_streaming();
    stream.write(head);
    rest.iter().for_each(|piece| stream.write(piece));
    let mut signature = stream.finish().map_err(failed)?;
    // What is signed ends in the field itself, which is about to change.
    let mut tail = Vec::new();
    signature.write(&mut tail, false);
    let mut signed = asked.take();
    let length = signed.strip_suffix(tail.as_slice()).map(<[u8]>::len);
    signed.truncate(length.ok_or_else(|| Unsignable::Failed("the library signs something else".to_owned()))?);
    signature.t = now.micros() / 1_000_000;
    signature.x = key.settings.expires_after.map_or(0, |after| signature.t + after.as_secs());
    signature.write(&mut signed, false);
    signature.b = key.secret.sign(signed.as_slice()).map_err(failed)?;
    let mut field = Vec::new();
    signature.write_header(&mut field);
    Ok(field)
}

/// The names to be signed. A field that is there is named once more than it is: another one of its name, put in on the way, breaks
/// the signature (RFC 6376 §5.4, §8.15). One that is not there is named once.
fn fields(key: &Key, head: &[u8]) -> Vec<String> {
    let message = AuthenticatedMessage::parse(head);
    let is_there = |wanted: &str| {
        let mut names = message.iter().flat_map(|message| &message.headers).map(|(name, _)| name);
        names.any(|name| name.eq_ignore_ascii_case(wanted.as_bytes()))
    };
    let wanted = &key.settings.headers;
    let again = wanted.iter().filter(|name| is_there(name));
    wanted.iter().chain(again).cloned().collect()
}

/// A key that signs nothing, and keeps what it was asked to sign.
struct Draft {
    algorithm: Algorithm,
    asked: Rc<RefCell<Vec<u8>>>,
}

impl SigningKey for Draft {
    type Hasher = Sha256;

    fn sign(&self, input: impl Writable) -> mail_auth::Result<Vec<u8>> {
        input.write(&mut *self.asked.borrow_mut());
        Ok(Vec::new())
    }

    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
