//! Attach: intent, backend, frontend, tell, save.

use super::{
    Device, Done, Effect, EffectKind, Notice, Refusal, Tell, Told,
    machine::{Live, Next},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attach {
    device: Device,
    step: Step,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Intend,
    Backend,
    Frontend,
    /// The frontend was refused.
    RemoveBackend(Refusal),
    /// Nothing is there; the intent goes too.
    TakeBack(Refusal),
    Refuse(Refusal),
    Tell,
    Save,
}

impl Attach {
    pub(super) fn new(device: Device) -> Self {
        Attach { device, step: Step::Intend }
    }

    pub(super) fn next(&mut self, live: &mut Live) -> Next {
        let Attach { device, step } = self;
        let alias = device.alias.clone();
        Next::Effect(match step {
            Step::Intend => {
                if !live.record.knows(&alias) {
                    live.record.intents.push(device.clone());
                }
                Effect::Save(live.record.clone())
            }
            Step::Backend => match device.add_backend() {
                Some(command) => Effect::Qmp(EffectKind::AddBackend, command),
                None => {
                    *step = Step::Frontend;
                    return self.next(live);
                }
            },
            Step::Frontend => Effect::Qmp(EffectKind::AddFrontend, device.add_frontend()),
            Step::RemoveBackend(refusal) => match device.remove_backend() {
                Some(command) => Effect::Qmp(EffectKind::RemoveBackend, command),
                None => {
                    live.forget(&alias);
                    *step = Step::TakeBack(refusal.clone());
                    return self.next(live);
                }
            },
            Step::TakeBack(_) | Step::Save => Effect::Save(live.record.clone()),
            Step::Refuse(refusal) => Effect::Tell(Tell {
                reply: Some(Told::Refused(refusal.clone())),
                notices: Vec::new(),
            }),
            Step::Tell => Effect::Tell(Tell {
                reply: Some(Told::Attached { alias: alias.clone() }),
                notices: vec![Notice::DeviceAdded { alias }],
            }),
        })
    }

    /// `true`: that was the last one.
    pub(super) fn done(&mut self, live: &mut Live, done: Done) -> bool {
        let Attach { device, step } = self;
        let alias = device.alias.clone();
        let refused = |effect, error| Refusal::Qemu { alias: alias.clone(), effect, error };
        let silent = |effect, why| Refusal::Silent { alias: alias.clone(), effect, why };
        *step = match (&*step, done) {
            (Step::Intend, done) => match live.saved(&done) {
                Ok(()) => Step::Backend,
                Err(why) => {
                    live.forget(&alias);
                    Step::Refuse(Refusal::NotSaved { why })
                }
            },
            (Step::Backend, Done::Replied(Ok(_))) => {
                live.knows_backend(device, true);
                Step::Frontend
            }
            (Step::Backend, Done::Replied(Err(error))) => {
                live.forget(&alias);
                Step::TakeBack(refused(EffectKind::AddBackend, error))
            }
            (Step::Frontend, Done::Replied(Ok(_))) => {
                live.known.devices.insert(alias.clone());
                live.forget(&alias);
                live.record.devices.push(device.clone());
                Step::Tell
            }
            (Step::Frontend, Done::Replied(Err(error))) => {
                Step::RemoveBackend(refused(EffectKind::AddFrontend, error))
            }
            (Step::RemoveBackend(refusal), _) => {
                // Nothing has ever used it: it goes, or recovery finds it.
                live.knows_backend(device, false);
                live.forget(&alias);
                Step::TakeBack(refusal.clone())
            }
            (Step::TakeBack(refusal), done) => {
                // If it fails the intent stays on file, and recovery finds nothing of it in QEMU.
                drop(live.saved(&done));
                Step::Refuse(refusal.clone())
            }
            (Step::Tell, _) => Step::Save,
            (Step::Refuse(_), _) => return true,
            (Step::Save, done) => {
                // If it fails the intent on file and QEMU together still say that it is there.
                drop(live.saved(&done));
                return true;
            }
            // The intent stays: only QEMU knows what it has done, and recovery will ask it.
            (Step::Backend, Done::Silent(why)) => Step::Refuse(silent(EffectKind::AddBackend, why)),
            (Step::Frontend, Done::Silent(why)) => {
                Step::Refuse(silent(EffectKind::AddFrontend, why))
            }
            (Step::Backend | Step::Frontend, other) => {
                Step::Refuse(silent(EffectKind::AddFrontend, format!("{other:?}")))
            }
        };
        false
    }
}
