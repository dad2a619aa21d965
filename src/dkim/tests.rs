//! Claims about signatures. Receivers are played by the verifier of the library, which shares nothing with what is told here but
//! the RFC; keys and messages of the RFCs themselves are told where they have some.

use super::verify::Published;
use super::*;
use crate::env::{Wakeup, WallTime};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// RFC 8463 §A.1, in an envelope of RFC 8410 §7.
const ED25519_SEED: [u8; 32] = [
    0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49, 0xc5,
    0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
];

/// 2048 bits, made for these tests and used nowhere else.
const RSA: &str = include_str!("rsa.pem");

const NOW: WallTime = WallTime::from_micros(1_800_000_000_000_000);

/// RFC 8463 §A.3, without its signatures.
const MESSAGE: &str = "From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\n\
    Subject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
    Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\nHi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\n\
    Joe.\r\n";

fn ed25519() -> PrivateKeyDer<'static> {
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend(ED25519_SEED);
    PrivatePkcs8KeyDer::from(der).into()
}

fn rsa() -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(RSA.as_bytes()).unwrap()
}

fn settings(pattern: &str, selector: &str) -> KeySettings {
    KeySettings {
        pattern: pattern.into(),
        selector: selector.into(),
        path: "key.pem".into(),
        not_before: None,
        not_after: None,
        headers: SIGNED_DEFAULT.iter().map(|name| (*name).to_owned()).collect(),
        canonical: Canonical::default(),
        expires_after: None,
    }
}

