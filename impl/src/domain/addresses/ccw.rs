//! Where virtio devices are that are not on PCI: channel I/O of s390 (`qemuDomainAssignS390Addresses`), MMIO.

use std::collections::BTreeSet;

use crate::domain::{Class, Device, Domain, Error, tree::NodeId};

impl Domain {
    /// Virtio devices of ARM and RISC-V boards without PCI, or that have one on MMIO already, go there:
    /// `qemuDomainAssignVirtioMMIOAddresses`.
    pub(super) fn assign_virtio_mmio(&mut self) -> Result<(), Error> {
        let machine = self.machine();
        let virt = machine.is_arm_virt() || machine.is_riscv_virt();
        let vexpress = machine.is_arm() && machine.name.starts_with("vexpress-");
        let on_mmio =
            |device: Device<'_>| device.get("address/@type").as_deref() == Some("virtio-mmio");
        let has_pcie = self.find_controller("pci", 0)?.is_some();
        if !(vexpress || virt && (!has_pcie || self.devices().any(on_mmio))) {
            return Ok(());
        }
        let wanted: Vec<NodeId> = self
            .devices()
            .filter(|device| device.address().is_ok_and(|address| address.is_none()))
            .filter(|device| is_virtio(*device) && !is_ccw_only(device.class))
            .map(|device| device.node)
            .collect();
        for node in wanted {
            self.document_mut().put(node, "address/@type", "virtio-mmio")?;
        }
        Ok(())
    }

    /// Virtio devices without an address get a device number: `qemuDomainPrimeVirtioDeviceAddresses`,
    /// `virDomainCCWAddressAssign`.
    pub(super) fn assign_ccw(&mut self) -> Result<(), Error> {
        let machine = self.machine();
        if !machine.is_s390() || !machine.name.starts_with("s390-ccw") {
            return Ok(());
        }
        let mut used = BTreeSet::new();
        for device in self.devices() {
            if device.get("address/@type").as_deref() == Some("ccw") {
                let cssid = self.document().number(device.node, "address/@cssid")?;
                let ssid = self.document().number(device.node, "address/@ssid")?;
                if let (Some(0xfe), Some(0)) = (cssid, ssid) {
                    used.extend(self.document().number(device.node, "address/@devno")?);
                }
            }
        }
        // The order of `virDomainDeviceInfoIterate`.
        let order = [
            Class::Disk,
            Class::Interface,
            Class::Hostdev,
            Class::Video,
            Class::Controller,
            Class::Input,
            Class::Filesystem,
            Class::Memballoon,
            Class::Rng,
            Class::Vsock,
        ];
        let wanted: Vec<NodeId> = order
            .into_iter()
            .flat_map(|class| match class {
                Class::Disk => self.disks(),
                class => self.of(class).collect(),
            })
            .filter(|device| {
                let kind = device.get("address/@type");
                // `<address type='ccw'/>` asks for one.
                let asks = kind.as_deref() == Some("ccw") && device.get("address/@devno").is_none();
                (kind.is_none() || asks) && is_virtio(*device)
            })
            .map(|device| device.node)
            .collect();
        for node in wanted {
            let devno = (0..).find(|devno| !used.contains(devno)).unwrap_or(0);
            used.insert(devno);
            let document = self.document_mut();
            document.put(node, "address/@type", "ccw")?;
            document.put(node, "address/@cssid", "0xfe")?;
            document.put(node, "address/@ssid", "0x0")?;
            document.put(node, "address/@devno", &format!("{devno:#06x}"))?;
        }
        Ok(())
    }
}

/// Classes that have a place on channel I/O and on PCI, but none on MMIO.
fn is_ccw_only(class: Class) -> bool {
    matches!(class, Class::Filesystem | Class::Vsock)
}

fn is_virtio(device: Device<'_>) -> bool {
    let kind = device.kind();
    match device.class {
        Class::Disk => kind == "virtio",
        Class::Interface => kind.starts_with("virtio"),
        Class::Video => kind == "virtio",
        Class::Input => device.get("@bus").as_deref() == Some("virtio"),
        Class::Controller => matches!(&*kind, "virtio-serial" | "scsi"),
        Class::Hostdev => {
            let mdev = kind == "mdev" && device.get("@model").as_deref() == Some("vfio-ccw");
            kind == "scsi_host" || mdev
        }
        Class::Memballoon => kind != "none",
        Class::Filesystem | Class::Rng | Class::Vsock => true,
        _ => false,
    }
}
