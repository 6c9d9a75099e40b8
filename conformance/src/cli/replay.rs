//! `statusquo replay`.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::json;
use statusquo_model::{
    catalogue, equivalence, explore,
    family::{Design, Family, Role, Scope},
    study::Study,
    words::words,
};

use super::{
    Common, Ended, Missing, budget,
    exec::Exec,
    generate::drivable_part,
    print, print_json,
    vmmd::{Daemonly, Replaying},
};
use crate::{
    generate::{Criterion, Cut, LeftOut, Part, met},
    replay::{
        self, Factory, Options, Replayed, Verdict, explain,
        known::{Known, KnownList, LIST, take_out},
        minimise,
    },
    report::{self, counted},
    studies::{self, Replayable, Visitor},
    systems::{
        exec::{ExecFactory, Names},
        libvirt::Programs,
        model::ModelFactory,
        qemu::{Qemu, Variant},
    },
    trace::{Reader, Suite, read_suite, step_of},
};

#[derive(Debug, Args)]
pub(super) struct Replay {
    /// A study's name (its transition suite is generated), or a file of traces
    what: String,
    /// For a study: the scope of the suite [default: every scope that `verify` replays]
    #[arg(long)]
    scope: Option<String>,
    /// For a study: the design of the suite [default: ours]
    #[arg(long)]
    design: Option<String>,
    /// What to replay on [default: vmm; exec where an adapter is named]
    #[arg(long, value_enum)]
    system: Option<System>,
    /// For `--system qemu` and `--system vmmd`: the binary
    /// [default: qemu-system-x86_64; with `--machine pseries` qemu-system-ppc64]
    #[arg(long, value_name = "PATH")]
    qemu: Option<PathBuf>,
    #[command(flatten)]
    variant: Variant,
    /// For `--system model`: the design that answers [default: the suite's own]
    #[arg(long, value_name = "DESIGN")]
    on: Option<String>,
    /// For a study: replay so many steps of each scope's suite, the last trace (of at most 200) to its end, and
    /// count what they cover [default: all; with `--system qemu` 3000, with `--system vmmd` 250]
    #[arg(long, value_name = "STEPS")]
    max_steps: Option<NonZeroUsize>,
    /// For a study: replay this part of each scope's suite: of every N traces the K-th. N parts are the whole
    #[arg(long, value_name = "K/N", conflicts_with = "max_steps")]
    part: Option<Part>,
    /// How long one step may take before the system counts as hung
    /// [default: 10; 60 for real systems, which may have to wait for a processor]
    #[arg(long, value_name = "SECONDS", value_parser = positive_seconds)]
    deadline: Option<Duration>,
    #[command(flatten)]
    daemonly: Daemonly,
    /// Divergences that are known [default: conformance/corpus/divergences.toml as it was built in]
    #[arg(long, value_name = "FILE")]
    known: Option<PathBuf>,
    /// Explain at most so many divergences
    #[arg(long, value_name = "N", default_value_t = 3)]
    explain: usize,
    /// Also write the result as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    exec: Exec,
}

/// Steps of each scope that a real QEMU is asked for.
const QEMU_STEPS: usize = 3000;
/// Traces of a part of a suite are short, so that it has several.
const PARTIAL_TRACE: usize = 200;

pub(super) fn positive_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected more than no time".to_owned()),
    }
}

/// What to replay on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum System {
    /// The model of a design
    Model,
    /// Our implementation, over real descriptors
    Vmm,
    /// A real libvirt with a real QEMU, below a directory of its own
    Libvirt,
    /// A real QEMU, driven without a guest
    Qemu,
    /// A program that speaks the adapter protocol
    Exec,
    /// Our daemon as a process, with a real QEMU, killed with SIGKILL
    Vmmd,
}

/// How long a request of ours may be over its deadline: an adapter that hangs is told of by its own.
const OVER: Duration = Duration::from_secs(5);

