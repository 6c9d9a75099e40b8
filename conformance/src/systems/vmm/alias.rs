//! The alias study on our definitions, lookup and procedures, over the hypervisor in process.
//!
//! A restart drops the daemon's memory; what it finds again is the text of its two files.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use statusquo_model::studies::alias::{
    Alias, Study,
    action::{Action, Asked, By, Outcome, Reply, What, Why},
    definition::{Device as Asking, Kind, Source},
    name,
};
use statusquo_vmm::{
    domain::{
        Class, Domain, Error, LookupError, Name, Problem,
        command_line::{Backend, parts},
        hotplug_device,
    },
    hotplug::{Machine, Notice, Record, Refusal, Request, StatusFile, Told, perform},
    hypervisor::{
        Command, Hypervisor,
        embedded::{Config, Delay, Embedded, MachineType},
    },
    status::{Facts, State, Status},
};

use crate::{
    replay::{Factory, Fault, Observed, System, environment},
    studies::{Daemonized, Replayable},
    systems::{
        libvirt::{
            self, Programs,
            alias::{element, shown},
        },
        vmmd::{self, Vmmd},
    },
};

/// Effects of one procedure, with room to spare.
const EFFECTS_MAX: usize = 64;

impl Replayable for Alias {
    fn vmm(_: &Study) -> Option<Arc<dyn Factory<Study>>> {
        Some(Arc::new(InProcess))
    }

    const SHIPPED: Option<&'static str> = Some("libvirt-9.0");

    fn libvirt(_: &Study, programs: Programs) -> Result<Arc<dyn Factory<Study>>, String> {
        libvirt::alias::factory(programs)
    }

    fn vmmd(_: &Study, vmmd: &Vmmd) -> Option<Daemonized<Study>> {
        Some(vmmd::alias::daemonized(vmmd))
    }

    fn aftermath(
        study: &Study,
        state: &statusquo_model::studies::alias::state::State,
    ) -> Vec<Action> {
        // All places are looked at, where the daemon still can.
        let look = [What::Live, What::Status, What::Inactive].map(|what| Action::Dump { what });
        let can =
            |action: &Action| statusquo_model::study::Study::step(study, state, *action).is_ok();
        look.into_iter().filter(can).collect()
    }
}

#[derive(Debug)]
struct InProcess;

impl Factory<Study> for InProcess {
    fn name(&self) -> String {
        format!("vmm {}, hypervisor in process", env!("CARGO_PKG_VERSION"))
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        Ok(Box::new(Daemon { config: None, running: None, asked: 0 }))
    }
}

/// A daemon with its files and its hypervisor.
struct Daemon {
    /// The text of the definition's file.
    config: Option<String>,
    running: Option<Running>,
    /// Devices asked for, so that no two channels have one name.
    asked: u32,
}

struct Running {
    hypervisor: Embedded,
    machine: Machine,
    file: File,
}

/// The live definition, and what was last saved of it.
struct File {
    domain: Domain,
    record: Record,
    text: String,
}

impl StatusFile for File {
    fn save(&mut self, record: &Record) -> Result<(), String> {
        let facts = Facts {
            pid: 1,
            boot: "0".to_owned(),
            state: State::Running,
            monitor: "monitor".to_owned(),
            ..Facts::default()
        };
        let status = Status::new(&facts, &self.domain).map_err(|error| error.to_string())?;
        self.record = record.clone();
        self.text = status.to_xml();
        Ok(())
    }
}

impl File {
    /// The definition follows what is told, before it is saved.
    fn follow(&mut self, notices: &[Notice], plugged: &mut Option<Domain>) {
        for notice in notices {
            match notice {
                Notice::DeviceAdded { .. } => {
                    if let Some(domain) = plugged.take() {
                        self.domain = domain;
                    }
                }
                Notice::DeviceRemoved { alias } => self.domain.remove_named(alias),
            }
        }
    }
}

impl Running {
    fn ids(&mut self) -> Result<BTreeSet<String>, Fault> {
        Ok(self.hypervisor.inventory().map_err(environment)?.devices)
    }

