//! What a device is called, and what the environment is told about it.
//!
//! ```text
//! 0000:03:00.0                                   a network card
//! 0000:03:00.0,rxq_cqe_comp_en=0                 with arguments for its driver
//! net_af_packet0,iface=eth1                      a virtual device of the driver net_af_packet
//! ```

use std::fmt;
use std::str::FromStr;

/// A device as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceName {
    /// The whole of it, arguments and all.
    text: String,
    /// How much of it comes in front of the arguments, bytes.
    head: usize,
    pci: bool,
}

/// The text names no device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no device: write the PCI address of a network card, such as \"0000:03:00.0\" (`dpdk-devbind.py --status` lists them), \
     or a virtual device, such as \"net_af_packet0,iface=eth1\""
)]
pub struct NotADevice;

impl DeviceName {
    /// The address or the name, without arguments.
    pub fn head(&self) -> &str {
        &self.text[..self.head]
    }

    /// Whether it is a card at a PCI address.
    pub fn is_pci(&self) -> bool {
        self.pci
    }

    /// Whether ordinary memory will not do: a card cannot reach it, and `net_af_xdp` gives the kernel too little of it, so
    /// that what lies behind is lost without a word (seen with DPDK 22.11).
    pub fn needs_hugepages(&self) -> bool {
        self.pci || self.driver() == "net_af_xdp"
    }

    /// Whether it is for us to say how large its packets may be. What stands on an interface has the MTU of that; other
    /// virtual devices have one of their own.
    pub fn takes_mtu(&self) -> bool {
        self.pci || self.driver() == "net_memif"
    }

    /// The driver of a virtual device: its name without the number.
    pub fn driver(&self) -> &str {
        self.head().trim_end_matches(|character: char| character.is_ascii_digit())
    }

    /// The value of an argument for the driver.
    pub fn argument(&self, key: &str) -> Option<&str> {
        self.text[self.head..].split(',').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    }

    /// What the environment is told, so that it looks at this device and at no other. `room`: how long a frame may be, bytes,
    /// where that is for us to say; a virtual device has buffers of that size then.
    pub fn arguments(&self, room: Option<u16>) -> Vec<String> {
        if self.pci {
            return vec!["-a".to_owned(), self.text.clone()];
        }
        let size = room.filter(|_| self.argument("bsize").is_none()).map(|room| format!(",bsize={room}"));
        vec!["--no-pci".to_owned(), format!("--vdev={}{}", self.text, size.unwrap_or_default())]
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.head())
    }
}

impl FromStr for DeviceName {
    type Err = NotADevice;

    fn from_str(text: &str) -> Result<DeviceName, NotADevice> {
        let head = text.split(',').next().unwrap_or_default();
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        let pci = is_pci_address(head);
        let word = head.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let drivers = ["net_", "eth_", "virtio_user"];
        let virtual_device = word && drivers.iter().any(|driver| head.len() > driver.len() && head.starts_with(driver));
        if !printable || !(pci || virtual_device) {
            return Err(NotADevice);
        }
        Ok(DeviceName { text: text.to_owned(), head: head.len(), pci })
    }
}

/// `domain:bus:device.function`, as in /sys/bus/pci/devices.
fn is_pci_address(text: &str) -> bool {
    let hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut parts = text.splitn(3, ':');
    let (Some(domain), Some(bus), Some(slot)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let Some((device, function)) = slot.split_once('.') else { return false };
    hex(domain, 4) && hex(bus, 2) && hex(device, 2) && matches!(function.as_bytes(), [b'0'..=b'7'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Vec<String> {
        text.parse::<DeviceName>().unwrap().arguments(None)
    }

    #[test]
    fn a_card_is_allowed_and_a_virtual_device_made() {
        assert_eq!(arguments("0000:03:00.0"), ["-a", "0000:03:00.0"]);
        assert_eq!(arguments("0000:af:1f.7,mprq_en=1"), ["-a", "0000:af:1f.7,mprq_en=1"]);
        assert_eq!(arguments("net_memif0,role=server"), ["--no-pci", "--vdev=net_memif0,role=server"]);
        assert_eq!(arguments("net_tap0"), ["--no-pci", "--vdev=net_tap0"]);
    }

    #[test]
    fn a_virtual_device_has_buffers_for_large_frames_unless_it_was_told_of_others() {
        let large = |text: &str| text.parse::<DeviceName>().unwrap().arguments(Some(9024)).pop().unwrap();
        assert_eq!(large("net_memif0"), "--vdev=net_memif0,bsize=9024");
        assert_eq!(large("net_memif0,bsize=9100"), "--vdev=net_memif0,bsize=9100");
        assert_eq!(large("0000:03:00.0"), "0000:03:00.0");
    }

    #[test]
    fn a_name_has_a_driver_and_arguments() {
        let name: DeviceName = "net_af_packet12,iface=eth1,qpairs=2".parse().unwrap();
        assert_eq!(name.driver(), "net_af_packet");
        assert_eq!(name.argument("iface"), Some("eth1"));
        assert_eq!(name.argument("qpairs"), Some("2"));
        assert_eq!(name.argument("if"), None);
        assert_eq!(name.to_string(), "net_af_packet12");
    }

    #[test]
    fn what_names_no_device_is_refused() {
        for text in
            ["", "eth1", "net_", "03:00.0", "0000:03:00.8", "0000:03:00", "net_tap0 --no-huge", "net_täp", "--vdev=x"]
        {
            assert_eq!(text.parse::<DeviceName>(), Err(NotADevice), "{text}");
        }
    }
}
