//! Do host, QEMU, guest and management agree who is connected, and where does every byte go?
//!
//! A character device joins two ends that come and go: a host at the backend's transport, and a
//! guest application at the port. Four parties hold an opinion on who is there. The study keeps the
//! facts beside the opinions and lets the parties act in every order, across reset, stop, migration,
//! save and load, unplug and backend change.
//!
//! Left out: which bytes they are (a stream's elements are counted, first in first out), several
//! hosts at one listener, multiplexers, time other than the one-second window of the rate limit.
//!
//! Sources: the qemu-devel thread 'virtio-serial-bus: replay guest_open on migration' (2011-07) and
//! QEMU 7.2 (`chardev/char.c`, `char-fe.c`, `char-socket.c`, `hw/char/virtio-serial-bus.c`,
//! `hw/char/virtio-console.c`, `monitor/monitor.c`).
//!
//! - [`state`]: the facts, and what each observer has been told; [`action`], [`outcome`].
//! - [`rules`]: what the designs disagree about.

pub mod action;
mod events;
mod load;
mod machine;
pub mod outcome;
mod product;
mod properties;
pub mod rules;
mod scopes;
mod settle;
pub mod state;
mod undisturbed;

#[cfg(test)]
mod tests;

use self::{
    action::Action,
    machine::Machine,
    outcome::{Outcome, Reply},
    product::Product,
    rules::{DESIGNS, Rules},
    scopes::Bounds,
    state::{Bus, Kind, Port, State},
};
use crate::{
    family::{Design, Family, Scope},
    study::{self, Party, Property, Step, Steps, View},
};

/// The family: every design and scope of the question.
#[derive(Debug)]
pub struct Chardev;

impl Family for Chardev {
    type Study = Study;

    const NAME: &'static str = "chardev";
    const QUESTION: &'static str = "Do host, QEMU, guest and management agree who is connected, and \
                                    where does every byte go, across reset, stop, migration and \
                                    backend change?";
    const PINS: &'static str = include_str!("pins.tsv");

    fn designs() -> &'static [Design] {
        const { &designs() }
    }

    fn scopes() -> &'static [Scope] {
        const { &scopes::scopes() }
    }

    fn study(design: &Design, scope: &Scope) -> Study {
        let rules = DESIGNS.iter().find(|(known, _)| known == design);
        let bounds = scopes::SCOPES.iter().find(|(known, _)| known == scope);
        let (Some((_, rules)), Some((_, bounds))) = (rules, bounds) else {
            panic!("the design and the scope are this family's own")
        };
        let rules = Rules { rate_limit: rules.rate_limit && bounds.time, ..*rules };
        Study { rules, bounds: *bounds }
    }
}

const fn designs() -> [Design; DESIGNS.len()] {
    let mut all = [DESIGNS[0].0; DESIGNS.len()];
    let mut at = 0;
    while at < DESIGNS.len() {
        all[at] = DESIGNS[at].0;
        at += 1;
    }
    all
}

/// The machine of one design at one scope.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    rules: Rules,
    bounds: Bounds,
}

impl Study {
    /// The design's decisions.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The backends that the ports start with.
    pub fn kinds(&self) -> &'static [Kind] {
        self.bounds.kinds
    }

    /// Every backend that may stand behind a port in this scope.
    pub fn backends(&self) -> impl Iterator<Item = Kind> {
        self.bounds.kinds.iter().chain(self.bounds.change_to).copied()
    }

    fn ports_len(&self) -> usize {
        self.bounds.kinds.len()
    }

    #[inline]
    fn ports<'s>(&self, state: &'s State) -> impl Iterator<Item = Port> + use<'s> {
        state.ports[..self.bounds.kinds.len()].iter().copied()
    }

    #[inline]
    fn machine(&self, state: &State) -> Machine<'_> {
        Machine::new(&self.rules, self.ports_len(), self.bounds.ring_max, state)
    }

    fn start(&self, kinds: &[Kind]) -> State {
        let nothing = State { ports: [Port::new(); state::PORTS_MAX], bus: Bus::new() };
        let mut machine = self.machine(&nothing);
        for (at, &kind) in kinds.iter().enumerate() {
            machine.start_port(at, kind);
        }
        machine.state()
    }

    fn is_initial(&self, state: &State) -> bool {
        *state == self.start(self.bounds.kinds)
    }

    /// Do the backends of all kinds start with the same label, by book and by flags?
    fn same_start(&self) -> bool {
        let labels = Kind::ALL.map(|kind| {
            let port = self.start(&[kind]).ports[0];
            (port.book(), port.flags())
        });
        labels.iter().all(|label| *label == labels[0])
    }
}

