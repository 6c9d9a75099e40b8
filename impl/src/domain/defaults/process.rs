//! What a process really has: a daemon that takes over a process of another asks QEMU.
//!
//! The definition of a guest that an older libvirt started with `-usb` names an address at which nothing is; that of
//! one started with nothing may have been given a controller since. Both lies come to light only when the guest is
//! migrated, too late. So [`Domain::take_over`] puts the facts in their place.

use serde_json::Value;

use super::usb::MODELS;
use crate::domain::{Address, Class, Domain, Error, Pci, tree::NodeId};

/// A USB controller of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsbFact {
    /// libvirt's name of the model.
    pub model: &'static str,
    /// Its id, none for the machine's own.
    pub id: Option<String>,
    /// Slot and function, if it sits on the root bus. Numbers of other buses are the guest's.
    pub on_root: Option<(u32, u32)>,
}

/// PCI vendor and device of the controllers (`include/hw/pci/pci_ids.h` and the devices' own files).
const IDS: [(u64, u64, &str); 9] = [
    (0x8086, 0x7020, "piix3-uhci"),
    (0x8086, 0x7112, "piix4-uhci"),
    (0x8086, 0x293a, "ich9-ehci1"),
    (0x8086, 0x2934, "ich9-uhci1"),
    (0x8086, 0x2935, "ich9-uhci2"),
    (0x8086, 0x2936, "ich9-uhci3"),
    (0x106b, 0x003f, "pci-ohci"),
    (0x1033, 0x0194, "nec-xhci"),
    (0x1b36, 0x000d, "qemu-xhci"),
];

/// Depth of bridges below bridges that is looked at.
const DEPTH_MAX: usize = 32;

/// The USB controllers in QEMU's answer to `query-pci`, in its order.
///
/// What is not of the documented shape is passed over.
pub fn usb_facts(query_pci: &Value) -> Vec<UsbFact> {
    let mut facts = Vec::new();
    let buses = query_pci.as_array().into_iter().flatten();
    let devices = buses.filter_map(|bus| bus["devices"].as_array());
    let mut left: Vec<(&Value, usize)> =
        devices.flatten().map(|device| (device, 0)).rev().collect();
    while let Some((device, depth)) = left.pop() {
        let id = (device["id"]["vendor"].as_u64(), device["id"]["device"].as_u64());
        let known = IDS.iter().find(|(vendor, number, _)| id == (Some(*vendor), Some(*number)));
        if let Some((.., model)) = known {
            let number =
                |name: &str| device[name].as_u64().and_then(|number| u32::try_from(number).ok());
            let place = number("slot").zip(number("function")).filter(|_| depth == 0);
            let name = device["qdev_id"].as_str().filter(|name| !name.is_empty());
            facts.push(UsbFact { model, id: name.map(str::to_owned), on_root: place });
        }
        let below = device["pci_bridge"]["devices"].as_array().into_iter().flatten();
        if depth < DEPTH_MAX {
            let at = left.len();
            left.extend(below.map(|device| (device, depth + 1)));
            left[at..].reverse();
        }
    }
    facts
}

impl Domain {
    /// Makes the live definition say which USB controller 0 the process has.
    ///
    /// To be called after a status file of another daemon was read, with [`usb_facts`] of its process, and before
    /// [`Domain::complete`].
    ///
    /// # Errors
    /// When the definition cannot be edited.
    pub fn take_over(&mut self, facts: &[UsbFact]) -> Result<(), Error> {
        let is_first = |fact: &&UsbFact| match fact.id.as_deref() {
            None => true,
            Some("usb") => true,
            // A user's own alias of controller 0.
            Some(id) => self.has_alias_of_first(id),
        };
        let master = |fact: &&UsbFact| !fact.model.starts_with("ich9-uhci");
        let fact = facts.iter().filter(master).find(is_first).cloned();
        let node = match (self.usb_controller()?, &fact) {
            (Some(node), _) => node,
            (None, _) => self.add_device("<controller type='usb' index='0'/>")?,
        };
        let Some(fact) = fact else {
            self.remove_companions()?;
            let document = self.document_mut();
            if let Some(address) = document.child(node, "address") {
                document.remove(address);
            }
            document.put(node, "@model", "none")?;
            return Ok(());
        };
        self.set_model(node, fact.model)?;
        match fact.on_root {
            Some((0, 0)) => self.put_address_of_machine(node),
            Some((slot, function)) => {
                let multifunction = self.document().has(node, "address/@multifunction", "on");
                self.put_pci_address(node, Pci { slot, function, multifunction, ..Pci::default() })
            }
            // Behind a bridge only the definition knows the bus; a device has an address from nobody else.
            None => Ok(()),
        }
    }

    fn has_alias_of_first(&self, id: &str) -> bool {
        let first = self.usb_controller().ok().flatten();
        first.is_some_and(|node| self.document().has(node, "alias/@name", id))
    }

    fn set_model(&mut self, node: NodeId, model: &'static str) -> Result<(), Error> {
        debug_assert!(MODELS.iter().any(|(name, _)| *name == model));
        if self.document().has(node, "@model", model) {
            return Ok(());
        }
        // What was said of another model's place says nothing of this one's.
        let document = self.document_mut();
        document.put(node, "@model", model)?;
        if Address::of(document, node).is_ok_and(|address| address.is_none())
            && let Some(address) = document.child(node, "address")
        {
            document.remove(address);
        }
        self.remove_companions()?;
        if model == "ich9-ehci1" { self.add_companions() } else { Ok(()) }
    }

    fn remove_companions(&mut self) -> Result<(), Error> {
        let mut companions = Vec::new();
        for controller in self.of(Class::Controller).filter(|c| c.kind() == "usb") {
            let part = controller.get("master/@startport").is_some();
            if part && controller.index()? == Some(0) {
                companions.push(controller.node);
            }
        }
        for node in companions {
            self.remove_device(node);
        }
        Ok(())
    }
}
