//! The restart study on our procedures, over the hypervisor in process: a kill drops the daemon's memory
//! between any two effects, and leaves the status file and the machine as they are.

use std::sync::Arc;

use serde_json::json;
use statusquo_model::studies::restart::{
    Restart, Study,
    action::Action,
    outcome::{Effect, Outcome, Reply},
    state::{Daemon as Doing, State, Why},
};
use statusquo_model::study::Study as _;
use statusquo_vmm::{
    hotplug::{
        BackendKind, Device, EffectKind, Machine, Notice, Performed, Record, Refusal, Request,
        StatusFile, Told, perform,
    },
    hypervisor::{
        Command, Hypervisor,
        embedded::{Config, Delay, Embedded, MachineType},
        monitor::properties,
    },
};

use crate::{
    replay::{Factory, Fault, Observed, System, environment},
    studies::{Daemonized, Replayable, Tours},
    systems::{
        libvirt::{self, Programs},
        vmmd::{self, Vmmd},
    },
};

/// Effects of one recovery: a look, a removal for each device, a notice, a save.
const EFFECTS_MAX: usize = 32;

impl Replayable for Restart {
    fn vmm(study: &Study) -> Option<Arc<dyn Factory<Study>>> {
        Some(Arc::new(InProcess { guest_ejects: study.guest_ejects() }))
    }

    fn aftermath(study: &Study, state: &State) -> Vec<Action> {
        // What the daemon has begun comes to its end; then all places are looked at.
        let mut state = *state;
        let mut actions = Vec::new();
        while matches!(state.daemon, Doing::Busy(_))
            && actions.len() < EFFECTS_MAX
            && let Ok((_, next)) = study.step(&state, Action::Step)
        {
            actions.push(Action::Step);
            state = next;
        }
        actions.push(Action::Inspect);
        actions
    }

    fn unseen(property: &str) -> Option<&'static str> {
        (property == "an event tells what no kill can undo")
            .then_some("the driver is embedded in the client, so nobody is left to get its events")
    }

    fn vmmd(study: &Study, vmmd: &Vmmd) -> Option<Daemonized<Study>> {
        Some(Daemonized {
            systems: vmmd::restart::Daemon::of(study, vmmd),
            tours: Tours::CrashPoints {
                points: vmmd::points::traces(study),
                is_drivable: vmmd::points::is_drivable,
            },
        })
    }

    const SHIPPED: Option<&'static str> = Some("libvirt-9.0");

    fn libvirt(study: &Study, programs: Programs) -> Result<Arc<dyn Factory<Study>>, String> {
        libvirt::restart::factory(study, programs)
    }
}

#[derive(Debug)]
struct InProcess {
    guest_ejects: bool,
}

impl Factory<Study> for InProcess {
    fn name(&self) -> String {
        format!("vmm {}, hypervisor in process", env!("CARGO_PKG_VERSION"))
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        let config = Config {
            machine: MachineType::Pc,
            // The study's guest and QEMU act when their turn comes.
            guest_answers: Delay::Never,
            finalize: Delay::Never,
        };
        let controller =
            Command::device_add("virtio-serial-pci", "virtio-serial0", properties(json!({})));
        let mut hypervisor = Embedded::boot(config, &[controller])
            .map_err(|(_, error)| Fault::Environment(error.to_string()))?;
        answer(hypervisor.execute(&Command::cont()))?.map_err(environment)?;
        hypervisor.events();
        Ok(Box::new(Daemon {
            guest_ejects: self.guest_ejects,
            hypervisor,
            file: File::default(),
            machine: Some(Machine::new(Record::default())),
        }))
    }
}

fn answer<T>(answer: Result<T, statusquo_vmm::hypervisor::MonitorError>) -> Result<T, Fault> {
    answer.map_err(environment)
}

/// A daemon, its file and its hypervisor. The last two outlive the first.
struct Daemon {
    guest_ejects: bool,
    hypervisor: Embedded,
    file: File,
    machine: Option<Machine>,
}

