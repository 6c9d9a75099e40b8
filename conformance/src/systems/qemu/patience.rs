//! How long a process is waited for. One that sleeps has nothing more to do; one that does not may have no processor
//! to do it on.

use std::time::Duration;

use rustix::process::Pid;

use super::process::sleeps;

/// What a QEMU is given. Shorter than the deadline of a step, so that what hangs is named.
pub(super) const PATIENCE: Patience =
    Patience { asleep: Duration::from_secs(8), busy: Duration::from_secs(50) };

/// How long an answer may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Of a process that sleeps, or of which nothing is known.
    pub(super) asleep: Duration,
    /// Of one that has something to do.
    pub(super) busy: Duration,
}

impl Patience {
    /// It has `waited` for `process`: is that over, and at how long?
    pub(super) fn is_over(self, process: Option<Pid>, waited: Duration) -> Option<Duration> {
        if waited < self.asleep {
            return None;
        }
        let is_busy = process.is_some_and(|process| !sleeps(process));
        let limit = if is_busy { self.busy } else { self.asleep };
        (waited >= limit).then_some(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_something_to_do_is_waited_for() {
        let patience = Patience { asleep: Duration::from_secs(1), busy: Duration::from_secs(9) };
        let is_over = |process, waited| patience.is_over(process, Duration::from_secs(waited));
        // This very process is busy with the test.
        let busy = Some(rustix::process::getpid());
        assert_eq!((is_over(busy, 0), is_over(busy, 8)), (None, None));
        assert_eq!(is_over(busy, 9), Some(patience.busy));
        // Nobody is known to be there.
        assert_eq!((is_over(None, 0), is_over(None, 1)), (None, Some(patience.asleep)));
    }
}
