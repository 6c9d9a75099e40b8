//! The pci_root study on libvirt: every request through `virsh`, and the bus that a device is on as QEMU has it.
//!
//! What cannot be driven here: libvirts and QEMUs that are not installed, a PCI unplug (the guest has to let the
//! device go, and there is none), and machines whose emulator or firmware is missing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use statusquo_model::studies::pci_root::{
    Study,
    action::{Action, Outcome, Place, Reply, Why},
    hardware::{Arch, Machine, Name},
};
use statusquo_vmm::hypervisor::{
    Command, Hypervisor,
    qmp::{Client, Limits},
};
use tempfile::TempDir;

use super::{
    Programs, domain,
    life::{self, Qemu, keep_capabilities, kept, reuse_capabilities},
    virsh::{Virsh, configure},
};
use crate::{
    replay::{Factory, Fault, Observed, System, environment},
    workdir,
};

/// How long anything may take that a loaded machine slows down; the first question to QEMU takes longest.
const PATIENCE: Duration = Duration::from_secs(60);
/// The device that the guest starts with, and those that are plugged.
const ALIASES: [&str; 3] = ["rng0", "ua-on-root", "ua-on-port"];

/// libvirt for the pci_root study, where it can be driven at all.
pub(crate) fn factory(
    study: &Study,
    programs: Programs,
) -> Result<Arc<dyn Factory<Study>>, String> {
    if study.has_others() {
        return Err("it has libvirts or QEMUs, or a guest, that are not installed here".to_owned());
    }
    let mut programs = programs;
    if study.machines().iter().any(|machine| machine.arch() == Arch::Ppc) {
        programs.qemu.set_file_name("qemu-system-ppc64");
        if !programs.qemu.exists() {
            let path = programs.qemu.display();
            return Err(format!(
                "{path}: no such file; on Debian: apt-get install qemu-system-ppc"
            ));
        }
    }
    life::factory(programs, Run::new)
}

/// One host with one libvirt.
struct Run {
    // Dropped in this order: the daemon, the guest, the directory.
    virsh: Virsh,
    guest: Qemu,
    root: PathBuf,
    programs: Programs,
    _dir: TempDir,
    common: Arc<TempDir>,
}

impl Run {
    fn new(programs: &Programs) -> io::Result<Self> {
        let common = workdir::root()?;
        let dir = TempDir::new_in(common.path())?;
        let root = dir.path().to_owned();
        configure(&root)?;
        let kept = kept(programs, &common);
        fs::create_dir_all(&kept)?;
        reuse_capabilities(&kept, &root)?;
        let virsh = Virsh::start(programs, &root)?;
        let guest = Qemu::nobody(&root);
        Ok(Run { virsh, guest, root, programs: programs.clone(), _dir: dir, common })
    }

