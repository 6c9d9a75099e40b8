//! Running a suite on every faulty machine.

use std::collections::{BTreeMap, BTreeSet};

use statusquo_model::{equivalence::Minimal, explore::Exploration, study::Study};

use super::{
    TooMany,
    fault::{Fault, Kinds, Operator},
    machine::{Class, Machine},
};

/// What a suite did to the faults of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Row {
    /// Faults there are.
    pub faults: u64,
    /// Those that the suite tells.
    pub killed: u64,
}

/// What a suite did to all single faults of a machine.
#[derive(Clone, Debug)]
pub struct Survey {
    rows: [Row; 6],
    /// Transfer faults that the suite does not tell, in order.
    pub survivors: Vec<Fault>,
}

impl Survey {
    /// The faults of one kind.
    pub fn row(&self, operator: Operator) -> Row {
        self.rows[operator as usize]
    }
}

/// Runs traces, as numbers of actions, on every machine with a single fault.
///
/// # Errors
/// More faults than asked for.
pub fn survey<S: Study>(
    exploration: &Exploration<S>,
    minimal: &Minimal,
    machine: &Machine,
    traces: &[Vec<usize>],
    faults_max: u64,
) -> Result<Survey, TooMany> {
    TooMany::check(machine, faults_max)?;
    let kinds = Kinds::new(exploration, minimal);
    let runs = Runs::new(machine, traces);
    let mut rows = [Row::default(); 6];
    let mut survivors = Vec::new();
    for fault in faults(machine) {
        let killed = runs.kill(fault);
        for (row, is_of) in rows.iter_mut().zip(kinds.of(machine, fault)) {
            row.faults += u64::from(is_of);
            row.killed += u64::from(is_of && killed);
        }
        if !killed {
            survivors.push(fault);
        }
    }
    rows[Operator::Output as usize] = outputs(machine, &runs);
    rows[Operator::History as usize] = history(machine, &runs);
    Ok(Survey { rows, survivors })
}

/// The transfer faults that traces do not tell, in order.
pub(crate) fn survivors(machine: &Machine, traces: &[Vec<usize>]) -> Vec<Fault> {
    let runs = Runs::new(machine, traces);
    faults(machine).filter(|fault| !runs.kill(*fault)).collect()
}

/// Every step with every wrong target.
fn faults(machine: &Machine) -> impl Iterator<Item = Fault> + '_ {
    machine.step_numbers().flat_map(move |step| {
        let (state, action) = machine.step_of(step);
        let right = machine.step(state, action).map(|(target, _)| target);
        let wrong = (0..machine.states() as Class).filter(move |to| Some(*to) != right);
        wrong.map(move |to| Fault { step: step as u32, to })
    })
}

/// Traces with the states that they pass, and where each step is taken.
pub(crate) struct Runs<'m> {
    machine: &'m Machine,
    traces: Vec<(Vec<usize>, Vec<Class>)>,
    /// By number of the step: trace and position, in order.
    taken: Vec<Vec<(u32, u32)>>,
}

impl<'m> Runs<'m> {
    pub(crate) fn new(machine: &'m Machine, traces: &[Vec<usize>]) -> Self {
        let mut runs = Runs {
            machine,
            traces: Vec::new(),
            taken: vec![Vec::new(); machine.states() * machine.actions()],
        };
        traces.iter().for_each(|trace| runs.push(trace.clone()));
        runs
    }

    pub(crate) fn push(&mut self, actions: Vec<usize>) {
        let classes = self.machine.run(&actions);
        let number = self.traces.len() as u32;
        for (at, (&class, &action)) in classes.iter().zip(&actions).enumerate() {
            let step = self.machine.number(class, action);
            if let Some(taken) = self.taken.get_mut(step) {
                taken.push((number, at as u32));
            }
        }
        self.traces.push((actions, classes));
    }

    /// Does some trace tell the machine with this fault from the right one?
    pub(crate) fn kill(&self, fault: Fault) -> bool {
        // Until here the faulty machine has done as the right one.
        let mut done = (0, 0);
        for &(trace, at) in &self.taken[fault.step as usize] {
            if (trace, at) < done {
                continue;
            }
            match self.follow(fault, trace, at as usize) {
                None => return true,
                Some(again) => done = (trace, again as u32),
            }
        }
        false
    }

