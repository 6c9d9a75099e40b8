//! Devices of the host: `qemuBuildPCIHostdevDevProps`, `qemuBuildUSBHostdevDevProps`.

use super::{Parts, Properties, alias, boot, number, place, required, unsupported};
use crate::domain::{Address, Device, Error, Problem};

pub(super) fn parts(device: Device<'_>) -> Result<Parts, Error> {
    if device.get("@mode").is_some_and(|mode| mode != "subsystem") {
        return Err(unsupported(device, "hostdev of a container".to_owned()));
    }
    match &*device.kind() {
        "pci" => assigned(device),
        "usb" => usb(device),
        "mdev" => mediated(device),
        other => Err(unsupported(device, format!("hostdev of type `{other}`"))),
    }
}

/// A PCI device, as a `<hostdev>` or as an `<interface>`.
///
/// QEMU has no other way than VFIO; libvirt decides so when it starts or attaches, not when it reads.
pub(super) fn assigned(device: Device<'_>) -> Result<Parts, Error> {
    // What a network has given is said in an element of its own.
    let given = device.get("actual/@type").is_some();
    let get = |path: &'static str, of_network| if given { of_network } else { path };
    let driver = get("driver/@name", "actual/driver/@name");
    if let Some(driver) = device.get(driver).filter(|driver| driver != "vfio") {
        let value = driver.into_owned();
        let expected = "vfio, the only driver that QEMU has for this";
        return Err(device.error(Problem::Value { value, expected }));
    }
    let part = |path| {
        let missing = || device.error(Problem::MissingAttribute("address"));
        number(device, path)?.ok_or_else(missing)
    };
    let bus = part(get("source/address/@bus", "actual/source/address/@bus"))?;
    let slot = part(get("source/address/@slot", "actual/source/address/@slot"))?;
    let function = part(get("source/address/@function", "actual/source/address/@function"))?;
    let domain = get("source/address/@domain", "actual/source/address/@domain");
    let domain = number(device, domain)?.unwrap_or(0);
    let mut properties = Properties::new("vfio-pci")
        .with("host", format!("{domain:04x}:{bus:02x}:{slot:02x}.{function}"))
        .with("id", alias(device)?);
    properties.positive("bootindex", boot::index(device)?);
    if device.get("teaming/@type").as_deref() == Some("transient") {
        properties.text("failover_pair_id", device.get("teaming/@persistent"));
    }
    place::put(device, &mut properties)?;
    rom(device, &mut properties)?;
    Ok(Parts::frontend(properties))
}

fn usb(device: Device<'_>) -> Result<Parts, Error> {
    let mut properties = Properties::new("usb-host").with("id", alias(device)?);
    let bus = number(device, "source/address/@bus")?;
    match (bus, number(device, "source/address/@device")?) {
        (Some(bus), Some(address)) => {
            properties.put("hostdevice", format!("/dev/bus/usb/{bus:03}/{address:03}"));
        }
        // libvirt looks for it on the host first; QEMU can wait for it as well.
        _ => {
            let id = |path| {
                let missing = || device.error(Problem::MissingElement("address"));
                number(device, path)?.ok_or_else(missing)
            };
            properties.put("vendorid", id("source/vendor/@id")?);
            properties.put("productid", id("source/product/@id")?);
        }
    }
    properties.positive("bootindex", boot::index(device)?);
    match device.get("source/@guestReset").as_deref() {
        Some("off") => properties.put("guest-reset", false),
        Some("uninitialized") => {
            properties.put("guest-reset", true);
            properties.put("guest-resets-all", false);
        }
        Some("on") => {
            properties.put("guest-reset", true);
            properties.put("guest-resets-all", true);
        }
        _ => {}
    }
    place::put(device, &mut properties)?;
    Ok(Parts::frontend(properties))
}

/// `qemuBuildHostdevMediatedDevProps`
fn mediated(device: Device<'_>) -> Result<Parts, Error> {
    let model = required(device, "@model")?;
    let uuid = required(device, "source/address/@uuid")?;
    let ramfb = device.get("@ramfb").as_deref() == Some("on");
    let driver = if ramfb && model == "vfio-pci" { "vfio-pci-nohotplug" } else { &*model };
    let mut properties = Properties::new(driver)
        .with("id", alias(device)?)
        .with("sysfsdev", format!("/sys/bus/mdev/devices/{uuid}"));
    properties.text("display", device.get("@display"));
    if ramfb {
        properties.put("ramfb", true);
    }
    properties.positive("bootindex", boot::index(device)?);
    place::put(device, &mut properties)?;
    Ok(Parts::frontend(properties))
}

/// `qemuBuildRomProps`
pub(super) fn rom(device: Device<'_>, properties: &mut Properties) -> Result<(), Error> {
    if device.domain.document().child(device.node, "rom").is_none() {
        return Ok(());
    }
    if !matches!(device.address()?, Some(Address::Pci(_))) {
        return Err(unsupported(device, "the ROM of a device that is not on PCI".to_owned()));
    }
    if device.get("rom/@enabled").as_deref() == Some("no") {
        properties.put("romfile", "");
        return Ok(());
    }
    match device.get("rom/@bar").as_deref() {
        Some("on") => properties.put("rombar", 1),
        Some("off") => properties.put("rombar", 0),
        _ => {}
    }
    properties.text("romfile", device.get("rom/@file"));
    Ok(())
}
