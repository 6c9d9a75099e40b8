//! Every step of a complete exploration, on demand.

use std::{num::NonZeroUsize, thread};

use hashbrown::HashTable;

use super::{Exploration, StateId, store::hash_of};
use crate::study::{Steps, Study};

/// One row per state, one column per action: where it leads and what is observed.
#[derive(Debug)]
pub struct Edges<O> {
    actions: usize,
    targets: Vec<StateId>,
    observed: Vec<u32>,
    outcomes: Vec<O>,
}

/// The target of a step that is not enabled, or whose state was not kept.
const NONE: StateId = StateId::MAX;

impl<O> Edges<O> {
    /// Where an action leads, and the number of its outcome; `None` where it is not enabled.
    #[inline]
    pub fn step(&self, state: StateId, action: usize) -> Option<(StateId, u32)> {
        let at = state as usize * self.actions + action;
        (self.targets[at] != NONE).then(|| (self.targets[at], self.observed[at]))
    }

    /// Every enabled step of a state, in alphabet order: action, target, outcome.
    #[inline]
    pub fn steps(&self, state: StateId) -> impl Iterator<Item = (usize, StateId, u32)> + '_ {
        let row = state as usize * self.actions..(state as usize + 1) * self.actions;
        let steps = self.targets[row.clone()].iter().zip(&self.observed[row]).enumerate();
        steps
            .filter(|(_, (target, _))| **target != NONE)
            .map(|(action, (target, outcome))| (action, *target, *outcome))
    }

    /// An outcome by its number.
    pub fn outcome(&self, number: u32) -> &O {
        &self.outcomes[number as usize]
    }

    /// Different outcomes.
    pub fn outcomes(&self) -> &[O] {
        &self.outcomes
    }

    /// States.
    pub fn states(&self) -> usize {
        self.targets.len() / self.actions
    }

    /// Actions.
    pub fn actions(&self) -> usize {
        self.actions
    }
}

impl<S: Study> Exploration<S> {
    /// Takes every step again and keeps it. Steps that lead out of what was kept are left out, so
    /// that a truncated graph is not taken for a whole one: ask [`Exploration::end`] first.
    pub fn edges(&self, threads: NonZeroUsize) -> Edges<S::Outcome> {
        let share = self.expanded().div_ceil(threads.get()).max(1);
        let ranges: Vec<_> = (0..threads.get())
            .map(|k| (k * share).min(self.expanded())..((k + 1) * share).min(self.expanded()))
            .collect();
        let parts: Vec<Part<S::Outcome>> = thread::scope(|scope| {
            let handles: Vec<_> = ranges
                .into_iter()
                .map(|range| scope.spawn(move || Part::of(self, range)))
                .collect();
            // A study that panics here panicked in the search before.
            handles.into_iter().filter_map(|handle| handle.join().ok()).collect()
        });
        let mut targets = Vec::with_capacity(self.expanded() * self.alphabet.len());
        let mut observed = Vec::with_capacity(targets.capacity());
        let mut interner = Interner::default();
        for part in parts {
            let renamed: Vec<u32> = part
                .interner
                .outcomes
                .into_iter()
                .map(|outcome| interner.number(&outcome))
                .collect();
            targets.extend(part.targets);
            observed.extend(
                part.observed
                    .into_iter()
                    .map(|number| renamed.get(number as usize).copied().unwrap_or(0)),
            );
        }
        Edges { actions: self.alphabet.len(), targets, observed, outcomes: interner.outcomes }
    }
}

struct Part<O> {
    targets: Vec<StateId>,
    observed: Vec<u32>,
    interner: Interner<O>,
}

impl<O: Clone + Eq + std::hash::Hash> Part<O> {
    fn of<S: Study<Outcome = O>>(
        exploration: &Exploration<S>,
        states: std::ops::Range<usize>,
    ) -> Self {
        let size = states.len() * exploration.alphabet.len();
        let mut part = Part {
            targets: Vec::with_capacity(size),
            observed: Vec::with_capacity(size),
            interner: Interner::default(),
        };
        let mut steps = exploration.study.steps(&exploration.alphabet);
        for id in states {
            let state = exploration.state(id as StateId);
            let row = part.targets.len();
            part.targets.resize(row + exploration.alphabet.len(), NONE);
            part.observed.resize(row + exploration.alphabet.len(), 0);
            steps.visit(state, |number, outcome, next| {
                let target =
                    if next == *state { Some(id as StateId) } else { exploration.id(&next) };
                if let Some(target) = target {
                    part.targets[row + number] = target;
                    part.observed[row + number] = part.interner.number(outcome);
                }
            });
        }
        part
    }
}

/// Numbers for outcomes, in the order in which they are first seen.
struct Interner<O> {
    table: HashTable<u32>,
    outcomes: Vec<O>,
    last: u32,
}

impl<O> Default for Interner<O> {
    fn default() -> Self {
        Interner { table: HashTable::new(), outcomes: Vec::new(), last: 0 }
    }
}

impl<O: Clone + Eq + std::hash::Hash> Interner<O> {
    fn number(&mut self, outcome: &O) -> u32 {
        // Most steps are observed like the one before.
        if self.outcomes.get(self.last as usize) == Some(outcome) {
            return self.last;
        }
        let Interner { table, outcomes, last } = self;
        let hash = hash_of(outcome);
        if let Some(&number) = table.find(hash, |&number| outcomes[number as usize] == *outcome) {
            *last = number;
            return number;
        }
        let number = u32::try_from(outcomes.len()).unwrap_or(u32::MAX);
        outcomes.push(outcome.clone());
        table.insert_unique(hash, number, |&number| hash_of(&outcomes[number as usize]));
        *last = number;
        number
    }
}
