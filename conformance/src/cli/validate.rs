//! `statusquo validate`.

use std::{fs::File, io::BufReader, num::NonZeroUsize, path::PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{Common, Ended, print, print_json};
use crate::{
    report,
    studies::{self, Replayable, Visitor},
    validate::{Against, Options, Verdict, read_log, validate, verbs},
};

#[derive(Debug, Args)]
pub(super) struct Validate {
    /// The study's name
    study: String,
    /// The log: JSON Lines, each with as much of `action`, `outcome` and `view` as was seen
    log: PathBuf,
    /// The scope's name [default: the study's first]
    #[arg(long)]
    scope: Option<String>,
    /// The design that is to explain it [default: ours]
    #[arg(long)]
    design: Option<String>,
    /// Actions that the log does not show: they may happen between any two lines
    #[arg(long, value_delimiter = ',', value_name = "VERB,VERB")]
    hidden: Vec<String>,
    /// Give up where more states are possible at once
    #[arg(long, value_name = "N", default_value = "100000")]
    max_possible: NonZeroUsize,
}

impl Validate {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Ended> {
        studies::visit(&self.study, ValidateVisitor { asked: self, common })?
    }
}

struct ValidateVisitor<'a> {
    asked: &'a Validate,
    common: &'a Common,
}

impl Visitor for ValidateVisitor<'_> {
    type Output = anyhow::Result<Ended>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let ValidateVisitor { asked, common } = self;
        let scope = studies::scope::<F>(asked.scope.as_deref())?;
        let design = match &asked.design {
            Some(name) => studies::design::<F>(name)?,
            None => studies::ours::<F>(),
        };
        let study = F::study(design, scope);
        let known = verbs(&study);
        if let Some(verb) = asked.hidden.iter().find(|verb| !known.contains(verb)) {
            let known = known.iter().map(String::as_str);
            return Err(statusquo_model::catalogue::unknown("action", verb, known).into());
        }
        let file =
            File::open(&asked.log).with_context(|| format!("open {}", asked.log.display()))?;
        let events = read_log(&study, BufReader::new(file))
            .with_context(|| asked.log.display().to_string())?;
        let options = Options { hidden: &asked.hidden, states_max: asked.max_possible.get() };
        let verdict = validate(&study, &events, &options);
        let ended = match verdict {
            Verdict::Accepted { .. } => Ended::AsExpected,
            Verdict::Rejected { .. } => Ended::Violated,
            Verdict::OutOfBudget { .. } => Ended::Incomplete,
        };
        let what = format!("{} {}, scope {}", F::NAME, design.name, scope.name);
        if common.json() {
            print_json(&json!({
                "version": report::VERSION, "study": F::NAME, "design": design.name,
                "scope": scope.name, "events": events.len(), "validated": json(&verdict),
                "exit-code": ended.code(),
            }))?;
        } else {
            print(&text(&what, events.len(), &verdict))?;
        }
        Ok(ended)
    }
}

fn json(verdict: &Verdict) -> serde_json::Value {
    match verdict {
        Verdict::Accepted { steps, looks, states } => json!({
            "verdict": "accepted", "steps": steps, "looks": looks, "states": states,
        }),
        Verdict::Rejected { line, explained, states, against } => {
            let against: Vec<_> = against
                .iter()
                .map(|Against { view, why }| json!({ "view": view, "why": why }))
                .collect();
            json!({
                "verdict": "rejected", "line": line, "explained": explained, "states": states,
                "against": against,
            })
        }
        Verdict::OutOfBudget { line } => json!({ "verdict": "out of budget", "line": line }),
    }
}

fn text(what: &str, events: usize, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accepted { steps, looks, states } => format!(
            "{what}: accepted, {steps} steps and {looks} looks are explained; \
             {states} states are possible at the end"
        ),
        Verdict::OutOfBudget { line } => format!(
            "{what}: out of budget, too many states are possible before line {line}; hide less, or \
             raise --max-possible"
        ),
        Verdict::Rejected { line, explained, states, against } => {
            let mut text = format!(
                "{what}: REJECTED at line {line}; {explained} of {events} events are explained, and none \
                 of the {states} states that are possible then has this line next\n"
            );
            for Against { view, why } in against {
                why.iter().for_each(|why| text.push_str(&format!("  {why}\n")));
                let facts: Vec<String> =
                    view.iter().map(|(what, fact)| format!("{what}: {fact}")).collect();
                for some in facts.chunks(4) {
                    text.push_str(&format!("      {}\n", some.join(", ")));
                }
            }
            text
        }
    }
}
