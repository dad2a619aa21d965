//! What is told of sessions, and what becomes of it.

use super::session::Verdict;
use super::*;
use crate::delivery::TlsPolicy;
use crate::dns::{Dane, Data, MailHost, MailHosts, Record as DnsRecord, Reply, Said};
use crate::limits::{
    REPORT_ATTEMPTS_MAX, REPORT_DOMAINS_MAX, REPORT_FAILURES_MAX, REPORT_POLICIES_MAX, REPORT_RETRY_DELAY,
    REPORT_SPREAD,
};
use crate::smtp::client::{Failure, LocalReason, Reason, Stage};
use crate::sts::{FetchFailure, FetchFault, Mode, Policy, Standing};
use crate::tls::{Associations, Tlsa};
use mail_auth::report::tlsrpt::{PolicyType, ResultType, TlsReport};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A Thursday at noon.
const NOON: u64 = 1_764_158_400;
const MIDNIGHT: u64 = NOON + 43_200;
const DAY: u64 = 86_400;

fn host(name: &str, preference: u16, dane: Dane) -> MailHost {
    let addresses = vec!["192.0.2.1".parse().unwrap()];
    MailHost { name: name.into(), preference, addresses, secure: true, dane }
}

fn hosts(hosts: Vec<MailHost>, sts: Standing) -> Arc<MailHosts> {
    Arc::new(MailHosts { hosts, secure: true, implicit: false, sts, waived: false, number: 1 })
}

fn tlsa(matching: u8) -> Dane {
    let record = Tlsa { usage: 3, selector: 1, matching, data: [7; 32].into() };
    Dane::Present(Arc::new(Associations::new("mx.example", &[], &[record])))
}

fn policy(mode: Mode, mx: &str) -> Standing {
    let policy = Policy { mode, mx: vec![mx.into()], max_age: Duration::from_secs(86_400) };
    Standing { policy: Some(Arc::new(policy)), failure: None }
}

fn unfetched(fault: FetchFault) -> Standing {
    Standing { policy: None, failure: Some(FetchFailure { fault, text: "it is not there".into() }) }
}

fn attempt(fault: Option<Fault>) -> Option<Attempt> {
    let [local, remote] = ["192.0.2.25", "192.0.2.1"].map(|address| address.parse().unwrap());
    Some(Attempt { host: "mx.example".into(), remote, local, fault, invalid: None })
}

/// A session with mx.example for d.example.
fn session(dane: Dane, sts: Standing, fault: Option<Fault>) -> Session {
    let hosts = hosts(vec![host("mx.example", 10, dane)], sts);
    Session { domain: "D.example".into(), hosts, tls: TlsPolicy::MtaSts, attempt: attempt(fault) }
}

fn good() -> Session {
    session(Dane::Absent, policy(Mode::Enforce, "mx.example"), None)
}

fn bad() -> Session {
    session(Dane::Absent, policy(Mode::Enforce, "mx.example"), Some(Fault::no_starttls()))
}

fn told(session: &Session) -> Vec<(PolicyType, String, Option<ResultType>)> {
    let of = |Verdict { policy, failure }| {
        (policy.policy_type, policy.policy_domain, failure.map(|failure| failure.result_type))
    };
    session.judge("d.example").into_iter().map(of).collect()
}

