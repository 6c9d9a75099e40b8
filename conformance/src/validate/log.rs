//! Logs on disk: JSON Lines, each line as much of one step as somebody saw.
//!
//! ```text
//! {"action":"cont"}
//! {"action":{"guest-open":{}},"outcome":{"reply":"ok"}}
//! {"outcome":{"port0":{"management-told":["opened"]}}}
//! {"view":{"running":"yes"}}
//! ```
//!
//! What a line leaves out may be anything. Keys beside these three are the writer's own: a time, a thread.

use std::{collections::BTreeMap, io::BufRead};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use statusquo_model::{
    catalogue::{self, UnknownName},
    study::Study,
};

use crate::trace::{TraceError, TraceErrorKind, lines};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where it stands, counted from 1.
    pub line: usize,
    /// What was done, or a part of it.
    action: Option<Value>,
    /// What was observed, or a part of it.
    outcome: Option<Value>,
    /// Facts at rest, after it.
    pub view: BTreeMap<String, String>,
}

/// A line that is no event, and where.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct LogError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub kind: LogErrorKind,
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogErrorKind {
    /// No line at all shows anything, so that every model would accept it.
    #[error(
        "the log has no event, so any design would accept it; a line is like `{{\"action\":…}}`"
    )]
    NoEvents,
    /// Not JSON, or not text.
    #[error(transparent)]
    Malformed(TraceErrorKind),
    /// It shows nothing.
    #[error("the line has none of `action`, `outcome` and `view`, so it would show nothing")]
    Nothing,
    /// A key that is nearly one of those that are looked at.
    #[error(transparent)]
    UnknownKey(UnknownName),
    /// A fact that the study does not have: it could never be so.
    #[error(transparent)]
    UnknownFact(UnknownName),
    /// A verb that the study does not have.
    #[error(transparent)]
    UnknownVerb(UnknownName),
}

#[derive(Deserialize)]
struct Line {
    action: Option<Value>,
    outcome: Option<Value>,
    #[serde(default)]
    view: BTreeMap<String, String>,
    /// What else was logged, a time say.
    #[serde(flatten)]
    other: BTreeMap<String, Value>,
}

/// What of a line is looked at.
const KEYS: [&str; 3] = ["action", "outcome", "view"];

impl Event {
    /// A step explains it, and not a look.
    pub fn is_step(&self) -> bool {
        self.action.is_some() || self.outcome.is_some()
    }

    pub(super) fn is_action(&self, action: &Value) -> bool {
        // Whatever else is left out, the verb is not.
        self.action.as_ref().is_none_or(|pattern| {
            super::verb_of(pattern) == super::verb_of(action) && is_part_of(pattern, action)
        })
    }

    pub(super) fn is_outcome<O: Serialize>(&self, outcome: &O) -> bool {
        let Some(pattern) = &self.outcome else { return true };
        serde_json::to_value(outcome).is_ok_and(|outcome| is_part_of(pattern, &outcome))
    }
}

/// Objects may have more than the pattern says; all else is equal. What serialises to nothing when there
/// is nothing is `null`, or empty, in a pattern.
fn is_part_of(pattern: &Value, value: &Value) -> bool {
    match (pattern, value) {
        (Value::Object(pattern), Value::Object(value)) => {
            pattern.iter().all(|(key, pattern)| match value.get(key) {
                Some(value) => is_part_of(pattern, value),
                None => is_empty(pattern),
            })
        }
        _ => pattern == value,
    }
}

