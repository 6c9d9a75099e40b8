//! Differences between a system and its model that are known, and why they are not mended in the model.
//!
//! `corpus/divergences.toml` lists them. One that happens is not counted against the system, and one that
//! could have happened and did not is reported: the list is never longer than the truth.

use std::cell::Cell;

use serde::Deserialize;
use statusquo_model::{study::Study, words::words};

use super::{Divergence, Observed, Verdict};
use crate::trace::Trace;

/// The list that comes with the program.
pub const LIST: &str = include_str!("../../corpus/divergences.toml");

/// Every known difference.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KnownList {
    #[serde(default)]
    divergence: Vec<Known>,
}

/// One known difference.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Known {
    /// The first word of the system's name: `QEMU`, `libvirt`.
    system: String,
    /// The first version that does so.
    from: String,
    /// The last one that was seen to.
    to: String,
    study: String,
    design: String,
    /// The step, in words; a word or two of its beginning do.
    action: String,
    /// What the model says, in words.
    expected: String,
    /// What the system says, in words, or the kind of its fault.
    observed: String,
    /// Why that is so, and why the model says otherwise.
    pub reason: String,
    /// Where to look it up.
    pub source: String,
    /// It is up to chance, so it is no surprise that it did not happen.
    #[serde(default)]
    by_chance: bool,
    #[serde(skip)]
    happened: Cell<usize>,
    #[serde(skip)]
    could_have: Cell<bool>,
}

impl Known {
    /// How it is named in reports.
    pub fn name(&self) -> String {
        format!("{}: {} instead of {}", self.action, self.observed, self.expected)
    }

    /// How often it happened.
    pub fn happened(&self) -> usize {
        self.happened.get()
    }

    /// The step was taken where the model expects the same, and the difference did not show.
    pub fn is_stale(&self) -> bool {
        self.could_have.get() && self.happened.get() == 0 && !self.by_chance
    }

    fn is_about<S: Study>(&self, action: S::Action, expected: &S::Outcome) -> bool {
        words(&action).starts_with(&self.action) && words(expected) == self.expected
    }
}

impl KnownList {
    /// Reads a list.
    pub fn read(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Those that a system of this name may show where this design's suite is replayed.
    pub fn of(self, system: &str, study: &str, design: &str) -> Vec<Known> {
        let applies = |known: &Known| {
            let mut words = system.split_whitespace();
            let version = words.clone().nth(1).map(numbers).unwrap_or_default();
            known.study == study
                && known.design == design
                && words.next() == Some(&known.system)
                && numbers(&known.from) <= version
                && version <= numbers(&known.to)
        };
        self.divergence.into_iter().filter(applies).collect()
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

/// Which known difference this is.
fn known_as<'k, S: Study>(all: &'k [Known], divergence: &Divergence<S>) -> Option<&'k Known> {
    let observed = match &divergence.observed {
        Ok(Observed::Outcome(outcome)) => words(outcome),
        _ => divergence.kind().to_owned(),
    };
    all.iter().find(|known| {
        known.is_about::<S>(divergence.action, &divergence.expected) && known.observed == observed
    })
}

/// Takes the known divergences out of the verdicts; the steps after one were not judged. What could have
/// happened and did not is noted.
pub fn take_out<S: Study>(all: &[Known], traces: &[Trace<S>], verdicts: &mut [Verdict<S>]) {
    if all.is_empty() {
        return;
    }
    for (trace, verdict) in traces.iter().zip(verdicts) {
        let judged = match verdict {
            Verdict::Agrees => trace.len(),
            Verdict::Diverges(divergence) => divergence.step,
            Verdict::Inconclusive(_) => 0,
        };
        for step in &trace[..judged] {
            for known in all.iter().filter(|it| it.is_about::<S>(step.action, &step.outcome)) {
                known.could_have.set(true);
            }
        }
        if let Verdict::Diverges(divergence) = verdict
            && let Some(known) = known_as(all, divergence)
        {
            known.happened.set(known.happened.get() + 1);
            *verdict = Verdict::Agrees;
        }
    }
}

#[cfg(test)]
mod tests {
    use statusquo_model::{
        family::Family,
        studies::chardev::{Chardev, Study as Chardevs, action::Action, outcome::Outcome},
        study::Study as _,
    };

    use super::*;
    use crate::trace::Step;

