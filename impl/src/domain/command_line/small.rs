//! Video cards, input devices, the balloon, random numbers and hubs.

use super::{
    Backend, Chardev, Parts, Properties, alias, backend_id, number, place, qom_object, unsupported,
    virtio,
};
use crate::{
    domain::{Class, Device, Error, Problem, tree::NodeId},
    hotplug::BackendKind,
};

/// Memory of a video card that does not say: `virDomainVideoDefaultRAM`, in KiB.
const VIDEO_RAM: u32 = 16 << 10;

/// `qemuBuildDeviceVideoCmd`
pub(super) fn video(device: Device<'_>) -> Result<Parts, Error> {
    let kind = device.kind().into_owned();
    if kind == "none" {
        return Ok(Parts::default());
    }
    if device.get("driver/@name").as_deref() == Some("vhostuser") {
        return Err(unsupported(device, "a video card of another process".to_owned()));
    }
    let first = device.domain.of(Class::Video).next();
    let machine = device.domain.machine();
    let has_vga = machine.is_x86() || machine.is_ppc64();
    let primary = first.is_some_and(|first| first.node == device.node);
    let accelerated = device.get("model/acceleration/@accel3d").as_deref() == Some("yes");
    let gl = if accelerated { "-gl" } else { "" };
    let mut properties = match (&*kind, primary) {
        ("vga", true) => Properties::new("VGA"),
        ("cirrus", true) => Properties::new("cirrus-vga"),
        ("vmvga", true) => Properties::new("vmware-svga"),
        ("bochs", true) => Properties::new("bochs-display"),
        ("ramfb", true) => Properties::new("ramfb"),
        ("qxl", true) => Properties::new("qxl-vga"),
        ("qxl", false) => Properties::new("qxl"),
        ("virtio", true) if has_vga => Properties::new(&format!("virtio-vga{gl}")),
        ("virtio", _) => virtio(device, &format!("virtio-gpu{gl}"), "")?,
        (kind, true) => return Err(unsupported(device, format!("video card `{kind}`"))),
        (kind, false) => {
            let what = format!("video card `{kind}` that is not the first");
            return Err(unsupported(device, what));
        }
    };
    properties.put("id", alias(device)?);
    let memory = |path: &str, default| Ok::<_, Error>(number(device, path)?.unwrap_or(default));
    match &*kind {
        "qxl" => {
            properties.put("max_outputs", memory("model/@heads", 1)?);
            let bytes = |kib: u32| u64::from(kib) << 10;
            properties.put("ram_size", bytes(memory("model/@ram", 64 << 10)?));
            properties.put("vram_size", bytes(memory("model/@vram", 64 << 10)?));
            properties.put("vram64_size_mb", memory("model/@vram64", 0)? >> 10);
            properties.put("vgamem_mb", memory("model/@vgamem", VIDEO_RAM)? >> 10);
        }
        "virtio" => properties.put("max_outputs", memory("model/@heads", 1)?),
        "vga" | "vmvga" => properties.put("vgamem_mb", memory("model/@vram", VIDEO_RAM)? >> 10),
        "bochs" => {
            let kib = memory("model/@vram", VIDEO_RAM)?;
            properties.put("vgamem", u64::from(kib) << 10);
        }
        _ => {}
    }
    properties.positive("xres", number(device, "model/resolution/@x")?);
    properties.positive("yres", number(device, "model/resolution/@y")?);
    place::put(device, &mut properties)?;
    Ok(Parts::frontend(properties))
}

