//! QEMU's arguments for a definition: `qemuBuildCommandLine`.
//!
//! A pure function of a definition that is complete: [`Domain::post_parse`], [`Domain::assign_addresses`] and
//! [`Domain::assign_aliases`] come first.
//! Devices are written as libvirt 9.0 writes them for QEMU 7.2: `-device`, `-object`, `-netdev` and `-blockdev` in JSON,
//! `-chardev` in options.
//!
//! Two differences are meant.
//! The block nodes of a disk are one nested `-blockdev`, and it is called `drive-ALIAS`, so that its name follows from
//! the definition; libvirt numbers its nodes in the order in which they were plugged (`libvirt-3-format`), and has to
//! keep that number.
//! And unix sockets are named by path, where libvirt passes one that it opened.
//!
//! What cannot be turned into arguments is an error with its place, and nothing is left out in silence, but for what
//! concerns the host or the CPU and not devices: features other than ACPI, timers, NUMA, tuning, security labels,
//! sysinfo, sandboxing. There is no monitor: whoever starts QEMU adds its own.
//!
//! ```
//! use statusquo_vmm::domain::{Class, Domain, command_line};
//!
//! let mut domain = Domain::parse(
//!     "<domain type='qemu'><name>demo</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
//!        <os><type arch='x86_64' machine='pc'>hvm</type></os>
//!        <devices><channel type='pty'><target type='virtio' name='org.example'/></channel></devices></domain>",
//! )?;
//! domain.post_parse()?;
//! domain.assign_addresses()?;
//! domain.assign_aliases()?;
//! let arguments = command_line::arguments(&domain)?;
//! assert!(arguments.join(" ").contains("-chardev pty,id=charchannel0 -device {"));
//! # Ok::<(), statusquo_vmm::domain::Error>(())
//! ```

mod boot;
mod chardev;
mod controller;
mod disk;
mod hostdev;
mod interface;
mod machine;
mod place;
mod ports;
mod properties;
mod small;

use serde_json::{Value, json};

use super::{Class, Device, Domain, Error, Problem, tree::NodeId};
use crate::hotplug::BackendKind;
pub use chardev::Chardev;
use properties::Properties;

/// The namespace of what libvirt hands on to QEMU as it is.
const NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

/// What one device takes: what has to be there before it, and the device itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// In the order in which they are made.
    pub backends: Vec<Backend>,
    /// The properties of its `-device`, driver and id among them. None for what the machine has on its own.
    pub frontend: Option<Value>,
    /// Arguments that are neither, `-serial` or `-global` for example.
    pub others: Vec<String>,
}

/// Something of the host's that a device uses, with its id.
#[derive(Clone, Debug, PartialEq)]
pub enum Backend {
    /// `-chardev`
    Chardev(Chardev),
    /// `-object`
    Object(Value),
    /// `-netdev`
    Netdev(Value),
    /// `-blockdev`
    BlockNode(Value),
}

impl Backend {
    fn push(&self, arguments: &mut Vec<String>) {
        let (option, value) = match self {
            Self::Chardev(chardev) => ("-chardev", chardev.to_option()),
            Self::Object(value) => ("-object", value.to_string()),
            Self::Netdev(value) => ("-netdev", value.to_string()),
            Self::BlockNode(value) => ("-blockdev", value.to_string()),
        };
        arguments.extend([option.to_owned(), value]);
    }
}

impl Parts {
    fn frontend(properties: Properties) -> Self {
        Self { frontend: Some(properties.into_value()), ..Self::default() }
    }

    fn push(&self, arguments: &mut Vec<String>) {
        for backend in &self.backends {
            backend.push(arguments);
        }
        if let Some(frontend) = &self.frontend {
            arguments.extend(["-device".to_owned(), frontend.to_string()]);
        }
        arguments.extend_from_slice(&self.others);
    }
}

/// All arguments for a definition, without the program's name and without a monitor.
///
/// # Errors
/// At the element that cannot be turned into arguments, or that lacks what makes a definition complete.
pub fn arguments(domain: &Domain) -> Result<Vec<String>, Error> {
    let mut arguments = Vec::new();
    machine::push(domain, &mut arguments)?;
    // The order of `qemuBuildCommandLine`.
    for device in in_order(domain)? {
        parts(device)?.push(&mut arguments);
    }
    let usb = || domain.of(Class::Controller).filter(|c| c.kind() == "usb");
    let legacy = !usb().any(|c| c.get("@model").is_some()) && has_legacy_usb(domain);
    // A later `-usb` overrides `usb=off`. A controller of `Domain::take_over` may be the machine's own.
    if legacy || usb().any(|c| c.get("address/@type").as_deref() == Some("machine")) {
        arguments.push("-usb".to_owned());
    }
    push_namespace(domain, &mut arguments)?;
    arguments.extend(["-msg", "timestamp=on"].map(str::to_owned));
    Ok(arguments)
}

/// Adds the arguments that the definition itself has (`<qemu:commandline>`, `qemuDomainDefNamespaceParse`).
fn push_namespace(domain: &Domain, arguments: &mut Vec<String>) -> Result<(), Error> {
    let document = domain.document();
    let local = |node| document.name(node).rsplit(':').next().unwrap_or_default().to_owned();
    let is_qemu = |&node: &NodeId| document.namespace(node).as_deref() == Some(NAMESPACE);
    for element in document.children(domain.root()).filter(is_qemu) {
        match &*local(element) {
            "commandline" => {}
            // What libvirt should take QEMU for: nothing here depends on it.
            "capabilities" | "deprecation" => continue,
            other => {
                let what = format!("qemu:{other} on a command line");
                return Err(document.error(element, Problem::Unsupported(what)));
            }
        }
        for child in document.children(element) {
            match (&*local(child), document.attribute(child, "value")) {
                ("arg", Some(value)) => arguments.push(value.into_owned()),
                ("arg", None) => {
                    return Err(document.error(child, Problem::MissingAttribute("value")));
                }
                (other, _) => {
                    let what = format!("qemu:{other} on a command line");
                    return Err(document.error(child, Problem::Unsupported(what)));
                }
            }
        }
    }
    Ok(())
}

