//! The guest of a run: its definition, its devices, its emulator, and its part of a PCI unplug.

use std::{
    fs, io,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
};

use serde_json::{Value, json};
use statusquo_vmm::{
    domain::Domain,
    hotplug::BackendKind,
    hypervisor::{
        Command, Hypervisor, Inventory,
        qmp::{Client, Limits},
    },
};

use super::{DOMAIN, PATIENCE};

/// A class of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Channel,
    UsbSerial,
    Rng,
    Nic,
}

impl Class {
    pub(super) const ALL: [Class; 4] = [Class::Channel, Class::UsbSerial, Class::Rng, Class::Nic];

    pub(super) fn name(self) -> &'static str {
        match self {
            Class::Channel => "channel",
            Class::UsbSerial => "usb-serial",
            Class::Rng => "virtio rng",
            Class::Nic => "e1000 nic",
        }
    }

    /// Its unplug needs the guest: it is a PCI device.
    pub(super) fn guest_ejects(self) -> bool {
        matches!(self, Class::Rng | Class::Nic)
    }

    pub(super) fn prefix(self) -> &'static str {
        match self {
            Class::Channel => "channel",
            Class::UsbSerial => "serial",
            Class::Rng => "rng",
            Class::Nic => "net",
        }
    }

    pub(super) fn backend(self) -> BackendKind {
        match self {
            Class::Channel | Class::UsbSerial => BackendKind::Chardev,
            Class::Rng => BackendKind::Object,
            Class::Nic => BackendKind::Netdev,
        }
    }

    /// One more device; at a place that is taken, QEMU will refuse it.
    pub(super) fn xml(self, place_taken: bool) -> String {
        let place = match (place_taken, self) {
            (false, _) => "",
            (true, Class::Channel) => {
                "<address type='virtio-serial' controller='0' bus='0' port='30'/>"
            }
            (true, Class::UsbSerial) => "<address type='usb' bus='0' port='2'/>",
            (true, _) => {
                "<address type='pci' domain='0x0000' bus='0x00' slot='0x1e' function='0x0'/>"
            }
        };
        match self {
            Class::Channel => {
                format!("<channel type='null'><target type='virtio'/>{place}</channel>")
            }
            Class::UsbSerial => {
                format!("<serial type='null'><target type='usb-serial'/>{place}</serial>")
            }
            Class::Rng => format!(
                "<rng model='virtio'><backend model='random'>/dev/urandom</backend>{place}</rng>"
            ),
            Class::Nic => {
                format!("<interface type='user'><model type='e1000'/>{place}</interface>")
            }
        }
    }

    /// The number of an alias of this class.
    pub(super) fn number(self, alias: &str) -> Option<u8> {
        alias.strip_prefix(self.prefix())?.parse().ok()
    }

    /// Numbers in a definition.
    pub(super) fn in_definition(self, domain: &Domain) -> Vec<u8> {
        let aliases = domain.devices().filter_map(|device| device.alias());
        sorted(aliases.filter_map(|alias| self.number(&alias)))
    }

    pub(super) fn frontends(self, inventory: &Inventory) -> Vec<u8> {
        sorted(inventory.devices.iter().filter_map(|alias| self.number(alias)))
    }

    pub(super) fn backends(self, inventory: &Inventory) -> Vec<u8> {
        let ids = match self.backend() {
            BackendKind::Chardev => &inventory.chardevs,
            BackendKind::Object => &inventory.objects,
            BackendKind::Netdev => &inventory.netdevs,
            BackendKind::BlockNode => &inventory.blocknodes,
        };
        let aliases = ids.iter().filter_map(|id| self.backend().alias_of(id));
        sorted(aliases.filter_map(|alias| self.number(alias)))
    }
}

pub(super) fn sorted(numbers: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut numbers: Vec<u8> = numbers.collect();
    numbers.sort_unstable();
    numbers
}

/// The domain, whose emulator is the script in `dir`.
pub(super) fn definition(dir: &Path) -> String {
    let emulator = dir.join("emulator");
    format!(
        "<domain type='qemu'><name>{DOMAIN}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>\
         <emulator>{}</emulator><controller type='usb' index='0' model='piix3-uhci'/>\
         <controller type='virtio-serial' index='0'/><memballoon model='none'/></devices></domain>",
        emulator.display()
    )
}

