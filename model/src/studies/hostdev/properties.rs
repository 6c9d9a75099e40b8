//! What every design is asked.

use super::{
    Study as Hostdev,
    action::{Action, Asked, Outcome, Refusal, Result},
    state::{Config, State},
};
use crate::study::{
    Judgement,
    Law::{self, Always, AlwaysStep, Sometimes},
    Property,
};

const STUMP: &str = "Laine Stump, libvir-list 2023-11";
const KREMPA: &str = "Peter Krempa, libvir-list 2023-11";
const MANAGER: &str =
    "libvirt `virHostdevGetPCIHostDevice`: an open driver is an error since 5.7.0";

/// Every property, in the order of the matrix.
pub(super) fn properties() -> Vec<Property<Hostdev>> {
    let property = |name, source, law: Law<Hostdev>| Property { name, source, law };
    vec![
        property("a round trip adds no driver", STUMP, Always(round_trip)),
        property("an existing configuration gets the new default", STUMP, AlwaysStep(adopted)),
        property("a new configuration gets the new default", STUMP, AlwaysStep(adopted_when_new)),
        property(
            "after the upgrade no device is bound to the old default",
            STUMP,
            AlwaysStep(switched_at_once),
        ),
        property("the next boot is like the last", KREMPA, AlwaysStep(boots_alike)),
        property(
            "the manager gets a driver at start",
            MANAGER,
            AlwaysStep(|_, s, action, outcome, _| {
                asked_manager(action == Action::Start && describes(s), outcome)
            }),
        ),
        property(
            "the manager gets a driver when a device is plugged",
            MANAGER,
            AlwaysStep(|_, _, action, outcome: &Outcome, _| {
                asked_manager(
                    matches!(action, Action::Attach { device } if device.describes()),
                    outcome,
                )
            }),
        ),
        property(
            "the manager gets a driver for what a network gives at start",
            MANAGER,
            AlwaysStep(|_, s: &State, action, outcome, _| {
                let of_network =
                    s.config.is_some_and(|config| matches!(config.asked, Asked::Network(_)));
                asked_manager(action == Action::Start && of_network, outcome)
            }),
        ),
        property(
            "the manager gets a driver for what a network gives when plugged",
            MANAGER,
            AlwaysStep(|_, _, action, outcome: &Outcome, _| {
                asked_manager(
                    matches!(action, Action::Attach { device: Asked::Network(_) }),
                    outcome,
                )
            }),
        ),
        property(
            "what is unplugged goes back to the host",
            "libvirt `libxlDomainDetachHostPCIDevice`, `virHostdevReAttachPCIDevices`",
            AlwaysStep(|_, before: &State, action, _, after: &State| {
                Judgement::when(action == Action::Detach && !before.stuck, !after.stuck)
            }),
        ),
        property(
            "what cannot work is refused before the host is touched",
            "what a user expects: a refused request changes nothing",
            AlwaysStep(|_, _, _, outcome: &Outcome, _| {
                let refused = matches!(outcome.result, Result::Refused(_) | Result::RefusedLate(_));
                Judgement::when(refused, !matches!(outcome.result, Result::RefusedLate(_)))
            }),
        ),
        property(
            "started and plugged, the same device is answered alike",
            "libvirt 9363c1cb: start keeps what the network says, attach refuses it",
            Always(|study: &Hostdev, s: &State| {
                let both = study.both_ways(s).filter(|_| s.running.is_none());
                both.map_or(Judgement::NotAsked, |[start, plug]| {
                    Judgement::when(true, start == plug)
                })
            }),
        ),
        property(
            "a driver that was chosen is used or refused",
            "what a user expects",
            AlwaysStep(choices_count),
        ),
        property(
            "no guest vanishes when its daemon starts",
            "libvirt `virDomainObjListLoadAllConfigs`: what cannot be parsed is not there",
            AlwaysStep(|_, _, action, outcome: &Outcome, _| {
                let restarts = matches!(action, Action::Restart | Action::Upgrade);
                Judgement::when(restarts, outcome.result != Result::Vanished)
            }),
        ),
        property(
            "defining the dump of a running guest chooses nothing",
            "facts of a run are not configuration",
            AlwaysStep(|_, before: &State, action, _, after: &State| {
                let disk = |s: &State| s.config.map(|config: Config| config.disk);
                let open = before.config.is_some_and(|config| config.asked.is_open());
                Judgement::when(action == Action::Redefine && open, disk(before) == disk(after))
            }),
        ),
        property(
            "a start that fails reports its own error and no other",
            "libvirt `qemuProcessStop` gives back every device of the definition",
            AlwaysStep(|_, _, action, outcome: &Outcome, _| {
                let fails = action == Action::StartVetoed
                    || (action == Action::Start && outcome.result != Result::Done);
                Judgement::when(fails, !outcome.spurious_error)
            }),
        ),
        property(
            "a guest gets the device, where there is a driver for it",
            "so that the rest is not vacuous",
            Sometimes(|study: &Hostdev, s: &State| {
                s.running.flatten().is_some() || study.host_has_nothing()
            }),
        ),
    ]
}