impl Replay {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Ended> {
        let path = Path::new(&self.what);
        let command = self.exec.command()?;
        match (self.system, &command) {
            (Some(System::Exec), None) => {
                bail!("which adapter? Name it with `--exec COMMAND`, or after `--` at the end")
            }
            (Some(other), Some(_)) if other != System::Exec => {
                bail!("an adapter's command goes with `--system exec`")
            }
            _ => {}
        }
        if self.on.is_some() && self.system() != System::Model {
            bail!("--on names the design whose model answers: it goes with `--system model`");
        }
        if !self.variant.is_usual() && self.system() != System::Qemu {
            bail!("--machine, --front-end and --chardev go with `--system qemu`");
        }
        if self.part.is_some() && self.system() == System::Vmmd {
            bail!("--part: the suites of `--system vmmd` are limited with --max-steps");
        }
        self.daemonly.check(self.system() == System::Vmmd)?;
        if self.daemonly.is_soak() {
            if self.what != "restart" || self.scope.is_some() || self.design.is_some() {
                bail!("--kills goes with `restart`, all of it: without --scope and --design");
            }
            let vmmd = self.daemonly.find(self.qemu())?;
            return self.daemonly.soak(&vmmd, common, self.junit.as_ref());
        }
        if catalogue::names().contains(&self.what.as_str()) {
            studies::visit(&self.what, StudyVisitor { replay: self, common })?
        } else if path.exists() {
            for (option, given) in [
                ("--scope", self.scope.is_some()),
                ("--design", self.design.is_some()),
                ("--max-steps", self.max_steps.is_some()),
                ("--part", self.part.is_some()),
            ] {
                if given {
                    bail!(
                        "{option} goes with a study's name; the traces of a file say themselves what they are of"
                    );
                }
            }
            let study = study_of(path)?;
            let unknown = || {
                format!("{}: line 1: the traces are of a study that is not here", path.display())
            };
            studies::visit(&study, FileVisitor { replay: self, path, common })
                .with_context(unknown)?
        } else {
            Err(catalogue::unknown("study", &self.what, catalogue::names()))
                .context("there is no file of that name either")
        }
    }
}

impl Replay {
    fn deadline(&self) -> Duration {
        self.deadline.unwrap_or(match self.system() {
            System::Qemu | System::Libvirt | System::Vmmd => Duration::from_secs(60),
            System::Model | System::Vmm | System::Exec => Duration::from_secs(10),
        })
    }

    fn system(&self) -> System {
        let named = matches!(self.exec.command(), Ok(Some(_)));
        self.system.unwrap_or(if named { System::Exec } else { System::Vmm })
    }
}

fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    Ok(BufReader::new(File::open(path).with_context(|| format!("open {}", path.display()))?))
}

/// Reads no more than the first line says of the study.
fn study_of(path: &Path) -> anyhow::Result<String> {
    // Any study's types do: only the header is read.
    struct Header<R>(R);
    impl<R: BufRead> Visitor for Header<R> {
        type Output = anyhow::Result<String>;
        fn visit<F: Replayable>(self) -> Self::Output {
            Ok(Reader::<_, F::Study>::new(self.0)?.header().study.clone())
        }
    }
    let first = catalogue::names().first().copied().unwrap_or_default();
    let header = studies::visit(first, Header(open(path)?))?;
    header.with_context(|| format!("read {}", path.display()))
}

struct StudyVisitor<'a> {
    replay: &'a Replay,
    common: &'a Common,
}

