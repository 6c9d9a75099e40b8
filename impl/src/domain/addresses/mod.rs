//! Addresses for devices that have none: `qemuDomainAssignAddresses`.
//!
//! First fit everywhere, in libvirt's order of devices, with the defaults for a QEMU that has every device. Left out:
//! isolation groups of pSeries (`qemuDomainSetupIsolationGroups`) and the zPCI extension of s390.

mod ccw;
mod pci;
mod pci_set;
mod spapr;
mod usb;
mod virtio_serial;

use std::collections::BTreeSet;

use super::{Class, Domain, Error, tree::NodeId};

impl Domain {
    /// Gives every device that needs one an address, and adds the controllers and hubs that this takes.
    ///
    /// To be called after [`Domain::post_parse`]. Addresses that are there stay.
    pub fn assign_addresses(&mut self) -> Result<(), Error> {
        self.assign_virtio_serial()?;
        self.assign_spapr_vio()?;
        self.assign_ccw()?;
        self.assign_virtio_mmio()?;
        self.assign_pci()?;
        self.assign_usb()?;
        self.assign_memory_slots()?;
        self.mirror_console()
    }

    /// Gives what was added to a running domain an address on the buses that are there:
    /// `qemuDomainEnsurePCIAddress`, `virDomainUSBAddressEnsure`, `virDomainVirtioSerialAddrAutoAssign`.
    pub(super) fn assign_plugged_addresses(&mut self) -> Result<(), Error> {
        self.assign_virtio_serial()?;
        self.assign_spapr_vio()?;
        self.assign_ccw()?;
        self.assign_virtio_mmio()?;
        self.assign_pci_on_present_buses()?;
        self.assign_usb()
    }

