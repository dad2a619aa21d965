use super::*;
use crate::env::Instant;
use crate::limits::{
    DNS_FAILURE_TTL, DNS_NEGATIVE_TTL_MAX, DNS_TTL_MAX, DNS_TTL_MIN, HOST_ADDRESSES_MAX, LOOKUP_PATIENCE, LOOKUPS_MAX,
    LOOKUPS_PER_WORKER_MAX, MX_HOSTS_MAX, POLICY_FETCHES_MAX, TLSA_SIZE_MAX,
};
use crate::sts::{Mode, Policy};
use crate::tls::Tlsa;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A small world of names: one line a record, `NAME KIND DATA`, and `NAME fails`, `NAME is-not`, `NAME insecure`. What is not named
/// has nothing.
struct Zone {
    records: BTreeMap<Box<str>, Vec<(Kind, Data)>>,
    fails: Vec<Box<str>>,
    missing: Vec<Box<str>>,
    insecure: Vec<Box<str>>,
    secure: bool,
    ttl: Duration,
}

impl Zone {
    fn new(text: &str) -> Zone {
        let mut zone = Zone {
            records: BTreeMap::new(),
            fails: Vec::new(),
            missing: Vec::new(),
            insecure: Vec::new(),
            secure: false,
            ttl: Duration::from_secs(300),
        };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let undotted = |name: &str| Box::<str>::from(name.trim_end_matches('.'));
            let (kind, data) = match words[1..] {
                ["fails"] => {
                    zone.fails.push(words[0].into());
                    continue;
                }
                ["is-not"] => {
                    zone.missing.push(words[0].into());
                    continue;
                }
                ["insecure"] => {
                    zone.insecure.push(words[0].into());
                    continue;
                }
                ["TLSA", usage, selector, matching, byte] => {
                    let [usage, selector, matching, byte] =
                        [usage, selector, matching, byte].map(|number| number.parse().unwrap());
                    let size = [100, 32, 64][usize::from(matching)];
                    (Kind::Tlsa, Data::Tlsa(Tlsa { usage, selector, matching, data: vec![byte; size].into() }))
                }
                ["TXT", ..] => {
                    let text = words[2..].join(" ");
                    (Kind::Txt, Data::Text(text.as_bytes().into()))
                }
                ["policy", mode, ref mx @ ..] => {
                    let mode = if mode == "enforce" { Mode::Enforce } else { Mode::Testing };
                    let mx = mx.iter().map(|host| (*host).into()).collect();
                    let policy = Policy { mode, mx, max_age: Duration::from_secs(1_000_000) };
                    (Kind::Policy, Data::Policy(Ok(Arc::new(policy))))
                }
                ["MX", preference, host] => {
                    (Kind::Mx, Data::Mx { preference: preference.parse().unwrap(), host: undotted(host) })
                }
                ["A", address] => (Kind::A, Data::Address(address.parse().unwrap())),
                ["AAAA", address] => (Kind::Aaaa, Data::Address(address.parse().unwrap())),
                ["CNAME", target] => (Kind::Mx, Data::Alias(undotted(target))),
                _ => panic!("{line}"),
            };
            zone.records.entry(words[0].into()).or_default().push((kind, data));
        }
        zone
    }

    /// As a resolver that does not follow aliases; another one would give all of it at once.
    fn reply(&self, question: &Question) -> Reply {
        let Zone { secure, ttl, .. } = *self;
        let said = if self.fails.contains(&question.name) {
            Said::Failed("server failure".into())
        } else if self.missing.contains(&question.name) {
            Said::NoName
        } else {
            let all = self.records.get(&question.name).into_iter().flatten();
            let fits = |(kind, data): &&(Kind, Data)| *kind == question.kind || matches!(data, Data::Alias(_));
            let records: Vec<Record> =
                all.filter(fits).map(|(_, data)| Record { name: question.name.clone(), data: data.clone() }).collect();
            if records.is_empty() { Said::Nothing } else { Said::Records(records) }
        };
        // As hickory has it: how a denial came is not known.
        let secure = secure && !self.insecure.contains(&question.name) && matches!(said, Said::Records(_));
        Reply { said, secure, ttl }
    }

    fn answer_by(&self, rules: Rules, domain: &str) -> Answer {
        let mut clerk = Clerk::new(rules, 1);
        clerk.ask(at(0), 0, domain);
        for _ in 0..100 {
            if let Some((worker, name, answer)) = clerk.answer() {
                assert_eq!((worker, &*name), (0, domain));
                assert_eq!(clerk.question(), None, "nothing is left over");
                return answer;
            }
            let question = clerk.question().expect("a question or an answer");
            clerk.tell(at(0), &question, self.reply(&question));
        }
        panic!("no end");
    }

    fn answer(&self, domain: &str) -> Answer {
        self.answer_by(rules(), domain)
    }

    /// `10 name address address, 20 …`, or the status.
    fn hosts(&self, domain: &str) -> String {
        show(&self.answer(domain).result)
    }
}

