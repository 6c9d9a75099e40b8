//! What the daemon does when it starts, effect by effect.

use super::{
    daemon::{Machine, Removed},
    outcome::Effect,
    rules::{Recovery, Tell},
    state::{DEVICES_MAX, Daemon, Next, Record, Recovering},
};

type Flags = [bool; DEVICES_MAX];

impl Machine<'_> {
    /// The status file is read; the first effect is to reach QEMU.
    pub(super) fn start(&mut self) {
        for device in &mut self.state.devices {
            device.memory = device.file;
        }
        let next = match self.rules.recovery {
            Recovery::AskQemu => Recovering::Look,
            _ => Recovering::Connect,
        };
        let none = [false; DEVICES_MAX];
        self.go_on(Next::Recover { next, added: none, removed: none });
    }

    pub(super) fn recover(&mut self, next: Recovering, mut added: Flags, mut removed: Flags) {
        self.outcome.did = Some(match next {
            Recovering::Connect => Effect::Connect,
            Recovering::Look => Effect::Look,
            Recovering::UndoFrontend(_) => Effect::RemoveFrontend,
            Recovering::UndoBackend(_) | Recovering::Clean(_) => Effect::RemoveBackend,
            Recovering::Save => Effect::Save,
            Recovering::Tell => Effect::Tell,
        });
        let then = match next {
            Recovering::Connect => match self.rules.recovery {
                Recovery::Believe => None,
                Recovery::FollowIntents => Some(self.undo_from(0)),
                _ => Some(Recovering::Look),
            },
            Recovering::Look => {
                for device in &mut self.state.devices {
                    device.seen = (device.frontend, device.backend);
                }
                if self.rules.recovery == Recovery::AskQemu {
                    self.decide(&mut added, &mut removed);
                }
                Some(self.clean_from(0))
            }
            Recovering::UndoFrontend(alias) => {
                let guest_ejects = self.bounds.guest_ejects;
                let device = self.device(alias);
                if guest_ejects {
                    device.asked |= device.frontend;
                } else if device.frontend {
                    device.frontend = false;
                    device.ending = true;
                }
                Some(Recovering::UndoBackend(alias))
            }
            Recovering::UndoBackend(alias) => {
                self.remove_backend(alias);
                let device = self.device(alias);
                removed[usize::from(alias)] = device.memory == Record::Detaching;
                device.memory = Record::Absent;
                Some(self.undo_from(alias + 1))
            }
            Recovering::Clean(alias) => {
                let removed = self.remove_backend(alias);
                if self.rules.recovery == Recovery::RemoveVanishedOrStop && removed != Removed::Yes
                {
                    return self.lose_guest();
                }
                if removed == Removed::Busy && self.rules.recovery == Recovery::AskQemu {
                    return;
                }
                if self.rules.recovery != Recovery::AskQemu {
                    self.device(alias).memory = Record::Absent;
                    self.tell_removed(alias);
                }
                Some(self.clean_from(alias + 1))
            }
            Recovering::Save => {
                let saved = self.save();
                if self.rules.recovery == Recovery::RemoveVanishedOrStop && !saved {
                    return self.lose_guest();
                }
                (self.rules.tell == Tell::AfterSave).then_some(Recovering::Tell)
            }
            Recovering::Tell => {
                for alias in self.aliases() {
                    let at = usize::from(alias);
                    if added[at] {
                        self.tell_added(alias);
                    }
                    if removed[at] {
                        self.tell_removed(alias);
                    }
                }
                (self.rules.tell == Tell::BeforeSave && !self.is_saved())
                    .then_some(Recovering::Save)
            }
        };
        match then {
            Some(next) => self.go_on(Next::Recover { next, added, removed }),
            None => self.state.daemon = Daemon::Idle,
        }
    }

    /// What QEMU has decides; the file only says what was meant.
    fn decide(&mut self, added: &mut Flags, removed: &mut Flags) {
        for (at, device) in self.state.devices.iter_mut().enumerate() {
            let (there, meant) = (device.seen.0, device.memory);
            added[at] = meant == Record::Attaching && there;
            // Also where only the intent is on file: the reply may have been given, or is still waited for.
            removed[at] = meant != Record::Absent && !there;
            device.memory = match meant {
                Record::Absent => Record::Absent,
                _ if there => Record::Present,
                _ => Record::Absent,
            };
        }
    }

    /// The next backend to be removed, from this alias on, or what comes after the last.
    fn clean_from(&self, first: u8) -> Recovering {
        let needs = |alias: &u8| {
            let device = &self.state.devices[usize::from(*alias)];
            match self.rules.recovery {
                Recovery::AskQemu => device.seen == (false, true),
                Recovery::RemoveVanishedOrStop => {
                    device.memory.is_defined() && device.listed && !device.seen.0
                }
                _ => device.memory.is_defined() && !device.seen.0,
            }
        };
        let next = self.aliases().filter(|alias| *alias >= first).find(needs);
        match next {
            Some(alias) => Recovering::Clean(alias),
            None if self.rules.tell == Tell::BeforeSave => Recovering::Tell,
            None => Recovering::Save,
        }
    }

    /// The next intent to be followed, from this alias on, or what comes after the last.
    fn undo_from(&self, first: u8) -> Recovering {
        let is_intent = |alias: &u8| {
            let memory = self.state.devices[usize::from(*alias)].memory;
            matches!(memory, Record::Attaching | Record::Detaching)
        };
        let next = self.aliases().filter(|alias| *alias >= first).find(is_intent);
        match next {
            Some(alias) => Recovering::UndoFrontend(alias),
            None if self.is_saved() => Recovering::Tell,
            None => Recovering::Save,
        }
    }

    /// Does the status file say what memory says?
    pub(super) fn is_saved(&self) -> bool {
        self.state.devices.iter().all(|device| device.file == self.rules.saved(device.memory))
    }

    fn lose_guest(&mut self) {
        self.state.guest = false;
        self.outcome.guest_lost = true;
    }
}
