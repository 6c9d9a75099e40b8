//! The pci_root study on our definition, our lookup of buses and our hotplug, over the hypervisor in process.
//!
//! The older libvirts of a trace are played: what they do and answer is what their model says, on the same QEMU,
//! and then our daemon finds the guest and a status file with the alias that they left in it. A QEMU from before
//! multi-bus has its bus under the old name, and does not understand the arguments that we start it with.

use std::sync::Arc;

use statusquo_model::{
    studies::pci_root::{
        PciRoot, Study,
        action::{Action, Outcome, Place, Reply, Why},
        hardware::{Kind, Machine as Board, Name, Qemu},
        state::State,
    },
    study::Study as _,
    words::words,
};
use statusquo_vmm::{
    domain::{
        Class, Device, Domain, Problem,
        command_line::{self, Backend},
    },
    hotplug::{BusError, Machine, Record, Refusal, Request, StatusFile, Told, name_bus, perform},
    hypervisor::{
        Command, Hypervisor,
        embedded::{Config, Delay, Embedded, MachineType, Root},
    },
    status::{Facts, Status},
};

use crate::{
    matrix::{Matrix, PciRootMatrix},
    replay::{Factory, Fault, Observed, System, environment},
    studies::{Daemonized, Replayable},
    systems::{
        libvirt::{self, Programs},
        vmmd::{self, Vmmd},
    },
};

/// Effects of one request at most: an intent, a backend, a frontend, a wait, a notice, two saves.
const EFFECTS_MAX: usize = 32;

impl Replayable for PciRoot {
    fn vmm(study: &Study) -> Option<Arc<dyn Factory<Study>>> {
        Some(Arc::new(InProcess { study: study.clone() }))
    }

    fn matrix() -> Option<&'static dyn Matrix> {
        Some(&PciRootMatrix)
    }

    const SHIPPED: Option<&'static str> = Some("libvirt-9.0");

    fn libvirt(study: &Study, programs: Programs) -> Result<Arc<dyn Factory<Study>>, String> {
        libvirt::pci_root::factory(study, programs)
    }

    fn vmmd(study: &Study, vmmd: &Vmmd) -> Option<Daemonized<Study>> {
        Some(vmmd::pci_root::daemonized(study, vmmd))
    }
}

#[derive(Debug)]
struct InProcess {
    study: Study,
}

impl Factory<Study> for InProcess {
    fn name(&self) -> String {
        format!("vmm {}, hypervisor in process", env!("CARGO_PKG_VERSION"))
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        let study = self.study.clone();
        let world = study.initial().pop().ok_or_else(|| environment("no initial state"))?;
        Ok(Box::new(Host { study, world, config: None, guest: None }))
    }
}

/// A host. The definition that is on disk, and the guest if it runs.
struct Host {
    study: Study,
    /// Who is installed; and what older daemons, which are played, have made of it.
    world: State,
    config: Option<(Board, String)>,
    guest: Option<Guest>,
}

/// A process with its status file, and what our daemon has in memory.
struct Guest {
    hypervisor: Embedded,
    file: File,
    machine: Machine,
    domain: Domain,
}

/// The status file: the definition as text, the devices as the record.
#[derive(Default)]
struct File {
    text: String,
    record: Record,
}

impl StatusFile for File {
    fn save(&mut self, record: &Record) -> Result<(), String> {
        self.record = record.clone();
        Ok(())
    }
}

pub(crate) const DONE: Outcome = Outcome { reply: Reply::Done, bus: None };

pub(crate) fn refused(why: Why) -> Outcome {
    Outcome { reply: Reply::Refused(why), bus: None }
}

pub(crate) fn name(text: &str) -> Result<Name, Fault> {
    serde_json::from_value(text.into())
        .map_err(|_| Fault::Garbage(format!("`{text}` is no name of this study")))
}

