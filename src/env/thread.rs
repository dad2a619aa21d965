//! The core that a thread works on, and how it shares it.

use super::syscall::{scheduling, set_scheduling};
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
    // An operator who has given it another policy knows better.
    let ordinary = |attributes: &libc::sched_attr| attributes.sched_policy == libc::SCHED_OTHER as u32;
    let Some(mut attributes) = scheduling().filter(ordinary) else { return };
    attributes.sched_runtime = TURN.as_nanos() as u64;
    // Threads that the kernel makes for it, to end what would block it, are to go first like all others.
    attributes.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
    set_scheduling(&attributes);
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
            let runtime = scheduling().unwrap().sched_runtime;
            // Kernels before 6.12 say zero.
            assert!([0, 100_000_000].contains(&runtime), "{runtime}");
        })
        .join()
        .unwrap();
    }
}
