//! Where on its bus a device goes: slots, ports and units, and who is there already.

use std::collections::BTreeSet;

use super::arguments::{loose, number};
use crate::hypervisor::{QmpError, monitor::Properties};

/// A place on a bus of some kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Pci {
        slot: u8,
        function: u8,
        multifunction: bool,
    },
    Usb {
        port: String,
    },
    Port {
        nr: u32,
        name: Option<String>,
    },
    Scsi {
        unit: u32,
        lun: u32,
    },
    /// The bus keeps no order that matters here.
    Anywhere,
}

/// Who is in a function of a PCI slot.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) slot: u8,
    pub(super) function: u8,
    pub(super) multifunction: bool,
    pub(super) driver: &'static str,
    pub(super) id: Option<String>,
}

const SLOTS: u8 = 32;
const FUNCTIONS: u8 = 8;

/// `single_slot`: below a PCIe port, where the guest looks at slot 0 only.
///
/// QEMU 7.2 puts a second device without address into slot 1 there, which no guest will see.
pub(super) fn pci(
    driver: &str,
    properties: &Properties,
    taken: &[Taken],
    cold: bool,
    single_slot: bool,
) -> Result<Place, QmpError> {
    let multifunction =
        loose(properties, "multifunction").is_some_and(|value| value == "on" || value == "true");
    let at = |slot, function| {
        taken.iter().find(|other| (other.slot, other.function) == (slot, function))
    };
    let (slot, function) = match loose(properties, "addr") {
        // QEMU looks at function 0 only, and may find a slot that it then refuses.
        None => {
            let none =
                || format!("PCI: no slot/function available for {driver}, all in use or reserved");
            let free = (0..SLOTS).find(|&slot| at(slot, 0).is_none());
            (free.ok_or_else(|| QmpError::generic(none()))?, 0)
        }
        Some(address) => {
            let place = pci_address(&address);
            let (slot, function) = place.ok_or_else(|| {
                QmpError::generic(format!(
                    "Property '{driver}.addr' doesn't take value '{address}'"
                ))
            })?;
            if let Some(other) = at(slot, function) {
                return Err(QmpError::generic(format!(
                    "PCI: slot {slot} function {function} not available for {driver}, in use by {},id={}",
                    other.driver,
                    other.id.as_deref().unwrap_or("(null)"),
                )));
            }
            let first = if single_slot { 0 } else { slot };
            if let Some(other) = at(first, 0)
                && !cold
            {
                return Err(QmpError::generic(format!(
                    "PCI: slot {first} function 0 already occupied by {}, new func {driver} cannot be exposed to guest.",
                    other.driver,
                )));
            }
            (slot, function)
        }
    };
    if function > 0 && at(slot, 0).is_some_and(|first| !first.multifunction) {
        let text = format!(
            "PCI: single function device can't be populated in function {slot:x}.{function:x}"
        );
        return Err(QmpError::generic(text));
    }
    if function == 0
        && !multifunction
        && let Some(other) = (1..FUNCTIONS).find_map(|function| at(slot, function))
    {
        return Err(QmpError::generic(format!(
            "PCI: {slot:x}.0 indicates single function, but {slot:x}.{:x} is already populated.",
            other.function,
        )));
    }
    Ok(Place::Pci { slot, function, multifunction })
}

/// `SLOT` or `SLOT.FUNCTION` in hexadecimal, with or without `0x`.
fn pci_address(text: &str) -> Option<(u8, u8)> {
    let hex = |text: &str| u8::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok();
    let (slot, function) = match text.split_once('.') {
        Some((slot, function)) => (hex(slot)?, hex(function)?),
        None => (hex(text)?, 0),
    };
    (slot < SLOTS && function < FUNCTIONS).then_some((slot, function))
}

