//! What the kernel knows about interfaces and addresses, asked by rtnetlink(7).
//!
//! In: a device's name. Out: its index, MAC address, MTU, state, kind and attached program; and every address that
//! the kernel holds. Only the counts of queues come from sysfs, which alone tells the queues in use from those that
//! the driver could have. Nothing is changed here, and no privilege is needed.

use super::INTERFACE_NAME_SIZE_MAX;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_PROG_IDS: std::ops::RangeInclusive<u16> = 4..=7;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Says that an attribute holds others; no part of its number.
const NLA_TYPE_MASK: u16 = 0x3fff;

const MESSAGE_HEADER_SIZE: usize = 16;
const LINK_HEADER_SIZE: usize = 16;
const ADDRESS_HEADER_SIZE: usize = 8;
const ARPHRD_ETHER: u16 = 1;
const IFF_UP: u32 = 1;
const IFF_RUNNING: u32 = 0x40;

/// Room for one answer, bytes: a link with hundreds of virtual functions says a lot.
const ANSWER_SIZE_MAX: usize = 256 * 1024;

/// An interface as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    pub is_ethernet: bool,
    pub is_up: bool,
    /// Frames can pass: up, and the other end of the cable as well.
    pub is_running: bool,
    pub hardware_address: Option<[u8; 6]>,
    /// Bytes.
    pub mtu: usize,
    /// `bond`, `veth` and the like; empty for a NIC.
    pub kind: String,
    /// The id of an XDP program that is attached.
    pub program: Option<u32>,
    pub receive_queues: u32,
    pub transmit_queues: u32,
}

/// The interface of this name; `None` if there is none.
pub fn find(name: &str) -> io::Result<Option<Interface>> {
    if name.is_empty() || name.len() > INTERFACE_NAME_SIZE_MAX || name.contains(['\0', '/']) {
        return Ok(None);
    }
    let mut body = vec![0; LINK_HEADER_SIZE];
    let attribute_size = 4 + name.len() + 1;
    body.extend_from_slice(&(attribute_size as u16).to_ne_bytes());
    body.extend_from_slice(&IFLA_IFNAME.to_ne_bytes());
    body.extend_from_slice(name.as_bytes());
    body.resize(LINK_HEADER_SIZE + aligned(attribute_size), 0);
    let Some(mut link) = find_link(&body)? else { return Ok(None) };
    if let Some(count) = queues_in_use(name, "rx-") {
        link.receive_queues = count;
    }
    if let Some(count) = queues_in_use(name, "tx-") {
        link.transmit_queues = count;
    }
    Ok(Some(link))
}

/// An own address that the kernel would answer for too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the kernel holds {address} too, on {interface}: both would answer for it. Take it from the kernel with \
     `ip address del {address} dev {interface}` (with its prefix length), or give Rohrpost another address"
)]
pub struct HeldByKernel {
    pub address: IpAddr,
    pub interface: String,
}

/// Those of `own` that the kernel holds too.
pub fn held_by_kernel(own: &[IpAddr]) -> io::Result<Vec<HeldByKernel>> {
    Ok(find_held(own, &addresses()?))
}

fn find_held(own: &[IpAddr], held: &[(IpAddr, String)]) -> Vec<HeldByKernel> {
    let holder = |address: &IpAddr| {
        let (_, interface) = held.iter().find(|(kernel, _)| kernel == address)?;
        Some(HeldByKernel { address: *address, interface: interface.clone() })
    };
    own.iter().filter_map(holder).collect()
}

/// The interface with this index; `None` if there is none. Its counts of queues are those that the driver could have.
pub fn by_index(index: u32) -> io::Result<Option<Interface>> {
    find_link(&link_request(index))
}

/// Every address that the kernel holds, with the name of its interface.
pub fn addresses() -> io::Result<Vec<(IpAddr, String)>> {
    let mut held = Vec::new();
    request(RTM_GETADDR, NLM_F_DUMP, &[0; ADDRESS_HEADER_SIZE], &mut |kind, body| {
        if kind == RTM_NEWADDR {
            held.extend(parse_address(body));
        }
    })?;
    let mut named = Vec::with_capacity(held.len());
    for (address, index) in held {
        let name = find_link(&link_request(index))?.map_or_else(|| format!("interface {index}"), |link| link.name);
        named.push((address, name));
    }
    Ok(named)
}

/// Queues in use of one direction; `None` if sysfs does not show the device.
fn queues_in_use(device: &str, prefix: &str) -> Option<u32> {
    let queues = std::fs::read_dir(format!("/sys/class/net/{device}/queues")).ok()?;
    let count = queues.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)).count();
    u32::try_from(count).ok().filter(|count| *count > 0)
}

/// Asks for the interface with this index.
fn link_request(index: u32) -> [u8; LINK_HEADER_SIZE] {
    let mut body = [0; LINK_HEADER_SIZE];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body
}

