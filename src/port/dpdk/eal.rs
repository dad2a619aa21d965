//! DPDK's environment: memory, drivers, devices. Started once in a process.
//!
//! It is never ended: its memory has no name, so that the end of the process leaves nothing of it, and `rte_eal_cleanup`
//! frees what its own interrupt thread, which goes on, may be looking at (DPDK 22.11).
#![allow(unsafe_code)]

use super::error::OpenError;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the environment was started: DPDK cannot do that twice, even after a failure.
static STARTED: AtomicBool = AtomicBool::new(false);

/// How much of what DPDK says is kept, bytes.
const WORDS_MAX: u64 = 64 * 1024;

/// Starts the environment with these arguments. Gives what it complained about, line by line.
pub fn start(arguments: &[String]) -> Result<Vec<String>, OpenError> {
    if STARTED.swap(true, Ordering::SeqCst) {
        return Err(OpenError::AlreadyOpen);
    }
    let all = [&["rohrpost".to_owned()], arguments].concat();
    let joined = arguments.join(" ");
    let failed = |reasons: String| OpenError::Start { arguments: joined.clone(), reasons };
    let texts: Result<Vec<CString>, _> = all.into_iter().map(CString::new).collect();
    let texts = texts.map_err(|_| failed("a zero byte in an argument".to_owned()))?;
    // DPDK keeps pointers to some of them for as long as the process lives.
    let mut pointers: Vec<*mut c_char> = texts.into_iter().map(CString::into_raw).collect();
    pointers.push(std::ptr::null_mut());
    let count = pointers.len() as c_int - 1;
    let words = Words::listen().map_err(|source| OpenError::System { step: "keep what DPDK says", source })?;
    // SAFETY: `pointers` holds `count` C strings that are never freed, and a null behind them; DPDK may reorder it, and
    // it lives until the call is over.
    let result = unsafe { dpdk_sys::rte_eal_init(count, pointers.leak().as_mut_ptr()) };
    let reason = last_error();
    let said = words.end();
    if result < 0 {
        return Err(failed(if said.is_empty() { reason } else { said.join("; ") }));
    }
    Ok(said)
}

/// The version, as DPDK writes it.
pub fn version() -> String {
    // SAFETY: it needs nothing, and gives a C string that lives as long as the process.
    let text = unsafe { CStr::from_ptr(dpdk_sys::rte_version()) };
    text.to_string_lossy().into_owned()
}

/// What an error number of DPDK means; it may be negative.
pub fn error_text(number: i32) -> String {
    // SAFETY: it takes any number, and gives a C string that lives until the next call of this thread.
    let text = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(number.abs())) };
    text.to_string_lossy().into_owned()
}

/// What the last call that failed in this thread left as its reason.
pub fn last_error() -> String {
    // SAFETY: it reads a variable of this thread.
    error_text(unsafe { dpdk_sys::shim_errno() })
}

/// Keeps what DPDK would write to standard error.
struct Words {
    file: File,
    stream: *mut libc::FILE,
}

impl Words {
    fn listen() -> io::Result<Words> {
        let file = File::from(rustix::fs::memfd_create("dpdk", rustix::fs::MemfdFlags::CLOEXEC)?);
        let descriptor = file.try_clone()?.into_raw_fd();
        // SAFETY: the descriptor is open for writing, and the stream owns it from now on.
        let stream = unsafe { libc::fdopen(descriptor, c"w".as_ptr()) };
        if stream.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the stream is open until `end` has taken it away from DPDK again.
        unsafe { dpdk_sys::rte_openlog_stream(stream.cast()) };
        Ok(Words { file, stream })
    }

    /// Lets DPDK write to standard error again. What it has said until now, line by line.
    fn end(mut self) -> Vec<String> {
        // SAFETY: null means DPDK's own stream.
        unsafe { dpdk_sys::rte_openlog_stream(std::ptr::null_mut()) };
        // SAFETY: nobody else has the stream any more, and it is not used afterwards.
        unsafe { libc::fclose(self.stream) };
        let mut text = Vec::new();
        let read = self.file.rewind().and_then(|()| self.file.take(WORDS_MAX).read_to_end(&mut text));
        if read.is_err() {
            return Vec::new();
        }
        let lines = String::from_utf8_lossy(&text);
        lines.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    }
}
