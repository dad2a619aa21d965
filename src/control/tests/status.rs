//! What all workers are doing, summed up: status, what waits for destinations, traffic.

use super::*;

#[test]
fn status_sums_up_the_workers() {
    let world = Appliance::good(2, 0);
    let report: serde_json::Value = serde_json::from_str(&world.status(true).unwrap()).unwrap();
    assert_eq!(report["version"], 1);
    assert_eq!(report["hostname"], "mx1.example.net");
    assert_eq!(report["flows"]["open"], 6);
    assert_eq!(report["queue"]["size_bytes"], 102_400);
    assert_eq!(report["stages"]["accept"]["count"], 2000);
    let p99 = report["stages"]["accept"]["p99_us"].as_u64().unwrap();
    assert!((980..=1000).contains(&p99), "{p99}");
    assert_eq!(report["workers"].as_array().unwrap().len(), 2);
    assert_eq!(report["workers"][1]["spool"]["state"], "open");
    let text = world.status(false).unwrap();
    assert!(text.starts_with("mx1.example.net runs rohrpost 0.1.0, up "), "{text}");
    assert!(text.contains("\nsessions   4 from clients, 2 to next hops\n"), "{text}");
    assert!(text.contains("log open; 0 segments used, 0 free (io_uring, O_DIRECT)"), "{text}");
    world.stop();
}

#[test]
fn what_waits_for_a_destination_is_summed_over_workers_and_breaths() {
    let world = Appliance::good(2, 3);
    let command =
        |limit| QueueCommand::Destinations { filter: QueueFilter::default(), limit, name: None, hosts: limit == 10 };
    let summary: serde_json::Value = serde_json::from_str(&world.queue(command(1), true).unwrap()).unwrap();
    let youngest = MessageId::new(1, 3).to_string();
    let expected = serde_json::json!({
        "version": 1,
        "destinations": [{
            "destination": "mx://others.example",
            "messages": 4,
            "size_bytes": 40_960,
            "active": 0,
            "deferred": 4,
            "held": 0,
            "oldest_at": "2026-11-24T04:19:13.250000Z",
            "next_attempt_at": "2026-11-24T04:20:00.000000Z",
            "last_reply": format!("451 4.3.0 {youngest}"),
            "delivery": {
                "busy": 2,
                "idle": 2,
                "opening": 0,
                "ending": 0,
                "window": 5,
                "connections_max": 20,
                "waiting": 1,
                "messages_per_s": 0.5,
                "limited_by": "window",
                "suspended_until": null,
                "last_failure": null,
            },
        }],
        "count": 2,
    });
    assert_eq!(summary["destinations"][0]["messages"], 4);
    let mut summary = summary;
    // Which worker's youngest is told last is a matter of their speed.
    if summary["destinations"][0]["last_reply"] == format!("451 4.3.0 {}", MessageId::new(0, 3)) {
        summary["destinations"][0]["last_reply"] = format!("451 4.3.0 {youngest}").into();
    }
    assert_eq!(summary, expected);
    let text = world.queue(command(10), false).unwrap();
    let lines: Vec<&str> = text.lines().map(|line| line.split_once(' ').map_or(line, |(first, _)| first)).collect();
    assert_eq!(lines, ["destination", "mx://others.example", "", "", "", "mx://first.example", "", "", ""]);
    assert!(text.contains("host mx.example (192.0.2.1:25)  up; connections: 3"), "{text}");
    world.stop();
}

#[test]
fn one_destination_is_told_of_by_its_name_whether_mail_waits_or_not() {
    let ask = |world: &Appliance, name: &str| {
        let (filter, name) = (QueueFilter::default(), Some(name.to_owned()));
        world.queue(QueueCommand::Destinations { filter, limit: 1, name, hosts: true }, true)
    };
    // The fake workers do not look at names, and hold nothing.
    let world = Appliance::good(2, 0);
    let told: serde_json::Value = serde_json::from_str(&ask(&world, "MX://others.example").unwrap()).unwrap();
    let entry = &told["destinations"][0];
    assert_eq!((&entry["messages"], &entry["oldest_at"]), (&0.into(), &serde_json::Value::Null), "{told}");
    assert_eq!((&entry["delivery"]["busy"], &entry["delivery"]["hosts"][0]["state"]), (&2.into(), &"up".into()));
    let error = ask(&world, "mx://nobody.example").unwrap_err().to_string();
    assert_eq!(error, "no mail waits for mx://nobody.example, and none went there lately");
    world.stop();
}

#[test]
fn traffic_has_what_waits_and_what_is_delivered_in_the_order_that_was_asked_for() {
    let traffic = |world: &Appliance, order, limit| {
        let mut told = Vec::new();
        let mut client = Client::connect(&world.socket).unwrap();
        let asked = client.ask(&Request::Traffic { order, limit }, |answer| {
            let Answer::Traffic { destinations, count } = answer else { panic!("{answer:?}") };
            let row = |entry: TrafficEntry| {
                let connections = entry.delivery.map(|report| report.connections());
                (entry.destination, entry.messages, connections)
            };
            told.push((destinations.into_iter().map(row).collect::<Vec<_>>(), count));
            Ok(())
        });
        asked.unwrap();
        told.remove(0)
    };
    let world = Appliance::good(3, 4);
    let first = ("mx://first.example".to_owned(), 3, Some(3));
    let others = ("mx://others.example".to_owned(), 9, Some(4));
    assert_eq!(traffic(&world, TrafficOrder::Messages, 10), (vec![others.clone(), first.clone()], 2));
    assert_eq!(traffic(&world, TrafficOrder::Connections, 1), (vec![others.clone()], 2));
    assert_eq!(traffic(&world, TrafficOrder::Name, 10), (vec![first, others], 2));
    world.stop();
    let world = Appliance::good(2, 0);
    let (told, count) = traffic(&world, TrafficOrder::Rate, 10);
    assert_eq!((told.len(), count), (2, 2), "nothing waits, but goes: {told:?}");
    world.stop();
}
