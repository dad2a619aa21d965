//! What every fuzz target does with its bytes: one body each, which panics when a promise is broken.
//!
//! In: arbitrary bytes. Out: nothing, or a panic that names the promise. A body reads no clock, no file and no
//! randomness, so that an input tells the same story wherever it is run: under libFuzzer, or in `tests/fuzz.rs`.

pub mod address;
pub mod admin;
pub mod choices;
pub mod client;
pub mod command;
pub mod config;
pub mod content;
pub mod frames;
pub mod mirror;
pub mod notice;
pub mod record;
pub mod recovery;
pub mod relay;
pub mod replies;
pub mod server;
pub mod session;
pub mod sts;
pub mod tls;
pub mod wire;

/// A target: its name, which is also that of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
#[allow(dead_code, reason = "a binary of the fuzzer runs one")]
pub const TARGETS: [Target; 16] = [
    ("address", address::run),
    ("admin", admin::run),
    ("client", client::run),
    ("command", command::run),
    ("config", config::run),
    ("content", content::run),
    ("frames", frames::run),
    ("mirror", mirror::run),
    ("notice", notice::run),
    ("record", record::run),
    ("recovery", recovery::run),
    ("relay", relay::run),
    ("replies", replies::run),
    ("server", server::run),
    ("sts", sts::run),
    ("tls", tls::run),
];
