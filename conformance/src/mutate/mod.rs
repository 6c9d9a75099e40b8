//! How much does a suite see? Mutants of the machine, and which of them it kills.
//!
//! A mutant is the machine with one wrong step: another outcome, another target, or a guard too many. A
//! suite kills it where some trace is answered otherwise. One that survives is either proven equivalent,
//! or it comes with the shortest trace that kills it: a test that the suite lacks.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use statusquo_model::{
    explore::{Edges, Exploration, StateId},
    study::Study,
};

use crate::{
    random::Random,
    trace::{Step, Suite, Trace},
};

/// What is wrong with a mutant's one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Another outcome than the machine's.
    Outcome,
    /// The right outcome, and another state after it.
    Target,
    /// It cannot be taken.
    Guard,
}

impl Kind {
    /// Every one.
    pub const ALL: [Kind; 3] = [Kind::Outcome, Kind::Target, Kind::Guard];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Outcome => "another outcome",
            Kind::Target => "another target",
            Kind::Guard => "a guard too many",
        }
    }
}

/// How many of what kind.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Mutants of each kind at most.
    pub mutants: usize,
    /// Which: the same seed gives the same.
    pub seed: u64,
}

/// What a suite does to the mutants of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured<S: Study> {
    /// Which kind.
    pub kind: Kind,
    /// Mutants that were tried.
    pub mutants: usize,
    /// Killed by the suite.
    pub killed: usize,
    /// Proven to behave as the machine does, in every run of the machine.
    pub equivalent: usize,
    /// The shortest trace that kills each of the others.
    pub surviving: Vec<Trace<S>>,
}

/// One mutant: this step of this state is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mutant {
    state: StateId,
    action: usize,
    /// What it does instead: where it leads, and what is observed. `None`: it cannot be taken.
    instead: Option<(StateId, u32)>,
}

impl Mutant {
    fn step<O>(&self, edges: &Edges<O>, state: StateId, action: usize) -> Option<(StateId, u32)> {
        if (state, action) == (self.state, self.action) {
            self.instead
        } else {
            edges.step(state, action)
        }
    }
}

/// Measures a suite of this machine.
pub fn measure<S: Study>(
    exploration: &Exploration<S>,
    edges: &Edges<S::Outcome>,
    suite: &Suite<S>,
    options: Options,
) -> Vec<Measured<S>> {
    let walks = Walks::of(exploration, edges, suite);
    let all = Kind::ALL.into_iter().map(|kind| {
        let mutants = mutants(edges, kind, options);
        let mut measured = Measured {
            kind,
            mutants: mutants.len(),
            killed: 0,
            equivalent: 0,
            surviving: Vec::new(),
        };
        for mutant in mutants {
            if walks.kill(edges, &mutant) {
                measured.killed += 1;
            } else if let Some(word) = killing_word(exploration, edges, &mutant) {
                measured.surviving.push(trace(exploration, edges, &word));
            } else {
                measured.equivalent += 1;
            }
        }
        measured
    });
    all.collect()
}

/// Distinct mutants of one kind, in the order of their steps.
fn mutants<O>(edges: &Edges<O>, kind: Kind, options: Options) -> BTreeSet<Mutant> {
    let steps: Vec<(StateId, usize)> = (0..edges.states() as StateId)
        .flat_map(|state| edges.steps(state).map(move |(action, ..)| (state, action)))
        .collect();
    let (states, outcomes) = (edges.states(), edges.outcomes().len());
    let mut random = Random::new(options.seed);
    let mut all = BTreeSet::new();
    // Where there are few, each is drawn many times; it ends all the same.
    for _ in 0..options.mutants.saturating_mul(8) {
        if all.len() >= options.mutants || steps.is_empty() {
            break;
        }
        let (state, action) = steps[random.below(steps.len())];
        let Some((target, outcome)) = edges.step(state, action) else { continue };
        let other = |random: &mut Random, right: u32, most: usize| {
            let other = random.below(most.saturating_sub(1)) as u32;
            if other < right { other } else { other + 1 }
        };
        let instead = match kind {
            Kind::Outcome if outcomes > 1 => Some((target, other(&mut random, outcome, outcomes))),
            Kind::Target if states > 1 => Some((other(&mut random, target, states), outcome)),
            Kind::Guard => None,
            _ => break,
        };
        all.insert(Mutant { state, action, instead });
    }
    all
}

/// The traces of a suite as walks of the machine.
struct Walks {
    /// Each step of each trace: the state before it, and the action.
    steps: Vec<Vec<(StateId, usize)>>,
    /// Where each step of the machine is taken first: by trace.
    taken: HashMap<(StateId, usize), BTreeMap<usize, usize>>,
}

impl Walks {
    fn of<S: Study>(
        exploration: &Exploration<S>,
        edges: &Edges<S::Outcome>,
        suite: &Suite<S>,
    ) -> Self {
        let numbers: HashMap<S::Action, usize> =
            (0..).zip(exploration.alphabet()).map(|(number, action)| (*action, number)).collect();
        let mut walks = Walks { steps: Vec::new(), taken: HashMap::new() };
        for (number, trace) in suite.traces.iter().enumerate() {
            let mut state = exploration.initial().start;
            let mut steps = Vec::new();
            for step in trace {
                let Some(&action) = numbers.get(&step.action) else { break };
                let Some((target, _)) = edges.step(state, action) else { break };
                let first = walks.taken.entry((state, action)).or_default();
                first.entry(number).or_insert(steps.len());
                steps.push((state, action));
                state = target;
            }
            walks.steps.push(steps);
        }
        walks
    }