impl study::Study for Study {
    type State = State;
    type Action = Action;
    type Outcome = Outcome;

    fn initial(&self) -> Vec<State> {
        vec![self.start(self.bounds.kinds)]
    }

    fn alphabet(&self) -> Vec<Action> {
        self.bounds.alphabet(&self.rules)
    }

    #[inline]
    fn step(&self, state: &State, action: Action) -> Step<Self> {
        let mut machine = self.machine(state);
        machine.act(action)?;
        Ok((machine.outcome, machine.state()))
    }

    fn steps<'a>(&'a self, alphabet: &'a [Action]) -> impl Steps<Self> + Send + 'a {
        Product::new(self, alphabet)
    }

    fn party(&self, action: Action) -> Party {
        action.party()
    }

    fn is_disruption(&self, action: Action) -> bool {
        matches!(action, Action::Migrate { .. } | Action::SaveLoad | Action::SecondPasses)
    }

    fn undisturbed(&self, state: &State, disruption: Action) -> State {
        let mut machine = self.machine(state);
        machine.undisturb(disruption);
        machine.state()
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::properties()
    }

    fn outcome_classes(&self) -> &'static [&'static str] {
        &[
            "refused: no such device",
            "refused: duplicate device",
            "refused: hotswap not supported",
            "nothing to read",
            "a port is announced",
            "the guest is told of its host",
            "management is told of the guest",
            "the host finds itself connected or cut off",
            "a descriptor is completed",
            "the guest receives",
            "the host receives",
            "a byte is stored",
            "QEMU crashes",
        ]
    }

    fn classes_of(&self, outcome: &Outcome) -> u64 {
        let reply = match outcome.reply {
            Reply::Ok | Reply::Chardev { .. } => 0,
            Reply::DeviceNotFound => 1,
            Reply::DuplicateDevice => 1 << 1,
            Reply::HotswapNotSupported => 1 << 2,
            Reply::Nothing => 1 << 3,
            Reply::Died => 1 << 12,
        };
        let seen = |at: usize| {
            let seen = outcome.seen(at);
            [
                seen.announced,
                !seen.guest_told.is_empty(),
                !seen.management_told.is_empty(),
                !seen.host_sees.is_empty(),
                seen.completed > 0,
                seen.guest_receives > 0,
                seen.host_receives > 0,
                seen.stored > 0,
            ]
            .iter()
            .enumerate()
            .fold(0, |bits, (bit, set)| bits | u64::from(*set) << (bit + 4))
        };
        (0..self.ports_len()).fold(reply, |bits, at| bits | seen(at))
    }

    fn view(&self, state: &State) -> View {
        if state.bus.dead() {
            return vec![("running".to_owned(), "no, QEMU has crashed".to_owned())];
        }
        let yes = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
        let mut view = vec![
            ("running".to_owned(), yes(state.bus.running())),
            ("driver".to_owned(), yes(state.bus.driver())),
        ];
        for (at, port) in self.ports(state).enumerate() {
            let mut add =
                |what: &str, value: String| view.push((format!("port{at} {what}"), value));
            add("backend", crate::words::words(&port.kind()));
            add("plugged", yes(port.plugged()));
            add("connected", yes(port.shown_connected(&self.rules)));
            add("frontend-open", yes(port.plugged() && port.frontend_open()));
            add("label by the facts", format!("{:?}", port.fact()));
            add("label by the book", format!("{:?}", port.book()));
            add("label by the flags", format!("{:?}", port.flags()));
            add("guest was told", yes(port.guest_told()));
            add("management was told", yes(port.management_told()));
            add("throttled", yes(port.throttled()));
            add("in the ring", port.transmit().to_string());
            add("held", u8::from(port.held()).to_string());
            add("unread by host", port.unread_by_host().to_string());
            add("unread by guest", port.unread_by_guest().to_string());
        }
        view
    }
}
