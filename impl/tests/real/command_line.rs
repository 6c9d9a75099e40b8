//! The arguments that are built for a definition, on a real QEMU: it starts with them and has those devices.

use std::{collections::BTreeSet, path::PathBuf};

use serde_json::Value;
use statusquo_vmm::{
    domain::{Class, Domain, command_line},
    hotplug::{Machine, Record, Request},
    hypervisor::{Command, Hypervisor, process::Launch},
};
use tempfile::TempDir;

use super::machine::{PATIENCE, Real, qemu};

fn start(binary: PathBuf, domain: &Domain, dir: TempDir) -> Real {
    let arguments = command_line::arguments(domain).unwrap();
    let launch = Launch {
        binary,
        arguments: arguments.into_iter().map(Into::into).collect(),
        monitor: dir.path().join("monitor"),
        pidfile: dir.path().join("pid"),
        log: dir.path().join("log"),
        ready_within: PATIENCE,
    };
    Real::start(&launch, dir)
}

impl Real {
    fn ask(&mut self, command: &Command) -> Value {
        self.client.execute(command).unwrap().unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// The ids that QEMU has for devices, character devices and block nodes.
    fn has(&mut self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let peripheral = self.ask(&Command::qom_list("/machine/peripheral"));
        for child in peripheral.as_array().unwrap() {
            if child["name"] != "type" {
                names.insert(child["name"].as_str().unwrap().to_owned());
            }
        }
        for chardev in self.ask(&Command::query_chardev()).as_array().unwrap() {
            let label = chardev["label"].as_str().unwrap();
            if !label.starts_with("compat_monitor") {
                names.insert(label.to_owned());
            }
        }
        for node in self.ask(&Command::query_named_block_nodes()).as_array().unwrap() {
            let name = node["node-name"].as_str().unwrap();
            if !name.starts_with('#') {
                names.insert(name.to_owned());
            }
        }
        names
    }
}

#[track_caller]
fn complete(machine: &str, devices: &str) -> Domain {
    let mut domain = Domain::parse(&format!(
        "<domain type='qemu'>\n<name>one, two</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>\
         <memory unit='MiB'>32</memory><vcpu current='1'>2</vcpu>\
         <os><type arch='x86_64' machine='{machine}'>hvm</type><boot dev='cdrom'/><boot dev='hd'/></os>\
         <features><acpi/></features>\n<devices>\n{devices}\n</devices></domain>"
    ))
    .unwrap();
    domain.post_parse().unwrap();
    domain.assign_addresses().unwrap();
    domain.assign_aliases().unwrap();
    domain
}

/// Every class that QEMU can have without a device of the host.
fn everything(dir: &std::path::Path, q35: bool) -> String {
    for name in ["disk,one", "two", "three", "four", "floppy", "cd"] {
        std::fs::write(dir.join(name), vec![0; 1 << 16]).unwrap();
    }
    let dir = dir.to_str().unwrap();
    let own = match q35 {
        false => format!(
            "<controller type='usb' model='ich9-ehci1'/><controller type='usb' model='ich9-uhci1'><master startport='0'/></controller>\
             <controller type='usb' model='ich9-uhci2'><master startport='2'/></controller><controller type='usb' model='ich9-uhci3'><master startport='4'/></controller>\
             <controller type='sata'/><controller type='pci' index='1' model='pci-bridge'/><video><model type='vga'/></video>\
             <disk type='file' device='cdrom'><source file='{dir}/cd'/><target dev='hda'/></disk>"
        ),
        true => format!(
            "<controller type='usb' model='qemu-xhci' ports='8'/><controller type='pci' index='1' model='pcie-root-port'/>\
             <video><model type='virtio'/></video>\
             <disk type='file' device='cdrom'><source file='{dir}/cd'/><target dev='sdq' bus='sata'/></disk>"
        ),
    };
    format!(
        "{own}<controller type='scsi' model='virtio-scsi'/><controller type='scsi' model='lsilogic'/>\
         <controller type='virtio-serial' ports='16' vectors='4'/>\
         <disk type='file'><driver type='raw' cache='none' discard='unmap'/><source file='{dir}/disk,one'/><target dev='vda' bus='virtio'/><serial>one</serial></disk>\
         <disk type='file'><source file='{dir}/two'/><target dev='sda' bus='scsi'/></disk>\
         <disk type='file'><source file='{dir}/three'/><target dev='sdh' bus='scsi'/></disk>\
         <disk type='file'><source file='{dir}/four'/><target dev='sdb' bus='usb'/></disk>\
         <disk type='file' device='floppy'><source file='{dir}/floppy'/><target dev='fda'/></disk>\
         <interface type='user'><mac address='52:54:00:00:00:01'/><model type='e1000'/></interface>\
         <interface type='user'><mac address='52:54:00:00:00:02'/><model type='virtio'/><driver event_idx='off'/></interface>\
         <serial type='pty'/><serial type='tcp'><source mode='bind' host='127.0.0.1' service='0'/></serial>\
         <serial type='null'><target type='usb-serial'/></serial>\
         <serial type='file'><source path='{dir}/log,file' append='on'/><target type='pci-serial'/></serial>\
         <parallel type='null'/>\
         <channel type='unix'><source mode='bind' path='{dir}/a,channel'/><target type='virtio' name='one'/><log file='{dir}/log' append='on'/></channel>\
         <console type='pty'/><console type='null'><target type='virtio'/></console>\
         <input type='tablet' bus='usb'/><input type='keyboard' bus='virtio'/>\
         <rng model='virtio'><rate bytes='123'/><backend model='random'>/dev/urandom</backend></rng>\
         <rng model='virtio-non-transitional'><backend model='builtin'/></rng>\
         <memballoon model='virtio' autodeflate='on'/>"
    )
}

/// The ids that a definition says QEMU has.
fn expected(domain: &Domain) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for device in domain.devices() {
        let parts = command_line::parts(device).unwrap();
        let id = parts.frontend.as_ref().and_then(|frontend| frontend.get("id"));
        names.extend(id.and_then(Value::as_str).map(str::to_owned));
        for backend in parts.backends {
            match backend {
                command_line::Backend::Chardev(chardev) => {
                    names
                        .extend(chardev.to_command().and_then(|c| c.text("id").map(str::to_owned)));
                }
                command_line::Backend::BlockNode(node) => {
                    names.extend(node["node-name"].as_str().map(str::to_owned));
                }
                _ => {}
            }
        }
    }
    names
}

