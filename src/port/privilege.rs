//! What this process may do (capabilities(7)), as far as ports ask for it.

use std::io;

/// One capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capability {
    bit: u32,
    name: &'static str,
    /// One that stands in for it.
    instead: Option<u32>,
}

const SYS_ADMIN: u32 = 21;

impl Capability {
    pub const NET_ADMIN: Capability = Capability { bit: 12, name: "CAP_NET_ADMIN", instead: None };
    pub const NET_RAW: Capability = Capability { bit: 13, name: "CAP_NET_RAW", instead: None };
    pub const IPC_LOCK: Capability = Capability { bit: 14, name: "CAP_IPC_LOCK", instead: None };
    pub const SYS_RESOURCE: Capability = Capability { bit: 24, name: "CAP_SYS_RESOURCE", instead: None };
    pub const BPF: Capability = Capability { bit: 39, name: "CAP_BPF", instead: Some(SYS_ADMIN) };
}

/// The capabilities in effect, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Privileges(u64);

impl Privileges {
    /// Those of the thread that asks.
    pub fn of_this_thread() -> io::Result<Privileges> {
        let status = std::fs::read_to_string("/proc/thread-self/status")?;
        parse(&status).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    #[cfg(test)]
    pub fn of(capabilities: &[Capability]) -> Privileges {
        Privileges(capabilities.iter().fold(0, |bits, capability| bits | 1 << capability.bit))
    }

    pub fn has(self, capability: Capability) -> bool {
        let holds = |bit: u32| self.0 >> bit & 1 == 1;
        holds(capability.bit) || capability.instead.is_some_and(holds)
    }

    /// The names of those of `needed` that are not there; `None` if all are.
    pub fn missing(self, needed: &[Capability]) -> Option<String> {
        let missing: Vec<&str> =
            needed.iter().filter(|capability| !self.has(**capability)).map(|capability| capability.name).collect();
        if missing.is_empty() { None } else { Some(missing.join(", ")) }
    }
}

fn parse(status: &str) -> Option<Privileges> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok().map(Privileges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_stands_in_for_bpf_and_for_nothing_else() {
        let needed = [Capability::NET_ADMIN, Capability::BPF];
        assert_eq!(Privileges::default().missing(&needed).as_deref(), Some("CAP_NET_ADMIN, CAP_BPF"));
        assert_eq!(Privileges(1 << SYS_ADMIN).missing(&needed).as_deref(), Some("CAP_NET_ADMIN"));
        assert_eq!(Privileges(1 << 12 | 1 << SYS_ADMIN).missing(&needed), None);
    }

    #[test]
    fn the_effective_capabilities_are_read_from_the_status() {
        let status = "Name:\tx\nCapInh:\t00ff\nCapEff:\t0000000000003000\n";
        assert_eq!(parse(status), Some(Privileges::of(&[Capability::NET_ADMIN, Capability::NET_RAW])));
        assert_eq!(parse("Name:\tx\n"), None);
    }
}
