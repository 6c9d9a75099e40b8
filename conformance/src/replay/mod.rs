//! Traces on systems: agrees, diverges, or inconclusive.

mod explain;
pub mod known;
mod minimise;
mod run;

use std::time::Duration;

use statusquo_model::study::{Study, View};

pub use self::{
    explain::explain,
    minimise::{Minimised, minimise},
    run::{Options, Replayed, replay, replay_one},
};

/// Something that a trace can be replayed on. One fresh value per trace; dropping it tears it down.
pub trait System<S: Study> {
    /// Performs one action and says what was observed.
    ///
    /// `owed` is what the model expects. It says only how long to wait for something that is late, and
    /// must not become the answer.
    fn apply(&mut self, action: S::Action, owed: &S::Outcome) -> Result<Observed<S>, Fault>;

    /// What can be seen of it at rest, by the study's own names for facts: as many as it can show.
    fn view(&mut self) -> Result<View, Fault> {
        Ok(View::new())
    }

    /// The last it said where people look: standard error, a log.
    fn last_words(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Makes fresh systems.
pub trait Factory<S: Study>: Send + Sync {
    /// The system's name, with its version where it has one.
    fn name(&self) -> String;
    /// A system in its initial state.
    fn start(&self) -> Result<Box<dyn System<S>>, Fault>;
    /// Why a step of the study cannot be driven here, whatever the system: it is left out of suites and
    /// walks, and counted.
    fn cannot(&self, _: &S, _: &S::State, _: S::Action) -> Option<&'static str> {
        None
    }
    /// How the last system of this factory that died has ended, where that was expected of it.
    fn last_words(&self) -> Option<String> {
        None
    }
}

/// What a system showed in answer to one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed<S: Study> {
    /// An outcome in the study's words.
    Outcome(S::Outcome),
    /// It cannot be done there, and why.
    Blocked(String),
}

/// A system that gives no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing came.
    #[error("no answer within {0:?}: the system hangs")]
    Hang(Duration),
    /// The system is gone: how it ended.
    #[error("the system died: {0}")]
    Died(String),
    /// It answered something that is no outcome.
    #[error("the system's answer makes no sense: {0}")]
    Garbage(String),
    /// The machine it runs on refused something: nothing is known of the system itself.
    #[error("the system could not be driven: {0}")]
    Environment(String),
}

/// Nothing is known of the system itself: what the machine it runs on said.
pub(crate) fn environment(error: impl std::fmt::Display) -> Fault {
    Fault::Environment(error.to_string())
}

/// How one trace went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<S: Study> {
    /// Every outcome was the model's.
    Agrees,
    /// One was not.
    Diverges(Divergence<S>),
    /// Nothing was learned.
    Inconclusive(String),
}

/// The first step at which a system's answer is not the model's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence<S: Study> {
    /// Steps before it.
    pub step: usize,
    /// What was done.
    pub action: S::Action,
    /// The model's outcome.
    pub expected: S::Outcome,
    /// What happened instead.
    pub observed: Result<Observed<S>, Fault>,
    /// What the system showed of itself then.
    pub view: View,
    /// The last it said.
    pub said: Vec<String>,
}

impl<S: Study> Divergence<S> {
    /// The kind, as reports name it.
    pub fn kind(&self) -> &'static str {
        match &self.observed {
            Ok(Observed::Outcome(_)) => "wrong outcome",
            Ok(Observed::Blocked(_)) => "blocked",
            Err(Fault::Hang(_)) => "hang",
            Err(Fault::Died(_)) => "died",
            Err(Fault::Garbage(_)) => "garbage",
            Err(Fault::Environment(_)) => "environment",
        }
    }
}