    /// `qemuDomainAssignMemorySlots`
    fn assign_memory_slots(&mut self) -> Result<(), Error> {
        let is_dimm = |kind: &str| matches!(kind, "dimm" | "nvdimm");
        let dimms: Vec<NodeId> = self
            .of(Class::Memory)
            .filter(|memory| is_dimm(&memory.kind()))
            .map(|memory| memory.node)
            .collect();
        let mut used = BTreeSet::new();
        for &dimm in &dimms {
            used.extend(self.document().number(dimm, "address/@slot")?);
        }
        for dimm in dimms {
            if self.document().get(dimm, "address/@slot").is_none() {
                let slot = (0..).find(|slot| !used.contains(slot)).unwrap_or(0);
                used.insert(slot);
                self.document_mut().put(dimm, "address/@type", "dimm")?;
                self.document_mut().put(dimm, "address/@slot", &slot.to_string())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Address;

    #[track_caller]
    fn domain(arch: &str, machine: &str, devices: &str) -> Domain {
        let mut domain = Domain::parse(&format!(
            "<domain>\n<os><type arch='{arch}' machine='{machine}'>hvm</type></os>\n<devices>\n{devices}\n</devices></domain>"
        ))
        .unwrap();
        domain.post_parse().unwrap();
        domain.assign_addresses().unwrap();
        let written = domain.to_xml();
        domain.assign_addresses().unwrap();
        assert_eq!(domain.to_xml(), written, "the second time changes nothing");
        domain.assign_aliases().unwrap();
        domain
    }

    /// Alias and address of the devices of these classes.
    #[track_caller]
    fn check(arch: &str, machine: &str, devices: &str, classes: &[Class], expected: &str) {
        let domain = domain(arch, machine, devices);
        let lines: Vec<_> = domain
            .devices()
            .filter(|device| classes.contains(&device.class))
            .map(|device| {
                let address = match device.address().unwrap() {
                    None => "-".to_owned(),
                    Some(Address::Pci(pci)) => pci.to_string(),
                    Some(Address::Usb(usb)) => format!("usb {}/{}", usb.bus, usb.port_path()),
                    Some(Address::VirtioSerial(port)) => {
                        format!("port {}/{}", port.controller, port.port)
                    }
                    Some(other) => format!("{other:?}"),
                };
                format!("{} {address}", device.alias().unwrap_or("-".into()))
            })
            .collect();
        assert_eq!(lines.join(", "), expected);
    }

    const PCI: [Class; 5] =
        [Class::Controller, Class::Disk, Class::Interface, Class::Memballoon, Class::Video];
    const DEVICES: &str = "<disk><target dev='vda' bus='virtio'/></disk><interface type='user'><model type='virtio'/></interface><video/>";

    #[test]
    fn i440fx_puts_everything_on_one_bus() {
        check(
            "x86_64",
            "pc",
            DEVICES,
            &PCI,
            "virtio-disk0 0000:00:04.0, net0 0000:00:03.0, video0 0000:00:02.0, usb 0000:00:01.2, pci.0 -, balloon0 0000:00:05.0",
        );
    }

    #[test]
    fn q35_gives_each_device_a_root_port_and_leaves_one_free() {
        check(
            "x86_64",
            "q35",
            DEVICES,
            &PCI,
            "virtio-disk0 0000:03:00.0, net0 0000:01:00.0, video0 0000:00:01.0, usb 0000:02:00.0, ide 0000:00:1f.2, pcie.0 -, \
             pci.1 0000:00:02.0, pci.2 0000:00:02.1, pci.3 0000:00:02.2, pci.4 0000:00:02.3, pci.5 0000:00:02.4, \
             balloon0 0000:04:00.0",
        );
        let domain = domain("x86_64", "q35", DEVICES);
        let port = domain.of(Class::Controller).find(|c| c.alias().as_deref() == Some("pci.1"));
        let port = port.unwrap();
        assert_eq!(port.get("address/@multifunction").as_deref(), Some("on"));
        assert_eq!(port.get("target/@chassis").as_deref(), Some("1"));
        assert_eq!(port.get("target/@port").as_deref(), Some("0x10"));
    }

    #[test]
    fn a_full_bus_gets_a_bridge() {
        let rng = "<rng model='virtio'/>".repeat(30);
        let domain = domain("x86_64", "pc", &rng);
        let last = domain.of(Class::Rng).last().unwrap();
        assert_eq!(
            last.address().unwrap(),
            Some(Address::Pci(crate::domain::Pci { bus: 1, slot: 2, ..Default::default() }))
        );
        assert!(domain.find("pci.1").is_some());
    }

    #[test]
    fn usb_devices_get_ports_and_hubs() {
        let tablet = "<input type='tablet' bus='usb'/>";
        check("x86_64", "pc", &tablet.repeat(2), &[Class::Hub], "");
        check(
            "x86_64",
            "pc",
            &tablet.repeat(4),
            &[Class::Input, Class::Hub],
            "input0 usb 0/2, input1 usb 0/1.1, input2 usb 0/1.2, input3 usb 0/1.3, input4 -, input5 -, hub0 usb 0/1",
        );
    }

    #[test]
    fn channels_get_ports_after_those_that_are_taken() {
        let channel = "<channel type='pty'><target type='virtio'/></channel>";
        let taken = "<channel type='pty'><target type='virtio'/><address type='virtio-serial' controller='0' bus='0' port='2'/></channel>";
        check(
            "x86_64",
            "pc",
            &format!("{channel}{taken}{channel}"),
            &[Class::Channel],
            "channel0 port 0/1, channel1 port 0/2, channel2 port 0/3",
        );
        // The port of a console is reserved, but QEMU chooses it.
        check(
            "x86_64",
            "pc",
            &format!("<console type='pty'><target type='virtio'/></console>{channel}"),
            &[Class::Channel, Class::Console],
            "console0 -, channel0 port 0/1",
        );
    }

    #[test]
    fn an_address_can_be_used_only_once() {
        let rng = "<rng model='virtio'><address type='pci' slot='9'/></rng>";
        let mut domain = Domain::parse(&format!(
            "<domain><os><type arch='x86_64' machine='pc'>hvm</type></os>\n<devices>{rng}\n{rng}</devices></domain>"
        ))
        .unwrap();
        domain.post_parse().unwrap();
        let error = domain.assign_addresses().unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 3, column 1, /domain/devices/rng[2]: address 0000:00:09.0 is used by more than one device"
        );
    }

    #[test]
    fn a_console_does_not_take_the_address_of_its_serial_port_again() {
        let serial = "<serial type='pty'><target type='pci-serial'/>\
                      <address type='pci' slot='4'/></serial><console type='pty'><target type='serial'/>\
                      <address type='pci' slot='4'/></console>";
        check("x86_64", "pc", serial, &[Class::Serial], "serial0 0000:00:04.0");
    }

    #[test]
    fn companions_know_their_ports() {
        let models = ["ich9-ehci1", "ich9-uhci1", "ich9-uhci2", "ich9-uhci3"];
        let devices = models.map(|model| format!("<controller type='usb' model='{model}'/>"));
        let domain = domain("x86_64", "pc", &devices.concat());
        let ports: Vec<_> = domain
            .of(Class::Controller)
            .filter(|c| c.kind() == "usb")
            .map(|c| c.get("master/@startport").unwrap_or("-".into()).into_owned())
            .collect();
        assert_eq!(ports, ["-", "0", "2", "4"]);
    }

    #[test]
    fn boards_without_pci_have_virtio_on_mmio() {
        let place = |arch, machine, devices: &str| {
            let domain = domain(arch, machine, devices);
            let disk = domain.of(Class::Disk).next().unwrap();
            disk.get("address/@type").unwrap().into_owned()
        };
        let disk = "<disk><target dev='vda' bus='virtio'/></disk>";
        assert_eq!(place("armv7l", "vexpress-a9", disk), "virtio-mmio");
        assert_eq!(place("aarch64", "virt", disk), "pci");
        // One that is there already draws the others.
        let rng = "<rng model='virtio'><address type='virtio-mmio'/></rng>";
        assert_eq!(place("aarch64", "virt", &format!("{disk}{rng}")), "virtio-mmio");
    }

    #[test]
    fn an_expander_bus_has_a_number() {
        let expander = "<controller type='pci' index='1' model='pci-expander-bus'/>";
        let domain = domain("x86_64", "pc", &format!("{expander}{}", expander.replace('1', "2")));
        let numbers: Vec<_> = domain
            .of(Class::Controller)
            .filter_map(|c| Some(c.get("target/@busNr")?.into_owned()))
            .collect();
        assert_eq!(numbers, ["254", "252"]);
    }
}
