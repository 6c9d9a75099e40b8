//! Controllers: `qemuBuildControllersCommandLine`.

use super::{Parts, Properties, alias, boot, has_legacy_usb, number, place, unsupported, virtio};
use crate::domain::{Device, Error, Problem};

pub(super) fn parts(device: Device<'_>) -> Result<Parts, Error> {
    let mut parts = Parts::default();
    let model = device.get("@model").unwrap_or_default().into_owned();
    let is_root = device.kind() == "pci" && model == "pci-root";
    if is_root && let Some(hotplug) = device.get("target/@hotplug") {
        // `qemuBuildPMPCIRootHotplugCommandLine`
        let global = format!("PIIX4_PM.acpi-root-pci-hotplug={hotplug}");
        parts.others = vec!["-global".to_owned(), global];
    }
    if is_builtin(device)? {
        return Ok(parts);
    }
    let mut properties = match &*device.kind() {
        "fdc" => return floppy(device),
        "pci" => pci(device, &model)?,
        "usb" => usb(device, &model)?,
        "scsi" => scsi(device, &model)?,
        "sata" => Properties::new("ahci").with("id", alias(device)?),
        "ccid" => Properties::new("usb-ccid").with("id", alias(device)?),
        "virtio-serial" => {
            let mut properties = virtio(device, "virtio-serial", &model)?;
            properties.put("id", alias(device)?);
            properties.some("max_ports", number(device, "@ports")?);
            properties.some("vectors", number(device, "@vectors")?);
            properties
        }
        other => return Err(unsupported(device, format!("controller of type `{other}`"))),
    };
    place::put(device, &mut properties)?;
    parts.frontend = Some(properties.into_value());
    Ok(parts)
}

/// Does the machine have it already? (`qemuBuildSkipController`)
pub(super) fn is_builtin(device: Device<'_>) -> Result<bool, Error> {
    let machine = device.domain.machine();
    let first = device.index()? == Some(0);
    let model = device.get("@model").unwrap_or_default();
    Ok(match (&*device.kind(), &*model) {
        ("pci", "pcie-root") => true,
        ("pci", "pci-root") => {
            !machine.is_pseries() || number(device, "target/@index")?.unwrap_or(0) == 0
        }
        ("sata", _) => first && machine.is_q35(),
        ("ide", _) => first && machine.has_builtin_ide(),
        ("scsi", "ncr53c90") => first,
        ("usb", "none") => true,
        // Made by the machine, where it makes one: `qemuBuildControllersByTypeCommandLine`.
        ("usb", "") => has_legacy_usb(device.domain) || machine.is_s390(),
        // `-usb` made it: see `Domain::take_over`.
        ("usb", _) => device.get("address/@type").as_deref() == Some("machine"),
        _ => false,
    })
}

/// `qemuBuildControllerPCIDevProps`
fn pci(device: Device<'_>, model: &str) -> Result<Properties, Error> {
    let name =
        device.get("model/@name").ok_or_else(|| device.error(Problem::MissingElement("model")))?;
    let mut properties = Properties::new(&name).with("id", alias(device)?);
    match model {
        "pci-bridge" => properties.some("chassis_nr", number(device, "target/@chassisNr")?),
        "pci-expander-bus" | "pcie-expander-bus" => {
            properties.some("bus_nr", number(device, "target/@busNr")?);
            numa_node(device, &mut properties);
        }
        "pcie-root-port" | "pcie-switch-downstream-port" => {
            properties.some("port", number(device, "target/@port")?);
            properties.some("chassis", number(device, "target/@chassis")?);
            properties.switch("hotplug", device.get("target/@hotplug"));
        }
        "pci-root" => {
            properties.some("index", number(device, "target/@index")?);
            numa_node(device, &mut properties);
        }
        "dmi-to-pci-bridge" | "pcie-switch-upstream-port" | "pcie-to-pci-bridge" => {}
        other => return Err(unsupported(device, format!("PCI controller `{other}`"))),
    }
    Ok(properties)
}

fn numa_node(device: Device<'_>, properties: &mut Properties) {
    let document = device.domain.document();
    let node = document.descendant(device.node, "target/node");
    let number = node.and_then(|node| document.text(node).trim().parse::<u32>().ok());
    properties.some("numa_node", number);
}

