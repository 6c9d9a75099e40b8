//! The shortest run that still diverges, with the system as oracle.

use std::{cell::OnceCell, sync::Arc, time::Duration};

use statusquo_model::{
    explore::{Budget, Exploration, Options, explore},
    study::Study,
};

use super::{Divergence, Factory, Verdict, replay_one};
use crate::trace::{Step, Trace};

/// A divergence on its shortest known trace.
#[derive(Clone, Debug)]
pub struct Minimised<S: Study> {
    /// The trace; its last step diverges.
    pub trace: Trace<S>,
    /// The divergence.
    pub divergence: Divergence<S>,
    /// Runs of the system that it took.
    pub runs: usize,
}

/// Runs of the system that a minimisation may take.
const RUNS_MAX: usize = 400;
/// States among which shortcuts are sought.
const STATES_MAX: usize = 100_000;

/// Shortens a diverging trace: the expectations are computed anew from the model for each attempt, and
/// what the model does not enable, or the system cannot be driven through, is left out.
pub fn minimise<S: Study>(
    study: &S,
    trace: &Trace<S>,
    divergence: Divergence<S>,
    factory: &Arc<dyn Factory<S>>,
    deadline: Duration,
) -> Minimised<S> {
    let mut oracle = Oracle { study, factory, deadline, runs: 0, near: OnceCell::new() };
    let word: Vec<S::Action> = trace[..=divergence.step].iter().map(|step| step.action).collect();
    let mut best = Minimised { trace: trace[..=divergence.step].to_vec(), divergence, runs: 0 };

    // The last steps matter most: reach the states before them by shortest paths.
    let mut tail = 1;
    while tail < word.len() {
        let (before, last) = word.split_at(word.len() - tail);
        let shortcut = oracle.shortcut(before);
        if shortcut.len() < before.len()
            && let Some(found) = oracle.diverges(&[&shortcut, last].concat())
        {
            best = found;
            break;
        }
        tail *= 2;
    }
    // Then leave out single steps, and pairs of them, as long as that helps.
    'again: loop {
        let word: Vec<S::Action> = best.trace.iter().map(|step| step.action).collect();
        for width in [1, 2] {
            for at in (0..word.len().saturating_sub(width)).rev() {
                let shorter = [&word[..at], &word[at + width..]].concat();
                if let Some(found) = oracle.diverges(&shorter)
                    && found.trace.len() < best.trace.len()
                {
                    best = found;
                    continue 'again;
                }
                if oracle.runs >= RUNS_MAX {
                    break 'again;
                }
            }
        }
        break;
    }
    best.runs = oracle.runs;
    best
}

struct Oracle<'o, S: Study> {
    study: &'o S,
    factory: &'o Arc<dyn Factory<S>>,
    deadline: Duration,
    runs: usize,
    /// The states around the initial one, once they are needed.
    near: OnceCell<Option<Exploration<S>>>,
}

impl<S: Study> Oracle<'_, S> {
    /// The model's answers to a word, without what it does not enable and what cannot be driven.
    fn expect(&self, word: &[S::Action]) -> (Trace<S>, Option<S::State>) {
        let mut state = self.study.initial().into_iter().next();
        let mut trace = Trace::new();
        for &action in word {
            let can = |state: &&S::State| self.factory.cannot(self.study, state, action).is_none();
            let from = state.as_ref().filter(can);
            let step = from.and_then(|state| self.study.step(state, action).ok());
            if let Some((outcome, next)) = step {
                trace.push(Step { action, outcome });
                state = Some(next);
            }
        }
        (trace, state)
    }

    fn diverges(&mut self, word: &[S::Action]) -> Option<Minimised<S>> {
        if self.runs >= RUNS_MAX {
            return None;
        }
        self.runs += 1;
        let (mut trace, _) = self.expect(word);
        match replay_one(&trace, self.factory, self.deadline) {
            (Verdict::Diverges(divergence), _) => {
                trace.truncate(divergence.step + 1);
                Some(Minimised { trace, divergence, runs: self.runs })
            }
            _ => None,
        }
    }

    /// A shortest word to the state that `word` leads to; the word itself where that is too far to seek.
    fn shortcut(&self, word: &[S::Action]) -> Vec<S::Action> {
        let near = self.near.get_or_init(|| {
            let budget = Budget { states: Some(STATES_MAX), ..Budget::default() };
            explore(self.study, &Options { budget, ..Options::default() }).ok()
        });
        let (Some(near), (_, Some(goal))) = (near, self.expect(word)) else { return word.to_vec() };
        match near.id(&goal).map(|id| near.path(id)) {
            Some((0, path)) => path.into_iter().map(|at| near.alphabet()[at]).collect(),
            _ => word.to_vec(),
        }
    }
}
