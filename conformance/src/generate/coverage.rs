//! Counting what a suite covers, on the study itself and not on the generator's tables.

use std::collections::BTreeSet;

use statusquo_model::{explore::Exploration, study::Study, words::words};

use super::Criterion;
use crate::trace::Suite;

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
            let (outcome, next) =
                study.step(&state, step.action).map_err(|why| CoverageError::NotEnabled {
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
    let goals = match criterion {
        Criterion::States => exploration.len() as u64,
        Criterion::Transitions => exploration.transitions(),
    };
    Ok(Coverage { covered: met.len() as u64, goals })
}
