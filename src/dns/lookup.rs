//! The lookup of one domain: which questions it takes, and what comes of the answers.
//!
//! ```text
//!  MX? ─ records ──► hosts, sorted and bounded, without ourselves and what is no better ─► A?, AAAA? of each ─► hosts
//!   │ ├ one "." ───► the domain takes no mail (RFC 7505)
//!   │ └ no name ───► there is no such domain
//!   └── nothing ───► the domain is its own host ─► A?, AAAA? ─► hosts, or there is nothing
//!                                                     │ MX and addresses are secure, and DANE is wanted
//!                                                     └─► TLSA? ─► the host with what its certificate is known by
//!  TXT? ─ id or none ─► the policy of the domain (MTA-STS), beside all of this, if that is wanted
//! ```
//!
//! A name that is an alias is followed within an answer; where the answer ends before the alias does, the next question is
//! about what it stands for.

use super::answer::{Answer, Dane, Failure, MailHost, MailHosts};
use super::name;
use super::record::{Data, Kind, Question, Reply, Said};
use crate::env::Instant;
use crate::limits::{ALIASES_MAX, DNS_FAILURE_TTL, HOST_ADDRESSES_MAX, MX_HOSTS_MAX};
use crate::sts::{Standing, record_id};
use crate::tls::Associations;
use std::net::IpAddr;
use std::sync::Arc;

/// Which addresses are of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// A records are asked for.
    pub v4: bool,
    /// AAAA records are; their addresses are tried first.
    pub v6: bool,
}

/// By what we are known: mail must not come back to us.
#[derive(Clone, Debug, Default)]
pub struct Ourselves {
    /// The names by which we greet, in lower case.
    pub names: Vec<Box<str>>,
    /// Our addresses.
    pub addresses: Vec<IpAddr>,
}

impl Ourselves {
    fn is_named(&self, name: &str) -> bool {
        self.names.iter().any(|own| **own == *name)
    }

    /// An address of this box; those that no other box can have are among them.
    fn is_at(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || address.is_unspecified() || self.addresses.contains(&address)
    }
}

/// What holds for all lookups.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Which addresses are of use.
    pub families: Families,
    /// By what we are known.
    pub ourselves: Ourselves,
    /// Whether somebody wants to know of the certificates of hosts.
    pub dane: bool,
    /// Whether somebody wants to know of the policies of domains (MTA-STS).
    pub sts: bool,
}

/// Where the TLSA records of a mail host are, below its name (RFC 7672 §2.2.3).
const TLSA_PREFIX: &str = "_25._tcp.";

/// Where the record of a domain's policy is, below its name (RFC 8461 §3.1).
const POLICY_PREFIX: &str = "_mta-sts.";

/// The longest name, without the dot at its end (RFC 1035 §2.3.4).
const NAME_SIZE_MAX: usize = 253;

/// One thing that a lookup needs to know.
#[derive(Debug)]
struct Wanted {
    /// About the name itself or what it is an alias of.
    question: Question,
    /// What that is an alias of in the end.
    end: Box<str>,
    /// Aliases followed.
    aliases: usize,
    /// All that was said on the way was secure.
    secure: bool,
    found: Option<Found>,
}

/// What it came to know.
#[derive(Debug)]
enum Found {
    /// The data of the records of the kind that was asked for.
    Records(Vec<Data>),
    Nothing,
    NoName,
    Failed(Box<str>),
}

impl Wanted {
    fn new(name: &str, kind: Kind) -> Wanted {
        Wanted { question: Question::new(name, kind), end: name.into(), aliases: 0, secure: true, found: None }
    }

