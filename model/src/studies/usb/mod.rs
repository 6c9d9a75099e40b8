//! Between which libvirt generations does a guest keep its USB controller?
//!
//! A definition may leave open whether there is a USB controller, which model it is and where it sits.
//! Somebody decides: the parser, the command line, or QEMU. When two daemons decide differently, a
//! migration fails, or a guest finds other hardware and nobody says so.
//!
//! Left out: more than one controller, user aliases, machines other than pseries, i440fx and q35, the
//! controllers of PCI Express themselves, and what QEMU does beyond comparing sections.
//!
//! Sources: libvir-list 2016-08, the review of 'qemu: Default to pci-ohci on ppc64' (Bolognani,
//! Tomko); libvirt's history from 0.3.1 to 9.0.0; QEMU 7.2.
//!
//! - [`hardware`], [`definition`]: what is, and what is written.
//! - [`generation`]: what the libvirts disagree about; [`host`]: what a daemon makes of it.
//! - [`matrix`]: every migration; [`claims`]: what the thread says of it.

pub mod action;
mod addresses;
pub mod claims;
pub mod definition;
mod designs;
pub mod generation;
pub mod hardware;
pub mod host;
pub mod matrix;
mod properties;
pub mod state;

#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;

use self::{
    action::{Action, Outcome, Result},
    definition::Refusal,
    designs::{Bounds, DESIGNS, SCOPES},
    generation::Generation,
    hardware::{Build, Machine},
    host::{Guest, Host},
    state::{Life, State},
};
use crate::{
    family::{Design, Family, Scope},
    study::{self, Blocked, Party, Property, Step, View},
    words::words,
};

/// The family: every generation on every machine.
#[derive(Debug)]
pub struct Usb;

impl Family for Usb {
    type Study = Study;

    const NAME: &'static str = "usb";
    const QUESTION: &'static str = "Between which libvirt generations does a guest keep its USB \
                                    controller, its model, its address and its presence, through \
                                    migration there and back?";
    const PINS: &'static str = include_str!("pins.tsv");

    fn designs() -> &'static [Design] {
        const { &crate::family::firsts(&DESIGNS) }
    }

    fn scopes() -> &'static [Scope] {
        const { &crate::family::firsts(&SCOPES) }
    }

    fn study(design: &Design, scope: &Scope) -> Study {
        let generation = DESIGNS.iter().find(|(known, _)| known == design);
        let bounds = SCOPES.iter().find(|(known, _)| known == scope);
        let (Some((_, generation)), Some((_, bounds))) = (generation, bounds) else {
            panic!("the design and the scope are this family's own")
        };
        Study { generation: *generation, bounds: *bounds }
    }
}

/// One generation as the newest libvirt on two hosts, on one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    generation: Generation,
    bounds: Bounds,
}

/// Slots below this are used: enough for a slot that is vacated, and one beyond the controller.
const SLOTS: u32 = 6;

impl Study {
    /// The machine type of every guest.
    pub fn machine(&self) -> Machine {
        self.bounds.machine
    }

    /// The QEMU on both hosts.
    pub fn build(&self) -> Build {
        self.bounds.build
    }

    /// Has the scope few enough steps for every one to be taken on an implementation?
    pub fn is_small(&self) -> bool {
        self.bounds.cards_max == 1
    }

