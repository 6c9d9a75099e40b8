//! The usb study on libvirt: two private daemons on this host, migration between them, save and restore.
//!
//! What cannot be driven: older libvirts, which are not installed; unplugging a card, which needs a guest that
//! lets it go; QEMUs that lack a device.

use std::{fs, io, path::PathBuf, sync::Arc};

use statusquo_model::studies::usb::{
    Study,
    action::{Action, Outcome, Result as Answer},
    definition::{Asked, Controller, Refusal},
    generation::Generation,
    hardware::{Build, Bus, Device, Hardware, Machine, Model, Place},
    state::State,
};
use statusquo_model::words::words;
use tempfile::TempDir;

use super::{
    Programs,
    daemon::Daemon,
    domain::{NAME, definition},
};
use crate::{
    replay::{Factory, Fault, Observed, System, environment},
    workdir::{self, end_processes},
};

const OLDER: &str = "no older libvirt is installed here";
const NO_GUEST: &str = "unplugging a PCI device needs a guest, and there is none here";

/// libvirt for the usb study, where it can be driven at all.
pub(crate) fn factory(
    study: &Study,
    mut programs: Programs,
) -> Result<Arc<dyn Factory<Study>>, String> {
    let machine = study.machine();
    if study.generation() != Generation::N {
        return Err(format!("libvirt {} is not installed here", study.generation().releases()));
    }
    if study.build() != Build::Upstream {
        return Err("the QEMU of this scope lacks devices that the installed one has".to_owned());
    }
    if machine.is_pseries() {
        programs.qemu = PathBuf::from("/usr/bin/qemu-system-ppc64");
    }
    let version = programs.version()?;
    if !programs.libvirtd.exists() {
        return Err(format!(
            "{}: no such file; on Debian: apt-get install libvirt-daemon",
            programs.libvirtd.display()
        ));
    }
    Ok(Arc::new(Hosts { programs, version, machine }))
}

struct Hosts {
    programs: Programs,
    version: String,
    machine: Machine,
}

impl Factory<Study> for Hosts {
    fn name(&self) -> String {
        format!("libvirt {}", self.version)
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        Ok(Box::new(Run::new(&self.programs, self.machine).map_err(environment)?))
    }

    fn cannot(&self, _: &Study, _: &State, action: Action) -> Option<&'static str> {
        match action {
            Action::Install { .. } | Action::Upgrade { .. } => Some(OLDER),
            Action::Unplug => Some(NO_GUEST),
            _ => None,
        }
    }
}

/// Two hosts and a guest.
struct Run {
    hosts: [Daemon; 2],
    /// Where the guest is, while it runs or is saved.
    here: usize,
    runs: bool,
    /// What it had when it was last looked at.
    hardware: Hardware,
    machine: Machine,
    programs: Programs,
    streams: u32,
    dir: TempDir,
    _common: Arc<TempDir>,
}

impl Drop for Run {
    fn drop(&mut self) {
        // Guests outlive their daemons.
        end_processes(self.dir.path());
    }
}

impl Run {
    fn new(programs: &Programs, machine: Machine) -> io::Result<Self> {
        let common = workdir::root()?;
        let dir = TempDir::new_in(common.path())?;
        let start = |name: &str| Daemon::start(programs, dir.path().join(name), &common);
        let hosts = [start("0")?, start("1")?];
        Ok(Run {
            hosts,
            here: 0,
            runs: false,
            hardware: None,
            machine,
            programs: programs.clone(),
            streams: 0,
            dir,
            _common: common,
        })
    }

