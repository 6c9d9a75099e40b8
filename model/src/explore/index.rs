//! Numbers by hash: open addressing in one array, eight bytes a slot.
//!
//! A slot holds the upper half of the hash beside the number, so that a state of another hash is
//! almost never looked at, and so that a table that grows needs no state. A search of millions of
//! states waits for memory more than for anything else: this touches one cache line where a general
//! table touches two.

use super::StateId;

/// Slots at the start; a power of two.
const SLOTS_MIN: usize = 1 << 10;
/// A slot that holds nothing: no state has this number.
const EMPTY: u64 = u64::MAX;
const ID: u64 = StateId::MAX as u64;

pub(super) struct Index {
    /// The upper half of a hash, then a number. A power of two of them, at most three quarters full.
    slots: Vec<u64>,
    len: usize,
    /// How far a hash is shifted to become a slot.
    shift: u32,
}

impl Index {
    pub(super) fn new() -> Self {
        Self::with_slots(SLOTS_MIN)
    }

    fn with_slots(slots: usize) -> Self {
        Index { slots: vec![EMPTY; slots], len: 0, shift: u64::BITS - slots.trailing_zeros() }
    }

    #[inline]
    fn slot(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    /// The number of this hash for which `is_it` holds.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(StateId) -> bool) -> Option<StateId> {
        let mask = self.slots.len() - 1;
        let mut slot = self.slot(hash);
        loop {
            let entry = self.slots[slot & mask];
            if entry == EMPTY {
                return None;
            }
            let id = (entry & ID) as StateId;
            if (entry ^ hash) & !ID == 0 && is_it(id) {
                return Some(id);
            }
            slot += 1;
        }
    }

    /// Adds a number that is not there.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, id: StateId) {
        if self.is_full() {
            self.grow();
        }
        self.put(hash & !ID | u64::from(id));
    }

    #[inline]
    fn put(&mut self, entry: u64) {
        let mask = self.slots.len() - 1;
        let mut slot = self.slot(entry);
        while self.slots[slot & mask] != EMPTY {
            slot += 1;
        }
        self.slots[slot & mask] = entry;
        self.len += 1;
    }

    fn is_full(&self) -> bool {
        self.len >= self.slots.len() / 4 * 3
    }

    fn grow(&mut self) {
        let larger = Self::with_slots(self.slots.len() * 2);
        let old = std::mem::replace(self, larger);
        for entry in old.slots {
            if entry != EMPTY {
                self.put(entry);
            }
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.slots.len() * size_of::<u64>()
    }

    /// Bytes that are needed beside those to add one more.
    pub(super) fn bytes_to_grow(&self) -> usize {
        if self.is_full() { 2 * self.bytes() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_inserted_is_found_and_nothing_else(
            // Few upper halves, so that many numbers share theirs, and runs wrap around the end.
            keys in prop::collection::vec((0_u64..4, any::<bool>()), 1..3000),
        ) {
            let hash = |(few, wraps): (u64, bool)| if wraps { !(few << 32) } else { few << 60 };
            let mut index = Index::new();
            for (id, &key) in (0..).zip(&keys) {
                index.insert(hash(key), id);
            }
            prop_assert_eq!(index.len, keys.len());
            for (id, &key) in (0..).zip(&keys) {
                prop_assert_eq!(index.find(hash(key), |found| found == id), Some(id));
                prop_assert_eq!(index.find(hash(key) ^ 1 << 40, |found| found == id), None);
            }
        }
    }
}
