//! A survivor is equivalent, or it is a test that was missing.

use std::collections::{BTreeMap, VecDeque};

use super::{
    fault::Fault,
    machine::{Class, Machine},
    survey::Runs,
};

/// What the right and the faulty machine are in.
type Pair = (Class, Class);

/// What became of survivors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// Faults that no trace of the machine tells: every behaviour of the right machine is one of the faulty
    /// machine's, with the same outcomes.
    pub equivalent: Vec<Fault>,
    /// Traces that tell all the others, as numbers of actions.
    pub tests: Vec<Vec<usize>>,
    /// For each fault that is told, the test that does.
    pub told_by: BTreeMap<Fault, usize>,
}

/// Tells every survivor, or proves that it cannot be told.
pub fn prove(machine: &Machine, survivors: &[Fault]) -> Proof {
    let access = machine.access();
    let reached = machine.is_reached();
    let mut proof = Proof::default();
    let mut runs = Runs::new(machine, &[]);
    for &fault in survivors {
        // Earlier tests may tell it too. Those of the same step are the likely ones.
        if runs.kill(fault) {
            proof.told_by.insert(fault, proof.tests.len() - 1);
            continue;
        }
        let (state, action) = machine.step_of(fault.step as usize);
        let word = reached[state as usize].then(|| telling(machine, fault)).flatten();
        match word {
            None => proof.equivalent.push(fault),
            Some(word) => {
                let mut test = access[state as usize].clone();
                test.push(action);
                test.extend(word);
                runs.push(test.clone());
                proof.told_by.insert(fault, proof.tests.len());
                proof.tests.push(test);
            }
        }
    }
    proof
}

/// How a test tells a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Story {
    /// The action whose step is faulty.
    pub action: usize,
    /// Where in the test it is first taken, from 0.
    pub at: usize,
    /// The outcome by which it is told, as it should be.
    pub right: Option<u32>,
    /// The same as it is; `None` where the action is not enabled.
    pub wrong: Option<u32>,
}

impl Machine {
    /// Runs a test beside the machine with this fault, to the first difference.
    pub fn story(&self, fault: Fault, test: &[usize]) -> Story {
        let (_, action) = self.step_of(fault.step as usize);
        let mut story = Story { action, at: test.len(), right: None, wrong: None };
        let (mut right, mut wrong) = (self.initial(), self.initial());
        for (at, &action) in test.iter().enumerate() {
            let (expected, found) = (self.step(right, action), self.step(wrong, action));
            let answers = (expected.map(|(_, answer)| answer), found.map(|(_, answer)| answer));
            if answers.0 != answers.1 {
                (story.right, story.wrong) = answers;
                break;
            }
            let is_faulty = self.number(wrong, action) == fault.step as usize;
            if is_faulty {
                story.at = story.at.min(at);
            }
            right = expected.map_or(right, |(target, _)| target);
            wrong = if is_faulty { fault.to } else { found.map_or(wrong, |(target, _)| target) };
        }
        story
    }
}

/// The shortest word that, right after the faulty step, is answered differently.
fn telling(machine: &Machine, fault: Fault) -> Option<Vec<usize>> {
    let (state, action) = machine.step_of(fault.step as usize);
    let (right, _) = machine.step(state, action)?;
    separator(machine, (right, fault.to), Some(fault))
}

/// The shortest word of a state that another one answers differently, or does not have; the other is in a
/// machine with that fault.
pub(crate) fn separator(machine: &Machine, pair: Pair, fault: Option<Fault>) -> Option<Vec<usize>> {
    // How each pair was come by.
    let mut met: BTreeMap<Pair, Option<(Pair, usize)>> = BTreeMap::from([(pair, None)]);
    let mut queue = VecDeque::from([pair]);
    while let Some(pair) = queue.pop_front() {
        for (action, target, outcome) in machine.steps(pair.0) {
            let found = machine.step(pair.1, action);
            let Some((other, _)) = found.filter(|(_, found)| *found == outcome) else {
                let (mut word, mut at) = (vec![action], pair);
                while let Some(Some((before, action))) = met.get(&at) {
                    word.push(*action);
                    at = *before;
                }
                word.reverse();
                return Some(word);
            };
            // The word may take the faulty step again.
            let step = machine.number(pair.1, action);
            let other =
                fault.filter(|fault| fault.step as usize == step).map_or(other, |fault| fault.to);
            let next = (target, other);
            if target != other && !met.contains_key(&next) {
                met.insert(next, Some((pair, action)));
                queue.push_back(next);
            }
        }
    }
    None
}