/// `qemuBuildInputUSBDevProps`, `qemuBuildInputVirtioDevProps`, `qemuBuildInputEvdevProps`
pub(super) fn input(device: Device<'_>) -> Result<Parts, Error> {
    let kind = device.kind().into_owned();
    let source = || {
        let path = device.get("source/@evdev").or_else(|| device.get("source/@dev"));
        let path = path.ok_or_else(|| device.error(Problem::MissingAttribute("evdev")))?;
        Ok::<_, Error>(path.into_owned())
    };
    if kind == "evdev" {
        let mut object = qom_object("input-linux", &alias(device)?).with("evdev", source()?);
        object.switch("repeat", device.get("source/@repeat"));
        if device.get("source/@grab").as_deref() == Some("all") {
            object.put("grab_all", true);
        }
        object.text("grab-toggle", device.get("source/@grabToggle"));
        let object = Backend::Object(object.into_value());
        return Ok(Parts { backends: vec![object], ..Parts::default() });
    }
    let mut properties = match (&*device.get("@bus").unwrap_or_default(), &*kind) {
        ("usb", "mouse") => Properties::new("usb-mouse"),
        ("usb", "tablet") => Properties::new("usb-tablet"),
        ("usb", "keyboard") => Properties::new("usb-kbd"),
        ("virtio", _) => {
            let base = match &*kind {
                "mouse" => "virtio-mouse",
                "tablet" => "virtio-tablet",
                "keyboard" => "virtio-keyboard",
                "passthrough" => "virtio-input-host",
                other => return Err(unsupported(device, format!("input `{other}` on virtio"))),
            };
            let mut properties = virtio(device, base, &device.get("@model").unwrap_or_default())?;
            if kind == "passthrough" {
                properties.put("evdev", source()?);
            }
            properties
        }
        // The machine's own.
        ("ps2", _) => return Ok(Parts::default()),
        (bus, kind) => return Err(unsupported(device, format!("input `{kind}` on bus `{bus}`"))),
    };
    properties.put("id", alias(device)?);
    place::put(device, &mut properties)?;
    Ok(Parts::frontend(properties))
}

/// `qemuBuildMemballoonCommandLine`
pub(super) fn balloon(device: Device<'_>) -> Result<Parts, Error> {
    let model = device.kind().into_owned();
    if model == "none" {
        return Ok(Parts::default());
    }
    let mut properties = virtio(device, "virtio-balloon", &model)?;
    properties.put("id", alias(device)?);
    properties.switch("deflate-on-oom", device.get("@autodeflate"));
    properties.switch("free-page-reporting", device.get("@freePageReporting"));
    place::put(device, &mut properties)?;
    Ok(Parts::frontend(properties))
}

/// `qemuBuildRNGDevProps`, `qemuBuildRNGBackendProps`
pub(super) fn rng(device: Device<'_>) -> Result<Parts, Error> {
    let document = device.domain.document();
    let backend: Option<NodeId> = document.child(device.node, "backend");
    let backend = backend.ok_or_else(|| device.error(Problem::MissingElement("backend")))?;
    let id = backend_id(device, BackendKind::Object)?;
    let mut parts = Parts::default();
    let object = match document.attribute(backend, "model").unwrap_or_default().as_ref() {
        "random" => {
            let file = document.text(backend).trim().to_owned();
            // `virDomainRNGDefPostParse`
            let file = if file.is_empty() { "/dev/urandom".to_owned() } else { file };
            qom_object("rng-random", &id).with("filename", file)
        }
        "builtin" => qom_object("rng-builtin", &id),
        "egd" => {
            let chardev = backend_id(device, BackendKind::Chardev)?;
            parts.backends.push(Backend::Chardev(Chardev::of(device, backend, chardev.clone())?));
            qom_object("rng-egd", &id).with("chardev", chardev)
        }
        other => {
            let value = other.chars().take(64).collect();
            let expected = "a model of random numbers: random, egd or builtin";
            return Err(document.error(backend, Problem::Value { value, expected }));
        }
    };
    parts.backends.push(Backend::Object(object.into_value()));
    let mut properties = virtio(device, "virtio-rng", &device.kind())?;
    properties.put("rng", id);
    properties.put("id", alias(device)?);
    if let Some(bytes) = number(device, "rate/@bytes")?.filter(|&bytes| bytes > 0) {
        properties.put("max-bytes", bytes);
        let period = number(device, "rate/@period")?.filter(|&period| period > 0);
        properties.put("period", period.unwrap_or(1000));
    }
    place::put(device, &mut properties)?;
    parts.frontend = Some(properties.into_value());
    Ok(parts)
}

/// `qemuBuildHubDevCmd`
pub(super) fn hub(device: Device<'_>) -> Result<Parts, Error> {
    if device.kind() != "usb" {
        return Err(unsupported(device, format!("hub of type `{}`", device.kind())));
    }
    let mut properties = Properties::new("usb-hub").with("id", alias(device)?);
    place::put(device, &mut properties)?;
    Ok(Parts::frontend(properties))
}