impl Host {
    fn act(&mut self, action: Action) -> Result<Outcome, Fault> {
        let before = self.world;
        let (modelled, after) =
            self.study.step(&before, action).map_err(|blocked| environment(blocked.0))?;
        self.world = after;
        match (before.daemon, action) {
            (_, Action::Install { .. } | Action::InstallOldQemu | Action::UpgradeQemu) => Ok(DONE),
            (Some(_), Action::Upgrade) => self.upgraded(&before),
            (Some(_), _) => self.play(action, modelled),
            (None, _) => self.ours(action),
        }
    }

    /// What an older daemon does to QEMU and to the disk, given what its model says of it.
    fn play(&mut self, action: Action, modelled: Outcome) -> Result<Outcome, Fault> {
        match (action, modelled.reply) {
            (_, Reply::Refused(_) | Reply::Alias(_)) | (Action::Restart, _) => {}
            (Action::Define { machine, .. }, _) => {
                let user_alias = self.world.config.is_some_and(|config| config.user_alias);
                self.config = Some((machine, definition("t", machine, user_alias)));
            }
            (Action::Start, _) => {
                self.boot(self.world.binary)?;
            }
            // On the way that we know; the device is then where it would be.
            (Action::Attach { .. } | Action::Detach { .. } | Action::Stop, _) => {
                self.ours(action)?;
            }
            _ => return Err(environment("no daemon does this")),
        }
        Ok(modelled)
    }

    /// Our daemon comes up on what an older one has left.
    fn upgraded(&mut self, before: &State) -> Result<Outcome, Fault> {
        if let (Some(guest), Some(was)) = (&mut self.guest, before.guest) {
            let mut domain = guest.domain.clone();
            let root = root(&domain).ok_or_else(|| environment("no root"))?.node;
            let document = domain.document_mut();
            document.put(root, "alias/@name", &words(&was.alias)).map_err(environment)?;
            guest.file.text = status(&domain)?;
        }
        self.restart()
    }

    fn ours(&mut self, action: Action) -> Result<Outcome, Fault> {
        match action {
            Action::Define { machine, user_alias } => {
                let text = definition("t", machine, user_alias);
                complete(&text)?;
                self.config = Some((machine, text));
                Ok(DONE)
            }
            Action::Start if self.world.binary == Qemu::BeforeMultibus => {
                // It takes the JSON of `-device` for a driver's name.
                Ok(refused(Why::QemuTooOld))
            }
            Action::Start => self.boot(Qemu::Multibus),
            Action::Stop => {
                self.guest = None;
                Ok(DONE)
            }
            Action::Attach { onto } => self.attach(onto),
            Action::Detach { from } => {
                let guest = self.guest()?;
                let alias = place_alias(from);
                let told = guest.request(Request::Detach(alias.to_owned()))?;
                if told != (Told::Detached { alias: alias.to_owned() }) {
                    return Err(Fault::Garbage(format!("{told:?}")));
                }
                let gone = guest.domain.find(alias).map(|device| device.node);
                guest.domain.remove_device(gone.ok_or_else(|| environment("no such device"))?);
                guest.file.text = status(&guest.domain)?;
                Ok(DONE)
            }
            Action::Dump => {
                let alias = match (&self.guest, &self.config) {
                    (Some(guest), _) => root_alias(&guest.domain),
                    (None, Some((_, text))) => {
                        root_alias(&Domain::parse(text).map_err(environment)?)
                    }
                    (None, None) => return Err(environment("there is no guest")),
                };
                let alias = alias.map(|alias| name(&alias)).transpose()?;
                Ok(Outcome { reply: Reply::Alias(alias), bus: None })
            }
            Action::Restart => self.restart(),
            Action::Upgrade
            | Action::Install { .. }
            | Action::InstallOldQemu
            | Action::UpgradeQemu => Err(environment("not for our daemon")),
        }
    }

    fn guest(&mut self) -> Result<&mut Guest, Fault> {
        self.guest.as_mut().ok_or_else(|| environment("the guest does not run"))
    }

