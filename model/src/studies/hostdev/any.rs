//! What no daemon can have together, whatever it remembers.
//!
//! The designs of the matrix are eleven answers. Here the daemon binds a device to any driver that this host can bind,
//! at every start and plug anew.

use super::{
    Hostdev, Study,
    action::{Action, Asked, Outcome, Refusal, Result},
    rules::Driver,
    state::{Config, Device, State},
};
use crate::{
    check::strategy::{self, Conflict, Game},
    family::Family,
    study::Study as _,
};

/// What is asked about a default that changes.
pub const ABOUT_DEFAULTS: [&str; 5] = [
    "an existing configuration gets the new default",
    "a new configuration gets the new default",
    "after the upgrade no device is bound to the old default",
    "the next boot is like the last",
    "a driver that was chosen is used or refused",
];

/// The smallest sets of [`ABOUT_DEFAULTS`] that no daemon satisfies together in a scope. One that `may_refuse` need
/// not start a guest whose device this host could bind.
///
/// # Panics
/// When there is no such scope: the names are literals.
pub fn conflicts(scope: &str, may_refuse: bool) -> Vec<Conflict<Study>> {
    let ours = Hostdev::designs().last().expect("there are designs");
    let scope = Hostdev::scopes().iter().find(|known| known.name == scope).expect("a scope");
    let study = Hostdev::study(ours, scope);
    let answers = |s: &State, action| study.answers(s, action, may_refuse);
    strategy::conflicts(&Game { study: &study, answers: &answers }, &ABOUT_DEFAULTS)
}

impl Study {
    fn answers(&self, s: &State, action: Action, may_refuse: bool) -> Vec<(Outcome, State)> {
        let asked = match (action, s.config, s.running) {
            (Action::Start, Some(config), None) => config.asked,
            (Action::Attach { device }, _, Some(None)) => device,
            _ => Asked::Nothing,
        };
        if asked == Asked::Nothing {
            return self.step(s, action).into_iter().collect();
        }
        let bound = |live: Driver| {
            let persistent = action == Action::Start && asked.describes();
            let (of_network, automatic) = (matches!(asked, Asked::Network(_)), asked.is_open());
            let device = Device { live, of_network, persistent, automatic };
            let mut next = State { running: Some(Some(device)), ..*s };
            if let (Action::Start, Some(config)) = (action, s.config) {
                next.config = Some(Config { last_boot: Some(live), ..config });
            }
            (answer(Result::Done, Some(live)), next)
        };
        let drivers = [Driver::Kvm, Driver::Vfio, Driver::Xen];
        let can = |driver: &Driver| self.bounds.can(*driver, s.vfio);
        let mut answers: Vec<(Outcome, State)> =
            drivers.into_iter().filter(can).map(bound).collect();
        // Who asks for a driver that the host has not is refused by everybody, and so may be who had one the last time
        // that it has no more.
        let wants = match asked {
            Asked::Driver(driver) | Asked::Network(Some(driver)) => Some(driver),
            _ => s.config.filter(|_| action == Action::Start).and_then(|config| config.last_boot),
        };
        let is_granted = wants.map_or(!answers.is_empty(), |driver| can(&driver));
        if may_refuse || !is_granted {
            answers.push((answer(Result::Refused(Refusal::HostCannot), None), *s));
        }
        answers
    }
}

fn answer(result: Result, bound: Option<Driver>) -> Outcome {
    Outcome { result, shown: None, bound, spurious_error: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(scope: &str, may_refuse: bool) -> Vec<(Vec<&'static str>, String)> {
        let all = conflicts(scope, may_refuse).into_iter();
        all.map(|(names, forced)| (names, forced.steps().join("; "))).collect()
    }

    /// Exactly this cannot be had by anybody: one demand by itself, and two together.
    #[test]
    fn what_nobody_can_have() {
        let [adopt, _, at_once, boot, _] = ABOUT_DEFAULTS;
        let found = told("kvm-to-vfio", false);
        let names: Vec<_> = found.iter().map(|(names, _)| names.clone()).collect();
        assert_eq!(names, [vec![at_once], vec![adopt, boot]], "{found:#?}");
        assert_eq!(
            found[0].1,
            "define{device: unset} -> result done; upgrade -> result done; \
             start -> {bound: kvm, result: done} (against: after the upgrade no device is bound to the old default)"
        );
        assert_eq!(
            found[1].1,
            "define{device: unset} -> result done; start -> {bound: kvm, result: done}; stop -> result done; \
             upgrade -> result done; host-gains-vfio -> result done; \
             start -> {bound: kvm, result: done} (against: an existing configuration gets the new default) \
             or {bound: vfio, result: done} (against: the next boot is like the last)"
        );
    }

    /// One that may leave a guest off has a way out of each.
    #[test]
    fn who_may_refuse_to_start_a_guest_has_it_all() {
        assert_eq!(told("kvm-to-vfio", true), []);
    }

    /// Where the default does not change, nothing is in the way of anything.
    #[test]
    fn a_default_that_never_changes_costs_nothing() {
        for scope in ["qemu", "xen", "no-vfio"] {
            assert_eq!(told(scope, false), [], "{scope}");
        }
    }
}