#[test]
fn qemu_starts_with_the_arguments_and_has_every_device() {
    let Some(binary) = qemu() else { return };
    for (machine, q35) in [("pc", false), ("q35", true)] {
        let dir = tempfile::tempdir().unwrap();
        let domain = complete(machine, &everything(dir.path(), q35));
        let expected = expected(&domain);
        let mut real = start(binary.clone(), &domain, dir);
        assert_eq!(real.has(), expected, "{machine}");
        assert!(expected.len() > 30, "{machine}: {expected:?}");
    }
}

#[test]
fn what_is_plugged_arrives_with_its_names_and_goes() {
    let Some(binary) = qemu() else { return };
    for (machine, express) in [("pc", false), ("q35", true)] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("disk"), vec![0; 1 << 16]).unwrap();
        let path = dir.path().to_str().unwrap().to_owned();
        // Ports that are free.
        let port =
            |index| format!("<controller type='pci' index='{index}' model='pcie-root-port'/>");
        let own: String = if express { (1..10).map(port).collect() } else { String::new() };
        let domain = complete(
            machine,
            &format!(
                "{own}<controller type='virtio-serial'/><controller type='scsi' model='virtio-scsi'/>"
            ),
        );
        let mut real = start(binary.clone(), &domain, dir);
        let nic = if express { "e1000e" } else { "e1000" };
        let mut domain = domain;
        for xml in [
            format!(
                "<channel type='unix'><source mode='bind' path='{path}/s'/><target type='virtio' name='one'/></channel>"
            ),
            "<serial type='null'><target type='usb-serial'/></serial>".to_owned(),
            "<rng model='virtio'><backend model='builtin'/></rng>".to_owned(),
            format!(
                "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='{nic}'/></interface>"
            ),
            format!(
                "<disk type='file'><source file='{path}/disk'/><target dev='vda' bus='virtio'/></disk>"
            ),
            format!(
                "<disk type='file'><readonly/><source file='{path}/disk'/><target dev='sda' bus='scsi'/><shareable/></disk>"
            ),
            "<input type='mouse' bus='usb'/>".to_owned(),
        ] {
            let plugged =
                domain.plug(&xml).unwrap_or_else(|error| panic!("{machine}: {xml}: {error}"));
            // Through the procedure that the daemon uses.
            let mut procedure = Machine::new(Record::default());
            procedure.request(Request::Attach(plugged.device.clone())).unwrap();
            let told = common::run(&mut procedure, &mut real.client);
            assert_eq!(told, format!("attached {}", plugged.device.alias), "{machine}: {xml}");
            domain = plugged.domain;
        }
        let expected = expected(&domain);
        assert_eq!(real.has(), expected, "{machine}");
        assert_eq!(domain.of(Class::Rng).count(), 1);
    }
}

/// Runs a procedure to its end on a real machine, without a status file.
mod common {
    use statusquo_vmm::{
        hotplug::{Done, Effect, Machine, Told},
        hypervisor::{Hypervisor, qmp::Client},
    };

    pub(super) fn run(procedure: &mut Machine, client: &mut Client) -> String {
        loop {
            let Some(effect) = procedure.next_effect() else { return "nothing".to_owned() };
            let done = match &effect {
                Effect::Save(_) => Done::Saved(Ok(())),
                Effect::Qmp(_, command) => Done::Replied(client.execute(command).unwrap()),
                Effect::Look => panic!("nothing to look for"),
                Effect::TakeEvent(_) => Done::Taken,
                Effect::Tell(tell) => match &tell.reply {
                    Some(Told::Attached { alias }) => return format!("attached {alias}"),
                    other => panic!("{other:?}"),
                },
            };
            procedure.done(done);
        }
    }
}