    /// Starts the guest in this QEMU, as its command line would. With an old one it is the older daemon that knows
    /// the bus's name.
    fn boot(&mut self, qemu: Qemu) -> Result<Outcome, Fault> {
        let (board, text) = self.config.as_ref().ok_or_else(|| environment("no definition"))?;
        let mut domain = complete(text)?;
        domain.assign_addresses().map_err(environment)?;
        domain.assign_aliases().map_err(environment)?;
        let mut commands = Vec::new();
        let mut bus = None;
        for device in domain.devices().filter(|device| is_modelled(*device)) {
            let parts = command_line::parts(device).map_err(environment)?;
            commands.extend(parts.backends.into_iter().filter_map(|backend| match backend {
                Backend::Object(object) => Some(Command::of("object-add", object)),
                Backend::BlockNode(node) => Some(Command::of("blockdev-add", node)),
                Backend::Chardev(_) | Backend::Netdev(_) => None,
            }));
            let mut frontend = match parts.frontend {
                Some(frontend) => Command::of("device_add", frontend),
                None => continue,
            };
            if device.class != Class::Controller {
                if qemu == Qemu::BeforeMultibus {
                    frontend = frontend.with("bus", words(&board.root(qemu)));
                }
                bus = frontend.text("bus").map(name).transpose()?;
            }
            commands.push(frontend);
        }
        let config = Config {
            machine: machine(*board, qemu),
            guest_answers: Delay::Turns(0),
            finalize: Delay::Turns(0),
        };
        let mut hypervisor = match Embedded::boot(config, &commands) {
            Ok(hypervisor) => hypervisor,
            Err((_, error)) if error.desc.ends_with("not found") => {
                return Ok(Outcome { bus, ..refused(Why::BusNotFound) });
            }
            Err((_, error)) => return Err(Fault::Garbage(error.to_string())),
        };
        hypervisor.execute(&Command::cont()).map_err(environment)?.map_err(environment)?;
        hypervisor.events();
        let file = File { text: status(&domain)?, record: Record::default() };
        let machine = Machine::new(Record::default());
        self.guest = Some(Guest { hypervisor, file, machine, domain });
        Ok(Outcome { bus, ..DONE })
    }

    fn attach(&mut self, onto: Place) -> Result<Outcome, Fault> {
        let (board, _) = self.config.as_ref().ok_or_else(|| environment("no definition"))?;
        let xml = device(*board, onto, place_alias(onto));
        let guest = self.guest()?;
        let mut plugged = match guest.domain.plug(&xml) {
            Ok(plugged) => plugged,
            // It names the bus and what it is.
            Err(error) if matches!(&error.problem, Problem::Unsupported(what) if what.contains("-root")) =>
            {
                return Ok(refused(Why::NotHotpluggable));
            }
            Err(error) => return Err(Fault::Garbage(error.to_string())),
        };
        let added = plugged.domain.device(plugged.node).ok_or_else(|| environment("no device"))?;
        let bus = plugged.domain.bus_of(added).map_err(environment)?;
        let bus = bus.ok_or_else(|| environment("a device without a bus"))?;
        match name_bus(&mut plugged.device, &bus, &mut guest.hypervisor) {
            Ok(()) => {}
            Err(BusError::Fixed { .. }) => return Ok(refused(Why::NotHotpluggable)),
            Err(error) => return Err(Fault::Garbage(error.to_string())),
        }
        let named = plugged.device.frontend.text("bus").map(name).transpose()?;
        let outcome = match guest.request(Request::Attach(plugged.device))? {
            Told::Attached { .. } => {
                guest.domain = plugged.domain;
                guest.file.text = status(&guest.domain)?;
                DONE
            }
            Told::Refused(Refusal::Qemu { error, .. }) if error.desc.ends_with("not found") => {
                refused(Why::BusNotFound)
            }
            Told::Refused(Refusal::Qemu { error, .. }) if error.desc.ends_with("hotplugging") => {
                refused(Why::NoHotplugging)
            }
            other => return Err(Fault::Garbage(format!("{other:?}"))),
        };
        Ok(Outcome { bus: named, ..outcome })
    }

