//! What follows from asking every policy: what cannot be had together, and seven lemmas, each with the
//! shortest run that shows it.

use std::num::NonZeroUsize;

use serde::Serialize;

use super::{
    Bounds, DESIGNS, SCOPES, Study,
    enumerate::{Answers, EVERYTHING, Set, Space, codes, enumerate, set},
    policy::{
        Edge,
        Op::{self, *},
        Policy,
    },
};
use crate::{check, explore::Options, words::words};

/// All spaces in all worlds.
#[derive(Debug)]
pub struct Theory {
    /// In the order of [`Theory::of`]'s work.
    pub counted: Vec<Counted>,
}

/// One space in one world.
#[derive(Debug)]
pub struct Counted {
    /// `small`, `plain` or `provenance`.
    pub space: &'static str,
    /// The scope's name.
    pub world: &'static str,
    /// What every policy satisfies.
    pub answers: Answers,
}

/// The combinations whose counts stand in the tables.
pub const COMBINATIONS: [&[&str]; 23] = [
    &["PURE", "BOOT"],
    &["PURE", "ADOPT-OLD"],
    &["BOOT", "ADOPT-OLD"],
    &["BOOT", "ADOPT-NEW"],
    &["PURE", "BOOT", "ADOPT-NEW"],
    &["RESTART"],
    &["BOOT"],
    &["MIG"],
    &["MIG", "OLDACC"],
    &["MIG", "OLDACC-KNOWN"],
    &["MIG", "OLDACC", "ADOPT-OLD"],
    &["MIG", "OLDACC", "ADOPT-NEW"],
    &["MIG", "RESTART", "PURE", "OLDACC"],
    &["MIG", "RESTART", "PURE", "ADOPT-OLD"],
    &["MIG", "RESTART", "BOOT", "ADOPT-NEW"],
    &["MIG", "RESTART", "BOOT", "ADOPT-NEW", "OLDACC"],
    &["MIG", "RESTART", "BOOT", "ADOPT-NEW", "OLDACC-KNOWN"],
    &["PURE", "OBEYED", "RESOLVED", "ADOPT-NEW", "NOLEAK", "KEPT"],
    &["PURE", "BOOT", "ADOPT-NEW", "NOLEAK", "KEPT"],
    &["PURE", "BOOT", "ADOPT-NEW", "NOLEAK", "OLDACC"],
    &["PURE", "BOOT", "ADOPT-NEW", "NOLEAK", "OLDACC", "MIG"],
    &["RESOLVED", "DETACH", "RESTART"],
    &[
        "PURE",
        "OBEYED",
        "TRUTH",
        "RESOLVED",
        "DETACH",
        "RESTART",
        "MIG",
        "MIG-SAME",
        "BOOT",
        "ADOPT-NEW",
        "NOLEAK",
        "KEPT",
        "OLDACC-KNOWN",
    ],
];

/// Everything that some policy with provenance satisfies, in a world whose default changes.
pub fn all_but_the_contradictions() -> Set {
    EVERYTHING & !set(&["ADOPT-OLD", "OLDACC"])
}

fn bounds(world: &str) -> &'static Bounds {
    let found = SCOPES.iter().find(|(scope, _)| scope.name == world);
    &found.unwrap_or(&SCOPES[0]).1
}

impl Theory {
    /// Asks everything.
    pub fn of(threads: NonZeroUsize) -> Self {
        let spaces = [
            ("small", Space::small(), &["changing", "constant"][..]),
            ("plain", Space::whole(false), &["changing", "constant", "ancient"]),
            ("provenance", Space::whole(true), &["changing", "constant", "ancient"]),
        ];
        let mut counted = Vec::new();
        for (name, space, worlds) in spaces {
            for &world in worlds {
                let answers = enumerate(&space, bounds(world), threads);
                counted.push(Counted { space: name, world, answers });
            }
        }
        Theory { counted }
    }

    /// The answers of a space in a world.
    ///
    /// # Panics
    /// When it was not asked: the names are literals.
    pub fn answers(&self, space: &str, world: &str) -> &Answers {
        let found = self.counted.iter().find(|one| one.space == space && one.world == world);
        &found.expect("a space and a world that were asked").answers
    }

