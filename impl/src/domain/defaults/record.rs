//! The records of automatic values, in `<metadata>`.
//!
//! ```xml
//! <metadata>
//!   <statusquo:origin xmlns:statusquo='urn:statusquo:origin:1'>
//!     <statusquo:auto of='controller usb 0' what='@model' value='qemu-xhci' by='0.1.0' at='define'/>
//!   </statusquo:origin>
//! </metadata>
//! ```

use std::{borrow::Cow, collections::BTreeMap};

use super::Reading;
use crate::domain::{
    Class, Domain, Error,
    tree::{Document, NodeId},
};

/// Our namespace in `<metadata>`. libvirt keeps one element for each namespace there.
const NAMESPACE: &str = "urn:statusquo:origin:1";
/// What is recorded when a whole device was added.
pub(super) const PRESENCE: &str = "presence";
/// More than any definition that this program completes; whoever sends more is not followed.
const RECORDS_MAX: usize = 1 << 14;

/// Who chose a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Whoever wrote the text.
    User,
    /// This program, or an older release of it.
    Auto(Auto),
}

/// A choice that was made automatically.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auto {
    /// The release that made it.
    pub by: String,
    /// Why the text was read.
    pub at: Reading,
}

/// A recorded value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Automatic {
    /// The device, by what identifies it to users: `controller usb 0`, `disk vda`.
    pub of: String,
    /// Which value: `presence`, `address`, or the path of an attribute such as `@model`.
    pub what: String,
    /// The value; empty for `presence`.
    pub value: String,
    /// Who chose it.
    pub auto: Auto,
    /// The text does not show it: see [`Domain::to_inactive`].
    pub hidden: bool,
    node: NodeId,
}

/// The value of an attribute, or what an address says, as one text.
pub(super) fn value(document: &Document, device: NodeId, what: &str) -> Option<String> {
    if what == "address" {
        let node = document.child(device, "address")?;
        let mut said: Vec<String> = document
            .attributes(node)
            // Added to the address of another when a slot is shared.
            .filter(|(name, _)| *name != "multifunction")
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        said.sort_unstable();
        return Some(said.join(" "));
    }
    document.get(device, what).map(Cow::into_owned)
}

/// What an address says, as one text.
pub(in crate::domain) fn said_address(document: &Document, device: NodeId) -> Option<String> {
    value(document, device, "address")
}

