//! Random small graphs, judged by the engine and by the definitions themselves.

use std::{collections::BTreeSet, num::NonZeroUsize};

use proptest::prelude::*;
use statusquo_model::{
    check::{self, Counterexample, Fault, Report, Seen, Verdict},
    equivalence::{Difference, difference, minimise},
    explore::{Options, explore},
    study::{Judgement, Law, Property, Study},
};

use crate::common::{Graph, property};

/// States of a random graph; those from 8 on are mostly unreachable.
const STATES: u32 = 10;
/// Observers' actions; action 9 is the disruption.
const ACTIONS: u8 = 3;

fn laws() -> Vec<Property<Graph>> {
    vec![
        property("always", Law::Always(|g, s| judged(g, *s))),
        property("always step", Law::AlwaysStep(|g, _, _, _, after| judged(g, *after))),
        property("sometimes", Law::Sometimes(|g, s| g.promise[1].contains(s))),
        property("no deadlock", Law::NoDeadlock),
        property("transparent", Law::Transparent(|_, action| action == 9)),
        property(
            "always possible",
            Law::AlwaysPossible {
                from: |g, s| g.promise[0].contains(s),
                goal: |g, s| g.promise[1].contains(s),
            },
        ),
        property(
            "leads to",
            Law::LeadsTo {
                from: |g, s| g.promise[0].contains(s),
                goal: |g, s| g.promise[1].contains(s),
                fair: |g, action| g.fair.contains(&action),
            },
        ),
    ]
}

fn judged(graph: &Graph, state: u32) -> Judgement {
    Judgement::when(graph.promise[0].contains(&state), graph.promise[1].contains(&state))
}

prop_compose! {
    fn graphs()(
        size in 1..=STATES,
    )(
        cells in prop::collection::vec(
            prop::option::weighted(0.55, (0..2_u8, 0..size)),
            (size * u32::from(ACTIONS)) as usize,
        ),
        disruptions in prop::collection::vec(prop::option::weighted(0.3, 0..size), size as usize),
        undisturbed in prop::collection::vec(0..size, size as usize),
        initial in prop::collection::vec(0..size, 1..3),
        from in prop::collection::btree_set(0..size, 0..4),
        goal in prop::collection::btree_set(0..size, 0..4),
        fair in prop::collection::btree_set(0..ACTIONS, 0..3),
    ) -> Graph {
        let mut edges = Vec::new();
        for (at, cell) in (0_u32..).zip(cells) {
            let (from, action) = (at / u32::from(ACTIONS), (at % u32::from(ACTIONS)) as u8);
            edges.extend(cell.map(|(outcome, to)| (from, action, outcome, to)));
        }
        edges.extend((0_u32..).zip(disruptions).filter_map(|(from, to)| to.map(|to| (from, 9, 0, to))));
        let mut graph = Graph::new(&edges, laws);
        graph.actions = 10;
        graph.initial = initial;
        graph.undisturbed = undisturbed;
        graph.promise = [from, goal];
        graph.fair = fair;
        graph
    }
}

prop_compose! {
    /// Wide enough that threads share the work.
    fn wide_graphs()(
        cells in prop::collection::vec(prop::option::weighted(0.9, (0..2_u8, 0..1200_u32)), 3600),
        disrupted in prop::collection::vec((0..1200_u32, 0..1200_u32), 0..4),
        rare in 0..1200_u32,
        fair in prop::collection::btree_set(0..ACTIONS, 0..3),
    ) -> Graph {
        let mut edges = Vec::new();
        for (at, cell) in (0_u32..).zip(cells) {
            let (from, action) = (at / u32::from(ACTIONS), (at % u32::from(ACTIONS)) as u8);
            edges.extend(cell.map(|(outcome, to)| (from, action, outcome, to)));
        }
        edges.extend(disrupted.into_iter().map(|(from, to)| (from, 9, 0, to)));
        let mut graph = Graph::new(&edges, laws);
        graph.actions = 10;
        graph.undisturbed = (0..1200).collect();
        graph.promise = [(0..1200).filter(|state| state % 5 == rare % 5).collect(), BTreeSet::from([rare])];
        graph.fair = fair;
        graph
    }
}

/// What the engine is compared with: each law by its definition, without any cleverness.
struct Naive<'g> {
    graph: &'g Graph,
    /// The reachable states.
    reachable: BTreeSet<u32>,
}