    /// Performs what there is to do, and waits for what QEMU does by itself. A device that waits for the guest is
    /// given up on.
    fn settle(&mut self, mut plugged: Option<Domain>) -> Result<Option<Told>, Fault> {
        let mut reply = None;
        for _ in 0..EFFECTS_MAX {
            let Running { hypervisor, machine, file } = self;
            match perform(machine, hypervisor, file).map_err(environment)? {
                Some(performed) => {
                    if let Some(tell) = performed.tell {
                        file.follow(&tell.notices, &mut plugged);
                        reply = tell.reply.or(reply);
                    }
                }
                None if hypervisor.wait_event(Instant::now()).map_err(environment)? => {}
                None if machine.give_up() => {}
                None => return Ok(reply),
            }
        }
        Err(environment("a procedure does not come to its end"))
    }
}

/// How a definition is understood when it is read.
fn read(xml: &str) -> Result<Domain, Error> {
    let mut domain = Domain::parse(xml)?;
    domain.drop_assigned_aliases();
    domain.post_parse()?;
    domain.validate_aliases()?;
    Ok(domain)
}

impl Daemon {
    fn define(&mut self, xml: &str) -> Result<Reply, Fault> {
        Ok(match read(xml) {
            Ok(domain) => {
                self.config = Some(domain.to_xml());
                Reply::Done
            }
            Err(Error { problem: Problem::DuplicateAlias(_), .. }) => {
                Reply::Refused(Why::DuplicateAlias)
            }
            Err(Error { problem: Problem::AliasesDiffer { .. }, .. }) => {
                Reply::Refused(Why::AliasesDiffer)
            }
            Err(error) => return Err(Fault::Garbage(error.to_string())),
        })
    }

    fn running(&mut self) -> Result<&mut Running, Fault> {
        self.running.as_mut().ok_or_else(|| environment("the guest does not run"))
    }

    fn start(&mut self) -> Result<Reply, Fault> {
        let config = self.config.as_deref().ok_or_else(|| environment("nothing is defined"))?;
        let mut domain = Domain::parse(config).map_err(environment)?;
        domain.assign_addresses().map_err(environment)?;
        domain.assign_aliases().map_err(environment)?;
        name_ptys(&mut domain).map_err(environment)?;
        let machine = MachineType::Pc;
        let config = Config { machine, guest_answers: Delay::Never, finalize: Delay::Turns(1) };
        let commands = command_line(&domain).map_err(environment)?;
        let mut hypervisor = match Embedded::boot(config, &commands) {
            Ok(hypervisor) => hypervisor,
            Err((_, error)) => return Err(Fault::Garbage(error.to_string())),
        };
        hypervisor.execute(&Command::cont()).map_err(environment)?.map_err(environment)?;
        hypervisor.events();
        let devices = domain.devices().filter_map(|device| hotplug_device(device).ok());
        let record = Record {
            devices: devices.filter(|device| !device.alias.is_empty()).collect(),
            intents: Vec::new(),
        };
        let mut file = File { domain, record: Record::default(), text: String::new() };
        file.save(&record).map_err(environment)?;
        self.running = Some(Running { hypervisor, machine: Machine::new(record), file });
        Ok(Reply::Done)
    }

    fn restart(&mut self) -> Result<(), Fault> {
        if let Some(config) = &self.config {
            // Nothing but the text is left of it.
            self.config = Some(Domain::parse(config).map_err(environment)?.to_xml());
        }
        let Some(running) = &mut self.running else { return Ok(()) };
        running.hypervisor.reconnect().map_err(environment)?;
        let status = Status::parse(&running.file.text).map_err(environment)?;
        let domain = Domain::parse(&status.domain().to_xml()).map_err(environment)?;
        running.file.domain = domain;
        running.machine = Machine::recover(running.file.record.clone());
        running.settle(None).map(drop)
    }

