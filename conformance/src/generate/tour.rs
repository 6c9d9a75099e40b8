//! Greedy tours: what can be covered here first, then the nearest that cannot.

use std::collections::VecDeque;

use statusquo_model::{
    explore::{Edges, Exploration, StateId},
    study::Study,
};

use super::{Criterion, Cut};
use crate::mutate::Machine;

/// Walks from the initial state, as (state, action), that together cover the criterion.
pub(super) fn tours<S: Study>(
    exploration: &Exploration<S>,
    edges: &Edges<S::Outcome>,
    criterion: Criterion,
    cut: Cut,
) -> Vec<Vec<(StateId, usize)>> {
    let mut walker = Walker::new(exploration, edges, criterion);
    let (mut tours, mut total) = (Vec::new(), 0);
    while let Some(first) = walker.first_open().filter(|_| total < cut.total_max) {
        // A trace begins in the first initial state. What only another one leads to stays open, and
        // whoever counts will say so.
        let access = match exploration.path(first) {
            (0, access) => access,
            _ => match walker.way_to_open(0, usize::MAX) {
                Some(access) => access,
                None => break,
            },
        };
        let mut tour = Vec::new();
        walker.visit(0);
        // The set-up is shared: on the way to the first open goal everything met is covered too.
        let mut at = walker.follow(access, 0, &mut tour);
        // However far the goal was, a trace covers one at least: the suite comes to an end.
        let steps_max = cut.steps_max.max(tour.len() + 1);
        loop {
            at = walker.cover_here(at, steps_max, &mut tour);
            let Some(next) = walker.first_open() else { break };
            let by_reset = cut.reset_cost + exploration.depth_of(next) as usize;
            let room = steps_max.saturating_sub(tour.len() + 1);
            match walker.way_to_open(at, by_reset.min(room)) {
                Some(way) => at = walker.follow(way, at, &mut tour),
                None => break,
            }
        }
        total += tour.len();
        tours.push(tour);
    }
    tours
}

/// Steps and resets that no covering suite can do without.
///
/// Every step to be covered is taken at least once. Leave a state v more often than it is entered by
/// steps to be covered, and each of the remaining departures needs an arrival of its own: a step taken
/// again, or a reset. Such an arrival serves one departure, so their number is a lower bound. Steps that
/// stay where they are need nothing. At least one reset begins the suite; it is the initial state's
/// arrival.
pub(super) fn lower_bound<S: Study>(
    exploration: &Exploration<S>,
    edges: &Edges<S::Outcome>,
    machine: &Machine,
    criterion: Criterion,
) -> u64 {
    match criterion {
        // Each state but the first is entered by a step.
        Criterion::States => exploration.len() as u64,
        Criterion::Transitions => {
            let steps = (0..exploration.len() as StateId)
                .flat_map(|id| edges.steps(id).map(move |(_, target, _)| (id, target)));
            every_step(exploration.len(), steps)
        }
        Criterion::Checked => {
            let steps = (0..machine.states() as StateId)
                .flat_map(|id| machine.steps(id).map(move |(_, target, _)| (id, target)));
            every_step(machine.states(), steps)
        }
    }
}

fn every_step(states: usize, steps: impl Iterator<Item = (StateId, StateId)>) -> u64 {
    let (mut balance, mut count) = (vec![0_i64; states], 0);
    for (from, to) in steps {
        count += 1;
        balance[from as usize] += 1;
        balance[to as usize] -= 1;
    }
    let arrivals: i64 = balance.iter().map(|lacking| (*lacking).max(0)).sum();
    count + arrivals.max(1).unsigned_abs()
}

struct Walker<'e, O> {
    edges: &'e Edges<O>,
    /// Steps, or states, still to be covered: by state and action, and counted by state.
    open: Vec<bool>,
    open_at: Vec<u32>,
    first: usize,
    criterion: Criterion,
    /// The search for the nearest goal: in which search a state was met, and from where.
    met: Vec<(u32, StateId, usize)>,
    searches: u32,
}