fn describes(s: &State) -> bool {
    s.config.is_some_and(|config| config.asked.describes())
}

fn asked_manager(asked: bool, outcome: &Outcome) -> Judgement {
    Judgement::when(asked, outcome.result != Result::Refused(Refusal::DriverIsOpen))
}

fn round_trip(_: &Hostdev, s: &State) -> Judgement {
    let open = s.config.filter(|config| config.asked == Asked::Unset);
    open.map_or(Judgement::NotAsked, |config| {
        Judgement::when(true, config.disk.is_none() && config.memory.is_none())
    })
}

/// The configuration that starts, where nobody chose a driver.
fn starts_open(before: &State, action: Action, outcome: &Outcome) -> Option<Config> {
    let starts = action == Action::Start && outcome.result == Result::Done;
    before.config.filter(|config| starts && config.asked == Asked::Unset)
}

fn gets_todays(study: &Hostdev, before: &State, outcome: &Outcome) -> bool {
    outcome.bound == study.bounds.todays(before.newer, before.vfio)
}

fn adopted(
    study: &Hostdev,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    starts_open(before, action, outcome).map_or(Judgement::NotAsked, |config| {
        Judgement::when(
            !config.by_newer || config.last_boot.is_some(),
            gets_todays(study, before, outcome),
        )
    })
}

fn adopted_when_new(
    study: &Hostdev,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    starts_open(before, action, outcome).map_or(Judgement::NotAsked, |config| {
        let new = config.by_newer == before.newer && config.last_boot.is_none();
        Judgement::when(new, gets_todays(study, before, outcome))
    })
}

/// Where there is another default than the old one.
fn switched_at_once(
    study: &Hostdev,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    let changes = study.bounds.todays(true, true) != Some(study.bounds.legacy());
    starts_open(before, action, outcome).map_or(Judgement::NotAsked, |_| {
        Judgement::when(changes && before.newer, outcome.bound != Some(study.bounds.legacy()))
    })
}

fn boots_alike(
    _: &Hostdev,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    let last = before.config.and_then(|config| config.last_boot).filter(|_| describes(before));
    let starts = action == Action::Start && outcome.result == Result::Done;
    Judgement::when(starts && last.is_some(), outcome.bound == last)
}

fn choices_count(
    _: &Hostdev,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    let asked = match (action, before.config) {
        (Action::Start, Some(config)) => config.asked,
        (Action::Attach { device }, _) => device,
        _ => return Judgement::NotAsked,
    };
    let (Asked::Driver(driver) | Asked::Network(Some(driver))) = asked else {
        return Judgement::NotAsked;
    };
    Judgement::when(outcome.result == Result::Done, outcome.bound == Some(driver))
}