#[test]
fn a_session_counts_for_the_policy_that_was_applied() {
    use PolicyType::{NoPolicyFound, Sts, Tlsa};
    let enforced = || policy(Mode::Enforce, "mx.example");
    let fault = || Some(Fault::no_starttls());
    let missing = Some(ResultType::StartTlsNotSupported);
    for (session, policy, domain, failure) in [
        (session(tlsa(1), enforced(), None), Tlsa, "mx.example", None),
        (session(tlsa(1), enforced(), fault()), Tlsa, "mx.example", missing),
        (session(tlsa(9), enforced(), None), Tlsa, "mx.example", Some(ResultType::TlsaInvalid)),
        (session(Dane::Absent, enforced(), None), Sts, "d.example", None),
        (session(Dane::Absent, enforced(), fault()), Sts, "d.example", missing),
        (session(Dane::Absent, Standing::default(), None), NoPolicyFound, "d.example", None),
        (session(Dane::Absent, Standing::default(), fault()), NoPolicyFound, "d.example", missing),
        (
            session(Dane::Absent, policy(Mode::Testing, "other.example"), None),
            Sts,
            "d.example",
            Some(ResultType::ValidationFailure),
        ),
        (
            session(Dane::Absent, unfetched(FetchFault::Fetch), None),
            Sts,
            "d.example",
            Some(ResultType::StsPolicyFetchError),
        ),
        (
            session(Dane::Absent, unfetched(FetchFault::Policy), None),
            Sts,
            "d.example",
            Some(ResultType::StsPolicyInvalid),
        ),
        (
            session(Dane::Absent, unfetched(FetchFault::Certificate), None),
            Sts,
            "d.example",
            Some(ResultType::StsWebpkiInvalid),
        ),
    ] {
        assert_eq!(told(&session), [(policy, domain.to_owned(), failure)], "{session:?}");
    }
    let mut tested = session(Dane::Absent, policy(Mode::Testing, "mx.example"), None);
    if let Some(attempt) = &mut tested.attempt {
        attempt.invalid = Some(Fault::new(ResultType::CertificateExpired, "too old"));
    }
    assert_eq!(told(&tested), [(Sts, "d.example".to_owned(), Some(ResultType::CertificateExpired))]);
}

#[test]
fn hosts_that_must_not_be_used_count_where_they_would_have_been() {
    use PolicyType::{Sts, Tlsa};
    let unnamed = (Sts, "d.example".to_owned(), Some(ResultType::ValidationFailure));
    let unknown = || host("sick.example", 5, Dane::Unknown("no answer".into()));
    let both = hosts(
        vec![unknown(), host("mx.example", 10, Dane::Absent), host("last.example", 20, Dane::Absent)],
        policy(Mode::Enforce, "mx.example"),
    );
    let session = Session { hosts: both, ..good() };
    let sick = (Tlsa, "sick.example".to_owned(), Some(ResultType::DnssecInvalid));
    assert_eq!(told(&session), [sick, (Sts, "d.example".to_owned(), None)], "what comes behind was not needed");

    let none = hosts(vec![host("other.example", 10, Dane::Absent)], policy(Mode::Enforce, "mx.example"));
    assert_eq!(told(&Session { hosts: none, attempt: None, ..good() }), [unnamed]);
}

#[test]
fn what_says_nothing_of_policies_does_not_count() {
    // Nobody has looked whether there is a policy of the other kind.
    let absent = session(Dane::Absent, Standing::default(), None);
    assert_eq!(told(&Session { tls: TlsPolicy::Dane, ..absent.clone() }), []);
    assert!(!Session::counts(&absent.hosts, TlsPolicy::Opportunistic));
    assert!(!Session::counts(&absent.hosts.waived(), TlsPolicy::MtaSts));
    assert!(Session::counts(&absent.hosts, TlsPolicy::MtaSts));
    // What ended before TLS has nothing to do with it.
    for reason in [Reason::Connection(Failure::Lost, Stage::Greeting), Reason::Local(LocalReason::AuthNotOffered)] {
        assert_eq!(Fault::of_end(&reason, None), None);
    }
    let kind = |reason: &Reason| Fault::of_end(reason, None).map(|fault| fault.kind);
    let not_offered = Reason::Local(LocalReason::TlsNotOffered);
    assert_eq!(kind(&not_offered), Some(ResultType::StartTlsNotSupported));
    let lost = Reason::Connection(Failure::TimedOut, Stage::Handshake);
    assert_eq!(kind(&lost), Some(ResultType::ValidationFailure));
}

fn reporter() -> Reporter {
    Reporter {
        organization: "Example Net".into(),
        contact: "postmaster@example.net".into(),
        from: "tls-reports@example.net".into(),
        origin: "mx1.example.net".into(),
    }
}

fn mail() -> ReportTarget {
    ReportTarget::Mail("reports@d.example".into())
}

fn wanted() -> Record {
    Record::Wanted(vec![mail()])
}

