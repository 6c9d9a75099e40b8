//! What a study is: a deterministic Mealy machine with a finite alphabet, and what it must satisfy.
//!
//! Nondeterminism is an action of some party, so checking, comparing, generating and replaying are
//! all algorithms over one labelled graph.

use std::{fmt::Debug, hash::Hash};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// One question about a VM stack, as an executable machine: one design at one scope.
///
/// Implementations are values: the design and the scope are fields. `step` is a function of its
/// arguments only; no clock, no randomness, no iteration over unordered collections.
pub trait Study: Clone + Send + Sync + 'static {
    /// Everything the machine remembers. Plain data: two equal states behave alike for ever.
    type State: Clone + Eq + Hash + Debug + Send + Sync + 'static;
    /// One atomic step of one party. Serialised by name, never by index.
    type Action: Copy + Eq + Ord + Hash + Debug + Serialize + DeserializeOwned + Send + Sync;
    /// What the acting party and all observers get back from a step.
    type Outcome: Clone + Eq + Hash + Debug + Serialize + DeserializeOwned + Send + Sync;

    /// Where a run may begin. Never empty.
    fn initial(&self) -> Vec<Self::State>;

    /// Every action of this design at this scope, without repetition. The order is fixed: it breaks
    /// ties between equally short traces.
    fn alphabet(&self) -> Vec<Self::Action>;

    /// Performs one action: guard and effect in one place.
    ///
    /// A refused request is an outcome. `Err` is only for what the world cannot do, and says why.
    fn step(&self, state: &Self::State, action: Self::Action) -> Step<Self>;

    /// Every step of a state at once, for searches that take them all. What it visits is what
    /// [`Study::step`] gives; a study that can share work between steps does so here.
    fn steps<'a>(&'a self, alphabet: &'a [Self::Action]) -> impl Steps<Self> + Send + 'a {
        OneByOne::new(self, alphabet)
    }

    /// Who acts.
    fn party(&self, action: Self::Action) -> Party;

    /// Is this something that users should not notice? Disruptions are left out of the observations
    /// by which [`Law::Transparent`] tells states apart.
    fn is_disruption(&self, _action: Self::Action) -> bool {
        false
    }

    /// The state that users expect after `disruption` in `state`, where it is possible.
    fn undisturbed(&self, state: &Self::State, _disruption: Self::Action) -> Self::State {
        state.clone()
    }

    /// What the design is asked to satisfy.
    fn properties(&self) -> Vec<Property<Self>>;

    /// The classes of outcome that somebody listed as possible; one never produced is reported.
    fn outcome_classes(&self) -> &'static [&'static str] {
        &[]
    }

    /// Which of [`Study::outcome_classes`] an outcome belongs to: bit `i` for class `i`.
    fn classes_of(&self, _outcome: &Self::Outcome) -> u64 {
        0
    }

    /// The part of the state that every system can show at rest, in the field's words.
    fn view(&self, state: &Self::State) -> View;
}

/// The result of one step: what is observed and what comes next, or why it cannot happen.
pub type Step<S> = Result<(<S as Study>::Outcome, <S as Study>::State), Blocked>;

/// Takes every step of one state after the other. May remember what saves work.
pub trait Steps<S: Study> {
    /// Visits each enabled step of `state` in alphabet order: the action's number, what is observed,
    /// what comes next.
    fn visit(&mut self, state: &S::State, step: impl FnMut(usize, &S::Outcome, S::State));
}

/// [`Study::step`] for one action after the other.
#[derive(Debug)]
pub struct OneByOne<'a, S: Study> {
    study: &'a S,
    alphabet: &'a [S::Action],
}

impl<'a, S: Study> OneByOne<'a, S> {
    /// Of these actions.
    pub fn new(study: &'a S, alphabet: &'a [S::Action]) -> Self {
        OneByOne { study, alphabet }
    }
}