    /// Gives a command and waits; the error that it ends with.
    fn ask(&mut self, command: &str) -> Result<Result<String, String>, Fault> {
        let given = self.virsh.give(command);
        let answer = given.and_then(|given| self.virsh.wait(&given, PATIENCE));
        let answer = answer.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Fault::Hang(PATIENCE),
            _ => Fault::Died(error.to_string()),
        })?;
        let last = answer.lines().filter_map(|line| line.strip_prefix("error: ")).next_back();
        Ok(last.map(str::to_owned).map_or(Ok(answer.clone()), Err))
    }

    fn act(&mut self, action: Action) -> Result<Outcome, Fault> {
        match action {
            Action::Define { machine, user_alias } => {
                let file = self.root.join("domain.xml");
                let xml = xml(machine, user_alias, &self.programs.qemu, &self.root.join("look"));
                fs::write(&file, xml).map_err(environment)?;
                let answer = self.ask(&format!("define {}", file.display()))?;
                answer.map(|_| DONE).or_else(|error| refused(&error))
            }
            Action::Start => {
                let answer = self.ask(&format!("start {}", domain::NAME))?;
                self.guest.find();
                if let Err(error) = answer {
                    return refused(&error);
                }
                keep_capabilities(&kept(&self.programs, &self.common), &self.root)
                    .map_err(environment)?;
                self.placed(ALIASES[0])
            }
            Action::Stop => {
                let answer = self.ask(&format!("destroy {}", domain::NAME))?;
                answer.map(|_| DONE).map_err(Fault::Garbage)
            }
            Action::Attach { onto } => {
                let (bus, alias) = match onto {
                    Place::Root => (0, ALIASES[1]),
                    Place::Port => (1, ALIASES[2]),
                };
                // A port has one slot; a bridge has its own chip in slot 0.
                let dump = self.dump()?;
                let slot = match onto {
                    Place::Root => 9,
                    Place::Port if dump.contains("pcie-root-port") => 0,
                    Place::Port => 1,
                };
                let file = self.root.join("device.xml");
                fs::write(&file, rng(Some((bus, slot)), Some(alias))).map_err(environment)?;
                let command = format!("attach-device {} {} --live", domain::NAME, file.display());
                match self.ask(&command)? {
                    Ok(_) => self.placed(alias),
                    Err(error) => refused(&error),
                }
            }
            Action::Dump => {
                let dump = self.dump()?;
                let alias = root_alias(&dump).map(|alias| name(&alias)).transpose()?;
                Ok(Outcome { reply: Reply::Alias(alias), bus: None })
            }
            Action::Restart => {
                self.restart().map_err(environment)?;
                Ok(DONE)
            }
            Action::Detach { .. } => Err(environment("there is no guest to let a device go")),
            Action::Install { .. }
            | Action::InstallOldQemu
            | Action::Upgrade
            | Action::UpgradeQemu => Err(environment("there is one libvirt and one QEMU here")),
        }
    }

    fn restart(&mut self) -> io::Result<()> {
        self.virsh.end();
        self.virsh = Virsh::start(&self.programs, &self.root)?;
        // A query that waits until the domain has no other job; of one that is off it is refused.
        let given = self.virsh.give(&format!("dommemstat {}", domain::NAME))?;
        self.virsh.wait(&given, PATIENCE).map(drop)
    }

    fn dump(&mut self) -> Result<String, Fault> {
        self.ask(&format!("dumpxml {}", domain::NAME))?.map_err(Fault::Garbage)
    }

    /// Done, and the bus that QEMU has the device on.
    fn placed(&self, alias: &str) -> Result<Outcome, Fault> {
        let mut client = Client::connect(self.root.join("look"), Limits::default())
            .map_err(|error| Fault::Died(error.to_string()))?;
        let path = format!("/machine/peripheral/{alias}");
        let question = Command::new("qom-get").with("path", path).with("property", "parent_bus");
        let answer = client.execute(&question).map_err(environment)?;
        let path = answer.map_err(|error| Fault::Garbage(error.to_string()))?;
        let bus = path.as_str().and_then(|path| path.rsplit('/').next());
        let bus = bus.ok_or_else(|| Fault::Garbage(format!("a bus without a name: {path}")))?;
        Ok(Outcome { bus: Some(name(bus)?), ..DONE })
    }
}

const DONE: Outcome = Outcome { reply: Reply::Done, bus: None };

fn name(text: &str) -> Result<Name, Fault> {
    serde_json::from_value(text.into())
        .map_err(|_| Fault::Garbage(format!("`{text}` is no name of this study")))
}

/// What QEMU or libvirt has against it.
fn refused(error: &str) -> Result<Outcome, Fault> {
    let why = |why| Outcome { reply: Reply::Refused(why), bus: None };
    let of_qemu =
        [("' not found", Why::BusNotFound), ("' does not support hotplugging", Why::NoHotplugging)];
    for (text, reason) in of_qemu {
        if let Some((before, _)) = error.split_once(text)
            && let Some((_, bus)) = before.rsplit_once("Bus '")
        {
            return Ok(Outcome { bus: Some(name(bus)?), ..why(reason) });
        }
    }
    if error.contains("doesn't support hotplug") {
        return Ok(why(Why::NotHotpluggable));
    }
    Err(Fault::Garbage(error.to_owned()))
}

