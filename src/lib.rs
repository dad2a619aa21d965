//! Rohrpost: a mail relay appliance that runs beside the kernel.
//!
//! A message's way, which is also the order of the folders:
//!
//! ```text
//! NIC queue ─► port ─► tcp ─► smtp (server session) ─► spool ─► 250
//! NIC queue ◄─ port ◄─ tcp ◄─ smtp (client session) ◄─ delivery ◄─ spool
//! ```
//!
//! `worker` turns the wheel that moves bytes between them, once per core; `policy` says who may send
//! what; `dns` finds the hosts of a domain, `sts` what it says of TLS with them, `tlsrpt` tells it what came of that; `dkim` signs; `tls` lies between a flow and a session where one is wanted; `kernel` stands in for `port` and `tcp` where the NIC cannot be shared; `control` does what is
//! slow, on a housekeeping core; `appliance` puts them together as the configuration says; `load` tries them and any other
//! server; `config` and `cli` are the operator's side; `env` is the injected world; `checksum` vouches for what is kept.

pub mod appliance;
pub mod checksum;
pub mod cli;
pub mod config;
pub mod control;
pub mod delivery;
pub mod dkim;
pub mod dns;
pub mod env;
pub mod event;
pub mod flow;
pub mod kernel;
pub mod limits;
pub mod load;
pub mod mirror;
pub mod policy;
pub mod port;
pub mod sim;
pub mod smtp;
pub mod spool;
pub mod sts;
pub mod tcp;
pub mod tls;
pub mod tlsrpt;
pub mod worker;
