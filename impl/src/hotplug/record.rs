//! What the status file says of a domain's devices.

use serde::{Deserialize, Serialize};

use super::Device;

/// The devices of the definition, and those that somebody was about to attach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// In the order in which they were defined or attached.
    pub devices: Vec<Device>,
    /// Intents to attach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intents: Vec<Device>,
}

impl Record {
    /// A device of the definition, by alias.
    pub fn device(&self, alias: &str) -> Option<&Device> {
        self.devices.iter().find(|device| device.alias == alias)
    }

    /// The aliases of the definition.
    pub fn aliases(&self) -> Vec<String> {
        self.devices.iter().map(|device| device.alias.clone()).collect()
    }

    pub(super) fn knows(&self, alias: &str) -> bool {
        self.devices.iter().chain(&self.intents).any(|device| device.alias == alias)
    }
}
