//! libvirt's domain XML.
//!
//! A [`Domain`] is its document: what is read is kept, typed views look at it, and edits change only what they are about.
//!
//! - [`tree`]: an XML tree that loses nothing.
//! - [`Device`], [`Class`], [`Address`], [`Machine`]: typed views.
//! - [`Domain::lookup`]: which device is meant, by a name or by a description.
//! - [`Domain::complete`]: everything that a text leaves open, with the origin of each value; [`Domain::to_inactive`]
//!   and [`Domain::to_migratable`] are what is shown and sent. Whoever reads a definition wants these.
//! - [`Domain::abi_differences`]: what a guest would see change, all of it, with XPaths.
//! - [`Domain::post_parse`], [`Domain::assign_addresses`], [`Domain::assign_aliases`]: what libvirt adds to a
//!   definition, in the order in which it does.
//! - [`command_line`]: QEMU's arguments for a definition; [`Domain::plug`]: what QEMU is asked for one more device.
//!
//! ```
//! use statusquo_vmm::domain::{Class, Domain};
//!
//! let mut domain = Domain::parse(
//!     "<domain type='kvm'><name>demo</name><os><type arch='x86_64' machine='q35'>hvm</type></os>
//!        <devices><serial type='pty'/></devices><!-- kept --></domain>",
//! )?;
//! domain.assign_aliases()?;
//! let serial = domain.of(Class::Serial).next().expect("it has one");
//! assert_eq!(serial.alias().as_deref(), Some("serial0"));
//! assert!(domain.to_xml().ends_with("<!-- kept --></domain>"));
//! # Ok::<(), statusquo_vmm::domain::Error>(())
//! ```

mod abi;
mod address;
mod addresses;
mod alias;
mod assigned;
mod bus;
mod class;
pub mod command_line;
mod defaults;
mod device;
mod error;
mod lookup;
mod machine;
mod plug;
mod post_parse;
pub mod tree;
mod validate;

use std::borrow::Cow;

pub use abi::Difference;
pub use address::{Address, Drive, Pci, Usb, VirtioSerial};
pub use alias::is_user_alias;
pub use assigned::{Given, allocated};
pub use bus::Bus;
pub use class::Class;
pub use defaults::{
    Auto, Automatic, Defaults, Emulator, Origin, Reading, UsbFact, UsbStart, usb_facts,
};
pub use device::Device;
pub use error::{Error, Problem};
pub use lookup::{Fixed, LookupError, Name, Place};
pub use machine::Machine;
pub use plug::{Plugged, hotplug_device};
use tree::{Document, Limits, NodeId};

/// A domain's definition.
#[derive(Clone, Debug)]
pub struct Domain {
    document: Document,
    root: NodeId,
}

