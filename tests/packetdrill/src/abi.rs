//! The functions that packetdrill calls in a shared object, as its `packetdrill.h` declares them.
//!
//! In: C's types and pointers. Out: C's results, with errno. Nothing is decided here: each function turns its arguments
//! into those of [`Sockets`](crate::sockets::Sockets).
//!
//! packetdrill calls everything but what its scripts let wait from one thread; what comes from another is ENOSYS.
#![allow(unsafe_code)]

use crate::sockets::{Errno, Sockets};
use libc::{c_char, c_int, c_longlong, c_void, pollfd, sockaddr, sockaddr_in, socklen_t, timeval};
use rohrpost::env::Instant;
use std::ffi::CStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::IntoRawFd;
use std::thread::ThreadId;
use std::time::Duration;

/// The Unix time at which the virtual clock begins.
const EPOCH: i64 = 1_000_000_000;

/// What `userdata` points to.
struct Process {
    sockets: Sockets,
    thread: ThreadId,
}

/// The interface in the order of the header. A pointer to [`unsupported`] stands for what no script of ours needs.
#[repr(C)]
pub struct Interface {
    userdata: *mut c_void,
    free: extern "C" fn(*mut c_void),
    socket: extern "C" fn(*mut c_void, c_int, c_int, c_int) -> c_int,
    bind: extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    listen: extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    accept: extern "C" fn(*mut c_void, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    connect: extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    read: extern "C" fn(*mut c_void, c_int, *mut c_void, usize) -> isize,
    readv: *const c_void,
    recv: extern "C" fn(*mut c_void, c_int, *mut c_void, usize, c_int) -> isize,
    recvfrom: *const c_void,
    recvmsg: *const c_void,
    write: extern "C" fn(*mut c_void, c_int, *const c_void, usize) -> isize,
    writev: *const c_void,
    send: extern "C" fn(*mut c_void, c_int, *const c_void, usize, c_int) -> isize,
    sendto: *const c_void,
    sendmsg: *const c_void,
    fcntl: extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    ioctl: *const c_void,
    close: extern "C" fn(*mut c_void, c_int) -> c_int,
    shutdown: extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    getsockopt: extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int,
    setsockopt: extern "C" fn(*mut c_void, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    poll: extern "C" fn(*mut c_void, *mut pollfd, libc::nfds_t, c_int) -> c_int,
    netdev_send: extern "C" fn(*mut c_void, *const c_void, usize) -> c_int,
    netdev_receive: extern "C" fn(*mut c_void, *mut c_void, *mut usize, *mut c_longlong) -> c_int,
    usleep: extern "C" fn(*mut c_void, libc::useconds_t) -> c_int,
    gettimeofday: extern "C" fn(*mut c_void, *mut timeval, *mut c_void) -> c_int,
    epoll_create: *const c_void,
    epoll_ctl: *const c_void,
    epoll_wait: *const c_void,
    pipe: *const c_void,
    splice: *const c_void,
}

/// What packetdrill looks up and calls first.
///
/// # Safety
///
/// `flags` is null or a string of C, and `interface` points to a `struct packetdrill_interface` that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(flags: *const c_char, interface: *mut Interface) {
    // SAFETY: the caller passes null or a string that ends with a zero.
    let flags = if flags.is_null() { "" } else { unsafe { CStr::from_ptr(flags) }.to_str().unwrap_or_default() };
    let process = Box::new(Process { sockets: Sockets::new(flags, descriptor), thread: std::thread::current().id() });
    let none = unsupported as *const c_void;
    let filled = Interface {
        userdata: Box::into_raw(process).cast(),
        free,
        socket,
        bind,
        listen,
        accept,
        connect,
        read,
        readv: none,
        recv,
        recvfrom: none,
        recvmsg: none,
        write,
        writev: none,
        send,
        sendto: none,
        sendmsg: none,
        fcntl,
        ioctl: none,
        close,
        shutdown,
        getsockopt,
        setsockopt,
        poll,
        netdev_send,
        netdev_receive,
        usleep,
        gettimeofday,
        epoll_create: none,
        epoll_ctl: none,
        epoll_wait: none,
        pipe: none,
        splice: none,
    };
    // SAFETY: the caller passes a pointer to a struct of this layout.
    unsafe { interface.write(filled) };
}

/// A descriptor of this process: packetdrill closes those that its script left open by the system's own close(2).
fn descriptor() -> c_int {
    std::fs::File::open("/dev/null").expect("/dev/null can be opened").into_raw_fd()
}

fn fail(errno: Errno) -> c_int {
    // SAFETY: errno of the calling thread is always there.
    unsafe { *libc::__errno_location() = errno.0 };
    -1
}

/// Stands for every function that is missing: the caller removes arguments by itself in the C calling convention, and
/// the widest result serves the narrower.
extern "C" fn unsupported() -> isize {
    fail(Errno(libc::ENOSYS)) as isize
}

fn with<T>(userdata: *mut c_void, call: impl FnOnce(&mut Sockets) -> Result<T, Errno>) -> Result<T, Errno> {
    let process = userdata.cast::<Process>();
    // SAFETY: `userdata` comes from `packetdrill_interface_init`; the thread's name is never written after that.
    if unsafe { &(*process).thread } != &std::thread::current().id() {
        return Err(Errno(libc::ENOSYS));
    }
    // SAFETY: only this thread comes here, and no call calls another.
    call(unsafe { &mut (*process).sockets })
}

fn result(value: Result<c_int, Errno>) -> c_int {
    value.unwrap_or_else(fail)
}

fn status(value: Result<(), Errno>) -> c_int {
    result(value.map(|()| 0))
}

fn size(value: Result<usize, Errno>) -> isize {
    value.map_or_else(|errno| fail(errno) as isize, |size| size as isize)
}

fn address(address: *const sockaddr, length: socklen_t) -> Result<SocketAddr, Errno> {
    if (length as usize) < size_of::<sockaddr_in>() {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: the caller vouches for `length` bytes, and these are as many as are read.
    let address = unsafe { address.cast::<sockaddr_in>().read_unaligned() };
    if c_int::from(address.sin_family) != libc::AF_INET {
        return Err(Errno(libc::EAFNOSUPPORT));
    }
    let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
    Ok(SocketAddr::new(IpAddr::V4(ip), u16::from_be(address.sin_port)))
}

extern "C" fn free(userdata: *mut c_void) {
    // SAFETY: it was made by `Box::into_raw`, and packetdrill frees it once, at its end.
    drop(unsafe { Box::from_raw(userdata.cast::<Process>()) });
}

extern "C" fn socket(userdata: *mut c_void, domain: c_int, kind: c_int, _protocol: c_int) -> c_int {
    result(with(userdata, |sockets| sockets.open(domain, kind)))
}

extern "C" fn bind(userdata: *mut c_void, fd: c_int, at: *const sockaddr, length: socklen_t) -> c_int {
    status(with(userdata, |sockets| sockets.bind(fd, address(at, length)?)))
}

extern "C" fn listen(userdata: *mut c_void, fd: c_int, _backlog: c_int) -> c_int {
    status(with(userdata, |sockets| sockets.listen(fd)))
}

extern "C" fn accept(userdata: *mut c_void, fd: c_int, peer: *mut sockaddr, length: *mut socklen_t) -> c_int {
    result(with(userdata, |sockets| {
        let (accepted, from) = sockets.accept(fd)?;
        if let SocketAddr::V4(from) = from
            && !peer.is_null()
            && !length.is_null()
        {
            let wanted = size_of::<sockaddr_in>();
            // SAFETY: the caller's length is there to be read and written.
            let room = unsafe { length.replace(wanted as socklen_t) } as usize;
            let address = sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: from.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*from.ip()).to_be() },
                sin_zero: [0; 8],
            };
            if room >= wanted {
                // SAFETY: there is room for it, as the caller said.
                unsafe { peer.cast::<sockaddr_in>().write_unaligned(address) };
            }
        }
        Ok(accepted)
    }))
}

