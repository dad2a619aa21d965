//! Which lane is whose. One that nobody needs any more is another one's later.

use super::lane::{Domain, Lane};
use super::{DestinationId, Queue, RouteId, Wishes, key_of};

impl Queue {
    /// Forgets a domain for which there is nothing left.
    pub(super) fn free_if_unused(&mut self, place: usize) {
        let lane = &mut self.lanes[place];
        if lane.is_unused()
            && let Some(domain) = lane.domain.take_if(|domain| !domain.wanted)
        {
            if let Some(places) = self.domains.get_mut(&*domain.name) {
                places.retain(|other| *other != place);
                if places.is_empty() {
                    self.domains.remove(&*domain.name);
                }
            }
            *lane = Lane::default();
            self.free.push(place);
        }
    }

    /// The destination of a domain for mail with these wishes, which gets a lane if it has none.
    pub(super) fn destination(&mut self, domain: &str, wishes: Wishes) -> DestinationId {
        if let Some(found) = self.found(domain, wishes) {
            return found;
        }
        let (name, (route, waives)) = (key_of(domain), self.way(domain, wishes));
        let place = self.free.pop().unwrap_or_else(|| {
            self.lanes.push(Lane::default());
            self.lanes.len() - 1
        });
        let domain = Domain { name: (*name).into(), route, waives, known: None, wanted: false, recipients_max: 1 };
        self.lanes[place].domain = Some(Box::new(domain));
        self.domains.entry((*name).into()).or_default().push(place);
        self.destination_at(place)
    }

    /// The destination of a domain for mail with these wishes; `None` if it would have a lane of its own and has none.
    pub(super) fn found(&self, domain: &str, wishes: Wishes) -> Option<DestinationId> {
        let (route, waives) = self.way(domain, wishes);
        if !self.is_by_mx(route) {
            return Some(route);
        }
        let fits = |place: &&usize| {
            let lane = self.lanes[**place].domain.as_ref();
            lane.is_some_and(|lane| lane.route == route && lane.waives == waives)
        };
        self.domains.get(&*key_of(domain))?.iter().find(fits).map(|place| self.destination_at(*place))
    }

    /// The route to a domain, and whether its demands are waived there.
    pub(super) fn way(&self, domain: &str, wishes: Wishes) -> (RouteId, bool) {
        let route = self.routes.with_pool(self.routes.destination(domain), wishes.pool);
        let waives = wishes.waives && self.is_by_mx(route) && self.routes.route(route).tls.heeds_domains();
        (route, waives)
    }

    pub(super) fn is_by_mx(&self, route: RouteId) -> bool {
        route != DestinationId::NOWHERE && self.routes.route(route).mx
    }

    pub(super) fn place_of(&self, destination: DestinationId) -> usize {
        if destination == DestinationId::NOWHERE { self.routes.count() } else { destination.index() }
    }

    pub(super) fn destination_at(&self, place: usize) -> DestinationId {
        if place == self.routes.count() { DestinationId::NOWHERE } else { DestinationId::from_index(place) }
    }
}
