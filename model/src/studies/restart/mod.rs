//! When is the status XML saved, and does a daemon killed between any two steps come back knowing exactly
//! what QEMU has?
//!
//! A daemon holds one fact in three places: its memory, the status file, and QEMU. A hot-plug changes them
//! one after the other, and a kill may fall between any two. The study takes every effect of every
//! procedure as a step of its own, so that a kill between them is one more action.
//!
//! A device is a frontend with a backend (a chardev, an object, a netdev), named by one alias. What the
//! devices are like otherwise is left out, as are several domains: a daemon's procedures for two domains
//! share nothing.
//!
//! Sources: libvirt 9.0.0 `src/qemu/qemu_hotplug.c`, `qemu_process.c` (`qemuProcessReconnect`,
//! `qemuProcessUpdateDevices`), `qemu_domain.c` (`qemuDomainSaveStatus`); the threads 'qemu: don't use
//! user alias for internal PCI root' (2017-11) and 'qemu: alias of console' (2023-03).
//!
//! - [`state`]: where each fact is held; [`action`], [`outcome`].
//! - [`rules`]: what the designs disagree about.

pub mod action;
mod audit;
mod daemon;
pub mod outcome;
mod properties;
mod recover;
pub mod rules;
mod scopes;
pub mod state;

#[cfg(test)]
mod tests;

pub use self::audit::{Audited, audit};
use self::{
    action::Action,
    daemon::Machine,
    outcome::{Outcome, Reply},
    rules::{DESIGNS, Rules},
    scopes::Bounds,
    state::{Daemon, Record, State},
};
use crate::{
    family::{self, Design, Family, Scope},
    study::{self, Party, Property, Step, View},
};

/// The family: every design and scope of the question.
#[derive(Debug)]
pub struct Restart;

impl Family for Restart {
    type Study = Study;

    const NAME: &'static str = "restart";
    const QUESTION: &'static str = "When is the status XML saved, and does a daemon killed between any \
                                    two steps come back knowing exactly what QEMU has?";
    const PINS: &'static str = include_str!("pins.tsv");

    fn designs() -> &'static [Design] {
        const {
            &{
                let mut all = [DESIGNS[0].0; DESIGNS.len()];
                let mut at = 0;
                while at < DESIGNS.len() {
                    all[at] = DESIGNS[at].0;
                    at += 1;
                }
                all
            }
        }
    }

    fn scopes() -> &'static [Scope] {
        const { &scopes::scopes() }
    }

    fn study(design: &Design, scope: &Scope) -> Study {
        let rules = family::beside(DESIGNS, design);
        let bounds = family::beside(scopes::SCOPES, scope);
        Study { rules, bounds }
    }
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

    /// Devices at most; their aliases are numbered from 0.
    pub fn devices(&self) -> usize {
        self.bounds.devices
    }

    /// The guest has a say in every unplug, as it has on PCI; otherwise none, as on USB.
    pub fn guest_ejects(&self) -> bool {
        self.bounds.guest_ejects
    }

    /// The same machine, saving one fact less.
    fn forgetting(&self, fact: Record) -> Study {
        Study { rules: Rules { forgets: Some(fact), ..self.rules }, ..self.clone() }
    }

    fn machine(&self, state: &State) -> Machine<'_> {
        Machine {
            rules: &self.rules,
            bounds: &self.bounds,
            state: *state,
            outcome: Outcome::default(),
        }
    }
}

impl study::Study for Study {
    type State = State;
    type Action = Action;
    type Outcome = Outcome;

    fn initial(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn alphabet(&self) -> Vec<Action> {
        self.bounds.alphabet()
    }

    fn step(&self, state: &State, action: Action) -> Step<Self> {
        let mut machine = self.machine(state);
        machine.act(action)?;
        Ok((machine.outcome, machine.state))
    }

    fn party(&self, action: Action) -> Party {
        match action {
            Action::Attach { .. } | Action::Detach { .. } | Action::Dump => Party::Management,
            Action::Step | Action::GiveUp => Party::Daemon,
            Action::Eject { .. } => Party::Guest,
            Action::Finalize { .. } => Party::Qemu,
            Action::Inspect
            | Action::Kill
            | Action::Start
            | Action::Restart
            | Action::FillDisk
            | Action::FreeDisk => Party::World,
        }
    }

    fn is_disruption(&self, action: Action) -> bool {
        action == Action::Restart
    }

    fn undisturbed(&self, state: &State, _: Action) -> State {
        State { kills: state.kills + 1, ..*state }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::properties()
    }

    fn outcome_classes(&self) -> &'static [&'static str] {
        &[
            "attached",
            "detached",
            "unplug requested",
            "refused",
            "dumped",
            "a device was added",
            "a device was removed",
            "the guest is lost",
        ]
    }

    fn classes_of(&self, outcome: &Outcome) -> u64 {
        let reply = match &outcome.reply {
            Reply::Nothing => 0,
            Reply::Attached { .. } => 1,
            Reply::Detached { .. } => 1 << 1,
            Reply::UnplugRequested { .. } => 1 << 2,
            Reply::Refused { .. } => 1 << 3,
            Reply::Devices { .. } | Reply::Places { .. } => 1 << 4,
        };
        reply
            | u64::from(!outcome.added.is_empty()) << 5
            | u64::from(!outcome.removed.is_empty()) << 6
            | u64::from(outcome.guest_lost) << 7
    }

    fn view(&self, state: &State) -> View {
        let yes = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
        let daemon = match state.daemon {
            Daemon::Down => "down",
            Daemon::Idle => "idle",
            Daemon::Busy(_) => "busy",
        };
        let mut view = vec![
            ("guest runs".to_owned(), yes(state.guest)),
            ("daemon".to_owned(), daemon.to_owned()),
        ];
        for (alias, device) in state.devices.iter().enumerate().take(self.bounds.devices) {
            let mut add =
                |what: &str, value: String| view.push((format!("device{alias} {what}"), value));
            add("frontend in QEMU", yes(device.frontend));
            add("backend in QEMU", yes(device.backend));
            add("coming to its end", yes(device.ending));
            add("in the status file", crate::words::words(&device.file));
            add("in memory", crate::words::words(&device.memory));
        }
        view
    }
}