extern "C" fn connect(userdata: *mut c_void, fd: c_int, to: *const sockaddr, length: socklen_t) -> c_int {
    status(with(userdata, |sockets| sockets.connect(fd, address(to, length)?)))
}

extern "C" fn read(userdata: *mut c_void, fd: c_int, into: *mut c_void, count: usize) -> isize {
    // SAFETY: the caller gives `count` bytes to write into, and packetdrill has filled them before.
    let into = unsafe { std::slice::from_raw_parts_mut(into.cast::<u8>(), count) };
    size(with(userdata, |sockets| sockets.read(fd, into)))
}

extern "C" fn recv(userdata: *mut c_void, fd: c_int, into: *mut c_void, count: usize, flags: c_int) -> isize {
    if flags & !libc::MSG_DONTWAIT != 0 { unsupported() } else { read(userdata, fd, into, count) }
}

extern "C" fn write(userdata: *mut c_void, fd: c_int, bytes: *const c_void, count: usize) -> isize {
    // SAFETY: the caller gives `count` bytes to read.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count) };
    size(with(userdata, |sockets| sockets.write(fd, bytes)))
}

extern "C" fn send(userdata: *mut c_void, fd: c_int, bytes: *const c_void, count: usize, flags: c_int) -> isize {
    let known = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    if flags & !known != 0 { unsupported() } else { write(userdata, fd, bytes, count) }
}

