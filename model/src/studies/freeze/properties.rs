//! What every policy is asked. Each has a short name, by which the tables speak of it.

use super::{
    Study as Freeze,
    action::{Action, Asked, Outcome, Result},
    field::{Field, Release, Value},
    state::{Device, State},
};
use crate::study::{
    Judgement,
    Law::{Always, AlwaysStep},
    Property,
};

const ROUND_TRIP: &str =
    "libvirt's xml2xml tests; Laine Stump, libvir-list 2023-11: a round trip adds no driver";
const ABI: &str =
    "Peter Krempa, libvir-list 2023-11: what is written at parse does not change later";
const MANAGER: &str = "libvirt `virHostdevGetPCIHostDevice`: a default driver is an error";
const THREAD: &str = "libvir-list 2016-08, review of 'qemu: Default to pci-ohci on ppc64'";

/// The short names, in the order of the properties.
pub const CODES: [&str; 15] = [
    "PURE",
    "OBEYED",
    "TRUTH",
    "RESOLVED",
    "DETACH",
    "RESTART",
    "MIG",
    "MIG-SAME",
    "BOOT",
    "ADOPT-OLD",
    "ADOPT-NEW",
    "NOLEAK",
    "KEPT",
    "OLDACC",
    "OLDACC-KNOWN",
];

/// Every property, in the order of the matrix.
pub(super) fn properties() -> Vec<Property<Freeze>> {
    let property = |name, source, law| Property { name, source, law };
    vec![
        property(
            "PURE: what the user left open is nobody's choice in the configuration",
            ROUND_TRIP,
            Always(pure),
        ),
        property(
            "OBEYED: what the user chose is what the guest gets",
            "what a user expects",
            AlwaysStep(obeyed),
        ),
        property(
            "TRUTH: the live definition does not lie about the process",
            "`dumpxml` is read by management",
            Always(truth),
        ),
        property(
            "RESOLVED: who has to act on the attribute finds a value",
            MANAGER,
            AlwaysStep(resolved),
        ),
        property(
            "DETACH: the device is given back as what it was",
            "libvirt `virHostdevReAttachPCIDevices`",
            AlwaysStep(detach),
        ),
        property(
            "RESTART: no restart and no upgrade makes the live definition lie",
            "libvirt `qemuProcessReconnect`",
            AlwaysStep(restart),
        ),
        property("MIG: a guest that arrives has what it had", ABI, AlwaysStep(migration)),
        property(
            "MIG-SAME: the same where one release is all there ever was",
            ABI,
            AlwaysStep(migration_same),
        ),
        property("BOOT: the next boot is like the last", ABI, AlwaysStep(boot)),
        property(
            "ADOPT-OLD: an existing configuration gets the new default",
            "Laine Stump, libvir-list 2023-11: everyone switched at once",
            AlwaysStep(adopt_old),
        ),
        property(
            "ADOPT-NEW: a new configuration gets the new default",
            "libvirt 90acbc76e",
            AlwaysStep(adopt_new),
        ),
        property(
            "NOLEAK: defining the dump of a running guest chooses nothing",
            "facts of a run are not configuration",
            AlwaysStep(no_leak),
        ),
        property(
            "KEPT: defining the dump of a running guest keeps what was chosen",
            "`virsh dumpxml | virsh define`",
            AlwaysStep(kept),
        ),
        property(
            "OLDACC: who does not know the attribute accepts a guest that nobody configured",
            THREAD,
            AlwaysStep(old_accepts),
        ),
        property(
            "OLDACC-KNOWN: the same where the guest has what it would get there",
            THREAD,
            AlwaysStep(old_accepts_known),
        ),
    ]
}

fn pure(_: &Freeze, s: &State) -> Judgement {
    let open = s.config.filter(|config| config.asked == Asked::Unset);
    open.map_or(Judgement::NotAsked, |config| {
        let nobodys = config.disk.chosen().is_none() && config.memory.chosen().is_none();
        Judgement::when(true, nobodys)
    })
}

fn obeyed(_: &Freeze, before: &State, action: Action, outcome: &Outcome, _: &State) -> Judgement {
    let wanted = match (action, before.config) {
        (Action::Start, Some(config)) => config.asked,
        (Action::Attach { device }, _) => device,
        _ => return Judgement::NotAsked,
    };
    match wanted {
        Asked::Set(value) if outcome.result == Result::Done => {
            Judgement::when(true, outcome.guest_has == Some(value))
        }
        _ => Judgement::NotAsked,
    }
}

fn truth(_: &Freeze, s: &State) -> Judgement {
    s.device().map_or(Judgement::NotAsked, |device| Judgement::when(true, device.is_truthful()))
}

