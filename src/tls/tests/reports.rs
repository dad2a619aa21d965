//! What reports call the failures of handshakes.

use super::dane::{Host, known};
use crate::smtp::client::{Failure, Reason, Stage};
use crate::tls::{Client, TlsError, Verification};
use crate::tlsrpt::Fault;
use mail_auth::report::tlsrpt::ResultType;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;

/// A client that trusts the authority of a host.
fn client(host: &Host) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(host.authority.clone())).unwrap();
    Client::new(Some(Arc::new(roots))).unwrap()
}

fn kind(error: &TlsError) -> ResultType {
    let reason = Reason::Connection(Failure::Lost, Stage::Handshake);
    let fault = Fault::of_end(&reason, Some(error)).expect("it has to do with TLS");
    assert_eq!(*fault.text, *error.to_string());
    fault.kind
}

#[test]
fn each_failure_of_a_handshake_has_its_name_in_reports() {
    let [host, other, old] = [Host::new(true), Host::new(true), Host::new(false)];
    let meet = |whom: &Host, name: &str, trusted: &Host| {
        whom.shake(&mut client(trusted), name, &Verification::Name).map(drop).map_err(|error| kind(&error))
    };
    assert_eq!(meet(&host, "mx.example", &host), Ok(()));
    assert_eq!(meet(&host, "other.example", &host), Err(ResultType::CertificateHostMismatch));
    assert_eq!(meet(&old, "mx.example", &old), Err(ResultType::CertificateExpired));
    assert_eq!(meet(&host, "mx.example", &other), Err(ResultType::CertificateNotTrusted));

    let dane = |whom: &Host, usage: u8, base: &str| {
        let known = known(base, &[], &[whom.record(usage, 1, 1)]);
        move |met: &Host| {
            let met = met.shake(&mut Client::new(None).unwrap(), "x.example", &Verification::Dane(known));
            met.map(drop).map_err(|error| kind(&error))
        }
    };
    assert_eq!(dane(&host, 3, "mx.example")(&other), Err(ResultType::CertificateNotTrusted));
    assert_eq!(dane(&host, 2, "elsewhere.example")(&host), Err(ResultType::CertificateHostMismatch));
    assert_eq!(dane(&old, 2, "mx.example")(&old), Err(ResultType::CertificateExpired));

    assert_eq!(kind(&TlsError::Clear), ResultType::ValidationFailure);
    assert_eq!(kind(&TlsError::Truncated), ResultType::ValidationFailure);
}

#[test]
fn a_certificate_that_is_only_looked_at_is_told_of_as_well() {
    let [host, old] = [Host::new(true), Host::new(false)];
    let seen = |whom: &Host, name: &str| {
        let tls = whom.shake(&mut client(whom), name, &Verification::Watched).unwrap();
        tls.invalidity().map(|error| Fault::of_certificate(error).kind)
    };
    assert_eq!(seen(&host, "mx.example"), None);
    assert_eq!(seen(&host, "other.example"), Some(ResultType::CertificateHostMismatch));
    assert_eq!(seen(&old, "mx.example"), Some(ResultType::CertificateExpired));
}
