//! What a guest sees, compared: `virDomainDefCheckABIStability`.
//!
//! libvirt stops at the first difference and compares devices by their place in the list. Here every difference is
//! told, with its XPath, and a device that has a name of its own is compared with the one of that name: a controller
//! is its type and index, a disk its target, an interface its MAC address.
//!
//! - [`board`]: processors, NUMA, features, timers and SMBIOS.

mod board;

use std::{collections::BTreeMap, fmt};

use super::{
    Address, Class, Domain, Emulator, Error, Reading,
    tree::{Document, NodeId},
};

/// One thing that a guest would see change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// XPath of the element: in the second definition where only that one has it, else in the first.
    pub path: String,
    /// What of it: an attribute, an element, `address`, or `device` where one of the two lacks it.
    pub what: String,
    /// What the first definition says.
    pub first: Option<String>,
    /// What the second says.
    pub second: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |value: &Option<String>| match value {
            Some(value) => format!("`{value}`"),
            None => "missing".to_owned(),
        };
        let (first, second) = (said(&self.first), said(&self.second));
        write!(f, "{}: {} is {first} in the one and {second} in the other", self.path, self.what)
    }
}

/// Of the domain itself. libvirt looks at its name too, which is no guest's business.
const DOMAIN: &[&str] = &[
    "@type",
    "uuid",
    "genid",
    "memory",
    "maxMemory",
    "maxMemory/@slots",
    "vcpu",
    "iothreads",
    "os/type",
    "os/type/@arch",
    "os/type/@machine",
    "os/smbios/@mode",
    "clock/@offset",
];

/// Of a device of each class; its address is compared too. The driver of a host device is not guest ABI.
fn values(class: Class) -> &'static [&'static str] {
    match class {
        Class::Disk => &["@device", "target/@bus", "serial", "wwn", "vendor", "product", "@model"],
        Class::Controller => {
            &["@model", "@ports", "@vectors", "driver/@iommu", "driver/@ats", "driver/@packed"]
        }
        Class::Filesystem => &["target/@dir", "@model"],
        Class::Interface => &["model/@type", "mtu/@size"],
        Class::Input => &["@type", "@bus", "@model"],
        Class::Sound | Class::Watchdog | Class::Memballoon | Class::Rng | Class::Panic => {
            &["@model"]
        }
        Class::Video => &[
            "model/@type",
            "model/@ram",
            "model/@vram",
            "model/@vgamem",
            "model/@heads",
            "model/acceleration/@accel3d",
        ],
        Class::Hostdev => &["@mode", "@type", "@model"],
        Class::Smartcard => &["@mode"],
        Class::Serial | Class::Parallel | Class::Console => {
            &["target/@type", "target/@port", "target/model/@name"]
        }
        Class::Channel => &["target/@type", "target/@name"],
        Class::Hub | Class::Redirdev => &["@type", "@bus"],
        Class::Shmem => &["@name", "model/@type", "size"],
        Class::Tpm => &["@model"],
        Class::Memory => &["@model", "@access", "target/size", "target/node"],
        Class::Iommu => &["@model"],
        Class::Vsock => &["@model", "cid/@address"],
        Class::Nvram | Class::Graphics | Class::Audio | Class::Lease | Class::Crypto => &[],
    }
}

/// Does the guest see devices of this class?
fn is_seen(class: Class) -> bool {
    !matches!(class, Class::Graphics | Class::Audio | Class::Lease)
}

