//! Notices: whatever strangers said, each line of a notice is one that we began.

use super::choices::Choices;
use super::session::has_whole_lines;
use rohrpost::env::WallTime;
use rohrpost::smtp::Return;
use rohrpost::smtp::dsn::{Action, Diagnostic, Report, ReportRecipient, Status, epilogue, prologue};
use rohrpost::spool::MessageId;

const FIELDS: [&str; 11] = [
    "Auto-Submitted",
    "Content-Type",
    "Date",
    "From",
    "MIME-Version",
    "Message-ID",
    "Precedence",
    "Subject",
    "To",
    "X-Loop",
    "Content-Transfer-Encoding",
];

fn word(choices: &mut Choices<'_>) -> String {
    let count = usize::from(choices.byte());
    String::from_utf8_lossy(choices.bytes(count)).into_owned()
}

pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let kind = choices.byte();
    let action = [Action::Failed, Action::Delayed, Action::Delivered, Action::Relayed][usize::from(kind & 3)];
    let returned = [None, Some(Return::Full), Some(Return::Headers), None][usize::from(kind >> 2 & 3)];
    let [sender, address, original, remote, said, envelope_id] = std::array::from_fn(|_| word(&mut choices));
    let said = if kind & 16 == 0 { Diagnostic::Remote(said.into()) } else { Diagnostic::Local(said.into()) };
    let recipient = ReportRecipient {
        original: (kind & 32 == 0).then_some(&original),
        address: &address,
        action,
        status: Status::new(5, 1, 1),
        remote: (kind & 64 == 0).then_some(&remote),
        diagnostic: Some(said),
        last_attempt: Some(WallTime::from_micros(u64::from(choices.short()) << 40)),
        retry_until: Some(WallTime::from_micros(u64::MAX)),
    };
    let recipients = [recipient.clone(), recipient];
    let report = Report {
        reporting_mta: "mx.example",
        id: MessageId::new(0, 7),
        seed: 9,
        sender: &sender,
        arrival: WallTime::from_micros(5),
        written: WallTime::from_micros(6),
        envelope_id: Some(&envelope_id),
        recipients: &recipients,
        returned,
        smtputf8: kind & 128 != 0,
        eight_bit: false,
    };
    let mut notice = Vec::new();
    prologue(&report, &mut notice);
    epilogue(&report, &mut notice);
    assert!(has_whole_lines(&notice), "{:?}", notice.escape_ascii().to_string());
    let text = std::str::from_utf8(&notice).expect("a notice is text");
    assert!(report.smtputf8() || text.is_ascii(), "without SMTPUTF8 a notice is ASCII");
    for line in text.split("\r\n") {
        assert!(line.len() <= 998, "RFC 5322 §2.1.1");
        assert!(!line.chars().any(|c| c.is_control() && c != '\t'), "{line:?}");
    }
    let (header, _) = text.split_once("\r\n\r\n").expect("a header ends");
    for line in header.split("\r\n").filter(|line| !line.starts_with(' ')) {
        let name = line.split(':').next().unwrap_or_default();
        assert!(FIELDS.contains(&name), "nobody adds a field to the header: {line:?}");
    }
    let parts = text.matches("\r\n--").count();
    assert_eq!(parts, 3 + usize::from(returned.is_some()), "nobody adds a part: {text}");
}
