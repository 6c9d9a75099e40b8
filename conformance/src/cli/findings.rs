//! `statusquo findings`.

use std::{sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use serde_json::json;
use statusquo_model::{
    check::{self, Fault as Wrong, Seen},
    family::{Role, Scope},
    study::Study,
    words::words,
};

use super::{Common, Ended, Format, Missing, budget, print, print_json};
use crate::{
    replay::{Factory, Verdict, explain, replay_one},
    report::{self, Shown},
    studies::{self, Replayable, Visitor},
    systems::libvirt::Programs,
    trace::{Step, Trace},
};

#[derive(Debug, Args)]
pub(super) struct Findings {
    /// The study whose shipped design is put to the test
    #[arg(default_value = "restart")]
    study: String,
    /// The binary that people run
    #[arg(long, value_enum, default_value_t = Against::Libvirt)]
    against: Against,
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
}

impl Visitor for FindingsVisitor<'_> {
    type Output = anyhow::Result<Ended>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let FindingsVisitor { findings: asked, common } = self;
        let Some(shipped) = F::SHIPPED else {
            anyhow::bail!("the study {} knows of no design that libvirt ships", F::NAME);
        };
        let design = studies::design::<F>(shipped)?;
        let scopes: Vec<&'static Scope> = match &asked.scope {
            Some(name) => vec![studies::scope::<F>(Some(name))?],
            None => F::scopes().iter().filter(|it| it.role == Role::CheckAndReplay).collect(),
        };
        let mut found: Vec<Finding> = Vec::new();
        let mut skipped = Vec::new();
        for scope in scopes {
            let study = F::study(design, scope);
            let factory = match F::libvirt(&study, Programs::default()) {
                Ok(factory) => factory,
                Err(why) => {
                    skipped.push(format!("scope {}: {why}", scope.name));
                    continue;
                }
            };
            let wanted =
                |name: &str| asked.property.as_ref().is_none_or(|part| name.contains(part));
            let report =
                budget::within(common, "check", |options| check::check(&study, options, wanted))?;
            for answer in &report.answers {
                let Some(shown) = answer.verdict.counterexample() else { continue };
                let trace = trace_of::<F>(&study, shown);
                let (class, why) = match F::unseen(answer.property) {
                    Some(why) => ("not drivable here", why.to_owned()),
                    None => put_to_the_test(&study, &trace, &factory),
                };
                found.push(Finding {
                    property: answer.property,
                    scope: scope.name,
                    length: answer.verdict.trace_len().unwrap_or(0),
                    class,
                    why,
                    shown: Shown::of(&study, shown),
                    system: factory.name(),
                    kills: trace.iter().any(|step| words(&step.outcome).contains("guest-lost")),
                });
            }
        }
        if found.is_empty() && !skipped.is_empty() {
            return Err(Missing(skipped.join("; ")).into());
        }
        // What ends a guest comes first.
        found.sort_by_key(|one| (one.class != "confirmed", !one.kills, one.length, one.property));
        show(F::NAME, shipped, &found, &skipped, common)
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

/// The page of all findings, as `docs/findings.md` has it.
fn markdown(study: &str, design: &str, found: &[Finding], skipped: &[String]) -> String {
    let system = found.first().map_or("the binary", |one| &one.system);
    let mut text = format!(
        "<!-- statusquo findings {study} --format markdown -->\n\n# Findings: the model of {design} on {system}\n\n\
         Every property that the model of {design} violates, replayed on the binary along its shortest \
         demonstration, effect by effect, and looked at from outside at the end \
         (QEMU by a monitor of its own, the status file, the dump).\n\
         `confirmed`: every step and the end were as the model says.\n"
    );
    for one in found {
        let kills = if one.kills { "; **the guest is lost**" } else { "" };
        text.push_str(&format!(
            "\n## {}\n\n{} in {} steps{kills}. Again: `statusquo findings {study} --scope {} --property '{}'`\n\n```text\n{}\n```\n",
            one.property, one.class, one.length, one.scope, one.property, one.shown.text()
        ));
        if !one.why.is_empty() {
            text.push_str(&format!("\n{}\n", one.why.trim_end()));
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
                    "why": one.why, "system": one.system, "ends-the-guest": one.kills, "trace": one.shown,
                })
            })
            .collect();
        print_json(&json!({
            "version": report::VERSION, "study": study, "design": design, "findings": all, "skipped": skipped,
        }))?;
    } else if common.format == Format::Markdown {
        print(&markdown(study, design, found, skipped))?;
    } else {
        for one in found {
            let kills = if one.kills { ", and the guest is lost" } else { "" };
            print(&format!(
                "{}: {} (scope {}, {} steps{kills})",
                one.class.to_uppercase(),
                one.property,
                one.scope,
                one.length
            ))?;
            print(&one.shown.text())?;
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
    Ok(if count("confirmed") == found.len() { Ended::AsExpected } else { Ended::Incomplete })
}
