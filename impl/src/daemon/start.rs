//! From a definition to a process, so that a kill at any point loses neither.
//!
//! The definition that a start will use is written beside the monitor before QEMU is started, and removed when the
//! status file is there. What a killed daemon has left half started, the next one finds by it: [`unfinished`].

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{
    devices::{chardev_option, describe},
    places::Places,
};
use crate::{
    domain::{Class, Domain, Error, Problem},
    hotplug::{BackendKind, Device},
    hypervisor::process::{Launch, Process},
};

/// What a start is about to use.
pub(super) const STARTING: &str = "starting.xml";

/// The live definition that a start makes of a kept one.
pub(super) fn live_definition(kept: &Domain) -> Result<Domain, Error> {
    let mut live = kept.clone();
    live.post_parse()?;
    live.assign_addresses()?;
    live.assign_aliases()?;
    live.validate_aliases()?;
    Ok(live)
}

/// How its QEMU is started.
pub(super) fn launch(
    live: &Domain,
    places: &Places,
    name: &str,
    ready_within: Duration,
) -> Result<Launch, Error> {
    let directory = places.domain(name);
    Ok(Launch {
        binary: binary(live),
        arguments: arguments(live)?,
        monitor: places.monitor(name),
        pidfile: directory.join("pid"),
        log: directory.join("qemu.log"),
        ready_within,
    })
}

fn binary(domain: &Domain) -> PathBuf {
    match domain.emulator().filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(&*path),
        None => {
            let machine = domain.machine();
            let arch = if machine.arch.is_empty() { "x86_64" } else { &*machine.arch };
            PathBuf::from(format!("qemu-system-{arch}"))
        }
    }
}

/// The command line, in libvirt's words (`qemuBuildCommandLine`) as far as it is built here.
fn arguments(domain: &Domain) -> Result<Vec<OsString>, Error> {
    let mut all: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| all.extend(words.iter().map(OsString::from));
    let document = domain.document();
    let machine = domain.machine();
    let name = domain.name()?.replace(',', ",,");
    add(&["-name", &format!("guest={name}"), "-uuid", &*domain.uuid()?]);
    let machine = if machine.name.is_empty() { "pc" } else { &*machine.name };
    add(&["-machine", &format!("{machine},usb=off,dump-guest-core=off")]);
    let accelerator = match document.get(domain.root(), "@type").as_deref() {
        Some("kvm") => "kvm",
        _ => "tcg",
    };
    add(&["-accel", accelerator]);
    if domain.machine().is_x86() && document.descendant(domain.root(), "features/acpi").is_none() {
        add(&["-no-acpi"]);
    }
    add(&["-m", &format!("size={}k", memory_kib(domain)?)]);
    let processors = match document.child(domain.root(), "vcpu") {
        Some(node) => document.text(node).trim().to_owned(),
        None => "1".to_owned(),
    };
    if processors.parse::<u32>().is_err() {
        let value = processors.chars().take(64).collect();
        let problem = Problem::Value { value, expected: "a number of virtual processors" };
        return Err(document.error(domain.root(), problem));
    }
    add(&["-smp", &processors]);
    // Nothing that the definition does not name; the guest runs when the status file is there.
    add(&["-display", "none", "-no-user-config", "-nodefaults", "-S", "-boot", "strict=on"]);
    // Buses before what is on them, and bridges before what is behind them.
    let (controllers, others): (Vec<_>, Vec<_>) =
        domain.devices().partition(|device| device.class == Class::Controller);
    let (pci, controllers): (Vec<_>, Vec<_>) =
        controllers.into_iter().partition(|controller| controller.kind() == "pci");
    for device in pci.into_iter().chain(controllers).chain(others) {
        if let Some(described) = describe(domain, device.node)? {
            device_arguments(&described, &mut all);
        }
    }
    Ok(all)
}

fn device_arguments(device: &Device, all: &mut Vec<OsString>) {
    if let (Some(backend), Some(command)) = (&device.backend, device.add_backend()) {
        let properties = Value::Object(command.arguments);
        let (option, value) = match backend.kind {
            BackendKind::Chardev => {
                let id = backend.kind.id(&device.alias);
                ("-chardev", chardev_option(&id, &properties["backend"]))
            }
            BackendKind::Object => ("-object", properties.to_string()),
            BackendKind::Netdev => ("-netdev", properties.to_string()),
            BackendKind::BlockNode => ("-blockdev", properties.to_string()),
        };
        all.extend([option.into(), value.into()]);
    }
    let properties = Value::Object(device.add_frontend().arguments);
    all.extend(["-device".into(), properties.to_string().into()]);
}

fn memory_kib(domain: &Domain) -> Result<u64, Error> {
    let document = domain.document();
    let Some(node) = document.child(domain.root(), "memory") else {
        return Err(document.error(domain.root(), Problem::MissingElement("memory")));
    };
    let text = document.text(node);
    let unit = document.attribute(node, "unit").unwrap_or("KiB".into());
    // `virParseScaleString`
    let bytes: Option<u64> = match &*unit {
        "b" | "bytes" => Some(1),
        "KB" => Some(1000),
        "k" | "K" | "KiB" => Some(1 << 10),
        "MB" => Some(1_000_000),
        "m" | "M" | "MiB" => Some(1 << 20),
        "GB" => Some(1_000_000_000),
        "g" | "G" | "GiB" => Some(1 << 30),
        _ => None,
    };
    let size = text.trim().parse::<u64>().ok().zip(bytes).and_then(|(n, unit)| n.checked_mul(unit));
    match size.map(|size| size.div_ceil(1 << 10)) {
        Some(kib) if kib > 0 => Ok(kib),
        _ => {
            let value = format!("{} {unit}", text.trim()).chars().take(64).collect();
            Err(document.error(node, Problem::Value { value, expected: "a size of memory" }))
        }
    }
}

/// What a start that was cut short has left.
#[derive(Debug)]
pub(super) enum Unfinished {
    /// QEMU was never started, or did not come up.
    Nothing,
    /// It runs.
    Runs(Process),
    /// It is neither up nor gone.
    Comes,
}

/// Looks once what became of a start. Its QEMU is known by its pidfile, or before that by its command line, which
/// names the pidfile.
pub(super) fn unfinished(pidfile: &Path) -> io::Result<Unfinished> {
    if let Ok(process) = Process::of_pidfile(pidfile)
        && names(process.pid, pidfile)
    {
        return Ok(Unfinished::Runs(process));
    }
    let mut entries = fs::read_dir("/proc")?.flatten();
    let comes = entries.any(|entry| {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        pid.is_some_and(|pid: u32| pid != std::process::id() && names(pid, pidfile))
    });
    Ok(if comes { Unfinished::Comes } else { Unfinished::Nothing })
}

/// Does the command line of this process name this file?
fn names(pid: u32, path: &Path) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words.split(|&byte| byte == 0).any(|word| word == path.as_os_str().as_encoded_bytes())
}
