//! Recovery: what the file meant and what QEMU has become one again. QEMU decides.
//!
//! It is idempotent, may be killed at any effect and run again, and never ends the guest: a backend that
//! QEMU will not give back is left to the next time.

use std::collections::VecDeque;

use super::{
    BackendKind, Done, Effect, EffectKind, Notice, Tell,
    effect::Removal,
    machine::{Live, Next},
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recover {
    step: Step,
    /// Backends without a frontend.
    orphans: VecDeque<(BackendKind, String)>,
    notices: Vec<Notice>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    Look,
    Clean,
    Tell,
    Save,
}

impl Recover {
    /// QEMU is about to be asked what it has.
    pub(super) fn looks(&self) -> bool {
        self.step == Step::Look
    }

    pub(super) fn next(&mut self, live: &mut Live) -> Next {
        if self.step == Step::Clean && self.orphans.is_empty() {
            self.step = Step::Tell;
        }
        match self.step {
            Step::Look => Next::Effect(Effect::Look),
            Step::Clean => match self.orphans.front() {
                Some((kind, alias)) => {
                    Next::Effect(Effect::Qmp(EffectKind::RemoveBackend, kind.remove(alias)))
                }
                None => Next::Finished,
            },
            Step::Tell => {
                Next::Effect(Effect::Tell(Tell { reply: None, notices: self.notices.clone() }))
            }
            Step::Save if live.saved == live.record => Next::Finished,
            Step::Save => Next::Effect(Effect::Save(live.record.clone())),
        }
    }

    /// `true`: that was the last one.
    pub(super) fn done(&mut self, live: &mut Live, done: Done) -> bool {
        match (self.step, done) {
            (Step::Look, Done::Saw(inventory)) => {
                live.known = *inventory;
                self.decide(live);
                self.step = Step::Clean;
            }
            // Nothing is known: ask again.
            (Step::Look, _) => {}
            (Step::Clean, Done::Replied(reply)) => {
                if Removal::of(&reply) != Removal::Busy
                    && let Some((kind, alias)) = self.orphans.pop_front()
                {
                    kind.of_mut(&mut live.known).remove(&kind.id(&alias));
                }
            }
            (Step::Clean, _) => {
                self.orphans.pop_front();
            }
            (Step::Tell, _) => {
                self.step = Step::Save;
                return live.saved == live.record;
            }
            (Step::Save, done) => {
                drop(live.saved(&done));
                return true;
            }
        }
        false
    }

    fn decide(&mut self, live: &mut Live) {
        let Live { record, known, .. } = live;
        let is_there = |alias: &str| known.devices.contains(alias);
        let (adopted, dropped): (Vec<_>, Vec<_>) = std::mem::take(&mut record.intents)
            .into_iter()
            .partition(|device| is_there(&device.alias));
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut record.devices)
            .into_iter()
            .partition(|device| is_there(&device.alias));
        let added =
            adopted.iter().map(|device| Notice::DeviceAdded { alias: device.alias.clone() });
        // Also of intents: the reply may have been given, or somebody still waits for it.
        let removed = gone
            .iter()
            .chain(&dropped)
            .map(|device| Notice::DeviceRemoved { alias: device.alias.clone() });
        self.notices = added.chain(removed).collect();
        // Whatever its device is called, a backend of ours is known by its record; others by how they are named.
        let own: Vec<(BackendKind, String)> = gone
            .iter()
            .chain(&dropped)
            .filter_map(|device| Some((device.backend.as_ref()?.kind, device.alias.clone())))
            .filter(|(kind, alias)| kind.of(known).contains(&kind.id(alias)))
            .collect();
        record.devices = kept.into_iter().chain(adopted).collect();
        self.orphans = BackendKind::ALL
            .iter()
            .flat_map(|&kind| {
                let ids = kind.of(known).iter();
                let aliases = ids.filter_map(move |id| kind.alias_of(id));
                aliases.filter(|alias| !is_there(alias)).map(move |alias| (kind, alias.to_owned()))
            })
            .collect();
        for orphan in own {
            if !self.orphans.contains(&orphan) {
                self.orphans.push_back(orphan);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        hotplug::{BackendKind, Device, Done, Effect, EffectKind, Machine, Record},
        hypervisor::{Command, Inventory},
    };

    #[test]
    fn a_backend_is_an_orphan_whatever_its_device_was_called() {
        let chardev = Command::chardev_add("", json!({"type": "null", "data": {}}));
        let port = Command::new("device_add").with("driver", "virtserialport");
        let kind = BackendKind::Chardev;
        let channel = Device::with_backend("channel", port, kind, chardev, "chardev");
        let intent = Device { alias: "ua-console".to_owned(), ..channel };
        let mut machine = Machine::recover(Record { devices: vec![], intents: vec![intent] });
        assert_eq!(machine.next_effect(), Some(Effect::Look));
        let inventory = Inventory {
            chardevs: ["charua-console", "compat_monitor0"].map(str::to_owned).into(),
            ..Inventory::default()
        };
        machine.done(Done::Saw(Box::new(inventory)));
        let remove = Command::chardev_remove("charua-console");
        assert_eq!(machine.next_effect(), Some(Effect::Qmp(EffectKind::RemoveBackend, remove)));
    }
}