impl Visitor for StudyVisitor<'_> {
    type Output = anyhow::Result<Ended>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let StudyVisitor { replay: asked, common } = self;
        let design = match &asked.design {
            Some(name) => studies::design::<F>(name)?,
            None => studies::ours::<F>(),
        };
        let scopes: Vec<&'static Scope> = match &asked.scope {
            Some(name) => vec![studies::scope::<F>(Some(name))?],
            None => {
                // Real systems take their time.
                let is_real = matches!(asked.system(), System::Libvirt | System::Qemu);
                let all = studies::scopes_to_verify::<F>();
                all.filter(|scope| !is_real || scope.role == Role::CheckAndReplay).collect()
            }
        };
        let (mut done, mut skipped) = (Vec::new(), Vec::new());
        if asked.system() == System::Vmmd {
            let vmmd = asked.daemonly.find(asked.qemu())?;
            let options = Options {
                jobs: common.threads().get(),
                deadline: asked.deadline(),
                ..Options::default()
            };
            let steps = asked.max_steps.map(NonZeroUsize::get);
            let replaying = Replaying { options, explain: asked.explain, steps };
            for scope in scopes {
                if asked.scope.is_none() && scope.role != Role::CheckAndReplay {
                    continue;
                }
                let daemonly = &asked.daemonly;
                done.extend(daemonly.replay::<F>(&vmmd, design, scope, &replaying, common)?);
            }
            return asked.finish(&done, common);
        }
        for scope in scopes {
            let most = match (asked.max_steps, asked.system()) {
                (Some(steps), _) => Some(steps.get()),
                (None, System::Qemu) if asked.part.is_none() => Some(QEMU_STEPS),
                (None, _) => None,
            };
            let cut = match most {
                Some(most) => {
                    Cut { steps_max: PARTIAL_TRACE.min(most), total_max: most, ..Cut::default() }
                }
                None => Cut::default(),
            };
            let factory = match asked.factory::<F>(design, scope) {
                Ok(factory) => factory,
                // Of all scopes, those that can be driven.
                Err(why) if asked.scope.is_none() && why.is::<Missing>() => {
                    skipped.push(format!("scope {}: {why:#}", scope.name));
                    continue;
                }
                Err(why) => return Err(why),
            };
            let part = asked.part.unwrap_or(Part::WHOLE);
            let (suite, left_out) =
                drivable_part::<F>((design, scope), cut, part, &factory, common)?;
            if suite.traces.is_empty() && asked.part.is_some() {
                bail!("scope {}: part {part} has no trace; take fewer parts", scope.name);
            }
            let mut one = asked.replay_suite::<F>(&suite, design, scope, &factory, common)?;
            one.leave_out(&left_out);
            done.push(one);
        }
        if done.is_empty() && !skipped.is_empty() {
            return Err(Missing(skipped.join("; ")).into());
        }
        skipped.iter().for_each(|why| eprintln!("skipped: {why}"));
        asked.finish(&done, common)
    }
}

struct FileVisitor<'a> {
    replay: &'a Replay,
    path: &'a Path,
    common: &'a Common,
}

impl Visitor for FileVisitor<'_> {
    type Output = anyhow::Result<Ended>;

    fn visit<F: Replayable>(self) -> Self::Output {
        let FileVisitor { replay: asked, path, common } = self;
        if asked.system() == System::Vmmd {
            bail!(
                "`--system vmmd` replays a study by name: it needs traces that QEMU can be driven through"
            );
        }
        let place = || format!("read {}", path.display());
        let mut suite: Suite<F::Study> = read_suite(open(path)?).with_context(place)?;
        let design = studies::design::<F>(&suite.header.design)
            .with_context(|| format!("{}: line 1", path.display()))?;
        let scope = studies::scope::<F>(Some(&suite.header.scope))
            .with_context(|| format!("{}: line 1", path.display()))?;
        if let Some(digest) = &suite.header.digest
            && stale::<F>(design, scope, digest, common)?
        {
            warn_of_another_model(path);
        }
        let study = F::study(design, scope);
        still_behaviour(&study, &suite).with_context(|| path.display().to_string())?;
        // Counted, and not taken from the header, which may be of another file's traces.
        let covered = Criterion::named(&suite.header.criterion)
            .and_then(|goals| met(&study, suite.traces.iter().map(Vec::as_slice), goals));
        suite.header.covered = covered.unwrap_or(suite.header.covered);
        let factory = asked.factory::<F>(design, scope)?;
        let done = asked.replay_suite::<F>(&suite, design, scope, &factory, common)?;
        asked.finish(&[done], common)
    }
}

pub(super) fn warn_of_another_model(path: &Path) {
    let path = path.display();
    eprintln!("warning: {path}: the model has changed since these traces were written");
}

