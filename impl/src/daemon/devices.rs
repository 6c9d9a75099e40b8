//! From a device of a definition to what QEMU is asked for it.

use serde_json::{Map, Value, json};

use crate::{
    domain::{Address, Class, Device, Domain, Error, Problem, tree::NodeId},
    hotplug::{self, BackendKind},
    hypervisor::Command,
};

/// What QEMU is asked for the device `node`; nothing for what the machine has by itself.
///
/// The names are those of libvirt 9.0.0 (`src/qemu/qemu_command.c`). The device must have its address; where it has
/// no alias, whoever plugs it gives it one.
///
/// # Errors
/// When it is of a class or kind that is not built here; the error names the element.
pub(super) fn describe(domain: &Domain, node: NodeId) -> Result<Option<hotplug::Device>, Error> {
    let Some(device) = domain.device(node) else { return Ok(None) };
    let it = Describer { domain, device };
    let Some(mut described) = it.describe()? else { return Ok(None) };
    described.alias = device.alias().unwrap_or_default().into_owned();
    described.xml = device.to_xml();
    Ok(Some(described))
}

#[derive(Clone, Copy)]
struct Describer<'a> {
    domain: &'a Domain,
    device: Device<'a>,
}

fn add(driver: &str) -> Command {
    Command::new("device_add").with("driver", driver)
}