impl<'g> Naive<'g> {
    fn new(graph: &'g Graph) -> Self {
        let reachable = closure(graph, graph.initial.iter().copied().collect(), |_| true);
        Naive { graph, reachable }
    }

    fn goal(&self, state: u32) -> bool {
        self.graph.promise[1].contains(&state)
    }

    fn promised(&self) -> BTreeSet<u32> {
        &self.reachable & &self.graph.promise[0]
    }

    fn always(&self) -> bool {
        self.promised().iter().all(|state| self.goal(*state))
    }

    fn always_step(&self) -> Option<bool> {
        let entered = self.graph.edges.iter().filter(|edge| self.reachable.contains(&edge.0));
        let mut asked = entered.filter(|edge| self.graph.promise[0].contains(&edge.3)).peekable();
        asked.peek()?;
        Some(asked.all(|edge| self.goal(edge.3)))
    }

    fn no_deadlock(&self) -> bool {
        self.reachable
            .iter()
            .all(|state| self.graph.edges.iter().any(|edge| edge.0 == *state && edge.3 != *state))
    }

    fn always_possible(&self) -> bool {
        let ahead = |state| closure(self.graph, BTreeSet::from([state]), |_| true);
        self.promised().into_iter().all(|state| ahead(state).into_iter().any(|to| self.goal(to)))
    }

    /// No run that broke the promise gets stuck, and no set of states is one that it can visit over and
    /// over, fairly. All sets are tried.
    fn leads_to(&self) -> bool {
        let avoids = |state: u32| !self.goal(state);
        let begin = self.promised().into_iter().filter(|state| avoids(*state)).collect();
        let astray: Vec<u32> = closure(self.graph, begin, avoids).into_iter().collect();
        let stuck = |state: &u32| !self.graph.edges.iter().any(|edge| edge.0 == *state);
        if astray.iter().any(stuck) {
            return false;
        }
        (1..1_u32 << astray.len()).all(|mask| {
            let set = astray.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1);
            !self.fairly_for_ever(&set.map(|(_, state)| *state).collect())
        })
    }

    fn fairly_for_ever(&self, set: &BTreeSet<u32>) -> bool {
        let inner = || {
            self.graph.edges.iter().filter(|edge| set.contains(&edge.0) && set.contains(&edge.3))
        };
        let round = set.iter().all(|state| {
            let next = inner().filter(|edge| edge.0 == *state).map(|edge| edge.3).collect();
            closure(self.graph, next, |to| set.contains(&to)) == *set
        });
        round
            && self.graph.fair.iter().all(|action| {
                let enabled = |state: &u32| self.graph.step(state, *action).is_ok();
                inner().any(|edge| edge.1 == *action) || !set.iter().all(enabled)
            })
    }

    /// The largest bisimulation over observers' actions: pairs are struck out until none is left to be.
    fn alike(&self, actions: &[u8]) -> BTreeSet<(u32, u32)> {
        let states = || 0..STATES;
        let mut alike: BTreeSet<_> = states().flat_map(|a| states().map(move |b| (a, b))).collect();
        loop {
            let wrong = alike.iter().copied().find(|(a, b)| {
                !actions.iter().all(|&action| {
                    match (self.graph.step(a, action), self.graph.step(b, action)) {
                        (Ok((one, a)), Ok((other, b))) => one == other && alike.contains(&(a, b)),
                        (Err(_), Err(_)) => true,
                        _ => false,
                    }
                })
            });
            let Some(wrong) = wrong else { return alike };
            alike.remove(&wrong);
        }
    }

    /// `None` if nothing is ever disrupted.
    fn transparent(&self) -> Option<bool> {
        let observers: Vec<u8> = (0..ACTIONS).collect();
        let alike = self.alike(&observers);
        let mut pairs = self.reachable.iter().filter_map(|state| {
            let (_, disturbed) = self.graph.step(state, 9).ok()?;
            Some((disturbed, self.graph.undisturbed(state, 9)))
        });
        let first = pairs.next()?;
        Some(alike.contains(&first) && pairs.all(|pair| alike.contains(&pair)))
    }
}

/// What can be reached from some states without leaving `within`.
fn closure(graph: &Graph, begin: BTreeSet<u32>, within: impl Fn(u32) -> bool) -> BTreeSet<u32> {
    let mut met = begin;
    loop {
        let ahead = graph.edges.iter().filter(|edge| met.contains(&edge.0) && within(edge.3));
        let more: BTreeSet<u32> = ahead.map(|edge| edge.3).filter(|to| !met.contains(to)).collect();
        if more.is_empty() {
            return met;
        }
        met.extend(more);
    }
}

