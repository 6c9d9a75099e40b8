//! When is a default frozen, and who must remember it?
//!
//! A definition may leave an attribute open. Somebody fills it: at define, at load, at start, when a
//! device is plugged or allocated, when a status file or another host's text is read, or QEMU in the end.
//! Each of these edges between two places has an operator, and all operators together are a policy. The
//! study is one device of one guest under one policy; [`enumerate`] asks every policy there is.
//!
//! Left out: several devices, whose addresses are each other's inputs (the usb study has them); QEMU's own
//! check of the incoming stream, without which every wrong device is a silent one; transient guests.
//!
//! Sources: the three threads that are instances of this question (USB models 2016, PCI root alias 2017,
//! hostdev driver 2023), and libvirt's answers to each.
//!
//! - [`field`]: the attribute; [`policy`]: edges and operators.
//! - [`enumerate`]: every policy against every property; [`lemmas`]: what follows.

pub mod action;
pub mod any;
mod designs;
pub mod enumerate;
pub mod field;
pub mod lemmas;
pub mod policy;
mod properties;
pub mod state;

#[cfg(test)]
mod tests;

use self::{
    action::{Action, Asked, Outcome, Result},
    field::{Field, Release, Value},
    policy::{Daemon, Policy, Realized},
    state::{Config, Device, State},
};
pub use self::{
    designs::{Bounds, DESIGNS, SCOPES},
    properties::CODES,
};
use crate::{
    family::{self, Design, Family, Scope},
    study::{self, Blocked, Party, Property, Step, View},
    words::words,
};

/// The family: the policies that somebody ships, and ours.
#[derive(Debug)]
pub struct Freeze;

impl Family for Freeze {
    type Study = Study;

    const NAME: &'static str = "freeze";
    const QUESTION: &'static str = "When is a default frozen, and who must remember it?";
    const PINS: &'static str = include_str!("pins.tsv");

    fn designs() -> &'static [Design] {
        const { &family::firsts(&DESIGNS) }
    }

    fn scopes() -> &'static [Scope] {
        const { &family::firsts(&SCOPES) }
    }

    fn study(design: &Design, scope: &Scope) -> Study {
        let policy = family::beside(&DESIGNS, design);
        let bounds = family::beside(&SCOPES, scope);
        Study { policy, bounds }
    }
}

/// One policy in one world.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    policy: Policy,
    bounds: Bounds,
}

const NOT_RUNNING: Blocked = Blocked("the guest does not run");
const NO_DEVICE: Blocked = Blocked("the guest has no such device");

impl Study {
    /// Any policy in a world of ours.
    pub fn new(policy: Policy, bounds: Bounds) -> Self {
        Study { policy, bounds }
    }

    /// The world in which the policy is asked.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The daemon of a release, unless it knows nothing of the attribute.
    fn daemon(&self, release: Release) -> Option<Daemon<'_>> {
        let Study { policy, bounds } = self;
        (release != Release::Ancient).then_some(Daemon { policy, default: bounds.default, release })
    }

    fn act(&self, s: &mut State, action: Action) -> std::result::Result<Result, Blocked> {
        match action {
            Action::Define { device } => {
                if s.running.is_some() {
                    return Err(Blocked("the guest runs"));
                }
                let (by, text) = (s.daemon, device.field().unwrap_or(Field::Unset));
                let memory = match self.daemon(by) {
                    None if text != Field::Unset || device == Asked::FromPool => {
                        return Ok(Result::Refused);
                    }
                    Some(daemon) if device.field().is_some() => {
                        daemon.pass(policy::Edge::Define, text, None)
                    }
                    _ => text,
                };
                let disk = match self.daemon(by) {
                    Some(daemon) => daemon.pass(policy::Edge::Save, memory, None),
                    None => memory,
                };
                s.config = Some(Config { asked: device, by, disk, memory, last_boot: None });
                Ok(Result::Done)
            }
            Action::Start => {
                let (None, Some(config)) = (s.running, &mut s.config) else {
                    return Err(Blocked("there is nothing to start"));
                };
                let realized = match (config.asked, self.daemon(s.daemon)) {
                    (Asked::Nothing, _) => None,
                    (_, None) => Some(Realized { live: Field::Unset, has: Value::A }),
                    (Asked::FromPool, Some(daemon)) => Some(daemon.allocate()),
                    (_, Some(daemon)) => Some(daemon.start(config.memory)),
                };
                let described = config.asked.field().is_some();
                if described {
                    config.last_boot = realized.map(|device| device.has);
                }
                s.running = Some(realized.map(|realized| Device {
                    realized,
                    automatic: config.asked.field().is_none_or(|field| field == Field::Unset),
                    fresh: config.by == s.daemon,
                    persistent: described,
                }));
                Ok(Result::Done)
            }
            Action::Stop => {
                s.running.take().ok_or(NOT_RUNNING)?;
                Ok(Result::Done)
            }
            Action::Attach { device } => {
                let (Some(None), Some(text)) = (s.running, device.field()) else {
                    return Err(Blocked("there is no guest, or it has the device"));
                };
                let realized = match self.daemon(s.daemon) {
                    None if text != Field::Unset => return Ok(Result::Refused),
                    None => Realized { live: Field::Unset, has: Value::A },
                    Some(daemon) => daemon.attach(text),
                };
                let automatic = text == Field::Unset;
                let device = Device { realized, automatic, fresh: true, persistent: false };
                s.running = Some(Some(device));
                Ok(Result::Done)
            }
            Action::Detach => {
                let device = s.device().ok_or(NO_DEVICE)?;
                let daemon = self.daemon(s.daemon);
                let object = daemon.map(|daemon| daemon.named(device.realized.has));
                s.running = Some(None);
                Ok(object.map_or(Result::Done, Result::GivenBack))
            }
            Action::Redefine => {
                let device = s.device().ok_or(NO_DEVICE)?;
                let daemon = self.daemon(s.daemon);
                let defined = daemon.map(|daemon| daemon.redefine(device.realized));
                Ok(Result::Defined(defined.unwrap_or(Field::Unset)))
            }
            Action::Restart => self.restart(s, s.daemon),
            Action::Upgrade { to } => {
                if to <= s.daemon {
                    return Err(Blocked("it is no newer"));
                }
                self.restart(s, to)
            }
            Action::Migrate { to } => self.migrate(s, to),
        }
    }

    fn restart(&self, s: &mut State, to: Release) -> std::result::Result<Result, Blocked> {
        let from = std::mem::replace(&mut s.daemon, to);
        let Some(next) = self.daemon(to) else { return Ok(Result::Done) };
        if let Some(config) = &mut s.config
            && config.asked.field().is_some()
        {
            config.memory = next.pass(policy::Edge::Load, config.disk, None);
        }
        if let Some(Some(device)) = &mut s.running {
            device.realized = match self.daemon(from) {
                Some(daemon) => daemon.reconnect(&next, device.realized),
                None => {
                    let Realized { live, has } = device.realized;
                    let live = next.pass(policy::Edge::StatusLoad, live, Some(has));
                    Realized { live, has }
                }
            };
            device.fresh &= from == to;
        }
        Ok(Result::Done)
    }

    /// A guest that goes to an ancient host is not followed there.
    fn migrate(&self, s: &mut State, to: Release) -> std::result::Result<Result, Blocked> {
        let device = s.device().ok_or(NO_DEVICE)?;
        let text = match self.daemon(s.daemon) {
            Some(daemon) => daemon.send(device.realized),
            None => device.realized.live,
        };
        let Some(there) = self.daemon(to) else {
            if text != Field::Unset {
                return Ok(Result::Refused);
            }
            (s.config, s.running) = (None, None);
            return Ok(Result::Done);
        };
        let realized = there.receive(text, device.realized.has);
        let fresh = device.fresh && to == s.daemon;
        let device = Device { realized, fresh, persistent: false, ..device };
        *s = State { daemon: to, config: None, running: Some(Some(device)) };
        Ok(Result::Done)
    }
}

