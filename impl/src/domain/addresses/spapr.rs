//! Registers of pSeries' virtual I/O: `qemuDomainAssignSpaprVIOAddresses`.

use crate::domain::{Class, Device, Domain, Error, Problem, tree::NodeId};

impl Domain {
    pub(super) fn assign_spapr_vio(&mut self) -> Result<(), Error> {
        // Where QEMU begins: `VIO_ADDR_NET`, `VIO_ADDR_SCSI`, `VIO_ADDR_SERIAL`, `VIO_ADDR_NVRAM`, `VIO_ADDR_TPM`.
        let classes = [
            (Class::Interface, 0x1000),
            (Class::Controller, 0x2000),
            (Class::Serial, 0x3000_0000),
            (Class::Nvram, 0x3000),
            (Class::Tpm, 0x4000),
        ];
        for (class, first) in classes {
            let pseries = self.machine().is_pseries();
            let devices = match class {
                Class::Controller => self.controllers()?,
                class => self.of(class).collect(),
            };
            let nodes: Vec<NodeId> = devices
                .into_iter()
                .filter(|device| is_spapr_vio(*device, pseries))
                .map(|device| device.node)
                .collect();
            for node in nodes {
                self.document_mut().put(node, "address/@type", "spapr-vio")?;
                if self.document().number(node, "address/@reg")?.is_some() {
                    continue;
                }
                let mut register: u32 = first;
                while self.has_register(register)? {
                    register = register.checked_add(0x1000).ok_or_else(|| {
                        self.document().error(node, Problem::NoAddress("spapr-vio"))
                    })?;
                }
                let register = format!("{register:#010x}");
                self.document_mut().put(node, "address/@reg", &register)?;
            }
        }
        Ok(())
    }

    fn has_register(&self, register: u32) -> Result<bool, Error> {
        for device in self.devices() {
            if device.get("address/@type").as_deref() == Some("spapr-vio")
                && self.document().number(device.node, "address/@reg")? == Some(register)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn is_spapr_vio(device: Device<'_>, pseries: bool) -> bool {
    let kind = device.kind();
    let model = device.get("@model").unwrap_or_default();
    device.get("address/@type").as_deref() == Some("spapr-vio")
        || match device.class {
            Class::Interface => kind == "spapr-vlan",
            Class::Controller => kind == "scsi" && model == "ibmvscsi",
            Class::Serial => kind == "spapr-vio-serial",
            Class::Nvram => pseries,
            Class::Tpm => pseries && model != "spapr-tpm-proxy",
            _ => false,
        }
}
