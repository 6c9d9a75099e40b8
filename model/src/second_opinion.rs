//! stateright as second opinion: every study is a [`stateright::Model`], and must get the same counts
//! and the same answers there.
//!
//! stateright is not the engine of record (docs/decisions/0002), but it is written by others.

use std::{collections::BTreeSet, net::SocketAddr, num::NonZeroUsize};

use stateright::{Checker, Model};

use crate::{
    check::{Report, Verdict},
    explore::ExploreError,
    study::{Judgement, Law, Property, Study},
    words::words,
};

/// A study as stateright sees it. `actions` lists the whole alphabet and `next_state` refuses what
/// is not enabled, so that each step is computed once.
#[derive(Clone)]
pub struct SecondOpinion<S: Study> {
    study: S,
    alphabet: Vec<S::Action>,
    questions: Vec<(&'static str, Question<S>)>,
    complete: bool,
}

impl<S: Study> std::fmt::Debug for SecondOpinion<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecondOpinion")
            .field("questions", &self.questions.len())
            .finish_non_exhaustive()
    }
}

/// The laws that stateright can judge: one state at a time.
#[derive(Clone, Copy)]
enum Question<S: Study> {
    Always(fn(&S, &S::State) -> Judgement),
    Sometimes(fn(&S, &S::State) -> bool),
}

/// stateright's conditions capture nothing, so each knows its number.
fn condition<S: Study, const N: usize>(model: &SecondOpinion<S>, state: &S::State) -> bool {
    match model.questions.get(N) {
        Some((_, Question::Always(judge))) => judge(&model.study, state) != Judgement::Violated,
        Some((_, Question::Sometimes(reached))) => reached(&model.study, state),
        None => false,
    }
}

macro_rules! conditions {
    ($($number:literal)*) => { [$(condition::<S, $number>),*] };
}

const QUESTIONS_MAX: usize = 32;

impl<S: Study> SecondOpinion<S> {
    /// Asks what stateright can answer of the study's properties.
    pub fn new(study: &S) -> Self {
        let question = |property: Property<S>| match property.law {
            Law::Always(judge) => Some((property.name, Question::Always(judge))),
            Law::Sometimes(reached) => Some((property.name, Question::Sometimes(reached))),
            _ => None,
        };
        let questions: Vec<_> =
            study.properties().into_iter().filter_map(question).take(QUESTIONS_MAX).collect();
        SecondOpinion {
            study: study.clone(),
            alphabet: study.alphabet(),
            questions,
            complete: true,
        }
    }

    /// Asks nothing: states are counted and that is all.
    pub fn only_counting(mut self) -> Self {
        self.questions.clear();
        self
    }

    /// For the Explorer, which has no use for a property that keeps the search going.
    fn for_explorer(mut self) -> Self {
        self.complete = false;
        self
    }
}

impl<S: Study> Model for SecondOpinion<S> {
    type State = S::State;
    type Action = S::Action;

    fn init_states(&self) -> Vec<S::State> {
        self.study.initial()
    }

    fn actions(&self, _: &S::State, actions: &mut Vec<S::Action>) {
        actions.extend(&self.alphabet);
    }

    fn next_state(&self, state: &S::State, action: S::Action) -> Option<S::State> {
        self.study.step(state, action).ok().map(|(_, next)| next)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        let conditions: [fn(&Self, &S::State) -> bool; QUESTIONS_MAX] = conditions!(
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
        );
        let mut all: Vec<_> = self
            .questions
            .iter()
            .zip(conditions)
            .map(|((name, question), condition)| match question {
                Question::Always(_) => stateright::Property::<Self>::always(name, condition),
                Question::Sometimes(_) => stateright::Property::<Self>::sometimes(name, condition),
            })
            .collect();
        if self.complete {
            // stateright stops when every property has its discovery; this one never has.
            all.push(stateright::Property::<Self>::sometimes("(search on)", |_, _| false));
        }
        all
    }

    fn format_action(&self, action: &S::Action) -> String {
        words(action)
    }

    fn format_step(&self, state: &S::State, action: S::Action) -> Option<String> {
        let (outcome, next) = self.study.step(state, action).ok()?;
        let view: Vec<String> = self
            .study
            .view(&next)
            .into_iter()
            .map(|(what, value)| format!("{what}: {value}"))
            .collect();
        Some(format!("{}\n\n{}", words(&outcome), view.join("\n")))
    }
}

/// What both engines say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Unique states.
    pub states: usize,
    /// Properties that both judged.
    pub properties: usize,
}

/// Where the engines differ, or why they could not be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// They count differently.
    #[error("ours finds {ours} states, stateright finds {theirs}")]
    States {
        /// Our count.
        ours: usize,
        /// stateright's.
        theirs: usize,
    },
    /// They judge differently.
    #[error("`{property}`: ours says {ours}, stateright says {theirs}")]
    Verdict {
        /// The property.
        property: &'static str,
        /// Our verdict's word.
        ours: String,
        /// stateright's.
        theirs: &'static str,
    },
    /// The study cannot be explored.
    #[error(transparent)]
    Unexplorable(#[from] ExploreError),
}

/// Has stateright check what was checked completely, every property of it, and compares.
pub fn compare<S: Study>(
    ours: &Report<S>,
    threads: NonZeroUsize,
) -> Result<Agreement, Disagreement> {
    let model = SecondOpinion::new(ours.exploration.study());
    let asked: BTreeSet<&str> = model.questions.iter().map(|(name, _)| *name).collect();
    let theirs = model.clone().checker().threads(threads.get()).spawn_bfs().join();
    if ours.exploration.len() != theirs.unique_state_count() {
        return Err(Disagreement::States {
            ours: ours.exploration.len(),
            theirs: theirs.unique_state_count(),
        });
    }
    let both: Vec<_> =
        ours.answers.iter().filter(|answer| asked.contains(answer.property)).collect();
    for answer in &both {
        let always = answer.kind == "always";
        let discovered = theirs.discovery(answer.property).is_some();
        let violated = discovered == always;
        if violated != matches!(answer.verdict, Verdict::Violated(_)) {
            return Err(Disagreement::Verdict {
                property: answer.property,
                ours: answer.verdict.word(),
                theirs: if violated { "violated" } else { "holds" },
            });
        }
    }
    Ok(Agreement { states: ours.exploration.len(), properties: both.len() })
}

/// An address that others could reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a loopback address; the Explorer listens on 127.0.0.1 or [::1] only")]
pub struct NotLoopback(SocketAddr);

/// Refuses an address that others could reach.
pub fn loopback(address: SocketAddr) -> Result<SocketAddr, NotLoopback> {
    if address.ip().is_loopback() { Ok(address) } else { Err(NotLoopback(address)) }
}

/// Serves stateright's Explorer for a study until the process ends.
pub fn serve<S>(study: &S, address: SocketAddr) -> Result<(), NotLoopback>
where
    S: Study,
{
    let address = loopback(address)?;
    SecondOpinion::new(study).for_explorer().checker().serve(address);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{family::Family, studies::chardev::Chardev};

    #[test]
    fn the_explorer_is_not_for_others() {
        let study = Chardev::study(&Chardev::designs()[0], &Chardev::scopes()[0]);
        let address = "192.0.2.1:3000".parse().unwrap();
        assert_eq!(serve(&study, address), Err(NotLoopback(address)));
    }
}