    /// Memory is lost; the status file and the process are not.
    fn restart(&mut self) -> Result<Outcome, Fault> {
        let Some(guest) = &mut self.guest else { return Ok(DONE) };
        let read = Status::parse(&guest.file.text).map_err(environment)?;
        guest.domain = Domain::parse(&read.domain().to_xml()).map_err(environment)?;
        guest.hypervisor.reconnect().map_err(environment)?;
        guest.machine = Machine::recover(guest.file.record.clone());
        guest.settle()?;
        Ok(DONE)
    }
}

impl Guest {
    fn request(&mut self, request: Request) -> Result<Told, Fault> {
        self.machine.request(request).map_err(|refusal| Fault::Garbage(refusal.to_string()))?;
        self.settle()?.ok_or_else(|| Fault::Garbage("no reply".to_owned()))
    }

    /// Performs all that there is to do.
    fn settle(&mut self) -> Result<Option<Told>, Fault> {
        let mut told = None;
        for _ in 0..EFFECTS_MAX {
            let performed = perform(&mut self.machine, &mut self.hypervisor, &mut self.file);
            let Some(performed) = performed.map_err(environment)? else { break };
            told = performed.tell.and_then(|tell| tell.reply).or(told);
        }
        Ok(told)
    }
}

fn complete(text: &str) -> Result<Domain, Fault> {
    let mut domain = Domain::parse(text).map_err(environment)?;
    domain.post_parse().map_err(environment)?;
    domain.validate_aliases().map_err(environment)?;
    Ok(domain)
}

fn status(domain: &Domain) -> Result<String, Fault> {
    let facts = Facts { pid: 1, boot: "b".to_owned(), monitor: "m".to_owned(), ..Facts::default() };
    Ok(Status::new(&facts, domain).map_err(environment)?.to_xml())
}

/// What the hypervisor in process has a driver for. The second host bridge of pseries is a bus there.
fn is_modelled(device: Device<'_>) -> bool {
    match device.class {
        Class::Rng | Class::Disk => true,
        Class::Controller => {
            matches!(device.get("@model").as_deref(), Some("pcie-root-port" | "pci-bridge"))
        }
        _ => false,
    }
}

fn root(domain: &Domain) -> Option<Device<'_>> {
    domain.of(Class::Controller).find(|controller| {
        let index = controller.get("@index").unwrap_or_default();
        let model = controller.get("@model").unwrap_or_default();
        index == "0"
            && matches!(&*model, "pci-root" | "pcie-root" | "ncr53c90")
            && (model == "ncr53c90") == (domain.machine().arch == "m68k")
    })
}

pub(crate) fn root_alias(domain: &Domain) -> Option<String> {
    Some(root(domain)?.alias()?.into_owned())
}

pub(crate) fn place_alias(place: Place) -> &'static str {
    match place {
        Place::Root => "ua-on-root",
        Place::Port => "ua-on-port",
    }
}

