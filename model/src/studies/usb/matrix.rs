//! Every migration: source by destination by machine, QEMU, controller and history.
//!
//! The guest is defined with one network card, which gets its slot before the USB controller does.

use serde::{Deserialize, Serialize};

use super::{
    definition::{Asked, Definition, Refusal},
    generation::Generation,
    hardware::{self, Build, Hardware, Machine, Model},
    host::{Guest, Host},
};

/// What happened to the guest before it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// It was defined and started.
    Fresh,
    /// Its network card was unplugged: a lower slot is free.
    Unplugged,
    /// A second card was plugged, the first unplugged, and a third plugged.
    Replaced,
    /// Its network card was removed from the configuration while it was off.
    Removed,
    /// Its configuration, with everything left open, is an older daemon's, and the source loaded it.
    Loaded,
    /// Loaded, and its network card was unplugged.
    LoadedUnplugged,
}

impl History {
    /// All of them.
    pub const ALL: [History; 6] = [
        History::Fresh,
        History::Unplugged,
        History::Replaced,
        History::Removed,
        History::Loaded,
        History::LoadedUnplugged,
    ];
}

/// What users may write in the matrix.
pub const ASKED: [Asked; 7] = [
    Asked::Absent,
    Asked::Unset,
    Asked::Model(Model::None),
    Asked::Model(Model::Piix3Uhci),
    Asked::Model(Model::PciOhci),
    Asked::Model(Model::NecXhci),
    Asked::Model(Model::QemuXhci),
];

/// One cell's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cell {
    /// The machine type, the same on both hosts.
    pub machine: Machine,
    /// The QEMU, the same on both hosts.
    pub build: Build,
    /// What the user wrote.
    pub controller: Asked,
    /// What happened before.
    pub history: History,
    /// The libvirt that started the process.
    pub started_by: Generation,
    /// The libvirt that sends it: the same, or one that was upgraded in place.
    pub source: Generation,
    /// The libvirt that receives it.
    pub destination: Generation,
}

/// How a migration ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "error")]
pub enum Ending {
    /// Accepted, and the guest has the hardware that it had.
    Same,
    /// Accepted, and the guest has other hardware; nobody says so.
    Silent,
    /// Refused; the guest goes on where it was.
    Refused(Refusal),
    /// The upgrade in place already lost the guest.
    Lost(Refusal),
    /// The source cannot have such a guest.
    NoGuest(Refusal),
}

impl Ending {
    /// The word of the matrix.
    pub fn word(self) -> &'static str {
        match self {
            Ending::Same => "same",
            Ending::Silent => "silent",
            Ending::Refused(_) => "refused",
            Ending::Lost(_) => "lost",
            Ending::NoGuest(_) => "no-guest",
        }
    }

    /// With which error, if with one.
    pub fn error(self) -> Option<Refusal> {
        match self {
            Ending::Same | Ending::Silent => None,
            Ending::Refused(error) | Ending::Lost(error) | Ending::NoGuest(error) => Some(error),
        }
    }
}

/// A cell with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// Where.
    #[serde(flatten)]
    pub cell: Cell,
    /// How the migration ends: `outcome` and `error`, both always there.
    #[serde(flatten, serialize_with = "outcome_and_error")]
    pub ending: Ending,
    /// The guest's USB hardware before.
    #[serde(serialize_with = "shown")]
    pub before: Option<Hardware>,
    /// And after, where it arrived.
    #[serde(serialize_with = "shown")]
    pub after: Option<Hardware>,
    /// The text that says which controller it is, as the source sends it.
    pub text: Option<String>,
    /// How it ends when the guest, having arrived, goes back at once.
    pub back: Option<&'static str>,
    /// Why it is refused on the way back.
    pub back_error: Option<Refusal>,
    /// The guest's USB hardware when it is back.
    #[serde(serialize_with = "shown")]
    pub back_after: Option<Hardware>,
}

fn outcome_and_error<S: serde::Serializer>(
    ending: &Ending,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    let mut map = serializer.serialize_map(Some(2))?;
    map.serialize_entry("outcome", ending.word())?;
    map.serialize_entry("error", &ending.error())?;
    map.end()
}