impl Describer<'_> {
    fn describe(self) -> Result<Option<hotplug::Device>, Error> {
        let kind = self.device.kind().into_owned();
        Ok(match self.device.class {
            Class::Channel if kind == "virtio" => {
                let name = self.device.get("target/@name");
                let port = add("virtserialport");
                let port = match name {
                    Some(name) => port.with("name", name.into_owned()),
                    None => port,
                };
                Some(self.chardev("channel", self.on_virtio_serial(port)?)?)
            }
            Class::Console if kind == "virtio" => {
                Some(self.chardev("console", self.on_virtio_serial(add("virtconsole"))?)?)
            }
            // It only shows a serial port.
            Class::Console if self.domain.overlaid_serial(self.device.node).is_some() => None,
            Class::Serial => match &*kind {
                "usb-serial" => Some(self.chardev("serial", self.on_usb(add("usb-serial"))?)?),
                "isa-serial" | "" => {
                    let index = self.number("target/@port")?.unwrap_or(0);
                    Some(self.chardev("serial", add("isa-serial").with("index", index))?)
                }
                "pci-serial" => Some(self.chardev("serial", self.on_pci(add("pci-serial"))?)?),
                _ => return Err(self.unsupported()),
            },
            Class::Parallel => {
                let index = self.number("target/@port")?.unwrap_or(0);
                Some(self.chardev("parallel", add("isa-parallel").with("index", index))?)
            }
            Class::Rng => Some(self.rng()?),
            Class::Interface => Some(self.interface()?),
            Class::Disk => self.disk()?,
            Class::Controller => self.controller()?,
            Class::Input => self.input(&kind)?,
            Class::Video => self.video(&kind)?,
            Class::Memballoon if kind == "none" => None,
            Class::Memballoon => Some(hotplug::Device::without_backend(
                "balloon",
                self.on_pci(add("virtio-balloon-pci"))?,
            )),
            Class::Watchdog | Class::Audio | Class::Panic => None,
            _ => return Err(self.unsupported()),
        })
    }

    fn unsupported(self) -> Error {
        let kind = self.device.kind();
        let of = if kind.is_empty() { String::new() } else { format!(" of kind `{kind}`") };
        let what = format!("a device {}{of}", self.device.class.element());
        self.error(Problem::Unsupported(what))
    }

    fn error(self, problem: Problem) -> Error {
        self.domain.document().error(self.device.node, problem)
    }

    fn number(self, path: &str) -> Result<Option<u32>, Error> {
        self.domain.document().number(self.device.node, path)
    }

    /// The alias of the controller of this type and index, which is the name of its bus or begins it.
    fn controller_alias(self, kind: &str, index: u32) -> Result<String, Error> {
        for controller in self.domain.of(Class::Controller) {
            if controller.kind() == kind
                && controller.index()?.unwrap_or(0) == index
                && let Some(alias) = controller.alias()
            {
                return Ok(alias.into_owned());
            }
        }
        let what =
            format!("a device on controller {index} of type {kind}, which the domain does not have,");
        Err(self.error(Problem::Unsupported(what)))
    }

    fn on_pci(self, command: Command) -> Result<Command, Error> {
        let Some(Address::Pci(pci)) = self.device.address()? else {
            return Err(self.error(Problem::MissingElement("address type='pci'")));
        };
        let bus = self.controller_alias("pci", pci.bus)?;
        let address = match pci.function {
            0 => format!("{:#x}", pci.slot),
            function => format!("{:#x}.{function:#x}", pci.slot),
        };
        let command = command.with("bus", bus).with("addr", address);
        Ok(if pci.multifunction { command.with("multifunction", true) } else { command })
    }

    fn on_usb(self, command: Command) -> Result<Command, Error> {
        let Some(Address::Usb(usb)) = self.device.address()? else {
            return Err(self.error(Problem::MissingElement("address type='usb'")));
        };
        let bus = format!("{}.0", self.controller_alias("usb", usb.bus)?);
        Ok(command.with("bus", bus).with("port", usb.port_path()))
    }

    fn on_virtio_serial(self, command: Command) -> Result<Command, Error> {
        let Some(Address::VirtioSerial(port)) = self.device.address()? else {
            return Err(self.error(Problem::MissingElement("address type='virtio-serial'")));
        };
        let bus = format!("{}.0", self.controller_alias("virtio-serial", port.controller)?);
        Ok(command.with("bus", bus).with("nr", port.port))
    }

    fn chardev(self, prefix: &str, frontend: Command) -> Result<hotplug::Device, Error> {
        let add = Command::new("chardev-add").with("backend", self.chardev_backend()?);
        let kind = BackendKind::Chardev;
        Ok(hotplug::Device::with_backend(prefix, frontend, kind, add, "chardev"))
    }

    fn chardev_backend(self) -> Result<Value, Error> {
        let get = |path: &str| self.device.get(path).map(|value| value.into_owned());
        let needs = |path: &'static str| {
            get(path).ok_or_else(|| self.error(Problem::MissingAttribute(path)))
        };
        let is_server = get("source/@mode").as_deref() == Some("bind");
        let socket = |address: Value| {
            let mut data = Map::new();
            data.insert("addr".to_owned(), address);
            data.insert("server".to_owned(), is_server.into());
            if is_server {
                data.insert("wait".to_owned(), false.into());
            }
            json!({"type": "socket", "data": data})
        };
        Ok(match &*self.device.backend() {
            "null" => json!({"type": "null", "data": {}}),
            "pty" => json!({"type": "pty", "data": {}}),
            "file" => json!({"type": "file", "data": {
                "out": needs("source/@path")?,
                "append": get("source/@append").as_deref() == Some("on"),
            }}),
            "unix" => socket(json!({"type": "unix", "data": {"path": needs("source/@path")?}})),
            "tcp" => socket(json!({"type": "inet", "data": {
                "host": needs("source/@host")?, "port": needs("source/@service")?,
            }})),
            other => {
                let what = format!("a character device of type `{other}`");
                return Err(self.error(Problem::Unsupported(what)));
            }
        })
    }

    fn rng(self) -> Result<hotplug::Device, Error> {
        let document = self.domain.document();
        let backend = document
            .child(self.device.node, "backend")
            .ok_or_else(|| self.error(Problem::MissingElement("backend")))?;
        let add = match document.attribute(backend, "model").as_deref() {
            Some("random") => {
                let file = document.text(backend);
                let file = if file.is_empty() { "/dev/urandom".into() } else { file.into_owned() };
                Command::new("object-add").with("qom-type", "rng-random").with("filename", file)
            }
            Some("builtin") => Command::new("object-add").with("qom-type", "rng-builtin"),
            _ => return Err(self.unsupported()),
        };
        let frontend = self.on_pci(add_virtio("virtio-rng-pci", self.device))?;
        Ok(hotplug::Device::with_backend("rng", frontend, BackendKind::Object, add, "rng"))
    }

    fn interface(self) -> Result<hotplug::Device, Error> {
        if self.device.get("@type").as_deref() != Some("user") {
            let kind = self.device.get("@type").unwrap_or_default();
            let what = format!("an interface of type `{kind}` (only `user` is built)");
            return Err(self.error(Problem::Unsupported(what)));
        }
        let driver = match &*self.device.kind() {
            "virtio" => "virtio-net-pci".to_owned(),
            "" => "rtl8139".to_owned(),
            model => model.to_owned(),
        };
        let mut frontend = self.on_pci(add_virtio(&driver, self.device))?;
        if let Some(mac) = self.device.get("mac/@address") {
            frontend = frontend.with("mac", mac.into_owned());
        }
        let add = Command::new("netdev_add").with("type", "user");
        Ok(hotplug::Device::with_backend("net", frontend, BackendKind::Netdev, add, "netdev"))
    }

    fn disk(self) -> Result<Option<hotplug::Device>, Error> {
        let bus = self.device.kind().into_owned();
        let is_cdrom = self.device.get("@device").as_deref() == Some("cdrom");
        let frontend = match &*bus {
            "virtio" => self.on_pci(add("virtio-blk-pci"))?,
            "usb" => self.on_usb(add("usb-storage"))?,
            "scsi" => {
                let drive = self.drive()?;
                let bus = format!("{}.0", self.controller_alias("scsi", drive.controller)?);
                add(if is_cdrom { "scsi-cd" } else { "scsi-hd" })
                    .with("bus", bus)
                    .with("channel", drive.bus)
                    .with("scsi-id", drive.target)
                    .with("lun", drive.unit)
            }
            "ide" | "sata" => {
                let drive = self.drive()?;
                let bus = match &*bus {
                    "ide" => format!("ide.{}", drive.bus),
                    _ => format!("{}.{}", self.controller_alias("sata", drive.controller)?, drive.unit),
                };
                let unit = if self.device.kind() == "ide" { drive.unit } else { 0 };
                add(if is_cdrom { "ide-cd" } else { "ide-hd" }).with("bus", bus).with("unit", unit)
            }
            _ => return Err(self.unsupported()),
        };
        let Some(file) = self.device.get("source/@file") else {
            // A drive without a medium has no node.
            let device = hotplug::Device::without_backend("disk", frontend);
            return match &*bus {
                "ide" | "sata" => Ok(Some(device)),
                _ => Err(self.error(Problem::MissingAttribute("source/@file"))),
            };
        };
        let is_readonly = is_cdrom || self.domain.document().child(self.device.node, "readonly").is_some();
        let file = json!({"driver": "file", "filename": file});
        let format = self.device.get("driver/@type").unwrap_or("raw".into()).into_owned();
        let add = Command::new("blockdev-add")
            .with("driver", format)
            .with("read-only", is_readonly)
            .with("file", file);
        let device =
            hotplug::Device::with_backend("disk", frontend, BackendKind::BlockNode, add, "drive");
        Ok(Some(device))
    }

    fn drive(self) -> Result<crate::domain::Drive, Error> {
        match self.device.address()? {
            Some(Address::Drive(drive)) => Ok(drive),
            _ => Err(self.error(Problem::MissingElement("address type='drive'"))),
        }
    }

    fn controller(self) -> Result<Option<hotplug::Device>, Error> {
        let kind = self.device.kind().into_owned();
        let model = self.device.get("@model").unwrap_or_default().into_owned();
        let alone = |command| hotplug::Device::without_backend(&kind, command);
        Ok(match (&*kind, &*model) {
            ("virtio-serial", _) => Some(alone(self.on_pci(add("virtio-serial-pci"))?)),
            ("scsi", "virtio-scsi") => Some(alone(self.on_pci(add("virtio-scsi-pci"))?)),
            ("scsi", "lsilogic" | "lsi") => Some(alone(self.on_pci(add("lsi"))?)),
            ("usb", "qemu-xhci" | "nec-xhci") => {
                let driver = if model == "qemu-xhci" { "qemu-xhci" } else { "nec-usb-xhci" };
                Some(alone(self.on_pci(add(driver))?))
            }
            // They are parts of another device of the machine, or companions of each other.
            ("usb", "piix3-uhci" | "") => Some(alone(self.on_pci(add("piix3-usb-uhci"))?)),
            ("usb", "ehci") => Some(alone(self.on_pci(add("usb-ehci"))?)),
            ("usb", "none") => None,
            ("pci", "pcie-root-port") => {
                let mut command = self.on_pci(add("pcie-root-port"))?;
                if let Some(chassis) = self.number("target/@chassis")? {
                    command = command.with("chassis", chassis);
                }
                if let Some(port) = self.device.get("target/@port") {
                    let hex = u32::from_str_radix(port.trim_start_matches("0x"), 16);
                    command = command.with("port", hex.unwrap_or(0));
                }
                Some(alone(command))
            }
            ("pci", "pci-bridge") => {
                let chassis = self.number("target/@chassisNr")?.or(self.device.index()?);
                let command = self.on_pci(add("pci-bridge"))?.with("chassis_nr", chassis.unwrap_or(1));
                Some(alone(command))
            }
            ("pci", "pci-root" | "pcie-root") | ("ide" | "fdc" | "sata", _) => None,
            _ => return Err(self.unsupported()),
        })
    }

    fn input(self, kind: &str) -> Result<Option<hotplug::Device>, Error> {
        let bus = self.device.get("@bus").unwrap_or_default().into_owned();
        let driver = match (&*bus, kind) {
            // The machine has them by itself.
            ("ps2", _) => return Ok(None),
            ("usb", "tablet") => "usb-tablet",
            ("usb", "mouse") => "usb-mouse",
            ("usb", "keyboard") => "usb-kbd",
            _ => return Err(self.unsupported()),
        };
        Ok(Some(hotplug::Device::without_backend("input", self.on_usb(add(driver))?)))
    }

    fn video(self, model: &str) -> Result<Option<hotplug::Device>, Error> {
        let driver = match model {
            "none" => return Ok(None),
            "vga" => "VGA",
            "cirrus" => "cirrus-vga",
            "virtio" => "virtio-vga",
            _ => return Err(self.unsupported()),
        };
        // QEMU: "Device … does not support hotplugging".
        Ok(Some(hotplug::Device::without_backend("video", self.on_pci(add(driver))?)))
    }
}