fn resolved(_: &Freeze, _: &State, action: Action, outcome: &Outcome, s: &State) -> Judgement {
    let acts = match action {
        Action::Detach => outcome.result != Result::Done,
        Action::Start
        | Action::Attach { .. }
        | Action::Restart
        | Action::Upgrade { .. }
        | Action::Migrate { .. } => s.device().is_some() && s.daemon != Release::Ancient,
        Action::Define { .. } | Action::Stop | Action::Redefine => false,
    };
    Judgement::when(acts, !outcome.read_unset)
}

fn detach(_: &Freeze, before: &State, _: Action, outcome: &Outcome, _: &State) -> Judgement {
    match (outcome.result, before.device()) {
        (Result::GivenBack(object), Some(device)) => {
            Judgement::when(object != Field::Unset, object.is_true_of(device.realized.has))
        }
        _ => Judgement::NotAsked,
    }
}

fn restart(_: &Freeze, before: &State, action: Action, _: &Outcome, after: &State) -> Judgement {
    let restarts = matches!(action, Action::Restart | Action::Upgrade { .. });
    match (before.device(), after.device()) {
        (Some(device), Some(next)) if restarts => {
            Judgement::when(device.is_truthful(), next.is_truthful())
        }
        _ => Judgement::NotAsked,
    }
}

/// The device that moves, as it was described truly.
fn moves(before: &State, action: Action) -> Option<(Device, Release)> {
    let Action::Migrate { to } = action else { return None };
    let device = before.device().filter(Device::is_truthful)?;
    Some((device, to))
}

fn same(device: Device, outcome: &Outcome) -> bool {
    outcome.result == Result::Refused || outcome.guest_has == Some(device.realized.has)
}

fn migration(
    _: &Freeze,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    moves(before, action)
        .map_or(Judgement::NotAsked, |(device, _)| Judgement::when(true, same(device, outcome)))
}

fn migration_same(
    _: &Freeze,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    moves(before, action).map_or(Judgement::NotAsked, |(device, to)| {
        Judgement::when(device.fresh && to == before.daemon, same(device, outcome))
    })
}

fn boot(_: &Freeze, before: &State, action: Action, outcome: &Outcome, _: &State) -> Judgement {
    let last = before.config.and_then(|config| config.last_boot);
    Judgement::when(action == Action::Start && last.is_some(), outcome.guest_has == last)
}

fn adopts(
    study: &Freeze,
    before: &State,
    action: Action,
    outcome: &Outcome,
    old: bool,
) -> Judgement {
    let Some(config) = before.config else { return Judgement::NotAsked };
    let open = action == Action::Start
        && config.asked == Asked::Unset
        && before.daemon != Release::Ancient;
    let gets = outcome.guest_has == Some(study.bounds.default.of(before.daemon));
    Judgement::when(open && (config.by != before.daemon) == old, gets)
}

fn adopt_old(
    study: &Freeze,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    adopts(study, before, action, outcome, true)
}

fn adopt_new(
    study: &Freeze,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    adopts(study, before, action, outcome, false)
}

/// What the configuration chooses, and what the one that is defined from the dump does.
fn redefined(before: &State, outcome: &Outcome) -> Option<(Option<Value>, Option<Value>)> {
    let Result::Defined(field) = outcome.result else { return None };
    before.device().filter(|device| device.persistent && device.is_truthful())?;
    Some((before.config?.disk.chosen(), field.chosen()))
}

fn no_leak(_: &Freeze, before: &State, _: Action, outcome: &Outcome, _: &State) -> Judgement {
    redefined(before, outcome)
        .map_or(Judgement::NotAsked, |(old, new)| Judgement::when(old.is_none(), new.is_none()))
}

fn kept(_: &Freeze, before: &State, _: Action, outcome: &Outcome, _: &State) -> Judgement {
    redefined(before, outcome)
        .map_or(Judgement::NotAsked, |(old, new)| Judgement::when(old.is_some(), old == new))
}

fn accepted(
    before: &State,
    action: Action,
    outcome: &Outcome,
    asked: impl Fn(Device) -> bool,
) -> Judgement {
    let Action::Migrate { to: Release::Ancient } = action else { return Judgement::NotAsked };
    before.device().map_or(Judgement::NotAsked, |device| {
        Judgement::when(device.automatic && asked(device), outcome.result == Result::Done)
    })
}

fn old_accepts(
    _: &Freeze,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    accepted(before, action, outcome, |device| device.fresh)
}

fn old_accepts_known(
    _: &Freeze,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    accepted(before, action, outcome, |device| device.realized.has == Value::A)
}
