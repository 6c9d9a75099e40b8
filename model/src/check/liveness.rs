//! What must stay possible, and what must come: on the complete graph.

use super::{
    Seen, demonstrate,
    verdict::{Counterexample, Fault},
};
use crate::{
    explore::{Edges, Exploration, StateId},
    study::Study,
};

type Holds<S> = fn(&S, &<S as Study>::State) -> bool;

fn ids(len: usize) -> std::ops::Range<StateId> {
    0..StateId::try_from(len).unwrap_or(StateId::MAX)
}

/// How many states make the promise, and the first that cannot keep it.
pub(super) fn always_possible<S: Study>(
    exploration: &Exploration<S>,
    edges: &Edges<S::Outcome>,
    from: Holds<S>,
    goal: Holds<S>,
) -> (u64, Option<StateId>) {
    let study = exploration.study();
    let states = || ids(exploration.len());
    let (firsts, sources) = predecessors(edges);
    let mut can: Vec<bool> = states().map(|id| goal(study, exploration.state(id))).collect();
    let mut queue: Vec<StateId> = states().filter(|id| can[*id as usize]).collect();
    while let Some(id) = queue.pop() {
        let range = firsts[id as usize]..firsts[id as usize + 1];
        for &source in &sources[range] {
            if !std::mem::replace(&mut can[source as usize], true) {
                queue.push(source);
            }
        }
    }
    let asked = states().filter(|id| from(study, exploration.state(*id)));
    let (mut count, mut trap) = (0, None);
    for id in asked {
        count += 1;
        if !can[id as usize] && trap.is_none() {
            trap = Some(id);
        }
    }
    (count, trap)
}

/// Who leads to each state: rows of one array, and where each row begins.
fn predecessors<O>(edges: &Edges<O>) -> (Vec<usize>, Vec<StateId>) {
    let mut firsts = vec![0; edges.states() + 1];
    for id in ids(edges.states()) {
        edges.steps(id).for_each(|(_, target, _)| firsts[target as usize + 1] += 1);
    }
    for at in 1..firsts.len() {
        firsts[at] += firsts[at - 1];
    }
    let mut next = firsts.clone();
    let mut sources = vec![0; firsts.last().copied().unwrap_or(0)];
    for id in ids(edges.states()) {
        for (_, target, _) in edges.steps(id) {
            sources[next[target as usize]] = id;
            next[target as usize] += 1;
        }
    }
    (firsts, sources)
}

/// How many states make the promise, and a fair run that breaks it.
pub(super) fn leads_to<S: Study>(
    exploration: &Exploration<S>,
    edges: &Edges<S::Outcome>,
    from: Holds<S>,
    goal: Holds<S>,
    fair: fn(&S, S::Action) -> bool,
) -> (u64, Option<Counterexample<S>>) {
    let study = exploration.study();
    let without: Vec<bool> =
        ids(exploration.len()).map(|id| !goal(study, exploration.state(id))).collect();
    let promised: Vec<StateId> =
        ids(exploration.len()).filter(|id| from(study, exploration.state(*id))).collect();
    let asked = promised.len() as u64;

    // Where a run can be that has made the promise and not kept it, and how it came there.
    let mut came: Vec<Option<Came>> = vec![None; exploration.len()];
    let mut queue = std::collections::VecDeque::new();
    for &id in promised.iter().filter(|id| without[**id as usize]) {
        came[id as usize] = Some(Came::Promised);
        queue.push_back(id);
    }
    let mut order = Vec::new();
    while let Some(id) = queue.pop_front() {
        order.push(id);
        for (action, target, _) in edges.steps(id) {
            if without[target as usize] && came[target as usize].is_none() {
                came[target as usize] = Some(Came::By(id, action));
                queue.push_back(target);
            }
        }
    }

    let inside = |id: StateId| came[id as usize].is_some();
    let fair: Vec<usize> = (0..edges.actions())
        .filter(|&number| fair(study, exploration.alphabet()[number]))
        .collect();
    let components = components(edges, &order, &inside);
    // The first broken promise in the order of the search.
    let mut unfair = std::collections::BTreeSet::new();
    let broken = order.iter().find_map(|&id| {
        if edges.steps(id).next().is_none() {
            return Some((id, Vec::new()));
        }
        let component = components[id as usize];
        if unfair.contains(&component) {
            return None;
        }
        let cycle = fair_cycle(edges, id, &components, &fair);
        if cycle.is_none() {
            unfair.insert(component);
        }
        cycle.map(|cycle| (id, cycle))
    });
    let lasso = broken.map(|(id, cycle)| {
        let mut tail = Vec::new();
        let mut at = id;
        while let Some(Came::By(before, action)) = came[at as usize] {
            tail.push((before, action));
            at = before;
        }
        tail.reverse();
        let seen = |(state, action): (StateId, usize)| {
            let outcome =
                edges.step(state, action).map(|(_, outcome)| edges.outcome(outcome).clone());
            outcome.map(|outcome| Seen { action: exploration.alphabet()[action], outcome })
        };
        let fault = Fault::Cycle(cycle.into_iter().filter_map(seen).collect());
        let mut shown = demonstrate(exploration, at, fault);
        shown.path.extend(tail.into_iter().filter_map(seen));
        shown.state = exploration.state(id).clone();
        shown
    });
    (asked, lasso)
}

