//! Addresses of devices, `<address type='…' …/>`.

use std::fmt;

use super::{
    Error, Problem,
    tree::{Document, NodeId},
};

/// Where a device is: `virDomainDeviceInfoParseXML`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// `type='pci'`
    Pci(Pci),
    /// `type='drive'`
    Drive(Drive),
    /// `type='virtio-serial'`
    VirtioSerial(VirtioSerial),
    /// `type='usb'`
    Usb(Usb),
    /// `type='ccid'`
    Ccid {
        /// Index of the controller.
        controller: u32,
        /// Slot on it.
        slot: u32,
    },
    /// Any other type, by its name. The attributes stay in the tree.
    Other(String),
}

/// A PCI address: `virPCIDeviceAddress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pci {
    /// Domain, 0 for all that libvirt assigns.
    pub domain: u32,
    /// Index of the controller.
    pub bus: u32,
    /// Slot on it.
    pub slot: u32,
    /// Function in the slot.
    pub function: u32,
    /// `multifunction='on'`
    pub multifunction: bool,
}

/// The address of a disk on its controller: `virDomainDeviceDriveAddress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Drive {
    /// Index of the controller.
    pub controller: u32,
    /// Bus of the controller.
    pub bus: u32,
    /// Target on the bus.
    pub target: u32,
    /// Unit, or LUN.
    pub unit: u32,
}

/// A port of a virtio-serial controller: `virDomainDeviceVirtioSerialAddress`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtioSerial {
    /// Index of the controller.
    pub controller: u32,
    /// Always 0.
    pub bus: u32,
    /// 0 is for the first console.
    pub port: u32,
}

/// A port of a USB controller or hub: `virDomainDeviceUSBAddress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Usb {
    /// Index of the controller.
    pub bus: u32,
    /// From the controller outwards, from 1; empty if not yet assigned.
    pub port: Vec<u32>,
}

impl fmt::Display for Pci {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.domain, self.bus, self.slot, self.function)
    }
}

impl Usb {
    /// The port as `1.2`.
    pub fn port_path(&self) -> String {
        let mut path = String::new();
        for port in &self.port {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&port.to_string());
        }
        path
    }
}

impl Address {
    /// Reads the address of the device `device`, if it has one.
    ///
    /// An all-zero PCI address asks for another one, as does a USB address without a port.
    pub fn of(document: &Document, device: NodeId) -> Result<Option<Self>, Error> {
        let Some(node) = document.child(device, "address") else { return Ok(None) };
        let number =
            |name: &str| -> Result<u32, Error> { Ok(document.number(node, name)?.unwrap_or(0)) };
        let address = match document.attribute(node, "type").as_deref() {
            Some("pci") => {
                let multifunction = document.has(node, "multifunction", "on");
                let pci = Pci {
                    domain: number("domain")?,
                    bus: number("bus")?,
                    slot: number("slot")?,
                    function: number("function")?,
                    multifunction,
                };
                let wanted = [
                    ("slot", pci.slot, 0x1f),
                    ("function", pci.function, 7),
                    ("bus", pci.bus, 0xff),
                ];
                for (name, value, max) in wanted {
                    if value > max {
                        let value = format!("{name}={value:#x}");
                        let expected = "in the range of a PCI address";
                        return Err(document.error(node, Problem::Value { value, expected }));
                    }
                }
                if pci == (Pci { multifunction, ..Pci::default() }) {
                    return Ok(None);
                }
                Self::Pci(pci)
            }
            Some("drive") => Self::Drive(Drive {
                controller: number("controller")?,
                bus: number("bus")?,
                target: number("target")?,
                unit: number("unit")?,
            }),
            Some("virtio-serial") => Self::VirtioSerial(VirtioSerial {
                controller: number("controller")?,
                bus: number("bus")?,
                port: number("port")?,
            }),
            Some("usb") => {
                let port = match document.attribute(node, "port") {
                    None => Vec::new(),
                    Some(port) => {
                        let parts = port.split('.').map(str::parse);
                        parts.collect::<Result<_, _>>().map_err(|_| {
                            let value = port.chars().take(64).collect();
                            document.error(node, Problem::Value { value, expected: "a USB port" })
                        })?
                    }
                };
                Self::Usb(Usb { bus: number("bus")?, port })
            }
            Some("ccid") => Self::Ccid { controller: number("controller")?, slot: number("slot")? },
            Some(other) => Self::Other(other.to_owned()),
            None => return Err(document.error(node, Problem::MissingAttribute("type"))),
        };
        Ok(Some(address))
    }

    /// Writes this address into the device `device`: `virDomainDeviceInfoFormat`.
    pub fn put(&self, document: &mut Document, device: NodeId) -> Result<(), Error> {
        let hex = |value: u32, digits: usize| format!("0x{value:0digits$x}");
        let (kind, attributes): (&str, Vec<(&str, String)>) = match self {
            Self::Pci(pci) => {
                let mut attributes = vec![
                    ("domain", hex(pci.domain, 4)),
                    ("bus", hex(pci.bus, 2)),
                    ("slot", hex(pci.slot, 2)),
                    ("function", hex(pci.function, 1)),
                ];
                if pci.multifunction {
                    attributes.push(("multifunction", "on".to_owned()));
                }
                ("pci", attributes)
            }
            Self::Drive(drive) => (
                "drive",
                vec![
                    ("controller", drive.controller.to_string()),
                    ("bus", drive.bus.to_string()),
                    ("target", drive.target.to_string()),
                    ("unit", drive.unit.to_string()),
                ],
            ),
            Self::VirtioSerial(port) => (
                "virtio-serial",
                vec![
                    ("controller", port.controller.to_string()),
                    ("bus", port.bus.to_string()),
                    ("port", port.port.to_string()),
                ],
            ),
            Self::Usb(usb) => {
                ("usb", vec![("bus", usb.bus.to_string()), ("port", usb.port_path())])
            }
            Self::Ccid { controller, slot } => {
                ("ccid", vec![("controller", controller.to_string()), ("slot", slot.to_string())])
            }
            Self::Other(kind) => (kind, Vec::new()),
        };
        document.put(device, "address/@type", kind)?;
        for (name, value) in attributes {
            document.put(device, &format!("address/@{name}"), &value)?;
        }
        Ok(())
    }
}
