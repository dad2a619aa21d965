//! The keys of the configuration file: their types, defaults and ranges, and what they mean.
//!
//! A key's doc comment is its description in the schema and in `firmware-config/rohrpost.toml`; its range is the
//! attribute beside it, which [`super::walk`] holds every file against. Defaults are those of [`crate::limits`].

mod bounds;
mod delivery;
mod destination;
mod pair;
mod sender;
mod workers;

pub use bounds::Limits;
pub use delivery::{Delivery, Retry};
pub use destination::{Reaction, ReactionAction, Shaping};
pub use pair::{Arbiter, Encryption, Pair};
pub use sender::{Pool, PoolAddress, Tenant};
pub use workers::{Poll, Workers};

use super::hop::Hop;
use super::signing::{Dkim, Signing};
use super::value::{Network, Period, Queues, Resolver, Size};
use crate::limits;
use crate::smtp::Priority;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// One file tells a box what it is.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How mail comes and goes: "af_xdp" straight from the queues of the network card, "dpdk" the same with the card taken
    /// away from the kernel, "kernel" over the operating system's sockets, without privileges. Nothing falls back from one
    /// to another by itself.
    #[schemars(extend("x-example" = "af_xdp"))]
    pub transport: Transport,
    /// The name by which the appliance greets, and which it writes into Received headers and reports (RFC 5321 §4.1.1.1): a
    /// fully qualified domain name that resolves to it.
    #[schemars(extend("format" = "host-name", "x-example" = "mx1.example.net"))]
    pub hostname: String,
    #[serde(default)]
    pub workers: Workers,
    #[serde(default, rename = "port", skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    #[serde(default)]
    pub dpdk: Dpdk,
    #[serde(default, rename = "address", skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Address>,
    #[serde(default, rename = "listener", skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<Listener>,
    #[serde(default)]
    pub tls: Tls,
    #[serde(default, rename = "certificate", skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    #[serde(default)]
    pub signing: Signing,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dkim: Vec<Dkim>,
    #[serde(default)]
    pub relay: Relay,
    #[serde(default, rename = "client", skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientRule>,
    #[serde(default, rename = "domain", skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Domain>,
    #[serde(default)]
    pub recipients: Recipients,
    #[serde(default, rename = "tenant", skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<Tenant>,
    #[serde(default, rename = "pool", skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<Pool>,
    #[serde(default, rename = "route", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    #[serde(default)]
    pub dns: Dns,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_reports: Option<TlsReports>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub spool: Spool,
    #[serde(default)]
    pub delivery: Delivery,
    #[serde(default, rename = "shaping", skip_serializing_if = "Vec::is_empty")]
    pub shaping: Vec<Shaping>,
    #[serde(default, rename = "reaction", skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reaction>,
    #[serde(default)]
    pub retry: Retry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<Pair>,
    #[serde(default)]
    pub admin: Admin,
    #[serde(default)]
    pub alert: Alert,
    #[serde(default)]
    pub log: Log,
}

impl Config {
    /// One with nothing in it but what must be there. It serves no mail; tools that only need a transport begin with it.
    pub fn bare(transport: Transport, hostname: &str) -> Config {
        Config {
            transport,
            hostname: hostname.to_owned(),
            workers: Workers::default(),
            ports: Vec::new(),
            dpdk: Dpdk::default(),
            addresses: Vec::new(),
            listeners: Vec::new(),
            tls: Tls::default(),
            certificates: Vec::new(),
            signing: Signing::default(),
            dkim: Vec::new(),
            relay: Relay::default(),
            clients: Vec::new(),
            domains: Vec::new(),
            recipients: Recipients::default(),
            tenants: Vec::new(),
            pools: Vec::new(),
            routes: Vec::new(),
            dns: Dns::default(),
            tls_reports: None,
            limits: Limits::default(),
            spool: Spool::default(),
            delivery: Delivery::default(),
            shaping: Vec::new(),
            reactions: Vec::new(),
            retry: Retry::default(),
            pair: None,
            admin: Admin::default(),
            alert: Alert::default(),
            log: Log::default(),
        }
    }
}

/// How mail comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Transport {
    AfXdp,
    Dpdk,
    Kernel,
}

