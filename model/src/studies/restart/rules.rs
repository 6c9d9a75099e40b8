//! What the designs disagree about, one field per decision.

use super::state::Record;
use crate::family::{Design, Status};

/// One design's decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What is saved before QEMU is asked.
    pub save_before: SaveBefore,
    /// Something is saved once QEMU has done it.
    pub save_after: bool,
    /// It is saved also when QEMU has only been asked, and the device is still there: in libvirt 9.0
    /// `qemuDomainDetachDeviceLiveAndConfig` saves whatever `qemuDomainDetachDeviceLive` came back with, unless it
    /// failed.
    pub save_after_asking: bool,
    /// When events are sent.
    pub tell: Tell,
    /// What the daemon does when it starts.
    pub recovery: Recovery,
    /// What QEMU does not have counts as removed, and what is busy is tried again.
    pub gone_is_done: bool,
    /// `device_del` of a device whose unplug is pending counts as asked again.
    pub pending_is_asked: bool,
    /// An unplug event is believed only when QEMU does not have the device.
    pub events_are_checked: bool,
    /// A save that failed is tried again.
    pub saves_again: bool,
    /// The alias of a new device is free in the definition, in the intents and in QEMU; else in the
    /// definition only, one more than the largest there.
    pub alias_is_free_everywhere: bool,
    /// A fact that is never saved, for the persistence audit.
    pub forgets: Option<Record>,
}

/// What is saved before QEMU is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveBefore {
    /// Nothing.
    Nothing,
    /// The definition as it will be.
    Result,
    /// The intent to attach.
    AttachIntent,
    /// The intent to attach or to detach.
    Intents,
}

/// When the event of a change is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// As soon as memory changes.
    AtOnce,
    /// Together with the reply, before the status file is saved.
    BeforeSave,
    /// Together with the reply, once the status file is saved.
    AfterSave,
}

/// What the daemon does when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It believes the status file.
    Believe,
    /// Devices of the file that QEMU had when it was saved, and does not have, are removed, backend included
    /// (`qemuProcessUpdateDevices` compares two lists of QEMU's devices). Where a backend cannot be removed or the
    /// file cannot be saved, the guest is stopped.
    RemoveVanishedOrStop,
    /// Devices of the file that QEMU does not have are removed, whatever QEMU says of the backend.
    RemoveVanished,
    /// What was intended is undone (attach) or done (detach), without asking what QEMU has.
    FollowIntents,
    /// QEMU is asked, and what it has decides.
    AskQemu,
}

const LIBVIRT: Rules = Rules {
    save_before: SaveBefore::Nothing,
    save_after: true,
    save_after_asking: true,
    tell: Tell::AtOnce,
    recovery: Recovery::RemoveVanishedOrStop,
    gone_is_done: false,
    pending_is_asked: false,
    events_are_checked: false,
    saves_again: false,
    alias_is_free_everywhere: false,
    forgets: None,
};

/// The designs, with their decisions, in the order of the matrix.
pub const DESIGNS: &[(Design, Rules)] = &[
    (
        Design {
            name: "libvirt-9.0",
            status: Status::Shipped { from: "1.1.1", to: "11.3.0" },
            summary: "QEMU first, the status file last; the restarted daemon removes what vanished and \
                      stops the guest if it cannot",
            source: "libvirt 9.0.0 src/qemu/qemu_hotplug.c qemuDomainAttachChrDevice, \
                     qemuDomainRemoveChrDevice; src/qemu/qemu_process.c qemuProcessReconnect, \
                     qemuProcessUpdateDevices",
        },
        LIBVIRT,
    ),
    (
        Design {
            name: "no-reconcile",
            status: Status::Shipped { from: "0.7.6", to: "1.1.0" },
            summary: "as libvirt, and the restarted daemon believes its status file",
            source: "libvirt before 3fbf78bdf3 (1.1.1), which added the list of devices to the status XML",
        },
        Rules { recovery: Recovery::Believe, ..LIBVIRT },
    ),
    (
        Design {
            name: "save-before",
            status: Status::Proposed { by: "the obvious repair", on: "2017-11" },
            summary: "the status file first, as if QEMU had done it already",
            source: "the mirror image of libvirt's order; the pci-root thread argues from what a status \
                     file can be trusted to say",
        },
        Rules {
            save_before: SaveBefore::Result,
            save_after: false,
            save_after_asking: false,
            recovery: Recovery::RemoveVanished,
            gone_is_done: true,
            pending_is_asked: true,
            ..LIBVIRT
        },
    ),
    (
        Design {
            name: "intent-log",
            status: Status::Proposed { by: "the textbook", on: "1992-03" },
            summary: "intents first; the restarted daemon follows them and does not ask QEMU",
            source: "write-ahead logging, C. Mohan et al., ARIES, ACM TODS 17 (1), 1992",
        },
        Rules {
            save_before: SaveBefore::Intents,
            save_after_asking: false,
            tell: Tell::AfterSave,
            recovery: Recovery::FollowIntents,
            gone_is_done: true,
            pending_is_asked: true,
            events_are_checked: true,
            saves_again: true,
            alias_is_free_everywhere: true,
            ..LIBVIRT
        },
    ),
    (
        Design {
            name: "ours",
            status: Status::Ours,
            summary: "the intent to attach is saved first; the restarted daemon asks QEMU, and what it has \
                      decides",
            source: "docs/decisions/0007-the-file-says-what-was-meant-and-qemu-what-is.md",
        },
        Rules {
            save_before: SaveBefore::AttachIntent,
            save_after_asking: false,
            tell: Tell::BeforeSave,
            recovery: Recovery::AskQemu,
            gone_is_done: true,
            pending_is_asked: true,
            events_are_checked: true,
            saves_again: true,
            alias_is_free_everywhere: true,
            ..LIBVIRT
        },
    ),
];