/// What one device of a complete definition takes.
///
/// # Errors
/// At the device, if its class or kind is not built here, or if it has no alias or address.
pub fn parts(device: Device<'_>) -> Result<Parts, Error> {
    match device.class {
        Class::Controller => controller::parts(device),
        Class::Disk => disk::parts(device),
        Class::Interface => interface::parts(device),
        Class::Serial | Class::Parallel | Class::Channel | Class::Console => ports::parts(device),
        Class::Hostdev => hostdev::parts(device),
        Class::Video => small::video(device),
        Class::Input => small::input(device),
        Class::Memballoon => small::balloon(device),
        Class::Rng => small::rng(device),
        Class::Hub => small::hub(device),
        _ => Err(unsupported(device, format!("{} on a command line", device.class.element()))),
    }
}

/// Devices in the order of `qemuBuildCommandLine`.
fn in_order(domain: &Domain) -> Result<Vec<Device<'_>>, Error> {
    let controllers = domain.controllers()?;
    let mut devices = Vec::new();
    for kind in ["pci", "usb", "scsi", "ide", "sata", "virtio-serial", "fdc"] {
        devices.extend(controllers.iter().copied().filter(|c| c.kind() == kind));
    }
    devices.extend(domain.of(Class::Hub));
    devices.extend(controllers.iter().copied().filter(|c| c.kind() == "ccid"));
    let known = devices.len();
    devices.extend(domain.disks());
    for class in [
        Class::Interface,
        Class::Serial,
        Class::Parallel,
        Class::Channel,
        Class::Console,
        Class::Input,
        Class::Video,
        Class::Hostdev,
        Class::Memballoon,
        Class::Rng,
    ] {
        devices.extend(domain.of(class));
    }
    // Whatever is left is refused by its own function, by name.
    let left = domain.devices().filter(|device| !devices.iter().any(|d| d.node == device.node));
    let left: Vec<_> = left.collect();
    devices.splice(known..known, left);
    Ok(devices)
}

/// Does QEMU have a USB controller of its own here? (`qemuBuildLegacyUSBControllerCommandLine`)
fn has_legacy_usb(domain: &Domain) -> bool {
    let machine = domain.machine();
    !(machine.is_q35() || machine.is_arm_virt() || machine.is_riscv_virt() || machine.is_s390())
}

fn unsupported(device: Device<'_>, what: String) -> Error {
    device.error(Problem::Unsupported(what))
}

/// The alias that a device must have by now.
fn alias(device: Device<'_>) -> Result<String, Error> {
    let alias = device.alias().ok_or_else(|| device.error(Problem::MissingElement("alias")))?;
    Ok(alias.into_owned())
}

/// The id of a backend of this device.
fn backend_id(device: Device<'_>, kind: BackendKind) -> Result<String, Error> {
    Ok(kind.id(&alias(device)?))
}

/// The number at a path.
fn number(device: Device<'_>, path: &str) -> Result<Option<u32>, Error> {
    device.domain.document().number(device.node, path)
}

/// An attribute that must be there.
fn required(device: Device<'_>, path: &'static str) -> Result<String, Error> {
    let name = path.rsplit('@').next().unwrap_or(path);
    let value = device.get(path).ok_or_else(|| device.error(Problem::MissingAttribute(name)))?;
    Ok(value.into_owned())
}

/// Refuses a device that asks for something that would be left out.
fn refuse(device: Device<'_>, elements: &[&str]) -> Result<(), Error> {
    for &element in elements {
        if let Some(node) = device.domain.document().descendant(device.node, element) {
            let what = format!("{element} of {} on a command line", device.class.element());
            return Err(device.domain.document().error(node, Problem::Unsupported(what)));
        }
    }
    Ok(())
}

/// The properties of a virtio device, its driver named after the transport: `qemuBuildVirtioDevProps`.
fn virtio(device: Device<'_>, base: &str, model: &str) -> Result<Properties, Error> {
    let transport = place::transport(device)?;
    let suffix = match model {
        "virtio-transitional" => "-transitional",
        "virtio-non-transitional" => "-non-transitional",
        _ => "",
    };
    let mut properties = Properties::new(&format!("{base}-{transport}{suffix}"));
    for (name, path) in [
        ("iommu_platform", "driver/@iommu"),
        ("ats", "driver/@ats"),
        ("packed", "driver/@packed"),
        ("page-per-vq", "driver/@page_per_vq"),
    ] {
        properties.switch(name, device.get(path));
    }
    Ok(properties)
}

/// A json object from what has to be there.
fn object(value: Value) -> Properties {
    match value {
        Value::Object(map) => Properties::from(map),
        _ => Properties::from(serde_json::Map::new()),
    }
}

/// An object of QEMU's with its type and id.
fn qom_object(qom_type: &str, id: &str) -> Properties {
    object(json!({"qom-type": qom_type, "id": id}))
}

#[cfg(test)]
mod tests;
