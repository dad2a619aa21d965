//! What domains and destinations are called: by queues, and for people.

use super::{Protocol, Route};
use std::borrow::Cow;
use std::fmt;

/// A domain in the form in which queues know it: in lower case, without a dot at its end.
pub(crate) fn key_of(domain: &str) -> Cow<'_, str> {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    if domain.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(domain.to_ascii_lowercase())
    } else {
        Cow::Borrowed(domain)
    }
}

/// Writes a destination as its hops, `smtp://mx.example.net:25 lmtp://10.1.1.5:24`.
#[derive(Clone, Copy, Debug)]
pub struct DestinationName<'a>(pub(super) Option<&'a Route>);

impl fmt::Display for DestinationName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(route) = self.0 else { return f.write_str("no route") };
        if route.discards() {
            return f.write_str("discard");
        }
        if route.mx {
            return f.write_str("mx");
        }
        for (place, hop) in route.hops.iter().enumerate() {
            let scheme = match (hop.protocol, hop.implicit_tls) {
                (Protocol::Smtp, false) => "smtp",
                (Protocol::Smtp, true) => "smtps",
                (Protocol::Lmtp, _) => "lmtp",
            };
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{scheme}://{}:{}", hop.name, hop.port)?;
        }
        Ok(())
    }
}
