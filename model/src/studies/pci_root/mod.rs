//! Is the bus name that is used for hotplug the one that QEMU has?
//!
//! A machine brings the root of its PCI buses along, so its controller is never on the command line, and
//! its alias is not QEMU's name for the bus. Which name that is depends on the architecture, the machine and,
//! on PPC, the version of QEMU. A daemon that is restarted does not know the version any more; a user may give
//! the controller an alias; and a daemon may find guests that another one has started.
//!
//! Left out: everything else that a device needs, addresses, more than one guest, and what a downgrade does.
//!
//! Sources: libvir-list 2017-11, 'qemu: forbid user aliases for implicit pci-root controllers' (Tomko,
//! Privoznik, Denemark); libvirt 3.1.0 to 11.3.0, `virQEMUCapsHasPCIMultiBus`,
//! `qemuBuildDeviceAddressPCIGetBus`, `qemuAssignDeviceControllerAlias`; QEMU 7.2 as it answers.
//!
//! - [`hardware`]: what QEMU has. [`rules`]: what the designs disagree about. `daemon`: what they do.
//! - [`refusals`]: everything that each design refuses.

pub mod action;
mod daemon;
pub mod hardware;
mod properties;
pub mod refusals;
pub mod rules;
mod scopes;
pub mod state;

#[cfg(test)]
mod tests;

use self::{
    action::{Action, Outcome, Place, Reply},
    hardware::{Machine, Name, Qemu},
    rules::{DESIGNS, Older, Rules},
    scopes::{Bounds, SCOPES},
    state::{Config, State},
};
use crate::{
    family::{self, Design, Family, Scope},
    study::{self, Blocked, Party, Property, Step, View},
    words::words,
};

/// The family: every design on every machine.
#[derive(Debug)]
pub struct PciRoot;

impl Family for PciRoot {
    type Study = Study;

    const NAME: &'static str = "pci_root";
    const QUESTION: &'static str = "Is the bus name used for hotplug the one QEMU has, for every \
                                    architecture, machine, QEMU version, daemon version and restart?";
    const PINS: &'static str = include_str!("pins.tsv");

    fn designs() -> &'static [Design] {
        const { &family::firsts(&DESIGNS) }
    }

    fn scopes() -> &'static [Scope] {
        const { &family::firsts(&SCOPES) }
    }

    fn study(design: &Design, scope: &Scope) -> Study {
        let rules = family::beside(&DESIGNS, design);
        let bounds = family::beside(&SCOPES, scope);
        Study { rules, bounds }
    }
}

/// One design on the machines of one scope.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    rules: Rules,
    bounds: Bounds,
}

const NOT_RUNNING: Blocked = Blocked("the guest does not run");
const IN_USE: Blocked = Blocked("there is a guest");

