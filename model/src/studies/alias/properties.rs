//! What is asked of every design.

use super::{
    Study,
    action::{Action, By, Outcome, Reply, Why},
    definition::{Class, Definition, Kind, Read},
    machine::{Found, find, find_alias, find_console, sends},
    name::{Alias, CONSOLE0},
    state::{Guest, Running, State},
};
use crate::study::{Judgement, Law::*, Property};

const THREAD: &str =
    "libvir-list 2023-03, 'qemu_alias: Assign proper alias for console'; BZ 2156300";
const ISSUE: &str = "what a user expects of a name";

fn property(
    name: &'static str,
    source: &'static str,
    law: crate::study::Law<Study>,
) -> Property<Study> {
    Property { name, source, law }
}

pub(super) fn properties() -> Vec<Property<Study>> {
    vec![
        property(
            "an alias that is sent to QEMU is one that QEMU knows",
            THREAD,
            AlwaysStep(|study, before: &State, action, _, _| {
                let Some((running, _, sent)) = sent(study, before, action) else {
                    return Judgement::NotAsked;
                };
                Judgement::when(true, running.qemu.get(sent).is_some())
            }),
        ),
        property(
            "a detach acts on the device that was named, and on no other",
            "libvirt virDomainChrEquals, which does not compare the types of consoles",
            AlwaysStep(|study, before: &State, action, outcome: &Outcome, _| {
                let Some((running, memory, sent)) = sent(study, before, action) else {
                    return Judgement::NotAsked;
                };
                let Action::Detach { by } = action else { return Judgement::NotAsked };
                let Some(meant) = meant(study, &running, &memory, by) else {
                    return Judgement::NotAsked;
                };
                let known = running.qemu.get(sent).is_some();
                Judgement::when(known, sent == meant && outcome.gone.iter().all(|id| *id == meant))
            }),
        ),
        property(
            "a detach that is refused gives a reason",
            THREAD,
            AlwaysStep(|_, _, action, outcome: &Outcome, _| {
                let Some(why) = refused(action, outcome) else { return Judgement::NotAsked };
                Judgement::when(true, why != Why::CauseUnknown)
            }),
        ),
        property(
            "a detach that is refused for its bus names the device",
            THREAD,
            AlwaysStep(|_, _, action, outcome: &Outcome, _| {
                let why = refused(action, outcome);
                let asked = matches!(why, Some(Why::BusHasNoHotplug | Why::Fixed { .. }));
                Judgement::when(asked, matches!(why, Some(Why::Fixed { .. })))
            }),
        ),
        property(
            "a device that its dump shows can be detached by what the dump shows, or its bus forbids it",
            ISSUE,
            AlwaysStep(|_, _, action, outcome: &Outcome, _| {
                let Action::Detach { by: By::Xml(_) } = action else { return Judgement::NotAsked };
                let fixed = matches!(
                    outcome.reply,
                    Reply::Refused(Why::BusHasNoHotplug | Why::Fixed { .. })
                );
                Judgement::when(true, fixed || outcome.reply == Reply::Done)
            }),
        ),
        property(
            "no two devices have one alias, unless it is said that they are one device",
            "libvirt virDomainDefValidateAliases; Bolognani: 'will cause grief further down the line'",
            Always(|study, s: &State| {
                let Some((_, memory)) = running(s) else { return Judgement::NotAsked };
                let pair = memory.pair().map(|(_, console)| console);
                let said = |at| study.rules.declares_the_pair && pair == Some(at);
                let counted = memory.devices().enumerate().filter(|(at, _)| !said(*at));
                let mut aliases: Vec<Alias> = counted.filter_map(|(_, it)| it.alias).collect();
                let all = aliases.len();
                aliases.sort_unstable();
                aliases.dedup();
                Judgement::when(true, aliases.len() == all)
            }),
        ),
        property(
            "every lookup of an alias finds the same device",
            ISSUE,
            Always(|study, s: &State| lookups_agree(study, s, |memory, at| memory.stands_for(at))),
        ),
        property(
            "every lookup of an alias finds the same record, or it is said that they are one device",
            "Bolognani: 'allowing multiple devices to have the same alias will cause grief'",
            Always(|study, s: &State| {
                if study.rules.pair_has_one_alias {
                    return lookups_agree(study, s, |memory, at| memory.stands_for(at));
                }
                lookups_agree(study, s, |_, at| Some(at))
            }),
        ),
        property(
            "the live dump shows the aliases that memory has",
            "Bolognani: 'dumpxml on a running domain was showing the expected alias for the <console>'",
            Always(|study, s: &State| {
                let Some((_, memory)) = running(s) else { return Judgement::NotAsked };
                Judgement::when(true, same_aliases(&memory, &memory.print(&study.rules)))
            }),
        ),
        property(
            "the status file has the aliases that memory has",
            THREAD,
            Always(|_, s: &State| {
                let Some((running, memory)) = running(s) else { return Judgement::NotAsked };
                Judgement::when(true, same_aliases(&memory, &running.file))
            }),
        ),
        property(
            "what is written and read is written the same again",
            "libvirt virDomainDefAddConsoleCompat, which leaves ports as they were",
            Always(|study, s: &State| {
                let rules = &study.rules;
                let same =
                    |written: Definition, read| written.parse(rules, read).print(rules) == written;
                let config =
                    s.config.is_none_or(|config| same(config.print(rules), Read::Inactive));
                let live = running(s).is_none_or(|(_, it)| same(it.print(rules), Read::Live));
                Judgement::when(s.config.is_some(), config && live)
            }),
        ),
        property(
            "what is written can be defined again",
            "libvirt virDomainDefValidateAliases, which skips a serial port with a console",
            AlwaysStep(|_, _, action, outcome: &Outcome, _| {
                Judgement::when(action == Action::Redefine, outcome.reply == Reply::Done)
            }),
        ),
        property(
            "a user's alias is kept where it was given, or refused with a reason",
            "libvirt virDomainDefAddConsoleCompat, which frees the console of a pair",
            AlwaysStep(|study, _, action, outcome: &Outcome, after: &State| {
                match (action, &outcome.reply) {
                    (Action::Define { with }, Reply::Done) => {
                        let Some(config) = after.config else { return Judgement::NotAsked };
                        let written = config.print(&study.rules);
                        let asked = with.definition();
                        let mut user = asked
                            .devices()
                            .filter(|it| it.alias.is_some_and(Alias::is_user))
                            .peekable();
                        let any = user.peek().is_some();
                        let kept = user.all(|it| {
                            let mut written = written.devices();
                            written.any(|shown| shown.kind == it.kind && shown.alias == it.alias)
                        });
                        Judgement::when(any, kept)
                    }
                    (Action::Attach { alias: Some(asked), .. }, Reply::Attached { alias }) => {
                        Judgement::when(true, alias == &asked)
                    }
                    _ => Judgement::NotAsked,
                }
            }),
        ),
        property(
            "what is accepted can be started",
            "libvirt virDomainDefValidateAliases, which skips a serial port with a console",
            AlwaysStep(|_, _, action, outcome: &Outcome, _| {
                Judgement::when(action == Action::Start, outcome.reply == Reply::Done)
            }),
        ),
        property(
            "a new alias is not in use in QEMU",
            "libvirt qemuGetNextChrDevIndex",
            AlwaysStep(|_, before: &State, action, outcome: &Outcome, _| {
                let Action::Attach { alias: None, .. } = action else { return Judgement::NotAsked };
                let Some((running, _)) = running(before) else { return Judgement::NotAsked };
                let free = match outcome.reply {
                    Reply::Attached { alias } => running.qemu.get(alias).is_none(),
                    _ => false,
                };
                Judgement::when(true, free)
            }),
        ),
        property(
            "an unplug event removes exactly one device",
            "libvirt processDeviceDeletedEvent",
            AlwaysStep(|_, before: &State, action, _, after: &State| {
                let Action::Unplugged { id } = action else { return Judgement::NotAsked };
                let (Some((_, before)), Some((_, after))) = (running(before), running(after))
                else {
                    return Judgement::NotAsked;
                };
                let mut left = real(&before);
                left.retain(|other| *other != id);
                Judgement::when(true, real(&after) == left)
            }),
        ),
        property(
            "the definition and QEMU have the same devices",
            "libvirt qemuDomainRemoveChrDevice, which ignores that nothing was removed",
            Always(|_, s: &State| {
                let Guest::Running(running) = s.guest else { return Judgement::NotAsked };
                let same = running.memory.is_some_and(|memory| {
                    let mut in_qemu: Vec<Alias> =
                        running.qemu.devices().map(|device| device.id).collect();
                    in_qemu.sort_unstable();
                    let invented = memory.class(Class::Parallel).count() > 0
                        || memory.devices().any(|it| it.kind == Kind::Stub)
                            && memory.pair().is_none();
                    real(&memory) == in_qemu && !invented
                });
                Judgement::when(true, same)
            }),
        ),
        property(
            "no running guest is lost",
            "libvirt qemuProcessReconnect, which stops a guest whose devices it cannot update",
            AlwaysStep(|_, before: &State, action, outcome: &Outcome, _| {
                let asked = action == Action::Restart && matches!(before.guest, Guest::Running(_));
                Judgement::when(asked, !outcome.guest_lost)
            }),
        ),
        property(
            "the daemon survives every request",
            "libvirt qemuDomainOpenConsole, which compares an alias that is not there",
            AlwaysStep(|_, _, action, outcome: &Outcome, _| {
                let asked = !matches!(action, Action::Restart | Action::Redefine);
                Judgement::when(asked, outcome.reply != Reply::DaemonDied)
            }),
        ),
        property(
            "a restart is transparent",
            "the first law",
            Transparent(|_, action| action == Action::Restart),
        ),
        property(
            "defining again what is written is transparent",
            "the first law",
            Transparent(|_, action| action == Action::Redefine),
        ),
    ]
}

