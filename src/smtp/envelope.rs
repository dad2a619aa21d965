//! The envelope: who sends, who receives, and what they asked for (RFC 5321 §2.3.1, RFC 3461).

use super::Priority;

/// What the content may contain (RFC 6152, RFC 3030).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyType {
    /// `BODY=7BIT`, or nothing said.
    #[default]
    SevenBit,
    /// `BODY=8BITMIME`.
    EightBitMime,
    /// `BODY=BINARYMIME`: no line structure; goes on only by BDAT.
    BinaryMime,
}

/// How much of the message a failure notice returns (`RET`, RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// The whole message.
    Full,
    /// The headers only.
    Headers,
}

/// When the sender wants to be told (`NOTIFY`, RFC 3461 §4.1). `None` in [`Recipient::notify`] is the default: on
/// failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// On delivery.
    pub success: bool,
    /// On failure.
    pub failure: bool,
    /// When it takes long.
    pub delay: bool,
    // `NOTIFY=NEVER` is all three false.
}

/// One forward-path and what was asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// `local-part@domain` as received, without brackets and source route; `Postmaster` alone has no domain.
    pub address: Box<str>,
    /// `NOTIFY`, if given.
    pub notify: Option<Notify>,
    /// `ORCPT` as received (`type;xtext`), if given.
    pub original: Option<Box<str>>,
}

/// Everything about a message that is not its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The reverse-path without brackets; empty for the null sender.
    pub reverse_path: Box<str>,
    /// In the order of their RCPT commands; a recipient is named by its place here for ever.
    pub recipients: Vec<Recipient>,
    /// `BODY`.
    pub body: BodyType,
    /// `SMTPUTF8` was given (RFC 6531): goes on only to hops that offer it.
    pub smtputf8: bool,
    /// `REQUIRETLS` was given (RFC 8689): goes on only under TLS, to hops that are who they should be and offer it too.
    pub require_tls: bool,
    /// The header says `TLS-Required: No` (RFC 8689 §3), and whoever sent it may say so: it is to arrive rather than to be secured, and
    /// what the domains of recipients demand of TLS does not stop it.
    pub tls_optional: bool,
    /// What was asked for with `MT-PRIORITY` (RFC 6710) and granted, or is given to all that comes the same way.
    pub priority: Priority,
    /// `RET`, if given.
    pub ret: Option<Return>,
    /// `ENVID` as received (xtext), if given.
    pub envelope_id: Option<Box<str>>,
}

/// A message that the appliance itself has written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnMessage {
    /// Who sends it to whom.
    pub envelope: Envelope,
    /// Header and body, with whole lines.
    pub content: Vec<u8>,
}

/// The domain of an address, without the `@`; empty where there is none (`Postmaster`).
pub fn domain_of(address: &str) -> &str {
    // Domains are short: to look for a character, as the standard library has it, takes several times as long.
    address.bytes().rposition(|byte| byte == b'@').map_or("", |at| &address[at + 1..])
}
