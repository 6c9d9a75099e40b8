//! Traces on disk: JSON Lines, by names, never by numbers.
//!
//! ```text
//! {"statusquo-trace":1,"study":"chardev","design":"ours","scope":"file","criterion":"transitions",…}
//! {"trace":1}
//! {"action":"cont","outcome":{"reply":"ok"}}
//! ```
//!
//! The first line says what the traces are of. Each trace begins with its number and is a run from the
//! initial state. Keys that a reader does not know are ignored, so that a format may grow.

mod read;
mod write;

use serde::{Deserialize, Serialize};
use statusquo_model::study::{self, Blocked, Study};

pub(crate) use self::read::lines;
pub use self::{
    read::{Reader, TraceError, TraceErrorKind, read_suite},
    write::write_suite,
};

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// The first line of a file of traces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Header {
    /// The version of the format.
    #[serde(rename = "statusquo-trace")]
    pub version: u32,
    /// The study's name.
    pub study: String,
    /// The design whose behaviour the outcomes are.
    pub design: String,
    /// The scope's name.
    pub scope: String,
    /// What the traces have in common: `transitions`, `states`, or what a kept trace shows.
    pub criterion: String,
    /// The digest of the design's minimal machine at this scope, where it was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Goals covered.
    #[serde(default)]
    pub covered: u64,
    /// Goals there are.
    #[serde(default)]
    pub goals: u64,
    /// Traces: each begins with a reset of the system.
    #[serde(default)]
    pub resets: u64,
    /// Steps of all traces.
    #[serde(default)]
    pub steps: u64,
    /// No suite with this criterion has fewer steps and resets together.
    #[serde(default)]
    pub lower_bound: u64,
}

/// One step of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Step<S: Study> {
    /// What is done.
    pub action: S::Action,
    /// What the design answers.
    pub outcome: S::Outcome,
}

/// A run from the initial state.
pub type Trace<S> = Vec<Step<S>>;

/// What the design answers to these actions from where its runs begin; or the first that it does not enable,
/// counted from 0, and why.
pub fn played<S: Study>(study: &S, actions: &[S::Action]) -> Result<Trace<S>, (usize, Blocked)> {
    let no_state = (0, Blocked("the study has no initial state"));
    let mut state = study.initial().into_iter().next().ok_or(no_state)?;
    let steps = actions.iter().enumerate().map(|(at, &action)| {
        let (outcome, next) = study.step(&state, action).map_err(|why| (at, why))?;
        state = next;
        Ok(Step { action, outcome })
    });
    steps.collect()
}

/// What the model makes of a step that somebody else wrote: it is asked only for what this scope has.
pub fn step_of<S: Study>(
    study: &S,
    alphabet: &[S::Action],
    state: &S::State,
    action: S::Action,
) -> study::Step<S> {
    if alphabet.contains(&action) {
        study.step(state, action)
    } else {
        Err(Blocked("the scope has no such action"))
    }
}

/// Traces of one design.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite<S: Study> {
    /// What they are.
    pub header: Header,
    /// The traces.
    pub traces: Vec<Trace<S>>,
}
