//! The bounds at which the study is checked.

use super::{action::Action, hardware::Machine, rules::Older};
use crate::family::{Role, Scope};

/// What one scope contains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    /// The machines.
    pub(super) machines: &'static [Machine],
    /// Also a QEMU from before multi-bus.
    pub(super) old_qemu: bool,
    /// Also libvirts before the design's.
    pub(super) upgrades: bool,
    /// The guest lets devices go.
    pub(super) detach: bool,
}

const fn scope(
    name: &'static str,
    summary: &'static str,
    bounds: Bounds,
    role: Role,
) -> (Scope, Bounds) {
    (Scope { name, summary, role }, bounds)
}

const fn whole(machines: &'static [Machine], old_qemu: bool) -> Bounds {
    Bounds { machines, old_qemu, upgrades: true, detach: true }
}

const fn installed(machines: &'static [Machine]) -> Bounds {
    Bounds { machines, old_qemu: false, upgrades: false, detach: false }
}

/// The scopes with their bounds; the first is the default.
pub(super) const SCOPES: [(Scope, Bounds); 7] = [
    scope(
        "x86",
        "x86_64 and i686, pc (also without ACPI) and q35",
        whole(
            &[Machine::Pc, Machine::PcWithoutAcpi, Machine::Q35, Machine::PcI686, Machine::Q35I686],
            false,
        ),
        Role::CheckAndReplay,
    ),
    scope(
        "ppc64",
        "pseries, mac99 and ppce500, with a QEMU before multi-bus and one after",
        whole(&[Machine::Pseries, Machine::Mac99, Machine::Ppce500], true),
        Role::CheckAndReplay,
    ),
    scope("aarch64", "virt", whole(&[Machine::ArmVirt], false), Role::CheckAndReplay),
    scope(
        "s390x",
        "s390-ccw-virtio, whose guest starts without a PCI device",
        whole(&[Machine::S390Ccw], false),
        Role::CheckAndReplay,
    ),
    scope(
        "on-board-scsi",
        "m68k q800: the same question for a SCSI controller on the board",
        whole(&[Machine::Q800], false),
        Role::CheckAndReplay,
    ),
    scope(
        "installed-x86",
        "what one host can do: one libvirt, one QEMU, no guest that lets a device go; pc and q35",
        installed(&[Machine::Pc, Machine::PcWithoutAcpi, Machine::Q35]),
        Role::CheckAndReplay,
    ),
    scope(
        "installed-ppc64",
        "the same for pseries and mac99",
        installed(&[Machine::Pseries, Machine::Mac99]),
        Role::CheckAndReplay,
    ),
];

impl Bounds {
    /// Every action in this scope, for a design with these libvirts before it.
    pub(super) fn alphabet(&self, older: impl Iterator<Item = Older>) -> Vec<Action> {
        use super::action::Place;
        let mut all = Vec::new();
        for &machine in self.machines {
            all.extend([false, true].map(|user_alias| Action::Define { machine, user_alias }));
        }
        all.extend([Action::Start, Action::Stop]);
        all.extend(Place::ALL.map(|onto| Action::Attach { onto }));
        if self.detach {
            all.extend(Place::ALL.map(|from| Action::Detach { from }));
        }
        all.extend([Action::Dump, Action::Restart]);
        if self.old_qemu {
            all.extend([Action::InstallOldQemu, Action::UpgradeQemu]);
        }
        if self.upgrades {
            all.extend(older.map(|daemon| Action::Install { daemon }));
            all.push(Action::Upgrade);
        }
        all
    }
}
