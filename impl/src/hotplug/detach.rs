//! Detach: ask, wait until the device is gone, remove the backend, tell, save.

use super::{
    Device, Done, Effect, EffectKind, Notice, Refusal, Tell, Told,
    effect::Removal,
    machine::{Live, Next},
};
use crate::hypervisor::Command;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Detach {
    device: Device,
    /// Somebody waits for the answer.
    asked: bool,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// An event began this: is it about the device that now has the name?
    Look,
    Frontend,
    Wait,
    Backend,
    Tell(Told),
    Save,
}

impl Detach {
    /// Because somebody asks for it.
    pub(super) fn asked(device: Device) -> Self {
        Detach { device, asked: true, step: Step::Frontend }
    }

    /// Because QEMU says that the device is gone.
    pub(super) fn told(device: Device) -> Self {
        Detach { device, asked: false, step: Step::Look }
    }

    pub(super) fn waits_for(&self) -> Option<&str> {
        (self.step == Step::Wait).then_some(&self.device.alias)
    }

    pub(super) fn alias(&self) -> &str {
        &self.device.alias
    }

    /// Does this say what the event says?
    pub(super) fn learns_that_it_is_gone(&self, done: &Done) -> bool {
        match (&self.step, done) {
            (Step::Wait, Done::Taken) => true,
            (Step::Frontend, Done::Replied(Err(error))) => error.is_device_not_found(),
            _ => false,
        }
    }

    pub(super) fn give_up(&mut self) -> bool {
        let waits = self.step == Step::Wait;
        if waits {
            let alias = self.device.alias.clone();
            self.step = Step::Tell(Told::UnplugRequested { alias });
        }
        waits
    }

    pub(super) fn next(&mut self, live: &mut Live) -> Next {
        let alias = self.device.alias.clone();
        Next::Effect(match &self.step {
            Step::Look => Effect::Look,
            Step::Frontend => Effect::Qmp(EffectKind::RemoveFrontend, Command::device_del(&alias)),
            Step::Wait => Effect::TakeEvent(alias),
            Step::Backend => match self.device.remove_backend() {
                Some(command) => Effect::Qmp(EffectKind::RemoveBackend, command),
                None => {
                    live.forget(&alias);
                    self.step = Step::Tell(Told::Detached { alias });
                    return self.next(live);
                }
            },
            Step::Tell(told) => {
                let notices = match told {
                    Told::Detached { alias } => {
                        vec![Notice::DeviceRemoved { alias: alias.clone() }]
                    }
                    _ => Vec::new(),
                };
                Effect::Tell(Tell { reply: self.asked.then(|| told.clone()), notices })
            }
            Step::Save => Effect::Save(live.record.clone()),
        })
    }

    /// `true`: that was the last one.
    pub(super) fn done(&mut self, live: &mut Live, done: Done) -> bool {
        let Detach { device, asked, step } = self;
        let alias = device.alias.clone();
        let silent = |effect, why| {
            Step::Tell(Told::Refused(Refusal::Silent { alias: alias.clone(), effect, why }))
        };
        *step = match (&*step, done) {
            (Step::Look, Done::Saw(inventory)) => {
                live.known = *inventory;
                if live.known.devices.contains(&alias) {
                    // An earlier device of that name is gone; this one is there.
                    return true;
                }
                Step::Backend
            }
            (Step::Look, _) => return true,
            (Step::Frontend, Done::Replied(Ok(_))) => Step::Wait,
            (Step::Frontend, Done::Replied(Err(error))) if error.is_device_not_found() => {
                live.known.devices.remove(&alias);
                Step::Backend
            }
            (Step::Frontend, Done::Replied(Err(error)))
                if error.desc.contains("already in the process of unplug") =>
            {
                Step::Wait
            }
            (Step::Frontend, Done::Replied(Err(error))) => {
                let effect = EffectKind::RemoveFrontend;
                Step::Tell(Told::Refused(Refusal::Qemu { alias: alias.clone(), effect, error }))
            }
            (Step::Frontend, Done::Silent(why)) => silent(EffectKind::RemoveFrontend, why),
            (Step::Wait, Done::Taken) => Step::Backend,
            (Step::Backend, Done::Replied(reply)) => match Removal::of(&reply) {
                Removal::Busy => Step::Backend,
                // What QEMU will not give back nobody can use: the device is gone all the same.
                Removal::Gone | Removal::Refused => {
                    live.knows_backend(device, false);
                    live.known.devices.remove(&alias);
                    live.forget(&alias);
                    Step::Tell(Told::Detached { alias: alias.clone() })
                }
            },
            (Step::Backend, Done::Silent(why)) => silent(EffectKind::RemoveBackend, why),
            (Step::Tell(Told::Detached { .. }), _) => Step::Save,
            (Step::Tell(_), _) => return true,
            (Step::Save, done) => {
                // If it fails, recovery finds that QEMU does not have it.
                drop(live.saved(&done));
                return true;
            }
            (step, other) => {
                let why = format!("{other:?} at {step:?}");
                if *asked { silent(EffectKind::RemoveFrontend, why) } else { return true }
            }
        };
        false
    }
}