fn stale<F: Family>(
    design: &'static Design,
    scope: &'static Scope,
    digest: &str,
    common: &Common,
) -> anyhow::Result<bool> {
    let study = F::study(design, scope);
    let exploration =
        budget::within(common, "digest", |options| explore::explore(&study, options))?;
    if *exploration.end() != explore::End::Complete {
        return Ok(false);
    }
    let edges = exploration.edges(common.threads());
    Ok(equivalence::minimise(&exploration, &edges).digest != digest)
}

/// Every step must be one of the model's, with the model's outcome: else the trace, and not the system,
/// is wrong.
fn still_behaviour<S: Study>(study: &S, suite: &Suite<S>) -> anyhow::Result<()> {
    let alphabet = study.alphabet();
    for (number, trace) in (1..).zip(&suite.traces) {
        let mut state =
            study.initial().into_iter().next().context("the study has no initial state")?;
        for (at, step) in (1..).zip(trace) {
            match step_of(study, &alphabet, &state, step.action) {
                Err(why) => bail!(
                    "trace {number}, step {at}: {} is not enabled because {}",
                    words(&step.action),
                    why.0
                ),
                Ok((outcome, _)) if outcome != step.outcome => bail!(
                    "trace {number}, step {at}: the model's outcome of {} is {}, the trace has {}",
                    words(&step.action),
                    words(&outcome),
                    words(&step.outcome)
                ),
                Ok((_, next)) => state = next,
            }
        }
    }
    Ok(())
}

/// What one suite gave.
pub(super) struct Done {
    pub(super) name: String,
    pub(super) system: String,
    pub(super) counts: (usize, usize, usize),
    /// Goals that were covered, as far as the system went along, and all there are. Nothing can be said of the
    /// first where a goal takes a whole trace, and one of them diverges.
    pub(super) covered: (Option<u64>, u64),
    pub(super) steps: u64,
    pub(super) seconds: f64,
    /// What else was counted.
    pub(super) note: String,
    divergences: Vec<(String, serde_json::Value)>,
    inconclusive: Vec<String>,
    /// Known divergences that happened: which, how often, and why.
    known: Vec<(String, usize, String)>,
    /// Known divergences that did not happen where they could have.
    stale: Vec<String>,
}

impl Done {
    /// Says what the suite leaves out.
    fn leave_out(&mut self, left_out: &LeftOut) {
        let (covered, goals) = self.covered;
        let told: Vec<String> =
            left_out.iter().map(|(why, steps)| format!("{steps} because {why}")).collect();
        let steps: u64 = left_out.values().sum();
        let beyond = goals.saturating_sub(covered.unwrap_or(0) + steps);
        if steps > 0 {
            self.note = format!("not driven: {}", told.join(", "));
        }
        if steps > 0 && beyond > 0 {
            self.note.push_str(&format!(", {beyond} beyond those or beyond --max-steps or --part"));
        }
    }

    /// A suite of which nothing could be driven.
    pub(super) fn nothing(name: String, system: &str, note: &str) -> Self {
        Done {
            name,
            system: system.to_owned(),
            counts: (0, 0, 0),
            covered: (Some(0), 0),
            steps: 0,
            seconds: 0.0,
            note: note.to_owned(),
            divergences: Vec::new(),
            inconclusive: Vec::new(),
            known: Vec::new(),
            stale: Vec::new(),
        }
    }

    pub(super) fn ended(&self) -> Ended {
        match self.counts {
            _ if !self.stale.is_empty() => Ended::Violated,
            (_, 0, 0) => Ended::AsExpected,
            (_, 0, _) => Ended::Incomplete,
            _ => Ended::Violated,
        }
    }

