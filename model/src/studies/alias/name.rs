//! Aliases.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The name of a device: `serial0`, `ua-a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alias {
    /// What it begins with.
    pub stem: Stem,
    /// What it ends with; the user's are lettered.
    pub number: u8,
}

/// What an alias begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stem {
    /// `serial`
    Serial,
    /// `console`
    Console,
    /// `channel`
    Channel,
    /// `rng`
    Rng,
    /// `virtio-serial`, a controller.
    Controller,
    /// `ua-`: the user's own.
    User,
}

impl Stem {
    const ALL: [Stem; 6] =
        [Stem::Serial, Stem::Console, Stem::Channel, Stem::Rng, Stem::Controller, Stem::User];

    fn text(self) -> &'static str {
        match self {
            Stem::Serial => "serial",
            Stem::Console => "console",
            Stem::Channel => "channel",
            Stem::Rng => "rng",
            Stem::Controller => "pci.",
            Stem::User => "ua-",
        }
    }
}

impl Alias {
    /// An alias of this class and number.
    pub const fn new(stem: Stem, number: u8) -> Self {
        Alias { stem, number }
    }

    /// May a user give it?
    pub fn is_user(self) -> bool {
        self.stem == Stem::User
    }
}

/// `serial0`
pub const SERIAL0: Alias = Alias::new(Stem::Serial, 0);
/// `console0`
pub const CONSOLE0: Alias = Alias::new(Stem::Console, 0);
/// `ua-a`
pub const UA_A: Alias = Alias::new(Stem::User, 0);
/// `ua-b`
pub const UA_B: Alias = Alias::new(Stem::User, 1);

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stem {
            Stem::User => write!(f, "ua-{}", char::from(b'a' + self.number % 26)),
            stem => write!(f, "{}{}", stem.text(), self.number),
        }
    }
}

/// Not an alias of this study.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no alias of this study")]
pub struct NotAnAlias(String);

impl FromStr for Alias {
    type Err = NotAnAlias;

    fn from_str(text: &str) -> Result<Self, NotAnAlias> {
        let known = Stem::ALL.into_iter().find_map(|stem| {
            let rest = text.strip_prefix(stem.text())?;
            let number = match (stem, rest.as_bytes()) {
                (Stem::User, &[letter @ b'a'..=b'z']) => letter - b'a',
                (Stem::User, _) => return None,
                _ => rest.parse().ok()?,
            };
            let alias = Alias { stem, number };
            (alias.to_string() == text).then_some(alias)
        });
        known.ok_or_else(|| NotAnAlias(text.chars().take(64).collect()))
    }
}

impl Serialize for Alias {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Alias {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_reads_as_it_is_written() {
        for text in ["serial0", "console1", "pci.0", "rng17", "ua-a", "ua-z"] {
            assert_eq!(text.parse::<Alias>().unwrap().to_string(), text);
        }
        for text in
            ["", "serial", "serial00", "serial256", "serial-1", "ua-", "ua-ab", "ua-A", "net0"]
        {
            let error = text.parse::<Alias>().unwrap_err();
            assert_eq!(error.to_string(), format!("`{text}` is no alias of this study"));
        }
    }
}
