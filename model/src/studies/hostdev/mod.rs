//! When is the driver of an assigned PCI device decided, and what does that do to round trips, hotplug and
//! new defaults?
//!
//! A definition may leave open which driver of the host's kernel takes a device that a guest gets. The
//! hostdev manager, which is common to all hypervisors, has to know. Between the definition and the manager
//! there are several places to decide, and several ways that lead past each of them.
//!
//! Left out: several devices, device models that share a group, migration (refused with such a device), and
//! the binding itself.
//!
//! Sources: libvir-list 2023-11, the review of 'xen: explicitly set hostdev driver.type at runtime, not in
//! postparse' (Laine Stump, Peter Krempa); libvirt's history from 1.0.5 to 11.3.0.
//!
//! - [`rules`]: what the designs disagree about; [`claims`]: what the thread says of them.

pub mod action;
pub mod any;
pub mod claims;
mod machine;
mod properties;
pub mod rules;
mod scopes;
pub mod state;

#[cfg(test)]
mod tests;

use self::{
    action::{Action, Asked, Outcome, Result, Shown},
    rules::{DESIGNS, Driver, Rules},
    scopes::{Bounds, SCOPES},
    state::{Config, Device, State},
};
use crate::{
    family::{self, Design, Family, Scope},
    study::{self, Blocked, Party, Property, Step, View},
    words::words,
};

/// The family: every design with both hypervisors.
#[derive(Debug)]
pub struct Hostdev;

impl Family for Hostdev {
    type Study = Study;

    const NAME: &'static str = "hostdev";
    const QUESTION: &'static str = "When is the driver of an assigned PCI device decided, and what does \
                                    that do to round trips, hotplug and new defaults?";
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

/// One design with one hypervisor.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    rules: Rules,
    bounds: Bounds,
}

impl Asked {
    /// The driver, where the user describes the device.
    fn driver(self) -> Option<Driver> {
        match self {
            Asked::Driver(driver) => Some(driver),
            Asked::Nothing | Asked::Unset | Asked::Network(_) => None,
        }
    }

    /// The definition describes the device.
    fn describes(self) -> bool {
        matches!(self, Asked::Unset | Asked::Driver(_))
    }

    /// Nobody chooses the driver.
    fn is_open(self) -> bool {
        matches!(self, Asked::Unset | Asked::Network(None))
    }
}

const NO_DEVICE: Blocked = Blocked("the guest has no such device");
const HOST_IS_FIXED: Blocked = Blocked("the host is as it is");

/// The answer, and whether an error about something else is logged.
type Answer = (Result, bool);

/// Hypervisor, host and daemon as they are at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct World {
    /// The hypervisor is Xen; else QEMU.
    pub xen: bool,
    /// The host's kernel has legacy assignment.
    pub kvm: bool,
    /// The host has VFIO.
    pub vfio: bool,
    /// The daemon is of the newer release.
    pub newer: bool,
}

impl Study {
    /// What a run begins with.
    pub fn world(&self) -> World {
        let Bounds { xen, kvm, vfio, newer, .. } = self.bounds;
        World { xen, kvm, vfio, newer }
    }

    /// No device can be bound to anything, now or later.
    pub fn host_has_nothing(&self) -> bool {
        !self.bounds.xen && !self.bounds.kvm && !self.bounds.vfio && !self.bounds.host_changes
    }

