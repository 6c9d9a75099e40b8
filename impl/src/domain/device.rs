//! One device of a domain.

use std::borrow::Cow;

use super::{
    Address, Class, Domain, Error, Problem,
    tree::{Document, NodeId},
};

/// A device, as the document has it now.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    pub(super) domain: &'a Domain,
    /// Its element.
    pub node: NodeId,
    /// What it is.
    pub class: Class,
}

impl<'a> Device<'a> {
    fn document(self) -> &'a Document {
        self.domain.document()
    }

    /// The attribute at a short path such as `target/@bus`.
    pub fn get(self, path: &str) -> Option<Cow<'a, str>> {
        self.document().get(self.node, path)
    }

    /// What kind of its class: the type, the model, or the bus of a disk.
    pub fn kind(self) -> Cow<'a, str> {
        let found = match self.class {
            Class::Disk => Some(disk_bus(self.document(), self.node)),
            Class::Interface => self.get("model/@type"),
            Class::Serial | Class::Console | Class::Channel | Class::Parallel => {
                self.get("target/@type")
            }
            Class::Video => self.get("model/@type"),
            Class::Rng | Class::Memballoon | Class::Sound | Class::Watchdog | Class::Memory => {
                self.get("@model")
            }
            _ => self.get("@type").or_else(|| self.get("@model")),
        };
        found.unwrap_or_default()
    }

    /// The backend of a character device: the attribute `type` of its element.
    pub fn backend(self) -> Cow<'a, str> {
        self.get("@type").unwrap_or_default()
    }

    /// The alias.
    pub fn alias(self) -> Option<Cow<'a, str>> {
        self.get("alias/@name")
    }

    /// The address.
    pub fn address(self) -> Result<Option<Address>, Error> {
        Address::of(self.document(), self.node)
    }

    /// The element as XML.
    pub fn to_xml(self) -> String {
        self.document().fragment(self.node)
    }

    /// An error at this device.
    pub fn error(self, problem: Problem) -> Error {
        self.document().error(self.node, problem)
    }

    /// Controllers: the index, if it is given.
    pub fn index(self) -> Result<Option<u32>, Error> {
        self.document().number(self.node, "@index")
    }
}

/// The bus of a disk, with the default of `virDomainDiskDefPostParse`.
pub(super) fn disk_bus(document: &Document, disk: NodeId) -> Cow<'_, str> {
    if let Some(bus) = document.get(disk, "target/@bus") {
        return bus;
    }
    if document.has(disk, "@device", "floppy") {
        return Cow::Borrowed("fdc");
    }
    let target = document.get(disk, "target/@dev").unwrap_or_default();
    let known = [("hd", "ide"), ("sd", "scsi"), ("vd", "virtio"), ("xvd", "xen"), ("ubd", "uml")];
    let bus = known.into_iter().find(|(prefix, _)| target.starts_with(prefix));
    Cow::Borrowed(bus.map_or("ide", |(_, bus)| bus))
}

/// The number of a disk's name: `vda` is 0, `vdaa` is 26: `virDiskNameToIndex`.
pub(super) fn disk_index(name: &str) -> Option<u32> {
    let letters =
        ["fd", "hd", "vd", "sd", "xvd", "ubd"].into_iter().find_map(|p| name.strip_prefix(p))?;
    let letters = letters.trim_end_matches(|c: char| c.is_ascii_digit());
    if letters.is_empty() {
        return None;
    }
    // Bijective base 26.
    let number = letters.bytes().try_fold(0u32, |number, letter| {
        let digit = letter.is_ascii_lowercase().then(|| u32::from(letter - b'a') + 1)?;
        number.checked_mul(26)?.checked_add(digit)
    })?;
    Some(number - 1)
}
