//! The policies that somebody ships, and the worlds in which they are asked.

use super::{
    action::Asked,
    field::{Default, Release, Value},
    policy::{Edge::*, Op::*, Policy},
};
use crate::family::{Design, Role, Scope, Status};

const fn shipped(
    name: &'static str,
    (from, to): (&'static str, &'static str),
    summary: &'static str,
    source: &'static str,
    policy: Policy,
) -> (Design, Policy) {
    (Design { name, status: Status::Shipped { from, to }, summary, source }, policy)
}

/// Every named policy.
pub const DESIGNS: [(Design, Policy); 11] = [
    shipped(
        "qemu-hostdev",
        ("5.7.0", "9.0.0"),
        "resolved in front of the hostdev manager, for every caller",
        "libvirt `qemuHostdevPreparePCIDevices`; detach uses the live device",
        Policy::KEEP.with(&[(Start, Fill), (Attach, Fill), (Network, Fill), (Detach, Derive)]),
    ),
    shipped(
        "libxl-hostdev",
        ("1.3.4", "9.10.0"),
        "filled at every parse, and for devices of a network",
        "libvirt 6225cb3df, 373b9e9f0, da6bbc51f, `libxlDomainDeviceDefPostParse`",
        Policy::KEEP.with(&[
            (Define, Fill),
            (Load, Fill),
            (StatusLoad, Fill),
            (Receive, Fill),
            (Network, Fill),
        ]),
    ),
    shipped(
        "libxl-hostdev-10",
        ("10.0.0", "11.3.0"),
        "resolved at start and attach; detach is forgotten",
        "libvirt 9363c1cb, the patch of the thread as merged",
        Policy::KEEP.with(&[(Start, Fill), (Attach, Fill), (Network, Fill)]),
    ),
    shipped(
        "usb-ppc64-b",
        ("1.3.1", "1.3.4"),
        "decided when the guest starts, left out of migratable texts",
        "libvirt 409b5f549, 8156493d; the attribute is the controller with its address",
        Policy::KEEP.with(&[
            (Start, Fill),
            (Attach, Fill),
            (Network, Fill),
            (Detach, Derive),
            (Send, Lose),
            (Receive, Fill),
        ]),
    ),
    shipped(
        "usb-ppc64-d-prime",
        ("2.2.0", "3.2.0"),
        "filled at every parse",
        "libvirt f55eaccb0",
        FILL_AT_PARSE,
    ),
    shipped(
        "usb-ppc64",
        ("3.3.0", "9.0.0"),
        "today's default where a domain is defined, the old one where it is read",
        "libvirt 90acbc76e, 233f8d0bd",
        Policy::KEEP.with(&[
            (Define, Fill),
            (Load, FillLegacy),
            (Start, FillLegacy),
            (Attach, Fill),
            (Network, FillLegacy),
            (Detach, Derive),
            (StatusLoad, FillLegacy),
            (Receive, FillLegacy),
        ]),
    ),
    shipped(
        "usb-i440fx",
        ("2.2.0", "9.0.0"),
        "filled at every parse, and the default is left out of migratable texts",
        "libvirt 31de0fab9; the default is constant there, so ask it in scope `constant`",
        FILL_AT_PARSE.with(&[(Send, Strip)]),
    ),
    shipped(
        "console-alias",
        ("0.9.9", "9.0.0"),
        "given at start, lost in the status file because the console is written as its serial",
        "libvirt `qemuAssignDeviceAliases`, `virDomainDefFormatInternal`; no user may choose it: scope `unchosen`",
        RUN_ONLY,
    ),
    shipped(
        "pci-root",
        ("1.2.6", "3.9.0"),
        "the bus name is computed anew after a restart, from other inputs than at start",
        "libvirt `virQEMUCapsHasPCIMultiBus` before it read only arch and machine; scope `unchosen`",
        RUN_ONLY,
    ),
    shipped(
        "pci-root-purified",
        ("4.0.0", "9.0.0"),
        "computed anew whenever it is needed, from what every text carries",
        "libvirt `virQEMUCapsHasPCIMultiBus`; scope `unchosen`",
        RUN_ONLY.with(&[
            (Start, FillLegacy),
            (Attach, FillLegacy),
            (Network, FillLegacy),
            (StatusLoad, FillLegacy),
            (Receive, FillLegacy),
        ]),
    ),
    (
        Design {
            name: "ours",
            status: Status::Ours,
            summary: "filled at define with its origin; kept everywhere; what every daemon would put there \
                      anyway is left out where it is sent",
            source: "docs/decisions/0017-values-carry-their-origin.md",
        },
        OURS,
    ),
];

const FILL_AT_PARSE: Policy = Policy::KEEP.with(&[
    (Define, Fill),
    (Load, Fill),
    (Start, Fill),
    (Attach, Fill),
    (Network, Fill),
    (Detach, Derive),
    (StatusLoad, Fill),
    (Receive, Fill),
]);

/// A fact of one process, shown to nobody who could define it.
const RUN_ONLY: Policy = Policy::KEEP.with(&[
    (Start, Fill),
    (Attach, Fill),
    (Network, Fill),
    (Detach, Derive),
    (StatusSave, Lose),
    (StatusLoad, Fill),
    (Send, Lose),
    (Receive, Fill),
    (Dump, Lose),
]);

const OURS: Policy = Policy { provenance: true, ..Policy::KEEP }.with(&[
    (Define, Fill),
    (Load, FillLegacy),
    (Start, FillLegacy),
    (Attach, Fill),
    (Network, Fill),
    (Detach, Derive),
    (StatusLoad, FillLegacy),
    (Send, StripLegacy),
    (Receive, FillLegacy),
]);

/// A world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// How the default depends on the release.
    pub default: Default,
    /// The first daemon's release.
    pub first: Release,
    /// What a user may write.
    pub asked: &'static [Asked],
}

const ANYTHING: &[Asked] = &[
    Asked::Unset,
    Asked::Set(Value::A),
    Asked::Set(Value::B),
    Asked::Set(Value::C),
    Asked::FromPool,
    Asked::Nothing,
];

/// Every scope with its world; the first is the default.
pub const SCOPES: [(Scope, Bounds); 4] = [
    (
        Scope {
            name: "changing",
            summary: "the newer release has another default",
            role: Role::CheckAndReplay,
        },
        Bounds { default: Default::Changes, first: Release::Old, asked: ANYTHING },
    ),
    (
        Scope { name: "constant", summary: "the default never changes", role: Role::Check },
        Bounds { default: Default::Constant, first: Release::Old, asked: ANYTHING },
    ),
    (
        Scope {
            name: "ancient",
            summary: "the default changes, and the first daemon does not know the attribute",
            role: Role::Check,
        },
        Bounds { default: Default::Changes, first: Release::Ancient, asked: ANYTHING },
    ),
    (
        Scope {
            name: "unchosen",
            summary: "the default changes, and no user may choose",
            role: Role::Check,
        },
        Bounds {
            default: Default::Changes,
            first: Release::Old,
            asked: &[Asked::Unset, Asked::FromPool, Asked::Nothing],
        },
    ),
];