/// Removes an attribute of a device, and the elements that were there for it only.
pub(super) fn take_out(document: &mut Document, device: NodeId, path: &str) {
    let (elements, name) = path.rsplit_once("/@").unwrap_or(("", &path[1..]));
    let owner = match elements {
        "" => Some(device),
        elements => document.descendant(device, elements),
    };
    let Some(owner) = owner else { return };
    document.remove_attribute(owner, name);
    let is_empty = document.attributes(owner).next().is_none()
        && document.children(owner).next().is_none()
        && document.text(owner).trim().is_empty();
    if owner != device && is_empty {
        document.remove(owner);
    }
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

impl Automatic {
    pub(super) fn remove(&self, document: &mut Document) {
        document.remove(self.node);
    }
}

impl Domain {
    /// Who chose a value of a device: `what` is `presence`, `address`, or an attribute's path such as `@model` or
    /// `driver/@name`.
    pub fn origin_of(&self, device: NodeId, what: &str) -> Origin {
        let key = self.keys().into_iter().find(|(_, node)| *node == device).map(|(key, _)| key);
        let found = key.and_then(|key| {
            let mut records = self.automatic().into_iter();
            records.find(|record| record.of == key && record.what == what)
        });
        match found {
            Some(record) if self.holds(&record, device) => Origin::Auto(record.auto),
            _ => Origin::User,
        }
    }

    /// Records that this program chose a value of a device, as it is now.
    ///
    /// For values that are filled elsewhere than in [`Domain::complete`], such as the driver of a host device at
    /// start.
    ///
    /// # Errors
    /// When the document cannot grow.
    pub fn record_auto(
        &mut self,
        device: NodeId,
        what: &'static str,
        at: Reading,
    ) -> Result<(), Error> {
        self.record(&[(device, what)], at)
    }

    /// Every automatic value that is recorded, whether or not it still holds.
    pub fn automatic(&self) -> Vec<Automatic> {
        let Some(origin) = self.origin_node() else { return Vec::new() };
        let document = self.document();
        let read = |node: NodeId| -> Option<Automatic> {
            let get = |name| document.attribute(node, name).map(Cow::into_owned);
            let at = get("at")?;
            Some(Automatic {
                of: get("of")?,
                what: get("what")?,
                value: get("value").unwrap_or_default(),
                auto: Auto {
                    by: get("by").unwrap_or_default(),
                    at: Reading::ALL.into_iter().find(|reading| reading.as_str() == at)?,
                },
                hidden: document.has(node, "hidden", "yes"),
                node,
            })
        };
        let records =
            document.children(origin).filter(|&node| local(document.name(node)) == "auto");
        records.take(RECORDS_MAX).filter_map(read).collect()
    }

    /// Is the recorded value there?
    pub(super) fn holds(&self, record: &Automatic, device: NodeId) -> bool {
        if record.hidden {
            return false;
        }
        record.what == PRESENCE
            || value(self.document(), device, &record.what).as_ref() == Some(&record.value)
    }

    /// Our element in `<metadata>`, whatever its prefix is now.
    pub(super) fn origin_node(&self) -> Option<NodeId> {
        let document = self.document();
        let metadata = document.child(self.root(), "metadata")?;
        let ours = |&node: &NodeId| {
            local(document.name(node)) == "origin"
                && document.namespace(node).as_deref() == Some(NAMESPACE)
        };
        document.children(metadata).find(ours)
    }

    /// Our element in `<metadata>`, made where there is none.
    pub(super) fn origin_node_made(&mut self) -> Result<NodeId, Error> {
        if let Some(node) = self.origin_node() {
            return Ok(node);
        }
        let root = self.root();
        let document = self.document_mut();
        let metadata = match document.child(root, "metadata") {
            Some(metadata) => metadata,
            None => document.append_element(root, "metadata")?,
        };
        let xml = format!("<statusquo:origin xmlns:statusquo='{NAMESPACE}'/>");
        document.append_xml(metadata, &xml)
    }

    /// The prefix that our element has in this document, with its colon.
    pub(super) fn prefix(&self, origin: NodeId) -> String {
        let name = self.document().name(origin);
        name.split_once(':').map_or_else(String::new, |(prefix, _)| format!("{prefix}:"))
    }

    /// Devices by what identifies them to users. What nobody names is counted.
    pub(in crate::domain) fn keys(&self) -> BTreeMap<String, NodeId> {
        let mut counts: BTreeMap<Class, usize> = BTreeMap::new();
        let mut keys = BTreeMap::new();
        for device in self.devices() {
            let element = device.class.element();
            let get = |path| device.get(path).unwrap_or_default();
            let named = match device.class {
                Class::Controller => {
                    let model = get("@model");
                    let part = match device.get("master/@startport") {
                        Some(_) => format!(" {model}"),
                        None => String::new(),
                    };
                    format!("{} {}{part}", get("@type"), get("@index"))
                }
                Class::Disk => get("target/@dev").into_owned(),
                Class::Interface => get("mac/@address").into_owned(),
                Class::Hostdev => ["@domain", "@bus", "@slot", "@function"]
                    .map(|part| {
                        let source =
                            device.domain.document().descendant(device.node, "source/address");
                        let part = source.and_then(|node| device.domain.document().get(node, part));
                        part.unwrap_or_default().into_owned()
                    })
                    .join(" ")
                    .trim()
                    .to_owned(),
                _ => String::new(),
            };
            let count = counts.entry(device.class).or_default();
            *count += 1;
            let key = match &*named {
                "" => format!("{element} #{count}"),
                named => format!("{element} {named}"),
            };
            keys.entry(key).or_insert(device.node);
        }
        keys
    }

    pub(super) fn record(
        &mut self,
        values: &[(NodeId, &'static str)],
        at: Reading,
    ) -> Result<(), Error> {
        if values.is_empty() {
            return Ok(());
        }
        let names: BTreeMap<NodeId, String> =
            self.keys().into_iter().map(|(key, node)| (node, key)).collect();
        let known = self.automatic();
        let origin = self.origin_node_made()?;
        let prefix = self.prefix(origin);
        for &(device, what) in values {
            // Two devices with one name are told apart by nobody.
            let Some(of) = names.get(&device) else { continue };
            let value = value(self.document(), device, what).unwrap_or_default();
            let old = known.iter().find(|record| record.of == *of && record.what == what);
            let document = self.document_mut();
            let node = match old {
                Some(record) => record.node,
                None => document.append_element(origin, &format!("{prefix}auto"))?,
            };
            document.set_attribute(node, "of", of)?;
            document.set_attribute(node, "what", what)?;
            if what != PRESENCE {
                document.set_attribute(node, "value", &value)?;
            }
            document.set_attribute(node, "by", env!("CARGO_PKG_VERSION"))?;
            document.set_attribute(node, "at", at.as_str())?;
        }
        Ok(())
    }

    /// Drops records whose value is not there any more: somebody else decided.
    pub(super) fn forget_what_was_edited(&mut self) {
        let keys = self.keys();
        for record in self.automatic() {
            let holds = keys.get(&record.of).is_some_and(|&device| self.holds(&record, device));
            if !holds {
                self.document_mut().remove(record.node);
            }
        }
    }

    /// Takes recorded values out of the text, into their records.
    pub(super) fn hide_automatic(&mut self) -> Result<(), Error> {
        let keys = self.keys();
        let mut records = self.automatic();
        // A device goes last, with what is then left of it.
        records.sort_by_key(|record| record.what == PRESENCE);
        for record in records {
            let Some(&device) = keys.get(&record.of) else { continue };
            if !self.holds(&record, device) {
                continue;
            }
            self.hide(&record, device)?;
        }
        Ok(())
    }

    /// Takes one recorded value out of the text.
    pub(super) fn hide(&mut self, record: &Automatic, device: NodeId) -> Result<(), Error> {
        let document = self.document_mut();
        let shown = match &*record.what {
            PRESENCE => Some(device),
            "address" => document.child(device, "address"),
            path => {
                take_out(document, device, path);
                None
            }
        };
        if let Some(shown) = shown {
            let xml = document.fragment(shown);
            document.append_xml(record.node, &xml)?;
            document.remove(shown);
            let is_empty = document.children(device).next().is_none();
            if shown != device && is_empty && document.text(device).trim().is_empty() {
                document.set_text(device, "")?;
            }
        }
        document.set_attribute(record.node, "hidden", "yes")
    }

    /// Drops what is recorded of a device.
    pub(in crate::domain) fn forget_records_of(&mut self, device: NodeId) {
        let name = self.keys().into_iter().find(|(_, node)| *node == device).map(|(name, _)| name);
        for record in self.automatic().iter().filter(|record| Some(&record.of) == name.as_ref()) {
            self.document_mut().remove(record.node);
        }
    }

    /// Puts hidden values back where the text has none, and drops the records of those that it has.
    pub(super) fn restore_hidden(&mut self) -> Result<(), Error> {
        let mut records = self.automatic();
        records.retain(|record| record.hidden);
        records.sort_by_key(|record| record.what != PRESENCE);
        let mut keys = self.keys();
        for record in records {
            let held = self.document().children(record.node).next();
            let held = held.map(|node| self.document().fragment(node));
            let done = match (keys.get(&record.of), &*record.what, held) {
                (None, PRESENCE, Some(xml)) => {
                    self.add_device(&xml)?;
                    keys = self.keys();
                    true
                }
                (Some(&device), "address", Some(xml)) => {
                    let free = self.document().child(device, "address").is_none();
                    if free {
                        self.document_mut().append_xml(device, &xml)?;
                    }
                    free
                }
                (Some(&device), path, None) if path != PRESENCE && path.contains('@') => {
                    let free = self.document().get(device, path).is_none();
                    if free {
                        self.document_mut().put(device, path, &record.value)?;
                    }
                    free
                }
                _ => false,
            };
            let document = self.document_mut();
            if done {
                document.remove_attribute(record.node, "hidden");
                let held: Vec<NodeId> = document.children(record.node).collect();
                for node in held {
                    document.remove(node);
                }
            } else {
                document.remove(record.node);
            }
        }
        Ok(())
    }
}
