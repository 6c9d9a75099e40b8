//! What everybody gets back from one step.

use serde::{Deserialize, Serialize};

use super::state::Why;

/// The reply, the events, and whether the guest survived.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Outcome {
    /// What the daemon did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did: Option<Effect>,
    /// It did not work.
    #[serde(default, skip_serializing_if = "is_false")]
    pub failed: bool,
    /// What the requester gets.
    #[serde(default, skip_serializing_if = "Reply::is_nothing")]
    pub reply: Reply,
    /// `device-added` events, by alias.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<u8>,
    /// `device-removed` events, by alias.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<u8>,
    /// The daemon has killed the guest.
    #[serde(default, skip_serializing_if = "is_false")]
    pub guest_lost: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// One effect of a procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The status file is written, synced and renamed.
    Save,
    /// `chardev-add`, `object-add`, `netdev_add`.
    AddBackend,
    /// `device_add`.
    AddFrontend,
    /// `chardev-remove`, `object-del`, `netdev_del`.
    RemoveBackend,
    /// `device_del`.
    RemoveFrontend,
    /// `DEVICE_DELETED` is taken from the monitor.
    TakeEvent,
    /// The monitor is connected.
    Connect,
    /// QEMU is asked what it has.
    Look,
    /// The reply and the events are sent.
    Tell,
}

/// What the requester gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Nothing, or nothing yet.
    #[default]
    Nothing,
    /// The device is there.
    Attached {
        /// Its alias.
        alias: u8,
    },
    /// The device is gone.
    Detached {
        /// Its alias.
        alias: u8,
    },
    /// The guest was asked to let go of it.
    UnplugRequested {
        /// Its alias.
        alias: u8,
    },
    /// It was not done.
    Refused {
        /// Why.
        why: Why,
    },
    /// The devices of the live definition.
    Devices {
        /// Their aliases.
        aliases: Vec<u8>,
    },
    /// What each place has, by alias.
    Places {
        /// Frontends in QEMU.
        frontends: Vec<u8>,
        /// Backends in QEMU.
        backends: Vec<u8>,
        /// Devices in the status file.
        file: Vec<u8>,
        /// Intents in the status file.
        intents: Vec<u8>,
        /// Devices in the live definition; none while the daemon is down.
        definition: Vec<u8>,
    },
}

impl Reply {
    /// Nobody gets a reply.
    pub fn is_nothing(&self) -> bool {
        *self == Reply::Nothing
    }
}
