//! Does every way to name a device reach the same device before and after a restart?
//!
//! The first console of a machine is its first serial port. libvirt keeps two records for the one device,
//! writes one for both, and reads both back; what the second record was called is then forgotten.
//! Whoever names the console is answered from one record before a restart and from another after it.
//!
//! Left out: stopping and starting again (a second start is a first start of what is defined), several
//! requests at once (the daemon has one job for each domain), kills between two effects (the study `restart`),
//! and machines other than x86 PC, where the first serial port may be part of the machine.
//!
//! Sources: libvir-list 2023-03, 'qemu_alias: Assign proper alias for console' (Privoznik, Bolognani), BZ
//! 2156300; libvirt 9.0.0 `src/conf/domain_conf.c`, `domain_postparse.c`, `domain_validate.c`,
//! `src/qemu/qemu_alias.c`, `qemu_hotplug.c`, `qemu_driver.c`.
//!
//! - [`name`], [`definition`]: what is written, what is read from it; [`state`]: where each fact is held.
//! - [`rules`]: what the designs disagree about; `machine`: what a daemon does.

pub mod action;
pub mod definition;
mod machine;
pub mod name;
mod properties;
pub mod rules;
mod scopes;
pub mod state;

#[cfg(test)]
mod tests;

use self::{
    action::{Action, Outcome, Reply},
    definition::Definition,
    machine::Machine,
    rules::{DESIGNS, Rules},
    scopes::{Bounds, SCOPES},
    state::{Guest, State},
};
use crate::{
    family::{Design, Family, Scope},
    study::{self, Party, Property, Step, View},
    words::words,
};

/// The family: every design and scope of the question.
#[derive(Debug)]
pub struct Alias;

impl Family for Alias {
    type Study = Study;

    const NAME: &'static str = "alias";
    const QUESTION: &'static str =
        "Does every way to name a device reach the same device before and after a restart?";
    const PINS: &'static str = include_str!("pins.tsv");
    const OTHER_NAMES: &'static [(&'static str, &'static str)] = &[("own-alias", "libvirt-9.0")];

    fn designs() -> &'static [Design] {
        const { &crate::family::firsts(&DESIGNS) }
    }

    fn scopes() -> &'static [Scope] {
        const { &crate::family::firsts(&SCOPES) }
    }

    fn study(design: &Design, scope: &Scope) -> Study {
        let rules = DESIGNS.iter().find(|(known, _)| known == design);
        let bounds = SCOPES.iter().find(|(known, _)| known == scope);
        let (Some((_, rules)), Some((_, bounds))) = (rules, bounds) else {
            panic!("the design and the scope are this family's own")
        };
        Study { rules: *rules, bounds: *bounds }
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
}

impl study::Study for Study {
    type State = State;
    type Action = Action;
    type Outcome = Outcome;

    fn initial(&self) -> Vec<State> {
        vec![State { config: None, guest: Guest::Off }]
    }

    fn alphabet(&self) -> Vec<Action> {
        self.bounds.alphabet()
    }

    fn step(&self, state: &State, action: Action) -> Step<Self> {
        let mut machine = Machine {
            rules: &self.rules,
            bounds: &self.bounds,
            state: *state,
            outcome: Outcome::default(),
        };
        machine.act(action)?;
        Ok((machine.outcome, machine.state))
    }

    fn party(&self, action: Action) -> Party {
        action.party()
    }

    fn is_disruption(&self, action: Action) -> bool {
        matches!(action, Action::Restart | Action::Redefine)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::properties()
    }

    fn outcome_classes(&self) -> &'static [&'static str] {
        &["done", "attached", "requested", "refused", "shown", "a device is gone"]
    }

    fn classes_of(&self, outcome: &Outcome) -> u64 {
        let reply = match outcome.reply {
            Reply::Done => 1,
            Reply::Attached { .. } => 1 << 1,
            Reply::Requested => 1 << 2,
            Reply::Refused(_) => 1 << 3,
            Reply::Shown(_) => 1 << 4,
            Reply::DaemonDied => 0,
        };
        reply | u64::from(!outcome.gone.is_empty()) << 5
    }

    fn view(&self, state: &State) -> View {
        let shown = |definition: &Definition| {
            let each = definition.devices().map(|device| {
                let alias = device.alias.map_or("-".to_owned(), |alias| alias.to_string());
                format!("{} {alias}", words(&device.kind))
            });
            let each: Vec<String> = each.collect();
            if each.is_empty() { "nothing".to_owned() } else { each.join(", ") }
        };
        let defined = state.config.as_ref().map_or("nothing".to_owned(), shown);
        let mut view = vec![("defined".to_owned(), defined)];
        let mut add = |what: &str, value: String| view.push((what.to_owned(), value));
        match state.guest {
            Guest::Off => add("guest", "off".to_owned()),
            Guest::Lost => add("guest", "lost".to_owned()),
            Guest::Running(running) => {
                add("guest", "runs".to_owned());
                add("in memory", running.memory.as_ref().map_or("freed".to_owned(), shown));
                add("in the status file", shown(&running.file));
                let ids = running.qemu.devices().map(|device| device.id.to_string());
                add("in QEMU", ids.collect::<Vec<_>>().join(", "));
            }
        }
        view
    }
}
