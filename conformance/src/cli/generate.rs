//! `statusquo generate`.

use std::{fs::File, io::BufWriter, num::NonZeroUsize, sync::Arc};

use anyhow::{Context, bail};
use clap::Args;
use statusquo_model::{
    explore::{self, End, Exploration},
    family::{Design, Scope},
    study::Study,
};

use super::{Common, Ended, Output, Unfinished, Which, budget, print_json};
use crate::{
    generate::{Criterion, Cut, LeftOut, Limited, Part, Undriven, generate, recount},
    replay::Factory,
    report,
    studies::{self, Replayable, Visitor},
    trace::{Header, Suite, write_suite},
};

#[derive(Debug, Args)]
pub(super) struct Generate {
    #[command(flatten)]
    which: Which,
    /// The design whose behaviour to cover [default: ours]
    #[arg(long)]
    design: Option<String>,
    /// What to cover
    #[arg(long, value_enum, default_value_t = Criterion::Transitions)]
    criterion: Criterion,
    /// Begin a new trace after so many steps
    #[arg(long, value_name = "STEPS", default_value_t = default_steps())]
    max_steps: NonZeroUsize,
    #[command(flatten)]
    output: Output,
}

fn default_steps() -> NonZeroUsize {
    NonZeroUsize::new(Cut::default().steps_max).unwrap_or(NonZeroUsize::MIN)
}

impl Generate {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Ended> {
        studies::visit(&self.which.study, GenerateVisitor { generate: self, common })?
    }
}

struct GenerateVisitor<'a> {
    generate: &'a Generate,
    common: &'a Common,
}

impl Visitor for GenerateVisitor<'_> {
    type Output = anyhow::Result<Ended>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let GenerateVisitor { generate: asked, common } = self;
        let scope = studies::scope::<F>(asked.which.scope.as_deref())?;
        let design = match &asked.design {
            Some(name) => studies::design::<F>(name)?,
            None => studies::ours::<F>(),
        };
        let cut = Cut { steps_max: asked.max_steps.get(), ..Cut::default() };
        let suite = suite_of::<F>(design, scope, asked.criterion, cut, common)?;
        match &asked.output.output {
            Some(path) => {
                let file =
                    File::create(path).with_context(|| format!("create {}", path.display()))?;
                write_suite(&suite, BufWriter::new(file))
                    .with_context(|| format!("write {}", path.display()))?;
                if common.json() {
                    print_json(&suite.header)?;
                } else {
                    super::print(&summary(&suite.header))?;
                }
            }
            None => {
                write_suite(&suite, BufWriter::new(std::io::stdout().lock()))?;
                eprintln!("{}", summary(&suite.header));
            }
        }
        Ok(Ended::AsExpected)
    }
}

/// `n of n transitions, r resets, s steps, lower bound b`
pub(super) fn summary(header: &Header) -> String {
    let Header {
        study, design, scope, criterion, covered, goals, resets, steps, lower_bound, ..
    } = header;
    let goal = match criterion.as_str() {
        "checked" => "single wrong targets told or equivalent",
        other => other,
    };
    format!(
        "{study} {design}, scope {scope}: {covered} of {goals} {goal}, {resets} resets, {steps} steps, \
         lower bound {lower_bound}"
    )
}

/// The suite of one design at one scope, counted again on the study itself.
pub(super) fn suite_of<F: Replayable>(
    design: &'static Design,
    scope: &'static Scope,
    criterion: Criterion,
    cut: Cut,
    common: &Common,
) -> anyhow::Result<Suite<F::Study>> {
    let suite = part_of_suite::<F>(design, scope, criterion, cut, common)?;
    let Header { covered, goals, .. } = suite.header;
    if covered != goals {
        bail!("the suite covers {covered} of {goals} {}", criterion.name());
    }
    Ok(suite)
}

/// The same, where it may be a part: what that covers is counted.
pub(super) fn part_of_suite<F: Replayable>(
    design: &'static Design,
    scope: &'static Scope,
    criterion: Criterion,
    cut: Cut,
    common: &Common,
) -> anyhow::Result<Suite<F::Study>> {
    let what = format!("{} {} {}", F::NAME, design.name, scope.name);
    let exploration = explored(F::study(design, scope), &what, common)?;
    let names = (F::NAME, design.name, scope.name);
    let mut suite = cover(&exploration, criterion, names, cut, common)?;
    let coverage =
        recount(&exploration, &suite, criterion).context("count the suite's coverage")?;
    suite.header.covered = coverage.covered;
    Ok(suite)
}

/// The suite of what a system can be driven through, or a part of it, counted against the whole study.
pub(super) fn drivable_part<F: Replayable>(
    (design, scope): (&'static Design, &'static Scope),
    cut: Cut,
    part: Part,
    factory: &Arc<dyn Factory<F::Study>>,
    common: &Common,
) -> anyhow::Result<(Suite<F::Study>, LeftOut)> {
    let criterion = Criterion::Transitions;
    let what = format!("{} {} {}", F::NAME, design.name, scope.name);
    let names = (F::NAME, design.name, scope.name);
    let whole = explored(F::study(design, scope), &what, common)?;
    let (study, cannot) = (F::study(design, scope), Arc::clone(factory));
    let undriven: Undriven<F::Study> =
        Arc::new(move |state, action| cannot.cannot(&study, state, action));
    let limited = Limited::new(F::study(design, scope), undriven);
    let left_out = limited.undriven(&whole);
    let mut suite = if left_out.is_empty() {
        cover(&whole, criterion, names, cut, common)?
    } else {
        let suite = cover(&explored(limited, &what, common)?, criterion, names, cut, common)?;
        let traces = suite.traces.into_iter().map(Limited::of_the_whole);
        // The digest is that of another machine.
        let header = Header { digest: None, goals: whole.transitions(), ..suite.header };
        Suite { header, traces: traces.collect() }
    };
    suite.traces = part.take(suite.traces);
    let coverage = recount(&whole, &suite, criterion).context("count the suite's coverage")?;
    suite.header.covered = coverage.covered;
    Ok((suite, left_out))
}

fn explored<S: Study>(study: S, what: &str, common: &Common) -> anyhow::Result<Exploration<S>> {
    let exploration = budget::within(common, what, |options| explore::explore(&study, options))
        .with_context(|| format!("explore {what}"))?;
    match exploration.end() {
        End::Complete => Ok(exploration),
        end => Err(Unfinished { what: what.to_owned(), end: report::end_words(end) }.into()),
    }
}

fn cover<S: Study>(
    exploration: &Exploration<S>,
    criterion: Criterion,
    names: (&str, &str, &str),
    cut: Cut,
    common: &Common,
) -> anyhow::Result<Suite<S>> {
    let edges = exploration.edges(common.threads());
    Ok(generate(exploration, &edges, criterion, names, cut)?)
}