    fn written(&self, what: What) -> Result<String, Fault> {
        let nothing = || environment("there is nothing of the kind");
        Ok(match (what, &self.running) {
            (What::Inactive, _) | (What::Live, None) => self.config.clone().ok_or_else(nothing)?,
            (What::Live, Some(running)) => running.file.domain.to_xml(),
            (What::Status, Some(running)) => running.file.text.clone(),
            (What::Status, None) => return Err(nothing()),
        })
    }

    fn detach(&mut self, by: By) -> Result<Reply, Fault> {
        let text = match by {
            By::Alias(alias) => alias.to_string(),
            By::PortZero => {
                "<console type='null'><target type='virtio' port='0'/></console>".to_owned()
            }
            By::Xml(kind) => {
                let all = shown(&self.written(What::Live)?)?;
                let found = all.into_iter().find(|(other, _, _)| *other == kind);
                found.ok_or_else(|| environment("the dump shows no such element"))?.2
            }
        };
        let name = match by {
            By::Alias(_) => Name::Alias(&text),
            _ => Name::Element(&text),
        };
        let running = self.running()?;
        let domain = &running.file.domain;
        let found = match domain.lookup(name) {
            Ok(found) => found,
            Err(LookupError::Unknown { .. } | LookupError::NoneSuch { .. }) => {
                return Ok(Reply::Refused(Why::NoSuchDevice));
            }
            Err(error) => return Err(Fault::Garbage(error.to_string())),
        };
        if let Err(fixed) = domain.unpluggable(found) {
            return Ok(Reply::Refused(match found.class {
                Class::Controller => Why::IsAController,
                _ => Why::Fixed { alias: alias(&fixed.alias)? },
            }));
        }
        let id = found.alias().unwrap_or_default().into_owned();
        if let Err(refusal) = running.machine.request(Request::Detach(id)) {
            return Err(Fault::Garbage(refusal.to_string()));
        }
        told(running.settle(None)?)
    }

    fn attach(&mut self, kind: Kind, alias: Option<name::Alias>) -> Result<Reply, Fault> {
        self.asked += 1;
        let source = match kind {
            Kind::UsbSerial => Source::Pty(None),
            _ => Source::Null,
        };
        let xml = element(&Asking::asked(kind, source, alias), self.asked);
        let running = self.running()?;
        let plugged = match running.file.domain.plug(&xml) {
            Ok(plugged) => plugged,
            Err(Error { problem: Problem::DuplicateAlias(_), .. }) => {
                return Ok(Reply::Refused(Why::DuplicateAlias));
            }
            Err(error) => return Err(Fault::Garbage(error.to_string())),
        };
        let mut domain = plugged.domain;
        name_ptys(&mut domain).map_err(environment)?;
        match running.machine.request(Request::Attach(plugged.device)) {
            Ok(()) => {}
            Err(Refusal::AliasTaken { .. }) => return Ok(Reply::Refused(Why::DuplicateId)),
            Err(refusal) => return Err(Fault::Garbage(refusal.to_string())),
        }
        told(running.settle(Some(domain))?)
    }

    fn unplugged(&mut self, id: name::Alias) -> Result<Reply, Fault> {
        let running = self.running()?;
        let text = id.to_string();
        if id.stem == name::Stem::Rng {
            running.hypervisor.guest_unplug(&text);
        } else {
            let reply = running.hypervisor.execute(&Command::device_del(&text));
            reply.map_err(environment)?.map_err(environment)?;
        }
        running.settle(None)?;
        Ok(Reply::Done)
    }

    fn perform(&mut self, action: Action) -> Result<Reply, Fault> {
        match action {
            Action::Define { with } => self.define(&definition("t", with)),
            Action::Redefine => {
                let text = self.written(What::Inactive)?;
                self.define(&text)
            }
            Action::Start => self.start(),
            Action::Restart => self.restart().map(|()| Reply::Done),
            Action::Dump { what } => {
                let all = shown(&self.written(what)?)?;
                Ok(Reply::Shown(all.into_iter().map(|(_, shown, _)| shown).collect()))
            }
            Action::Open { name } => {
                let name = name.map(|name| name.to_string());
                let found = self.running()?.file.domain.lookup_console(name.as_deref());
                Ok(match found.map(|device| device.backend().into_owned()) {
                    Ok(backend) if backend == "pty" => Reply::Done,
                    Ok(_) => Reply::Refused(Why::NotAPty),
                    Err(_) => Reply::Refused(Why::NoSuchConsole),
                })
            }
            Action::Detach { by } => self.detach(by),
            Action::Attach { kind, alias } => self.attach(kind, alias),
            Action::Unplugged { id } => self.unplugged(id),
        }
    }