    const ENTRY: &str = r#"
        [[divergence]]
        system = "QEMU"
        from = "7.2.0"
        to = "7.2.99"
        study = "chardev"
        design = "qemu-7.2"
        action = "cont"
        expected = "reply ok"
        observed = "reply nothing"
        reason = "a test"
        source = "this file"
    "#;

    fn list(system: &str) -> Vec<Known> {
        KnownList::read(ENTRY).unwrap().of(system, "chardev", "qemu-7.2")
    }

    fn cont(study: &Chardevs) -> Trace<Chardevs> {
        let (outcome, _) = study.step(&study.initial()[0], Action::Cont).unwrap();
        vec![Step { action: Action::Cont, outcome }]
    }

    fn study() -> Chardevs {
        Chardev::study(&Chardev::designs()[0], &Chardev::scopes()[1])
    }

    #[test]
    fn the_list_that_comes_along_can_be_read() {
        KnownList::read(LIST).unwrap();
        assert!(KnownList::read("[[divergence]]\nsystem = 1").is_err());
        assert!(KnownList::read(&ENTRY.replace("reason", "raison")).is_err());
    }

    #[test]
    fn who_survives_a_read_of_freed_memory_is_known() {
        let known = KnownList::read(LIST).unwrap().of("QEMU 7.2.22", "chardev", "qemu-7.2");
        let ok = cont(&study())[0].outcome;
        let diverges = |expected: Outcome, observed: Outcome| {
            Verdict::<Chardevs>::Diverges(Divergence {
                step: 0,
                action: Action::Cont,
                expected,
                observed: Ok(Observed::Outcome(observed)),
                view: Vec::new(),
                said: Vec::new(),
            })
        };
        let mut verdicts = [diverges(Outcome::died(), ok), diverges(ok, Outcome::died())];
        let trace: Trace<Chardevs> = vec![Step { action: Action::Cont, outcome: Outcome::died() }];
        take_out(&known, &[trace.clone(), trace.clone()], &mut verdicts);
        assert_eq!(verdicts[0], Verdict::Agrees);
        assert_ne!(verdicts[1], Verdict::Agrees);
        take_out(&known, &[trace], &mut [Verdict::Agrees]);
        assert!(known.iter().all(|known| !known.is_stale()));
    }

    #[test]
    fn an_entry_is_for_its_system_and_versions() {
        assert_eq!(list("QEMU 7.2.22 Debian 1:7.2+dfsg").len(), 1);
        assert_eq!(list("QEMU 8.0.0").len() + list("libvirt 7.2.22").len() + list("QEMU").len(), 0);
    }

    #[test]
    fn what_is_known_is_taken_out_and_nothing_else() {
        let (known, trace) = (list("QEMU 7.2.22"), cont(&study()));
        let diverges = |observed: &str| {
            let outcome: Outcome =
                serde_json::from_value(serde_json::json!({ "reply": observed })).unwrap();
            Verdict::Diverges(Divergence {
                step: 0,
                action: Action::Cont,
                expected: trace[0].outcome,
                observed: Ok(Observed::Outcome(outcome)),
                view: Vec::new(),
                said: Vec::new(),
            })
        };
        let mut verdicts = [diverges("nothing"), diverges("died")];
        take_out(&known, &[trace.clone(), trace.clone()], &mut verdicts);
        assert_eq!(verdicts[0], Verdict::Agrees);
        assert_ne!(verdicts[1], Verdict::Agrees);
        assert_eq!((known[0].happened(), known[0].is_stale()), (1, false));
    }

    #[test]
    fn what_does_not_happen_any_more_is_stale() {
        let (known, trace) = (list("QEMU 7.2.22"), cont(&study()));
        take_out(&known, std::slice::from_ref(&trace), &mut [Verdict::Inconclusive(String::new())]);
        assert!(!known[0].is_stale(), "nothing was learned");
        take_out(&known, std::slice::from_ref(&trace), &mut [Verdict::Agrees]);
        assert!(known[0].is_stale());
        let by_chance = format!("{ENTRY}\n by-chance = true");
        let known = KnownList::read(&by_chance).unwrap().of("QEMU 7.2.22", "chardev", "qemu-7.2");
        take_out(&known, &[trace], &mut [Verdict::Agrees]);
        assert!(!known[0].is_stale(), "it need not happen");
    }
}
