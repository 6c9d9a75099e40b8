//! `statusquo adapter`.

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Common, Ended, Which, exec::Exec, print, print_json, replay::positive_seconds};
use crate::{
    adapter::{self, Checked, Options, Report, Verdict},
    report,
    studies::{self, Replayable, Visitor},
    systems::exec::{Command, Names},
};

#[derive(Debug, Args)]
pub(super) struct Adapter {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Is it a proper system? Whether it does what a model says, `replay` tells
    #[command(after_help = "Examples:
  statusquo adapter check chardev --scope null --exec './adapter.py --verbose'
  statusquo adapter check chardev --scope null -- ./adapter.py --verbose")]
    Check(Check),
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    which: Which,
    /// The design that it is asked to be [default: ours]
    #[arg(long)]
    design: Option<String>,
    #[command(flatten)]
    exec: Exec,
    /// How many walks of the model to take
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..))]
    walks: u16,
    /// How long each is
    #[arg(long, value_name = "N", default_value = "40", value_parser = clap::value_parser!(u16).range(1..))]
    steps: u16,
    /// Which walks: the same seed gives the same
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How long one answer may take
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = positive_seconds)]
    deadline: Duration,
}

impl Adapter {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Ended> {
        let What::Check(check) = &self.what;
        let command = check
            .exec
            .command()?
            .context("which adapter? Name it with `--exec COMMAND`, or after `--` at the end")?;
        studies::visit(&check.which.study, CheckVisitor { check, command: &command, common })?
    }
}

struct CheckVisitor<'a> {
    check: &'a Check,
    command: &'a Command,
    common: &'a Common,
}

impl Visitor for CheckVisitor<'_> {
    type Output = anyhow::Result<Ended>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let CheckVisitor { check, command, common } = self;
        let start = Instant::now();
        let scope = studies::scope::<F>(check.which.scope.as_deref())?;
        let design = match &check.design {
            Some(name) => studies::design::<F>(name)?,
            None => studies::ours::<F>(),
        };
        let names = Names {
            study: F::NAME.to_owned(),
            design: design.name.to_owned(),
            scope: scope.name.to_owned(),
        };
        let options = Options {
            walks: check.walks.into(),
            steps: check.steps.into(),
            seed: check.seed,
            deadline: check.deadline,
        };
        let report = adapter::check(&F::study(design, scope), &names, command, &options);
        let ended = ended(&report.checks);
        if common.json() {
            print_json(&json!({
                "version": report::VERSION, "adapter": report.name, "command": command.to_string(),
                "study": names.study, "design": names.design, "scope": names.scope,
                "walks": options.walks, "steps": report.steps, "seed": options.seed,
                "checks": report.checks, "exit-code": ended.code(),
                "seconds": start.elapsed().as_secs_f64(),
            }))?;
        } else {
            print(&text(&report, &names, command))?;
        }
        Ok(ended)
    }
}

fn ended(checks: &[Checked]) -> Ended {
    let of = |verdict| match verdict {
        Verdict::Holds | Verdict::Vacuous => Ended::AsExpected,
        Verdict::Fails => Ended::Violated,
        Verdict::NotChecked => Ended::Incomplete,
    };
    checks.iter().map(|checked| of(checked.verdict)).max().unwrap_or(Ended::Incomplete)
}

fn text(report: &Report, names: &Names, command: &Command) -> String {
    let Names { study, design, scope } = names;
    let name = report.name.as_deref().unwrap_or("an adapter");
    let mut text = format!("{name} ({command}), as {study} {design}, scope {scope}\n");
    for Checked { check, asks, verdict, evidence } in &report.checks {
        let mark = match verdict {
            Verdict::Holds => "ok  ",
            Verdict::Fails => "FAIL",
            Verdict::Vacuous | Verdict::NotChecked => "?   ",
        };
        text.push_str(&format!("{mark} {check}: {asks}\n     {}: {evidence}\n", verdict.word()));
    }
    let fails = report.checks.iter().filter(|it| it.verdict == Verdict::Fails).count();
    text.push_str(&match fails {
        0 if ended(&report.checks) == Ended::AsExpected => {
            "it is a proper system; whether it does what the model says, `statusquo replay` tells"
                .to_owned()
        }
        0 => "not everything could be checked".to_owned(),
        _ => format!("{fails} of {} checks fail", report.checks.len()),
    });
    text
}
