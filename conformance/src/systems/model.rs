//! The model as a system.

use statusquo_model::study::{Blocked, Study};

use crate::replay::{Factory, Fault, Observed, System};

/// Replays on the machine of one design.
#[derive(Clone, Debug)]
pub struct ModelFactory<S> {
    /// The machine.
    pub study: S,
    /// The design's name.
    pub design: &'static str,
}

struct ModelSystem<S: Study> {
    study: S,
    state: S::State,
}

impl<S: Study> Factory<S> for ModelFactory<S> {
    fn name(&self) -> String {
        format!("the model of {}", self.design)
    }

    fn start(&self) -> Result<Box<dyn System<S>>, Fault> {
        let initial = self.study.initial().into_iter().next();
        let state = initial
            .ok_or_else(|| Fault::Environment("the study has no initial state".to_owned()))?;
        Ok(Box::new(ModelSystem { study: self.study.clone(), state }))
    }
}

impl<S: Study> System<S> for ModelSystem<S> {
    fn apply(&mut self, action: S::Action, _owed: &S::Outcome) -> Result<Observed<S>, Fault> {
        match self.study.step(&self.state, action) {
            Ok((outcome, next)) => {
                self.state = next;
                Ok(Observed::Outcome(outcome))
            }
            Err(Blocked(why)) => Ok(Observed::Blocked(why.to_owned())),
        }
    }
}
