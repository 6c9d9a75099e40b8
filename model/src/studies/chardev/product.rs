//! Every step of a state at once.
//!
//! Ports meet only in the bus: what a step does at one port depends on that port and the bus, and the
//! bus's own change on the bus alone. So a step of the whole machine is put together from the steps of
//! machines with one port, and those are few: they are computed when they are first asked for and kept.
//! That this is what [`Study::step`](crate::study::Study::step) does is tested in every state of every
//! scope that is checked.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::{
    Study,
    action::Action,
    machine::Machine,
    outcome::{Outcome, Reply, Seen},
    state::{Bus, PORTS_MAX, Port, State},
};
use crate::study::Steps;

pub(super) struct Product<'a> {
    study: &'a Study,
    alphabet: &'a [Action],
    ports: Vec<OnePort>,
}

/// What the whole alphabet does to one port.
#[derive(Default)]
struct OnePort {
    /// The row of each port and bus that was met.
    rows: HashMap<(Port, Bus), usize, FxBuildHasher>,
    /// Rows of one cell for each action.
    cells: Vec<Cell>,
    /// What is seen in each of them.
    seen: Vec<(Reply, Seen)>,
}

/// What becomes of a port and of the bus.
#[derive(Clone, Copy)]
struct Cell {
    port: Port,
    bus: Bus,
    /// The action is enabled as far as this port can tell.
    enabled: bool,
}

impl<'a> Product<'a> {
    pub(super) fn new(study: &'a Study, alphabet: &'a [Action]) -> Self {
        let ports = (0..study.ports_len()).map(|_| OnePort::default()).collect();
        Product { study, alphabet, ports }
    }

    #[inline]
    fn row(&mut self, at: usize, port: Port, bus: Bus) -> usize {
        let one = &mut self.ports[at];
        if let Some(&row) = one.rows.get(&(port, bus)) {
            return row;
        }
        let row = one.cells.len();
        one.rows.insert((port, bus), row);
        for &action in self.alphabet {
            let (cell, seen) = cell(self.study, at, port, bus, action);
            one.cells.push(cell);
            one.seen.push(seen);
        }
        row
    }

    #[inline]
    fn visit_ports<const PORTS: usize>(
        &mut self,
        state: &State,
        mut step: impl FnMut(usize, &Outcome, State),
    ) {
        let rows: [usize; PORTS] =
            std::array::from_fn(|at| self.row(at, state.ports[at], state.bus));
        let len = self.alphabet.len();
        let cells: [&[Cell]; PORTS] =
            std::array::from_fn(|at| &self.ports[at].cells[rows[at]..][..len]);
        let seen: [&[(Reply, Seen)]; PORTS] =
            std::array::from_fn(|at| &self.ports[at].seen[rows[at]..][..len]);
        for number in 0..len {
            let Some(first) = (0..PORTS).find(|&at| cells[at][number].enabled) else { continue };
            let mut next = State { bus: cells[first][number].bus, ..*state };
            let mut outcome = Outcome { reply: seen[first][number].0, ..Outcome::default() };
            for at in 0..PORTS {
                next.ports[at] = cells[at][number].port;
                *outcome.seen_mut(at) = seen[at][number].1;
            }
            // The one thing that a port does to the others.
            if (0..PORTS).any(|at| cells[at][number].bus.dead()) {
                (next, outcome) = (State::dead(), Outcome::died());
            }
            step(number, &outcome, next);
        }
    }
}

impl Steps<Study> for Product<'_> {
    #[inline]
    fn visit(&mut self, state: &State, step: impl FnMut(usize, &Outcome, State)) {
        const { assert!(PORTS_MAX == 3) };
        match self.ports.len() {
            1 => self.visit_ports::<1>(state, step),
            2 => self.visit_ports::<2>(state, step),
            _ => self.visit_ports::<3>(state, step),
        }
    }
}

/// One action on a machine that has only this port.
fn cell(study: &Study, at: usize, port: Port, bus: Bus, action: Action) -> (Cell, (Reply, Seen)) {
    let mut ports = [Port::new(); PORTS_MAX];
    ports[0] = port;
    let alone = || Machine::new(&study.rules, 1, study.bounds.ring_max, &State { ports, bus });
    let mut machine = alone();
    let done = match action.port() {
        Some(other) if other != at => None,
        _ => machine.act_at_first(action).ok(),
    };
    if done.is_none() {
        machine = alone();
        machine.rest();
    }
    let State { ports: [port, ..], bus } = machine.state();
    let cell = Cell { port, bus, enabled: done.is_some() };
    (cell, (machine.outcome.reply, machine.outcome.port0))
}
