//! Suites on systems: what agrees, what must not, and what happens to a system that misbehaves.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use statusquo::{
    generate::{Coverage, CoverageError, Criterion, Cut, generate, recount},
    replay::{
        Factory, Fault, Observed, Options, System, Verdict, explain, minimise, replay, replay_one,
    },
    studies::Replayable,
    systems::model::ModelFactory,
    trace::{Suite, read_suite, write_suite},
};
use statusquo_model::{
    explore::{self, Exploration},
    family::Family,
    studies::{
        chardev::{Chardev, Study, action::Action, outcome::Outcome},
        restart::Restart,
    },
    study::{self as model, Study as _},
    words::words,
};

fn study(design: &str, scope: &str) -> Study {
    let design = Chardev::designs().iter().find(|known| known.name == design).unwrap();
    let scope = Chardev::scopes().iter().find(|known| known.name == scope).unwrap();
    Chardev::study(design, scope)
}

fn suite(scope: &str, criterion: Criterion) -> (Exploration<Study>, Suite<Study>) {
    let exploration =
        explore::explore(&study("ours", scope), &explore::Options::default()).unwrap();
    let edges = exploration.edges(NonZeroUsize::MIN);
    let suite =
        generate(&exploration, &edges, criterion, ("chardev", "ours", scope), Cut::default())
            .unwrap();
    (exploration, suite)
}

#[test]
fn ours_agrees_on_real_descriptors_in_every_scope() {
    for scope in ["server", "client", "pty", "file", "null", "ring", "agent"] {
        let (exploration, suite) = suite(scope, Criterion::Transitions);
        let replayed =
            replay(&suite.traces, &Chardev::vmm(exploration.study()).unwrap(), &Options::default());
        let wrong = replayed.verdicts.iter().find(|verdict| **verdict != Verdict::Agrees);
        assert_eq!(wrong, None, "{scope}");
        assert_eq!(replayed.steps(), suite.header.steps, "{scope}");
    }
}

#[test]
fn ours_agrees_at_every_kill_point() {
    let ours = Restart::designs().iter().find(|design| design.name == "ours").unwrap();
    let restart = |scope: &str| {
        Restart::study(ours, Restart::scopes().iter().find(|known| known.name == scope).unwrap())
    };
    for (scope, other) in [("pci", "usb"), ("usb", "pci")] {
        let study = restart(scope);
        let exploration = explore::explore(&study, &explore::Options::default()).unwrap();
        let edges = exploration.edges(NonZeroUsize::MIN);
        let names = ("restart", "ours", scope);
        let suite =
            generate(&exploration, &edges, Criterion::Transitions, names, Cut::default()).unwrap();
        let on = |study| {
            let factory = Restart::vmm(study).unwrap();
            replay(&suite.traces, &factory, &Options::default()).counts()
        };
        assert_eq!(on(&study), (suite.traces.len(), 0, 0), "{scope}");
        // Devices that go the other way are found out.
        assert!(on(&restart(other)).1 > 0, "{scope} on {other}");
    }
}

#[test]
fn a_suite_counts_what_it_covers_and_misses_what_is_taken_away() {
    for criterion in [Criterion::Transitions, Criterion::States] {
        let (exploration, mut suite) = suite("server", criterion);
        let Coverage { covered, goals } = recount(&exploration, &suite, criterion).unwrap();
        assert_eq!(covered, goals);
        let cost = suite.header.steps + suite.header.resets;
        assert!(cost >= suite.header.lower_bound, "{cost} < {}", suite.header.lower_bound);
        // The last step of the last trace was taken for the sake of a goal that nothing else covers.
        suite.traces.last_mut().unwrap().pop();
        let less = recount(&exploration, &suite, criterion).unwrap();
        assert_eq!(less, Coverage { covered: goals - 1, goals });
    }
}

#[test]
fn a_trace_of_another_machine_is_refused_with_its_step() {
    let (exploration, mut suite) = suite("server", Criterion::Transitions);
    suite.traces[0].insert(0, replay_step(Action::GuestOpen { port: 0 }));
    let error = recount(&exploration, &suite, Criterion::Transitions).unwrap_err();
    assert_eq!(
        error,
        CoverageError::NotEnabled {
            trace: 1,
            step: 1,
            action: "guest-open{port: 0}".to_owned(),
            why: "the machine does not run",
        }
    );
}

fn replay_step(action: Action) -> statusquo::trace::Step<Study> {
    statusquo::trace::Step { action, outcome: Outcome::default() }
}

