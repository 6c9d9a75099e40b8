//! Is a program a proper system? What the adapter protocol asks of every adapter, whatever it drives.
//!
//! Whether it does what a model says is another question: that is what replays are for.

mod check;
mod walk;

use std::time::Duration;

use serde::Serialize;
use statusquo_model::study::Study;

use crate::systems::exec::{Command, Names};

/// How much to try.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Walks of the model that are replayed.
    pub walks: usize,
    /// Steps of each.
    pub steps: usize,
    /// Which walks: the same seed gives the same.
    pub seed: u64,
    /// How long one answer may take.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { walks: 4, steps: 40, seed: 1, deadline: Duration::from_secs(10) }
    }
}

/// One thing that is asked of every adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Its name: one of [`NAMES`].
    pub check: &'static str,
    /// What is asked.
    pub asks: &'static str,
    /// Whether it is so.
    pub verdict: Verdict,
    /// What was tried, or what was wrong.
    pub evidence: String,
}

/// Whether something that is asked of every adapter is so of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As far as was tried.
    Holds,
    /// There was nothing that it could have been tried on.
    Vacuous,
    /// Not so.
    Fails,
    /// It could not be tried.
    #[serde(rename = "not checked")]
    NotChecked,
}

impl Verdict {
    /// The word of reports.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::Vacuous => "vacuous",
            Verdict::Fails => "fails",
            Verdict::NotChecked => "not checked",
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the adapter says that it is.
    pub name: Option<String>,
    /// In the order of [`NAMES`].
    pub checks: Vec<Checked>,
    /// Steps of all walks together.
    pub steps: usize,
}

/// Every check, and what it asks.
pub const NAMES: [(&str, &str); 11] = [
    ("handshake", "`reset` is answered with `ready`, version and name"),
    ("alphabet", "every action is answered with an outcome of the study, or is blocked"),
    ("reset", "after a reset nothing is left of the trace before"),
    ("repeatable", "the same trace twice in one process is answered alike"),
    ("processes-agree", "two fresh processes answer alike"),
    ("pure-view", "looking changes nothing, and shows the same twice"),
    ("view-names", "facts are named as the study names them"),
    ("unknown-action", "an action that the study does not have is an error"),
    ("unknown-study", "a study that nobody has is an error"),
    ("malformed-line", "a line that is no request is an error"),
    ("goodbye", "it ends when it is told to, and when its input ends"),
];

/// Checks one adapter.
pub fn check<S: Study>(study: &S, names: &Names, command: &Command, options: &Options) -> Report {
    check::Kit::new(study, names, command, options).run()
}
