//! Names as the DNS has them: A-labels in lower case, without the dot at their end.

use crate::config::{canonical_domain, is_host_name};
use std::net::IpAddr;

/// A recipient's domain as the DNS has it; U-labels become A-labels (RFC 5891 §5). `None`: there can be no such domain.
pub fn of_domain(domain: &str) -> Option<Box<str>> {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    // An address literal is no name.
    canonical_domain(domain).filter(|name| is_host(name)).map(Into::into)
}

/// The address of a domain that is an address literal (RFC 5321 §4.1.3).
pub fn literal(domain: &str) -> Option<IpAddr> {
    let canonical = canonical_domain(domain)?;
    canonical.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Whether mail can go to a host of this name: an address is none, though it looks like one (RFC 1123 §2.1), and an MX record
/// may not name one (RFC 5321 §5.1).
pub fn is_host(name: &str) -> bool {
    is_host_name(name) && !name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}