fn show(result: &Result<Arc<MailHosts>, Failure>) -> String {
    match result {
        Err(Failure { status: (class, subject, detail), .. }) => format!("{class}.{subject}.{detail}"),
        Ok(hosts) => {
            let host = |host: &MailHost| {
                let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
                format!("{} {} {}", host.preference, host.name, addresses.join(" "))
            };
            hosts.hosts.iter().map(host).collect::<Vec<_>>().join(", ")
        }
    }
}

fn rules() -> Rules {
    let names = vec!["us.example".into()];
    let addresses = vec![IpAddr::from([192, 0, 2, 25])];
    Rules {
        families: Families { v4: true, v6: true },
        ourselves: Ourselves { names, addresses },
        dane: true,
        sts: false,
    }
}

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

#[test]
fn hosts_come_by_preference_with_the_addresses_of_both_families() {
    let zone = Zone::new(
        "d.example MX 20 b.example
         d.example MX 10 c.example
         d.example MX 10 a.example
         a.example A 198.51.100.1
         a.example AAAA 2001:db8::1
         b.example A 198.51.100.2
         c.example AAAA 2001:db8::3",
    );
    let all = "10 a.example 2001:db8::1 198.51.100.1, 10 c.example 2001:db8::3, 20 b.example 198.51.100.2";
    assert_eq!(zone.hosts("d.example"), all);
    assert_eq!(zone.hosts("D.Example."), all);
    let only = |v4, v6| show(&zone.answer_by(Rules { families: Families { v4, v6 }, ..rules() }, "d.example").result);
    assert_eq!(only(true, false), "10 a.example 198.51.100.1, 20 b.example 198.51.100.2");
    assert_eq!(only(false, true), "10 a.example 2001:db8::1, 10 c.example 2001:db8::3");
}

#[test]
fn a_domain_without_mail_hosts_is_its_own() {
    let zone = Zone::new(
        "d.example A 198.51.100.1
         n.example is-not",
    );
    assert_eq!(zone.hosts("d.example"), "0 d.example 198.51.100.1");
    assert!(zone.answer("d.example").result.unwrap().implicit);
    assert_eq!(zone.hosts("e.example"), "5.1.2");
    assert_eq!(zone.hosts("n.example"), "5.1.2");
}

#[test]
fn a_null_mx_takes_no_mail_and_is_nothing_beside_others() {
    let zone = Zone::new(
        "null.example MX 0 .
         null.example A 198.51.100.1
         odd.example MX 0 .
         odd.example MX 10 a.example
         a.example A 198.51.100.2",
    );
    assert_eq!(zone.hosts("null.example"), "5.1.10");
    assert_eq!(zone.hosts("odd.example"), "10 a.example 198.51.100.2");
}

#[test]
fn a_host_that_is_ourselves_is_dropped_with_all_that_are_no_better() {
    let zone = Zone::new(
        "backup.example MX 10 a.example
         backup.example MX 20 us.example
         backup.example MX 20 b.example
         backup.example MX 30 c.example
         first.example MX 10 us.example
         first.example MX 20 b.example
         by-address.example MX 10 other.example
         by-address.example MX 20 b.example
         self.example A 192.0.2.25
         local.example A 127.0.0.1
         other.example A 192.0.2.25
         a.example A 198.51.100.1
         b.example A 198.51.100.2
         c.example A 198.51.100.3",
    );
    assert_eq!(zone.hosts("backup.example"), "10 a.example 198.51.100.1");
    for domain in
        ["first.example", "by-address.example", "self.example", "local.example", "[192.0.2.25]", "[127.0.0.1]"]
    {
        assert_eq!(zone.hosts(domain), "5.4.6", "{domain}");
    }
}