#[test]
fn the_suite_of_ours_diverges_on_every_other_design_and_says_why() {
    let (exploration, suite) = suite("server", Criterion::Transitions);
    let ours = exploration.study();
    for design in Chardev::designs().iter().filter(|design| design.name != "ours") {
        let other = study(design.name, "server");
        let factory: Arc<dyn Factory<Study>> =
            Arc::new(ModelFactory { study: other, design: design.name });
        let replayed = replay(&suite.traces, &factory, &Options::default());
        let diverged =
            replayed.verdicts.iter().zip(&suite.traces).find_map(
                |(verdict, trace)| match verdict {
                    Verdict::Diverges(divergence) => Some((divergence.clone(), trace)),
                    _ => None,
                },
            );
        let (divergence, trace) =
            diverged.unwrap_or_else(|| panic!("{} is not told apart", design.name));
        let small = minimise(ours, trace, divergence, &factory, Duration::from_secs(1));
        assert!(small.trace.len() <= 8, "{}: {} steps", design.name, small.trace.len());
        let text = explain(ours, &small.trace, &small.divergence);
        assert!(text.contains("expected:") && text.contains("observed:"), "{text}");
    }
}

/// The model of a design, where one action cannot be driven.
struct Without {
    model: ModelFactory<Study>,
    action: Option<Action>,
}

impl Factory<Study> for Without {
    fn name(&self) -> String {
        self.model.name()
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        self.model.start()
    }

    fn cannot(
        &self,
        _: &Study,
        _: &<Study as model::Study>::State,
        action: Action,
    ) -> Option<&'static str> {
        (Some(action) == self.action).then_some("it cannot")
    }
}

#[test]
fn a_shorter_run_goes_only_where_the_system_can_be_driven() {
    let (exploration, suite) = suite("server", Criterion::Transitions);
    let ours = exploration.study();
    let on = |action: Option<Action>| -> Arc<dyn Factory<Study>> {
        let model = ModelFactory { study: study("as-written", "server"), design: "as-written" };
        Arc::new(Without { model, action })
    };
    let replayed = replay(&suite.traces, &on(None), &Options::default());
    let mut avoided = 0;
    for (verdict, trace) in replayed.verdicts.iter().zip(&suite.traces) {
        let Verdict::Diverges(divergence) = verdict else { continue };
        let shortest = |action: Option<Action>| -> Vec<Action> {
            let deadline = Duration::from_secs(1);
            let small = minimise(ours, trace, divergence.clone(), &on(action), deadline);
            small.trace.iter().map(|step| step.action).collect()
        };
        let word: Vec<Action> = trace[..=divergence.step].iter().map(|step| step.action).collect();
        for action in shortest(None).into_iter().filter(|action| !word.contains(action)) {
            assert!(!shortest(Some(action)).contains(&action), "{action:?}");
            avoided += 1;
        }
    }
    assert!(avoided > 0, "no shortest run has an action that its trace lacks");
}

#[test]
fn the_explanation_reads_so() {
    let (exploration, suite) = suite("agent", Criterion::Transitions);
    let factory: Arc<dyn Factory<Study>> =
        Arc::new(ModelFactory { study: study("no-replay", "agent"), design: "no-replay" });
    let replayed = replay(&suite.traces, &factory, &Options::default());
    let (verdict, trace) = replayed.verdicts.iter().zip(&suite.traces).next().unwrap();
    let Verdict::Diverges(divergence) = verdict else { panic!("{verdict:?}") };
    let small =
        minimise(exploration.study(), trace, divergence.clone(), &factory, Duration::from_secs(1));
    insta::assert_snapshot!(explain(exploration.study(), &small.trace, &small.divergence));
}

/// A system that does one thing wrong at one action.
#[derive(Clone, Copy)]
enum Misbehaves {
    Hangs,
    Panics,
    Garbage,
    Dies,
    Lies,
    CannotStart,
}

struct Broken(Misbehaves);

struct BrokenSystem {
    how: Misbehaves,
    model: Box<dyn System<Study>>,
}

impl Factory<Study> for Broken {
    fn name(&self) -> String {
        "broken".to_owned()
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        if matches!(self.0, Misbehaves::CannotStart) {
            return Err(Fault::Environment("no space left".to_owned()));
        }
        let factory = ModelFactory { study: study("ours", "server"), design: "ours" };
        Ok(Box::new(BrokenSystem { how: self.0, model: factory.start()? }))
    }
}

