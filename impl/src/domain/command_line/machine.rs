//! What a machine is, devices apart.

use serde_json::json;

use super::chardev::escaped;
use crate::domain::{Domain, Error, Problem, tree::NodeId};

/// Adds the arguments before the devices, in the order of `qemuBuildCommandLine`.
pub(super) fn push(domain: &Domain, arguments: &mut Vec<String>) -> Result<(), Error> {
    let document = domain.document();
    // An option without a value has an empty one here.
    let mut add = |option: &str, value: String| {
        arguments.extend([option.to_owned(), value].into_iter().filter(|text| !text.is_empty()));
    };
    add("-name", format!("guest={},debug-threads=on", escaped(&domain.name()?)));
    add("-S", String::new());
    let machine = domain.machine();
    let name = machine.name.to_string();
    if name.is_empty() {
        return Err(at(domain, "os/type", Problem::MissingAttribute("machine")));
    }
    // The memory is an object, so that its name is the same for every machine of the architecture.
    let ram = if machine.is_x86() {
        Some("pc.ram")
    } else if machine.is_pseries() {
        Some("ppc_spapr.ram")
    } else if machine.is_s390() {
        Some("s390.ram")
    } else if machine.is_arm_virt() {
        Some("mach-virt.ram")
    } else if machine.is_riscv_virt() {
        Some("riscv_virt_board.ram")
    } else {
        None
    };
    let backend = ram.map_or(String::new(), |ram| format!(",memory-backend={ram}"));
    add("-machine", format!("{},usb=off,dump-guest-core=off{backend}", escaped(&name)));
    let accelerator = match document.get(domain.root(), "@type").as_deref() {
        Some("kvm") => "kvm",
        Some("qemu") => "tcg",
        Some("hvf") => "hvf",
        _ => {
            let value = document.get(domain.root(), "@type").unwrap_or_default();
            let value = value.chars().take(64).collect();
            let expected = "a type of domain that QEMU runs: kvm, qemu or hvf";
            return Err(document.error(domain.root(), Problem::Value { value, expected }));
        }
    };
    add("-accel", accelerator.to_owned());
    if let Some(cpu) = cpu(domain)? {
        add("-cpu", cpu);
    }
    for path in ["os/loader", "os/nvram"] {
        if document.descendant(domain.root(), path).is_some() {
            let problem = Problem::Unsupported(format!("{path} on a command line"));
            return Err(at(domain, path, problem));
        }
    }
    let mebibytes = memory(domain)?;
    add("-m", mebibytes.to_string());
    if let Some(ram) = ram {
        let size = mebibytes << 20;
        let object = json!({"qom-type": "memory-backend-ram", "id": ram, "size": size});
        add("-object", object.to_string());
    }
    add("-overcommit", "mem-lock=off".to_owned());
    add("-smp", processors(domain)?);
    if let Ok(uuid) = domain.uuid() {
        add("-uuid", uuid.into_owned());
    }
    add("-display", "none".to_owned());
    add("-no-user-config", String::new());
    add("-nodefaults", String::new());
    let clock = match document.get(domain.root(), "clock/@offset").as_deref() {
        None | Some("utc") => "base=utc",
        Some("localtime") => "base=localtime",
        Some(other) => {
            let problem = Problem::Unsupported(format!("clock offset `{other}`"));
            return Err(at(domain, "clock", problem));
        }
    };
    add("-rtc", clock.to_owned());
    add("-no-shutdown", String::new());
    if machine.is_x86() && document.descendant(domain.root(), "features/acpi").is_none() {
        add("-no-acpi", String::new());
    }
    let menu = match document.get(domain.root(), "os/bootmenu/@enable").as_deref() {
        Some("yes") => "menu=on,",
        Some("no") => "menu=off,",
        _ => "",
    };
    add("-boot", format!("{menu}strict=on"));
    for (option, path) in
        [("-kernel", "os/kernel"), ("-initrd", "os/initrd"), ("-append", "os/cmdline")]
    {
        let node = document.descendant(domain.root(), path);
        let text = node.map(|node| document.text(node).into_owned());
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            add(option, text);
        }
    }
    Ok(())
}

