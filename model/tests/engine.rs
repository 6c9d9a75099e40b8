//! The engine on small graphs: what others get wrong, and every answer it can give.

use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::common::{Graph, property};
use statusquo_model::{
    check::{self, Fault, Report, Verdict},
    equivalence::{Difference, difference},
    explore::{Budget, End, ExploreError, Options, explore},
    study::{Judgement, Law, Party, Property, Step, Study, View},
};

fn never(bad: fn(u32) -> bool, state: u32) -> Judgement {
    Judgement::when(true, !bad(state))
}

fn actions(report: &Report<Graph>, at: usize) -> Vec<u8> {
    let shown = report.answers[at].verdict.counterexample().expect("a counterexample");
    shown.path.iter().map(|seen| seen.action).collect()
}

fn none() -> Vec<Property<Graph>> {
    Vec::new()
}

/// T1: a search that ignores an option it was given. There is no symmetry option here to ignore; four
/// processes of four states are counted exactly.
#[test]
fn t1_every_state_is_counted() {
    let mut edges = Vec::new();
    for state in 0..256_u32 {
        for process in 0..4 {
            let local = state >> (2 * process) & 3;
            let next = state & !(3 << (2 * process)) | ((local + 1) % 4) << (2 * process);
            edges.push((state, process as u8, 0, next));
        }
    }
    assert_eq!(explore(&Graph::new(&edges, none), &Options::default()).unwrap().len(), 256);
}

#[test]
fn t2_a_second_property_does_not_lengthen_a_counterexample() {
    fn laws() -> Vec<Property<Graph>> {
        vec![
            property("p", Law::Always(|_, s| never(|s| s == 1 || s == 5, *s))),
            property("q", Law::Always(|_, _| Judgement::Holds)),
        ]
    }
    let edges = [(0, 0, 0, 1), (0, 1, 0, 2), (2, 0, 0, 3), (3, 0, 0, 4), (4, 0, 0, 5)];
    let report = Graph::new(&edges, laws).check();
    assert_eq!(actions(&report, 0), [0]);
    assert_eq!(report.answers[1].verdict, Verdict::Holds);
}

#[test]
fn t3_a_blocked_action_listed_first_is_not_on_the_path() {
    fn laws() -> Vec<Property<Graph>> {
        vec![property("p", Law::Always(|_, s| never(|s| s == 2, *s)))]
    }
    let report = Graph::new(&[(0, 1, 0, 1), (0, 2, 0, 2)], laws).check();
    assert_eq!(actions(&report, 0), [2]);
    assert_eq!(report.answers[0].verdict.counterexample().unwrap().state, 2);
    assert_eq!(report.dead_actions, [0]);
}

#[test]
fn t4_what_must_come_is_refuted_on_cycles_and_joins() {
    fn laws() -> Vec<Property<Graph>> {
        let law =
            Law::LeadsTo { from: |_, s| *s == 0, goal: |_, s| s % 2 == 1, fair: |_, _| false };
        vec![property("odd", law)]
    }
    let cycle = Graph::new(&[(0, 0, 0, 2), (2, 0, 0, 4), (4, 0, 0, 2)], laws).check();
    let shown = cycle.answers[0].verdict.counterexample().unwrap();
    assert!(matches!(&shown.fault, Fault::Cycle(cycle) if cycle.len() == 2));
    let join = [(0, 0, 0, 2), (2, 0, 0, 4), (4, 0, 0, 6), (0, 1, 0, 1), (1, 0, 0, 4)];
    let join = Graph::new(&join, laws).check();
    assert!(matches!(join.answers[0].verdict, Verdict::Violated(_)));
    assert_eq!(actions(&join, 0), [0, 0, 0], "the run that ends in 6 without having been odd");
}

