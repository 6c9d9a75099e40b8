//! The state: each fact in every place that holds it.

use serde::{Deserialize, Serialize};

/// Devices that one domain can have in this study.
pub const DEVICES_MAX: usize = 2;

/// What a place says of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// Nothing.
    #[default]
    Absent,
    /// Somebody is about to attach it: an intent.
    Attaching,
    /// The domain has it.
    Present,
    /// Somebody is about to detach it: an intent.
    Detaching,
}

impl Record {
    /// Is the device part of the definition that a dump shows?
    pub fn is_defined(self) -> bool {
        matches!(self, Record::Present | Record::Detaching)
    }
}

/// What management believes, from replies and events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Told {
    /// The domain does not have it.
    #[default]
    Absent,
    /// The domain has it.
    Present,
    /// A request was never answered.
    Unknown,
}

/// One alias, in every place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Device {
    /// QEMU has the frontend.
    pub frontend: bool,
    /// QEMU has the backend.
    pub backend: bool,
    /// The frontend is out of the device tree and has not come to its end: its backend is busy, and
    /// `DEVICE_DELETED` is still to come. In QEMU 7.2 that takes some 60 ms.
    pub ending: bool,
    /// QEMU has asked the guest to let go of it.
    pub asked: bool,
    /// What the status file says.
    pub file: Record,
    /// What the daemon remembers; nothing while it is down.
    pub memory: Record,
    /// What management was told.
    pub told: Told,
    /// `DEVICE_DELETED` waits for the daemon to have time.
    pub deleted: bool,
    /// The daemon's latest knowledge of QEMU: frontend and backend.
    pub seen: (bool, bool),
    /// It is on the list of QEMU's devices in the status file, where the design keeps one: asked for before each save.
    pub listed: bool,
}

/// What the daemon is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Daemon {
    /// Not running.
    Down,
    /// Waiting for requests and events.
    Idle,
    /// In the middle of a procedure: the next effect is this one.
    Busy(Next),
}

/// A procedure and its next effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Next {
    /// Of an attach.
    Attach {
        /// The alias it was given.
        alias: u8,
        /// QEMU will refuse the frontend: its bus is full.
        bus_full: bool,
        /// The next effect.
        next: Attaching,
    },
    /// Of a detach.
    Detach {
        /// The device.
        alias: u8,
        /// Somebody waits for a reply; else QEMU's event began it.
        asked: bool,
        /// The next effect.
        next: Detaching,
    },
    /// Of the recovery at the daemon's start.
    Recover {
        /// The next effect.
        next: Recovering,
        /// Devices that were found added, by alias.
        added: [bool; DEVICES_MAX],
        /// Devices that were found gone, by alias.
        removed: [bool; DEVICES_MAX],
    },
}

/// Effects of an attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attaching {
    /// The status file, before QEMU is asked.
    SaveBefore,
    /// `chardev-add`, `object-add`, `netdev_add`.
    Backend,
    /// `device_add`.
    Frontend,
    /// QEMU has refused: the backend is removed.
    RemoveBackend(Why),
    /// QEMU has refused: the status file is taken back.
    TakeBack(Why),
    /// The status file, after QEMU has done it.
    SaveAfter,
    /// The reply, and the event where it was not sent before.
    Tell(Result<(), Why>),
}

/// Effects of a detach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Detaching {
    /// The status file, before QEMU is asked.
    SaveBefore,
    /// QEMU is asked whether the device of an event is really gone.
    Look,
    /// `device_del`.
    Frontend,
    /// `DEVICE_DELETED` is waited for.
    Wait,
    /// `chardev-remove`, `object-del`, `netdev_del`.
    Backend,
    /// The status file, after QEMU has done it, or was asked to.
    SaveAfter(Gone),
    /// The reply, and the event where it was not sent before.
    Tell(Result<Gone, Why>),
}

/// How a detach ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gone {
    /// The device is gone.
    Now,
    /// The guest was asked and has not answered.
    WhenTheGuestLetsGo,
}

/// Effects of the recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recovering {
    /// The monitor is connected; events flow from here on.
    Connect,
    /// QEMU is asked what it has.
    Look,
    /// What an intent left half done is undone without looking: the frontend.
    UndoFrontend(u8),
    /// The same: the backend.
    UndoBackend(u8),
    /// A backend without a frontend is removed.
    Clean(u8),
    /// The status file.
    Save,
    /// The events.
    Tell,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The domain has no such device.
    NoSuchDevice,
    /// QEMU has that id already: `attempt to add duplicate property`, `Duplicate device ID`.
    DuplicateId,
    /// QEMU finds no place for it on the bus.
    BusFull,
    /// QEMU has no such backend, or something still uses it.
    BackendRefused,
    /// QEMU is waiting for the guest already: `is already in the process of unplug`.
    UnplugPending,
    /// The status file cannot be saved.
    StatusNotSaved,
    /// "An error occurred, but the cause is unknown".
    Unknown,
}

/// Everything that the study remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// By alias; those beyond the scope's stay absent.
    pub devices: [Device; DEVICES_MAX],
    /// What the daemon is about.
    pub daemon: Daemon,
    /// The guest runs.
    pub guest: bool,
    /// Nothing can be written.
    pub disk_full: bool,
    /// The status file is known to be behind.
    pub dirty: bool,
    /// How often the daemon was killed.
    pub kills: u8,
}

impl State {
    /// A running domain without hot-plugged devices, and a daemon that knows it.
    pub(super) fn new() -> Self {
        State {
            devices: [Device::default(); DEVICES_MAX],
            daemon: Daemon::Idle,
            guest: true,
            disk_full: false,
            dirty: false,
            kills: 0,
        }
    }

    /// Nothing is going on and nothing waits.
    pub fn is_at_rest(&self) -> bool {
        self.guest
            && self.daemon == Daemon::Idle
            && !self.dirty
            && !self.devices.iter().any(|device| device.deleted || device.ending)
    }
}
