//! `statusquo findings`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;
use statusquo_model::{
    check::{self, Fault as Wrong, Seen},
    family::{Role, Scope},
    study::Study,
    words::words,
};

use super::{
    Common, Ended, Format, Missing, budget, print, print_json,
    search::{Kept, lines},
};
use crate::{
    findings::KILLS,
    replay::{Factory, Verdict, explain, replay_one},
    report::{self, Shown},
    search::EndKind,
    studies::{self, Replayable, Visitor},
    systems::{
        libvirt::Programs,
        qemu::{DEFAULT_BINARY, KEPT, Qemu},
    },
    trace::{Step, Trace},
};

#[derive(Debug, Args)]
pub(super) struct Findings {
    /// The study whose shipped design is put to the test
    #[arg(default_value = "restart")]
    study: String,
    /// The binary that people run [default: the one whose design it is]
    #[arg(long, value_enum)]
    against: Option<Against>,
    /// For `--against qemu`: the binary
    #[arg(long, value_name = "PATH", default_value = DEFAULT_BINARY)]
    qemu: PathBuf,
    /// Only this scope [default: every scope that can be driven]
    #[arg(long)]
    scope: Option<String>,
    /// Only properties whose name contains this
    #[arg(long, value_name = "TEXT")]
    property: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    /// The installed libvirt with the installed QEMU
    Libvirt,
    /// The installed QEMU
    Qemu,
}

impl Findings {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Ended> {
        studies::visit(&self.study, FindingsVisitor { findings: self, common })?
    }
}

struct FindingsVisitor<'a> {
    findings: &'a Findings,
    common: &'a Common,
}

/// What became of one violated property on the binary.
struct Finding {
    property: &'static str,
    scope: &'static str,
    length: usize,
    class: &'static str,
    /// Where the binary went another way, or why it could not be driven.
    why: String,
    shown: Shown,
    system: String,
    /// The guest did not survive it.
    kills: bool,
    /// How the binary ended, where it did.
    ended: Option<String>,
}

impl Visitor for FindingsVisitor<'_> {
    type Output = anyhow::Result<Ended>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let FindingsVisitor { findings: asked, common } = self;
        let Some(shipped) = F::SHIPPED else {
            anyhow::bail!("the study {} knows of no design that was shipped", F::NAME);
        };
        let against = match (asked.against, F::OF_QEMU) {
            (None | Some(Against::Qemu), true) => Some(Qemu::find(&asked.qemu)?),
            (None | Some(Against::Libvirt), false) => None,
            (Some(Against::Libvirt), true) => {
                anyhow::bail!("the study {} is about QEMU alone: --against qemu", F::NAME)
            }
            (Some(Against::Qemu), false) => {
                anyhow::bail!("the study {} is about libvirt: --against libvirt", F::NAME)
            }
        };
        let design = studies::design::<F>(shipped)?;
        let scopes: Vec<&'static Scope> = match &asked.scope {
            Some(name) => vec![studies::scope::<F>(Some(name))?],
            None => F::scopes().iter().filter(|it| it.role == Role::CheckAndReplay).collect(),
        };
        let mut skipped = Vec::new();
        let mut violated = Vec::new();
        for scope in scopes {
            let study = F::study(design, scope);
            let factory = match &against {
                Some(qemu) => F::qemu(&study, qemu).ok_or("it is not about QEMU".to_owned()),
                None => F::libvirt(&study, Programs::default()),
            };
            // One that cannot be started, cannot for any property.
            let factory = match factory {
                Ok(factory) => factory,
                Err(why) => {
                    skipped.push(format!("scope {}: {why}", scope.name));
                    continue;
                }
            };
            if against.is_some()
                && let Err(why) = factory.start()
            {
                skipped.push(format!("scope {}: {why}", scope.name));
                continue;
            }
            let wanted =
                |name: &str| asked.property.as_ref().is_none_or(|part| name.contains(part));
            let report =
                budget::within(common, "check", |options| check::check(&study, options, wanted))?;
            for answer in report.answers {
                if let Some(shown) = answer.verdict.counterexample() {
                    let length = answer.verdict.trace_len().unwrap_or(0);
                    let trace = trace_of::<F>(&study, shown);
                    let shown = Shown::of(&study, shown);
                    violated.push((answer.property, length, scope, trace, shown, factory.clone()));
                }
            }
        }
        // Once for each property: where its demonstration is shortest, and of those in the first scope.
        violated.sort_by_key(|(property, length, ..)| (*property, *length));
        violated.dedup_by_key(|(property, ..)| *property);
        let mut found: Vec<Finding> = Vec::new();
        for (property, length, scope, trace, shown, factory) in violated {
            let (class, why) = match F::unseen(property) {
                Some(why) => ("not drivable here", why.to_owned()),
                None => put_to_the_test(&F::study(design, scope), &trace, &factory),
            };
            let said = |what: &str| trace.iter().any(|step| words(&step.outcome).contains(what));
            let dies = said("died");
            found.push(Finding {
                property,
                scope: scope.name,
                length,
                class,
                why,
                shown,
                system: factory.name(),
                kills: dies || said("guest-lost"),
                ended: factory.last_words().filter(|_| dies && class == "confirmed"),
            });
        }
        let walked = match &against {
            Some(qemu) if asked.property.is_none() && asked.scope.is_none() => walk_again(qemu)?,
            _ => Vec::new(),
        };
        if found.is_empty() && !skipped.is_empty() {
            return Err(Missing(skipped.join("; ")).into());
        }
        // What ends a guest comes first.
        found.sort_by_key(|one| (one.class != "confirmed", !one.kills, one.length, one.property));
        show(F::NAME, shipped, &found, &walked, &skipped, common)
    }
}