impl Transport {
    /// Whether frames come from a port of ours, and not by way of the kernel.
    pub const fn is_bypass(self) -> bool {
        matches!(self, Transport::AfXdp | Transport::Dpdk)
    }

    /// As it stands in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Transport::AfXdp => "af_xdp",
            Transport::Dpdk => "dpdk",
            Transport::Kernel => "kernel",
        }
    }
}

/// A network card whose queues the workers read (af_xdp, dpdk). There is one, and a second one if the links of a pair go over a
/// cable of their own. The kernel transport takes no notice of it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The interface, such as "eth1"; a bond is refused: name its members. On dpdk the PCI address of a card, such as
    /// "0000:03:00.0", or a virtual device, such as "net_af_packet0,iface=eth1", "net_af_xdp0,iface=eth1", "net_tap0" or
    /// "net_memif0,role=server", each with arguments for its driver behind commas.
    #[schemars(extend("x-example" = "eth1"), length(min = 1, max = 255))]
    pub device: String,
    /// Which of its queues: "auto" for all of them (on dpdk for as many as there are workers), or a list of numbers (af_xdp
    /// only). One for each worker is best: a worker polls several in turns, and one without any gets its frames from another.
    #[serde(default)]
    pub queues: Queues,
    /// The VLAN in which our addresses live; 0 is untagged.
    #[serde(default)]
    #[schemars(range(min = 0, max = 4094))]
    pub vlan: u16,
    /// Frames that each queue may hold, received, waiting and being sent together; a power of two. Each takes 4 KiB on
    /// af_xdp and 2.5 KiB on dpdk, where hugepages are off 4 KiB.
    #[serde(default = "frames_default")]
    #[schemars(range(min = 256, max = 65536))]
    pub frames: u32,
    /// The largest IP packet, bytes (dpdk only): 9000 where everything on the link has jumbo frames. Each frame then takes as
    /// much memory more. On af_xdp, and for virtual devices that stand on an interface, it is the interface's (`ip link set DEV
    /// mtu N`). Unset: what the device has, 1500 as a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = 9000), range(min = 1280, max = 9216))]
    pub mtu: Option<u16>,
}

impl Port {
    /// All queues of a device.
    pub fn of(device: &str) -> Port {
        Port { device: device.to_owned(), queues: Queues::Auto, vlan: 0, frames: frames_default(), mtu: None }
    }
}

fn frames_default() -> u32 {
    limits::PORT_FRAMES_DEFAULT
}

/// How DPDK is started. Other transports take no notice of it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dpdk {
    /// Take the memory from the box's hugepages (`sysctl vm.nr_hugepages`), which a network card needs, and "net_af_xdp"
    /// too; false will do for other virtual devices.
    pub hugepages: bool,
    /// All the memory that DPDK gets: what the frames of all workers take, and 16 MiB for itself and the driver.
    #[schemars(extend("x-minimum" = "32MiB", "x-maximum" = "64GiB"))]
    pub memory: Size,
    /// Have the card make and check the checksums of TCP and IPv4, and cut large segments, where its driver offers to.
    pub offloads: bool,
    /// More arguments for DPDK's environment (EAL). Those for what other keys say are refused.
    #[schemars(extend("x-example" = ["--iova-mode=va"]), length(max = 32))]
    pub arguments: Vec<String>,
}

impl Default for Dpdk {
    fn default() -> Dpdk {
        Dpdk { hugepages: true, memory: Size(limits::DPDK_MEMORY_DEFAULT), offloads: true, arguments: Vec::new() }
    }
}

/// An address that belongs to the appliance alone: the kernel must not hold it too (except on the kernel transport, where
/// it must). At most eight.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The address with the prefix length of its network.
    #[schemars(with = "String", extend("format" = "interface-address", "x-example" = "192.0.2.25/24"))]
    pub ip: IpNet,
    /// The router by which everything outside that network is reached: an address within it, or a link-local one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "ip", "x-example" = "192.0.2.1"))]
    pub gateway: Option<IpAddr>,
    /// The name by which the appliance says EHLO from this address; it should resolve to it. Unset: `hostname`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "host-name", "x-example" = "mx1.example.net"))]
    pub ehlo_name: Option<String>,
    /// To which identity of a pair the address belongs: the two boxes have the same [[address]] sections. Without effect on a
    /// single box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "a"))]
    pub identity: Option<Identity>,
}

