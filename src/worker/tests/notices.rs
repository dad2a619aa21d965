//! Notices as a worker makes them: what becomes of a message, what its sender is told of that, and how the notice goes out itself.

use super::*;
use crate::control::{QueueCommand, QueueReply, QueueSelection};
use crate::delivery::{Answer, ReplyTo};
use crate::limits::{DELAY_WARNING_AFTER, NOTICE_RETURNED_MAX, OVERDUE_ROUND_INTERVAL, RETRY_HELD_AGE_MAX_DEFAULT};
use crate::smtp::client::Stage;
use crate::smtp::{Notify, Return};

const SENDER: &str = "sender@x.example";
const HEADER: &str = "Subject: told of\r\nX-Field: some\r\n\r\n";

fn envelope(notify: Option<Notify>, ret: Option<Return>) -> Envelope {
    let recipient = Recipient { address: "r@x.example".into(), notify, original: None };
    Envelope { reverse_path: SENDER.into(), recipients: vec![recipient], ret, ..Envelope::default() }
}

fn said(code: u16, status: (u8, u16, u16), text: &str) -> Answer {
    Answer::reply(ReplyTo { code, stage: Stage::Outcome }, status, text, "there.example")
}

fn refused() -> Fate {
    Fate::Failed(said(550, (5, 2, 0), "550 5.2.0 not this one"))
}

impl Bench {
    fn queue(&mut self, envelope: Envelope, content: &[u8]) -> MessageId {
        let draft = self.parts.logs.by_number(self.number).and_then(|log| log.begin().ok()).expect("there is room");
        let mut rest = content;
        while !rest.is_empty() {
            let log = self.parts.logs.by_number(self.number).expect("it is there");
            rest = &rest[log.content(draft, rest)..];
            self.commit();
        }
        let now = self.parts.now;
        self.parts.logs.by_number(self.number).expect("it is there").finish(draft, envelope, now);
        self.commit();
        draft.id
    }

    /// What is due, if anything is.
    fn due(&mut self) -> Option<Job> {
        self.home.give_out(&mut self.parts);
        self.parts.exchange.flush();
        let others: Vec<Letter> = std::iter::from_fn(|| self.other.receive()).collect();
        let job = |letter| if let Letter::Work { work: Work::Deliver(job), .. } = letter { Some(job) } else { None };
        let mut jobs = self.letters().into_iter().chain(others).filter_map(job);
        let due = jobs.next();
        assert!(jobs.next().is_none(), "one at a time");
        due
    }

    /// The one message that is due is tried, and that comes to this.
    fn tried(&mut self, id: MessageId, fate: Fate, dsn_offered: bool) {
        let job = self.due().expect("it is due");
        assert_eq!(job.id, id);
        let fates = vec![(0, fate)];
        let result = JobResult { id, destination: job.destination, fates, dsn_offered, standstill: None };
        self.home.finished(&mut self.parts, result);
        self.commit();
    }

    /// The notice that is due, if one is, as the sender's host has got it over the wire.
    fn notice(&mut self) -> Option<String> {
        let job = self.due()?;
        let (id, destination) = (job.id, job.destination);
        assert_eq!((&*job.reverse_path, &*job.recipients[0].address), ("", SENDER));
        self.outbound.take(&mut self.parts, 0, Work::Deliver(job));
        self.outbound.act(&mut self.parts);
        let (_, flow) = self.greet();
        self.envelope(flow);
        self.hear(flow, "250 taken");
        let results = self.results();
        let [result] = &results[..] else { panic!("{results:?}") };
        assert_eq!((result.id, result.destination), (id, destination));
        self.home.finished(&mut self.parts, result.clone());
        self.commit();
        assert!(self.parts.logs.get(id).is_some_and(|log| log.message(id).is_none()), "it has left the queue");
        let sent = self.sent(flow);
        let (envelope, content) = sent.split_once("DATA\r\n").expect("DATA");
        assert!(envelope.contains("MAIL FROM:<>\r\nRCPT TO:<sender@x.example>\r\n"), "{envelope}");
        Some(content.strip_suffix("\r\n.\r\n").expect("the end").to_owned())
    }
}

