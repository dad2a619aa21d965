//! Power losses under the shipped spool on a real file system.
//!
//! A test device ([`device`], served by [`server`]) writes down every write and every flush that reaches it; a cut of that
//! [`journal`] at any moment, with writes after the last flush dropped or torn, is the device after a power loss. On it
//! lies ext4, and on that the spool: by itself ([`images`]), and under `rohrpost run` ([`cuts`]).

#[path = "../appliance/mod.rs"]
mod appliance;
mod cuts;
mod device;
mod history;
mod images;
mod journal;
mod life;
mod server;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// No claim: the process that is the device of another test, and of none when it is run by hand.
#[test]
#[ignore = "the other tests start it when they need a device"]
fn the_device_of_another_test() {
    let place = |name| std::env::var_os(name).map(std::path::PathBuf::from);
    if let (Some(directory), Some(mounted)) = (place(device::DIRECTORY), place(device::MOUNTED)) {
        server::serve(&directory, &mounted);
    }
}
