//! A study without the actions that some system cannot be driven through, so that suites take what it can.

use std::{collections::BTreeMap, fmt, sync::Arc};

use statusquo_model::{
    explore::{Exploration, StateId},
    study::{Blocked, Party, Property, Step, Study, View},
};

use crate::trace::{self, Trace};

/// Why an action cannot be driven in a state of the study; `None`: it can.
pub type Undriven<S> =
    Arc<dyn Fn(&<S as Study>::State, <S as Study>::Action) -> Option<&'static str> + Send + Sync>;

/// Transitions that are left out, counted by the reason.
pub type LeftOut = BTreeMap<&'static str, u64>;

/// What is driven only after something that is not.
const BEHIND: &str = "they come after one of those";

/// The part of a study that can be driven.
#[derive(Clone)]
pub struct Limited<S: Study> {
    study: S,
    undriven: Undriven<S>,
}

impl<S: Study> fmt::Debug for Limited<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited").finish_non_exhaustive()
    }
}

impl<S: Study> Limited<S> {
    /// What is left of the study.
    pub fn new(study: S, undriven: Undriven<S>) -> Self {
        Limited { study, undriven }
    }

    /// Transitions of the whole study that cannot be driven, by the reason.
    pub fn undriven(&self, whole: &Exploration<S>) -> LeftOut {
        self.count(whole, |_| None)
    }

    /// Transitions of the whole study that are not in its part, by the reason: also those behind one that
    /// cannot be driven.
    pub fn left_out(&self, whole: &Exploration<S>, part: &Exploration<Self>) -> LeftOut {
        self.count(whole, |state| part.id(state).is_none().then_some(BEHIND))
    }

    fn count(
        &self,
        whole: &Exploration<S>,
        otherwise: impl Fn(&S::State) -> Option<&'static str>,
    ) -> LeftOut {
        let mut left_out = LeftOut::new();
        for id in 0..whole.len().try_into().unwrap_or(StateId::MAX) {
            let state = whole.state(id);
            let otherwise = otherwise(state);
            for &action in whole.alphabet() {
                if let Some(why) = (self.undriven)(state, action).or(otherwise)
                    && self.study.step(state, action).is_ok()
                {
                    *left_out.entry(why).or_default() += 1;
                }
            }
        }
        left_out
    }

    /// A trace of the part is one of the whole.
    pub fn of_the_whole(trace: Trace<Self>) -> Trace<S> {
        let step =
            |step: trace::Step<Self>| trace::Step { action: step.action, outcome: step.outcome };
        trace.into_iter().map(step).collect()
    }
}

impl<S: Study> Study for Limited<S> {
    type State = S::State;
    type Action = S::Action;
    type Outcome = S::Outcome;

    fn initial(&self) -> Vec<S::State> {
        self.study.initial()
    }

    fn alphabet(&self) -> Vec<S::Action> {
        self.study.alphabet()
    }

    fn step(&self, state: &S::State, action: S::Action) -> Step<Self> {
        match (self.undriven)(state, action) {
            Some(why) => Err(Blocked(why)),
            None => self.study.step(state, action),
        }
    }

    fn party(&self, action: S::Action) -> Party {
        self.study.party(action)
    }

    /// None: whoever judges the study judges all of it.
    fn properties(&self) -> Vec<Property<Self>> {
        Vec::new()
    }

    fn view(&self, state: &S::State) -> View {
        self.study.view(state)
    }
}
