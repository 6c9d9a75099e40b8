//! The default USB controller: whether there is one, which, and where.
//!
//! What older daemons did is in `docs/studies/usb.md`, rule by rule.

use super::{Defaults, Emulator, Reading};
use crate::domain::{Address, Class, Domain, Error, Pci, Problem, tree::NodeId};

/// The type of an address that only the machine itself can give: slot 0 of a pseries, where `-usb` puts its
/// controller. libvirt cannot write it (`virDomainPCIAddressBusSetModel`: the first slot is 1).
pub(super) const MACHINE: &str = "machine";

/// What to ask QEMU for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsbStart {
    /// The machine's own controller: `-usb`, or `usb=on`.
    Machine,
    /// `-device DRIVER,id=ID,…`
    Device {
        /// QEMU's name of the model.
        driver: &'static str,
        /// The element.
        node: NodeId,
    },
}

/// QEMU's name of a model: `qemuControllerModelUSB`.
pub(super) fn driver(model: &str) -> Option<&'static str> {
    MODELS.iter().find(|(name, _)| *name == model).map(|(_, driver)| *driver)
}

/// libvirt's names of models, and QEMU's.
pub(super) const MODELS: [(&str, &str); 12] = [
    ("piix3-uhci", "piix3-usb-uhci"),
    ("piix4-uhci", "piix4-usb-uhci"),
    ("ehci", "usb-ehci"),
    ("ich9-ehci1", "ich9-usb-ehci1"),
    ("ich9-uhci1", "ich9-usb-uhci1"),
    ("ich9-uhci2", "ich9-usb-uhci2"),
    ("ich9-uhci3", "ich9-usb-uhci3"),
    ("vt82c686b-uhci", "vt82c686b-usb-uhci"),
    ("pci-ohci", "pci-ohci"),
    ("nec-xhci", "nec-usb-xhci"),
    ("qemu-xhci", "qemu-xhci"),
    ("none", ""),
];

/// The USB controllers that a machine type has of its own, as far as libvirt relied on them.
fn built_in(domain: &Domain) -> Option<&'static str> {
    let machine = domain.machine();
    if machine.is_i440fx() {
        return Some("piix3-uhci");
    }
    if !machine.is_pseries() {
        return None;
    }
    // `use_ohci_by_default` in `spapr.c`, until 2.5.
    let version = machine.name.strip_prefix("pseries-").unwrap_or_default();
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(u32::MAX));
    let version = (parts.next().unwrap_or(u32::MAX), parts.next().unwrap_or(0));
    Some(if version <= (2, 5) { "pci-ohci" } else { "nec-xhci" })
}

impl Domain {
    /// The USB controller with index 0.
    ///
    /// # Errors
    /// When an index is no number.
    pub fn usb_controller(&self) -> Result<Option<NodeId>, Error> {
        Ok(self.find_controller("usb", 0)?.map(|controller| controller.node))
    }

    /// Leaves nothing open about USB controller 0.
    pub(super) fn resolve_usb(
        &mut self,
        defaults: &Defaults,
        reading: Reading,
        emulator: &Emulator,
    ) -> Result<(), Error> {
        let Some(node) = self.usb_controller()? else {
            return self.add_usb(defaults, reading, emulator);
        };
        if self.document().get(node, "@model").is_some() {
            return Ok(());
        }
        let machine = self.machine();
        let model = if machine.is_i440fx() {
            // Where this QEMU does not know it by name, the machine's own is the same.
            "piix3-uhci"
        } else if machine.is_q35() {
            self.first(emulator, &["piix3-uhci"], node)?
        } else if machine.is_ppc64() {
            self.default_of_ppc64(defaults, reading, emulator, node)?
        } else {
            return Ok(());
        };
        self.document_mut().put(node, "@model", model)?;
        Ok(())
    }

