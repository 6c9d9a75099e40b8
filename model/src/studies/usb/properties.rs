//! What every generation is asked.
//!
//! A design answers for the steps in which its own daemon takes part.

use super::{
    Study as Usb,
    action::{Action, Outcome, Result},
    definition::{Asked, Definition, Text},
    generation::Generation,
    hardware::{self, Hardware, Loaded},
    host::{Guest, Host},
    state::{Life, State},
};
use crate::study::{Judgement, Law, Property};

const THREAD: &str = "libvir-list 2016-08, review of 'qemu: Default to pci-ohci on ppc64'";
const ABI: &str = "the guest ABI does not change under a running guest (libvirt's own promise)";

/// Every property, in the order of the matrix.
pub(super) fn properties() -> Vec<Property<Usb>> {
    use Law::*;
    let property = |name, source, law| Property { name, source, law };
    vec![
        property(
            "a running guest keeps its USB hardware",
            ABI,
            AlwaysStep(running_guest_keeps_its_hardware),
        ),
        property(
            "the live definition says what the guest has",
            "`dumpxml` is read by management",
            Always(live_is_true),
        ),
        property(
            "text about a process is not completed with what the process has not",
            "libvirt 90acbc76e: no new default without ABI_UPDATE",
            AlwaysStep(nothing_is_invented),
        ),
        property("a guest can move to a daemon of the same kind", THREAD, Always(can_move)),
        property("migration there and back is the identity", THREAD, Always(there_and_back)),
        property(
            "an older receiver gets a text that it can follow, if there is one",
            THREAD,
            Always(older_receiver_is_served),
        ),
        property(
            "a guest that is saved can be restored",
            "a save image is a migration to oneself",
            Always(saved_can_be_restored),
        ),
        property(
            "an upgrade in place loses no guest",
            "`qemuProcessReconnect`",
            AlwaysStep(upgrade_loses_nothing),
        ),
        property(
            "defining what is printed of a running guest keeps its hardware at the next boot",
            "`virsh dumpxml` into `virsh define`",
            Always(redefining_keeps),
        ),
        property("a guest runs on the other host", "sanity", Sometimes(runs_elsewhere)),
    ]
}

/// The running guest, if the design's daemon has it.
fn mine(study: &Usb, state: &State) -> Option<(Host, Guest)> {
    let Life::Running { host, guest } = state.life else { return None };
    let host = study.host_of(state, host);
    (host.generation == study.generation).then_some((host, guest))
}

fn process(state: &State) -> Option<Hardware> {
    match state.life {
        Life::Running { guest, .. } => Some(guest.hardware),
        Life::Saved { hardware, .. } => Some(hardware),
        Life::Off | Life::Lost => None,
    }
}

/// Did the design's daemon write or read in this step?
fn takes_part(study: &Usb, before: &State, action: Action, after: &State) -> bool {
    let is_mine = |generation: Generation| generation == study.generation;
    match (action, before.life) {
        (Action::Migrate, Life::Running { .. }) => before.generations.into_iter().any(is_mine),
        (Action::Restore, Life::Saved { host, by, .. }) => {
            is_mine(by) || is_mine(before.generations[usize::from(host)])
        }
        (Action::Upgrade { .. }, _) => true,
        _ => mine(study, after).is_some(),
    }
}

fn running_guest_keeps_its_hardware(
    study: &Usb,
    before: &State,
    action: Action,
    _outcome: &Outcome,
    after: &State,
) -> Judgement {
    let (Some(had), Some(has)) = (process(before), process(after)) else {
        return Judgement::NotAsked;
    };
    Judgement::when(takes_part(study, before, action, after), had == has)
}

fn live_is_true(study: &Usb, state: &State) -> Judgement {
    mine(study, state).map_or(Judgement::NotAsked, |(_, guest)| {
        Judgement::when(true, guest.live.describes(guest.hardware))
    })
}

