//! The alias study on libvirt: one domain, and one `virsh` for each life of the daemon.
//!
//! What is not observed: which ids QEMU is asked to remove, only what comes of it. libvirt says "the cause is
//! unknown" where QEMU does not know the id.

use std::{
    collections::BTreeSet,
    fs, io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use statusquo_model::studies::alias::{
    Study,
    action::{Action, Asked, By, Outcome, Reply, Shown, What, Why},
    definition::{Device as Asking, Kind, Source},
    name::Alias,
};
use statusquo_vmm::{
    domain::{Class, Device, Domain, tree::Document},
    hypervisor::{
        Command, Hypervisor,
        qmp::{Client, Limits},
    },
};
use tempfile::TempDir;

use super::{
    Programs, domain,
    life::{Qemu, keep_capabilities, reuse_capabilities},
    virsh::{Virsh, configure},
};
use crate::{
    replay::{Factory, Fault, Observed, System},
    workdir,
};

/// How long anything may take that a loaded machine slows down.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// libvirt for the alias study.
pub(crate) fn factory(programs: Programs) -> Result<Arc<dyn Factory<Study>>, String> {
    let version = programs.version()?;
    Ok(Arc::new(Libvirt { programs, version }))
}

#[derive(Debug)]
struct Libvirt {
    programs: Programs,
    version: String,
}

impl Factory<Study> for Libvirt {
    fn name(&self) -> String {
        format!("libvirt {}", self.version)
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        Ok(Box::new(Run::new(&self.programs).map_err(environment)?))
    }
}

fn environment(error: impl std::fmt::Display) -> Fault {
    Fault::Environment(error.to_string())
}

/// One domain under one libvirt, restarted at will.
struct Run {
    // Dropped in this order: the daemon, the guest, the directory.
    virsh: Option<Virsh>,
    qemu: Qemu,
    root: PathBuf,
    programs: Programs,
    /// Devices asked for, so that no two channels have one name.
    asked: u32,
    _dir: TempDir,
    common: Arc<TempDir>,
}

impl Run {
    fn new(programs: &Programs) -> io::Result<Self> {
        let common = workdir::root()?;
        let dir = TempDir::new_in(common.path())?;
        let root = dir.path().to_owned();
        configure(&root)?;
        reuse_capabilities(common.path(), &root)?;
        let qemu = Qemu::nobody(&root);
        let mut run = Run {
            virsh: None,
            qemu,
            root,
            programs: programs.clone(),
            asked: 0,
            _dir: dir,
            common,
        };
        run.begin_life()?;
        Ok(run)
    }

    /// A daemon that has found its domain again, if there is one.
    fn begin_life(&mut self) -> io::Result<()> {
        self.virsh = Some(Virsh::start_on_terminal(&self.programs, &self.root)?);
        if self.qemu.pid.is_some() {
            // It waits until the domain is no longer busy.
            self.ask(&format!("dommemstat {}", domain::NAME))?;
        }
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        if let Some(virsh) = self.virsh.take() {
            virsh.kill();
        }
        self.begin_life()
    }

    fn ask(&mut self, command: &str) -> io::Result<String> {
        let virsh = self.virsh.as_mut().ok_or_else(|| io::Error::other("no daemon"))?;
        let given = virsh.give(command)?;
        virsh.wait(&given, PATIENCE)
    }

    /// A file for an argument.
    fn file(&self, xml: &str) -> io::Result<String> {
        let path = self.root.join("argument.xml");
        fs::write(&path, xml)?;
        Ok(path.display().to_string())
    }

    fn define(&mut self, xml: &str) -> Result<Reply, Fault> {
        let file = self.file(xml).map_err(environment)?;
        done_or(&self.ask(&format!("define {file}")).map_err(environment)?, Reply::Done)
    }

    /// The devices of a definition that take part, in the model's order.
    fn dump(&mut self, what: What) -> Result<Vec<(Kind, Shown, String)>, Fault> {
        let text = match what {
            What::Status => fs::read_to_string(domain::status(&self.root)).map_err(environment)?,
            What::Live => self.ask(&format!("dumpxml {}", domain::NAME)).map_err(environment)?,
            What::Inactive => {
                self.ask(&format!("dumpxml {} --inactive", domain::NAME)).map_err(environment)?
            }
        };
        // Whatever was printed before it is not part of it.
        let begin = text.find('<').ok_or_else(|| Fault::Garbage(text.clone()))?;
        shown(&text[begin..])
    }

    /// The devices that QEMU has.
    fn in_qemu(&self) -> Result<BTreeSet<String>, Fault> {
        if !self.qemu.is_alive() {
            return Ok(BTreeSet::new());
        }
        let look = Client::connect(self.root.join("look"), Limits::default());
        let inventory = look.and_then(|mut look| look.inventory()).map_err(environment)?;
        Ok(inventory.devices)
    }

    fn act(&mut self, action: Action, owed: &Outcome) -> Result<Outcome, Fault> {
        let before = self.in_qemu()?;
        let lived = self.qemu.is_alive();
        let mut reply = self.perform(action, &before)?;
        if owed.guest_lost {
            self.wait_until(|run| Ok(!run.qemu.is_alive()))?;
        }
        if lived && !owed.gone.is_empty() && self.qemu.is_alive() {
            self.wait_until_forgotten(action, owed)?;
        }
        let after = self.in_qemu()?;
        let alive = self.qemu.is_alive();
        if let (Action::Attach { .. }, Reply::Done) = (action, &reply) {
            let new = after.difference(&before).next();
            let new = new.ok_or_else(|| Fault::Garbage("nothing was attached".to_owned()))?;
            reply = Reply::Attached { alias: alias(new)? };
        }
        let gone = if alive {
            before.difference(&after).map(|id| alias(id)).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        Ok(Outcome { reply, gone, guest_lost: lived && !alive })
    }

    fn perform(&mut self, action: Action, before: &BTreeSet<String>) -> Result<Reply, Fault> {
        match action {
            Action::Define { with } => {
                let xml = new_domain(with, &self.programs, &self.root.join("look"));
                self.define(&xml)
            }
            Action::Redefine => {
                let command = format!("dumpxml {} --inactive", domain::NAME);
                let text = self.ask(&command).map_err(environment)?;
                let begin = text.find("<domain").ok_or_else(|| Fault::Garbage(text.clone()))?;
                self.define(&text[begin..])
            }
            Action::Start => {
                let said = self.ask(&format!("start {}", domain::NAME)).map_err(environment)?;
                self.qemu.find();
                keep_capabilities(self.common.path(), &self.root).map_err(environment)?;
                done_or(&said, Reply::Done)
            }
            Action::Restart => {
                self.restart().map_err(environment)?;
                Ok(Reply::Done)
            }
            Action::Dump { what } => {
                let all = self.dump(what)?;
                Ok(Reply::Shown(all.into_iter().map(|(_, shown, _)| shown).collect()))
            }
            Action::Open { name } => self.open(name),
            Action::Detach { by: By::Alias(name) } => {
                let command = format!("detach-device-alias {} {name} --live", domain::NAME);
                let said = self.ask(&command).map_err(environment)?;
                done_or(&said, Reply::Requested)
            }
            Action::Detach { by: By::PortZero } => {
                let xml = "<console type='null'><target type='virtio' port='0'/></console>";
                self.detach(xml)
            }
            Action::Detach { by: By::Xml(kind) } => {
                let all = self.dump(What::Live)?;
                let found = all.into_iter().find(|(other, _, _)| *other == kind);
                let (_, _, xml) =
                    found.ok_or_else(|| Fault::Garbage(format!("the dump shows no {kind:?}")))?;
                self.detach(&xml)
            }
            Action::Attach { kind, alias } => {
                self.asked += 1;
                let source = match kind {
                    Kind::UsbSerial => Source::Pty(None),
                    _ => Source::Null,
                };
                let xml = element(&Asking::asked(kind, source, alias), self.asked);
                let file = self.file(&xml).map_err(environment)?;
                let command = format!("attach-device {} {file} --live", domain::NAME);
                done_or(&self.ask(&command).map_err(environment)?, Reply::Done)
            }
            Action::Unplugged { id } => {
                let command = match before.contains(&id.to_string()) {
                    // What waits for the guest goes with a reset.
                    true if id.stem == statusquo_model::studies::alias::name::Stem::Rng => {
                        Command::new("system_reset")
                    }
                    true => Command::new("device_del").with("id", id.to_string()),
                    false => return Err(Fault::Garbage(format!("QEMU has no {id}"))),
                };
                let mut look = Client::connect(self.root.join("look"), Limits::default())
                    .map_err(environment)?;
                let reply = look.execute(&command).map_err(environment)?;
                reply.map_err(environment)?;
                Ok(Reply::Done)
            }
        }
    }

    fn detach(&mut self, xml: &str) -> Result<Reply, Fault> {
        let file = self.file(xml).map_err(environment)?;
        let command = format!("detach-device {} {file} --live", domain::NAME);
        done_or(&self.ask(&command).map_err(environment)?, Reply::Done)
    }

    fn open(&mut self, name: Option<Alias>) -> Result<Reply, Fault> {
        let name = name.map_or_else(String::new, |name| format!(" --devname {name}"));
        let virsh = self.virsh.as_mut().ok_or_else(|| environment("no daemon"))?;
        match virsh.console(&format!("console {}{name}", domain::NAME), PATIENCE) {
            Ok(said) => done_or(&said, Reply::Done),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.restart().map_err(environment)?;
                Ok(Reply::DaemonDied)
            }
            Err(error) => Err(environment(error)),
        }
    }

    /// Waits until libvirt has heard of it, where it is told by an event.
    fn wait_until_forgotten(&mut self, action: Action, owed: &Outcome) -> Result<(), Fault> {
        let told = matches!(action, Action::Unplugged { .. } | Action::Detach { by: By::Alias(_) });
        self.wait_until(|run| {
            let in_qemu = run.in_qemu()?;
            let gone = |id: &Alias| !in_qemu.contains(&id.to_string());
            if !owed.gone.iter().all(gone) {
                return Ok(false);
            }
            if !told {
                return Ok(true);
            }
            let mut known = run.dump(What::Live)?;
            known.extend(run.dump(What::Status)?);
            Ok(!known
                .iter()
                .any(|(_, shown, _)| shown.alias.is_some_and(|alias| owed.gone.contains(&alias))))
        })
    }

    /// Waits; what has not come by the end will not come.
    fn wait_until(&mut self, so: impl Fn(&mut Self) -> Result<bool, Fault>) -> Result<(), Fault> {
        let deadline = Instant::now() + PATIENCE;
        while !so(self)? && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

fn alias(id: &str) -> Result<Alias, Fault> {
    id.parse().map_err(|_| Fault::Garbage(format!("`{id}` is no alias of this study")))
}

/// The answer of a command that says `error:` when it is refused.
fn done_or(said: &str, done: Reply) -> Result<Reply, Fault> {
    let error = said.lines().filter_map(|line| line.strip_prefix("error: ")).next_back();
    match error {
        None => Ok(done),
        Some(error) => Ok(Reply::Refused(why(error)?)),
    }
}

fn why(error: &str) -> Result<Why, Fault> {
    let known = [
        ("cause is unknown", Why::CauseUnknown),
        ("no device found with alias", Why::NoSuchDevice),
        ("not present in domain configuration", Why::NoSuchDevice),
        ("does not support hotplugging", Why::BusHasNoHotplug),
        ("controller cannot be hot unplugged", Why::IsAController),
        ("cannot find character device", Why::NoSuchConsole),
        ("is not using a PTY", Why::NotAPty),
        ("non unique alias", Why::DuplicateAlias),
        ("Duplicate device ID", Why::DuplicateId),
        ("duplicate property", Why::DuplicateId),
        ("already exists", Why::DuplicateId),
        ("process of unplug", Why::Pending),
    ];
    let found = known.iter().find(|(text, _)| error.contains(text)).map(|(_, why)| *why);
    found.ok_or_else(|| Fault::Garbage(error.to_owned()))
}

/// The devices that take part, each with its element, in the model's order.
pub(crate) fn shown(text: &str) -> Result<Vec<(Kind, Shown, String)>, Fault> {
    let document = Document::parse(text).map_err(|error| Fault::Garbage(error.to_string()))?;
    let root = document.root();
    let node = match document.is(root, "domain") {
        true => root,
        false => document
            .child(root, "domain")
            .ok_or_else(|| Fault::Garbage("no domain in the file".to_owned()))?,
    };
    let domain = Domain::at(document, node).map_err(environment)?;
    let mut all = Vec::new();
    for device in domain.devices() {
        let Some(kind) = kind(device) else { continue };
        let port = device.get("target/@port").and_then(|port| port.parse().ok());
        let name = device.alias().map(|name| alias(&name)).transpose()?;
        all.push((kind, Shown { kind, port, alias: name }, device.to_xml()));
    }
    all.sort_by_key(|(kind, _, _)| kind.class());
    Ok(all)
}

fn kind(device: Device<'_>) -> Option<Kind> {
    Some(match (device.class, &*device.kind()) {
        (Class::Serial, "isa-serial") => Kind::IsaSerial,
        (Class::Serial, "usb-serial") => Kind::UsbSerial,
        (Class::Parallel, _) => Kind::Parallel,
        (Class::Channel, _) => Kind::Channel,
        (Class::Console, "serial") => Kind::SerialConsole,
        (Class::Console, "virtio") => Kind::VirtioConsole,
        (Class::Rng, _) => Kind::Rng,
        _ => return None,
    })
}

/// A machine without a guest operating system, with a second monitor of ours.
fn new_domain(with: Asked, programs: &Programs, look: &std::path::Path) -> String {
    let asked = with.definition();
    let elements: String =
        (0..).zip(asked.devices()).map(|(number, device)| element(device, number)).collect();
    format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>{}</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <devices><emulator>{}</emulator><controller type='virtio-serial' index='0'/>\
         <memballoon model='none'/>{elements}</devices>\
         <qemu:commandline><qemu:arg value='-qmp'/>\
         <qemu:arg value='unix:{},server=on,wait=off'/></qemu:commandline></domain>",
        domain::NAME,
        programs.qemu.display(),
        look.display()
    )
}

/// A device as a user writes it.
pub(crate) fn element(device: &Asking, number: u32) -> String {
    let alias = device.alias.map_or_else(String::new, |alias| format!("<alias name='{alias}'/>"));
    let backend = match device.source {
        Source::Null => "null",
        Source::Pty(_) => "pty",
    };
    match device.kind {
        Kind::IsaSerial => format!("<serial type='{backend}'>{alias}</serial>"),
        Kind::UsbSerial => {
            format!("<serial type='{backend}'><target type='usb-serial'/>{alias}</serial>")
        }
        Kind::SerialConsole | Kind::Stub => format!("<console type='{backend}'>{alias}</console>"),
        Kind::VirtioConsole => {
            format!("<console type='{backend}'><target type='virtio'/>{alias}</console>")
        }
        Kind::Parallel => format!("<parallel type='{backend}'>{alias}</parallel>"),
        Kind::Channel => format!(
            "<channel type='{backend}'><target type='virtio' name='org.example.{number}'/>{alias}</channel>"
        ),
        Kind::Rng => format!(
            "<rng model='virtio'><backend model='random'>/dev/urandom</backend>{alias}</rng>"
        ),
    }
}

impl System<Study> for Run {
    fn apply(&mut self, action: Action, owed: &Outcome) -> Result<Observed<Study>, Fault> {
        self.act(action, owed).map(Observed::Outcome)
    }
}
