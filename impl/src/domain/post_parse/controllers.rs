//! Controllers that a machine always has, and those that devices need.

use std::collections::BTreeSet;

use crate::domain::{Address, Class, Device, Domain, Error, Problem, tree::NodeId};

impl Domain {
    /// The controllers in the order in which libvirt keeps them: types as they first appear, each by index
    /// (`virDomainControllerInsertPreAlloced`).
    pub(crate) fn controllers(&self) -> Result<Vec<Device<'_>>, Error> {
        let mut types: Vec<String> = Vec::new();
        let mut keyed = Vec::new();
        for controller in self.of(Class::Controller) {
            let kind = controller.kind();
            let place = types.iter().position(|known| *known == kind).unwrap_or_else(|| {
                types.push(kind.clone().into_owned());
                types.len() - 1
            });
            let index = controller.index()?.unwrap_or(u32::MAX);
            let companion = controller.get("master/@startport").is_some();
            keyed.push(((place, index, companion), controller));
        }
        keyed.sort_by_key(|(key, _)| *key);
        Ok(keyed.into_iter().map(|(_, controller)| controller).collect())
    }

    /// Is there a controller of this type with this index? (`virDomainControllerFind`)
    pub(crate) fn find_controller(
        &self,
        kind: &str,
        index: u32,
    ) -> Result<Option<Device<'_>>, Error> {
        for controller in self.of(Class::Controller) {
            if controller.kind() == kind && controller.index()? == Some(index) {
                return Ok(Some(controller));
            }
        }
        Ok(None)
    }

    /// Adds a controller unless there is one: `virDomainDefMaybeAddController`.
    pub(crate) fn add_controller(
        &mut self,
        kind: &str,
        index: u32,
        model: Option<&str>,
    ) -> Result<(), Error> {
        if self.find_controller(kind, index)?.is_some() {
            return Ok(());
        }
        let model = model.map_or(String::new(), |model| format!(" model='{model}'"));
        self.add_device(&format!("<controller type='{kind}' index='{index}'{model}/>"))?;
        Ok(())
    }

    /// Gives controllers without an index the lowest unused one: `virDomainAssignControllerIndexes`.
    pub(crate) fn assign_controller_indexes(&mut self) -> Result<(), Error> {
        let nodes: Vec<NodeId> = self.of(Class::Controller).map(|device| device.node).collect();
        for (place, &node) in nodes.iter().enumerate() {
            let document = self.document();
            if document.get(node, "@index").is_some() {
                continue;
            }
            let kind = document.get(node, "@type").unwrap_or_default().into_owned();
            let model = document.get(node, "@model").unwrap_or_default().into_owned();
            let mut index = None;
            // Companions of one USB 2 controller share its index.
            if is_usb2(&model) {
                let before = nodes[..place].iter().rev();
                let previous = before.copied().find(|&other| document.has(other, "@type", "usb"));
                if let Some(previous) = previous
                    && is_usb2(&document.get(previous, "@model").unwrap_or_default())
                {
                    let same = document.number(previous, "@index")?;
                    let mut taken = false;
                    for &other in &nodes {
                        taken |= document.has(other, "@type", "usb")
                            && document.has(other, "@model", &model)
                            && document.number(other, "@index")? == same;
                    }
                    index = same.filter(|_| !taken);
                }
            }
            let index = match index {
                Some(index) => index,
                None => {
                    let mut used = BTreeSet::new();
                    for other in self.of(Class::Controller) {
                        if other.kind() == kind {
                            used.extend(other.index()?);
                        }
                    }
                    (0..).find(|index| !used.contains(index)).unwrap_or(0)
                }
            };
            self.document_mut().put(node, "@index", &index.to_string())?;
        }
        Ok(())
    }

    /// `qemuDomainDefAddDefaultDevices`
    pub(super) fn add_default_devices(&mut self) -> Result<(), Error> {
        let machine = self.machine();
        let x86_like = machine.is_x86();
        let usb = match &*machine.arch {
            "i686" | "x86_64" => machine.name != "isapc",
            "armv6l" | "armv7l" | "aarch64" | "riscv32" | "riscv64" | "s390" | "s390x"
            | "sparc" => false,
            // Without an architecture there is no machine to complete.
            "" => return Ok(()),
            _ => true,
        };
        let q35 = machine.is_q35();
        let ppc64 = machine.is_ppc64();
        let root = match (machine.has_pci_root(), machine.has_pcie_root()) {
            (_, true) => Some("pcie-root"),
            (true, _) => Some("pci-root"),
            _ => None,
        };
        let balloon = !matches!(&*machine.arch, "armv6l" | "armv7l" | "aarch64" | "sparc");
        if usb {
            self.add_controller("usb", 0, if q35 { Some("qemu-xhci") } else { None })?;
        }
        if q35 {
            self.add_controller("sata", 0, None)?;
        }
        if let Some(expected) = root {
            match self.find_controller("pci", 0)? {
                Some(found) if found.get("@model").as_deref() != Some(expected) => {
                    let value = found.get("@model").unwrap_or_default().into_owned();
                    let expected = "the PCI root of this machine type";
                    let problem = Problem::Value { value, expected };
                    return Err(self.document().error(found.node, problem));
                }
                _ => self.add_controller("pci", 0, Some(expected))?,
            }
        }
        if balloon && self.of(Class::Memballoon).next().is_none() {
            self.add_device("<memballoon model='virtio'/>")?;
        }
        let graphics = self.of(Class::Graphics).next().is_some();
        if ppc64 && graphics && !x86_like {
            let tablet = self.of(Class::Input).any(|input| {
                input.kind() == "tablet" && input.get("@bus").as_deref() == Some("usb")
            });
            self.add_input("keyboard", "usb")?;
            if !tablet {
                self.add_input("mouse", "usb")?;
            }
        }
        Ok(())
    }

    /// `qemuDomainDefAddImplicitInputDevice`
    pub(super) fn add_implicit_inputs(&mut self) -> Result<(), Error> {
        self.complete_inputs()?;
        if self.machine().is_x86() {
            self.add_input("mouse", "ps2")?;
            self.add_input("keyboard", "ps2")?;
        }
        Ok(())
    }

    /// `virDomainDefMaybeAddInput`
    fn add_input(&mut self, kind: &str, bus: &str) -> Result<(), Error> {
        let found =
            |input: Device<'_>| input.kind() == kind && input.get("@bus").as_deref() == Some(bus);
        if !self.of(Class::Input).any(found) {
            self.add_device(&format!("<input type='{kind}' bus='{bus}'/>"))?;
        }
        Ok(())
    }

    /// `virDomainDefAddImplicitControllers`
    pub(super) fn add_implicit_controllers(&mut self) -> Result<(), Error> {
        for bus in ["scsi", "fdc", "ide", "sata"] {
            let mut last = None;
            for disk in self.of(Class::Disk).filter(|disk| disk.kind() == bus) {
                if let Some(Address::Drive(drive)) = disk.address()? {
                    last = last.max(Some(drive.controller));
                }
            }
            self.add_controllers_up_to(bus, last, None)?;
        }
        let mut serial = BTreeSet::new();
        for class in [Class::Channel, Class::Console] {
            for port in self.of(class).filter(|port| port.kind() == "virtio") {
                serial.insert(match port.address()? {
                    Some(Address::VirtioSerial(address)) => address.controller,
                    _ => 0,
                });
            }
        }
        for index in serial {
            self.add_controller("virtio-serial", index, None)?;
        }
        let cards: Vec<NodeId> = self.of(Class::Smartcard).map(|card| card.node).collect();
        for card in cards {
            let controller = match Address::of(self.document(), card)? {
                Some(Address::Ccid { controller, .. }) => controller,
                Some(_) => 0,
                None => {
                    let mut slot = 0;
                    for other in self.of(Class::Smartcard) {
                        if let Some(Address::Ccid { controller: 0, slot: used }) =
                            other.address()?
                        {
                            slot = slot.max(used.saturating_add(1));
                        }
                    }
                    Address::Ccid { controller: 0, slot }.put(self.document_mut(), card)?;
                    0
                }
            };
            self.add_controller("ccid", controller, None)?;
        }
        self.add_scsi_controllers_of_hostdevs()
    }

    /// `virDomainDefMaybeAddHostdevSCSIcontroller`: as the first one that such a device is on.
    fn add_scsi_controllers_of_hostdevs(&mut self) -> Result<(), Error> {
        let (mut last, mut model) = (None, None);
        for hostdev in self.of(Class::Hostdev).filter(|hostdev| hostdev.kind() == "scsi") {
            if let Some(Address::Drive(drive)) = hostdev.address()? {
                last = last.max(Some(drive.controller));
                if model.is_none() {
                    let controller = self.find_controller("scsi", drive.controller)?;
                    let found = controller.and_then(|controller| controller.get("@model"));
                    model = found.map(|model| model.into_owned());
                }
            }
        }
        self.add_controllers_up_to("scsi", last, model.as_deref())
    }

    fn add_controllers_up_to(
        &mut self,
        kind: &str,
        last: Option<u32>,
        model: Option<&str>,
    ) -> Result<(), Error> {
        let Some(last) = last else { return Ok(()) };
        // The largest index comes from the definition: bound what it can ask for.
        if last > 1024 {
            let problem = Problem::Unsupported(format!("{kind} controller {last}"));
            return Err(self.document().error(self.root(), problem));
        }
        (0..=last).try_for_each(|index| self.add_controller(kind, index, model))
    }
}

/// `IS_USB2_CONTROLLER`
pub(crate) fn is_usb2(model: &str) -> bool {
    matches!(model, "ich9-ehci1" | "ich9-uhci1" | "ich9-uhci2" | "ich9-uhci3")
}