impl Study {
    /// The machines of the scope.
    pub fn machines(&self) -> &'static [Machine] {
        self.bounds.machines
    }

    /// Does the scope have libvirts or QEMUs that are not the ones installed?
    pub fn has_others(&self) -> bool {
        self.bounds.upgrades || self.bounds.old_qemu
    }

    fn rules_in(&self, state: &State) -> Rules {
        state.daemon.map_or(self.rules, Older::rules)
    }

    fn older(&self) -> impl Iterator<Item = Older> {
        let order = self.rules.order;
        Older::ALL.into_iter().filter(move |older| older.rules().order < order)
    }

    fn act(&self, state: &mut State, action: Action) -> Result<Outcome, Blocked> {
        let rules = self.rules_in(state);
        let fresh = state.config.is_none() && state.guest.is_none();
        match action {
            Action::Install { daemon } => {
                if !fresh || state.daemon.is_some() {
                    return Err(Blocked("the host is set up"));
                }
                state.daemon = Some(daemon);
            }
            Action::InstallOldQemu => {
                if !fresh || state.binary == Qemu::BeforeMultibus {
                    return Err(Blocked("the host is set up"));
                }
                state.binary = Qemu::BeforeMultibus;
            }
            Action::Define { machine, user_alias } => {
                if state.guest.is_some() {
                    return Err(IN_USE);
                }
                match rules.define(machine, user_alias, state.binary) {
                    Ok(config) => state.config = Some(config),
                    Err(why) => return Ok(Outcome::refused(why)),
                }
            }
            Action::Start => {
                let (Some(config), None) = (&mut state.config, state.guest) else {
                    return Err(Blocked("there is nothing to start"));
                };
                return Ok(match rules.start(config, state.binary) {
                    Ok((guest, bus)) => {
                        config.started_before |= state.daemon.is_some();
                        state.guest = Some(guest);
                        Outcome { bus, ..Outcome::DONE }
                    }
                    Err(refused) => refused,
                });
            }
            Action::Stop => {
                state.guest.take().ok_or(NOT_RUNNING)?;
            }
            Action::Attach { onto } => {
                let guest = state.guest.as_mut().ok_or(NOT_RUNNING)?;
                let at = usize::from(onto == Place::Port);
                if guest.plugged[at] {
                    return Err(Blocked("something is plugged there"));
                }
                let outcome = rules.attach(guest, onto);
                let outcome = outcome.ok_or(Blocked("the guest has nothing but its root"))?;
                guest.plugged[at] = outcome.reply == Reply::Done;
                return Ok(outcome);
            }
            Action::Detach { from } => {
                let guest = state.guest.as_mut().ok_or(NOT_RUNNING)?;
                let plugged = &mut guest.plugged[usize::from(from == Place::Port)];
                if !*plugged {
                    return Err(Blocked("nothing is plugged there"));
                }
                // By the device's id: no bus is named.
                *plugged = false;
            }
            Action::Dump => {
                let Some(config) = state.config else { return Err(Blocked("there is no guest")) };
                let alias = match state.guest {
                    Some(guest) => Some(guest.alias),
                    None => config.user_alias.then_some(Name::UaRoot),
                };
                return Ok(Outcome { reply: Reply::Alias(alias), bus: None });
            }
            Action::Restart => reconnect(state, &rules),
            Action::Upgrade => {
                state.daemon.take().ok_or(Blocked("it is up to date"))?;
                reconnect(state, &self.rules);
            }
            Action::UpgradeQemu => {
                if state.binary == Qemu::Multibus {
                    return Err(Blocked("it is up to date"));
                }
                state.binary = Qemu::Multibus;
            }
        }
        Ok(Outcome::DONE)
    }
}

fn reconnect(state: &mut State, rules: &Rules) {
    state.guest = state.guest.map(|guest| rules.reconnect(&guest, state.binary));
}

impl study::Study for Study {
    type State = State;
    type Action = Action;
    type Outcome = Outcome;

    fn initial(&self) -> Vec<State> {
        vec![State { daemon: None, binary: Qemu::Multibus, config: None, guest: None }]
    }

    fn alphabet(&self) -> Vec<Action> {
        self.bounds.alphabet(self.older())
    }

    fn step(&self, state: &State, action: Action) -> Step<Self> {
        let mut next = *state;
        let outcome = self.act(&mut next, action)?;
        Ok((outcome, next))
    }

    fn party(&self, action: Action) -> Party {
        action.party()
    }

    fn is_disruption(&self, action: Action) -> bool {
        action == Action::Restart
    }

    /// A design does not answer for how an older daemon takes a restart.
    fn undisturbed(&self, state: &State, _: Action) -> State {
        let mut expected = *state;
        if let Some(older) = state.daemon {
            reconnect(&mut expected, &older.rules());
        }
        expected
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::properties()
    }

    fn outcome_classes(&self) -> &'static [&'static str] {
        &["done", "dumped", "refused"]
    }

    fn classes_of(&self, outcome: &Outcome) -> u64 {
        match outcome.reply {
            Reply::Done => 1,
            Reply::Alias(_) => 1 << 1,
            Reply::Refused(_) => 1 << 2,
        }
    }

    fn view(&self, state: &State) -> View {
        let mut view = Vec::new();
        let mut add = |what: &str, value: String| view.push((what.to_owned(), value));
        add("daemon", state.daemon.map_or_else(|| "the design's".to_owned(), |old| words(&old)));
        add("QEMU on disk", words(&state.binary));
        let described = |config: Config| {
            let alias = if config.user_alias { ", root called ua-root" } else { "" };
            format!("{}{alias}", words(&config.machine))
        };
        add("configuration", state.config.map_or_else(|| "none".to_owned(), described));
        match state.guest {
            None => add("guest", "off".to_owned()),
            Some(guest) => {
                add("guest", format!("runs in QEMU {}", words(&guest.qemu)));
                add("QEMU calls the root's bus", words(&guest.machine.root(guest.qemu)));
                add("the definition calls the root", words(&guest.alias));
                add("the daemon would name", words(&self.rules_in(state).root_bus(&guest)));
                let places = Place::ALL.into_iter().zip(guest.plugged);
                let plugged = places.filter(|(_, plugged)| *plugged).map(|(place, _)| place);
                add("plugged", words(&plugged.collect::<Vec<_>>()));
            }
        }
        view
    }
}
