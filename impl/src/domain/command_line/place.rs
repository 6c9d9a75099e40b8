//! Where a device is: the bus and the address on it, by the names that QEMU has.

use super::{Properties, unsupported};
use crate::domain::{Address, Class, Device, Domain, Error, Pci, Problem};

/// What a virtio device is called after: `qemuBuildVirtioDevGetConfig`.
pub(super) fn transport(device: Device<'_>) -> Result<&'static str, Error> {
    match device.address()? {
        Some(Address::Pci(_)) => Ok("pci"),
        Some(Address::Other(kind)) if kind == "ccw" => Ok("ccw"),
        Some(Address::Other(kind)) if kind == "virtio-mmio" => Ok("device"),
        None => Err(device.error(Problem::MissingElement("address"))),
        Some(_) => {
            let value = device.get("address/@type").unwrap_or_default().into_owned();
            Err(device.error(Problem::Value { value, expected: "an address of a virtio device" }))
        }
    }
}

/// Adds bus and address: `qemuBuildDeviceAddressProps`.
pub(super) fn put(device: Device<'_>, properties: &mut Properties) -> Result<(), Error> {
    let domain = device.domain;
    match device.address()? {
        None => {}
        Some(Address::Pci(pci)) => {
            properties.put("bus", pci_bus(device, pci)?);
            if let Some(on) = device.get("address/@multifunction") {
                properties.switch("multifunction", Some(on));
            }
            let address = match pci.function {
                0 => format!("{:#x}", pci.slot),
                function => format!("{:#x}.{function:#x}", pci.slot),
            };
            properties.put("addr", address);
            properties.positive("acpi-index", super::number(device, "acpi/@index")?);
        }
        Some(Address::Usb(usb)) => {
            let alias = controller_alias(device, "usb", usb.bus)?;
            properties.put("bus", format!("{alias}.0"));
            if !usb.port.is_empty() {
                properties.put("port", usb.port_path());
            }
        }
        Some(Address::VirtioSerial(port)) => {
            let alias = controller_alias(device, "virtio-serial", port.controller)?;
            properties.put("bus", format!("{alias}.{}", port.bus));
            properties.put("nr", port.port);
        }
        Some(Address::Drive(_)) => drive(device, properties)?,
        Some(Address::Ccid { .. }) => {}
        Some(Address::Other(kind)) => {
            let number = |path| domain.document().number(device.node, path);
            match &*kind {
                "spapr-vio" => properties.some("reg", number("address/@reg")?),
                "ccw" => {
                    let part = |path| Ok::<_, Error>(number(path)?.unwrap_or(0));
                    let (cssid, ssid) = (part("address/@cssid")?, part("address/@ssid")?);
                    let devno = part("address/@devno")?;
                    properties.put("devno", format!("{cssid:x}.{ssid:x}.{devno:04x}"));
                }
                "isa" => {
                    properties.some("iobase", number("address/@iobase")?);
                    properties.positive("irq", number("address/@irq")?);
                }
                "virtio-mmio" => {}
                other => return Err(unsupported(device, format!("address type {other}"))),
            }
        }
    }
    Ok(())
}

/// The name that QEMU has for a PCI bus, as far as that is known before it runs.
fn pci_bus(device: Device<'_>, pci: Pci) -> Result<String, Error> {
    match device.domain.pci_bus(pci.bus)? {
        Some(bus) if bus.expected().is_empty() => {
            Err(device.error(Problem::MissingElement("alias")))
        }
        Some(bus) => Ok(bus.expected().to_owned()),
        None => {
            let problem = format!("address {pci} without a PCI controller of index {}", pci.bus);
            Err(unsupported(device, problem))
        }
    }
}

fn controller_alias(device: Device<'_>, kind: &str, index: u32) -> Result<String, Error> {
    match device.domain.find_controller(kind, index)? {
        Some(controller) => super::alias(controller),
        None => Err(unsupported(device, format!("a device without its {kind} controller {index}"))),
    }
}

/// `qemuBuildDeviceAddresDriveProps`
fn drive(device: Device<'_>, properties: &mut Properties) -> Result<(), Error> {
    let domain = device.domain;
    let Some(Address::Drive(drive)) = device.address()? else { return Ok(()) };
    let bus = match device.class {
        Class::Disk => device.kind(),
        _ => "scsi".into(),
    };
    let machine = domain.machine();
    match &*bus {
        "ide" => {
            let alias = match machine.has_builtin_ide() {
                true => "ide".to_owned(),
                false => controller_alias(device, "ide", drive.controller)?,
            };
            properties.put("bus", format!("{alias}.{}", drive.bus));
            properties.put("unit", drive.unit);
        }
        "sata" => {
            let alias = match machine.is_q35() && drive.controller == 0 {
                true => "ide".to_owned(),
                false => controller_alias(device, "sata", drive.controller)?,
            };
            properties.put("bus", format!("{alias}.{}", drive.unit));
        }
        "fdc" => properties.put("unit", drive.unit),
        "scsi" => {
            let on_board = domain.on_board_scsi(drive.controller)?;
            let alias = match &on_board {
                // Its name and the number of its only bus.
                Some(_) => "scsi".to_owned(),
                None => controller_alias(device, "scsi", drive.controller)?,
            };
            match &*scsi_model(domain, drive.controller)? {
                "lsilogic" | "ncr53c90" | "dc390" | "am53c974" => {
                    properties.put("bus", format!("{alias}.{}", drive.bus));
                    properties.put("scsi-id", drive.unit);
                }
                _ => {
                    properties.put("bus", format!("{alias}.0"));
                    properties.put("channel", drive.bus);
                    properties.put("scsi-id", drive.target);
                    properties.put("lun", drive.unit);
                }
            }
        }
        other => return Err(unsupported(device, format!("a drive's address on bus {other}"))),
    }
    Ok(())
}

fn scsi_model(domain: &Domain, index: u32) -> Result<String, Error> {
    domain.scsi_model(index)
}
