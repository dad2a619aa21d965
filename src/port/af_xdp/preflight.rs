//! What can be said about a port without opening it.
//!
//! In: settings. Out: every problem that is found, so that an operator corrects all of them at once. It changes
//! nothing, and it does not look whether a program is attached or a queue is bound: on a box that runs, both are
//! so rightly.

use super::error::OpenError;
use super::{PortSettings, Queues, frames, socket};
use crate::limits::{AF_XDP_MTU_MAX, STEERED_ADDRESSES_MAX};
use crate::port::interface::{self, Interface};
use crate::port::numbers;
use crate::port::privilege::{Capability, Privileges};

/// What a port needs.
const CAPABILITIES: [Capability; 3] = [Capability::NET_ADMIN, Capability::NET_RAW, Capability::BPF];

/// Every problem that can be found without opening the port; empty if there is none.
pub fn preflight(settings: &PortSettings) -> Vec<OpenError> {
    let mut problems = Vec::new();
    let device = &settings.device;
    let queue_count = match interface::find(device) {
        Ok(Some(link)) => check_interface(settings, &link, &mut problems),
        Ok(None) => {
            problems.push(OpenError::NoSuchInterface { device: device.clone() });
            0
        }
        Err(error) => {
            problems.push(OpenError::from_step("look at the interface", device, error));
            0
        }
    };
    check_numbers(settings, &mut problems);
    match interface::held_by_kernel(&settings.addresses) {
        Ok(held) => problems.extend(held.into_iter().map(OpenError::from)),
        Err(error) => problems.push(OpenError::from_step("list the kernel's addresses", device, error)),
    }
    match Privileges::of_this_thread() {
        Ok(privileges) => {
            check_capabilities(privileges, &mut problems);
            check_memory_lock(settings, queue_count, privileges, &mut problems);
        }
        Err(error) => problems.push(OpenError::from_step("read the capabilities", device, error)),
    }
    problems
}

/// Adds what is wrong with the interface; gives the number of queues that the port would open.
fn check_interface(settings: &PortSettings, link: &Interface, problems: &mut Vec<OpenError>) -> usize {
    let device = settings.device.clone();
    if !link.is_ethernet || link.hardware_address.is_none() {
        problems.push(OpenError::NotEthernet { device });
        // Nothing more can be said about the queues of something that has none.
        return 0;
    }
    if link.kind == "bond" || link.kind == "team" {
        problems.push(OpenError::Bond { device, kind: link.kind.clone() });
        return 0;
    }
    if !link.is_up {
        problems.push(OpenError::InterfaceDown { device: device.clone() });
    }
    if link.mtu > AF_XDP_MTU_MAX {
        problems.push(OpenError::MtuTooLarge { device, mtu: link.mtu });
    }
    match queue_list(settings, link) {
        Ok(queues) => queues.len(),
        Err(error) => {
            problems.push(error);
            0
        }
    }
}

/// The queues to open.
pub(super) fn queue_list(settings: &PortSettings, link: &Interface) -> Result<Vec<u32>, OpenError> {
    let device = settings.device.clone();
    let (receive, transmit) = (link.receive_queues, link.transmit_queues);
    let queues = match &settings.queues {
        Queues::Auto => (0..receive).collect(),
        Queues::List(list) => list.clone(),
    };
    if queues.is_empty() {
        return Err(OpenError::NoQueues { device });
    }
    for (place, queue) in queues.iter().copied().enumerate() {
        if queue >= receive {
            return Err(OpenError::NoSuchQueue { device, queue, count: receive });
        }
        if queue >= transmit {
            return Err(OpenError::QueuesUnpaired { device, receive, transmit });
        }
        if queues[..place].contains(&queue) {
            return Err(OpenError::QueueListedTwice { device, queue });
        }
    }
    Ok(queues)
}

fn check_numbers(settings: &PortSettings, problems: &mut Vec<OpenError>) {
    problems.extend(numbers::check(settings.vlan, settings.frames_per_queue).map(OpenError::from));
    let count = settings.addresses.len();
    if count > STEERED_ADDRESSES_MAX {
        problems.push(OpenError::TooManyAddresses { count });
    }
}

fn check_capabilities(privileges: Privileges, problems: &mut Vec<OpenError>) {
    if let Some(missing) = privileges.missing(&CAPABILITIES) {
        problems.push(OpenError::MissingCapabilities { missing });
    }
}