    /// Takes a reply to its question.
    fn tell(&mut self, reply: &Reply) {
        self.secure &= reply.secure;
        self.found = match &reply.said {
            Said::Nothing => Some(Found::Nothing),
            Said::NoName => Some(Found::NoName),
            Said::Failed(why) => Some(Found::Failed(why.clone())),
            Said::Records(records) => {
                let mut at: &str = &self.question.name;
                let aliased = |at: &str| {
                    records.iter().find_map(|record| match &record.data {
                        Data::Alias(target) if *record.name == *at => Some(&**target),
                        _ => None,
                    })
                };
                let follows = self.question.kind != Kind::Cname;
                while let Some(target) = aliased(at).filter(|_| follows && self.aliases < ALIASES_MAX) {
                    self.aliases += 1;
                    at = target;
                }
                let of_kind = |data: &Data| match (data, self.question.kind) {
                    (Data::Mx { .. }, Kind::Mx) => true,
                    (Data::Address(address), Kind::A) => address.is_ipv4(),
                    (Data::Address(address), Kind::Aaaa) => address.is_ipv6(),
                    (Data::Tlsa(_), Kind::Tlsa) | (Data::Text(_), Kind::Txt) | (Data::Alias(_), Kind::Cname) => true,
                    _ => false,
                };
                self.end = at.into();
                let here = records.iter().filter(|record| *record.name == *at && of_kind(&record.data));
                let data: Vec<Data> = here.map(|record| record.data.clone()).collect();
                if !data.is_empty() {
                    Some(Found::Records(data))
                } else if self.aliases >= ALIASES_MAX {
                    Some(Found::Failed(format!("{} is an alias of an alias, without end", self.question.name).into()))
                } else if *at == *self.question.name {
                    Some(Found::Nothing)
                } else {
                    // The resolver did not follow the alias to its end.
                    self.question.name = at.into();
                    None
                }
            }
        };
    }
}

/// A host whose addresses are looked up.
#[derive(Debug)]
struct Candidate {
    name: Box<str>,
    preference: u16,
    /// In the order in which they are tried.
    addresses: Vec<Wanted>,
    /// It is an alias of something that is not secure: whether it is that securely.
    alias: Option<Wanted>,
    /// Once the addresses are known, by the TLSA base domain: the first that has some counts.
    tlsa: Vec<(Box<str>, Wanted)>,
}

