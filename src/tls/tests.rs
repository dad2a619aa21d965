//! Two ends over a wire that cuts anywhere, ends that do not know each other, and peers that do not speak TLS at all.

mod cost;
mod dane;
mod line;
mod reports;
mod server;

use super::*;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls13CipherSuite};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Two boxes that know each other.
fn two() -> [Pinned; 2] {
    let keys = [OwnKey::generate(), OwnKey::generate()];
    let prints = [keys[1].fingerprint(), keys[0].fingerprint()];
    let mut pairs = keys.into_iter().zip(prints).map(|(key, peer)| Pinned::new(key, peer).unwrap());
    [pairs.next().unwrap(), pairs.next().unwrap()]
}

/// One end with what it was given and what it has got.
struct Side {
    tls: Tls,
    to_send: Vec<u8>,
    sent: usize,
    got: Vec<u8>,
    /// Bytes of the wire that are on their way to it.
    wire: Vec<u8>,
    error: Option<TlsError>,
}

impl Side {
    fn new(tls: Tls, to_send: Vec<u8>) -> Side {
        Side { tls, to_send, sent: 0, got: Vec::new(), wire: Vec::new(), error: None }
    }

    /// Takes some of what came, of plaintext as well, and says something. Gives what goes out.
    fn act(&mut self, random: &mut StdRng) -> Vec<u8> {
        let some = |random: &mut StdRng, count: usize| match random.random_range(0..4) {
            0 => count.min(1),
            1 => random.random_range(0..=count.min(50)),
            _ => random.random_range(0..=count),
        };
        if self.error.is_none() {
            let count = some(random, self.wire.len());
            match self.tls.receive(&self.wire[..count]) {
                Ok(taken) => drop(self.wire.drain(..taken)),
                Err(error) => self.error = Some(error),
            }
        }
        let received = self.tls.received();
        let count = some(random, received.bytes.len());
        self.got.extend_from_slice(&received.bytes[..count]);
        self.tls.consume(count);
        let count = some(random, self.to_send.len() - self.sent);
        self.sent += self.tls.send(&self.to_send[self.sent..self.sent + count]);
        let mut out = Vec::new();
        let mut room = random.random_range(0..40_000usize);
        self.tls.output(|bytes| {
            let count = room.min(bytes.len());
            out.extend_from_slice(&bytes[..count]);
            room -= count;
            count
        });
        out
    }

    fn drain(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(self.tls.output(|bytes| {
            out.extend_from_slice(bytes);
            bytes.len()
        }));
        out
    }
}

/// Lets the two talk until both have failed, or `done`.
fn talk(random: &mut StdRng, sides: &mut [Side; 2], done: impl Fn(&[Side; 2]) -> bool) {
    for _ in 0..200_000 {
        if done(sides) || sides.iter().all(|side| side.error.is_some()) {
            return;
        }
        let place = random.random_range(0..2);
        let out = sides[place].act(random);
        sides[1 - place].wire.extend(out);
    }
    panic!("they never come to an end");
}

fn heard_all(sides: &[Side; 2]) -> bool {
    sides[0].got.len() == sides[1].to_send.len() && sides[1].got.len() == sides[0].to_send.len()
}

fn noise(random: &mut StdRng, size: usize) -> Vec<u8> {
    (0..size).map(|_| random.random()).collect()
}

#[test]
fn what_is_sent_arrives_wherever_the_wire_is_cut() {
    let pinned = two();
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let texts = [0, 1].map(|_| {
            let size = random.random_range(0..200_000);
            noise(&mut random, size)
        });
        let [first, second] = texts.clone();
        let mut sides = [Side::new(pinned[0].connect(), first), Side::new(pinned[1].accept(), second)];
        talk(&mut random, &mut sides, heard_all);
        for (place, side) in sides.iter_mut().enumerate() {
            assert_eq!(side.error, None, "seed {seed}");
            assert!(side.got == texts[1 - place], "seed {seed}");
            assert!(!side.tls.has_ended(), "seed {seed}");
            assert!(!side.tls.is_handshaking(), "seed {seed}");
            assert_eq!(side.tls.connection.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
            assert_eq!(side.tls.connection.handshake_kind(), Some(rustls::HandshakeKind::Full), "nothing is resumed");
        }
    }
}

