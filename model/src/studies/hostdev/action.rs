//! What may happen to one guest with one PCI device of the host, and what is seen of it.

use serde::{Deserialize, Serialize};

use super::rules::Driver;
use crate::study::Party;

/// What a user writes about the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// No device.
    Nothing,
    /// The device, and its driver is left open.
    Unset,
    /// The device, with this driver.
    Driver(Driver),
    /// An interface of a network that gives a virtual function. The network may name a driver.
    Network(Option<Driver>),
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
    /// The configuration is shown.
    Dump,
    /// What the dump of the running guest shows is defined.
    Redefine,
    /// The guest starts.
    Start,
    /// It would start, and a hook says no before the device is prepared.
    StartVetoed,
    /// It is powered off.
    Stop,
    /// The device is plugged.
    Attach {
        /// As this says.
        device: Asked,
    },
    /// It is unplugged, by a text that leaves its driver open.
    Detach,
    /// The daemon is restarted.
    Restart,
    /// The daemon is replaced by a newer one.
    Upgrade,
    /// The host gets VFIO.
    HostGainsVfio,
    /// It loses it.
    HostLosesVfio,
}

impl Action {
    pub(super) fn party(self) -> Party {
        match self {
            Action::Restart | Action::Upgrade => Party::World,
            Action::HostGainsVfio | Action::HostLosesVfio => Party::Host,
            _ => Party::Management,
        }
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The driver is not one of this hypervisor's.
    Unsupported,
    /// This host cannot.
    HostCannot,
    /// The hostdev manager was given a device whose driver is open.
    DriverIsOpen,
    /// The manager counts the device as taken.
    InUse,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Result {
    /// Done.
    Done,
    /// Not done, and nothing was touched.
    Refused(Refusal),
    /// Not done, and the device was taken from its driver in the host meanwhile.
    RefusedLate(Refusal),
    /// The daemon no longer knows the guest: its configuration cannot be parsed.
    Vanished,
}

/// What observers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcome {
    /// The answer.
    pub result: Result,
    /// For a dump of the configuration: the driver in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Shown>,
    /// What the guest's device is bound to in the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<Driver>,
    /// The log has an error about a device that nobody had prepared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spurious_error: bool,
}

/// The device of a configuration, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shown {
    /// There is none, or a network gives it.
    NoDevice,
    /// Without a driver.
    Open,
    /// With this one.
    Driver(Driver),
}