/// Of x86: QEMU whose processor is parked, with devices that nobody knows at the places where [`Class::xml`] finds
/// them taken.
pub(super) fn write_crowded_emulator(dir: &Path, qemu: &Path) -> io::Result<()> {
    // In JSON, for QEMU makes all devices of the other form first, and their buses would not be there yet.
    let devices = [
        r#"{"driver":"virtserialport","bus":"virtio-serial0.0","nr":30}"#,
        r#"{"driver":"usb-mouse","bus":"usb.0","port":"2"}"#,
        r#"{"driver":"pci-testdev","addr":"0x1e"}"#,
    ];
    write_emulator(&dir.join("emulator"), qemu, true, &devices)
}

/// A script for the domain's emulator: this QEMU with a second monitor and qtest, with its processor parked (x86
/// only; other firmware waits for what does not come), and with these devices.
pub(super) fn write_emulator(
    path: &Path,
    qemu: &Path,
    is_parked: bool,
    devices: &[&str],
) -> io::Result<()> {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut more = String::new();
    if is_parked {
        let firmware = dir.join("firmware");
        fs::write(&firmware, crate::systems::qemu::parked_firmware())?;
        more += &format!(" -bios {}", quoted(&firmware));
    }
    for device in devices {
        more += &format!(" -device '{device}'");
    }
    let script = format!(
        "#!/bin/sh\nexec {qemu} \"$@\" -qtest-log /dev/null -qtest unix:{look}/qtest,server=on,wait=off \
         -qmp unix:{look}/look,server=on,wait=off{more}\n",
        qemu = quoted(qemu),
        look = dir.display(),
    );
    fs::write(path, script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// The second monitor.
pub(super) fn look(dir: &Path) -> Result<Client, String> {
    let limits = Limits { connect_within: PATIENCE, reply_within: PATIENCE, ..Limits::default() };
    Client::connect(dir.join("look"), limits).map_err(|error| error.to_string())
}

/// Where a chipset has the registers of its PCI hot-plug (QEMU 7.2 `docs/specs/acpi_pci_hotplug.rst`,
/// `include/hw/acpi/pcihp.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chipset {
    I440fx,
    Ich9,
}

impl Chipset {
    fn base(self) -> u16 {
        match self {
            Chipset::I440fx => 0xae00,
            Chipset::Ich9 => 0x0cc0,
        }
    }
}

/// A property of something that QEMU has.
pub(super) fn property(look: &mut Client, path: &str, name: &str) -> Result<Value, String> {
    let command = Command::of("qom-get", json!({"path": path, "property": name}));
    let answer = look.execute(&command).map_err(|error| error.to_string())?;
    answer.map_err(|error| format!("{name} of {path}: {error}"))
}

/// The guest lets go of a PCI device: it chooses the bus and writes the slot's bit to the eject register, asked or
/// not.
pub(super) fn eject(
    dir: &Path,
    look: &mut Client,
    chipset: Chipset,
    alias: &str,
) -> Result<(), String> {
    let (bus_select, eject) = (chipset.base() + 0x10, chipset.base() + 0x08);
    let path = format!("/machine/peripheral/{alias}");
    let address = property(look, &path, "addr")?;
    let function = address.as_u64().ok_or_else(|| format!("`{alias}` is at {address}"))?;
    let bit = 1_u32 << (function >> 3);
    let bus = property(look, &path, "parent_bus")?;
    let bus = bus.as_str().ok_or_else(|| format!("`{alias}` is on {bus}"))?;
    let number = property(look, bus, "acpi-pcihp-bsel")?;
    let stream = UnixStream::connect(dir.join("qtest")).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
    let mut lines = BufReader::new(&stream);
    for line in [format!("outl {bus_select:#x} {number}\n"), format!("outl {eject:#x} {bit:#x}\n")]
    {
        (&stream).write_all(line.as_bytes()).map_err(|error| error.to_string())?;
        let mut answer = String::new();
        lines.read_line(&mut answer).map_err(|error| error.to_string())?;
        if !answer.starts_with("OK") {
            return Err(format!("qtest answers {answer:?} to {line:?}"));
        }
    }
    Ok(())
}