    /// Takes the faulty step and goes on. `None` if an answer differs, else where both agree again.
    fn follow(&self, fault: Fault, trace: u32, at: usize) -> Option<usize> {
        let (actions, classes) = &self.traces[trace as usize];
        let mut wrong = fault.to;
        let rest = actions.iter().zip(classes).enumerate().skip(at + 1);
        for (position, (&action, &right)) in rest {
            if wrong == right {
                return Some(position);
            }
            let expected = self.machine.step(right, action).map(|(_, outcome)| outcome);
            let found = self.machine.step(wrong, action);
            if found.map(|(_, outcome)| outcome) != expected {
                return None;
            }
            let is_faulty = self.machine.number(wrong, action) == fault.step as usize;
            wrong = if is_faulty { fault.to } else { found.map_or(wrong, |(target, _)| target) };
        }
        Some(actions.len())
    }
}

/// Every other outcome that the action has anywhere; told wherever the step is taken.
fn outputs(machine: &Machine, runs: &Runs<'_>) -> Row {
    let mut known: BTreeMap<usize, BTreeSet<u32>> = BTreeMap::new();
    for class in 0..machine.states() as Class {
        for (action, _, outcome) in machine.steps(class) {
            known.entry(action).or_default().insert(outcome);
        }
    }
    let mut row = Row::default();
    for step in machine.step_numbers() {
        let (_, action) = machine.step_of(step);
        let others = known.get(&action).map_or(0, |outcomes| outcomes.len() as u64 - 1);
        row.faults += others;
        row.killed += if runs.taken[step].is_empty() { 0 } else { others };
    }
    row
}

/// Pairs of steps of which the second can come after the first; told by a trace in which it does.
fn history(machine: &Machine, runs: &Runs<'_>) -> Row {
    let steps: Vec<usize> = machine.step_numbers().collect();
    let words = steps.len().div_ceil(64);
    let mut index = vec![u32::MAX; runs.taken.len()];
    (0..).zip(&steps).for_each(|(at, &step)| index[step] = at);
    // What comes after a step: every step of every state that is reached from its target.
    let reached = reached(machine);
    let mut faults = 0;
    let leaving: Vec<u64> =
        (0..machine.states() as Class).map(|class| machine.steps(class).count() as u64).collect();
    for &step in &steps {
        let (state, action) = machine.step_of(step);
        let Some((target, _)) = machine.step(state, action) else { continue };
        let bits = &reached[target as usize];
        faults += (0..machine.states())
            .filter(|to| bits[to / 64] >> (to % 64) & 1 == 1)
            .map(|to| leaving[to])
            .sum::<u64>();
    }
    // By the second step: the first steps that some trace has before it.
    let mut before = vec![0_u64; steps.len() * words];
    for (actions, classes) in &runs.traces {
        let mut seen = vec![0_u64; words];
        for (&class, &action) in classes.iter().zip(actions) {
            let at = index[machine.number(class, action)] as usize;
            if let Some(row) = before.get_mut(at * words..(at + 1) * words) {
                row.iter_mut().zip(&seen).for_each(|(row, seen)| *row |= seen);
                seen[at / 64] |= 1 << (at % 64);
            }
        }
    }
    let killed = before.iter().map(|word| u64::from(word.count_ones())).sum();
    Row { faults, killed }
}

/// One bit for each state that is reached from a state by any steps, itself included.
fn reached(machine: &Machine) -> Vec<Vec<u64>> {
    let states = machine.states();
    (0..states as Class)
        .map(|from| {
            let mut bits = vec![0_u64; states.div_ceil(64)];
            let mut stack = vec![from];
            while let Some(at) = stack.pop() {
                let (word, bit) = (at as usize / 64, 1 << (at % 64));
                if bits[word] & bit == 0 {
                    bits[word] |= bit;
                    stack.extend(machine.steps(at).map(|(_, target, _)| target));
                }
            }
            bits
        })
        .collect()
}