/// A guest that runs, and what memory says of it.
fn running(s: &State) -> Option<(Running, Definition)> {
    let Guest::Running(running) = s.guest else { return None };
    Some((running, running.memory?))
}

/// The id that QEMU is asked to remove, if it is asked.
fn sent(study: &Study, s: &State, action: Action) -> Option<(Running, Definition, Alias)> {
    let Action::Detach { by } = action else { return None };
    let (running, memory) = running(s)?;
    let rules = &study.rules;
    if rules.detach_console == super::rules::DetachConsole::Refused
        && by == By::Xml(Kind::SerialConsole)
    {
        return None;
    }
    let Ok(Some(Found::Record(at))) = find(rules, &memory, by) else { return None };
    let sent = sends(rules, &memory, at)?;
    let refused = rules.fixed_is_refused
        && running.qemu.get(sent).is_some_and(|device| device.kind == Kind::IsaSerial);
    (!refused).then_some((running, memory, sent))
}

/// The device in QEMU that the user means.
fn meant(study: &Study, running: &Running, memory: &Definition, by: By) -> Option<Alias> {
    let serial = || memory.first(Class::Serial)?.alias;
    match by {
        By::Alias(alias) if running.qemu.get(alias).is_some() => Some(alias),
        By::Alias(CONSOLE0) => serial(),
        By::Alias(_) => None,
        By::PortZero => {
            let virtio = |kind| kind == Kind::VirtioConsole;
            memory.devices().find(|device| virtio(device.kind))?.alias
        }
        By::Xml(Kind::SerialConsole) => serial(),
        By::Xml(kind) => {
            let printed = memory.print(&study.rules);
            printed.devices().find(|device| device.kind == kind)?.alias
        }
    }
}