    /// What cannot be had together, and what each demand costs the others.
    pub fn conflicts(&self, space: &str, world: &'static str) -> Vec<Conflict> {
        let answers = self.answers(space, world);
        let conflicts = answers.conflicts();
        let each = conflicts.into_iter().map(|conflict| {
            let given_up = codes(conflict).filter_map(|code| {
                let lost = set(&[code]);
                let policy = answers.example(conflict & !lost, lost)?;
                witness(&policy, world, code)
            });
            Conflict { demands: codes(conflict).collect(), given_up: given_up.collect() }
        });
        each.collect()
    }

    /// The seven lemmas.
    pub fn lemmas(&self) -> Vec<Lemma> {
        vec![
            self.drop(),
            self.conflict(),
            self.scope(),
            self.dominator(),
            self.process_text(),
            self.purify(),
            self.provenance(),
        ]
    }
}

/// Demands that no policy satisfies together, although it does without any one of them.
#[derive(Clone, Debug, Serialize)]
pub struct Conflict {
    /// The properties.
    pub demands: Vec<&'static str>,
    /// For each, a policy that satisfies all the others, and the shortest run in which this one is violated.
    pub given_up: Vec<Witness>,
}

/// The shortest run in which a policy violates a property.
#[derive(Clone, Debug, Serialize)]
pub struct Witness {
    /// The policy's name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub design: Option<&'static str>,
    /// What it does where it does not keep.
    pub policy: String,
    /// The scope.
    pub world: &'static str,
    /// The property's short name.
    pub property: &'static str,
    /// Actions with their outcomes.
    pub steps: Vec<String>,
}

/// The checker's shortest run, if the property is violated.
pub fn witness(policy: &Policy, world: &'static str, code: &'static str) -> Option<Witness> {
    let study = Study::new(*policy, *bounds(world));
    let wanted = |name: &str| name.strip_prefix(code).is_some_and(|rest| rest.starts_with(':'));
    let report = check::check(&study, &Options::default(), wanted).ok()?;
    let shown = report.answers.first()?.verdict.counterexample()?;
    let step =
        |seen: &check::Seen<Study>| format!("{} -> {}", words(&seen.action), words(&seen.outcome));
    let named = DESIGNS.iter().find(|(_, known)| known == policy);
    Some(Witness {
        design: named.map(|(design, _)| design.name),
        policy: policy.to_string(),
        world,
        property: code,
        steps: shown.path.iter().map(step).collect(),
    })
}

/// One lemma, and whether it is so.
#[derive(Clone, Debug, Serialize)]
pub struct Lemma {
    /// Its name.
    pub name: &'static str,
    /// The statement.
    pub says: &'static str,
    /// Every count is as the statement says.
    pub holds: bool,
    /// The counts.
    pub counts: Vec<Count>,
    /// Runs that show what goes wrong without it.
    pub witnesses: Vec<Witness>,
}

/// So many policies of so many.
#[derive(Clone, Debug, Serialize)]
pub struct Count {
    /// Which policies, and what they satisfy.
    pub what: String,
    /// How many.
    pub count: usize,
    /// Of how many.
    pub of: usize,
}

impl Count {
    fn is_all(&self) -> bool {
        self.of > 0 && self.count == self.of
    }

    fn is_none(&self) -> bool {
        self.of > 0 && self.count == 0
    }
}

/// Of the policies of a kind, those that satisfy something.
fn count(
    what: impl Into<String>,
    answers: &Answers,
    kind: impl Fn(&[Op; 12], Set) -> bool,
    wanted: Set,
) -> Count {
    let mut counted = Count { what: what.into(), count: 0, of: 0 };
    answers.each(|ops, satisfied| {
        if kind(ops, satisfied) {
            counted.of += 1;
            counted.count += usize::from(satisfied & wanted == wanted);
        }
    });
    counted
}

fn has(ops: &[Op; 12], pairs: &[(Edge, Op)]) -> bool {
    pairs.iter().all(|&(edge, op)| ops[edge as usize] == op)
}

