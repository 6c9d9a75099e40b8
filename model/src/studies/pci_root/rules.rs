//! What the designs disagree about, one field per decision.

use serde::{Deserialize, Serialize};

use super::hardware::{Arch, Machine, Qemu};
use crate::family::{Design, Status};

/// One design's decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Its place in history: daemons of a lower number may be upgraded to it.
    pub(super) order: u8,
    /// What becomes of a user's alias on the root controller.
    pub user_alias: UserAlias,
    /// Where the name of the root bus comes from.
    pub name: NameFrom,
    /// The architecture is taken from the definition, not from what is known of QEMU.
    pub arch_from_definition: bool,
    /// On PPC the version of QEMU does not matter.
    pub ppc_is_new: bool,
    /// On PPC a version that is not known counts as new.
    pub unknown_is_new: bool,
    /// s390x has several buses (f49a5e3bf4, 4.10.0).
    pub s390_has_several: bool,
    /// A user's alias on the first host bridge of pseries is translated as well.
    pub translates_host_bridge: bool,
    /// And one on a SCSI controller on the board.
    pub translates_esp: bool,
    /// What a restarted daemon knows of QEMU.
    pub after_restart: AfterRestart,
    /// No guest is started with a QEMU from before multi-bus; one that runs is adopted.
    pub needs_new_qemu: bool,
}

/// What becomes of a user's alias on the root controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserAlias {
    /// It is dropped where the definition is read.
    Dropped,
    /// It is sent to QEMU like any other.
    Sent,
    /// QEMU is told its own name for the bus.
    Translated,
    /// It is refused on every `pci-root`.
    Forbidden,
    /// It is refused where this QEMU's bus is called `pci`, and translated to `pci.0` elsewhere.
    ForbiddenOnOld,
}

/// Where the name of a `pci-root`'s bus comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFrom {
    /// From the alias in the live definition, which the status file has; computed for a user's alias.
    Alias,
    /// It is always computed.
    Computed,
    /// QEMU is asked which bus it has.
    Asked,
}

/// What a restarted daemon knows of the QEMU that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRestart {
    /// Flags only: architecture and version are 0.
    Flags,
    /// What the status file says.
    Saved,
    /// What the binary on disk says now.
    Reprobed,
}

impl Rules {
    /// `virQEMUCapsHasPCIMultiBus`: is the root bus called `pci.0` rather than `pci`?
    pub(super) fn multibus(&self, machine: Machine, known: Option<Qemu>) -> bool {
        match machine.arch() {
            Arch::X86 => self.arch_from_definition || known.is_some(),
            Arch::Ppc => {
                let new = |qemu| qemu == Qemu::Multibus;
                self.ppc_is_new || known.map_or(self.unknown_is_new, new)
            }
            Arch::Arm => true,
            Arch::S390 => self.s390_has_several,
            Arch::Other => false,
        }
    }
}

/// A daemon that may have been there before the design's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Older {
    /// Before user aliases; the alias in the status file is what counts.
    #[serde(rename = "3.1.0")]
    V3_1,
    /// With user aliases, which go to QEMU as they are.
    #[serde(rename = "3.9.0")]
    V3_9,
    /// Between 3.9.0 and 3.10.0, with 937f319536: what [`DESIGNS`] calls `user-alias-map`.
    #[serde(rename = "3.10.0-rc")]
    V3_10Rc,
}

impl Older {
    /// All, oldest first.
    pub const ALL: [Older; 3] = [Older::V3_1, Older::V3_9, Older::V3_10Rc];

    /// What it does.
    pub fn rules(self) -> Rules {
        match self {
            Older::V3_1 => Rules { order: 0, user_alias: UserAlias::Dropped, ..LIBVIRT_3_9 },
            Older::V3_9 => LIBVIRT_3_9,
            Older::V3_10Rc => USER_ALIAS_MAP,
        }
    }
}

const LIBVIRT_3_9: Rules = Rules {
    order: 1,
    user_alias: UserAlias::Sent,
    name: NameFrom::Alias,
    arch_from_definition: false,
    ppc_is_new: false,
    unknown_is_new: false,
    s390_has_several: false,
    translates_host_bridge: false,
    translates_esp: false,
    after_restart: AfterRestart::Flags,
    needs_new_qemu: false,
};

const USER_ALIAS_MAP: Rules =
    Rules { order: 2, user_alias: UserAlias::Translated, name: NameFrom::Computed, ..LIBVIRT_3_9 };

