//! The part of a study that a system can be driven through.

use std::{collections::BTreeMap, sync::Arc};

use statusquo_model::{
    explore::{Exploration, StateId},
    study::{Blocked, Party, Property, Step, Study, View},
};

use super::Factory;

/// The study without the steps that cannot be driven: what only they lead to is not there either.
#[derive(Clone)]
pub struct Drivable<S: Study> {
    study: S,
    factory: Arc<dyn Factory<S>>,
}

impl<S: Study> Drivable<S> {
    /// What `factory`'s systems can be driven through.
    pub fn new(study: S, factory: Arc<dyn Factory<S>>) -> Self {
        Drivable { study, factory }
    }
}

impl<S: Study> std::fmt::Debug for Drivable<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drivable").field("system", &self.factory.name()).finish_non_exhaustive()
    }
}

impl<S: Study> Study for Drivable<S> {
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
        match self.factory.cannot(&self.study, state, action) {
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

/// The steps of a study that cannot be driven, counted by their reason.
pub fn not_drivable<S: Study>(
    exploration: &Exploration<S>,
    factory: &dyn Factory<S>,
) -> BTreeMap<&'static str, u64> {
    let study = exploration.study();
    let mut reasons = BTreeMap::new();
    for id in 0..exploration.len() as StateId {
        let state = exploration.state(id);
        for &action in exploration.alphabet() {
            if let Some(why) = factory.cannot(study, state, action)
                && study.step(state, action).is_ok()
            {
                *reasons.entry(why).or_default() += 1;
            }
        }
    }
    reasons
}
