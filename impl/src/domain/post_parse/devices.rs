//! Defaults of single devices: `qemuDomainDeviceDefPostParse`, `virDomainDeviceDefPostParseCommon`.

use std::collections::BTreeSet;

use crate::domain::{
    Address, Class, Domain, Drive, Error, Problem,
    device::{disk_bus, disk_index},
    tree::NodeId,
};

/// `virDomainNetModel`
const NET_MODELS: [&str; 18] = [
    "netfront",
    "rtl8139",
    "virtio",
    "e1000",
    "e1000e",
    "virtio-transitional",
    "virtio-non-transitional",
    "usb-net",
    "spapr-vlan",
    "lan9118",
    "smc91c111",
    "vlance",
    "vmxnet",
    "vmxnet2",
    "vmxnet3",
    "Am79C970A",
    "Am79C973",
    "82540EM",
];

impl Domain {
    pub(super) fn put_missing(
        &mut self,
        node: NodeId,
        path: &str,
        value: &str,
    ) -> Result<(), Error> {
        if !value.is_empty() && self.document().get(node, path).is_none() {
            self.document_mut().put(node, path, value)?;
        }
        Ok(())
    }

    pub(super) fn put_changed(
        &mut self,
        node: NodeId,
        path: &str,
        value: &str,
    ) -> Result<(), Error> {
        if !self.document().has(node, path, value) {
            self.document_mut().put(node, path, value)?;
        }
        Ok(())
    }

