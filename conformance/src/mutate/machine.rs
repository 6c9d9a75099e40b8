//! The smallest machine as a table.

use std::collections::VecDeque;

use statusquo_model::{
    equivalence::Minimal,
    explore::{Edges, Exploration},
    study::Study,
};

/// A state of the smallest machine.
pub(super) type Class = u32;

/// The smallest machine that behaves as a complete exploration does, by numbers.
#[derive(Clone, Debug)]
pub struct Machine {
    actions: usize,
    initial: Class,
    targets: Vec<Class>,
    outcomes: Vec<u32>,
}

/// The target of an action that is not enabled.
const BLOCKED: Class = Class::MAX;

impl Machine {
    /// Of an exploration, minimised.
    pub fn new<S: Study>(
        exploration: &Exploration<S>,
        edges: &Edges<S::Outcome>,
        minimal: &Minimal,
    ) -> Self {
        let size = minimal.states * edges.actions();
        let mut machine = Machine {
            actions: edges.actions(),
            initial: minimal.classes[exploration.initial().next().unwrap_or(0) as usize],
            targets: vec![BLOCKED; size],
            outcomes: vec![0; size],
        };
        for (class, &representative) in minimal.representatives.iter().enumerate() {
            for (action, target, outcome) in edges.steps(representative) {
                let at = class * edges.actions() + action;
                machine.targets[at] = minimal.classes[target as usize];
                machine.outcomes[at] = outcome;
            }
        }
        machine
    }

    /// States.
    pub fn states(&self) -> usize {
        self.targets.len() / self.actions.max(1)
    }

    /// Steps.
    pub fn transitions(&self) -> usize {
        self.targets.iter().filter(|target| **target != BLOCKED).count()
    }

    /// Steps times states to end in by mistake.
    pub fn faults(&self) -> u64 {
        self.transitions() as u64 * (self.states() as u64).saturating_sub(1)
    }

    pub(crate) fn initial(&self) -> Class {
        self.initial
    }

    pub(crate) fn actions(&self) -> usize {
        self.actions
    }

    /// The number of a step.
    pub(crate) fn number(&self, class: Class, action: usize) -> usize {
        class as usize * self.actions + action
    }

    /// State and action of a step.
    pub(crate) fn step_of(&self, number: usize) -> (Class, usize) {
        ((number / self.actions) as Class, number % self.actions)
    }

    /// The numbers of all steps.
    pub(super) fn step_numbers(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.targets.len()).filter(|number| self.targets[*number] != BLOCKED)
    }

    /// Where an action leads and what is observed; `None` where it is not enabled.
    #[inline]
    pub(crate) fn step(&self, class: Class, action: usize) -> Option<(Class, u32)> {
        let at = self.number(class, action);
        (self.targets[at] != BLOCKED).then(|| (self.targets[at], self.outcomes[at]))
    }

    /// Every enabled step of a state: action, target, outcome.
    pub(crate) fn steps(&self, class: Class) -> impl Iterator<Item = (usize, Class, u32)> + '_ {
        (0..self.actions).filter_map(move |action| {
            self.step(class, action).map(|(target, outcome)| (action, target, outcome))
        })
    }

    /// The states that a run passes, from the initial one on; as long as its steps are enabled.
    pub(super) fn run(&self, actions: &[usize]) -> Vec<Class> {
        let mut classes = vec![self.initial];
        let mut at = self.initial;
        for &action in actions {
            let Some((target, _)) = self.step(at, action) else { break };
            classes.push(target);
            at = target;
        }
        classes
    }

    /// The shortest way to each state from the initial one.
    pub(crate) fn access(&self) -> Vec<Vec<usize>> {
        let mut ways: Vec<Option<Vec<usize>>> = vec![None; self.states()];
        ways[self.initial as usize] = Some(Vec::new());
        let mut queue = VecDeque::from([self.initial]);
        while let Some(at) = queue.pop_front() {
            for (action, target, _) in self.steps(at) {
                if ways[target as usize].is_none() {
                    let mut way = ways[at as usize].clone().unwrap_or_default();
                    way.push(action);
                    ways[target as usize] = Some(way);
                    queue.push_back(target);
                }
            }
        }
        ways.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// Is a state reached from the initial one?
    pub(crate) fn is_reached(&self) -> Vec<bool> {
        let mut reached = vec![false; self.states()];
        let mut stack = vec![self.initial];
        while let Some(at) = stack.pop() {
            if !std::mem::replace(&mut reached[at as usize], true) {
                stack.extend(self.steps(at).map(|(_, target, _)| target));
            }
        }
        reached
    }
}

/// The numbers of a trace's actions. `None` for an action that the machine does not have.
pub fn numbers<S: Study>(
    exploration: &Exploration<S>,
    trace: &[crate::trace::Step<S>],
) -> Option<Vec<usize>> {
    let alphabet = exploration.alphabet();
    trace.iter().map(|step| alphabet.iter().position(|action| *action == step.action)).collect()
}