/// A day with two sessions that went well and one that did not.
fn counted() -> Ledger {
    let mut ledger = Ledger::default();
    [good(), bad(), good()].iter().for_each(|session| ledger.note(session, NOON));
    assert_eq!(ledger.question(NOON).as_deref(), Some("d.example"));
    assert_eq!(ledger.question(NOON), None, "once");
    ledger.told("d.example", &wanted(), NOON);
    ledger
}

#[test]
fn the_report_of_a_day_is_due_some_hours_after_it_and_at_the_same_time_each_day() {
    let mut ledger = counted();
    ledger.turn(MIDNIGHT - 1);
    assert_eq!(ledger.waiting().count(), 0);
    ledger.turn(MIDNIGHT);
    let (closed, target, attempts, due_at) = ledger.waiting().next().unwrap();
    assert_eq!((closed.from, closed.until, closed.sessions()), (NOON - 43_200, MIDNIGHT, (2, 1)));
    assert_eq!((target, attempts), (Some(&mail()), 0));
    assert!((MIDNIGHT..MIDNIGHT + REPORT_SPREAD.as_secs()).contains(&due_at));
    assert_eq!(ledger.clone().due(due_at - 1), None);
    let (id, target) = ledger.due(due_at).unwrap();
    assert_eq!(ledger.due(due_at), None, "it is under way");
    ledger.sent(id, &target);
    assert_eq!(ledger.waiting().count(), 0);

    let mut next = counted();
    next.turn(MIDNIGHT);
    next.note(&good(), MIDNIGHT);
    next.told("d.example", &wanted(), MIDNIGHT);
    next.turn(MIDNIGHT + DAY);
    let due: Vec<u64> = next.waiting().map(|(.., due_at)| due_at).collect();
    assert_eq!(due, [due_at, due_at + DAY]);
    // Domains differ.
    let mut many = Ledger::default();
    for number in 0..20 {
        many.note(&Session { domain: format!("d{number}.example").into(), ..good() }, NOON);
    }
    many.turn(MIDNIGHT);
    assert!(many.waiting().map(|(.., due_at)| due_at).collect::<BTreeSet<_>>().len() > 10);
}

#[test]
fn what_was_sent_before_the_end_of_the_day_is_not_sent_again() {
    let mut ledger = counted();
    ledger.close_now(NOON + 10);
    let (id, target) = ledger.due(NOON + 10).expect("at once");
    let first = Report::new(ledger.closed(id).unwrap(), &reporter()).id;
    ledger.sent(id, &target);
    ledger.note(&good(), NOON + 20);
    ledger.told("d.example", &wanted(), NOON + 20);
    ledger.turn(MIDNIGHT);
    let (closed, ..) = ledger.waiting().next().unwrap();
    assert_eq!((closed.from, closed.until, closed.sessions()), (NOON + 10, MIDNIGHT, (1, 0)));
    assert_ne!(Report::new(closed, &reporter()).id, first);
}

#[test]
fn a_domain_that_wants_no_reports_is_known_by_name_alone() {
    let mut ledger = counted();
    ledger.told("d.example", &Record::Absent, NOON);
    ledger.note(&bad(), NOON);
    assert_eq!(ledger.question(NOON), None);
    assert_eq!(ledger.counted().map(|(.., sessions)| sessions).collect::<Vec<_>>(), [(0, 0)]);
    ledger.turn(MIDNIGHT);
    assert_eq!((ledger.waiting().count(), ledger.counted().count()), (0, 0));
}