/// What is returned of the original: its media type, and what follows.
fn returned(notice: &str) -> Option<(&str, &str)> {
    let (_, boundary) = notice.split_once("boundary=\"")?;
    let (boundary, _) = boundary.split_once('"')?;
    let delimiter = format!("\r\n--{boundary}");
    let part = notice.split(&*delimiter).skip(1).nth(2).filter(|part| !part.starts_with("--"))?;
    let (head, body) = part.split_once("\r\n\r\n")?;
    Some((head.split_once("Content-Type: ")?.1.split("\r\n").next()?, body))
}

#[test]
fn a_sender_who_asks_is_told_once_that_a_message_is_late_and_it_is_still_tried() {
    let mut bench = Bench::new(false);
    let deferred = || Fate::deferred(said(450, (4, 2, 1), "450 4.2.1 later"));
    let notify = Notify { success: false, failure: true, delay: true };
    let id = bench.queue(envelope(Some(notify), None), format!("{HEADER}body\r\n").as_bytes());
    bench.tried(id, deferred(), false);
    assert_eq!(bench.notice(), None, "it is not late yet");
    bench.pass(DELAY_WARNING_AFTER - Duration::from_secs(60));
    bench.tried(id, deferred(), false);
    let notice = bench.notice().expect("the next attempt is after four hours");
    for line in ["Subject: Delayed", "Action: delayed", "Status: 4.2.1", "Will-Retry-Until: ", "450 4.2.1 later"] {
        assert!(notice.contains(line), "{line}: {notice}");
    }
    assert_eq!(returned(&notice), Some(("text/rfc822-headers", HEADER)));
    bench.pass(DELAY_WARNING_AFTER);
    bench.tried(id, deferred(), false);
    assert_eq!(bench.notice(), None, "once is enough");
    assert!(bench.parts.logs.get(id).is_some_and(|log| log.message(id).is_some()));
}

#[test]
fn a_sender_who_asks_is_told_of_success_unless_the_next_hop_does_so() {
    let taken = || Fate::Delivered(said(250, (2, 0, 0), "250 2.0.0 taken"));
    let notify = Notify { success: true, failure: true, delay: false };
    for dsn_offered in [false, true] {
        let mut bench = Bench::new(false);
        let id = bench.queue(envelope(Some(notify), Some(Return::Full)), format!("{HEADER}body\r\n").as_bytes());
        bench.tried(id, taken(), dsn_offered);
        let notice = bench.notice();
        assert_eq!(notice.is_none(), dsn_offered);
        if let Some(notice) = notice {
            assert!(
                notice.contains("Action: relayed\r\nStatus: 2.0.0\r\nRemote-MTA: dns; there.example\r\n"),
                "{notice}"
            );
            // RFC 3461 §4.3: RET=FULL is about failures.
            assert_eq!(returned(&notice), Some(("text/rfc822-headers", HEADER)));
        }
    }
}

#[test]
fn as_much_of_a_message_is_returned_as_its_sender_asks_for_and_a_notice_bears() {
    let small = format!("{HEADER}body\r\n");
    let large = format!("{HEADER}{}", "a line of the body\r\n".repeat(NOTICE_RETURNED_MAX / 20));
    assert!(large.len() > NOTICE_RETURNED_MAX);
    let headers = Some(("text/rfc822-headers", HEADER));
    for (content, ret, expected) in [
        (&small, Some(Return::Full), Some(("message/rfc822", &*small))),
        (&small, Some(Return::Headers), headers),
        (&small, None, headers),
        (&large, Some(Return::Full), headers),
    ] {
        let mut bench = Bench::new(false);
        let id = bench.queue(envelope(None, ret), content.as_bytes());
        bench.tried(id, refused(), false);
        let notice = bench.notice().expect("a notice");
        assert!(notice.contains("Action: failed\r\nStatus: 5.2.0\r\n"), "{notice}");
        assert_eq!(returned(&notice), expected, "{ret:?} {}", content.len());
    }
}

