//! Tours that look where they are: every step is followed by words that tell its target from every other
//! state.
//!
//! A tour of all steps shows that each is answered as it should be, but not where it leads: a step into a
//! wrong state is seen only if something later happens to be answered differently. Here each step is
//! followed by verification words of its target, the steps of a state that lead nowhere are taken in one
//! batch, and what single faults remain are told by tests of their own (`mutate::prove`).

use std::collections::VecDeque;

use super::Cut;
use crate::mutate::{Machine, TooMany, prove, separator, survivors};

/// Traces, as numbers of actions, that tell every single wrong target of every step, as far as any trace can.
pub(super) fn checked(machine: &Machine, cut: Cut) -> Result<Vec<Vec<usize>>, TooMany> {
    TooMany::check(machine, cut.faults_max)?;
    let mut tours = Walker::new(machine).tours(cut);
    tours.extend(prove(machine, &survivors(machine, &tours)).tests);
    Ok(tours)
}

/// Goals of one state: sequences of actions to be taken from it.
struct Walker<'m> {
    machine: &'m Machine,
    open: Vec<Vec<Vec<usize>>>,
    access: Vec<Vec<usize>>,
    first: usize,
}

impl<'m> Walker<'m> {
    fn new(machine: &'m Machine) -> Self {
        let states = machine.states() as u32;
        let reached = machine.is_reached();
        let words: Vec<Vec<Vec<usize>>> =
            (0..states).map(|state| verification_words(machine, state)).collect();
        let mut open: Vec<Vec<Vec<usize>>> = vec![Vec::new(); states as usize];
        for state in (0..states).filter(|state| reached[*state as usize]) {
            let goals = &mut open[state as usize];
            let stays =
                |(action, target, _): (usize, u32, u32)| (target == state).then_some(action);
            let batch: Vec<usize> = machine.steps(state).filter_map(stays).collect();
            if !batch.is_empty() {
                goals.extend(followed(&batch, &words[state as usize]));
            }
            for (action, target, _) in machine.steps(state).filter(|step| step.1 != state) {
                goals.extend(followed(&[action], &words[target as usize]));
            }
            // The last is taken first.
            goals.reverse();
        }
        Walker { machine, open, access: machine.access(), first: 0 }
    }

    fn tours(mut self, cut: Cut) -> Vec<Vec<usize>> {
        // The states nearest to the initial one first, so that set-ups are short.
        let mut order: Vec<usize> = (0..self.open.len()).collect();
        order.sort_by_key(|state| self.access[*state].len());
        let mut tours = Vec::new();
        while let Some(first) = self.first_open(&order) {
            let mut tour = self.access[first].clone();
            let mut at = first as u32;
            loop {
                while let Some(goal) = self.open[at as usize].pop() {
                    at = self.follow(at, &goal, &mut tour);
                    if tour.len() >= cut.steps_max {
                        break;
                    }
                }
                let Some(next) = self.first_open(&order) else { break };
                let by_reset = cut.reset_cost + self.access[next].len();
                let room = cut.steps_max.saturating_sub(tour.len());
                match self.way_to_open(at, by_reset.min(room)) {
                    Some(way) => at = self.follow(at, &way, &mut tour),
                    None => break,
                }
            }
            tours.push(tour);
        }
        tours
    }

    fn first_open(&mut self, order: &[usize]) -> Option<usize> {
        while order.get(self.first).is_some_and(|state| self.open[*state].is_empty()) {
            self.first += 1;
        }
        order.get(self.first).copied()
    }

    fn follow(&self, from: u32, actions: &[usize], tour: &mut Vec<usize>) -> u32 {
        tour.extend(actions);
        actions.iter().fold(from, |at, action| {
            self.machine.step(at, *action).map_or(at, |(target, _)| target)
        })
    }

    /// The shortest way to a state with goals, if it is shorter than starting anew.
    fn way_to_open(&self, from: u32, shorter_than: usize) -> Option<Vec<usize>> {
        let is_open = |state: u32| !self.open[state as usize].is_empty();
        search(self.machine, from, shorter_than, is_open)
    }
}