#[test]
fn a_fair_run_leaves_a_loop_that_an_unfair_one_does_not() {
    fn fair() -> Vec<Property<Graph>> {
        let law = Law::LeadsTo { from: |_, s| *s == 0, goal: |_, s| *s == 1, fair: |_, a| a == 1 };
        vec![property("one", law)]
    }
    fn unfair() -> Vec<Property<Graph>> {
        let law = Law::LeadsTo { from: |_, s| *s == 0, goal: |_, s| *s == 1, fair: |_, _| false };
        vec![property("one", law)]
    }
    let edges = [(0, 0, 0, 0), (0, 1, 0, 1), (1, 0, 0, 1)];
    assert_eq!(Graph::new(&edges, fair).check().answers[0].verdict, Verdict::Holds);
    assert!(matches!(Graph::new(&edges, unfair).check().answers[0].verdict, Verdict::Violated(_)));
}

fn grid() -> Graph {
    // Without edges in a table: a million states by arithmetic would need another type; a path will do.
    let edges: Vec<_> = (0..20_000).map(|at| (at, 0, 0, at + 1)).collect();
    Graph::new(&edges, || vec![property("far", Law::Always(|_, s| never(|s| s == 19_000, *s)))])
}

#[test]
fn t5_the_watch_stops_one_thread_and_two() {
    for threads in [1, 2] {
        let calls = AtomicUsize::new(0);
        let watch = |_: &_| calls.fetch_add(1, Ordering::Relaxed) < 5;
        let threads = NonZeroUsize::new(threads).unwrap();
        let options = Options { threads, watch: &watch, ..Options::default() };
        let found = explore(&grid(), &options).unwrap();
        assert_eq!(*found.end(), End::Stopped);
        assert!(found.len() < 1000);
    }
}

#[test]
fn t6_a_truncated_search_never_passes() {
    let with = |budget| {
        let options = Options { budget, ..Options::default() };
        check::check(&grid(), &options, |_| true).unwrap().answers.remove(0).verdict
    };
    let states = with(Budget { states: Some(1000), ..Budget::default() });
    assert_eq!(states, Verdict::OutOfBudget { of: "states", states: 1000 });
    assert_eq!(
        with(Budget { depth: Some(10), ..Budget::default() }),
        Verdict::HoldsUpTo { depth: 10 }
    );
    let bytes = with(Budget { bytes: Some(1000), ..Budget::default() });
    assert!(matches!(bytes, Verdict::OutOfBudget { of: "bytes", .. }));
    let options = Options { watch: &|_| false, ..Options::default() };
    let report = check::check(&grid(), &options, |_| true).unwrap();
    assert!(matches!(report.answers[0].verdict, Verdict::OutOfBudget { of: "time", .. }));
    // And what was seen before the end is still a violation.
    fn early() -> Vec<Property<Graph>> {
        vec![property("near", Law::Always(|_, s| never(|s| s == 3, *s)))]
    }
    let options =
        Options { budget: Budget { depth: Some(10), ..Budget::default() }, ..Options::default() };
    let report = check::check(&Graph { laws: early, ..grid() }, &options, |_| true).unwrap();
    assert_eq!(report.answers[0].verdict.trace_len(), Some(3));
}

#[test]
fn t7_a_state_met_late_first_does_not_hide_a_violation() {
    fn laws() -> Vec<Property<Graph>> {
        vec![property("p", Law::Always(|_, s| never(|s| s == 9, *s)))]
    }
    // 5 is reachable in four steps by action 0 and in two by action 1; 9 is one step further.
    let edges = [
        (0, 0, 0, 1),
        (1, 0, 0, 2),
        (2, 0, 0, 3),
        (3, 0, 0, 5),
        (0, 1, 0, 4),
        (4, 1, 0, 5),
        (5, 0, 0, 9),
    ];
    let budget = Budget { depth: Some(3), ..Budget::default() };
    let options = Options { budget, ..Options::default() };
    // States at the last depth are found, and judged where they are expanded: one step more is needed.
    let report = check::check(&Graph::new(&edges, laws), &options, |_| true).unwrap();
    assert!(!matches!(report.answers[0].verdict, Verdict::Holds));
    let report = Graph::new(&edges, laws).check();
    assert_eq!(actions(&report, 0), [1, 1, 0]);
}

