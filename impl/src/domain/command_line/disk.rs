//! Disks: `qemuBuildDiskDeviceProps`, `qemuBlockStorageSourceGetBlockdevProps`.

use serde_json::{Value, json};

use super::{
    Backend, Parts, Properties, alias, backend_id, boot, number, object, place, refuse,
    unsupported, virtio,
};
use crate::{
    domain::{Device, Error, Problem, tree::NodeId},
    hotplug::BackendKind,
};

/// Most bytes of a block node's name: `BlockDriverState.node_name` has 32, one for the end.
const NODE_NAME_MAX: usize = 31;

pub(super) fn parts(device: Device<'_>) -> Result<Parts, Error> {
    refuse(
        device,
        &[
            "encryption",
            "source/encryption",
            "iotune",
            "mirror",
            "transient",
            "source/reservations",
            "source/slices",
        ],
    )?;
    let bus = device.kind().into_owned();
    let kind = device.get("@device").unwrap_or("disk".into()).into_owned();
    let mut properties = match &*bus {
        "ide" | "sata" if kind == "cdrom" => Properties::new("ide-cd"),
        "ide" | "sata" => Properties::new("ide-hd"),
        "scsi" => Properties::new(match &*kind {
            "lun" => "scsi-block",
            "cdrom" => "scsi-cd",
            _ => "scsi-hd",
        }),
        "virtio" => on_virtio(device)?,
        "usb" => Properties::new("usb-storage"),
        "fdc" => Properties::new("floppy"),
        other => return Err(unsupported(device, format!("disk on bus `{other}`"))),
    };
    place::put(device, &mut properties)?;
    let id = alias(device)?;
    let serial = text(device, "serial");
    if bus == "scsi" && kind != "lun" {
        let fallback = || BackendKind::BlockNode.id(&id);
        properties.put("device_id", serial.clone().unwrap_or_else(fallback));
    }
    let mut parts = Parts::default();
    if let Some(node) = block_node(device, &kind)? {
        parts.backends.push(Backend::BlockNode(node));
        properties.put("drive", backend_id(device, BackendKind::BlockNode)?);
    }
    if bus == "usb" {
        let removable = device.get("target/@removable");
        properties.switch("removable", Some(removable.unwrap_or("off".into())));
    }
    if is_there(device, "shareable") {
        properties.put("share-rw", true);
    }
    if kind != "floppy" {
        properties.positive("bootindex", boot::index(device)?);
    }
    properties.put("id", id);
    for (name, path) in [
        ("logical_block_size", "blockio/@logical_block_size"),
        ("physical_block_size", "blockio/@physical_block_size"),
        ("rotation_rate", "target/@rotation_rate"),
        ("cyls", "geometry/@cyls"),
        ("heads", "geometry/@heads"),
        ("secs", "geometry/@secs"),
    ] {
        properties.positive(name, number(device, path)?);
    }
    properties.text("bios-chs-trans", device.get("geometry/@trans"));
    if let Some(wwn) = text(device, "wwn") {
        let value = u64::from_str_radix(&wwn, 16).map_err(|_| {
            let expected = "a world wide name of hexadecimal digits";
            device.error(Problem::Value { value: wwn.chars().take(64).collect(), expected })
        })?;
        properties.put("wwn", value);
    }
    properties.some("vendor", text(device, "vendor"));
    properties.some("product", text(device, "product"));
    // libvirt writes a backslash before each blank, and QEMU shows it to the guest.
    properties.some("serial", serial.map(|serial| serial.replace(' ', "\\ ")));
    if kind != "lun"
        && let Some(cache) = cache(device)?
    {
        properties.put("write-cache", if cache.writeback { "on" } else { "off" });
    }
    policies(device, &mut properties);
    parts.frontend = Some(properties.into_value());
    Ok(parts)
}

fn on_virtio(device: Device<'_>) -> Result<Properties, Error> {
    let model = device.get("@model").unwrap_or_default();
    let mut properties = virtio(device, "virtio-blk", &model)?;
    let iothread = device.get("driver/@iothread");
    properties.some("iothread", iothread.map(|number| format!("iothread{number}")));
    properties.switch("ioeventfd", device.get("driver/@ioeventfd"));
    properties.switch("event_idx", device.get("driver/@event_idx"));
    if device.get("@device").as_deref() == Some("lun") {
        properties.put("scsi", true);
    }
    properties.positive("num-queues", number(device, "driver/@queues")?);
    properties.positive("queue-size", number(device, "driver/@queue_size")?);
    Ok(properties)
}

/// `qemuBuildDiskGetErrorPolicy`
fn policies(device: Device<'_>, properties: &mut Properties) {
    let on_write = device.get("driver/@error_policy").map(|policy| policy.into_owned());
    let on_read = device.get("driver/@rerror_policy").map(|policy| policy.into_owned());
    let (on_write, on_read) = match on_write.as_deref() {
        // QEMU has it for writing only.
        Some("enospace") => (Some("enospc".to_owned()), on_read),
        _ => (on_write.clone(), on_read.or(on_write)),
    };
    properties.some("werror", on_write);
    properties.some("rerror", on_read);
}

