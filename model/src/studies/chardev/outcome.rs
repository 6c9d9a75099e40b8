//! What everybody gets back from one step.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The reply to the acting party, and per port what the observers see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Outcome {
    /// What the acting party gets.
    pub reply: Reply,
    /// What is seen at port 0.
    #[serde(default, skip_serializing_if = "Seen::is_nothing")]
    pub port0: Seen,
    /// What is seen at port 1.
    #[serde(default, skip_serializing_if = "Seen::is_nothing")]
    pub port1: Seen,
    /// What is seen at port 2.
    #[serde(default, skip_serializing_if = "Seen::is_nothing")]
    pub port2: Seen,
}

impl Outcome {
    /// All that is seen of a QEMU that crashes.
    pub fn died() -> Self {
        Outcome { reply: Reply::Died, ..Outcome::default() }
    }

    /// What is seen at a port.
    #[inline]
    pub fn seen(&self, port: usize) -> &Seen {
        match port {
            0 => &self.port0,
            1 => &self.port1,
            _ => &self.port2,
        }
    }

    /// The same, to be added to.
    #[inline]
    pub fn seen_mut(&mut self, port: usize) -> &mut Seen {
        match port {
            0 => &mut self.port0,
            1 => &mut self.port1,
            _ => &mut self.port2,
        }
    }
}

/// What the acting party gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done, or taken.
    #[default]
    Ok,
    /// Refused, class `DeviceNotFound`: there is no such device.
    DeviceNotFound,
    /// Refused: `Duplicate device ID`.
    DuplicateDevice,
    /// Refused: `Chardev user does not support chardev hotswap`.
    HotswapNotSupported,
    /// Nothing there to read.
    Nothing,
    /// None, nor ever again: QEMU has crashed.
    Died,
    /// What `query-chardev` says.
    Chardev {
        /// The file name does not begin with `disconnected:`.
        connected: bool,
        /// `frontend-open`.
        frontend_open: bool,
    },
}

/// What the observers of one port see in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Seen {
    /// The guest learns that the port exists, or exists anew.
    #[serde(default, skip_serializing_if = "is_false")]
    pub announced: bool,
    /// The guest is told of its host: `PORT_OPEN`.
    #[serde(default, skip_serializing_if = "Edges::is_empty", with = "connected")]
    pub guest_told: Edges,
    /// Management is told of the guest: `VSERPORT_CHANGE`.
    #[serde(default, skip_serializing_if = "Edges::is_empty", with = "opened")]
    pub management_told: Edges,
    /// The host, or the agent, finds itself connected or cut off, without having done it.
    #[serde(default, skip_serializing_if = "Edges::is_empty", with = "connected")]
    pub host_sees: Edges,
    /// Transmit descriptors given back to the guest.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub completed: u8,
    /// Elements that reach the guest.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub guest_receives: u8,
    /// Elements that reach the host, also the last ones before it is cut off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub host_receives: u8,
    /// Elements that reach the file, or the void that was asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stored: u8,
}

impl Seen {
    /// Nobody sees anything.
    pub fn is_nothing(&self) -> bool {
        *self == Seen::default()
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(value: &u8) -> bool {
    *value == 0
}

/// A short sequence of edges of one flag, oldest first: at most four.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Edges(u8);

impl Edges {
    /// How many fit.
    pub const MAX: u32 = 4;

    /// Adds one edge. More than [`Edges::MAX`] in one step is a defect of the study.
    #[inline]
    pub fn push(&mut self, up: bool) {
        debug_assert!(self.0 < 1 << 6, "more edges in one step than were ever needed");
        self.0 = self.0 << 2 | 2 | u8::from(up);
    }

    /// No edge.
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Oldest first.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = bool> {
        (0..Self::MAX)
            .rev()
            .map(move |at| self.0 >> (2 * at) & 3)
            .filter(|edge| *edge != 0)
            .map(|edge| edge == 3)
    }

    fn write<S: Serializer>(self, names: [&str; 2], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|up| names[usize::from(up)]))
    }

    fn read<'de, D: Deserializer<'de>>(
        names: [&str; 2],
        deserializer: D,
    ) -> Result<Self, D::Error> {
        use serde::de::Error;
        let words = Vec::<String>::deserialize(deserializer)?;
        if words.len() > Self::MAX as usize {
            return Err(D::Error::custom("more than four notices in one step"));
        }
        let mut edges = Edges::default();
        for word in words {
            match names.iter().position(|name| *name == word) {
                Some(at) => edges.push(at == 1),
                None => {
                    let [down, up] = names;
                    return Err(D::Error::custom(format!(
                        "expected `{up}` or `{down}`, found `{word}`"
                    )));
                }
            }
        }
        Ok(edges)
    }
}

impl std::fmt::Debug for Edges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl FromIterator<bool> for Edges {
    fn from_iter<T: IntoIterator<Item = bool>>(edges: T) -> Self {
        let mut all = Edges::default();
        edges.into_iter().for_each(|up| all.push(up));
        all
    }
}

macro_rules! edge_words {
    ($module:ident, $down:literal, $up:literal) => {
        mod $module {
            use super::*;

            pub(super) fn serialize<S: Serializer>(edges: &Edges, s: S) -> Result<S::Ok, S::Error> {
                edges.write([$down, $up], s)
            }

            pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Edges, D::Error> {
                Edges::read([$down, $up], d)
            }
        }
    };
}
edge_words!(connected, "disconnected", "connected");
edge_words!(opened, "closed", "opened");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::words;

    #[test]
    fn an_outcome_reads_as_what_was_seen() {
        let mut outcome = Outcome::default();
        outcome.seen_mut(0).guest_told = [false, true].into_iter().collect();
        outcome.seen_mut(1).management_told.push(true);
        outcome.seen_mut(1).completed = 2;
        let text = words(&outcome);
        assert_eq!(
            text,
            "{port0: {guest-told: [disconnected, connected]}, \
             port1: {completed: 2, management-told: [opened]}, reply: ok}"
        );
        let json = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&json).unwrap(), outcome);
    }

    #[test]
    fn an_unknown_word_is_refused() {
        let text = r#"{"reply":"ok","port0":{"guest-told":["opened"]}}"#;
        let error = serde_json::from_str::<Outcome>(text).unwrap_err().to_string();
        assert!(
            error.starts_with("expected `connected` or `disconnected`, found `opened`"),
            "{error}"
        );
    }
}
