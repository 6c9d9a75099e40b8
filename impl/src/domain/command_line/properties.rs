//! The properties of one device or backend.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// A JSON object that is filled in.
#[derive(Clone, Debug)]
pub(super) struct Properties(Map<String, Value>);

impl From<Map<String, Value>> for Properties {
    fn from(map: Map<String, Value>) -> Self {
        Self(map)
    }
}

impl Properties {
    /// A device of this driver.
    pub(super) fn new(driver: &str) -> Self {
        Self(Map::new()).with("driver", driver)
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.put(name, value);
        self
    }

    pub(super) fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    /// If there is one.
    pub(super) fn some(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    /// A text of the definition, if there is one.
    pub(super) fn text(&mut self, name: &str, value: Option<Cow<'_, str>>) {
        self.some(name, value.map(Cow::into_owned));
    }

    /// A number that 0 leaves to QEMU.
    pub(super) fn positive(&mut self, name: &str, value: Option<u32>) {
        self.some(name, value.filter(|&value| value != 0));
    }

    /// `on` or `off`, `yes` or `no`; any other word leaves it to QEMU.
    pub(super) fn switch(&mut self, name: &str, value: Option<Cow<'_, str>>) {
        self.some(name, value.and_then(|value| is_on(&value)));
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// `virTristateSwitch`, `virTristateBool`
pub(super) fn is_on(value: &str) -> Option<bool> {
    match value {
        "on" | "yes" => Some(true),
        "off" | "no" => Some(false),
        _ => None,
    }
}
