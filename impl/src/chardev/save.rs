//! What migrates: the front-end's state, as versioned JSON.
//!
//! Guest memory moves with the guest, and chardevs are made anew at the destination, as in QEMU. What
//! QEMU drops on the way travels here: input that no guest has read yet, and output that no host has.

use serde::{Deserialize, Serialize};

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;
/// The name of the format.
pub const FORMAT: &str = "statusquo-vmm-chardev";
/// The largest text that is read, in bytes.
pub const TEXT_MAX: usize = 64 << 20;

/// The whole state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Saved {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The machine has run.
    pub launched: bool,
    /// The guest's driver is set up.
    pub driver: bool,
    /// Ports that are gone and that the guest has not been told of.
    pub removed: Vec<u32>,
    /// The ports, by number.
    pub ports: Vec<SavedPort>,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SavedPort {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// The guest has it open.
    pub open: bool,
    /// `PORT_ADD` was sent.
    pub added: bool,
    /// `PORT_READY` was received.
    pub ready: bool,
    /// `PORT_NAME` was sent.
    pub named: bool,
    /// What the guest was last told of its host.
    pub guest_told: bool,
    /// What management was last told of the guest.
    pub management_told: bool,
    /// Bytes of the first element in the ring that are sent already.
    pub sent: usize,
    /// Input not yet delivered, in hexadecimal.
    #[serde(with = "hex")]
    pub unread: Vec<u8>,
    /// Output not yet sent, in hexadecimal.
    #[serde(with = "hex")]
    pub unsent: Vec<u8>,
}

/// Text that is no saved state, or not one for this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Not JSON, cut off, or not what it should be.
    #[error("line {line}, column {column}: {message}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// As the parser says it.
        message: String,
    },
    /// Something else.
    #[error("line 1, column 1: the format is `{found}`, expected `{FORMAT}`")]
    OtherFormat {
        /// What it says it is.
        found: String,
    },
    /// Written by another version.
    #[error("line 1, column 1: version {found}, this program reads version {VERSION}")]
    OtherVersion {
        /// Its version.
        found: u32,
    },
    /// Larger than any state.
    #[error("line 1, column 1: {0} bytes, more than a saved state has")]
    TooLarge(usize),
    /// The machines differ.
    #[error("the saved ports are {saved:?}, this machine has {here:?}")]
    OtherPorts {
        /// Numbers and names in the text.
        saved: Vec<(u32, String)>,
        /// Numbers and names here.
        here: Vec<(u32, String)>,
    },
}

/// Reads a saved state.
///
/// ```
/// use statusquo_vmm::chardev::save;
/// let error = save::parse("{\"format\":\n").unwrap_err();
/// assert_eq!(error.to_string(), "line 2, column 0: EOF while parsing a value");
/// ```
pub fn parse(text: &str) -> Result<Saved, LoadError> {
    if text.len() > TEXT_MAX {
        return Err(LoadError::TooLarge(text.len()));
    }
    let malformed = |error: serde_json::Error| {
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
        LoadError::Malformed {
            line: error.line().max(1),
            column: error.column(),
            message: message.to_owned(),
        }
    };
    // What another version wrote need not have this version's fields.
    let value: serde_json::Value = serde_json::from_str(text).map_err(malformed)?;
    if let Some(found) = value.get("format").and_then(serde_json::Value::as_str)
        && found != FORMAT
    {
        return Err(LoadError::OtherFormat { found: found.to_owned() });
    }
    if let Some(found) = value.get("version").and_then(serde_json::Value::as_u64)
        && found != u64::from(VERSION)
    {
        return Err(LoadError::OtherVersion { found: u32::try_from(found).unwrap_or(u32::MAX) });
    }
    serde_json::from_str(text).map_err(malformed)
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let pair = |pair: &[u8]| match *pair {
            [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
            _ => None,
        };
        text.as_bytes()
            .chunks(2)
            .map(pair)
            .collect::<Option<_>>()
            .ok_or_else(|| D::Error::custom("expected pairs of hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn saved(bytes: Vec<u8>, flags: [bool; 6], sent: usize) -> Saved {
        let [open, added, ready, named, guest_told, management_told] = flags;
        let port = SavedPort {
            id: 1,
            name: "org.example.0".to_owned(),
            open,
            added,
            ready,
            named,
            guest_told,
            management_told,
            sent,
            unread: bytes.clone(),
            unsent: bytes,
        };
        Saved {
            format: FORMAT.to_owned(),
            version: VERSION,
            launched: true,
            driver: true,
            removed: vec![2],
            ports: vec![port],
        }
    }

    proptest! {
        #[test]
        fn what_is_saved_is_read_back(bytes: Vec<u8>, flags: [bool; 6], sent: usize) {
            let saved = saved(bytes, flags, sent);
            prop_assert_eq!(parse(&serde_json::to_string(&saved).unwrap()), Ok(saved));
        }

        #[test]
        fn arbitrary_text_is_refused_with_a_place(text: String) {
            let error = parse(&text).unwrap_err().to_string();
            prop_assert!(error.starts_with("line ") && error.contains("column "), "{}", error);
        }

        #[test]
        fn a_state_that_was_cut_off_is_refused(cut in 0..200_usize) {
            let text = serde_json::to_string(&saved(vec![1, 2, 3], [true; 6], 0)).unwrap();
            let error = parse(&text[..cut.min(text.len() - 1)]).unwrap_err().to_string();
            prop_assert!(error.starts_with("line 1, column "), "{}", error);
        }
    }

    #[test]
    fn other_versions_and_formats_are_named() {
        let error = parse(r#"{"format":"statusquo-vmm-chardev","version":2,"new":1}"#).unwrap_err();
        assert_eq!(error.to_string(), "line 1, column 1: version 2, this program reads version 1");
        let error = parse(r#"{"format":"qcow2"}"#).unwrap_err();
        assert_eq!(error, LoadError::OtherFormat { found: "qcow2".to_owned() });
        let error = parse(
            r#"{"format":"statusquo-vmm-chardev","version":1,"launched":true,"driver":true,"removed":[],"ports":[{"id":1}]}"#,
        );
        assert!(error.unwrap_err().to_string().contains("missing field"));
    }
}
