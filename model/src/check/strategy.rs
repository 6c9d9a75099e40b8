//! Can any daemon at all satisfy these properties together, whatever it remembers?
//!
//! A design is one way to answer. Here the daemon may answer anything, at every step anew and with the whole history
//! in mind; the others do what they like. If it has an answer in every state that they can bring about, some daemon
//! satisfies the properties; if not, none does, and there is a history in which every answer is wrong. Both are
//! decided on the finite graph of all answers, so nothing is left to argue about but the answers that are allowed.

use std::collections::HashMap;

use crate::{
    study::{Judgement, Law, Property, Study},
    words::words,
};

/// Everything that a daemon might answer to an action in a state, and what comes of it; nothing where the action is
/// not possible. What only the world decides has one answer.
pub type Answers<'a, S> = &'a dyn Fn(
    &<S as Study>::State,
    <S as Study>::Action,
) -> Vec<(<S as Study>::Outcome, <S as Study>::State)>;

/// A study whose daemon may answer otherwise.
pub struct Game<'a, S: Study> {
    /// Actions, properties and where a run begins.
    pub study: &'a S,
    /// What may be answered.
    pub answers: Answers<'a, S>,
}

impl<S: Study> std::fmt::Debug for Game<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Game").finish_non_exhaustive()
    }
}

/// Whether the properties can be had together.
#[derive(Clone, Debug, PartialEq)]
pub enum Possible<S: Study> {
    /// A daemon that chooses well satisfies them for ever; so many states come about.
    Yes {
        /// All states that some right answers lead to.
        states: usize,
    },
    /// Sooner or later every answer is wrong.
    No(Forced<S>),
}

/// The shortest history that leaves no right answer, against a daemon that evades it as long as it can.
#[derive(Clone, Debug, PartialEq)]
pub struct Forced<S: Study> {
    /// What was done, and what the daemon did best to answer.
    pub history: Vec<(S::Action, S::Outcome)>,
    /// What is done then.
    pub last: S::Action,
    /// Every answer to it, with the first property that it violates.
    pub wrong: Vec<(S::Outcome, &'static str)>,
}

impl<S: Study> Forced<S> {
    /// Actions with their outcomes; the last with every answer that there is, and what is wrong with it.
    pub fn steps(&self) -> Vec<String> {
        let answered = |(action, outcome): &(S::Action, S::Outcome)| {
            format!("{} -> {}", words(action), words(outcome))
        };
        let mut steps: Vec<String> = self.history.iter().map(answered).collect();
        let wrong =
            self.wrong.iter().map(|(outcome, why)| format!("{} (against: {why})", words(outcome)));
        steps.push(format!("{} -> {}", words(&self.last), wrong.collect::<Vec<_>>().join(" or ")));
        steps
    }
}

/// The right answers to an action, each with the number of the node that it leads to.
type Right<S> = Vec<(<S as Study>::Outcome, usize)>;

/// One node: for each possible action, the right answers as numbers of nodes.
struct Node<S: Study> {
    state: S::State,
    moves: Vec<(S::Action, Right<S>)>,
}

/// Decides it for the properties that `wanted` selects by name, which must be invariants of states or steps.
///
/// # Panics
/// When a property is of another kind: it would be passed over in silence.
pub fn possible<S: Study>(game: &Game<'_, S>, wanted: impl Fn(&str) -> bool) -> Possible<S> {
    let all = game.study.properties();
    let wanted: Vec<&Property<S>> = all.iter().filter(|property| wanted(property.name)).collect();
    for property in &wanted {
        let is_invariant = matches!(property.law, Law::Always(_) | Law::AlwaysStep(_));
        assert!(is_invariant, "only invariants can be asked of every daemon: {}", property.name);
    }
    let nodes = graph(game, &wanted);
    let lost_in = losing(&nodes);
    // Every initial state counts: the world chooses.
    let initial = game.study.initial().len();
    let worst = (0..initial).filter_map(|at| lost_in[at].map(|turns| (turns, at))).min();
    match worst {
        None => Possible::Yes { states: nodes.len() },
        Some((_, at)) => Possible::No(forced(game, &wanted, &nodes, &lost_in, at)),
    }
}

fn violated<S: Study>(
    game: &Game<'_, S>,
    wanted: &[&Property<S>],
    before: &S::State,
    action: S::Action,
    (outcome, after): &(S::Outcome, S::State),
) -> Option<&'static str> {
    let is_violated = |property: &&&Property<S>| {
        let judged = match property.law {
            Law::Always(judge) => judge(game.study, after),
            Law::AlwaysStep(judge) => judge(game.study, before, action, outcome, after),
            _ => Judgement::NotAsked,
        };
        judged == Judgement::Violated
    };
    wanted.iter().find(is_violated).map(|property| property.name)
}

