//! What every design is asked.

use super::{
    Study,
    action::Action,
    daemon::Machine,
    outcome::{Outcome, Reply},
    state::{Attaching, DEVICES_MAX, Daemon, Device, Next, Record, State, Told},
};
use crate::study::{
    Judgement,
    Law::{self, Always, AlwaysPossible, AlwaysStep, Sometimes, Transparent},
    Property,
};

const UPDATE_DEVICES: &str = "libvirt qemuProcessReconnect and qemuProcessUpdateDevices";
const ORPHANS: &str = "libvirt 3fbf78bdf3 (1.1.1), which set out to find devices that vanished";
const LAW: &str =
    "the first law: a disruption that users should not notice changes nothing they observe";
const EVENTS: &str = "libvirt virDomainEventDeviceAdded, virDomainEventDeviceRemoved";

/// Every property, in the order of the matrix.
pub(super) fn properties() -> Vec<Property<Study>> {
    let property = |name, source, law: Law<Study>| Property { name, source, law };
    vec![
        property(
            "no running guest is lost",
            UPDATE_DEVICES,
            Always(|_, s: &State| Judgement::when(true, s.guest)),
        ),
        property(
            "at rest definition, status file and QEMU agree",
            UPDATE_DEVICES,
            Always(|study, s: &State| {
                let agree = |device: &Device| {
                    device.memory.is_defined() == device.frontend
                        && device.file == study.rules.saved(device.memory)
                        && device.memory != Record::Attaching
                };
                Judgement::when(s.is_at_rest(), s.devices.iter().all(agree))
            }),
        ),
        property(
            "at rest no backend is left without its device",
            ORPHANS,
            Always(|_, s: &State| {
                each(s, |device| Judgement::when(device.backend, device.frontend))
            }),
        ),
        property(
            "at rest QEMU has no device that the definition lacks",
            ORPHANS,
            Always(|_, s: &State| {
                each(s, |device| Judgement::when(device.frontend, device.memory.is_defined()))
            }),
        ),
        property(
            "an alias is given out only when QEMU does not know it",
            "libvirt qemuAssignDeviceAliases, next index in the definition",
            AlwaysStep(aliases_are_free),
        ),
        property(
            "a reported success survives any kill",
            "what a user expects of a reply",
            AlwaysStep(|study: &Study, _, _, outcome: &Outcome, after: &State| {
                let there = |alias: u8| recovered(study, after).is_ok_and(|s| is_there(&s, alias));
                match outcome.reply {
                    Reply::Attached { alias } => {
                        Judgement::when(stayed(after, alias), there(alias))
                    }
                    Reply::Detached { alias } => Judgement::when(true, !there(alias)),
                    _ => Judgement::NotAsked,
                }
            }),
        ),
        property(
            "an event tells what no kill can undo",
            EVENTS,
            AlwaysStep(|study: &Study, _, _, outcome: &Outcome, after: &State| {
                let Outcome { added, removed, .. } = outcome;
                if added.is_empty() && removed.is_empty() {
                    return Judgement::NotAsked;
                }
                let durable = recovered(study, after).is_ok_and(|s| {
                    added.iter().all(|alias| !stayed(after, *alias) || is_there(&s, *alias))
                        && !removed.iter().any(|alias| is_there(&s, *alias))
                });
                Judgement::when(true, durable)
            }),
        ),
        property(
            "at rest management knows which devices there are",
            EVENTS,
            Always(|_, s: &State| {
                each(s, |device| match device.told {
                    Told::Unknown => Judgement::NotAsked,
                    told => {
                        Judgement::when(true, (told == Told::Present) == device.memory.is_defined())
                    }
                })
            }),
        ),
        property(
            "a refused request leaves nothing in QEMU",
            "libvirt qemuDomainAttachChrDevice, its rollback",
            AlwaysStep(|_, before: &State, _, outcome: &Outcome, after: &State| {
                let Daemon::Busy(Next::Attach { alias, .. }) = before.daemon else {
                    return Judgement::NotAsked;
                };
                let device = &after.devices[usize::from(alias)];
                Judgement::when(
                    matches!(outcome.reply, Reply::Refused { .. }),
                    !device.frontend && !device.backend,
                )
            }),
        ),
        property(
            "recovery that is killed and run again ends the same",
            "idempotence, as write-ahead logging asks of redo and undo",
            Always(|study, s: &State| {
                let recovering = matches!(s.daemon, Daemon::Busy(Next::Recover { .. }));
                if !recovering {
                    return Judgement::NotAsked;
                }
                let mut undisturbed = study.machine(s);
                undisturbed.come_to_rest();
                let same = match recovered(study, s) {
                    Ok(again) => {
                        undisturbed.state.guest && facts(&undisturbed.state) == facts(&again)
                    }
                    Err(GuestLost) => !undisturbed.state.guest,
                };
                Judgement::when(true, same)
            }),
        ),
        property(
            "recovery twice is recovery once",
            "idempotence, as write-ahead logging asks of redo and undo",
            Always(|study, s: &State| {
                let once = match s.daemon {
                    Daemon::Down => recovered(study, s),
                    _ => return Judgement::NotAsked,
                };
                let same = once.is_ok_and(|once| {
                    recovered(study, &once).is_ok_and(|twice| facts(&once) == facts(&twice))
                });
                Judgement::when(true, same)
            }),
        ),
        property(
            "every device can be attached in the end",
            "what a user expects: a request that failed can be tried again",
            AlwaysPossible {
                from: |_, _: &State| true,
                goal: |study: &Study, s: &State| {
                    let all = &s.devices[..study.bounds.devices];
                    s.is_at_rest() && all.iter().all(|device| device.memory.is_defined())
                },
            },
        ),
        property(
            "every device can be removed in the end",
            "what a user expects: a request that failed can be tried again",
            AlwaysPossible {
                from: |_, _: &State| true,
                goal: |_, s: &State| {
                    let clean = |device: &Device| {
                        !device.frontend && !device.backend && device.memory == Record::Absent
                    };
                    s.is_at_rest() && s.devices.iter().all(clean)
                },
            },
        ),
        property(
            "a restart at rest is transparent",
            LAW,
            Transparent(|_, action| action == Action::Restart),
        ),
        property(
            "a kill falls between backend and frontend, and the daemon comes back",
            "so that the rest is not vacuous",
            Sometimes(|_, s: &State| {
                s.is_at_rest() && s.kills > 0 && s.devices.iter().any(|d| d.told == Told::Unknown)
            }),
        ),
    ]
}