#[test]
fn a_header_that_is_too_long_to_be_returned_is_cut_behind_a_line() {
    let mut bench = Bench::new(false);
    let content = format!("{}\r\nbody\r\n", "X-Long: one of many fields\r\n".repeat(NOTICE_RETURNED_MAX / 10));
    let id = bench.queue(envelope(None, Some(Return::Full)), content.as_bytes());
    bench.tried(id, refused(), false);
    let notice = bench.notice().expect("a notice");
    let (kind, header) = returned(&notice).expect("a header");
    assert_eq!(kind, "text/rfc822-headers");
    assert!(header.len() <= NOTICE_RETURNED_MAX && header.len() > NOTICE_RETURNED_MAX - 100, "{}", header.len());
    assert!(content.starts_with(header) && header.ends_with("\r\n"));
}

#[test]
fn of_binary_content_nothing_is_returned() {
    let mut bench = Bench::new(false);
    let envelope = Envelope { body: BodyType::BinaryMime, ..envelope(None, Some(Return::Full)) };
    let id = bench.queue(envelope, b"Subject: x\r\n\r\n\0\xff\r\r\n\n no line");
    bench.tried(id, refused(), false);
    let notice = bench.notice().expect("a notice");
    assert!(notice.contains("Action: failed"), "{notice}");
    assert_eq!(returned(&notice), None);
    assert!(notice.is_ascii() && !notice.contains('\0'));
}

#[test]
fn what_an_operator_holds_and_forgets_is_given_up_and_its_sender_told() {
    let mut bench = Bench::new(false);
    let recipient = |address: &str| Recipient { address: address.into(), notify: None, original: None };
    let recipients = ["r@x.example", "s@x.example", "t@nowhere.example"].map(recipient).to_vec();
    let id = bench.queue(Envelope { recipients, ..envelope(None, None) }, format!("{HEADER}body\r\n").as_bytes());
    let others = [(); 3].map(|()| bench.message(1));
    let command = |command: fn(QueueSelection) -> QueueCommand, id| command(QueueSelection::Ids(vec![id]));
    let changed = QueueReply::Changed { count: 1, next: None };
    for id in [id, others[1]] {
        let hold = command(|selection| QueueCommand::Hold { selection }, id);
        assert_eq!(bench.home.command(&mut bench.parts, hold), changed);
    }
    bench.commit();
    // What becomes of messages without anybody's being asked.
    let settled = |bench: &mut Bench| {
        bench.home.give_out(&mut bench.parts);
        bench.parts.exchange.flush();
        let results = bench.results();
        for result in &results {
            bench.home.finished(&mut bench.parts, result.clone());
        }
        bench.commit();
        results.into_iter().map(|result| (result.id, result.fates.len())).collect::<Vec<_>>()
    };
    settled(&mut bench);
    bench.pass(RETRY_HELD_AGE_MAX_DEFAULT - Duration::from_secs(60));
    assert_eq!(settled(&mut bench), [], "it is old, and he may be looking into it");
    assert!(bench.home.next_deadline().is_some_and(|at| at <= bench.parts.now.mono + OVERDUE_ROUND_INTERVAL));
    let release = command(|selection| QueueCommand::Release { selection }, others[1]);
    assert_eq!(bench.home.command(&mut bench.parts, release), changed);
    bench.commit();
    bench.pass(OVERDUE_ROUND_INTERVAL);
    let given_up = [settled(&mut bench), settled(&mut bench)].concat();
    assert_eq!(given_up, [(id, 2), (id, 1)], "at each of its destinations, and nothing that is not held");
    assert!(bench.parts.logs.get(id).is_some_and(|log| log.message(id).is_none()), "it has left the queue");
    let said = bench.events().into_iter().filter_map(|event| match event {
        Event::Expired { attempt, .. } if attempt.id == id => Some(format!("{:?}", attempt.reply)),
        _ => None,
    });
    let said: Vec<String> = said.collect();
    assert!(said.len() == 3 && said.iter().all(|said| said.contains("held it for too long")), "{said:?}");
}
