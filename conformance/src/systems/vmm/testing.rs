//! How ours differs from a trace of another design.

use std::{sync::Arc, time::Duration};

use statusquo_model::study::Study;

use crate::{
    replay::{Factory, Observed, Verdict, replay_one},
    trace::Trace,
};

/// The step at which a system goes another way, and what it shows there.
pub(super) fn diverges<S: Study>(
    trace: &Trace<S>,
    factory: Arc<dyn Factory<S>>,
    shown: impl Fn(&S::Outcome) -> String,
) -> Option<(usize, String)> {
    match replay_one(trace, &factory, Duration::from_secs(60)).0 {
        Verdict::Agrees => None,
        Verdict::Diverges(divergence) => Some((
            divergence.step,
            match divergence.observed {
                Ok(Observed::Outcome(outcome)) => shown(&outcome),
                Ok(Observed::Blocked(why)) => panic!("{why}"),
                Err(fault) => panic!("{fault}"),
            },
        )),
        Verdict::Inconclusive(why) => panic!("{why}"),
    }
}
