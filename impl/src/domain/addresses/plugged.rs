//! The address of one device that is plugged into a running guest.

use super::pci_set::Set;
use crate::domain::{Address, Domain, Error, tree::NodeId};

impl Domain {
    /// Gives a device that is to be plugged the first PCI address that is free on the buses that the process has:
    /// `qemuDomainEnsurePCIAddress`.
    ///
    /// The device is already in the definition, the last of its class. No bus is added: the process would not have it.
    /// An address that is there is only checked. A device that is no PCI device is left alone.
    ///
    /// # Errors
    /// When no bus has room for it, or its address is taken.
    pub fn assign_plugged(&mut self, node: NodeId) -> Result<(), Error> {
        let Some(device) = self.device(node) else { return Ok(()) };
        let flags = self.pci_flags(device);
        let given = device.address()?;
        if flags == 0 || matches!(given, Some(Address::Other(_))) {
            return Ok(());
        }
        let models = self.pci_models()?;
        let mut set: Set = self.pci_set(&models, false)?;
        // The chip set's own slots are taken, whoever is asked for them.
        self.reserve_chipset(&mut set, &mut super::pci::Given::new())?;
        if given.is_none() {
            let pci = set
                .reserve_next(flags, None)
                .map_err(|problem| self.document().error(node, problem))?;
            Address::Pci(pci).put(self.document_mut(), node)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::{Domain, Emulator, Reading};

    fn plug(domain: &mut Domain, xml: &str) -> Result<String, String> {
        let node = domain.add_device(xml).unwrap();
        domain.assign_plugged(node).map_err(|error| error.to_string())?;
        Ok(domain.document().get(node, "address/@slot").unwrap_or_default().into_owned())
    }

    fn complete(machine: &str, devices: &str) -> Domain {
        let mut domain = Domain::parse(&format!(
            "<domain><os><type arch='x86_64' machine='{machine}'>hvm</type></os><devices>{devices}</devices></domain>"
        ))
        .unwrap();
        domain.complete(Reading::Define, &Emulator::default()).unwrap();
        domain
    }

    const CARD: &str = "<interface type='user'><model type='rtl8139'/></interface>";

    #[test]
    fn the_lowest_slot_is_filled_again() {
        let mut domain = complete("pc", CARD);
        let card = domain.of(crate::domain::Class::Interface).next().unwrap().node;
        assert_eq!(plug(&mut domain, CARD).unwrap(), "0x04", "after the balloon in 3");
        domain.remove_device(card);
        assert_eq!(plug(&mut domain, CARD).unwrap(), "0x02");
        assert_eq!(plug(&mut domain, "<input type='mouse' bus='usb'/>").unwrap(), "");
    }

    #[test]
    fn no_bus_is_made_for_what_is_plugged() {
        let mut domain = complete("q35", "");
        let refused = plug(&mut domain, CARD).unwrap_err();
        assert!(refused.ends_with("no free PCI address is left"), "{refused}");
        assert_eq!(plug(&mut domain, "<rng model='virtio'/>").unwrap(), "0x00");
    }
}
