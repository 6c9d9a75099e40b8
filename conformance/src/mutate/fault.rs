//! What may go wrong with one step.

use statusquo_model::{equivalence::Minimal, explore::Exploration, study::Study};

use super::machine::{Class, Machine};

/// One step that leads into a wrong state, with the right outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fault {
    /// The number of the step.
    pub(crate) step: u32,
    /// Where it leads instead.
    pub(crate) to: Class,
}

/// A kind of single fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// A step answers otherwise.
    Output,
    /// A step leads into another state.
    Transfer,
    /// Of these, into one that differs in a single fact of the view.
    OneFact,
    /// Of these, a step that should change nothing, such as a refusal, changes something.
    Effect,
    /// Of these, a fact is lost or made up by a disruption.
    Disruption,
    /// Once a step was taken, another answers otherwise: a hidden state.
    History,
}

impl Operator {
    /// All of them, in the order of reports.
    pub const ALL: [Operator; 6] = [
        Operator::Output,
        Operator::Transfer,
        Operator::OneFact,
        Operator::Effect,
        Operator::Disruption,
        Operator::History,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Operator::Output => "output",
            Operator::Transfer => "transfer",
            Operator::OneFact => "transfer, one fact differs",
            Operator::Effect => "transfer of a step without effect",
            Operator::Disruption => "transfer by a disruption",
            Operator::History => "history",
        }
    }
}

/// What decides which kinds of transfer a fault is.
#[derive(Clone, Debug)]
pub(super) struct Kinds {
    disruptions: Vec<bool>,
    /// One bit for each pair of states: do their views differ in one fact?
    near: Vec<bool>,
    states: usize,
}

impl Kinds {
    pub(super) fn new<S: Study>(exploration: &Exploration<S>, minimal: &Minimal) -> Self {
        let study = exploration.study();
        let views: Vec<_> = minimal
            .representatives
            .iter()
            .map(|&state| study.view(exploration.state(state)))
            .collect();
        let states = views.len();
        let mut near = vec![false; states * states];
        for (a, view) in views.iter().enumerate() {
            for (b, other) in views.iter().enumerate() {
                let differ = view.iter().zip(other).filter(|(one, other)| one != other).take(2);
                near[a * states + b] = view.len() == other.len() && differ.count() == 1;
            }
        }
        let disruptions =
            exploration.alphabet().iter().map(|action| study.is_disruption(*action)).collect();
        Kinds { disruptions, near, states }
    }

    /// The kinds of a transfer fault.
    pub(super) fn of(&self, machine: &Machine, fault: Fault) -> [bool; 6] {
        let (state, action) = machine.step_of(fault.step as usize);
        let right = machine.step(state, action).map_or(state, |(target, _)| target);
        let near = self.near[right as usize * self.states + fault.to as usize];
        [false, true, near, right == state, self.disruptions[action], false]
    }
}
