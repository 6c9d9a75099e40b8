//! Channel I/O addresses of s390: `qemuDomainAssignS390Addresses`.

use std::collections::BTreeSet;

use crate::domain::{Class, Device, Domain, Error, tree::NodeId};

impl Domain {
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
            .flat_map(|class| self.of(class))
            .filter(|device| device.get("address/@type").is_none() && is_virtio(*device))
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
        _ => true,
    }
}
