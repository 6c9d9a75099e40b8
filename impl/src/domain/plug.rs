//! A device that comes while the guest runs: where it goes, what it is called, and what QEMU is asked.

use super::{
    Address, Class, Defaults, Device, Domain, Error, Pci, Problem, Reading,
    command_line::{self, Backend, Parts},
    is_user_alias,
    tree::{Document, NodeId},
};
use crate::{
    hotplug::{self, BackendKind},
    hypervisor::Command,
};

/// A definition with one device more, and how QEMU gets it.
#[derive(Clone, Debug)]
pub struct Plugged {
    /// The definition with the device, its address and its alias.
    pub domain: Domain,
    /// The device in it.
    pub node: NodeId,
    /// What is asked of QEMU.
    pub device: hotplug::Device,
}

impl Domain {
    /// Adds the device written in `xml` to a running domain: `qemuDomainAttachDeviceLive`.
    ///
    /// Its user alias is kept if it is one (`ua-…`); any other alias is left out, as libvirt does, and the next
    /// free one is given. A place is taken only from what is there: no controller is added on the way.
    ///
    /// # Errors
    /// At the device, with line and column in `xml`: it cannot be plugged, there is no place for it, its alias or
    /// its address is taken, or [`command_line::parts`] refuses it. The definition is as it was.
    pub fn plug(&self, xml: &str) -> Result<Plugged, Error> {
        self.plug_as(&Defaults::TODAY, xml)
    }

    /// The same, as a release with these defaults does it.
    ///
    /// # Errors
    /// As [`Domain::plug`].
    pub fn plug_as(&self, defaults: &Defaults, xml: &str) -> Result<Plugged, Error> {
        let mut domain = self.clone();
        let node = domain.add_device(xml)?;
        let device = domain.prepare(defaults, node).map_err(|error| {
            let own = domain.document().path(node);
            place_in(xml, own, error)
        })?;
        Ok(Plugged { domain, node, device })
    }

    fn prepare(&mut self, defaults: &Defaults, node: NodeId) -> Result<hotplug::Device, Error> {
        // First: a user alias that is none is refused, and not taken for one that was assigned.
        self.validate_aliases()?;
        if let Some(device) = self.device(node)
            && device.alias().is_some_and(|alias| !is_user_alias(&alias))
            && let Some(alias) = self.document().child(node, "alias")
        {
            self.document_mut().remove(alias);
        }
        self.validate()?;
        // Of an earlier device with its name.
        self.forget_records_of(node);
        let before: Vec<NodeId> = self.devices().map(|device| device.node).collect();
        let said = self.what_is_said();
        self.fill_net_model(node, defaults)?;
        self.complete_plugged()?;
        if let Some(device) = self.device(node) {
            can_be_plugged(device)?;
        }
        self.assign_plugged_addresses()?;
        let added = self.devices().find(|device| !before.contains(&device.node));
        if let Some(added) = added {
            let what = format!("free place on a {} (plug one first)", added.class.element());
            return Err(self.document().error(node, Problem::NoPlace(what)));
        }
        self.assign_alias(node)?;
        self.record_what_is_new(&said, Reading::Define)?;
        let device =
            self.device(node).ok_or_else(|| self.document().error(node, Problem::Empty))?;
        bus_takes_devices(device)?;
        hotplug_device(device)
    }
}

