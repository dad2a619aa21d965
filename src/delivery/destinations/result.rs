//! What a finished transaction says: to whoever gave the work, and about the host.

use super::target::InHand;
use crate::delivery::{Answer, Fate, JobResult, TaskResult, WorkResult};

/// The result of work in hand, with one fate for each recipient whatever the session reported.
pub(super) fn completed(in_hand: InHand, result: TaskResult) -> (u16, WorkResult) {
    let missing = || Fate::deferred(Answer::local((4, 3, 0), "the session ended without an answer"));
    match (in_hand, result) {
        (
            InHand::Deliver { worker, id, destination, recipients },
            TaskResult::Deliver { fates: mut reported, dsn_offered, .. },
        ) => {
            // Stable, so that of two fates for one recipient the first counts.
            reported.sort_by_key(|(index, _)| *index);
            reported.dedup_by_key(|(index, _)| *index);
            let mut reported = reported.into_iter().peekable();
            let mut fates = Vec::with_capacity(recipients.len());
            for index in recipients {
                while reported.next_if(|(other, _)| *other < index).is_some() {}
                let fate = reported.next_if(|(other, _)| *other == index).map_or_else(missing, |(_, fate)| fate);
                fates.push((index, fate));
            }
            (worker, WorkResult::Deliver(JobResult { id, destination, fates, dsn_offered, standstill: None }))
        }
        (InHand::Verify { worker, token }, TaskResult::Verify(fate)) => (worker, WorkResult::Verify { token, fate }),
        // An answer to another question is none.
        (in_hand, _) => in_hand.all(&missing()),
    }
}

/// Whether the remote has decided about anything.
pub(super) fn decided(result: &WorkResult) -> bool {
    any_fate(result, |fate| matches!(fate, Fate::Delivered(_) | Fate::Failed(_)))
}

/// Whether the remote has said that it has too much to do.
pub(super) fn is_overloaded(result: &WorkResult) -> bool {
    any_fate(result, |fate| matches!(fate, Fate::Deferred { answer, .. } if answer.is_overload()))
}

fn any_fate(result: &WorkResult, is: impl Fn(&Fate) -> bool) -> bool {
    match result {
        WorkResult::Deliver(result) => result.fates.iter().any(|(_, fate)| is(fate)),
        WorkResult::Verify { fate, .. } => is(fate),
    }
}

/// What was said about a message that was not taken for all of its recipients.
pub(super) fn refusal(result: &WorkResult) -> Option<&Answer> {
    let WorkResult::Deliver(result) = result else { return None };
    let refused = |fate: &&Fate| matches!(fate, Fate::Deferred { .. } | Fate::Failed(_));
    result.fates.iter().map(|(_, fate)| fate).find(refused).and_then(Fate::answer)
}

/// Whether a message was taken for anyone.
pub(super) fn is_delivery(result: &WorkResult) -> bool {
    matches!(result, WorkResult::Deliver(_)) && any_fate(result, |fate| matches!(fate, Fate::Delivered(_)))
}

/// What was said to somebody who was deferred.
pub(super) fn reason(result: &WorkResult) -> Option<&Answer> {
    let answer = |fate: &'_ Fate| matches!(fate, Fate::Deferred { .. });
    let fate = match result {
        WorkResult::Deliver(result) => result.fates.iter().map(|(_, fate)| fate).find(|fate| answer(fate)),
        WorkResult::Verify { fate, .. } => Some(fate).filter(|fate| answer(fate)),
    };
    fate.and_then(Fate::answer)
}
