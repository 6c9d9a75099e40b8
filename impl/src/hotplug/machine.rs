//! One domain's devices and the procedure that is changing them.

use std::collections::BTreeSet;

use super::{
    Device, Done, Effect, Record, Refusal, attach::Attach, detach::Detach, effect::named,
    recover::Recover,
};
use crate::hypervisor::Inventory;

/// A change that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Plug a device. Without an alias it is given the next one that is free everywhere.
    Attach(Device),
    /// Unplug the device of this alias.
    Detach(String),
}

/// What a daemon remembers of one running domain. A kill loses it; [`Machine::recover`] makes it anew from
/// the status file and QEMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub(super) live: Live,
    procedure: Option<Procedure>,
    /// Devices that QEMU said are gone. What it had of that name then may not be what it has now.
    gone: BTreeSet<String>,
}

/// The domain's devices as memory has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Live {
    /// What the status file should say.
    pub(super) record: Record,
    /// What it says, as far as is known.
    pub(super) saved: Record,
    /// What QEMU has, as far as is known.
    pub(super) known: Inventory,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Procedure {
    Attach(Attach),
    Detach(Detach),
    Recover(Recover),
    SaveAgain,
}

/// What a procedure does next.
pub(super) enum Next {
    Effect(Effect),
    Finished,
}

impl Machine {
    /// A domain whose status file says this and whose QEMU has just that.
    pub fn new(record: Record) -> Self {
        let mut known = Inventory::default();
        for device in &record.devices {
            known.devices.insert(device.alias.clone());
            if let Some(backend) = &device.backend {
                let kind = backend.kind;
                kind.of_mut(&mut known).insert(kind.id(&device.alias));
            }
        }
        let live = Live { record: record.clone(), saved: record, known };
        Machine { live, procedure: None, gone: BTreeSet::new() }
    }

    /// A domain that an earlier daemon left with this status file. Recovery is its first procedure.
    pub fn recover(record: Record) -> Self {
        let live = Live { record: record.clone(), saved: record, known: Inventory::default() };
        Machine {
            live,
            procedure: Some(Procedure::Recover(Recover::default())),
            gone: BTreeSet::new(),
        }
    }

    /// The definition's devices, and the intents.
    pub fn record(&self) -> &Record {
        &self.live.record
    }

    /// Nothing is going on.
    pub fn is_idle(&self) -> bool {
        self.procedure.is_none()
    }

    /// The status file is behind: an earlier save failed.
    pub fn is_dirty(&self) -> bool {
        self.live.saved != self.live.record
    }

    /// Begins what is asked for. Its effects follow.
    ///
    /// # Errors
    /// What can be refused without asking QEMU.
    pub fn request(&mut self, request: Request) -> Result<(), Refusal> {
        if !self.is_idle() {
            return Err(Refusal::Busy);
        }
        let procedure = match request {
            Request::Attach(device) if device.alias.is_empty() => {
                let alias = self.live.next_alias(&device.prefix, 0);
                Procedure::Attach(Attach::new(named(&device, &alias)))
            }
            Request::Attach(device) if self.live.is_taken(&device.alias) => {
                return Err(Refusal::AliasTaken { alias: device.alias });
            }
            Request::Attach(device) => Procedure::Attach(Attach::new(device)),
            Request::Detach(alias) => match self.live.record.device(&alias) {
                Some(device) => Procedure::Detach(Detach::asked(device.clone())),
                None => {
                    let known = self.live.record.aliases();
                    return Err(Refusal::NoSuchDevice { alias, known });
                }
            },
        };
        self.procedure = Some(procedure);
        Ok(())
    }

    /// The alias with the smallest number, from `first` on, that is free in the definition, in the intents and in
    /// QEMU.
    pub fn next_alias(&self, prefix: &str, first: u32) -> String {
        self.live.next_alias(prefix, first)
    }

    /// QEMU says that a device is gone.
    pub fn device_deleted(&mut self, alias: &str) {
        self.live.known.devices.remove(alias);
        self.gone.insert(alias.to_owned());
    }

