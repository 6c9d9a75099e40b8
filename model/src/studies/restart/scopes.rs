//! The bounds at which the study is checked.

use super::action::Action;
use crate::family::{Role, Scope};

/// What one scope contains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    /// Devices at most.
    pub(super) devices: usize,
    /// Unplug needs the guest.
    pub(super) guest_ejects: bool,
    /// Kills and restarts at most.
    pub(super) kills: u8,
}

const fn scope(name: &'static str, summary: &'static str, role: Role) -> Scope {
    Scope { name, summary, role }
}

/// The scopes with their bounds; the first is the default.
pub(super) const SCOPES: &[(Scope, Bounds)] = &[
    (
        scope("two", "two devices whose unplug needs the guest (PCI), two kills", Role::Check),
        Bounds { devices: 2, guest_ejects: true, kills: 2 },
    ),
    (
        scope(
            "two-usb",
            "two devices that are unplugged at once (USB, virtio-serial), two kills",
            Role::Check,
        ),
        Bounds { devices: 2, guest_ejects: false, kills: 2 },
    ),
    (
        scope("pci", "one device whose unplug needs the guest, two kills", Role::CheckAndReplay),
        Bounds { devices: 1, guest_ejects: true, kills: 2 },
    ),
    (
        scope("usb", "one device that is unplugged at once, two kills", Role::CheckAndReplay),
        Bounds { devices: 1, guest_ejects: false, kills: 2 },
    ),
];

/// The scopes without their bounds.
pub(super) const fn scopes() -> [Scope; SCOPES.len()] {
    let mut all = [SCOPES[0].0; SCOPES.len()];
    let mut at = 0;
    while at < SCOPES.len() {
        all[at] = SCOPES[at].0;
        at += 1;
    }
    all
}

impl Bounds {
    /// Every action in this scope.
    pub(super) fn alphabet(&self) -> Vec<Action> {
        let aliases = (0..).take(self.devices);
        let mut all = vec![Action::Attach { bus_full: false }, Action::Attach { bus_full: true }];
        all.extend(aliases.clone().map(|alias| Action::Detach { alias }));
        all.extend([Action::Dump, Action::Inspect, Action::Step, Action::GiveUp]);
        if self.guest_ejects {
            all.extend(aliases.clone().map(|alias| Action::Eject { alias }));
        }
        all.extend(aliases.map(|alias| Action::Finalize { alias }));
        all.extend([
            Action::Kill,
            Action::Start,
            Action::Restart,
            Action::FillDisk,
            Action::FreeDisk,
        ]);
        all
    }
}
