//! Devices of the host in a definition.

use super::{Address, Class, Device, Domain, Error, Pci, Problem, tree::Document};
use crate::hostdev::Assigned;

/// What a network gives for an interface: `virDomainActualNetDef` of type hostdev.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The virtual function, in the host.
    pub source: Pci,
    /// The driver that the network names.
    pub driver: Option<String>,
}

impl Domain {
    /// The PCI devices of the host that this definition asks for, in order.
    ///
    /// An interface of a network is one when the network has given it: see [`allocated`].
    ///
    /// # Errors
    /// One does not say which.
    pub fn assigned(&self) -> Result<Vec<Assigned>, Error> {
        self.devices().filter_map(|device| assigned(device).transpose()).collect()
    }
}

fn assigned(device: Device<'_>) -> Result<Option<Assigned>, Error> {
    let has = |path, value: &str| device.get(path).as_deref() == Some(value);
    let of_network = device.class == Class::Interface && has("actual/@type", "hostdev");
    let described = match device.class {
        Class::Hostdev => has("@type", "pci") && !has("@mode", "capabilities"),
        Class::Interface => has("@type", "hostdev"),
        _ => false,
    };
    if !of_network && !described {
        return Ok(None);
    }
    let (source, driver) = match of_network {
        true => ("actual/source/address", "actual/driver/@name"),
        false => ("source/address", "driver/@name"),
    };
    let document = device.domain.document();
    let node = document.descendant(device.node, source);
    let node = node.ok_or_else(|| device.error(Problem::MissingElement("source/address")))?;
    let part = |name| {
        let missing = || document.error(node, Problem::MissingAttribute(name));
        document.number(node, name)?.ok_or_else(missing)
    };
    let source = Pci {
        domain: document.number(node, "domain")?.unwrap_or(0),
        bus: part("bus")?,
        slot: part("slot")?,
        function: part("function")?,
        multifunction: false,
    };
    let driver = device.get(driver).map(|name| name.into_owned());
    Ok(Some(Assigned { node: device.node, source, driver, of_network }))
}

/// An interface of a network with what the network has given for it, as the live definition has it.
///
/// What one run was given is not configuration: [`Domain::to_inactive`] leaves it out, and so does who reads a
/// definition.
///
/// # Errors
/// The text is no interface.
pub fn allocated(interface: &str, given: &Given) -> Result<String, Error> {
    let mut document = Document::parse(interface)?;
    let root = document.root();
    if !document.is(root, "interface") {
        let found = document.name(root).to_owned();
        return Err(document.error(root, Problem::Root { expected: "interface", found }));
    }
    if let Some(old) = document.child(root, "actual") {
        document.remove(old);
    }
    let actual = document.append_element(root, "actual")?;
    document.set_attribute(actual, "type", "hostdev")?;
    document.set_attribute(actual, "managed", "yes")?;
    if let Some(driver) = &given.driver {
        document.put(actual, "driver/@name", driver)?;
    }
    let source = document.append_element(actual, "source")?;
    Address::Pci(given.source).put(&mut document, source)?;
    Ok(document.fragment(root))
}