    fn ask(&mut self, command: &str) -> Result<Result<(), Refusal>, Fault> {
        match self.hosts[self.here].ask(command)? {
            Ok(_) => Ok(Ok(())),
            Err(error) => refusal(&error).map(Err),
        }
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf, Fault> {
        let file = self.dir.path().join(name);
        fs::write(&file, text).map_err(environment)?;
        Ok(file)
    }

    fn act(&mut self, action: Action) -> Result<Answer, Fault> {
        let answer = match action {
            Action::Define { usb } => {
                let file = self.file("domain.xml", &xml(self.machine, usb, &self.programs))?;
                self.here = 0;
                self.ask(&format!("define {}", file.display()))?
            }
            Action::Redefine => {
                let dump = self.dump("")?;
                let file = self.file("dump.xml", &dump)?;
                self.ask(&format!("define {}", file.display()))?
            }
            Action::Start => {
                self.here = 0;
                let started = self.ask(&format!("start {NAME}"))?;
                self.hosts[0].keep_capabilities().map_err(environment)?;
                self.runs = started.is_ok();
                started
            }
            Action::Stop => {
                if self.runs {
                    self.ask(&format!("destroy {NAME}"))?.map_err(|_| refused_a_stop())?;
                }
                (self.here, self.runs) = (0, false);
                Ok(())
            }
            Action::Plug => {
                let file = self.file("card.xml", CARD)?;
                self.ask(&format!("attach-device {NAME} {} --live", file.display()))?
            }
            Action::Migrate => return self.migrate(),
            Action::Save => {
                self.hardware = self.guest_has()?;
                let image = self.dir.path().join("image");
                let saved = self.ask(&format!("save {NAME} {}", image.display()))?;
                self.runs = saved.is_err();
                saved
            }
            Action::Restore => {
                let image = self.dir.path().join("image");
                let before = self.hardware;
                return Ok(match self.ask(&format!("restore {}", image.display()))? {
                    Ok(()) => {
                        self.runs = true;
                        arrived(before, self.guest_has()?)
                    }
                    Err(refusal) => Answer::Lost(refusal),
                });
            }
            Action::Unplug => return Err(environment(NO_GUEST)),
            Action::Install { .. } | Action::Upgrade { .. } => return Err(environment(OLDER)),
        };
        Ok(match answer {
            Ok(()) => Answer::Done,
            Err(refusal) => Answer::Refused(refusal),
        })
    }

    fn migrate(&mut self) -> Result<Answer, Fault> {
        let before = self.guest_has()?;
        let there = 1 - self.here;
        self.streams += 1;
        let stream = self.dir.path().join(format!("stream{}", self.streams));
        let command = format!(
            "migrate {NAME} \"{}\" --live --migrateuri unix://{}",
            self.hosts[there].uri(),
            stream.display()
        );
        Ok(match self.ask(&command)? {
            Ok(()) => {
                self.here = there;
                arrived(before, self.guest_has()?)
            }
            Err(refusal) => Answer::Refused(refusal),
        })
    }

    fn dump(&mut self, options: &str) -> Result<String, Fault> {
        let dump = self.hosts[self.here].ask(&format!("dumpxml {NAME} {options}"))?;
        dump.map(|dump| definition(&dump).to_owned()).map_err(Fault::Garbage)
    }

    /// What is seen from outside now.
    fn outcome(&mut self, result: Answer) -> Result<Outcome, Fault> {
        let (shown, guest_has) = if self.runs {
            (shown(&self.dump("")?)?, self.guest_has()?)
        } else {
            // The configuration stays on host 0.
            let dump = self.hosts[0].ask(&format!("dumpxml {NAME} --inactive"))?;
            let dump = dump.or_else(|error| match error.contains("failed to get domain") {
                true => Ok(String::new()),
                false => Err(Fault::Garbage(error)),
            })?;
            (shown(&dump)?, None)
        };
        Ok(Outcome { result, shown, guest_has })
    }

    /// What QEMU has, by itself. Its device tree does not depend on how far the firmware has come, as
    /// `query-pci` does behind bridges.
    fn guest_has(&mut self) -> Result<Hardware, Fault> {
        let command = format!("qemu-monitor-command {NAME} --hmp 'info qtree'");
        let tree = self.hosts[self.here].ask(&command)?.map_err(Fault::Garbage)?;
        let found = controllers_in(&tree)?;
        match found[..] {
            [] => Ok(None),
            [device] => Ok(Some(device)),
            _ => Err(Fault::Garbage(format!("several USB controllers: {found:?}"))),
        }
    }
}

fn refused_a_stop() -> Fault {
    Fault::Garbage("`destroy` is refused".to_owned())
}

fn arrived(before: Hardware, after: Hardware) -> Answer {
    if before == after { Answer::Done } else { Answer::SilentlyChanged }
}

/// The USB controllers in QEMU's device tree, as `info qtree` prints it.
fn controllers_in(tree: &str) -> Result<Vec<Device>, Fault> {
    // The devices around the present line, by indentation.
    let mut around: Vec<(usize, &str)> = Vec::new();
    let mut found = Vec::new();
    for line in tree.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(device) = text.strip_prefix("dev: ") {
            around.retain(|(outer, _)| *outer < indent);
            around.push((indent, device.split(',').next().unwrap_or_default()));
        } else if let Some(address) = text.strip_prefix("addr = ") {
            around.retain(|(outer, _)| *outer < indent);
            let Some(((_, device), outer)) = around.split_last() else { continue };
            let Some(model) = model_of(device) else { continue };
            let bus = match outer.last().map_or("", |(_, device)| *device) {
                "pcie-root-port" => Bus::Ports,
                "pcie-pci-bridge" | "i82801b11-bridge" | "pci-bridge" => Bus::Bridge,
                host if host.ends_with("pcihost") || host == "spapr-pci-host-bridge" => Bus::Root,
                other => return Err(Fault::Garbage(format!("{device} behind {other}"))),
            };
            let parts = address.trim().split_once('.').and_then(|(slot, function)| {
                Some((u8::from_str_radix(slot, 16).ok()?, function.parse().ok()?))
            });
            let (slot, function) =
                parts.ok_or_else(|| Fault::Garbage(format!("{device} at {address}")))?;
            found.push(Device { model, place: place(bus, slot, function) });
        }
    }
    Ok(found)
}