#[test]
fn what_fails_for_now_is_no_end_and_hides_no_host() {
    let zone = Zone::new(
        "sick.example fails
         d.example MX 10 sick.example
         e.example MX 10 sick.example
         e.example MX 20 a.example
         a.example A 198.51.100.1",
    );
    assert_eq!(zone.hosts("sick.example"), "4.4.3");
    assert_eq!(zone.hosts("d.example"), "4.4.3");
    let answer = zone.answer("e.example");
    assert_eq!(show(&answer.result), "20 a.example 198.51.100.1");
    assert_eq!(answer.ttl, DNS_FAILURE_TTL, "the better host is asked about again soon");
}

#[test]
fn what_is_no_host_is_dropped() {
    let zone = Zone::new(
        "d.example MX 10 198.51.100.1
         d.example MX 10 a_b!c.example
         d.example MX 20 a.example
         e.example MX 10 198.51.100.1
         f.example MX 10 wild.example
         wild.example A 224.0.0.1
         a.example A 198.51.100.2",
    );
    assert_eq!(zone.hosts("d.example"), "20 a.example 198.51.100.2");
    assert_eq!(zone.hosts("e.example"), "5.4.4");
    assert_eq!(zone.hosts("f.example"), "5.4.4");
    for domain in ["", "a..example", "spa ce.example", &"x".repeat(300), "[192.0.2]", "1.2.3.4"] {
        assert_eq!(zone.hosts(domain), "5.1.2", "{domain}");
    }
}

#[test]
fn aliases_are_followed_for_a_while() {
    let mut text = "alias.example CNAME d.example
         d.example MX 10 mx.example
         mx.example CNAME real.example
         real.example A 198.51.100.1
         lone.example CNAME real.example
         loop.example CNAME pool.example
         pool.example CNAME loop.example\n"
        .to_owned();
    for step in 0..20 {
        text.push_str(&format!("a{step}.example CNAME a{}.example\n", step + 1));
    }
    let zone = Zone::new(&text);
    assert_eq!(zone.hosts("alias.example"), "10 mx.example 198.51.100.1");
    assert_eq!(zone.hosts("lone.example"), "0 real.example 198.51.100.1");
    assert_eq!(zone.hosts("loop.example"), "4.4.3");
    assert_eq!(zone.hosts("a0.example"), "4.4.3");
    assert_eq!(zone.hosts("a18.example"), "5.1.2");
}

#[test]
fn unicode_and_address_literals_find_their_hosts() {
    let zone = Zone::new(
        "xn--bcher-kva.example MX 10 mx.example
         mx.example A 198.51.100.1",
    );
    assert_eq!(zone.hosts("Bücher.example"), "10 mx.example 198.51.100.1");
    assert_eq!(zone.hosts("[198.51.100.9]"), "0 [198.51.100.9] 198.51.100.9");
    assert_eq!(zone.hosts("[IPv6:2001:db8::9]"), "0 [2001:db8::9] 2001:db8::9");
    assert_eq!(zone.hosts("[224.0.0.1]"), "5.1.2");
}

#[test]
fn a_domain_cannot_make_us_keep_or_try_without_end() {
    let mut text = String::new();
    // The best ones come last.
    for host in 0..100 {
        text.push_str(&format!("d.example MX {} h{host:02}.example\n", 200 - host));
        text.push_str(&format!("h{host:02}.example A 198.51.100.1\n"));
    }
    for address in 0..60 {
        text.push_str(&format!("e.example A 198.51.100.{address}\n"));
    }
    let zone = Zone::new(&text);
    let hosts = zone.answer("d.example").result.unwrap();
    assert_eq!(hosts.hosts.len(), MX_HOSTS_MAX);
    assert_eq!(hosts.hosts[0].preference, 101);
    assert_eq!(zone.answer("e.example").result.unwrap().hosts[0].addresses.len(), HOST_ADDRESSES_MAX);
}

#[test]
fn security_is_known_of_the_set_and_of_each_host() {
    let text = "d.example MX 10 a.example
         a.example A 198.51.100.1";
    let mut zone = Zone::new(text);
    let hosts = zone.answer("d.example").result.unwrap();
    assert!(!hosts.secure);
    assert!(!hosts.hosts[0].secure);
    zone.secure = true;
    let hosts = zone.answer("d.example").result.unwrap();
    assert!(hosts.secure);
    assert!(hosts.hosts[0].secure);

    // A secure set may name hosts of insecure zones.
    let mut clerk = Clerk::new(rules(), 1);
    clerk.ask(at(0), 0, "d.example");
    while let Some(question) = clerk.question() {
        let mut reply = zone.reply(&question);
        reply.secure = question.kind == Kind::Mx;
        clerk.tell(at(0), &question, reply);
    }
    let hosts = clerk.answer().unwrap().2.result.unwrap();
    assert!(hosts.secure);
    assert!(!hosts.hosts[0].secure);
}

