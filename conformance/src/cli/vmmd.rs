//! `statusquo replay STUDY --system vmmd`: crash points and a soak for restart, transitions for the others.

use std::{path::PathBuf, sync::atomic::Ordering, time::Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use statusquo_model::{
    explore::{self, End, Exploration},
    family::{Design, Scope},
    study::Study,
};

use super::{
    Common, Ended, Missing, Unfinished, budget,
    generate::suite_of,
    print, print_json,
    replay::{Done, replay_on},
};
use crate::{
    generate::{Criterion, Cut, LeftOut, Limited, Undriven, generate, recount},
    replay::Options,
    report,
    studies::{Daemoned, Replayable, Tours},
    systems::vmmd::{Tally, Vmmd, soak},
    trace::{Header, Suite, Trace, VERSION},
};

#[derive(Clone, Debug, Args)]
pub(super) struct Daemonly {
    /// For `--system vmmd`: this daemon instead of the one built into this program
    #[arg(long, value_name = "PATH")]
    vmmd: Option<PathBuf>,
    /// For `--system vmmd`: every transition that can be driven, not only crash points or a part
    #[arg(long)]
    every_transition: bool,
    /// For `--system vmmd`: so many kills at random instants, and no traces
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    kills: Option<u64>,
    /// For `--kills`: the same seed gives the same requests
    #[arg(long, value_name = "N", default_value_t = 0, requires = "kills")]
    seed: u64,
}

impl Daemonly {
    /// The options are for this system only.
    pub(super) fn check(&self, is_vmmd: bool) -> anyhow::Result<()> {
        let given = [
            ("--vmmd", self.vmmd.is_some()),
            ("--every-transition", self.every_transition),
            ("--kills", self.kills.is_some()),
        ];
        match given.iter().find(|(_, given)| *given && !is_vmmd) {
            Some((option, _)) => bail!("{option} goes with `--system vmmd`"),
            None => Ok(()),
        }
    }

    pub(super) fn is_soak(&self) -> bool {
        self.kills.is_some()
    }

    pub(super) fn find(&self, qemu: &std::path::Path) -> anyhow::Result<Vmmd> {
        let found = Vmmd::find(self.vmmd.as_deref(), qemu);
        found.map_err(|missing| Missing(missing.to_string()).into())
    }

    /// Kills at random instants.
    pub(super) fn soak(
        &self,
        vmmd: &Vmmd,
        common: &Common,
        junit: Option<&PathBuf>,
    ) -> anyhow::Result<Ended> {
        let start = Instant::now();
        let kills = self.kills.unwrap_or_default();
        let jobs = common.threads().get();
        let soaked =
            soak::soak(vmmd, kills, self.seed, jobs).context("the daemon cannot be run")?;
        let seconds = start.elapsed().as_secs_f64();
        let mut text = format!(
            "restart ours on vmmd: {} of {kills} kills at random instants (seed {}), {} requests of which {} were \
             unanswered when the kill came; {} times the file said other than QEMU; after {} recoveries definition, \
             status file and QEMU agree, {} times they do not; {seconds:.1} s",
            soaked.kills,
            self.seed,
            soaked.requests,
            soaked.unanswered,
            soaked.apart,
            soaked.kills - soaked.wrong.len() as u64,
            soaked.wrong.len(),
        );
        for why in &soaked.wrong {
            text.push_str(&format!("\n  {why}"));
        }
        let ended = match (soaked.wrong.is_empty(), soaked.kills == kills) {
            (false, _) => Ended::Violated,
            (true, false) => Ended::Incomplete,
            (true, true) => Ended::AsExpected,
        };
        if let Some(path) = junit {
            let failed = (ended != Ended::AsExpected).then(|| text.clone());
            super::verify::junit(path, [("restart soak on vmmd".to_owned(), seconds, failed)])?;
        }
        if common.json() {
            print_json(&json!({ "version": report::VERSION, "soaked": {
                "kills": soaked.kills, "seed": self.seed, "requests": soaked.requests,
                "unanswered": soaked.unanswered, "apart": soaked.apart, "wrong": soaked.wrong,
                "seconds": seconds,
            }}))?;
        } else {
            print(&text)?;
        }
        Ok(ended)
    }

    /// One suite on the daemon, with each class of devices.
    pub(super) fn replay<F: Replayable>(
        &self,
        vmmd: &Vmmd,
        design: &'static Design,
        scope: &'static Scope,
        options: &Replaying<'_>,
        common: &Common,
    ) -> anyhow::Result<Vec<Done>> {
        let study = F::study(design, scope);
        let daemonized = F::vmmd(&study, vmmd)
            .with_context(|| format!("the daemon does not answer the study {}", F::NAME))?;
        let (points, is_drivable) = match daemonized.tours {
            Tours::CrashPoints { points, is_drivable } => (points, is_drivable),
            Tours::Transitions { undriven } => {
                let name = (design, scope);
                let (suite, left_out) = self.part::<F>(name, undriven, options.steps, common)?;
                let systems = &daemonized.systems;
                return Ok(self.replay_part::<F>(name, &suite, &left_out, systems, options));
            }
        };
        if options.steps.is_some() {
            bail!(
                "--max-steps goes with a study's transitions; {} is replayed by its crash points",
                F::NAME
            );
        }
        let Replaying { options, explain, .. } = *options;
        let crash_points = points.len();
        let (traces, what, left_out): (Vec<Trace<F::Study>>, _, usize) = if self.every_transition {
            let suite = suite_of::<F>(
                design,
                scope,
                Criterion::Transitions,
                Cut { steps_max: 40, ..Cut::default() },
                common,
            )?;
            let all = suite.traces.len();
            let drivable: Vec<_> =
                suite.traces.into_iter().filter(|trace| is_drivable(&study, trace)).collect();
            let left_out = all - drivable.len();
            (drivable, "transitions", left_out)
        } else {
            (points, "crash points", 0)
        };
        if traces.is_empty() {
            bail!("{} {} {}: there is no trace to replay", F::NAME, design.name, scope.name);
        }
        let suite = Suite { header: header(F::NAME, design, scope, what, &traces), traces };
        let mut done = Vec::new();
        for system in &daemonized.systems {
            let name =
                format!("{} {} {} ({what}, {})", F::NAME, design.name, scope.name, system.class);
            let mut one = replay_on(name, &study, &suite, &system.factory, &options, explain, &[]);
            let kills = system.tally.killed.load(Ordering::SeqCst);
            one.note = match self.every_transition {
                true => format!(
                    "{kills} kills; {left_out} traces left out, in which QEMU would put off what it does at once"
                ),
                false => format!("{crash_points} crash points, {kills} kills"),
            };
            done.push(one);
        }
        Ok(done)
    }

    /// The transitions that can be driven here, or a part of them, and why the others cannot.
    fn part<F: Replayable>(
        &self,
        (design, scope): (&'static Design, &'static Scope),
        undriven: Undriven<F::Study>,
        steps: Option<usize>,
        common: &Common,
    ) -> anyhow::Result<(Suite<F::Study>, LeftOut)> {
        let study = F::study(design, scope);
        let limited = Limited::new(study.clone(), undriven);
        let what = format!("{} {} {}", F::NAME, design.name, scope.name);
        let whole = explored(&study, &what, common)?;
        let part = explored(&limited, &what, common)?;
        let total_max = match (steps, self.every_transition) {
            (Some(steps), _) => steps,
            (None, true) => usize::MAX,
            (None, false) => STEPS,
        };
        let cut = Cut { steps_max: TRACE, total_max, ..Cut::default() };
        let edges = part.edges(common.threads());
        let criterion = Criterion::Transitions;
        let names = (F::NAME, design.name, scope.name);
        let suite = generate(&part, &edges, criterion, names, cut)?;
        let covered = recount(&part, &suite, criterion).context("count the suite's coverage")?;
        let header = Header { covered: covered.covered, ..suite.header };
        let traces = suite.traces.into_iter().map(Limited::of_the_whole).collect();
        Ok((Suite { header, traces }, limited.left_out(&whole, &part)))
    }

    fn replay_part<F: Replayable>(
        &self,
        (design, scope): (&'static Design, &'static Scope),
        suite: &Suite<F::Study>,
        left_out: &LeftOut,
        systems: &[Daemoned<F::Study>],
        replaying: &Replaying<'_>,
    ) -> Vec<Done> {
        let name = format!("{} {} {}", F::NAME, design.name, scope.name);
        let undriven: Vec<String> =
            left_out.iter().map(|(why, count)| format!("{count}, {why}")).collect();
        let undriven = match undriven.is_empty() {
            true => String::new(),
            false => {
                let all: u64 = left_out.values().sum();
                format!("; {all} transitions are not driven: {}", undriven.join("; "))
            }
        };
        if systems.is_empty() {
            return vec![Done::nothing(name, "vmmd", undriven.trim_start_matches("; "))];
        }
        let study = F::study(design, scope);
        let replayed = systems.iter().map(|system| {
            let name = format!("{name} (transitions, {})", system.class);
            let Replaying { options, explain, .. } = *replaying;
            let mut done = replay_on(name, &study, suite, &system.factory, &options, explain, &[]);
            let Tally { ended, killed, qemus } = &*system.tally;
            let [ended, killed, qemus] =
                [ended, killed, qemus].map(|count| count.load(Ordering::SeqCst));
            done.note = format!(
                "{} restarts: {ended} by SIGTERM, {killed} by SIGKILL; {qemus} QEMUs{undriven}",
                ended + killed
            );
            done
        });
        replayed.collect()
    }
}

/// How a daemon is led through a suite.
pub(super) struct Replaying<'a> {
    pub(super) options: Options<'a>,
    /// Divergences that are explained.
    pub(super) explain: usize,
    /// Steps at most, where the user says so.
    pub(super) steps: Option<usize>,
}

/// Steps of each scope, where nobody asks for more: some 20 s each.
const STEPS: usize = 250;
/// Steps of a trace, so that several run at a time.
const TRACE: usize = 40;

fn explored<S: Study>(study: &S, what: &str, common: &Common) -> anyhow::Result<Exploration<S>> {
    let exploration = budget::within(common, what, |options| explore::explore(study, options))
        .with_context(|| format!("explore {what}"))?;
    match exploration.end() {
        End::Complete => Ok(exploration),
        end => Err(Unfinished { what: what.to_owned(), end: report::end_words(end) }.into()),
    }
}

fn header<S: Study>(
    study: &str,
    design: &Design,
    scope: &Scope,
    criterion: &str,
    traces: &[Trace<S>],
) -> Header {
    Header {
        version: VERSION,
        study: study.to_owned(),
        design: design.name.to_owned(),
        scope: scope.name.to_owned(),
        criterion: criterion.to_owned(),
        digest: None,
        covered: traces.len() as u64,
        goals: traces.len() as u64,
        resets: traces.len() as u64,
        steps: traces.iter().map(|trace| trace.len() as u64).sum(),
        lower_bound: 0,
    }
}
