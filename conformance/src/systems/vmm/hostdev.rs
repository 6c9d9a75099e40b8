//! The hostdev study on our definitions, our check in front of the manager, and our manager, over a host of its own.
//!
//! Definitions and status files are texts whenever they leave the daemon's memory. A guest with a device of VFIO is a
//! process of the embedded hypervisor that has it. Legacy assignment is nothing that a QEMU of today could be asked
//! for, and Xen is none: there the host's side alone is driven, which is what the study is about.

use std::sync::Arc;

use statusquo_model::studies::hostdev::{
    Hostdev, Study,
    action::{Action, Asked, Outcome, Refusal, Result as Answer, Shown},
    rules::Driver as Modelled,
};
use statusquo_vmm::{
    domain::{Class, Domain, Emulator, Error, Given, Name, Pci, Reading, allocated},
    hostdev::{self, Driver, Host, Hypervisor, Manager, Preference, Refused},
    status::{Facts, Status},
};

use super::process::Process;
use crate::{
    replay::{Factory, Fault, Observed, System, environment},
    studies::Replayable,
    systems::libvirt::{self, Programs},
};

const GUEST: &str = "guest";
/// The device that definitions name, and the virtual function that the network gives.
const DEVICE: Pci = Pci { domain: 0, bus: 3, slot: 0, function: 1, multifunction: false };
const MAC: &str = "52:54:00:00:00:01";

impl Replayable for Hostdev {
    fn vmm(study: &Study) -> Option<Arc<dyn Factory<Study>>> {
        Some(Arc::new(OneHost { study: study.clone(), carried: str::to_owned }))
    }

    const SHIPPED: Option<&'static str> = Some("libvirt-9.0");

    fn libvirt(study: &Study, programs: Programs) -> Result<Arc<dyn Factory<Study>>, String> {
        libvirt::hostdev::factory(study, programs)
    }
}

#[derive(Debug)]
struct OneHost {
    study: Study,
    /// What becomes of a dump that is defined again: tests lose something.
    carried: fn(&str) -> String,
}

impl Factory<Study> for OneHost {
    fn name(&self) -> String {
        format!("vmm {}, hosts and hypervisors in process", env!("CARGO_PKG_VERSION"))
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        let world = self.study.world();
        let hypervisor = if world.xen { Hypervisor::Xen } else { Hypervisor::Qemu };
        let prefers = if world.newer { Preference::Vfio } else { Preference::Legacy };
        let host = Host { hypervisor, legacy: world.kvm, vfio: world.vfio, prefers };
        Ok(Box::new(World {
            host,
            manager: Manager::default(),
            config: None,
            network: None,
            running: None,
            carried: self.carried,
        }))
    }
}

/// A host with its daemon.
struct World {
    host: Host,
    manager: Manager,
    /// On disk.
    config: Option<String>,
    /// What the network says of the driver.
    network: Option<Modelled>,
    running: Option<Running>,
    carried: fn(&str) -> String,
}

struct Running {
    live: Domain,
    /// The status file.
    status: String,
    process: Option<Process>,
}

/// What keeps a request from being granted, or from being answered at all.
enum Stop {
    Refused(Refusal),
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Fault(Fault::Garbage(error.to_string()))
    }
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unsupported { .. } => Stop::Refused(Refusal::Unsupported),
            Refused::HostCannot { .. } => Stop::Refused(Refusal::HostCannot),
            Refused::Busy(_) => Stop::Refused(Refusal::InUse),
            Refused::Definition(error) => error.into(),
        }
    }
}

fn ours(driver: Modelled) -> Driver {
    match driver {
        Modelled::Kvm => Driver::Kvm,
        Modelled::Vfio => Driver::Vfio,
        Modelled::Xen => Driver::Xen,
    }
}

fn modelled(driver: Driver) -> Modelled {
    match driver {
        Driver::Kvm => Modelled::Kvm,
        Driver::Vfio => Modelled::Vfio,
        Driver::Xen => Modelled::Xen,
    }
}

/// The device as its user writes it.
fn device(asked: Asked) -> String {
    let driver = match asked {
        Asked::Nothing => return String::new(),
        Asked::Network(_) => {
            return format!(
                "<interface type='network'><mac address='{MAC}'/><source network='pool'/></interface>"
            );
        }
        Asked::Unset => String::new(),
        Asked::Driver(driver) => format!("<driver name='{}'/>", ours(driver)),
    };
    let Pci { domain, bus, slot, function, .. } = DEVICE;
    format!(
        "<hostdev mode='subsystem' type='pci' managed='yes'>{driver}<source><address domain='{domain}' \
         bus='{bus}' slot='{slot}' function='{function}'/></source></hostdev>"
    )
}

