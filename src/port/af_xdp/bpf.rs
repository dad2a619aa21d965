//! The five commands of bpf(2) that steering needs.
//!
//! In: map sizes, instructions, an interface. Out: owned descriptors. What the kernel gives us lives exactly as long
//! as its descriptor: a killed process leaves no map, no program and no attachment behind.
#![allow(unsafe_code)]

use super::assembler::Instruction;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;

const MAP_TYPE_HASH: u32 = 1;
const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_TYPE_XDP: u32 = 37;

/// `XDP_FLAGS_SKB_MODE`: the kernel runs the program after it made its own buffer.
pub const FLAG_GENERIC: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`: the driver runs the program.
pub const FLAG_NATIVE: u32 = 1 << 2;

/// How much of the verifier's reasons is kept, bytes.
const LOG_SIZE: usize = 64 * 1024;

/// The helpers that the program calls ask for no licence; the kernel wants a string all the same.
const LICENSE: &CStr = c"Dual MIT/GPL";

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    entries_max: u32,
    flags: u32,
    inner_map: u32,
    numa_node: u32,
    name: [u8; 16],
}

#[repr(C)]
struct MapElement {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// The name under which `bpftool` shows an object: at most 15 letters of it.
fn object_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    bytes
}

/// bpf(2).
///
/// # Safety
///
/// `attributes` is the structure that `command` reads, and every address in it is valid for what the command does.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: the caller vouches for the addresses within; the kernel reads size_of::<T>() bytes of a live value.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes as *const T, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}

/// Takes over a descriptor that bpf(2) has just made.
fn own(descriptor: libc::c_int) -> OwnedFd {
    // SAFETY: the descriptor is new and nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn create_map(name: &str, map_type: u32, key_size: u32, value_size: u32, entries_max: u32) -> io::Result<OwnedFd> {
    let name = object_name(name);
    let attributes =
        MapCreate { map_type, key_size, value_size, entries_max, flags: 0, inner_map: 0, numa_node: 0, name };
    // SAFETY: MapCreate is what BPF_MAP_CREATE reads, and it holds no address.
    unsafe { bpf(BPF_MAP_CREATE, &attributes) }.map(own)
}

/// A set of addresses of `key_size` bytes.
pub fn create_address_set(name: &str, key_size: usize, entries_max: usize) -> io::Result<OwnedFd> {
    create_map(name, MAP_TYPE_HASH, key_size as u32, 1, entries_max as u32)
}

/// The sockets of the queues, by queue number.
pub fn create_socket_map(name: &str, entries_max: u32) -> io::Result<OwnedFd> {
    create_map(name, MAP_TYPE_XSKMAP, 4, 4, entries_max)
}

/// Adds an address (4 or 16 octets, as the set was made for) to a set.
pub fn insert_address(set: BorrowedFd<'_>, octets: &[u8]) -> io::Result<()> {
    let value = 1_u8;
    let attributes = MapElement {
        map: set.as_raw_fd() as u32,
        padding: 0,
        key: octets.as_ptr() as u64,
        value: &raw const value as u64,
        flags: 0,
    };
    // SAFETY: both addresses point to live values; the set was made for keys of this length by the only caller.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &attributes) }.map(drop)
}

/// Takes an address out of a set.
pub fn remove_address(set: BorrowedFd<'_>, octets: &[u8]) -> io::Result<()> {
    let attributes =
        MapElement { map: set.as_raw_fd() as u32, padding: 0, key: octets.as_ptr() as u64, value: 0, flags: 0 };
    // SAFETY: the key points to live octets of the length that the set was made for; no value is read.
    unsafe { bpf(BPF_MAP_DELETE_ELEM, &attributes) }.map(drop)
}

/// Gives a queue its socket.
pub fn insert_socket(map: BorrowedFd<'_>, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    let value = socket.as_raw_fd();
    let attributes = MapElement {
        map: map.as_raw_fd() as u32,
        padding: 0,
        key: &raw const queue as u64,
        value: &raw const value as u64,
        flags: 0,
    };
    // SAFETY: key and value are live four-byte values, as the map was made for.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &attributes) }.map(drop)
}

/// Why a program was not loaded.
#[derive(Debug)]
pub struct LoadError {
    /// What bpf(2) said.
    pub source: io::Error,
    /// The verifier's reasons; may be empty.
    pub log: String,
}

/// Loads an XDP program. A refused one is tried again with the verifier's log, which costs time only then.
pub fn load_program(name: &str, instructions: &[Instruction]) -> Result<OwnedFd, LoadError> {
    let mut attributes = ProgramLoad {
        program_type: PROG_TYPE_XDP,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: object_name(name),
        interface: 0,
        attach_type: ATTACH_TYPE_XDP,
    };
    // SAFETY: instructions and licence are live, and their counts are theirs.
    let source = match unsafe { bpf(BPF_PROG_LOAD, &attributes) } {
        Ok(program) => return Ok(own(program)),
        Err(source) => source,
    };
    let mut log = vec![0_u8; LOG_SIZE];
    attributes.log_level = 1;
    attributes.log_size = LOG_SIZE as u32;
    attributes.log = log.as_mut_ptr() as u64;
    // SAFETY: as above, and the log is a live buffer of log_size bytes that nobody else looks at meanwhile.
    if let Ok(program) = unsafe { bpf(BPF_PROG_LOAD, &attributes) } {
        return Ok(own(program));
    }
    let length = log.iter().position(|byte| *byte == 0).unwrap_or(LOG_SIZE);
    Err(LoadError { source, log: String::from_utf8_lossy(&log[..length]).into_owned() })
}

/// Attaches a program to an interface for as long as the link that comes back is open.
pub fn attach(program: BorrowedFd<'_>, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    let attributes = LinkCreate { program: program.as_raw_fd() as u32, interface, attach_type: ATTACH_TYPE_XDP, flags };
    // SAFETY: LinkCreate is the head of what BPF_LINK_CREATE reads (the rest counts as zero) and holds no address.
    unsafe { bpf(BPF_LINK_CREATE, &attributes) }.map(own)
}
