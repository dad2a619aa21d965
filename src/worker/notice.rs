//! Notices to senders: delivery status notifications, appended to the log like any other message.

use crate::delivery::{Fate, JobResult, Verdict};
use crate::env::Now;
use crate::env::disk::Disk;
use crate::smtp::dsn::{self, Action, Diagnostic, Report, ReportRecipient, Status};
use crate::smtp::{BodyType, Envelope, Notify, OwnMessage, Recipient, Return};
use crate::spool::{Draft, Log, Queued};
use std::time::Duration;

/// How many bytes of what was said about recipients stand in a notice, twice: for people and for programs.
const DIAGNOSTICS_SIZE_MAX: usize = 24 * 1024;

/// What is kept of each in any case, bytes.
const DIAGNOSTIC_SIZE_MIN: usize = 128;

/// The message that a notice is about.
#[derive(Debug)]
pub(super) struct Original<'a> {
    pub message: &'a Queued<'a>,
    /// Its beginning; all of it where it is small.
    pub beginning: &'a [u8],
    /// The next hop has the mailboxes.
    pub is_last_hop: bool,
    /// For how long it is tried.
    pub age_max: Duration,
}

/// What the sender is to be told about a job, if anything.
pub(super) fn compose(
    hostname: &str,
    now: Now,
    seed: u64,
    original: &Original<'_>,
    result: &JobResult,
    verdicts: &[(u32, Verdict)],
) -> Option<OwnMessage> {
    let Original { message, beginning, age_max, .. } = *original;
    let text_size_max = (DIAGNOSTICS_SIZE_MAX / verdicts.len().max(1)).max(DIAGNOSTIC_SIZE_MIN);
    let recipients: Vec<ReportRecipient<'_>> = (verdicts.iter().zip(&result.fates))
        .filter_map(|((index, verdict), (_, fate))| {
            let recipient = message.recipient(*index)?;
            let action = action(verdict, original.is_last_hop)?;
            let answer = fate.answer()?;
            let status = match verdict {
                Verdict::Bounced { bounce: crate::delivery::Bounce::Expired, .. } => Status::EXPIRED,
                _ => Status::new(answer.status.0, answer.status.1, answer.status.2),
            };
            let text = answer.text[..answer.text.floor_char_boundary(text_size_max)].into();
            let diagnostic = if answer.reply.is_some() { Diagnostic::Remote(text) } else { Diagnostic::Local(text) };
            Some(ReportRecipient {
                original: recipient.original,
                address: recipient.address,
                action,
                status,
                remote: answer.remote.as_deref(),
                diagnostic: Some(diagnostic),
                last_attempt: Some(now.wall),
                retry_until: (action == Action::Delayed).then(|| message.received_at() + age_max),
            })
        })
        .collect();
    if recipients.is_empty() || message.reverse_path().is_empty() {
        return None;
    }
    let whole = beginning.len() as u64 == message.size();
    let beginning = if whole { beginning } else { whole_lines(beginning) };
    let failed = recipients.iter().any(|recipient| recipient.action == Action::Failed);
    let returned_kind = match message.ret() {
        _ if message.body() == BodyType::BinaryMime => None,
        // RFC 8689 §5: the content goes back no way on which it might be read.
        Some(Return::Full) if message.require_tls() => Some(Return::Headers),
        // RFC 3461 §4.3: RET concerns failures only; what is too large to be held comes back as its header.
        Some(Return::Full) if failed && whole => Some(Return::Full),
        _ => Some(Return::Headers),
    };
    let report = Report {
        reporting_mta: hostname,
        id: message.id(),
        seed,
        sender: message.reverse_path(),
        arrival: message.received_at(),
        written: now.wall,
        envelope_id: message.envelope_id(),
        recipients: &recipients,
        returned: returned_kind,
        smtputf8: message.smtputf8(),
        eight_bit: !beginning.is_ascii(),
    };
    let mut content = Vec::new();
    dsn::write(&report, &[beginning], &mut content);
    let envelope = Envelope {
        reverse_path: "".into(),
        recipients: vec![Recipient { address: message.reverse_path().into(), notify: None, original: None }],
        body: report.body(),
        smtputf8: report.smtputf8(),
        require_tls: message.require_tls(),
        tls_optional: message.tls_optional(),
        // What became of urgent mail is as urgent, and what became of bulk mail is not.
        priority: message.priority(),
        ret: None,
        envelope_id: None,
    };
    Some(OwnMessage { envelope, content })
}

/// What a notice says of a recipient of whom this has become; none: nothing is to be said.
pub(super) fn action(verdict: &Verdict, is_last_hop: bool) -> Option<Action> {
    match verdict {
        Verdict::Bounced { notify: true, .. } => Some(Action::Failed),
        Verdict::Deferred { delay_warning: true, .. } => Some(Action::Delayed),
        // RFC 3464 §2.3.3: an LMTP server has the mailbox; an SMTP server may pass the message on without a word.
        Verdict::Delivered { notify_success: true } if is_last_hop => Some(Action::Delivered),
        Verdict::Delivered { notify_success: true } => Some(Action::Relayed),
        _ => None,
    }
}

/// Appends a notice. `None` if the log has no room now: try again later.
pub(super) fn append<D: Disk>(log: &mut Log<D>, now: Now, notice: &OwnMessage) -> Option<Draft> {
    let draft = log.begin_own(notice.content.len()).ok()?;
    fill(log, now, draft, notice)
}

/// Appends a message of our own that lets no other one go, and may not use what is kept for those that do. `None` if there is no room.
pub(super) fn submit<D: Disk>(log: &mut Log<D>, now: Now, message: &OwnMessage, signs: bool) -> Option<Draft> {
    log.accepts(Some(message.content.len() as u64)).ok()?;
    let draft = log.begin().ok()?;
    if signs {
        log.to_be_signed(draft);
    }
    fill(log, now, draft, message)
}

fn fill<D: Disk>(log: &mut Log<D>, now: Now, draft: Draft, message: &OwnMessage) -> Option<Draft> {
    let mut content = &message.content[..];
    while !content.is_empty() {
        let count = log.content(draft, content);
        if count == 0 {
            log.abort(draft);
            return None;
        }
        content = &content[count..];
    }
    log.finish(draft, message.envelope.clone(), now);
    Some(draft)
}

/// The whole lines of a beginning, which was cut somewhere, perhaps between a CR and its LF: a notice with a CR that stands
/// alone could not be sent.
fn whole_lines(beginning: &[u8]) -> &[u8] {
    &beginning[..memchr::memrchr(b'\n', beginning).map_or(0, |place| place + 1)]
}

/// Whether a fate might call for a notice. `notify`: what was asked for the recipient.
pub(super) fn may_follow(fate: &Fate, expired: bool, notify: impl FnOnce() -> Option<Notify>) -> bool {
    match fate {
        Fate::Failed(_) => true,
        Fate::Deferred { .. } => expired || notify().is_some_and(|notify| notify.delay),
        Fate::Delivered(_) => notify().is_some_and(|notify| notify.success),
        Fate::Untried => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_beginning_ends_with_a_whole_line() {
        for (beginning, kept) in
            [("a\r\nb\r\n", "a\r\nb\r\n"), ("a\r\nb\r", "a\r\n"), ("a\r\nb", "a\r\n"), ("a\r", ""), ("", "")]
        {
            assert_eq!(whole_lines(beginning.as_bytes()), kept.as_bytes(), "{beginning:?}");
        }
    }
}