fn find_link(body: &[u8]) -> io::Result<Option<Interface>> {
    let mut link = None;
    let answer = request(RTM_GETLINK, 0, body, &mut |kind, body| {
        if kind == RTM_NEWLINK {
            link = parse_link(body);
        }
    });
    match answer {
        Ok(()) => Ok(link),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends one request and hands every message of the answer to `take`.
fn request(kind: u16, flags: u16, body: &[u8], take: &mut dyn FnMut(u16, &[u8])) -> io::Result<()> {
    let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(Protocol::from(libc::NETLINK_ROUTE)))?;
    // The kernel answers within the call; the limit is for a kernel that does not.
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut message = Vec::with_capacity(MESSAGE_HEADER_SIZE + body.len());
    message.extend_from_slice(&((MESSAGE_HEADER_SIZE + body.len()) as u32).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
    message.extend_from_slice(&[0; 8]); // sequence and port: one request, one answer
    message.extend_from_slice(body);
    socket.send(&message)?;

    let mut answer = vec![0; ANSWER_SIZE_MAX];
    loop {
        let size = (&socket).read(&mut answer)?;
        if size == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = &answer[..size];
        while let Some((kind, body, behind)) = next_message(rest) {
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    return Err(io::Error::from_raw_os_error(-code));
                }
                _ => take(kind, body),
            }
            rest = behind;
        }
        if flags & NLM_F_DUMP == 0 {
            return Ok(());
        }
    }
}

fn aligned(size: usize) -> usize {
    size.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The first message's kind and body, and what follows it.
fn next_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let size = u32_at(bytes, 0)? as usize;
    let kind = u16_at(bytes, 4)?;
    let body = bytes.get(MESSAGE_HEADER_SIZE..size)?;
    Some((kind, body, bytes.get(aligned(size)..).unwrap_or(&[])))
}

/// The attributes of a message or of another attribute.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let size = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & NLA_TYPE_MASK;
        // A size below the attribute's own header ends the list: `get` finds no such range.
        let value = bytes.get(4..size)?;
        bytes = bytes.get(aligned(size)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

fn parse_link(body: &[u8]) -> Option<Interface> {
    let mut link = Interface {
        index: u32_at(body, 4)?,
        name: String::new(),
        is_ethernet: u16_at(body, 2)? == ARPHRD_ETHER,
        is_up: u32_at(body, 8)? & IFF_UP != 0,
        is_running: u32_at(body, 8)? & IFF_RUNNING != 0,
        hardware_address: None,
        mtu: 0,
        kind: String::new(),
        program: None,
        receive_queues: 1,
        transmit_queues: 1,
    };
    for (kind, value) in attributes(body.get(LINK_HEADER_SIZE..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_ADDRESS => link.hardware_address = value.try_into().ok(),
            IFLA_MTU => link.mtu = u32_at(value, 0)? as usize,
            IFLA_NUM_RX_QUEUES => link.receive_queues = u32_at(value, 0)?,
            IFLA_NUM_TX_QUEUES => link.transmit_queues = u32_at(value, 0)?,
            IFLA_LINKINFO => {
                if let Some((_, kind)) = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND) {
                    link.kind = text(kind);
                }
            }
            IFLA_XDP => {
                let program = attributes(value).find(|(kind, _)| IFLA_XDP_PROG_IDS.contains(kind));
                link.program = program.and_then(|(_, id)| u32_at(id, 0)).filter(|id| *id != 0);
            }
            _ => {}
        }
    }
    Some(link)
}

/// An address and the index of its interface. On a point-to-point link IFA_ADDRESS is the other end's.
fn parse_address(body: &[u8]) -> Option<(IpAddr, u32)> {
    let index = u32_at(body, 4)?;
    let rest = body.get(ADDRESS_HEADER_SIZE..)?;
    let find = |wanted| attributes(rest).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let value = find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?;
    let address = match i32::from(*body.first()?) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?)),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => return None,
    };
    Some((address, index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_loopback_is_found_and_is_no_ethernet() {
        let lo = find("lo").unwrap().unwrap();
        assert_eq!(lo.name, "lo");
        assert!(!lo.is_ethernet);
        assert!(lo.mtu > 0);
    }

    #[test]
    fn a_name_that_nobody_has_is_none() {
        assert_eq!(find("rohrpost-none").unwrap(), None);
        assert_eq!(find("").unwrap(), None);
        assert_eq!(find("a-name-longer-than-any-interface").unwrap(), None);
    }

    #[test]
    fn the_loopback_address_is_held_by_the_kernel_where_loopback_is_up() {
        if find("lo").unwrap().unwrap().is_up {
            let held = addresses().unwrap();
            assert!(held.contains(&(IpAddr::V4(Ipv4Addr::LOCALHOST), "lo".to_owned())));
        }
    }

    #[test]
    fn an_own_address_that_the_kernel_holds_names_the_interface() {
        let address: IpAddr = "2001:db8::1".parse().unwrap();
        let held = find_held(&[address, "2001:db8::2".parse().unwrap()], &[(address, "eth0".to_owned())]);
        assert_eq!(held.len(), 1);
        assert!(held[0].to_string().contains("the kernel holds 2001:db8::1 too, on eth0"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_answer_makes_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = next_message(&bytes);
            let _ = parse_link(&bytes);
            let _ = parse_address(&bytes);
            prop_assert!(attributes(&bytes).count() <= 50);
        }
    }
}
