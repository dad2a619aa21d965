//! Messages in the queues: lists, filters and changes.

use super::*;

#[test]
fn a_long_list_comes_in_pages_and_shows_each_message_once() {
    let world = Appliance::good(2, 1500);
    let list: serde_json::Value = serde_json::from_str(&world.queue(all(usize::MAX), true).unwrap()).unwrap();
    assert_eq!((&list["version"], &list["truncated"]), (&1.into(), &false.into()));
    let ids: Vec<MessageId> = list["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["id"].as_str().unwrap().parse().unwrap())
        .collect();
    let expected: Vec<MessageId> =
        (0..2).flat_map(|worker| (1..=1500).map(move |number| MessageId::new(worker, number))).collect();
    assert!(ids == expected);
    let list: serde_json::Value = serde_json::from_str(&world.queue(all(1600), true).unwrap()).unwrap();
    assert_eq!(list["entries"].as_array().unwrap().len(), 1600);
    assert_eq!(list["truncated"], true);
    world.stop();
}

#[test]
fn an_entry_has_the_names_of_the_design() {
    let world = Appliance::good(1, 1);
    let list: serde_json::Value = serde_json::from_str(&world.queue(all(10), true).unwrap()).unwrap();
    let expected = serde_json::json!({
        "id": "0000000000001",
        "received_at": "2026-11-24T04:19:11.250000Z",
        "sender": "a@example.org",
        "recipients": [{
            "address": "B@Example.net",
            "state": "deferred",
            "destination": "example.net",
            "attempts": 2,
            "next_attempt_at": "2026-11-24T04:20:00.000000Z",
            "last_reply": "451 4.3.0 later\u{7}",
        }],
        "size_bytes": 10_240,
        "priority": -9,
        "state": "deferred",
    });
    assert_eq!(list["entries"][0], expected);
    let text = world.queue(all(10), false).unwrap();
    assert_eq!(
        text,
        "0000000000001  deferred   10.2 kB  2026-11-24 04:19:11  a@example.org  priority -9\n    \
         deferred   B@Example.net via example.net, 2 attempts, next 2026-11-24 04:20:00\n               \
         451 4.3.0 later\\u{7}\n-- 1 message, 10.2 kB\n"
    );
    world.stop();
}

#[test]
fn a_message_is_found_on_whatever_worker_holds_it() {
    let world = Appliance::good(3, 2);
    let id = MessageId::new(2, 2);
    let text = world.queue(QueueCommand::Show { id }, false).unwrap();
    assert!(text.starts_with(&id.to_string()), "{text}");
    let error = world.queue(QueueCommand::Show { id: MessageId::new(9, 9) }, false).unwrap_err();
    assert!(error.to_string().ends_with("is not in the queue"), "{error}");

    let ids = vec![MessageId::new(0, 1), id, MessageId::new(9, 9)];
    let text = world.queue(QueueCommand::Hold { selection: QueueSelection::Ids(ids) }, false).unwrap();
    assert_eq!(text, "2 messages held\n");
    let filter = QueueFilter { domain: Some("EXAMPLE.NET".into()), ..QueueFilter::default() };
    let delete = QueueCommand::Delete { selection: QueueSelection::Filter(filter) };
    assert_eq!(world.queue(delete.clone(), true).unwrap(), "{\"version\":1,\"changed\":4}\n");
    assert_eq!(world.queue(delete, false).unwrap(), "0 messages deleted\n");
    assert_eq!(world.queue(all(10), false).unwrap(), "no messages\n");
    world.stop();
}

#[test]
fn a_filter_takes_what_every_condition_fits() {
    let entry = entry(MessageId::new(0, 1));
    let fits = |change: &dyn Fn(&mut QueueFilter)| {
        let mut filter = QueueFilter::default();
        change(&mut filter);
        let addresses = entry.recipients.iter().map(|recipient| recipient.address.as_str());
        let now = entry.received_at + Duration::from_secs(60);
        filter.matches((&entry.sender, entry.priority), || entry.state, entry.received_at, addresses, now)
    };
    assert!(fits(&|_| {}));
    assert!(fits(&|filter| filter.sender = Some("A@EXAMPLE.org".into())));
    assert!(!fits(&|filter| filter.sender = Some(String::new())));
    assert!(fits(&|filter| filter.recipient = Some("b@example.net".into())));
    assert!(!fits(&|filter| filter.recipient = Some("example.net".into())));
    assert!(!fits(&|filter| filter.domain = Some("ample.net".into())));
    assert!(!fits(&|filter| filter.state = Some(MessageState::Held)));
    assert!(fits(&|filter| filter.priority = Some(Priority::LOWEST)));
    assert!(!fits(&|filter| filter.priority = Some(Priority::NORMAL)));
    assert!(fits(&|filter| filter.older_than_seconds = Some(60)));
    assert!(!fits(&|filter| filter.older_than_seconds = Some(61)));
}
