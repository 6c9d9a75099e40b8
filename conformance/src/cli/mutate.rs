//! `statusquo mutate`.

use std::{fs::File, io::BufWriter, path::PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use statusquo_model::{
    equivalence::minimise,
    explore::{self, Edges, End, Exploration},
    family::{Design, Scope},
    study::Study,
    words::words,
};

use super::{
    Common, Ended, Output, Unfinished, Which, budget, print, print_json,
    replay::warn_of_another_model,
};
use crate::{
    generate::{Criterion, Cut, generate, recount, with_outcomes},
    mutate::{Fault, Machine, Operator, Proof, Survey, numbers, prove, survey},
    report,
    studies::{self, Replayable, Visitor},
    trace::{Suite, read_suite, write_suite},
};

#[derive(Debug, Args)]
pub(super) struct Mutate {
    #[command(flatten)]
    which: Which,
    /// The design whose machine is made faulty [default: ours]
    #[arg(long)]
    design: Option<String>,
    /// Measure the suite that `generate` makes with this criterion
    #[arg(long, value_enum, default_value_t = Criterion::Transitions)]
    criterion: Criterion,
    /// Measure the suite in this file instead
    #[arg(long, value_name = "FILE", conflicts_with = "criterion")]
    suite: Option<PathBuf>,
    /// Explain so many survivors
    #[arg(long, value_name = "N", default_value_t = 3)]
    show: usize,
    /// Look at so many single faults at most
    #[arg(long, value_name = "N", default_value_t = Cut::default().faults_max)]
    max_faults: u64,
    /// Write the suite, and the tests that it lacks, to a file
    #[command(flatten)]
    output: Output,
}

impl Mutate {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Ended> {
        studies::visit(&self.which.study, MutateVisitor { mutate: self, common })?
    }
}

struct MutateVisitor<'a> {
    mutate: &'a Mutate,
    common: &'a Common,
}

impl Visitor for MutateVisitor<'_> {
    type Output = anyhow::Result<Ended>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let MutateVisitor { mutate, common } = self;
        let scope = studies::scope::<F>(mutate.which.scope.as_deref())?;
        let design = match &mutate.design {
            Some(name) => studies::design::<F>(name)?,
            None => studies::ours::<F>(),
        };
        let study = F::study(design, scope);
        let what = format!("{} {} {}", F::NAME, design.name, scope.name);
        let exploration =
            budget::within(common, &what, |options| explore::explore(&study, options))
                .with_context(|| format!("explore {what}"))?;
        if *exploration.end() != End::Complete {
            return Err(Unfinished { what, end: report::end_words(exploration.end()) }.into());
        }
        let edges = exploration.edges(common.threads());
        let minimal = minimise(&exploration, &edges);
        let machine = Machine::new(&exploration, &edges, &minimal);
        let mut suite = match &mutate.suite {
            Some(path) => {
                let suite = read::<F>(path, design, scope, &exploration)?;
                if suite.header.digest.as_ref().is_some_and(|digest| *digest != minimal.digest) {
                    warn_of_another_model(path);
                }
                suite
            }
            None => {
                let names = (F::NAME, design.name, scope.name);
                let cut = Cut { faults_max: mutate.max_faults, ..Cut::default() };
                generate(&exploration, &edges, mutate.criterion, names, cut)?
            }
        };
        let traces: Vec<Vec<usize>> =
            suite.traces.iter().filter_map(|trace| numbers(&exploration, trace)).collect();
        let survey = survey(&exploration, &minimal, &machine, &traces, mutate.max_faults)?;
        let proof = prove(&machine, &survey.survivors);
        let measured =
            Measured { exploration: &exploration, edges: &edges, machine: &machine, survey, proof };
        let tests = measured.tests();
        if common.json() {
            print_json(&measured.json(&suite, mutate.show))?;
        } else {
            print(&measured.text(&suite, mutate.show))?;
        }
        if let Some(path) = &mutate.output.output {
            suite.header.criterion = format!("{}, repaired", suite.header.criterion);
            suite.traces.extend(tests);
            suite.header.resets = suite.traces.len() as u64;
            suite.header.steps = suite.traces.iter().map(|trace| trace.len() as u64).sum();
            let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
            write_suite(&suite, BufWriter::new(file))
                .with_context(|| format!("write {}", path.display()))?;
        }
        Ok(if measured.proof.told_by.is_empty() { Ended::AsExpected } else { Ended::Violated })
    }
}

