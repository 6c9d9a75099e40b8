//! Answers, and the evidence for them.

use std::fmt;

use crate::{
    explore::End,
    study::{Blocked, Study},
};

/// The answer to one property.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<S: Study> {
    /// So in every reachable state: the search was complete and the question was asked.
    Holds,
    /// Nothing against it within so many steps; what lies beyond was not looked at.
    HoldsUpTo {
        /// Steps.
        depth: u32,
    },
    /// The search ended for want of something before an answer was found.
    OutOfBudget {
        /// Of what: `states`, `bytes`, `time`.
        of: &'static str,
        /// States seen by then.
        states: usize,
    },
    /// The search was complete and the question never arose.
    Vacuous,
    /// Not so, and this shows it.
    Violated(Box<Counterexample<S>>),
    /// No answer was attempted.
    NotChecked {
        /// Why.
        why: String,
    },
}

/// Why a property is violated, as a run that anybody can repeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Counterexample<S: Study> {
    /// From an initial state, the first shortest.
    pub path: Vec<Seen<S>>,
    /// The state that the path leads to.
    pub state: S::State,
    /// What is wrong there.
    pub fault: Fault<S>,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen<S: Study> {
    /// What was done.
    pub action: S::Action,
    /// What was observed.
    pub outcome: S::Outcome,
}

/// What is wrong at the end of the path.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault<S: Study> {
    /// The state itself.
    State,
    /// The last step of the path.
    Step,
    /// Nothing can be done that leads anywhere.
    Deadlock,
    /// No reachable state satisfies the goal; the path is empty.
    Unreachable,
    /// The goal can no longer be reached from here.
    Trap,
    /// The run can go round this cycle for ever, fairly, without the goal.
    Cycle(Vec<Seen<S>>),
    /// Observers can tell that they were disturbed.
    Noticed {
        /// What should not be noticed.
        disruption: Seen<S>,
        /// The shortest sequence that tells, observed after the disruption and without it.
        tell: Vec<Told<S>>,
    },
}

/// One action, observed on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Told<S: Study> {
    /// What is done.
    pub action: S::Action,
    /// After the disruption.
    pub disturbed: Result<S::Outcome, Blocked>,
    /// Without it.
    pub undisturbed: Result<S::Outcome, Blocked>,
}

impl<S: Study> Counterexample<S> {
    /// Steps of the whole demonstration.
    pub fn len(&self) -> usize {
        self.path.len()
            + match &self.fault {
                Fault::Cycle(cycle) => cycle.len(),
                Fault::Noticed { tell, .. } => 1 + tell.len(),
                Fault::State | Fault::Step | Fault::Deadlock | Fault::Unreachable | Fault::Trap => {
                    0
                }
            }
    }

    /// The demonstration takes no step: an initial state is wrong, or no state is right.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<S: Study> Verdict<S> {
    /// The word that stands for it in matrices and pins.
    pub fn word(&self) -> String {
        match self {
            Verdict::Holds => "holds".to_owned(),
            Verdict::HoldsUpTo { depth } => format!("holds up to depth {depth}"),
            Verdict::OutOfBudget { .. } => "out of budget".to_owned(),
            Verdict::Vacuous => "vacuous".to_owned(),
            Verdict::Violated(_) => "violated".to_owned(),
            Verdict::NotChecked { .. } => "not checked".to_owned(),
        }
    }

    /// Steps of the shortest demonstration, where there is one.
    pub fn trace_len(&self) -> Option<usize> {
        match self {
            Verdict::Violated(counterexample) => Some(counterexample.len()),
            _ => None,
        }
    }

    /// What can be said when nothing was found against a property, given how the search ended.
    pub(super) fn of_silence(end: &End, states: usize, asked: u64) -> Self {
        match end {
            End::Complete if asked == 0 => Verdict::Vacuous,
            End::Complete => Verdict::Holds,
            End::Depth(depth) => Verdict::HoldsUpTo { depth: *depth },
            _ => Verdict::of_truncation(end, states),
        }
    }

    /// What can be said of a question that only a complete search answers.
    pub(super) fn of_truncation(end: &End, states: usize) -> Self {
        let of = match end {
            End::Complete | End::Satisfied => {
                return Verdict::NotChecked { why: "the search ended early".to_owned() };
            }
            End::Depth(_) => "depth",
            End::States => "states",
            End::Bytes => "bytes",
            End::Stopped => "time",
            End::Panicked(panic) => {
                return Verdict::NotChecked {
                    why: format!("the study panicked: {}", panic.message),
                };
            }
        };
        Verdict::OutOfBudget { of, states }
    }
}

impl<S: Study> fmt::Display for Verdict<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::OutOfBudget { of, states } => {
                write!(f, "out of budget: {of}, after {states} states")
            }
            Verdict::NotChecked { why } => write!(f, "not checked: {why}"),
            Verdict::Violated(trace) => write!(f, "violated in {} steps", trace.len()),
            Verdict::Holds | Verdict::HoldsUpTo { .. } | Verdict::Vacuous => {
                f.write_str(&self.word())
            }
        }
    }
}