/// What the certificate of a domain's first host is known by: `BASE: USAGE SELECTOR MATCHING FIRST-BYTE …`.
fn dane(zone: &Zone, domain: &str) -> String {
    match &zone.answer(domain).result.unwrap().hosts[0].dane {
        Dane::Absent => "absent".to_owned(),
        Dane::Unknown(why) => format!("unknown: {why}"),
        Dane::Present(known) => {
            let record = |tlsa: &Tlsa| format!(" {} {} {} {}", tlsa.usage, tlsa.selector, tlsa.matching, tlsa.data[0]);
            format!("{}:{}", known.base(), known.records().iter().map(record).collect::<String>())
        }
    }
}

#[test]
fn a_host_is_known_by_tlsa_records_if_all_that_leads_to_them_is_secure() {
    let text = "d.example MX 10 a.example
         a.example A 198.51.100.1
         _25._tcp.a.example TLSA 3 1 1 7
         _25._tcp.a.example TLSA 2 0 1 8
         pkix.example MX 10 b.example
         b.example A 198.51.100.1
         _25._tcp.b.example TLSA 1 1 1 7
         none.example MX 10 c.example
         c.example A 198.51.100.1
         sick.example MX 10 e.example
         e.example A 198.51.100.1
         _25._tcp.e.example fails
         _25._tcp.own.example TLSA 3 1 1 9
         own.example A 198.51.100.1
         long.example MX 10 LONG
         LONG A 198.51.100.1\n";
    let long = format!("{0}.{0}.{0}.{1}.example", "x".repeat(60), "y".repeat(58));
    let mut zone = Zone::new(&text.replace("LONG", &long));
    assert_eq!(dane(&zone, "d.example"), "absent");
    zone.secure = true;
    for (domain, known) in [
        ("d.example", "a.example: 2 0 1 8 3 1 1 7"),
        ("pkix.example", "b.example:"),
        ("none.example", "absent"),
        ("sick.example", "unknown: the TLSA records of e.example: server failure"),
        ("own.example", "own.example: 3 1 1 9"),
        ("long.example", "absent"),
    ] {
        assert_eq!(dane(&zone, domain), known, "{domain}");
    }
    for insecure in ["d.example", "a.example", "_25._tcp.a.example"] {
        zone.insecure = vec![insecure.into()];
        assert_eq!(dane(&zone, "d.example"), "absent", "{insecure}");
    }
    // That there is no MX record is as secure as the address.
    zone.insecure.clear();
    assert!(zone.answer("own.example").result.unwrap().secure);
    zone.insecure = vec!["own.example".into()];
    assert!(!zone.answer("own.example").result.unwrap().secure);
}

#[test]
fn nobody_is_asked_for_tlsa_records_that_nobody_wants() {
    let mut zone = Zone::new(
        "d.example MX 10 a.example
         a.example A 198.51.100.1
         _25._tcp.a.example fails",
    );
    zone.secure = true;
    let answer = zone.answer_by(Rules { dane: false, ..rules() }, "d.example");
    assert_eq!(answer.result.unwrap().hosts[0].dane, Dane::Absent);
    assert!(answer.ttl > DNS_FAILURE_TTL);
}

#[test]
fn tlsa_records_are_those_of_what_a_host_is_an_alias_of_or_its_own() {
    let mut zone = Zone::new(
        "d.example MX 10 alias.example
         alias.example CNAME mx.example
         mx.example A 198.51.100.1
         _25._tcp.alias.example TLSA 3 1 1 7
         _25._tcp.mx.example CNAME common.example
         common.example TLSA 3 1 1 8",
    );
    zone.secure = true;
    assert_eq!(dane(&zone, "d.example"), "mx.example: 3 1 1 8");
    zone.records.remove("common.example");
    assert_eq!(dane(&zone, "d.example"), "alias.example: 3 1 1 7");
    // Where it leads is not secure, but that it leads there is.
    zone.insecure = vec!["mx.example".into()];
    assert_eq!(dane(&zone, "d.example"), "alias.example: 3 1 1 7");
    zone.insecure.push("alias.example".into());
    assert_eq!(dane(&zone, "d.example"), "absent");
    zone.insecure.clear();
    zone.fails = vec!["_25._tcp.mx.example".into()];
    assert!(dane(&zone, "d.example").starts_with("unknown"));
}