impl Candidate {
    fn all(&self) -> impl Iterator<Item = &Wanted> {
        self.addresses.iter().chain(&self.alias).chain(self.tlsa.iter().map(|(_, wanted)| wanted))
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Wanted> {
        let tlsa = self.tlsa.iter_mut().map(|(_, wanted)| wanted);
        self.addresses.iter_mut().chain(&mut self.alias).chain(tlsa)
    }

    /// Those of its addresses that there are.
    fn found(&self) -> impl Iterator<Item = (&Wanted, &Vec<Data>)> {
        self.addresses.iter().filter_map(|wanted| match &wanted.found {
            Some(Found::Records(records)) => Some((wanted, records)),
            _ => None,
        })
    }

    fn is_secure(&self) -> bool {
        self.found().all(|(wanted, _)| wanted.secure)
    }

    /// Asks for what is known of its certificate, as far as what is known of its name carries that. `by_mx`: secure MX records name it.
    fn ask_dane(&mut self, by_mx: bool) {
        let Some(end) = self.found().next().map(|(wanted, _)| wanted.end.clone()) else { return };
        if !self.tlsa.is_empty() {
            return;
        }
        // What it is an alias of first, and then itself (RFC 7671 §7); itself alone if the rest of the way is not secure.
        let mut bases = vec![self.name.clone()];
        if self.is_secure() {
            bases.insert(0, end);
            bases.dedup();
        } else if let Some(alias) = &self.alias {
            if !alias.secure || !matches!(alias.found, Some(Found::Records(_))) {
                return;
            }
        } else {
            self.alias = (by_mx && end != self.name).then(|| Wanted::new(&self.name, Kind::Cname));
            return;
        }
        bases.retain(|base| TLSA_PREFIX.len() + base.len() <= NAME_SIZE_MAX);
        let wanted = |base: &str| Wanted::new(&format!("{TLSA_PREFIX}{base}"), Kind::Tlsa);
        self.tlsa = bases.into_iter().map(|base| (base.clone(), wanted(&base))).collect();
    }

    /// What its certificate is known by, if it is for mail of a domain of these names.
    fn dane(&self, next_hop: &[Box<str>]) -> Dane {
        if let Some(Wanted { found: Some(Found::Failed(why)), .. }) = &self.alias {
            return Dane::Unknown(format!("whether {} is an alias: {why}", self.name).into());
        }
        for (base, wanted) in &self.tlsa {
            match &wanted.found {
                Some(Found::Records(records)) if wanted.secure => {
                    let tlsa = records.iter().filter_map(|data| match data {
                        Data::Tlsa(tlsa) => Some(tlsa.clone()),
                        _ => None,
                    });
                    return Dane::Present(Arc::new(Associations::new(base, next_hop, &tlsa.collect::<Vec<_>>())));
                }
                Some(Found::Failed(why)) => return Dane::Unknown(format!("the TLSA records of {base}: {why}").into()),
                Some(_) | None => {}
            }
        }
        Dane::Absent
    }
}

/// The policy of the domain.
#[derive(Debug)]
struct Sts {
    record: Wanted,
    standing: Option<Standing>,
}

impl Sts {
    /// The id of its record, if there is one.
    fn id(&self) -> Option<Box<str>> {
        let Some(Found::Records(records)) = &self.record.found else { return None };
        record_id(records.iter().filter_map(|data| match data {
            Data::Text(text) => Some(&**text),
            _ => None,
        }))
    }
}

/// One domain's lookup.
#[derive(Debug)]
pub(super) struct Lookup {
    domain: Box<str>,
    /// The same as the DNS has it; empty if it has no name there.
    name: Box<str>,
    rules: Arc<Rules>,
    number: u64,
    mx: Wanted,
    /// If its policy is wanted.
    sts: Option<Sts>,
    /// Once the MX records are known.
    hosts: Option<Vec<Candidate>>,
    implicit: bool,
    /// Hosts were left out that are no better than ourselves.
    loops: bool,
    /// Until when all that it rests on holds.
    until: Instant,
    result: Option<Result<Arc<MailHosts>, Failure>>,
}

impl Lookup {
    /// Of a domain as it stands in an address; the `number` rises.
    pub fn new(domain: &str, rules: Arc<Rules>, number: u64) -> Lookup {
        let mut lookup = Lookup {
            domain: domain.into(),
            name: Box::default(),
            rules,
            number,
            mx: Wanted::new("", Kind::Mx),
            sts: None,
            hosts: None,
            implicit: false,
            loops: false,
            until: Instant::FAR,
            result: None,
        };
        if let Some(address) = name::literal(domain) {
            lookup.result = Some(lookup.at(address));
        } else if let Some(name) = name::of_domain(domain) {
            if lookup.rules.sts && POLICY_PREFIX.len() + name.len() <= NAME_SIZE_MAX {
                let record = Wanted::new(&format!("{POLICY_PREFIX}{name}"), Kind::Txt);
                lookup.sts = Some(Sts { record, standing: None });
            }
            lookup.mx = Wanted::new(&name, Kind::Mx);
            lookup.name = name;
        } else {
            lookup.result = Some(Err(Failure::new((5, 1, 2), format!("{domain} is no domain"))));
        }
        lookup
    }

    /// The host that an address literal names.
    fn at(&self, address: IpAddr) -> Result<Arc<MailHosts>, Failure> {
        let families = self.rules.families;
        let in_family = if address.is_ipv4() { families.v4 } else { families.v6 };
        if self.rules.ourselves.is_at(address) {
            Err(self.looping())
        } else if !is_usable(address) || !in_family {
            Err(Failure::new((5, 1, 2), format!("no mail can go to {address}")))
        } else {
            Ok(Arc::new(MailHosts::at(address, self.number)))
        }
    }

