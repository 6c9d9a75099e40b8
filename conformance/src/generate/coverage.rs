//! Counting what a suite covers, on the study itself and not on the generator's tables.

use std::{
    collections::{BTreeSet, HashSet},
    num::NonZeroUsize,
};

use statusquo_model::{equivalence::minimise, explore::Exploration, study::Study, words::words};

use super::Criterion;
use crate::{
    mutate::{Machine, numbers, prove, survivors},
    trace::{Step, Suite, step_of},
};

/// What a suite was found to cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Goals covered.
    pub covered: u64,
    /// Goals there are.
    pub goals: u64,
}

/// A suite that is not one of this machine's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoverageError {
    /// The machine cannot do this.
    #[error("trace {trace}, step {step}: {action} is not enabled because {why}")]
    NotEnabled {
        /// Counted from 1.
        trace: usize,
        /// Counted from 1.
        step: usize,
        /// The action.
        action: String,
        /// The guard that blocks it.
        why: &'static str,
    },
    /// The machine answers otherwise.
    #[error(
        "trace {trace}, step {step}: after {action} the model's outcome is {model}, the trace has {found}"
    )]
    OtherOutcome {
        /// Counted from 1.
        trace: usize,
        /// Counted from 1.
        step: usize,
        /// The action.
        action: String,
        /// The machine's outcome.
        model: String,
        /// The trace's.
        found: String,
    },
}

/// Walks every trace on the study and counts the goals it meets.
pub fn recount<S: Study>(
    exploration: &Exploration<S>,
    suite: &Suite<S>,
    criterion: Criterion,
) -> Result<Coverage, CoverageError> {
    let study = exploration.study();
    let mut met = BTreeSet::new();
    for (number, trace) in suite.traces.iter().enumerate() {
        let mut state = exploration.state(0).clone();
        let mut note = |state: &S::State, action: Option<S::Action>| {
            if let Some(id) = exploration.id(state) {
                met.insert((id, action));
            }
        };
        if criterion == Criterion::States {
            note(&state, None);
        }
        for (at, step) in trace.iter().enumerate() {
            let (trace, step_number, action) = (number + 1, at + 1, words(&step.action));
            let (outcome, next) = step_of(study, exploration.alphabet(), &state, step.action)
                .map_err(|why| CoverageError::NotEnabled {
                    trace,
                    step: step_number,
                    action: action.clone(),
                    why: why.0,
                })?;
            if outcome != step.outcome {
                let (model, found) = (words(&outcome), words(&step.outcome));
                return Err(CoverageError::OtherOutcome {
                    trace,
                    step: step_number,
                    action,
                    model,
                    found,
                });
            }
            if criterion == Criterion::Transitions {
                note(&state, Some(step.action));
            }
            state = next;
            if criterion == Criterion::States {
                note(&state, None);
            }
        }
    }
    Ok(match criterion {
        Criterion::States => {
            Coverage { covered: met.len() as u64, goals: exploration.len() as u64 }
        }
        Criterion::Transitions => {
            Coverage { covered: met.len() as u64, goals: exploration.transitions() }
        }
        Criterion::Checked => faults_told(exploration, suite),
    })
}

/// Goals of a suite that its traces meet as far as they were gone: each is given up to there. `None` where one
/// step is no goal, because only a whole trace shows something.
pub fn met<'t, S: Study>(
    study: &S,
    gone: impl Iterator<Item = &'t [Step<S>]>,
    criterion: Criterion,
) -> Option<u64> {
    let initial = study.initial().into_iter().next()?;
    let mut met = HashSet::new();
    for steps in gone {
        let mut state = initial.clone();
        for step in steps {
            let (_, next) = study.step(&state, step.action).ok()?;
            met.insert(match criterion {
                Criterion::Transitions => (state, Some(step.action)),
                Criterion::States => (state, None),
                Criterion::Checked => return None,
            });
            state = next;
        }
        if criterion == Criterion::States {
            met.insert((state, None));
        }
    }
    Some(met.len() as u64)
}

/// Single steps into a wrong state that are told, or that no trace can tell.
fn faults_told<S: Study>(exploration: &Exploration<S>, suite: &Suite<S>) -> Coverage {
    let edges = exploration.edges(NonZeroUsize::MIN);
    let machine = Machine::new(exploration, &edges, &minimise(exploration, &edges));
    let traces: Vec<_> =
        suite.traces.iter().filter_map(|trace| numbers(exploration, trace)).collect();
    let survivors = survivors(&machine, &traces);
    let missing = survivors.len() - prove(&machine, &survivors).equivalent.len();
    Coverage { covered: machine.faults() - missing as u64, goals: machine.faults() }
}
