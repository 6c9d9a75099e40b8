//! PCI addresses: `qemuDomainAssignPCIAddresses`.

use std::collections::BTreeMap;

use super::pci_set::{Set, connect::*, controller_flags};
use crate::domain::{
    Address, Class, Device, Domain, Error, Machine, Pci, Problem, device::disk_index,
    post_parse::is_usb2, tree::NodeId,
};

/// The addresses that one pass gives.
type Given = BTreeMap<NodeId, Pci>;

impl Domain {
    /// The disks in the order in which libvirt keeps them: buses as they first appear, each by name
    /// (`virDomainDiskInsert`).
    pub(crate) fn disks(&self) -> Vec<Device<'_>> {
        let mut buses: Vec<String> = Vec::new();
        let mut keyed = Vec::new();
        for disk in self.of(Class::Disk) {
            let bus = disk.kind();
            let place = buses.iter().position(|known| *known == bus).unwrap_or_else(|| {
                buses.push(bus.clone().into_owned());
                buses.len() - 1
            });
            let index = disk_index(&disk.get("target/@dev").unwrap_or_default());
            keyed.push(((place, index.unwrap_or(u32::MAX)), disk));
        }
        keyed.sort_by_key(|(key, _)| *key);
        keyed.into_iter().map(|(_, disk)| disk).collect()
    }

    pub(super) fn assign_pci(&mut self) -> Result<(), Error> {
        let models = self.pci_models()?;
        if !models.is_empty() {
            self.add_pci_buses(&models)?;
        }
        self.assign_pci_on_present_buses()?;
        self.set_multifunction()
    }

    /// The pass that adds no bus.
    ///
    /// Devices that have an address stay as they are: a running device cannot become multifunction.
    pub(super) fn assign_pci_on_present_buses(&mut self) -> Result<(), Error> {
        let models = self.pci_models()?;
        if !supports_pci(&self.machine()) {
            return Ok(());
        }
        let mut set = self.pci_set(&models, false)?;
        let given = self.pci_pass(&mut set)?;
        for (node, pci) in given {
            Address::Pci(pci).put(self.document_mut(), node)?;
        }
        self.complete_pci_controllers()
    }

    /// The models of the PCI controllers by index.
    fn pci_models(&self) -> Result<Vec<Option<String>>, Error> {
        let mut models = Vec::new();
        for controller in self.of(Class::Controller).filter(|c| c.kind() == "pci") {
            let index = controller.index()?.unwrap_or(0) as usize;
            if index > 255 {
                let problem = Problem::NoAddress("PCI controller");
                return Err(self.document().error(controller.node, problem));
            }
            if models.len() <= index {
                models.resize(index + 1, None);
            }
            models[index] = controller.get("@model").map(|model| model.into_owned());
        }
        Ok(models)
    }

    fn at_root(&self, problem: Problem) -> Error {
        self.document().error(self.devices_node().unwrap_or(self.root()), problem)
    }

    /// The set with every address of the definition taken: `qemuDomainCollectPCIAddress`.
    fn pci_set(&self, models: &[Option<String>], grows: bool) -> Result<Set, Error> {
        let roots = self.machine().is_pseries();
        let mut set = Set::new(models, roots, grows).map_err(|problem| self.at_root(problem))?;
        for device in self.devices() {
            let Some(Address::Pci(pci)) = device.address()? else { continue };
            // A console that shows a serial port shows its address, too.
            if device.class == Class::Console {
                continue;
            }
            // These are reserved with their chip.
            if pci.bus == 0 && pci.slot == 1 && is_on_piix3(device, pci.function)? {
                continue;
            }
            let flags = match self.pci_flags(device) {
                0 => PCI_DEVICE,
                flags => flags,
            };
            set.reserve(pci, flags, true)
                .map_err(|problem| self.document().error(device.node, problem))?;
        }
        Ok(set)
    }

    /// The pass that finds out which buses are needed, and adds them.
    fn add_pci_buses(&mut self, models: &[Option<String>]) -> Result<(), Error> {
        let machine = self.machine();
        let (pci_root, pcie_root) = (machine.has_pci_root(), machine.has_pcie_root());
        let mut set = self.pci_set(models, true)?;
        let at_root = |domain: &Self, problem| domain.at_root(problem);
        let mut given = Given::new();
        self.reserve_chipset(&mut set, &mut given)?;
        // One slot is kept for a bridge.
        if pci_root && !set.is_full() {
            set.reserve_next(PCI_DEVICE | AUTOASSIGN, None).map_err(|p| at_root(self, p))?;
        }
        self.assign_slots(&mut set, &mut given)?;
        // A new domain gets one port that is free.
        if pcie_root && models.len() <= 1 && set.len() > models.len() {
            set.reserve_next(PCIE_DEVICE | AUTOASSIGN, None).map_err(|p| at_root(self, p))?;
        }
        let mut bus = 1;
        while bus < set.len() {
            let index = u32::try_from(bus).unwrap_or(u32::MAX);
            if self.find_controller("pci", index)?.is_none() {
                let model = set.model(bus);
                self.add_controller("pci", index, Some(&model))?;
                let flags = controller_flags(&model);
                if flags != 0 {
                    set.reserve_next(flags, None).map_err(|p| at_root(self, p))?;
                }
            }
            bus += 1;
        }
        Ok(())
    }

    fn pci_pass(&self, set: &mut Set) -> Result<Given, Error> {
        let mut given = Given::new();
        self.reserve_chipset(set, &mut given)?;
        self.assign_slots(set, &mut given)?;
        Ok(given)
    }

    /// `qemuDomainValidateDevicePCISlotsChipsets`
    fn reserve_chipset(&self, set: &mut Set, given: &mut Given) -> Result<(), Error> {
        let machine = self.machine();
        if machine.is_i440fx() {
            self.reserve_piix3(set, given)?;
            self.place_video(set, given, 2, PCI_DEVICE | AUTOASSIGN)
        } else if machine.is_q35() {
            self.reserve_q35(set, given)?;
            self.place_video(set, given, 1, PCIE_DEVICE)?;
            self.place_ich9_sound(set, given)
        } else {
            Ok(())
        }
    }

    /// `qemuDomainValidateDevicePCISlotsPIIX3`
    fn reserve_piix3(&self, set: &mut Set, given: &mut Given) -> Result<(), Error> {
        for controller in self.controllers()? {
            let function = if is_on_piix3(controller, 1)? {
                1
            } else if is_on_piix3(controller, 2)? {
                2
            } else {
                continue;
            };
            let own = Pci { slot: 1, function, ..Pci::default() };
            self.expect_place(controller, own, given)?;
            self.reserve(set, controller.node, own, PCI_DEVICE | AUTOASSIGN)?;
        }
        if !set.is_empty() {
            for function in [0, 3] {
                let pci = Pci { slot: 1, function, ..Pci::default() };
                self.reserve(set, self.root(), pci, PCI_DEVICE | AUTOASSIGN)?;
            }
        }
        Ok(())
    }

    /// `qemuDomainValidateDevicePCISlotsQ35`
    fn reserve_q35(&self, set: &mut Set, given: &mut Given) -> Result<(), Error> {
        for controller in self.controllers()? {
            let model = controller.get("@model").unwrap_or_default();
            let node = controller.node;
            let has_address = controller.get("address/@type").is_some();
            let place = |set: &mut Set, given: &mut Given, slots: &[u32], multifunction| {
                let Some(&slot) = slots.iter().find(|&&slot| !set.slot_in_use(0, slot)) else {
                    return Ok(());
                };
                let pci = Pci { slot, multifunction, ..Pci::default() };
                given.insert(node, pci);
                self.reserve(set, node, pci, PCIE_DEVICE)
            };
            match &*controller.kind() {
                "sata" if controller.index()? == Some(0) => {
                    let own = Pci { slot: 0x1f, function: 2, ..Pci::default() };
                    if !self.expect_place(controller, own, given)? {
                        self.reserve(set, node, own, PCIE_DEVICE)?;
                    }
                }
                "usb" if model == "ich9-uhci1" && !has_address => {
                    place(set, given, &[0x1d, 0x1a], true)?;
                }
                "pci" if model == "dmi-to-pci-bridge" && !has_address => {
                    place(set, given, &[0x1e], false)?;
                }
                _ => {}
            }
        }
        if !set.is_empty() {
            for function in [0, 3] {
                let pci = Pci { slot: 0x1f, function, ..Pci::default() };
                self.reserve(set, self.root(), pci, PCIE_DEVICE)?;
            }
        }
        Ok(())
    }

    /// The controller is at the only place it can be at, or gets it. Returns whether it had an address.
    fn expect_place(
        &self,
        controller: Device<'_>,
        own: Pci,
        given: &mut Given,
    ) -> Result<bool, Error> {
        match controller.address()? {
            Some(Address::Pci(pci)) if Pci { multifunction: false, ..pci } == own => Ok(true),
            Some(Address::Pci(pci)) => {
                let value = pci.to_string();
                let expected = "the address that this controller has in the chipset";
                Err(self.document().error(controller.node, Problem::Value { value, expected }))
            }
            _ => {
                given.insert(controller.node, own);
                Ok(false)
            }
        }
    }

    /// The first video card is where QEMU puts it.
    fn place_video(
        &self,
        set: &mut Set,
        given: &mut Given,
        slot: u32,
        flags: u16,
    ) -> Result<(), Error> {
        let Some(video) = self.of(Class::Video).next() else { return Ok(()) };
        if matches!(&*video.kind(), "none" | "ramfb") || !wants_address(video) || set.is_empty() {
            return Ok(());
        }
        let pci = if set.slot_in_use(0, slot) {
            set.reserve_next(self.pci_flags(video), None)
                .map_err(|problem| self.document().error(video.node, problem))?
        } else {
            let pci = Pci { slot, ..Pci::default() };
            self.reserve(set, video.node, pci, flags)?;
            pci
        };
        given.insert(video.node, pci);
        Ok(())
    }

    fn place_ich9_sound(&self, set: &mut Set, given: &mut Given) -> Result<(), Error> {
        let ich9 = |sound: &Device<'_>| sound.kind() == "ich9" && wants_address(*sound);
        if set.slot_in_use(0, 0x1b) {
            return Ok(());
        }
        let Some(sound) = self.of(Class::Sound).find(ich9) else { return Ok(()) };
        let pci = Pci { slot: 0x1b, ..Pci::default() };
        self.reserve(set, sound.node, pci, PCIE_DEVICE)?;
        given.insert(sound.node, pci);
        Ok(())
    }

    fn reserve(&self, set: &mut Set, node: NodeId, pci: Pci, flags: u16) -> Result<(), Error> {
        set.reserve(pci, flags, true).map_err(|problem| self.document().error(node, problem))
    }

    /// `qemuDomainAssignDevicePCISlots`
    fn assign_slots(&self, set: &mut Set, given: &mut Given) -> Result<(), Error> {
        let controllers = self.controllers()?;
        for &device in &controllers {
            if device.kind() == "pci" {
                self.assign_slot(set, given, device)?;
            }
        }
        for class in [Class::Filesystem, Class::Interface, Class::Sound] {
            for device in self.of(class) {
                self.assign_slot(set, given, device)?;
            }
        }
        for &device in &controllers {
            let ide_0 = device.kind() == "ide" && device.index()? == Some(0);
            if device.kind() == "pci" || ide_0 {
                continue;
            }
            let model = device.get("@model").unwrap_or_default();
            match is_usb2(&model) {
                true => self.assign_usb2(set, given, device, &controllers)?,
                false => self.assign_slot(set, given, device)?,
            }
        }
        for device in self.disks() {
            self.assign_slot(set, given, device)?;
        }
        // Interfaces that are host devices are in both lists of libvirt, and are assigned with these.
        for device in self.of(Class::Interface).filter(|interface| is_hostdev(*interface)) {
            if wants_address(device) && !given.contains_key(&device.node) {
                let express = if self.machine().has_pcie_root() { PCIE_DEVICE } else { PCI_DEVICE };
                self.assign_with(set, given, device, express | AUTOASSIGN)?;
            }
        }
        for class in [
            Class::Hostdev,
            Class::Memballoon,
            Class::Rng,
            Class::Watchdog,
            Class::Video,
            Class::Shmem,
            Class::Input,
            Class::Serial,
            Class::Iommu,
            Class::Vsock,
            Class::Memory,
        ] {
            for device in self.of(class) {
                self.assign_slot(set, given, device)?;
            }
        }
        Ok(())
    }

    fn assign_slot(
        &self,
        set: &mut Set,
        given: &mut Given,
        device: Device<'_>,
    ) -> Result<(), Error> {
        let flags = self.pci_flags(device);
        if flags == 0 || !wants_address(device) || given.contains_key(&device.node) {
            return Ok(());
        }
        self.assign_with(set, given, device, flags)
    }

    fn assign_with(
        &self,
        set: &mut Set,
        given: &mut Given,
        device: Device<'_>,
        flags: u16,
    ) -> Result<(), Error> {
        let pci = set
            .reserve_next(flags, None)
            .map_err(|problem| self.document().error(device.node, problem))?;
        given.insert(device.node, pci);
        Ok(())
    }

    /// The parts of a USB 2 controller share a slot.
    fn assign_usb2(
        &self,
        set: &mut Set,
        given: &mut Given,
        device: Device<'_>,
        controllers: &[Device<'_>],
    ) -> Result<(), Error> {
        if !wants_address(device) || given.contains_key(&device.node) {
            return Ok(());
        }
        let model = device.get("@model").unwrap_or_default();
        let (function, multifunction) = match &*model {
            "ich9-ehci1" => (7, false),
            "ich9-uhci1" => (0, true),
            "ich9-uhci2" => (1, false),
            _ => (2, false),
        };
        let index = device.index()?;
        let mut shared = None;
        for part in controllers {
            if is_usb2(&part.get("@model").unwrap_or_default()) && part.index()? == index {
                let own = match part.address()? {
                    Some(Address::Pci(pci)) => Some(pci),
                    _ => given.get(&part.node).copied(),
                };
                shared = shared.or(own);
            }
        }
        let flags = self.pci_flags(device);
        let pci = match shared {
            Some(shared) => {
                let pci = Pci { function, multifunction, ..shared };
                self.reserve(set, device.node, pci, flags)?;
                pci
            }
            None => {
                let next = set.reserve_next(flags, Some(function));
                let pci = next.map_err(|problem| self.document().error(device.node, problem))?;
                Pci { multifunction, ..pci }
            }
        };
        given.insert(device.node, pci);
        Ok(())
    }

    /// `qemuDomainDeviceCalculatePCIConnectFlags`; 0 if it is no PCI device.
    pub(super) fn pci_flags(&self, device: Device<'_>) -> u16 {
        let pci = PCI_DEVICE | AUTOASSIGN;
        let express = match self.machine().has_pcie_root() {
            true => PCIE_DEVICE | AUTOASSIGN,
            false => pci,
        };
        let kind = device.kind();
        let model = device.get("@model").unwrap_or_default();
        // Transitional devices are for conventional slots.
        let virtio = |model: &str| match model {
            "virtio-transitional" => pci,
            _ => express,
        };
        match device.class {
            Class::Controller => match &*kind {
                "pci" => controller_flags(&model),
                "sata" | "ide" => pci,
                "usb" => match &*model {
                    "nec-xhci" | "qemu-xhci" => express,
                    "none" | "qusb1" | "qusb2" => 0,
                    _ => pci,
                },
                "scsi" => match &*model {
                    "" | "ncr53c90" => 0,
                    "virtio-scsi" | "virtio-non-transitional" => express,
                    _ => pci,
                },
                "virtio-serial" => virtio(&model),
                _ => 0,
            },
            Class::Filesystem => virtio(&model),
            Class::Interface if is_hostdev(device) => 0,
            Class::Interface => match &*kind {
                "usb-net" => 0,
                "e1000e" | "" => express,
                model if model.starts_with("virtio") => virtio(model),
                _ => pci,
            },
            Class::Sound => match &*kind {
                "es1370" | "ac97" | "ich6" | "ich9" => pci,
                _ => 0,
            },
            Class::Disk if kind == "virtio" => virtio(&model),
            Class::Hostdev => match &*kind {
                // Whether a device of the host is an express one is not looked up here: nearly all are.
                "pci" => express,
                "mdev" if model == "vfio-pci" => express,
                "scsi_host" => virtio(&model),
                _ => 0,
            },
            Class::Memballoon if kind == "none" => 0,
            Class::Memballoon | Class::Rng => virtio(&kind),
            Class::Watchdog if kind == "i6300esb" => pci,
            Class::Video => match &*kind {
                "virtio" | "bochs" => express,
                "vga" | "cirrus" | "vmvga" | "xen" | "vbox" | "qxl" | "parallels" => pci,
                _ => 0,
            },
            Class::Shmem => pci,
            Class::Input if device.get("@bus").as_deref() == Some("virtio") => virtio(&model),
            Class::Serial if kind == "pci-serial" => pci,
            Class::Iommu if model == "virtio" => express | INTEGRATED,
            Class::Vsock => virtio(&model),
            Class::Memory if matches!(&*kind, "virtio-pmem" | "virtio-mem") => express,
            _ => 0,
        }
    }

    /// Function 0 of a slot with other functions says so: `virDomainPCIAddressSetAllMulti`.
    fn set_multifunction(&mut self) -> Result<(), Error> {
        let mut slots: BTreeMap<(u32, u32, u32), (bool, Option<NodeId>)> = BTreeMap::new();
        for device in self.devices() {
            if let Some(Address::Pci(pci)) = device.address()? {
                let slot = slots.entry((pci.domain, pci.bus, pci.slot)).or_default();
                match pci.function {
                    0 => slot.1 = Some(device.node),
                    _ => slot.0 = true,
                }
            }
        }
        for node in slots.into_values().filter_map(|(several, first)| first.filter(|_| several)) {
            if self.document().get(node, "address/@multifunction").is_none() {
                self.document_mut().put(node, "address/@multifunction", "on")?;
            }
        }
        Ok(())
    }

    /// Model names, chassis and port numbers: the last part of `qemuDomainAssignPCIAddresses`,
    /// `qemuDomainPCIControllerSetDefaultModelName`.
    fn complete_pci_controllers(&mut self) -> Result<(), Error> {
        let pseries = self.machine().is_pseries();
        let nodes: Vec<NodeId> =
            self.of(Class::Controller).filter(|c| c.kind() == "pci").map(|c| c.node).collect();
        for node in nodes {
            let document = self.document();
            let model = document.get(node, "@model").unwrap_or_default().into_owned();
            let index = document.number(node, "@index")?.unwrap_or(0);
            let pci = match Address::of(document, node)? {
                Some(Address::Pci(pci)) => pci,
                _ => Pci::default(),
            };
            let name = match &*model {
                "pci-bridge" => "pci-bridge",
                "dmi-to-pci-bridge" => "i82801b11-bridge",
                "pcie-to-pci-bridge" => "pcie-pci-bridge",
                "pcie-root-port" => "pcie-root-port",
                "pcie-switch-upstream-port" => "x3130-upstream",
                "pcie-switch-downstream-port" => "xio3130-downstream",
                "pci-expander-bus" => "pxb",
                "pcie-expander-bus" => "pxb-pcie",
                "pci-root" if pseries => "spapr-pci-host-bridge",
                _ => continue,
            };
            let mut values = vec![("model/@name", name.to_owned())];
            match &*model {
                "pci-bridge" => values.push(("target/@chassisNr", index.to_string())),
                "pcie-root-port" => {
                    values.push(("target/@chassis", index.to_string()));
                    let port = (pci.slot << 3) + pci.function;
                    values.push(("target/@port", format!("{port:#x}")));
                }
                "pcie-switch-downstream-port" => {
                    values.push(("target/@chassis", index.to_string()));
                    values.push(("target/@port", format!("{:#x}", pci.slot)));
                }
                // The definition is searched only if it is needed.
                "pci-expander-bus" | "pcie-expander-bus"
                    if self.document().get(node, "target/@busNr").is_none() =>
                {
                    values.push(("target/@busNr", self.free_bus_number(node)?.to_string()));
                }
                "pci-root" => {
                    let target = if index == 0 { 0 } else { self.free_target_index()? };
                    values.push(("target/@index", target.to_string()));
                }
                _ => {}
            }
            for (path, value) in values {
                if self.document().get(node, path).is_none() {
                    self.document_mut().put(node, path, &value)?;
                }
            }
            let too_low = model == "pci-bridge" && index <= pci.bus;
            if too_low {
                let value = index.to_string();
                let expected = "larger than the index of the bus it is on";
                return Err(self.document().error(node, Problem::Value { value, expected }));
            }
        }
        Ok(())
    }

    /// `qemuDomainAddressFindNewBusNr`
    fn free_bus_number(&self, expander: NodeId) -> Result<u32, Error> {
        let mut lowest = 256;
        for controller in self.of(Class::Controller).filter(|c| c.kind() == "pci") {
            let number = self.document().number(controller.node, "target/@busNr")?;
            lowest = lowest.min(number.unwrap_or(lowest));
        }
        let free = lowest.checked_sub(2).filter(|&number| number > 0);
        free.ok_or_else(|| self.document().error(expander, Problem::NoAddress("expander bus")))
    }

    /// `qemuDomainAddressFindNewTargetIndex`
    fn free_target_index(&self) -> Result<u32, Error> {
        let mut used = Vec::new();
        for controller in self.of(Class::Controller).filter(|c| c.kind() == "pci") {
            used.extend(self.document().number(controller.node, "target/@index")?);
        }
        let free = (1..=30).find(|index| !used.contains(index));
        free.ok_or_else(|| self.at_root(Problem::NoAddress("pSeries host bridge")))
    }
}

/// Has it no address at all? (`virDeviceInfoPCIAddressIsWanted`)
fn wants_address(device: Device<'_>) -> bool {
    matches!(device.address(), Ok(None))
}

fn is_hostdev(interface: Device<'_>) -> bool {
    let actual = interface.get("actual/@type").or_else(|| interface.get("@type"));
    actual.as_deref() == Some("hostdev")
}

/// The first IDE controller is function 1 of the PIIX3, the first USB controller of its kind is function 2.
fn is_on_piix3(device: Device<'_>, function: u32) -> Result<bool, Error> {
    if device.class != Class::Controller || device.index()? != Some(0) {
        return Ok(false);
    }
    let model = device.get("@model");
    Ok(match (&*device.kind(), function) {
        ("ide", 1) => true,
        ("usb", 2) => model.is_none_or(|model| model == "piix3-uhci"),
        _ => false,
    })
}

/// `qemuDomainSupportsPCI`
fn supports_pci(machine: &Machine<'_>) -> bool {
    let without = machine.is_arm() && machine.arch != "armv7b" || machine.is_riscv();
    !without || machine.name == "versatilepb" || machine.is_arm_virt() || machine.is_riscv_virt()
}
