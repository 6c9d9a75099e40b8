//! How much a document may ask for.

/// Bounds on a document, so that reading it takes bounded memory and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole document. Nothing beyond them is read. At most 1 GiB.
    pub bytes: usize,
    /// Nested elements.
    pub depth: usize,
    /// Elements, texts, comments and the like.
    pub nodes: usize,
    /// Attributes of one element.
    pub attributes: usize,
    /// Bytes of one attribute's value, as written.
    pub attribute_bytes: usize,
}

impl Default for Limits {
    /// The depth is that of libxml2 (`xmlParserMaxDepth`), the bytes four times the longest string that libvirt's
    /// protocol carries (`REMOTE_STRING_MAX`).
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            depth: 256,
            nodes: 1 << 20,
            attributes: 256,
            attribute_bytes: 1 << 20,
        }
    }
}

/// Offsets are kept in 32 bits, and edits append to the text.
pub(super) const BYTES_MAX: usize = 1 << 30;