#[test]
fn tlsa_records_that_are_too_large_to_keep_still_demand_tls() {
    let mut zone = Zone::new(
        "d.example MX 10 a.example
         a.example A 198.51.100.1",
    );
    zone.secure = true;
    let large =
        |byte| Data::Tlsa(Tlsa { usage: 3, selector: 0, matching: 0, data: vec![byte; TLSA_SIZE_MAX / 2].into() });
    let records = (0..40).map(|byte| (Kind::Tlsa, large(byte))).collect();
    zone.records.insert("_25._tcp.a.example".into(), records);
    let Dane::Present(known) = &zone.answer("d.example").result.unwrap().hosts[0].dane else {
        panic!("there are some")
    };
    assert_eq!(known.records().len(), 2);
    let larger = Data::Tlsa(Tlsa { usage: 3, selector: 0, matching: 0, data: vec![1; TLSA_SIZE_MAX + 1].into() });
    zone.records.insert("_25._tcp.a.example".into(), vec![(Kind::Tlsa, larger)]);
    assert_eq!(dane(&zone, "d.example"), "a.example:");
}

/// Asks about a domain at a time, and gives the answer and what was asked for it.
fn follow(clerk: &mut Clerk, zone: &Zone, seconds: u64) -> (Answer, Vec<String>) {
    clerk.ask(at(seconds), 0, "D.Example");
    let mut questions = Vec::new();
    while let Some(question) = clerk.question() {
        clerk.gauge(&mut |gauge| assert!(gauge.holds(), "{gauge:?}"));
        clerk.tell(at(seconds), &question, zone.reply(&question));
        questions.push(question.to_string());
    }
    (clerk.answer().expect("an answer").2, questions)
}

#[test]
fn a_policy_is_fetched_when_its_record_says_that_it_is_another_one() {
    let mut zone = Zone::new(
        "d.example MX 10 a.example
         a.example A 198.51.100.1
         _mta-sts.d.example TXT v=STSv1; id=1;
         d.example policy enforce a.example",
    );
    let mut clerk = Clerk::new(Rules { sts: true, ..rules() }, 1);
    let mode = |answer: &Answer| answer.result.as_ref().unwrap().sts.policy.as_ref().map(|policy| policy.mode);
    let (answer, questions) = follow(&mut clerk, &zone, 0);
    assert_eq!(mode(&answer), Some(Mode::Enforce));
    let all = ["d.example MX", "_mta-sts.d.example TXT", "a.example AAAA", "a.example A", "d.example policy"];
    assert!(
        questions.len() == all.len() && all.iter().all(|one| questions.iter().any(|other| other == one)),
        "{questions:?}"
    );

    // An hour later everything is asked again but the policy.
    zone.fails = vec!["none".into()];
    let (answer, questions) = follow(&mut clerk, &zone, 3600);
    assert_eq!(mode(&answer), Some(Mode::Enforce));
    assert!(!questions.iter().any(|question| question == "d.example policy"), "{questions:?}");

    // It cannot be fetched: the one before counts, and why is known.
    zone.records.remove("_mta-sts.d.example");
    let again = Zone::new("_mta-sts.d.example TXT v=STSv1; id=2;");
    zone.records.extend(again.records);
    let records = zone.records.get_mut("d.example").unwrap();
    records.retain(|(kind, _)| *kind != Kind::Policy);
    let (answer, questions) = follow(&mut clerk, &zone, 7200);
    assert_eq!(mode(&answer), Some(Mode::Enforce));
    assert!(answer.result.unwrap().sts.failure.is_some());
    assert!(questions.iter().any(|question| question == "d.example policy"), "{questions:?}");

    // So it does when the record is gone, or cannot be had.
    zone.records.remove("_mta-sts.d.example");
    assert_eq!(mode(&follow(&mut clerk, &zone, 10_800).0), Some(Mode::Enforce));
    zone.fails = vec!["_mta-sts.d.example".into()];
    let (answer, _) = follow(&mut clerk, &zone, 14_400);
    assert_eq!(mode(&answer), Some(Mode::Enforce));
    assert!(answer.ttl > DNS_FAILURE_TTL, "it is no reason to ask again soon");
    assert_eq!(mode(&follow(&mut clerk, &zone, 1_000_001).0), None);
}

