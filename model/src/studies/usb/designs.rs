//! The designs, one per generation, and the scopes, one per machine.

use super::{
    definition::Asked,
    generation::Generation::{self, *},
    hardware::{Build, Machine, Model},
};
use crate::family::{Design, Role, Scope, Status};

const THREAD: &str = "libvir-list 2016-08, 'Default to pci-ohci on ppc64' (Bolognani, Tomko)";

const fn shipped(
    generation: Generation,
    name: &'static str,
    (from, to): (&'static str, &'static str),
    summary: &'static str,
    source: &'static str,
) -> (Design, Generation) {
    (Design { name, status: Status::Shipped { from, to }, summary, source }, generation)
}

/// Every design with its generation.
pub(super) const DESIGNS: [(Design, Generation); 16] = [
    shipped(
        Z,
        "ancient",
        ("0.3.1", "0.9.4"),
        "no controllers in XML, `-usb` always",
        "libvirt f029721d2",
    ),
    shipped(
        Y,
        "y",
        ("0.9.5", "0.9.9"),
        "controllers can be written, nothing is added",
        "libvirt d6d54cd19",
    ),
    shipped(
        Y2,
        "y2",
        ("0.9.10", "0.9.11"),
        "a controller without a model is added, and sent",
        "libvirt 42043afcd",
    ),
    shipped(
        A0,
        "a0",
        ("0.9.12", "0.9.12"),
        "a lone controller without a model is left out of migratable texts",
        "libvirt 409b5f549",
    ),
    shipped(
        A1,
        "a1",
        ("0.9.13", "1.0.4"),
        "on ppc64 pci-ohci where QEMU has piix3-usb-uhci, else `-usb`",
        "libvirt d1778b714",
    ),
    shipped(A2, "a2", ("1.0.5", "1.2.3"), "on ppc64 always `-usb`", "libvirt 88c6159ca"),
    shipped(
        A3,
        "a3",
        ("1.2.4", "1.3.0"),
        "on ppc64 `-usb` where QEMU lacks piix3-usb-uhci or pci-ohci",
        "libvirt 7b6b9d386",
    ),
    shipped(
        B,
        "b",
        ("1.3.1", "1.3.4"),
        "on ppc64 pci-ohci; q35 gets the ich9 set",
        "libvirt 8156493d",
    ),
    shipped(
        C,
        "c",
        ("1.3.5", "2.1.0"),
        "the controller is sent, except on i440fx",
        "libvirt 192a53e0, be1a7e6d3",
    ),
    (
        Design {
            name: "d",
            status: Status::Proposed { by: "Andrea Bolognani", on: "2016-08" },
            summary: "the model is filled at parse",
            source: THREAD,
        },
        D,
    ),
    shipped(
        DPrime,
        "d-prime",
        ("2.2.0", "2.4.0"),
        "as d, and piix3-uhci is left out on i440fx too",
        "libvirt 31de0fab9",
    ),
    shipped(
        DPrime5,
        "d-prime-5",
        ("2.5.0", "3.2.0"),
        "as d-prime, and q35 prefers nec-xhci",
        "libvirt d8bd83766",
    ),
    shipped(
        E,
        "e",
        ("3.3.0", "3.5.0"),
        "on ppc64 new defaults where a domain is defined, pci-ohci where it is read",
        "libvirt 90acbc76e, 568887a32",
    ),
    shipped(
        F,
        "f",
        ("3.6.0", "4.0.0"),
        "as e, and hotplug takes the first slot",
        "libvirt 2bd0658d7",
    ),
    shipped(
        N,
        "libvirt-9.0",
        ("9.0.0", "9.0.0"),
        "as f, and q35 prefers qemu-xhci",
        "`qemuDomainDefAddDefaultDevices`, `qemuDomainControllerDefPostParse`",
    ),
    (
        Design {
            name: "ours",
            status: Status::Ours,
            summary: "filled at define; texts about a process say what it has, or what its daemon gave it",
            source: "the process-text lemma of the freeze study",
        },
        Ours,
    ),
];

/// What keeps a machine finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub(super) machine: Machine,
    pub(super) build: Build,
    /// The libvirts that may be there before the design's: one of each kind for this machine.
    pub(super) older: &'static [Generation],
    /// What a user may write.
    pub(super) asked: &'static [Asked],
    /// Network cards at most.
    pub(super) cards_max: u32,
}

const fn scope(
    name: &'static str,
    summary: &'static str,
    machine: Machine,
    build: Build,
    older: &'static [Generation],
    asked: &'static [Asked],
) -> (Scope, Bounds) {
    let role = Role::Check;
    (Scope { name, summary, role }, Bounds { machine, build, older, asked, cards_max: 2 })
}

/// Few enough steps for every one to be taken on the implementation.
const fn small(
    name: &'static str,
    summary: &'static str,
    machine: Machine,
    older: &'static [Generation],
) -> (Scope, Bounds) {
    let (role, build) = (Role::CheckAndReplay, Build::Upstream);
    let asked = &[Asked::Absent, Asked::Unset];
    (Scope { name, summary, role }, Bounds { machine, build, older, asked, cards_max: 1 })
}

/// Every scope with its bounds; the first is the default.
pub(super) const SCOPES: [(Scope, Bounds); 8] = [
    scope(
        "pseries-2.5",
        "ppc64, an upstream QEMU whose built-in controller is OHCI",
        Machine::Pseries25,
        Build::Upstream,
        &[Y2, A1, A2, B, C, DPrime, N],
        &[Asked::Absent, Asked::Unset, Asked::Model(Model::PciOhci)],
    ),
    scope(
        "pseries-2.6",
        "ppc64, a QEMU without UHCI whose built-in controller is xHCI",
        Machine::Pseries26,
        Build::NoUhci,
        &[A2, A3, B, C, DPrime, N],
        &[Asked::Absent, Asked::Unset, Asked::Model(Model::NecXhci)],
    ),
    scope(
        "i440fx",
        "x86 with PIIX3",
        Machine::I440fx,
        Build::Upstream,
        &[Z, Y, Y2, A0, C, D, N],
        &[Asked::Absent, Asked::Unset, Asked::Model(Model::NecXhci)],
    ),
    scope(
        "q35",
        "x86 with PCI Express",
        Machine::Q35,
        Build::Upstream,
        &[A3, B, C, DPrime, DPrime5, N],
        &[Asked::Absent, Asked::Unset, Asked::Model(Model::NecXhci)],
    ),
    small(
        "pseries-2.5-small",
        "as pseries-2.5, one card, two older libvirts",
        Machine::Pseries25,
        &[A2, B],
    ),
    small(
        "pseries-2.6-small",
        "as pseries-2.6 with an upstream QEMU, one card, two older libvirts",
        Machine::Pseries26,
        &[A2, N],
    ),
    small("i440fx-small", "as i440fx, one card, two older libvirts", Machine::I440fx, &[Z, N]),
    small("q35-small", "as q35, one card, two older libvirts", Machine::Q35, &[A2, N]),
];
