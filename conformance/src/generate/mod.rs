//! From a machine to a suite that covers it, counted.

mod coverage;
mod tour;

use statusquo_model::{
    equivalence,
    explore::{Edges, Exploration},
    study::Study,
};

pub use self::coverage::{Coverage, CoverageError, recount};
use crate::trace::{Header, Step, Suite, VERSION};

/// What a suite must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Criterion {
    /// Every state once.
    States,
    /// Every step of every state once, refusals and queries included.
    Transitions,
}

impl Criterion {
    /// The name in headers.
    pub fn name(self) -> &'static str {
        match self {
            Criterion::States => "states",
            Criterion::Transitions => "transitions",
        }
    }
}

/// How to cut a suite into traces.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Steps of a trace at most; one whose goal lies further away ends with that goal.
    pub steps_max: usize,
    /// What a reset costs, in steps.
    pub reset_cost: usize,
    /// No new trace once all have so many steps together: the suite is then a part of one, and its coverage
    /// has to be counted.
    pub total_max: usize,
}

impl Default for Cut {
    fn default() -> Self {
        Cut { steps_max: 1000, reset_cost: 10, total_max: usize::MAX }
    }
}

/// Generates the suite of a complete exploration.
pub fn generate<S: Study>(
    exploration: &Exploration<S>,
    edges: &Edges<S::Outcome>,
    criterion: Criterion,
    names: (&str, &str, &str),
    cut: Cut,
) -> Suite<S> {
    let tours = tour::tours(exploration, edges, criterion, cut);
    let traces: Vec<_> = tours
        .into_iter()
        .map(|tour| {
            let steps = tour.into_iter().filter_map(|(state, action)| {
                let (_, outcome) = edges.step(state, action)?;
                Some(Step {
                    action: exploration.alphabet()[action],
                    outcome: edges.outcome(outcome).clone(),
                })
            });
            steps.collect::<Vec<_>>()
        })
        .collect();
    let goals = match criterion {
        Criterion::States => exploration.len() as u64,
        Criterion::Transitions => exploration.transitions(),
    };
    let (study, design, scope) = names;
    let header = Header {
        version: VERSION,
        study: study.to_owned(),
        design: design.to_owned(),
        scope: scope.to_owned(),
        criterion: criterion.name().to_owned(),
        digest: Some(equivalence::minimise(exploration, edges).digest),
        covered: goals,
        goals,
        resets: traces.len() as u64,
        steps: traces.iter().map(|trace| trace.len() as u64).sum(),
        lower_bound: tour::lower_bound(exploration, edges, criterion),
    };
    Suite { header, traces }
}