/// Locked memory that the frames of all queues need, bytes.
pub(super) fn locked_memory(settings: &PortSettings, queue_count: usize) -> u64 {
    queue_count as u64 * u64::from(settings.frames_per_queue) * frames::FRAME_SIZE as u64
}

fn check_memory_lock(
    settings: &PortSettings,
    queue_count: usize,
    privileges: Privileges,
    problems: &mut Vec<OpenError>,
) {
    // With either of these the limit does not count, or can be raised.
    if privileges.has(Capability::IPC_LOCK) || privileges.has(Capability::SYS_RESOURCE) {
        return;
    }
    let needed = locked_memory(settings, queue_count);
    match socket::memory_lock_limit() {
        Ok((_, hard)) if hard >= needed => {}
        Ok((_, hard)) => problems.push(OpenError::MemoryLock { needed, limit: hard }),
        Err(error) => problems.push(OpenError::from_step("read the memory lock limit", &settings.device, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PORT_FRAMES_MAX;

    fn settings() -> PortSettings {
        PortSettings {
            device: "eth1".to_owned(),
            queues: Queues::Auto,
            vlan: 0,
            addresses: vec!["192.0.2.25".parse().unwrap()],
            frames_per_queue: 4096,
        }
    }

    fn link() -> Interface {
        Interface {
            index: 3,
            name: "eth1".to_owned(),
            is_ethernet: true,
            is_up: true,
            is_running: true,
            hardware_address: Some([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            kind: String::new(),
            program: None,
            receive_queues: 4,
            transmit_queues: 4,
        }
    }

    fn problems(settings: &PortSettings, link: &Interface) -> Vec<String> {
        let mut problems = Vec::new();
        check_interface(settings, link, &mut problems);
        check_numbers(settings, &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_sound_interface_has_no_problems_and_all_its_queues() {
        assert_eq!(problems(&settings(), &link()), Vec::<String>::new());
        assert_eq!(queue_list(&settings(), &link()).unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn every_problem_is_found_and_says_what_to_do() {
        let mut settings = settings();
        settings.frames_per_queue = 1000;
        settings.vlan = 4095;
        settings.queues = Queues::List(vec![4]);
        let link = Interface { is_up: false, mtu: 9000, ..link() };
        let problems = problems(&settings, &link);
        for wanted in [
            "`ip link set eth1 up`",
            "`ip link set eth1 mtu 1500`",
            "has no queue 4: it has 4",
            "VLAN 4095",
            "power of two from",
        ] {
            assert!(problems.iter().any(|problem| problem.contains(wanted)), "{wanted} in {problems:?}");
        }
        assert_eq!(problems.len(), 5);
    }

    #[test]
    fn a_bond_is_refused_with_the_advice_what_to_use() {
        let bond = Interface { kind: "bond".to_owned(), ..link() };
        assert!(problems(&settings(), &bond)[0].contains("Use the members"));
    }

    #[test]
    fn a_queue_without_its_other_half_is_refused() {
        let link = Interface { transmit_queues: 2, ..link() };
        assert!(problems(&settings(), &link)[0].contains("`ethtool -L eth1 combined 2`"));
        let mut settings = settings();
        settings.queues = Queues::List(vec![0, 1]);
        assert_eq!(queue_list(&settings, &link).unwrap(), [0, 1]);
    }

    #[test]
    fn a_queue_listed_twice_or_an_empty_list_is_refused() {
        let mut settings = settings();
        settings.queues = Queues::List(vec![1, 1]);
        assert!(problems(&settings, &link())[0].contains("listed twice"));
        settings.queues = Queues::List(Vec::new());
        assert!(problems(&settings, &link())[0].contains("queues = \"auto\""));
    }

    #[test]
    fn missing_capabilities_are_named() {
        let mut problems = Vec::new();
        check_capabilities(Privileges::default(), &mut problems);
        assert!(problems[0].to_string().contains("CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF"));
    }

    #[test]
    fn locked_memory_is_checked_only_where_it_counts() {
        let huge = PortSettings { frames_per_queue: PORT_FRAMES_MAX, ..settings() };
        let mut problems = Vec::new();
        check_memory_lock(&huge, usize::MAX >> 40, Privileges::of(&[Capability::IPC_LOCK]), &mut problems);
        assert!(problems.is_empty());
    }
}