/// The demonstration as a trace: the path, and for a disruption that is noticed also what tells.
fn trace_of<F: Replayable>(
    study: &F::Study,
    shown: &check::Counterexample<F::Study>,
) -> Trace<F::Study> {
    let step = |seen: &Seen<F::Study>| Step { action: seen.action, outcome: seen.outcome.clone() };
    let mut trace: Trace<F::Study> = shown.path.iter().map(step).collect();
    let mut state = shown.state.clone();
    let mut further = |actions: Vec<_>| {
        for action in actions {
            let Ok((outcome, next)) = study.step(&state, action) else { break };
            trace.push(Step { action, outcome });
            state = next;
        }
        state.clone()
    };
    let last = match &shown.fault {
        Wrong::Noticed { disruption, tell } => {
            let told = tell.iter().map(|told| told.action);
            further(std::iter::once(disruption.action).chain(told).collect())
        }
        _ => further(Vec::new()),
    };
    further(F::aftermath(study, &last));
    trace
}

/// A kept walk, walked again: its file, what it shows, the walk and its end, and whether it ended so again.
struct Walked {
    file: &'static str,
    shows: String,
    text: String,
    kind: EndKind,
    same: bool,
}

fn walk_again(qemu: &Qemu) -> anyhow::Result<Vec<Walked>> {
    let mut all = Vec::new();
    for (file, text) in KEPT {
        let kept = Kept::parse(text).with_context(|| file.to_owned())?;
        let (same, end) = kept.again(qemu);
        let text = lines(&kept.moves, end.as_ref());
        all.push(Walked { file, shows: kept.shows, text, kind: kept.kind, same });
    }
    all.sort_by_key(|walked| (walked.kind, walked.file));
    Ok(all)
}

fn put_to_the_test<S: Study>(
    study: &S,
    trace: &Trace<S>,
    factory: &Arc<dyn Factory<S>>,
) -> (&'static str, String) {
    match replay_one(trace, factory, Duration::from_secs(60)).0 {
        Verdict::Agrees => ("confirmed", String::new()),
        Verdict::Diverges(divergence) => ("not reproduced", explain(study, trace, &divergence)),
        Verdict::Inconclusive(why) => ("not drivable here", why),
    }
}