/// Who has to act on the attribute of a device, and finds it open?
fn read_unset(after: &State, action: Action, result: Result) -> bool {
    let open = after.device().is_some_and(|device| device.realized.live == Field::Unset);
    let known = after.daemon != Release::Ancient;
    match action {
        Action::Detach => result == Result::GivenBack(Field::Unset),
        Action::Start
        | Action::Attach { .. }
        | Action::Restart
        | Action::Upgrade { .. }
        | Action::Migrate { .. } => known && open,
        Action::Define { .. } | Action::Stop | Action::Redefine => false,
    }
}

impl study::Study for Study {
    type State = State;
    type Action = Action;
    type Outcome = Outcome;

    fn initial(&self) -> Vec<State> {
        vec![State { daemon: self.bounds.first, config: None, running: None }]
    }

    fn alphabet(&self) -> Vec<Action> {
        use Action::*;
        let mut all: Vec<Action> =
            self.bounds.asked.iter().map(|&device| Define { device }).collect();
        all.extend([Start, Stop]);
        let described = self.bounds.asked.iter().filter(|asked| asked.field().is_some());
        all.extend(described.map(|&device| Attach { device }));
        all.extend([Detach, Redefine, Restart]);
        let later = |to: &Release| *to > self.bounds.first;
        all.extend(Release::ALL.into_iter().filter(later).map(|to| Upgrade { to }));
        all.extend(Release::ALL.map(|to| Migrate { to }));
        all
    }

    fn step(&self, state: &State, action: Action) -> Step<Self> {
        let mut next = *state;
        let result = self.act(&mut next, action)?;
        let guest_has = match (next.device(), action, result) {
            (Some(device), ..) => Some(device.realized.has),
            // Whoever knows nothing of the attribute gives what it always gave.
            (None, Action::Migrate { .. }, Result::Done) => Some(Value::A),
            _ => None,
        };
        let read_unset = result != Result::Refused && read_unset(&next, action, result);
        Ok((Outcome { result, guest_has, read_unset }, next))
    }

    fn party(&self, action: Action) -> Party {
        action.party()
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::properties()
    }

    fn outcome_classes(&self) -> &'static [&'static str] {
        &["done", "refused", "defined", "given back"]
    }

    fn classes_of(&self, outcome: &Outcome) -> u64 {
        match outcome.result {
            Result::Done => 1,
            Result::Refused => 1 << 1,
            Result::Defined(_) => 1 << 2,
            Result::GivenBack(_) => 1 << 3,
        }
    }

    fn view(&self, state: &State) -> View {
        let none = || "none".to_owned();
        let mut view = vec![
            ("daemon".to_owned(), words(&state.daemon)),
            (
                "user wrote".to_owned(),
                state.config.map_or_else(none, |config| words(&config.asked)),
            ),
            ("on disk".to_owned(), state.config.map_or_else(none, |config| words(&config.disk))),
        ];
        let mut add = |what: &str, value: String| view.push((what.to_owned(), value));
        match state.running {
            None => add("guest", "off".to_owned()),
            Some(None) => add("guest", "runs without the device".to_owned()),
            Some(Some(device)) => {
                add("live definition", words(&device.realized.live));
                add("guest has", words(&device.realized.has));
            }
        }
        view
    }
}
