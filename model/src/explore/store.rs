//! States by number, numbers by state, and how each was reached.

use std::{
    hash::{BuildHasher, Hash},
    mem::size_of,
};

use rustc_hash::FxBuildHasher;

use super::{StateId, index::Index};

/// States in a chunk: large enough to be rare, small enough not to matter.
const CHUNK: usize = 1 << 14;
/// The parent of an initial state.
const NONE: StateId = StateId::MAX;

/// Whole states are compared, never only their hashes. Chunks do not move when there are more.
pub(super) struct Store<T> {
    chunks: Vec<Vec<T>>,
    parents: Vec<Vec<StateId>>,
    actions: Vec<Vec<u16>>,
    index: Index,
    len: usize,
}

/// A state that somebody came to.
pub(super) struct Candidate<T> {
    pub(super) hash: u64,
    pub(super) state: T,
    pub(super) parent: StateId,
    pub(super) action: u16,
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
        Store {
            chunks: Vec::new(),
            parents: Vec::new(),
            actions: Vec::new(),
            index: Index::new(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn state(&self, id: StateId) -> &T {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    pub(super) fn parent(&self, id: StateId) -> Option<(StateId, u16)> {
        let (chunk, at) = (id as usize / CHUNK, id as usize % CHUNK);
        let parent = self.parents[chunk][at];
        (parent != NONE).then(|| (parent, self.actions[chunk][at]))
    }

    pub(super) fn find(&self, state: &T) -> Option<StateId> {
        self.find_hashed(hash_of(state), state)
    }

    #[inline]
    pub(super) fn find_hashed(&self, hash: u64, state: &T) -> Option<StateId> {
        self.index.find(hash, |id| self.state(id) == state)
    }

    /// Drops the candidates from `from` on that are known already.
    pub(super) fn retain_unknown(&self, candidates: &mut Vec<Candidate<T>>, from: usize) {
        let mut kept = from;
        for at in from..candidates.len() {
            let Candidate { hash, state, .. } = &candidates[at];
            if self.find_hashed(*hash, state).is_none() {
                candidates.swap(kept, at);
                kept += 1;
            }
        }
        candidates.truncate(kept);
    }

    /// Adds a state if it is new.
    #[inline]
    pub(super) fn insert(
        &mut self,
        hash: u64,
        state: T,
        parent: Option<(StateId, u16)>,
    ) -> Inserted {
        let chunks = &self.chunks;
        let is_state = |id: StateId| chunks[id as usize / CHUNK][id as usize % CHUNK] == state;
        if self.index.find(hash, is_state).is_some() {
            return Inserted::Known;
        }
        let Some(id) = StateId::try_from(self.len).ok().filter(|id| *id != NONE) else {
            return Inserted::Full;
        };
        self.index.insert(hash, id);
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
            self.parents.push(Vec::with_capacity(CHUNK));
            self.actions.push(Vec::with_capacity(CHUNK));
        }
        let at = self.len / CHUNK;
        let (parent, action) = parent.unwrap_or((NONE, 0));
        self.chunks[at].push(state);
        self.parents[at].push(parent);
        self.actions[at].push(action);
        self.len += 1;
        Inserted::New
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * Self::BYTES_PER_STATE + self.index.bytes()
    }

    /// Bytes held while and after one more state is added: an index that grows exists twice.
    pub(super) fn bytes_to_grow(&self) -> usize {
        let chunk = if self.len.is_multiple_of(CHUNK) { CHUNK * Self::BYTES_PER_STATE } else { 0 };
        self.bytes() + self.index.bytes_to_grow() + chunk
    }

    const BYTES_PER_STATE: usize = size_of::<T>() + size_of::<StateId>() + size_of::<u16>();
}
