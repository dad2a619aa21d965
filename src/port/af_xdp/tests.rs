//! The steering program run frame by frame on a small eBPF machine, and a queue over rings whose other side the tests
//! play: neither asks for privileges. What the kernel makes of them is the business of `tests/port_af_xdp.rs`.

use super::assembler::{Assembler, Instruction, PSEUDO_MAP_FD, Register, Width, opcode};
use super::frames::{FRAME_SIZE, Frames};
use super::memory::Region;
use super::program::{self, Maps};
use super::queue::{Queue, QueueSettings};
use super::ring::kernel_side::LAYOUT;
use super::ring::{ConsumerRing, ProducerRing};
use super::socket::Rings;
use super::{Attach, Copying, Mode, OpenError};
use crate::port::steering::Steering;
use crate::port::{Burst, FRAME_HEADROOM, Port, solicited_node_mac};
use proptest::prelude::*;
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, Ipv6Addr};

const MAPS: Maps = Maps { addresses_v4: 100, addresses_v6: 101, sockets: 102 };
const OWN_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 25);
const OWN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x25);
const OTHER_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 26);
const OTHER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x26);

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Redirected { queue: u64 },
}

const FRAME_BASE: u64 = 0x1_0000;
const STACK_END: u64 = 0x2_0000;
const STACK_SIZE: u64 = 512;
const CONTEXT: u64 = 0x3_0000;

/// A machine that knows the instructions of the steering program, and fails on a read outside the frame.
struct Machine<'a> {
    frame: &'a [u8],
    stack: [u8; STACK_SIZE as usize],
    registers: [u64; 11],
    queue: u32,
}

impl Machine<'_> {
    fn run(program: &[Instruction], frame: &[u8]) -> Verdict {
        let mut machine = Machine { frame, stack: [0; STACK_SIZE as usize], registers: [0; 11], queue: 3 };
        machine.registers[1] = CONTEXT;
        machine.registers[10] = STACK_END;
        machine.go(program)
    }

    fn load(&self, address: u64, size: usize) -> u64 {
        let mut bytes = [0; 8];
        if address >= CONTEXT {
            let value = match address - CONTEXT {
                0 => FRAME_BASE as u32,
                4 => FRAME_BASE as u32 + self.frame.len() as u32,
                16 => self.queue,
                other => panic!("context offset {other}"),
            };
            return u64::from(value);
        }
        let start = (address - FRAME_BASE) as usize;
        bytes[..size].copy_from_slice(&self.frame[start..start + size]);
        u64::from_ne_bytes(bytes)
    }

    fn key(&self, size: usize) -> &[u8] {
        let start = (self.registers[2] - (STACK_END - STACK_SIZE)) as usize;
        &self.stack[start..start + size]
    }

    fn go(mut self, program: &[Instruction]) -> Verdict {
        let mut next = 0;
        loop {
            let instruction = program[next];
            next += 1;
            let to = usize::from(instruction.registers & 15);
            let from = usize::from(instruction.registers >> 4);
            let immediate = i64::from(instruction.immediate) as u64;
            let offset = i64::from(instruction.offset) as u64;
            let jump = match instruction.opcode {
                opcode::MOVE_REGISTER => {
                    self.registers[to] = self.registers[from];
                    false
                }
                opcode::MOVE_IMMEDIATE => {
                    self.registers[to] = immediate;
                    false
                }
                opcode::ADD_IMMEDIATE => {
                    self.registers[to] = self.registers[to].wrapping_add(immediate);
                    false
                }
                opcode::AND_IMMEDIATE => {
                    self.registers[to] &= immediate;
                    false
                }
                opcode::LOAD_IMMEDIATE_64 => {
                    assert_eq!(from, usize::from(PSEUDO_MAP_FD));
                    self.registers[to] = immediate;
                    next += 1;
                    false
                }
                opcode::JUMP => true,
                opcode::JUMP_EQUAL => self.registers[to] == immediate,
                opcode::JUMP_NOT_EQUAL => self.registers[to] != immediate,
                opcode::JUMP_GREATER_REGISTER => self.registers[to] > self.registers[from],
                opcode::CALL => {
                    let map = self.registers[1] as i32;
                    if instruction.immediate == program::HELPER_REDIRECT_MAP {
                        assert_eq!(map, MAPS.sockets);
                        assert_eq!(self.registers[3], program::XDP_PASS as u64);
                        return Verdict::Redirected { queue: self.registers[2] };
                    }
                    assert_eq!(instruction.immediate, program::HELPER_MAP_LOOKUP);
                    let found = if map == MAPS.addresses_v4 {
                        self.key(4) == OWN_V4.octets()
                    } else {
                        assert_eq!(map, MAPS.addresses_v6);
                        self.key(16) == OWN_V6.octets()
                    };
                    // The call destroys its arguments: a program that relies on them must not pass here.
                    self.registers[..6].fill(0xdead);
                    self.registers[0] = u64::from(found);
                    false
                }
                opcode::EXIT => {
                    assert_eq!(self.registers[0], program::XDP_PASS as u64);
                    return Verdict::Passed;
                }
                other => {
                    let size = match other & 0x18 {
                        0x00 => 4,
                        0x08 => 2,
                        0x10 => 1,
                        _ => 8,
                    };
                    if other & !0x18 == opcode::LOAD_MEMORY {
                        self.registers[to] = self.load(self.registers[from].wrapping_add(offset), size);
                    } else {
                        assert_eq!(other & !0x18, opcode::STORE_MEMORY);
                        let address = self.registers[to].wrapping_add(offset);
                        let start = (address - (STACK_END - STACK_SIZE)) as usize;
                        self.stack[start..start + size].copy_from_slice(&self.registers[from].to_ne_bytes()[..size]);
                    }
                    false
                }
            };
            if jump {
                next = next.checked_add_signed(isize::from(instruction.offset)).unwrap();
            }
        }
    }
}