/// QEMU's names. The companions of the ICH9 set go with their master.
fn model_of(device: &str) -> Option<Model> {
    Some(match device {
        "piix3-usb-uhci" => Model::Piix3Uhci,
        "pci-ohci" => Model::PciOhci,
        "nec-usb-xhci" => Model::NecXhci,
        "qemu-xhci" => Model::QemuXhci,
        "ich9-usb-ehci1" => Model::Ich9,
        _ => return None,
    })
}

/// The study counts the ports for devices without an address, and not slots behind them, which are all 0.
fn place(bus: Bus, slot: u8, function: u8) -> Place {
    Place { bus, slot: if bus == Bus::Ports { slot + 1 } else { slot }, function }
}

/// The first USB controller in a dump.
fn shown(dump: &str) -> Result<Option<Controller>, Fault> {
    let garbage = |element: &str| Fault::Garbage(format!("a controller: {element}"));
    let controllers = || {
        dump.split("<controller ").skip(1).map(|rest| {
            let end = rest.find('>').unwrap_or(rest.len());
            if rest[..end].ends_with('/') {
                &rest[..end]
            } else {
                rest.split("</controller>").next().unwrap_or_default()
            }
        })
    };
    let first = |element: &&str| {
        attribute(element, "type") == Some("usb") && attribute(element, "index") == Some("0")
    };
    let Some(element) = controllers().find(first) else { return Ok(None) };
    let model = match attribute(element, "model") {
        None => None,
        Some("ich9-ehci1") => Some(Model::Ich9),
        Some(name) => Some(serde_json::from_value(name.into()).map_err(|_| garbage(element))?),
    };
    let Some(address) = element.split("<address ").nth(1) else {
        return Ok(Some(Controller { model, place: None }));
    };
    let number = |name: &str| {
        let digits = attribute(address, name)?.trim_start_matches("0x");
        u8::from_str_radix(digits, 16).ok()
    };
    let [Some(bus), Some(slot), Some(function)] = ["bus", "slot", "function"].map(number) else {
        return Err(garbage(element));
    };
    let is_bus = |element: &&str| {
        attribute(element, "type") == Some("pci")
            && attribute(element, "index") == Some(&bus.to_string())
    };
    let bus = match controllers().find(is_bus).and_then(|element| attribute(element, "model")) {
        Some("pci-root" | "pcie-root") => Bus::Root,
        Some("pcie-root-port") => Bus::Ports,
        Some("pcie-to-pci-bridge" | "dmi-to-pci-bridge" | "pci-bridge") => Bus::Bridge,
        other => return Err(Fault::Garbage(format!("bus {bus} is {other:?}"))),
    };
    Ok(Some(Controller { model, place: Some(place(bus, slot, function)) }))
}

/// An attribute of the first tag in a text.
fn attribute<'t>(element: &'t str, name: &str) -> Option<&'t str> {
    let tag = element.split('>').next()?;
    let value = tag.split(&format!("{name}='")).nth(1)?;
    value.split('\'').next()
}

/// What libvirt and QEMU say.
fn refusal(error: &str) -> Result<Refusal, Fault> {
    let says = |text: &str| error.contains(text);
    if says("Unknown savevm section") {
        Ok(Refusal::UnknownSection)
    } else if says("PIIX3 USB controller at index 0 must have address") || says("0:0:1.2") {
        Ok(Refusal::NotThePlaceOfPiix3)
    } else if says("Unable to determine model for USB controller") {
        Ok(Refusal::NoModel)
    } else if says("not supported in this QEMU binary") {
        Ok(Refusal::NoDevice)
    } else if says("is already in use") || says("is in use") {
        Ok(Refusal::PlaceTaken)
    } else {
        Err(Fault::Garbage(error.to_owned()))
    }
}

