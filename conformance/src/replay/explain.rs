//! A divergence in words.

use std::fmt::Write;

use statusquo_model::{study::Study, words::words};

use super::{Divergence, Observed};
use crate::trace::Trace;

/// The run, what was expected and what was observed, and what a system would have to be in to answer
/// as this one did.
pub fn explain<S: Study>(study: &S, trace: &Trace<S>, divergence: &Divergence<S>) -> String {
    let mut text = String::new();
    let mut state = study.initial().into_iter().next();
    let mut line = |what: std::fmt::Arguments<'_>| {
        writeln!(text, "{what}").expect("writing to a string does not fail");
    };
    for (number, step) in (1..).zip(&trace[..divergence.step]) {
        line(format_args!(
            "  {number:>3}  {}",
            with_outcome(&words(&step.action), &words(&step.outcome))
        ));
        state = state.and_then(|state| study.step(&state, step.action).ok()).map(|(_, next)| next);
    }
    line(format_args!("  {:>3}  {}", divergence.step + 1, words(&divergence.action)));
    line(format_args!("       expected: {}", words(&divergence.expected)));
    let observed = match &divergence.observed {
        Ok(Observed::Outcome(outcome)) => words(outcome),
        Ok(Observed::Blocked(why)) => format!("it cannot be done, because {why}"),
        Err(fault) => fault.to_string(),
    };
    line(format_args!("       observed: {observed}"));
    if let Some(state) = state {
        let after = study.step(&state, divergence.action).ok().map(|(_, next)| next);
        let before = study.view(&state);
        let after = after.map(|after| study.view(&after)).unwrap_or_default();
        let shown: Vec<String> = (divergence.view.iter())
            .filter_map(|(what, theirs)| {
                let (_, ours) = after.iter().find(|(known, _)| known == what)?;
                (ours != theirs).then(|| format!("{what}: {theirs} (the model: {ours})"))
            })
            .collect();
        let changed: Vec<String> = after
            .into_iter()
            .zip(&before)
            .filter(|((_, after), (_, before))| after != before)
            .map(|((what, after), (_, before))| format!("{what}: {before} -> {after}"))
            .collect();
        let changed = if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") };
        line(format_args!("       in the model this step changes {changed}"));
        if !shown.is_empty() {
            line(format_args!("       the system shows {}", shown.join(", ")));
        }
        if let Ok(Observed::Outcome(observed)) = &divergence.observed {
            let like = study.alphabet().into_iter().find(|&action| {
                action != divergence.action
                    && matches!(study.step(&state, action), Ok((outcome, _)) if outcome == *observed)
            });
            if let Some(like) = like {
                line(format_args!("       the model answers so to {} here", words(&like)));
            }
        }
    }
    for said in &divergence.said {
        line(format_args!("       it said: {said}"));
    }
    text
}

fn with_outcome(action: &str, outcome: &str) -> String {
    if outcome == "reply ok" { action.to_owned() } else { format!("{action}  ->  {outcome}") }
}
