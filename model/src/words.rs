//! Actions and outcomes as a reader sees them: `guest-open{port: 0}`.

use serde::Serialize;
use serde_json::Value;

/// Renders a serialisable value compactly, by the names it serialises with.
///
/// ```
/// use serde::Serialize;
/// #[derive(Serialize)]
/// #[serde(rename_all = "kebab-case")]
/// enum Action { Stop, GuestOpen { port: u8 } }
/// assert_eq!(statusquo_model::words::words(&Action::Stop), "stop");
/// assert_eq!(statusquo_model::words::words(&Action::GuestOpen { port: 0 }), "guest-open{port: 0}");
/// ```
///
/// A value that JSON cannot hold (a map with keys that are not strings) is named as such.
pub fn words<T: Serialize + ?Sized>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(value) => render(&value),
        Err(error) => format!("<not serialisable: {error}>"),
    }
}

/// The same for a value that was read from a trace.
pub fn render(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", join(items.iter().map(render))),
        Value::Object(fields) => {
            let mut pairs = fields.iter();
            match (pairs.next(), pairs.next()) {
                // An enum variant; a struct with a single field reads as well this way.
                (Some((name, Value::Object(fields))), None) => format!("{name}{}", braces(fields)),
                (Some((name, Value::String(inner))), None) => format!("{name} {inner}"),
                _ => braces(fields),
            }
        }
    }
}

fn braces(fields: &serde_json::Map<String, Value>) -> String {
    format!("{{{}}}", join(fields.iter().map(|(name, inner)| format!("{name}: {}", render(inner)))))
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: Value, expect: &str) {
        assert_eq!(render(&value), expect);
    }

    #[test]
    fn names_stand_before_fields() {
        check(json!("stop"), "stop");
        check(json!({"detach": {"by": {"alias": "console0"}}}), "detach{by: alias console0}");
        check(json!({"migrate": {"host": true, "run": false}}), "migrate{host: true, run: false}");
        check(
            json!({"reply": "ok", "events": ["open", "closed"]}),
            "{events: [open, closed], reply: ok}",
        );
        check(
            json!({"reply": {"chardev": {"connected": true}}}),
            "reply{chardev: {connected: true}}",
        );
        check(json!({}), "{}");
    }
}
