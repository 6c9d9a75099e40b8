//! The shortest run that two designs answer differently.

use crate::{
    check::Seen,
    explore::{End, ExploreError, Observer, Options, StateId, explore_with},
    study::{Blocked, Party, Property, Step, Study, View},
};

/// How two machines over the same actions compare.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference<S: Study> {
    /// No sequence of actions tells them apart.
    Equivalent {
        /// Pairs of states that were compared.
        pairs: usize,
    },
    /// After a common run, one action is answered differently.
    Differs {
        /// What both do alike, the shortest.
        path: Vec<Seen<S>>,
        /// What is done then.
        action: S::Action,
        /// What the first machine answers.
        first: Result<S::Outcome, Blocked>,
        /// What the second answers.
        second: Result<S::Outcome, Blocked>,
    },
    /// The search ended before an answer was found.
    OutOfBudget {
        /// Pairs compared by then.
        pairs: usize,
    },
}

/// Compares two machines from their first initial states.
pub fn difference<S: Study>(
    first: &S,
    second: &S,
    options: &Options<'_>,
) -> Result<Difference<S>, ExploreError> {
    let both = Both { first: first.clone(), second: second.clone() };
    let (exploration, Found(found)) = explore_with(&both, options, || Found(None))?;
    let pairs = exploration.len();
    let Some((state, action)) = found else {
        return Ok(match exploration.end() {
            End::Complete => Difference::Equivalent { pairs },
            _ => Difference::OutOfBudget { pairs },
        });
    };
    let path = crate::check::run(&exploration, state)
        .into_iter()
        .filter_map(|Seen { action, outcome }| match outcome {
            Answers::Alike(outcome) => Some(Seen { action, outcome }),
            Answers::Unlike => None,
        })
        .collect();
    let (a, b) = exploration.state(state);
    let action = exploration.alphabet()[action];
    let answer =
        |study: &S, state: &S::State| study.step(state, action).map(|(outcome, _)| outcome);
    Ok(Difference::Differs { path, action, first: answer(first, a), second: answer(second, b) })
}

/// Two machines, in step.
#[derive(Clone)]
struct Both<S> {
    first: S,
    second: S,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
enum Answers<O> {
    Alike(O),
    Unlike,
}

impl<S: Study> Study for Both<S> {
    type State = (S::State, S::State);
    type Action = S::Action;
    type Outcome = Answers<S::Outcome>;

    fn initial(&self) -> Vec<Self::State> {
        self.first.initial().into_iter().zip(self.second.initial()).take(1).collect()
    }

    fn alphabet(&self) -> Vec<S::Action> {
        let mut all = self.first.alphabet();
        let more: Vec<_> =
            self.second.alphabet().into_iter().filter(|action| !all.contains(action)).collect();
        all.extend(more);
        all
    }

    fn step(&self, (a, b): &Self::State, action: S::Action) -> Step<Self> {
        match (self.first.step(a, action), self.second.step(b, action)) {
            (Ok((one, a)), Ok((other, b))) if one == other => Ok((Answers::Alike(one), (a, b))),
            (Err(why), Err(_)) => Err(why),
            _ => Ok((Answers::Unlike, (a.clone(), b.clone()))),
        }
    }

    fn party(&self, action: S::Action) -> Party {
        self.first.party(action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        Vec::new()
    }

    fn view(&self, (a, _): &Self::State) -> View {
        self.first.view(a)
    }
}

/// The first step that is answered differently.
struct Found(Option<(StateId, usize)>);

impl<S: Study> Observer<Both<S>> for Found {
    fn state(&mut self, _: StateId, _: &(S::State, S::State)) {}

    fn step(
        &mut self,
        id: StateId,
        _: &(S::State, S::State),
        action: usize,
        outcome: &Answers<S::Outcome>,
        _: &(S::State, S::State),
    ) {
        if self.0.is_none() && matches!(outcome, Answers::Unlike) {
            self.0 = Some((id, action));
        }
    }

    fn merge(&mut self, other: Self) {
        self.0 = match (self.0, other.0) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
    }

    fn is_satisfied(&self) -> bool {
        self.0.is_some()
    }
}
