//! A key that signs, and what it says of itself.
//!
//! Here files are opened: at the start and on command.

use crate::env::WallTime;
use crate::tls;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey};
use mail_auth::dkim::Canonicalization;
use rustls::pki_types::PrivateKeyDer;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The header fields that are signed if nothing else is said (RFC 6376 §5.4.1), where they are there and where they are not.
/// No relay on the way has any business with them.
pub const SIGNED_DEFAULT: &[&str] = &[
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];

/// How header and body are made comparable before they are signed (RFC 6376 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// White space and the case of names do not count in the header.
    pub header_relaxed: bool,
    /// White space at the ends of lines, and how much there is elsewhere, does not count in the body.
    pub body_relaxed: bool,
}

impl Default for Canonical {
    fn default() -> Canonical {
        Canonical { header_relaxed: true, body_relaxed: true }
    }
}

/// What a key is used for, and where it is.
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// Whose mail it signs: a domain in lower case and A-labels, or all its subdomains where it begins with a dot.
    pub pattern: Box<str>,
    /// Under which name its public half is published: SELECTOR._domainkey.DOMAIN.
    pub selector: Box<str>,
    /// The private key, PEM.
    pub path: PathBuf,
    /// From when on it signs.
    pub not_before: Option<WallTime>,
    /// From when on it does not any more.
    pub not_after: Option<WallTime>,
    /// Names of header fields that are signed, From among them.
    pub headers: Vec<String>,
    /// How they are made comparable.
    pub canonical: Canonical,
    /// For how long the signature is to be believed; for ever if nothing is said.
    pub expires_after: Option<Duration>,
}

/// Why a key cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file.
    #[error("{0}")]
    File(#[from] tls::KeyError),
    /// Neither of the two kinds, or too short for anybody to believe it. RFC 8301 §3.2 allows RSA keys from 1024 bits on and
    /// recommends 2048, with which ring begins.
    #[error(
        "{}: it is no key that signs ({text}): RSA with 2048 to 4096 bits (`openssl genrsa 2048`), or Ed25519 (`openssl genpkey \
         -algorithm ed25519`)",
        path.display()
    )]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What the library says.
        text: String,
    },
    /// It made no signature when it was tried.
    #[error("{}: it does not sign: {text}", path.display())]
    Fails {
        /// The file.
        path: PathBuf,
        /// Why.
        text: String,
    },
}

/// A private key and what it is used for.
pub struct Key {
    pub(super) settings: KeySettings,
    pub(super) secret: DkimKey,
    /// As it is published.
    public: Vec<u8>,
    /// Of an RSA key.
    bits: Option<usize>,
}

impl Key {
    /// Reads the key of `settings`.
    ///
    /// # Errors
    /// There is none, others can read it, or it cannot sign.
    pub fn load(settings: KeySettings) -> Result<Key, KeyError> {
        let der = tls::load_private_key(&settings.path)?;
        Key::new(settings, der)
    }

    /// With this private key.
    ///
    /// # Errors
    /// It cannot sign.
    pub fn new(settings: KeySettings, der: PrivateKeyDer<'static>) -> Result<Key, KeyError> {
        if let PrivateKeyDer::Pkcs8(pkcs8) = &der
            && let Ok(key) = Ed25519Key::from_pkcs8_maybe_unchecked_der(pkcs8.secret_pkcs8_der())
        {
            let public = key.public_key();
            return Ok(Key { settings, secret: DkimKey::Ed25519(key), public, bits: None });
        }
        match RsaKey::from_key_der(der) {
            Ok(key) => {
                let public = key.public_key();
                let bits = modulus_bits(&public);
                Ok(Key { settings, secret: DkimKey::Rsa(key), public: subject_public_key_info(&public), bits })
            }
            Err(error) => Err(KeyError::Unfit { path: settings.path, text: error.to_string() }),
        }
    }

    /// The domain in signatures, d= (RFC 6376 §3.5).
    pub fn domain(&self) -> &str {
        self.settings.pattern.strip_prefix('.').unwrap_or(&self.settings.pattern)
    }

    /// The selector, s=.
    pub fn selector(&self) -> &str {
        &self.settings.selector
    }

    /// What it is used for.
    pub fn settings(&self) -> &KeySettings {
        &self.settings
    }

    /// Whether it signs at this time.
    pub fn is_valid(&self, now: WallTime) -> bool {
        self.settings.not_before.is_none_or(|from| from <= now)
            && self.settings.not_after.is_none_or(|until| now < until)
    }

    /// What kind of key it is, for people.
    pub fn kind(&self) -> String {
        self.bits.map_or_else(|| "Ed25519".to_owned(), |bits| format!("RSA {bits}"))
    }

    /// The name under which its public half is published, and the text there (RFC 6376 §3.6.1, RFC 8463 §4.2).
    pub fn record(&self) -> (String, String) {
        let kind = if self.bits.is_some() { "rsa" } else { "ed25519" };
        let name = format!("{}._domainkey.{}", self.selector(), self.domain());
        (name, format!("v=DKIM1; k={kind}; p={}", BASE64_STANDARD.encode(&self.public)))
    }

    pub(super) fn canonicalizations(&self) -> (Canonicalization, Canonicalization) {
        let of = |relaxed| if relaxed { Canonicalization::Relaxed } else { Canonicalization::Simple };
        (of(self.settings.canonical.header_relaxed), of(self.settings.canonical.body_relaxed))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} for {}", self.kind(), self.selector(), self.settings.pattern)
    }
}

/// The bits of the modulus of an `RSAPublicKey` (RFC 8017 §A.1.1).
fn modulus_bits(der: &[u8]) -> Option<usize> {
    let (sequence, _) = value(der, 0x30)?;
    let (modulus, _) = value(sequence, 0x02)?;
    let first = modulus.iter().position(|byte| *byte != 0)?;
    Some((modulus.len() - first) * 8 - modulus[first].leading_zeros() as usize)
}

/// The value of the DER element with this tag that `bytes` begin with, and what follows.
fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = if short < 0x80 {
        (usize::from(short), rest)
    } else {
        let (long, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
        (long.iter().try_fold(0usize, |length, byte| length.checked_mul(256)?.checked_add((*byte).into()))?, rest)
    };
    (found == tag).then(|| rest.split_at_checked(length)).flatten()
}

/// A `SubjectPublicKeyInfo` around an `RSAPublicKey`: what everybody publishes, although RFC 6376 §3.6.1 names the inner one.
fn subject_public_key_info(key: &[u8]) -> Vec<u8> {
    /// rsaEncryption, without parameters.
    const ALGORITHM: [u8; 15] = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
    let bits = element(0x03, &[&[0], key].concat());
    element(0x30, &[&ALGORITHM, &bits[..]].concat())
}

fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = u16::try_from(value.len()).expect("keys are bounded").to_be_bytes();
    match value.len() {
        0..0x80 => out.push(length[1]),
        0x80..0x100 => out.extend([0x81, length[1]]),
        _ => out.extend([0x82, length[0], length[1]]),
    }
    out.extend(value);
    out
}
