//! How the logs share what the spool may take.
//!
//! In: the logs that there are, opened, those of former workers among them. Out: how many segments each may have. All files
//! together never exceed `size_max` of `[spool]`: what is not needed of a log that has more than its share is given back,
//! what it still needs counts, and only the rest is for the others.

use crate::config::Config;
use crate::env::disk::{Disk, DiskError};
use crate::limits::SEGMENTS_MIN;
use crate::spool::Log;

/// Why the logs cannot share the spool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShareError {
    #[error(
        "{held} of the {total} segments of [spool] `size_max` hold mail of logs as they were with another number of \
         workers, which leaves {left} for {count} others, where each needs {SEGMENTS_MIN}; make `size_max` at least \
         {wanted} bytes, or go back to the former number of workers until the queue is delivered"
    )]
    NoRoom { total: u64, held: u64, left: u64, count: u64, wanted: u64 },
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Tells each log that there is already how many segments it may have, and says how many each new one may have.
pub(crate) fn share_out<'a, D: Disk + 'a>(
    config: &Config,
    workers: u16,
    logs: impl Iterator<Item = (u16, &'a mut Log<D>)>,
) -> Result<u32, ShareError> {
    let segment_size = *config.spool.segment_size;
    let total = *config.spool.size_max / segment_size;
    let equal = total / u64::from(workers);
    // Former workers' logs take no new mail. They come first: they are the ones that only what is queued is kept for.
    let mut logs: Vec<_> = logs.map(|(number, log)| (number < workers, log)).collect();
    logs.sort_by_key(|(takes_mail, _)| *takes_mail);
    let mut sizes = Vec::new();
    for (takes_mail, log) in &mut logs {
        sizes.push(log.give_back_segments(if *takes_mail { narrow(equal) } else { 0 })?);
    }
    // What a log has it keeps; what it lacks to go on with what is queued it gets as far as there is any.
    let mut free = total.saturating_sub(sizes.iter().map(|(size, _)| u64::from(*size)).sum());
    let (mut held, mut count, mut rest) = (0, u64::from(workers), Vec::new());
    for ((takes_mail, log), (size, needed)) in logs.into_iter().zip(sizes) {
        let lacking = u64::from(needed.saturating_sub(size)).min(free);
        free -= lacking;
        let kept = u64::from(size) + lacking;
        if takes_mail {
            rest.push((kept, log));
        } else {
            held += kept;
            log.limit_segments(0, narrow(kept));
        }
    }
    // Who has more than its share leaves less for the others.
    let share = loop {
        let share = total.saturating_sub(held) / count;
        let Some(place) = rest.iter().position(|(kept, _)| *kept > share) else { break share };
        let (kept, log) = rest.swap_remove(place);
        held += kept;
        count -= 1;
        log.limit_segments(narrow(share), narrow(kept));
        if count == 0 {
            // Each has more than there is, since `size_max` was made smaller: none takes more.
            return Ok(0);
        }
    };
    if share < u64::from(SEGMENTS_MIN) {
        let left = total.saturating_sub(held);
        let wanted = (held + count * u64::from(SEGMENTS_MIN)) * segment_size;
        return Err(ShareError::NoRoom { total, held, left, count, wanted });
    }
    for (_, log) in rest {
        log.limit_segments(narrow(share), narrow(share));
    }
    Ok(narrow(share))
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