struct Cache {
    writeback: bool,
    direct: bool,
    no_flush: bool,
}

/// `qemuDomainDiskCachemodeFlags`
fn cache(device: Device<'_>) -> Result<Option<Cache>, Error> {
    let cache = |writeback, direct, no_flush| Some(Cache { writeback, direct, no_flush });
    // What several guests write must not be kept by one host: `qemuDomainPrepareDiskCachemode`.
    let shared = is_there(device, "shareable") && !is_there(device, "readonly");
    Ok(match device.get("driver/@cache").as_deref() {
        None | Some("default") if shared => cache(true, true, false),
        None | Some("default") => None,
        Some("none") => cache(true, true, false),
        Some("writethrough") => cache(false, false, false),
        Some("writeback") => cache(true, false, false),
        Some("directsync") => cache(false, true, false),
        Some("unsafe") => cache(true, false, true),
        Some(other) => {
            let value = other.chars().take(64).collect();
            return Err(device.error(Problem::Value { value, expected: "a cache mode" }));
        }
    })
}

/// What the disk's data is: format on protocol, as one nested node. None for an empty drive.
fn block_node(device: Device<'_>, kind: &str) -> Result<Option<Value>, Error> {
    let Some(storage) = storage(device, device.node)? else { return Ok(None) };
    let read_only = kind == "cdrom" || is_there(device, "readonly");
    let name = backend_id(device, BackendKind::BlockNode)?;
    if name.len() > NODE_NAME_MAX {
        let value = alias(device)?.chars().take(64).collect();
        let expected =
            "short enough: QEMU's names of block nodes leave 25 bytes for a disk's alias";
        return Err(device.error(Problem::Value { value, expected }));
    }
    let format = device.get("driver/@type").unwrap_or("raw".into());
    let mut node = object(json!({
        "node-name": name,
        "driver": format,
        "read-only": read_only,
        "file": storage,
    }));
    if let Some(cache) = cache(device)? {
        node.put("cache", json!({"direct": cache.direct, "no-flush": cache.no_flush}));
    }
    node.text("discard", device.get("driver/@discard"));
    node.text("detect-zeroes", device.get("driver/@detect_zeroes"));
    let chain = device.domain.document().child(device.node, "backingStore");
    if let Some(backing) = chain {
        node.put("backing", backing_chain(device, backing)?);
    }
    Ok(Some(node.into_value()))
}

/// An empty `<backingStore/>` ends the chain; without one QEMU reads it from the image.
fn backing_chain(device: Device<'_>, at: NodeId) -> Result<Value, Error> {
    let document = device.domain.document();
    let Some(storage) = storage(device, at)? else { return Ok(Value::Null) };
    let format = document.get(at, "format/@type").unwrap_or("raw".into());
    let mut node = object(json!({"driver": format, "read-only": true, "file": storage}));
    if let Some(backing) = document.child(at, "backingStore") {
        node.put("backing", backing_chain(device, backing)?);
    }
    Ok(node.into_value())
}

/// `qemuBlockStorageSourceGetBackendProps`
fn storage(device: Device<'_>, at: NodeId) -> Result<Option<Value>, Error> {
    let document = device.domain.document();
    if document.child(at, "source").is_none() {
        return Ok(None);
    }
    let missing = |name| document.error(at, Problem::MissingAttribute(name));
    let (driver, name) = match document.get(at, "@type").unwrap_or("file".into()).as_ref() {
        "file" => ("file", document.get(at, "source/@file")),
        "block" => ("host_device", document.get(at, "source/@dev")),
        other => return Err(unsupported(device, format!("disk source of type `{other}`"))),
    };
    // An empty drive may say so.
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        let removable = matches!(device.get("@device").as_deref(), Some("cdrom" | "floppy"));
        return if removable { Ok(None) } else { Err(missing("file")) };
    };
    let mut storage = object(json!({
        "driver": driver,
        "filename": name,
        "auto-read-only": true,
        "discard": "unmap",
    }));
    if at == device.node {
        storage.text("aio", device.get("driver/@io"));
        if let Some(cache) = cache(device)? {
            storage.put("cache", json!({"direct": cache.direct, "no-flush": cache.no_flush}));
        }
    }
    Ok(Some(storage.into_value()))
}

fn text(device: Device<'_>, element: &str) -> Option<String> {
    let document = device.domain.document();
    Some(document.text(document.child(device.node, element)?).into_owned())
}

fn is_there(device: Device<'_>, element: &str) -> bool {
    device.domain.document().child(device.node, element).is_some()
}