/// One of the two identities of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Identity {
    A,
    B,
}

/// Where mail is taken in.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port. On af_xdp and dpdk the address is one of ours; on the kernel transport it may be "0.0.0.0:25" or "[::]:25".
    #[schemars(with = "String", extend("format" = "socket-address", "x-example" = "192.0.2.25:25"))]
    pub address: SocketAddr,
    /// For whom it is: "mx" for strangers who bring mail for our domains, "relay" for our own systems, "submission" for
    /// clients that must have the right to relay before they may send at all.
    #[schemars(extend("x-example" = "mx"))]
    pub role: Role,
    /// How long the greeting is held back, to catch clients that talk before it (RFC 5321 §3.1). Zero greets at once, and
    /// catches those whose bytes come with the connection.
    #[serde(default = "greeting_delay_default")]
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "60s"))]
    pub greeting_delay: Period,
    /// Offer BINARYMIME (RFC 3030). Such content goes on only to hops that offer it too; to others it bounces.
    #[serde(default)]
    pub binarymime: bool,
    /// TLS towards clients: "starttls" offers it (RFC 3207), "implicit" begins every connection with it (RFC 8314, port 465), "off"
    /// has none. The first two need a [[certificate]]. Unset: "starttls" if there is one, else "off".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "starttls"))]
    pub tls: Option<ListenerTls>,
    /// Take no mail in the clear: until STARTTLS everything is answered with 530 5.7.0. Not for an MX that the world knows, to
    /// which many still come without TLS (RFC 3207 §4).
    #[serde(default)]
    pub require_tls: bool,
    /// Offer REQUIRETLS (RFC 8689) to clients under TLS. What they send with it goes on under TLS alone, to hosts that have shown who
    /// they are (`tls` of the route: "verify", or "dane" or "mta-sts" where these demand it) and offer it too; to others it bounces.
    #[serde(default)]
    pub requiretls: bool,
    /// Heed the header field "TLS-Required: No" (RFC 8689 §3), by which a sender wants a message to arrive rather than to be secured:
    /// what domains of recipients demand by DANE and MTA-STS does not stop it then. What `tls` of a route itself demands ("require",
    /// "verify") does, and REQUIRETLS in the envelope counts for more. Unset: true for the roles "submission" and "relay", false for
    /// "mx", whose clients are strangers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = true))]
    pub tls_optional: Option<bool>,
    /// Offer MT-PRIORITY (RFC 6710): clients say with MAIL how urgent a message is, from -9 to 9. Who asks for more than it may have gets
    /// what it may, and is told so. The number goes on to hops that offer it too.
    #[serde(default)]
    pub mt_priority: bool,
    /// The priority of mail that comes without one. Of what is due mail with more than 0 goes first, then mail with 0, then mail with
    /// less; which of the numbers it is makes no difference here. What is less urgent has its turns as well, if fewer.
    #[serde(default)]
    #[schemars(range(min = -9, max = 9))]
    pub priority: i8,
    /// The highest priority for clients that may relay (`networks` of [relay]). Others may have `priority` at most, so that no stranger
    /// comes before anybody else.
    #[serde(default = "priority_max_default")]
    #[schemars(range(min = -9, max = 9))]
    pub priority_max: i8,
}

/// What a listener does with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ListenerTls {
    Off,
    #[serde(rename = "starttls")]
    StartTls,
    Implicit,
}

impl Listener {
    /// One that is as all are if nothing else is said.
    pub fn at(address: SocketAddr, role: Role) -> Listener {
        Listener {
            address,
            role,
            greeting_delay: greeting_delay_default(),
            binarymime: false,
            tls: None,
            require_tls: false,
            requiretls: false,
            tls_optional: None,
            mt_priority: false,
            priority: Priority::NORMAL.number(),
            priority_max: priority_max_default(),
        }
    }
}

fn priority_max_default() -> i8 {
    Priority::HIGHEST.number()
}

fn greeting_delay_default() -> Period {
    Period(limits::GREETING_DELAY_DEFAULT)
}

