//! Partition refinement over a dense table of steps.

use std::hash::Hasher;

use hashbrown::HashTable;
use rustc_hash::FxHasher;

/// Steps by state and column: where they lead, and what is observed. [`BLOCKED`] where not enabled.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Rows: there may be no columns to count them by.
    pub(super) states: usize,
    pub(super) columns: usize,
    pub(super) targets: Vec<u32>,
    pub(super) observed: Vec<u32>,
}

/// The target and the observation of an action that is not enabled.
pub(super) const BLOCKED: u32 = u32::MAX;

impl Table {
    pub(super) fn targets_of(&self, state: u32) -> &[u32] {
        &self.targets[state as usize * self.columns..][..self.columns]
    }

    pub(super) fn observed_of(&self, state: u32) -> &[u32] {
        &self.observed[state as usize * self.columns..][..self.columns]
    }
}

/// The coarsest partition that no sequence of at most so many actions refines, round by round.
pub(super) struct Refinement<'t> {
    table: &'t Table,
    /// The class of each state.
    pub(super) classes: Vec<u32>,
    pub(super) count: usize,
    /// Sequences of this length have been looked at.
    pub(super) length: usize,
}

impl<'t> Refinement<'t> {
    /// Everything in one class.
    pub(super) fn new(table: &'t Table) -> Self {
        let classes = vec![0; table.states];
        Refinement { table, classes, count: 1, length: 0 }
    }

    /// Looks one action further; `false` if that told no more states apart.
    pub(super) fn round(&mut self) -> bool {
        let Refinement { table, classes, length, .. } = self;
        let first = *length == 0;
        let class_of =
            |target: u32| if target == BLOCKED { BLOCKED } else { classes[target as usize] };
        let signature = |state: u32| {
            let mut hasher = FxHasher::default();
            if first {
                table.observed_of(state).iter().for_each(|seen| hasher.write_u32(*seen));
            } else {
                hasher.write_u32(classes[state as usize]);
                table
                    .targets_of(state)
                    .iter()
                    .for_each(|target| hasher.write_u32(class_of(*target)));
            }
            hasher.finish()
        };
        let same = |a: u32, b: u32| {
            if first {
                table.observed_of(a) == table.observed_of(b)
            } else {
                classes[a as usize] == classes[b as usize]
                    && table
                        .targets_of(a)
                        .iter()
                        .zip(table.targets_of(b))
                        .all(|(a, b)| class_of(*a) == class_of(*b))
            }
        };
        // Class numbers follow the first state of each class.
        let mut representatives: HashTable<(u32, u32)> = HashTable::new();
        let mut next = Vec::with_capacity(classes.len());
        let mut count = 0;
        for state in 0..u32::try_from(classes.len()).unwrap_or(BLOCKED) {
            let hash = signature(state);
            let entry = representatives.entry(
                hash,
                |(other, _)| same(*other, state),
                |(other, _)| signature(*other),
            );
            let (_, class) = *entry
                .or_insert_with(|| {
                    count += 1;
                    (state, count - 1)
                })
                .get();
            next.push(class);
        }
        self.classes = next;
        self.length += 1;
        let grew = count as usize > self.count;
        self.count = count as usize;
        grew
    }

    /// Goes on until nothing more can be told apart.
    pub(super) fn finish(mut self) -> Self {
        while self.round() {}
        self
    }
}
