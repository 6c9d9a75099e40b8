//! The study's words as XML, and back.

use statusquo_model::studies::usb::{
    definition::{Asked, Controller},
    hardware::{Build, Bus, Machine, Model, Place},
};
use statusquo_vmm::domain::{Address, Class, Domain, Emulator};

use super::Stop;
use crate::replay::Fault;

/// What a QEMU of the study can be asked for, in QEMU's names.
pub(super) fn emulator(build: Build) -> Emulator {
    let names = [
        (Model::Piix3Uhci, &["piix3-usb-uhci"][..]),
        (Model::PciOhci, &["pci-ohci"]),
        (Model::NecXhci, &["nec-usb-xhci"]),
        (Model::QemuXhci, &["qemu-xhci"]),
        (Model::Ich9, &["ich9-usb-ehci1", "ich9-usb-uhci1", "ich9-usb-uhci2", "ich9-usb-uhci3"]),
    ];
    let has = names.into_iter().filter(|(model, _)| build.has(*model));
    Emulator::with_drivers(has.flat_map(|(_, names)| names).copied())
}

/// libvirt's name; the set by its master.
pub(super) fn name(model: Model) -> &'static str {
    match model {
        Model::Piix3Uhci => "piix3-uhci",
        Model::PciOhci => "pci-ohci",
        Model::NecXhci => "nec-xhci",
        Model::QemuXhci => "qemu-xhci",
        Model::Ich9 => "ich9-ehci1",
        Model::None => "none",
    }
}

pub(super) fn model(name: &str) -> Result<Model, Fault> {
    use Model::*;
    let known = [Piix3Uhci, PciOhci, NecXhci, QemuXhci, Ich9, None];
    let found = known.into_iter().find(|model| self::name(*model) == name);
    found.ok_or_else(|| Fault::Garbage(format!("`{name}` is no model of the study")))
}

/// A domain of this machine type with these devices.
pub(super) fn domain(machine: Machine, devices: &str) -> String {
    let (arch, name) = match machine {
        Machine::Pseries25 => ("ppc64", "pseries-2.5"),
        Machine::Pseries26 => ("ppc64", "pseries-7.2"),
        Machine::I440fx => ("x86_64", "pc-i440fx-7.2"),
        Machine::Q35 => ("x86_64", "pc-q35-7.2"),
    };
    format!(
        "<domain type='qemu'><name>guest</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
         <os><type arch='{arch}' machine='{name}'>hvm</type></os>\
         <devices>{devices}<memballoon model='none'/></devices></domain>"
    )
}

/// A network card; `at` is its bus and slot.
pub(super) fn card(number: u32, at: Option<(u32, u32)>) -> String {
    let address = at.map_or(String::new(), |(bus, slot)| {
        format!("<address type='pci' domain='0x0000' bus='{bus:#04x}' slot='{slot:#04x}' function='0x0'/>")
    });
    format!(
        "<interface type='user'><mac address='52:54:00:00:{:02x}:{:02x}'/><model type='rtl8139'/>{address}</interface>",
        number >> 8 & 0xff,
        number & 0xff
    )
}

/// What the user of the study writes: one network card, and this.
pub(super) fn of_user(machine: Machine, asked: Asked) -> String {
    let usb = match asked {
        Asked::Absent => String::new(),
        Asked::Unset => "<controller type='usb' index='0'/>".to_owned(),
        Asked::Model(model) => {
            format!("<controller type='usb' index='0' model='{}'/>", name(model))
        }
    };
    domain(machine, &format!("{}{usb}", card(0, None)))
}

/// USB controller 0 in the study's words.
pub(super) fn controller(domain: &Domain) -> Result<Option<Controller>, Stop> {
    let Some(node) = domain.usb_controller()? else { return Ok(None) };
    let document = domain.document();
    let model = document.get(node, "@model").map(|name| model(&name)).transpose()?;
    let place = match Address::of(document, node)? {
        None => None,
        Some(Address::Pci(pci)) => {
            let small =
                |number| u8::try_from(number).map_err(|_| Fault::Garbage(format!("address {pci}")));
            let (slot, function) = (small(pci.slot)?, small(pci.function)?);
            Some(match bus(domain, pci.bus)? {
                Bus::Ports => Place { bus: Bus::Ports, slot: 1, function },
                bus => Place { bus, slot, function },
            })
        }
        // Only the machine itself puts something there.
        Some(Address::Other(kind)) if kind == "machine" => {
            Some(Place { bus: Bus::Root, slot: 0, function: 0 })
        }
        Some(other) => return Err(Fault::Garbage(format!("address {other:?}")).into()),
    };
    Ok(Some(Controller { model, place }))
}

/// Which of the study's buses a bus is.
pub(super) fn bus(domain: &Domain, index: u32) -> Result<Bus, Stop> {
    if index == 0 {
        return Ok(Bus::Root);
    }
    for controller in domain.of(Class::Controller).filter(|c| c.kind() == "pci") {
        if controller.index()? == Some(index) {
            let port = controller.get("@model").as_deref() == Some("pcie-root-port");
            return Ok(if port { Bus::Ports } else { Bus::Bridge });
        }
    }
    Err(Fault::Garbage(format!("there is no bus {index}")).into())
}
