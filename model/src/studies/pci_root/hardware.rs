//! What each QEMU has: the bus behind the root controller that a machine brings along.

use serde::{Deserialize, Serialize};

/// A name, of a bus or of a controller, as it stands in a monitor command or in XML.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Name {
    /// The only PCI bus of a QEMU that cannot have several.
    #[serde(rename = "pci")]
    Pci,
    /// The first of several.
    #[serde(rename = "pci.0")]
    Pci0,
    /// The first PCI Express bus.
    #[serde(rename = "pcie.0")]
    Pcie0,
    /// The alias of a SCSI controller on the board.
    #[serde(rename = "scsi")]
    Scsi,
    /// Its bus.
    #[serde(rename = "scsi.0")]
    Scsi0,
    /// What the user calls the root controller.
    #[serde(rename = "ua-root")]
    UaRoot,
    /// The bus of a SCSI controller of this name.
    #[serde(rename = "ua-root.0")]
    UaRoot0,
    /// A bridge or a root port of the definition; its id is its alias.
    #[serde(rename = "pci.1")]
    Pci1,
    /// The bus of a second host bridge of pseries.
    #[serde(rename = "pci.1.0")]
    Pci1Bus,
}

/// A QEMU: which side of the change of names it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Qemu {
    /// The last one that calls the machine's bus by its old name: before 1.6.0 for ppce500, before 2.0.0
    /// for pseries and mac99 (libvirt 27b2b987bf lists them).
    BeforeMultibus,
    /// 7.2, and every one since the change that matters here.
    Multibus,
}

/// What kind of root a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A `pci-root` that is never on the command line.
    PciRoot,
    /// A `pcie-root`, never on the command line.
    PcieRoot,
    /// The first host bridge of pseries, a `pci-root` too: never on the command line, while others are.
    HostBridge,
    /// A SCSI controller on the board: no PCI, but the same mistake.
    Esp,
}

/// A machine type of an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Machine {
    /// i440FX.
    #[serde(rename = "x86_64 pc")]
    Pc,
    /// i440FX without the ACPI that would tell the guest of what is plugged.
    #[serde(rename = "x86_64 pc without ACPI")]
    PcWithoutAcpi,
    /// ICH9.
    #[serde(rename = "x86_64 q35")]
    Q35,
    /// i440FX.
    #[serde(rename = "i686 pc")]
    PcI686,
    /// ICH9.
    #[serde(rename = "i686 q35")]
    Q35I686,
    /// sPAPR.
    #[serde(rename = "ppc64 pseries")]
    Pseries,
    /// A Power Macintosh.
    #[serde(rename = "ppc64 mac99")]
    Mac99,
    /// The paravirtual e500 board.
    #[serde(rename = "ppc64 ppce500")]
    Ppce500,
    /// The paravirtual ARM board.
    #[serde(rename = "aarch64 virt")]
    ArmVirt,
    /// A mainframe; PCI is there beside channel devices.
    #[serde(rename = "s390x s390-ccw-virtio")]
    S390Ccw,
    /// A Quadra, with a SCSI controller on the board.
    #[serde(rename = "m68k q800")]
    Q800,
}

/// An architecture, as the rule of the bus name tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arch {
    /// x86_64 and i686.
    X86,
    /// ppc64.
    Ppc,
    /// aarch64.
    Arm,
    /// s390x.
    S390,
    /// Everything that has no rule.
    Other,
}

impl Machine {
    /// Every machine, by architecture.
    pub const ALL: [Machine; 11] = [
        Machine::Pc,
        Machine::PcWithoutAcpi,
        Machine::Q35,
        Machine::PcI686,
        Machine::Q35I686,
        Machine::Pseries,
        Machine::Mac99,
        Machine::Ppce500,
        Machine::ArmVirt,
        Machine::S390Ccw,
        Machine::Q800,
    ];

    /// The architecture and the machine type as XML has them.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Machine::Pc | Machine::PcWithoutAcpi => ("x86_64", "pc"),
            Machine::Q35 => ("x86_64", "q35"),
            Machine::PcI686 => ("i686", "pc"),
            Machine::Q35I686 => ("i686", "q35"),
            Machine::Pseries => ("ppc64", "pseries"),
            Machine::Mac99 => ("ppc64", "mac99"),
            Machine::Ppce500 => ("ppc64", "ppce500"),
            Machine::ArmVirt => ("aarch64", "virt"),
            Machine::S390Ccw => ("s390x", "s390-ccw-virtio"),
            Machine::Q800 => ("m68k", "q800"),
        }
    }

    /// The architecture.
    pub fn arch(self) -> Arch {
        match self {
            Machine::Pc
            | Machine::PcWithoutAcpi
            | Machine::Q35
            | Machine::PcI686
            | Machine::Q35I686 => Arch::X86,
            Machine::Pseries | Machine::Mac99 | Machine::Ppce500 => Arch::Ppc,
            Machine::ArmVirt => Arch::Arm,
            Machine::S390Ccw => Arch::S390,
            Machine::Q800 => Arch::Other,
        }
    }

    /// Its root.
    pub fn kind(self) -> Kind {
        match self {
            Machine::Q35 | Machine::Q35I686 | Machine::ArmVirt => Kind::PcieRoot,
            Machine::Pseries => Kind::HostBridge,
            Machine::Q800 => Kind::Esp,
            _ => Kind::PciRoot,
        }
    }

    /// Only PPC machines changed the name of their bus.
    pub fn changed_its_name(self) -> bool {
        self.arch() == Arch::Ppc
    }

    /// What this QEMU calls the bus.
    pub fn root(self, qemu: Qemu) -> Name {
        match self.kind() {
            Kind::PcieRoot => Name::Pcie0,
            Kind::Esp => Name::Scsi0,
            Kind::PciRoot | Kind::HostBridge
                if qemu == Qemu::BeforeMultibus && self.changed_its_name() =>
            {
                Name::Pci
            }
            Kind::PciRoot | Kind::HostBridge => Name::Pci0,
        }
    }

    /// Does QEMU plug into its root while the guest runs?
    ///
    /// Of the PCI roots it does so on i440FX (with ACPI), on pseries since 2.4 and on s390x. The others say
    /// "Bus 'pci.0' does not support hotplugging", in 7.2 and, for want of a hotplug handler, before.
    pub fn root_is_hotpluggable(self, qemu: Qemu) -> bool {
        match self {
            Machine::Pc | Machine::PcI686 | Machine::S390Ccw | Machine::Q800 => true,
            Machine::Pseries => qemu == Qemu::Multibus,
            _ => false,
        }
    }

    /// The bus of a bridge or port beside the root, as QEMU calls it, where the study's guest has one.
    pub fn port(self, qemu: Qemu) -> Option<Name> {
        match self {
            Machine::Pc | Machine::PcI686 | Machine::Q35 | Machine::Q35I686 | Machine::ArmVirt => {
                Some(Name::Pci1)
            }
            Machine::Pseries if qemu == Qemu::Multibus => Some(Name::Pci1Bus),
            _ => None,
        }
    }

    /// Does the guest have a device on the root when it starts, so that its name is on the command line?
    /// s390x uses channel devices unless told otherwise.
    pub fn names_root_at_start(self) -> bool {
        self != Machine::S390Ccw
    }
}