/// For whom a listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Role {
    Mx,
    Submission,
    Relay,
}

/// TLS, with clients and next hops alike. Not that of the links of a pair.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The oldest version that clients may use: "1.2" or "1.3". What is older than 1.2 is never spoken.
    pub min_version: TlsVersion,
    /// A file of at least 32 random bytes (`openssl rand -hex 32`), from which the keys of session tickets are made, a new one
    /// every six hours: clients that come again need no new exchange of keys. With the same file on both boxes of a pair
    /// they can come to either. Who has it can read what was sent in resumed sessions of TLS 1.2: renew it now and then. Nobody
    /// else may read it; SIGHUP reads it again. Unset: a secret that is made at the start, and known to this box alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "/etc/rohrpost/tickets"))]
    pub ticket_secret: Option<PathBuf>,
    /// The certificates of the authorities by which next hops are verified (PEM). Unset: those that this box trusts (/etc/ssl/certs).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "/etc/rohrpost/roots.pem"))]
    pub roots: Option<PathBuf>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

/// A certificate that clients are shown. Of several, the first counts that is for the name which a client asks for (SNI) and of a
/// kind that it can verify; a client that names no host, or one that none is for, is shown the first. SIGHUP reads the files
/// again: new connections get what is new, and if something is wrong with it, what was there before. At most 64.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The certificate and behind it those of its issuers, without the root (PEM). Relative to this file, as is `key`.
    #[schemars(extend("x-example" = "/etc/rohrpost/mx1.pem"))]
    pub chain: PathBuf,
    /// Its key (PEM; ECDSA is ten times faster than RSA). Nobody but the appliance's user and group may read it.
    #[schemars(extend("x-example" = "/etc/rohrpost/mx1.key"))]
    pub key: PathBuf,
}

/// Who may send to everyone.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Relay {
    /// The networks whose clients may relay anywhere. Everyone else reaches our own domains only.
    #[schemars(extend("x-example" = ["10.0.0.0/8", "2001:db8:10::/48"]))]
    pub networks: Vec<Network>,
}

/// What is different for the clients of some networks. Of several rules that hold a client, the first counts.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientRule {
    /// The networks.
    #[schemars(extend("x-example" = ["10.20.0.0/16"]), length(min = 1))]
    pub networks: Vec<Network>,
    /// A CR or LF that stands alone: "reject" refuses the message, as everyone else's; "normalize" makes it the end of a
    /// line, for printers and scripts of our own that know no better.
    #[serde(default)]
    pub bare_newline: BareNewline,
}

/// What becomes of a CR or LF that stands alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum BareNewline {
    /// The message is refused.
    #[default]
    Reject,
    /// It ends a line.
    Normalize,
}

/// A domain whose mail we take from everyone.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// The domain, or with a leading dot all its subdomains (not itself). Unicode and A-label forms are the same.
    #[schemars(extend("format" = "mail-domain", "x-example" = "example.net"))]
    pub name: String,
    /// A file of those who receive mail there, relative to this file: a line for each address, local part (in every domain
    /// that uses the file) or "@domain" (everyone there); what follows a # is a comment. Upper and lower case are the same.
    /// Read again when it changes. Everyone else is refused with 550 5.1.1, postmaster never. Unset: everyone receives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "recipients.map"))]
    pub recipients: Option<PathBuf>,
    /// Ask the domain's next hop, with RCPT, for each recipient that we do not remember. Not together with `recipients`.
    #[serde(default)]
    pub check_recipients: bool,
}

/// How recipients are looked up.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Recipients {
    /// The character behind which a local part is a detail: "user+news" is looked up as "user" if it is not in the map
    /// itself. Empty: there are no details.
    #[schemars(extend("format" = "delimiter"))]
    pub delimiter: String,
    /// How many answers of next hops (`check_recipients`) are remembered, in each worker.
    #[schemars(range(min = 16, max = 10_000_000))]
    pub cache: u32,
    /// How long a next hop's "yes" is remembered.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "7d"))]
    pub known_ttl: Period,
    /// How long its "no" is.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "7d"))]
    pub unknown_ttl: Period,
}

