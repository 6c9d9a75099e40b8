//! What is written about a guest: by its user, in its configuration, in texts about its process.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::hardware::{Hardware, Model, Place};

/// `<controller type='usb' index='0'>`; nothing else of a definition matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Controller {
    /// The model; unset is what all of this is about.
    pub model: Option<Model>,
    /// The address.
    pub place: Option<Place>,
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.model {
            Some(model) => f.write_str(&crate::words::words(&model))?,
            None => f.write_str("unset")?,
        }
        self.place.map_or(Ok(()), |place| write!(f, "@{place}"))
    }
}

/// A definition in the memory of a daemon: a USB controller, and network cards, which are given their
/// slots before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Definition {
    /// The USB controller.
    pub usb: Option<Controller>,
    /// Slots of the network cards, a bit each, on the bus that takes devices without an address.
    pub cards: u8,
}

impl Definition {
    /// Does it say what the process has, as far as it says anything?
    pub fn describes(&self, hardware: Hardware) -> bool {
        match (self.usb, hardware) {
            (None, _) => hardware.is_none(),
            (Some(Controller { model: Some(Model::None), .. }), _) => hardware.is_none(),
            (Some(_), None) => false,
            (Some(said), Some(device)) => {
                said.model.is_none_or(|model| model == device.model)
                    && said.place.is_none_or(|place| place == device.place)
            }
        }
    }
}

/// A text about a running process, as one daemon writes it for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text {
    /// What every libvirt reads.
    pub definition: Definition,
    /// An element that libvirt ignores: what the process really has. Only ours writes and reads it.
    pub process: Option<Hardware>,
}

/// What the user writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// No USB controller.
    Absent,
    /// A controller without a model.
    Unset,
    /// A controller with a model.
    #[serde(untagged)]
    Model(Model),
}

impl Asked {
    /// The controller that the user wrote.
    pub fn controller(self) -> Option<Controller> {
        match self {
            Asked::Absent => None,
            Asked::Unset => Some(Controller { model: None, place: None }),
            Asked::Model(model) => Some(Controller { model: Some(model), place: None }),
        }
    }
}

/// Why a daemon or QEMU refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// This libvirt has no such machine type.
    UnknownMachine,
    /// Parser: unknown controller type 'usb'.
    UnknownController,
    /// Parser: unknown model.
    UnknownModel,
    /// Addresses: PIIX3 USB controller must have PCI address 0:0:1.2.
    NotThePlaceOfPiix3,
    /// Addresses: in use, or reserved.
    PlaceTaken,
    /// Addresses: slot 0 is not allowed on this bus.
    SlotZero,
    /// Start: this QEMU has no such device.
    NoDevice,
    /// Start: no model was given and none can be chosen.
    NoModel,
    /// QEMU: unknown savevm section.
    UnknownSection,
    /// QEMU: the state is of another model.
    OtherModel,
}