    fn act(&self, s: &mut State, action: Action) -> std::result::Result<Answer, Blocked> {
        let quiet = |result| Ok((result, false));
        match action {
            Action::Define { device } => {
                if s.running.is_some() {
                    return Err(Blocked("the guest runs"));
                }
                quiet(self.define(s, device))
            }
            Action::Redefine => {
                let device = s.running.flatten().filter(|device| device.persistent);
                let device =
                    device.ok_or(Blocked("the guest has no device of its configuration"))?;
                let marked = self.rules.origin && device.automatic;
                quiet(
                    self.define(s, if marked { Asked::Unset } else { Asked::Driver(device.live) }),
                )
            }
            Action::Dump => {
                s.config.ok_or(Blocked("nothing is defined"))?;
                quiet(Result::Done)
            }
            Action::Start => self.boot(s),
            Action::StartVetoed => {
                let (None, Some(config)) = (s.running, s.config) else {
                    return Err(Blocked("there is nothing to start"));
                };
                // Whatever is in the definition is given back, taken or not.
                let is_known = config.memory.is_some_and(|driver| self.manager_knows(driver));
                let unknown = config.asked.describes() && !is_known;
                Ok((Result::Done, unknown && !self.rules.gives_back_what_it_took))
            }
            Action::Stop => {
                s.running.take().ok_or(Blocked("the guest does not run"))?;
                quiet(Result::Done)
            }
            Action::Attach { device } => {
                if s.running != Some(None) || device == Asked::Nothing {
                    return Err(Blocked("there is no guest, or it has the device"));
                }
                let of_network = matches!(device, Asked::Network(_));
                let prepared = match device {
                    Asked::Network(driver) => self.of_network(s, driver, true),
                    _ => self.attach(s, device.driver()),
                };
                quiet(match prepared {
                    Ok(live) => {
                        let automatic = device.is_open();
                        let device = Device { live, of_network, persistent: false, automatic };
                        s.running = Some(Some(device));
                        Result::Done
                    }
                    Err(refused) => refused.result(),
                })
            }
            Action::Detach => {
                let device = s.running.flatten().ok_or(NO_DEVICE)?;
                let stuck = !self.gives_back(s, &device);
                s.stuck |= stuck;
                s.running = Some(None);
                Ok((Result::Done, stuck))
            }
            Action::Restart => quiet(self.restart(s)),
            Action::Upgrade => {
                if s.newer {
                    return Err(Blocked("it is the newer one"));
                }
                s.newer = true;
                quiet(self.restart(s))
            }
            Action::HostGainsVfio | Action::HostLosesVfio => {
                let gains = action == Action::HostGainsVfio;
                if !self.bounds.host_changes || s.vfio == gains {
                    return Err(HOST_IS_FIXED);
                }
                if s.running.flatten().is_some_and(|device| device.live == Driver::Vfio) {
                    return Err(Blocked("a guest uses it"));
                }
                s.vfio = gains;
                quiet(Result::Done)
            }
        }
    }

    fn manager_knows(&self, driver: Driver) -> bool {
        driver != Driver::Kvm || self.bounds.kvm
    }

    fn define(&self, s: &mut State, asked: Asked) -> Result {
        match self.parse(s, asked.driver(), false) {
            Err(why) => Result::Refused(why),
            Ok(parsed) => {
                let driver = parsed.filter(|_| asked.describes());
                let (disk, memory) = (driver, driver);
                s.config = Some(Config { asked, by_newer: s.newer, disk, memory, last_boot: None });
                Result::Done
            }
        }
    }

    fn boot(&self, s: &mut State) -> std::result::Result<Answer, Blocked> {
        let (None, Some(config)) = (s.running, s.config) else {
            return Err(Blocked("there is nothing to start"));
        };
        let prepared = match config.asked {
            Asked::Nothing => {
                s.running = Some(None);
                return Ok((Result::Done, false));
            }
            Asked::Network(driver) => self.of_network(s, driver, false),
            Asked::Unset | Asked::Driver(_) => self.start(s, config.memory),
        };
        match prepared {
            Ok(live) => {
                s.running = Some(Some(Device {
                    live,
                    of_network: !config.asked.describes(),
                    persistent: config.asked.describes(),
                    automatic: config.asked.is_open(),
                }));
                s.config = Some(Config { last_boot: Some(live), ..config });
                Ok((Result::Done, false))
            }
            Err(refused) => {
                let spurious = refused.is_unknown && !self.rules.gives_back_what_it_took;
                Ok((refused.result(), spurious))
            }
        }
    }