impl Domain {
    /// Every difference between two definitions that a guest would see.
    ///
    /// Both are completed first, as texts about a process, so what one of them leaves out for old receivers is no
    /// difference.
    ///
    /// # Errors
    /// When one of them cannot be completed.
    pub fn abi_differences(
        &self,
        other: &Self,
        emulator: &Emulator,
    ) -> Result<Vec<Difference>, Error> {
        let (mut first, mut second) = (self.clone(), other.clone());
        first.complete(Reading::Process, emulator)?;
        second.complete(Reading::Process, emulator)?;
        let mut found = Vec::new();
        let roots = (first.root(), second.root());
        compare(&first, &second, roots, DOMAIN, &mut found);
        board::compare(&first, &second, &mut found);
        let (ours, theirs) = (first.by_name(), second.by_name());
        for (name, &(class, node)) in &ours {
            match theirs.get(name) {
                Some(&(_, other)) => {
                    compare(&first, &second, (node, other), values(class), &mut found);
                    compare_addresses(&first, &second, (node, other), &mut found)?;
                }
                None => found.push(Difference {
                    path: first.document().path(node),
                    what: "device".to_owned(),
                    first: Some(name.2.clone()),
                    second: None,
                }),
            }
        }
        for (name, &(_, node)) in theirs.iter().filter(|(name, _)| !ours.contains_key(*name)) {
            found.push(Difference {
                path: second.document().path(node),
                what: "device".to_owned(),
                first: None,
                second: Some(name.2.clone()),
            });
        }
        Ok(found)
    }

    /// The devices that a guest sees, by class and name; what has no name is counted.
    fn by_name(&self) -> BTreeMap<(Class, u8, String), (Class, NodeId)> {
        let names: BTreeMap<NodeId, String> =
            self.keys().into_iter().map(|(name, node)| (node, name)).collect();
        let (mut seen, mut unnamed) = (BTreeMap::new(), 0);
        for device in self.devices().filter(|device| is_seen(device.class)) {
            // No controller is what a controller of model `none` says.
            let model = device.get("@model").unwrap_or_default();
            let kind = device.get("@type").unwrap_or_default();
            if device.class == Class::Controller && model == "none" && kind == "usb" {
                continue;
            }
            let (order, name) = match names.get(&device.node) {
                Some(name) => (0, name.clone()),
                // A second device of one name.
                None => {
                    unnamed += 1;
                    (1, format!("{} of a name in use, {unnamed}", device.class.element()))
                }
            };
            seen.insert((device.class, order, name), (device.class, device.node));
        }
        seen
    }
}

fn said(document: &Document, node: NodeId, path: &str) -> Option<String> {
    if path.contains('@') {
        return document.get(node, path).map(|value| value.into_owned());
    }
    let node = document.descendant(node, path)?;
    let text = document.text(node).trim().to_owned();
    let unit = document.attribute(node, "unit");
    if !matches!(path, "memory" | "maxMemory" | "size" | "target/size") {
        return Some(text);
    }
    // Sizes are the same in any unit.
    let bytes = text.parse::<u64>().ok().and_then(|number| {
        let unit = unit.as_deref().unwrap_or("KiB");
        number.checked_mul(scale(unit)?)
    });
    Some(bytes.map_or(text, |bytes| format!("{bytes} bytes")))
}

/// `virScaleInteger`
fn scale(unit: &str) -> Option<u64> {
    let (letter, base) = match unit {
        "b" | "byte" | "bytes" => return Some(1),
        _ => match (unit.get(..1)?, unit.get(1..)?) {
            (letter, "" | "iB") => (letter, 1024_u64),
            (letter, "B") => (letter, 1000),
            _ => return None,
        },
    };
    let power = "kmgtpe".find(&letter.to_lowercase())?;
    base.checked_pow(u32::try_from(power).ok()? + 1)
}

fn compare(
    first: &Domain,
    second: &Domain,
    (ours, theirs): (NodeId, NodeId),
    values: &[&str],
    found: &mut Vec<Difference>,
) {
    for path in values {
        let here = said(first.document(), ours, path);
        let there = said(second.document(), theirs, path);
        if here != there {
            found.push(Difference {
                path: first.document().path(ours),
                what: (*path).to_owned(),
                first: here,
                second: there,
            });
        }
    }
}