    pub(super) fn complete_devices(&mut self) -> Result<(), Error> {
        let nodes: Vec<(NodeId, Class)> = self.devices().map(|d| (d.node, d.class)).collect();
        for (node, class) in nodes {
            match class {
                Class::Disk => self.complete_disk(node)?,
                Class::Controller => self.complete_controller(node)?,
                Class::Interface => {
                    let kind = self.document().get(node, "@type").unwrap_or_default().into_owned();
                    let default = if kind == "vdpa" { "virtio" } else { self.default_net_model() };
                    if kind != "hostdev" && !self.document().has(node, "actual/@type", "hostdev") {
                        self.put_missing(node, "model/@type", default)?;
                        self.normalize_net_model(node)?;
                    }
                }
                Class::Video => self.put_missing(node, "model/@type", self.default_video())?,
                Class::Hostdev if self.document().has(node, "@type", "scsi") => {
                    self.complete_scsi_hostdev(node)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `virDomainDiskDefPostParse`, `virDomainDiskDefAssignAddress`
    fn complete_disk(&mut self, node: NodeId) -> Result<(), Error> {
        let bus = disk_bus(self.document(), node).into_owned();
        self.put_missing(node, "target/@bus", &bus)?;
        if Address::of(self.document(), node)?.is_some() {
            return Ok(());
        }
        let name = self.document().get(node, "target/@dev").unwrap_or_default().into_owned();
        let Some(index) = disk_index(&name) else {
            let value = name.chars().take(64).collect();
            let problem = Problem::Value { value, expected: "a disk's name such as vda" };
            return Err(self.document().error(node, problem));
        };
        let drive = match &*bus {
            "scsi" => Drive { controller: index / 7, unit: index % 7, ..Drive::default() },
            "ide" => Drive {
                controller: index / 4,
                bus: index % 4 / 2,
                unit: index % 2,
                ..Drive::default()
            },
            "sata" => Drive { controller: index / 6, unit: index % 6, ..Drive::default() },
            "fdc" => Drive { controller: index / 2, unit: index % 2, ..Drive::default() },
            _ => return Ok(()),
        };
        Address::Drive(drive).put(self.document_mut(), node)
    }

    /// `qemuDomainControllerDefPostParse`
    fn complete_controller(&mut self, node: NodeId) -> Result<(), Error> {
        let machine = self.machine();
        let document = self.document();
        let kind = document.get(node, "@type").unwrap_or_default();
        let model = match &*kind {
            "scsi" => self.default_scsi_model(),
            "usb" => match &*machine.arch {
                "s390" | "s390x" if document.child(node, "address").is_none() => "none",
                // There is none, and libvirt accepts and forgets it.
                "s390" | "s390x" => "",
                "ppc64" | "ppc64le" => "pci-ohci",
                "aarch64" => "qemu-xhci",
                _ => "piix3-uhci",
            },
            "pci" => {
                let root = document.get(node, "@model");
                let root = root.is_some_and(|model| matches!(&*model, "pci-root" | "pcie-root"));
                let index = document.number(node, "@index")?.unwrap_or(0);
                if root && index != 0 && !machine.is_pseries() {
                    let value = index.to_string();
                    let expected = "the index of a PCI root, which is 0";
                    return Err(document.error(node, Problem::Value { value, expected }));
                }
                ""
            }
            _ => "",
        };
        // A companion that does not say where its ports begin: `virDomainControllerDefParseXML`.
        let first_port = match document.get(node, "@model").as_deref() {
            Some("ich9-uhci1") if kind == "usb" => "0",
            Some("ich9-uhci2") if kind == "usb" => "2",
            Some("ich9-uhci3") if kind == "usb" => "4",
            _ => "",
        };
        if !first_port.is_empty() {
            return self.put_missing(node, "master/@startport", first_port);
        }
        // The same word in other letters of the schema: libvirt knows `auto` as no model.
        if kind == "scsi" && document.has(node, "@model", "auto") {
            return self.put_changed(node, "@model", model);
        }
        self.put_missing(node, "@model", model)
    }

    /// `virDomainInputDefParseXML`
    pub(super) fn complete_inputs(&mut self) -> Result<(), Error> {
        let x86 = self.machine().is_x86() || self.machine().arch.is_empty();
        let nodes: Vec<NodeId> = self.of(Class::Input).map(|device| device.node).collect();
        for node in nodes {
            let bus = match &*self.document().get(node, "@type").unwrap_or_default() {
                "mouse" | "keyboard" if x86 => "ps2",
                "passthrough" | "evdev" => "virtio",
                _ => "usb",
            };
            if !self.document().has(node, "@type", "evdev") {
                self.put_missing(node, "@bus", bus)?;
            }
        }
        Ok(())
    }

    /// Models have no case: `virDomainNetSetModelString`.
    fn normalize_net_model(&mut self, node: NodeId) -> Result<(), Error> {
        let model = self.document().get(node, "model/@type").unwrap_or_default();
        let known = NET_MODELS.into_iter().find(|known| known.eq_ignore_ascii_case(&model));
        match known.filter(|known| *known != model) {
            Some(known) => self.put_changed(node, "model/@type", known),
            None => Ok(()),
        }
    }

    /// `qemuDomainDefaultNetModel`
    fn default_net_model(&self) -> &'static str {
        let machine = self.machine();
        if machine.is_s390() || machine.is_arm_virt() || machine.is_riscv_virt() {
            "virtio"
        } else if machine.is_arm() {
            if machine.name == "versatilepb" { "smc91c111" } else { "lan9118" }
        } else {
            "rtl8139"
        }
    }

    /// `qemuDomainDefaultVideoDevice`
    fn default_video(&self) -> &'static str {
        let machine = self.machine();
        if machine.is_ppc64() {
            "vga"
        } else if machine.is_arm_virt() || machine.is_riscv_virt() || machine.is_s390() {
            "virtio"
        } else {
            "cirrus"
        }
    }

    /// A screen needs a video card: `virDomainDefAddImplicitVideo`.
    pub(super) fn add_implicit_video(&mut self) -> Result<(), Error> {
        if self.of(Class::Graphics).next().is_some() && self.of(Class::Video).next().is_none() {
            self.add_device("<video/>")?;
        }
        Ok(())
    }

    /// `virDomainHostdevAssignAddress`, `virDomainControllerSCSINextUnit`
    fn complete_scsi_hostdev(&mut self, node: NodeId) -> Result<(), Error> {
        if Address::of(self.document(), node)?.is_some() {
            return Ok(());
        }
        let mut used = BTreeSet::new();
        for device in self.devices() {
            let scsi = match device.class {
                Class::Disk => device.kind() == "scsi",
                Class::Hostdev => device.kind() == "scsi",
                _ => false,
            };
            if scsi && let Some(Address::Drive(drive)) = device.address()? {
                used.insert((drive.controller, drive.unit));
            }
        }
        let units = (0..).flat_map(|controller| (0..7).map(move |unit| (controller, unit)));
        let free = { units }.find(|place| !used.contains(place));
        let (controller, unit) = free.unwrap_or((0, 0));
        let drive = Drive { controller, unit, ..Drive::default() };
        Address::Drive(drive).put(self.document_mut(), node)
    }
}
