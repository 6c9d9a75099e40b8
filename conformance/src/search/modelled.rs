//! Walks over a study's alphabet: the model says what comes of every move, and the system is held to it.
//!
//! What the model does not enable is no move, so a walk goes on wherever it is put. New is what no walk has
//! seen before: a step in a state that looks so, after that other step. A suite takes every step once; what
//! two of them do to each other is for walks.

use std::{sync::Arc, time::Duration};

use statusquo_model::{study::Study, words::words};

use super::{End, EndKind, Ground, Ran, ToEnd, shorten::AGAIN};
use crate::{
    replay::{Divergence, Factory, Fault, Observed, Verdict, minimise, replay_one},
    trace::{Step, Trace},
};

/// Where walks are compared with a model.
#[expect(missing_debug_implementations, reason = "factories have none")]
pub struct Modelled<S: Study> {
    /// Whose answers are expected.
    pub study: S,
    /// What is walked on.
    pub factory: Arc<dyn Factory<S>>,
    /// How long one move may take before the system counts as hung.
    pub deadline: Duration,
}

/// A walk as the model goes it.
struct Expected<S: Study> {
    trace: Trace<S>,
    /// Which move each step is.
    at: Vec<usize>,
    /// What each step would show that is new.
    shown: Vec<String>,
}

impl<S: Study> Modelled<S> {
    fn expect(&self, moves: &[S::Action]) -> Expected<S> {
        let mut expected = Expected { trace: Vec::new(), at: Vec::new(), shown: Vec::new() };
        let Some(mut state) = self.study.initial().into_iter().next() else { return expected };
        let mut before = String::new();
        for (at, &action) in moves.iter().enumerate() {
            if self.factory.cannot(&self.study, &state, action).is_some() {
                continue;
            }
            let Ok((outcome, next)) = self.study.step(&state, action) else { continue };
            let now = format!("{} -> {}", words(&action), words(&outcome));
            expected.shown.push(format!("{before}; {now}; {:?}", self.study.view(&next)));
            (before, state) = (now, next);
            expected.trace.push(Step { action, outcome });
            expected.at.push(at);
        }
        expected
    }

    /// The walk in the model's words: every move that it enables, with its answer.
    pub fn trace(&self, moves: &[S::Action]) -> Trace<S> {
        self.expect(moves).trace
    }
}

impl<S: Study> Ground for Modelled<S> {
    type Move = S::Action;

    fn beginnings(&self) -> Vec<Vec<S::Action>> {
        vec![Vec::new()]
    }

    fn fixed(&self) -> usize {
        0
    }

    fn alphabet(&self) -> Vec<S::Action> {
        self.study.alphabet()
    }

    fn walk(&self, moves: &[S::Action]) -> Ran {
        let Expected { trace, at, shown } = self.expect(moves);
        let (verdict, steps) = replay_one(&trace, &self.factory, self.deadline);
        let shown = at.iter().copied().zip(shown).take(steps).collect();
        let mut ran = Ran { shown, ..Ran::default() };
        match verdict {
            Verdict::Agrees => {}
            Verdict::Inconclusive(why) => ran.stuck = Some(why),
            Verdict::Diverges(divergence) => {
                let at = at.get(divergence.step).copied().unwrap_or_default();
                ran.end = Some(end(at, &divergence));
            }
        }
        ran
    }

    /// With the shortcuts that the model knows, whatever the divergence at the end of them.
    fn shorten(&self, moves: &[S::Action], _: &End) -> (Option<ToEnd<S::Action>>, usize) {
        let trace = self.trace(moves);
        let (verdict, _) = replay_one(&trace, &self.factory, self.deadline);
        let Verdict::Diverges(divergence) = verdict else { return (None, 1) };
        let small = minimise(&self.study, &trace, divergence, &self.factory, self.deadline);
        let short: Vec<S::Action> = small.trace.iter().map(|step| step.action).collect();
        let expected = end(short.len().saturating_sub(1), &small.divergence);
        let again = (0..AGAIN).all(|_| {
            self.walk(&short).end.is_some_and(|end| end.signature() == expected.signature())
        });
        (again.then_some((short, expected)), small.runs + 1 + AGAIN)
    }
}

fn end<S: Study>(at: usize, divergence: &Divergence<S>) -> End {
    let kind = match &divergence.observed {
        Err(Fault::Hang(_)) => EndKind::Hang,
        Err(Fault::Died(how)) if how.starts_with("signal") => EndKind::Crash,
        Err(Fault::Died(_)) => EndKind::Exit,
        _ => EndKind::Divergence,
    };
    let observed = match &divergence.observed {
        Ok(Observed::Outcome(outcome)) => words(outcome),
        Ok(Observed::Blocked(why)) => format!("it cannot be done, because {why}"),
        Err(fault) => fault.to_string(),
    };
    let expected = words(&divergence.expected);
    let how = format!("expected {expected}, observed {observed}");
    End { at, on: words(&divergence.action), kind, how }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use statusquo_model::{
        family::Family,
        studies::chardev::{Chardev, Study as Chardevs, action::Action},
    };

    use super::*;
    use crate::{
        search::{Options, search},
        systems::model::ModelFactory,
    };

    fn study(design: &str) -> Chardevs {
        let design = Chardev::designs().iter().find(|known| known.name == design).unwrap();
        let scope = Chardev::scopes().iter().find(|known| known.name == "null").unwrap();
        Chardev::study(design, scope)
    }

    /// Walks on the machine of QEMU 7.2, judged by another design.
    fn walked(expectation: &str, seed: u64) -> Vec<ToEnd<Action>> {
        let factory = ModelFactory { study: study("qemu-7.2"), design: "qemu-7.2" };
        let ground = Modelled {
            study: study(expectation),
            factory: Arc::new(factory),
            deadline: Duration::from_secs(60),
        };
        let until = Instant::now() + Duration::from_secs(600);
        let options = Options { seed, jobs: 2, until, walks: 96, moves: 30, ends: 3 };
        search(&ground, &options, &|_, _| {}).ends
    }

    #[test]
    fn a_right_expectation_finds_nothing() {
        assert_eq!(walked("qemu-7.2", 1), []);
    }

    #[test]
    fn a_wrong_expectation_is_found_out_and_shortened() {
        let found = walked("as-labelled", 1);
        let (moves, end) = &found[0];
        assert_eq!(moves, &[Action::Cont, Action::DriverInit]);
        assert_eq!((end.at, end.kind), (1, EndKind::Divergence));
        assert!(found.iter().all(|(moves, _)| moves.len() <= 3), "{found:?}");
        assert_eq!(walked("as-labelled", 1), found, "the same seed");
    }
}
