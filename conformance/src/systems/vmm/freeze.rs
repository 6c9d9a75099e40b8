//! The freeze study on our definitions, over two hosts with hypervisors in process.
//!
//! The attribute is the model of a network card: `rtl8139` was the first default that there was, the newer release
//! gives `virtio` to who defines today, and `e1000e` is nobody's default. Each edge of the study is the call of ours
//! that goes that way, and the values have their origins in the texts between. The ancient daemon, which does not know
//! the attribute, is played: it refuses a text that has it, and starts the only card that there was. The device of a
//! pool is a text of the test's that our definition takes in when the guest starts.

use std::sync::Arc;

use statusquo_model::studies::freeze::{
    Freeze, Study,
    action::{Action, Asked, Outcome, Result as Answer},
    field::{Field, Release, Value},
};
use statusquo_vmm::{
    domain::{Class, Defaults, Domain, Emulator, Error, Name, Origin, Reading},
    hypervisor::embedded::Stream,
    status::{Facts, Status},
};

use super::process::Process;
use crate::{
    matrix::Matrix,
    replay::{Factory, Fault, Observed, System, environment},
    studies::Replayable,
};

const MODEL: &str = "model/@type";

impl Replayable for Freeze {
    fn vmm(study: &Study) -> Option<Arc<dyn Factory<Study>>> {
        Some(Arc::new(TwoHosts { study: study.clone(), carried: str::to_owned }))
    }

    fn matrix() -> Option<&'static dyn Matrix> {
        Some(&crate::matrix::FreezeMatrix)
    }
}

#[derive(Debug)]
struct TwoHosts {
    study: Study,
    /// What becomes of a text on its way from one daemon to the next, or to the same: tests lose something.
    carried: fn(&str) -> String,
}

impl Factory<Study> for TwoHosts {
    fn name(&self) -> String {
        format!("vmm {}, two hosts, hypervisors in process", env!("CARGO_PKG_VERSION"))
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        let study = self.study.clone();
        let release = study.bounds().first;
        let (config, running, carried) = (None, None, self.carried);
        Ok(Box::new(Hosts { study, release, config, running, carried }))
    }
}

/// The host that has the guest.
struct Hosts {
    study: Study,
    release: Release,
    config: Option<Config>,
    running: Option<Running>,
    carried: fn(&str) -> String,
}

struct Config {
    /// On disk.
    text: String,
    /// The pool gives a card when the guest starts.
    from_pool: bool,
}

struct Running {
    live: Domain,
    process: Process,
}

/// A request that is not granted, or no answer at all.
enum Stop {
    Refused,
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

fn name(value: Value) -> &'static str {
    match value {
        Value::A => "rtl8139",
        Value::B => "virtio",
        Value::C => "e1000e",
    }
}

fn value(named: &str) -> Result<Value, Fault> {
    let found = Value::ALL.into_iter().find(|value| name(*value) == named);
    found.ok_or_else(|| Fault::Garbage(format!("`{named}` is no value of the study")))
}

/// The device as its user writes it, or as the pool gives it.
fn device(asked: Asked) -> String {
    let model = match asked {
        Asked::Nothing => return String::new(),
        Asked::FromPool | Asked::Unset => String::new(),
        Asked::Set(value) => format!("<model type='{}'/>", name(value)),
    };
    format!("<interface type='user'><mac address='52:54:00:00:00:01'/>{model}</interface>")
}

fn definition(asked: Asked) -> String {
    let devices = if asked == Asked::FromPool { String::new() } else { device(asked) };
    format!(
        "<domain type='qemu'><name>guest</name><uuid>6d0f4b9e-5d0c-4e0a-9a37-1c1f1d1e0001</uuid><memory unit='MiB'>64</memory>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{devices}\
         <controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"
    )
}

/// The field of the device, if there is one.
fn field(domain: &Domain) -> Result<Option<Field>, Fault> {
    let Some(card) = domain.of(Class::Interface).next() else { return Ok(None) };
    let Some(model) = card.get(MODEL) else { return Ok(Some(Field::Unset)) };
    let value = value(&model)?;
    Ok(Some(match domain.origin_of(card.node, MODEL) {
        Origin::User => Field::Set(value),
        Origin::Auto(_) => Field::Auto(value),
    }))
}