/// The reader adds no controller and no model that the process does not have.
fn nothing_is_invented(
    study: &Usb,
    before: &State,
    action: Action,
    _outcome: &Outcome,
    after: &State,
) -> Judgement {
    if !matches!(action, Action::Migrate | Action::Restore | Action::Upgrade { .. }) {
        return Judgement::NotAsked;
    }
    let moved = matches!(action, Action::Upgrade { .. }) || before.life != after.life;
    let (Some(had), Some((_, guest))) = (process(before), mine(study, after)) else {
        return Judgement::NotAsked;
    };
    let read = guest.live.usb.and_then(|usb| usb.model).filter(|model| {
        // What was already said falsely is not this reader's invention.
        let said = match before.life {
            Life::Running { guest, .. } => guest.live.usb,
            Life::Saved { text, .. } => text.definition.usb,
            Life::Off | Life::Lost => None,
        };
        said.and_then(|said| said.model) != Some(*model)
    });
    let invented = read.is_some_and(|model| {
        model != hardware::Model::None && Some(model) != had.map(|device| device.model)
    });
    Judgement::when(moved, !invented)
}

/// There, by a daemon of the design.
fn there(host: Host, guest: &Guest) -> Option<Guest> {
    let arrived = host.receive(&host.migratable(guest), guest.hardware).ok()?;
    (!arrived.silently_changed).then_some(arrived.guest)
}

fn can_move(study: &Usb, state: &State) -> Judgement {
    mine(study, state).map_or(Judgement::NotAsked, |(host, guest)| {
        Judgement::when(true, there(host, &guest).is_some())
    })
}

fn there_and_back(study: &Usb, state: &State) -> Judgement {
    let Some((host, guest)) = mine(study, state) else { return Judgement::NotAsked };
    let Some(moved) = there(host, &guest) else { return Judgement::NotAsked };
    let back = there(host, &moved);
    let same = |back: Guest| back.live == guest.live && back.hardware == guest.hardware;
    Judgement::when(true, back.is_some_and(same))
}

/// If any text about the controller would make the older daemon accept the guest as it is, then ours
/// does. A text has no controller, or one with or without a model, with the guest's address or none.
fn older_receiver_is_served(study: &Usb, state: &State) -> Judgement {
    let Some((host, guest)) = mine(study, state) else { return Judgement::NotAsked };
    study.older().fold(Judgement::NotAsked, |all, old| {
        let old = study.host(old);
        let accepts = |text: &Text| {
            let arrived = old.receive(text, guest.hardware);
            arrived.is_ok_and(|arrived| !arrived.silently_changed)
        };
        let can = texts(&guest).any(|text| accepts(&text));
        all.and(Judgement::when(can, accepts(&host.migratable(&guest))))
    })
}

fn texts(guest: &Guest) -> impl Iterator<Item = Text> {
    let place = guest.hardware.map(|device| device.place);
    let model = guest.hardware.map_or(hardware::Model::None, |device| device.model);
    let controllers = [Asked::Absent, Asked::Unset, Asked::Model(model)].map(Asked::controller);
    let cards = guest.live.cards;
    controllers.into_iter().flat_map(move |usb| {
        [None, place].map(|place| {
            let usb = usb.map(|usb| super::definition::Controller { place, ..usb });
            Text { definition: Definition { usb, cards }, process: None }
        })
    })
}

fn saved_can_be_restored(study: &Usb, state: &State) -> Judgement {
    let Life::Saved { by, text, hardware, .. } = state.life else { return Judgement::NotAsked };
    let restored = study.host(by).receive(&text, hardware);
    let restored = restored.is_ok_and(|arrived| !arrived.silently_changed);
    Judgement::when(by == study.generation, restored)
}

fn upgrade_loses_nothing(
    _study: &Usb,
    _before: &State,
    action: Action,
    outcome: &Outcome,
    _after: &State,
) -> Judgement {
    Judgement::when(
        matches!(action, Action::Upgrade { .. }),
        !matches!(outcome.result, Result::Lost(_)),
    )
}

fn redefining_keeps(study: &Usb, state: &State) -> Judgement {
    let Some((host, guest)) = mine(study, state) else { return Judgement::NotAsked };
    let next = host.redefine(guest.live).and_then(|config| host.start(config));
    let same = next.is_ok_and(|next| hardware::load(guest.hardware, next.hardware) == Loaded::Same);
    Judgement::when(true, same)
}

fn runs_elsewhere(_study: &Usb, state: &State) -> bool {
    matches!(state.life, Life::Running { host: 1, .. })
}