    /// The configuration is parsed again; a guest that runs is found by its status file.
    fn restart(&self, s: &mut State) -> Result {
        // The list of devices that are taken is made anew from the guests that run.
        s.stuck = false;
        let Some(config) = s.config else { return Result::Done };
        match self.parse(s, config.disk, true) {
            Ok(memory) => {
                let memory = memory.filter(|_| config.asked.describes());
                s.config = Some(Config { memory, ..config });
                Result::Done
            }
            Err(_) => {
                (s.config, s.running) = (None, None);
                Result::Vanished
            }
        }
    }
}

impl study::Study for Study {
    type State = State;
    type Action = Action;
    type Outcome = Outcome;

    fn initial(&self) -> Vec<State> {
        let Bounds { newer, vfio, .. } = self.bounds;
        vec![State { newer, vfio, config: None, running: None, stuck: false }]
    }

    fn alphabet(&self) -> Vec<Action> {
        use Action::*;
        let asked = self.bounds.asked;
        let mut all: Vec<Action> = asked.iter().map(|&device| Define { device }).collect();
        all.extend([Dump, Start]);
        if self.bounds.vetoes {
            all.push(StartVetoed);
        }
        all.push(Stop);
        let devices = asked.iter().filter(|asked| **asked != Asked::Nothing);
        all.extend(devices.map(|&device| Attach { device }));
        // Where nothing can be bound, nothing can be unplugged.
        if !self.host_has_nothing() {
            all.extend([Detach, Redefine]);
        }
        all.push(Restart);
        if !self.bounds.newer {
            all.push(Upgrade);
        }
        if self.bounds.host_changes {
            all.extend([HostGainsVfio, HostLosesVfio]);
        }
        all
    }

    fn step(&self, state: &State, action: Action) -> Step<Self> {
        let mut next = *state;
        let (result, spurious_error) = self.act(&mut next, action)?;
        let shown = next.config.filter(|_| action == Action::Dump).map(|config| {
            match (config.asked.describes(), config.memory) {
                (false, _) => Shown::NoDevice,
                (true, None) => Shown::Open,
                (true, Some(driver)) => Shown::Driver(driver),
            }
        });
        let bound = next.running.flatten().map(|device| device.live);
        Ok((Outcome { result, shown, bound, spurious_error }, next))
    }

    fn party(&self, action: Action) -> Party {
        action.party()
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::properties()
    }

    fn outcome_classes(&self) -> &'static [&'static str] {
        &["done", "refused"]
    }

    fn classes_of(&self, outcome: &Outcome) -> u64 {
        match outcome.result {
            Result::Done => 1,
            Result::Refused(_) | Result::RefusedLate(_) => 1 << 1,
            Result::Vanished => 0,
        }
    }

    fn view(&self, state: &State) -> View {
        let yes = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
        let shown =
            |driver: Option<Driver>| driver.map_or_else(|| "open".to_owned(), |it| words(&it));
        let mut view = vec![
            ("newer daemon".to_owned(), yes(state.newer)),
            ("host has VFIO".to_owned(), yes(state.vfio)),
            ("stuck in the manager".to_owned(), yes(state.stuck)),
        ];
        let mut add = |what: &str, value: String| view.push((what.to_owned(), value));
        match state.config {
            None => add("configuration", "none".to_owned()),
            Some(config) => {
                add("user wrote", words(&config.asked));
                add("driver on disk", shown(config.disk));
                add("driver in memory", shown(config.memory));
            }
        }
        match state.running {
            None => add("guest", "off".to_owned()),
            Some(None) => add("guest", "runs without the device".to_owned()),
            Some(Some(device)) => add("guest", format!("runs, bound to {}", words(&device.live))),
        }
        view
    }
}