/// The page of a study's findings, as `docs/findings` has it.
fn markdown(
    study: &str,
    design: &str,
    found: &[Finding],
    walked: &[Walked],
    skipped: &[String],
) -> String {
    let system = found.first().map_or("the binary", |one| &one.system);
    let mut text = format!(
        "<!-- statusquo findings {study} --format markdown -->\n\n# Findings: the model of {design} on {system}\n\n\
         Every property that the model of {design} violates, replayed on the binary along its shortest \
         demonstration, step by step.\n\
         `confirmed`: every step, and what is seen from outside at the end, were as the model says.\n"
    );
    for one in walked {
        let class = if one.same { "found by a walk" } else { "not reproduced" };
        text.push_str(&format!(
            "\n## {}\n\n{class}, {}; {KILLS}. Again: `statusquo search {study} --again conformance/corpus/walks/{}`\n\n```text\n{}\n```\n",
            one.shows, words(&one.kind), one.file, one.text
        ));
    }
    for one in found {
        let kills = if one.kills { format!("; {KILLS}") } else { String::new() };
        text.push_str(&format!(
            "\n## {}\n\n{} in {} steps{kills}. Again: `statusquo findings {study} --scope {} --property '{}'`\n\n```text\n{}\n```\n",
            one.property, one.class, one.length, one.scope, one.property, one.shown.text()
        ));
        if let Some(ended) = &one.ended {
            text.push_str(&format!("\nThe binary ended: {ended}.\n"));
        }
        if !one.why.is_empty() {
            text.push_str(&format!("\n```text\n{}\n```\n", one.why.trim_end()));
        }
    }
    for why in skipped {
        text.push_str(&format!("\nSkipped: {why}.\n"));
    }
    text.trim_end().to_owned()
}

fn show(
    study: &str,
    design: &str,
    found: &[Finding],
    walked: &[Walked],
    skipped: &[String],
    common: &Common,
) -> anyhow::Result<Ended> {
    let count = |class: &str| found.iter().filter(|one| one.class == class).count();
    if common.json() {
        let all: Vec<_> = found
            .iter()
            .map(|one| {
                json!({
                    "property": one.property, "scope": one.scope, "length": one.length, "class": one.class,
                    "why": one.why, "system": one.system, "ends-the-guest": one.kills, "ended": one.ended,
                    "trace": one.shown,
                })
            })
            .collect();
        let walks: Vec<_> = walked
            .iter()
            .map(|one| json!({ "file": one.file, "shows": one.shows, "kind": one.kind, "as-kept": one.same }))
            .collect();
        print_json(&json!({
            "version": report::VERSION, "study": study, "design": design, "findings": all, "walks": walks,
            "skipped": skipped,
        }))?;
    } else if common.format == Format::Markdown {
        print(&markdown(study, design, found, walked, skipped))?;
    } else {
        for one in walked {
            let class = if one.same { "FOUND BY A WALK" } else { "NOT REPRODUCED" };
            print(&format!("{class}: {}\n{}", one.shows, one.text))?;
            print(&format!(
                "  again: statusquo search {study} --again conformance/corpus/walks/{}\n",
                one.file
            ))?;
        }
        for one in found {
            let kills = if one.kills { ", and it kills" } else { "" };
            print(&format!(
                "{}: {} (scope {}, {} steps{kills})",
                one.class.to_uppercase(),
                one.property,
                one.scope,
                one.length
            ))?;
            print(&one.shown.text())?;
            if let Some(ended) = &one.ended {
                print(&format!("        the binary ended: {ended}"))?;
            }
            if !one.why.is_empty() {
                print(&one.why)?;
            }
            print(&format!(
                "  again: statusquo findings {study} --scope {} --property '{}'\n",
                one.scope, one.property
            ))?;
        }
        let system = found.first().map_or("the binary", |one| &one.system);
        print(&format!(
            "{study} {design} on {system}: {} confirmed, {} not reproduced, {} not drivable here",
            count("confirmed"),
            count("not reproduced"),
            count("not drivable here")
        ))?;
        skipped.iter().try_for_each(|why| print(&format!("skipped: {why}")))?;
    }
    let all = count("confirmed") == found.len() && walked.iter().all(|one| one.same);
    Ok(if all { Ended::AsExpected } else { Ended::Incomplete })
}