/// Variadic in the header; the third argument changes nothing here, and who is called need not take it.
extern "C" fn fcntl(userdata: *mut c_void, fd: c_int, command: c_int) -> c_int {
    result(with(userdata, |sockets| sockets.control(fd, command)))
}

extern "C" fn close(userdata: *mut c_void, fd: c_int) -> c_int {
    status(with(userdata, |sockets| sockets.close(fd)))
}

extern "C" fn shutdown(userdata: *mut c_void, fd: c_int, how: c_int) -> c_int {
    status(with(userdata, |sockets| sockets.shutdown(fd, how)))
}

extern "C" fn getsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    status(with(userdata, |sockets| {
        let answer = sockets.option(fd, level, name)?;
        // SAFETY: the caller's length is there to be read and written.
        let room = unsafe { length.replace(size_of::<c_int>() as socklen_t) } as usize;
        if room < size_of::<c_int>() {
            return Err(Errno(libc::EINVAL));
        }
        // SAFETY: there is room for it, as the caller said.
        unsafe { value.cast::<c_int>().write_unaligned(answer) };
        Ok(())
    }))
}

extern "C" fn setsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    let count = length as usize / size_of::<c_int>();
    // SAFETY: the caller vouches for `length` bytes, and no more are read.
    let values: Vec<c_int> =
        (0..count).map(|place| unsafe { value.cast::<c_int>().add(place).read_unaligned() }).collect();
    status(with(userdata, |sockets| sockets.set_option(fd, level, name, &values)))
}

extern "C" fn poll(userdata: *mut c_void, wanted: *mut pollfd, count: libc::nfds_t, _timeout: c_int) -> c_int {
    // SAFETY: the caller gives `count` of them to read and write.
    let wanted = unsafe { std::slice::from_raw_parts_mut(wanted, count as usize) };
    result(with(userdata, |sockets| {
        for one in wanted.iter_mut() {
            let always = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
            one.revents = sockets.ready(one.fd) & (one.events | always);
        }
        Ok(wanted.iter().filter(|one| one.revents != 0).count() as c_int)
    }))
}

extern "C" fn netdev_send(userdata: *mut c_void, packet: *const c_void, count: usize) -> c_int {
    // SAFETY: the caller gives `count` bytes to read.
    let packet = unsafe { std::slice::from_raw_parts(packet.cast::<u8>(), count) };
    status(with(userdata, |sockets| {
        sockets.deliver(packet);
        Ok(())
    }))
}

/// Nothing for minutes is a packet of no bytes, which ends the script.
extern "C" fn netdev_receive(
    userdata: *mut c_void,
    into: *mut c_void,
    count: *mut usize,
    time_micros: *mut c_longlong,
) -> c_int {
    status(with(userdata, |sockets| {
        let (at, packet) = sockets.next_packet().unwrap_or((sockets.now(), Vec::new()));
        // SAFETY: the caller's count is there to be read and written.
        let room = unsafe { count.replace(packet.len()) };
        if room < packet.len() {
            return Err(Errno(libc::EMSGSIZE));
        }
        // SAFETY: there is room for all of it, as the caller said.
        unsafe { into.cast::<u8>().copy_from_nonoverlapping(packet.as_ptr(), packet.len()) };
        // SAFETY: the caller gives a time to write.
        unsafe { time_micros.write(micros(at)) };
        Ok(())
    }))
}

extern "C" fn usleep(userdata: *mut c_void, micros: libc::useconds_t) -> c_int {
    status(with(userdata, |sockets| {
        sockets.advance(sockets.now() + Duration::from_micros(u64::from(micros)));
        Ok(())
    }))
}

/// packetdrill looks at the clock again and again until it is time, so that each look must move it a little.
extern "C" fn gettimeofday(userdata: *mut c_void, time: *mut timeval, _zone: *mut c_void) -> c_int {
    status(with(userdata, |sockets| {
        sockets.advance(sockets.now() + Duration::from_micros(1));
        let micros = micros(sockets.now());
        // SAFETY: the caller gives a time to write.
        unsafe { time.write(timeval { tv_sec: micros / 1_000_000, tv_usec: micros % 1_000_000 }) };
        Ok(())
    }))
}

fn micros(at: Instant) -> i64 {
    EPOCH * 1_000_000 + (at.nanos() / 1000) as i64
}