fn shown<S: serde::Serializer>(
    hardware: &Option<Hardware>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    hardware.map(hardware::shown).serialize(serializer)
}

/// Which cells to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The QEMUs.
    pub builds: &'static [Build],
    /// Also sources that were upgraded in place under a running guest.
    pub upgraded: bool,
}

/// The two QEMUs that decide what the thread's \[A\] does.
pub const TWO_BUILDS: &[Build] = &[Build::Upstream, Build::NoUhci];

/// Every cell, in the order of the matrix: machine first, destination last.
pub fn cells(extent: Extent) -> impl Iterator<Item = Cell> {
    let starts = move |source: Generation| {
        Generation::ALL
            .into_iter()
            .filter(move |old| *old == source || (extent.upgraded && *old < source))
    };
    Machine::ALL.into_iter().flat_map(move |machine| {
        extent.builds.iter().flat_map(move |&build| {
            ASKED.into_iter().flat_map(move |controller| {
                History::ALL.into_iter().flat_map(move |history| {
                    Generation::ALL.into_iter().flat_map(move |source| {
                        starts(source).flat_map(move |started_by| {
                            Generation::ALL.into_iter().map(move |destination| Cell {
                                machine,
                                build,
                                controller,
                                history,
                                started_by,
                                source,
                                destination,
                            })
                        })
                    })
                })
            })
        })
    })
}

impl Cell {
    fn host(&self, generation: Generation) -> Host {
        Host { generation, machine: self.machine, build: self.build }
    }

    /// The guest, just before it moves.
    pub fn guest(&self) -> Result<Guest, Ending> {
        let daemon = self.host(self.started_by);
        let guest = self.raised(daemon).map_err(Ending::NoGuest)?;
        if self.source == self.started_by {
            return Ok(guest);
        }
        self.host(self.source).reconnect(&guest).map_err(Ending::Lost)
    }

    fn raised(&self, daemon: Host) -> Result<Guest, Refusal> {
        use History::*;
        let mut config = match self.history {
            Loaded | LoadedUnplugged => daemon.load_new(self.controller)?,
            _ => daemon.define(self.controller)?,
        };
        if self.history == Removed {
            config = daemon.redefine(Definition { cards: 0, ..config })?;
        }
        let guest = daemon.start(config)?;
        Ok(match self.history {
            Fresh | Loaded | Removed => guest,
            Unplugged | LoadedUnplugged => Host::unplug(&guest),
            Replaced => daemon.plug(&Host::unplug(&daemon.plug(&guest)?))?,
        })
    }

    /// Migrates, there and back.
    pub fn row(&self) -> Row {
        let nothing = |ending| Row {
            cell: *self,
            ending,
            before: None,
            after: None,
            text: None,
            back: None,
            back_error: None,
            back_after: None,
        };
        let guest = match self.guest() {
            Ok(guest) => guest,
            Err(ending) => return nothing(ending),
        };
        let (source, destination) = (self.host(self.source), self.host(self.destination));
        let text = source.migratable(&guest);
        let said = text.definition.usb.map_or_else(|| "absent".to_owned(), |usb| usb.to_string());
        let sent = Row { before: Some(guest.hardware), text: Some(said), ..nothing(Ending::Same) };
        match destination.receive(&text, guest.hardware) {
            Err(refusal) => Row { ending: Ending::Refused(refusal), ..sent },
            Ok(arrived) => {
                let there = arrived.guest;
                let back = source.receive(&destination.migratable(&there), there.hardware);
                let ending = if arrived.silently_changed { Ending::Silent } else { Ending::Same };
                let back_after = back.ok().map(|back| back.guest.hardware);
                let (back, back_error) = match back {
                    Err(refusal) => ("refused", Some(refusal)),
                    Ok(back) if back.guest.hardware != guest.hardware => ("silent", None),
                    Ok(_) => ("same", None),
                };
                let (after, back) = (Some(there.hardware), Some(back));
                Row { ending, after, back, back_error, back_after, ..sent }
            }
        }
    }
}
