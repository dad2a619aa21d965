//! The table of flows, and what each client may use of it.

use crate::flow::FlowId;
use std::collections::HashMap;
use std::net::IpAddr;

/// Generations have 31 bits, so that an id leaves one bit of a token free.
const GENERATION_MAX: u32 = u32::MAX >> 1;

/// Flows by their ids: dense places that are used again, each time with another generation.
pub(super) struct Table<F> {
    places: Vec<Place<F>>,
    free: Vec<u32>,
    count_max: usize,
}

struct Place<F> {
    generation: u32,
    flow: Option<F>,
}

impl<F> Table<F> {
    pub fn new(count_max: usize) -> Table<F> {
        Table { places: Vec::new(), free: Vec::new(), count_max: count_max.min(u32::MAX as usize) }
    }

    pub fn count(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub fn full(&self) -> bool {
        self.count() >= self.count_max
    }

    /// Gives the flow back if the table is full.
    pub fn insert(&mut self, flow: F) -> Result<FlowId, Box<F>> {
        if self.full() {
            return Err(Box::new(flow));
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.places.push(Place { generation: 0, flow: None });
                (self.places.len() - 1) as u32
            }
        };
        let place = &mut self.places[index as usize];
        assert!(place.flow.is_none(), "a free place is empty");
        place.flow = Some(flow);
        Ok(FlowId { index, generation: place.generation })
    }

    pub fn find(&mut self, id: FlowId) -> Option<&mut F> {
        let place = self.places.get_mut(id.index as usize)?;
        if place.generation == id.generation { place.flow.as_mut() } else { None }
    }

    pub fn remove(&mut self, id: FlowId) -> Option<F> {
        self.find(id)?;
        let place = &mut self.places[id.index as usize];
        place.generation = if place.generation == GENERATION_MAX { 0 } else { place.generation + 1 };
        self.free.push(id.index);
        place.flow.take()
    }
}

/// Whom a budget counts: an IPv4 address, or the 64-bit network of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    V4(u32),
    V6(u64),
}

impl Client {
    pub fn of(address: IpAddr) -> Client {
        match address.to_canonical() {
            IpAddr::V4(address) => Client::V4(address.to_bits()),
            IpAddr::V6(address) => Client::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// Accepted connections by client. It holds no more entries than the table has flows.
pub(super) struct Budgets {
    used: HashMap<Client, u32>,
    per_client_max: usize,
}

impl Budgets {
    pub fn new(per_client_max: usize) -> Budgets {
        Budgets { used: HashMap::new(), per_client_max }
    }

    /// Counts one more connection, unless the client has all that it may.
    pub fn take(&mut self, client: Client) -> bool {
        if self.per_client_max == 0 {
            return false;
        }
        let used = self.used.entry(client).or_insert(0);
        if *used as usize >= self.per_client_max {
            return false;
        }
        *used += 1;
        true
    }

    pub fn give_back(&mut self, client: Client) {
        let Some(used) = self.used.get_mut(&client) else {
            unreachable!("what is given back was taken");
        };
        *used -= 1;
        if *used == 0 {
            self.used.remove(&client);
        }
    }
}
