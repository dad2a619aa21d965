//! The end that clients come to: which certificate they see, what they may use, and how they come again.

use super::{Side, talk};
use crate::env::WallTime;
use crate::tls::{Expiry, KeyError, Secured, Server, ServerFiles, Tls, TlsError};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writes a certificate for these names and its key.
pub(super) fn make(folder: &Path, file: &str, names: &[&str], kind: &'static SignatureAlgorithm) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate_for(kind).unwrap();
    let params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    let chain = folder.join(format!("{file}.pem"));
    let secret = folder.join(format!("{file}.key"));
    fs::write(&chain, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&secret, key.serialize_pem()).unwrap();
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    (chain, secret)
}

/// Takes every certificate, and knows a few kinds of signatures.
#[derive(Debug)]
struct Credulous(Vec<SignatureScheme>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

const BOTH: [SignatureScheme; 2] = [SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256];
pub(super) const ALL: [SignatureScheme; 3] =
    [SignatureScheme::ED25519, SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];

pub(super) fn client(versions: &[&'static SupportedProtocolVersion], schemes: &[SignatureScheme]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let verifier = Arc::new(Credulous(schemes.to_vec()));
    Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// What came of a connection: the certificate that was shown, and what both say of it.
fn connect(server: &Server, config: &Arc<ClientConfig>, name: &str) -> Result<(Vec<u8>, Secured), TlsError> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let client = Tls::client(Arc::clone(config), name).unwrap();
    // The server has something to say, so that tickets arrive as well.
    let mut sides = [Side::new(client, Vec::new()), Side::new(server.accept().unwrap(), b"220 hello\r\n".to_vec())];
    let mut random = StdRng::seed_from_u64(1);
    talk(&mut random, &mut sides, |sides| sides[0].got.len() == 11 || sides.iter().any(|side| side.error.is_some()));
    if let Some(error) = sides.iter_mut().find_map(|side| side.error.take()) {
        return Err(error);
    }
    let [one, other] = [sides[0].tls.secured().unwrap(), sides[1].tls.secured().unwrap()];
    assert_eq!(one, other);
    let shown = sides[0].tls.connection.peer_certificates().unwrap()[0].to_vec();
    Ok((shown, one))
}

#[test]
fn the_certificate_is_that_of_the_name_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let files = ServerFiles {
        certificates: vec![
            make(folder.path(), "one", &["mx1.example.net"], &PKCS_ED25519),
            make(folder.path(), "two", &["mx2.example.net", "*.example.org"], &PKCS_ED25519),
            make(folder.path(), "old", &["mx1.example.net"], &PKCS_ECDSA_P256_SHA256),
        ],
        ..ServerFiles::default()
    };
    let server = Server::load(&files).unwrap();
    let shown: Vec<Vec<u8>> = (files.certificates.iter())
        .map(|(chain, _)| {
            use rustls::pki_types::pem::PemObject;
            CertificateDer::from_pem_file(chain).unwrap().to_vec()
        })
        .collect();
    for versions in [[&TLS12], [&TLS13]] {
        let modern = client(&versions, &BOTH);
        for (name, place) in [
            ("mx1.example.net", 0),
            ("MX1.example.NET", 0),
            ("mx2.example.net", 1),
            ("mail.example.org", 1),
            ("unknown.example", 0),
            ("192.0.2.1", 0),
        ] {
            assert!(connect(&server, &modern, name).unwrap().0 == shown[place], "{name}");
        }
        // One that cannot verify the first kind is shown another, for the name or not.
        let old = client(&versions, &BOTH[1..]);
        for name in ["mx1.example.net", "mx2.example.net"] {
            assert!(connect(&server, &old, name).unwrap().0 == shown[2], "{name}");
        }
    }
}

#[test]
fn what_came_of_a_handshake_is_told_in_the_words_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = vec![make(folder.path(), "one", &["mx1.example.net"], &PKCS_ECDSA_P256_SHA256)];
    let server = Server::load(&ServerFiles { certificates, ..ServerFiles::default() }).unwrap();
    let said = |versions: &[_]| {
        let (_, secured) = connect(&server, &client(versions, &BOTH), "mx1.example.net").unwrap();
        serde_json::to_string(&secured).unwrap()
    };
    assert_eq!(said(&[&TLS13]), r#"{"version":"TLSv1.3","cipher":"TLS_AES_256_GCM_SHA384"}"#);
    assert_eq!(said(&[&TLS12]), r#"{"version":"TLSv1.2","cipher":"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"}"#);
}

#[test]
fn a_version_that_is_too_old_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = vec![make(folder.path(), "one", &["mx1.example.net"], &PKCS_ED25519)];
    let server = Server::load(&ServerFiles { certificates, only_tls13: true, ..ServerFiles::default() }).unwrap();
    assert!(connect(&server, &client(&[&TLS13], &BOTH), "mx1.example.net").is_ok());
    assert!(connect(&server, &client(&[&TLS12], &BOTH), "mx1.example.net").is_err());
}

#[test]
fn who_comes_again_needs_no_new_exchange_after_a_reload_or_on_the_other_box() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = vec![make(folder.path(), "one", &["mx1.example.net"], &PKCS_ED25519)];
    let secret = folder.path().join("tickets");
    fs::write(&secret, [b'7'; 64]).unwrap();
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let alone = ServerFiles { certificates, ..ServerFiles::default() };
    let shared = ServerFiles { ticket_secret: Some(secret), ..alone.clone() };
    for versions in [[&TLS12], [&TLS13]] {
        let config = client(&versions, &BOTH);
        let resumed = |server: &Server| connect(server, &config, "mx1.example.net").unwrap().1.resumed;
        let first = Server::load(&alone).unwrap();
        assert!(!resumed(&first));
        assert!(resumed(&first));
        assert!(resumed(&first.reload(&alone).unwrap()), "after a reload");
        assert!(!resumed(&Server::load(&alone).unwrap()), "a box has a secret of its own");
        assert!(!resumed(&Server::load(&shared).unwrap()));
        assert!(resumed(&Server::load(&shared).unwrap()), "unless it was given one");
    }
}

