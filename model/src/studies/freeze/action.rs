//! What may happen to one guest with one device, and what is seen of it.

use serde::{Deserialize, Serialize};

use super::field::{Field, Release, Value};
use crate::study::Party;

/// What a user writes about the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// No device.
    Nothing,
    /// One from a pool, which is chosen when the guest starts.
    FromPool,
    /// The device, and the attribute is left open.
    Unset,
    /// The device, with this value.
    Set(Value),
}

impl Asked {
    /// The attribute, where the user describes the device.
    pub fn field(self) -> Option<Field> {
        match self {
            Asked::Nothing | Asked::FromPool => None,
            Asked::Unset => Some(Field::Unset),
            Asked::Set(value) => Some(Field::Set(value)),
        }
    }
}

/// One step of one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The guest is defined, or defined anew.
    Define {
        /// With this.
        device: Asked,
    },
    /// The guest starts from its definition.
    Start,
    /// It is powered off.
    Stop,
    /// The device is plugged.
    Attach {
        /// As the text says.
        device: Asked,
    },
    /// The device is unplugged; the text that names it leaves the attribute open.
    Detach,
    /// What the dump shows of the running guest is defined under another name.
    Redefine,
    /// The daemon is restarted under the running guest.
    Restart,
    /// The daemon is replaced by a newer one under the running guest.
    Upgrade {
        /// The newer one.
        to: Release,
    },
    /// Live migration to a host with a daemon of this release.
    Migrate {
        /// The other host's.
        to: Release,
    },
}

impl Action {
    pub(super) fn party(self) -> Party {
        match self {
            Action::Restart | Action::Upgrade { .. } => Party::World,
            _ => Party::Management,
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Result {
    /// Done.
    Done,
    /// The daemon does not know the attribute.
    Refused,
    /// The configuration of the other name says this.
    Defined(Field),
    /// The device was given back to the host as if it were this.
    GivenBack(Field),
}

/// What observers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcome {
    /// The answer.
    pub result: Result,
    /// What the process has, where the device is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_has: Option<Value>,
    /// Somebody had to act on the attribute, and it was open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_unset: bool,
}
