//! What every design is asked. A design answers for the steps that its own daemon takes.

use super::{
    Study,
    action::{Action, Outcome, Place, Reply, Why},
    hardware::Name,
    state::{Guest, State},
};
use crate::study::{Judgement, Law, Property};

const THREAD: &str = "libvir-list 2017-11, 'forbid user aliases for implicit pci-root controllers'";

pub(super) fn properties() -> Vec<Property<Study>> {
    use Law::*;
    let property = |name, source, law| Property { name, source, law };
    vec![
        property("the bus named to QEMU is one it has", THREAD, AlwaysStep(the_bus_exists)),
        property(
            "what could be plugged into before a restart or an upgrade can be after",
            "Denemark in the thread: 'which would break any running domains'",
            AlwaysStep(nothing_becomes_unmanageable),
        ),
        property(
            "nobody notices that the daemon was restarted",
            "Privoznik in the thread: 'regardless of how many times libvirtd is restarted'",
            Transparent(|_, action| action == Action::Restart),
        ),
        property("nothing that QEMU can do is refused", THREAD, AlwaysStep(refused_only_in_need)),
        property(
            "a definition that an older daemon started still starts",
            "configurations outlive daemons",
            AlwaysStep(what_started_starts),
        ),
        property(
            "a bus that cannot be plugged into is refused before QEMU is asked",
            "the user learns which bus it is, not which command failed",
            AlwaysStep(refused_before_qemu),
        ),
        property(
            "the user's alias is shown as the user wrote it",
            "libvirt c14f1ed206: a user alias is kept",
            AlwaysStep(alias_is_kept),
        ),
        property("a device is plugged", "sanity", Sometimes(something_is_plugged)),
    ]
}

fn mine(state: &State) -> bool {
    state.daemon.is_none()
}

fn bus_of(guest: &Guest, place: Place) -> Option<Name> {
    match place {
        Place::Root => Some(guest.machine.root(guest.qemu)),
        Place::Port => guest.machine.port(guest.qemu),
    }
}

fn the_bus_exists(
    _: &Study,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    let Some(named) = outcome.bus else { return Judgement::NotAsked };
    let real = match (action, before.guest, before.config) {
        (Action::Attach { onto }, Some(guest), _) => bus_of(&guest, onto),
        (Action::Start, None, Some(config)) => Some(config.machine.root(before.binary)),
        _ => None,
    };
    Judgement::when(mine(before), Some(named) == real)
}

/// Judged by what the daemon before could do, were it asked.
fn nothing_becomes_unmanageable(
    study: &Study,
    before: &State,
    action: Action,
    _: &Outcome,
    after: &State,
) -> Judgement {
    let asks = action == Action::Upgrade || (action == Action::Restart && mine(before));
    let (true, Some(was), Some(is)) = (asks, before.guest, after.guest) else {
        return Judgement::NotAsked;
    };
    Place::ALL.into_iter().fold(Judgement::NotAsked, |all, place| {
        let could = study.rules_in(before).can_attach(&was, place);
        all.and(Judgement::when(could, study.rules_in(after).can_attach(&is, place)))
    })
}

fn refused_only_in_need(
    _: &Study,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    // That a QEMU is not supported any more is not about names.
    if outcome.why() == Some(Why::QemuTooOld) {
        return Judgement::NotAsked;
    }
    let possible = match (action, before.guest) {
        // Named rightly, every one of the study's guests starts.
        (Action::Define { .. } | Action::Start, _) => true,
        (Action::Attach { onto: Place::Root }, Some(guest)) => {
            guest.machine.root_is_hotpluggable(guest.qemu)
        }
        (Action::Attach { onto: Place::Port }, Some(_)) => true,
        _ => false,
    };
    Judgement::when(mine(before) && possible, outcome.reply == Reply::Done)
}

fn what_started_starts(
    _: &Study,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    let started = before.config.is_some_and(|config| config.started_before);
    let asked = mine(before) && action == Action::Start && started;
    Judgement::when(asked && outcome.why() != Some(Why::QemuTooOld), outcome.reply == Reply::Done)
}

fn refused_before_qemu(
    _: &Study,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    let Some(guest) = before.guest else { return Judgement::NotAsked };
    let asked = matches!(action, Action::Attach { onto: Place::Root })
        && !guest.machine.root_is_hotpluggable(guest.qemu);
    Judgement::when(mine(before) && asked, outcome.why() == Some(Why::NotHotpluggable))
}

fn alias_is_kept(
    _: &Study,
    before: &State,
    action: Action,
    outcome: &Outcome,
    _: &State,
) -> Judgement {
    let named = before.config.is_some_and(|config| config.user_alias);
    let asked = mine(before) && action == Action::Dump && named;
    Judgement::when(asked, outcome.reply == Reply::Alias(Some(Name::UaRoot)))
}

fn something_is_plugged(_: &Study, state: &State) -> bool {
    state.guest.is_some_and(|guest| guest.plugged.contains(&true))
}
