//! What can be said about a port without starting DPDK.
//!
//! In: settings. Out: every problem that is found, so that an operator corrects all of them at once. It changes nothing.
//! Which drivers there are and how many queues a device has is known to DPDK alone, and only once it runs.

use super::error::OpenError;
use super::name::DeviceName;
use super::{MBUF_OVERHEAD, PortSettings};
#[cfg(feature = "dpdk")]
use crate::limits::{DPDK_CUT_FRAME_SIZE_MAX, DPDK_CUT_FRAMES};
use crate::limits::{DPDK_MEMORY_OVERHEAD, DPDK_MTU_MAX, DPDK_MTU_MIN};
use crate::port::interface;
use crate::port::numbers;
use crate::port::privilege::{Capability, Privileges};
use std::path::{Path, PathBuf};

/// Drivers that work while the kernel's drives the same card, by the names of the kernel's.
const SHARING_DRIVERS: [&str; 3] = ["mlx5_core", "mlx4_core", "mana"];

/// Drivers whose only purpose is to give a card to a process.
const GIVING_DRIVERS: [&str; 3] = ["vfio-pci", "igb_uio", "uio_pci_generic"];

/// A page of ordinary memory, bytes.
const PAGE_SIZE: u64 = 4096;

/// Where `net_memif` has its socket unless it is told.
const MEMIF_SOCKET: &str = "/run/memif.sock";

/// Arguments of the environment that come from other keys, and what to write instead.
const OWN_ARGUMENTS: [(&str, &str); 15] = [
    ("-l", "the cores are those of [workers]"),
    ("-c", "the cores are those of [workers]"),
    ("--lcores", "the cores are those of [workers]"),
    ("--main-lcore", "the cores are those of [workers]"),
    ("-s", "the cores are those of [workers]"),
    ("-m", "write `memory`"),
    ("--no-huge", "write `hugepages`"),
    ("--in-memory", "nothing is shared with other processes anyway"),
    ("--no-shconf", "nothing is shared with other processes anyway"),
    ("--no-pci", "the device is that of the [[port]]"),
    ("--vdev", "the device is that of the [[port]]"),
    ("-a", "the device is that of the [[port]]"),
    ("--allow", "the device is that of the [[port]]"),
    ("--proc-type", "the process is always the primary one"),
    ("--no-telemetry", "it is given anyway"),
];

/// The first of these arguments that is not for an operator to give, and why.
pub fn arguments_refused(arguments: &[String]) -> Option<(&str, &'static str)> {
    arguments.iter().find_map(|argument| {
        let (_, instead) = OWN_ARGUMENTS.iter().find(|(own, _)| is_argument(argument, own))?;
        Some((argument.as_str(), *instead))
    })
}

/// Whether `argument` is `own`, with a value behind it or without.
fn is_argument(argument: &str, own: &str) -> bool {
    match argument.strip_prefix(own) {
        Some("") => true,
        Some(value) if own.starts_with("--") => value.starts_with('='),
        // A short one needs nothing before its value.
        Some(value) => !value.starts_with('-'),
        None => false,
    }
}

/// Every problem that can be found without opening the port; empty if there is none.
pub fn preflight(settings: &PortSettings) -> Vec<OpenError> {
    let mut problems = Vec::new();
    check_numbers(settings, &mut problems);
    check_memory(settings, Path::new("/"), &mut problems);
    match settings.device.parse() {
        Ok(device) => check_device(settings, &device, Path::new("/"), &mut problems),
        Err(reason) => problems.push(OpenError::Name { device: settings.device.clone(), reason }),
    }
    match interface::held_by_kernel(&settings.addresses) {
        Ok(held) => problems.extend(held.into_iter().map(OpenError::from)),
        Err(source) => problems.push(OpenError::System { step: "list the kernel's addresses", source }),
    }
    problems
}

fn check_numbers(settings: &PortSettings, problems: &mut Vec<OpenError>) {
    problems.extend(numbers::check(settings.vlan, settings.frames_per_queue).map(OpenError::from));
    if let Some(mtu) = settings.mtu.filter(|mtu| !(DPDK_MTU_MIN..=DPDK_MTU_MAX).contains(mtu)) {
        problems.push(OpenError::MtuOutOfRange { mtu });
    }
    if let Some((argument, instead)) = arguments_refused(&settings.arguments) {
        problems.push(OpenError::Argument { argument: argument.to_owned(), instead });
    }
}

