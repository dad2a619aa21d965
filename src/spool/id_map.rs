//! A map by queue id, in the order of the ids.
//!
//! Ids rise by one, and what is queued comes in runs of them. So 64 ids share a page: a bit for each that is there, and the
//! values side by side. In a run a value costs its own size and two bytes; one that is alone on its page, about 90 more.

use std::collections::BTreeMap;

use super::MessageId;

/// An id is the number of its page and a place on it.
const PLACE_BITS: u32 = 6;

#[derive(Debug)]
struct Page<V> {
    /// The places that are taken: as many as there are values, which stand in their order.
    taken: u64,
    values: Vec<V>,
}

#[derive(Debug)]
pub(super) struct IdMap<V> {
    pages: BTreeMap<u64, Page<V>>,
    count: usize,
}

/// Ids alone.
pub(super) type IdSet = IdMap<()>;

impl<V> Default for IdMap<V> {
    fn default() -> IdMap<V> {
        IdMap { pages: BTreeMap::new(), count: 0 }
    }
}

/// The page of an id, and the bit of its place.
fn split(id: MessageId) -> (u64, u64) {
    (id.bits() >> PLACE_BITS, 1 << (id.bits() & ((1 << PLACE_BITS) - 1)))
}

impl<V> Page<V> {
    /// Where the value of a place stands, or would stand.
    fn rank(&self, bit: u64) -> usize {
        (self.taken & (bit - 1)).count_ones() as usize
    }

    /// Where the value stands, if there is one.
    fn find(&self, bit: u64) -> Option<usize> {
        (self.taken & bit != 0).then(|| self.rank(bit))
    }
}

impl<V> IdMap<V> {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn get(&self, id: MessageId) -> Option<&V> {
        let (page, bit) = split(id);
        let page = self.pages.get(&page)?;
        page.values.get(page.find(bit)?)
    }

    pub(super) fn get_mut(&mut self, id: MessageId) -> Option<&mut V> {
        let (page, bit) = split(id);
        let page = self.pages.get_mut(&page)?;
        let rank = page.find(bit)?;
        page.values.get_mut(rank)
    }

    /// Puts a value under an id, in the place of the one that was there.
    pub(super) fn insert(&mut self, id: MessageId, value: V) {
        let (page, bit) = split(id);
        let page = self.pages.entry(page).or_insert(Page { taken: 0, values: Vec::new() });
        match page.find(bit) {
            Some(rank) => page.values[rank] = value,
            None => {
                page.values.insert(page.rank(bit), value);
                page.taken |= bit;
                self.count += 1;
            }
        }
    }

    pub(super) fn remove(&mut self, id: MessageId) -> Option<V> {
        let (number, bit) = split(id);
        let page = self.pages.get_mut(&number)?;
        let value = page.values.remove(page.find(bit)?);
        page.taken &= !bit;
        self.count -= 1;
        if page.taken == 0 {
            self.pages.remove(&number);
        } else if page.values.len() <= page.values.capacity() / 2 {
            // Messages that stay for long must not hold the memory of those that went.
            page.values.shrink_to_fit();
        }
        Some(value)
    }

    /// What there is from this id on, in the order of the ids.
    pub(super) fn from(&self, id: MessageId) -> impl Iterator<Item = (MessageId, &V)> {
        let (first, bit) = split(id);
        self.pages.range(first..).flat_map(move |(number, page)| {
            let from = if *number == first { bit } else { 1 };
            let (mut left, mut rank) = (page.taken & !(from - 1), page.rank(from));
            std::iter::from_fn(move || {
                let place = (left != 0).then(|| u64::from(left.trailing_zeros()))?;
                left &= left - 1;
                rank += 1;
                Some((MessageId::from_bits(number << PLACE_BITS | place), &page.values[rank - 1]))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn it_is_an_ordered_map(
            steps in proptest::collection::vec((0u8..4, 0u64..300, any::<u32>()), 0..400),
            base in prop_oneof![Just(0), Just(u64::MAX - 299), Just(3 << 48)],
            from in 0u64..300,
        ) {
            let (mut map, mut model) = (IdMap::default(), BTreeMap::new());
            for (step, id, value) in steps {
                let id = MessageId::from_bits(base + id);
                match step {
                    0 | 1 => {
                        map.insert(id, value);
                        model.insert(id, value);
                    }
                    2 => prop_assert_eq!(map.remove(id), model.remove(&id)),
                    _ => prop_assert_eq!(map.get_mut(id), model.get_mut(&id)),
                }
                prop_assert_eq!(map.get(id), model.get(&id));
                prop_assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
            }
            for from in [MessageId::from_bits(0), MessageId::from_bits(base + from)] {
                let found: Vec<_> = map.from(from).collect();
                let wanted: Vec<_> = model.range(from..).map(|(id, value)| (*id, value)).collect();
                prop_assert_eq!(found, wanted);
            }
        }
    }
}
