//! What a suite tells of single faults, against running each faulty machine step by step.

use std::{collections::BTreeSet, num::NonZeroUsize};

use statusquo::{
    generate::{Criterion, Cut, generate, recount},
    mutate::{Machine, Operator, numbers, prove, survey},
};
use statusquo_model::{
    equivalence::minimise,
    explore::{Options, explore},
    family::Family,
    studies::chardev::{Chardev, Study},
};

fn null() -> Study {
    let design = Chardev::designs().iter().find(|design| design.name == "ours").unwrap();
    let scope = Chardev::scopes().iter().find(|scope| scope.name == "null").unwrap();
    Chardev::study(design, scope)
}

/// `(step, wrong target)` of every transfer fault that no trace tells, the slow way: each faulty machine is
/// run on each trace as a whole.
fn survivors_by_hand(
    steps: &[Vec<Option<(u32, u32)>>],
    initial: u32,
    traces: &[Vec<usize>],
) -> BTreeSet<(u32, usize, u32)> {
    let mut survivors = BTreeSet::new();
    for (state, row) in (0..).zip(steps) {
        for (action, step) in row.iter().enumerate() {
            let Some((right, _)) = *step else { continue };
            for to in (0..steps.len() as u32).filter(|to| *to != right) {
                let wrong_step = |at: u32, action_now: usize| {
                    let step = steps[at as usize][action_now];
                    let is_faulty = (at, action_now) == (state, action);
                    step.map(|(target, outcome)| (if is_faulty { to } else { target }, outcome))
                };
                let told = traces.iter().any(|trace| {
                    let (mut good, mut bad) = (initial, initial);
                    trace.iter().any(|&action| {
                        let (expected, found) =
                            (steps[good as usize][action], wrong_step(bad, action));
                        if let (Some((next, _)), Some((other, _))) = (expected, found) {
                            (good, bad) = (next, other);
                        }
                        expected.map(|step| step.1) != found.map(|step| step.1)
                    })
                });
                if !told {
                    survivors.insert((state, action, to));
                }
            }
        }
    }
    survivors
}

#[test]
fn what_a_suite_tells_is_what_it_tells_when_run() {
    let study = null();
    let exploration = explore(&study, &Options::default()).unwrap();
    let edges = exploration.edges(NonZeroUsize::MIN);
    let minimal = minimise(&exploration, &edges);
    let machine = Machine::new(&exploration, &edges, &minimal);
    let rows: Vec<Vec<Option<(u32, u32)>>> = minimal
        .representatives
        .iter()
        .map(|&state| {
            let step = |action| {
                let (target, outcome) = edges.step(state, action)?;
                Some((minimal.classes[target as usize], outcome))
            };
            (0..edges.actions()).map(step).collect()
        })
        .collect();
    for criterion in [Criterion::States, Criterion::Transitions, Criterion::Checked] {
        let names = ("chardev", "ours", "null");
        let suite = generate(&exploration, &edges, criterion, names, Cut::default()).unwrap();
        let counted = recount(&exploration, &suite, criterion).unwrap();
        assert_eq!((counted.covered, counted.goals), (suite.header.covered, suite.header.goals));
        let mut traces: Vec<_> =
            suite.traces.iter().map(|trace| numbers(&exploration, trace).unwrap()).collect();
        let measured = survey(&exploration, &minimal, &machine, &traces, u64::MAX).unwrap();
        let by_hand = survivors_by_hand(&rows, minimal.classes[0], &traces);
        assert_eq!(measured.survivors.len(), by_hand.len(), "{criterion:?}");
        let transfer = measured.row(Operator::Transfer);
        assert_eq!(transfer.faults - transfer.killed, by_hand.len() as u64);

        // What is proven equivalent stays, and every other survivor is told by a test.
        let proof = prove(&machine, &measured.survivors);
        assert_eq!(proof.equivalent.len() + proof.told_by.len(), by_hand.len());
        traces.extend(proof.tests.iter().cloned());
        assert_eq!(
            survivors_by_hand(&rows, minimal.classes[0], &traces).len(),
            proof.equivalent.len()
        );
        match criterion {
            Criterion::Checked => assert!(proof.told_by.is_empty()),
            // A tour of all steps does not look where it is.
            _ => assert!(!proof.told_by.is_empty()),
        }
    }
}

#[test]
fn more_faults_than_asked_for_are_not_looked_at() {
    let study = null();
    let exploration = explore(&study, &Options::default()).unwrap();
    let edges = exploration.edges(NonZeroUsize::MIN);
    let minimal = minimise(&exploration, &edges);
    let machine = Machine::new(&exploration, &edges, &minimal);
    let error = survey(&exploration, &minimal, &machine, &[vec![0]], 10).unwrap_err();
    assert_eq!((error.faults, error.faults_max), (machine.faults(), 10));
}
