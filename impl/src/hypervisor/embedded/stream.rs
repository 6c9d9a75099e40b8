//! The state of the devices, as it goes from one process to another: QEMU's migration stream, as far as it decides
//! whether a guest arrives.
//!
//! A section is named by where its device sits and what it is, not by its id (`qdev_get_dev_path`, `vmstate_register`).
//! A section without a device is an error; a device without a section is not, and that is how hardware changes in
//! silence.

use serde_json::{Value, json};

use super::{Embedded, devices::Devices};

/// The device state of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    sections: Vec<Section>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Section {
    /// `0000:00:01.2/uhci`
    name: String,
    /// Whose state it is: what the fields are.
    driver: &'static str,
}

/// Why a process does not take a stream. It has then to be thrown away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No device here has that section.
    #[error("Unknown savevm section or instance '{0}' 0")]
    UnknownSection(String),
    /// The device with that section is another.
    #[error(
        "error while loading state for instance 0x0 of device '{section}': {sent} is not {here}"
    )]
    OtherDevice {
        /// The section.
        section: String,
        /// The driver that saved it.
        sent: &'static str,
        /// The driver that would load it.
        here: &'static str,
    },
}

/// The name of the state description of a driver, where it is shared with others.
fn description(driver: &'static str) -> &'static str {
    match driver {
        "piix3-usb-uhci" | "ich9-usb-uhci1" | "ich9-usb-uhci2" | "ich9-usb-uhci3" => "uhci",
        "ich9-usb-ehci1" => "ehci",
        "pci-ohci" => "ohci",
        "nec-usb-xhci" | "qemu-xhci" => "xhci",
        other => other,
    }
}

/// PCI vendor, device and class of what is looked for by them; of the rest nobody asks.
fn identity(driver: &str) -> (u64, u64, u64) {
    match driver {
        "piix3-usb-uhci" => (0x8086, 0x7020, 0x0c03),
        "ich9-usb-ehci1" => (0x8086, 0x293a, 0x0c03),
        "ich9-usb-uhci1" => (0x8086, 0x2934, 0x0c03),
        "ich9-usb-uhci2" => (0x8086, 0x2935, 0x0c03),
        "ich9-usb-uhci3" => (0x8086, 0x2936, 0x0c03),
        "pci-ohci" => (0x106b, 0x003f, 0x0c03),
        "nec-usb-xhci" => (0x1033, 0x0194, 0x0c03),
        "qemu-xhci" => (0x1b36, 0x000d, 0x0c03),
        "rtl8139" => (0x10ec, 0x8139, 0x0200),
        "e1000" => (0x8086, 0x100e, 0x0200),
        "e1000e" => (0x8086, 0x10d3, 0x0200),
        "virtio-net-pci" => (0x1af4, 0x1000, 0x0200),
        _ => (0x1af4, 0, 0x00ff),
    }
}

impl Devices {
    /// The reply of `query-pci`, without regions and interrupts. The machine's own chips are not in it.
    pub(super) fn query_pci(&self) -> Value {
        let Some(root) = self.root_bus() else { return json!([]) };
        // Bridges are few and nested by their owner, so this ends with the tree.
        json!([{"bus": 0, "devices": self.pci_devices(root, 0)}])
    }

    fn pci_devices(&self, bus: &str, depth: u8) -> Vec<Value> {
        let here = self.on_pci().filter(|(_, at, ..)| *at == bus);
        here.map(|(device, _, slot, function)| {
            let (vendor, number, class) = identity(device.driver.name);
            let mut shown = json!({
                // As firmware has not numbered it.
                "bus": 0,
                "slot": slot,
                "function": function,
                "class_info": {"class": class},
                "id": {"vendor": vendor, "device": number},
                "qdev_id": device.id.as_deref().unwrap_or_default(),
            });
            if let Some(below) = self.bus_of(device)
                && depth < u8::MAX
            {
                shown["pci_bridge"] = json!({"devices": self.pci_devices(below, depth + 1)});
            }
            shown
        })
        .collect()
    }
}

impl Embedded {
    /// The state of every PCI device, as it is sent.
    pub fn save(&self) -> Stream {
        Stream { sections: self.sections().collect() }
    }

    fn sections(&self) -> impl Iterator<Item = Section> {
        self.devices.on_pci().map(|(device, bus, slot, function)| {
            let way: String = self
                .devices
                .way_to(bus)
                .into_iter()
                .map(|(slot, function)| format!("{slot:02x}.{function}:"))
                .collect();
            let what = description(device.driver.name);
            let name = format!("0000:00:{way}{slot:02x}.{function}/{what}");
            Section { name, driver: device.driver.name }
        })
    }

    /// Takes the state of another process. What the stream does not mention is not missed.
    ///
    /// # Errors
    /// At the first section that no device here has.
    pub fn load(&mut self, stream: &Stream) -> Result<(), LoadError> {
        let here: Vec<Section> = self.sections().collect();
        for sent in &stream.sections {
            match here.iter().find(|section| section.name == sent.name) {
                None => return Err(LoadError::UnknownSection(sent.name.clone())),
                Some(section) if section.driver != sent.driver => {
                    return Err(LoadError::OtherDevice {
                        section: sent.name.clone(),
                        sent: sent.driver,
                        here: section.driver,
                    });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::{
        Command, Hypervisor,
        embedded::{Config, MachineType},
    };

    fn process(machine: MachineType, devices: &[(&str, &str)]) -> Embedded {
        let commands: Vec<Command> = devices
            .iter()
            .map(|(driver, addr)| {
                let value = json!({"driver": driver, "id": "usb", "addr": addr});
                Command::of("device_add", value)
            })
            .collect();
        Embedded::boot(Config { machine, ..Config::default() }, &commands).unwrap()
    }

    /// What QEMU 7.2 did with the same.
    #[test]
    fn what_is_sent_must_be_there_and_what_is_there_need_not_be_sent() {
        let load = |machine, source: &[_], destination: &[_]| {
            let answer = process(machine, destination).load(&process(machine, source).save());
            answer.map_err(|error| error.to_string())
        };
        use MachineType::{Pc, Pseries, Q35};
        let ohci = |addr| [("pci-ohci", addr)];
        assert_eq!(load(Pseries, &ohci("0"), &ohci("0")), Ok(()));
        assert_eq!(load(Pseries, &[], &ohci("1")), Ok(()));
        assert_eq!(load(Q35, &[], &[("qemu-xhci", "2")]), Ok(()));
        assert_eq!(
            load(Pseries, &ohci("0"), &ohci("1")).unwrap_err(),
            "Unknown savevm section or instance '0000:00:00.0/ohci' 0"
        );
        assert!(load(Pseries, &ohci("1"), &[("qemu-xhci", "1")]).is_err());
        assert_eq!(
            load(Q35, &[("nec-usb-xhci", "2")], &[("qemu-xhci", "2")]).unwrap_err(),
            "error while loading state for instance 0x0 of device '0000:00:02.0/xhci': nec-usb-xhci is not qemu-xhci"
        );
        let uhci = [("piix3-usb-uhci", "1.2")];
        assert_eq!(load(Pc, &uhci, &uhci), Ok(()));
    }

    #[test]
    fn a_device_behind_a_bridge_is_named_by_the_way_to_it() {
        let device = |value| Command::of("device_add", value);
        let commands = [
            device(json!({"driver": "pcie-root-port", "id": "pci.1", "addr": "2"})),
            device(json!({"driver": "qemu-xhci", "id": "usb", "bus": "pci.1", "addr": "0"})),
        ];
        let config = Config { machine: MachineType::Q35, ..Config::default() };
        let mut machine = Embedded::boot(config, &commands).unwrap();
        assert_eq!(machine.save().sections[1].name, "0000:00:02.0:00.0/xhci");
        let pci = machine.execute(&Command::new("query-pci")).unwrap().unwrap();
        let below = &pci[0]["devices"][0]["pci_bridge"]["devices"][0];
        assert_eq!((below["qdev_id"].as_str(), below["slot"].as_u64()), (Some("usb"), Some(0)));
    }
}
