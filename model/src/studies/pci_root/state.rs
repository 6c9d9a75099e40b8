//! One host, one guest.

use super::{
    hardware::{Machine, Name, Qemu},
    rules::Older,
};

/// Everything that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The daemon; `None` for the design's own.
    pub daemon: Option<Older>,
    /// The QEMU on disk.
    pub binary: Qemu,
    /// The configuration.
    pub config: Option<Config>,
    /// The process.
    pub guest: Option<Guest>,
}

/// The configuration, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// The machine.
    pub machine: Machine,
    /// The root controller is called `ua-root`.
    pub user_alias: bool,
    /// An older daemon has started it.
    pub started_before: bool,
}

/// A running guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guest {
    /// The QEMU that runs it.
    pub qemu: Qemu,
    /// The machine.
    pub machine: Machine,
    /// The root controller's alias in the live definition, which is also in the status file.
    pub alias: Name,
    /// The daemon has probed the QEMU that runs this guest, and knows its architecture and version.
    pub probed: Option<Qemu>,
    /// What the status file says of QEMU's version.
    pub saved: Option<Qemu>,
    /// A device is plugged: on the root, on the port.
    pub plugged: [bool; 2],
}
