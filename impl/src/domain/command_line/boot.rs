//! What is booted from, in which order: `qemuProcessPrepareDeviceBootorder`.

use super::number;
use crate::domain::{Class, Device, Domain, Error};

/// The boot index of a device: its own, or what `<boot dev=…/>` comes to.
pub(super) fn index(device: Device<'_>) -> Result<Option<u32>, Error> {
    let own = number(device, "boot/@order")?;
    if own.is_some() {
        return Ok(own);
    }
    let domain = device.domain;
    let kind = match device.class {
        Class::Disk => match device.get("@device").as_deref() {
            Some("cdrom") => "cdrom",
            Some("floppy") => "fd",
            _ => "hd",
        },
        Class::Interface => "network",
        _ => return Ok(None),
    };
    let Some(place) = order(domain).iter().position(|dev| dev == kind) else { return Ok(None) };
    // Only the first of its kind.
    let first = match device.class {
        Class::Disk => domain.disks().into_iter().find(|disk| same_kind(*disk, kind)),
        _ => domain.of(Class::Interface).next(),
    };
    let is_first = first.is_some_and(|first| first.node == device.node);
    Ok(is_first.then(|| u32::try_from(place + 1).unwrap_or(u32::MAX)))
}

fn same_kind(disk: Device<'_>, kind: &str) -> bool {
    match disk.get("@device").as_deref() {
        Some("cdrom") => kind == "cdrom",
        Some("floppy") => kind == "fd",
        _ => kind == "hd",
    }
}

/// The kinds in `<os>`: the disk, if nothing says otherwise (`virDomainDefBootOrderPostParse`).
fn order(domain: &Domain) -> Vec<String> {
    let document = domain.document();
    let os = document.child(domain.root(), "os");
    let boots = os.into_iter().flat_map(|os| document.children_named(os, "boot"));
    let mut order: Vec<String> = boots
        .filter_map(|boot| document.attribute(boot, "dev"))
        .map(|dev| dev.into_owned())
        .collect();
    let by_device = domain.devices().any(|device| device.get("boot/@order").is_some());
    if order.is_empty() && !by_device {
        order.push("hd".to_owned());
    }
    order
}
