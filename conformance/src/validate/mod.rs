//! Is the log of a real run a run of the model?
//!
//! A log shows what somebody happened to write down: some steps in part, some not at all, sometimes what
//! could be seen at rest. It is accepted where the model has a run that shows all of it. Else the answer is
//! the furthest line that can be explained, the states the model may be in there, and what each of them has
//! against the next line.

mod log;

use std::collections::HashSet;

use serde_json::Value;
use statusquo_model::{
    study::{Blocked, Study, View},
    words::words,
};

pub use self::log::{Event, LogError, LogErrorKind, read_log};

/// How to look.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Verbs of steps that the log does not show: they may happen between any two lines.
    pub hidden: &'a [String],
    /// States that may be possible at one time.
    pub states_max: usize,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The model has a run that shows all of it.
    Accepted {
        /// Lines that a step of the model explains.
        steps: usize,
        /// Lines that show facts at rest.
        looks: usize,
        /// States that the model may be in at the end.
        states: usize,
    },
    /// No run of the model shows this line after those before it.
    Rejected {
        /// The line, counted from 1.
        line: usize,
        /// Lines before it that were explained.
        explained: usize,
        /// States that the model may be in before it.
        states: usize,
        /// Some of them, and what each has against the line.
        against: Vec<Against>,
    },
    /// Too many states are possible at once.
    OutOfBudget {
        /// The line before which there are too many.
        line: usize,
    },
}

/// One possible state, and why the line cannot come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Against {
    /// The state, as every system can show it.
    pub view: View,
    /// Why not: a guard, or an outcome that is another.
    pub why: Vec<String>,
}

/// States that are shown for a line that is rejected.
const SHOWN_MAX: usize = 3;
/// Reasons that are shown for each.
const REASONS_MAX: usize = 3;

/// Follows the log through the model.
pub fn validate<S: Study>(study: &S, events: &[Event], options: &Options<'_>) -> Verdict {
    let alphabet = named(study);
    let hidden: Vec<S::Action> = alphabet
        .iter()
        .filter(|(_, value)| {
            options.hidden.iter().any(|verb| verb_of(value) == Some(verb.as_str()))
        })
        .map(|(action, _)| *action)
        .collect();
    let mut states: Vec<S::State> = study.initial();
    let (mut steps, mut looks) = (0, 0);
    for event in events {
        if !close(study, &mut states, &hidden, options.states_max) {
            return Verdict::OutOfBudget { line: event.line };
        }
        let next = follow(study, &states, event, &alphabet);
        if next.is_empty() {
            let against = states.iter().take(SHOWN_MAX);
            return Verdict::Rejected {
                line: event.line,
                explained: steps + looks,
                states: states.len(),
                against: against.map(|state| object(study, state, event, &alphabet)).collect(),
            };
        }
        if event.is_step() {
            steps += 1
        } else {
            looks += 1
        }
        states = next;
    }
    Verdict::Accepted { steps, looks, states: states.len() }
}

/// The study's actions, as they stand in logs.
fn named<S: Study>(study: &S) -> Vec<(S::Action, Value)> {
    let name = |action| (action, serde_json::to_value(action).unwrap_or(Value::Null));
    study.alphabet().into_iter().map(name).collect()
}

/// The verbs of the study's actions, in the alphabet's order.
pub fn verbs<S: Study>(study: &S) -> Vec<String> {
    let mut verbs = Vec::new();
    for (_, action) in named(study) {
        if let Some(verb) = verb_of(&action)
            && verbs.iter().all(|known| known != verb)
        {
            verbs.push(verb.to_owned());
        }
    }
    verbs
}

/// The name of an action without what it is about.
fn verb_of(action: &Value) -> Option<&str> {
    match action {
        Value::String(verb) => Some(verb),
        Value::Object(fields) => fields.keys().next().map(String::as_str),
        _ => None,
    }
}

/// Adds what hidden steps lead to; `false` when there are too many.
fn close<S: Study>(
    study: &S,
    states: &mut Vec<S::State>,
    hidden: &[S::Action],
    states_max: usize,
) -> bool {
    let mut met: HashSet<S::State> = states.iter().cloned().collect();
    let mut at = 0;
    while at < states.len() {
        for &action in hidden {
            if let Ok((_, next)) = study.step(&states[at], action)
                && met.insert(next.clone())
            {
                states.push(next);
            }
        }
        if states.len() > states_max {
            return false;
        }
        at += 1;
    }
    true
}

/// The states after the event, in the order of those before and of the alphabet.
fn follow<S: Study>(
    study: &S,
    states: &[S::State],
    event: &Event,
    alphabet: &[(S::Action, Value)],
) -> Vec<S::State> {
    let mut next = Vec::new();
    let mut met = HashSet::new();
    let mut add = |state: S::State| {
        if shows(&study.view(&state), event) && met.insert(state.clone()) {
            next.push(state);
        }
    };
    for state in states {
        if !event.is_step() {
            add(state.clone());
            continue;
        }
        for (action, _) in alphabet.iter().filter(|(_, value)| event.is_action(value)) {
            if let Ok((outcome, after)) = study.step(state, *action)
                && event.is_outcome(&outcome)
            {
                add(after);
            }
        }
    }
    next
}