impl<'e, O> Walker<'e, O> {
    fn new<S: Study<Outcome = O>>(
        exploration: &Exploration<S>,
        edges: &'e Edges<O>,
        criterion: Criterion,
    ) -> Self {
        let states = exploration.len();
        let mut open = vec![false; states * edges.actions()];
        let mut open_at = vec![0; states];
        for id in 0..states as StateId {
            match criterion {
                Criterion::States => open_at[id as usize] = 1,
                Criterion::Transitions | Criterion::Checked => {
                    for (action, _, _) in edges.steps(id) {
                        open[id as usize * edges.actions() + action] = true;
                        open_at[id as usize] += 1;
                    }
                }
            }
        }
        Walker {
            edges,
            open,
            open_at,
            first: 0,
            criterion,
            met: vec![(0, 0, 0); states],
            searches: 0,
        }
    }

    /// The open goal with the shortest access path.
    fn first_open(&mut self) -> Option<StateId> {
        while self.open_at.get(self.first) == Some(&0) {
            self.first += 1;
        }
        (self.first < self.open_at.len()).then_some(self.first as StateId)
    }

    fn visit(&mut self, state: StateId) {
        if self.criterion == Criterion::States {
            self.open_at[state as usize] = 0;
        }
    }

    fn take(&mut self, state: StateId, action: usize, tour: &mut Vec<(StateId, usize)>) -> StateId {
        tour.push((state, action));
        let goal = &mut self.open[state as usize * self.edges.actions() + action];
        if std::mem::take(goal) {
            self.open_at[state as usize] -= 1;
        }
        let target = self.edges.step(state, action).map_or(state, |(target, _)| target);
        self.visit(target);
        target
    }

    fn follow(
        &mut self,
        way: Vec<usize>,
        from: StateId,
        tour: &mut Vec<(StateId, usize)>,
    ) -> StateId {
        way.into_iter().fold(from, |at, action| self.take(at, action, tour))
    }

    /// Covers the steps that stay here, then one open step that leads on, and so forth, until the tour
    /// has so many steps.
    fn cover_here(
        &mut self,
        mut at: StateId,
        steps_max: usize,
        tour: &mut Vec<(StateId, usize)>,
    ) -> StateId {
        while self.criterion == Criterion::Transitions
            && self.open_at[at as usize] > 0
            && tour.len() < steps_max
        {
            let edges = self.edges;
            let open =
                |walker: &Self, action: usize| walker.open[at as usize * edges.actions() + action];
            let mut onward = None;
            for (action, target, _) in edges.steps(at) {
                if !open(self, action) {
                    continue;
                }
                if target == at && tour.len() < steps_max {
                    self.take(at, action, tour);
                } else if target != at && onward.is_none() {
                    onward = Some(action);
                }
            }
            match onward {
                Some(action) if tour.len() < steps_max => at = self.take(at, action, tour),
                _ => break,
            }
        }
        at
    }

    /// The shortest way to a state with an open goal, if it is shorter than starting anew.
    fn way_to_open(&mut self, from: StateId, shorter_than: usize) -> Option<Vec<usize>> {
        self.searches += 1;
        self.met[from as usize] = (self.searches, from, 0);
        let mut queue = VecDeque::from([(from, 0)]);
        while let Some((at, length)) = queue.pop_front() {
            if length >= shorter_than {
                return None;
            }
            for (action, target, _) in self.edges.steps(at) {
                if self.met[target as usize].0 == self.searches {
                    continue;
                }
                self.met[target as usize] = (self.searches, at, action);
                if self.open_at[target as usize] > 0 {
                    return Some(self.way_back(from, target));
                }
                queue.push_back((target, length + 1));
            }
        }
        None
    }

