//! What the thread says, and what the model says of it.
//!
//! A claim is a statement about every case of a domain. Inside it is the narrower domain that the
//! speaker evidently had in mind. A claim that holds in the whole domain agrees with the model; one
//! that holds in the narrow domain only is imprecise; one that fails there is wrong.

use serde::Serialize;

use super::{
    addresses,
    definition::{Asked, Controller, Definition, Refusal},
    generation::Generation::{self, *},
    hardware::{self, Build, Bus, Device, Loaded, Machine, Model, Place},
    host::Host,
    matrix::{self, Cell, Ending, Extent, History, Row, TWO_BUILDS},
};

/// One statement of one speaker.
#[derive(Debug)]
pub struct Claim {
    /// Who.
    pub speaker: &'static str,
    /// The statement, in our words.
    pub says: &'static str,
    /// Why the speaker says so, in our words.
    pub argument: &'static str,
    /// The cases, each with what the model says.
    cases: fn() -> Vec<Case>,
}

/// One case of a claim's domain.
struct Case {
    /// Is it of those that the speaker had in mind?
    meant: bool,
    /// Is it as the speaker says?
    holds: bool,
    /// The run.
    trace: String,
}

/// What comes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds in every case.
    Agrees,
    /// It holds in the cases meant, and not in all that it speaks of.
    Imprecise,
    /// It fails in a case that was meant.
    Wrong,
}

/// A claim with its verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// Who.
    pub speaker: &'static str,
    /// The statement.
    pub says: &'static str,
    /// Why.
    pub argument: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// Cases that it speaks of.
    pub cases: usize,
    /// Cases that are as it says.
    pub hold: usize,
    /// The first case that is not, preferably one that was meant; else one that is.
    pub trace: String,
}

impl Claim {
    /// Asks the model. A claim about nothing would be no claim: there is always a case.
    pub fn judge(&self) -> Judged {
        let cases = (self.cases)();
        let fails = |case: &&Case| !case.holds;
        let meant = cases.iter().find(|case| case.meant && !case.holds);
        let verdict = match (meant, cases.iter().find(fails)) {
            (Some(_), _) => Verdict::Wrong,
            (None, Some(_)) => Verdict::Imprecise,
            (None, None) => Verdict::Agrees,
        };
        let shown = meant.or(cases.iter().find(fails)).or(cases.first());
        Judged {
            speaker: self.speaker,
            says: self.says,
            argument: self.argument,
            verdict,
            hold: cases.iter().filter(|case| case.holds).count(),
            cases: cases.len(),
            trace: shown.map(|case| case.trace.clone()).unwrap_or_default(),
        }
    }
}

const TOMKO: &str = "Tomko";
const BOLOGNANI: &str = "Bolognani";

/// Every migration of a domain that can begin.
fn migrations(
    domain: impl Fn(&Cell) -> bool,
    meant: impl Fn(&Cell) -> bool,
    holds: impl Fn(&Row) -> bool,
) -> Vec<Case> {
    let extent = Extent { builds: TWO_BUILDS, upgraded: false };
    matrix::cells(extent)
        .filter(|cell| domain(cell))
        .map(|cell| cell.row())
        .filter(|row| !matches!(row.ending, Ending::NoGuest(_)))
        .map(|row| Case { meant: meant(&row.cell), holds: holds(&row), trace: trace(&row) })
        .collect()
}

/// A row as a run.
pub fn trace(row: &Row) -> String {
    let cell = &row.cell;
    let word = |value: &dyn erased::Words| value.words();
    let has = |hardware: Option<hardware::Hardware>| {
        hardware.map_or_else(|| "nothing".to_owned(), hardware::shown)
    };
    let by = if cell.started_by == cell.source {
        String::new()
    } else {
        format!(" (started by {})", cell.started_by.name())
    };
    let error = row.ending.error().map(|error| format!(" ({})", word(&error))).unwrap_or_default();
    format!(
        "{}, QEMU {}, controller {}, {}: {}{by} has {}, sends {}; {} answers {}{error}{}",
        cell.machine.name(),
        word(&cell.build),
        word(&cell.controller),
        word(&cell.history),
        cell.source.name(),
        has(row.before),
        row.text.as_deref().unwrap_or("nothing"),
        cell.destination.name(),
        row.ending.word(),
        row.after.map(|after| format!(" and has {}", hardware::shown(after))).unwrap_or_default(),
    )
}