#[test]
fn t9_twenty_runs_are_one() {
    let mut edges = Vec::new();
    for state in 0..5000_u32 {
        for action in 0..4_u8 {
            edges.push((
                state,
                action,
                (state % 3) as u8,
                (state * 7 + u32::from(action) * 131 + 1) % 5000,
            ));
        }
    }
    edges.sort_unstable();
    let graph = Table { edges };
    let run = |threads| {
        let options =
            Options { threads: NonZeroUsize::new(threads).unwrap(), ..Options::default() };
        let report = check::check(&graph, &options, |_| true).unwrap();
        let found = &report.exploration;
        let states: Vec<u32> = (0..found.len() as u32).map(|id| *found.state(id)).collect();
        let path = report.answers[0].verdict.counterexample().map(|shown| shown.path.clone());
        (states, found.transitions(), path)
    };
    let once = run(1);
    assert!(once.2.is_some());
    for round in 0..20 {
        assert!(run(1 + round % 3) == once, "run {round}");
    }
}

/// A graph with four edges at each state, looked up fast.
#[derive(Clone, Debug, PartialEq)]
struct Table {
    edges: Vec<(u32, u8, u8, u32)>,
}

impl Study for Table {
    type State = u32;
    type Action = u8;
    type Outcome = u8;

    fn initial(&self) -> Vec<u32> {
        vec![0]
    }

    fn alphabet(&self) -> Vec<u8> {
        vec![0, 1, 2, 3]
    }

    fn step(&self, state: &u32, action: u8) -> Step<Self> {
        let (_, _, outcome, to) = self.edges[*state as usize * 4 + usize::from(action)];
        Ok((outcome, to))
    }

    fn party(&self, _: u8) -> Party {
        Party::World
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let law = Law::Always(|_, s| Judgement::when(true, *s != 4321));
        vec![Property { name: "not 4321", source: "test", law }]
    }

    fn view(&self, _: &u32) -> View {
        View::new()
    }
}

#[test]
fn d_a_deadlock_is_found_where_it_is_asked_for() {
    fn laws() -> Vec<Property<Graph>> {
        vec![property("goes on", Law::NoDeadlock)]
    }
    let report = Graph::new(&[(0, 0, 0, 1), (1, 0, 0, 2), (2, 0, 0, 2)], laws).check();
    let shown = report.answers[0].verdict.counterexample().unwrap();
    assert_eq!((&shown.fault, shown.path.len()), (&Fault::Deadlock, 2));
    assert_eq!(
        Graph::new(&[(0, 0, 0, 1), (1, 0, 0, 0)], laws).check().answers[0].verdict,
        Verdict::Holds
    );
}

#[test]
fn e_nothing_to_explore_is_an_error() {
    let graph = Graph { initial: Vec::new(), ..grid() };
    assert_eq!(explore(&graph, &Options::default()).unwrap_err(), ExploreError::NoInitialState);
    let graph = Graph { actions: 0, ..grid() };
    assert_eq!(explore(&graph, &Options::default()).unwrap_err(), ExploreError::EmptyAlphabet);
}

#[test]
fn p_a_study_without_properties_is_explored_to_the_end() {
    let report = Graph { laws: none, ..grid() }.check();
    assert_eq!((report.exploration.len(), report.exploration.end()), (20_001, &End::Complete));
}

#[test]
fn pan_a_panic_is_reported_with_its_path() {
    let graph = Graph { panics_at: Some(3), ..grid() };
    let found = explore(&graph, &Options::default()).unwrap();
    let End::Panicked(panic) = found.end() else { panic!("{:?}", found.end()) };
    assert!(panic.message.contains("the study is broken"));
    assert_eq!((found.path(panic.state).1, panic.action), (vec![0, 0, 0], Some(0)));
}

#[test]
fn a_question_that_never_arises_is_vacuous() {
    fn laws() -> Vec<Property<Graph>> {
        vec![
            property("state", Law::Always(|_, _| Judgement::NotAsked)),
            property("step", Law::AlwaysStep(|_, _, _, _, _| Judgement::NotAsked)),
            property("transparent", Law::Transparent(|_, _| false)),
            property("possible", Law::AlwaysPossible { from: |_, _| false, goal: |_, _| true }),
            property(
                "comes",
                Law::LeadsTo { from: |_, _| false, goal: |_, _| true, fair: |_, _| true },
            ),
        ]
    }
    let report = Graph::new(&[(0, 0, 0, 1)], laws).check();
    assert!(report.answers.iter().all(|answer| answer.verdict == Verdict::Vacuous));
}