    fn add_usb(
        &mut self,
        defaults: &Defaults,
        reading: Reading,
        emulator: &Emulator,
    ) -> Result<(), Error> {
        let machine = self.machine();
        if machine.is_i440fx() {
            return self.add_controller("usb", 0, Some("piix3-uhci"));
        }
        if machine.is_q35() {
            // A process about which nothing is said has none. So it was until 1.3.1, and since then the text says
            // what there is.
            let newest = ["qemu-xhci", "nec-xhci", "ich9-ehci1"];
            let has = |model: &&str| driver(model).is_some_and(|driver| emulator.has(driver));
            let found = newest.into_iter().find(has).filter(|_| reading != Reading::Process);
            let model = found.unwrap_or("none");
            self.add_controller("usb", 0, Some(model))?;
            return if model == "ich9-ehci1" { self.add_companions() } else { Ok(()) };
        }
        if machine.is_ppc64() {
            let root = self.root();
            let model = self.default_of_ppc64(defaults, reading, emulator, root)?;
            return self.add_controller("usb", 0, Some(model));
        }
        // Every other machine has had one default for ever: `post_parse` knows it.
        Ok(())
    }

    /// `virDomainDefAddUSBController`
    pub(super) fn add_companions(&mut self) -> Result<(), Error> {
        for (model, port) in [("ich9-uhci1", 0), ("ich9-uhci2", 2), ("ich9-uhci3", 4)] {
            self.add_device(&format!(
                "<controller type='usb' index='0' model='{model}'><master startport='{port}'/></controller>"
            ))?;
        }
        Ok(())
    }

    /// New guests get the best that there is; all others what libvirt gave since 1.3.1 (`90acbc76e`).
    fn default_of_ppc64(
        &self,
        defaults: &Defaults,
        reading: Reading,
        emulator: &Emulator,
        node: NodeId,
    ) -> Result<&'static str, Error> {
        match reading {
            Reading::Define => self.first(emulator, defaults.usb_of_pseries, node),
            Reading::Load | Reading::Process => self.first(emulator, &["pci-ohci"], node),
        }
    }

    fn first(
        &self,
        emulator: &Emulator,
        models: &[&'static str],
        node: NodeId,
    ) -> Result<&'static str, Error> {
        let has = |model: &&str| driver(model).is_some_and(|driver| emulator.has(driver));
        models.iter().copied().find(has).ok_or_else(|| {
            let wanted = models.join(", ");
            self.document().error(node, Problem::NoDefault { what: "USB controller", wanted })
        })
    }

    /// What QEMU must be asked for, so that the guest has the USB controllers of this definition, in order.
    ///
    /// To be called when a process is started, on a definition that is complete.
    ///
    /// # Errors
    /// When this QEMU has no such device.
    pub fn usb_start(&self, emulator: &Emulator) -> Result<Vec<UsbStart>, Error> {
        let mut start = Vec::new();
        for controller in self.of(Class::Controller).filter(|c| c.kind() == "usb") {
            let node = controller.node;
            let model = controller.get("@model").unwrap_or_default();
            if model == "none" {
                continue;
            }
            let own = built_in(self) == Some(&*model) && controller.index()? == Some(0);
            if own && controller.get("address/@type").as_deref() == Some(MACHINE) {
                start.push(UsbStart::Machine);
                continue;
            }
            match driver(&model) {
                Some(driver) if emulator.has(driver) => {
                    start.push(UsbStart::Device { driver, node });
                }
                // On i440fx the machine's own is the same device at the same place.
                Some(_) if own && self.machine().is_i440fx() => start.push(UsbStart::Machine),
                _ => {
                    let device = driver(&model).unwrap_or(&model).to_owned();
                    return Err(self.document().error(node, Problem::NoDevice(device)));
                }
            }
        }
        // `-usb` takes its slot before any device.
        start.sort_by_key(|start| *start != UsbStart::Machine);
        Ok(start)
    }

    /// Says that controller 0 is where the machine itself puts it, on slot 0 of the root bus.
    pub(super) fn put_address_of_machine(&mut self, node: NodeId) -> Result<(), Error> {
        self.put_usb_address(node, &format!("<address type='{MACHINE}'/>"))
    }

    pub(super) fn put_pci_address(&mut self, node: NodeId, pci: Pci) -> Result<(), Error> {
        if self.document().child(node, "address").is_some()
            && Address::of(self.document(), node)? == Some(Address::Pci(pci))
        {
            return Ok(());
        }
        self.put_usb_address(node, "<address/>")?;
        Address::Pci(pci).put(self.document_mut(), node)
    }

    fn put_usb_address(&mut self, node: NodeId, xml: &str) -> Result<(), Error> {
        let document = self.document_mut();
        if let Some(old) = document.child(node, "address") {
            document.remove(old);
        }
        document.append_xml(node, xml)?;
        Ok(())
    }
}