fn graph<S: Study>(game: &Game<'_, S>, wanted: &[&Property<S>]) -> Vec<Node<S>> {
    let alphabet = game.study.alphabet();
    let mut numbers: HashMap<S::State, usize> = HashMap::new();
    let mut nodes: Vec<Node<S>> = Vec::new();
    for state in game.study.initial() {
        numbers.insert(state.clone(), nodes.len());
        nodes.push(Node { state, moves: Vec::new() });
    }
    let mut next = 0;
    while next < nodes.len() {
        let state = nodes[next].state.clone();
        for &action in &alphabet {
            let answers = (game.answers)(&state, action);
            if answers.is_empty() {
                continue;
            }
            let right = answers
                .into_iter()
                .filter(|answer| violated(game, wanted, &state, action, answer).is_none());
            let mut to: Right<S> = Vec::new();
            for (outcome, after) in right {
                let number = *numbers.entry(after.clone()).or_insert_with(|| {
                    nodes.push(Node { state: after, moves: Vec::new() });
                    nodes.len() - 1
                });
                to.push((outcome, number));
            }
            nodes[next].moves.push((action, to));
        }
        next += 1;
    }
    nodes
}

/// In how many turns the world wins from each node, if it does: the least fixpoint, round by round.
fn losing<S: Study>(nodes: &[Node<S>]) -> Vec<Option<usize>> {
    let mut lost_in = vec![None; nodes.len()];
    for turns in 1.. {
        let now: Vec<usize> = (0..nodes.len())
            .filter(|&at| lost_in[at].is_none())
            .filter(|&at| {
                let is_forced = |(_, to): &(S::Action, Right<S>)| {
                    to.iter().all(|&(_, next)| lost_in[next].is_some())
                };
                nodes[at].moves.iter().any(is_forced)
            })
            .collect();
        if now.is_empty() {
            break;
        }
        now.into_iter().for_each(|at| lost_in[at] = Some(turns));
    }
    lost_in
}

fn forced<S: Study>(
    game: &Game<'_, S>,
    wanted: &[&Property<S>],
    nodes: &[Node<S>],
    lost_in: &[Option<usize>],
    mut at: usize,
) -> Forced<S> {
    let mut history = Vec::new();
    // Each turn the number goes down, so this ends.
    loop {
        let node = &nodes[at];
        let longest = |to: &[(S::Outcome, usize)]| {
            let mut turns = to.iter().map(|&(_, next)| lost_in[next]);
            turns.try_fold(0, |longest: usize, turns| Some(longest.max(turns?)))
        };
        let quickest =
            node.moves.iter().filter_map(|(action, to)| Some((longest(to)?, action, to)));
        // The first of the quickest, in the order of the alphabet.
        let Some((_, &action, to)) = quickest.min_by_key(|(turns, ..)| *turns) else {
            unreachable!("a lost state has an action that loses it")
        };
        let evades = to.iter().rev().max_by_key(|(_, next)| lost_in[*next]);
        match evades {
            Some((outcome, next)) => {
                history.push((action, outcome.clone()));
                at = *next;
            }
            None => {
                let answers = (game.answers)(&node.state, action);
                let named = answers.into_iter().map(|answer| {
                    let why = violated(game, wanted, &node.state, action, &answer);
                    (answer.0, why.unwrap_or_default())
                });
                return Forced { history, last: action, wrong: named.collect() };
            }
        }
    }
}

/// Properties that no daemon satisfies together, although one satisfies all but any one of them.
pub type Conflict<S> = (Vec<&'static str>, Forced<S>);

/// Every smallest set of these properties that no daemon satisfies together, by size and order.
pub fn conflicts<S: Study>(game: &Game<'_, S>, names: &[&'static str]) -> Vec<Conflict<S>> {
    let mut found: Vec<(u32, Conflict<S>)> = Vec::new();
    let mut sets: Vec<u32> = (1..1u32 << names.len()).collect();
    sets.sort_by_key(|set| (set.count_ones(), *set));
    for set in sets {
        if found.iter().any(|(smaller, _)| smaller & set == *smaller) {
            continue;
        }
        let chosen: Vec<&'static str> =
            (0..).zip(names).filter(|(at, _)| set >> at & 1 == 1).map(|(_, name)| *name).collect();
        if let Possible::No(forced) = possible(game, |name| chosen.contains(&name)) {
            found.push((set, (chosen, forced)));
        }
    }
    found.into_iter().map(|(_, conflict)| conflict).collect()
}