/// The driver of a virtio model; `virtio-non-transitional` has a driver of its own.
fn add_virtio(driver: &str, device: Device<'_>) -> Command {
    match &*device.kind() {
        "virtio-transitional" => add(&format!("{driver}-transitional")),
        "virtio-non-transitional" => add(&format!("{driver}-non-transitional")),
        _ => add(driver),
    }
}

/// A character device as an option of the command line, which knows no JSON here.
pub(super) fn chardev_option(id: &str, backend: &Value) -> String {
    let data = &backend["data"];
    let text = |value: &Value| value.as_str().unwrap_or_default().replace(',', ",,");
    let on = |value: &Value| if value.as_bool() == Some(true) { "on" } else { "off" };
    match backend["type"].as_str().unwrap_or_default() {
        "socket" => {
            let address = &data["addr"]["data"];
            let place = match data["addr"]["type"].as_str() {
                Some("unix") => format!("path={}", text(&address["path"])),
                _ => format!("host={},port={}", text(&address["host"]), text(&address["port"])),
            };
            let server = on(&data["server"]);
            let wait = if server == "on" { ",wait=off" } else { "" };
            format!("socket,id={id},{place},server={server}{wait}")
        }
        "file" => format!("file,id={id},path={},append={}", text(&data["out"]), on(&data["append"])),
        other => format!("{other},id={id}"),
    }
}