#[test]
fn what_cannot_be_sent_is_tried_again_until_it_is_given_up() {
    let mut ledger = counted();
    ledger.close_now(NOON);
    let mut at = NOON;
    for attempts in 1..=REPORT_ATTEMPTS_MAX {
        let (id, target) = ledger.due(at).expect("it is due again");
        let progress = ledger.failed(id, &target, at).unwrap();
        assert_eq!(progress, Progress { attempts, given_up: attempts == REPORT_ATTEMPTS_MAX });
        assert_eq!(ledger.due(at), None);
        at += REPORT_RETRY_DELAY.as_secs();
    }
    assert_eq!((ledger.waiting().count(), ledger.counts().reports_dropped), (0, 1));
    // So it is with a record that cannot be found.
    let mut ledger = Ledger::default();
    ledger.note(&good(), NOON);
    ledger.close_now(NOON);
    let mut asked = 0;
    while let Some(domain) = ledger.question(NOON + asked * REPORT_RETRY_DELAY.as_secs()) {
        ledger.told(&domain, &Record::Unknown, NOON + asked * REPORT_RETRY_DELAY.as_secs());
        asked += 1;
    }
    assert_eq!((asked, ledger.counts().reports_dropped), (u64::from(REPORT_ATTEMPTS_MAX), 1));
    // One that waits whatever for is given up some day.
    let mut ledger = counted();
    ledger.close_now(NOON);
    ledger.due(NOON);
    ledger.turn(NOON + 4 * DAY);
    assert_eq!((ledger.waiting().count(), ledger.counts().reports_dropped), (0, 1));
}

#[test]
fn a_restart_goes_on_with_what_was_counted() {
    let mut ledger = counted();
    ledger.close_now(NOON);
    ledger.due(NOON).expect("it is under way when the box stops");
    ledger.note(&bad(), NOON + 1);
    let kept = serde_json::to_string(&ledger).unwrap();
    let mut again: Ledger = serde_json::from_str::<Ledger>(&kept).unwrap().resumed();
    assert_eq!(
        again.counted().map(|(domain, .., sessions)| (domain, sessions)).collect::<Vec<_>>(),
        [("d.example", (0, 1))]
    );
    assert_eq!(again.question(NOON + 1).as_deref(), Some("d.example"));
    assert!(again.due(NOON + 1).is_some());
}

#[test]
fn nothing_of_it_grows_without_end() {
    let mut ledger = Ledger::default();
    for number in 0..REPORT_DOMAINS_MAX + 10 {
        ledger.note(&Session { domain: format!("d{number}.example").into(), ..good() }, NOON);
    }
    for number in 0..10 * REPORT_FAILURES_MAX {
        let fault = Fault::new(ResultType::ValidationFailure, &number.to_string());
        ledger.note(&Session { domain: "d100.example".into(), attempt: attempt(Some(fault)), ..good() }, NOON);
        let changing = session(Dane::Absent, policy(Mode::Enforce, &format!("mx{number}.example")), None);
        ledger.note(&Session { domain: "d101.example".into(), ..changing }, NOON);
    }
    ledger.note_lost(3);
    assert_eq!((ledger.counts().sessions_omitted, ledger.counts().sessions_lost), (10, 3));
    ledger.gauge(&mut |gauge| assert!(gauge.holds(), "{gauge:?}"));
    ledger.told("d100.example", &wanted(), NOON);
    ledger.told("d101.example", &wanted(), NOON);
    for _ in 0..3 {
        ledger.close_now(NOON);
        ledger.note(&good(), NOON);
    }
    ledger.gauge(&mut |gauge| assert!(gauge.holds(), "{gauge:?}"));
    let report = |domain: &str| {
        let (closed, ..) = ledger.waiting().find(|(closed, ..)| *closed.domain == *domain).unwrap();
        serde_json::from_str::<Value>(&Report::new(closed, &reporter()).json).unwrap()
    };
    let one = report("d100.example");
    let [policy] = &one["policies"].as_array().unwrap()[..] else { panic!("{one}") };
    assert_eq!(policy["summary"]["total-failure-session-count"], 10 * REPORT_FAILURES_MAX);
    assert_eq!(policy["failure-details"].as_array().unwrap().len(), REPORT_FAILURES_MAX);
    assert_eq!(report("d101.example")["policies"].as_array().unwrap().len(), REPORT_POLICIES_MAX);
    let long = Fault::new(ResultType::ValidationFailure, &"ä".repeat(1000));
    assert_eq!(long.text.len(), 256);
}

#[test]
fn a_clock_that_jumps_breaks_nothing() {
    let mut ledger = counted();
    for at in [NOON - 10 * DAY, NOON, 0, u64::from(u32::MAX), NOON] {
        ledger.note(&good(), at);
        ledger.turn(at);
        assert!(ledger.waiting().all(|(closed, ..)| closed.from <= closed.until));
        for (closed, ..) in ledger.waiting() {
            Report::new(closed, &reporter());
        }
    }
}