#[test]
fn goals_traps_and_steps_are_refuted() {
    fn laws() -> Vec<Property<Graph>> {
        vec![
            property("reached", Law::Sometimes(|_, s| *s == 2)),
            property("unreachable", Law::Sometimes(|_, s| *s == 7)),
            property("back", Law::AlwaysPossible { from: |_, _| true, goal: |_, s| *s == 0 }),
            property("outcome", Law::AlwaysStep(|_, _, _, o, _| Judgement::when(true, *o != 5))),
        ]
    }
    let report =
        Graph::new(&[(0, 0, 0, 1), (1, 0, 0, 0), (1, 1, 5, 2), (2, 0, 0, 2)], laws).check();
    assert_eq!(report.answers[0].verdict, Verdict::Holds);
    let fault = |at: usize| &report.answers[at].verdict.counterexample().unwrap().fault;
    assert_eq!(fault(1), &Fault::Unreachable);
    assert_eq!(fault(2), &Fault::Trap);
    assert_eq!(actions(&report, 2), [0, 1]);
    assert_eq!(fault(3), &Fault::Step);
    assert_eq!(actions(&report, 3), [0, 1]);
}

#[test]
fn a_disruption_that_can_be_told_is_told_by_the_shortest_sequence() {
    fn laws() -> Vec<Property<Graph>> {
        vec![property("transparent", Law::Transparent(|_, action| action == 9))]
    }
    // After the disruption (9) the machine is in 10, which answers as 0 does, but one step later not.
    let alike = [(0, 0, 1, 1), (1, 0, 2, 0), (10, 0, 1, 11)];
    let noticed: Vec<_> = alike.into_iter().chain([(11, 0, 3, 10), (0, 9, 0, 10)]).collect();
    let report = Graph { actions: 10, ..Graph::new(&noticed, laws) }.check();
    let shown = report.answers[0].verdict.counterexample().unwrap();
    let Fault::Noticed { disruption, tell } = &shown.fault else { panic!("{:?}", shown.fault) };
    assert_eq!((shown.path.len(), disruption.action, tell.len()), (0, 9, 2));
    assert_eq!((&tell[1].disturbed, &tell[1].undisturbed), (&Ok(3), &Ok(2)));
    let same: Vec<_> = alike.into_iter().chain([(11, 0, 2, 10), (0, 9, 0, 10)]).collect();
    assert_eq!(
        Graph { actions: 10, ..Graph::new(&same, laws) }.check().answers[0].verdict,
        Verdict::Holds
    );
}

#[test]
fn two_machines_differ_where_they_differ_and_are_else_equivalent() {
    let one = Graph::new(&[(0, 0, 0, 1), (1, 0, 0, 0), (1, 1, 4, 0)], none);
    let other = Graph { edges: vec![(0, 0, 0, 1), (1, 0, 0, 0), (1, 1, 5, 0)], ..one.clone() };
    let found = difference(&one, &other, &Options::default()).unwrap();
    let Difference::Differs { path, action, first, second } = found else { panic!("they differ") };
    assert_eq!((path.len(), action, first, second), (1, 1, Ok(4), Ok(5)));
    let unrolled = [(0, 0, 0, 1), (1, 0, 0, 2), (1, 1, 4, 2), (2, 0, 0, 1)];
    let unrolled = Graph { edges: unrolled.to_vec(), ..one.clone() };
    let found = difference(&one, &unrolled, &Options::default()).unwrap();
    assert!(matches!(found, Difference::Equivalent { pairs: 3 }));
}

fn explored(graph: &Graph, threads: usize, budget: Budget) -> Report<Graph> {
    let threads = NonZeroUsize::new(threads).unwrap();
    let options = Options { threads, budget, ..Options::default() };
    check::check(graph, &options, |_| true).unwrap()
}

