//! Aliases: the names by which QEMU and users know devices.

use std::collections::BTreeSet;

use super::{
    Address, Class, Device, Domain, Error, Problem,
    device::{disk_bus, disk_index},
    tree::NodeId,
};

/// What a user's own alias begins with: `USER_ALIAS_PREFIX`.
const USER_PREFIX: &str = "ua-";

/// Most bytes of a user's alias.
///
/// libvirt and QEMU have no such limit, but the names of backends, sockets and files are made of it.
const USER_ALIAS_MAX: usize = 128;

/// May a user give this alias? (`virDomainDeviceAliasIsUserAlias`, `USER_ALIAS_CHARS` in
/// `virDomainDeviceInfoParseXML`)
pub fn is_user_alias(alias: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    alias.starts_with(USER_PREFIX) && alias.bytes().all(allowed)
}

/// When an alias is chosen: some classes count differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    Start,
    Hotplug,
}

impl Domain {
    /// Gives every device its alias, as when a domain starts: `qemuAssignDeviceAliases`.
    ///
    /// Aliases that are there already stay.
    pub fn assign_aliases(&mut self) -> Result<(), Error> {
        for class in Class::ALL {
            let nodes: Vec<NodeId> = self.of(class).map(|device| device.node).collect();
            for (position, node) in nodes.into_iter().enumerate() {
                self.assign(node, position, Moment::Start)?;
            }
        }
        Ok(())
    }

    /// Gives one device its alias, as when it is plugged: the assigners of `qemu_alias.c` with index -1.
    ///
    /// The next number is one more than the largest in use. One difference is meant: libvirt calls the first input
    /// that is plugged into a domain without inputs `input-1` (`qemuAssignDeviceInputAlias`); here it is `input0`.
    pub fn assign_alias(&mut self, node: NodeId) -> Result<(), Error> {
        self.assign(node, 0, Moment::Hotplug)
    }

    fn assign(&mut self, node: NodeId, position: usize, moment: Moment) -> Result<(), Error> {
        let Some(device) = self.device(node) else { return Ok(()) };
        if device.alias().is_some() {
            return Ok(());
        }
        let Some(alias) = self.new_alias(device, position, moment)? else { return Ok(()) };
        self.document_mut().put(node, "alias/@name", &alias)?;
        Ok(())
    }

    fn new_alias(
        &self,
        device: Device<'_>,
        position: usize,
        moment: Moment,
    ) -> Result<Option<String>, Error> {
        // libvirt counts some classes by their place in the definition, unless they are plugged.
        let counted = |prefix: &str| match moment {
            Moment::Start => format!("{prefix}{position}"),
            Moment::Hotplug => self.next(&[device.class], prefix, &[]),
        };
        let next = |prefix: &str| self.next(&[device.class], prefix, &[]);
        let alias = match device.class {
            Class::Disk => return self.disk_alias(device).map(Some),
            Class::Controller => self.controller_alias(device)?,
            // `virDomainNetResolveActualType`; the alias is shared with hostdevs.
            Class::Interface if actual_type(device) == "hostdev" => {
                self.next(&[Class::Hostdev, Class::Interface], "hostdev", &[])
            }
            Class::Interface => next("net"),
            Class::Hostdev => self.next(&[Class::Hostdev, Class::Interface], "hostdev", &[]),
            Class::Filesystem => next("fs"),
            Class::Rng => next("rng"),
            Class::Redirdev => counted("redir"),
            Class::Shmem => counted("shmem"),
            Class::Input => counted("input"),
            Class::Parallel | Class::Serial | Class::Channel => counted(device.class.element()),
            Class::Console => match self.overlaid_serial(device.node) {
                // Shown with the alias of its serial port: `virDomainDefFormatInternalSetRootName`.
                Some(serial) => match serial.alias() {
                    Some(alias) => alias.into_owned(),
                    None => return Ok(None),
                },
                // `qemuGetNextChrDevIndex` counts consoles that are called after their serial port, too. One that
                // has a user alias is still number 0: `console0` is a name of that pair.
                None if moment == Moment::Hotplug => {
                    let next = self.next(&[Class::Console], "console", &["serial"]);
                    if self.has_paired_console() && next == "console0" {
                        "console1".to_owned()
                    } else {
                        next
                    }
                }
                None => format!("console{position}"),
            },
            Class::Sound | Class::Video | Class::Hub | Class::Smartcard | Class::Tpm => {
                format!("{}{position}", device.class.element())
            }
            Class::Watchdog => "watchdog0".to_owned(),
            Class::Vsock => "vsock0".to_owned(),
            Class::Iommu => "iommu0".to_owned(),
            Class::Memballoon if device.kind() == "none" => return Ok(None),
            Class::Memballoon => "balloon0".to_owned(),
            Class::Memory => return self.memory_alias(device),
            Class::Panic
            | Class::Nvram
            | Class::Graphics
            | Class::Audio
            | Class::Lease
            | Class::Crypto => return Ok(None),
        };
        Ok(Some(alias))
    }

