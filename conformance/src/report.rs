//! What was found, as data (for `--format json`) and as text.

use serde::Serialize;
use serde_json::Value;
use statusquo_model::{
    check::{Answer, Counterexample, Fault, Report, Seen, Told, Verdict},
    explore::End,
    family::{Design, Scope},
    study::{Blocked, Study},
    words::words,
};

/// The version of the JSON that `check`, `compare` and `verify` print: `schema/report.schema.json`.
pub const VERSION: u32 = 1;

/// One design at one scope.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checked {
    /// The study's name.
    pub study: &'static str,
    /// The design's name.
    pub design: &'static str,
    /// The scope's name.
    pub scope: &'static str,
    /// Reachable states found.
    pub states: usize,
    /// Steps taken.
    pub transitions: u64,
    /// Steps to the furthest state.
    pub depth: u32,
    /// How the search ended: `complete`, or what was used up.
    pub end: String,
    /// One per property.
    pub answers: Vec<Answered>,
    /// Actions that no reachable state enables.
    pub dead_actions: Vec<String>,
    /// Outcome classes that no step produced.
    pub dead_outcomes: Vec<&'static str>,
    /// Wall time. The only field that differs from run to run.
    pub seconds: f64,
}

/// The answer to one property.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Answered {
    /// The property's sentence.
    pub property: &'static str,
    /// The kind of law.
    pub kind: &'static str,
    /// Who asks.
    pub source: &'static str,
    /// The verdict's word.
    pub verdict: String,
    /// The verdict with its particulars.
    pub detail: String,
    /// How often the question arose.
    pub asked: u64,
    /// Steps of the demonstration, for a violation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// The demonstration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Shown>,
}

/// A demonstration.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shown {
    /// From the initial state.
    pub path: Vec<ShownStep>,
    /// What is wrong at its end: `state`, `step`, `deadlock`, `unreachable`, `trap`, `cycle`, `noticed`.
    pub fault: &'static str,
    /// For `cycle`: what goes round for ever.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cycle: Vec<ShownStep>,
    /// For `noticed`: the disruption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disruption: Option<ShownStep>,
    /// For `noticed`: the sequence that tells, observed on both sides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tell: Vec<ShownTell>,
    /// The state at the end of the path, as every system can show it.
    pub view: Vec<(String, String)>,
}

/// One step, as in a trace.
#[derive(Clone, Debug, Serialize)]
pub struct ShownStep {
    action: Value,
    outcome: Value,
}

/// One action on both sides.
#[derive(Clone, Debug, Serialize)]
pub struct ShownTell {
    action: Value,
    disturbed: Value,
    undisturbed: Value,
}

fn value<T: Serialize>(of: &T) -> Value {
    serde_json::to_value(of).unwrap_or(Value::Null)
}

/// An answer, or why there is none, as JSON.
pub fn answer<O: Serialize>(of: &Result<O, Blocked>) -> Value {
    match of {
        Ok(outcome) => value(outcome),
        Err(Blocked(why)) => serde_json::json!({ "blocked": why }),
    }
}

/// An answer, or why there is none, in words.
pub fn answer_words<O: Serialize>(of: &Result<O, Blocked>) -> String {
    match of {
        Ok(outcome) => words(outcome),
        Err(Blocked(why)) => format!("not possible, because {why}"),
    }
}

impl ShownStep {
    pub(crate) fn of<S: Study>(seen: &Seen<S>) -> Self {
        ShownStep { action: value(&seen.action), outcome: value(&seen.outcome) }
    }
}

impl Shown {
    pub(crate) fn of<S: Study>(study: &S, shown: &Counterexample<S>) -> Self {
        let steps = |seen: &[Seen<S>]| seen.iter().map(ShownStep::of).collect();
        let tell = |told: &Told<S>| ShownTell {
            action: value(&told.action),
            disturbed: answer(&told.disturbed),
            undisturbed: answer(&told.undisturbed),
        };
        let (fault, cycle, disruption, tell) = match &shown.fault {
            Fault::State => ("state", Vec::new(), None, Vec::new()),
            Fault::Step => ("step", Vec::new(), None, Vec::new()),
            Fault::Deadlock => ("deadlock", Vec::new(), None, Vec::new()),
            Fault::Unreachable => ("unreachable", Vec::new(), None, Vec::new()),
            Fault::Trap => ("trap", Vec::new(), None, Vec::new()),
            Fault::Cycle(cycle) => ("cycle", steps(cycle), None, Vec::new()),
            Fault::Noticed { disruption, tell: told } => (
                "noticed",
                Vec::new(),
                Some(ShownStep::of(disruption)),
                told.iter().map(tell).collect(),
            ),
        };
        Shown {
            path: steps(&shown.path),
            fault,
            cycle,
            disruption,
            tell,
            view: study.view(&shown.state),
        }
    }