/// What was proposed in the thread starts from the broken change.
const PROPOSED: Rules = Rules { order: 3, ..USER_ALIAS_MAP };

const LIBVIRT_3_10: Rules = Rules {
    order: 3,
    name: NameFrom::Alias,
    arch_from_definition: true,
    unknown_is_new: true,
    ..USER_ALIAS_MAP
};

const LIBVIRT_9_0: Rules = Rules {
    order: 4,
    ppc_is_new: true,
    s390_has_several: true,
    needs_new_qemu: true,
    ..LIBVIRT_3_10
};

const THREAD: &str = "libvir-list 2017-11, 'forbid user aliases for implicit pci-root controllers'";

const fn proposed(
    name: &'static str,
    by: &'static str,
    summary: &'static str,
    rules: Rules,
) -> (Design, Rules) {
    let status = Status::Proposed { by, on: "2017-11" };
    (Design { name, status, summary, source: THREAD }, rules)
}

const fn shipped(
    name: &'static str,
    (from, to): (&'static str, &'static str),
    summary: &'static str,
    source: &'static str,
    rules: Rules,
) -> (Design, Rules) {
    (Design { name, status: Status::Shipped { from, to }, summary, source }, rules)
}

/// The designs, with their decisions, in the order of the matrix.
pub const DESIGNS: [(Design, Rules); 11] = [
    shipped(
        "libvirt-3.9",
        ("3.9.0", "3.9.0"),
        "user aliases go to QEMU as they are",
        "libvirt ad30f069d1",
        LIBVIRT_3_9,
    ),
    proposed(
        "user-alias-map",
        "Michal Privoznik",
        "the name is always computed, from what was probed of QEMU (937f319536, the broken change)",
        USER_ALIAS_MAP,
    ),
    proposed(
        "def-arch",
        "Jan Tomko",
        "the same, with the architecture from the definition",
        Rules { arch_from_definition: true, ..PROPOSED },
    ),
    proposed(
        "forbid-user-alias",
        "Jan Tomko",
        "no user alias on a pci-root; the alias in the status file is the name",
        Rules { user_alias: UserAlias::Forbidden, name: NameFrom::Alias, ..PROPOSED },
    ),
    proposed(
        "forbid-on-old-qemu",
        "Michal Privoznik",
        "no user alias on a QEMU without multi-bus; elsewhere it stands for pci.0",
        Rules {
            user_alias: UserAlias::ForbiddenOnOld,
            name: NameFrom::Alias,
            arch_from_definition: true,
            ..PROPOSED
        },
    ),
    proposed(
        "extend-status",
        "Michal Privoznik",
        "the name is always computed, and what it takes is in the status file",
        Rules { after_restart: AfterRestart::Saved, ..PROPOSED },
    ),
    proposed(
        "reprobe",
        "the obvious repair",
        "the name is always computed; a restarted daemon probes the binary on disk",
        Rules { after_restart: AfterRestart::Reprobed, ..PROPOSED },
    ),
    shipped(
        "libvirt-3.10",
        ("3.10.0", "4.9.0"),
        "the alias in the status file is the name; for a user's it is computed, and unknown is new",
        "libvirt fdf354fb51, 65108d94d0",
        LIBVIRT_3_10,
    ),
    shipped(
        "libvirt-9.0",
        ("7.4.0", "10.0.0"),
        "the same, computed from nothing but the definition (purified)",
        "libvirt d4374a629f; `qemuBuildDeviceAddressPCIGetBus`, `virQEMUCapsHasPCIMultiBus`",
        LIBVIRT_9_0,
    ),
    shipped(
        "libvirt-11.3",
        ("11.3.0", "11.3.0"),
        "the same, and the first host bridge of pseries is translated too",
        "libvirt 11.3.0, test pseries-phb-user-alias",
        Rules { translates_host_bridge: true, ..LIBVIRT_9_0 },
    ),
    (
        Design {
            name: "ours",
            status: Status::Ours,
            summary: "QEMU is asked which buses it has and which of them can be plugged into",
            source: "docs/decisions/0011-qemu-says-what-its-buses-are-called.md",
        },
        Rules {
            order: 4,
            user_alias: UserAlias::Translated,
            name: NameFrom::Asked,
            arch_from_definition: true,
            ppc_is_new: true,
            unknown_is_new: true,
            s390_has_several: true,
            translates_host_bridge: true,
            translates_esp: true,
            after_restart: AfterRestart::Flags,
            needs_new_qemu: true,
        },
    ),
];
