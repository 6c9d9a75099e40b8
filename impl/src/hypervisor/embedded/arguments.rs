//! What QEMU says about the arguments of a command before it looks at their meaning.

use serde_json::Value;

use crate::hypervisor::{Command, QmpError, monitor::Properties};

/// The value of an argument that must be there.
pub(super) fn required<'a>(
    arguments: &'a Properties,
    name: &str,
    shown: &str,
) -> Result<&'a Value, QmpError> {
    arguments.get(name).ok_or_else(|| QmpError::generic(format!("Parameter '{shown}' is missing")))
}

/// The text of an argument that must be there.
pub(super) fn text<'a>(command: &'a Command, name: &str) -> Result<&'a str, QmpError> {
    as_text(required(&command.arguments, name, name)?, name)
}

/// A value that must be a text.
pub(super) fn as_text<'a>(value: &'a Value, shown: &str) -> Result<&'a str, QmpError> {
    let refusal =
        || QmpError::generic(format!("Invalid parameter type for '{shown}', expected: string"));
    value.as_str().ok_or_else(refusal)
}

/// Refuses arguments that the command does not have.
pub(super) fn only(command: &Command, names: &[&str]) -> Result<(), QmpError> {
    match command.arguments.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(QmpError::generic(format!("Parameter '{name}' is unexpected"))),
        None => Ok(()),
    }
}

/// QEMU's own syntax of ids: a letter, then letters, digits, `-`, `.` and `_`.
pub(super) fn is_identifier(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_alphabetic())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

/// Refuses what is no id.
pub(super) fn identifier(id: &str) -> Result<(), QmpError> {
    if is_identifier(id) {
        Ok(())
    } else {
        Err(QmpError::generic("Parameter 'id' expects an identifier"))
    }
}

/// `device_add` takes a number for a text and a text for a number.
pub(super) fn loose(properties: &Properties, name: &str) -> Option<String> {
    match properties.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Bool(true) => Some("on".to_owned()),
        Value::Bool(false) => Some("off".to_owned()),
        other => Some(other.to_string()),
    }
}

/// A number, in whichever way.
pub(super) fn number(properties: &Properties, name: &str) -> Result<Option<u32>, QmpError> {
    let Some(text) = loose(properties, name) else { return Ok(None) };
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map(Some).map_err(|_| QmpError::generic(format!("Parameter '{name}' expects integer")))
}
