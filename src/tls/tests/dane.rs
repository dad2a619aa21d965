//! Servers that show what the DNS knows of them, and others.

use super::{Side, talk};
use crate::tls::{Associations, Client, Server, Tls, TlsError, Tlsa, Verification};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_ED25519, PublicKeyData};
use ring::digest::{SHA256, SHA512, digest};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::time_provider::DefaultTimeProvider;
use rustls::version::{TLS12, TLS13};
use std::sync::Arc;

/// A server with a certificate for mx.example, from an authority whose certificate it shows as well.
pub(super) struct Host {
    server: Server,
    own: Vec<u8>,
    own_key: Vec<u8>,
    pub(super) authority: Vec<u8>,
    authority_key: Vec<u8>,
}

impl Host {
    pub(super) fn new(valid: bool) -> Host {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ED25519).unwrap()).unwrap();
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(vec!["mx.example".to_owned()]).unwrap();
        if !valid {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        let own = params.signed_by(&key, &authority).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![own.der().clone(), authority.der().clone()];
        let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certified = CertifiedKey::from_der(chain, secret, &provider).unwrap();
        let versions = &[&TLS12, &TLS13];
        let time = Arc::new(DefaultTimeProvider);
        Host {
            server: Server::with(provider, time, versions, vec![certified], vec![7; 32]).unwrap(),
            own: own.der().to_vec(),
            own_key: key.subject_public_key_info(),
            authority: authority.der().to_vec(),
            authority_key: authority.key().subject_public_key_info(),
        }
    }

    /// What is shown by a certificate of this usage.
    fn subject(&self, usage: u8, selector: u8) -> &[u8] {
        match (usage, selector) {
            (1 | 3, 0) => &self.own,
            (1 | 3, _) => &self.own_key,
            (_, 0) => &self.authority,
            _ => &self.authority_key,
        }
    }

    pub(super) fn record(&self, usage: u8, selector: u8, matching: u8) -> Tlsa {
        let subject = self.subject(usage, selector);
        let data = match matching {
            1 => digest(&SHA256, subject).as_ref().into(),
            2 => digest(&SHA512, subject).as_ref().into(),
            _ => subject.into(),
        };
        Tlsa { usage, selector, matching, data }
    }

    /// A connection to it; whether it was resumed.
    fn meet(&self, client: &mut Client, known: &Arc<Associations>) -> Result<bool, TlsError> {
        let tls = self.shake(client, "elsewhere.example", &Verification::Dane(Arc::clone(known)))?;
        Ok(tls.secured().unwrap().resumed)
    }

    /// The client's end of a connection to it.
    pub(super) fn shake(&self, client: &mut Client, name: &str, verification: &Verification) -> Result<Tls, TlsError> {
        let tls = client.connect(name, verification).unwrap();
        let hello = b"220 hello\r\n".to_vec();
        let mut sides = [Side::new(tls, Vec::new()), Side::new(self.server.accept().unwrap(), hello)];
        let mut random = StdRng::seed_from_u64(1);
        talk(&mut random, &mut sides, |sides| {
            sides[0].got.len() == 11 || sides.iter().any(|side| side.error.is_some())
        });
        // The client knows why.
        let [client, _] = sides;
        match client.error {
            Some(error) => Err(error),
            None => Ok(client.tls),
        }
    }
}

fn client() -> Client {
    Client::new(None).unwrap()
}

pub(super) fn known(base: &str, next_hop: &[&str], records: &[Tlsa]) -> Arc<Associations> {
    let next_hop: Vec<Box<str>> = next_hop.iter().map(|name| (*name).into()).collect();
    Arc::new(Associations::new(base, &next_hop, records))
}

#[test]
fn every_form_of_record_is_understood_and_only_about_the_right_certificate() {
    let [host, other] = [Host::new(true), Host::new(true)];
    for usage in [2, 3] {
        for selector in [0, 1] {
            for matching in [0, 1, 2] {
                let record = host.record(usage, selector, matching);
                let known = known("mx.example", &[], std::slice::from_ref(&record));
                assert_eq!(known.records(), std::slice::from_ref(&record), "{record}");
                assert_eq!(host.meet(&mut client(), &known), Ok(false), "{record}");
                let error = other.meet(&mut client(), &known).unwrap_err();
                let whole = (usage, selector, matching) == (2, 0, 0);
                // An authority that is known in full is known, though the other server is not one of its.
                assert_eq!(matches!(error, TlsError::Unassociated(_)), !whole, "{record}: {error}");
            }
        }
    }
}