    /// The newest libvirt, whose design this is.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    fn host(&self, generation: Generation) -> Host {
        Host { generation, machine: self.bounds.machine, build: self.bounds.build }
    }

    fn host_of(&self, state: &State, host: u8) -> Host {
        self.host(state.generations[usize::from(host)])
    }

    fn older(&self) -> impl Iterator<Item = Generation> {
        let newest = self.generation;
        self.bounds.older.iter().copied().filter(move |old| *old < newest)
    }

    fn act(&self, state: &mut State, action: Action) -> std::result::Result<Result, Blocked> {
        match action {
            Action::Install { host, generation } => self.install(state, host, generation),
            Action::Upgrade { host } => self.upgrade(state, host),
            Action::Define { usb } => {
                if state.config.is_some() || state.life != Life::Off {
                    return Err(Blocked("the guest is defined"));
                }
                let config = self.host_of(state, 0).define(usb);
                Ok(set(&mut state.config, config.map(Some)))
            }
            Action::Redefine => {
                let Life::Running { host: 0, guest } = state.life else {
                    return Err(Blocked("nothing runs on host 0"));
                };
                let config = self.host_of(state, 0).redefine(guest.live);
                Ok(set(&mut state.config, config.map(Some)))
            }
            Action::Start => {
                let (Life::Off, Some(config)) = (state.life, state.config) else {
                    return Err(Blocked("there is nothing to start"));
                };
                let running = self.host_of(state, 0).start(config);
                Ok(set(&mut state.life, running.map(|guest| Life::Running { host: 0, guest })))
            }
            Action::Stop => {
                if matches!(state.life, Life::Off) {
                    return Err(Blocked("the guest is off"));
                }
                state.life = Life::Off;
                Ok(Result::Done)
            }
            Action::Plug => self.plug(state),
            Action::Unplug => {
                let Life::Running { guest, .. } = &mut state.life else {
                    return Err(NOT_RUNNING);
                };
                if guest.live.cards == 0 {
                    return Err(Blocked("there is no network card"));
                }
                *guest = Host::unplug(guest);
                Ok(Result::Done)
            }
            Action::Migrate => self.migrate(state),
            Action::Save => {
                let Life::Running { host, guest } = state.life else { return Err(NOT_RUNNING) };
                let by = self.host_of(state, host);
                let (text, hardware) = (by.migratable(&guest), guest.hardware);
                state.life = Life::Saved { host, by: by.generation, text, hardware };
                Ok(Result::Done)
            }
            Action::Restore => self.restore(state),
        }
    }

    fn install(
        &self,
        state: &mut State,
        host: u8,
        generation: Generation,
    ) -> std::result::Result<Result, Blocked> {
        if !self.older().any(|old| old == generation) {
            return Err(Blocked("it is not older than the design, or has no such machine"));
        }
        let [one, other] = [usize::from(host), usize::from(1 - host)];
        let others = state.generations[other];
        if state.config.is_some() || state.life != Life::Off {
            return Err(Blocked("there is a guest"));
        }
        if state.generations[one] != self.generation {
            return Err(Blocked("the host has been set up"));
        }
        if others != self.generation && others != generation {
            return Err(Blocked("the other host has another"));
        }
        state.generations[one] = generation;
        Ok(Result::Done)
    }

    fn upgrade(&self, state: &mut State, host: u8) -> std::result::Result<Result, Blocked> {
        let at = usize::from(host);
        if state.generations[at] == self.generation {
            return Err(Blocked("it is up to date"));
        }
        state.generations[at] = self.generation;
        let daemon = self.host(self.generation);
        if host == 0
            && let Some(config) = state.config
        {
            match daemon.load(config) {
                Ok(config) => state.config = Some(config),
                Err(refusal) => {
                    state.config = None;
                    return Ok(Result::Lost(refusal));
                }
            }
        }
        if let Life::Running { host: here, guest } = state.life
            && here == host
        {
            match daemon.reconnect(&guest) {
                Ok(guest) => state.life = Life::Running { host, guest },
                Err(refusal) => {
                    state.life = Life::Lost;
                    return Ok(Result::Lost(refusal));
                }
            }
        }
        Ok(Result::Done)
    }

    fn plug(&self, state: &mut State) -> std::result::Result<Result, Blocked> {
        let Life::Running { host, guest } = state.life else { return Err(NOT_RUNNING) };
        if guest.live.cards.count_ones() >= self.bounds.cards_max {
            return Err(Blocked("there are enough network cards"));
        }
        let plugged = self.host_of(state, host).plug(&guest);
        if plugged.is_ok_and(|guest| guest.live.cards >= 1 << SLOTS) {
            return Err(Blocked("the scope has no such slot"));
        }
        Ok(set(&mut state.life, plugged.map(|guest| Life::Running { host, guest })))
    }

    fn migrate(&self, state: &mut State) -> std::result::Result<Result, Blocked> {
        let Life::Running { host, guest } = state.life else { return Err(NOT_RUNNING) };
        let text = self.host_of(state, host).migratable(&guest);
        let there = 1 - host;
        match self.host_of(state, there).receive(&text, guest.hardware) {
            Ok(arrived) => {
                state.life = Life::Running { host: there, guest: arrived.guest };
                Ok(if arrived.silently_changed { Result::SilentlyChanged } else { Result::Done })
            }
            Err(refusal) => Ok(Result::Refused(refusal)),
        }
    }

    fn restore(&self, state: &mut State) -> std::result::Result<Result, Blocked> {
        let Life::Saved { host, text, hardware, .. } = state.life else {
            return Err(Blocked("the guest is not saved"));
        };
        match self.host_of(state, host).receive(&text, hardware) {
            Ok(arrived) => {
                state.life = Life::Running { host, guest: arrived.guest };
                Ok(if arrived.silently_changed { Result::SilentlyChanged } else { Result::Done })
            }
            // No daemon gives it back: the same daemon will refuse the same file again.
            Err(refusal) => {
                state.life = Life::Lost;
                Ok(Result::Lost(refusal))
            }
        }
    }
}

