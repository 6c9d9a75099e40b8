//! Replaying many traces, each on a fresh system in a thread that may be given up.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use statusquo_model::study::{Study, View};

use super::{Divergence, Factory, Fault, Observed, Verdict};
use crate::trace::Trace;

/// How to replay.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Systems at a time.
    pub jobs: usize,
    /// How long one step may take before the system counts as hung.
    pub deadline: Duration,
    /// Called after each trace with how many are done; `false` skips the rest.
    pub watch: &'a (dyn Fn(usize) -> bool + Sync),
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("jobs", &self.jobs)
            .field("deadline", &self.deadline)
            .finish()
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        let jobs = thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        Options { jobs, deadline: Duration::from_secs(10), watch: &|_| true }
    }
}

/// How the traces went, in their order.
#[derive(Clone, Debug)]
pub struct Replayed<S: Study> {
    /// One verdict per trace.
    pub verdicts: Vec<Verdict<S>>,
    /// How many steps of each agreed.
    pub agreed: Vec<usize>,
}

impl<S: Study> Replayed<S> {
    /// Steps that agreed, in all traces.
    pub fn steps(&self) -> u64 {
        self.agreed.iter().map(|&steps| steps as u64).sum()
    }

    /// (agreeing, diverging, inconclusive) traces.
    pub fn counts(&self) -> (usize, usize, usize) {
        self.verdicts.iter().fold((0, 0, 0), |(a, d, i), verdict| match verdict {
            Verdict::Agrees => (a + 1, d, i),
            Verdict::Diverges(_) => (a, d + 1, i),
            Verdict::Inconclusive(_) => (a, d, i + 1),
        })
    }
}

/// Replays every trace.
pub fn replay<S: Study>(
    traces: &[Trace<S>],
    factory: &Arc<dyn Factory<S>>,
    options: &Options<'_>,
) -> Replayed<S> {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let work = || {
        let mut mine = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(trace) = traces.get(at) else { break mine };
            if !(options.watch)(done.load(Ordering::Relaxed)) {
                mine.push((
                    at,
                    (Verdict::Inconclusive("skipped: the time was over".to_owned()), 0),
                ));
                continue;
            }
            mine.push((at, replay_one(trace, factory, options.deadline)));
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut all: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).flatten().collect()
    });
    all.sort_by_key(|(at, _)| *at);
    let (verdicts, agreed) = all.into_iter().map(|(_, one)| one).unzip();
    Replayed { verdicts, agreed }
}

/// Replays one trace on a fresh system; also says how many steps agreed.
pub fn replay_one<S: Study>(
    trace: &Trace<S>,
    factory: &Arc<dyn Factory<S>>,
    deadline: Duration,
) -> (Verdict<S>, usize) {
    let reached = Arc::new(AtomicUsize::new(0));
    let (send, receive) = mpsc::channel();
    let spawned = thread::Builder::new().name("replay".to_owned()).spawn({
        let (trace, factory, reached) = (trace.clone(), Arc::clone(factory), Arc::clone(&reached));
        move || {
            let run = catch_unwind(AssertUnwindSafe(|| run(&trace, factory.as_ref(), &reached)));
            let verdict = run.unwrap_or_else(|panic| Err(Fault::Died(panic_text(panic.as_ref()))));
            // Nobody listens once the run was given up.
            drop(send.send(verdict));
        }
    });
    if let Err(error) = spawned {
        return (Verdict::Inconclusive(format!("no thread for the replay: {error}")), 0);
    }
    let mut seen = 0;
    let answer = loop {
        match receive.recv_timeout(deadline) {
            Ok(answer) => break answer,
            Err(RecvTimeoutError::Disconnected) => {
                break Err(Fault::Died("its thread ended".to_owned()));
            }
            Err(RecvTimeoutError::Timeout) => {
                let now = reached.load(Ordering::Relaxed);
                if now == seen {
                    break Err(Fault::Hang(deadline));
                }
                seen = now;
            }
        }
    };
    let step = reached.load(Ordering::Relaxed).saturating_sub(1).min(trace.len().saturating_sub(1));
    match (answer, trace.get(step)) {
        (Ok(None), _) => (Verdict::Agrees, trace.len()),
        (Ok(Some(divergence)), _) => {
            let steps = divergence.step;
            (Verdict::Diverges(divergence), steps)
        }
        (Err(Fault::Environment(why)), _) => (Verdict::Inconclusive(why), step),
        (Err(fault), Some(at)) => {
            let divergence = Divergence {
                step,
                action: at.action,
                expected: at.outcome.clone(),
                observed: Err(fault),
                view: View::new(),
                said: Vec::new(),
            };
            (Verdict::Diverges(divergence), step)
        }
        (Err(fault), None) => (Verdict::Inconclusive(fault.to_string()), 0),
    }
}

fn run<S: Study>(
    trace: &Trace<S>,
    factory: &dyn Factory<S>,
    reached: &AtomicUsize,
) -> Result<Option<Divergence<S>>, Fault> {
    let mut system = factory.start()?;
    for (at, step) in trace.iter().enumerate() {
        reached.store(at + 1, Ordering::Relaxed);
        let observed = match system.apply(step.action, &step.outcome) {
            Ok(Observed::Outcome(outcome)) if outcome == step.outcome => continue,
            Err(Fault::Environment(why)) => return Err(Fault::Environment(why)),
            other => other,
        };
        // Whoever gave no answer to the action is not asked for more.
        let view = if observed.is_ok() { system.view().unwrap_or_default() } else { View::new() };
        return Ok(Some(Divergence {
            step: at,
            action: step.action,
            expected: step.outcome.clone(),
            observed,
            view,
            said: system.last_words(),
        }));
    }
    Ok(None)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("it panicked: {}", text.as_deref().unwrap_or("without a message"))
}