    pub(super) fn text(&self) -> String {
        let (agree, diverge, inconclusive) = self.counts;
        let traces = agree + diverge + inconclusive;
        let covered = match self.covered {
            (Some(covered), goals) => format!("{covered} of {goals} goals covered"),
            (None, goals) => format!("{goals} goals, each of a whole trace, are not counted"),
        };
        let mut text = format!(
            "{} on {}: {agree} of {traces} traces agree, {diverge} diverge, {inconclusive} inconclusive; \
             {covered}; {} steps in {:.1} s",
            self.name, self.system, self.steps, self.seconds
        );
        if !self.note.is_empty() {
            text.push_str(&format!("; {}", self.note));
        }
        for (explanation, _) in &self.divergences {
            text.push('\n');
            text.push_str(explanation);
        }
        for (name, times, reason) in &self.known {
            text.push_str(&format!("\n  known, {times} times: {name}: {reason}"));
        }
        for name in &self.stale {
            text.push_str(&format!("\n  no longer so, take it out of divergences.toml: {name}"));
        }
        if let Some(why) = self.inconclusive.first() {
            text.push_str(&format!("\n  inconclusive: {why}"));
        }
        text
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let (agree, diverge, inconclusive) = self.counts;
        let divergences: Vec<_> = self.divergences.iter().map(|(_, value)| value).collect();
        let known: Vec<_> = self
            .known
            .iter()
            .map(|(name, times, reason)| json!({ "what": name, "times": times, "reason": reason }))
            .collect();
        json!({
            "suite": self.name, "system": self.system, "agree": agree, "diverge": diverge,
            "inconclusive": inconclusive, "covered": self.covered.0, "goals": self.covered.1,
            "steps": self.steps, "divergences": divergences,
            "seconds": self.seconds, "note": self.note, "known": known, "no-longer-so": self.stale,
        })
    }
}

/// Replays a suite and explains its first divergences on minimised traces.
pub(super) fn replay_on<S: Study>(
    name: String,
    study: &S,
    suite: &Suite<S>,
    factory: &Arc<dyn Factory<S>>,
    options: &Options<'_>,
    explained: usize,
    known: &[Known],
) -> Done {
    let start = Instant::now();
    let mut replayed: Replayed<S> = replay::replay(&suite.traces, factory, options);
    let seconds = start.elapsed().as_secs_f64();
    let gone = suite.traces.iter().zip(&replayed.agreed).map(|(trace, &steps)| &trace[..steps]);
    let steps: usize = suite.traces.iter().map(Vec::len).sum();
    let covered = if replayed.steps() == steps as u64 {
        Some(suite.header.covered)
    } else {
        Criterion::named(&suite.header.criterion).and_then(|goals| met(study, gone, goals))
    };
    take_out(known, &suite.traces, &mut replayed.verdicts);
    let diverged = replayed.verdicts.iter().zip(&suite.traces).enumerate();
    let diverged = diverged.filter_map(|(at, (verdict, trace))| match verdict {
        Verdict::Diverges(divergence) => Some((at, divergence, trace)),
        _ => None,
    });
    let divergences = diverged
        .take(explained)
        .map(|(at, divergence, trace)| {
            let small = minimise(study, trace, divergence.clone(), factory, options.deadline);
            let text = format!(
                "  trace {}, step {}: {}; the same in {} ({}):\n{}",
                at + 1,
                divergence.step + 1,
                divergence.kind(),
                counted(small.trace.len() as u64, "step"),
                counted(small.runs as u64, "run"),
                explain(study, &small.trace, &small.divergence)
            );
            let value = json!({
                "trace": at + 1, "step": divergence.step + 1, "kind": divergence.kind(),
                "minimised": small.trace, "explanation": explain(study, &small.trace, &small.divergence),
            });
            (text, value)
        })
        .collect();
    let inconclusive = replayed.verdicts.iter().filter_map(|verdict| match verdict {
        Verdict::Inconclusive(why) => Some(why.clone()),
        _ => None,
    });
    Done {
        name,
        system: factory.name(),
        counts: replayed.counts(),
        covered: (covered, suite.header.goals),
        steps: replayed.steps(),
        seconds,
        note: String::new(),
        divergences,
        inconclusive: inconclusive.collect(),
        known: known
            .iter()
            .filter(|known| known.happened() > 0)
            .map(|known| (known.name(), known.happened(), known.reason.clone()))
            .collect(),
        stale: known.iter().filter(|known| known.is_stale()).map(Known::name).collect(),
    }
}