/// The buses that this machine of this QEMU brings along.
fn machine(board: Board, qemu: Qemu) -> MachineType {
    const OLD: &[Root] = &[Root::pci("pci", false)];
    const WITHOUT_HOTPLUG: &[Root] = &[Root::pci("pci.0", false)];
    const PSERIES: &[Root] = &[Root::pci("pci.0", true), Root::pci("pci.1.0", true)];
    const VIRT: &[Root] = &[Root::pcie("pcie.0", false)];
    const S390: &[Root] = &[Root::pci("pci.0", true)];
    const Q800: &[Root] = &[Root::scsi("scsi.0")];
    match (board, qemu) {
        (Board::Pc | Board::PcI686, _) => MachineType::Pc,
        (Board::Q35 | Board::Q35I686, _) => MachineType::Q35,
        (Board::Pseries | Board::Mac99 | Board::Ppce500, Qemu::BeforeMultibus) => {
            MachineType::Bare(OLD)
        }
        (Board::PcWithoutAcpi | Board::Mac99 | Board::Ppce500, _) => {
            MachineType::Bare(WITHOUT_HOTPLUG)
        }
        (Board::Pseries, _) => MachineType::Bare(PSERIES),
        (Board::ArmVirt, _) => MachineType::Bare(VIRT),
        (Board::S390Ccw, _) => MachineType::Bare(S390),
        (Board::Q800, _) => MachineType::Bare(Q800),
    }
}

/// A device for this place.
pub(crate) fn device(board: Board, place: Place, alias: &str) -> String {
    if board.kind() == Kind::Esp {
        return disk("sdb", 3, alias);
    }
    let (bus, slot) = match (place, board.kind()) {
        (Place::Root, _) => (0, 9),
        // A port has one slot; a bridge has its own chip in slot 0.
        (Place::Port, Kind::PcieRoot) => (1, 0),
        (Place::Port, _) => (1, 1),
    };
    rng(bus, slot, &format!("<alias name='{alias}'/>"))
}

fn rng(bus: u8, slot: u8, alias: &str) -> String {
    format!(
        "<rng model='virtio'><backend model='random'>/dev/urandom</backend>{alias}\
         <address type='pci' domain='0' bus='{bus}' slot='{slot}' function='0'/></rng>"
    )
}

fn disk(target: &str, unit: u8, alias: &str) -> String {
    format!(
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/disk.{target}'/>\
         <target dev='{target}' bus='scsi'/><alias name='{alias}'/>\
         <address type='drive' controller='0' bus='0' target='0' unit='{unit}'/></disk>"
    )
}

/// A guest with a device on its root, where it has one from the start. pSeries takes its memory in units of 256 MiB.
pub(crate) fn definition(domain: &str, board: Board, user_alias: bool) -> String {
    let (arch, kind) = board.names();
    let alias = if user_alias { "<alias name='ua-root'/>" } else { "" };
    let controller = |kind: &str, model: &str, inner: &str| {
        format!("<controller type='{kind}' index='0' model='{model}'>{inner}</controller>")
    };
    let root = match board.kind() {
        Kind::PciRoot | Kind::HostBridge => controller("pci", "pci-root", alias),
        Kind::PcieRoot => controller("pci", "pcie-root", alias),
        Kind::Esp => controller("scsi", "ncr53c90", alias),
    };
    let port = match (board, board.kind()) {
        (Board::Pc | Board::PcI686, _) => "<controller type='pci' index='1' model='pci-bridge'/>",
        (_, Kind::PcieRoot) => "<controller type='pci' index='1' model='pcie-root-port'/>",
        (_, Kind::HostBridge) => {
            "<controller type='pci' index='1' model='pci-root'><target index='1'/></controller>"
        }
        _ => "",
    };
    let first = match board.kind() {
        Kind::Esp => disk("sda", 2, "ua-first"),
        _ if board.names_root_at_start() => rng(0, 5, ""),
        _ => String::new(),
    };
    format!(
        "<domain type='qemu'><name>{domain}</name><uuid>6d0f4b9e-5d0c-4e0a-9a37-1c1f1d1e0001</uuid>\
         <memory unit='MiB'>256</memory><vcpu>1</vcpu><os><type arch='{arch}' machine='{kind}'>hvm</type></os>\
         <devices>{root}{port}<controller type='usb' model='none'/>\
         <memballoon model='none'/>{first}</devices></domain>"
    )
}

impl System<Study> for Host {
    fn apply(&mut self, action: Action, _: &Outcome) -> Result<Observed<Study>, Fault> {
        self.act(action).map(Observed::Outcome)
    }
}