/// An Ethernet frame with a tag if `vlan` is not 0.
fn ethernet(vlan: u16, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    if vlan != 0 {
        frame.extend([0x81, 0x00]);
        frame.extend((0x6000 | vlan).to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(protocol: u8, destination: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0; 20];
    packet[0] = 0x45;
    packet[9] = protocol;
    packet[12..16].copy_from_slice(&OTHER_V4.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    packet
}

fn arp(sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 1];
    packet.extend([2; 6]);
    packet.extend(sender.octets());
    packet.extend([0; 6]);
    packet.extend(target.octets());
    packet
}

fn ipv6(next_header: u8, destination: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next_header, 255];
    packet.extend(OTHER_V6.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

fn neighbor(kind: u8, target: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const SOLICITED: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x25);

/// What ports that get every frame go by: the same table once more.
fn own_addresses() -> Steering {
    Steering::new(&[OWN_V4.into(), OWN_V6.into()])
}

/// Whether the frame with this content is redirected, which must be the same with and without a VLAN.
fn is_ours(ethertype: u16, payload: &[u8]) -> bool {
    let untagged = Machine::run(&program::steering(MAPS, 0), &ethernet(0, ethertype, payload));
    let tagged = Machine::run(&program::steering(MAPS, 7), &ethernet(7, ethertype, payload));
    assert_eq!(untagged, tagged);
    let redirected = untagged == Verdict::Redirected { queue: 3 };
    assert_eq!(redirected, own_addresses().takes(&ethernet(0, ethertype, payload)));
    redirected
}

#[test]
fn tcp_and_icmp_for_an_own_ipv4_address_are_ours() {
    assert!(is_ours(0x0800, &ipv4(6, OWN_V4)));
    assert!(is_ours(0x0800, &ipv4(1, OWN_V4)));
    assert!(!is_ours(0x0800, &ipv4(17, OWN_V4)));
    assert!(!is_ours(0x0800, &ipv4(6, OTHER_V4)));
    assert!(!is_ours(0x0800, &ipv4(1, Ipv4Addr::BROADCAST)));
}

#[test]
fn every_fragment_for_an_own_ipv4_address_is_ours() {
    let mut packet = ipv4(6, OWN_V4);
    packet[6..8].copy_from_slice(&0x2005_u16.to_be_bytes());
    assert!(is_ours(0x0800, &packet));
}

#[test]
fn arp_that_names_an_own_address_on_either_side_is_ours() {
    assert!(is_ours(0x0806, &arp(OTHER_V4, OWN_V4)));
    assert!(is_ours(0x0806, &arp(OWN_V4, OTHER_V4)));
    assert!(!is_ours(0x0806, &arp(OTHER_V4, OTHER_V4)));
    let mut exotic = arp(OTHER_V4, OWN_V4);
    exotic[4] = 8;
    assert!(!is_ours(0x0806, &exotic));
}

#[test]
fn tcp_and_icmpv6_for_an_own_ipv6_address_are_ours() {
    assert!(is_ours(0x86dd, &ipv6(6, OWN_V6, &[])));
    assert!(is_ours(0x86dd, &ipv6(58, OWN_V6, &[])));
    assert!(!is_ours(0x86dd, &ipv6(17, OWN_V6, &[])));
    assert!(!is_ours(0x86dd, &ipv6(6, OTHER_V6, &[])));
    assert!(!is_ours(0x86dd, &ipv6(58, OTHER_V6, &neighbor(135, OWN_V6))));
}

#[test]
fn neighbour_discovery_by_multicast_is_ours_if_its_target_is() {
    assert!(is_ours(0x86dd, &ipv6(58, SOLICITED, &neighbor(135, OWN_V6))));
    assert!(is_ours(0x86dd, &ipv6(58, ALL_NODES, &neighbor(136, OWN_V6))));
    assert!(!is_ours(0x86dd, &ipv6(58, SOLICITED, &neighbor(135, OTHER_V6))));
    assert!(!is_ours(0x86dd, &ipv6(58, ALL_NODES, &neighbor(134, OWN_V6))));
    assert!(!is_ours(0x86dd, &ipv6(58, SOLICITED, &neighbor(135, OWN_V6)[..20])));
}

#[test]
fn everything_else_stays_with_the_kernel() {
    assert!(!is_ours(0x88cc, &[0; 60]));
    assert!(!is_ours(0x0800, &[]));
}

#[test]
fn only_the_configured_tag_is_ours() {
    let payload = ipv4(6, OWN_V4);
    let tagged = program::steering(MAPS, 7);
    let untagged = program::steering(MAPS, 0);
    assert_eq!(Machine::run(&tagged, &ethernet(8, 0x0800, &payload)), Verdict::Passed);
    assert_eq!(Machine::run(&tagged, &ethernet(0, 0x0800, &payload)), Verdict::Passed);
    assert_eq!(Machine::run(&untagged, &ethernet(7, 0x0800, &payload)), Verdict::Passed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// The machine panics on a read outside the frame, as the verifier would refuse the program.
    #[test]
    fn no_frame_is_read_beyond_its_end(
        ethertype in prop_oneof![Just(0x0800_u16), Just(0x0806), Just(0x86dd), any::<u16>()],
        payload in proptest::collection::vec(prop_oneof![Just(6_u8), Just(58), Just(0xff), any::<u8>()], 0..90),
        cut in 0_usize..120,
    ) {
        for vlan in [0, 7] {
            let mut frame = ethernet(vlan, ethertype, &payload);
            frame.truncate(cut);
            let verdict = Machine::run(&program::steering(MAPS, vlan), &frame);
            if vlan == 0 {
                prop_assert_eq!(verdict != Verdict::Passed, own_addresses().takes(&frame));
            }
        }
    }
}

#[test]
fn a_jump_counts_from_the_instruction_behind_it() {
    let mut asm = Assembler::new();
    let end = asm.label();
    asm.jump_if_equal(Register::R1, 5, end);
    asm.load_map(Register::R1, 9);
    asm.jump(end);
    asm.place(end);
    asm.exit();
    let code = asm.finish();
    assert_eq!(code[0], Instruction { opcode: 0x15, registers: 1, offset: 3, immediate: 5 });
    assert_eq!(code[1], Instruction { opcode: 0x18, registers: 0x11, offset: 0, immediate: 9 });
    assert_eq!(code[3].offset, 0);
}

#[test]
fn registers_and_widths_are_encoded_as_the_kernel_reads_them() {
    let mut asm = Assembler::new();
    asm.load(Width::Half, Register::R0, Register::R7, 12);
    asm.store(Width::Double, Register::R10, -16, Register::R2);
    let code = asm.finish();
    assert_eq!(code[0], Instruction { opcode: 0x69, registers: 0x70, offset: 12, immediate: 0 });
    assert_eq!(code[1], Instruction { opcode: 0x7b, registers: 0x2a, offset: -16, immediate: 0 });
}

#[test]
#[should_panic(expected = "a jump goes forward")]
fn a_jump_backwards_is_refused() {
    let mut asm = Assembler::new();
    let start = asm.label();
    asm.place(start);
    asm.jump(start);
    asm.finish();
}

#[test]
fn the_solicited_node_group_ends_like_the_address() {
    assert_eq!(solicited_node_mac(OWN_V6), [0x33, 0x33, 0xff, 0, 0, 0x25]);
}

#[test]
fn a_mode_reads_like_a_sentence() {
    let mode = Mode { attach: Attach::Native, copying: Copying::Copy };
    assert_eq!(mode.to_string(), "native, copy");
}

#[test]
fn an_attached_program_is_named_if_it_is_known() {
    let text = |program| OpenError::AlreadyAttached { device: "eth1".to_owned(), program }.to_string();
    assert!(text(Some(12)).contains("program (id 12, see `bpftool prog show id 12`) is attached to eth1"));
    assert!(text(None).contains("another XDP program is attached to eth1"));
}

const RING_SIZE: u32 = 4;
const FRAME_COUNT: u32 = 8;

fn queue(vlan: u16) -> Queue {
    let region = || Region::anonymous(FRAME_SIZE).unwrap();
    let rings = Rings {
        fill: ProducerRing::new(region(), LAYOUT, RING_SIZE),
        completion: ConsumerRing::new(region(), LAYOUT, RING_SIZE),
        receive: ConsumerRing::new(region(), LAYOUT, RING_SIZE),
        transmit: ProducerRing::new(region(), LAYOUT, RING_SIZE),
    };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    let settings = QueueSettings { queue: 0, vlan, hardware_address: [2; 6], mtu: 1500, ring_size: RING_SIZE };
    Queue::new(socket, rings, Frames::new(FRAME_COUNT).unwrap(), settings)
}

fn descriptor(addr: u64, len: u32) -> libc::xdp_desc {
    libc::xdp_desc { addr, len, options: 0 }
}

/// Puts `bytes` into the next frame of the fill ring, as the NIC would.
fn arrive(queue: &mut Queue, bytes: &[u8]) {
    let address = queue.rings_for_test().fill.take().unwrap() + 256;
    queue.frames_for_test().write_for_test(address, bytes);
    queue.rings_for_test().receive.give(descriptor(address, bytes.len() as u32));
}

#[test]
fn a_frame_goes_in_and_its_buffer_comes_round_again() {
    let mut queue = queue(0);
    for round in 0..50_u8 {
        arrive(&mut queue, &[round; 60]);
        let mut burst = Burst::new();
        queue.receive(&mut burst);
        let frame = burst.pop().unwrap();
        assert_eq!(queue.bytes(&frame), [round; 60]);
        queue.release(frame);
    }
    assert_eq!(queue.counters().frames_received, 50);
    assert_eq!(queue.counters().bytes_received, 3000);
}

#[test]
fn a_sent_frame_is_free_again_when_the_kernel_completes_it() {
    let mut queue = queue(0);
    for _ in 0..50 {
        let mut frame = queue.allocate(60).unwrap();
        assert_eq!(usize::from(frame.offset()), FRAME_HEADROOM);
        queue.bytes_mut(&mut frame).fill(7);
        queue.transmit(frame);
        queue.flush();
        let sent = queue.rings_for_test().transmit.take().unwrap();
        assert_eq!(sent.len, 60);
        queue.rings_for_test().completion.give(sent.addr);
    }
    assert_eq!(queue.counters().frames_sent, 50);
    assert_eq!(queue.counters().frames_unsent, 0);
}

#[test]
fn a_full_ring_drops_what_is_sent_and_counts_it() {
    let mut queue = queue(0);
    for _ in 0..RING_SIZE {
        assert!(queue.transmit_ready());
        let frame = queue.allocate(60).unwrap();
        queue.transmit(frame);
    }
    assert!(!queue.transmit_ready());
    assert!(queue.allocate(60).is_none());
    assert_eq!(queue.counters().frames_unsent, 1);
    // A received frame that is turned round meets the full ring.
    arrive(&mut queue, &[1; 60]);
    let mut burst = Burst::new();
    queue.receive(&mut burst);
    queue.transmit(burst.pop().unwrap());
    assert_eq!(queue.counters().frames_unsent, 2);
    assert_eq!(queue.counters().frames_sent, u64::from(RING_SIZE));
}

#[test]
fn a_descriptor_that_cannot_be_true_is_counted_and_dropped() {
    let mut queue = queue(0);
    let beyond = u64::from(FRAME_COUNT) * FRAME_SIZE as u64;
    let free = u64::from(FRAME_COUNT - 1) * FRAME_SIZE as u64;
    for (addr, len) in [(beyond, 60), (u64::MAX, 60), (free, 60)] {
        queue.rings_for_test().receive.give(descriptor(addr, len));
    }
    let mine = queue.rings_for_test().fill.take().unwrap();
    queue.rings_for_test().receive.give(descriptor(mine + 4000, 200));
    let mut burst = Burst::new();
    queue.receive(&mut burst);
    assert!(burst.is_empty());
    assert_eq!(queue.descriptors_bad(), 4);
    queue.rings_for_test().completion.give(mine);
    queue.rings_for_test().completion.give(beyond);
    queue.flush();
    assert_eq!(queue.descriptors_bad(), 6);
    assert_eq!(queue.counters().frames_missed, 6);
}

#[test]
fn a_buffer_cannot_be_received_twice() {
    let mut queue = queue(0);
    let address = queue.rings_for_test().fill.take().unwrap();
    queue.rings_for_test().receive.give(descriptor(address, 60));
    queue.rings_for_test().receive.give(descriptor(address, 60));
    let mut burst = Burst::new();
    queue.receive(&mut burst);
    assert_eq!(burst.len(), 1);
    assert_eq!(queue.descriptors_bad(), 1);
    queue.release(burst.pop().unwrap());
}

#[test]
fn a_tag_is_taken_off_and_put_on() {
    let mut queue = queue(7);
    let payload = ipv4(6, OWN_V4);
    arrive(&mut queue, &ethernet(7, 0x0800, &payload));
    let mut burst = Burst::new();
    queue.receive(&mut burst);
    let frame = burst.pop().unwrap();
    assert_eq!(queue.bytes(&frame), ethernet(0, 0x0800, &payload));
    queue.release(frame);

    let mut frame = queue.allocate(34).unwrap();
    queue.bytes_mut(&mut frame).copy_from_slice(&ethernet(0, 0x0800, &payload));
    queue.transmit(frame);
    queue.flush();
    let sent = queue.rings_for_test().transmit.take().unwrap();
    let mut tagged = ethernet(7, 0x0800, &payload);
    tagged[14] = 0; // no priority
    assert_eq!(queue.frames_for_test().read_for_test(sent.addr, sent.len), tagged);
    assert_eq!(queue.counters().bytes_sent, 34);
}

#[test]
fn a_frame_larger_than_a_buffer_is_not_to_be_had() {
    let mut queue = queue(0);
    assert!(queue.allocate(FRAME_SIZE - FRAME_HEADROOM + 1).is_none());
    let frame = queue.allocate(FRAME_SIZE - FRAME_HEADROOM).unwrap();
    queue.release(frame);
}

#[test]
fn a_frame_without_a_header_is_not_sent() {
    let mut queue = queue(0);
    let frame = queue.allocate(13).unwrap();
    queue.transmit(frame);
    assert_eq!(queue.counters().frames_unsent, 1);
    assert_eq!(queue.counters().frames_sent, 0);
}