impl Replay {
    /// The binary.
    fn qemu(&self) -> &Path {
        self.qemu.as_deref().unwrap_or_else(|| self.variant.binary().as_ref())
    }

    fn factory<F: Replayable>(
        &self,
        design: &'static Design,
        scope: &'static Scope,
    ) -> anyhow::Result<Arc<dyn Factory<F::Study>>> {
        let study = F::study(design, scope);
        Ok(match self.system() {
            System::Vmm => F::vmm(&study).with_context(|| {
                format!("our implementation does not answer the study {}", F::NAME)
            })?,
            System::Libvirt => F::libvirt(&study, Programs::default())
                .map_err(|why| Missing(format!("libvirt cannot be had: {why}")))?,
            System::Qemu => {
                let factory = F::qemu(&study, &Qemu::find_as(self.qemu(), self.variant)?)
                    .with_context(|| format!("the study {} is not about QEMU alone", F::NAME))?;
                // One that cannot begin here, cannot for any trace.
                factory.start().map_err(|why| Missing(format!("scope {}: {why}", scope.name)))?;
                factory
            }
            System::Exec => {
                let command = self.exec.command()?.context("no adapter is named")?;
                let names = Names {
                    study: F::NAME.to_owned(),
                    design: design.name.to_owned(),
                    scope: scope.name.to_owned(),
                };
                let factory: Arc<dyn Factory<F::Study>> =
                    Arc::new(ExecFactory::new(command.clone(), names, self.deadline()));
                // One that cannot even begin is no system; it waits for the first trace now.
                let first = factory.start();
                drop(first.with_context(|| format!("the adapter `{command}`"))?);
                factory
            }
            System::Vmmd => bail!("the daemon replays a study's own traces"),
            System::Model => {
                let answers = match &self.on {
                    Some(name) => studies::design::<F>(name)?,
                    None => design,
                };
                Arc::new(ModelFactory { study: F::study(answers, scope), design: answers.name })
            }
        })
    }

    fn replay_suite<F: Replayable>(
        &self,
        suite: &Suite<F::Study>,
        design: &'static Design,
        scope: &'static Scope,
        factory: &Arc<dyn Factory<F::Study>>,
        common: &Common,
    ) -> anyhow::Result<Done> {
        let study = F::study(design, scope);
        let name =
            format!("{} {} {} ({})", F::NAME, design.name, scope.name, suite.header.criterion);
        let jobs = common.threads().get();
        let over = if self.system() == System::Exec { OVER } else { Duration::ZERO };
        let options = Options { jobs, deadline: self.deadline() + over, ..Options::default() };
        let list = match &self.known {
            Some(path) => {
                fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?
            }
            None => LIST.to_owned(),
        };
        let known = KnownList::read(&list).context("read the known divergences")?.of(
            &factory.name(),
            F::NAME,
            design.name,
        );
        Ok(replay_on(name, &study, suite, factory, &options, self.explain, &known))
    }

    fn finish(&self, done: &[Done], common: &Common) -> anyhow::Result<Ended> {
        if done.iter().all(|done| done.counts == (0, 0, 0)) {
            let all: Vec<String> = done.iter().map(Done::text).collect();
            return Err(Missing(format!("nothing can be driven here\n{}", all.join("\n"))).into());
        }
        if let Some(path) = &self.junit {
            super::verify::junit(
                path,
                done.iter().map(|done| {
                    let failed = (done.ended() != Ended::AsExpected).then(|| done.text());
                    (done.name.clone(), done.seconds, failed)
                }),
            )?;
        }
        if common.json() {
            let all: Vec<_> = done.iter().map(Done::json).collect();
            print_json(&json!({ "version": report::VERSION, "replayed": all }))?;
        } else {
            done.iter().try_for_each(|done| print(&done.text()))?;
        }
        Ok(done.iter().map(Done::ended).max().unwrap_or(Ended::Incomplete))
    }
}