/// RFC 8460, Appendix B.
const APPENDIX_B: &str = r#"{
  "organization-name": "Company-X",
  "date-range": { "start-datetime": "2016-04-01T00:00:00Z", "end-datetime": "2016-04-01T23:59:59Z" },
  "contact-info": "sts-reporting@company-x.example",
  "report-id": "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
  "policies": [{
    "policy": {
      "policy-type": "sts",
      "policy-string": ["version: STSv1","mode: testing", "mx: *.mail.company-y.example","max_age: 86400"],
      "policy-domain": "company-y.example",
      "mx-host": ["*.mail.company-y.example"]
    },
    "summary": { "total-successful-session-count": 5326, "total-failure-session-count": 303 },
    "failure-details": [{
      "result-type": "certificate-expired",
      "sending-mta-ip": "2001:db8:abcd:0012::1",
      "receiving-mx-hostname": "mx1.mail.company-y.example",
      "failed-session-count": 100
    }, {
      "result-type": "starttls-not-supported",
      "sending-mta-ip": "2001:db8:abcd:0013::1",
      "receiving-mx-hostname": "mx2.mail.company-y.example",
      "receiving-ip": "203.0.113.56",
      "failed-session-count": 200,
      "additional-information": "https://reports.company-x.example/report_info?id=5065427c-23d3#StarttlsNotSupported"
    }, {
      "result-type": "validation-failure",
      "sending-mta-ip": "198.51.100.62",
      "receiving-ip": "203.0.113.58",
      "receiving-mx-hostname": "mx-backup.mail.company-y.example",
      "failed-session-count": 3,
      "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"
    }]
  }]
}"#;

/// The keys of an object and all below it, each by the keys above it.
fn keys(value: &Value, above: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            let key = format!("{above}/{key}");
            keys(value, &key, found);
            found.insert(key);
        }),
        Value::Array(items) => items.iter().for_each(|item| keys(item, above, found)),
        _ => {}
    }
}

#[test]
fn a_report_is_written_as_that_of_the_rfc_is() {
    let example = TlsReport::parse_json(APPENDIX_B.as_bytes()).expect("the example is read");
    assert_eq!(example.policies[0].failure_details.len(), 3);
    let mut ledger = counted();
    ledger.close_now(NOON + 60);
    let (id, _) = ledger.due(NOON + 60).unwrap();
    let report = Report::new(ledger.closed(id).unwrap(), &reporter());
    let ours: Value = serde_json::from_str(&report.json).unwrap();
    let expected = serde_json::json!({
        "organization-name": "Example Net",
        "date-range": { "start-datetime": "2025-11-26T00:00:00Z", "end-datetime": "2025-11-26T12:00:59Z" },
        "contact-info": "postmaster@example.net",
        "report-id": format!("{}-{}.d.example@mx1.example.net", NOON - 43_200, NOON + 60),
        "policies": [{
            "policy": {
                "policy-type": "sts",
                "policy-string": ["version: STSv1", "mode: enforce", "mx: mx.example", "max_age: 86400"],
                "policy-domain": "d.example",
                "mx-host": ["mx.example"],
            },
            "summary": { "total-successful-session-count": 2, "total-failure-session-count": 1 },
            "failure-details": [{
                "result-type": "starttls-not-supported",
                "sending-mta-ip": "192.0.2.25",
                "receiving-mx-hostname": "mx.example",
                "receiving-ip": "192.0.2.1",
                "failed-session-count": 1,
                "failure-reason-code": "the host does not offer STARTTLS",
            }],
        }],
    });
    assert_eq!(ours, expected);
    let (mut theirs, mut written) = (BTreeSet::new(), BTreeSet::new());
    keys(&serde_json::from_str(APPENDIX_B).unwrap(), "", &mut theirs);
    keys(&ours, "", &mut written);
    assert!(written.is_subset(&theirs), "{:?}", written.difference(&theirs));
}

