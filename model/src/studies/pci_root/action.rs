//! What may happen, and what is seen of it.

use serde::{Deserialize, Serialize};

use super::{
    hardware::{Machine, Name},
    rules::Older,
};
use crate::study::Party;

/// One step of one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Action {
    /// Before there is a guest: the host is set up with an older libvirt.
    Install {
        /// Which.
        daemon: Older,
    },
    /// Before there is a guest: the host is set up with a QEMU before multi-bus.
    InstallOldQemu,
    /// The guest is defined, or defined anew while it is off.
    Define {
        /// Its machine.
        machine: Machine,
        /// The root controller is called `ua-root`.
        user_alias: bool,
    },
    /// It starts.
    Start,
    /// It is powered off.
    Stop,
    /// A device is plugged.
    Attach {
        /// Where.
        onto: Place,
    },
    /// It is unplugged, and the guest lets it go.
    Detach {
        /// Where it is.
        from: Place,
    },
    /// The definition is asked for; of it the root controller's alias is looked at.
    Dump,
    /// The daemon is restarted.
    Restart,
    /// The daemon is replaced by the design's; a guest keeps running.
    Upgrade,
    /// The QEMU on disk is replaced by a new one; a guest keeps running the old one.
    UpgradeQemu,
}

/// Where a device is plugged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On the root that the machine brings along.
    Root,
    /// On a bridge, a root port or a second host bridge, which the definition has.
    Port,
}

impl Place {
    /// Both.
    pub const ALL: [Place; 2] = [Place::Root, Place::Port];
}

impl Action {
    pub(super) fn party(self) -> Party {
        match self {
            Action::Install { .. }
            | Action::InstallOldQemu
            | Action::Restart
            | Action::Upgrade
            | Action::UpgradeQemu => Party::World,
            _ => Party::Management,
        }
    }
}

/// What everybody gets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Outcome {
    /// The reply.
    pub reply: Reply,
    /// The bus that was named to QEMU for the device: on the command line, or in `device_add`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus: Option<Name>,
}

/// The reply to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Done,
    /// It is not, and nothing has changed.
    Refused(Why),
    /// The root controller's alias in the dump.
    Alias(Option<Name>),
}

/// Why something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The daemon: the root controller must not have an alias of the user's.
    UserAliasForbidden,
    /// The daemon, or QEMU about what the daemon says: they are too far apart in age.
    QemuTooOld,
    /// The daemon: the bus takes no devices while the guest runs.
    NotHotpluggable,
    /// QEMU: "Bus '…' not found".
    BusNotFound,
    /// QEMU: "Bus '…' does not support hotplugging".
    NoHotplugging,
}

impl Why {
    /// Every reason.
    pub const ALL: [Why; 5] = [
        Why::UserAliasForbidden,
        Why::QemuTooOld,
        Why::NotHotpluggable,
        Why::BusNotFound,
        Why::NoHotplugging,
    ];
}
