//! The page of a study's findings: as text, as data, and as Markdown for `docs/findings`.

use serde_json::json;
use statusquo_model::words::words;

use super::{Finding, Walked};
use crate::{
    cli::{Common, Ended, Format, print, print_json},
    findings::{KILLS, stories},
    report::{self, counted},
};

/// What became of every violated property of one design, and of the walks that are kept.
pub(super) struct Page {
    pub(super) study: &'static str,
    pub(super) design: &'static str,
    pub(super) found: Vec<Finding>,
    pub(super) walked: Vec<Walked>,
    pub(super) skipped: Vec<String>,
}

impl Page {
    /// As `docs/findings` has it.
    pub(super) fn markdown(&self) -> anyhow::Result<String> {
        let Page { study, design, found, walked, skipped } = self;
        let stories = stories::of(study)?;
        let system = found.first().map_or("the binary", |one| &one.system);
        let mut text = format!(
            "<!-- statusquo findings {study} --format markdown -->\n\n# Findings: {study}, the model of {design} on {system}\n\n\
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
            text.push_str(&stories.about(&one.shows));
        }
        for one in found {
            let kills = if one.kills { format!("; {KILLS}") } else { String::new() };
            let length = match one.class {
                "confirmed" => format!(" in {}", counted(one.length as u64, "step")),
                _ => String::new(),
            };
            text.push_str(&format!(
                "\n## {}\n\n{}{length}{kills}. Again: `{}`\n\n```text\n{}\n```\n",
                one.property,
                one.class,
                one.again(study),
                one.shown.text()
            ));
            if let Some(ended) = &one.ended {
                text.push_str(&format!("\nThe binary ended: {ended}.\n"));
            }
            text.push_str(&stories.about(one.property));
            if !one.why.is_empty() {
                text.push_str(&format!("\n```text\n{}\n```\n", one.why.trim_end()));
            }
        }
        for why in skipped {
            text.push_str(&format!("\nSkipped: {why}.\n"));
        }
        Ok(text.trim_end().to_owned())
    }

    /// Prints it as it was asked for.
    pub(super) fn show(&self, common: &Common) -> anyhow::Result<Ended> {
        let Page { study, design, found, walked, skipped } = self;
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
            print(&self.markdown()?)?;
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
                    "{}: {} (scope {}, {}{kills})",
                    one.class.to_uppercase(),
                    one.property,
                    one.scope,
                    counted(one.length as u64, "step")
                ))?;
                print(&one.shown.text())?;
                if let Some(ended) = &one.ended {
                    print(&format!("        the binary ended: {ended}"))?;
                }
                if !one.why.is_empty() {
                    print(&one.why)?;
                }
                print(&format!("  again: {}\n", one.again(study)))?;
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
        Ok(self.ended())
    }

    /// As expected where the binary does what its model says.
    fn ended(&self) -> Ended {
        let all = self.found.iter().all(|one| one.class == "confirmed")
            && self.walked.iter().all(|one| one.same);
        if all { Ended::AsExpected } else { Ended::Incomplete }
    }
}
