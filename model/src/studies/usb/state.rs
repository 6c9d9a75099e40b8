//! One guest, two hosts.

use super::{
    definition::{Definition, Text},
    generation::Generation,
    hardware::Hardware,
    host::Guest,
};

/// Everything that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The libvirt of each host.
    pub generations: [Generation; 2],
    /// The configuration on host 0.
    pub config: Option<Definition>,
    /// Where the guest is.
    pub life: Life,
}

/// Where the guest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// Powered off.
    Off,
    /// Running.
    Running {
        /// On which host.
        host: u8,
        /// The guest.
        guest: Guest,
    },
    /// In a file.
    Saved {
        /// On which host.
        host: u8,
        /// By which libvirt.
        by: Generation,
        /// The text in the file.
        text: Text,
        /// The devices in the file.
        hardware: Hardware,
    },
    /// Nowhere.
    Lost,
}
