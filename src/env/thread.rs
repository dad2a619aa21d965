//! The core that a thread works on, and how it shares it: the one `sched_setattr(2)` call of the appliance.
#![allow(unsafe_code)]

use std::time::Duration;

/// The longest turn that Linux gives (0.1 to 100 ms).
const TURN: Duration = Duration::from_millis(100);

/// Gives this thread a core of its own: it stays there, and leaves it at once to whoever needs it for a moment.
///
/// Who polls is never idle, and Linux lets a thread finish its turn, some 3 ms, before another one gets the core: be it the
/// kernel's own that ends a write to the disk there, or brings frames. But a thread whose turns are shorter does not wait for
/// one whose turns are long (since Linux 6.12; `sched_runtime` in sched_setattr(2)), so that long ones are asked for. Each still
/// has its share in the end; but two of them on one core would wait long for each other, and who yields gives up a long turn. A
/// kernel that knows nothing of it decides as it always has.
pub fn take_core(id: usize) {
    // The core exists: `check` has looked. Where the container forbids pinning, work goes on unpinned.
    if !core_affinity::set_for_current(core_affinity::CoreId { id }) {
        return;
    }
    let mut attributes = std::mem::MaybeUninit::<libc::sched_attr>::zeroed();
    let size = size_of::<libc::sched_attr>() as libc::c_uint;
    let (this_thread, no_flags) = (0 as libc::pid_t, 0 as libc::c_uint);
    // SAFETY: the pointer and the size describe `attributes`, which lives until the call is over.
    let known = unsafe { libc::syscall(libc::SYS_sched_getattr, this_thread, attributes.as_mut_ptr(), size, no_flags) };
    if known != 0 {
        return;
    }
    // SAFETY: it consists of integers only, for which zero is a value; the kernel has written some or all of them.
    let mut attributes = unsafe { attributes.assume_init() };
    // An operator who has given it another policy knows better.
    if attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return;
    }
    attributes.sched_runtime = TURN.as_nanos() as u64;
    // Threads that the kernel makes for it, to end what would block it, are to go first like all others.
    attributes.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
    // SAFETY: the kernel reads as much as `size` in it says, which it has set itself. Whether it can does not matter.
    unsafe { libc::syscall(libc::SYS_sched_setattr, this_thread, &raw const attributes, no_flags) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_core_has_long_turns() {
        let core = core_affinity::get_core_ids().unwrap()[0];
        std::thread::spawn(move || {
            take_core(core.id);
            assert_eq!(core_affinity::get_core_ids().unwrap(), [core]);
            // SAFETY: as in `take_core`.
            let runtime = unsafe {
                let mut attributes: libc::sched_attr = std::mem::zeroed();
                let size = size_of::<libc::sched_attr>() as libc::c_uint;
                assert_eq!(libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0), 0);
                attributes.sched_runtime
            };
            // Kernels before 6.12 say zero.
            assert!([0, 100_000_000].contains(&runtime), "{runtime}");
        })
        .join()
        .unwrap();
    }
}