/// What is asked of QEMU to plug `device`, which is in its domain with address and alias.
///
/// # Errors
/// At the device, if [`command_line::parts`] refuses it or QEMU cannot do it while it runs.
pub fn hotplug_device(device: Device<'_>) -> Result<hotplug::Device, Error> {
    can_be_plugged(device)?;
    let parts = command_line::parts(device)?;
    let alias = device.alias().unwrap_or_default().into_owned();
    let unsupported = |what: &str| device.error(Problem::Unsupported(format!("plugging {what}")));
    let Parts { backends, frontend: Some(mut frontend), others } = parts else {
        return Err(unsupported("a device that is part of the machine"));
    };
    // `<boot dev=…/>` is about the devices that a machine starts with.
    if device.get("boot/@order").is_none()
        && let Some(properties) = frontend.as_object_mut()
    {
        properties.remove("bootindex");
    }
    if !others.is_empty() || backends.len() > 1 {
        return Err(unsupported("a device with more than one backend"));
    }
    let backend = match backends.into_iter().next() {
        None => None,
        Some(Backend::Chardev(chardev)) => {
            let add = chardev.to_command();
            let add = add.ok_or_else(|| unsupported("a character device of this type"))?;
            Some((BackendKind::Chardev, add, "chardev"))
        }
        Some(Backend::Object(object)) => {
            Some((BackendKind::Object, Command::of("object-add", object), "rng"))
        }
        Some(Backend::Netdev(netdev)) => {
            Some((BackendKind::Netdev, Command::of("netdev_add", netdev), "netdev"))
        }
        Some(Backend::BlockNode(node)) => {
            Some((BackendKind::BlockNode, Command::of("blockdev-add", node), "drive"))
        }
    };
    Ok(hotplug::Device {
        alias,
        prefix: prefix(device).to_owned(),
        backend: backend.map(|(kind, add, property)| hotplug::Backend {
            kind,
            add,
            property: property.to_owned(),
        }),
        frontend: Command::of("device_add", frontend),
        xml: device.to_xml(),
    })
}

/// What the aliases of its class begin with.
fn prefix(device: Device<'_>) -> &'static str {
    match device.class {
        Class::Interface => "net",
        class => class.element(),
    }
}

/// Classes and kinds that QEMU takes while it runs, as far as libvirt lets it.
fn can_be_plugged(device: Device<'_>) -> Result<(), Error> {
    let kind = device.kind();
    let bus = device.get("@bus").unwrap_or_default();
    let can = match device.class {
        Class::Channel | Class::Console => kind == "virtio",
        Class::Serial => matches!(&*kind, "usb-serial" | "pci-serial"),
        Class::Disk => matches!(&*kind, "virtio" | "scsi" | "usb"),
        Class::Interface | Class::Hostdev | Class::Rng => true,
        Class::Input => matches!(&*bus, "usb" | "virtio"),
        Class::Controller => matches!(&*kind, "scsi" | "usb" | "virtio-serial"),
        _ => false,
    };
    if can {
        return Ok(());
    }
    // The bus, where there is one to name.
    let class = device.class.element();
    let what = match (device.class, &*kind) {
        (Class::Serial | Class::Parallel, "isa-serial" | "isa-debug" | "") => {
            format!("plugging a {class} into the ISA bus")
        }
        (Class::Disk, bus) => format!("plugging a disk into bus {bus}"),
        (Class::Input, _) => format!("plugging an input into bus {bus}"),
        (_, "") => format!("plugging a {class}"),
        (_, kind) => format!("plugging a {class} of type {kind}"),
    };
    Err(device.error(Problem::Unsupported(what)))
}

/// Does its PCI bus take devices? (`VIR_PCI_CONNECT_HOTPLUGGABLE`, `virDomainPCIAddressBusSetModel`)
fn bus_takes_devices(device: Device<'_>) -> Result<(), Error> {
    let Some(Address::Pci(Pci { bus, .. })) = device.address()? else { return Ok(()) };
    let Some(controller) = device.domain.find_controller("pci", bus)? else { return Ok(()) };
    let model = controller.get("@model").unwrap_or_default();
    let takes = matches!(
        &*model,
        "pci-root"
            | "pci-bridge"
            | "pci-expander-bus"
            | "pcie-to-pci-bridge"
            | "pcie-root-port"
            | "pcie-switch-downstream-port"
    );
    if takes && controller.get("target/@hotplug").as_deref() != Some("off") {
        return Ok(());
    }
    let name = controller.alias().unwrap_or_default();
    let class = device.class.element();
    // An assigned alias is not final yet.
    let device_name = match device.alias().filter(|alias| is_user_alias(alias)) {
        Some(alias) => format!("the {class} `{alias}`"),
        None => format!("a {class}"),
    };
    let what = format!("plugging {device_name} into {name}, a {model},");
    Err(device.error(Problem::Unsupported(what)))
}

/// The domain was right before: what is wrong is wrong with the device, and has its place in what was added.
fn place_in(xml: &str, own: String, error: Error) -> Error {
    let Ok(document) = Document::parse(xml) else { return error };
    let Error { line, column, .. } = document.error(document.root(), Problem::Empty);
    let path = if error.path.starts_with(&own) { error.path } else { own };
    Error { line, column, path, problem: error.problem }
}
