//! The table of flows.

use crate::flow::FlowId;

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