const NOT_RUNNING: Blocked = Blocked("the guest does not run");

fn set<T>(what: &mut T, to: std::result::Result<T, Refusal>) -> Result {
    match to {
        Ok(to) => {
            *what = to;
            Result::Done
        }
        Err(refusal) => Result::Refused(refusal),
    }
}

impl study::Study for Study {
    type State = State;
    type Action = Action;
    type Outcome = Outcome;

    fn initial(&self) -> Vec<State> {
        vec![State { generations: [self.generation; 2], config: None, life: Life::Off }]
    }

    fn alphabet(&self) -> Vec<Action> {
        use Action::*;
        let mut all: Vec<Action> = self.bounds.asked.iter().map(|&usb| Define { usb }).collect();
        all.extend([Start, Stop, Redefine, Plug, Unplug, Migrate, Save, Restore]);
        for host in [0, 1] {
            all.extend(self.older().map(|generation| Install { host, generation }));
        }
        if self.older().next().is_some() {
            all.extend([Upgrade { host: 0 }, Upgrade { host: 1 }]);
        }
        all
    }

    fn step(&self, state: &State, action: Action) -> Step<Self> {
        let mut next = *state;
        let result = self.act(&mut next, action)?;
        let (shown, guest_has) = match next.life {
            Life::Running { guest: Guest { live, hardware, .. }, .. } => (live.usb, hardware),
            _ => (next.config.and_then(|config| config.usb), None),
        };
        Ok((Outcome { result, shown, guest_has }, next))
    }

    fn party(&self, action: Action) -> Party {
        action.party()
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::properties()
    }

    fn outcome_classes(&self) -> &'static [&'static str] {
        &["done"]
    }

    fn classes_of(&self, outcome: &Outcome) -> u64 {
        u64::from(outcome.result == Result::Done)
    }

    fn view(&self, state: &State) -> View {
        let usb = |usb: Option<definition::Controller>| {
            usb.map_or_else(|| "none".to_owned(), |usb| usb.to_string())
        };
        let mut view = vec![
            ("libvirt on host 0".to_owned(), state.generations[0].name().to_owned()),
            ("libvirt on host 1".to_owned(), state.generations[1].name().to_owned()),
            (
                "configuration".to_owned(),
                state.config.map_or_else(|| "none".to_owned(), |config| usb(config.usb)),
            ),
        ];
        let mut add = |what: &str, value: String| view.push((what.to_owned(), value));
        match state.life {
            Life::Off => add("guest", "off".to_owned()),
            Life::Lost => add("guest", "lost".to_owned()),
            Life::Running { host, guest } => {
                add("guest", format!("on host {host}"));
                add("live definition", usb(guest.live.usb));
                add("guest has", hardware::shown(guest.hardware));
                add("network cards", format!("{:#b}", guest.live.cards));
            }
            Life::Saved { host, by, text, hardware } => {
                add("guest", format!("saved on host {host} by {}", words(&by)));
                add("saved definition", usb(text.definition.usb));
                add("guest has", hardware::shown(hardware));
            }
        }
        view
    }
}
