//! What libvirt adds to a definition that it reads: `virDomainDefPostParse`.
//!
//! The defaults are those for a QEMU that has every device, as 7.2 has. Not added, because nothing here needs them:
//! panic devices, the audio backend, features, timers, CPU and memory.

mod console;
mod controllers;
mod devices;

pub(crate) use controllers::is_usb2;

use super::{Domain, Error};

impl Domain {
    /// Completes a definition: `virDomainDefPostParse`, in its order. Doing it twice changes nothing more.
    pub fn post_parse(&mut self) -> Result<(), Error> {
        self.add_implicit_inputs()?;
        self.assign_controller_indexes()?;
        self.add_default_devices()?;
        self.complete_serials()?;
        self.number_consoles()?;
        self.complete_devices()?;
        self.pair_console()?;
        self.pair_aliases()?;
        self.add_implicit_controllers()?;
        self.add_implicit_video()?;
        // The pairing may have made a serial port, and devices may have needed controllers.
        self.complete_serials()?;
        self.number_consoles()?;
        self.complete_devices()?;
        self.mirror_console()
    }

    /// Completes what was added to a domain that is complete: `virDomainDeviceDefPostParse`.
    pub(super) fn complete_plugged(&mut self) -> Result<(), Error> {
        self.assign_controller_indexes()?;
        self.complete_inputs()?;
        self.complete_serials()?;
        self.number_new_consoles()?;
        self.complete_devices()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    pub(super) fn domain(arch: &str, machine: &str, devices: &str) -> Domain {
        let mut domain = Domain::parse(&format!(
            "<domain>\n<os><type arch='{arch}' machine='{machine}'>hvm</type></os>\n<devices>\n{devices}\n</devices></domain>"
        ))
        .unwrap();
        domain.post_parse().unwrap();
        let written = domain.to_xml();
        domain.post_parse().unwrap();
        assert_eq!(domain.to_xml(), written, "the second time changes nothing");
        let mut again = Domain::parse(&written).unwrap();
        again.post_parse().unwrap();
        assert_eq!(again.to_xml(), written, "what was written is complete");
        domain
    }

    fn controllers(arch: &str, machine: &str, devices: &str) -> String {
        let domain = domain(arch, machine, devices);
        let controllers = domain.of(crate::domain::Class::Controller).map(|controller| {
            let model = controller.get("@model").map_or(String::new(), |model| format!("={model}"));
            format!("{}{}{model}", controller.kind(), controller.index().unwrap().unwrap())
        });
        controllers.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_machine_has_its_default_controllers() {
        let of = |arch, machine| controllers(arch, machine, "");
        assert_eq!(of("x86_64", "pc"), "usb0=piix3-uhci pci0=pci-root");
        assert_eq!(of("x86_64", "pc-q35-7.2"), "usb0=qemu-xhci sata0 pci0=pcie-root");
        assert_eq!(of("x86_64", "isapc"), "");
        assert_eq!(of("ppc64", "pseries"), "usb0=pci-ohci pci0=pci-root");
        assert_eq!(of("aarch64", "virt"), "pci0=pcie-root");
        assert_eq!(of("s390x", "s390-ccw-virtio"), "pci0=pci-root");
    }

    #[test]
    fn devices_get_the_controllers_they_need() {
        assert_eq!(
            controllers(
                "x86_64",
                "pc",
                "<disk><target dev='sdh' bus='scsi'/></disk><disk><target dev='hda'/></disk>\
                 <disk device='floppy'><target dev='fda'/></disk><channel><target type='virtio'/></channel>\
                 <smartcard mode='host'/>"
            ),
            "usb0=piix3-uhci pci0=pci-root scsi0=lsilogic scsi1=lsilogic fdc0 ide0 virtio-serial0 ccid0"
        );
    }
}
