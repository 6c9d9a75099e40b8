//! For tests: SIGKILL at a chosen boundary between two effects.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// The variable that names the boundary: `STATUSQUO_VMMD_KILL_AT=3`.
pub(super) const KILL_AT: &str = "STATUSQUO_VMMD_KILL_AT";

/// Boundaries are counted from 1 over all domains; each effect has one before it and one after it.
#[derive(Debug, Default)]
pub(super) struct Boundaries {
    passed: AtomicU64,
    kill_at: Option<u64>,
}

impl Boundaries {
    pub(super) fn new(kill_at: Option<u64>) -> Self {
        Boundaries { passed: AtomicU64::new(0), kill_at }
    }

    /// Here a kill may fall. What the effect is, the log says.
    pub(super) fn pass(&self, before: bool, effect: &dyn std::fmt::Display) {
        let number = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        let side = if before { "before" } else { "after" };
        tracing::debug!(number, "boundary {side} {effect}");
        if self.kill_at == Some(number) {
            tracing::warn!(number, "killed {side} {effect}");
            // Nothing is unwound and nothing is written: that is the point.
            let _killed = kill_process(getpid(), Signal::KILL);
        }
    }

    /// Performs an effect between its two boundaries.
    pub(super) fn around<T>(&self, effect: &str, perform: impl FnOnce() -> T) -> T {
        self.pass(true, &effect);
        let done = perform();
        self.pass(false, &effect);
        done
    }
}