impl System<Study> for BrokenSystem {
    fn apply(&mut self, action: Action, owed: &Outcome) -> Result<Observed<Study>, Fault> {
        let observed = self.model.apply(action, owed)?;
        if action != Action::DriverInit {
            return Ok(observed);
        }
        match self.how {
            Misbehaves::Hangs => loop {
                std::thread::park();
            },
            Misbehaves::Panics => panic!("index out of bounds"),
            Misbehaves::Garbage => Err(Fault::Garbage("not JSON".to_owned())),
            Misbehaves::Dies => Err(Fault::Died("signal 11".to_owned())),
            Misbehaves::Lies => Ok(Observed::Outcome(Outcome::default())),
            Misbehaves::CannotStart => unreachable!("it was not started"),
        }
    }
}

#[test]
fn a_system_that_misbehaves_is_a_divergence_of_its_own_kind() {
    let model = study("ours", "server");
    let mut state = model.initial().remove(0);
    let mut trace = Vec::new();
    for action in [Action::Cont, Action::DriverInit, Action::GuestOpen { port: 0 }] {
        let (outcome, next) = model.step(&state, action).unwrap();
        trace.push(statusquo::trace::Step { action, outcome });
        state = next;
    }
    let run = |how| {
        // Only who hangs is waited for to the end; a panic takes its time on a busy machine.
        let hangs = matches!(how, Misbehaves::Hangs);
        let deadline = Duration::from_millis(if hangs { 100 } else { 60_000 });
        let factory: Arc<dyn Factory<Study>> = Arc::new(Broken(how));
        replay_one(&trace, &factory, deadline).0
    };
    let kinds = [
        Misbehaves::Hangs,
        Misbehaves::Panics,
        Misbehaves::Garbage,
        Misbehaves::Dies,
        Misbehaves::Lies,
    ]
    .map(|how| match run(how) {
        Verdict::Diverges(divergence) => (divergence.step, divergence.kind()),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        kinds,
        [(1, "hang"), (1, "died"), (1, "garbage"), (1, "died"), (1, "wrong outcome")]
    );
    assert!(
        matches!(run(Misbehaves::CannotStart), Verdict::Inconclusive(why) if why == "no space left")
    );
}

#[test]
fn what_is_written_is_read_back_and_written_alike() {
    let (_, suite) = suite("file", Criterion::Transitions);
    let mut bytes = Vec::new();
    write_suite(&suite, &mut bytes).unwrap();
    let again: Suite<Study> = read_suite(bytes.as_slice()).unwrap();
    let mut twice = Vec::new();
    write_suite(&again, &mut twice).unwrap();
    assert!(bytes == twice);
    assert_eq!(words(&again.traces[0][0].action), "stop");
}

mod random {
    use proptest::prelude::*;

    use super::*;

    fn walk(scope: &str, choices: &[u16]) -> (Study, statusquo::trace::Trace<Study>) {
        let model = study("ours", scope);
        let alphabet = model.alphabet();
        let mut state = model.initial().remove(0);
        let mut trace = Vec::new();
        for &choice in choices {
            let enabled: Vec<_> =
                alphabet.iter().filter(|action| model.step(&state, **action).is_ok()).collect();
            let action = *enabled[usize::from(choice) % enabled.len()];
            let (outcome, next) = model.step(&state, action).unwrap();
            trace.push(statusquo::trace::Step { action, outcome });
            state = next;
        }
        (model, trace)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        #[test]
        fn walks_of_the_model_are_walks_of_ours(
            scope in proptest::sample::select(vec!["pair", "server", "client", "pty", "ring", "agent"]),
            choices in proptest::collection::vec(any::<u16>(), 1..120),
        ) {
            let (model, trace) = walk(scope, &choices);
            let (verdict, _) = replay_one(&trace, &Chardev::vmm(&model).unwrap(), Duration::from_secs(10));
            prop_assert_eq!(verdict, Verdict::Agrees);
        }

        #[test]
        fn arbitrary_bytes_are_no_trace_and_no_panic(bytes: Vec<u8>) {
            let error = read_suite::<Study>(bytes.as_slice()).unwrap_err();
            prop_assert!(error.line >= 1 && error.column >= 1);
        }

        #[test]
        fn a_trace_that_was_cut_off_or_changed_is_refused_or_read(at in 0..2000_usize, byte: u8, cut: bool) {
            let (_, mut suite) = suite("null", Criterion::States);
            suite.header.digest = None;
            let mut bytes = Vec::new();
            write_suite(&suite, &mut bytes).unwrap();
            let at = at % bytes.len();
            if cut { bytes.truncate(at) } else { bytes[at] = byte }
            if let Err(error) = read_suite::<Study>(bytes.as_slice()) {
                prop_assert!(error.line >= 1 && error.column >= 1, "{}", error);
            } else {
                prop_assert!(!cut, "a trace cut off at {} was taken for whole", at);
            }
        }
    }
}