#[test]
fn an_end_is_told_behind_the_last_byte_and_the_other_direction_goes_on() {
    let pinned = two();
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut sides = [Side::new(pinned[0].connect(), vec![7; 70_000]), Side::new(pinned[1].accept(), Vec::new())];
        talk(&mut random, &mut sides, |sides| sides[0].sent == 70_000);
        sides[0].tls.close();
        let rest = sides[0].drain();
        sides[1].wire.extend(rest);
        talk(&mut random, &mut sides, |sides| sides[1].got.len() == 70_000 && sides[1].tls.has_ended());
        assert!(sides[1].tls.received().finished);
        sides[1].to_send = vec![9; 70_000];
        talk(&mut random, &mut sides, heard_all);
    }
}

#[test]
fn output_and_plaintext_are_bounded_however_much_comes() {
    let [one, other] = two();
    let mut sides = [Side::new(one.connect(), Vec::new()), Side::new(other.accept(), Vec::new())];
    let mut random = StdRng::seed_from_u64(1);
    talk(&mut random, &mut sides, |sides| sides.iter().all(|side| !side.tls.is_handshaking()));
    let megabyte = vec![1; 1 << 20];
    let taken = sides[0].tls.send(&megabyte);
    assert_eq!(sides[0].tls.send(&megabyte), 0);
    assert_eq!(taken, TLS_OUTPUT_MAX);
    let wire = sides[0].drain();
    assert!(wire.len() < TLS_OUTPUT_MAX + 4 * 64);
    // What is not read is not decrypted either: the rest stays in the flow, whose window closes.
    let count = sides[1].tls.receive(&wire).unwrap();
    assert!(count <= 16_384 + 4096 + 64, "{count}");
    assert_eq!(sides[1].tls.receive(&wire[count..]).unwrap(), 0);
    assert!(sides[1].tls.received().full);
}

/// Two that may not know each other, until both know what is wrong.
fn fail(client: &Pinned, server: &Pinned, seed: u64) -> [Option<TlsError>; 2] {
    let mut random = StdRng::seed_from_u64(seed);
    let mut sides = [Side::new(client.connect(), vec![1; 100]), Side::new(server.accept(), vec![2; 100])];
    talk(&mut random, &mut sides, heard_all);
    assert!(sides.iter().all(|side| side.got.is_empty()), "nothing is told to a stranger, seed {seed}");
    sides.map(|side| side.error)
}

#[test]
fn a_stranger_is_refused_on_either_side_and_both_are_told_why() {
    let [one, other] = two();
    let strange = OwnKey::generate();
    let shown = strange.fingerprint();
    let stranger = Pinned::new(strange, one.fingerprint()).unwrap();
    let wrong = WrongCertificate { shown, pinned: other.fingerprint() };
    let text = wrong.to_string();
    assert!(text.contains(&shown.to_string()), "{text}");
    assert!(text.contains(&other.fingerprint().to_string()), "{text}");
    let wrong = Some(TlsError::WrongCertificate(wrong));
    let alert = Some(TlsError::Alert(AlertDescription::CertificateUnknown));
    for seed in 0..20 {
        assert_eq!(fail(&one, &stranger, seed), [wrong.clone(), alert.clone()]);
        assert_eq!(fail(&stranger, &one, seed), [alert.clone(), wrong.clone()]);
    }
}

#[test]
fn a_certificate_without_its_key_is_worth_nothing() {
    let (own, known) = (OwnKey::generate(), OwnKey::generate());
    let prints = [own.fingerprint(), known.fingerprint()];
    let knows = Pinned::new(own, prints[1]).unwrap();
    // The certificate is no secret, and anybody may show it.
    let thief = OwnKey { certificate: known.certificate, key: OwnKey::generate().key };
    let provider = rustls::crypto::ring::default_provider();
    let key = provider.key_provider.load_private_key(thief.key).unwrap();
    let certified = Arc::new(rustls::sign::CertifiedKey::new(vec![thief.certificate], key));
    let mut thief = Pinned::new(OwnKey::generate(), prints[0]).unwrap();
    let mut client = (*thief.client).clone();
    client.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(&certified)));
    thief.client = Arc::new(client);
    let mut server = (*thief.server).clone();
    server.cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    thief.server = Arc::new(server);
    let bad = TlsError::Protocol(rustls::Error::InvalidCertificate(CertificateError::BadSignature));
    assert_eq!(fail(&knows, &thief, 1)[0], Some(bad.clone()));
    assert_eq!(fail(&thief, &knows, 1)[1], Some(bad));
}