impl Default for Recipients {
    fn default() -> Recipients {
        Recipients {
            delimiter: "+".to_owned(),
            cache: limits::VERIFY_CACHE_DEFAULT,
            known_ttl: Period(limits::VERIFY_KNOWN_TTL_DEFAULT),
            unknown_ttl: Period(limits::VERIFY_UNKNOWN_TTL_DEFAULT),
        }
    }
}

/// Where the mail of a domain goes.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The recipients' domain; with a leading dot all its subdomains (not itself); "*" all that no other route names.
    #[schemars(extend("format" = "route-domain", "x-example" = "example.net"))]
    pub domain: String,
    /// Throws the mail away instead: it counts as delivered, and `to` stays empty.
    #[serde(default)]
    pub discard: bool,
    /// Finds the hosts in the DNS, as [dns] says, and `to` stays empty: the MX records of each recipient's domain, or its own
    /// addresses where there are none (RFC 5321 §5.1). Domains with the same hosts share connections.
    #[serde(default)]
    pub mx: bool,
    /// The hosts that take it: "smtp://HOST:PORT", "smtps://HOST:PORT" (TLS from the first byte) or "lmtp://HOST:PORT". HOST is an address (IPv6 in brackets) or a name of
    /// /etc/hosts; PORT is 25 for smtp, 465 for smtps and 24 for lmtp if unset; "?preference=20" behind it makes a host come after those
    /// with a lower number (unset: 10), and equals share the load.
    #[schemars(extend("x-example" = ["lmtp://10.1.1.5:24", "lmtp://10.1.1.6:24?preference=20"]), length(max = 32))]
    #[serde(default)]
    pub to: Vec<Hop>,
    /// TLS with these hosts: "opportunistic" uses STARTTLS where it is offered, with any certificate, and goes on in the clear if the
    /// handshake fails; "dane" sends nothing without TLS to hosts of which the DNS says securely how they are known (TLSA records,
    /// RFC 7672), nothing to one of them that shows another certificate, and does with all others as "opportunistic": it needs `mx`
    /// and `dnssec = "trust_ad"` in [dns]; "mta-sts" does the same, without `dnssec` too, and where the DNS says nothing heeds the
    /// policies of domains (RFC 8461), which it fetches from https://mta-sts.DOMAIN: best for mail to the internet; "require" sends nothing without TLS, and takes any certificate; "verify" takes only one
    /// that is valid for the host's name in `to`, by [tls] `roots`; "none" never uses STARTTLS. With smtps there is TLS in any case.
    #[serde(default)]
    pub tls: RouteTls,
    /// A file with the user in its first line and the password in its second, which are shown to the hosts (AUTH PLAIN, or LOGIN where
    /// that is all they offer) once they have shown a good certificate: `tls` must be "verify". Nobody but the appliance's user and
    /// group may read it (mode 640 or 600). Read again by SIGHUP. A host that refuses them gets no mail; the mail waits.
    #[serde(default)]
    #[schemars(extend("x-example" = "/etc/rohrpost/smarthost"))]
    pub credentials: Option<PathBuf>,
    /// The [[pool]] of own addresses that mail to these hosts leaves from, unless its sender has one. Unset: the first own address
    /// of the host's family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "partners"))]
    pub pool: Option<String>,
    /// Connections to this route's hosts at the same time; with `mx` to those of each set of hosts. It begins with one, and has
    /// fewer while the receiver does not bear so many. A [[shaping]] may say otherwise.
    #[serde(default = "route_connections_default")]
    #[schemars(range(min = 1, max = 10_000))]
    pub connections_max: u32,
}

/// What is demanded of TLS with a next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum RouteTls {
    None,
    #[default]
    Opportunistic,
    Dane,
    #[serde(rename = "mta-sts")]
    MtaSts,
    Require,
    Verify,
}