    fn way_back(&self, from: StateId, mut at: StateId) -> Vec<usize> {
        let mut way = Vec::new();
        while at != from {
            let (_, before, action) = self.met[at as usize];
            way.push(action);
            at = before;
        }
        way.reverse();
        way
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use serde::{Deserialize, Serialize};
    use statusquo_model::{
        explore::{self, explore},
        study::{Blocked, Party, Property, Step, View},
    };

    use super::*;
    use crate::{
        generate::{generate, recount},
        trace::Suite,
    };

    /// A ring of rooms that is left only onward, with doors that are refused in most of them.
    #[derive(Clone)]
    struct Rooms {
        rooms: u32,
        doors: u8,
        initial: Vec<u32>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    enum Action {
        Onward,
        Try { door: u8 },
    }

    impl Study for Rooms {
        type State = u32;
        type Action = Action;
        type Outcome = bool;

        fn initial(&self) -> Vec<u32> {
            self.initial.clone()
        }

        fn alphabet(&self) -> Vec<Action> {
            let doors = (0..self.doors).map(|door| Action::Try { door });
            std::iter::once(Action::Onward).chain(doors).collect()
        }

        fn step(&self, room: &u32, action: Action) -> Step<Self> {
            let half = self.rooms / 2;
            match action {
                // The second half is another house: nothing leads there, and nothing back.
                Action::Onward if *room >= half => Ok((true, half + (room + 1 - half) % half)),
                Action::Onward => Ok((true, (room + 1) % half)),
                Action::Try { door: 0 } if *room < half => Ok((true, (room * 7 + 3) % half)),
                Action::Try { door: 1 } if room.is_multiple_of(5) => {
                    Err(Blocked("the door is walled up"))
                }
                Action::Try { .. } => Ok((false, *room)),
            }
        }

        fn party(&self, _: Action) -> Party {
            Party::Guest
        }

        fn properties(&self) -> Vec<Property<Self>> {
            Vec::new()
        }

        fn view(&self, room: &u32) -> View {
            vec![("room".to_owned(), room.to_string())]
        }
    }

    fn suite(rooms: &Rooms, criterion: Criterion, cut: Cut) -> (Exploration<Rooms>, Suite<Rooms>) {
        let exploration = explore(rooms, &explore::Options::default()).unwrap();
        let edges = exploration.edges(NonZeroUsize::MIN);
        let suite =
            generate(&exploration, &edges, criterion, ("rooms", "ring", "all"), cut).unwrap();
        (exploration, suite)
    }

    #[test]
    fn a_trace_is_no_longer_than_asked_unless_its_goal_lies_further_away() {
        let rooms = Rooms { rooms: 60, doors: 4, initial: vec![0] };
        for criterion in [Criterion::States, Criterion::Transitions] {
            for steps_max in [0, 1, 2, 7, 40, 1000] {
                let cut = Cut { steps_max, ..Cut::default() };
                let (exploration, suite) = suite(&rooms, criterion, cut);
                let furthest = exploration.depth() as usize + 1;
                let longest = suite.traces.iter().map(Vec::len).max().unwrap();
                assert!(longest <= steps_max.max(furthest), "{longest} with {steps_max}");
                let counted = recount(&exploration, &suite, criterion).unwrap();
                assert_eq!(counted.covered, counted.goals, "{criterion:?} {steps_max}");
            }
        }
    }

    #[test]
    fn what_the_first_initial_state_does_not_lead_to_is_counted_as_missing() {
        let rooms = Rooms { rooms: 20, doors: 3, initial: vec![0, 10] };
        let (exploration, suite) = suite(&rooms, Criterion::Transitions, Cut::default());
        let counted = recount(&exploration, &suite, Criterion::Transitions).unwrap();
        // Both houses have ten rooms; the doors of the second all stay shut.
        assert_eq!((counted.covered, counted.goals), (38, 76));
    }

    #[test]
    fn a_large_machine_is_toured() {
        let rooms = Rooms { rooms: 60_000, doors: 16, initial: vec![0] };
        let (exploration, suite) = suite(&rooms, Criterion::Transitions, Cut::default());
        let counted = recount(&exploration, &suite, Criterion::Transitions).unwrap();
        assert_eq!(counted.covered, counted.goals);
        assert_eq!(counted.goals, 60_000 / 2 * 17 - 60_000 / 2 / 5);
    }
}
