//! The first law: after a disruption, nobody can tell.

use std::collections::{BTreeSet, VecDeque};

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use super::refine::{BLOCKED, Refinement, Table};
use crate::{
    check::{Counterexample, Fault, Seen, Told, run},
    explore::{Edges, End, Exploration, Options, Progress, StateId},
    study::{Blocked, Selects, Study},
};

/// What became of one transparency law.
#[derive(Debug)]
pub struct Transparency<S: Study> {
    /// Disruptions judged, in every reachable state that enables one.
    pub asked: u64,
    /// The shortest demonstration that somebody notices.
    pub noticed: Option<Counterexample<S>>,
}

/// A disruption in a state, and the two states to compare.
#[derive(Clone, Copy)]
struct Pair {
    law: usize,
    from: StateId,
    action: usize,
    disturbed: u32,
    undisturbed: u32,
}

/// States expected and not reachable that are followed between two looks at the watch.
const WATCH_EVERY: usize = 64;

/// Judges each law given (by the disruptions it is about) on a complete graph.
///
/// What users expect may not be reachable. Such states count against the budget as well; `Err` says
/// of what there was too little to follow them all.
pub fn transparency<S: Study>(
    exploration: &Exploration<S>,
    edges: &Edges<S::Outcome>,
    laws: &[Option<Selects<S>>],
    options: &Options<'_>,
) -> Result<Vec<Option<Transparency<S>>>, End> {
    let mut asked = vec![0; laws.len()];
    if laws.iter().all(Option::is_none) {
        return Ok(laws.iter().map(|_| None).collect());
    }
    let mut graph = Extended::new(exploration, edges);
    let pairs = graph.pairs(laws, &mut asked);
    graph.close(options)?;

    let mut refinement = Refinement::new(&graph.table);
    let mut open: Vec<Pair> = pairs;
    let mut best: Vec<Option<(usize, Pair)>> = vec![None; laws.len()];
    loop {
        let grew = refinement.round();
        let classes = &refinement.classes;
        open.retain(|pair| {
            let told = classes[pair.disturbed as usize] != classes[pair.undisturbed as usize];
            if told {
                let length = exploration.depth_of(pair.from) as usize + 1 + refinement.length;
                let best = &mut best[pair.law];
                if best.is_none_or(|(shortest, _)| length < shortest) {
                    *best = Some((length, *pair));
                }
            }
            !told
        });
        if !grew || open.is_empty() {
            break;
        }
    }
    let best: Vec<_> = best.into_iter().map(|found| found.map(|(_, pair)| pair)).collect();
    let judged = laws.iter().zip(asked).zip(best).map(|((law, asked), best)| {
        law.map(|_| Transparency { asked, noticed: best.and_then(|pair| graph.demonstrate(pair)) })
    });
    Ok(judged.collect())
}

/// The reachable states and those that users expect, with the steps that are not disruptions.
struct Extended<'e, S: Study> {
    exploration: &'e Exploration<S>,
    observers: Vec<usize>,
    table: Table,
    /// States expected and not reachable, numbered after the reachable ones.
    shadows: Vec<S::State>,
    numbers: HashTable<u32>,
    outcomes: Vec<S::Outcome>,
    outcome_numbers: HashTable<u32>,
}

fn hash_of<T: std::hash::Hash>(value: &T) -> u64 {
    use std::hash::BuildHasher;
    FxBuildHasher.hash_one(value)
}

impl<'e, S: Study> Extended<'e, S> {
    fn new(exploration: &'e Exploration<S>, edges: &Edges<S::Outcome>) -> Self {
        let study = exploration.study();
        let alphabet = exploration.alphabet();
        let observers: Vec<usize> =
            (0..alphabet.len()).filter(|&at| !study.is_disruption(alphabet[at])).collect();
        let mut table = Table { columns: observers.len(), ..Table::default() };
        for id in 0..edges.states() as StateId {
            for &action in &observers {
                let (target, outcome) = edges.step(id, action).unwrap_or((BLOCKED, BLOCKED));
                table.targets.push(target);
                table.observed.push(outcome);
            }
        }
        let outcomes = edges.outcomes().to_vec();
        let mut outcome_numbers = HashTable::new();
        for (number, outcome) in (0..).zip(&outcomes) {
            outcome_numbers.insert_unique(hash_of(outcome), number, |&number: &u32| {
                hash_of(&outcomes[number as usize])
            });
        }
        Extended {
            exploration,
            observers,
            table,
            shadows: Vec::new(),
            numbers: HashTable::new(),
            outcomes,
            outcome_numbers,
        }
    }

    fn state(&self, number: u32) -> &S::State {
        match (number as usize).checked_sub(self.exploration.len()) {
            None => self.exploration.state(number),
            Some(at) => &self.shadows[at],
        }
    }

    fn number(&mut self, state: &S::State) -> u32 {
        if let Some(id) = self.exploration.id(state) {
            return id;
        }
        let first = self.exploration.len();
        let Extended { shadows, numbers, .. } = self;
        let hash = hash_of(state);
        let at = |number: u32| number as usize - first;
        if let Some(&number) = numbers.find(hash, |&number| shadows[at(number)] == *state) {
            return number;
        }
        let number = u32::try_from(first + shadows.len()).unwrap_or(BLOCKED);
        shadows.push(state.clone());
        numbers.insert_unique(hash, number, |&number| hash_of(&shadows[at(number)]));
        number
    }