fn ring(keys: Vec<(KeySettings, PrivateKeyDer<'static>)>) -> Keyring {
    Keyring::new(keys.into_iter().map(|(settings, der)| Key::new(settings, der).unwrap()).collect()).unwrap()
}

/// In pieces of so many bytes.
fn pieces(message: &[u8], size: usize) -> Vec<Box<[u8]>> {
    message.chunks(size).map(Into::into).collect()
}

/// The message with its signatures in front.
fn signed(keyring: &Keyring, message: &[u8]) -> Vec<u8> {
    let signed = sign(keyring, &pieces(message, 1000), NOW).unwrap().expect("it is ours");
    [&signed.header, message].concat()
}

fn football() -> Keyring {
    ring(vec![
        (settings("football.example.com", "brisbane"), ed25519()),
        (settings("football.example.com", "test"), rsa()),
    ])
}

#[test]
fn both_kinds_of_keys_sign_what_receivers_verify() {
    let keyring = football();
    let mut message = signed(&keyring, MESSAGE.as_bytes());
    let published = Published::of(&keyring);
    assert_eq!(published.verify(&message).unwrap(), ["brisbane", "test"]);
    let at = message.len() - 5;
    message[at] ^= 1;
    assert!(published.verify(&message).is_err(), "the body is signed");
}

#[test]
fn the_key_of_rfc_8463_is_published_as_there() {
    let keyring = football();
    let (name, text) = keyring.keys()[0].record();
    assert_eq!(name, "brisbane._domainkey.football.example.com");
    assert_eq!(text, "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    let (_, text) = keyring.keys()[1].record();
    assert!(text.starts_with("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"), "{text}");
    assert_eq!((keyring.keys()[0].kind(), keyring.keys()[1].kind()), ("Ed25519".into(), "RSA 2048".into()));
}

/// RFC 8463 §A.3: with the same fields, in the same order, the hash of the body is the one that stands there.
#[test]
fn the_body_of_rfc_8463_has_the_hash_that_stands_there() {
    let message = signed(&football(), MESSAGE.as_bytes());
    let text = String::from_utf8(message).unwrap().replace("\r\n\t", "").replace(' ', "");
    assert!(text.contains("bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="), "{text}");
}

/// RFC 6376 §3.4.5: messages that are the same to a receiver have the same signature where they are made comparable.
#[test]
fn what_relaxed_and_simple_take_for_the_same_is_signed_the_same() {
    let message = |a: &str, b: &str, body: &str| format!("From: u@football.example.com\r\n{a}:{b}\r\n\r\n{body}");
    let hashed = |canonical: Canonical, message: &str| {
        let settings = KeySettings {
            canonical,
            headers: vec!["From".into(), "A".into(), "B".into()],
            ..settings("football.example.com", "s")
        };
        let keyring = ring(vec![(settings, ed25519())]);
        let message = signed(&keyring, message.as_bytes());
        Published::of(&keyring).verify(&message).unwrap();
        let field = String::from_utf8(message).unwrap().replace("\r\n\t", "");
        let b = field.split("; b=").nth(1).unwrap().split(';').next().unwrap().replace(' ', "");
        let bh = field.split("; bh=").nth(1).unwrap().split(';').next().unwrap().to_owned();
        (bh, b)
    };
    let (plain, odd) = (message("A", " X", " C\r\nD E\r\n"), message("A", " X  ", " C \r\nD \t E\r\n\r\n\r\n"));
    let relaxed = Canonical::default();
    assert_eq!(hashed(relaxed, &plain), hashed(relaxed, &odd));
    let simple = Canonical { header_relaxed: false, body_relaxed: false };
    assert_ne!(hashed(simple, &plain).0, hashed(simple, &odd).0);
    // Empty lines at the end count nowhere.
    assert_eq!(hashed(simple, &plain), hashed(simple, &format!("{plain}\r\n\r\n")));
    let half = Canonical { header_relaxed: true, body_relaxed: false };
    assert_eq!(hashed(half, &plain).0, hashed(simple, &plain).0);
    // RFC 6376 §3.4.3 and §3.4.4: the hash of a body that is empty.
    let empty = message("A", " X", "");
    assert_eq!(hashed(simple, &empty).0, "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=");
    assert_eq!(hashed(relaxed, &empty).0, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
}

#[test]
fn a_second_field_of_a_name_that_is_signed_breaks_the_signature() {
    let keyring = football();
    let message = signed(&keyring, MESSAGE.as_bytes());
    let published = Published::of(&keyring);
    for field in ["From: other@example.net\r\n", "Subject: Buy\r\n", "Reply-To: other@example.net\r\n"] {
        let altered = [field.as_bytes(), &message].concat();
        assert!(published.verify(&altered).is_err(), "{field}");
    }
    let added = [b"Received: from there by here\r\n", &message[..]].concat();
    assert_eq!(published.verify(&added).unwrap().len(), 2, "what relays add is not signed");
}

#[test]
fn the_pieces_that_a_message_comes_in_do_not_matter() {
    let keyring = football();
    let whole = sign(&keyring, &pieces(MESSAGE.as_bytes(), 10_000), NOW).unwrap();
    for size in [1, 2, 3, 7, 300] {
        assert_eq!(sign(&keyring, &pieces(MESSAGE.as_bytes(), size), NOW).unwrap(), whole, "{size}");
    }
}

#[test]
fn the_keys_of_the_nearest_domain_sign_and_only_while_they_are_valid() {
    let at = |days: u64| WallTime::from_micros(NOW.micros() + days * 86_400_000_000);
    let old = KeySettings { not_after: Some(at(10)), ..settings("example.com", "old") };
    let new = KeySettings { not_before: Some(at(8)), not_after: Some(at(20)), ..settings("example.com", "new") };
    let below = settings(".example.com", "below");
    let keyring = ring(vec![(old, ed25519()), (new, ed25519()), (below, ed25519())]);
    let from = |author: &str, now| {
        let message = format!("From: {author}\r\n\r\n");
        let signed = sign(&keyring, &pieces(message.as_bytes(), 100), now)?;
        Ok(signed.map(|signed| (signed.domain.to_string(), signed.selectors.iter().map(ToString::to_string).collect())))
    };
    let by = |domain: &str, selectors: &[&str]| {
        Ok(Some((domain.to_owned(), selectors.iter().map(ToString::to_string).collect::<Vec<_>>())))
    };
    assert_eq!(from("a@example.com", at(0)), by("example.com", &["old"]));
    assert_eq!(from("a@Example.COM", at(9)), by("example.com", &["old", "new"]));
    assert_eq!(from("a@example.com", at(10)), by("example.com", &["new"]));
    assert_eq!(from("a@example.com", at(20)), Err(Unsignable::NoKey("example.com".into())));
    assert_eq!(from("a@x.y.example.com", at(20)), by("example.com", &["below"]));
    assert_eq!(from("a@example.net", at(0)), Ok(None));
    assert_eq!(from("a@com", at(0)), Ok(None));
    // Of several authors the first that is ours.
    assert_eq!(from("a@example.net, b@x.example.com", at(0)), by("example.com", &["below"]));
}

#[test]
fn what_cannot_be_signed_says_why() {
    let keyring = football();
    let refused = |message: &[u8]| sign(&keyring, &pieces(message, 4000), NOW).unwrap_err();
    assert_eq!(refused(b"Subject: nobody\r\n\r\nbody\r\n"), Unsignable::NoAuthor);
    assert_eq!(refused(b""), Unsignable::NoAuthor);
    assert_eq!(refused(b"From: nobody\r\n\r\n"), Unsignable::NoAuthor);
    let two = b"From: a@football.example.com\r\nFrom: b@football.example.com\r\n\r\n";
    assert_eq!(refused(two), Unsignable::Authors);
    let long =
        format!("From: a@football.example.com\r\nX: {}\r\n\r\n", "x".repeat(crate::limits::SIGNED_HEADER_SIZE_MAX));
    assert_eq!(refused(long.as_bytes()), Unsignable::Header);
    assert!(!Unsignable::Header.may_pass() && Unsignable::NoKey("a".into()).may_pass());
}

#[test]
fn a_message_of_nothing_but_a_header_is_signed() {
    let keyring = football();
    for message in ["From: a@football.example.com\r\n", "From: a@football.example.com\r\n\r\n"] {
        assert_eq!(
            Published::of(&keyring).verify(&signed(&keyring, message.as_bytes())).unwrap().len(),
            2,
            "{message:?}"
        );
    }
}

#[test]
fn a_signature_says_when_it_was_made_and_until_when_it_counts() {
    let settings =
        KeySettings { expires_after: Some(Duration::from_secs(86_400)), ..settings("football.example.com", "s") };
    let keyring = ring(vec![(settings, ed25519())]);
    let text = String::from_utf8(signed(&keyring, MESSAGE.as_bytes())).unwrap();
    assert!(text.contains("t=1800000000;") && text.contains("x=1800086400;"), "{text}");
    assert_eq!(text, String::from_utf8(signed(&keyring, MESSAGE.as_bytes())).unwrap(), "and it is always the same");
}

#[test]
fn keys_that_nobody_would_believe_are_refused() {
    let key = |der| Key::new(settings("example.com", "s"), der).map(drop).unwrap_err().to_string();
    let short = PrivateKeyDer::from_pem_slice(include_bytes!("rsa768.pem")).unwrap();
    assert!(key(short).contains("RSA with 2048 to 4096 bits"));
    let ecdsa = rcgen::KeyPair::generate().unwrap().serialize_der();
    assert!(key(PrivatePkcs8KeyDer::from(ecdsa).into()).contains("it is no key that signs"));
    let many =
        (0..12).map(|place| Key::new(settings("example.com", &format!("s{place}")), ed25519()).unwrap()).collect();
    let error = Keyring::new(many).unwrap_err().to_string();
    assert!(error.starts_with("[[dkim]] example.com: the signatures of all keys"), "{error}");
}

#[test]
fn a_crew_gives_every_worker_its_own() {
    let wakeups = [Wakeup::new().unwrap(), Wakeup::new().unwrap()];
    let (ends, crew) = connect(&wakeups);
    crew.start(2).unwrap();
    let keyring = Arc::new(ring(vec![(settings("football.example.com", "s"), ed25519())]));
    let count = crate::limits::SIGNING_IN_HAND_MAX as u64;
    for (number, end) in (0..).zip(&ends) {
        for place in 0..count {
            let content = pieces(MESSAGE.as_bytes(), 50);
            let task = Task { token: number * 1000 + place, keyring: Arc::clone(&keyring), now: NOW, content };
            assert!(end.give(task).is_ok(), "there is room for all that a worker may have in hand");
        }
    }
    let until = Instant::now() + Duration::from_secs(60);
    for (number, end) in (0..).zip(&ends) {
        let mut tokens = Vec::new();
        while (tokens.len() as u64) < count {
            assert!(Instant::now() < until);
            while let Some(done) = end.take() {
                assert!(done.result.unwrap().is_some());
                tokens.push(done.token);
            }
            std::thread::yield_now();
        }
        tokens.sort_unstable();
        assert_eq!(tokens, (0..count).map(|place| number * 1000 + place).collect::<Vec<_>>());
    }
}
