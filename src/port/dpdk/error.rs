//! Why a device was not opened: what is wrong, and what to do about it.
//!
//! All of these are for the operator to act on; none of them comes up once a device is open.

use super::name::NotADevice;
use crate::limits::{DPDK_MTU_MAX, DPDK_MTU_MIN};
use crate::port::interface::HeldByKernel;
use crate::port::numbers::NumberError;
use std::io;
use std::path::PathBuf;

/// Why a device cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The feature is not in this build.
    #[error(
        "this rohrpost was built without DPDK: `scripts/setup --dpdk` installs what is needed and builds it with \
         `cargo build --release --features dpdk`; or use transport = \"af_xdp\""
    )]
    NotBuilt,

    /// The name of the device.
    #[error("\"{device}\" is {reason}")]
    Name { device: String, reason: NotADevice },

    /// There is no such card.
    #[error("there is no PCI device {address}: `dpdk-devbind.py --status` lists those of this host")]
    NoSuchCard { address: String },

    /// The card's driver is the kernel's own.
    #[error(
        "{address} belongs to the kernel's driver {driver}: take it away with `dpdk-devbind.py --bind=vfio-pci {address}` \
         (its interface vanishes: never do it to the one that you are logged in by), or use transport = \"af_xdp\""
    )]
    CardOfTheKernel { address: String, driver: String },

    /// The card has no driver.
    #[error("{address} has no driver: give it one with `dpdk-devbind.py --bind=vfio-pci {address}`")]
    CardWithoutDriver { address: String },

    /// The device does not work in ordinary memory.
    #[error("{device} needs hugepages: write hugepages = true into [dpdk]; cards and net_af_xdp lose frames without")]
    HugepagesNeeded { device: String },

    /// vfio-pci without VFIO.
    #[error("there is no {path}: load the module with `modprobe vfio-pci`, and switch on the IOMMU in the firmware", path = path.display())]
    NoVfio { path: PathBuf },

    /// Not enough free hugepages.
    #[error(
        "{needed} MiB of hugepages are needed and {free} MiB are free: `sysctl vm.nr_hugepages={pages}`, or, for a virtual \
         device, hugepages = false in [dpdk]"
    )]
    NoHugepages { needed: u64, free: u64, pages: u64 },

    /// The frames do not fit.
    #[error(
        "the frames need {needed} MiB and [dpdk] memory is {memory} MiB: raise it, or lower `frames` of the [[port]]"
    )]
    Memory { needed: u64, memory: u64 },

    /// The driver needs the name of an interface.
    #[error("{device} needs the interface that it stands on: write \"{device},iface=eth1\"")]
    InterfaceNotNamed { device: String },

    /// There is no interface of this name, here.
    #[error("there is no interface {interface}: `ip link` lists those of this host (and of this network namespace)")]
    NoSuchInterface { interface: String },

    /// The interface is administratively down.
    #[error("interface {interface} is down: bring it up with `ip link set {interface} up`")]
    InterfaceDown { interface: String },

    /// The kernel has no tap devices.
    #[error("there is no {path}: load the module with `modprobe tun`", path = path.display())]
    NoTap { path: PathBuf },

    /// The folder of a socket.
    #[error("there is no folder {path} for the socket of {device}: make it, or name another with socket=", path = path.display())]
    NoFolder { device: String, path: PathBuf },

    /// A number that no port can have.
    #[error(transparent)]
    Number(#[from] NumberError),

    /// An argument of the environment that is ours to give.
    #[error("the argument {argument} of [dpdk] is ours to give: {instead}")]
    Argument { argument: String, instead: &'static str },

    /// The kernel would answer for the address too.
    #[error(transparent)]
    AddressHeldByKernel(#[from] HeldByKernel),

    /// This process may not do what the driver needs.
    #[error(
        "missing {missing} for {device}: run as root, or with `AmbientCapabilities={}` in the systemd unit",
        missing.replace(',', "")
    )]
    MissingCapabilities { device: String, missing: String },

    /// The environment was started in this process before.
    #[error("DPDK drives a device of this process already, and cannot be started twice: use another process")]
    AlreadyOpen,

    /// The environment did not start.
    #[error("DPDK does not start with `{arguments}`. Its reasons: {reasons}")]
    Start { arguments: String, reasons: String },

    /// No driver took the device.
    #[error(
        "no driver of DPDK takes {device}: look at its name and at its arguments, and whether the package of the driver is \
         installed (`apt-cache search librte-net`). DPDK's reasons: {reasons}"
    )]
    NoDriver { device: String, reasons: String },

    /// More devices than one.
    #[error("{device} is {count} devices to DPDK, and exactly one is supported: name one port of the card")]
    SeveralDevices { device: String, count: u16 },

    /// A frame would not fit into an mbuf.
    #[error(
        "the MTU of {device} is {mtu} bytes and an mbuf holds packets of at most {max}: lower the MTU of what it stands on to 1500"
    )]
    MtuTooLarge { device: String, mtu: usize, max: usize },

    /// An MTU that no device of ours can have.
    #[error("`mtu` is {mtu}: it can be {DPDK_MTU_MIN} to {DPDK_MTU_MAX} bytes")]
    MtuOutOfRange { mtu: u16 },

    /// The MTU of this device is not for us to say.
    #[error(
        "the MTU of {device} is not for Rohrpost to say: leave out `mtu`, and set that of the interface below, if there is one, \
         with `ip link set DEV mtu N`"
    )]
    MtuOfTheDevice { device: String },

    /// Anything else that DPDK said no to.
    #[error("{device} cannot {step}: {reason}. This is not a fault that Rohrpost knows")]
    Driver { device: String, step: &'static str, reason: String },

    /// Anything else that the system said no to.
    #[error("cannot {step}: {source}. This is not a fault that Rohrpost knows; `dmesg` may say more")]
    System { step: &'static str, source: io::Error },
}