fn compare_addresses(
    first: &Domain,
    second: &Domain,
    (ours, theirs): (NodeId, NodeId),
    found: &mut Vec<Difference>,
) -> Result<(), Error> {
    // Whether a slot has more functions is seen in those.
    let plain = |address: Option<Address>| match address {
        Some(Address::Pci(pci)) => Some(Address::Pci(super::Pci { multifunction: false, ..pci })),
        other => other,
    };
    let here = plain(Address::of(first.document(), ours)?);
    let there = plain(Address::of(second.document(), theirs)?);
    if here != there {
        let shown = |domain: &Domain, node, address: Option<Address>| match address {
            Some(Address::Pci(pci)) => Some(pci.to_string()),
            Some(_) => super::defaults::said_address(domain.document(), node),
            None => None,
        };
        found.push(Difference {
            path: first.document().path(ours),
            what: "address".to_owned(),
            first: shown(first, ours, here),
            second: shown(second, theirs, there),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differences(machine: (&str, &str), one: &str, other: &str) -> Vec<String> {
        let read = |devices: &str| {
            let (arch, machine) = machine;
            Domain::parse(&format!(
                "<domain type='kvm'><memory unit='MiB'>64</memory><os><type arch='{arch}' machine='{machine}'>hvm</type></os><devices>{devices}</devices></domain>"
            ))
            .unwrap()
        };
        let found = read(one).abi_differences(&read(other), &Emulator::default()).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_difference_is_told_with_its_path() {
        let one = "<controller type='usb' index='0' model='pci-ohci'/><disk><target dev='vda' bus='virtio'/><serial>a</serial></disk><rng model='virtio'/>";
        let other = "<controller type='usb' index='0' model='nec-xhci'/><disk><target dev='vda' bus='virtio'/><serial>b</serial></disk><sound model='ac97'/>";
        assert_eq!(
            differences(("ppc64", "pseries"), one, other),
            [
                "/domain/devices/disk: serial is `a` in the one and `b` in the other",
                "/domain/devices/disk: address is `0000:00:02.0` in the one and `0000:00:03.0` in the other",
                "/domain/devices/controller[1]: @model is `pci-ohci` in the one and `nec-xhci` in the other",
                "/domain/devices/controller[1]: address is `0000:00:01.0` in the one and `0000:00:02.0` in the other",
                "/domain/devices/memballoon: address is `0000:00:03.0` in the one and `0000:00:04.0` in the other",
                "/domain/devices/rng: device is `rng #1` in the one and missing in the other",
                "/domain/devices/sound: device is missing in the one and `sound #1` in the other",
            ]
        );
    }

    #[test]
    fn what_the_guest_does_not_see_is_no_difference() {
        let one = "<controller type='usb' index='0' model='none'/><hostdev mode='subsystem' type='pci'><driver name='vfio'/><source><address bus='1'/></source></hostdev>";
        let other = "<graphics type='vnc'/><video><model type='none'/></video><controller type='usb' index='0' model='none'/><hostdev mode='subsystem' type='pci'><source><address bus='1'/></source></hostdev>";
        let found = differences(("x86_64", "q35"), one, other);
        assert_eq!(
            found,
            ["/domain/devices/video: device is missing in the one and `video #1` in the other"]
        );
        // What is left out for old receivers.
        let piix3 = "<controller type='usb' index='0' model='piix3-uhci'/>";
        assert_eq!(differences(("x86_64", "pc"), "", piix3), [""; 0]);
    }

    #[test]
    fn sizes_are_compared_in_bytes() {
        let read = |memory: &str| {
            Domain::parse(&format!(
                "<domain type='kvm'>{memory}<os><type arch='x86_64' machine='pc'>hvm</type></os><devices/></domain>"
            ))
            .unwrap()
        };
        let compare = |one: &str, other: &str| {
            let found = read(one).abi_differences(&read(other), &Emulator::default()).unwrap();
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(compare("<memory unit='MiB'>64</memory>", "<memory>65536</memory>"), [""; 0]);
        assert_eq!(
            compare("<memory unit='MiB'>64</memory>", "<memory unit='MB'>64</memory>"),
            ["/domain: memory is `67108864 bytes` in the one and `64000000 bytes` in the other"]
        );
        assert_eq!(
            compare("<memory unit='MiB'>64</memory>", ""),
            ["/domain: memory is `67108864 bytes` in the one and missing in the other"]
        );
    }
}
