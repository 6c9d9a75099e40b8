//! One guest under one daemon.

use super::{
    action::Asked,
    field::{Field, Release, Value},
    policy::Realized,
};

/// Everything that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The daemon's release.
    pub daemon: Release,
    /// The persistent definition.
    pub config: Option<Config>,
    /// The guest runs, maybe without the device.
    pub running: Option<Option<Device>>,
}

/// A persistent definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// What the user wrote.
    pub asked: Asked,
    /// The release that defined it.
    pub by: Release,
    /// On disk.
    pub disk: Field,
    /// In the daemon's memory.
    pub memory: Field,
    /// What the guest had when it was started last.
    pub last_boot: Option<Value>,
}

/// The device of a running guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// In the live definition and in the process.
    pub realized: Realized,
    /// Nobody chose the value.
    pub automatic: bool,
    /// One release defined it, started it and manages it.
    pub fresh: bool,
    /// It is from the persistent definition.
    pub persistent: bool,
}

impl Device {
    /// The live definition says nothing else than what the process has.
    pub fn is_truthful(&self) -> bool {
        self.realized.live.is_true_of(self.realized.has)
    }
}

impl State {
    /// The device of the running guest.
    pub fn device(&self) -> Option<Device> {
        self.running.flatten()
    }
}