fn is_empty(pattern: &Value) -> bool {
    match pattern {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Reads a log of this study. Empty lines are passed over.
///
/// # Errors
/// Where a line is no event of the study, or where there is none.
pub fn read_log<S: Study>(study: &S, from: impl BufRead) -> Result<Vec<Event>, LogError> {
    let verbs = super::verbs(study);
    let initial = study.initial().into_iter().next();
    let facts = initial.map(|state| study.view(&state)).unwrap_or_default();
    let mut events = Vec::new();
    for text in lines(from) {
        let (line, text) = text.map_err(|TraceError { line, kind, .. }| LogError {
            line,
            kind: LogErrorKind::Malformed(kind),
        })?;
        if text.trim().is_empty() {
            continue;
        }
        let error = |kind| LogError { line, kind };
        let malformed = |why: serde_json::Error| {
            error(LogErrorKind::Malformed(TraceErrorKind::Malformed { message: why.to_string() }))
        };
        let Line { action, outcome, view, other } =
            serde_json::from_str(&text).map_err(malformed)?;
        // One that was misspelt would say nothing, and be accepted.
        let meant = other.keys().map(|key| catalogue::unknown("key", key, KEYS));
        if let Some(unknown) = meant.into_iter().find(|unknown| unknown.nearest.is_some()) {
            return Err(error(LogErrorKind::UnknownKey(unknown)));
        }
        let event = Event { line, action, outcome, view };
        if !event.is_step() && event.view.is_empty() {
            return Err(error(LogErrorKind::Nothing));
        }
        if let Some(verb) = event.action.as_ref().and_then(super::verb_of)
            && verbs.iter().all(|known| known != verb)
        {
            let known = verbs.iter().map(String::as_str);
            return Err(error(LogErrorKind::UnknownVerb(catalogue::unknown(
                "action", verb, known,
            ))));
        }
        if let Some(what) = event.view.keys().find(|what| facts.iter().all(|(it, _)| it != *what)) {
            let known = facts.iter().map(|(what, _)| what.as_str());
            return Err(error(LogErrorKind::UnknownFact(catalogue::unknown("fact", what, known))));
        }
        events.push(event);
    }
    if events.is_empty() {
        return Err(LogError { line: 1, kind: LogErrorKind::NoEvents });
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use statusquo_model::{
        family::Family,
        studies::chardev::{Chardev, Study},
    };

    use super::*;

    fn study() -> Study {
        Chardev::study(&Chardev::designs()[0], &Chardev::scopes()[1])
    }

    #[test]
    fn a_pattern_is_a_part() {
        assert!(is_part_of(&json!({ "a": 1 }), &json!({ "a": 1, "b": 2 })));
        assert!(is_part_of(&json!({ "a": {}, "b": null }), &json!({ "a": { "c": 1 } })));
        assert!(!is_part_of(&json!({ "b": 2 }), &json!({ "a": 1 })));
        assert!(!is_part_of(&json!(["x"]), &json!(["x", "y"])));
    }

    #[test]
    fn what_is_no_event_is_refused_with_its_line() {
        let refused = |log: &str| read_log(&study(), log.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            refused("\n\n"),
            "line 1: the log has no event, so any design would accept it; a line is like `{\"action\":…}`"
        );
        assert_eq!(
            refused("{\"action\":\"cont\"}\n{\"time\":1}\n"),
            "line 2: the line has none of `action`, `outcome` and `view`, so it would show nothing"
        );
        assert_eq!(
            refused("{\"action\":\"stopp\"}\n"),
            "line 1: no action is named `stopp`; did you mean `stop`?"
        );
        assert_eq!(
            refused("{\"view\":{\"runing\":\"yes\"}}\n"),
            "line 1: no fact is named `runing`; did you mean `running`?"
        );
        assert_eq!(
            refused("{\"time\":1,\"action\":\"cont\",\"outcom\":{\"reply\":\"nothing\"}}\n"),
            "line 1: no key is named `outcom`; did you mean `outcome`?"
        );
        assert!(refused("hello\n").starts_with("line 1: expected value"));
        assert_eq!(
            refused("{\"action\":"),
            "line 1: the file ends in the middle of this line: it was cut off"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_read(bytes: Vec<u8>) {
            drop(read_log(&study(), bytes.as_slice()));
        }
    }
}
