//! What may happen, and what is seen of it.

use serde::{Deserialize, Serialize};

use super::{
    definition::{Definition, Device, Kind, Source},
    name::{Alias, UA_A, UA_B},
};
use crate::study::Party;

/// One step of one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The domain is defined. The study does so once.
    Define {
        /// Its devices.
        with: Asked,
    },
    /// It starts.
    Start,
    /// A device is detached from the running domain.
    Detach {
        /// What the user says.
        by: By,
    },
    /// A console is opened.
    Open {
        /// By this name, or without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Alias>,
    },
    /// A device is plugged into the running domain.
    Attach {
        /// Which.
        kind: Kind,
        /// The user's alias for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alias: Option<Alias>,
    },
    /// A definition is written out.
    Dump {
        /// Which.
        what: What,
    },
    /// A device leaves QEMU, and the event names it. Nobody asked libvirt for it, except of a device that the
    /// guest has to let go.
    Unplugged {
        /// The id in the event.
        id: Alias,
    },
    /// What is written of the inactive definition is defined again.
    Redefine,
    /// The daemon is restarted.
    Restart,
}

/// The devices of a new domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// None.
    Nothing,
    /// A serial port and its console, both written.
    Pair,
    /// A serial port alone.
    Serial,
    /// A console alone; `ua-a`.
    ConsoleA,
    /// A pair, the serial port `ua-a`.
    SerialA,
    /// A pair, the console `ua-a`.
    PairConsoleA,
    /// A pair, both `ua-a`.
    BothA,
    /// A pair, `ua-a` and `ua-b`.
    AAndB,
    /// A pair on different backends, the console `ua-a`.
    OtherSourceA,
    /// A serial port and an rng, both `ua-a`.
    TwiceA,
    /// A USB serial port and its console, both written.
    UsbPair,
    /// On backends without a path: a serial port and a virtio console.
    SerialAndVirtio,
    /// On backends without a path: a serial port `ua-a`.
    NullSerialA,
}

impl Asked {
    /// As the user writes them.
    pub fn definition(self) -> Definition {
        use Kind::*;
        let pty = Source::Pty(None);
        let serial = |alias| Device::asked(IsaSerial, pty, alias);
        let console = |alias| Device::asked(SerialConsole, pty, alias);
        let null = |kind, alias| Device::asked(kind, Source::Null, alias);
        let (a, b) = (Some(UA_A), Some(UA_B));
        Definition::of(&match self {
            Asked::Nothing => vec![],
            Asked::Pair => vec![serial(None), console(None)],
            Asked::Serial => vec![serial(None)],
            Asked::ConsoleA => vec![console(a)],
            Asked::SerialA => vec![serial(a), console(None)],
            Asked::PairConsoleA => vec![serial(None), console(a)],
            Asked::BothA => vec![serial(a), console(a)],
            Asked::AAndB => vec![serial(a), console(b)],
            Asked::OtherSourceA => vec![serial(None), null(SerialConsole, a)],
            Asked::TwiceA => vec![serial(a), null(Rng, a)],
            Asked::UsbPair => vec![Device::asked(UsbSerial, pty, None), console(None)],
            Asked::SerialAndVirtio => vec![null(IsaSerial, None), null(VirtioConsole, None)],
            Asked::NullSerialA => vec![null(IsaSerial, a)],
        })
    }
}

/// What the user says of the device to be detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The first such element of the live dump.
    Xml(Kind),
    /// A virtio console with port 0, written by hand or kept from an earlier dump.
    PortZero,
    /// An alias.
    Alias(Alias),
}

/// What is written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// The live definition.
    Live,
    /// The one for the next start.
    Inactive,
    /// The status file.
    Status,
}

impl Action {
    pub(super) fn party(self) -> Party {
        match self {
            Action::Unplugged { .. } => Party::Qemu,
            Action::Restart => Party::World,
            _ => Party::Management,
        }
    }
}

/// What observers see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcome {
    /// To whoever asked.
    #[serde(default, skip_serializing_if = "Reply::is_done")]
    pub reply: Reply,
    /// Devices that QEMU has no longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Alias>,
    /// The running guest was stopped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guest_lost: bool,
}

/// To whoever asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done, or nobody asked.
    #[default]
    Done,
    /// The device is there.
    Attached {
        /// Its name.
        alias: Alias,
    },
    /// The unplug is asked for.
    Requested,
    /// It is not done.
    Refused(Why),
    /// What is written.
    Shown(Vec<Shown>),
    /// None: the daemon is gone. It is started again.
    DaemonDied,
}

impl Reply {
    fn is_done(&self) -> bool {
        *self == Reply::Done
    }
}

/// One device as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shown {
    /// What it is.
    pub kind: Kind,
    /// `<target port>` of serial ports, parallel ports and consoles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i8>,
    /// Its alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<Alias>,
}

/// Why it is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// "An error occurred, but the cause is unknown."
    CauseUnknown,
    /// There is no such device.
    NoSuchDevice,
    /// "Bus 'isa.0' does not support hotplugging."
    BusHasNoHotplug,
    /// This device cannot be unplugged, because of the bus that it is on.
    Fixed {
        /// Which device.
        alias: Alias,
    },
    /// Controllers cannot be unplugged.
    IsAController,
    /// A console that is a serial port is not detached: detach the serial port.
    DetachTheSerial,
    /// Its unplug is pending.
    Pending,
    /// There is no console of that name, or none at all.
    NoSuchConsole,
    /// It is not on a pty.
    NotAPty,
    /// Two devices have one user alias.
    DuplicateAlias,
    /// The two of a pair have different aliases.
    AliasesDiffer,
    /// QEMU has something of that name.
    DuplicateId,
}