/// The card that libvirt would choose by itself, said aloud.
const CARD: &str = "<interface type='user'><model type='rtl8139'/></interface>";

fn xml(machine: Machine, usb: Asked, programs: &Programs) -> String {
    let controller = match usb {
        Asked::Absent => String::new(),
        Asked::Unset => "<controller type='usb' index='0'/>".to_owned(),
        Asked::Model(Model::Ich9) => {
            "<controller type='usb' index='0' model='ich9-ehci1'/>".to_owned()
        }
        Asked::Model(model) => {
            format!("<controller type='usb' index='0' model='{}'/>", words(&model))
        }
    };
    let (arch, name, memory) = match machine {
        Machine::Pseries25 => ("ppc64", "pseries-2.5", 256),
        Machine::Pseries26 => ("ppc64", "pseries-7.2", 256),
        Machine::I440fx => ("x86_64", "pc-i440fx-7.2", 16),
        Machine::Q35 => ("x86_64", "pc-q35-7.2", 16),
    };
    // What pSeries would emulate of a POWER9 that TCG cannot.
    let features = match machine {
        Machine::Pseries26 => {
            "<features><cfpc value='broken'/><sbbc value='broken'/><ibs value='broken'/></features>"
        }
        _ => "",
    };
    format!(
        "<domain type='qemu'><name>{NAME}</name><uuid>6d0f4b9e-5d0c-4e0a-9a37-1c1f1d1e0002</uuid>\
         <memory unit='MiB'>{memory}</memory><vcpu>1</vcpu>\
         <os><type arch='{arch}' machine='{name}'>hvm</type></os>{features}<devices>\
         <emulator>{}</emulator>{controller}{CARD}<memballoon model='none'/></devices></domain>",
        programs.qemu.display()
    )
}

impl System<Study> for Run {
    fn apply(&mut self, action: Action, _: &Outcome) -> Result<Observed<Study>, Fault> {
        let answer = self.act(action)?;
        self.outcome(answer).map(Observed::Outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_read_with_its_bus() {
        let dump = "<controller type='usb' index='0' model='qemu-xhci'><alias name='usb'/>\
            <address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/></controller>\
            <controller type='pci' index='0' model='pcie-root'/>\
            <controller type='pci' index='2' model='pcie-root-port'><target chassis='2'/></controller>";
        let read = shown(dump).unwrap().unwrap();
        assert_eq!(read.to_string(), "qemu-xhci@port:1.0");
        assert_eq!(shown("<devices/>").unwrap(), None);
        let none = "<controller type='usb' index='0' model='none'/>";
        assert_eq!(shown(none).unwrap().unwrap().to_string(), "none");
        assert!(shown(&dump.replace("qemu-xhci", "quicker")).is_err());
        assert!(shown(&dump.replace("pcie-root-port", "a-new-one")).is_err());
    }

    #[test]
    fn a_controller_is_found_in_the_tree_with_the_bus_around_it() {
        let tree = "bus: main-system-bus\n  dev: q35-pcihost, id \"\"\n    bus: pcie.0\n      \
            dev: pcie-root-port, id \"pci.1\"\n        addr = 02.0\n        bus: pci.1\n          \
            dev: qemu-xhci, id \"usb\"\n            addr = 00.0\n            bus: usb.0\n      \
            dev: ICH9-LPC, id \"\"\n        addr = 1f.0\n      \
            dev: ich9-usb-ehci1, id \"\"\n        addr = 1d.7\n";
        let found: Vec<_> = controllers_in(tree).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["qemu-xhci@port:1.0", "ich9@1d.7"]);
        assert!(controllers_in(&tree.replace("pcie-root-port", "a-new-one")).is_err());
        assert!(controllers_in(&tree.replace("addr = 00.0", "addr = x")).is_err());
    }

    #[test]
    fn what_is_not_known_is_no_refusal() {
        let unknown = "error: Unknown savevm section or instance '0000:00:01.2/uhci' 0";
        assert_eq!(refusal(unknown).unwrap(), Refusal::UnknownSection);
        assert!(refusal("error: out of memory").is_err());
    }
}
