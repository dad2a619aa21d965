//! How the lanes are, for those who ask.

use super::lane::Lane;
use super::{Queue, Wishes};
use crate::delivery::{Answer, DestinationId, DestinationKey, RouteId};
use std::ops::Range;

/// What waits for one destination: a route, or a domain whose route goes by MX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// Its name for people ([`Routes::describe`](crate::delivery::Routes::describe)).
    pub destination: String,
    /// As its owner knows it, if the hosts are known.
    pub key: Option<DestinationKey>,
    /// Messages that wait for their time or their turn.
    pub waiting: usize,
    /// Messages that are on their way.
    pub in_hand: usize,
    /// Why nothing went there lately, if nothing did.
    pub why: Option<Box<str>>,
}

impl Queue {
    /// As many places as lanes may have.
    pub fn lanes_count(&self) -> usize {
        self.lanes.len()
    }

    /// Of the lanes at these places those that have something.
    pub fn lanes(&self, places: Range<usize>) -> Vec<LaneStatus> {
        let places = places.start.min(self.lanes.len())..places.end.min(self.lanes.len());
        (places.clone().zip(&self.lanes[places]))
            .filter(|(_, lane)| !lane.is_empty() || lane.under_way() > 0)
            .map(|(place, lane)| LaneStatus {
                destination: match &lane.domain {
                    Some(domain) => self.routes.describe(&domain.name),
                    None => self.routes.name(self.destination_at(place)).to_string(),
                },
                key: self.key_at(place, lane),
                waiting: lane.len(),
                in_hand: lane.under_way(),
                why: self.why_of(lane).map(|why| why.text.clone()),
            })
            .collect()
    }

    /// The destination of a domain for mail with these wishes as its owner knows it, if there is such mail and its hosts are known.
    pub fn key_of(&self, wishes: Wishes, domain: &str) -> Option<DestinationKey> {
        let place = self.place_of(self.found(domain, wishes)?);
        self.key_at(place, &self.lanes[place])
    }

    fn why_of<'a>(&'a self, lane: &'a Lane) -> Option<&'a Answer> {
        let why_kept = || lane.first_kept().and_then(|(_, key)| self.why_kept(key));
        lane.why.as_deref().or_else(why_kept)
    }

    fn key_at(&self, place: usize, lane: &Lane) -> Option<DestinationKey> {
        let Some(domain) = &lane.domain else {
            let is_route = self.destination_at(place) != DestinationId::NOWHERE;
            return is_route.then(|| self.routes.key(RouteId::from_index(place)));
        };
        let (known, _) = domain.known.as_ref()?;
        let hosts = known.as_deref().ok()?;
        let family = self.routes.family(domain.route);
        Some(DestinationKey::of_set(family, self.routes.route(domain.route).hash_of_set(family, hosts)))
    }
}
