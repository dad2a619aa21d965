//! What is told of lanes.

use super::*;
use crate::delivery::DestinationKey;

#[test]
fn what_waits_is_told_by_the_names_of_destinations_and_as_their_owners_know_them() {
    let mut home = by_mx();
    home.add(at(0), Message::new(1, at(0), &["a@One.example", "b@d0.example"]));
    home.add(at(0), Message::new(2, at(0), &["a@one.example", "b@two.example"]));
    home.next(at(0)).unwrap();
    assert_eq!(home.next(at(0)), None);
    let told = |home: &Home| {
        let lanes = home.queue.lanes(0..usize::MAX).into_iter();
        lanes.map(|lane| (lane.destination, lane.waiting, lane.in_hand, lane.key)).collect::<Vec<_>>()
    };
    let route = |domain| home.queue.routes.key(home.queue.routes.destination(domain));
    let (by_mx, d0) = (home.queue.routes.destination("one.example"), route("d0.example"));
    assert_eq!(
        told(&home),
        [
            ("smtp://192.0.2.0:25".into(), 0, 1, Some(d0)),
            ("mx://one.example".into(), 2, 0, None),
            ("mx://two.example".into(), 1, 0, None),
        ]
    );
    // Domains with the same hosts are one destination.
    let set = hosts(1, &[(10, "mx.example", 1)]);
    for domain in ["one.example", "two.example"] {
        home.queue.resolved(at(1), domain, &found(&set, 60));
    }
    let family = home.queue.routes.family(by_mx);
    let shared = Some(DestinationKey::of_set(family, home.queue.routes.route(by_mx).hash_of_set(family, &set)));
    assert_eq!(told(&home).into_iter().map(|(.., key)| key).collect::<Vec<_>>(), [Some(d0), shared, shared]);
    assert_eq!(home.queue.key_of(Wishes::default(), "ONE.example"), shared);
    assert_eq!(home.queue.lanes(0..3).len() + home.queue.lanes(3..9).len(), 3, "each place once");
}