#[test]
fn an_end_without_a_certificate_is_refused() {
    let [_, other] = two();
    // It knows the server, all the same.
    let mut nameless = Pinned::new(OwnKey::generate(), other.fingerprint()).unwrap();
    let mut client = (*nameless.client).clone();
    client.client_auth_cert_resolver = Arc::new(NoCertificate);
    nameless.client = Arc::new(client);
    let errors = fail(&nameless, &other, 1);
    assert_eq!(errors[1], Some(TlsError::Protocol(rustls::Error::NoCertificatesPresented)));
}

#[derive(Debug)]
struct NoCertificate;

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn a_peer_in_the_clear_is_known_as_one_and_hears_an_alert() {
    let [one, other] = two();
    for text in [&b"RM\x01\x01\x20\0\0\0aaaabbbb"[..], b"220 mx.example.net ESMTP\r\n", &[0; 40]] {
        for tls in [one.connect(), other.accept()] {
            let mut side = Side::new(tls, Vec::new());
            side.drain();
            let mut errors = text.chunks(1).filter_map(|byte| side.tls.receive(byte).err());
            assert_eq!(errors.next(), Some(TlsError::Clear));
            drop(errors);
            let out = side.drain();
            assert_eq!(out[..2], [21, 3], "an alert");
            assert_eq!(side.tls.send(b"secret"), 0);
        }
    }
}

#[test]
fn a_record_that_is_too_large_or_was_changed_ends_it() {
    for spoil in [|wire: &mut Vec<u8>| wire[3..5].copy_from_slice(&[0xff, 0xff]), |wire: &mut Vec<u8>| wire[20] ^= 1] {
        let [one, other] = two();
        let mut sides = [Side::new(one.connect(), Vec::new()), Side::new(other.accept(), Vec::new())];
        let mut random = StdRng::seed_from_u64(1);
        talk(&mut random, &mut sides, |sides| sides.iter().all(|side| !side.tls.is_handshaking()));
        let late = sides[0].drain();
        assert!(late.is_empty());
        assert_eq!(sides[0].tls.send(&[5; 16_384]), 16_384);
        let mut wire = sides[0].drain();
        spoil(&mut wire);
        sides[1].wire.extend(wire);
        talk(&mut random, &mut sides, |sides| sides[1].error.is_some());
        assert!(matches!(sides[1].error, Some(TlsError::Protocol(_))), "{:?}", sides[1].error);
        assert_eq!(sides[1].got, b"");
        let alert = sides[1].drain();
        sides[0].wire.extend(alert);
        talk(&mut random, &mut sides, |sides| sides[0].error.is_some());
        assert!(matches!(sides[0].error, Some(TlsError::Alert(_))), "{:?}", sides[0].error);
    }
}

#[test]
fn a_handshake_that_never_ends_is_ended() {
    let [_, other] = two();
    let mut tls = other.accept();
    // A message of the handshake that says it has 16 MB, in full records.
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.extend([1, 0xff, 0xff, 0xff]);
    record.resize(5 + 0x4000, 0);
    let mut taken = 0;
    for _ in 0..10 {
        match tls.receive(&record) {
            Ok(count) => taken += count,
            Err(error) => return assert!(matches!(error, TlsError::Protocol(_)), "{error}"),
        }
    }
    panic!("it took {taken} bytes");
}

/// A provider whose only cipher has to have new keys after a few records.
fn tired_provider() -> rustls::crypto::CryptoProvider {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let common = CipherSuiteCommon { confidentiality_limit: 10, ..suite.common };
    let tired: &'static Tls13CipherSuite = Box::leak(Box::new(Tls13CipherSuite { common, ..*suite }));
    rustls::crypto::CryptoProvider {
        cipher_suites: vec![SupportedCipherSuite::Tls13(tired)],
        ..rustls::crypto::ring::default_provider()
    }
}

#[test]
fn keys_are_changed_before_they_have_served_too_long() {
    let keys = [OwnKey::generate(), OwnKey::generate()];
    let prints = [keys[1].fingerprint(), keys[0].fingerprint()];
    let provider = Arc::new(tired_provider());
    let [one, other] = keys;
    let one = Pinned::with(Arc::clone(&provider), one, prints[0]).unwrap();
    let other = Pinned::with(provider, other, prints[1]).unwrap();
    for seed in 0..5 {
        let mut random = StdRng::seed_from_u64(seed);
        let texts = [0, 1].map(|_| noise(&mut random, 1_000_000));
        let [first, second] = texts.clone();
        let mut sides = [Side::new(one.connect(), first), Side::new(other.accept(), second)];
        talk(&mut random, &mut sides, heard_all);
        assert!(sides.iter().all(|side| side.error.is_none()), "seed {seed}");
        assert!(sides[0].got == texts[1] && sides[1].got == texts[0], "seed {seed}");
    }
}

