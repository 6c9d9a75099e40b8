//! One step: the guards of every action, and each effect of a procedure.

use super::{
    action::Action,
    outcome::{Effect, Outcome, Reply},
    rules::{Recovery, Rules, SaveBefore, Tell},
    scopes::Bounds,
    state::{
        Attaching, DEVICES_MAX, Daemon, Detaching, Device, Gone, Next, Record, Recovering, State,
        Told, Why,
    },
};
use crate::study::Blocked;

/// What became of a backend that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    Yes,
    /// `Chardev 'charchannel0' not found` and its like.
    NotThere,
    /// `Chardev 'charchannel0' is busy` and its like.
    Busy,
}

/// One step under construction.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    pub(super) rules: &'a Rules,
    pub(super) bounds: &'a Bounds,
    pub(super) state: State,
    pub(super) outcome: Outcome,
}

impl Machine<'_> {
    /// The guard and the effect of `action`.
    pub(super) fn act(&mut self, action: Action) -> Result<(), Blocked> {
        enabled(self.state.guest, "the guest is gone, and the study ends with it")?;
        match action {
            Action::Attach { bus_full } => {
                self.is_idle()?;
                let alias = self.next_alias()?;
                let next = match self.rules.save_before {
                    SaveBefore::Nothing => Attaching::Backend,
                    _ => Attaching::SaveBefore,
                };
                self.go_on(Next::Attach { alias, bus_full, next });
            }
            Action::Detach { alias } => {
                self.is_idle()?;
                if self.device(alias).memory.is_defined() {
                    let next = match self.rules.save_before {
                        SaveBefore::Nothing | SaveBefore::AttachIntent => Detaching::Frontend,
                        _ => Detaching::SaveBefore,
                    };
                    self.go_on(Next::Detach { alias, asked: true, next });
                } else {
                    self.outcome.reply = Reply::Refused { why: Why::NoSuchDevice };
                }
            }
            Action::Dump => {
                self.is_idle()?;
                let aliases = self.aliases_where(|device| device.memory.is_defined());
                self.outcome.reply = Reply::Devices { aliases };
            }
            Action::Inspect => {
                let busy = matches!(self.state.daemon, Daemon::Busy(_));
                enabled(!busy, "the daemon is in the middle of a change")?;
                self.outcome.reply = Reply::Places {
                    frontends: self.aliases_where(|device| device.frontend),
                    backends: self.aliases_where(|device| device.backend),
                    file: self.aliases_where(|device| device.file.is_defined()),
                    intents: self.aliases_where(|device| {
                        matches!(device.file, Record::Attaching | Record::Detaching)
                    }),
                    definition: self.aliases_where(|device| device.memory.is_defined()),
                };
            }
            Action::Step => self.effect()?,
            Action::GiveUp => match self.state.daemon {
                Daemon::Busy(Next::Detach { alias, asked, next: Detaching::Wait }) => {
                    let gone = Gone::WhenTheGuestLetsGo;
                    let next = match self.rules.save_after_asking {
                        true => Detaching::SaveAfter(gone),
                        false => Detaching::Tell(Ok(gone)),
                    };
                    self.go_on(Next::Detach { alias, asked, next });
                }
                _ => return Err(Blocked("the daemon does not wait for a device to go")),
            },
            Action::Eject { alias } => {
                let device = self.device(alias);
                enabled(device.frontend, "the guest has no such device")?;
                device.frontend = false;
                device.asked = false;
                device.ending = true;
            }
            Action::Finalize { alias } => {
                let listens = self.listens();
                let device = self.device(alias);
                enabled(device.ending, "no device of that name is coming to its end")?;
                device.ending = false;
                device.deleted = listens;
            }
            Action::Kill => {
                enabled(self.state.daemon != Daemon::Down, "the daemon is not running")?;
                enabled(self.state.kills < self.bounds.kills, "the scope has no further kill")?;
                self.state.kills += 1;
                self.kill();
            }
            Action::Start => {
                enabled(self.state.daemon == Daemon::Down, "the daemon is running")?;
                self.start();
            }
            Action::Restart => {
                enabled(self.state.is_at_rest(), "the daemon is not at rest")?;
                enabled(self.state.kills < self.bounds.kills, "the scope has no further kill")?;
                self.state.kills += 1;
                self.kill();
                self.start();
                self.come_to_rest();
                (self.outcome.did, self.outcome.failed) = (None, false);
            }
            Action::FillDisk => {
                enabled(!self.state.disk_full, "the disk is full already")?;
                self.state.disk_full = true;
            }
            Action::FreeDisk => {
                enabled(self.state.disk_full, "the disk is not full")?;
                self.state.disk_full = false;
            }
        }
        Ok(())
    }

    fn aliases_where(&self, is_so: impl Fn(&Device) -> bool) -> Vec<u8> {
        let devices = (0..).zip(&self.state.devices);
        devices.filter(|(_, device)| is_so(device)).map(|(alias, _)| alias).collect()
    }

    fn is_idle(&self) -> Result<(), Blocked> {
        enabled(self.state.daemon != Daemon::Down, "nobody listens: the daemon is not running")?;
        enabled(self.state.daemon == Daemon::Idle, "the daemon has another job")
    }

    /// Does the daemon get QEMU's events?
    fn listens(&self) -> bool {
        match self.state.daemon {
            Daemon::Down => false,
            Daemon::Busy(Next::Recover { next: Recovering::Connect, .. }) => false,
            // Connected and asked in one: an event from before does not count.
            Daemon::Busy(Next::Recover { next: Recovering::Look, .. }) => {
                self.rules.recovery != Recovery::AskQemu
            }
            _ => true,
        }
    }

    pub(super) fn device(&mut self, alias: u8) -> &mut Device {
        &mut self.state.devices[usize::from(alias)]
    }

    pub(super) fn go_on(&mut self, next: Next) {
        self.state.daemon = Daemon::Busy(next);
    }

    fn next_alias(&self) -> Result<u8, Blocked> {
        let devices = &self.state.devices[..self.bounds.devices];
        let free = if self.rules.alias_is_free_everywhere {
            devices
                .iter()
                .position(|device| device.memory == Record::Absent && device.seen == (false, false))
        } else {
            let largest = devices.iter().rposition(|device| device.memory.is_defined());
            let next = largest.map_or(0, |largest| largest + 1);
            (next < devices.len()).then_some(next)
        };
        free.and_then(|alias| u8::try_from(alias).ok())
            .ok_or(Blocked("the scope has no further alias"))
    }

    /// SIGKILL: memory is gone, files and QEMU stay.
    pub(super) fn kill(&mut self) {
        let unanswered = match self.state.daemon {
            Daemon::Busy(Next::Attach { alias, .. } | Next::Detach { alias, asked: true, .. }) => {
                Some(alias)
            }
            _ => None,
        };
        for (alias, device) in (0..).zip(&mut self.state.devices) {
            device.memory = Record::Absent;
            device.deleted = false;
            device.seen = (false, false);
            if unanswered == Some(alias) {
                device.told = Told::Unknown;
            }
        }
        self.state.dirty = false;
        self.state.daemon = Daemon::Down;
    }

    /// Goes on until nothing is left to do, events included. QEMU brings to its end what must end.
    pub(super) fn come_to_rest(&mut self) {
        while self.state.guest {
            let before = self.state;
            if self.effect().is_err() || self.state == before {
                let ending = (0..).zip(&self.state.devices).find(|(_, device)| device.ending);
                let Some((alias, _)) = ending else { break };
                let listens = self.listens();
                let device = self.device(alias);
                (device.ending, device.deleted) = (false, listens);
            }
        }
    }

    /// The next effect of whatever the daemon is about.
    fn effect(&mut self) -> Result<(), Blocked> {
        match self.state.daemon {
            Daemon::Down => return Err(Blocked("the daemon is not running")),
            Daemon::Idle => self.look_for_work()?,
            Daemon::Busy(Next::Attach { alias, bus_full, next }) => {
                self.attach(alias, bus_full, next)
            }
            Daemon::Busy(Next::Detach { alias, asked, next }) => self.detach(alias, asked, next)?,
            Daemon::Busy(Next::Recover { next, added, removed }) => {
                self.recover(next, added, removed)
            }
        }
        Ok(())
    }

    /// An idle daemon handles an event, or saves what it could not save before.
    fn look_for_work(&mut self) -> Result<(), Blocked> {
        let deleted = (0..).zip(&self.state.devices).find(|(_, device)| device.deleted);
        if let Some((alias, device)) = deleted {
            let known = device.memory.is_defined();
            self.outcome.did = Some(Effect::TakeEvent);
            self.device(alias).deleted = false;
            if known {
                let next = match self.rules.events_are_checked {
                    true => Detaching::Look,
                    false => Detaching::Backend,
                };
                self.go_on(Next::Detach { alias, asked: false, next });
            }
            return Ok(());
        }
        enabled(self.state.dirty && self.rules.saves_again, "the daemon has nothing to do")?;
        enabled(!self.state.disk_full, "the disk is still full")?;
        self.outcome.did = Some(Effect::Save);
        self.save();
        Ok(())
    }

    fn attach(&mut self, alias: u8, bus_full: bool, next: Attaching) {
        self.outcome.did = Some(match next {
            Attaching::SaveBefore | Attaching::TakeBack(_) | Attaching::SaveAfter => Effect::Save,
            Attaching::Backend => Effect::AddBackend,
            Attaching::Frontend => Effect::AddFrontend,
            Attaching::RemoveBackend(_) => Effect::RemoveBackend,
            Attaching::Tell(_) => Effect::Tell,
        });
        let has_saved = self.rules.save_before != SaveBefore::Nothing;
        let after_refusal = |why| match has_saved {
            true => Attaching::TakeBack(why),
            false => Attaching::Tell(Err(why)),
        };
        let next = match next {
            Attaching::SaveBefore => {
                self.device(alias).memory = match self.rules.save_before {
                    SaveBefore::Result => Record::Present,
                    _ => Record::Attaching,
                };
                if self.save() {
                    Attaching::Backend
                } else {
                    self.device(alias).memory = Record::Absent;
                    self.state.dirty &= !self.is_saved();
                    Attaching::Tell(Err(Why::StatusNotSaved))
                }
            }
            Attaching::Backend if self.device(alias).backend => {
                self.outcome.failed = true;
                self.device(alias).memory = Record::Absent;
                after_refusal(Why::DuplicateId)
            }
            Attaching::Backend => {
                let device = self.device(alias);
                device.backend = true;
                device.seen.1 = true;
                Attaching::Frontend
            }
            Attaching::Frontend if bus_full || self.device(alias).frontend => {
                self.outcome.failed = true;
                let why = if bus_full { Why::BusFull } else { Why::DuplicateId };
                Attaching::RemoveBackend(why)
            }
            Attaching::Frontend => {
                let device = self.device(alias);
                device.frontend = true;
                device.seen.0 = true;
                device.memory = Record::Present;
                if self.rules.tell == Tell::AtOnce {
                    self.tell_added(alias);
                }
                match self.saves_first() {
                    true => Attaching::SaveAfter,
                    false => Attaching::Tell(Ok(())),
                }
            }
            Attaching::RemoveBackend(why) => {
                // Nothing has ever used it.
                self.remove_backend(alias);
                self.device(alias).memory = Record::Absent;
                after_refusal(why)
            }
            Attaching::TakeBack(why) => {
                self.save();
                Attaching::Tell(Err(why))
            }
            Attaching::SaveAfter => {
                self.save();
                if !self.saves_first() {
                    return self.rest();
                }
                Attaching::Tell(Ok(()))
            }
            Attaching::Tell(Err(why)) => {
                self.outcome.reply = Reply::Refused { why };
                return self.rest();
            }
            Attaching::Tell(Ok(())) => {
                if self.rules.tell != Tell::AtOnce {
                    self.tell_added(alias);
                }
                self.device(alias).told = Told::Present;
                self.outcome.reply = Reply::Attached { alias };
                if self.rules.tell != Tell::BeforeSave {
                    return self.rest();
                }
                Attaching::SaveAfter
            }
        };
        self.go_on(Next::Attach { alias, bus_full, next });
    }

    fn detach(&mut self, alias: u8, asked: bool, next: Detaching) -> Result<(), Blocked> {
        let rules = self.rules;
        let guest_ejects = self.bounds.guest_ejects;
        self.outcome.did = Some(match next {
            Detaching::SaveBefore | Detaching::SaveAfter(_) => Effect::Save,
            Detaching::Look => Effect::Look,
            Detaching::Frontend => Effect::RemoveFrontend,
            Detaching::Wait => Effect::TakeEvent,
            Detaching::Backend => Effect::RemoveBackend,
            Detaching::Tell(_) => Effect::Tell,
        });
        let refused = |why| if asked { Some(Detaching::Tell(Err(why))) } else { None };
        let next = match next {
            Detaching::SaveBefore => {
                let before = self.device(alias).memory;
                self.device(alias).memory = match rules.save_before {
                    SaveBefore::Result => Record::Absent,
                    _ => Record::Detaching,
                };
                if self.save() {
                    Some(Detaching::Frontend)
                } else {
                    self.device(alias).memory = before;
                    self.state.dirty &= !self.is_saved();
                    refused(Why::StatusNotSaved)
                }
            }
            Detaching::Look => {
                let device = self.device(alias);
                device.seen = (device.frontend, device.backend);
                (!device.frontend).then_some(Detaching::Backend)
            }
            Detaching::Frontend => {
                let device = self.device(alias);
                if !device.frontend {
                    self.outcome.failed = true;
                    let device = self.device(alias);
                    // It went away by itself: QEMU says DeviceNotFound, and may have said why before.
                    let was_told = std::mem::take(&mut device.deleted);
                    match rules.gone_is_done || was_told {
                        true => Some(Detaching::Backend),
                        false => refused(Why::Unknown),
                    }
                } else if !guest_ejects {
                    device.frontend = false;
                    device.ending = true;
                    device.seen.0 = false;
                    Some(Detaching::Wait)
                } else {
                    let pending = std::mem::replace(&mut device.asked, true);
                    self.outcome.failed = pending;
                    match pending && !rules.pending_is_asked {
                        true => refused(Why::UnplugPending),
                        false => Some(Detaching::Wait),
                    }
                }
            }
            Detaching::Wait => {
                let device = self.device(alias);
                enabled(device.deleted, "the device has not come to its end")?;
                device.deleted = false;
                Some(Detaching::Backend)
            }
            Detaching::Backend => {
                let removed = self.remove_backend(alias);
                if removed == Removed::Busy && rules.gone_is_done {
                    Some(Detaching::Backend)
                } else if removed == Removed::Yes || rules.gone_is_done {
                    let device = self.device(alias);
                    device.memory = Record::Absent;
                    device.seen = (false, false);
                    if rules.tell == Tell::AtOnce {
                        self.tell_removed(alias);
                    }
                    Some(match self.saves_first() {
                        true => Detaching::SaveAfter(Gone::Now),
                        false => Detaching::Tell(Ok(Gone::Now)),
                    })
                } else {
                    refused(Why::BackendRefused)
                }
            }
            Detaching::SaveAfter(gone) => {
                self.save();
                // Whoever has told it already and owes nobody a reply is done.
                let owes = self.saves_first() && (asked || rules.tell != Tell::AtOnce);
                owes.then_some(Detaching::Tell(Ok(gone)))
            }
            Detaching::Tell(Ok(Gone::Now)) => {
                if rules.tell != Tell::AtOnce {
                    self.tell_removed(alias);
                }
                if asked {
                    self.device(alias).told = Told::Absent;
                    self.outcome.reply = Reply::Detached { alias };
                }
                (rules.tell == Tell::BeforeSave).then_some(Detaching::SaveAfter(Gone::Now))
            }
            Detaching::Tell(Ok(Gone::WhenTheGuestLetsGo)) => {
                self.outcome.reply = Reply::UnplugRequested { alias };
                None
            }
            Detaching::Tell(Err(why)) => {
                self.outcome.reply = Reply::Refused { why };
                None
            }
        };
        match next {
            Some(next) => self.go_on(Next::Detach { alias, asked, next }),
            None => self.rest(),
        }
        Ok(())
    }

    fn rest(&mut self) {
        self.state.daemon = Daemon::Idle;
    }

    /// Once QEMU has done it: is the status file saved before anybody is told?
    fn saves_first(&self) -> bool {
        self.rules.save_after && self.rules.tell != Tell::BeforeSave
    }

    /// Saves what memory says, or leaves the file as it is and says that it failed.
    pub(super) fn save(&mut self) -> bool {
        if self.state.disk_full {
            self.state.dirty = self.rules.saves_again;
            self.outcome.failed = true;
            return false;
        }
        let rules = self.rules;
        // QEMU has just been asked for its devices (`qemuDomainUpdateDeviceList`).
        let keeps_list = rules.recovery == Recovery::RemoveVanishedOrStop;
        for device in &mut self.state.devices {
            device.file = rules.saved(device.memory);
            device.listed = keeps_list && device.frontend && device.file.is_defined();
        }
        self.state.dirty = false;
        true
    }

    /// A backend that something uses is not removed, nor one that is not there.
    pub(super) fn remove_backend(&mut self, alias: u8) -> Removed {
        let device = self.device(alias);
        let removed = if !device.backend {
            Removed::NotThere
        } else if device.frontend || device.ending {
            Removed::Busy
        } else {
            device.backend = false;
            device.seen.1 = false;
            Removed::Yes
        };
        self.outcome.failed = removed != Removed::Yes;
        removed
    }

    pub(super) fn tell_added(&mut self, alias: u8) {
        self.device(alias).told = Told::Present;
        self.outcome.added.push(alias);
    }

    pub(super) fn tell_removed(&mut self, alias: u8) {
        self.device(alias).told = Told::Absent;
        self.outcome.removed.push(alias);
    }

    pub(super) fn aliases(&self) -> impl Iterator<Item = u8> + use<> {
        const { assert!(DEVICES_MAX < u8::MAX as usize) };
        (0..).take(self.bounds.devices)
    }
}

impl Rules {
    /// What the status file says of a device of which memory says this.
    pub(super) fn saved(&self, memory: Record) -> Record {
        let saved = match (memory, self.save_before) {
            (Record::Attaching, SaveBefore::AttachIntent | SaveBefore::Intents) => {
                Record::Attaching
            }
            (Record::Attaching, _) => Record::Absent,
            (Record::Detaching, SaveBefore::Intents) => Record::Detaching,
            (Record::Detaching, _) => Record::Present,
            (other, _) => other,
        };
        match self.forgets {
            Some(Record::Detaching) if saved == Record::Detaching => Record::Present,
            Some(forgotten) if forgotten == saved => Record::Absent,
            _ => saved,
        }
    }
}

pub(super) fn enabled(guard: bool, else_because: &'static str) -> Result<(), Blocked> {
    if guard { Ok(()) } else { Err(Blocked(else_because)) }
}
