//! The smallest machine that behaves the same, and a name for it.

use std::collections::VecDeque;

use super::refine::{BLOCKED, Refinement, Table};
use crate::{
    explore::{Edges, Exploration, StateId},
    study::Study,
    words::words,
};

/// The quotient of a complete machine by equivalence over all of its actions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minimal {
    /// States of the smallest machine.
    pub states: usize,
    /// The state of the smallest machine that each state is; numbered by their first members.
    pub classes: Vec<u32>,
    /// The first member of each.
    pub representatives: Vec<StateId>,
    /// A digest of that machine, by the names of actions and outcomes: it changes with behaviour and
    /// not with how the study is written. 128 bits in hexadecimal.
    pub digest: String,
}

/// Minimises a complete machine.
pub fn minimise<S: Study>(exploration: &Exploration<S>, edges: &Edges<S::Outcome>) -> Minimal {
    let mut table = Table { states: edges.states(), columns: edges.actions(), ..Table::default() };
    for id in 0..edges.states() as StateId {
        for action in 0..edges.actions() {
            let (target, outcome) = edges.step(id, action).unwrap_or((BLOCKED, BLOCKED));
            table.targets.push(target);
            table.observed.push(outcome);
        }
    }
    let Refinement { classes, count, .. } = Refinement::new(&table).finish();
    let mut representatives = vec![BLOCKED; count];
    for (id, &class) in (0..).zip(&classes) {
        if representatives[class as usize] == BLOCKED {
            representatives[class as usize] = id;
        }
    }

    let actions: Vec<String> = exploration.alphabet().iter().map(words).collect();
    let outcomes: Vec<String> = edges.outcomes().iter().map(words).collect();
    let mut hasher = blake3::Hasher::new();
    let mut write = |text: &str| {
        hasher.update(text.as_bytes());
        hasher.update(b"\n");
    };
    // Classes are numbered anew, as a search of the small machine meets them.
    let mut names = vec![BLOCKED; count];
    let mut queue = VecDeque::new();
    let mut met = 0;
    let mut meet = |class: u32, queue: &mut VecDeque<u32>| {
        if names[class as usize] == BLOCKED {
            names[class as usize] = met;
            met += 1;
            queue.push_back(class);
        }
        names[class as usize]
    };
    for id in exploration.initial() {
        let name = meet(classes[id as usize], &mut queue);
        write(&format!("initial {name}"));
    }
    while let Some(class) = queue.pop_front() {
        for (action, target, outcome) in edges.steps(representatives[class as usize]) {
            let to = meet(classes[target as usize], &mut queue);
            write(&actions[action]);
            write(&outcomes[outcome as usize]);
            write(&to.to_string());
        }
        write("");
    }
    let digest = hasher.finalize().to_hex();
    let digest = digest[..32].to_owned();
    Minimal { states: count, classes, representatives, digest }
}
