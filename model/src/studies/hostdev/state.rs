//! One guest, its configuration, one device of the host.

use super::{action::Asked, rules::Driver};

/// Everything that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The daemon is of the newer release.
    pub newer: bool,
    /// The host has VFIO.
    pub vfio: bool,
    /// The configuration.
    pub config: Option<Config>,
    /// The guest runs, maybe without the device.
    pub running: Option<Option<Device>>,
    /// The manager counts the device as taken although no guest has it.
    pub stuck: bool,
}

/// A configuration on disk and in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// What the user wrote.
    pub asked: Asked,
    /// The newer release defined it.
    pub by_newer: bool,
    /// The driver on disk.
    pub disk: Option<Driver>,
    /// The driver in memory.
    pub memory: Option<Driver>,
    /// What the device was bound to when the guest was started last.
    pub last_boot: Option<Driver>,
}

/// The device of a running guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// What the live definition and the status file say.
    pub live: Driver,
    /// A network gave it.
    pub of_network: bool,
    /// It is described by the configuration.
    pub persistent: bool,
    /// Nobody chose its driver.
    pub automatic: bool,
}