fn designs(wanted: &[(&str, &'static str, &'static str)]) -> Vec<Witness> {
    let each = wanted.iter().filter_map(|&(name, world, code)| {
        let (design, policy) = DESIGNS.iter().find(|(design, _)| design.name == name)?;
        let shown = witness(policy, world, code)?;
        Some(Witness { design: Some(design.name), ..shown })
    });
    each.collect()
}

/// Does a value stand at the end of this path, whatever it was at its beginning?
fn is_set(before: bool, path: &[Op]) -> bool {
    path.iter().fold(before, |set, op| match op {
        Keep => set,
        Fill | FillLegacy | Derive => true,
        Strip | StripLegacy | Lose => false,
    })
}

/// What the status file says or leaves out, its reader gets back.
fn status_carries(ops: &[Op; 12]) -> bool {
    let pair = (ops[Edge::StatusSave as usize], ops[Edge::StatusLoad as usize]);
    matches!(pair, (Keep, _) | (_, Derive) | (StripLegacy, FillLegacy))
}

/// The same for a text that goes to another host, whose reader may not even know the attribute: such a
/// reader derives nothing.
fn text_carries(ops: &[Op; 12]) -> bool {
    let [send, receive, start] =
        [Edge::Send, Edge::Receive, Edge::Start].map(|edge| ops[edge as usize]);
    let reader = if receive == Keep { start } else { receive };
    send == Keep || (send == StripLegacy && matches!(reader, FillLegacy | Derive))
}

/// On every way to somebody who acts, a value is put after the last place where one may be left out.
pub fn is_dominated(ops: &[Op; 12]) -> bool {
    let path = |before, edges: &[Edge]| {
        let path: Vec<Op> = edges.iter().map(|&edge| ops[edge as usize]).collect();
        is_set(before, &path)
    };
    path(false, &[Edge::Define, Edge::Save, Edge::Load, Edge::Start])
        && path(false, &[Edge::Define, Edge::Attach])
        && path(false, &[Edge::Network])
        && path(false, &[Edge::Load, Edge::Detach])
        && path(true, &[Edge::StatusSave, Edge::StatusLoad])
        && path(true, &[Edge::Send, Edge::Receive, Edge::Start])
}

impl Theory {
    fn drop(&self) -> Lemma {
        let [changing, constant] =
            ["changing", "constant"].map(|world| self.answers("plain", world));
        let decent = set(&["RESOLVED", "RESTART"]);
        let mig = set(&["MIG"]);
        let pair = |send, receive| {
            move |ops: &[Op; 12], satisfied: Set| {
                has(ops, &[(Edge::Send, send), (Edge::Receive, receive)])
                    && satisfied & decent == decent
            }
        };
        let counts = vec![
            count(
                "constant default, send strip, receive fill: MIG",
                constant,
                pair(Strip, Fill),
                mig,
            ),
            count(
                "changing default, send strip, receive fill: MIG",
                changing,
                pair(Strip, Fill),
                mig,
            ),
            count(
                "changing default, send strip-legacy, receive fill-legacy: MIG",
                changing,
                pair(StripLegacy, FillLegacy),
                mig,
            ),
        ];
        Lemma {
            name: "drop",
            says: "What is left out of a text and put back by its reader survives if and only if writer and reader agree on it",
            holds: counts[0].is_all() && counts[1].is_none() && counts[2].is_all(),
            counts,
            witnesses: designs(&[("usb-i440fx", "changing", "MIG")]),
        }
    }

    fn conflict(&self) -> Lemma {
        let answers = self.answers("plain", "changing");
        let all = |_: &[Op; 12], _: Set| true;
        let one = |codes: &[&str]| count(codes.join(" and "), answers, all, set(codes));
        let counts = vec![
            one(&["BOOT", "ADOPT-OLD"]),
            one(&["PURE", "BOOT", "ADOPT-NEW"]),
            one(&["PURE", "BOOT"]),
            one(&["PURE", "ADOPT-NEW"]),
            one(&["BOOT", "ADOPT-NEW"]),
        ];
        let [old, pure] = [&["BOOT", "ADOPT-OLD"][..], &["PURE", "BOOT", "ADOPT-NEW"]].map(set);
        let given_up = |conflict: Set| {
            codes(conflict).filter_map(move |code| {
                let lost = set(&[code]);
                witness(&answers.example(conflict & !lost, lost)?, "changing", code)
            })
        };
        Lemma {
            name: "conflict",
            says: "A default that changes cannot both stay for old configurations and reach them; nor can text that is left open mean the old default in an old configuration and the new one in a new",
            holds: counts[..2].iter().all(Count::is_none)
                && counts[2..].iter().all(|one| one.count > 0),
            counts,
            witnesses: given_up(old).chain(given_up(pure)).collect(),
        }
    }