    /// Does some trace notice?
    fn kill<O>(&self, edges: &Edges<O>, mutant: &Mutant) -> bool {
        let Some(taken) = self.taken.get(&(mutant.state, mutant.action)) else { return false };
        taken.iter().any(|(&trace, &from)| {
            let mut state = mutant.state;
            self.steps[trace][from..].iter().any(|&(right, action)| {
                let expected = edges.step(right, action).map(|(_, outcome)| outcome);
                match mutant.step(edges, state, action) {
                    Some((target, outcome)) if Some(outcome) == expected => {
                        state = target;
                        false
                    }
                    _ => true,
                }
            })
        })
    }
}

/// The shortest way to the wrong step, and the shortest sequence from there that tells; `None` where
/// nothing does. The machines differ in that step only, so a pair of equal states is where they began. What a
/// mutant could do beyond the machine stands in no trace of the machine.
fn killing_word<S: Study>(
    exploration: &Exploration<S>,
    edges: &Edges<S::Outcome>,
    mutant: &Mutant,
) -> Option<Vec<usize>> {
    let (_, mut word) = exploration.path(mutant.state);
    word.push(mutant.action);
    let (right, observed) = edges.step(mutant.state, mutant.action)?;
    let Some((wrong, _)) = mutant.instead.filter(|(_, outcome)| *outcome == observed) else {
        return Some(word);
    };
    let mut from = HashMap::from([((right, wrong), None)]);
    let mut queue = VecDeque::from([(right, wrong)]);
    while let Some(pair) = queue.pop_front() {
        for action in 0..edges.actions() {
            let (one, other) = (edges.step(pair.0, action), mutant.step(edges, pair.1, action));
            let outcomes = (one.map(|step| step.1), other.map(|step| step.1));
            if one.is_some() && outcomes.0 != outcomes.1 {
                let mut tail = vec![action];
                let mut at = pair;
                while let Some(Some((before, action))) = from.get(&at) {
                    tail.push(*action);
                    at = *before;
                }
                word.extend(tail.into_iter().rev());
                return Some(word);
            }
            let (Some((one, _)), Some((other, _))) = (one, other) else { continue };
            if one != other && !from.contains_key(&(one, other)) {
                from.insert((one, other), Some((pair, action)));
                queue.push_back((one, other));
            }
        }
    }
    None
}

fn trace<S: Study>(
    exploration: &Exploration<S>,
    edges: &Edges<S::Outcome>,
    word: &[usize],
) -> Trace<S> {
    let mut state = exploration.initial().start;
    let steps = word.iter().map_while(|&action| {
        let (target, outcome) = edges.step(state, action)?;
        state = target;
        Some(Step {
            action: exploration.alphabet()[action],
            outcome: edges.outcome(outcome).clone(),
        })
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use statusquo_model::{
        explore::{self, explore},
        family::Family,
        studies::chardev::{Chardev, Study},
    };

    use super::*;
    use crate::generate::{Criterion, Cut, generate};

    fn null(
        criterion: Criterion,
    ) -> (Exploration<Study>, Edges<<Study as statusquo_model::study::Study>::Outcome>, Suite<Study>)
    {
        let ours = Chardev::designs().iter().find(|known| known.name == "ours").unwrap();
        let null = Chardev::scopes().iter().find(|known| known.name == "null").unwrap();
        let exploration =
            explore(&Chardev::study(ours, null), &explore::Options::default()).unwrap();
        let edges = exploration.edges(NonZeroUsize::MIN);
        let names = ("chardev", "ours", "null");
        let suite = generate(&exploration, &edges, criterion, names, Cut::default());
        (exploration, edges, suite)
    }

    #[test]
    fn a_suite_that_takes_every_step_sees_every_outcome_and_guard() {
        let (exploration, edges, suite) = null(Criterion::Transitions);
        let options = Options { mutants: 200, seed: 1 };
        let measured = measure(&exploration, &edges, &suite, options);
        for one in measured.iter().filter(|one| one.kind != Kind::Target) {
            assert_eq!((one.killed, one.surviving.len()), (one.mutants, 0), "{:?}", one.kind);
        }
        let target = &measured[1];
        assert_eq!(target.mutants, 200);
        assert_eq!(target.killed + target.equivalent + target.surviving.len(), 200);
        assert!(target.killed > 150, "{}", target.killed);
    }

    #[test]
    fn the_tests_that_a_suite_lacks_kill_what_survives_it() {
        // States only: most steps are never taken.
        let (exploration, edges, mut suite) = null(Criterion::States);
        let options = Options { mutants: 100, seed: 1 };
        let before = measure(&exploration, &edges, &suite, options);
        let lacking: Vec<_> = before.iter().flat_map(|one| one.surviving.clone()).collect();
        assert!(lacking.len() > 100, "{}", lacking.len());
        suite.traces.extend(lacking);
        for one in measure(&exploration, &edges, &suite, options) {
            assert!(one.surviving.is_empty(), "{:?}", one.kind);
        }
    }

    #[test]
    fn an_equivalent_mutant_is_proven_to_be_one() {
        let (exploration, edges, _) = null(Criterion::States);
        let step = edges.steps(0).next().unwrap();
        let (action, target, outcome) = step;
        let mutant = Mutant { state: 0, action, instead: Some((target, outcome)) };
        assert_eq!(killing_word(&exploration, &edges, &mutant), None);
        let blocked = Mutant { instead: None, ..mutant };
        assert_eq!(killing_word(&exploration, &edges, &blocked), Some(vec![action]));
    }
}