impl Domain {
    /// Reads a definition.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let document = Document::parse(text)?;
        let root = document.root();
        Self::at(document, root)
    }

    /// Reads a definition from bytes.
    pub fn parse_bytes(bytes: &[u8], limits: Limits) -> Result<Self, Error> {
        let document = Document::parse_bytes(bytes, limits)?;
        let root = document.root();
        Self::at(document, root)
    }

    /// The definition that is the element `root` of a document.
    pub fn at(document: Document, root: NodeId) -> Result<Self, Error> {
        if !document.is(root, "domain") {
            let found = document.name(root).to_owned();
            return Err(document.error(root, Problem::Root { expected: "domain", found }));
        }
        Ok(Self { document, root })
    }

    /// The definition as XML: what was read, and what was changed.
    pub fn to_xml(&self) -> String {
        match self.document.root() == self.root {
            true => self.document.to_xml(),
            false => self.document.fragment(self.root),
        }
    }

    /// The definition without what stands around it, each line but the first moved to the right.
    ///
    /// Lines inside of texts and values are moved as well, unless that would change them.
    pub fn to_xml_indented(&self, blanks: usize) -> String {
        let xml = self.document.fragment(self.root);
        let indented = xml.replace('\n', &format!("\n{}", " ".repeat(blanks)));
        // Only blanks between elements may change.
        let same = |document: &Document| self.document.same(self.root, document, document.root());
        match Document::parse_with(&indented, self.document.limits()) {
            Ok(document) if same(&document) => indented,
            _ => xml,
        }
    }

    /// The tree.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The tree, to be edited. The element `<domain>` must stay.
    pub fn document_mut(&mut self) -> &mut Document {
        &mut self.document
    }

    /// The element `<domain>`.
    pub fn root(&self) -> NodeId {
        self.root
    }

    fn text_of(&self, element: &'static str) -> Result<Cow<'_, str>, Error> {
        let node = self.document.child(self.root, element);
        let text = node.map(|node| self.document.text(node)).filter(|text| !text.is_empty());
        text.ok_or_else(|| self.document.error(self.root, Problem::MissingElement(element)))
    }

    /// The name.
    pub fn name(&self) -> Result<Cow<'_, str>, Error> {
        self.text_of("name")
    }

    /// The UUID as it is written.
    pub fn uuid(&self) -> Result<Cow<'_, str>, Error> {
        self.text_of("uuid")
    }

    /// `hvm`, `exe` and so on.
    pub fn os_type(&self) -> Cow<'_, str> {
        let node = self.document.descendant(self.root, "os/type");
        node.map(|node| self.document.text(node)).unwrap_or_default()
    }

    /// Architecture and machine type, empty where the definition does not say.
    pub fn machine(&self) -> Machine<'_> {
        let get = |path| self.document.get(self.root, path).unwrap_or_default();
        Machine { arch: get("os/type/@arch"), name: get("os/type/@machine") }
    }

    /// The path of the emulator.
    pub fn emulator(&self) -> Option<Cow<'_, str>> {
        let node = self.devices_nodes().find_map(|node| self.document.child(node, "emulator"))?;
        Some(self.document.text(node))
    }

    /// The first element `<devices>`.
    pub fn devices_node(&self) -> Option<NodeId> {
        self.devices_nodes().next()
    }

    /// Every element `<devices>`: libvirt's schema allows one, and its parser reads them all
    /// (`virDomainDefParseXML` asks for `./devices/disk` and its like).
    fn devices_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.document.children_named(self.root, "devices")
    }

    /// All devices of known classes, in order.
    pub fn devices(&self) -> impl Iterator<Item = Device<'_>> {
        let nodes = self.devices_nodes().flat_map(|node| self.document.children(node));
        nodes.filter_map(|node| self.device(node))
    }

    /// The devices of one class, in order.
    pub fn of(&self, class: Class) -> impl Iterator<Item = Device<'_>> {
        self.devices().filter(move |device| device.class == class)
    }

    /// The device that is this element.
    pub fn device(&self, node: NodeId) -> Option<Device<'_>> {
        let class = Class::of(self.document.name(node))?;
        self.document.is(node, class.element()).then_some(Device { domain: self, node, class })
    }

    /// Adds a device, after those of its class.
    pub fn add_device(&mut self, xml: &str) -> Result<NodeId, Error> {
        let read = Document::parse(xml)?;
        let name = read.name(read.root());
        let class = Class::of(name).filter(|class| read.is(read.root(), class.element()));
        let Some(class) = class else {
            let found = name.to_owned();
            return Err(read.error(read.root(), Problem::Root { expected: "device", found }));
        };
        let last = self.of(class).last().map(|device| device.node);
        let xml = read.fragment(read.root());
        if let Some(next) = last.and_then(|last| self.document.next_element(last)) {
            return self.document.insert_xml(next, &xml);
        }
        let devices = match last.map_or(self.devices_node(), |last| self.document.parent(last)) {
            Some(devices) => devices,
            None => self.document.append_element(self.root, "devices")?,
        };
        self.document.append_xml(devices, &xml)
    }

    /// Removes a device.
    pub fn remove_device(&mut self, node: NodeId) {
        self.document.remove(node);
    }
}