/// A breadth-first search for a state.
fn search(
    machine: &Machine,
    from: u32,
    shorter_than: usize,
    is_goal: impl Fn(u32) -> bool,
) -> Option<Vec<usize>> {
    let mut met = vec![None; machine.states()];
    met[from as usize] = Some((from, 0));
    let mut queue = VecDeque::from([(from, 0)]);
    while let Some((at, length)) = queue.pop_front() {
        if is_goal(at) {
            let (mut way, mut back) = (Vec::new(), at);
            while let Some((before, action)) = met[back as usize].filter(|_| back != from) {
                way.push(action);
                back = before;
            }
            way.reverse();
            return Some(way);
        }
        if length >= shorter_than {
            continue;
        }
        for (action, target, _) in machine.steps(at) {
            if met[target as usize].is_none() {
                met[target as usize] = Some((at, action));
                queue.push_back((target, length + 1));
            }
        }
    }
    None
}

/// `prefix` followed by each word; alone where there is none, because nothing can be told apart.
fn followed(prefix: &[usize], words: &[Vec<usize>]) -> Vec<Vec<usize>> {
    match words {
        [] => vec![prefix.to_vec()],
        words => words.iter().map(|word| [prefix, word].concat()).collect(),
    }
}

/// Words that together tell a state from every other one that any word of its own tells it from.
fn verification_words(machine: &Machine, state: u32) -> Vec<Vec<usize>> {
    let mut unlike: Vec<u32> =
        (0..machine.states() as u32).filter(|other| *other != state).collect();
    let mut words = Vec::new();
    while !unlike.is_empty() {
        let (word, told) = word_of(machine, state, &unlike);
        if told.is_empty() {
            break;
        }
        words.push(word);
        unlike.retain(|other| told.binary_search(other).is_err());
    }
    words
}

/// A word of one state, greedy for telling it from others, and those it tells, sorted.
fn word_of(machine: &Machine, state: u32, unlike: &[u32]) -> (Vec<usize>, Vec<u32>) {
    let (mut word, mut told) = (Vec::new(), Vec::new());
    let mut at = state;
    // A state that is to be told, and where it would be now.
    let mut left: Vec<(u32, u32)> = unlike.iter().map(|other| (*other, *other)).collect();
    let mut planned: VecDeque<usize> = VecDeque::new();
    while !left.is_empty() {
        let action = match planned.pop_front() {
            Some(action) => action,
            None => match best(machine, at, &left) {
                Some(action) => action,
                None => {
                    // Nothing tells in one step: take the shortest word that tells somebody.
                    let separator =
                        left.iter().find_map(|(_, now)| separator(machine, (at, *now), None));
                    let Some(separator) = separator else { break };
                    planned = separator.into();
                    continue;
                }
            },
        };
        let Some((target, outcome)) = machine.step(at, action) else { break };
        word.push(action);
        at = target;
        left.retain_mut(|(who, now)| match machine.step(*now, action) {
            Some((next, found)) if found == outcome => {
                *now = next;
                // From here on it does as the right one.
                next != target
            }
            _ => {
                told.push(*who);
                false
            }
        });
    }
    told.sort_unstable();
    (word, told)
}

/// The step that tells the most and confuses the fewest; `None` if none tells anybody.
fn best(machine: &Machine, at: u32, left: &[(u32, u32)]) -> Option<usize> {
    let mut best = None;
    for (action, target, outcome) in machine.steps(at) {
        let (mut told, mut merged) = (0_i64, 0_i64);
        for (_, now) in left {
            match machine.step(*now, action) {
                Some((next, found)) if found == outcome => merged += i64::from(next == target),
                _ => told += 1,
            }
        }
        let score = 2 * told - 3 * merged;
        if told > 0 && best.is_none_or(|(most, _)| score > most) {
            best = Some((score, action));
        }
    }
    best.map(|(_, action)| action)
}