/// A status file on a disk that may be full.
#[derive(Default)]
struct File {
    record: Record,
    full: bool,
}

impl StatusFile for File {
    fn save(&mut self, record: &Record) -> Result<(), String> {
        if self.full {
            return Err("No space left on device".to_owned());
        }
        self.record = record.clone();
        Ok(())
    }
}

impl Daemon {
    fn prefix(&self) -> &'static str {
        if self.guest_ejects { "serial" } else { "channel" }
    }

    fn id(&self, alias: u8) -> String {
        format!("{}{alias}", self.prefix())
    }

    fn alias(&self, id: &str) -> Result<u8, Fault> {
        let number = id.strip_prefix(self.prefix()).and_then(|number| number.parse().ok());
        number.ok_or_else(|| Fault::Garbage(format!("`{id}` is no alias of this class")))
    }

    fn aliases<'a>(&self, ids: impl IntoIterator<Item = &'a String>) -> Result<Vec<u8>, Fault> {
        let mut aliases: Vec<u8> =
            ids.into_iter().map(|id| self.alias(id)).collect::<Result<_, _>>()?;
        aliases.sort_unstable();
        Ok(aliases)
    }

    fn device(&self, bus_full: bool) -> Device {
        let chardev =
            Command::new("chardev-add").with("backend", json!({"type": "null", "data": {}}));
        let bus = |bus: &str| if bus_full { "nowhere.0" } else { bus }.to_owned();
        if self.guest_ejects {
            Device::with_backend(
                "serial",
                Command::new("device_add").with("driver", "pci-serial").with("bus", bus("pci.0")),
                BackendKind::Chardev,
                chardev,
                "chardev",
            )
        } else {
            Device::with_backend(
                "channel",
                Command::new("device_add")
                    .with("driver", "virtserialport")
                    .with("bus", bus("virtio-serial0.0")),
                BackendKind::Chardev,
                chardev,
                "chardev",
            )
        }
    }

    fn machine(&mut self) -> Result<&mut Machine, Fault> {
        self.machine.as_mut().ok_or_else(|| environment("the daemon is not running"))
    }

    fn request(&mut self, request: Request) -> Result<Outcome, Fault> {
        let reply = match self.machine()?.request(request) {
            Ok(()) => Reply::Nothing,
            Err(refusal) => Reply::Refused { why: why(&refusal)? },
        };
        Ok(Outcome { reply, ..Outcome::default() })
    }

    /// Performs the next effect, if there is one.
    fn perform(&mut self) -> Result<Option<Performed>, Fault> {
        let Daemon { hypervisor, file, machine, .. } = self;
        let machine = machine.as_mut().ok_or_else(|| environment("the daemon is not running"))?;
        perform(machine, hypervisor, file).map_err(environment)
    }

    fn tell(&self, performed: &Performed, outcome: &mut Outcome) -> Result<(), Fault> {
        let Some(tell) = &performed.tell else { return Ok(()) };
        for notice in &tell.notices {
            match notice {
                Notice::DeviceAdded { alias } => outcome.added.push(self.alias(alias)?),
                Notice::DeviceRemoved { alias } => outcome.removed.push(self.alias(alias)?),
            }
        }
        outcome.reply = match &tell.reply {
            None => Reply::Nothing,
            Some(Told::Attached { alias }) => Reply::Attached { alias: self.alias(alias)? },
            Some(Told::Detached { alias }) => Reply::Detached { alias: self.alias(alias)? },
            Some(Told::UnplugRequested { alias }) => {
                Reply::UnplugRequested { alias: self.alias(alias)? }
            }
            Some(Told::Refused(refusal)) => Reply::Refused { why: why(refusal)? },
        };
        Ok(())
    }

    fn start(&mut self) -> Result<(), Fault> {
        answer(self.hypervisor.reconnect())?;
        self.machine = Some(Machine::recover(self.file.record.clone()));
        Ok(())
    }

    fn act(&mut self, action: Action) -> Result<Outcome, Fault> {
        let mut outcome = Outcome::default();
        match action {
            Action::Attach { bus_full } => {
                let device = self.device(bus_full);
                return self.request(Request::Attach(device));
            }
            Action::Detach { alias } => {
                let id = self.id(alias);
                return self.request(Request::Detach(id));
            }
            Action::Dump => {
                let ids = self.machine()?.record().aliases();
                outcome.reply = Reply::Devices { aliases: self.aliases(&ids)? };
            }
            Action::Inspect => {
                let inventory = answer(self.hypervisor.inventory())?;
                let backends: Vec<String> = inventory
                    .chardevs
                    .iter()
                    .filter_map(|id| BackendKind::Chardev.alias_of(id))
                    .map(str::to_owned)
                    .collect();
                let prefix = self.prefix();
                let frontends = inventory.devices.iter().filter(|id| id.starts_with(prefix));
                let intents: Vec<String> =
                    self.file.record.intents.iter().map(|device| device.alias.clone()).collect();
                let definition = self.machine.as_ref().map(|machine| machine.record().aliases());
                outcome.reply = Reply::Places {
                    frontends: self.aliases(frontends)?,
                    backends: self.aliases(&backends)?,
                    file: self.aliases(&self.file.record.aliases())?,
                    intents: self.aliases(&intents)?,
                    definition: self.aliases(&definition.unwrap_or_default())?,
                };
            }
            Action::Step => {
                if let Some(performed) = self.perform()? {
                    outcome.did = Some(effect(performed.kind));
                    outcome.failed = performed.failed.is_some();
                    self.tell(&performed, &mut outcome)?;
                }
            }
            Action::GiveUp => {
                self.machine()?.give_up();
            }
            Action::Eject { alias } => {
                let id = self.id(alias);
                self.hypervisor.guest_unplug(&id);
            }
            Action::Finalize { alias } => {
                let id = self.id(alias);
                self.hypervisor.finalize(&id);
            }
            Action::Kill => self.machine = None,
            Action::Start => self.start()?,
            Action::Restart => {
                self.start()?;
                // A backend that stays busy is tried for ever; at rest there is none.
                for _ in 0..EFFECTS_MAX {
                    let Some(performed) = self.perform()? else { break };
                    self.tell(&performed, &mut outcome)?;
                }
            }
            Action::FillDisk => self.file.full = true,
            Action::FreeDisk => self.file.full = false,
        }
        // Of several devices at once, nobody minds the order.
        outcome.added.sort_unstable();
        outcome.removed.sort_unstable();
        outcome.guest_lost = !self.hypervisor.is_running();
        Ok(outcome)
    }
}