fn judge(graph: &Graph, threads: usize) -> Report<Graph> {
    let threads = NonZeroUsize::new(threads).unwrap();
    check::check(graph, &Options { threads, ..Options::default() }, |_| true).unwrap()
}

/// `Some(true)` for a law that holds, `None` for one that was never asked.
fn held(verdict: &Verdict<Graph>) -> Option<bool> {
    match verdict {
        Verdict::Holds => Some(true),
        Verdict::Vacuous => None,
        Verdict::Violated(_) => Some(false),
        other => panic!("a complete search answered: {other}"),
    }
}

/// Where a run leads, step by step as it was observed; every initial state is tried.
fn replay(graph: &Graph, begin: &[u32], run: &[Seen<Graph>]) -> BTreeSet<u32> {
    let follow = |begin: &u32| {
        run.iter().try_fold(*begin, |at, seen| {
            let (outcome, next) = graph.step(&at, seen.action).ok()?;
            (outcome == seen.outcome).then_some(next)
        })
    };
    begin.iter().filter_map(follow).collect()
}

/// A counterexample is a run of the graph, and what it shows is so.
fn shows(graph: &Graph, law: &str, shown: &Counterexample<Graph>) {
    let ends = replay(graph, &graph.initial, &shown.path);
    assert!(ends.contains(&shown.state), "{law}: the path leads to {ends:?}, not to {shown:?}");
    let naive = Naive::new(graph);
    match &shown.fault {
        Fault::State | Fault::Step => {
            assert_eq!(judged(graph, shown.state), Judgement::Violated);
        }
        Fault::Deadlock => {
            assert!(!graph.edges.iter().any(|e| e.0 == shown.state && e.3 != shown.state));
        }
        Fault::Unreachable => assert!(shown.path.is_empty()),
        Fault::Trap => {
            let ahead = closure(graph, BTreeSet::from([shown.state]), |_| true);
            assert!(!ahead.into_iter().any(|state| naive.goal(state)));
        }
        Fault::Cycle(cycle) if cycle.is_empty() => {
            assert!(!graph.edges.iter().any(|edge| edge.0 == shown.state));
        }
        Fault::Cycle(cycle) => {
            assert_eq!(replay(graph, &[shown.state], cycle), BTreeSet::from([shown.state]));
            let visited: BTreeSet<u32> = (0..cycle.len())
                .flat_map(|steps| replay(graph, &[shown.state], &cycle[..steps]))
                .collect();
            assert!(!visited.iter().any(|state| naive.goal(*state)), "{cycle:?}");
            for action in &graph.fair {
                let taken = cycle.iter().any(|seen| seen.action == *action);
                assert!(taken || visited.iter().any(|state| graph.step(state, *action).is_err()));
            }
        }
        Fault::Noticed { disruption, tell } => {
            let (outcome, mut disturbed) = graph.step(&shown.state, disruption.action).unwrap();
            assert_eq!(outcome, disruption.outcome);
            let mut undisturbed = graph.undisturbed(&shown.state, disruption.action);
            for (at, told) in tell.iter().enumerate() {
                let (one, other) =
                    (graph.step(&disturbed, told.action), graph.step(&undisturbed, told.action));
                assert_eq!(one.map(|(outcome, _)| outcome), told.disturbed);
                assert_eq!(other.map(|(outcome, _)| outcome), told.undisturbed);
                assert_eq!(told.disturbed == told.undisturbed, at + 1 < tell.len());
                if let (Ok((_, one)), Ok((_, other))) = (one, other) {
                    (disturbed, undisturbed) = (one, other);
                }
            }
        }
    }
}

