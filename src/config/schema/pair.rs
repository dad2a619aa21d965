//! The other box of a pair.

use super::{Identity, IpText};
use crate::config::value::{Period, Size};
use crate::limits;
use crate::tls::Fingerprint;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// The other box of a pair. Each keeps a copy of the other's queue: a message is acknowledged only after it is on both
/// disks, and when one box dies the other takes over its addresses and its queue. There are two identities, a and b, each with
/// its [[address]]es and its logs; box a works for identity a as long as it can, box b for identity b, and either for both. The
/// two files differ in `node`, `address`, `partner` and `partner_fingerprint`. Needs the transport "af_xdp" or "dpdk".
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Which of the two boxes this one is.
    #[schemars(extend("x-example" = "a"))]
    pub node: Identity,
    /// The address of this box's ends of the mirror links, with the prefix length of its network. It belongs to the box, not to
    /// an identity, and never moves; the kernel must not hold it.
    #[schemars(with = "String", extend("format" = "interface-address", "x-example" = "10.9.9.1/24"))]
    pub address: IpNet,
    /// The same of the other box: on the same network, since no router should stand between the two.
    #[schemars(with = "IpText", extend("x-example" = "10.9.9.2"))]
    pub partner: IpAddr,
    /// The device of the links, if they have a cable of their own: that of a second [[port]], which then carries nothing else.
    /// Not on dpdk. Unset: they go over the one [[port]], as all mail does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "eth2"), length(min = 1, max = 255))]
    pub device: Option<String>,
    /// The first port of the links, of which each log has one: this one and the 127 above it.
    #[serde(default = "pair_port_default")]
    #[schemars(range(min = 1, max = 65408))]
    pub port: u16,
    /// How many logs each identity has: as many as the box with more workers has of them, and the same on both boxes. A worker
    /// of a box with fewer looks after several. Unset: as many as this box has workers, for a pair of equal boxes. More can be had at any
    /// time; fewer only with two new spools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = 4), range(min = 1, max = 64))]
    pub logs: Option<u16>,
    /// What is said on the links: "tls" is TLS 1.3, in which each box knows the other by the fingerprint of its certificate;
    /// "none" is for a cable of their own. The same on both boxes.
    #[serde(default)]
    pub encryption: Encryption,
    /// This box's certificate and its key, as `rohrpost pair key` makes them (PEM).
    #[serde(default = "pair_certificate_default")]
    pub certificate: PathBuf,
    /// The key: nobody but the appliance's user may read it.
    #[serde(default = "pair_key_default")]
    pub key: PathBuf,
    /// The SHA-256 fingerprint of the other box's certificate, which `rohrpost pair key` says there. With "tls" it must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "fingerprint", "x-example" = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"))]
    pub partner_fingerprint: Option<Fingerprint>,
    /// Who decides which box works when they do not hear each other: "etcd", within milliseconds; or "manual", you, by `rohrpost pair
    /// take-over` on the one while the other is off, and mail waits until then. The same on both boxes, and for good.
    #[serde(default)]
    pub arbiter: Arbiter,
    /// The endpoints of the etcd cluster that knows who works for which identity, such as "http://10.9.9.10:2379"; https needs
    /// `etcd_ca`. The box's kernel reaches them. With the arbiter "etcd" it must be set, and nothing that begins with etcd with "manual".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-example" = ["http://10.9.9.10:2379", "http://10.9.9.11:2379", "http://10.9.9.12:2379"]), length(min = 1, max = 16))]
    #[schemars(with = "Vec<EndpointText>")]
    pub etcd: Vec<String>,
    /// What the names of the pair's two keys in etcd begin with: another one for each pair.
    #[serde(default = "etcd_prefix_default")]
    #[schemars(extend("x-example" = "/rohrpost/mx1/"), length(min = 1, max = 200))]
    pub etcd_prefix: String,
    /// The user that etcd knows us as, if it asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "rohrpost"))]
    pub etcd_user: Option<String>,
    /// A file whose first line is that user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "/etc/rohrpost/etcd.password"))]
    pub etcd_password_file: Option<PathBuf>,
    /// The certificate of the authority that etcd's own are signed by (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "/etc/rohrpost/etcd-ca.pem"))]
    pub etcd_ca: Option<PathBuf>,
    /// The certificate that etcd knows us by, if it asks for one (PEM), and behind it those of its issuers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "/etc/rohrpost/etcd.pem"))]
    pub etcd_certificate: Option<PathBuf>,
    /// Its key (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "/etc/rohrpost/etcd.key"))]
    pub etcd_key: Option<PathBuf>,
    /// How long a partner must not be heard before its silence has consequences: an owner then works alone, and a replica takes
    /// over somewhat later, each after etcd has agreed; with the manual arbiter an owner stops, and waits.
    #[serde(default = "silence_default")]
    #[schemars(extend("x-minimum" = "60ms", "x-maximum" = "10s"))]
    pub silence: Period,
    /// Bytes a second that a partner which was away is given at most, of each identity, until it has caught up: the disks serve
    /// live mail at the same time. It must be more than comes in meanwhile, or the partner never gets there.
    #[serde(default = "catch_up_rate_default")]
    #[schemars(extend("x-minimum" = "1MB", "x-maximum" = "100GB"))]
    pub catch_up_rate: Size,
}

impl Pair {
    /// How many logs each identity has, on a box with so many workers.
    pub fn logs_of_identity(&self, workers: u16) -> u16 {
        self.logs.unwrap_or(workers)
    }
}

/// Who decides which box of a pair works when they do not hear each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Arbiter {
    #[default]
    Etcd,
    Manual,
}

/// What is said on the links of a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Encryption {
    #[default]
    Tls,
    None,
}

fn pair_certificate_default() -> PathBuf {
    PathBuf::from("/etc/rohrpost/pair.crt")
}

fn pair_key_default() -> PathBuf {
    PathBuf::from("/etc/rohrpost/pair.key")
}

/// The schema of an endpoint of etcd.
#[derive(JsonSchema)]
#[schemars(inline)]
#[allow(dead_code, reason = "only its schema is used")]
struct EndpointText(#[schemars(extend("format" = "etcd-endpoint"))] String);

fn pair_port_default() -> u16 {
    limits::MIRROR_PORT_DEFAULT
}

fn etcd_prefix_default() -> String {
    "/rohrpost/".to_owned()
}

fn catch_up_rate_default() -> Size {
    Size(limits::CATCH_UP_RATE_DEFAULT)
}

fn silence_default() -> Period {
    Period(limits::MIRROR_SILENCE_DEFAULT)
}
