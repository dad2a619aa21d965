//! The steering program: which frames come to us, and which the kernel keeps.
//!
//! In: the descriptors of the maps and the VLAN. Out: instructions. The program drops nothing and changes
//! nothing: a frame is either redirected to the socket of its queue or passed to the kernel, so that SSH on the
//! same NIC keeps working whatever happens here.
//!
//! | frame | redirected if |
//! | --- | --- |
//! | ARP, Ethernet/IPv4 | target or sender protocol address is ours (RFC 826; the sender's for conflicts, RFC 5227 §2.4) |
//! | IPv4, TCP or ICMP | destination is ours; fragments too, since each of them carries the protocol |
//! | IPv6, TCP or ICMPv6 | destination is ours |
//! | IPv6 multicast, ICMPv6 135 or 136 | the solicitation's or advertisement's target is ours (RFC 4861 §7.2, RFC 4862 §5.4) |
//! | anything else | never; so neither UDP nor IPv6 with extension headers (fragments of it too) for own addresses |
//!
//! With a VLAN all of this holds for frames with that 802.1Q tag and for no others; without one, for untagged
//! frames. A queue that has no socket passes its frames to the kernel.
//!
//! Registers: `R6` the context, `R7` the frame's first byte, `R8` the byte behind its last; all three survive calls.

use super::assembler::Register::{R0, R1, R2, R3, R4, R6, R7, R8, R10};
use super::assembler::{Assembler, Instruction, Label, Width};

/// The verdict that leaves a frame to the kernel.
pub const XDP_PASS: i32 = 2;

/// `bpf_map_lookup_elem`.
pub const HELPER_MAP_LOOKUP: i32 = 1;

/// `bpf_redirect_map`.
pub const HELPER_REDIRECT_MAP: i32 = 51;

/// Offsets within `struct xdp_md`.
pub const CONTEXT_DATA: i16 = 0;
pub const CONTEXT_DATA_END: i16 = 4;
pub const CONTEXT_QUEUE: i16 = 16;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const PROTOCOL_ICMP: i32 = 1;
const PROTOCOL_TCP: i32 = 6;
const PROTOCOL_ICMPV6: i32 = 58;
const NEIGHBOR_SOLICITATION: i32 = 135;
const NEIGHBOR_ADVERTISEMENT: i32 = 136;

/// The maps that the program looks into, by descriptor.
#[derive(Clone, Copy, Debug)]
pub struct Maps {
    /// Own IPv4 addresses.
    pub addresses_v4: i32,
    /// Own IPv6 addresses.
    pub addresses_v6: i32,
    /// The socket of each queue.
    pub sockets: i32,
}

/// A 16-bit field in network order, as a load on this machine gives it.
fn network_order(value: u16) -> i32 {
    i32::from(u16::from_ne_bytes(value.to_be_bytes()))
}