fn definition(asked: Asked) -> String {
    format!(
        "<domain type='kvm'><name>{GUEST}</name><uuid>6d0f4b9e-5d0c-4e0a-9a37-1c1f1d1e0001</uuid><memory unit='MiB'>64</memory>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{}\
         <controller type='usb' model='none'/><memballoon model='none'/></devices></domain>",
        device(asked)
    )
}

fn read(xml: &str, reading: Reading) -> Result<Domain, Error> {
    let mut domain = Domain::parse(xml)?;
    domain.complete(reading, &Emulator::default())?;
    Ok(domain)
}

fn status(live: &Domain) -> Result<String, Error> {
    let facts = Facts { pid: 1, boot: "b".to_owned(), monitor: "m".to_owned(), ..Facts::default() };
    Ok(Status::new(&facts, live)?.to_xml())
}

impl World {
    fn define(&mut self, xml: &str) -> Result<(), Stop> {
        self.config = Some(read(xml, Reading::Define)?.to_inactive()?.to_xml());
        Ok(())
    }

    fn given(&self) -> Given {
        Given { source: DEVICE, driver: self.network.map(|driver| ours(driver).name().to_owned()) }
    }

    /// The live definition, with what the network has given.
    fn to_be_started(&self) -> Result<Domain, Stop> {
        let config = self.config.as_ref().ok_or_else(|| environment("nothing is defined"))?;
        let mut live = read(config, Reading::Load)?;
        let cards: Vec<_> =
            live.of(Class::Interface).map(|card| (card.node, card.to_xml())).collect();
        for (node, xml) in cards {
            live.remove_device(node);
            live.add_device(&allocated(&xml, &self.given())?)?;
        }
        live.assign_aliases()?;
        Ok(live)
    }

    /// QEMU with the devices that VFIO holds.
    fn process(&self, live: &Domain) -> Result<Option<Process>, Stop> {
        if self.host.hypervisor == Hypervisor::Xen {
            return Ok(None);
        }
        let mut seen = live.clone();
        for device in live.assigned()? {
            if device.driver.as_deref() != Some(Driver::Vfio.name()) {
                seen.remove_device(device.node);
            }
        }
        Ok(Some(Process::boot(&seen, Vec::new())?))
    }

    fn start(&mut self) -> Result<(), Stop> {
        let mut live = self.to_be_started()?;
        hostdev::take(&mut live, GUEST, &self.host, &mut self.manager)?;
        let process = self.process(&live)?;
        self.running = Some(Running { status: status(&live)?, live, process });
        Ok(())
    }

    fn attach(&mut self, asked: Asked) -> Result<(), Stop> {
        let mut xml = device(asked);
        if let Asked::Network(driver) = asked {
            self.network = driver;
            xml = allocated(&xml, &self.given())?;
        }
        let running = self.running.as_mut().ok_or_else(|| environment("the guest is off"))?;
        // Refused, if it is, before a place is looked for.
        let mut live = running.live.clone();
        let mut node = live.add_device(&xml)?;
        let wanted = live.assigned()?.into_iter().find(|device| device.node == node);
        let wanted = wanted.ok_or_else(|| environment("the text is no device of the host"))?;
        let driver = self.host.resolve(wanted.source, wanted.driver.as_deref())?;
        let mut plugged = None;
        if driver == Driver::Vfio {
            let with = running.live.plug(&xml)?;
            (live, node, plugged) = (with.domain, with.node, Some(with.device));
        } else {
            live.assign_aliases()?;
        }
        hostdev::take_one(&mut live, node, GUEST, &self.host, &mut self.manager)?;
        if let (Some(process), Some(device)) = (&mut running.process, &plugged) {
            process.plug(device)?;
        }
        running.status = status(&live)?;
        running.live = live;
        Ok(())
    }