/// Judges every device of a state at rest.
fn each(s: &State, judge: impl Fn(&Device) -> Judgement) -> Judgement {
    if !s.is_at_rest() {
        return Judgement::NotAsked;
    }
    s.devices.iter().map(judge).fold(Judgement::NotAsked, Judgement::and)
}

fn aliases_are_free(_: &Study, _: &State, action: Action, _: &Outcome, after: &State) -> Judgement {
    let given = matches!(action, Action::Attach { .. });
    let Daemon::Busy(Next::Attach { alias, next, .. }) = after.daemon else {
        return Judgement::NotAsked;
    };
    let first = matches!(next, Attaching::SaveBefore | Attaching::Backend);
    let device = &after.devices[usize::from(alias)];
    Judgement::when(given && first, !device.frontend && !device.backend)
}

/// Recovery has killed the guest.
struct GuestLost;

/// The state after a kill at this point and a whole recovery.
fn recovered(study: &Study, s: &State) -> Result<State, GuestLost> {
    let mut machine: Machine<'_> = study.machine(s);
    if machine.state.daemon != Daemon::Down {
        machine.kill();
    }
    machine.start();
    machine.come_to_rest();
    if machine.state.guest { Ok(machine.state) } else { Err(GuestLost) }
}

fn is_there(s: &State, alias: u8) -> bool {
    let device = &s.devices[usize::from(alias)];
    device.memory.is_defined() && device.frontend
}

/// The guest has not let go of it meanwhile.
fn stayed(s: &State, alias: u8) -> bool {
    s.devices[usize::from(alias)].frontend
}

/// What the three places say.
fn facts(s: &State) -> [(bool, bool, Record, Record); DEVICES_MAX] {
    s.devices.map(|device| (device.frontend, device.backend, device.file, device.memory))
}
