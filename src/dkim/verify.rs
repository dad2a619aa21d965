//! Signatures held against the public halves of their keys: what receivers do. It serves the simulator and tests.

use super::keyring::Keyring;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt};
use std::borrow::Borrow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

thread_local! {
    /// Made once: what it is made of is for a resolver, which is never asked.
    static AUTHENTICATOR: OnceCell<MessageAuthenticator> = const { OnceCell::new() };
}

/// What the DNS would say: the records of a keyring.
pub struct Published(HashMap<Box<str>, Txt>);

impl Published {
    /// All keys of this one.
    pub fn of(keyring: &Keyring) -> Published {
        let record = |(name, text): (String, String)| {
            let key = DomainKey::parse(text.as_bytes()).expect("we write what receivers read");
            (format!("{name}.").into_boxed_str(), Txt::from(key))
        };
        Published(keyring.keys().iter().map(|key| record(key.record())).collect())
    }

    /// The selectors of all signatures in a message, or what is wrong with one of them.
    ///
    /// # Errors
    /// One of them does not verify.
    pub fn verify(&self, message: &[u8]) -> Result<Vec<String>, String> {
        let message = AuthenticatedMessage::parse(message).ok_or("it is no message")?;
        AUTHENTICATOR.with(|authenticator| {
            let authenticator =
                authenticator.get_or_init(|| MessageAuthenticator::new_cloudflare().expect("nothing is opened"));
            let found = pin!(authenticator.verify_dkim(Parameters::new(&message).with_txt_cache(self)));
            let Poll::Ready(found) = found.poll(&mut Context::from_waker(Waker::noop())) else {
                return Err("the DNS was asked for a key that nobody has published".to_owned());
            };
            let selector = |output: &mail_auth::DkimOutput<'_>| {
                output.signature().map_or_else(String::new, |signature| signature.s.clone())
            };
            match found.iter().find(|output| *output.result() != DkimResult::Pass) {
                Some(output) => Err(format!("{}: {:?}", selector(output), output.result())),
                None => Ok(found.iter().map(selector).collect()),
            }
        })
    }
}

impl ResolverCache<Box<str>, Txt> for Published {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.get(name).cloned()
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}