/// A port of virtio-serial. Port 0 is a console's.
pub(super) fn port(
    console: bool,
    properties: &Properties,
    taken: &BTreeSet<u32>,
    names: &BTreeSet<String>,
    ports_max: u32,
) -> Result<Place, QmpError> {
    let refused = |text: String| Err(QmpError::generic(text));
    let wanted = number(properties, "nr")?;
    let name = loose(properties, "name");
    if let Some(nr) = wanted.filter(|nr| taken.contains(nr)) {
        return refused(format!("virtio-serial-bus: A port already exists at id {nr}"));
    }
    if let Some(name) = name.as_ref().filter(|name| names.contains(*name)) {
        return refused(format!("virtio-serial-bus: A port already exists by name {name}"));
    }
    // The search runs over whole words of 32, past the last port.
    let free = || (1..ports_max.next_multiple_of(32)).find(|nr| !taken.contains(nr));
    let nr = match wanted {
        Some(nr) => nr,
        None if console && !taken.contains(&0) => 0,
        None => match free() {
            Some(nr) => nr,
            None => {
                return refused(
                    "virtio-serial-bus: Maximum port limit for this device reached".to_owned(),
                );
            }
        },
    };
    if nr >= ports_max {
        let last = ports_max - 1;
        return refused(format!(
            "virtio-serial-bus: Out-of-range port id specified, max. allowed: {last}"
        ));
    }
    if nr == 0 && !console {
        return refused(
            "Port number 0 on virtio-serial devices reserved for virtconsole devices for backward compatibility."
                .to_owned(),
        );
    }
    Ok(Place::Port { nr, name })
}

/// A unit of a SCSI bus: as given, or the first of which nothing is there.
pub(super) fn scsi(
    unit: Option<u32>,
    lun: Option<u32>,
    taken: &[(u32, u32, Option<String>)],
) -> Result<Place, QmpError> {
    let free =
        || (0..).find(|unit| taken.iter().all(|(other, ..)| other != unit)).unwrap_or_default();
    let (unit, lun) = (unit.unwrap_or_else(free), lun.unwrap_or(0));
    match taken.iter().find(|(other_unit, other_lun, _)| (*other_unit, *other_lun) == (unit, lun)) {
        Some((.., id)) => {
            let id = id.as_deref().unwrap_or_default();
            Err(QmpError::generic(format!("lun already used by '{id}'")))
        }
        None => Ok(Place::Scsi { unit, lun }),
    }
}

/// The free ports of a USB bus, in the order in which QEMU gives them away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct UsbPorts {
    free: Vec<String>,
}

const HUB_PORTS: u32 = 8;
/// Tiers of hubs that USB allows.
const HUB_DEPTH: usize = 5;

impl UsbPorts {
    pub(super) fn new(count: u32) -> Self {
        UsbPorts { free: (1..=count).map(|port| port.to_string()).collect() }
    }

    /// Whether a hub must go to the last free port first.
    pub(super) fn wants_a_hub(&self) -> bool {
        matches!(&self.free[..], [last] if last.split('.').count() < HUB_DEPTH)
    }

    pub(super) fn choose(&self, wanted: Option<&str>, bus: &str) -> Result<String, QmpError> {
        match wanted {
            Some(wanted) if self.free.iter().any(|port| port == wanted) => Ok(wanted.to_owned()),
            Some(wanted) => {
                Err(QmpError::generic(format!("usb port {wanted} (bus {bus}) not found (in use?)")))
            }
            None => self
                .free
                .first()
                .cloned()
                .ok_or_else(|| QmpError::generic(format!("no free port on bus {bus}"))),
        }
    }

    pub(super) fn take(&mut self, port: &str) {
        self.free.retain(|free| free != port);
    }

    pub(super) fn add_hub(&mut self, port: &str) {
        self.free.extend((1..=HUB_PORTS).map(|below| format!("{port}.{below}")));
    }

    /// The port is free again, and those of a hub in it are no more.
    pub(super) fn release(&mut self, port: &str) {
        self.free.retain(|free| !free.strip_prefix(port).is_some_and(|rest| rest.starts_with('.')));
        self.free.push(port.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_are_hexadecimal() {
        assert_eq!(pci_address("0x1f.0x7"), Some((31, 7)));
        assert_eq!(pci_address("1f"), Some((31, 0)));
        assert_eq!(pci_address("10.1"), Some((16, 1)));
        for bad in ["0x20", "zz", "", "1.8", "1.2.3", "-1"] {
            assert_eq!(pci_address(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_last_usb_port_gets_a_hub_and_a_released_one_is_last() {
        let mut ports = UsbPorts::new(2);
        ports.take("1");
        assert!(ports.wants_a_hub());
        ports.take("2");
        ports.add_hub("2");
        assert_eq!(ports.choose(None, "usb.0").unwrap(), "2.1");
        ports.release("1");
        assert_eq!(ports.free.last().map(String::as_str), Some("1"));
        ports.release("2");
        assert_eq!(ports.free, ["1", "2"]);
    }
}
