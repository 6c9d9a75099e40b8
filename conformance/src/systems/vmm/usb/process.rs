//! A process of the embedded hypervisor, started from a definition's command line.

use serde_json::{Value, json};
use statusquo_model::studies::usb::hardware::{Bus, Device, Hardware, Place};
use statusquo_vmm::{
    domain::{Domain, Emulator, UsbStart, command_line, usb_facts},
    hotplug,
    hypervisor::{Command, embedded::Stream},
};

use super::{Stop, environment, text};
use crate::{replay::Fault, systems::vmm::process};

/// With what the study asks of its USB controllers.
pub(super) struct Process(process::Process);

impl Process {
    /// Starts what the definition asks for, if this QEMU has it.
    pub(super) fn start(domain: &Domain, emulator: &Emulator) -> Result<Self, Stop> {
        let starts = domain.usb_start(emulator)?;
        let arguments = command_line::arguments(domain)?;
        let mut commands = Vec::new();
        let by_machine = starts.contains(&UsbStart::Machine);
        if by_machine != arguments.iter().any(|argument| argument == "-usb") {
            let why = "the command line and what is asked for differ about -usb";
            return Err(Fault::Garbage(why.to_owned()).into());
        }
        // Machine init runs before any `-device`, and takes the first slot that is free.
        if by_machine {
            let driver = match text::name(built_in(domain)?) {
                "pci-ohci" => json!({"driver": "pci-ohci"}),
                "nec-xhci" => json!({"driver": "nec-usb-xhci"}),
                _ => json!({"driver": "piix3-usb-uhci", "addr": "1.2"}),
            };
            commands.push(Command::of("device_add", driver));
        }
        Ok(Process(process::Process::boot(domain, commands)?))
    }

    pub(super) fn plug(&mut self, device: &hotplug::Device) -> Result<(), Stop> {
        Ok(self.0.plug(device)?)
    }

    /// An older daemon plugs a card.
    pub(super) fn plug_at(&mut self, card: &str, bus: u32, slot: u32) -> Result<(), Stop> {
        // The MAC address names it.
        let name = card.split('\'').nth(3).unwrap_or_default().replace(':', "");
        let (id, netdev) = (format!("net-{name}"), format!("hostnet-{name}"));
        self.0.execute(&Command::of("netdev_add", json!({"type": "user", "id": netdev})))?;
        let device = json!({
            "driver": "rtl8139", "id": id, "netdev": netdev, "bus": format!("pci.{bus}"),
            "addr": format!("{slot:#x}"),
        });
        self.0.execute(&Command::of("device_add", device))?;
        Ok(())
    }

    /// The card in this slot goes, and what it was connected to.
    pub(super) fn unplug_card(&mut self, slot: u32) -> Result<(), Stop> {
        let pci = self.query_pci()?;
        let mut left: Vec<&Value> = pci[0]["devices"].as_array().into_iter().flatten().collect();
        let mut card = None;
        while let Some(device) = left.pop() {
            let id = device["qdev_id"].as_str().unwrap_or_default();
            if id.starts_with("net") && device["slot"].as_u64() == Some(u64::from(slot)) {
                card = Some(id.to_owned());
            }
            left.extend(device["pci_bridge"]["devices"].as_array().into_iter().flatten());
        }
        let card = card.ok_or_else(|| environment(format!("no card in slot {slot}: {pci}")))?;
        Ok(self.0.unplug(&card)?)
    }

    pub(super) fn query_pci(&self) -> Result<Value, Stop> {
        Ok(self.0.query_pci()?)
    }

    pub(super) fn save(&self) -> Stream {
        self.0.save()
    }

    pub(super) fn load(&mut self, stream: &Stream) -> Result<(), Stop> {
        Ok(self.0.load(stream)?)
    }

    /// The USB hardware, as the guest finds it.
    pub(super) fn hardware(&self) -> Result<Hardware, Stop> {
        let pci = self.query_pci()?;
        let facts = usb_facts(&pci);
        let Some(fact) = facts.iter().find(|fact| !fact.model.starts_with("ich9-uhci")) else {
            return Ok(None);
        };
        let model = text::model(fact.model)?;
        let place = match fact.on_root {
            Some((slot, function)) => {
                let small = |number| u8::try_from(number).map_err(environment);
                Place { bus: Bus::Root, slot: small(slot)?, function: small(function)? }
            }
            None => {
                below(&pci).ok_or_else(|| environment(format!("no USB below a bridge: {pci}")))?
            }
        };
        Ok(Some(Device { model, place }))
    }
}

/// The place of the USB controller behind a port, or behind a bridge behind something.
fn below(pci: &Value) -> Option<Place> {
    let devices = |device: &Value| device["pci_bridge"]["devices"].as_array().cloned();
    let is_usb = |device: &Value| device["class_info"]["class"].as_u64() == Some(0x0c03);
    for first in pci[0]["devices"].as_array()? {
        for second in devices(first).unwrap_or_default() {
            if is_usb(&second) {
                return Some(Place { bus: Bus::Ports, slot: 1, function: 0 });
            }
            if let Some(third) = devices(&second).unwrap_or_default().iter().find(|d| is_usb(d)) {
                let slot = u8::try_from(third["slot"].as_u64()?).ok()?;
                return Some(Place { bus: Bus::Bridge, slot, function: 0 });
            }
        }
    }
    None
}

fn built_in(domain: &Domain) -> Result<statusquo_model::studies::usb::hardware::Model, Stop> {
    let usb = domain.usb_controller()?;
    let model = usb.and_then(|node| domain.document().get(node, "@model"));
    Ok(text::model(&model.unwrap_or_default())?)
}