fn why(refusal: &Refusal) -> Result<Why, Fault> {
    Ok(match refusal {
        Refusal::NoSuchDevice { .. } => Why::NoSuchDevice,
        Refusal::NotSaved { .. } => Why::StatusNotSaved,
        Refusal::Qemu { effect: EffectKind::AddFrontend, error, .. }
            if error.desc.starts_with("Bus ") =>
        {
            Why::BusFull
        }
        Refusal::Qemu { effect: EffectKind::AddBackend | EffectKind::AddFrontend, .. } => {
            Why::DuplicateId
        }
        other => return Err(Fault::Garbage(other.to_string())),
    })
}

pub(crate) fn effect(kind: EffectKind) -> Effect {
    match kind {
        EffectKind::Save => Effect::Save,
        EffectKind::AddBackend => Effect::AddBackend,
        EffectKind::AddFrontend => Effect::AddFrontend,
        EffectKind::RemoveBackend => Effect::RemoveBackend,
        EffectKind::RemoveFrontend => Effect::RemoveFrontend,
        EffectKind::TakeEvent => Effect::TakeEvent,
        EffectKind::Look => Effect::Look,
        EffectKind::Tell => Effect::Tell,
    }
}

impl System<Study> for Daemon {
    fn apply(&mut self, action: Action, _: &Outcome) -> Result<Observed<Study>, Fault> {
        self.act(action).map(Observed::Outcome)
    }
}