    /// Says whether the manager complains.
    fn detach(&mut self) -> Result<bool, Stop> {
        let running = self.running.as_mut().ok_or_else(|| environment("the guest is off"))?;
        let of_network = running.live.assigned()?.iter().any(|device| device.of_network);
        let named = device(if of_network { Asked::Network(None) } else { Asked::Unset });
        let found = running.live.lookup(Name::Element(&named));
        let found = found.map_err(|error| Fault::Garbage(error.to_string()))?;
        let (node, alias) = (found.node, found.alias().unwrap_or_default().into_owned());
        let had = running.live.assigned()?.into_iter().find(|device| device.node == node);
        let had = had.ok_or_else(|| environment("it is no device of the host"))?;
        if let Some(process) = &mut running.process
            && had.driver.as_deref() == Some(Driver::Vfio.name())
        {
            process.unplug(&alias)?;
        }
        let complains = self.manager.give_back(GUEST, had.source).is_err();
        running.live.remove_device(node);
        running.status = status(&running.live)?;
        Ok(complains)
    }

    fn restart(&mut self) -> Result<(), Stop> {
        if let Some(config) = &self.config {
            read(config, Reading::Load)?;
        }
        self.manager = Manager::default();
        if let Some(running) = &mut self.running {
            let file = Status::parse(&running.status)?;
            running.live = read(&file.domain().to_xml(), Reading::Process)?;
            self.manager = Manager::recover([(GUEST, &running.live)])?;
        }
        Ok(())
    }

    /// Says whether an error about something else is logged.
    fn act(&mut self, action: Action) -> Result<bool, Stop> {
        match action {
            Action::Define { device } => {
                if let Asked::Network(driver) = device {
                    self.network = driver;
                }
                self.define(&definition(device))?;
            }
            Action::Dump => {}
            Action::Redefine => {
                let running = self.running.as_ref().ok_or_else(|| environment("it is off"))?;
                let dump = (self.carried)(&running.live.to_xml());
                self.define(&dump)?;
            }
            Action::Start => self.start()?,
            Action::StartVetoed => {
                // The hook says no, and whatever the start has taken so far is given back.
                self.to_be_started()?;
                return Ok(!hostdev::give_back(GUEST, &mut self.manager).is_empty());
            }
            Action::Stop => {
                self.running = None;
                hostdev::give_back(GUEST, &mut self.manager);
            }
            Action::Attach { device } => self.attach(device)?,
            Action::Detach => return self.detach(),
            Action::Restart => self.restart()?,
            Action::Upgrade => {
                self.host.prefers = Preference::Vfio;
                self.restart()?;
            }
            Action::HostGainsVfio => self.host.vfio = true,
            Action::HostLosesVfio => self.host.vfio = false,
        }
        Ok(false)
    }

    /// What is bound, by the manager's list; and QEMU has exactly what VFIO holds.
    fn bound(&self) -> Result<Option<Modelled>, Fault> {
        let driver = self.manager.taken(DEVICE).map(|taken| taken.driver);
        if let Some(process) = self.running.as_ref().and_then(|running| running.process.as_ref()) {
            let devices = process.on_root()?;
            let has = devices.iter().any(|(id, ..)| id.starts_with("hostdev"));
            if has != (driver == Some(Driver::Vfio)) {
                let which = if has { "has a device" } else { "has no device" };
                return Err(Fault::Garbage(format!(
                    "QEMU {which}, and the manager says {driver:?}"
                )));
            }
        }
        Ok(driver.map(modelled))
    }

    fn shown(&self) -> Result<Option<Shown>, Fault> {
        let Some(config) = &self.config else { return Ok(None) };
        let domain = Domain::parse(config).map_err(environment)?;
        let devices = domain.assigned().map_err(environment)?;
        Ok(Some(match devices.first().map(|device| device.driver.as_deref()) {
            None => Shown::NoDevice,
            Some(None) => Shown::Open,
            Some(Some(name)) => {
                let driver = Driver::named(name).map(modelled);
                Shown::Driver(driver.ok_or_else(|| Fault::Garbage(format!("driver `{name}`")))?)
            }
        }))
    }
}

impl System<Study> for World {
    fn apply(&mut self, action: Action, _: &Outcome) -> Result<Observed<Study>, Fault> {
        let (result, spurious_error) = match self.act(action) {
            Ok(spurious) => (Answer::Done, spurious),
            Err(Stop::Refused(why)) => {
                // A start that was refused has taken nothing, so there is nothing to give back.
                let failed_start = action == Action::Start;
                let gave = failed_start && !hostdev::give_back(GUEST, &mut self.manager).is_empty();
                (Answer::Refused(why), gave)
            }
            Err(Stop::Fault(fault)) => return Err(fault),
        };
        let shown = if action == Action::Dump { self.shown()? } else { None };
        Ok(Observed::Outcome(Outcome { result, shown, bound: self.bound()?, spurious_error }))
    }
}

#[cfg(test)]
mod tests;