    /// The device whose end is waited for.
    pub fn waits_for(&self) -> Option<&str> {
        match &self.procedure {
            Some(Procedure::Detach(detach)) => detach.waits_for(),
            _ => None,
        }
    }

    /// Has the event come that is waited for?
    pub fn has_come(&self, alias: &str) -> bool {
        self.gone.contains(alias)
    }

    /// Stops waiting: whoever asked is told that the unplug is requested.
    pub fn give_up(&mut self) -> bool {
        match &mut self.procedure {
            Some(Procedure::Detach(detach)) => detach.give_up(),
            _ => false,
        }
    }

    /// What to do next; nothing where nothing is to be done.
    pub fn next_effect(&mut self) -> Option<Effect> {
        loop {
            let Machine { live, procedure, gone } = self;
            let next = match procedure {
                Some(Procedure::Attach(attach)) => attach.next(live),
                Some(Procedure::Detach(detach)) => detach.next(live),
                Some(Procedure::Recover(recover)) => {
                    if recover.looks() {
                        // What went before is not in what QEMU has.
                        gone.clear();
                    }
                    recover.next(live)
                }
                Some(Procedure::SaveAgain) => Next::Effect(Effect::Save(live.record.clone())),
                None => {
                    return match gone.first() {
                        Some(alias) => Some(Effect::TakeEvent(alias.clone())),
                        None if live.saved != live.record => {
                            self.procedure = Some(Procedure::SaveAgain);
                            continue;
                        }
                        None => None,
                    };
                }
            };
            match next {
                Next::Effect(effect) => return Some(effect),
                Next::Finished => self.procedure = None,
            }
        }
    }

    /// How the effect ended that [`Machine::next_effect`] gave.
    pub fn done(&mut self, done: Done) {
        let Machine { live, procedure, gone } = self;
        let finished = match procedure {
            Some(Procedure::Attach(attach)) => attach.done(live, done),
            Some(Procedure::Detach(detach)) => {
                if detach.learns_that_it_is_gone(&done) {
                    gone.remove(detach.alias());
                }
                detach.done(live, done)
            }
            Some(Procedure::Recover(recover)) => recover.done(live, done),
            Some(Procedure::SaveAgain) => {
                drop(live.saved(&done));
                true
            }
            None => {
                if let Some(device) =
                    gone.pop_first().and_then(|alias| live.record.device(&alias).cloned())
                {
                    self.procedure = Some(Procedure::Detach(Detach::told(device)));
                }
                return;
            }
        };
        if finished {
            self.procedure = None;
        }
    }
}

impl Live {
    /// Is the name in use anywhere: in the definition, in an intent, or in QEMU?
    fn is_taken(&self, alias: &str) -> bool {
        let in_qemu = self.known.devices.contains(alias)
            || super::BackendKind::ALL
                .iter()
                .any(|kind| kind.of(&self.known).contains(&kind.id(alias)));
        self.record.knows(alias) || in_qemu
    }

    fn next_alias(&self, prefix: &str, first: u32) -> String {
        (first..)
            .map(|number| format!("{prefix}{number}"))
            .find(|alias| !self.is_taken(alias))
            .unwrap_or_default()
    }

    /// Takes over how a save ended. What failed is tried again when there is time.
    pub(super) fn saved(&mut self, done: &Done) -> Result<(), String> {
        match done {
            Done::Saved(Ok(())) => {
                self.saved = self.record.clone();
                Ok(())
            }
            Done::Saved(Err(why)) => Err(why.clone()),
            other => Err(format!("a save ended with {other:?}")),
        }
    }

    pub(super) fn knows_backend(&mut self, device: &Device, there: bool) {
        if let Some(backend) = &device.backend {
            let id = backend.kind.id(&device.alias);
            let known = backend.kind.of_mut(&mut self.known);
            if there {
                known.insert(id);
            } else {
                known.remove(&id);
            }
        }
    }

    pub(super) fn forget(&mut self, alias: &str) {
        self.record.devices.retain(|device| device.alias != alias);
        self.record.intents.retain(|device| device.alias != alias);
    }
}