/// The schema of an IP address.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "only its schema is used")]
struct IpText(#[schemars(extend("format" = "ip"))] String);

fn route_connections_default() -> u32 {
    limits::CONNECTIONS_PER_DESTINATION_DEFAULT
}

/// How the hosts are found that take a domain's mail. What is asked goes by the box's own kernel, whatever the transport.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// The resolvers that are asked, each an address, with a port where it is not 53; one that fails or is silent is followed by
    /// the next. Empty: those of /etc/resolv.conf when the appliance starts. A resolver on the box itself, such as unbound, is
    /// best.
    #[schemars(extend("x-example" = ["127.0.0.1", "192.0.2.53", "[2001:db8::53]:5353"]), length(max = 4))]
    pub resolvers: Vec<Resolver>,
    /// Whether what the resolvers say may count as secure: "off" for never; "trust_ad" where they say that they have validated it
    /// (DNSSEC, the AD bit), which is worth as much as the way to them: best they are on the box itself.
    pub dnssec: Dnssec,
    /// How long one resolver is waited for.
    #[schemars(extend("x-minimum" = "100ms", "x-maximum" = "30s"))]
    pub timeout: Period,
    /// Which addresses of hosts are of use: "any" for IPv6 and then IPv4, "ipv4" or "ipv6" for those alone. A family without an
    /// own address is not asked for.
    pub addresses: AddressFamilies,
}

impl Default for Dns {
    fn default() -> Dns {
        Dns {
            resolvers: Vec::new(),
            dnssec: Dnssec::default(),
            timeout: Period(limits::DNS_TIMEOUT_DEFAULT),
            addresses: AddressFamilies::default(),
        }
    }
}

/// Whether what resolvers say may count as secure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Dnssec {
    #[default]
    Off,
    TrustAd,
}

/// Which addresses of hosts are of use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AddressFamilies {
    #[default]
    Any,
    Ipv4,
    Ipv6,
}

/// Reports on TLS (TLSRPT, RFC 8460): a day of sessions with its hosts is told to each domain that publishes where it wants that
/// (`_smtp._tls.DOMAIN TXT "v=TLSRPTv1; rua=mailto:…"`), by mail or over the web, some hours after the day is over (UTC). Counted is what goes by
/// MX over routes whose `tls` is "dane" or "mta-sts". `rohrpost tls-reports` shows what is counted. Without this section no report is
/// made. Each box of a pair reports what it has sent itself.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsReports {
    /// Who reports, for people.
    #[schemars(extend("x-example" = "Example Net"), length(min = 1, max = 200))]
    pub organization: String,
    /// From whom reports come by mail. Its domain should have a [[dkim]] key, since reports without a signature may be ignored (RFC 8460
    /// §5.3); bounces of reports go there.
    #[schemars(extend("format" = "mailbox", "x-example" = "tls-reports@example.net"))]
    pub from: String,
    /// Whom to ask about reports, such as an address or the address of a page. Unset: `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "postmaster@example.net"), length(min = 1, max = 200))]
    pub contact: Option<String>,
}

/// Where mail is kept until it is delivered. A message is acknowledged only after it is on this disk.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// The folder of the logs, one for each worker.
    pub directory: PathBuf,
    /// The most that all logs together may take.
    #[schemars(extend("x-minimum" = "64MiB", "x-maximum" = "64TiB"))]
    pub size_max: Size,
    /// The files of which a log is made: a multiple of 1 MiB.
    #[schemars(extend("x-minimum" = "4MiB", "x-maximum" = "1GiB"))]
    pub segment_size: Size,
    /// What must stay free on the file system: below it mail is refused with 452 4.3.1 until there is room again.
    #[schemars(extend("x-minimum" = "0B", "x-maximum" = "64TiB"))]
    pub free_min: Size,
    /// The most that one write, and thus one group of acknowledgements, may hold.
    #[schemars(extend("x-minimum" = "512KiB", "x-maximum" = "16MiB"))]
    pub batch_size: Size,
    /// Writes under way at the same time, in each log. What is smaller than an eighth of `batch_size`, and than 256 KiB, waits
    /// until none is, and takes along what comes meanwhile.
    #[schemars(range(min = 1, max = 64))]
    pub batches_in_flight: usize,
}

impl Default for Spool {
    fn default() -> Spool {
        Spool {
            directory: PathBuf::from("/var/spool/rohrpost"),
            size_max: Size(limits::SPOOL_SIZE_DEFAULT),
            segment_size: Size(limits::SEGMENT_SIZE_DEFAULT),
            free_min: Size(limits::SPOOL_FREE_DEFAULT),
            batch_size: Size(limits::BATCH_SIZE_DEFAULT as u64),
            batches_in_flight: limits::BATCHES_IN_FLIGHT_DEFAULT,
        }
    }
}

