//! PCI addresses for what has none (`qemuAssignDevicePCISlots`).

use super::{
    definition::{Controller, Definition, Refusal},
    generation::{Fit, Generation},
    hardware::{Bus, Machine, Model, Place},
};

/// Slots below this are modelled; no run here needs more.
const SLOTS: u8 = 8;

fn bit(slot: u8) -> u8 {
    if slot < SLOTS { 1 << slot } else { 0 }
}

/// The bus of the network cards: a conventional one, as `rtl8139`, libvirt's default, wants.
fn bus_of_cards(machine: Machine) -> Bus {
    if machine == Machine::Q35 { Bus::Bridge } else { Bus::Root }
}

/// The bus for a controller without an address: only xHCI is a PCIe device, and has a port to itself.
fn bus_of_controller(generation: Generation, machine: Machine, model: Option<Model>) -> Bus {
    let xhci = matches!(model, Some(Model::NecXhci | Model::QemuXhci));
    match machine {
        Machine::Q35 if xhci && generation.has_root_ports() => Bus::Ports,
        _ => bus_of_cards(machine),
    }
}

/// Slots that no device may be given: slot 0, that of PIIX3, and until 1.0.x that of a video card that
/// is not there.
fn reserved(generation: Generation, machine: Machine) -> u8 {
    let root = match machine {
        Machine::I440fx if generation.takes_all_for_piix3() => bit(1) | bit(2),
        Machine::I440fx => bit(1),
        Machine::Q35 => 0,
        _ if generation.takes_all_for_piix3() => bit(1) | bit(2),
        _ => 0,
    };
    bit(0) | root
}

/// Slots in use on the bus of the network cards.
fn used(definition: &Definition, bus: Bus) -> u8 {
    let usb = definition.usb.and_then(|usb| usb.place).filter(|place| place.bus == bus);
    definition.cards | usb.map_or(0, |place| bit(place.slot))
}

fn lowest_free(taken: u8) -> Result<u8, Refusal> {
    let slot = taken.trailing_ones() as u8;
    if slot < SLOTS { Ok(slot) } else { Err(Refusal::PlaceTaken) }
}

/// Checks the address of the controller, or gives it one.
pub(super) fn assign(
    generation: Generation,
    machine: Machine,
    definition: &mut Definition,
) -> Result<(), Refusal> {
    let pinned = machine == Machine::I440fx || generation.takes_all_for_piix3();
    let pinned = pinned && machine != Machine::Q35;
    // PIIX3's own slot. The one of the missing video card is only kept free.
    if pinned && definition.cards & bit(1) != 0 {
        return Err(Refusal::PlaceTaken);
    }
    let Some(usb) = definition.usb else { return Ok(()) };
    let zero = usb.place.is_some_and(Place::is_all_zero);
    if zero && !generation.assigns_all_zero() {
        return Err(Refusal::SlotZero);
    }
    let asked = usb.place.filter(|_| !zero);
    let bridge = Place { bus: Bus::Root, slot: 1, function: 0 };
    if pinned && asked == Some(bridge) {
        return Err(Refusal::PlaceTaken);
    }
    let is_piix3 = matches!(usb.model, None | Some(Model::Piix3Uhci));
    let place = match (usb.model, asked) {
        (Some(Model::None), _) => None,
        _ if pinned && is_piix3 => match asked {
            None | Some(Place::PIIX3) => Some(Place::PIIX3),
            Some(_) => return Err(Refusal::NotThePlaceOfPiix3),
        },
        (_, Some(place)) => Some(place),
        (Some(Model::Ich9), None)
            if machine == Machine::Q35 && generation.prefers_slots_for_ich9() =>
        {
            Some(Place::ICH9)
        }
        (model, None) => {
            let bus = bus_of_controller(generation, machine, model);
            let cards = match bus == bus_of_cards(machine) {
                true => definition.cards,
                false => 0,
            };
            let slot = lowest_free(reserved(generation, machine) | cards)?;
            // The master of the set is function 7.
            let function = if model == Some(Model::Ich9) { 7 } else { 0 };
            Some(Place { bus, slot, function })
        }
    };
    definition.usb = Some(Controller { place, ..usb });
    Ok(())
}

/// Gives a network card the lowest free slot, as the pass over a whole definition does.
pub(super) fn first_card(generation: Generation, machine: Machine) -> u8 {
    bit(reserved(generation, machine).trailing_ones() as u8)
}

/// The slot for a card that is plugged into a running guest. `last` is the allocator's pointer: the
/// slot given last since the daemon has known the guest, 0 for none.
pub(super) fn plug(
    generation: Generation,
    machine: Machine,
    definition: &Definition,
    last: u8,
) -> Result<u8, Refusal> {
    let bus = bus_of_cards(machine);
    let taken = used(definition, bus) | reserved(generation, machine);
    let after = match generation.fit() {
        Fit::First => 0,
        Fit::Next => last,
    };
    let below = u8::MAX >> (SLOTS - 1 - after.min(SLOTS - 1));
    lowest_free(taken | below).or_else(|_| lowest_free(taken))
}