/// A suite that is one of this machine's.
fn read<F: Replayable>(
    path: &std::path::Path,
    design: &Design,
    scope: &Scope,
    exploration: &Exploration<F::Study>,
) -> anyhow::Result<Suite<F::Study>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let suite: Suite<F::Study> = read_suite(std::io::BufReader::new(file))
        .with_context(|| format!("read {}", path.display()))?;
    let header = &suite.header;
    let found = (header.study.as_str(), header.design.as_str(), header.scope.as_str());
    if found != (F::NAME, design.name, scope.name) {
        bail!(
            "{} is a suite of {} {} at scope {}, and asked for is {} {} at scope {}",
            path.display(),
            found.0,
            found.1,
            found.2,
            F::NAME,
            design.name,
            scope.name
        );
    }
    if suite.traces.is_empty() {
        bail!("{} has no traces", path.display());
    }
    recount(exploration, &suite, Criterion::Transitions)
        .with_context(|| format!("walk the traces of {}", path.display()))?;
    Ok(suite)
}

struct Measured<'m, S: Study> {
    exploration: &'m Exploration<S>,
    edges: &'m Edges<S::Outcome>,
    machine: &'m Machine,
    survey: Survey,
    proof: Proof,
}

impl<S: Study> Measured<'_, S> {
    /// The tests that the suite lacks.
    fn tests(&self) -> Vec<Vec<crate::trace::Step<S>>> {
        let tests = self.proof.tests.iter();
        tests.map(|test| with_outcomes(self.exploration, self.edges, test)).collect()
    }

    fn text(&self, suite: &Suite<S>, show: usize) -> String {
        let header = &suite.header;
        let mut text = format!(
            "{} {}, scope {}, suite {}: {} traces, {} steps; the smallest machine has {} states and {} steps\n\n",
            header.study,
            header.design,
            header.scope,
            header.criterion,
            header.resets,
            header.steps,
            self.machine.states(),
            self.machine.transitions(),
        );
        let mut rows = vec![["fault", "faults", "told", "%"].map(str::to_owned).to_vec()];
        for operator in Operator::ALL {
            let row = self.survey.row(operator);
            let percent = match row.faults {
                0 => "none".to_owned(),
                // Rounded down: 100 means all.
                faults => format!("{:.2}", (row.killed * 10_000 / faults) as f64 / 100.0),
            };
            rows.push(vec![
                operator.name().to_owned(),
                row.faults.to_string(),
                row.killed.to_string(),
                percent,
            ]);
        }
        text.push_str(&report::table(&rows, false));
        let (equivalent, missed) = (self.proof.equivalent.len(), self.proof.told_by.len());
        text.push_str(&format!(
            "\nof {} transfers not told, {equivalent} are proven equivalent (no trace tells them)",
            self.survey.survivors.len()
        ));
        text.push_str(&match missed {
            0 => "\n".to_owned(),
            _ => format!(
                ", and {missed} are told by {} tests that the suite lacks\n",
                self.proof.tests.len()
            ),
        });
        for (fault, test) in self.proof.told_by.iter().take(show) {
            text.push_str(&self.explain(*fault, &self.proof.tests[*test]));
        }
        text
    }

    /// What goes wrong, and how it is told.
    fn explain(&self, fault: Fault, test: &[usize]) -> String {
        let alphabet = self.exploration.alphabet();
        let story = self.machine.story(fault, test);
        let mut text =
            format!("\nnot told: {} leads into a wrong state\n", words(&alphabet[story.action]));
        for (at, action) in test.iter().enumerate() {
            let mark = if at == story.at { '!' } else { ' ' };
            text.push_str(&format!(" {mark} {:>3}  {}\n", at + 1, words(&alphabet[*action])));
        }
        let outcome = |number: Option<u32>| match number {
            Some(number) => words(self.edges.outcome(number)),
            None => "not enabled".to_owned(),
        };
        text.push_str(&format!(
            "        right: {}\n        wrong: {}\n",
            outcome(story.right),
            outcome(story.wrong)
        ));
        text
    }

    fn json(&self, suite: &Suite<S>, show: usize) -> serde_json::Value {
        let rows = Operator::ALL.map(|operator| {
            let row = self.survey.row(operator);
            json!({ "operator": operator.name(), "faults": row.faults, "told": row.killed })
        });
        let alphabet = self.exploration.alphabet();
        let shown: Vec<_> = self
            .proof
            .told_by
            .iter()
            .take(show)
            .map(|(fault, test)| {
                let story = self.machine.story(*fault, &self.proof.tests[*test]);
                let actions: Vec<_> =
                    self.proof.tests[*test].iter().map(|action| &alphabet[*action]).collect();
                json!({ "step": story.at + 1, "test": actions })
            })
            .collect();
        let header = &suite.header;
        json!({
            "version": report::VERSION, "study": header.study, "design": header.design,
            "scope": header.scope, "criterion": header.criterion,
            "resets": header.resets, "steps": header.steps,
            "machine": { "states": self.machine.states(), "steps": self.machine.transitions() },
            "faults": rows,
            "survivors": self.survey.survivors.len(),
            "equivalent": self.proof.equivalent.len(),
            "missed": self.proof.told_by.len(),
            "tests-lacking": self.proof.tests.len(),
            "shown": shown,
        })
    }
}
