//! What is written down for a recipient after an attempt, and who is told.

use super::Progress;
use crate::delivery::{Fate, Retry};
use crate::env::WallTime;
use crate::limits::DELAY_WARNING_AFTER;
use crate::smtp::Notify;

/// Why a recipient was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounce {
    /// It will never go well.
    Permanent,
    /// It was tried for too long.
    Expired,
}

/// What to write down for a recipient. What was said is in the fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Delivered {
        /// The sender wants to know and the next hop will not say so: a "relayed" notice (RFC 3461 §5.2.2), or a
        /// "delivered" one where the hop was the last (LMTP).
        notify_success: bool,
    },
    /// To be tried again.
    Deferred {
        /// Failed attempts with this one.
        attempts: u32,
        /// When.
        next_attempt_at: WallTime,
        /// The sender wants to know that it takes long, and now it does. True once in a message's life, at the
        /// attempt after which the next one lies beyond [`DELAY_WARNING_AFTER`].
        delay_warning: bool,
    },
    /// Given up.
    Bounced {
        /// Failed attempts with this one.
        attempts: u32,
        /// Why.
        bounce: Bounce,
        /// The sender is to be told. Never for the null sender: no notice about a notice (RFC 5321 §6.1).
        notify: bool,
    },
    /// Nothing was tried: nothing is written down, no attempt counted, and it is due again soon.
    Busy,
}

/// What a verdict depends on besides the recipient and its fate.
pub(super) struct Context<'a> {
    pub retry: &'a Retry,
    pub now: WallTime,
    pub entropy: u64,
    pub received_at: WallTime,
    pub null_sender: bool,
    pub dsn_offered: bool,
    /// The transaction decided about some recipient at least.
    pub progressed: bool,
}

impl Context<'_> {
    pub(super) fn verdict(&self, notify: Option<Notify>, progress: Progress, fate: &Fate) -> Verdict {
        let attempts = progress.attempts.saturating_add(1);
        // RFC 3461 §4.1: without NOTIFY, failures are told, success is not; a warning about delay is left to us.
        let notify = notify.unwrap_or(Notify { success: false, failure: true, delay: false });
        let notify_failure = notify.failure && !self.null_sender;
        match fate {
            Fate::Delivered(_) => {
                Verdict::Delivered { notify_success: notify.success && !self.dsn_offered && !self.null_sender }
            }
            Fate::Failed(_) => Verdict::Bounced { attempts, bounce: Bounce::Permanent, notify: notify_failure },
            Fate::Untried => Verdict::Busy,
            Fate::Deferred { soon: true, .. } if self.progressed => Verdict::Busy,
            Fate::Deferred { tried, .. } => {
                let tried = *tried || progress.attempts > 0;
                if tried && self.retry.expired(self.received_at, self.now) {
                    return Verdict::Bounced { attempts, bounce: Bounce::Expired, notify: notify_failure };
                }
                let delay = self.retry.delay(progress.attempts, self.entropy);
                let next_attempt_at = self.retry.next(self.received_at, self.now, delay);
                // The times of a recipient's attempts are written down and rise: exactly one step crosses the line.
                let line = self.received_at + DELAY_WARNING_AFTER;
                let crossed = progress.next_attempt_at < line && next_attempt_at >= line;
                let delay_warning = notify.delay && !self.null_sender && crossed;
                Verdict::Deferred { attempts, next_attempt_at, delay_warning }
            }
        }
    }
}