/// An error at an element, or at the root if it is missing.
fn at(domain: &Domain, path: &str, problem: Problem) -> Error {
    let document = domain.document();
    let node = document.descendant(domain.root(), path);
    document.error(node.unwrap_or(domain.root()), problem)
}

/// Models that need no knowledge of the host: `qemuBuildCpuModelArgStr`.
fn cpu(domain: &Domain) -> Result<Option<String>, Error> {
    let document = domain.document();
    let Some(cpu) = document.child(domain.root(), "cpu") else { return Ok(None) };
    match document.attribute(cpu, "mode").as_deref() {
        Some("host-passthrough") => Ok(Some("host".to_owned())),
        Some("maximum") => Ok(Some("max".to_owned())),
        Some("host-model") => {
            let what = "CPU mode host-model, which asks for this host's features,".to_owned();
            Err(document.error(cpu, Problem::Unsupported(what)))
        }
        _ => {
            let model =
                document.child(cpu, "model").map(|model| document.text(model).trim().to_owned());
            if let Some(feature) = document.child(cpu, "feature") {
                let what = "a CPU feature on a command line".to_owned();
                return Err(document.error(feature, Problem::Unsupported(what)));
            }
            Ok(model.filter(|model| !model.is_empty()))
        }
    }
}

/// Memory in MiB, rounded up: `virDomainParseMemory`, `qemuDomainDefSetDefaultMemory`.
fn memory(domain: &Domain) -> Result<u64, Error> {
    let document = domain.document();
    let node = document.child(domain.root(), "memory");
    let node = node.ok_or_else(|| at(domain, "", Problem::MissingElement("memory")))?;
    let bad = |expected| {
        let value = document.text(node).trim().chars().take(64).collect();
        document.error(node, Problem::Value { value, expected })
    };
    let number: u64 = document.text(node).trim().parse().map_err(|_| bad("an amount of memory"))?;
    let unit = match document.attribute(node, "unit").as_deref() {
        None | Some("KiB" | "k" | "K") => 1 << 10,
        Some("b" | "bytes") => 1,
        Some("KB") => 1000,
        Some("MiB" | "M") => 1 << 20,
        Some("MB") => 1_000_000,
        Some("GiB" | "G") => 1 << 30,
        Some("GB") => 1_000_000_000,
        Some("TiB" | "T") => 1 << 40,
        Some("TB") => 1_000_000_000_000,
        Some(_) => return Err(bad("an amount of memory in a known unit")),
    };
    let bytes = number.checked_mul(unit).ok_or_else(|| bad("less memory than there can be"))?;
    match bytes.div_ceil(1 << 20) {
        0 => Err(bad("more memory than none")),
        mebibytes => Ok(mebibytes),
    }
}

/// `qemuBuildSmpCommandLine`
fn processors(domain: &Domain) -> Result<String, Error> {
    let document = domain.document();
    let node: Option<NodeId> = document.child(domain.root(), "vcpu");
    let text = node.map(|node| document.text(node).trim().to_owned());
    let text = text.filter(|text| !text.is_empty()).unwrap_or("1".to_owned());
    let problem = || {
        let value = text.chars().take(64).collect();
        at(domain, "vcpu", Problem::Value { value, expected: "a number of processors" })
    };
    let most: u32 = text.parse().map_err(|_| problem())?;
    let now = document.number(domain.root(), "vcpu/@current")?.unwrap_or(most);
    if most == 0 || now == 0 || now > most {
        return Err(problem());
    }
    let mut arguments = now.to_string();
    if now != most {
        arguments += &format!(",maxcpus={most}");
    }
    let part = |name: &str| document.number(domain.root(), &format!("cpu/topology/@{name}"));
    match (part("sockets")?, part("cores")?, part("threads")?) {
        (Some(sockets), Some(cores), Some(threads)) => {
            arguments += &format!(",sockets={sockets}");
            if let Some(dies) = part("dies")?.filter(|&dies| dies > 1) {
                arguments += &format!(",dies={dies}");
            }
            arguments += &format!(",cores={cores},threads={threads}");
        }
        _ => arguments += &format!(",sockets={most},cores=1,threads=1"),
    }
    Ok(arguments)
}