#[test]
fn the_mail_of_a_report_is_as_the_rfc_wants_it() {
    let mut ledger = counted();
    ledger.close_now(NOON);
    let (id, _) = ledger.due(NOON).unwrap();
    let report = Report::new(ledger.closed(id).unwrap(), &reporter());
    let message = report.mail("d.example", &reporter(), "reports@d.example").unwrap();
    assert!(message.envelope.tls_optional);
    assert_eq!(&*message.envelope.reverse_path, "tls-reports@example.net");
    let text = String::from_utf8(message.content.clone()).expect("it is ASCII");
    assert!(text.is_ascii() && text.ends_with("\r\n"));
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "no CR or LF stands alone");
    for line in [
        "TLS-Required: No",
        "From: <tls-reports@example.net>",
        "To: <reports@d.example>",
        "TLS-Report-Domain: d.example",
        "TLS-Report-Submitter: example.net",
        "MIME-Version: 1.0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    assert!(text.contains("multipart/report") && text.contains("report-type=\"tlsrpt\""), "{text}");
    assert!(text.contains("application/tlsrpt+gzip"), "{text}");
    let read = TlsReport::parse_rfc5322(text.as_bytes(), 1 << 20).expect("a report is in it");
    assert_eq!(read, TlsReport::parse_json(report.json.as_bytes()).unwrap());
}

fn reply(texts: &[&str]) -> Reply {
    let record =
        |text: &&str| DnsRecord { name: "_smtp._tls.d.example".into(), data: Data::Text(text.as_bytes().into()) };
    Reply { said: Said::Records(texts.iter().map(record).collect()), secure: false, ttl: Duration::ZERO }
}

#[test]
fn what_a_domain_publishes_is_believed_only_as_far_as_it_makes_sense() {
    let targets = |texts: &[&str]| match Record::of(&reply(texts)) {
        Record::Wanted(targets) => targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    };
    for (texts, expected) in [
        (&["v=TLSRPTv1; rua=mailto:reports@d.example"][..], "mailto:reports@d.example"),
        (
            &["v=spf1 -all", "v=TLSRPTv1;rua=mailto:a@d.example,https://T.d.example/v1?x=y;"],
            "mailto:a@d.example https://t.d.example/v1?x=y",
        ),
        (&["v=TLSRPTv1; rua=https://t.d.example:8443"], "https://t.d.example:8443/"),
        (&["v=TLSRPTv1; rua=mailto:a@d.example?subject=x"], "mailto:a@d.example"),
        (&["v=TLSRPTv1; rua=mailto:a@d.example", "v=TLSRPTv1; rua=mailto:b@d.example"], "Absent"),
        (&["v=TLSRPTv1; rua=http://t.d.example/"], "Absent"),
        (&["v=TLSRPTv1; rua=https://192.0.2.1/"], "Absent"),
        (&["v=TLSRPTv1; rua=https://[2001:db8::1]/"], "Absent"),
        (&["v=TLSRPTv1; rua=https://t.d.example/a b"], "Absent"),
        (&["v=TLSRPTv1; rua=mailto:a@d.example>\r\nBcc: b@d.example"], "Absent"),
        (&["v=TLSRPTv1; rua=mailto:a"], "Absent"),
        (&["v=TLSRPTv1; rua=mailto:a%2Bb@d.example"], "Absent"),
        (&["v=TLSRPTv1; x=y; rua = mailto:a@d.example ; rua=mailto:b@d.example"], "mailto:a@d.example"),
        (&["v=TLSRPTv1 ; rua=ftp:x, mailto:a@d.example"], "mailto:a@d.example"),
        (&["v=TLSRPTv1; rua=mailto:a@[192.0.2.1]"], "Absent"),
        (&["v=TLSRPTv1;"], "Absent"),
        (&["v=TLSRPTv2; rua=mailto:a@d.example"], "Absent"),
        (&[], "Absent"),
    ] {
        assert_eq!(targets(texts), expected, "{texts:?}");
    }
    assert_eq!(Record::of(&Reply::failed("server failure")), Record::Unknown);
    let many: String = (0..20).map(|number| format!("mailto:a{number}@d.example,")).collect();
    let text = format!("v=TLSRPTv1; rua={}", many.trim_end_matches(','));
    assert_eq!(targets(&[&text]).split(' ').count(), 4);
}
