//! One attribute, in every place that may hold it.

use serde::{Deserialize, Serialize};

/// What the attribute may be. Three values are enough: two that are, or were, the default, and one that
/// only a user can want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// The default of the older release.
    A,
    /// The default of the newer release, where the two differ.
    B,
    /// Nobody's default.
    C,
}

impl Value {
    /// All of them.
    pub const ALL: [Value; 3] = [Value::A, Value::B, Value::C];
}

/// The attribute in a text or in a daemon's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Field {
    /// Left open.
    Unset,
    /// There, and nothing says who put it there.
    Set(Value),
    /// There, with the mark that a daemon chose it. Only policies with provenance write this.
    Auto(Value),
}

impl Field {
    /// Everything a field may hold, in a fixed order.
    pub const ALL: [Field; 7] = [
        Field::Unset,
        Field::Set(Value::A),
        Field::Set(Value::B),
        Field::Set(Value::C),
        Field::Auto(Value::A),
        Field::Auto(Value::B),
        Field::Auto(Value::C),
    ];

    /// The value, whoever chose it.
    pub fn value(self) -> Option<Value> {
        match self {
            Field::Unset => None,
            Field::Set(value) | Field::Auto(value) => Some(value),
        }
    }

    /// What a reader takes for somebody's choice.
    pub fn chosen(self) -> Option<Value> {
        match self {
            Field::Set(value) => Some(value),
            Field::Unset | Field::Auto(_) => None,
        }
    }

    /// Does a definition that says this lie about a process that has `truth`? Saying nothing is no lie.
    pub fn is_true_of(self, truth: Value) -> bool {
        self.value().is_none_or(|value| value == truth)
    }
}

/// A libvirt, as far as this attribute is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Release {
    /// Does not know the attribute: refuses texts that have it, and every guest gets [`Value::A`].
    Ancient,
    /// Knows it.
    Old,
    /// Knows it, and may have another default.
    New,
}

impl Release {
    /// All of them, oldest first.
    pub const ALL: [Release; 3] = [Release::Ancient, Release::Old, Release::New];
}

/// How the default depends on what is not carried along: release, QEMU, host, order of devices. All of it
/// is called release here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Default {
    /// Everywhere the same.
    Constant,
    /// [`Value::A`] until the newer release, [`Value::B`] from then on.
    Changes,
}

impl Default {
    /// What a daemon of this release puts where nothing stands.
    pub fn of(self, release: Release) -> Value {
        match (self, release) {
            (Default::Changes, Release::New) => Value::B,
            _ => Value::A,
        }
    }
}