proptest! {
    #[test]
    fn noise_ends_in_an_error_or_waits_for_more(bytes in proptest::collection::vec(any::<u8>(), 0..2000), kind in 19u8..26) {
        let [one, other] = two();
        for mut tls in [one.connect(), other.accept()] {
            tls.output(<[u8]>::len);
            let mut bytes = bytes.clone();
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let mut wire = &bytes[..];
            while !wire.is_empty() {
                match tls.receive(wire) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => wire = &wire[count..],
                }
                tls.output(<[u8]>::len);
            }
            prop_assert!(tls.is_handshaking());
            prop_assert!(tls.received().bytes.is_empty());
        }
    }

    #[test]
    fn a_fingerprint_is_read_as_it_was_written(certificate in proptest::collection::vec(any::<u8>(), 0..50)) {
        let fingerprint = Fingerprint::of(&certificate);
        let text = fingerprint.to_string();
        for text in [text.clone(), text.replace(':', ""), text.to_lowercase()] {
            prop_assert_eq!(text.parse(), Ok(fingerprint));
        }
    }
}

#[test]
fn what_is_no_fingerprint_is_refused() {
    let good = Fingerprint::of(b"certificate").to_string();
    let sign = format!("+1{}", &good[2..]);
    for text in
        ["", "AB:CD", &good[1..], &good.replacen(':', "", 1), &format!("{good}:00"), &good.replace('A', "G"), &sign]
    {
        if *text != *good {
            assert_eq!(text.parse::<Fingerprint>(), Err(NoFingerprint), "{text}");
        }
    }
    // A known one: the SHA-256 of nothing.
    let empty = "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55";
    assert_eq!(Fingerprint::of(b"").to_string(), empty);
}

fn files(folder: &Path, name: &str) -> [PathBuf; 2] {
    [folder.join(format!("{name}.crt")), folder.join(format!("{name}.key"))]
}

#[test]
fn a_key_is_made_once_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = files(folder.path(), "pair");
    let fingerprint = OwnKey::make(&certificate, &key).unwrap();
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(OwnKey::load(&certificate, &key).unwrap().fingerprint(), fingerprint);
    let before = std::fs::read(&key).unwrap();
    let again = OwnKey::make(&certificate, &key).unwrap_err();
    assert!(again.to_string().contains(&fingerprint.to_string()), "{again}");
    // One of the two is enough to be left alone.
    std::fs::remove_file(&key).unwrap();
    assert!(matches!(OwnKey::make(&certificate, &key), Err(KeyError::Exists { path, .. }) if path == certificate));
    assert!(!key.exists());
    std::fs::write(&key, before).unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o640)).unwrap();
    let peer = OwnKey::generate().fingerprint();
    assert_eq!(Pinned::load(&certificate, &key, peer).unwrap().fingerprint(), fingerprint);
    assert!(matches!(Pinned::load(&certificate, &key, fingerprint), Err(KeyError::Own(_))));
}

#[test]
fn files_that_cannot_be_used_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = files(folder.path(), "pair");
    let [other_certificate, other_key] = files(folder.path(), "other");
    let refused = |certificate: &Path, key: &Path, words: &str| {
        let text = OwnKey::load(certificate, key).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    };
    refused(&certificate, &key, "pair.crt: there is no such file; `rohrpost pair key`");
    OwnKey::make(&certificate, &key).unwrap();
    OwnKey::make(&other_certificate, &other_key).unwrap();
    refused(&certificate, &other_key, "cannot be used with each other");
    refused(&key, &key, "there is no certificate in it");
    refused(&certificate, folder.path(), "mode is");
    std::fs::set_permissions(&certificate, PermissionsExt::from_mode(0o600)).unwrap();
    refused(&certificate, &certificate, "there is no private key in it");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    refused(&certificate, &key, "its mode is 0644, so that others may read or change the key: `chmod 600 ");
    std::fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
    refused(&certificate, &key, "cannot be used with each other");
    assert!(matches!(OwnKey::make(&folder.path().join("none/x"), &key), Err(KeyError::Exists { .. })));
    let nowhere = folder.path().join("none/pair.key");
    assert!(matches!(OwnKey::make(&certificate, &nowhere), Err(KeyError::Unwritable { .. })));
}
