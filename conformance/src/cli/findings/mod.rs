//! `statusquo findings`.

mod page;
mod pages;

use std::{borrow::Cow, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use statusquo_model::{
    check::{self, Fault as Wrong, Seen},
    family::{Role, Scope},
    study::Study,
    words::words,
};

use self::page::Page;
use super::{
    Common, Ended, Missing, budget, is_wanted,
    search::{Kept, lines},
    some_are_wanted,
};
use crate::{
    replay::{Factory, Verdict, explain, replay_one},
    report::Shown,
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
    /// The study whose shipped design is put to the test [default: restart; with `--against` and nothing else,
    /// every study of that system, compared with the pages of `--docs`]
    study: Option<String>,
    /// The binary that people run [default: the one whose design it is]
    #[arg(long, value_enum)]
    against: Option<Against>,
    /// Where the pages are that `--against` alone compares with
    #[arg(long, value_name = "DIRECTORY", default_value = "docs")]
    docs: PathBuf,
    /// Write those pages anew instead
    #[arg(long, requires = "against", conflicts_with_all = ["study", "scope", "property"])]
    update: bool,
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

impl Against {
    fn name(self) -> &'static str {
        match self {
            Against::Libvirt => "libvirt",
            Against::Qemu => "qemu",
        }
    }
}

impl Findings {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Ended> {
        match (&self.study, self.against) {
            (None, Some(against)) if self.scope.is_none() && self.property.is_none() => {
                pages::compare(self, against, common)
            }
            (study, _) => {
                let study = study.as_deref().unwrap_or("restart");
                let page = studies::visit(study, FindingsVisitor { findings: self, common })??;
                page.show(common)
            }
        }
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

impl Finding {
    /// The command that shows it again.
    fn again(&self, study: &str) -> String {
        let property = quoted(self.property);
        format!("statusquo findings {study} --scope {} --property {property}", self.scope)
    }
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    shlex::try_quote(text).map_or_else(|_| text.to_owned(), Cow::into_owned)
}

impl Visitor for FindingsVisitor<'_> {
    type Output = anyhow::Result<Page>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let FindingsVisitor { findings: asked, common } = self;
        let Some(shipped) = F::SHIPPED else {
            bail!("the study {} knows of no design that was shipped", F::NAME);
        };
        let against = match (asked.against, F::OF_QEMU) {
            (None | Some(Against::Qemu), true) => Some(Qemu::find(&asked.qemu)?),
            (None | Some(Against::Libvirt), false) => None,
            (Some(Against::Libvirt), true) => {
                bail!("the study {} is about QEMU alone: --against qemu", F::NAME)
            }
            (Some(Against::Qemu), false) => {
                bail!("the study {} is about libvirt: --against libvirt", F::NAME)
            }
        };
        let design = studies::design::<F>(shipped)?;
        let scopes: Vec<&'static Scope> = match &asked.scope {
            Some(name) => vec![studies::scope::<F>(Some(name))?],
            None => F::scopes().iter().filter(|it| it.role == Role::CheckAndReplay).collect(),
        };
        let part = asked.property.as_deref();
        // They are the same at each scope.
        some_are_wanted(part, &F::study(design, &F::scopes()[0]).properties())?;
        let wanted = |name: &str| is_wanted(part, name);
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
        Ok(Page { study: F::NAME, design: shipped, found, walked, skipped })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_one_word_for_a_shell() {
        for text in ["the label agrees with the port's flags", "no \"quotes\" $are `run`", "plain"]
        {
            assert_eq!(shlex::split(&quoted(text)), Some(vec![text.to_owned()]));
        }
    }
}