#[test]
fn broken_files_are_refused_and_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let good = make(folder.path(), "one", &["mx1.example.net"], &PKCS_ED25519);
    let other = make(folder.path(), "two", &["mx2.example.net"], &PKCS_ED25519);
    let none = folder.path().join("none");
    let short = folder.path().join("short");
    fs::write(&short, "too short").unwrap();
    fs::set_permissions(&short, PermissionsExt::from_mode(0o600)).unwrap();
    let server = Server::load(&ServerFiles { certificates: vec![good.clone()], ..ServerFiles::default() }).unwrap();
    for (chain, key, secret, words) in [
        (&good.0, &other.1, None, "cannot be used with each other"),
        (&none, &good.1, None, "none: there is no such file"),
        (&good.0, &none, None, "none: there is no such file"),
        (&good.1, &good.1, None, "there is no certificate in it"),
        (&good.0, &good.0, None, "its mode is"),
        (&good.0, &good.1, Some(short), "it has 9 bytes, and at least 32 random ones are wanted"),
    ] {
        let files = ServerFiles {
            certificates: vec![(chain.clone(), key.clone())],
            ticket_secret: secret,
            ..ServerFiles::default()
        };
        let error: KeyError = server.reload(&files).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(connect(&server, &client(&[&TLS13], &BOTH), "mx1.example.net").is_ok());
}

#[test]
fn the_end_of_each_certificate_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, secret) = make(folder.path(), "mx", &["mx.example"], &PKCS_ED25519);
    let key = KeyPair::from_pem(&fs::read_to_string(&secret).unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["mx.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    fs::write(&chain, params.self_signed(&key).unwrap().pem()).unwrap();
    let files = ServerFiles { certificates: vec![(chain.clone(), secret)], ..ServerFiles::default() };
    let at = WallTime::from_micros(1_893_456_000_000_000);
    assert_eq!(Server::load(&files).unwrap().expiries(), [Expiry { number: 0, certificate: chain, at }]);
}
