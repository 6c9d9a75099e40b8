//! Walks of the model that are the same for the same seed.

use statusquo_model::study::Study;

/// Marsaglia's xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap_or(0) % most.max(1)
    }
}

/// Walks from the initial state; each step is one that the model enables.
pub(super) fn walks<S: Study>(
    study: &S,
    walks: usize,
    steps: usize,
    seed: u64,
) -> Vec<Vec<S::Action>> {
    // A generator of this kind never leaves zero.
    let mut random = Random(seed.wrapping_mul(2).wrapping_add(1));
    let alphabet = study.alphabet();
    let walk = |random: &mut Random| {
        let mut state = study.initial().into_iter().next();
        let mut walk = Vec::new();
        while let Some(at) = &state
            && walk.len() < steps
        {
            let mut enabled: Vec<_> = (alphabet.iter())
                .filter_map(|&action| Some((action, study.step(at, action).ok()?.1)))
                .collect();
            if enabled.is_empty() {
                break;
            }
            let (action, next) = enabled.swap_remove(random.below(enabled.len()));
            walk.push(action);
            state = Some(next);
        }
        walk
    };
    (0..walks).map(|_| walk(&mut random)).collect()
}
