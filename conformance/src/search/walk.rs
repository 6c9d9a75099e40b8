//! Which way to walk: seeded, and further from where something new was seen.

use fastrand::Rng;

use super::Options;

/// Walks that showed something new; the oldest go when there are more.
const KEPT_MAX: usize = 400;

/// Makes walks.
#[derive(Debug)]
pub struct Walk<M> {
    beginnings: Vec<Vec<M>>,
    alphabet: Vec<M>,
    seed: u64,
    moves: usize,
    /// Moves that every walk begins with, and that stay as they are.
    fixed: usize,
    kept: Vec<Vec<M>>,
}

impl<M: Clone> Walk<M> {
    pub(super) fn new(
        beginnings: Vec<Vec<M>>,
        alphabet: Vec<M>,
        fixed: usize,
        options: &Options,
    ) -> Self {
        let Options { seed, moves, .. } = *options;
        Walk { beginnings, alphabet, seed, moves, fixed, kept: Vec::new() }
    }

    /// Something was new at the end of this walk.
    pub(super) fn keep(&mut self, moves: Vec<M>) {
        if self.kept.len() == KEPT_MAX {
            self.kept.remove(0);
        }
        self.kept.push(moves);
    }

    /// The walk of that number: from a beginning, or on from one that was kept.
    pub(super) fn walk(&self, number: usize) -> Vec<M> {
        // Numbers next to each other must not make sequences like each other.
        let mut rng = Rng::with_seed(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number as u64);
        rng = rng.fork();
        let mut moves: Vec<M> = match rng.choice(&self.kept) {
            Some(kept) if rng.u8(..) < 160 => kept.clone(),
            _ => rng.choice(&self.beginnings).cloned().unwrap_or_default(),
        };
        // Sometimes the last steps are taken back, or one in the middle is another.
        if moves.len() > 3 && rng.u8(..) < 80 {
            let at = rng.usize(self.fixed..moves.len());
            match rng.choice(&self.alphabet) {
                Some(other) if rng.bool() => moves[at] = other.clone(),
                _ => moves.truncate(at),
            }
        }
        let further = rng.usize(1..=self.moves.max(1));
        moves.extend((0..further).filter_map(|_| rng.choice(&self.alphabet).cloned()));
        moves
    }
}
