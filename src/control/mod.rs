//! The control thread: what is slow, on a housekeeping core.
//!
//! In: what the workers report (events, answers, pulses, their end), requests on the admin socket and the health endpoint,
//! signals. Out: requests to the workers, one log line per event on standard output, answers on the admin socket and the
//! endpoint, alerts, and in the end the reason why the process ends. It never touches a flow, a session or a log: those are
//! the workers' own, and all that it knows of them came by message.
//!
//! ```text
//!  admin client ─► admin socket ─► switchboard ─► ToWorker (bounded, a bell each) ─► worker
//!  admin client ◄─ admin socket ◄─ switchboard ◄─ FromWorker (bounded, one bell) ◄── worker
//!                    standard output ◄─ log ◄────────────┤
//!                   load balancer ◄─ http ◄── health ◄───┘
//!       engineer ◄─ webhook, command ◄─ alert ◄─┘
//! ```
//!
//! Where a domain's mail goes is found out by `names`, for which resolvers are asked beside the loop. What an operator says about
//! some of the mail is in `orders`.
//!
//! On a box with a partner there is `pair` besides, which decides who works for which identity.
//!
//! The `switchboard` decides, with `health` and `alert`, and is sans-IO; `admin`, `http`, `log`, the hooks and `run` are
//! adapters. A worker never waits for this thread: what finds a full channel is dropped and counted (`events_lost`).
//!
//! # The admin protocol, version 1
//!
//! A Unix stream socket that only its owner can open. A request is one JSON object on one line, and so is each
//! answer; every object has `version`. A client may send the next request when the last answer has come.
//!
//! ```text
//! {"version":1,"request":"status"}
//! {"version":1,"reply":"status","status":{…}}
//!
//! {"version":1,"request":"queue","command":"list","filter":{"domain":"example.net"},"limit":1000}
//! {"version":1,"reply":"entry","entry":{…}}            any number, in the order of their ids
//! {"version":1,"reply":"end","count":2,"next":null}    or the id to continue `after`
//!
//! {"version":1,"request":"queue","command":"show","id":"000G000000001"}
//! {"version":1,"request":"queue","command":"retry","selection":{"ids":["000G000000001"]}}
//! {"version":1,"request":"queue","command":"delete","selection":{"filter":{"state":"held"}}}
//! {"version":1,"reply":"changed","count":1}
//!
//! {"version":1,"request":"queue","command":"destinations","limit":50,"hosts":true}
//! {"version":1,"reply":"destinations","destinations":[…],"count":2}
//! {"version":1,"request":"traffic","order":"rate","limit":50}
//! {"version":1,"reply":"traffic","destinations":[…],"count":2}
//! {"version":1,"request":"orders","command":"list"}
//! {"version":1,"request":"orders","command":"give","selector":{"domain":"example.net"},"treatment":"suspend","duration_seconds":3600}
//! {"version":1,"request":"orders","command":"give","selector":"all","treatment":{"reroute":{"to":"example.com"}},"duration_seconds":null}
//! {"version":1,"request":"orders","command":"end","selector":{"domain":"example.net"}}
//! {"version":1,"reply":"orders","orders":[{…}]}         those that it is about
//!
//! {"version":1,"request":"pair","command":"status"}
//! {"version":1,"request":"pair","command":"move","identity":"a"}
//! {"version":1,"reply":"pair","pair":{…}}              how it stands; what was asked has only begun
//!
//! {"version":1,"request":"domain","domain":"example.net"}
//! {"version":1,"reply":"domain","domain":{…}}          where its mail goes by MX
//!
//! {"version":1,"request":"reports","command":"list"}
//! {"version":1,"request":"reports","command":"send"}     sends what is counted so far
//! {"version":1,"reply":"reports","reports":{…}}          what is counted for reports on TLS, and what waits to be sent
//!
//! {"version":1,"reply":"error","text":"…"}
//! ```

mod admin;
mod alert;
mod causes;
mod client;
mod condition;
mod destination;
mod file;
mod health;
mod http;
mod links;
mod log;
mod names;
mod orders;
mod pair;
mod protocol;
mod reports;
mod run;
mod saving;
mod status;
mod switchboard;
#[cfg(test)]
pub(crate) use status::tests::status_report;
#[cfg(test)]
mod tests;

pub use admin::{AdminError, AdminSocket};
pub use alert::{AlertCounts, AlertState, Alerts, HookError, Hooks, Notice, Outbox};
pub use client::{Client, ClientError};
pub use condition::{Condition, Severity, Subject, Trouble};
pub use destination::{
    DeliveryHost, DeliveryReport, DestinationsReply, HostFailure, HostState, OwnedDestination, TrafficEntry,
    TrafficOrder, Walk,
};
pub use file::FileError;
pub use health::{Health, HealthReport, LogPulse, Pulse, Reason, ReasonReport};
pub use http::{HttpError, HttpSocket};
pub use links::{
    FromWorker, FromWorkers, PairReport, PairWish, Reporter, Shared, ToWorker, WorkerEnd, WorkerLink, links,
};
pub use log::{EventFiles, EventFilesError, EventFilesSettings, event_files};
pub use names::{DaneReport, DnsSettings, DomainReport, HostReport, NameBoard, StsReport};
pub use orders::{Keep, OrderBoard, OrderCommand, OrderReport, OrdersFile, OrdersKept};
pub use pair::{
    ArbiterKind, IdentityStatus, Keeper, Kept, MemoryError, PairBoard, PairCounts, PairSettings, PairStatus, PairTask,
    Registers, Store, StoreError, answer_by_hand, begin_memory, recall,
};
pub use protocol::{
    Answer, DestinationEntry, MessageState, PROTOCOL_VERSION, PairCommand, Question, QueueCommand, QueueEntry,
    QueueFilter, QueueReply, QueueSelection, RecipientEntry, RecipientState, Reply, ReportsCommand, Request,
    UnknownState, Versioned,
};
pub use reports::{CountedDomain, ReportSettings, ReportsStatus, WaitingReport};
pub use run::{ExitReason, Settings, Stopper, Tick, run, run_with_log};
pub use status::{
    About, DamageReport, Latency, LogState, MessageCounts, Process, QueueCounts, SessionCounts, SpoolReport,
    StageReport, Stages, StatusReport, WorkerReport, WorkerStatus,
};
pub use switchboard::Switchboard;
