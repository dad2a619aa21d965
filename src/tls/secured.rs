//! What a connection turned out to be after its handshake: for trace headers and the log.

use rustls::{CipherSuite, ProtocolVersion};
use serde::{Serialize, Serializer};
use std::fmt;

/// How a connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Secured {
    /// The version of the protocol.
    pub version: Version,
    /// What encrypts it.
    pub cipher: Cipher,
    /// Whether it goes on with the keys of an earlier connection, instead of a new exchange.
    #[serde(skip_serializing_if = "is_false")]
    pub resumed: bool,
}

impl Secured {
    /// One that is as good as any.
    #[cfg(test)]
    pub fn example() -> Secured {
        let cipher = Cipher(CipherSuite::TLS13_AES_128_GCM_SHA256);
        Secured { version: Version(ProtocolVersion::TLSv1_3), cipher, resumed: false }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Written as OpenSSL and with it all mail servers do: `TLSv1.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub(super) ProtocolVersion);

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ProtocolVersion::TLSv1_2 => out.write_str("TLSv1.2"),
            ProtocolVersion::TLSv1_3 => out.write_str("TLSv1.3"),
            other => write!(out, "{other:?}"),
        }
    }
}

/// Written with the name that IANA has for it: `TLS_AES_256_GCM_SHA384`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cipher(pub(super) CipherSuite);

impl fmt::Display for Cipher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.as_str().unwrap_or("unknown");
        match name.strip_prefix("TLS13_") {
            Some(rest) => write!(out, "TLS_{rest}"),
            None => out.write_str(name),
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Cipher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
