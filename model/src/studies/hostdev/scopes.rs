//! Hypervisor, host and the first daemon.

use super::{
    action::Asked::{self, *},
    rules::Driver::{self, *},
};
use crate::family::{Role, Scope};

/// What keeps a machine finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    /// The hypervisor is Xen; else QEMU.
    pub(super) xen: bool,
    /// The host's kernel has legacy assignment.
    pub(super) kvm: bool,
    /// The host may gain and lose VFIO.
    pub(super) host_changes: bool,
    /// It has it at first.
    pub(super) vfio: bool,
    /// A hook may refuse a start.
    pub(super) vetoes: bool,
    /// The first daemon is of the newer release.
    pub(super) newer: bool,
    /// What a user may write.
    pub(super) asked: &'static [Asked],
}

impl Bounds {
    /// The best driver there is today.
    pub(super) fn todays(&self, newer: bool, vfio: bool) -> Option<Driver> {
        match self {
            Bounds { xen: true, .. } => Some(Xen),
            Bounds { kvm: true, .. } if !newer || !vfio => Some(Kvm),
            _ => vfio.then_some(Vfio),
        }
    }

    /// The first one there was.
    pub(super) fn legacy(&self) -> Driver {
        match self {
            Bounds { xen: true, .. } => Xen,
            Bounds { kvm: true, .. } => Kvm,
            _ => Vfio,
        }
    }

    /// Another hypervisor's.
    pub(super) fn is_foreign(&self, driver: Driver) -> bool {
        (driver == Xen) != self.xen
    }

    /// This host can bind it.
    pub(super) fn can(&self, driver: Driver, vfio: bool) -> bool {
        !self.is_foreign(driver)
            && match driver {
                Kvm => self.kvm,
                Vfio => vfio,
                Xen => true,
            }
    }
}

/// Every scope with its bounds; the first is the default.
pub(super) const SCOPES: [(Scope, Bounds); 4] = [
    (
        Scope {
            name: "qemu",
            summary: "QEMU on a host that may lose VFIO; legacy assignment is gone",
            role: Role::CheckAndReplay,
        },
        Bounds {
            xen: false,
            kvm: false,
            host_changes: true,
            vfio: true,
            vetoes: true,
            newer: true,
            asked: &[Unset, Driver(Vfio), Driver(Xen), Network(None), Network(Some(Vfio)), Nothing],
        },
    ),
    (
        Scope {
            name: "kvm-to-vfio",
            summary: "QEMU when VFIO was new: an older daemon without it, a host that gains it",
            role: Role::Check,
        },
        Bounds {
            xen: false,
            kvm: true,
            host_changes: true,
            vfio: false,
            vetoes: true,
            newer: false,
            asked: &[Unset, Driver(Kvm), Driver(Vfio), Network(None), Nothing],
        },
    ),
    (
        Scope {
            name: "xen",
            summary: "Xen, whose older daemon takes any driver's name",
            role: Role::Check,
        },
        Bounds {
            xen: true,
            kvm: false,
            host_changes: false,
            vfio: true,
            vetoes: true,
            newer: false,
            asked: &[Unset, Driver(Xen), Driver(Vfio), Network(None), Network(Some(Vfio)), Nothing],
        },
    ),
    (
        Scope {
            name: "no-vfio",
            summary: "QEMU on a host that has no VFIO: what a libvirt here can be asked as well",
            role: Role::CheckAndReplay,
        },
        Bounds {
            xen: false,
            kvm: false,
            host_changes: false,
            vfio: false,
            vetoes: false,
            newer: true,
            asked: &[Unset, Driver(Vfio), Driver(Kvm), Nothing],
        },
    ),
];
