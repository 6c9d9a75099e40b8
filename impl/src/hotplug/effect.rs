//! What a procedure wants done, and how that ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Device, Record};
use crate::hypervisor::{Command, Inventory, QmpError, Reply};

/// One thing to do, finished before the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write the status file, whole and durable.
    Save(Record),
    /// Ask QEMU.
    Qmp(EffectKind, Command),
    /// Ask QEMU what it has.
    Look,
    /// Take the event that this device is gone from the monitor. It may not be there yet.
    TakeEvent(String),
    /// Answer and notify.
    Tell(Tell),
}

/// The kinds of effect, in the words of the restart study.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EffectKind {
    /// The status file.
    Save,
    /// `chardev-add`, `object-add`, `netdev_add`, `blockdev-add`.
    AddBackend,
    /// `device_add`.
    AddFrontend,
    /// `chardev-remove`, `object-del`, `netdev_del`, `blockdev-del`.
    RemoveBackend,
    /// `device_del`.
    RemoveFrontend,
    /// `DEVICE_DELETED`.
    TakeEvent,
    /// The queries of an inventory.
    Look,
    /// Replies and notices.
    Tell,
}

impl fmt::Display for EffectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EffectKind::Save => "save",
            EffectKind::AddBackend => "add-backend",
            EffectKind::AddFrontend => "add-frontend",
            EffectKind::RemoveBackend => "remove-backend",
            EffectKind::RemoveFrontend => "remove-frontend",
            EffectKind::TakeEvent => "take-event",
            EffectKind::Look => "look",
            EffectKind::Tell => "tell",
        })
    }
}

impl Effect {
    /// Which kind.
    pub fn kind(&self) -> EffectKind {
        match self {
            Effect::Save(_) => EffectKind::Save,
            Effect::Qmp(kind, _) => *kind,
            Effect::Look => EffectKind::Look,
            Effect::TakeEvent(_) => EffectKind::TakeEvent,
            Effect::Tell(_) => EffectKind::Tell,
        }
    }
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The status file is written, or why not.
    Saved(Result<(), String>),
    /// QEMU's answer.
    Replied(Reply),
    /// What QEMU has.
    Saw(Box<Inventory>),
    /// The event was there.
    Taken,
    /// It was told.
    Told,
    /// QEMU gave no answer, and whether it did what it was asked is unknown.
    Silent(String),
}

/// A reply to whoever asked, and notices to everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tell {
    /// To whoever asked, if anybody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Told>,
    /// To everybody, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// The device is there.
    Attached {
        /// Its name.
        alias: String,
    },
    /// The device is gone.
    Detached {
        /// Its name.
        alias: String,
    },
    /// The device goes when the guest lets it go.
    UnplugRequested {
        /// Its name.
        alias: String,
    },
    /// It was not done.
    Refused(Refusal),
}

/// A change that took place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// The domain has this device.
    DeviceAdded {
        /// Its name.
        alias: String,
    },
    /// The domain does not have this device any more, or never got it.
    DeviceRemoved {
        /// Its name.
        alias: String,
    },
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// One request at a time.
    #[error("the domain is busy with another request; try again when that is answered")]
    Busy,
    /// The definition has no device of that name.
    #[error("the domain has no device `{alias}`; it has: {}", list(.known))]
    NoSuchDevice {
        /// What was asked for.
        alias: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The definition has a device of that name.
    #[error("the domain has a device `{alias}` already")]
    AliasTaken {
        /// The name.
        alias: String,
    },
    /// QEMU said no.
    #[error("QEMU refuses {effect} for `{alias}`: {error}")]
    Qemu {
        /// The device.
        alias: String,
        /// What it was asked.
        effect: EffectKind,
        /// What it said.
        error: QmpError,
    },
    /// QEMU said nothing.
    #[error("QEMU does not answer {effect} for `{alias}`: {why}")]
    Silent {
        /// The device.
        alias: String,
        /// What it was asked.
        effect: EffectKind,
        /// What happened instead.
        why: String,
    },
    /// The intent could not be saved, so nothing was begun.
    #[error("nothing was done: the status file cannot be saved: {why}")]
    NotSaved {
        /// What the system said.
        why: String,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// What a backend's removal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// It is gone, by this or before.
    Gone,
    /// A device that is coming to its end still has it.
    Busy,
    /// Something else; it stays.
    Refused,
}

impl Removal {
    /// QEMU has one error class for all of these: its texts are all there is to go by.
    pub(super) fn of(reply: &Reply) -> Self {
        match reply {
            Ok(_) => Removal::Gone,
            Err(error) if error.is_device_not_found() => Removal::Gone,
            Err(error) if error.desc.ends_with("not found") => Removal::Gone,
            Err(error) if error.desc.starts_with("Failed to find node") => Removal::Gone,
            Err(error) if error.desc.contains(" is busy") || error.desc.contains("in use") => {
                Removal::Busy
            }
            Err(_) => Removal::Refused,
        }
    }
}

/// A device with the name it was given.
pub(super) fn named(device: &Device, alias: &str) -> Device {
    Device { alias: alias.to_owned(), ..device.clone() }
}