    /// The questions that are open.
    pub fn questions(&self) -> impl Iterator<Item = &Question> {
        let open = |wanted: &&Wanted| wanted.found.is_none();
        let hosts = self.hosts.iter().flatten().flat_map(Candidate::all);
        let record = self.sts.iter().map(|sts| &sts.record);
        let all = std::iter::once(&self.mx).chain(record).chain(hosts).filter(open).map(|wanted| &wanted.question);
        all.filter(|_| self.result.is_none())
    }

    /// Takes a reply, which holds until then.
    pub fn tell(&mut self, question: &Question, reply: &Reply, until: Instant) {
        let hosts = self.hosts.iter_mut().flatten().flat_map(Candidate::all_mut);
        let record = self.sts.iter_mut().map(|sts| &mut sts.record);
        // A record of which nobody knows is as good as none, and no reason to look again soon.
        let is_of_weight = question.kind != Kind::Txt || !matches!(reply.said, Said::Failed(_));
        for wanted in std::iter::once(&mut self.mx).chain(record).chain(hosts) {
            if wanted.found.is_none() && wanted.question == *question {
                wanted.tell(reply);
                if is_of_weight {
                    self.until = self.until.min(until);
                }
            }
        }
        self.conclude();
    }

    /// Whose policy is wanted, and the id of its record, once that is known.
    pub fn policy_wanted(&self) -> Option<(&str, Option<Box<str>>)> {
        let sts = self.sts.as_ref().filter(|sts| sts.standing.is_none() && sts.record.found.is_some())?;
        self.result.is_none().then(|| (&*self.name, sts.id()))
    }

    /// Takes how the domain stands, which holds until then.
    pub fn tell_policy(&mut self, standing: Standing, until: Instant) {
        if let Some(sts) = &mut self.sts {
            sts.standing = Some(standing);
            self.until = self.until.min(until);
        }
        self.conclude();
    }

    /// Goes on with what is known.
    fn conclude(&mut self) {
        if self.hosts.is_none() && self.mx.found.is_some() {
            self.judge_mx();
        }
        if self.result.is_none() && self.questions().next().is_none() {
            let by_mx = self.mx.secure;
            if self.rules.dane && (by_mx || self.implicit) {
                self.hosts.iter_mut().flatten().for_each(|host| host.ask_dane(by_mx));
            }
            let is_open = self.sts.as_ref().is_some_and(|sts| sts.standing.is_none());
            if !is_open && self.questions().next().is_none() {
                self.result = Some(self.judge_hosts());
            }
        }
    }

    /// What came of it, once no question is open.
    pub fn answer(&self, now: Instant) -> Option<Answer> {
        let result = self.result.clone()?;
        // What rests on no reply holds for ever, and is looked at again all the same. What was said first may hold no more when
        // the last is said: it must be of use once, or a slow resolver would have the lookup begin anew for ever.
        let ttl = if self.until == Instant::FAR { DNS_FAILURE_TTL } else { self.until.since(now).max(DNS_FAILURE_TTL) };
        Some(Answer { result, ttl })
    }

