//! What QEMU calls the bus that a device is on, where the machine brings it along.
//!
//! Such a bus has no controller on the command line, so its name is QEMU's and not the alias: an alias may be the
//! user's, and one in a status file is what some earlier daemon made of machine and version. While QEMU runs it is
//! asked (see [`crate::hotplug::name_bus`]); before it does, its present name is the only guess there is.
//! docs/studies/pci_root.md compares this with what libvirt did.

use super::{Address, Class, Device, Domain, Error, Machine};

/// The bus of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bus {
    /// The machine's own: QEMU has it under the first of these names that it knows.
    Own(&'static [&'static str]),
    /// That of a controller of the definition, which is named after its alias.
    Defined(String),
}

impl Bus {
    /// The name for a command line, when nobody can be asked yet.
    pub fn expected(&self) -> &str {
        match self {
            // Never empty.
            Bus::Own(names) => names.first().copied().unwrap_or_default(),
            Bus::Defined(name) => name,
        }
    }
}

impl Domain {
    /// The bus of a device with a PCI address, or of one on a SCSI controller that the machine brings along.
    /// `None`: it is on another kind of bus, or its controller is not in the definition.
    ///
    /// # Errors
    /// At the device or its controller, if a number in it is none.
    pub fn bus_of(&self, device: Device<'_>) -> Result<Option<Bus>, Error> {
        match device.address()? {
            Some(Address::Pci(pci)) => self.pci_bus(pci.bus),
            Some(Address::Drive(drive)) => {
                let on_scsi = device.class != Class::Disk || device.kind() == "scsi";
                Ok(if on_scsi { self.on_board_scsi(drive.controller)? } else { None })
            }
            _ => Ok(None),
        }
    }

    /// The first device that sits on this controller: `qemuDomainDiskControllerIsBusy`, for every kind of controller
    /// that can be unplugged.
    ///
    /// # Errors
    /// At the device, if a number in it is none.
    pub(super) fn first_on(&self, controller: Device<'_>) -> Result<Option<Device<'_>>, Error> {
        let kind = controller.kind();
        let index = controller.index()?.unwrap_or(0);
        for device in self.devices() {
            let is_on = match (&*kind, device.address()?) {
                ("scsi", Some(Address::Drive(drive))) => {
                    let is_scsi = device.class != Class::Disk || device.kind() == "scsi";
                    is_scsi && drive.controller == index
                }
                ("virtio-serial", Some(Address::VirtioSerial(port))) => port.controller == index,
                ("usb", Some(Address::Usb(port))) => port.bus == index,
                _ => false,
            };
            if is_on && device.node != controller.node {
                return Ok(Some(device));
            }
        }
        Ok(None)
    }

    /// The bus of the PCI controller of this index: `qemuBuildDeviceAddressPCIGetBus`.
    ///
    /// libvirt 9.0 takes the alias in the definition for the name of a root, unless it is a user's, and on pSeries
    /// even then; so QEMU does not start.
    pub(super) fn pci_bus(&self, index: u32) -> Result<Option<Bus>, Error> {
        let Some(controller) = self.find_controller("pci", index)? else { return Ok(None) };
        let machine = self.machine();
        let alias = || controller.alias().unwrap_or_default().into_owned();
        Ok(Some(match &*controller.get("@model").unwrap_or_default() {
            "pcie-root" => Bus::Own(&["pcie.0"]),
            "pci-root" if machine.is_pseries() => {
                // Of its host bridges the first one is there anyhow.
                let target = self.document().number(controller.node, "target/@index")?;
                match target.unwrap_or(0) {
                    0 => Bus::Own(PCI_ON_PPC),
                    _ => Bus::Defined(format!("{}.0", alias())),
                }
            }
            "pci-root" => Bus::Own(pci_root(&machine)),
            _ => Bus::Defined(alias()),
        }))
    }

    /// The bus of a SCSI controller on the board: `qemuDomainHasBuiltinESP`.
    pub(super) fn on_board_scsi(&self, index: u32) -> Result<Option<Bus>, Error> {
        let is_esp =
            index == 0 && self.machine().has_builtin_esp() && self.scsi_model(index)? == "ncr53c90";
        Ok(is_esp.then_some(Bus::Own(&["scsi.0"])))
    }
}

/// Renamed between QEMU 1.1 and 2.0, board by board (libvirt 27b2b987bf).
const PCI_ON_PPC: &[&str] = &["pci.0", "pci"];

fn pci_root(machine: &Machine<'_>) -> &'static [&'static str] {
    match machine.has_pci_multibus() {
        true if machine.is_ppc() => PCI_ON_PPC,
        true => &["pci.0"],
        false => &["pci", "pci.0"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arch: &str, machine: &str, devices: &str, expected: &[&str]) {
        let domain = Domain::parse(&format!(
            "<domain><os><type arch='{arch}' machine='{machine}'>hvm</type></os><devices>{devices}\
             <rng><address type='pci' bus='1' slot='1'/></rng></devices></domain>"
        ))
        .unwrap();
        let rng = domain.of(Class::Rng).next().unwrap();
        let names = match domain.bus_of(rng).unwrap() {
            None => vec!["none".to_owned()],
            Some(Bus::Own(names)) => names.iter().map(|name| format!("own {name}")).collect(),
            Some(Bus::Defined(name)) => vec![name],
        };
        assert_eq!(names, expected, "{arch} {machine}");
    }

    #[test]
    fn a_root_is_named_by_qemu_and_everything_else_by_its_alias() {
        let controller = |model: &str, more: &str| {
            format!(
                "<controller type='pci' index='1' model='{model}'><alias name='ua-x'/>{more}</controller>"
            )
        };
        let root = controller("pci-root", "");
        check("x86_64", "pc", &root, &["own pci.0"]);
        check("s390x", "s390-ccw-virtio", &root, &["own pci.0"]);
        check("ppc64", "mac99", &root, &["own pci.0", "own pci"]);
        check("ppc64", "pseries", &root, &["own pci.0", "own pci"]);
        check("mips", "malta", &root, &["own pci", "own pci.0"]);
        check("x86_64", "q35", &controller("pcie-root", ""), &["own pcie.0"]);
        check("x86_64", "q35", &controller("pcie-root-port", ""), &["ua-x"]);
        let second = controller("pci-root", "<target index='1'/>");
        check("ppc64", "pseries", &second, &["ua-x.0"]);
        let first = controller("pci-root", "<target index='0'/>");
        check("ppc64", "pseries", &first, &["own pci.0", "own pci"]);
        check("x86_64", "pc", "", &["none"]);
    }
}
