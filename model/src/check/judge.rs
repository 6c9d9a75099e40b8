//! Invariants, goals and deadlocks, judged while the states are found.

use super::{
    Seen, Verdict, demonstrate, found,
    verdict::{Counterexample, Fault},
};
use crate::{
    explore::{End, Exploration, Observer, StateId},
    study::{Judgement, Law, Property, Study},
};

/// What was seen of each property so far.
pub(super) struct Judge<'p, S: Study> {
    study: &'p S,
    properties: &'p [Property<S>],
    alphabet: Vec<S::Action>,
    tallies: Vec<Tally>,
    /// Some step from the state being expanded led on.
    moved: bool,
    /// The outcome classes seen, bit by bit.
    classes: u64,
}

/// One property's record: how often it was asked, and the first place that decides it.
#[derive(Clone, Copy, Default)]
struct Tally {
    asked: u64,
    first: Option<(StateId, Option<usize>)>,
}

impl Tally {
    fn note(&mut self, judgement: Judgement, place: (StateId, Option<usize>)) {
        if judgement != Judgement::NotAsked {
            self.asked += 1;
        }
        if judgement == Judgement::Violated {
            self.decide(place);
        }
    }

    fn decide(&mut self, place: (StateId, Option<usize>)) {
        self.first = Some(self.first.map_or(place, |first| first.min(place)));
    }
}

impl<'p, S: Study> Judge<'p, S> {
    pub(super) fn new(
        study: &'p S,
        properties: &'p [Property<S>],
        alphabet: Vec<S::Action>,
    ) -> Self {
        Judge {
            study,
            properties,
            alphabet,
            tallies: vec![Tally::default(); properties.len()],
            moved: false,
            classes: 0,
        }
    }

    /// Outcome classes of the study that no step produced.
    pub(super) fn dead_outcomes(&self) -> Vec<&'static str> {
        let classes = self.study.outcome_classes().iter().enumerate();
        classes.filter(|(bit, _)| self.classes >> bit & 1 == 0).map(|(_, name)| *name).collect()
    }

    pub(super) fn asked(&self, number: usize) -> u64 {
        self.tallies[number].asked
    }

    pub(super) fn verdict(
        &self,
        number: usize,
        law: &Law<S>,
        exploration: &Exploration<S>,
    ) -> Verdict<S> {
        let Tally { first, asked } = self.tallies[number];
        match law {
            Law::Sometimes(_) => match (first, exploration.end()) {
                (Some(_), _) => Verdict::Holds,
                (None, End::Complete) => found(exploration, Some((0, Fault::Unreachable)), asked),
                (None, end) => Verdict::of_truncation(end, exploration.len()),
            },
            Law::AlwaysStep(_) => match first {
                Some((state, Some(action))) => {
                    let mut shown = demonstrate(exploration, state, Fault::Step);
                    let action = exploration.alphabet()[action];
                    if let Ok((outcome, next)) = self.study.step(exploration.state(state), action) {
                        shown.path.push(Seen { action, outcome });
                        shown.state = next;
                    }
                    Verdict::Violated(Box::new(shown))
                }
                _ => found(exploration, None, asked),
            },
            Law::NoDeadlock => {
                let stuck = first.map(|(state, _)| (state, Fault::Deadlock));
                match (stuck, exploration.end()) {
                    // States at the bound were not asked where they lead.
                    (None, End::Depth(depth)) => match depth.checked_sub(1) {
                        Some(depth) => Verdict::HoldsUpTo { depth },
                        None => Verdict::of_truncation(exploration.end(), exploration.len()),
                    },
                    (stuck, _) => found(exploration, stuck, asked),
                }
            }
            _ => found(exploration, first.map(|(state, _)| (state, Fault::State)), asked),
        }
    }

    fn judge_state(&mut self, id: StateId, state: &S::State) {
        for (tally, property) in self.tallies.iter_mut().zip(self.properties) {
            match property.law {
                Law::Always(judge) => tally.note(judge(self.study, state), (id, None)),
                Law::Sometimes(reached) if reached(self.study, state) => {
                    tally.asked += 1;
                    tally.decide((id, None));
                }
                _ => {}
            }
        }
    }
}

impl<S: Study> Observer<S> for Judge<'_, S> {
    fn state(&mut self, id: StateId, state: &S::State) {
        self.moved = false;
        self.judge_state(id, state);
    }

    fn at_bound(&mut self, id: StateId, state: &S::State) {
        self.judge_state(id, state);
    }

    fn expanded(&mut self, id: StateId) {
        for (tally, property) in self.tallies.iter_mut().zip(self.properties) {
            if matches!(property.law, Law::NoDeadlock) {
                tally.note(Judgement::when(true, self.moved), (id, None));
            }
        }
    }

    fn step(
        &mut self,
        id: StateId,
        state: &S::State,
        action: usize,
        outcome: &S::Outcome,
        next: &S::State,
    ) {
        self.classes |= self.study.classes_of(outcome);
        self.moved = self.moved || next != state;
        for (tally, property) in self.tallies.iter_mut().zip(self.properties) {
            if let Law::AlwaysStep(judge) = property.law {
                let judgement = judge(self.study, state, self.alphabet[action], outcome, next);
                tally.note(judgement, (id, Some(action)));
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.classes |= other.classes;
        for (mine, theirs) in self.tallies.iter_mut().zip(other.tallies) {
            mine.asked += theirs.asked;
            if let Some(place) = theirs.first {
                mine.decide(place);
            }
        }
    }
}

impl<S: Study> Verdict<S> {
    /// The demonstration, if there is one.
    pub fn counterexample(&self) -> Option<&Counterexample<S>> {
        match self {
            Verdict::Violated(shown) => Some(shown),
            _ => None,
        }
    }
}