impl<S: Study> Steps<S> for OneByOne<'_, S> {
    #[inline]
    fn visit(&mut self, state: &S::State, mut step: impl FnMut(usize, &S::Outcome, S::State)) {
        for (number, &action) in self.alphabet.iter().enumerate() {
            if let Ok((outcome, next)) = self.study.step(state, action) {
                step(number, &outcome, next);
            }
        }
    }
}

/// Why an action is not enabled: a clause that reads after "because".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blocked(pub &'static str);

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Party {
    /// The management application or its user.
    Management,
    /// The guest: driver and applications.
    Guest,
    /// The host side of a device: the peer of a chardev.
    Host,
    /// QEMU itself.
    Qemu,
    /// The management daemon.
    Daemon,
    /// Power, kill, migration: nobody who could be asked to wait.
    World,
}

/// Facts at rest, by name, in display order.
pub type View = Vec<(String, String)>;

/// One thing that a design is asked to satisfy.
pub struct Property<S: Study> {
    /// A sentence. Unique within the study.
    pub name: &'static str,
    /// Who asks for it: thread, commit, function.
    pub source: &'static str,
    /// What is asked.
    pub law: Law<S>,
}

/// The kinds of question that a property may ask.
pub enum Law<S: Study> {
    /// Judged in every reachable state.
    Always(fn(&S, &S::State) -> Judgement),
    /// Judged on every reachable step: before, action, outcome, after.
    AlwaysStep(JudgeStep<S>),
    /// Some reachable state satisfies it.
    Sometimes(fn(&S, &S::State) -> bool),
    /// Every reachable state enables some action that leads to another state.
    NoDeadlock,
    /// After each of these disruptions, observers cannot tell the state from
    /// [`Study::undisturbed`], by any sequence of actions that are not disruptions.
    Transparent(Selects<S>),
    /// From every reachable state in which the first holds, some path leads to the second.
    AlwaysPossible {
        /// Where the promise is made.
        from: fn(&S, &S::State) -> bool,
        /// What must stay possible.
        goal: fn(&S, &S::State) -> bool,
    },
    /// Wherever the first holds, every fair run comes to the second.
    LeadsTo {
        /// Where the promise is made.
        from: fn(&S, &S::State) -> bool,
        /// What must come.
        goal: fn(&S, &S::State) -> bool,
        /// An action that is weakly fair: enabled for ever means taken in the end.
        fair: Selects<S>,
    },
}

/// Judges a step: before, action, outcome, after.
pub type JudgeStep<S> = fn(
    &S,
    &<S as Study>::State,
    <S as Study>::Action,
    &<S as Study>::Outcome,
    &<S as Study>::State,
) -> Judgement;

/// Selects some of a study's actions.
pub type Selects<S> = fn(&S, <S as Study>::Action) -> bool;

/// What an invariant says of one state or step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The antecedent is false: nothing was asked here.
    NotAsked,
    /// Asked, and so.
    Holds,
    /// Asked, and not so.
    Violated,
}

impl Judgement {
    /// `consequent`, judged only where `antecedent` holds.
    #[inline]
    pub fn when(antecedent: bool, consequent: bool) -> Self {
        match (antecedent, consequent) {
            (false, _) => Judgement::NotAsked,
            (true, true) => Judgement::Holds,
            (true, false) => Judgement::Violated,
        }
    }

    /// Of several judgements of one step, the one to report: a violation before all else.
    #[inline]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Judgement::Violated, _) | (_, Judgement::Violated) => Judgement::Violated,
            (Judgement::Holds, _) | (_, Judgement::Holds) => Judgement::Holds,
            _ => Judgement::NotAsked,
        }
    }
}

impl<S: Study> Debug for Property<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Property").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<S: Study> Law<S> {
    /// The kind of question, as reports name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Law::Always(_) => "always",
            Law::AlwaysStep(_) => "always-step",
            Law::Sometimes(_) => "sometimes",
            Law::NoDeadlock => "no-deadlock",
            Law::Transparent(_) => "transparent",
            Law::AlwaysPossible { .. } => "always-possible",
            Law::LeadsTo { .. } => "leads-to",
        }
    }
}

impl<S: Study> Debug for Law<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}