    /// The demonstration, numbered, as a person reads it.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        let mut number = 0;
        let mut step = |mark: &str, step: &ShownStep, lines: &mut Vec<String>| {
            number += 1;
            let action = statusquo_model::words::render(&step.action);
            let outcome = statusquo_model::words::render(&step.outcome);
            let seen = if ["reply ok", "{}"].contains(&outcome.as_str()) {
                String::new()
            } else {
                format!("  ->  {outcome}")
            };
            lines.push(format!("{mark}{number:>4}  {action}{seen}"));
        };
        self.path.iter().for_each(|seen| step("  ", seen, &mut lines));
        match self.fault {
            "state" => lines.push("        here it is not so:".to_owned()),
            "step" => lines.push("        this last step is wrong; it leads to:".to_owned()),
            "deadlock" => lines.push("        nothing leads on from here:".to_owned()),
            "unreachable" => {
                lines.push("        no reachable state is so; the run begins with:".to_owned())
            }
            "trap" => lines.push("        from here it can never be so again:".to_owned()),
            "cycle" => lines.push("        and then, for ever and fairly:".to_owned()),
            _ => lines.push("        then the disruption that should not be noticed:".to_owned()),
        }
        self.cycle.iter().for_each(|seen| step(" @", seen, &mut lines));
        if let Some(disruption) = &self.disruption {
            step(" !", disruption, &mut lines);
            lines.push("        and this tells:".to_owned());
            for told in &self.tell {
                let [action, disturbed, undisturbed] =
                    [&told.action, &told.disturbed, &told.undisturbed]
                        .map(statusquo_model::words::render);
                if disturbed == undisturbed {
                    lines.push(format!("        {action}  ->  {disturbed}"));
                } else {
                    lines.push(format!("        {action}"));
                    lines.push(format!("            disturbed:    {disturbed}"));
                    lines.push(format!("            undisturbed:  {undisturbed}"));
                }
            }
        } else {
            let facts: Vec<String> =
                self.view.iter().map(|(what, value)| format!("{what}: {value}")).collect();
            facts.chunks(4).for_each(|some| lines.push(format!("          {}", some.join(", "))));
        }
        lines.join("\n")
    }
}

/// `1 step`, `2 steps`.
pub fn counted(number: impl Into<u64>, what: &str) -> String {
    match number.into() {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

/// How a search ended, in a word.
pub fn end_words(end: &End) -> String {
    match end {
        End::Complete => "complete".to_owned(),
        End::Depth(depth) => format!("depth {depth}"),
        End::States => "out of budget: states".to_owned(),
        End::Bytes => "out of budget: bytes".to_owned(),
        End::Stopped => "out of budget: time".to_owned(),
        End::Satisfied => "satisfied".to_owned(),
        End::Panicked(panic) => format!("the study panicked: {}", panic.message),
    }
}

impl Checked {
    /// A report as data.
    pub fn of<S: Study>(
        study: &'static str,
        design: &'static Design,
        scope: &'static Scope,
        report: &Report<S>,
        seconds: f64,
    ) -> Self {
        let machine = report.exploration.study();
        let answered = |answer: &Answer<S>| Answered {
            property: answer.property,
            kind: answer.kind,
            source: answer.source,
            verdict: answer.verdict.word(),
            detail: answer.verdict.to_string(),
            asked: answer.asked,
            length: answer.verdict.trace_len(),
            trace: answer.verdict.counterexample().map(|shown| Shown::of(machine, shown)),
        };
        let mut end = end_words(report.exploration.end());
        if let End::Panicked(panic) = report.exploration.end() {
            let path: Vec<String> = statusquo_model::check::run(&report.exploration, panic.state)
                .iter()
                .map(|seen| words(&seen.action))
                .chain(panic.action.map(|at| words(&report.exploration.alphabet()[at])))
                .collect();
            end.push_str(&format!("; after {}", path.join(", ")));
        }
        Checked {
            study,
            design: design.name,
            scope: scope.name,
            states: report.exploration.len(),
            transitions: report.exploration.transitions(),
            depth: report.exploration.depth(),
            end,
            answers: report.answers.iter().map(answered).collect(),
            dead_actions: report.dead_actions.iter().map(words).collect(),
            dead_outcomes: report.dead_outcomes.clone(),
            seconds,
        }
    }

    /// Every verdict was reached on the whole space.
    pub fn is_complete(&self) -> bool {
        self.end == "complete"
    }

    /// Some property is violated.
    pub fn is_violated(&self) -> bool {
        self.answers.iter().any(|answer| answer.length.is_some())
    }

    /// (violated, held, vacuous) properties.
    pub fn tally(&self) -> (usize, usize, usize) {
        let count =
            |word: &str| self.answers.iter().filter(|answer| answer.verdict == word).count();
        (count("violated"), count("holds"), count("vacuous"))
    }
}

/// `holds`, `vacuous`, or the length of the demonstration: what a matrix has room for.
pub fn cell(verdict: &str, length: Option<usize>) -> String {
    match length {
        Some(length) => format!("FAILS in {length}"),
        None => verdict.to_owned(),
    }
}

/// A violation's verdict, for the engine's own type.
pub fn is_violated<S: Study>(verdict: &Verdict<S>) -> bool {
    matches!(verdict, Verdict::Violated(_))
}

/// A table with aligned columns, or as Markdown.
pub fn table(rows: &[Vec<String>], markdown: bool) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let line = if markdown { format!("| {} |", cells.join(" | ")) } else { cells.join("  ") };
        text.push_str(line.trim_end());
        text.push('\n');
        if markdown && number == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            text.push_str(&format!("| {} |\n", rule.join(" | ")));
        }
    }
    text
}
