//! The adapter protocol, version 1: one JSON value per line, one answer per request.
//!
//! The words of it stand in `docs/guide/adapter.md` and, for programs, in `schema/adapter.schema.json`.

use serde::Serialize;
use serde_json::Value;

use crate::replay::Fault;

/// The version that is spoken.
pub const VERSION: u32 = 1;

/// No line of an adapter is longer, in bytes.
pub const LINE_MAX: usize = 1 << 20;

/// What a system is asked to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Names {
    /// The study's name.
    pub study: String,
    /// The design whose behaviour is expected of it.
    pub design: String,
    /// The scope's name.
    pub scope: String,
}

/// What an adapter is asked.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Be in the initial state, whatever was before.
    Reset {
        /// The version of the protocol.
        protocol: u32,
        /// Of what.
        #[serde(flatten)]
        names: Names,
    },
    /// Perform this action, one of the study's.
    Apply(Value),
    /// Show what can be seen at rest.
    View {},
    /// Clean up and end.
    Bye {},
}

/// A request with its number, as it goes over the line.
#[derive(Debug, Serialize)]
pub(super) struct Numbered<'r> {
    pub(super) id: u64,
    #[serde(flatten)]
    pub(super) request: &'r Request,
}

/// What an adapter answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To `reset`: the initial state is there. The adapter says what it is.
    Ready {
        /// The version of the protocol that it speaks.
        protocol: u64,
        /// What it drives, with its version.
        name: String,
    },
    /// To `apply`: what was observed, in the study's words.
    Outcome(Value),
    /// To `apply`: the world cannot do this now, and why.
    Blocked(String),
    /// To `view`: facts at rest, by the study's names for them.
    View(Vec<(String, String)>),
    /// To `bye`.
    Bye,
    /// To anything: it cannot be answered, and why.
    Error(String),
}

impl Answer {
    /// The answer in one line, and the number of the request that it is to. An error to something that
    /// was no request has no number.
    pub(super) fn parse(line: &str) -> Result<(Option<u64>, Answer), Fault> {
        let garbage = |what: &str| Fault::Garbage(format!("{what}: {}", clip(line)));
        let value: Value = serde_json::from_str(line).map_err(|error| {
            garbage(&format!("it is not JSON (column {})", error.column().max(1)))
        })?;
        let Value::Object(mut fields) = value else {
            return Err(garbage("it is not a JSON object"));
        };
        let id = match fields.remove("id") {
            None | Some(Value::Null) => None,
            Some(id) => Some(
                id.as_u64().ok_or_else(|| garbage("its `id` is not the number of a request"))?,
            ),
        };
        let known = ["ready", "outcome", "blocked", "view", "bye", "error"];
        let mut bodies = known.iter().filter_map(|key| Some((*key, fields.remove(*key)?)));
        let (Some((key, body)), None) = (bodies.next(), bodies.next()) else {
            return Err(garbage(&format!("it has not exactly one of {}", known.join(", "))));
        };
        let text = |body: &Value| body.as_str().map(str::to_owned);
        let answer = match key {
            "ready" => {
                let protocol = body.get("protocol").and_then(Value::as_u64);
                let name = body.get("name").and_then(Value::as_str);
                let (Some(protocol), Some(name)) = (protocol, name) else {
                    return Err(garbage("its `ready` lacks `protocol` or `name`"));
                };
                Answer::Ready { protocol, name: clip(name) }
            }
            "outcome" => Answer::Outcome(body),
            "blocked" => Answer::Blocked(
                text(&body).ok_or_else(|| garbage("its `blocked` is not a string"))?,
            ),
            "view" => {
                let Value::Object(facts) = body else {
                    return Err(garbage("its `view` is not an object"));
                };
                let fact = |(what, value): (String, Value)| match value {
                    Value::String(value) => Ok((what, value)),
                    _ => Err(garbage("a fact of its `view` is not a string")),
                };
                Answer::View(facts.into_iter().map(fact).collect::<Result<_, _>>()?)
            }
            "bye" => Answer::Bye,
            _ => Answer::Error(text(&body).ok_or_else(|| garbage("its `error` is not a string"))?),
        };
        match (id, &answer) {
            (None, Answer::Error(_)) | (Some(_), _) => Ok((id, answer)),
            (None, _) => Err(garbage("it has no `id`")),
        }
    }

    /// The answer in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Answer::Ready { .. } => "ready",
            Answer::Outcome(_) => "outcome",
            Answer::Blocked(_) => "blocked",
            Answer::View(_) => "view",
            Answer::Bye => "bye",
            Answer::Error(_) => "error",
        }
    }
}

/// As much of foreign text as a message has room for, on one line.
pub(crate) fn clip(text: &str) -> String {
    const CHARS_MAX: usize = 160;
    let mut shown = String::new();
    for char in text.chars().take(CHARS_MAX) {
        if char.is_control() { shown.extend(char.escape_debug()) } else { shown.push(char) }
    }
    if text.chars().nth(CHARS_MAX).is_some() { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_one_line_each() {
        let names = Names {
            study: "chardev".to_owned(),
            design: "ours".to_owned(),
            scope: "null".to_owned(),
        };
        let requests = [
            Request::Reset { protocol: VERSION, names },
            Request::Apply(serde_json::json!({ "query": { "port": 0 } })),
            Request::View {},
            Request::Bye {},
        ];
        let lines: Vec<String> = (1..)
            .zip(&requests)
            .map(|(id, request)| serde_json::to_string(&Numbered { id, request }).unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                r#"{"id":1,"reset":{"protocol":1,"study":"chardev","design":"ours","scope":"null"}}"#,
                r#"{"id":2,"apply":{"query":{"port":0}}}"#,
                r#"{"id":3,"view":{}}"#,
                r#"{"id":4,"bye":{}}"#,
            ]
        );
    }

    #[test]
    fn what_is_no_answer_is_named() {
        let wrong = |line: &str| Answer::parse(line).unwrap_err().to_string();
        let of = |what: &str, line: &str| {
            assert_eq!(wrong(line), format!("the system's answer makes no sense: {what}: {line}"));
        };
        of("it is not JSON (column 1)", "hello");
        of("it is not a JSON object", "[1]");
        of("its `id` is not the number of a request", r#"{"id":"1","bye":{}}"#);
        let all = "it has not exactly one of ready, outcome, blocked, view, bye, error";
        of(all, r#"{"id":1}"#);
        of(all, r#"{"id":1,"bye":{},"error":"no"}"#);
        of("its `ready` lacks `protocol` or `name`", r#"{"id":1,"ready":{"protocol":1}}"#);
        of("its `blocked` is not a string", r#"{"id":1,"blocked":1}"#);
        of("its `view` is not an object", r#"{"id":1,"view":[]}"#);
        of("a fact of its `view` is not a string", r#"{"id":1,"view":{"running":true}}"#);
        of("its `error` is not a string", r#"{"id":1,"error":{}}"#);
        of("it has no `id`", r#"{"outcome":{}}"#);
        assert_eq!(
            Answer::parse(r#"{"error":"no","more":1}"#),
            Ok((None, Answer::Error("no".to_owned())))
        );
    }

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(clip("a\nb\u{1b}[31m\"'"), "a\\nb\\u{1b}[31m\"'");
        assert_eq!(clip(&"x".repeat(200)).chars().count(), 161);
    }

    proptest! {
        #[test]
        fn arbitrary_lines_are_answered_or_refused(line in ".*") {
            drop(Answer::parse(&line));
        }
    }
}
