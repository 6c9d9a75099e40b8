//! Where each fact is held.

use super::{
    definition::{Definition, Kind},
    name::Alias,
};

/// Devices of QEMU that take part, at most.
const REAL_MAX: usize = 4;

/// Everything that is the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The definition for the next start, as memory has it. What is on disk is what is written of it.
    pub config: Option<Definition>,
    /// The guest.
    pub guest: Guest,
}

/// The guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guest {
    /// It does not run.
    Off,
    /// It does.
    Running(Running),
    /// It was stopped by a daemon that came back.
    Lost,
}

/// A running guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Running {
    /// The live definition in memory; `None` when memory that is in use was freed.
    pub memory: Option<Definition>,
    /// The status file.
    pub file: Definition,
    /// What QEMU has.
    pub qemu: Qemu,
}

/// The devices of a QEMU, in the order in which they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Qemu {
    devices: [Option<Real>; REAL_MAX],
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Real {
    /// Its id.
    pub id: Alias,
    /// What it is.
    pub kind: Kind,
    /// The guest was asked to let it go.
    pub leaving: bool,
}

impl Qemu {
    /// All of them.
    pub fn devices(&self) -> impl Iterator<Item = &Real> {
        self.devices.iter().flatten()
    }

    /// The device with this id.
    pub fn get(&self, id: Alias) -> Option<Real> {
        self.devices().find(|device| device.id == id).copied()
    }

    /// Adds one; `false`: the id is taken.
    pub fn add(&mut self, id: Alias, kind: Kind) -> bool {
        let free = self.get(id).is_none();
        if free && let Some(slot) = self.devices.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(Real { id, kind, leaving: false });
        }
        free
    }

    /// Is there no room left?
    pub fn is_full(&self) -> bool {
        self.devices.iter().all(Option::is_some)
    }

    /// The guest is asked to let one go.
    pub fn leave(&mut self, id: Alias) {
        for device in self.devices.iter_mut().flatten().filter(|device| device.id == id) {
            device.leaving = true;
        }
    }

    /// Removes one. What is left keeps its order, and that is all that anybody could tell.
    pub fn remove(&mut self, id: Alias) {
        let mut left = Qemu::default();
        for (slot, device) in
            left.devices.iter_mut().zip(self.devices().filter(|device| device.id != id))
        {
            *slot = Some(*device);
        }
        *self = left;
    }
}