/// Steps to the nearest of some states.
fn distance(graph: &Graph, wanted: impl Fn(u32) -> bool) -> Option<usize> {
    let mut met: BTreeSet<u32> = graph.initial.iter().copied().collect();
    let mut steps = 0;
    while !met.iter().any(|state| wanted(*state)) {
        let more: BTreeSet<u32> =
            graph.edges.iter().filter(|edge| met.contains(&edge.0)).map(|edge| edge.3).collect();
        if more.is_subset(&met) {
            return None;
        }
        met.extend(more);
        steps += 1;
    }
    Some(steps)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_law_is_judged_by_its_definition(graph in graphs()) {
        let report = judge(&graph, 1);
        let naive = Naive::new(&graph);
        prop_assert_eq!(report.exploration.len(), naive.reachable.len());
        let promised = !naive.promised().is_empty();
        let sometimes = naive.reachable.iter().any(|state| naive.goal(*state));
        let expected = [
            promised.then(|| naive.always()),
            naive.always_step(),
            Some(sometimes),
            Some(naive.no_deadlock()),
            naive.transparent(),
            promised.then(|| naive.always_possible()),
            promised.then(|| naive.leads_to()),
        ];
        for (answer, expected) in report.answers.iter().zip(expected) {
            prop_assert_eq!(held(&answer.verdict), expected, "{}", answer.property);
            if let Some(shown) = answer.verdict.counterexample() {
                shows(&graph, answer.property, shown);
            }
        }
        let trap = |state| {
            graph.promise[0].contains(&state)
                && !closure(&graph, BTreeSet::from([state]), |_| true).iter().any(|to| naive.goal(*to))
        };
        prop_assert_eq!(
            report.answers[0].verdict.trace_len(),
            distance(&graph, |state| judged(&graph, state) == Judgement::Violated)
        );
        prop_assert_eq!(report.answers[5].verdict.trace_len(), distance(&graph, trap));
    }

    #[test]
    fn paths_are_shortest(graph in graphs()) {
        let found = explore(&graph, &Options::default()).unwrap();
        for id in 0..found.len() as u32 {
            let state = *found.state(id);
            let (start, path) = found.path(id);
            prop_assert!(found.initial().contains(&start));
            prop_assert_eq!(Some(path.len()), distance(&graph, |other| other == state));
            prop_assert_eq!(path.len(), found.depth_of(id) as usize);
            prop_assert_eq!(found.id(&state), Some(id));
            let seen = check::run(&found, id);
            prop_assert_eq!(replay(&graph, &[*found.state(start)], &seen), BTreeSet::from([state]));
        }
    }

    #[test]
    fn two_machines_are_equivalent_as_their_union_says(graph in graphs(), a in 0..STATES, b in 0..STATES) {
        let first = Graph { initial: vec![a], ..graph.clone() };
        let second = Graph { initial: vec![b], ..graph.clone() };
        let every: Vec<u8> = first.alphabet();
        let alike = Naive::new(&graph).alike(&every).contains(&(a, b));
        match difference(&first, &second, &Options::default()).unwrap() {
            Difference::Equivalent { .. } => prop_assert!(alike),
            Difference::Differs { path, action, first: one, second: other } => {
                prop_assert!(!alike);
                prop_assert_ne!(&one, &other);
                let answer = |begin| {
                    let end = replay(&graph, &[begin], &path).into_iter().next().unwrap();
                    graph.step(&end, action).map(|(outcome, _)| outcome)
                };
                prop_assert_eq!((answer(a), answer(b)), (one, other));
            }
            Difference::OutOfBudget { .. } => prop_assert!(false, "there is no budget"),
        }
    }

    #[test]
    fn the_smallest_machine_has_a_state_for_each_class(graph in graphs()) {
        let found = explore(&graph, &Options::default()).unwrap();
        let minimal = minimise(&found, &found.edges(NonZeroUsize::MIN));
        let naive = Naive::new(&graph);
        let alike = naive.alike(&graph.alphabet());
        let first = |state: &u32| !naive.reachable.iter().any(|other| other < state && alike.contains(&(*other, *state)));
        prop_assert_eq!(minimal.states, naive.reachable.iter().filter(|state| first(state)).count());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn threads_change_nothing(graph in wide_graphs()) {
        let run = |threads| {
            let report = judge(&graph, threads);
            let found = &report.exploration;
            let states: Vec<u32> = (0..found.len() as u32).map(|id| *found.state(id)).collect();
            let paths: Vec<_> = (0..found.len() as u32).map(|id| found.path(id)).collect();
            let edges = found.edges(NonZeroUsize::new(threads).unwrap());
            let steps: Vec<Vec<_>> = (0..found.len() as u32).map(|id| edges.steps(id).collect()).collect();
            let minimal = minimise(found, &edges);
            let answers: Vec<_> = report.answers.iter().map(|answer| (answer.asked, answer.verdict.clone())).collect();
            (states, paths, steps, edges.outcomes().to_vec(), minimal, answers)
        };
        let once = run(1);
        prop_assert!(run(2) == once);
        prop_assert!(run(3) == once);
    }
}
