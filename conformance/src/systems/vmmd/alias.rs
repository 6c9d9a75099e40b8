//! The alias study on the real daemon: every request over its control socket, with a real QEMU below it.
//!
//! What is observed: the daemon's replies and refusals; the ids that QEMU has, over a monitor of ours; the dumps, and
//! for the status both the one that is asked for and the file on disk. A console that is opened must be a terminal.
//! What nobody asked the daemon for is done behind its back: `device_del` on the second monitor, and for a PCI device
//! the guest's write to the eject register.

use std::{fs, os::unix::fs::FileTypeExt, sync::Arc};

use statusquo_model::studies::alias::{
    Study,
    action::{Action, By, Outcome, Reply, What, Why},
    definition::{Device as Asking, Kind, Source},
    name::{self, Stem},
};
use statusquo_vmm::{
    daemon::control::{self, Form, Named, Request},
    domain::Domain,
    hypervisor::{Command, Hypervisor},
};

use super::{
    DOMAIN, Tally, Vmmd, environment,
    guest::{Chipset, write_emulator},
    life::Life,
};
use crate::{
    replay::{Factory, Fault, Observed, System},
    studies::{Daemoned, Daemonized, Tours},
    systems::{
        libvirt::alias::{element, shown},
        vmm::alias::{alias, definition},
    },
};

/// Seconds that an unplug waits. What needs no guest is gone after some 60 ms; a guest that is parked never answers.
const UNPLUG_WAIT: u8 = 1;

/// The daemon, which can be led through all of the study.
pub(crate) fn daemonized(vmmd: &Vmmd) -> Daemonized<Study> {
    let tally = Arc::new(Tally::default());
    let factory = Arc::new(Daemon { vmmd: vmmd.clone(), tally: Arc::clone(&tally) });
    Daemonized {
        systems: vec![Daemoned { class: "x86_64 pc", factory, tally }],
        tours: Tours::Transitions { undriven: Arc::new(|_, _| None) },
    }
}

struct Daemon {
    vmmd: Vmmd,
    tally: Arc<Tally>,
}

impl Factory<Study> for Daemon {
    fn name(&self) -> String {
        format!("vmmd {}", self.vmmd.version)
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        let qemu = &self.vmmd.qemu;
        let life = Life::begin(&self.vmmd, UNPLUG_WAIT, &self.tally, |dir| {
            write_emulator(&dir.join("emulator"), qemu, true, &[])
        })?;
        Ok(Box::new(Run { life, asked: 0 }))
    }
}

struct Run {
    life: Life,
    /// Devices asked for, so that no two channels have one name.
    asked: u32,
}

fn domain() -> String {
    DOMAIN.to_owned()
}

impl Run {
    fn define(&mut self, xml: String) -> Result<Reply, Fault> {
        match self.life.ask(Request::Define { xml })? {
            Ok(control::Reply::Defined { .. }) => Ok(Reply::Done),
            other => refused(other),
        }
    }

    /// What is written; of the status, both in memory and on disk.
    fn written(&mut self, what: What) -> Result<String, Fault> {
        let form = match what {
            What::Live => Form::Live,
            What::Inactive => Form::Inactive,
            What::Status => Form::Status,
        };
        let text = self.life.dump(form)?;
        if what == What::Status {
            let file = fs::read_to_string(self.life.status_file()).map_err(environment)?;
            let (says, has) = (devices(&text)?, devices(&file)?);
            if says != has {
                let why = format!("the status file has {has:?}, and the daemon says {says:?}");
                return Err(Fault::Garbage(why));
            }
        }
        Ok(text)
    }

    fn detach(&mut self, by: By) -> Result<Reply, Fault> {
        let device = match by {
            By::Alias(alias) => Named::Alias(alias.to_string()),
            By::PortZero => Named::Xml(
                "<console type='null'><target type='virtio' port='0'/></console>".to_owned(),
            ),
            By::Xml(kind) => {
                let all = shown(&self.written(What::Live)?)?;
                let found = all.into_iter().find(|(other, _, _)| *other == kind);
                let found =
                    found.ok_or_else(|| Fault::Garbage(format!("the dump shows no {kind:?}")))?;
                Named::Xml(found.2)
            }
        };
        match self.life.ask(Request::Detach { domain: domain(), device })? {
            Ok(control::Reply::Detached { .. }) => Ok(Reply::Done),
            Ok(control::Reply::UnplugRequested { .. }) => Ok(Reply::Requested),
            other => refused(other),
        }
    }

    fn attach(&mut self, kind: Kind, user: Option<name::Alias>) -> Result<Reply, Fault> {
        self.asked += 1;
        let source = match kind {
            Kind::UsbSerial => Source::Pty(None),
            _ => Source::Null,
        };
        let xml = element(&Asking::asked(kind, source, user), self.asked);
        match self.life.ask(Request::Attach { domain: domain(), xml })? {
            Ok(control::Reply::Attached { alias: id }) => {
                Ok(Reply::Attached { alias: alias(&id)? })
            }
            other => refused(other),
        }
    }