fn refused(action: Action, outcome: &Outcome) -> Option<Why> {
    match (action, &outcome.reply) {
        (Action::Detach { .. }, Reply::Refused(why)) => Some(*why),
        _ => None,
    }
}

/// Do the lookups for detach and for open agree on every name in the scope?
fn lookups_agree<T: PartialEq>(
    study: &Study,
    s: &State,
    what: impl Fn(&Definition, usize) -> Option<T>,
) -> Judgement {
    let Some((_, memory)) = running(s) else { return Judgement::NotAsked };
    let both = study.bounds.names.iter().filter_map(|&name| {
        let Some(Found::Record(detached)) = find_alias(&study.rules, &memory, name) else {
            return None;
        };
        let Ok(Some(opened)) = find_console(&study.rules, &memory, Some(name)) else { return None };
        Some(what(&memory, detached) == what(&memory, opened))
    });
    both.fold(Judgement::NotAsked, |all, same| all.and(Judgement::when(true, same)))
}

fn same_aliases(memory: &Definition, written: &Definition) -> bool {
    memory.devices().map(|it| it.alias).eq(written.devices().map(|it| it.alias))
}

/// The devices in QEMU that a definition speaks of, sorted.
fn real(memory: &Definition) -> Vec<Alias> {
    let records = memory.devices().filter(|it| !it.kind.is_overlay() && it.kind != Kind::Parallel);
    let mut ids: Vec<Alias> = records.filter_map(|it| it.alias).collect();
    ids.sort_unstable();
    ids
}
