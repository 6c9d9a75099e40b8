//! `statusquo mutate`.

use std::{fs::File, io::BufWriter, num::NonZeroUsize};

use anyhow::Context;
use clap::Args;
use serde_json::json;
use statusquo_model::{explore, words::words};

use super::{Common, Ended, Output, Unfinished, Which, budget, print, print_json};
use crate::{
    generate::{Criterion, Cut, generate},
    mutate::{Measured, Options, measure},
    report,
    studies::{self, Replayable, Visitor},
    trace::{Header, Suite, Trace, write_suite},
};

#[derive(Debug, Args)]
pub(super) struct Mutate {
    #[command(flatten)]
    which: Which,
    /// The design whose suite is measured [default: ours]
    #[arg(long)]
    design: Option<String>,
    /// What the suite covers
    #[arg(long, value_enum, default_value_t = Criterion::Transitions)]
    criterion: Criterion,
    /// Try so many mutants of each kind at most
    #[arg(long, value_name = "N", default_value = "1000")]
    mutants: NonZeroUsize,
    /// Which mutants: the same seed gives the same
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Show so many of the tests that the suite lacks
    #[arg(long, value_name = "N", default_value_t = 2)]
    show: usize,
    #[command(flatten)]
    output: Output,
}

impl Mutate {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Ended> {
        studies::visit(&self.which.study, MutateVisitor { asked: self, common })?
    }
}

struct MutateVisitor<'a> {
    asked: &'a Mutate,
    common: &'a Common,
}

impl Visitor for MutateVisitor<'_> {
    type Output = anyhow::Result<Ended>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let MutateVisitor { asked, common } = self;
        let scope = studies::scope::<F>(asked.which.scope.as_deref())?;
        let design = match &asked.design {
            Some(name) => studies::design::<F>(name)?,
            None => studies::ours::<F>(),
        };
        let what = format!("{} {}, scope {}", F::NAME, design.name, scope.name);
        let study = F::study(design, scope);
        let explored = budget::within(common, &what, |options| explore::explore(&study, options));
        let exploration = explored.with_context(|| format!("explore {what}"))?;
        if *exploration.end() != explore::End::Complete {
            return Err(Unfinished { what, end: report::end_words(exploration.end()) }.into());
        }
        let edges = exploration.edges(common.threads());
        let names = (F::NAME, design.name, scope.name);
        let suite = generate(&exploration, &edges, asked.criterion, names, Cut::default());
        let options = Options { mutants: asked.mutants.get(), seed: asked.seed };
        let measured = measure(&exploration, &edges, &suite, options);
        // One test may kill several.
        let mut lacking: Vec<Trace<F::Study>> = Vec::new();
        for trace in measured.iter().flat_map(|one| &one.surviving) {
            let actions =
                |trace: &Trace<F::Study>| trace.iter().map(|step| step.action).collect::<Vec<_>>();
            if lacking.iter().all(|known| actions(known) != actions(trace)) {
                lacking.push(trace.clone());
            }
        }
        if let Some(path) = &asked.output.output
            && !lacking.is_empty()
        {
            let header = Header {
                criterion: "mutants that the suite lets live".to_owned(),
                covered: lacking.len() as u64,
                goals: lacking.len() as u64,
                resets: lacking.len() as u64,
                steps: lacking.iter().map(|trace| trace.len() as u64).sum(),
                lower_bound: 0,
                ..suite.header.clone()
            };
            let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
            write_suite(&Suite { header, traces: lacking.clone() }, BufWriter::new(file))
                .with_context(|| format!("write {}", path.display()))?;
        }
        if common.json() {
            let kinds: Vec<_> = measured.iter().map(json).collect();
            print_json(&json!({
                "version": report::VERSION, "study": F::NAME, "design": design.name,
                "scope": scope.name, "criterion": asked.criterion.name(), "seed": asked.seed,
                "mutants": kinds, "lacking": lacking,
            }))?;
            return Ok(Ended::AsExpected);
        }
        print(&format!("{what}: the suite of {}", asked.criterion.name()))?;
        let mut rows = vec![
            ["the one step that is wrong has", "mutants", "killed", "equivalent", "surviving"]
                .map(str::to_owned)
                .to_vec(),
        ];
        rows.extend(measured.iter().map(row));
        print(&report::table(&rows, false))?;
        for trace in lacking.iter().take(asked.show) {
            print("a test that the suite lacks:")?;
            for (number, step) in (1..).zip(trace) {
                print(&format!(
                    "  {number:>3}  {}  ->  {}",
                    words(&step.action),
                    words(&step.outcome)
                ))?;
            }
        }
        if let (Some(path), false) = (&asked.output.output, lacking.is_empty()) {
            print(&format!("{} such tests are in {}", lacking.len(), path.display()))?;
        }
        Ok(Ended::AsExpected)
    }
}

fn row<S: statusquo_model::study::Study>(one: &Measured<S>) -> Vec<String> {
    let counts = [one.mutants, one.killed, one.equivalent, one.surviving.len()];
    let counts = counts.iter().map(ToString::to_string);
    std::iter::once(one.kind.name().to_owned()).chain(counts).collect()
}

fn json<S: statusquo_model::study::Study>(one: &Measured<S>) -> serde_json::Value {
    json!({
        "kind": one.kind.name(), "mutants": one.mutants, "killed": one.killed,
        "equivalent": one.equivalent, "surviving": one.surviving.len(),
    })
}