/// `root` is where /proc is found.
fn check_memory(settings: &PortSettings, root: &Path, problems: &mut Vec<OpenError>) {
    problems.extend(check_frames(settings, settings.queues));
    if !settings.hugepages {
        return;
    }
    let report = std::fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let number = |key: &str| -> u64 {
        let line = report.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    let page = (number("Hugepagesize") * 1024).max(1);
    let free = number("HugePages_Free") * page;
    if free < settings.memory {
        let missing = (settings.memory - free).div_ceil(page);
        let pages = number("HugePages_Total") + missing;
        problems.push(OpenError::NoHugepages { needed: mib(settings.memory), free: mib(free), pages });
    }
}

/// The memory that a frame with so much room takes, bytes. DPDK lets none lie across two pages if it is not larger than one, and
/// gives a larger one whole pages.
fn memory_of_frame(settings: &PortSettings, room: u16) -> u64 {
    let size = u64::from(room) + MBUF_OVERHEAD;
    if settings.hugepages { size } else { size.next_multiple_of(PAGE_SIZE) }
}

/// The memory that so many queues need, bytes.
fn memory_needed(settings: &PortSettings, queues: u16) -> u64 {
    let frame = memory_of_frame(settings, settings.room());
    u64::from(queues) * u64::from(settings.frames_per_queue) * frame + DPDK_MEMORY_OVERHEAD
}

/// Whether the memory holds those frames besides that the NIC cuts.
#[cfg(feature = "dpdk")]
pub(super) fn holds_large_frames(settings: &PortSettings, queues: u16) -> bool {
    let large = u64::from(DPDK_CUT_FRAMES) * memory_of_frame(settings, DPDK_CUT_FRAME_SIZE_MAX);
    memory_needed(settings, queues) + u64::from(queues) * large <= settings.memory
}

/// Whether the memory holds the frames of so many queues.
pub(super) fn check_frames(settings: &PortSettings, queues: u16) -> Option<OpenError> {
    let needed = memory_needed(settings, queues);
    (needed > settings.memory).then(|| OpenError::Memory { needed: mib(needed), memory: mib(settings.memory) })
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// `root` is where /sys and /dev are found.
fn check_device(settings: &PortSettings, device: &DeviceName, root: &Path, problems: &mut Vec<OpenError>) {
    if device.needs_hugepages() && !settings.hugepages {
        problems.push(OpenError::HugepagesNeeded { device: device.to_string() });
    }
    if settings.mtu.is_some() && !device.takes_mtu() {
        problems.push(OpenError::MtuOfTheDevice { device: device.to_string() });
    }
    if device.is_pci() {
        return check_card(device, root, problems);
    }
    match device.driver() {
        "net_af_packet" => {
            check_privileges(device, &[Capability::NET_RAW], problems);
            check_interface(device, problems);
        }
        "net_af_xdp" => {
            check_privileges(device, &[Capability::NET_ADMIN, Capability::NET_RAW, Capability::BPF], problems);
            check_interface(device, problems);
        }
        "net_tap" => {
            check_privileges(device, &[Capability::NET_ADMIN], problems);
            let path = root.join("dev/net/tun");
            if !path.exists() {
                problems.push(OpenError::NoTap { path });
            }
        }
        "net_memif" => {
            let socket = PathBuf::from(device.argument("socket").unwrap_or(MEMIF_SOCKET));
            let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty());
            // An abstract socket (`socket-abstract=yes`, the default of newer versions) is in no folder.
            if let Some(folder) = folder
                && device.argument("socket-abstract") == Some("no")
                && !folder.is_dir()
            {
                problems.push(OpenError::NoFolder { device: device.to_string(), path: folder.to_owned() });
            }
        }
        // Of others DPDK itself says what they need.
        _ => {}
    }
}

fn check_card(device: &DeviceName, root: &Path, problems: &mut Vec<OpenError>) {
    let address = device.head().to_owned();
    let card = root.join("sys/bus/pci/devices").join(&address);
    if !card.exists() {
        return problems.push(OpenError::NoSuchCard { address });
    }
    let driver = std::fs::read_link(card.join("driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    match driver {
        None => problems.push(OpenError::CardWithoutDriver { address }),
        Some(driver) if driver == "vfio-pci" => {
            let path = root.join("dev/vfio/vfio");
            if !path.exists() {
                problems.push(OpenError::NoVfio { path });
            }
        }
        Some(driver) if GIVING_DRIVERS.contains(&&*driver) || SHARING_DRIVERS.contains(&&*driver) => {}
        Some(driver) => problems.push(OpenError::CardOfTheKernel { address, driver }),
    }
}

fn check_interface(device: &DeviceName, problems: &mut Vec<OpenError>) {
    let Some(name) = device.argument("iface") else {
        return problems.push(OpenError::InterfaceNotNamed { device: device.to_string() });
    };
    let interface = name.to_owned();
    match interface::find(name) {
        Ok(Some(found)) if found.is_up => {}
        Ok(Some(_)) => problems.push(OpenError::InterfaceDown { interface }),
        Ok(None) => problems.push(OpenError::NoSuchInterface { interface }),
        Err(source) => problems.push(OpenError::System { step: "look at the interface", source }),
    }
}

fn check_privileges(device: &DeviceName, needed: &[Capability], problems: &mut Vec<OpenError>) {
    match Privileges::of_this_thread() {
        Ok(privileges) => {
            if let Some(missing) = privileges.missing(needed) {
                problems.push(OpenError::MissingCapabilities { device: device.to_string(), missing });
            }
        }
        Err(source) => problems.push(OpenError::System { step: "read the capabilities", source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(device: &str) -> PortSettings {
        PortSettings {
            device: device.to_owned(),
            queues: 1,
            vlan: 0,
            addresses: Vec::new(),
            frames_per_queue: 4096,
            mtu: None,
            offloads: true,
            hugepages: false,
            memory: 256 << 20,
            arguments: Vec::new(),
        }
    }

    fn texts(problems: &[OpenError]) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    /// Problems of a device on a machine whose /sys, /dev and /proc are in `root`.
    fn problems_of(settings: &PortSettings, root: &Path) -> Vec<String> {
        let mut problems = Vec::new();
        check_memory(settings, root, &mut problems);
        check_device(settings, &settings.device.parse().unwrap(), root, &mut problems);
        texts(&problems)
    }

    #[test]
    fn a_virtual_device_that_needs_nothing_has_no_problems() {
        assert_eq!(texts(&preflight(&settings("net_null0"))), Vec::<String>::new());
    }

    #[test]
    fn every_number_out_of_range_is_named() {
        let wrong = PortSettings {
            vlan: 4095,
            frames_per_queue: 1000,
            mtu: Some(9300),
            memory: 1 << 20,
            arguments: vec!["--log-level=8".to_owned(), "--vdev=net_null1".to_owned()],
            ..settings("eth1")
        };
        let problems = texts(&preflight(&wrong));
        for wanted in [
            "VLAN 4095",
            "power of two from 256",
            "`mtu` is 9300: it can be 1280 to 9216 bytes",
            "the frames need 28 MiB and [dpdk] memory is 1 MiB",
            "the argument --vdev=net_null1 of [dpdk] is ours to give",
            "\"eth1\" is no device",
        ] {
            assert!(problems.iter().any(|problem| problem.contains(wanted)), "{wanted} in {problems:?}");
        }
        assert_eq!(problems.len(), 6);
    }

    #[test]
    fn arguments_that_are_ours_are_found_in_every_form_and_others_are_left_alone() {
        let refused = |argument: &str| arguments_refused(&[argument.to_owned()]).is_some();
        for argument in ["-l", "-l0-3", "-m", "-m512", "--no-huge", "--vdev", "--vdev=net_null0", "-a0000:03:00.0"] {
            assert!(refused(argument), "{argument}");
        }
        for argument in ["--log-level=8", "--iova-mode=va", "--file-prefix=x", "--legacy-mem", "--vdevs", "-n4"] {
            assert!(!refused(argument), "{argument}");
        }
    }

    #[test]
    fn a_card_must_be_there_and_must_not_be_the_kernels() {
        let root = tempfile::tempdir().unwrap();
        let cards = root.path().join("sys/bus/pci/devices");
        let drivers = root.path().join("sys/bus/pci/drivers");
        for (address, driver) in
            [("0000:03:00.0", "ixgbe"), ("0000:04:00.0", "vfio-pci"), ("0000:05:00.0", "mlx5_core")]
        {
            std::fs::create_dir_all(cards.join(address)).unwrap();
            std::os::unix::fs::symlink(drivers.join(driver), cards.join(address).join("driver")).unwrap();
        }
        std::fs::create_dir_all(cards.join("0000:06:00.0")).unwrap();
        let problem = |address: &str| {
            let problems = problems_of(&settings(address), root.path());
            assert!(problems[0].contains("write hugepages = true"), "{problems:?}");
            problems.get(1).cloned().unwrap_or_default()
        };
        assert!(problem("0000:02:00.0").contains("there is no PCI device 0000:02:00.0"));
        assert!(problem("0000:03:00.0").contains("belongs to the kernel's driver ixgbe"));
        assert!(problem("0000:04:00.0").contains("`modprobe vfio-pci`"));
        assert_eq!(problem("0000:05:00.0"), "");
        assert!(problem("0000:06:00.0").contains("has no driver"));
    }

    #[test]
    fn hugepages_that_are_not_free_are_counted_with_what_to_set() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("proc")).unwrap();
        let report = "MemTotal: 1 kB\nHugePages_Total: 100\nHugePages_Free: 28\nHugepagesize: 2048 kB\n";
        std::fs::write(root.path().join("proc/meminfo"), report).unwrap();
        let huge = PortSettings { hugepages: true, ..settings("net_null0") };
        let problems = problems_of(&huge, root.path());
        assert!(
            problems[0]
                .starts_with("256 MiB of hugepages are needed and 56 MiB are free: `sysctl vm.nr_hugepages=200`")
        );
        let little = PortSettings { memory: 56 << 20, ..huge };
        assert_eq!(problems_of(&little, root.path()), Vec::<String>::new());
    }

    #[test]
    fn large_frames_are_for_devices_that_can_be_told_and_take_their_memory() {
        let large = |device: &str| PortSettings { mtu: Some(9000), memory: 48 << 20, ..settings(device) };
        let problems = texts(&preflight(&large("net_memif0")));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0].contains("64 MiB"),
            "4096 of 9024 and 512 bytes, three pages each, and 16 MiB: {problems:?}"
        );
        assert!(texts(&preflight(&large("net_null0"))).iter().any(|problem| problem.contains("leave out `mtu`")));
    }

    #[test]
    fn what_a_virtual_device_stands_on_must_be_there() {
        let root = tempfile::tempdir().unwrap();
        let last = |device: &str| problems_of(&settings(device), root.path()).pop().unwrap_or_default();
        assert!(last("net_af_packet0").contains("write \"net_af_packet0,iface=eth1\""));
        assert!(last("net_af_xdp0,iface=nowhere0").contains("there is no interface nowhere0"));
        let af_xdp = problems_of(&settings("net_af_xdp0,iface=lo"), root.path());
        assert!(af_xdp[0].contains("net_af_xdp0 needs hugepages"), "{af_xdp:?}");
        assert!(last("net_tap0").contains("`modprobe tun`"));
        assert!(last("net_memif0,socket=/nowhere/x,socket-abstract=no").contains("no folder /nowhere"));
        assert_eq!(last("net_memif0,socket=/nowhere/x"), "");
    }

    #[test]
    fn missing_capabilities_are_named_with_the_device() {
        let error = OpenError::MissingCapabilities {
            device: "net_tap0".to_owned(),
            missing: "CAP_NET_ADMIN, CAP_NET_RAW".to_owned(),
        };
        let text = error.to_string();
        assert!(text.contains("missing CAP_NET_ADMIN, CAP_NET_RAW for net_tap0"));
        assert!(text.contains("AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW`"));
    }
}