    fn act(&mut self, action: Action) -> Result<Outcome, Fault> {
        let ids = |running: &mut Option<Running>| match running {
            Some(running) => running.ids(),
            None => Ok(BTreeSet::new()),
        };
        let before = ids(&mut self.running)?;
        let reply = self.perform(action)?;
        let after = ids(&mut self.running)?;
        let gone = before.difference(&after).map(|id| alias(id)).collect::<Result<_, _>>()?;
        let alive = self.running.as_ref().is_none_or(|running| running.hypervisor.is_running());
        Ok(Outcome { reply, gone, guest_lost: !alive })
    }
}

/// What the user asks for, in a machine that has little else.
pub(crate) fn definition(domain: &str, with: Asked) -> String {
    let asked = with.definition();
    let devices = (0..).zip(asked.devices());
    let elements: String = devices.map(|(number, it)| element(it, number)).collect();
    format!(
        "<domain type='qemu'><name>{domain}</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>\
         <memory unit='MiB'>16</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os>\
         <devices><controller type='virtio-serial' index='0'/><memballoon model='none'/>{elements}</devices></domain>"
    )
}

/// The path that QEMU would have told.
fn name_ptys(domain: &mut Domain) -> Result<(), Error> {
    let ptys: Vec<_> = domain
        .devices()
        .filter(|device| device.class == Class::Serial && device.backend() == "pty")
        .filter(|device| device.get("source/@path").is_none())
        .map(|device| (device.node, device.alias().unwrap_or_default().into_owned()))
        .collect();
    for (node, alias) in ptys {
        domain.document_mut().put(node, "source/@path", &format!("/dev/pts/{alias}"))?;
    }
    domain.mirror_console()
}

/// The devices of a machine as its command line makes them.
fn command_line(domain: &Domain) -> Result<Vec<Command>, Error> {
    let mut commands = Vec::new();
    // Buses before what is on them.
    let (controllers, others): (Vec<_>, Vec<_>) =
        domain.devices().partition(|device| device.class == Class::Controller);
    for device in controllers.into_iter().chain(others) {
        if matches!(device.class, Class::Video | Class::Input | Class::Audio) {
            continue;
        }
        let parts = parts(device)?;
        for backend in parts.backends {
            match backend {
                Backend::Chardev(chardev) => commands.extend(chardev.to_command()),
                Backend::Object(object) => commands.push(Command::of("object-add", object)),
                Backend::Netdev(netdev) => commands.push(Command::of("netdev_add", netdev)),
                Backend::BlockNode(node) => commands.push(Command::of("blockdev-add", node)),
            }
        }
        commands.extend(parts.frontend.map(|device| Command::of("device_add", device)));
    }
    Ok(commands)
}

pub(crate) fn alias(id: &str) -> Result<name::Alias, Fault> {
    id.parse().map_err(|_| Fault::Garbage(format!("`{id}` is no alias of this study")))
}

fn told(told: Option<Told>) -> Result<Reply, Fault> {
    Ok(match told {
        Some(Told::Attached { alias: id }) => Reply::Attached { alias: alias(&id)? },
        Some(Told::Detached { .. }) => Reply::Done,
        Some(Told::UnplugRequested { .. }) => Reply::Requested,
        Some(Told::Refused(refusal)) => return Err(Fault::Garbage(refusal.to_string())),
        None => return Err(Fault::Hang(Duration::ZERO)),
    })
}

impl System<Study> for Daemon {
    fn apply(&mut self, action: Action, _: &Outcome) -> Result<Observed<Study>, Fault> {
        self.act(action).map(Observed::Outcome)
    }
}