    fn scope(&self) -> Lemma {
        let answers = self.answers("plain", "changing");
        let resolved = set(&["RESOLVED"]);
        let status = |carried: bool| {
            move |ops: &[Op; 12], satisfied: Set| {
                satisfied & resolved == resolved && status_carries(ops) == carried
            }
        };
        let both = |carried: bool| {
            move |ops: &[Op; 12], satisfied: Set| {
                status(true)(ops, satisfied) && text_carries(ops) == carried
            }
        };
        let shown = |ops: &[Op; 12], satisfied: Set| {
            let wanted = set(&["PURE", "RESOLVED", "RESTART"]);
            satisfied & wanted == wanted && has(ops, &[(Edge::Dump, Keep), (Edge::Save, Keep)])
        };
        let [restart, mig, no_leak] = [&["RESTART"][..], &["RESTART", "MIG"], &["NOLEAK"]].map(set);
        let counts = vec![
            count("the status file carries it: RESTART", answers, status(true), restart),
            count("the status file does not: RESTART", answers, status(false), restart),
            count("the migratable text carries it too: RESTART and MIG", answers, both(true), mig),
            count("the migratable text does not: RESTART and MIG", answers, both(false), mig),
            count(
                "decided by the run, shown in the dump, and kept on disk: NOLEAK",
                answers,
                shown,
                no_leak,
            ),
        ];
        Lemma {
            name: "scope",
            says: "Freeze no later than the first observation, carry on every edge until the last observer is gone, and no further",
            holds: counts[0].is_all()
                && counts[1].is_none()
                && counts[2].is_all()
                && counts[3].is_none()
                && counts[4].is_none(),
            counts,
            witnesses: designs(&[
                ("console-alias", "unchosen", "RESTART"),
                ("usb-ppc64-b", "constant", "MIG"),
                ("qemu-hostdev", "changing", "NOLEAK"),
            ]),
        }
    }

    fn dominator(&self) -> Lemma {
        let resolved = set(&["RESOLVED"]);
        let mut counts = Vec::new();
        let mut holds = true;
        for one in self.counted.iter().filter(|one| one.space != "small" && one.world != "ancient")
        {
            let name = |what: &str| format!("{}, {}: {what}", one.space, one.world);
            let with = count(
                name("dominated, and RESOLVED"),
                &one.answers,
                |ops, _| is_dominated(ops),
                resolved,
            );
            let without = count(
                name("not dominated, and RESOLVED"),
                &one.answers,
                |ops, _| !is_dominated(ops),
                resolved,
            );
            holds &= with.is_all() && without.is_none();
            counts.extend([with, without]);
        }
        Lemma {
            name: "dominator",
            says: "Everybody who acts finds a value if and only if, on every way to each of them, one is put after the last place where one may be left out",
            holds,
            counts,
            witnesses: designs(&[("libxl-hostdev-10", "changing", "RESOLVED")]),
        }
    }

