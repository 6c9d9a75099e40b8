//! `statusquo compare`.

use anyhow::Context;
use clap::Args;
use serde_json::json;
use statusquo_model::{
    equivalence::{Difference, difference},
    family::{Design, Scope, Status},
    words::words,
};

use super::{Common, Ended, Format, Which, budget, check::check_one, print, print_json};
use crate::{
    matrix::Wanted,
    report::{self, Checked, ShownStep, counted},
    studies::{self, Replayable, Visitor},
};

#[derive(Debug, Args)]
pub(super) struct Compare {
    #[command(flatten)]
    which: Which,
    /// The designs to compare, separated by commas; exactly two also get their behaviour diff
    #[arg(long, value_delimiter = ',', value_name = "A,B")]
    designs: Vec<String>,
    /// Print the study's own table instead, with all of its cells
    #[arg(long, conflicts_with_all = ["designs", "scope"])]
    matrix: bool,
    #[command(flatten)]
    wanted: Wanted,
}

impl Compare {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Ended> {
        studies::visit(&self.which.study, CompareVisitor { compare: self, common })?
    }
}

struct CompareVisitor<'a> {
    compare: &'a Compare,
    common: &'a Common,
}

impl Visitor for CompareVisitor<'_> {
    type Output = anyhow::Result<Ended>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let CompareVisitor { compare, common } = self;
        if compare.matrix {
            let matrix = F::matrix().with_context(|| {
                format!("{} has no table of its own; leave out --matrix", F::NAME)
            })?;
            print(&matrix.print(&compare.wanted, common.format)?)?;
            return Ok(Ended::AsExpected);
        }
        let scope = studies::scope::<F>(compare.which.scope.as_deref())?;
        let designs: Vec<&'static Design> = if compare.designs.is_empty() {
            F::designs().iter().collect()
        } else {
            compare
                .designs
                .iter()
                .map(|name| studies::design::<F>(name))
                .collect::<Result<_, _>>()?
        };
        let mut all = Vec::new();
        for design in &designs {
            all.push(check_one::<F>(design, scope, common, |_| true)?.0);
        }
        let complete = all.iter().all(Checked::is_complete);
        let diff = match designs[..] {
            [first, second] => Some(diff::<F>(first, second, scope, common)?),
            _ => None,
        };
        if common.json() {
            let diff = diff.as_ref().map(|(_, json)| json);
            print_json(&json!({ "version": report::VERSION, "checked": all, "difference": diff }))?;
        } else {
            print(&matrix(&designs, &all, common.format == Format::Markdown))?;
            if let Some((text, _)) = diff {
                print(&text)?;
            }
        }
        // A matrix is an answer, whatever stands in it.
        Ok(if complete { Ended::AsExpected } else { Ended::Incomplete })
    }
}

/// Designs across, properties down.
pub(super) fn matrix(designs: &[&Design], all: &[Checked], markdown: bool) -> String {
    let mut rows = vec![vec!["property".to_owned()]];
    rows[0].extend(designs.iter().map(|design| design.name.to_owned()));
    if let Some(first) = all.first() {
        for (at, answer) in first.answers.iter().enumerate() {
            let mut row = vec![answer.property.to_owned()];
            row.extend(all.iter().map(|checked| {
                let answer = &checked.answers[at];
                report::cell(&answer.verdict, answer.length)
            }));
            rows.push(row);
        }
    }
    let mut count = |what: &str, number: &dyn Fn(&Checked) -> String| {
        let mut row = vec![what.to_owned()];
        row.extend(all.iter().map(number));
        rows.push(row);
    };
    count("(states)", &|checked| checked.states.to_string());
    count("(transitions)", &|checked| checked.transitions.to_string());
    count("(search)", &|checked| checked.end.clone());
    let mut text = String::new();
    if let Some(first) = all.first() {
        text = format!("{}, scope {}\n\n", first.study, first.scope);
    }
    text.push_str(&report::table(&rows, markdown));
    text.push('\n');
    for design in designs {
        let status = match design.status {
            Status::Shipped { from, to } => format!("shipped, {from} to {to}"),
            Status::Proposed { by, on } => format!("proposed by {by}, {on}"),
            Status::Ours => "ours".to_owned(),
        };
        let bullet = if markdown { "- " } else { "" };
        text.push_str(&format!("{bullet}{}: {} ({status})\n", design.name, design.summary));
    }
    text
}

fn diff<F: Replayable>(
    first: &'static Design,
    second: &'static Design,
    scope: &'static Scope,
    common: &Common,
) -> anyhow::Result<(String, serde_json::Value)> {
    let (a, b) = (F::study(first, scope), F::study(second, scope));
    let what = format!("{} against {}", first.name, second.name);
    let found = budget::within(common, &what, |options| difference(&a, &b, options))?;
    Ok(match found {
        Difference::Equivalent { pairs } => (
            format!(
                "{what}: equivalent at this scope, no run tells them apart ({pairs} pairs of states)"
            ),
            json!({ "verdict": "equivalent", "pairs": pairs }),
        ),
        Difference::OutOfBudget { pairs } => (
            format!(
                "{what}: out of budget after {pairs} pairs of states, no difference found so far"
            ),
            json!({ "verdict": "out of budget", "pairs": pairs }),
        ),
        Difference::Differs { path, action, first: one, second: other } => {
            let mut text = format!(
                "{what}: they differ after {}, and no shorter run tells them apart\n",
                counted(path.len() as u64 + 1, "step")
            );
            for (number, seen) in (1..).zip(&path) {
                text.push_str(&format!(
                    "  {number:>4}  {}  ->  {}\n",
                    words(&seen.action),
                    words(&seen.outcome)
                ));
            }
            let width = first.name.len().max(second.name.len()) + 1;
            text.push_str(&format!("  {:>4}  {}\n", path.len() + 1, words(&action)));
            for (design, answer) in [(first, &one), (second, &other)] {
                let name = format!("{}:", design.name);
                text.push_str(&format!(
                    "          {name:<width$}  {}\n",
                    report::answer_words(answer)
                ));
            }
            let path: Vec<_> = path.iter().map(ShownStep::of).collect();
            let value = json!({
                "verdict": "differs", "path": path, "action": action,
                "first": report::answer(&one), "second": report::answer(&other),
            });
            (text, value)
        }
    })
}