/// The alias of the first PCI controller of a dump.
fn root_alias(dump: &str) -> Option<String> {
    let rest = dump.split("<controller type='pci' index='0'").nth(1)?;
    let controller = match (rest.find("/>"), rest.find('>')) {
        (Some(short), Some(end)) if short < end => return None,
        _ => rest.split("</controller>").next()?,
    };
    let alias = controller.split("<alias name='").nth(1)?;
    Some(alias.split('\'').next()?.to_owned())
}

fn rng(place: Option<(u8, u8)>, alias: Option<&str>) -> String {
    let place = place.map_or(String::new(), |(bus, slot)| {
        format!("<address type='pci' domain='0' bus='{bus}' slot='{slot}' function='0'/>")
    });
    let alias = alias.map_or(String::new(), |alias| format!("<alias name='{alias}'/>"));
    format!(
        "<rng model='virtio'><backend model='random'>/dev/urandom</backend>{alias}{place}</rng>"
    )
}

/// A guest without an operating system, with a device on its root and a second monitor of ours.
fn xml(machine: Machine, user_alias: bool, qemu: &Path, look: &Path) -> String {
    let (arch, board) = machine.names();
    let is_x86 = machine.arch() == Arch::X86;
    let features = match machine {
        Machine::PcWithoutAcpi => "",
        _ if is_x86 => "<features><acpi/></features>",
        _ => "",
    };
    let alias = if user_alias { "<alias name='ua-root'/>" } else { "" };
    let express = machine == Machine::Q35;
    let model = if express { "pcie-root" } else { "pci-root" };
    let port = match machine {
        Machine::Pc => "<controller type='pci' index='1' model='pci-bridge'/>",
        Machine::Q35 => "<controller type='pci' index='1' model='pcie-root-port'/>",
        Machine::Pseries => {
            "<controller type='pci' index='1' model='pci-root'><target index='1'/></controller>"
        }
        _ => "",
    };
    // Left to itself libvirt would put it on a port there.
    let device = rng(express.then_some((0, 5)), None);
    format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>{}</name>\
         <uuid>6d0f4b9e-5d0c-4e0a-9a37-1c1f1d1e0001</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
         <os><type arch='{arch}' machine='{board}'>hvm</type></os>{features}<devices><emulator>{}</emulator>\
         <controller type='pci' index='0' model='{model}'>{alias}</controller>{port}\
         <controller type='usb' model='none'/><memballoon model='none'/>{device}</devices>\
         <qemu:commandline><qemu:arg value='-qmp'/><qemu:arg value='unix:{},server=on,wait=off'/>\
         </qemu:commandline></domain>",
        domain::NAME,
        qemu.display(),
        look.display()
    )
}

impl System<Study> for Run {
    fn apply(&mut self, action: Action, _: &Outcome) -> Result<Observed<Study>, Fault> {
        self.act(action).map(Observed::Outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_and_anything_else_is_no_answer() {
        let bus = |error| refused(error).unwrap();
        let not_found = bus("internal error: -device {}: Bus 'ua-root' not found");
        assert_eq!(not_found.bus, Some(Name::UaRoot));
        assert_eq!(not_found.reply, Reply::Refused(Why::BusNotFound));
        let fixed = bus(
            "unable to execute QEMU command 'device_add': Bus 'pci.0' does not support hotplugging",
        );
        assert_eq!(fixed.reply, Reply::Refused(Why::NoHotplugging));
        assert_eq!(fixed.bus, Some(Name::Pci0));
        assert!(refused("Bus 'usb.0' not found").is_err());
        assert!(refused("out of memory").is_err());
    }

    #[test]
    fn the_alias_of_the_root_is_read_and_not_its_neighbours() {
        let dump = "<controller type='pci' index='0' model='pci-root'/>\
                    <controller type='usb'><alias name='usb'/></controller>";
        assert_eq!(root_alias(dump), None);
        let dump = "<controller type='pci' index='0' model='pci-root'>\n <alias name='ua-root'/>\n</controller>";
        assert_eq!(root_alias(dump).as_deref(), Some("ua-root"));
    }
}
