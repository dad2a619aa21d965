//! The file of what is counted.

use super::file::{recall, save};
use crate::delivery::TlsPolicy;
use crate::dns::{Dane, MailHost, MailHosts};
use crate::sts::Standing;
use crate::tlsrpt::{Attempt, Ledger, Session};
use std::sync::Arc;

fn counted() -> Ledger {
    let [local, remote] = ["192.0.2.25", "192.0.2.1"].map(|address| address.parse().unwrap());
    let addresses = vec![remote];
    let host = MailHost { name: "mx.example".into(), preference: 1, addresses, secure: false, dane: Dane::Absent };
    let sts = Standing::default();
    let hosts = MailHosts { hosts: vec![host], secure: false, implicit: false, sts, waived: false, number: 1 };
    let attempt = Some(Attempt { host: "mx.example".into(), remote, local, fault: None, invalid: None });
    let mut ledger = Ledger::default();
    let session = Session { domain: "d.example".into(), hosts: Arc::new(hosts), tls: TlsPolicy::MtaSts, attempt };
    ledger.note(&session, 1_764_158_400);
    ledger
}

#[test]
fn what_is_counted_outlives_a_restart_and_what_is_damaged_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path();
    let (empty, trouble) = recall(directory);
    assert_eq!((empty.counted().count(), trouble), (0, None), "there is none at first");
    save(directory, &counted()).unwrap();
    save(directory, &counted()).unwrap();
    let (kept, trouble) = recall(directory);
    assert_eq!((kept.counted().count(), trouble), (1, None));

    let file = directory.join("tls-reports.json");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let (anew, trouble) = recall(directory);
    assert_eq!(anew.counted().count(), 0);
    assert!(trouble.unwrap().contains("tls-reports.damaged"));
    assert_eq!(std::fs::read(directory.join("tls-reports.damaged")).unwrap(), &bytes[..bytes.len() / 2]);
    save(directory, &counted()).unwrap();
    assert_eq!(recall(directory).0.counted().count(), 1);
}