    /// One more than the largest number in use: `qemuDomainDeviceAliasIndex`.
    fn next(&self, classes: &[Class], prefix: &str, others: &[&str]) -> String {
        let devices = self.devices().filter(|device| classes.contains(&device.class));
        let used = devices.filter_map(|device| {
            let alias = device.alias()?;
            let mut prefixes = std::iter::once(&prefix).chain(others);
            prefixes.find_map(|prefix| alias.strip_prefix(prefix)?.parse::<u32>().ok())
        });
        let next = used.max().map_or(0, |largest| u64::from(largest) + 1);
        format!("{prefix}{next}")
    }

    /// `qemuAssignDeviceDiskAlias`
    fn disk_alias(&self, disk: Device<'_>) -> Result<String, Error> {
        let bus = disk_bus(self.document(), disk.node);
        match disk.address()? {
            Some(Address::Drive(drive)) => {
                let mut alias = format!("{bus}{}-{}-", drive.controller, drive.bus);
                if bus == "scsi" && self.scsi_model(drive.controller)? != "lsilogic" {
                    alias += &format!("{}-", drive.target);
                }
                Ok(alias + &drive.unit.to_string())
            }
            _ => {
                let target = disk.get("target/@dev").unwrap_or_default();
                let index = disk_index(&target).ok_or_else(|| {
                    let value = target.chars().take(64).collect();
                    let expected = "a disk's name such as vda";
                    self.document().error(disk.node, Problem::Value { value, expected })
                })?;
                Ok(format!("{bus}-disk{index}"))
            }
        }
    }

    /// The model of the SCSI controller `index`, with the default: `qemuDomainFindSCSIControllerModel`.
    pub(super) fn scsi_model(&self, index: u32) -> Result<String, Error> {
        for controller in self.of(Class::Controller) {
            if controller.kind() == "scsi"
                && controller.index()? == Some(index)
                && let Some(model) = controller.get("@model")
            {
                return Ok(model.into_owned());
            }
        }
        Ok(self.default_scsi_model().to_owned())
    }

    /// `qemuDomainGetSCSIControllerModel`, for a QEMU that has every controller.
    pub(super) fn default_scsi_model(&self) -> &'static str {
        let machine = self.machine();
        if machine.is_pseries() {
            "ibmvscsi"
        } else if machine.is_s390() || machine.is_arm() || machine.is_riscv() {
            "virtio-scsi"
        } else if machine.arch == "sparc" || matches!(&*machine.name, "magnum" | "pica61" | "q800")
        {
            "ncr53c90"
        } else {
            "lsilogic"
        }
    }

    /// `qemuAssignDeviceControllerAlias`
    fn controller_alias(&self, controller: Device<'_>) -> Result<String, Error> {
        let machine = self.machine();
        let kind = controller.kind();
        let index = controller.index()?.unwrap_or(0);
        let model = controller.get("@model").unwrap_or_default();
        Ok(match (&*kind, index) {
            ("pci", _) if !machine.has_pci_multibus() => "pci".to_owned(),
            ("pci", _) if model == "pcie-root" => format!("pcie.{index}"),
            ("pci", _) => format!("pci.{index}"),
            ("ide", 0) if machine.has_builtin_ide() => "ide".to_owned(),
            ("sata", 0) if machine.is_q35() => "ide".to_owned(),
            ("usb", 0) => "usb".to_owned(),
            ("scsi", 0) if model == "ncr53c90" => "scsi".to_owned(),
            _ => format!("{kind}{index}"),
        })
    }

    /// `qemuAssignDeviceMemoryAlias`
    fn memory_alias(&self, memory: Device<'_>) -> Result<Option<String>, Error> {
        let prefix = match &*memory.kind() {
            "dimm" => "dimm",
            "nvdimm" => "nvdimm",
            "virtio-pmem" => return Ok(Some(self.next(&[Class::Memory], "virtiopmem", &[]))),
            "virtio-mem" => return Ok(Some(self.next(&[Class::Memory], "virtiomem", &[]))),
            "sgx-epc" => return Ok(Some(self.next(&[Class::Memory], "epc", &[]))),
            _ => return Ok(None),
        };
        // By slot; without an address the first slot that is free (`qemuAssignMemoryDeviceSlot`).
        let slot = |node| self.document().number(node, "address/@slot");
        if let Some(slot) = slot(memory.node)? {
            return Ok(Some(format!("{prefix}{slot}")));
        }
        let mut used = BTreeSet::new();
        for other in self.of(Class::Memory) {
            used.extend(slot(other.node)?);
            let alias = other.alias().unwrap_or_default();
            let number = alias.trim_start_matches("nv").strip_prefix("dimm");
            used.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
        Ok((0..).find(|slot| !used.contains(slot)).map(|slot| format!("{prefix}{slot}")))
    }

    /// Checks that every user alias is one, and that no two devices have the same: `virDomainDefValidateAliases`.
    ///
    /// An alias that begins with `ua-` and goes on with something else is dropped by libvirt without a word
    /// (`virDomainDeviceInfoParseXML`); here it is an error, so call this before [`Domain::drop_assigned_aliases`].
    /// A console that only shows a serial port is the same device. libvirt skips the serial port itself instead, so
    /// that another device can take its alias; here that is an error.
    pub fn validate_aliases(&self) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        for device in self.devices() {
            let Some(alias) = device.alias() else { continue };
            if alias.starts_with(USER_PREFIX)
                && (!is_user_alias(&alias) || alias.len() > USER_ALIAS_MAX)
            {
                let value = alias.chars().take(64).flat_map(char::escape_debug).collect();
                let expected =
                    "a user alias: `ua-` and then letters, digits, `_` and `-`, 128 in all at most";
                return Err(device.error(Problem::Value { value, expected }));
            }
            let overlay =
                device.class == Class::Console && self.overlaid_serial(device.node).is_some();
            if is_user_alias(&alias) && !overlay && !seen.insert(alias.clone()) {
                let problem = Problem::DuplicateAlias(alias.into_owned());
                return Err(self.document().error(device.node, problem));
            }
        }
        Ok(())
    }

    /// Removes the aliases that are not the user's, as when an inactive definition is read:
    /// `virDomainDeviceInfoParseXML` with `VIR_DOMAIN_DEF_PARSE_INACTIVE`.
    pub fn drop_assigned_aliases(&mut self) {
        let assigned: Vec<NodeId> = self
            .devices()
            .filter(|device| device.alias().is_none_or(|alias| !is_user_alias(&alias)))
            .filter_map(|device| self.document().child(device.node, "alias"))
            .collect();
        for alias in assigned {
            self.document_mut().remove(alias);
        }
    }
}

