//! An older libvirt: the model decides, and what it reads and writes is XML.

use statusquo_model::studies::usb::{
    definition::{Controller, Definition, Text},
    generation::Generation,
    hardware::{Bus, Hardware, Machine, Model, Place},
    host::{Guest, Host},
};
use statusquo_vmm::domain::{Address, Class, Domain, Reading};

use super::{Stop, process::Process, text};
use crate::replay::Fault;

/// A guest of an older libvirt, with the PCI controllers that the study leaves out.
pub(super) struct Peer {
    host: Host,
    pub(super) guest: Guest,
    pci: Pci,
}

/// The PCI controllers of a definition, as they are written, and what sits where.
#[derive(Clone)]
struct Pci {
    controllers: String,
    /// The bus of the network cards.
    cards: u32,
    /// The bus behind the port that a USB controller is in.
    port: u32,
}

impl Pci {
    /// As this libvirt lays them out in a new definition.
    fn new(host: Host) -> Self {
        let at = |bus: u32, slot: u32| {
            format!(
                "<address type='pci' domain='0x0000' bus='{bus:#04x}' slot='{slot:#04x}' function='0x0'/>"
            )
        };
        let one = |index: u32, model: &str, address: String| {
            format!("<controller type='pci' index='{index}' model='{model}'>{address}</controller>")
        };
        let controllers = match host.machine {
            Machine::Q35 if host.generation.has_root_ports() => [
                one(0, "pcie-root", String::new()),
                one(1, "pcie-root-port", at(0, 2)),
                one(2, "pcie-to-pci-bridge", at(1, 0)),
                one(3, "pcie-root-port", at(0, 3)),
            ]
            .concat(),
            Machine::Q35 => [
                one(0, "pcie-root", String::new()),
                one(1, "dmi-to-pci-bridge", at(0, 0x1e)),
                one(2, "pci-bridge", at(1, 1)),
            ]
            .concat(),
            // An explicit root since 1.0.5.
            _ if host.generation >= Generation::A2 => one(0, "pci-root", String::new()),
            _ => String::new(),
        };
        let cards = if host.machine == Machine::Q35 { 2 } else { 0 };
        Pci { controllers, cards, port: 3 }
    }

    /// As a text has them.
    fn of(domain: &Domain, host: Host) -> Result<Self, Stop> {
        let mut pci = Pci { controllers: String::new(), ..Pci::new(host) };
        for controller in domain.of(Class::Controller).filter(|c| c.kind() == "pci") {
            pci.controllers.push_str(&controller.to_xml());
            let model = controller.get("@model").unwrap_or_default();
            if matches!(&*model, "pci-bridge" | "pcie-to-pci-bridge") {
                pci.cards = controller.index()?.unwrap_or(0);
            }
        }
        if let Some(usb) = domain.usb_controller()?
            && let Some(Address::Pci(address)) = Address::of(domain.document(), usb)?
            && text::bus(domain, address.bus)? == Bus::Ports
        {
            pci.port = address.bus;
        }
        Ok(pci)
    }
}

/// A definition as this libvirt writes it.
fn write(host: Host, definition: &Definition, pci: &Pci) -> String {
    let mut devices = pci.controllers.clone();
    for slot in (0..8).filter(|slot| definition.cards & 1 << slot != 0) {
        devices.push_str(&text::card(0x8000 | slot, Some((pci.cards, slot))));
    }
    if let Some(Controller { model, place }) = definition.usb {
        let named = model.map_or(String::new(), |model| format!(" model='{}'", text::name(model)));
        let address = place.map_or(String::new(), |place| address(place, pci));
        devices
            .push_str(&format!("<controller type='usb' index='0'{named}>{address}</controller>"));
        if model == Some(Model::Ich9) {
            devices.push_str(&companions(place, pci));
        }
    }
    text::domain(host.machine, &devices)
}

fn address(place: Place, pci: &Pci) -> String {
    let (bus, slot) = match place.bus {
        Bus::Root => (0, place.slot),
        Bus::Bridge => (pci.cards, place.slot),
        Bus::Ports => (pci.port, 0),
    };
    format!(
        "<address type='pci' domain='0x0000' bus='{bus:#04x}' slot='{slot:#04x}' function='{:#x}'/>",
        place.function
    )
}

fn companions(place: Option<Place>, pci: &Pci) -> String {
    let one = |(number, port): (u8, u32)| {
        let place = place.map(|place| Place { function: number - 1, ..place });
        let address = place.map_or(String::new(), |place| address(place, pci));
        format!(
            "<controller type='usb' index='0' model='ich9-uhci{number}'><master startport='{port}'/>{address}</controller>"
        )
    };
    [(1, 0), (2, 2), (3, 4)].into_iter().map(one).collect()
}

/// A configuration as this libvirt keeps it on disk.
pub(super) fn config(host: Host, config: Definition) -> String {
    write(host, &config, &Pci::new(host))
}

impl Peer {
    pub(super) fn new(host: Host, guest: Guest) -> Self {
        Peer { host, guest, pci: Pci::new(host) }
    }

    /// A text and a stream arrive.
    pub(super) fn receive(host: Host, text: &str, sent: Hardware) -> Result<Self, Stop> {
        // As XML only: nothing is completed, and what is in `<metadata>` is not read.
        let domain = Domain::parse(text)?;
        let mut cards = 0;
        for card in domain.of(Class::Interface) {
            let slot = domain.document().number(card.node, "address/@slot")?;
            cards |= slot.and_then(|slot| 1_u8.checked_shl(slot)).unwrap_or(0);
        }
        let definition = Definition { usb: text::controller(&domain)?, cards };
        let arrived = host.receive(&Text { definition, process: None }, sent)?;
        Ok(Peer { host, guest: arrived.guest, pci: Pci::of(&domain, host)? })
    }

    pub(super) fn migratable(&self, host: Host) -> String {
        write(host, &host.migratable(&self.guest).definition, &self.pci)
    }

    /// The definition in the status file.
    pub(super) fn status(&self) -> String {
        write(self.host, &self.guest.live, &self.pci)
    }

    pub(super) fn bus_of_cards(&self) -> u32 {
        self.pci.cards
    }

    /// The process that this libvirt has started, with the hardware that the model says.
    pub(super) fn process(&self) -> Result<Process, Stop> {
        let usb = match self.guest.hardware {
            None => Controller { model: Some(Model::None), place: None },
            Some(device) => Controller { model: Some(device.model), place: Some(device.place) },
        };
        let truth = Definition { usb: Some(usb), ..self.guest.live };
        let mut written = write(self.host, &truth, &self.pci);
        if usb.place.is_some_and(Place::is_all_zero) {
            let zero = address(Place { bus: Bus::Root, slot: 0, function: 0 }, &self.pci);
            written = written.replace(&zero, "<address type='machine'/>");
        }
        let mut domain = Domain::parse(&written)?;
        let emulator = statusquo_vmm::domain::Emulator::default();
        domain.complete(Reading::Process, &emulator)?;
        domain.assign_aliases()?;
        let process = Process::start(&domain, &emulator)?;
        let has = process.hardware()?;
        if has != self.guest.hardware {
            let wanted = self.guest.hardware;
            return Err(Fault::Environment(format!("started {has:?} for {wanted:?}")).into());
        }
        Ok(process)
    }
}