mod erased {
    pub(super) trait Words {
        fn words(&self) -> String;
    }
    impl<T: serde::Serialize> Words for T {
        fn words(&self) -> String {
            crate::words::words(self)
        }
    }
}

fn is_a(generation: Generation) -> bool {
    matches!(generation, A0 | A1 | A2 | A3)
}

fn left_open(cell: &Cell) -> bool {
    matches!(cell.controller, Asked::Absent | Asked::Unset)
}

/// ppc64 with the controller left open: what the thread is about.
fn open_on_ppc64(cell: &Cell) -> bool {
    cell.machine.is_pseries() && left_open(cell)
}

/// From one stage of the history to the next.
fn between(cell: &Cell, one: Generation, other: Generation) -> bool {
    (cell.source, cell.destination) == (one, other)
}

fn same(row: &Row) -> bool {
    row.ending == Ending::Same
}

fn sends_nothing(row: &Row) -> bool {
    row.text.as_deref() == Some("absent")
}

fn always(_cell: &Cell) -> bool {
    true
}

fn at_slot_0(model: Model) -> Device {
    Device { model, place: Place { bus: Bus::Root, slot: 0, function: 0 } }
}

/// To oneself: one row for each guest that a generation can have.
fn to_itself(cell: &Cell) -> bool {
    cell.source == cell.destination
}