/// `virDomainNetResolveActualType`
fn actual_type(interface: Device<'_>) -> String {
    let actual = interface.get("actual/@type").or_else(|| interface.get("@type"));
    actual.unwrap_or_default().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(machine: &str, devices: &str) -> Domain {
        Domain::parse(&format!(
            "<domain><os><type arch='x86_64' machine='{machine}'>hvm</type></os>\
             <devices>{devices}</devices></domain>"
        ))
        .unwrap()
    }

    fn aliases(domain: &Domain) -> String {
        let aliases = domain.devices().map(|d| d.alias().unwrap_or("-".into()).into_owned());
        aliases.collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(machine: &str, devices: &str, expected: &str) {
        let mut domain = domain(machine, devices);
        domain.assign_aliases().unwrap();
        assert_eq!(aliases(&domain), expected);
        // Whatever has an alias keeps it.
        let written = domain.to_xml();
        domain.assign_aliases().unwrap();
        assert_eq!(domain.to_xml(), written);
    }

    #[test]
    fn every_class_is_called_as_libvirt_does() {
        check(
            "pc",
            "<disk><target dev='vda' bus='virtio'/></disk><disk><target dev='vdaa'/></disk>\
             <disk><target dev='hda'/><address type='drive' controller='0' bus='1' unit='1'/></disk>\
             <disk><target dev='sda' bus='sata'/><address type='drive' unit='3'/></disk>\
             <disk><target dev='sdb' bus='usb'/></disk>",
            "virtio-disk0 virtio-disk26 ide0-1-1 sata0-0-3 usb-disk1",
        );
        check(
            "pc",
            "<disk><target dev='sda' bus='scsi'/><address type='drive' target='2' unit='3'/></disk>\
             <disk><target dev='sdb' bus='scsi'/><address type='drive' controller='1' target='2' unit='3'/></disk>\
             <controller type='scsi' index='1' model='virtio-scsi'/>",
            "scsi0-0-3 scsi1-0-2-3 scsi1",
        );
        check(
            "pc",
            "<interface type='network'/><interface type='hostdev'/><interface type='user'><alias name='ua-x'/></interface>\
             <interface type='user'/><hostdev/><hostdev/>",
            "net0 hostdev0 ua-x net1 hostdev1 hostdev2",
        );
        check(
            "pc",
            "<controller type='pci' index='0' model='pci-root'/><controller type='pci' index='1' model='pci-bridge'/>\
             <controller type='ide' index='0'/><controller type='ide' index='1'/><controller type='usb' index='0'/>\
             <controller type='usb' index='1'/><controller type='virtio-serial' index='0'/><controller type='sata' index='0'/>",
            "pci.0 pci.1 ide ide1 usb usb1 virtio-serial0 sata0",
        );
        check(
            "q35",
            "<controller type='pci' index='0' model='pcie-root'/><controller type='pci' index='1' model='pcie-root-port'/>\
             <controller type='sata' index='0'/>",
            "pcie.0 pci.1 ide",
        );
        check(
            "pc",
            "<input/><video/><parallel/><serial/><serial/><channel/><rng/><rng/><memballoon model='virtio'/>\
             <memballoon model='none'/><redirdev><alias name='ua-x'/></redirdev><redirdev/><watchdog/><sound/>",
            "input0 video0 parallel0 serial0 serial1 channel0 rng0 rng1 balloon0 - ua-x redir1 watchdog0 sound0",
        );
    }

    #[test]
    fn the_first_serial_console_shows_the_alias_of_its_serial_port() {
        check(
            "pc",
            "<serial/><console><target type='serial'/></console><console><target type='virtio'/></console>",
            "serial0 serial0 console1",
        );
        check("pc", "<console><target type='virtio'/></console>", "console0");
    }

    #[test]
    fn a_plugged_device_gets_one_more_than_the_largest_number() {
        let plugged = |devices: &str, xml: &str| {
            let mut domain = domain("pc", devices);
            domain.assign_aliases().unwrap();
            let node = domain.add_device(xml).unwrap();
            domain.assign_alias(node).unwrap();
            domain.device(node).unwrap().alias().unwrap().into_owned()
        };
        assert_eq!(
            plugged("<channel><alias name='channel7'/></channel><channel/>", "<channel/>"),
            "channel8"
        );
        assert_eq!(
            plugged("<serial/><console/>", "<console><target type='virtio'/></console>"),
            "console1"
        );
        let named = "<serial><alias name='ua-x'/></serial><console/>";
        assert_eq!(plugged(named, "<console><target type='virtio'/></console>"), "console1");
        assert_eq!(plugged("", "<input/>"), "input0");
        assert_eq!(plugged("<rng><alias name='rng4294967295'/></rng>", "<rng/>"), "rng4294967296");
        assert_eq!(plugged("<redirdev><alias name='ua-x'/></redirdev>", "<redirdev/>"), "redir0");
    }

    #[test]
    fn user_aliases_are_checked() {
        for (alias, expected) in [
            ("ua-", true),
            ("ua-a_B-9", true),
            ("ua-a.b", false),
            ("serial0", false),
            ("UA-x", false),
        ] {
            assert_eq!(is_user_alias(alias), expected, "{alias}");
        }
        let alias = "<alias name='ua-x'/>";
        let twice = domain("pc", &format!("<serial/>\n<disk>{alias}</disk>\n<rng>{alias}</rng>"));
        let error = twice.validate_aliases().unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 3, column 1, /domain/devices/rng: alias `ua-x` is used by more than one device"
        );
        // The console shows its serial port; the disk is another device.
        let shown = format!("<serial>{alias}</serial><console>{alias}</console>");
        domain("pc", &shown).validate_aliases().unwrap();
        domain("pc", &format!("{shown}<disk>{alias}</disk>")).validate_aliases().unwrap_err();
    }

    #[test]
    fn a_malformed_user_alias_is_refused_with_its_place() {
        let error = |alias: &str| {
            let device = format!("<serial/>\n  <rng><alias name='{alias}'/></rng>");
            domain("pc", &device).validate_aliases().unwrap_err().to_string()
        };
        let expected =
            "a user alias: `ua-` and then letters, digits, `_` and `-`, 128 in all at most";
        let at = "line 2, column 3, /domain/devices/rng";
        assert_eq!(
            error("ua-&lt;b&gt;&quot;&#10;"),
            format!("{at}: `ua-<b>\\\"\\n` is not {expected}")
        );
        // Ten kilobytes: the message stays short.
        let long = format!("ua-{}", "x".repeat(10 << 10));
        assert_eq!(error(&long), format!("{at}: `ua-{}` is not {expected}", "x".repeat(61)));
        assert_eq!(error("ua-ü"), format!("{at}: `ua-ü` is not {expected}"));
        // Another name is no user alias, and is replaced.
        let other = format!("<rng><alias name='{}'/></rng>", "x".repeat(10 << 10));
        let mut other = domain("pc", &other);
        other.validate_aliases().unwrap();
        other.drop_assigned_aliases();
        other.assign_aliases().unwrap();
        assert_eq!(aliases(&other), "rng0");
    }

    #[test]
    fn an_inactive_definition_keeps_only_user_aliases() {
        let mut domain =
            domain("pc", "<rng><alias name='ua-x'/></rng><rng><alias name='rng1'/></rng>");
        domain.drop_assigned_aliases();
        assert_eq!(aliases(&domain), "ua-x -");
    }
}