#[test]
fn names_and_dates_count_for_what_an_authority_signs_and_for_nothing_else() {
    let [host, old] = [Host::new(true), Host::new(false)];
    let of = |host: &Host, usage, base: &str, next_hop: &[&str]| {
        host.meet(&mut client(), &known(base, next_hop, &[host.record(usage, 1, 1)]))
    };
    assert!(of(&host, 3, "another.example", &[]).is_ok());
    assert!(of(&old, 3, "another.example", &[]).is_ok());
    assert!(of(&host, 2, "mx.example", &[]).is_ok());
    assert!(of(&host, 2, "another.example", &["domain.example", "mx.example"]).is_ok());
    assert!(of(&host, 2, "another.example", &["domain.example"]).is_err());
    assert!(of(&old, 2, "mx.example", &[]).is_err());
    // One that fits is enough.
    let both = [other_key(), host.record(3, 1, 1)];
    assert!(host.meet(&mut client(), &known("mx.example", &[], &both)).is_ok());
}

/// A digest of nobody's key.
fn other_key() -> Tlsa {
    Tlsa { usage: 3, selector: 1, matching: 1, data: [7; 32].into() }
}

#[test]
fn what_mail_cannot_use_demands_tls_and_nothing_of_the_certificate() {
    let host = Host::new(true);
    let mut short = other_key();
    short.data = [7; 31].into();
    let no_certificate = Tlsa { usage: 2, selector: 0, matching: 0, data: [7; 100].into() };
    let strange = [(4, 1, 1), (3, 2, 1), (3, 1, 3), (0, 0, 1), (1, 1, 1)];
    let strange = strange.map(|(usage, selector, matching)| Tlsa { usage, selector, matching, ..other_key() });
    let useless: Vec<Tlsa> = strange.into_iter().chain([short, no_certificate]).collect();
    let known_by_nothing = known("mx.example", &[], &useless);
    assert!(!known_by_nothing.authenticate());
    assert!(host.meet(&mut client(), &known_by_nothing).is_ok());
    // Beside one that is of use they are not there.
    let known = known("mx.example", &[], &[useless, vec![other_key()]].concat());
    assert!(known.authenticate());
    assert!(host.meet(&mut client(), &known).is_err());
}

#[test]
fn of_two_digests_the_stronger_one_counts() {
    let host = Host::new(true);
    let mut wrong = host.record(3, 1, 2);
    wrong.data[0] ^= 1;
    let records = [host.record(3, 1, 1), wrong];
    assert!(host.meet(&mut client(), &known("mx.example", &[], &records)).is_err());
    // They are about different things.
    let mut wrong = host.record(3, 0, 2);
    wrong.data[0] ^= 1;
    let records = [host.record(3, 1, 1), wrong];
    assert!(host.meet(&mut client(), &known("mx.example", &[], &records)).is_ok());
}

#[test]
fn the_same_records_in_another_order_are_the_same() {
    let host = Host::new(true);
    let mut records = vec![host.record(3, 1, 1), other_key(), host.record(2, 0, 1), other_key()];
    let first = known("mx.example", &[], &records);
    records.reverse();
    assert_eq!(known("mx.example", &[], &records), first);
    assert_eq!(first.records().len(), 3);
}

#[test]
fn sessions_are_resumed_for_as_long_as_the_dns_says_the_same() {
    let host = Host::new(true);
    let mut client = client();
    let first = known("mx.example", &[], &[host.record(3, 1, 1)]);
    assert_eq!(host.meet(&mut client, &first), Ok(false));
    assert_eq!(host.meet(&mut client, &Arc::new(Associations::clone(&first))), Ok(true));
    let second = known("mx.example", &[], &[other_key()]);
    assert!(host.meet(&mut client, &second).is_err(), "what was resumed would not have been looked at");
}