/// `qemuBuildUSBControllerDevProps`
fn usb(device: Device<'_>, model: &str) -> Result<Properties, Error> {
    let driver = match model {
        "" => return Err(device.error(Problem::MissingAttribute("model"))),
        "piix3-uhci" => "piix3-usb-uhci",
        "piix4-uhci" => "piix4-usb-uhci",
        "ehci" => "usb-ehci",
        "ich9-ehci1" => "ich9-usb-ehci1",
        "ich9-uhci1" => "ich9-usb-uhci1",
        "ich9-uhci2" => "ich9-usb-uhci2",
        "ich9-uhci3" => "ich9-usb-uhci3",
        "vt82c686b-uhci" => "vt82c686b-usb-uhci",
        "pci-ohci" => "pci-ohci",
        "nec-xhci" => "nec-usb-xhci",
        "qemu-xhci" => "qemu-xhci",
        other => return Err(unsupported(device, format!("USB controller `{other}`"))),
    };
    let mut properties = Properties::new(driver);
    let ports = number(device, "@ports")?;
    if ports.is_some() && !matches!(model, "nec-xhci" | "qemu-xhci") {
        return Err(unsupported(device, format!("ports of USB controller `{model}`")));
    }
    properties.some("p2", ports);
    properties.some("p3", ports);
    match number(device, "master/@startport")? {
        Some(port) => {
            properties.put("masterbus", format!("{}.0", master(device)?));
            properties.put("firstport", port);
        }
        None => properties.put("id", alias(device)?),
    }
    Ok(properties)
}

/// `qemuBuildUSBControllerFindMasterAlias`
fn master(device: Device<'_>) -> Result<String, Error> {
    for other in device.domain.controllers()? {
        let same = other.kind() == "usb" && other.index()? == device.index()?;
        if same && other.get("master/@startport").is_none() {
            return alias(other);
        }
    }
    Err(unsupported(device, "a companion without its USB 2 controller".to_owned()))
}

/// `qemuBuildControllerSCSIDevProps`
fn scsi(device: Device<'_>, model: &str) -> Result<Properties, Error> {
    if model.starts_with("virtio-") {
        let mut properties = virtio(device, "virtio-scsi", model)?;
        let iothread = device.get("driver/@iothread");
        properties.some("iothread", iothread.map(|number| format!("iothread{number}")));
        properties.put("id", alias(device)?);
        properties.positive("num_queues", number(device, "driver/@queues")?);
        properties.positive("cmd_per_lun", number(device, "driver/@cmd_per_lun")?);
        properties.positive("max_sectors", number(device, "driver/@max_sectors")?);
        properties.switch("ioeventfd", device.get("driver/@ioeventfd"));
        return Ok(properties);
    }
    let driver = match model {
        "lsilogic" => "lsi",
        "ibmvscsi" => "spapr-vscsi",
        "lsisas1068" => "mptsas1068",
        "lsisas1078" => "megasas",
        "vmpvscsi" => "pvscsi",
        "am53c974" => "am53c974",
        "dc390" => "dc-390",
        other => return Err(unsupported(device, format!("SCSI controller `{other}`"))),
    };
    Ok(Properties::new(driver).with("id", alias(device)?))
}

/// `qemuBuildFloppyCommandLineControllerOptions`: a Q35 has none of its own, and QEMU allows one.
fn floppy(device: Device<'_>) -> Result<Parts, Error> {
    if device.index()? != Some(0) {
        return Err(unsupported(device, "a second floppy controller".to_owned()));
    }
    let mut indexes = Vec::new();
    for disk in device.domain.disks().into_iter().filter(|disk| disk.kind() == "fdc") {
        let name = match number(disk, "address/@unit")?.unwrap_or(0) {
            0 => "bootindexA",
            _ => "bootindexB",
        };
        indexes.extend(boot::index(disk)?.filter(|&index| index > 0).map(|index| (name, index)));
    }
    if device.domain.machine().is_q35() {
        let mut properties = Properties::new("isa-fdc");
        for (name, index) in indexes {
            properties.put(name, index);
        }
        return Ok(Parts::frontend(properties));
    }
    let globals = indexes
        .into_iter()
        .flat_map(|(name, index)| ["-global".to_owned(), format!("isa-fdc.{name}={index}")]);
    Ok(Parts { others: globals.collect(), ..Parts::default() })
}