    /// The MX records are known: the hosts follow.
    fn judge_mx(&mut self) {
        let domain = &*self.domain;
        let mut hosts: Vec<(u16, Box<str>)> = Vec::new();
        match &self.mx.found {
            Some(Found::NoName) => {
                self.result = Some(Err(Failure::new((5, 1, 2), format!("there is no domain {domain}"))));
                return;
            }
            Some(Found::Failed(why)) => {
                self.result = Some(Err(Failure::new((4, 4, 3), format!("the mail hosts of {domain}: {why}"))));
                return;
            }
            Some(Found::Records(records)) => {
                for data in records {
                    if let Data::Mx { preference, host } = data {
                        hosts.push((*preference, host.clone()));
                    }
                }
                if hosts.iter().all(|(_, host)| host.is_empty()) {
                    let text = format!("{domain} takes no mail: it says so with a null MX (RFC 7505)");
                    self.result = Some(Err(Failure::new((5, 1, 10), text)));
                    return;
                }
                hosts.retain(|(_, host)| name::is_host(host));
            }
            Some(Found::Nothing) | None => {
                self.implicit = true;
                hosts.push((0, self.mx.question.name.clone()));
            }
        }
        hosts.sort_unstable();
        // Of a host that is named twice the better one counts.
        let mut seen = Vec::new();
        hosts.retain(|(_, host)| {
            let is_new = !seen.contains(host);
            seen.push(host.clone());
            is_new
        });
        hosts.truncate(MX_HOSTS_MAX);
        if hosts.is_empty() {
            let text = format!("no MX record of {domain} names a host");
            self.result = Some(Err(Failure::new((5, 4, 4), text)));
            return;
        }
        if let Some(own) = hosts.iter().find(|(_, host)| self.rules.ourselves.is_named(host)).map(|(own, _)| *own) {
            hosts.retain(|(preference, _)| *preference < own);
            self.loops = true;
        }
        let Families { v4, v6 } = self.rules.families;
        let kinds = [(v6, Kind::Aaaa), (v4, Kind::A)].into_iter().filter(|(wanted, _)| *wanted);
        let candidates = hosts.into_iter().map(|(preference, name)| Candidate {
            addresses: kinds.clone().map(|(_, kind)| Wanted::new(&name, kind)).collect(),
            alias: None,
            tlsa: Vec::new(),
            name,
            preference,
        });
        self.hosts = Some(candidates.collect());
    }

    /// All addresses are known.
    fn judge_hosts(&mut self) -> Result<Arc<MailHosts>, Failure> {
        let mut hosts: Vec<MailHost> = Vec::new();
        let mut failure = None;
        let mut own: Option<u16> = None;
        let mut next_hop = vec![self.name.clone()];
        next_hop.extend(Some(self.mx.end.clone()).filter(|end| *end != self.name));
        for candidate in self.hosts.iter().flatten() {
            let mut host = MailHost {
                name: candidate.name.clone(),
                preference: candidate.preference,
                addresses: Vec::new(),
                secure: candidate.is_secure(),
                dane: candidate.dane(&next_hop),
            };
            for wanted in &candidate.addresses {
                match &wanted.found {
                    Some(Found::Records(records)) => {
                        let addresses = records.iter().filter_map(|data| match data {
                            Data::Address(address) => Some(*address),
                            _ => None,
                        });
                        host.addresses.extend(addresses.take(HOST_ADDRESSES_MAX));
                    }
                    Some(Found::Failed(why)) => failure = failure.or(Some((&candidate.name, why))),
                    Some(Found::Nothing | Found::NoName) | None => {}
                }
            }
            if host.addresses.iter().any(|address| self.rules.ourselves.is_at(*address)) {
                own = own.into_iter().chain([host.preference]).min();
            }
            host.addresses.retain(|address| is_usable(*address));
            if !host.addresses.is_empty() {
                hosts.push(host);
            }
        }
        if let Some(own) = own {
            hosts.retain(|host| host.preference < own);
        }
        let domain = &*self.domain;
        if !hosts.is_empty() {
            let (implicit, number) = (self.implicit, self.number);
            let secure = if implicit { hosts.iter().all(|host| host.secure) } else { self.mx.secure };
            let sts = self.sts.take().and_then(|sts| sts.standing).unwrap_or_default();
            return Ok(Arc::new(MailHosts { hosts, secure, implicit, sts, waived: false, number }));
        }
        if let Some((host, why)) = failure {
            return Err(Failure::new((4, 4, 3), format!("the addresses of {host}: {why}")));
        }
        Err(if own.is_some() || self.loops {
            self.looping()
        } else if self.implicit {
            Failure::new((5, 1, 2), format!("{domain} has neither a mail host nor an address"))
        } else {
            Failure::new((5, 4, 4), format!("no mail host of {domain} has an address"))
        })
    }

    fn looping(&self) -> Failure {
        Failure::new((5, 4, 6), format!("mail for {} loops back to us", self.domain))
    }
}

/// Whether a host can have this address.
pub fn is_usable(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
}