/// What a daemon makes of a text that knows neither the attribute nor our records.
fn forgotten(domain: &Domain) -> Domain {
    let mut domain = domain.clone();
    let card = domain.of(Class::Interface).next().map(|card| card.node);
    let root = domain.root();
    let document = domain.document_mut();
    let model = card.and_then(|card| document.child(card, "model"));
    let metadata = document.child(root, "metadata");
    model.into_iter().chain(metadata).for_each(|node| document.remove(node));
    domain
}

impl Hosts {
    fn is_ancient(&self) -> bool {
        self.release == Release::Ancient
    }

    /// What a release of ours gives today.
    fn defaults(&self) -> Defaults {
        let net_model = Some(name(self.study.bounds().default.of(self.release)));
        Defaults { net_model, ..Defaults::TODAY }
    }

    fn read(&self, xml: &str, reading: Reading) -> Result<Domain, Stop> {
        let mut domain = Domain::parse(&(self.carried)(xml))?;
        domain.complete_as(&self.defaults(), reading, &Emulator::default())?;
        domain.assign_aliases()?;
        Ok(domain)
    }

    fn define(&mut self, asked: Asked) -> Result<(), Stop> {
        let text = definition(asked);
        let from_pool = asked == Asked::FromPool;
        let text = match self.is_ancient() {
            true if from_pool || matches!(asked, Asked::Set(_)) => return Err(Stop::Refused),
            true => text,
            false => self.read(&text, Reading::Define)?.to_inactive()?.to_xml(),
        };
        self.config = Some(Config { text, from_pool });
        Ok(())
    }

    /// What a process is started from: the live definition, or what the ancient daemon does not say.
    fn run(&self, live: Domain) -> Result<Running, Stop> {
        let process = Process::boot(&live, Vec::new())?;
        let live = if self.is_ancient() { forgotten(&live) } else { live };
        Ok(Running { live, process })
    }

    fn start(&mut self) -> Result<(), Stop> {
        let config = self.config.as_ref().ok_or_else(|| environment("nothing is defined"))?;
        let mut live = self.read(&config.text, Reading::Load)?;
        if config.from_pool {
            live = live.plug_as(&self.defaults(), &device(Asked::FromPool))?.domain;
        }
        self.running = Some(self.run(live)?);
        Ok(())
    }

    fn running(&mut self) -> Result<&mut Running, Stop> {
        Ok(self.running.as_mut().ok_or_else(|| environment("the guest does not run"))?)
    }

    fn attach(&mut self, asked: Asked) -> Result<(), Stop> {
        let is_ancient = self.is_ancient();
        if is_ancient && matches!(asked, Asked::Set(_)) {
            return Err(Stop::Refused);
        }
        let mut defaults = self.defaults();
        if is_ancient {
            defaults.net_model = None;
        }
        let running = self.running()?;
        let plugged = running.live.plug_as(&defaults, &device(asked))?;
        running.process.plug(&plugged.device)?;
        running.live = if is_ancient { forgotten(&plugged.domain) } else { plugged.domain };
        Ok(())
    }

    /// The object that stands for the device is the live one; the text has not said who chose.
    fn detach(&mut self) -> Result<Answer, Stop> {
        let is_ancient = self.is_ancient();
        let running = self.running()?;
        let text = device(Asked::Unset);
        let found = running.live.lookup(Name::Element(&text));
        let found = found.map_err(|error| Fault::Garbage(error.to_string()))?;
        let (node, alias) = (found.node, found.alias().unwrap_or_default().into_owned());
        let model = found.get(MODEL).map(|model| value(&model)).transpose()?;
        running.process.unplug(&alias)?;
        running.live.remove_device(node);
        Ok(match is_ancient {
            true => Answer::Done,
            false => Answer::GivenBack(model.map_or(Field::Unset, Field::Auto)),
        })
    }

    fn redefine(&mut self) -> Result<Answer, Stop> {
        let dump = self.running()?.live.to_xml();
        if self.is_ancient() {
            return Ok(Answer::Defined(Field::Unset));
        }
        let text = self.read(&dump, Reading::Define)?.to_inactive()?.to_xml();
        let defined = field(&self.read(&text, Reading::Load)?)?;
        Ok(Answer::Defined(defined.ok_or_else(|| environment("the dump has no device"))?))
    }