#[test]
fn a_domain_without_a_policy_waits_for_nobody() {
    let mut zone = Zone::new(
        "d.example MX 10 a.example
         a.example A 198.51.100.1",
    );
    let mut clerk = Clerk::new(Rules { sts: true, ..rules() }, 1);
    let (answer, questions) = follow(&mut clerk, &zone, 0);
    assert_eq!(answer.result.unwrap().sts, crate::sts::Standing::default());
    assert!(!questions.iter().any(|question| question.ends_with(" policy")));
    // A record, and nothing behind it.
    zone.records.extend(Zone::new("_mta-sts.d.example TXT v=STSv1; id=2;").records);
    let (answer, _) = follow(&mut clerk, &zone, 10_000);
    let sts = answer.result.unwrap().sts.clone();
    assert_eq!((sts.policy, sts.failure.is_some()), (None, true));
}

#[test]
fn servers_of_policies_that_never_answer_hold_up_nobody_else() {
    let mut clerk = Clerk::new(Rules { sts: true, ..rules() }, 2);
    for number in 0..LOOKUPS_PER_WORKER_MAX {
        clerk.ask(at(0), 0, &format!("d{number}.example"));
    }
    let mut fetches = 0;
    while let Some(question) = clerk.question() {
        clerk.gauge(&mut |gauge| assert!(gauge.holds(), "{gauge:?}"));
        let text = |text: &str| Record { name: question.name.clone(), data: Data::Text(text.as_bytes().into()) };
        let said = match question.kind {
            Kind::Policy => {
                fetches += 1;
                continue;
            }
            Kind::Txt => Said::Records(vec![text("v=STSv1; id=1;")]),
            Kind::A => Said::Records(vec![Record {
                name: question.name.clone(),
                data: Data::Address([198, 51, 100, 1].into()),
            }]),
            _ => Said::Nothing,
        };
        clerk.tell(at(0), &question, Reply { said, secure: false, ttl: Duration::from_secs(60) });
    }
    assert_eq!(fetches, POLICY_FETCHES_MAX);
    clerk.ask(at(0), 1, "[198.51.100.7]");
    assert!(clerk.answer().is_some());
    clerk.ask(at(0), 1, "other.example");
    assert!(clerk.question().is_some());
}

#[test]
fn times_to_live_have_a_floor_and_a_ceiling() {
    let mut zone = Zone::new(
        "d.example MX 10 a.example
         a.example A 198.51.100.1",
    );
    for (said, ttl) in [(0, DNS_TTL_MIN), (300, Duration::from_secs(300)), (10_000_000, DNS_TTL_MAX)] {
        zone.ttl = Duration::from_secs(said);
        // The host has no IPv6 address, and that is not believed for as long.
        let rules = Rules { families: Families { v4: true, v6: false }, ..rules() };
        assert_eq!(zone.answer_by(rules, "d.example").ttl, ttl);
    }
}

#[test]
fn the_same_question_is_asked_once_and_remembered() {
    let zone = Zone::new(
        "d.example MX 10 a.example
         e.example MX 10 a.example
         a.example A 198.51.100.1",
    );
    let mut clerk = Clerk::new(rules(), 2);
    clerk.ask(at(0), 0, "d.example");
    clerk.ask(at(0), 1, "d.example");
    clerk.ask(at(0), 1, "e.example");
    let mut questions = Vec::new();
    while let Some(question) = clerk.question() {
        let reply = zone.reply(&question);
        clerk.tell(at(0), &question, reply);
        questions.push(question.to_string());
    }
    assert_eq!(questions, ["d.example MX", "e.example MX", "a.example AAAA", "a.example A"]);
    let answers: Vec<_> = std::iter::from_fn(|| clerk.answer()).map(|(worker, domain, _)| (worker, domain)).collect();
    assert_eq!(answers, [(0, "d.example".into()), (1, "d.example".into()), (1, "e.example".into())]);

    clerk.ask(at(290), 0, "d.example");
    assert_eq!(clerk.question(), None);
    assert_eq!(clerk.answer().unwrap().2.ttl, Duration::from_secs(10));
    clerk.ask(at(300), 0, "d.example");
    assert!(clerk.question().is_some());
}