/// Builds the program. `vlan` 0 means untagged.
pub fn steering(maps: Maps, vlan: u16) -> Vec<Instruction> {
    let mut asm = Assembler::new();
    let (arp, ipv4, ipv6) = (asm.label(), asm.label(), asm.label());
    let (redirect, pass) = (asm.label(), asm.label());
    // Where the network header begins.
    let l3: i16 = if vlan == 0 { 14 } else { 18 };

    asm.move_register(R6, R1);
    asm.load(Width::Word, R7, R6, CONTEXT_DATA);
    asm.load(Width::Word, R8, R6, CONTEXT_DATA_END);

    require(&mut asm, l3, pass);
    if vlan != 0 {
        asm.load(Width::Half, R0, R7, 12);
        asm.jump_if_not_equal(R0, network_order(ETHERTYPE_VLAN), pass);
        // The upper four bits of the tag are priority and drop eligibility: any will do.
        asm.load(Width::Half, R0, R7, 14);
        asm.and(R0, network_order(0x0fff));
        asm.jump_if_not_equal(R0, network_order(vlan), pass);
    }
    asm.load(Width::Half, R0, R7, l3 - 2);
    asm.jump_if_equal(R0, network_order(ETHERTYPE_IPV4), ipv4);
    asm.jump_if_equal(R0, network_order(ETHERTYPE_IPV6), ipv6);
    asm.jump_if_equal(R0, network_order(ETHERTYPE_ARP), arp);
    asm.jump(pass);

    asm.place(arp);
    require(&mut asm, l3 + 28, pass);
    asm.load(Width::Half, R0, R7, l3); // hardware type: Ethernet
    asm.jump_if_not_equal(R0, network_order(1), pass);
    asm.load(Width::Half, R0, R7, l3 + 2); // protocol type
    asm.jump_if_not_equal(R0, network_order(ETHERTYPE_IPV4), pass);
    asm.load(Width::Half, R0, R7, l3 + 4); // lengths of both addresses: 6 and 4
    asm.jump_if_not_equal(R0, network_order(0x0604), pass);
    look_up_v4(&mut asm, maps, l3 + 24); // target protocol address
    asm.jump_if_not_equal(R0, 0, redirect);
    look_up_v4(&mut asm, maps, l3 + 14); // sender protocol address
    asm.jump_if_not_equal(R0, 0, redirect);
    asm.jump(pass);

    asm.place(ipv4);
    let ours_v4 = asm.label();
    require(&mut asm, l3 + 20, pass);
    asm.load(Width::Byte, R0, R7, l3 + 9); // protocol
    asm.jump_if_equal(R0, PROTOCOL_TCP, ours_v4);
    asm.jump_if_not_equal(R0, PROTOCOL_ICMP, pass);
    asm.place(ours_v4);
    look_up_v4(&mut asm, maps, l3 + 16); // destination
    asm.jump_if_not_equal(R0, 0, redirect);
    asm.jump(pass);

    asm.place(ipv6);
    let (icmpv6, neighbor) = (asm.label(), asm.label());
    require(&mut asm, l3 + 40, pass);
    asm.load(Width::Byte, R0, R7, l3 + 6); // next header
    asm.jump_if_equal(R0, PROTOCOL_ICMPV6, icmpv6);
    asm.jump_if_not_equal(R0, PROTOCOL_TCP, pass);
    look_up_v6(&mut asm, maps, l3 + 24); // destination
    asm.jump_if_not_equal(R0, 0, redirect);
    asm.jump(pass);

    asm.place(icmpv6);
    look_up_v6(&mut asm, maps, l3 + 24); // destination
    asm.jump_if_not_equal(R0, 0, redirect);
    asm.load(Width::Byte, R0, R7, l3 + 24);
    asm.jump_if_not_equal(R0, 0xff, pass); // unicast to somebody else
    require(&mut asm, l3 + 64, pass);
    asm.load(Width::Byte, R0, R7, l3 + 40); // ICMPv6 type
    asm.jump_if_equal(R0, NEIGHBOR_SOLICITATION, neighbor);
    asm.jump_if_not_equal(R0, NEIGHBOR_ADVERTISEMENT, pass);
    asm.place(neighbor);
    look_up_v6(&mut asm, maps, l3 + 48); // target
    asm.jump_if_equal(R0, 0, pass);

    asm.place(redirect);
    asm.load_map(R1, maps.sockets);
    asm.load(Width::Word, R2, R6, CONTEXT_QUEUE);
    asm.move_immediate(R3, XDP_PASS); // the verdict where the queue has no socket
    asm.call(HELPER_REDIRECT_MAP);
    asm.exit();

    asm.place(pass);
    asm.move_immediate(R0, XDP_PASS);
    asm.exit();
    asm.finish()
}

/// Goes to `pass` unless the frame has at least `length` bytes; the verifier lets no byte be read before this.
fn require(asm: &mut Assembler, length: i16, pass: Label) {
    asm.move_register(R4, R7);
    asm.add(R4, i32::from(length));
    asm.jump_if_greater(R4, R8, pass);
}

/// `R0` is not zero if the four bytes at `offset` are an own address.
fn look_up_v4(asm: &mut Assembler, maps: Maps, offset: i16) {
    asm.load(Width::Word, R0, R7, offset);
    asm.store(Width::Word, R10, -4, R0);
    asm.load_map(R1, maps.addresses_v4);
    asm.move_register(R2, R10);
    asm.add(R2, -4);
    asm.call(HELPER_MAP_LOOKUP);
}

/// `R0` is not zero if the sixteen bytes at `offset` are an own address.
fn look_up_v6(asm: &mut Assembler, maps: Maps, offset: i16) {
    asm.load(Width::Double, R0, R7, offset);
    asm.store(Width::Double, R10, -16, R0);
    asm.load(Width::Double, R0, R7, offset + 8);
    asm.store(Width::Double, R10, -8, R0);
    asm.load_map(R1, maps.addresses_v6);
    asm.move_register(R2, R10);
    asm.add(R2, -16);
    asm.call(HELPER_MAP_LOOKUP);
}
