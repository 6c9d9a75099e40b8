//! Walks of the model that are the same for the same seed.

use statusquo_model::study::Study;

use crate::random::Random;

/// Walks from the initial state; each step is one that the model enables.
pub(super) fn walks<S: Study>(
    study: &S,
    walks: usize,
    steps: usize,
    seed: u64,
) -> Vec<Vec<S::Action>> {
    let mut random = Random::new(seed);
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