#[derive(Clone, Copy)]
enum Came {
    Promised,
    By(StateId, usize),
}

/// The number of the strongly connected component of each state inside (Tarjan, without recursion);
/// states outside have none.
fn components<O>(
    edges: &Edges<O>,
    states: &[StateId],
    inside: &impl Fn(StateId) -> bool,
) -> Vec<u32> {
    const UNSEEN: u32 = u32::MAX;
    let mut component = vec![UNSEEN; edges.states()];
    let mut index = vec![UNSEEN; edges.states()];
    let mut low = vec![0; edges.states()];
    let (mut stack, mut next_index, mut next_component) = (Vec::new(), 0, 0);
    for &root in states {
        let mut calls = if index[root as usize] == UNSEEN { vec![(root, 0)] } else { Vec::new() };
        'calls: while let Some((id, first)) = calls.pop() {
            let at = id as usize;
            if index[at] == UNSEEN {
                (index[at], low[at]) = (next_index, next_index);
                next_index += 1;
                stack.push(id);
            }
            for action in first..edges.actions() {
                let Some((target, _)) = edges.step(id, action) else { continue };
                let to = target as usize;
                if !inside(target) || component[to] != UNSEEN {
                    continue;
                }
                if index[to] == UNSEEN {
                    // Afterwards this same step is looked at again, and tells how low it led.
                    calls.push((id, action));
                    calls.push((target, 0));
                    continue 'calls;
                }
                low[at] = low[at].min(low[to]);
            }
            if low[at] == index[at] {
                while let Some(member) = stack.pop() {
                    component[member as usize] = next_component;
                    if member == id {
                        break;
                    }
                }
                next_component += 1;
            }
        }
    }
    component
}

/// A cycle through `id` that stays in its component and is fair, if the component allows one.
fn fair_cycle<O>(
    edges: &Edges<O>,
    id: StateId,
    component: &[u32],
    fair: &[usize],
) -> Option<Vec<(StateId, usize)>> {
    let home = component[id as usize];
    let inner = |state: StateId| {
        edges
            .steps(state)
            .filter(|(_, target, _)| component[*target as usize] == home)
            .map(|(action, target, _)| (action, target))
    };
    inner(id).next()?;
    // For each fair action: a step that takes it, or a state where it is not enabled.
    let mut members = vec![id];
    let mut seen = std::collections::BTreeSet::from([id]);
    let mut at = 0;
    while at < members.len() {
        for (_, target) in inner(members[at]) {
            if seen.insert(target) {
                members.push(target);
            }
        }
        at += 1;
    }
    let mut visits = Vec::new();
    for &action in fair {
        let disabled = members.iter().find(|&&state| edges.step(state, action).is_none());
        let taken = members.iter().find(|&&state| inner(state).any(|(number, _)| number == action));
        visits.push(match (disabled, taken) {
            (Some(&state), _) => (state, None),
            (None, Some(&state)) => (state, Some(action)),
            (None, None) => return None,
        });
    }
    let mut cycle = Vec::new();
    let mut now = id;
    for (state, action) in visits {
        cycle.extend(walk(now, state, &inner)?);
        now = state;
        if let Some(action) = action {
            cycle.push((now, action));
            now = edges.step(now, action)?.0;
        }
    }
    if cycle.is_empty() || now != id {
        if now == id {
            let (action, target) = inner(id).next()?;
            cycle.push((id, action));
            now = target;
        }
        cycle.extend(walk(now, id, &inner)?);
    }
    Some(cycle)
}

/// The shortest walk from one state to another along the given steps.
fn walk<I: Iterator<Item = (usize, StateId)>>(
    from: StateId,
    to: StateId,
    inner: &impl Fn(StateId) -> I,
) -> Option<Vec<(StateId, usize)>> {
    let mut came = std::collections::BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([from]);
    let mut found = from == to;
    while let (false, Some(state)) = (found, queue.pop_front()) {
        for (action, target) in inner(state) {
            if target != from && !came.contains_key(&target) {
                came.insert(target, (state, action));
                queue.push_back(target);
                found |= target == to;
            }
        }
    }
    let mut walk = Vec::new();
    let mut at = to;
    while at != from {
        let (before, action) = came.get(&at).copied()?;
        walk.push((before, action));
        at = before;
    }
    walk.reverse();
    Some(walk)
}
