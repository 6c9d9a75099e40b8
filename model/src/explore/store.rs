//! States by number, numbers by state, and how each was reached.

use std::{
    hash::{BuildHasher, Hash},
    mem::size_of,
};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use super::StateId;

/// States in a chunk: large enough to be rare, small enough not to matter.
const CHUNK: usize = 1 << 14;
/// The parent of an initial state.
const NONE: StateId = StateId::MAX;

/// Whole states are compared, never only their hashes. Chunks do not move when there are more.
pub(super) struct Store<T> {
    chunks: Vec<Vec<T>>,
    parents: Vec<Vec<(StateId, u16)>>,
    table: HashTable<StateId>,
    len: usize,
}

/// What became of a state that was offered.
pub(super) enum Inserted {
    Known,
    New,
    /// There are as many states as numbers.
    Full,
}

pub(super) fn hash_of<T: Hash>(state: &T) -> u64 {
    FxBuildHasher.hash_one(state)
}

impl<T: Hash + Eq> Store<T> {
    pub(super) fn new() -> Self {
        Store { chunks: Vec::new(), parents: Vec::new(), table: HashTable::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn state(&self, id: StateId) -> &T {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    pub(super) fn parent(&self, id: StateId) -> Option<(StateId, u16)> {
        let (parent, action) = self.parents[id as usize / CHUNK][id as usize % CHUNK];
        (parent != NONE).then_some((parent, action))
    }

    pub(super) fn find(&self, state: &T) -> Option<StateId> {
        self.find_hashed(hash_of(state), state)
    }

    #[inline]
    pub(super) fn find_hashed(&self, hash: u64, state: &T) -> Option<StateId> {
        self.table.find(hash, |&id| self.state(id) == state).copied()
    }

    /// Adds a state if it is new.
    #[inline]
    pub(super) fn insert(
        &mut self,
        hash: u64,
        state: T,
        parent: Option<(StateId, u16)>,
    ) -> Inserted {
        let Store { chunks, parents, table, len } = self;
        let state_of = |id: StateId| &chunks[id as usize / CHUNK][id as usize % CHUNK];
        if table.find(hash, |&id| *state_of(id) == state).is_some() {
            return Inserted::Known;
        }
        let Some(id) = StateId::try_from(*len).ok().filter(|id| *id != NONE) else {
            return Inserted::Full;
        };
        table.insert_unique(hash, id, |&id| hash_of(state_of(id)));
        if len.is_multiple_of(CHUNK) {
            chunks.push(Vec::with_capacity(CHUNK));
            parents.push(Vec::with_capacity(CHUNK));
        }
        let at = *len / CHUNK;
        chunks[at].push(state);
        parents[at].push(parent.unwrap_or((NONE, 0)));
        *len += 1;
        Inserted::New
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let chunks = self.chunks.len() * CHUNK * (size_of::<T>() + size_of::<(StateId, u16)>());
        chunks + self.table.allocation_size()
    }

    /// Bytes held while and after one more state is added: a table that grows exists twice.
    pub(super) fn bytes_to_grow(&self) -> usize {
        let table = if self.table.len() == self.table.capacity() {
            2 * self.table.allocation_size() + 64
        } else {
            0
        };
        let chunk = if self.len.is_multiple_of(CHUNK) {
            CHUNK * (size_of::<T>() + size_of::<(StateId, u16)>())
        } else {
            0
        };
        self.bytes() + table + chunk
    }
}