/// Every claim, in the order of the thread.
pub const CLAIMS: &[Claim] = &[
    Claim {
        speaker: TOMKO,
        says: "On ppc64, [A] starts `-usb` for a controller without a model.",
        argument: "Until 8156493d the code did not choose a device there.",
        cases: || {
            migrations(
                |cell| open_on_ppc64(cell) && is_a(cell.source) && to_itself(cell),
                |cell| cell.build == Build::NoUhci,
                |row| row.before.flatten() == row.cell.machine.built_in(),
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "[A] leaves the controller out of what it sends.",
        argument: "409b5f549 drops a lone controller without a model.",
        cases: || {
            migrations(
                |cell| open_on_ppc64(cell) && is_a(cell.source) && to_itself(cell),
                always,
                sends_nothing,
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "What [A] leaves out, its destination may add again.",
        argument: "The parser adds a controller where there is none.",
        cases: || {
            migrations(
                |cell| open_on_ppc64(cell) && is_a(cell.source) && cell.destination >= Y2,
                |cell| matches!(cell.destination, A0 | A1 | A2 | A3 | B | C),
                |row| row.after.is_none_or(|after| after.is_some()),
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "[B] starts an OHCI device of its own.",
        argument: "8156493d. The device is called pci-ohci; the thread's name, pci-usb-ohci, is not one.",
        cases: || {
            migrations(
                |cell| open_on_ppc64(cell) && cell.source == B && to_itself(cell),
                always,
                |row| {
                    let device = row.before.flatten();
                    device.is_some_and(|device| {
                        device.model == Model::PciOhci && !device.place.is_all_zero()
                    })
                },
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "[B] loses the controller when it sends.",
        argument: "The drop rule of [A] is still there.",
        cases: || {
            migrations(
                |cell| open_on_ppc64(cell) && cell.source == B && to_itself(cell),
                always,
                sends_nothing,
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "[C] sends the controller with its address.",
        argument: "192a53e0 limits the drop rule.",
        cases: || {
            migrations(
                |cell| open_on_ppc64(cell) && cell.source == C && to_itself(cell),
                always,
                |row| row.text.as_deref().is_some_and(|text| text.contains('@')),
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "Migration between [A] and anything else is broken.",
        argument: "`-usb` never puts the controller where a libvirt address would.",
        cases: || {
            migrations(
                |cell| {
                    open_on_ppc64(cell)
                        && (is_a(cell.source) != is_a(cell.destination))
                        && cell.source >= A0
                        && cell.destination >= A0
                        && cell.source < N
                        && cell.destination < N
                },
                |cell| {
                    cell.build == Build::NoUhci
                        && [cell.source, cell.destination]
                            .iter()
                            .all(|one| matches!(one, A2 | A3 | B | C))
                },
                |row| !same(row),
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "[B] to [C] and back work as long as hotplugging has not changed the order of devices.",
        argument: "The destination gives the missing controller the lowest free slot, which is then its own.",
        cases: || {
            migrations(
                |cell| {
                    open_on_ppc64(cell)
                        && (between(cell, B, C) || between(cell, C, B))
                        && matches!(
                            cell.history,
                            History::Fresh | History::Loaded | History::Removed
                        )
                },
                |cell| cell.history != History::Removed,
                same,
            )
        },
    },
    Claim {
        speaker: BOLOGNANI,
        says: "[C] to [B] always works.",
        argument: "[B] reads the address that it is sent.",
        cases: || migrations(|cell| open_on_ppc64(cell) && between(cell, C, B), always, same),
    },
    Claim {
        speaker: BOLOGNANI,
        says: "pci-ohci at slot 0 is for QEMU the same as `-usb`.",
        argument: "The bus path and the device are the same.",
        cases: || {
            [Machine::Pseries25, Machine::Pseries26]
                .into_iter()
                .map(|machine| {
                    let started = at_slot_0(Model::PciOhci);
                    let loaded = hardware::load(machine.built_in(), Some(started));
                    Case {
                        meant: machine == Machine::Pseries25,
                        holds: loaded == Loaded::Same,
                        trace: format!(
                            "{}: `-usb` has {}, and its stream in {started}: {loaded:?}",
                            machine.name(),
                            hardware::shown(machine.built_in())
                        ),
                    }
                })
                .collect()
        },
    },
    Claim {
        speaker: BOLOGNANI,
        says: "Slot 0 cannot be written: recent libvirt gives another address, older ones refuse, [A] too.",
        argument: "libvirt does not use slot 0 of a root bus.",
        cases: || {
            Generation::ALL
                .into_iter()
                .filter(|one| *one < Ours && one.knows_machine(Machine::Pseries25))
                .map(|generation| {
                    let place = Some(at_slot_0(Model::PciOhci).place);
                    let usb = Some(Controller { model: Some(Model::PciOhci), place });
                    let mut definition = Definition { usb, cards: 0 };
                    let answer = addresses::assign(generation, Machine::Pseries25, &mut definition);
                    let now = definition.usb.and_then(|usb| usb.place);
                    Case {
                        meant: true,
                        holds: if generation >= C {
                            answer.is_ok() && now != place
                        } else {
                            answer == Err(Refusal::SlotZero)
                        },
                        trace: format!(
                            "{} reads slot 0: {}",
                            generation.name(),
                            match (answer, now) {
                                (Err(refusal), _) => crate::words::words(&refusal),
                                (Ok(()), Some(now)) => format!("assigns {now}"),
                                (Ok(()), None) => "no address".to_owned(),
                            }
                        ),
                    }
                })
                .collect()
        },
    },
    Claim {
        speaker: BOLOGNANI,
        says: "A receiver cannot tell [A] from [B] as the sender; whatever it chooses is broken for one.",
        argument: "Both leave the controller out, and their hardware differs.",
        cases: || {
            [Machine::Pseries25, Machine::Pseries26]
                .into_iter()
                .flat_map(|machine| TWO_BUILDS.iter().map(move |&build| (machine, build)))
                .flat_map(|at| [A0, A1, A2, A3].map(|a| (at, a)))
                .filter_map(|((machine, build), a)| {
                    let sent = |generation| {
                        let host = Host { generation, machine, build };
                        let guest = host
                            .define(Asked::Absent)
                            .and_then(|config| host.start(config))
                            .ok()?;
                        Some((host.migratable(&guest).definition.usb, guest.hardware))
                    };
                    let (one, other) = (sent(a)?, sent(B)?);
                    Some(Case {
                        meant: build == Build::NoUhci,
                        holds: one.0 == other.0 && one.1 != other.1,
                        trace: format!(
                            "{}, QEMU {}: {} has {}, B has {}, and neither sends it",
                            machine.name(),
                            crate::words::words(&build),
                            a.name(),
                            hardware::shown(one.1),
                            hardware::shown(other.1)
                        ),
                    })
                })
                .collect()
        },
    },
    Claim {
        speaker: TOMKO,
        says: "Of the two, [B] has the higher chance of working.",
        argument: "Said of a receiver that must choose between what [A] and what [B] would have.",
        cases: || {
            [C, D, DPrime, DPrime5, E, F, N]
                .into_iter()
                .flat_map(|receiver| {
                    [Machine::Pseries25, Machine::Pseries26].map(|machine| (receiver, machine))
                })
                .flat_map(|(receiver, machine)| {
                    TWO_BUILDS.iter().map(move |&build| (receiver, machine, build))
                })
                .map(|(receiver, machine, build)| {
                    let kept = |source: Generation| {
                        migrations(
                            |cell| {
                                open_on_ppc64(cell)
                                    && cell.machine == machine
                                    && cell.build == build
                                    && between(cell, source, receiver)
                            },
                            always,
                            same,
                        )
                        .iter()
                        .filter(|case| case.holds)
                        .count()
                    };
                    let (a, b) = ([A0, A1, A2, A3].map(kept), kept(B));
                    Case {
                        meant: build == Build::NoUhci,
                        holds: a.iter().all(|a| *a < b),
                        trace: format!(
                            "{}, QEMU {}, to {}: kept from A0, A1, A2, A3 {a:?} times, from B {b}",
                            machine.name(),
                            crate::words::words(&build),
                            receiver.name(),
                        ),
                    }
                })
                .collect()
        },
    },
    Claim {
        speaker: TOMKO,
        says: "With [D], migration from [B] and [C] works, and back.",
        argument: "A model that arrives unset becomes OHCI, which is what those have.",
        cases: || {
            migrations(
                |cell| {
                    open_on_ppc64(cell)
                        && (matches!((cell.source, cell.destination), (B | C, D) | (D, B | C)))
                },
                |cell| matches!(cell.history, History::Fresh | History::Loaded),
                same,
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "With [D], no unset model is sent back to [B] or [C].",
        argument: "It has been filled when the text was parsed.",
        cases: || {
            let extent = Extent { builds: &Build::ALL, upgraded: false };
            matrix::cells(extent)
                .filter(|cell| open_on_ppc64(cell) && cell.source == D && to_itself(cell))
                .map(|cell| cell.row())
                .filter(|row| !matches!(row.ending, Ending::NoGuest(_)))
                .map(|row| Case {
                    meant: row.cell.build != Build::Bare,
                    holds: row.text.as_deref().is_some_and(|text| !text.starts_with("unset")),
                    trace: trace(&row),
                })
                .collect()
        },
    },
    Claim {
        speaker: BOLOGNANI,
        says: "[B] and [C] already work in both directions.",
        argument: "The address is sent and used.",
        cases: || {
            migrations(
                |cell| open_on_ppc64(cell) && (between(cell, B, C) || between(cell, C, B)),
                always,
                same,
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "Where a device in a lower slot was unplugged, a migration with [B] fails.",
        argument: "[B] as a destination would not get the address and take the lowest free slot.",
        cases: || {
            migrations(
                |cell| {
                    open_on_ppc64(cell)
                        && cell.history == History::Unplugged
                        && (between(cell, B, B) || between(cell, B, C) || between(cell, C, B))
                },
                |cell| cell.source == B,
                |row| matches!(row.ending, Ending::Refused(Refusal::UnknownSection)),
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "On machines other than ppc64, migration was not broken before the patch.",
        argument: "The default there is PIIX3, at one fixed place.",
        cases: || {
            migrations(
                |cell| {
                    !cell.machine.is_pseries()
                        && left_open(cell)
                        && cell.source >= A0
                        && cell.destination >= A0
                        && cell.source <= C
                        && cell.destination <= C
                        && cell.destination.knows_machine(cell.machine)
                },
                |cell| cell.machine == Machine::I440fx,
                same,
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "With the patch, an unset model on anything else becomes PIIX3 where QEMU has it.",
        argument: "It is the other branch of the condition.",
        cases: || {
            migrations(
                |cell| {
                    !cell.machine.is_pseries()
                        && cell.controller == Asked::Unset
                        && cell.source == D
                        && to_itself(cell)
                        && cell.build == Build::Upstream
                },
                always,
                |row| row.before.flatten().is_some_and(|device| device.model == Model::Piix3Uhci),
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "With a QEMU that does not know PIIX3 by name, the model stays unset.",
        argument: "The patch looks at what QEMU offers.",
        cases: || {
            migrations(
                |cell| {
                    cell.machine == Machine::I440fx
                        && left_open(cell)
                        && cell.build == Build::NoUhci
                        && cell.source == D
                        && to_itself(cell)
                },
                always,
                // Unset on i440fx, it is not sent; a model would be.
                sends_nothing,
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "The patch breaks migration to a libvirt without USB controllers.",
        argument: "A filled model is not dropped any more, and the ancient parser does not know it.",
        cases: || {
            migrations(
                |cell| cell.machine == Machine::I440fx && left_open(cell) && between(cell, D, Z),
                |cell| cell.build == Build::Upstream,
                |row| matches!(row.ending, Ending::Refused(Refusal::UnknownController)),
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "A controller that is always sent makes an old destination fail; left out, it works there.",
        argument: "The parser does not know the element, and `-usb` is emitted without it (409b5f549).",
        cases: || {
            migrations(
                |cell| {
                    cell.machine == Machine::I440fx
                        && left_open(cell)
                        && (Y2..=C).contains(&cell.source)
                        && cell.destination == Z
                },
                always,
                |row| same(row) == (row.cell.source >= A0),
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "Today, that is [C], the controller is dropped only without a model and on i440fx.",
        argument: "192a53e0 as it was released with be1a7e6d3.",
        cases: || {
            migrations(
                |cell| cell.source == C && to_itself(cell),
                always,
                |row| {
                    // q35 without anything has a set, or nothing at all to send.
                    let nothing = row.before == Some(None);
                    let open = row.cell.machine == Machine::I440fx || nothing;
                    sends_nothing(row) == (left_open(&row.cell) && open)
                },
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "Dropping PIIX3 too lets the newest libvirt migrate to the ancient.",
        argument: "The ancient one does not know controllers and starts `-usb` anyway.",
        cases: || {
            migrations(
                |cell| {
                    cell.machine == Machine::I440fx
                        && left_open(cell)
                        && cell.source >= DPrime
                        && cell.destination == Z
                },
                always,
                same,
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "On the way back the right model is added again.",
        argument: "It is added when the text is parsed.",
        cases: || {
            migrations(
                |cell| {
                    cell.machine == Machine::I440fx
                        && left_open(cell)
                        && cell.source >= DPrime
                        && cell.destination == Z
                },
                always,
                |row| row.back == Some("same"),
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "The ABI stability check stays happy with the wider rule.",
        argument: "What is dropped comes back when the copy is parsed. (The check never compares two hosts.)",
        cases: || {
            [DPrime, DPrime5, E, F, N]
                .into_iter()
                .flat_map(|generation| matrix::ASKED.map(|asked| (generation, asked)))
                .filter_map(|(generation, asked)| {
                    let machine = Machine::I440fx;
                    let host = Host { generation, machine, build: Build::Upstream };
                    let guest = host.define(asked).and_then(|config| host.start(config)).ok()?;
                    let copy = host.load(host.migratable(&guest).definition);
                    let said = |usb: Option<Controller>| {
                        usb.map_or_else(|| "absent".to_owned(), |usb| usb.to_string())
                    };
                    Some(Case {
                        meant: true,
                        holds: copy == Ok(guest.live),
                        trace: format!(
                            "{} {}: the migratable copy of {}, parsed, is {}",
                            generation.name(),
                            crate::words::words(&asked),
                            said(guest.live.usb),
                            copy.map_or_else(
                                |refusal| crate::words::words(&refusal),
                                |copy| said(copy.usb)
                            ),
                        ),
                    })
                })
                .collect()
        },
    },
    Claim {
        speaker: TOMKO,
        says: "Even a libvirt without controllers gives the guest one.",
        argument: "It starts `-usb` always, later perhaps `-device`.",
        cases: || {
            migrations(
                |cell| {
                    cell.machine == Machine::I440fx
                        && left_open(cell)
                        && cell.source <= A0
                        && to_itself(cell)
                },
                always,
                |row| row.before.flatten().is_some(),
            )
        },
    },
    Claim {
        speaker: TOMKO,
        says: "With or without a controller in the definition, `-usb` is emitted anyway.",
        argument: "It is the fallback of the command line, for machines other than x86 too.",
        cases: || {
            migrations(
                |cell| {
                    left_open(cell)
                        && cell.build == Build::NoUhci
                        && cell.source <= C
                        && to_itself(cell)
                        && cell.source.knows_machine(cell.machine)
                },
                |cell| cell.machine == Machine::I440fx,
                |row| row.before.flatten().is_some(),
            )
        },
    },
    Claim {
        speaker: BOLOGNANI,
        says: "On x86 nobody needs `-usb` with a QEMU of this decade.",
        argument: "piix3-usb-uhci has had its name since 0.13.",
        cases: || {
            [DPrime, DPrime5, E, F, N]
                .into_iter()
                .flat_map(|generation| {
                    [Machine::I440fx, Machine::Q35]
                        .into_iter()
                        .flat_map(|machine| {
                            Build::ALL.into_iter().map(move |build| (machine, build))
                        })
                        .map(move |(machine, build)| Host { generation, machine, build })
                })
                .flat_map(|host| [Asked::Absent, Asked::Unset].map(|asked| (host, asked)))
                .filter_map(|(host, asked)| {
                    let config = host.define(asked).ok()?;
                    let guest = host.start(config).ok()?;
                    let legacy = guest.hardware.is_some()
                        && config.usb.is_none_or(|usb| usb.model.is_none());
                    Some(Case {
                        meant: host.build == Build::Upstream,
                        holds: !legacy,
                        trace: format!(
                            "{} {} on a QEMU {}: {} by {}",
                            host.generation.name(),
                            host.machine.name(),
                            crate::words::words(&host.build),
                            hardware::shown(guest.hardware),
                            if legacy { "`-usb`" } else { "`-device`" }
                        ),
                    })
                })
                .collect()
        },
    },
    Claim {
        speaker: TOMKO,
        says: "The command line must not refuse an unset model yet.",
        argument: "Parsing does not choose one in every case.",
        cases: || {
            [DPrime, DPrime5, E, F, N]
                .into_iter()
                .map(|generation| {
                    let machine = Machine::I440fx;
                    let host = Host { generation, machine, build: Build::NoUhci };
                    let config = host.define(Asked::Unset);
                    let open = config.is_ok_and(|config| {
                        config.usb.is_some_and(|usb| usb.model.is_none())
                    });
                    let starts = config.and_then(|config| host.start(config)).is_ok();
                    Case {
                        meant: true,
                        holds: open && starts,
                        trace: format!(
                            "{} on i440fx with a QEMU without UHCI: unset after parsing: {open}; starts: {starts}",
                            generation.name()
                        ),
                    }
                })
                .collect()
        },
    },
];

/// Every claim, judged.
pub fn judged() -> Vec<Judged> {
    CLAIMS.iter().map(Claim::judge).collect()
}