    fn process_text(&self) -> Lemma {
        let [changing, ancient] = ["changing", "ancient"].map(|world| self.answers("plain", world));
        let resolved = set(&["RESOLVED"]);
        let restart = set(&["RESTART"]);
        let loads = |op: Op, dropped: bool| {
            move |ops: &[Op; 12], satisfied: Set| {
                satisfied & resolved == resolved
                    && ops[Edge::StatusLoad as usize] == op
                    && (ops[Edge::StatusSave as usize] != Keep) == dropped
            }
        };
        let counts = vec![
            count(
                "left out of the status file, filled from today: RESTART",
                changing,
                loads(Fill, true),
                restart,
            ),
            count("left out, derived: RESTART", changing, loads(Derive, true), restart),
            count(
                "the process is older than the attribute, filled from today: RESTART",
                ancient,
                loads(Fill, false),
                restart,
            ),
            count(
                "the same, filled with the default of its time: RESTART",
                ancient,
                loads(FillLegacy, false),
                restart,
            ),
            count("the same, derived: RESTART", ancient, loads(Derive, false), restart),
        ];
        Lemma {
            name: "process text",
            says: "Text about a process is never completed with today's default: what it left open is a fact about the process",
            holds: counts[0].is_none()
                && counts[1].is_all()
                && counts[2].is_none()
                && counts[3].is_all()
                && counts[4].is_all(),
            counts,
            witnesses: designs(&[
                ("libxl-hostdev", "ancient", "RESTART"),
                ("pci-root", "unchosen", "RESTART"),
            ]),
        }
    }

    /// A policy whose operators read nothing volatile, and the same policy where nothing is volatile.
    fn purify(&self) -> Lemma {
        let [changing, constant] =
            ["changing", "constant"].map(|world| self.answers("plain", world));
        let pure = |op: Op| match op {
            Fill => FillLegacy,
            Strip => StripLegacy,
            op => op,
        };
        let judged = EVERYTHING & !set(&["ADOPT-OLD", "ADOPT-NEW"]);
        let resolved = set(&["RESOLVED"]);
        let mut same = Count {
            what: "purified: the same answers as where the default is constant".to_owned(),
            count: 0,
            of: 0,
        };
        constant.each(|ops, satisfied| {
            let policy = Policy { provenance: false, ops: ops.map(pure) };
            if satisfied & resolved == resolved
                && let Some(purified) = changing.space.number(&policy)
            {
                same.of += 1;
                same.count +=
                    usize::from(changing.satisfied[purified] & judged == satisfied & judged);
            }
        });
        let recomputes = |ops: &[Op; 12], satisfied: Set| {
            satisfied & resolved == resolved
                && has(ops, &[(Edge::StatusSave, Strip), (Edge::StatusLoad, Fill)])
        };
        let restart = set(&["RESTART"]);
        let counts = vec![
            count(
                "recomputed after a restart, constant default: RESTART",
                constant,
                recomputes,
                restart,
            ),
            count(
                "recomputed after a restart, changing default: RESTART",
                changing,
                recomputes,
                restart,
            ),
            same,
        ];
        Lemma {
            name: "purify",
            says: "Recomputing is safe if and only if everything that is read is carried; so, beside carrying the value and refusing, one may change what the default reads",
            holds: counts[0].is_all() && counts[1].is_none() && counts[2].is_all(),
            counts,
            witnesses: designs(&[
                ("pci-root", "unchosen", "RESTART"),
                ("pci-root-purified", "unchosen", "RESTART"),
            ]),
        }
    }

    fn provenance(&self) -> Lemma {
        let wanted = all_but_the_contradictions();
        let all = |_: &[Op; 12], _: Set| true;
        let mut counts = Vec::new();
        let mut holds = true;
        for space in ["plain", "provenance"] {
            for world in ["changing", "constant", "ancient"] {
                let what = format!("{space}, {world}: all but ADOPT-OLD and OLDACC");
                let one = count(what, self.answers(space, world), all, wanted);
                // Where nothing changes, nothing needs to be remembered.
                let possible = space == "provenance" || world == "constant";
                holds &= (one.count > 0) == possible;
                counts.push(one);
            }
        }
        let answers = self.answers("provenance", "changing");
        let contradictions = [&["BOOT", "ADOPT-OLD"][..], &["MIG", "ADOPT-NEW", "OLDACC"]];
        for demands in contradictions {
            let what = format!("provenance, changing: {}", demands.join(" and "));
            counts.push(count(what, answers, all, set(demands)));
        }
        holds &= answers.conflicts() == contradictions.map(set);
        Lemma {
            name: "provenance",
            says: "With the origin of every value on record, everything can be had together that is not a contradiction; without, not as soon as a default changes",
            holds,
            counts,
            witnesses: designs(&[
                ("ours", "changing", "ADOPT-OLD"),
                ("ours", "changing", "OLDACC"),
            ]),
        }
    }
}
