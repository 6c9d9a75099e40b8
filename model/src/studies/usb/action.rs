//! What may happen to one guest and two hosts, and what is seen of it.

use serde::{Deserialize, Serialize};

use super::{
    definition::{Asked, Controller, Refusal},
    generation::Generation,
    hardware::Hardware,
};
use crate::study::Party;

/// One step of one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A host without guests is set up with an older libvirt. Both hosts at most with the same one.
    Install {
        /// Which.
        host: u8,
        /// The libvirt.
        generation: Generation,
    },
    /// The daemon of a host is replaced by the design's; a guest keeps running.
    Upgrade {
        /// Which.
        host: u8,
    },
    /// The guest is defined on host 0, with one network card and this.
    Define {
        /// The USB controller that the user writes.
        usb: Asked,
    },
    /// What `dumpxml` prints of the running guest is defined.
    Redefine,
    /// The guest starts from its definition, on host 0.
    Start,
    /// It is powered off, wherever it is.
    Stop,
    /// A network card is plugged.
    Plug,
    /// The network card in the lowest slot is unplugged.
    Unplug,
    /// Live migration to the other host.
    Migrate,
    /// The guest is saved to a file, where it runs.
    Save,
    /// It is restored from the file, where it was saved.
    Restore,
}

impl Action {
    pub(super) fn party(self) -> Party {
        match self {
            Action::Install { .. } | Action::Upgrade { .. } => Party::World,
            _ => Party::Management,
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Result {
    /// Done; the guest has what it had.
    Done,
    /// Done; the guest has a device that it had not.
    SilentlyChanged,
    /// Not done.
    Refused(Refusal),
    /// Not done, and nobody runs or keeps the guest any more.
    Lost(Refusal),
}

/// What observers see: the answer, the definition that is shown, and the guest's own view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Outcome {
    /// The answer.
    pub result: Result,
    /// The USB controller of the live definition, or of the configuration while nothing runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Controller>,
    /// The USB hardware of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_has: Hardware,
}
