//! `statusquo check`.

use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use statusquo_model::{
    check::{self, Report},
    family::{Design, Family, Scope},
    study::Study,
};

use super::{Common, Ended, Which, budget, is_wanted, print, print_json, some_are_wanted};
use crate::{
    report::{self, Checked},
    studies::{self, Replayable, Visitor},
};

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    which: Which,
    /// The design to check [default: every design]
    #[arg(long)]
    design: Option<String>,
    /// Only properties whose sentence contains this
    #[arg(long, value_name = "TEXT")]
    property: Option<String>,
}

impl Check {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Ended> {
        studies::visit(&self.which.study, CheckVisitor { check: self, common })?
    }
}

struct CheckVisitor<'a> {
    check: &'a Check,
    common: &'a Common,
}

impl Visitor for CheckVisitor<'_> {
    type Output = anyhow::Result<Ended>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let CheckVisitor { check, common } = self;
        let scope = studies::scope::<F>(check.which.scope.as_deref())?;
        let designs: Vec<&Design> = match &check.design {
            Some(name) => vec![studies::design::<F>(name)?],
            None => F::designs().iter().collect(),
        };
        let part = check.property.as_deref();
        some_are_wanted(part, &F::study(designs[0], scope).properties())?;
        let wanted = |name: &str| is_wanted(part, name);
        let mut all = Vec::new();
        for design in designs {
            all.push(check_one::<F>(design, scope, common, wanted)?.0);
        }
        if common.json() {
            print_json(&serde_json::json!({ "version": report::VERSION, "checked": all }))?;
        } else {
            all.iter().try_for_each(|checked| print(&text(checked)))?;
        }
        Ok(ended(&all))
    }
}

/// Checks one design at one scope.
pub(super) fn check_one<F: Family>(
    design: &'static Design,
    scope: &'static Scope,
    common: &Common,
    wanted: impl Fn(&str) -> bool,
) -> anyhow::Result<(Checked, Report<F::Study>)> {
    let start = Instant::now();
    let study = F::study(design, scope);
    let what = format!("{} {} {}", F::NAME, design.name, scope.name);
    let report = budget::within(common, &what, |options| check::check(&study, options, wanted));
    let report = report.with_context(|| format!("check {what}"))?;
    let checked = Checked::of(F::NAME, design, scope, &report, start.elapsed().as_secs_f64());
    if checked.end.starts_with("the study panicked") {
        bail!("{what}: {}", checked.end);
    }
    Ok((checked, report))
}

pub(super) fn ended(all: &[Checked]) -> Ended {
    if all.iter().any(Checked::is_violated) {
        Ended::Violated
    } else if all.iter().all(Checked::is_complete) {
        Ended::AsExpected
    } else {
        Ended::Incomplete
    }
}

fn text(checked: &Checked) -> String {
    let Checked { study, design, scope, states, transitions, depth, end, seconds, .. } = checked;
    let mut lines = vec![format!(
        "{study} {design}, scope {scope}: {states} states, {transitions} transitions, depth {depth}, \
         {end}, {seconds:.2} s"
    )];
    for answer in &checked.answers {
        let mark = match answer.verdict.as_str() {
            "holds" => "ok  ",
            "violated" => "FAIL",
            _ => "?   ",
        };
        let asked = match answer.verdict.as_str() {
            "violated" | "not checked" => String::new(),
            _ => format!(" (asked {} times)", answer.asked),
        };
        lines.push(format!("{mark} {}: {}{asked}", answer.property, answer.detail));
        if let Some(trace) = &answer.trace {
            lines.push(trace.text());
        }
    }
    if !checked.dead_actions.is_empty() {
        lines.push(format!("never enabled: {}", checked.dead_actions.join(", ")));
    }
    if !checked.dead_outcomes.is_empty() {
        lines.push(format!("never observed: {}", checked.dead_outcomes.join(", ")));
    }
    lines.push(String::new());
    lines.join("\n")
}