#[test]
fn t7_a_state_at_the_last_depth_is_judged() {
    fn laws() -> Vec<Property<Graph>> {
        vec![
            property("p", Law::Always(|_, s| never(|s| s == 3, *s))),
            property("reached", Law::Sometimes(|_, s| *s == 3)),
            property("step", Law::AlwaysStep(|_, _, _, _, after| never(|s| s == 3, *after))),
        ]
    }
    let path = Graph::new(&[(0, 0, 0, 1), (1, 0, 0, 2), (2, 0, 0, 3), (3, 0, 0, 4)], laws);
    let within = |depth| {
        let report = explored(&path, 1, Budget { depth: Some(depth), ..Budget::default() });
        let mut answers = report.answers.into_iter().map(|answer| answer.verdict);
        [answers.next().unwrap(), answers.next().unwrap(), answers.next().unwrap()]
    };
    let [state, reached, step] = within(2);
    assert_eq!([state, step], [Verdict::HoldsUpTo { depth: 2 }, Verdict::HoldsUpTo { depth: 2 }]);
    assert_eq!(reached, Verdict::OutOfBudget { of: "depth", states: 3 });
    let [state, reached, step] = within(3);
    assert_eq!((state.trace_len(), reached, step.trace_len()), (Some(3), Verdict::Holds, Some(3)));
}

#[test]
fn d_a_bound_does_not_claim_more_than_was_looked_at() {
    fn laws() -> Vec<Property<Graph>> {
        vec![property("goes on", Law::NoDeadlock)]
    }
    let path = Graph::new(&[(0, 0, 0, 1), (1, 0, 0, 2)], laws);
    let within = |depth| {
        let budget = Budget { depth: Some(depth), ..Budget::default() };
        explored(&path, 1, budget).answers.remove(0).verdict
    };
    // Whether a run gets stuck after two steps is seen by trying a third.
    assert_eq!(within(0), Verdict::OutOfBudget { of: "depth", states: 1 });
    assert_eq!(within(2), Verdict::HoldsUpTo { depth: 1 });
    assert_eq!(within(3).trace_len(), Some(2));
}

#[test]
fn pan_a_panic_is_not_a_deadlock() {
    fn laws() -> Vec<Property<Graph>> {
        vec![
            property("goes on", Law::NoDeadlock),
            property("never asked", Law::Sometimes(|_, _| false)),
        ]
    }
    let graph = Graph { panics_at: Some(1), ..Graph::new(&[(0, 0, 0, 1), (1, 0, 0, 0)], laws) };
    for answer in graph.check().answers {
        let Verdict::NotChecked { why } = answer.verdict else { panic!("{}", answer.verdict) };
        assert!(why.contains("the study panicked: ") && why.contains("the study is broken"));
    }
}

#[test]
fn pan_a_panic_while_a_state_is_judged_is_reported() {
    fn laws() -> Vec<Property<Graph>> {
        vec![property(
            "p",
            Law::Always(|_, s| if *s == 2 { panic!("in the law") } else { Judgement::Holds }),
        )]
    }
    let path = Graph::new(&[(0, 0, 0, 1), (1, 0, 0, 2), (2, 0, 0, 3)], laws);
    for depth in [None, Some(2)] {
        let report = explored(&path, 1, Budget { depth, ..Budget::default() });
        let End::Panicked(panic) = report.exploration.end() else { panic!("{report:?}") };
        assert_eq!((panic.message.as_str(), panic.state, panic.action), ("in the law", 2, None));
        assert!(matches!(report.answers[0].verdict, Verdict::NotChecked { .. }));
    }
}

