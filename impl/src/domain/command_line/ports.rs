//! Serial and parallel ports, channels and consoles.

use super::{Backend, Chardev, Parts, Properties, alias, backend_id, number, place, unsupported};
use crate::{
    domain::{Class, Device, Error, Problem},
    hotplug::BackendKind,
};

pub(super) fn parts(device: Device<'_>) -> Result<Parts, Error> {
    let kind = device.kind().into_owned();
    // A serial console is one of the serial ports.
    if device.class == Class::Console && matches!(&*kind, "" | "serial") {
        return Ok(Parts::default());
    }
    let id = backend_id(device, BackendKind::Chardev)?;
    let chardev = Chardev::of(device, device.node, id.clone())?;
    let mut parts = Parts { backends: vec![Backend::Chardev(chardev)], ..Parts::default() };
    if is_platform(device) {
        parts.others = vec!["-serial".to_owned(), format!("chardev:{id}")];
        return Ok(parts);
    }
    let driver = driver(device, &kind)?;
    let mut properties = Properties::new(&driver).with("chardev", id).with("id", alias(device)?);
    match device.class {
        Class::Serial if driver == "isa-serial" => {
            properties.some("index", number(device, "target/@port")?);
        }
        Class::Channel => {
            let spice = device.backend() == "spicevmc";
            let name = device.get("target/@name").map(|name| name.into_owned());
            match name {
                Some(name) if spice && name != "com.redhat.spice.0" => {
                    let expected = "com.redhat.spice.0, the name of a SPICE agent's channel";
                    return Err(device.error(Problem::Value { value: name, expected }));
                }
                None if spice => properties.put("name", "com.redhat.spice.0"),
                name => properties.some("name", name),
            }
        }
        _ => {}
    }
    if device.class != Class::Parallel {
        place::put(device, &mut properties)?;
    }
    parts.frontend = Some(properties.into_value());
    Ok(parts)
}

/// `qemuBuildSerialChrDeviceProps`, `qemuBuildChannelChrDeviceProps`, `qemuBuildConsoleChrDeviceProps`
fn driver(device: Device<'_>, kind: &str) -> Result<String, Error> {
    let driver = match (device.class, kind) {
        (Class::Parallel, _) => "isa-parallel",
        (Class::Channel, "virtio") => "virtserialport",
        (Class::Console, "virtio") => "virtconsole",
        (Class::Console, "sclp") => "sclpconsole",
        (Class::Console, "sclplm") => "sclplmconsole",
        (Class::Serial, _) => match device.get("target/model/@name") {
            Some(model) => return Ok(model.into_owned()),
            None => return Err(device.error(Problem::MissingElement("model"))),
        },
        (class, kind) => {
            return Err(unsupported(device, format!("{} of type `{kind}`", class.element())));
        }
    };
    Ok(driver.to_owned())
}

/// Is it a part of the machine? (`qemuChrIsPlatformDevice`)
fn is_platform(device: Device<'_>) -> bool {
    let model = device.get("target/model/@name");
    device.class == Class::Serial
        && (device.kind().is_empty() || matches!(model.as_deref(), Some("pl011" | "16550a")))
}
