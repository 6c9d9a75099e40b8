//! What a guest can see: one USB controller, its model and where it sits.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A machine type, as far as USB differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Machine {
    /// ppc64 pseries up to 2.5: its built-in controller is OHCI (`use_ohci_by_default`, `spapr.c`).
    #[serde(rename = "pseries-2.5")]
    Pseries25,
    /// ppc64 pseries from 2.6 on: its built-in controller is a NEC xHCI.
    #[serde(rename = "pseries-2.6")]
    Pseries26,
    /// x86 with PIIX3, whose USB function has one fixed place.
    #[serde(rename = "i440fx")]
    I440fx,
    /// x86 with PCI Express.
    #[serde(rename = "q35")]
    Q35,
}

impl Machine {
    /// All of them.
    pub const ALL: [Machine; 4] =
        [Machine::Pseries25, Machine::Pseries26, Machine::I440fx, Machine::Q35];

    /// As QEMU and this study name it.
    pub fn name(self) -> &'static str {
        match self {
            Machine::Pseries25 => "pseries-2.5",
            Machine::Pseries26 => "pseries-2.6",
            Machine::I440fx => "i440fx",
            Machine::Q35 => "q35",
        }
    }

    /// Is this ppc64?
    pub fn is_pseries(self) -> bool {
        matches!(self, Machine::Pseries25 | Machine::Pseries26)
    }

    /// What `-usb` makes QEMU create, before any `-device` (`pc_piix.c`, `spapr.c`). Never used on
    /// q35.
    pub fn built_in(self) -> Option<Device> {
        let first = Place { bus: Bus::Root, slot: 0, function: 0 };
        match self {
            Machine::Pseries25 => Some(Device { model: Model::PciOhci, place: first }),
            Machine::Pseries26 => Some(Device { model: Model::NecXhci, place: first }),
            Machine::I440fx => Some(Device { model: Model::Piix3Uhci, place: Place::PIIX3 }),
            Machine::Q35 => None,
        }
    }
}

/// The devices that a QEMU binary offers, the same on every host of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Build {
    /// All of them.
    Upstream,
    /// As upstream before 2.10: no qemu-xhci.
    NoQemuXhci,
    /// Neither piix3-usb-uhci nor the ich9 set can be named: a ppc64 QEMU built without UHCI, or an x86 one
    /// before 0.13, whose `-usb` has PIIX3 under a name with blanks.
    NoUhci,
    /// No USB controller can be asked for by `-device`.
    Bare,
}

impl Build {
    /// All of them.
    pub const ALL: [Build; 4] = [Build::Upstream, Build::NoQemuXhci, Build::NoUhci, Build::Bare];

    /// Can `-device` create it?
    pub fn has(self, model: Model) -> bool {
        match self {
            _ if model == Model::None => true,
            Build::Upstream => true,
            Build::NoQemuXhci => model != Model::QemuXhci,
            Build::NoUhci => !matches!(model, Model::Piix3Uhci | Model::Ich9),
            Build::Bare => false,
        }
    }
}

/// A controller model as libvirt names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// `piix3-uhci`.
    Piix3Uhci,
    /// `pci-ohci`.
    PciOhci,
    /// `nec-xhci`.
    NecXhci,
    /// `qemu-xhci`.
    QemuXhci,
    /// `ich9-ehci1` with its three companions, taken as one.
    Ich9,
    /// `none`: the user wants no USB.
    None,
}

impl Model {
    /// The name of the section in QEMU's migration stream: models that share it can be mistaken for
    /// one another until the state is read.
    fn section(self) -> &'static str {
        match self {
            Model::Piix3Uhci => "uhci",
            Model::PciOhci => "ohci",
            Model::NecXhci | Model::QemuXhci => "xhci",
            Model::Ich9 => "ehci",
            Model::None => "",
        }
    }
}

/// A PCI bus, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bus {
    /// `pci.0` or `pcie.0`.
    Root,
    /// q35: the conventional bus that takes what can be plugged.
    Bridge,
    /// q35: a root port; the slot counts those for devices without an address.
    Ports,
}

/// A PCI address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The bus.
    pub bus: Bus,
    /// The slot.
    pub slot: u8,
    /// The function.
    pub function: u8,
}

impl Place {
    /// Where the USB function of PIIX3 is.
    pub const PIIX3: Place = Place { bus: Bus::Root, slot: 1, function: 2 };
    /// Where libvirt prefers the ich9 set; the master is function 7.
    pub const ICH9: Place = Place { bus: Bus::Root, slot: 0x1d, function: 7 };

    /// Does libvirt write such an address? It never uses slot 0 of a root bus
    /// (`virDomainPCIAddressBusSetModel`).
    pub fn is_all_zero(self) -> bool {
        self == Place { bus: Bus::Root, slot: 0, function: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bus = match self.bus {
            Bus::Root => "",
            Bus::Bridge => "bridge:",
            Bus::Ports => "port:",
        };
        write!(f, "{bus}{:x}.{}", self.slot, self.function)
    }
}

/// A device of the QEMU process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Device {
    /// What it is.
    pub model: Model,
    /// Where it is.
    pub place: Place,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", crate::words::words(&self.model), self.place)
    }
}

/// The USB hardware of a process: the ground truth.
pub type Hardware = Option<Device>;

/// `pci-ohci@2.0`, or `none`.
pub fn shown(hardware: Hardware) -> String {
    hardware.map_or_else(|| "none".to_owned(), |device| device.to_string())
}

/// What QEMU says when it loads the stream of one process into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// The guest goes on with the same hardware.
    Same,
    /// The guest goes on with a device that it has never seen.
    Silent,
    /// A device in the stream is not here: unknown savevm section.
    NoSection,
    /// Its section is here and belongs to another model.
    OtherModel,
}

/// Loads the state of `source` into `destination` (`qemu_loadvm_state`): QEMU compares the path of
/// the device and the name of the section, and does not miss what the stream does not mention.
pub fn load(source: Hardware, destination: Hardware) -> Loaded {
    match (source, destination) {
        _ if source == destination => Loaded::Same,
        (None, _) => Loaded::Silent,
        (Some(sent), Some(here))
            if sent.place == here.place && sent.model.section() == here.model.section() =>
        {
            Loaded::OtherModel
        }
        _ => Loaded::NoSection,
    }
}
