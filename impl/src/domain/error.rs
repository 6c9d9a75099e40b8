//! What is wrong with a document, and where.

use std::fmt;

/// A problem and its place: the line and column in the text that was read, and the XPath.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Line in the text that was read, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// XPath of the element, `/` outside the root element.
    pub path: String,
    /// What is wrong there.
    pub problem: Problem,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}, {}: {}", self.line, self.column, self.path, self.problem)
    }
}

impl std::error::Error for Error {}

/// What can be wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text cannot be read at all.
    #[error("cannot be read: {0}")]
    Read(String),
    /// The tokens do not follow the grammar.
    #[error("{0}")]
    Syntax(String),
    /// More bytes than the limit.
    #[error("the document has more than {0} bytes")]
    TooLarge(usize),
    /// More nodes than the limit.
    #[error("the document has more than {0} nodes")]
    TooManyNodes(usize),
    /// Elements nested deeper than the limit.
    #[error("elements are nested deeper than {0}")]
    TooDeep(usize),
    /// An attribute's value longer than the limit.
    #[error("the value of attribute `{name}` has more than {limit} bytes")]
    AttributeTooLong {
        /// Whose value.
        name: String,
        /// The limit.
        limit: usize,
    },
    /// More attributes on one element than the limit.
    #[error("the element has more than {0} attributes")]
    TooManyAttributes(usize),
    /// A byte sequence that is no UTF-8.
    #[error("byte {0:#04x} is not UTF-8: save the file as UTF-8")]
    NotUtf8(u8),
    /// The declaration names another encoding.
    #[error("encoding `{0}` is not supported: save the file as UTF-8")]
    Encoding(String),
    /// `<!DOCTYPE`.
    #[error("document types are refused, because entities could expand without bound: remove it")]
    Doctype,
    /// `&name;` for a name that only a document type could define.
    #[error("entity `&{0};` is not defined: only lt, gt, amp, apos, quot and &#…; are")]
    Entity(String),
    /// A character that XML 1.0 does not allow.
    #[error("character U+{0:04X} is not allowed in XML")]
    Character(u32),
    /// A name that is no XML name.
    #[error("`{0}` is not a name")]
    Name(String),
    /// The same attribute twice.
    #[error("attribute `{0}` is given twice")]
    DuplicateAttribute(String),
    /// No element at all.
    #[error("the document has no element")]
    Empty,
    /// A second root element, or text outside of the root element.
    #[error("content after or before the root element")]
    OutsideRoot,
    /// Another root element than the one wanted.
    #[error("the root element is `{found}`, not `{expected}`")]
    Root {
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// An element that must be there.
    #[error("element `{0}` is missing")]
    MissingElement(&'static str),
    /// An attribute that must be there.
    #[error("attribute `{0}` is missing")]
    MissingAttribute(&'static str),
    /// A value that is not what its place wants.
    #[error("`{value}` is not {expected}")]
    Value {
        /// What was found.
        value: String,
        /// What is wanted, with its article.
        expected: &'static str,
    },
    /// A user alias that another device has.
    #[error("alias `{0}` is used by more than one device")]
    DuplicateAlias(String),
    /// A disk's target that another disk has.
    #[error("target {target} is given to two disks, {disks}: give each disk a target of its own")]
    DuplicateTarget {
        /// The target, in quotes.
        target: String,
        /// What the two are made of, and where the other is.
        disks: String,
    },
    /// A console that shows a serial port, and the two have different user aliases.
    #[error(
        "the console shows the serial port `{serial}`, so it cannot be called `{console}`: give both the same alias, or only one of them"
    )]
    AliasesDiffer {
        /// The alias of the serial port.
        serial: String,
        /// The alias of the console.
        console: String,
    },
    /// A serial console that is not the first console.
    #[error("only the first console can be a serial port")]
    SerialConsoleNotFirst,
    /// Two devices at one address.
    #[error("address {0} is used by more than one device")]
    AddressInUse(String),
    /// No room left for a device.
    #[error("no free {0} address is left")]
    NoAddress(&'static str),
    /// No room left for a device that is plugged, and what would make some.
    #[error("there is no {0}")]
    NoPlace(String),
    /// A document of another version of this program.
    #[error("version {found} is not known, only {supported} is: use the program that wrote it")]
    Version {
        /// What the document says.
        found: String,
        /// What is understood.
        supported: u32,
    },
    /// Nothing that this QEMU has can be the default.
    #[error(
        "no {what} is given, and this QEMU has none that could be the default ({wanted}): give its model"
    )]
    NoDefault {
        /// Of what.
        what: &'static str,
        /// The models that could be.
        wanted: String,
    },
    /// A device that this QEMU lacks.
    #[error("this QEMU has no device `{0}`: choose another model, or another QEMU")]
    NoDevice(String),
    /// Something that is not built here.
    #[error("{0} is not supported")]
    Unsupported(String),
}