/// How `rohrpost status`, `rohrpost queue` and load balancers reach the appliance.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// A Unix socket, for root and the appliance's own group.
    pub socket: PathBuf,
    /// Where load balancers ask over HTTP, without a password: an address of this box's kernel (not one of an [[address]]
    /// on af_xdp and dpdk) and a port; "0.0.0.0" or "[::]" for all of its addresses. `GET /health/ready` is 200 while the box
    /// takes new mail, and 503 at once when it is asked to stop; `GET /health/live` is 200 while the process works; `GET
    /// /health` tells both, and why not. Unset: nobody can ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "socket-address", "x-example" = "127.0.0.1:8025"))]
    pub http: Option<SocketAddr>,
}

impl Default for Admin {
    fn default() -> Admin {
        Admin { socket: PathBuf::from("/run/rohrpost/admin.sock"), http: None }
    }
}

/// How engineers are told that something is wrong (a worker or a disk failed, a log is full, mail is damaged, the link is
/// down, log lines are lost), and when it is over. Each notice is one JSON object with `version`, `hostname`, `condition`,
/// `subject`, `state` ("raised", "continues", "cleared"), `severity` ("critical", "warning", "notice"), `since` and `text`. A
/// start tells the condition "started": what was raised before it is over, unless it is raised again. All of it is in the
/// log as well.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Alert {
    /// Where notices are posted to. The certificate of an https server must be one that this box trusts
    /// (/etc/ssl/certs). A redirection counts as a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "webhook", "x-example" = "https://alerts.example.net/rohrpost"))]
    pub webhook: Option<String>,
    /// A program, by its whole path, and its arguments, such as ["/usr/local/bin/page", "--team", "mail"]. It gets the notice
    /// on its standard input, runs as the appliance's user without a shell, must end within 30 seconds, and has failed if
    /// its exit code is not 0.
    #[schemars(extend("x-example" = ["/usr/local/bin/page", "--team", "mail"]), length(max = 32))]
    pub command: Vec<String>,
    /// How often a condition that lasts is told again.
    #[schemars(extend("x-minimum" = "1m", "x-maximum" = "7d"))]
    pub repeat: Period,
    /// How long a condition must be gone before its end is told. What comes back sooner was never over, and is not told anew.
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "1h"))]
    pub calm: Period,
}

impl Default for Alert {
    fn default() -> Alert {
        Alert {
            webhook: None,
            command: Vec::new(),
            repeat: Period(limits::ALERT_REPEAT_DEFAULT),
            calm: Period(limits::ALERT_CALM_DEFAULT),
        }
    }
}

/// What is written down: the appliance's own words to standard error, events (one line of JSON each) to standard output, both of which
/// systemd keeps, and events to files.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// What the appliance says about itself: "error", "warn", "info" or "debug".
    pub level: LogLevel,
    /// An event with the queue id for each step of each message.
    pub messages: bool,
    /// A folder for events: `events.jsonl` and, compressed, those before it, for `rohrpost trace`. The steps of messages are then
    /// written there, and no longer to standard output. Unset: no files.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("x-example" = "/var/log/rohrpost"))]
    pub directory: Option<PathBuf>,
    /// A file of events that is so large is followed by another one.
    #[schemars(extend("x-minimum" = "1MB", "x-maximum" = "16GB"))]
    pub file_size: Size,
    /// So is one that is so old.
    #[schemars(extend("x-minimum" = "1m", "x-maximum" = "7d"))]
    pub file_age: Period,
    /// The oldest files are removed when all that are compressed have more than this.
    #[schemars(extend("x-minimum" = "1MB", "x-maximum" = "16TB"))]
    pub files_size: Size,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            level: LogLevel::Info,
            messages: true,
            directory: None,
            file_size: Size(limits::EVENT_FILE_SIZE_DEFAULT),
            file_age: Period(limits::EVENT_FILE_AGE_DEFAULT),
            files_size: Size(limits::EVENT_FILES_SIZE_DEFAULT),
        }
    }
}

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}
