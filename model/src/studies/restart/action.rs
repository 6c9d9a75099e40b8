//! What the parties do.

use serde::{Deserialize, Serialize};

/// One step of one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A request to attach a device. The daemon chooses its alias.
    Attach {
        /// QEMU will refuse the frontend: its bus has no place left.
        bus_full: bool,
    },
    /// A request to detach a device, by alias.
    Detach {
        /// Which.
        alias: u8,
    },
    /// A request for the live definition.
    Dump,
    /// Somebody looks at QEMU, at the status file and at the definition, while nothing is going on.
    Inspect,
    /// The daemon performs its next effect.
    Step,
    /// The daemon stops waiting for a device to go.
    GiveUp,
    /// The guest lets go of a device, asked or not.
    Eject {
        /// Which.
        alias: u8,
    },
    /// QEMU brings a device that is out of its tree to its end: `DEVICE_DELETED`.
    Finalize {
        /// Which.
        alias: u8,
    },
    /// SIGKILL, wherever the daemon is.
    Kill,
    /// The daemon is started; its recovery begins.
    Start,
    /// SIGKILL at rest, start, and recovery to its end.
    Restart,
    /// The disk is full: nothing can be saved.
    FillDisk,
    /// There is room again.
    FreeDisk,
}