fn shows(view: &View, event: &Event) -> bool {
    let shown = |(what, value): (&String, &String)| {
        view.iter().any(|(known, fact)| known == what && fact == value)
    };
    event.view.iter().all(shown)
}

/// Why the event cannot come next in this state.
fn object<S: Study>(
    study: &S,
    state: &S::State,
    event: &Event,
    alphabet: &[(S::Action, Value)],
) -> Against {
    let facts_of = |state: &S::State| {
        let view = study.view(state);
        let others = view.into_iter().filter_map(|(what, fact)| {
            let logged = event.view.get(&what)?;
            (*logged != fact).then(|| format!("{what} is {fact}, and the log has {logged}"))
        });
        others.collect::<Vec<_>>().join(", ")
    };
    let mut why = Vec::new();
    let meant = alphabet.iter().filter(|(_, value)| event.is_action(value));
    for (action, _) in meant.filter(|_| event.is_step()) {
        why.push(match study.step(state, *action) {
            Err(Blocked(guard)) => format!("{} is not enabled because {guard}", words(action)),
            Ok((outcome, _)) if !event.is_outcome(&outcome) => {
                format!("{} is answered with {}", words(action), words(&outcome))
            }
            Ok((_, after)) => format!("after {} {}", words(action), facts_of(&after)),
        });
    }
    if !event.is_step() {
        why.push(facts_of(state));
    } else if why.is_empty() {
        why.push("the study has no such action at this scope".to_owned());
    }
    let more = why.len().saturating_sub(REASONS_MAX);
    why.truncate(REASONS_MAX);
    if more > 0 {
        why.push(format!("and {more} more actions that the line may mean"));
    }
    Against { view: study.view(state), why }
}

#[cfg(test)]
mod tests {
    use statusquo_model::{family::Family, studies::chardev::Chardev};

    use super::*;

    fn run(log: &str, hidden: &[&str]) -> Verdict {
        let named =
            |name: &str| Chardev::designs().iter().find(|known| known.name == name).unwrap();
        let null = Chardev::scopes().iter().find(|known| known.name == "null").unwrap();
        let study = Chardev::study(named("ours"), null);
        let hidden: Vec<String> = hidden.iter().map(|verb| (*verb).to_owned()).collect();
        let events = read_log(&study, log.as_bytes()).unwrap();
        validate(&study, &events, &Options { hidden: &hidden, states_max: 1000 })
    }

    #[test]
    fn what_the_model_can_show_is_accepted() {
        let log = concat!(
            r#"{"action":"cont"}"#,
            "\n",
            r#"{"action":"driver-init","outcome":{"port0":{"announced":true}}}"#,
            "\n",
            r#"{"action":{"guest-open":{}}}"#,
            "\n",
            r#"{"view":{"port0 management was told":"yes"}}"#,
            "\n",
        );
        assert_eq!(run(log, &[]), Verdict::Accepted { steps: 3, looks: 1, states: 1 });
        // An outcome alone is what an observer sees who does not see the cause.
        let log = "{\"outcome\":{\"port0\":{\"management-told\":[\"opened\"]}}}\n";
        assert!(matches!(run(log, &["cont", "driver-init"]), Verdict::Accepted { steps: 1, .. }));
    }

    #[test]
    fn the_guard_that_blocks_is_named() {
        let log = "{\"action\":\"cont\"}\n\n{\"action\":{\"guest-open\":{\"port\":0}}}\n";
        let Verdict::Rejected { line, explained, states, against } = run(log, &[]) else {
            panic!("it cannot be a run")
        };
        assert_eq!((line, explained, states), (3, 1, 1));
        assert_eq!(
            against[0].why,
            ["guest-open{port: 0} is not enabled because the guest has no driver"]
        );
        assert!(against[0].view.contains(&("running".to_owned(), "yes".to_owned())));
        // The driver may have been set up unseen.
        assert!(matches!(run(log, &["driver-init"]), Verdict::Accepted { .. }));
    }

    #[test]
    fn another_outcome_and_another_fact_are_named() {
        let why = |log: &str| match run(log, &[]) {
            Verdict::Rejected { against, .. } => against[0].why.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            why("{\"action\":{\"plug\":{}},\"outcome\":{\"reply\":\"ok\"}}\n"),
            ["plug{port: 0} is answered with reply duplicate-device"]
        );
        assert_eq!(
            why("{\"action\":\"cont\",\"view\":{\"running\":\"no\"}}\n"),
            ["after cont running is yes, and the log has no"]
        );
        assert_eq!(why("{\"view\":{\"driver\":\"yes\"}}\n"), ["driver is no, and the log has yes"]);
        assert_eq!(
            why("{\"action\":{\"guest-open\":{\"port\":7}}}\n"),
            ["the study has no such action at this scope"]
        );
    }
}