#[test]
fn a_name_that_is_not_there_is_remembered_for_as_long_as_its_zone_says_within_bounds() {
    for (said, holds) in [(5, DNS_TTL_MIN), (77, Duration::from_secs(77)), (86_400, DNS_NEGATIVE_TTL_MAX)] {
        let mut zone = Zone::new("d.example is-not");
        zone.ttl = Duration::from_secs(said);
        let mut clerk = Clerk::new(rules(), 1);
        clerk.ask(at(0), 0, "d.example");
        while let Some(question) = clerk.question() {
            clerk.tell(at(0), &question, zone.reply(&question));
        }
        let answer = clerk.answer().expect("an answer").2;
        assert_eq!((show(&answer.result), answer.ttl), ("5.1.2".into(), holds));
        clerk.ask(at(holds.as_secs() - 1), 0, "d.example");
        assert_eq!(clerk.question(), None);
        assert_eq!(show(&clerk.answer().expect("an answer").2.result), "5.1.2");
        clerk.ask(at(holds.as_secs()), 0, "d.example");
        assert!(clerk.question().is_some(), "it may have come into being");
    }
}

#[test]
fn a_lookup_that_takes_longer_than_its_answers_hold_comes_to_an_end() {
    let mut zone = Zone::new(
        "d.example MX 10 a.example
         a.example A 198.51.100.1",
    );
    zone.ttl = Duration::ZERO;
    let mut clerk = Clerk::new(rules(), 1);
    clerk.ask(at(0), 0, "d.example");
    let mut seconds = 0;
    while let Some(question) = clerk.question() {
        let reply = zone.reply(&question);
        clerk.tell(at(seconds), &question, reply);
        seconds += 60;
    }
    let answer = clerk.answer().unwrap().2;
    assert_eq!((show(&answer.result), answer.ttl), ("10 a.example 198.51.100.1".into(), DNS_FAILURE_TTL));
}

#[test]
fn lookups_are_bounded() {
    let mut clerk = Clerk::new(rules(), 2);
    for number in 0..3 * LOOKUPS_PER_WORKER_MAX {
        clerk.ask(at(0), (number % 2) as u16, &format!("d{number}.example"));
    }
    let asked: Vec<Question> = std::iter::from_fn(|| clerk.question()).collect();
    assert_eq!(asked.len(), LOOKUPS_MAX);
    clerk.gauge(&mut |gauge| assert!(gauge.holds(), "{gauge:?}"));
    let mut answers = 0;
    let mut open = asked;
    while let Some(question) = open.pop() {
        clerk.tell(at(0), &question, Reply::failed("silence"));
        open.extend(std::iter::from_fn(|| clerk.question()));
        answers += std::iter::from_fn(|| clerk.answer()).count();
        clerk.gauge(&mut |gauge| assert!(gauge.holds(), "{gauge:?}"));
    }
    assert_eq!(answers, 2 * LOOKUPS_PER_WORKER_MAX);
}

#[test]
fn a_worker_asks_for_so_many_at_a_time_and_again_for_what_was_lost() {
    let mut enquiries = Enquiries::default();
    for number in 0..LOOKUPS_PER_WORKER_MAX + 1 {
        enquiries.want(&format!("d{number}.example"));
        enquiries.want("d0.example");
    }
    assert_eq!(enquiries.next_deadline(), Some(Instant::ZERO));
    let asked: Vec<_> = std::iter::from_fn(|| enquiries.next(at(0))).collect();
    assert_eq!(asked.len(), LOOKUPS_PER_WORKER_MAX);
    assert_eq!(enquiries.next_deadline(), Some(at(0) + LOOKUP_PATIENCE));
    assert!(enquiries.answered("d1.example"));
    assert!(!enquiries.answered("d1.example"));
    let last = enquiries.next(at(1)).unwrap();
    assert_eq!(*last, *format!("d{LOOKUPS_PER_WORKER_MAX}.example"));
    enquiries.refused(at(1), last.clone());
    assert_eq!(enquiries.next(at(1)), None);
    assert_eq!(enquiries.next(at(2)), Some(last));
    assert_eq!(enquiries.next(at(2)), None);
    assert_eq!(enquiries.next(at(0) + LOOKUP_PATIENCE).as_deref(), Some("d0.example"), "its answer was lost");
    enquiries.gauge(&mut |gauge| assert!(gauge.holds(), "{gauge:?}"));
}