    fn restart(&mut self, to: Release) -> Result<(), Stop> {
        self.release = to;
        let Some(running) = &self.running else { return Ok(()) };
        if self.is_ancient() {
            return Ok(());
        }
        let facts =
            Facts { pid: 1, boot: "b".to_owned(), monitor: "m".to_owned(), ..Facts::default() };
        let file = Status::new(&facts, &running.live)?.to_xml();
        let live = self.read(&Status::parse(&file)?.domain().to_xml(), Reading::Process)?;
        self.running()?.live = live;
        Ok(())
    }

    /// Says what a guest has that an ancient host took: it is not followed there.
    fn migrate(&mut self, to: Release) -> Result<Option<Value>, Stop> {
        let running = self.running()?;
        let stream = running.process.save();
        let live = running.live.clone();
        let text = match self.is_ancient() {
            true => live.to_xml(),
            false => live.to_migratable()?.to_xml(),
        };
        let sent = Domain::parse(&text)?;
        let says = sent.of(Class::Interface).any(|card| card.get(MODEL).is_some());
        if to == Release::Ancient && says {
            return Err(Stop::Refused);
        }
        let release = std::mem::replace(&mut self.release, to);
        if self.is_ancient() {
            let arrived = self.receive(&forgotten(&sent).to_xml(), &stream);
            self.release = release;
            (self.config, self.running) = (None, None);
            return Ok(has(&arrived?.process)?);
        }
        let arrived = self.receive(&text, &stream)?;
        (self.config, self.running) = (None, Some(arrived));
        Ok(None)
    }

    fn receive(&self, text: &str, stream: &Stream) -> Result<Running, Stop> {
        let mut arrived = self.run(self.read(text, Reading::Process)?)?;
        let loaded = arrived.process.load(stream);
        loaded.map_err(|error| Fault::Garbage(format!("the guest does not arrive: {error}")))?;
        Ok(arrived)
    }

    fn act(&mut self, action: Action) -> Result<(Answer, Option<Value>), Stop> {
        match action {
            Action::Define { device } => self.define(device)?,
            Action::Start => self.start()?,
            Action::Stop => self.running = None,
            Action::Attach { device } => self.attach(device)?,
            Action::Detach => return Ok((self.detach()?, None)),
            Action::Redefine => return Ok((self.redefine()?, None)),
            Action::Restart => self.restart(self.release)?,
            Action::Upgrade { to } => self.restart(to)?,
            Action::Migrate { to } => return Ok((Answer::Done, self.migrate(to)?)),
        }
        Ok((Answer::Done, None))
    }
}

/// The card of a process, as the guest finds it.
fn has(process: &Process) -> Result<Option<Value>, Fault> {
    let devices = process.on_root()?;
    let card = devices.iter().find(|(id, ..)| id.starts_with("net"));
    card.map(|(id, vendor, device)| match (vendor, device) {
        (0x10ec, 0x8139) => Ok(Value::A),
        (0x1af4, 0x1000) => Ok(Value::B),
        (0x8086, 0x10d3) => Ok(Value::C),
        _ => Err(Fault::Garbage(format!("{id} is {vendor:04x}:{device:04x}"))),
    })
    .transpose()
}

impl System<Study> for Hosts {
    fn apply(&mut self, action: Action, _: &Outcome) -> Result<Observed<Study>, Fault> {
        let (result, gone) = match self.act(action) {
            Ok(answer) => answer,
            Err(Stop::Refused) => (Answer::Refused, None),
            Err(Stop::Fault(fault)) => return Err(fault),
        };
        let (guest_has, live) = match &self.running {
            Some(running) => (has(&running.process)?, field(&running.live)?),
            None => (gone, None),
        };
        let asks = matches!(
            action,
            Action::Start
                | Action::Attach { .. }
                | Action::Restart
                | Action::Upgrade { .. }
                | Action::Migrate { .. }
        );
        let open = asks && !self.is_ancient() && live == Some(Field::Unset);
        let read_unset =
            result != Answer::Refused && (open || result == Answer::GivenBack(Field::Unset));
        Ok(Observed::Outcome(Outcome { result, guest_has, read_unset }))
    }
}

#[cfg(test)]
mod tests;
