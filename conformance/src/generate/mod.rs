//! From a machine to a suite that covers it, counted.

mod checked;
mod coverage;
mod limited;
mod part;
mod tour;

use statusquo_model::{
    equivalence,
    explore::{Edges, Exploration},
    study::Study,
};

pub use self::{
    coverage::{Coverage, CoverageError, met, recount},
    limited::{LeftOut, Limited, Undriven},
    part::{NoPart, Part},
};
use crate::{
    mutate::{Machine, TooMany},
    trace::{Header, Step, Suite, VERSION},
};

/// What a suite must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Criterion {
    /// Every state once.
    States,
    /// Every step of every state once, refusals and queries included.
    Transitions,
    /// Every step of the smallest machine, followed by steps that tell whether it led where it should: every
    /// single step into a wrong state is told. For machines of some thousand states.
    Checked,
}

impl Criterion {
    /// The name in headers.
    pub fn name(self) -> &'static str {
        match self {
            Criterion::States => "states",
            Criterion::Transitions => "transitions",
            Criterion::Checked => "checked",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Criterion::States, Criterion::Transitions, Criterion::Checked];
        all.into_iter().find(|criterion| criterion.name() == name)
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
    /// Single faults to look at, at most, where the criterion is about faults.
    pub faults_max: u64,
}

impl Default for Cut {
    fn default() -> Self {
        Cut { steps_max: 1000, reset_cost: 10, total_max: usize::MAX, faults_max: 100_000_000 }
    }
}

/// Generates the suite of a complete exploration.
///
/// # Errors
/// A criterion that is about faults, and too many of them.
pub fn generate<S: Study>(
    exploration: &Exploration<S>,
    edges: &Edges<S::Outcome>,
    criterion: Criterion,
    names: (&str, &str, &str),
    cut: Cut,
) -> Result<Suite<S>, TooMany> {
    let minimal = equivalence::minimise(exploration, edges);
    let machine = Machine::new(exploration, edges, &minimal);
    let tours: Vec<Vec<usize>> = match criterion {
        Criterion::Checked => checked::checked(&machine, cut)?,
        Criterion::States | Criterion::Transitions => {
            let tours = tour::tours(exploration, edges, criterion, cut);
            tours.into_iter().map(|tour| tour.into_iter().map(|step| step.1).collect()).collect()
        }
    };
    let traces: Vec<_> =
        tours.into_iter().map(|tour| with_outcomes(exploration, edges, &tour)).collect();
    let goals = match criterion {
        Criterion::States => exploration.len() as u64,
        Criterion::Transitions => exploration.transitions(),
        Criterion::Checked => machine.faults(),
    };
    let (study, design, scope) = names;
    let header = Header {
        version: VERSION,
        study: study.to_owned(),
        design: design.to_owned(),
        scope: scope.to_owned(),
        criterion: criterion.name().to_owned(),
        digest: Some(minimal.digest),
        covered: goals,
        goals,
        resets: traces.len() as u64,
        steps: traces.iter().map(|trace| trace.len() as u64).sum(),
        lower_bound: tour::lower_bound(exploration, edges, &machine, criterion),
    };
    Ok(Suite { header, traces })
}

/// A run from the first state, as a trace.
pub fn with_outcomes<S: Study>(
    exploration: &Exploration<S>,
    edges: &Edges<S::Outcome>,
    actions: &[usize],
) -> Vec<Step<S>> {
    let mut at = 0;
    let steps = actions.iter().map_while(|&action| {
        let (target, outcome) = edges.step(at, action)?;
        at = target;
        let outcome = edges.outcome(outcome).clone();
        Some(Step { action: exploration.alphabet()[action], outcome })
    });
    steps.collect()
}
