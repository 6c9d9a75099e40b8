//! The shortest walk that still ends the system so.

use super::{End, EndKind, Ground, ToEnd};

/// Runs that shortening may take; each run that hangs takes its time.
const RUNS_MAX: usize = 200;
const RUNS_MAX_HUNG: usize = 24;
/// Times that the shortest walk must end the system, one after the other.
pub(super) const AGAIN: usize = 3;

/// Leaves out moves as long as the system still ends, in the same way; the beginning stays. Also says how
/// many runs it took. `None` if it does not happen again and again.
pub fn shorten<G: Ground + ?Sized>(
    ground: &G,
    moves: &[G::Move],
    end: &End,
) -> (Option<ToEnd<G::Move>>, usize) {
    let signature = end.signature();
    let runs_max = if end.kind == EndKind::Hang { RUNS_MAX_HUNG } else { RUNS_MAX };
    let mut runs = 0;
    let mut ends = |moves: &[G::Move], runs_max: usize| {
        if runs >= runs_max {
            return None;
        }
        runs += 1;
        ground.walk(moves).end.filter(|end| end.signature() == signature)
    };
    let mut best = (moves.to_vec(), end.clone());
    let fixed = ground.fixed();
    // Big pieces first.
    let mut width = (best.0.len() / 2).max(1);
    loop {
        let mut at = best.0.len().saturating_sub(width).max(fixed);
        let mut shorter = false;
        while at >= fixed && best.0.len() > fixed {
            let upto = (at + width).min(best.0.len());
            let candidate = [&best.0[..at], &best.0[upto..]].concat();
            if let Some(end) = ends(&candidate, runs_max) {
                best = (candidate[..=end.at].to_vec(), end);
                shorter = true;
            }
            at = match at.min(best.0.len()).checked_sub(width) {
                Some(next) if next >= fixed => next,
                _ if at > fixed => fixed,
                _ => break,
            };
        }
        match (shorter, width) {
            (false, 1) => break,
            (false, _) => width /= 2,
            (true, _) => width = width.min((best.0.len() / 2).max(1)),
        }
    }
    let again = (0..AGAIN).all(|_| ends(&best.0, runs_max + AGAIN).is_some());
    (again.then_some(best), runs)
}