    fn outcome_number(&mut self, outcome: S::Outcome) -> u32 {
        let Extended { outcomes, outcome_numbers, .. } = self;
        let hash = hash_of(&outcome);
        if let Some(&number) =
            outcome_numbers.find(hash, |&number| outcomes[number as usize] == outcome)
        {
            return number;
        }
        let number = u32::try_from(outcomes.len()).unwrap_or(BLOCKED);
        outcomes.push(outcome);
        outcome_numbers.insert_unique(hash, number, |&number| hash_of(&outcomes[number as usize]));
        number
    }

    fn pairs(&mut self, laws: &[Option<Selects<S>>], asked: &mut [u64]) -> Vec<Pair> {
        let exploration = self.exploration;
        let study = exploration.study();
        let disruptions: Vec<(usize, S::Action, Vec<usize>)> = exploration
            .alphabet()
            .iter()
            .enumerate()
            .map(|(at, &action)| {
                let about =
                    |law: &Option<Selects<S>>| law.is_some_and(|disrupts| disrupts(study, action));
                (at, action, (0..laws.len()).filter(|law| about(&laws[*law])).collect())
            })
            .filter(|(_, _, laws): &(_, _, Vec<usize>)| !laws.is_empty())
            .collect();
        let mut pairs = Vec::new();
        for from in 0..exploration.len() as StateId {
            let state = exploration.state(from);
            for (action_number, action, laws) in &disruptions {
                let Ok((_, disturbed)) = study.step(state, *action) else { continue };
                let undisturbed = study.undisturbed(state, *action);
                laws.iter().for_each(|law| asked[*law] += 1);
                if disturbed == undisturbed {
                    continue;
                }
                let (disturbed, undisturbed) = (self.number(&disturbed), self.number(&undisturbed));
                pairs.extend(laws.iter().map(|&law| Pair {
                    law,
                    from,
                    action: *action_number,
                    disturbed,
                    undisturbed,
                }));
            }
        }
        pairs
    }

    /// Follows the expected states wherever observers can lead them.
    fn close(&mut self, options: &Options<'_>) -> Result<(), End> {
        let mut at = 0;
        while at < self.shadows.len() {
            if let Some(most) = options.budget.states
                && self.exploration.len() + self.shadows.len() > most
            {
                return Err(End::States);
            }
            if options.budget.bytes.is_some_and(|most| self.bytes() > most) {
                return Err(End::Bytes);
            }
            let progress = Progress {
                states: self.exploration.len() + self.shadows.len(),
                frontier: self.shadows.len() - at,
                depth: self.exploration.depth(),
            };
            if at.is_multiple_of(WATCH_EVERY) && !(options.watch)(&progress) {
                return Err(End::Stopped);
            }
            let state = self.shadows[at].clone();
            for action in self.observers.clone() {
                let step =
                    self.exploration.study().step(&state, self.exploration.alphabet()[action]);
                let (target, outcome) = match step {
                    Ok((outcome, next)) => (self.number(&next), self.outcome_number(outcome)),
                    Err(Blocked(_)) => (BLOCKED, BLOCKED),
                };
                self.table.targets.push(target);
                self.table.observed.push(outcome);
            }
            at += 1;
        }
        self.table.states = self.exploration.len() + self.shadows.len();
        Ok(())
    }

    /// Bytes held for states that are expected and not reachable, and for the search before.
    fn bytes(&self) -> usize {
        let row = 2 * size_of::<u32>() * self.observers.len();
        self.exploration.bytes()
            + self.numbers.allocation_size()
            + self.shadows.len() * (size_of::<S::State>() + row)
    }

    fn demonstrate(&self, pair: Pair) -> Option<Counterexample<S>> {
        let exploration = self.exploration;
        let state = exploration.state(pair.from);
        let action = exploration.alphabet()[pair.action];
        let (outcome, _) = exploration.study().step(state, action).ok()?;
        let tell = self.tell(pair.disturbed, pair.undisturbed)?;
        Some(Counterexample {
            path: run(exploration, pair.from),
            state: state.clone(),
            fault: Fault::Noticed { disruption: Seen { action, outcome }, tell },
        })
    }

    /// The first shortest sequence that is observed differently.
    fn tell(&self, disturbed: u32, undisturbed: u32) -> Option<Vec<Told<S>>> {
        let study = self.exploration.study();
        let mut queue = VecDeque::from([((disturbed, undisturbed), Vec::new())]);
        let mut met = BTreeSet::from([(disturbed, undisturbed)]);
        while let Some(((a, b), path)) = queue.pop_front() {
            for (column, &number) in self.observers.iter().enumerate() {
                let step = |state: u32| {
                    (self.table.targets_of(state)[column], self.table.observed_of(state)[column])
                };
                let ((a_next, a_seen), (b_next, b_seen)) = (step(a), step(b));
                let mut longer: Vec<usize> = path.clone();
                longer.push(number);
                if a_seen != b_seen {
                    return Some(self.retell(study, (disturbed, undisturbed), &longer));
                }
                if a_seen != BLOCKED && a_next != b_next && met.insert((a_next, b_next)) {
                    queue.push_back(((a_next, b_next), longer));
                }
            }
        }
        None
    }

    fn retell(&self, study: &S, (a, b): (u32, u32), actions: &[usize]) -> Vec<Told<S>> {
        let (mut a, mut b) = (self.state(a).clone(), self.state(b).clone());
        let mut told = Vec::new();
        for &number in actions {
            let action = self.exploration.alphabet()[number];
            let take = |state: &mut S::State| {
                study.step(state, action).map(|(outcome, next)| {
                    *state = next;
                    outcome
                })
            };
            told.push(Told { action, disturbed: take(&mut a), undisturbed: take(&mut b) });
        }
        told
    }
}