    fn open(&mut self, name: Option<name::Alias>) -> Result<Reply, Fault> {
        let name = name.map(|name| name.to_string());
        match self.life.ask(Request::OpenConsole { domain: domain(), name })? {
            Ok(control::Reply::Console { path, .. }) => {
                let is_terminal =
                    fs::metadata(&path).is_ok_and(|it| it.file_type().is_char_device());
                let nothing = || Fault::Garbage(format!("the console is at {path:?}"));
                is_terminal.then_some(Reply::Done).ok_or_else(nothing)
            }
            Err(control::Error { kind: control::Kind::NoSuchDevice, .. }) => {
                Ok(Reply::Refused(Why::NoSuchConsole))
            }
            other => refused(other),
        }
    }

    fn unplugged(&mut self, id: name::Alias) -> Result<Reply, Fault> {
        let text = id.to_string();
        self.life.forget_events()?;
        if id.stem == Stem::Rng {
            self.life.eject(Chipset::I440fx, &text)?;
        } else {
            let reply = self.life.look()?.execute(&Command::device_del(&text));
            reply.map_err(environment)?.map_err(environment)?;
        }
        self.life.await_removed(&text)?;
        Ok(Reply::Done)
    }

    fn perform(&mut self, action: Action) -> Result<Reply, Fault> {
        match action {
            Action::Define { with } => {
                let emulator = self.life.dir().join("emulator");
                let more = format!(
                    "<features><acpi/></features><devices><emulator>{}</emulator>",
                    emulator.display()
                );
                let xml = definition(DOMAIN, with).replacen("<devices>", &more, 1);
                self.define(xml)
            }
            Action::Redefine => {
                let xml = self.written(What::Inactive)?;
                self.define(xml)
            }
            Action::Start => match self.life.start()? {
                Ok(()) => Ok(Reply::Done),
                Err(error) => refused(Err(error)),
            },
            Action::Restart => self.life.restart().map(|()| Reply::Done),
            Action::Dump { what } => {
                let mut text = self.written(what)?;
                if what == What::Inactive {
                    // What is kept is what the user said; what it means is what the next start reads in it.
                    let mut domain = Domain::parse(&text).map_err(environment)?;
                    domain.post_parse().map_err(environment)?;
                    text = domain.to_xml();
                }
                let all = shown(&text)?;
                Ok(Reply::Shown(all.into_iter().map(|(_, shown, _)| shown).collect()))
            }
            Action::Open { name } => self.open(name),
            Action::Detach { by } => self.detach(by),
            Action::Attach { kind, alias } => self.attach(kind, alias),
            Action::Unplugged { id } => self.unplugged(id),
        }
    }

    fn act(&mut self, action: Action) -> Result<Outcome, Fault> {
        let ran = self.life.runs()?;
        let before = self.life.ids()?;
        let reply = self.perform(action)?;
        let after = self.life.ids()?;
        self.life.step();
        let guest_lost = ran && !self.life.runs()?;
        let gone = match guest_lost {
            true => Vec::new(),
            false => before.difference(&after).map(|id| alias(id)).collect::<Result<_, _>>()?,
        };
        Ok(Outcome { reply, gone, guest_lost })
    }
}

/// The devices that take part, in the study's words.
fn devices(text: &str) -> Result<Vec<statusquo_model::studies::alias::action::Shown>, Fault> {
    Ok(shown(text)?.into_iter().map(|(_, shown, _)| shown).collect())
}

/// A refusal in the study's words. Anything that is none of them is no answer.
fn refused(answer: Result<control::Reply, control::Error>) -> Result<Reply, Fault> {
    use control::Kind;
    let error = match answer {
        Err(error) => error,
        Ok(reply) => return Err(Fault::Garbage(format!("the reply is {reply:?}"))),
    };
    let says = |text: &str| error.message.contains(text);
    let why = match error.kind {
        Kind::NoSuchDevice
            if says("no device is called") || says("no device is as the element") =>
        {
            Why::NoSuchDevice
        }
        Kind::NotHotpluggable if error.message.starts_with("the <controller> ") => {
            Why::IsAController
        }
        Kind::NotHotpluggable => {
            let fixed = error.message.split('`').nth(1);
            let fixed = fixed.filter(|_| says("cannot be unplugged while the machine runs"));
            match fixed {
                Some(id) => Why::Fixed { alias: alias(id)? },
                None => return Err(Fault::Garbage(format!("refused: {error}"))),
            }
        }
        Kind::NotAPty => Why::NotAPty,
        Kind::BadXml if says("is used by more than one device") => Why::DuplicateAlias,
        Kind::BadXml if says("cannot be called") => Why::AliasesDiffer,
        Kind::BadXml if says("has a device `") && says("already") => Why::DuplicateId,
        _ => return Err(Fault::Garbage(format!("refused: {error}"))),
    };
    Ok(Reply::Refused(why))
}

impl System<Study> for Run {
    fn apply(&mut self, action: Action, _: &Outcome) -> Result<Observed<Study>, Fault> {
        self.act(action).map(Observed::Outcome)
    }
}