#[test]
fn t9_a_panic_or_a_budget_ends_the_search_at_one_place() {
    fn laws() -> Vec<Property<Graph>> {
        vec![
            property("late", Law::Always(|_, s| never(|s| s == 1900, *s))),
            property(
                "late step",
                Law::AlwaysStep(|_, before, _, _, _| never(|s| s == 1900, *before)),
            ),
            property("goes on", Law::NoDeadlock),
        ]
    }
    // Two thousand beginnings, each of which leads on to two of two thousand more states.
    let edges: Vec<_> = (1..=2000)
        .flat_map(|state| {
            [(state, 0, 0, 2001 + (state * 7) % 2000), (state, 1, 0, 2001 + (state * 3) % 2000)]
        })
        .collect();
    let fan = Graph { initial: (1..=2000).collect(), ..Graph::new(&edges, laws) };
    let budgets = [
        Budget { states: Some(2500), ..Budget::default() },
        Budget { bytes: Some(500_000), ..Budget::default() },
        Budget { depth: Some(1), ..Budget::default() },
        Budget::default(),
    ];
    for panics_at in [None, Some(5), Some(700), Some(1500), Some(2600)] {
        for budget in budgets {
            let graph = Graph { panics_at, ..fan.clone() };
            let run = |threads| {
                let report = explored(&graph, threads, budget);
                let found = &report.exploration;
                let states: Vec<u32> = (0..found.len() as u32).map(|id| *found.state(id)).collect();
                let answers: Vec<_> = report
                    .answers
                    .iter()
                    .map(|answer| (answer.asked, answer.verdict.clone()))
                    .collect();
                (states, found.transitions(), found.end().clone(), answers)
            };
            let once = run(1);
            for threads in [2, 3, 7] {
                let again = run(threads);
                assert_eq!(
                    (once.0.len(), once.1, &once.2, &once.3),
                    (again.0.len(), again.1, &again.2, &again.3),
                    "{panics_at:?} {budget:?}"
                );
                assert!(once.0 == again.0);
            }
        }
    }
}

fn transparent() -> Vec<Property<Graph>> {
    vec![property("transparent", Law::Transparent(|_, _| true))]
}

#[test]
fn nobody_notices_where_nobody_observes() {
    let edges = [(0, 0, 0, 1), (1, 0, 1, 2)];
    let graph = Graph { disruptions: [0].into(), ..Graph::new(&edges, transparent) };
    assert_eq!(graph.check().answers[0].verdict, Verdict::Holds);
}

/// One reachable state, where users expect the first of very many others.
fn expected_elsewhere() -> Graph {
    let mut edges: Vec<_> = (100..3_000).map(|at| (at, 0, 0, at + 1)).collect();
    edges.extend([(0, 9, 0, 1), (0, 0, 0, 0), (1, 0, 0, 1)]);
    Graph { undisturbed: vec![100], actions: 10, ..Graph::new(&edges, transparent) }
}

#[test]
fn t6_states_that_are_only_expected_use_up_the_budget() {
    let graph = expected_elsewhere();
    assert_eq!(graph.check().answers[0].verdict.trace_len(), Some(1 + 2_901));
    let with = |budget| explored(&graph, 1, budget).answers.remove(0).verdict;
    let states = with(Budget { states: Some(1000), ..Budget::default() });
    assert!(matches!(states, Verdict::OutOfBudget { of: "states", .. }), "{states}");
    let bytes = with(Budget { bytes: Some(300_000), ..Budget::default() });
    assert!(matches!(bytes, Verdict::OutOfBudget { of: "bytes", .. }), "{bytes}");
    let calls = AtomicUsize::new(0);
    let watch = |_: &_| calls.fetch_add(1, Ordering::Relaxed) < 5;
    let options = Options { watch: &watch, ..Options::default() };
    let verdict = check::check(&graph, &options, |_| true).unwrap().answers.remove(0).verdict;
    assert!(matches!(verdict, Verdict::OutOfBudget { of: "time", .. }), "{verdict}");
}

#[test]
fn pan_a_panic_after_the_search_is_an_answer_too() {
    fn laws() -> Vec<Property<Graph>> {
        let from = |_: &_, _: &_| panic!("in the law");
        vec![
            property("transparent", Law::Transparent(|_, _| true)),
            property("possible", Law::AlwaysPossible { from, goal: |_, _| true }),
            property("comes", Law::LeadsTo { from, goal: |_, _| true, fair: |_, _| true }),
            property("goes on", Law::NoDeadlock),
        ]
    }
    let report = Graph { panics_at: Some(100), laws, ..expected_elsewhere() }.check();
    for (answer, message) in report.answers.iter().zip(["is broken", "in the law", "in the law"]) {
        let Verdict::NotChecked { why } = &answer.verdict else { panic!("{}", answer.verdict) };
        assert!(why.starts_with("the study panicked: ") && why.contains(message), "{why}");
    }
    assert!(matches!(report.answers[3].verdict, Verdict::Violated(_)));
}
