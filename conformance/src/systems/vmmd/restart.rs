//! The restart study on the real daemon and a real QEMU, one effect at a time.
//!
//! What a trace calls the daemon's reply is what the client that asked reads from its socket; its events are those
//! that another client reads; what QEMU has is asked over a second monitor; what the file says is read from disk.
//!
//! One thing cannot be driven: QEMU ends a device that has left its tree by itself, some 60 ms later, and nobody can
//! put that off. See [`super::points::is_drivable`].

use std::{
    fs,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use statusquo_model::studies::restart::{
    Study,
    action::Action,
    outcome::{Effect, Outcome, Reply},
    state::Why,
};
use statusquo_vmm::{
    daemon::control::{self, Event, Form, Kind, Named, Request, State},
    domain::Domain,
    hotplug::EffectKind,
    hypervisor::{Hypervisor, process::Process, qmp::Client},
    status::Status,
};

use super::{
    DOMAIN, Home, PATIENCE, Tally, Vmmd,
    control::{Connection, within},
    environment,
    guest::{self, Chipset, Class},
};
use crate::{
    replay::{Factory, Fault, Observed, System},
    studies::Daemoned,
    systems::vmm::restart::effect,
};

/// Effects of one recovery, and of whatever it leaves to do.
const EFFECTS_MAX: usize = 64;

/// The daemon with one class of devices.
#[derive(Debug)]
pub struct Daemon {
    vmmd: Vmmd,
    class: Class,
    /// Of all systems that this has made.
    tally: Arc<Tally>,
}

impl Daemon {
    /// For each class of devices that this scope is about.
    pub(crate) fn of(study: &Study, vmmd: &Vmmd) -> Vec<Daemoned<Study>> {
        let classes = Class::ALL.into_iter();
        let classes = classes.filter(|class| class.guest_ejects() == study.guest_ejects());
        let daemon = |class: Class| {
            let tally = Arc::new(Tally::default());
            let daemon = Daemon { vmmd: vmmd.clone(), class, tally: Arc::clone(&tally) };
            Daemoned { class: class.name(), factory: Arc::new(daemon), tally }
        };
        classes.map(daemon).collect()
    }
}

impl Factory<Study> for Daemon {
    fn name(&self) -> String {
        format!("vmmd {}, {}", self.vmmd.version, self.class.name())
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        let mut home = Home::new(&self.vmmd, true).map_err(environment)?;
        guest::write_crowded_emulator(home.dir.path(), &self.vmmd.qemu).map_err(environment)?;
        let mut requests = home.start_daemon().map_err(environment)?;
        let xml = guest::definition(home.dir.path());
        for request in [Request::Define { xml }, Request::Start { domain: DOMAIN.to_owned() }] {
            let answer = requests.ask(request, 2 * PATIENCE).map_err(environment)?;
            answer.map_err(environment)?;
        }
        let qemu = home.qemu().ok_or_else(|| environment("QEMU wrote no pidfile"))?;
        let look = guest::look(home.dir.path()).map_err(environment)?;
        let events = home.connect().map_err(environment)?;
        let mut run = Run {
            home,
            class: self.class,
            tally: Arc::clone(&self.tally),
            qemu,
            look,
            sockets: Some(Sockets { requests, events }),
            asked: None,
        };
        run.listen()?;
        run.settle(&mut Outcome::default())?;
        Ok(Box::new(run))
    }
}

/// One domain under one daemon, killed and started at will.
struct Run {
    // The second monitor closes before the guest ends.
    look: Client,
    home: Home,
    class: Class,
    tally: Arc<Tally>,
    qemu: Process,
    sockets: Option<Sockets>,
    /// The request that is not answered yet.
    asked: Option<u64>,
}

struct Sockets {
    requests: Connection,
    events: Connection,
}

impl Run {
    fn sockets(&mut self) -> Result<&mut Sockets, Fault> {
        self.sockets.as_mut().ok_or_else(|| environment("the daemon is not running"))
    }

    fn ask(&mut self, request: Request) -> Result<Result<control::Reply, control::Error>, Fault> {
        let answer = self.sockets()?.requests.ask(request, PATIENCE);
        answer.map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => Fault::Hang(PATIENCE),
            _ => Fault::Died(format!("the daemon: {error}; its log ends: {}", self.home.log_end())),
        })
    }

    fn listen(&mut self) -> Result<(), Fault> {
        let asked = self.sockets()?.events.ask(Request::Events, PATIENCE).map_err(environment)?;
        asked.map(drop).map_err(environment)
    }

    fn kill(&mut self) -> Result<(), Fault> {
        self.sockets = None;
        self.asked = None;
        self.home.kill_daemon().map_err(environment)?;
        self.tally.killed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// Starts the daemon and waits until it has reached QEMU's monitor. It has looked at nothing yet.
    fn start(&mut self) -> Result<(), Fault> {
        let requests = self.home.start_daemon().map_err(environment)?;
        let events = self.home.connect().map_err(environment)?;
        self.sockets = Some(Sockets { requests, events });
        self.listen()?;
        let reached = within(PATIENCE, || {
            let sockets = self.sockets.as_mut().ok_or(std::io::ErrorKind::NotConnected)?;
            let listed = sockets.requests.ask(Request::List, PATIENCE)?;
            let Ok(control::Reply::Domains(domains)) = listed else { return Ok(None) };
            let found = domains.iter().find(|listed| listed.domain == DOMAIN);
            Ok(found.filter(|listed| listed.state != State::Unresponsive).cloned())
        });
        match reached.map_err(environment)? {
            Some(listed) if listed.pid == Some(self.qemu.pid) => Ok(()),
            Some(listed) => Err(Fault::Garbage(format!("the guest is {listed:?} after a restart"))),
            None => Err(Fault::Hang(PATIENCE)),
        }
    }

    /// Effects until there is nothing more to do.
    fn settle(&mut self, outcome: &mut Outcome) -> Result<(), Fault> {
        for _ in 0..EFFECTS_MAX {
            if self.step()?.0.is_none() {
                return self.hear(outcome);
            }
        }
        Err(Fault::Hang(PATIENCE))
    }

    fn step(&mut self) -> Result<(Option<EffectKind>, bool), Fault> {
        match self.ask(Request::Step { domain: DOMAIN.to_owned() })? {
            Ok(control::Reply::Stepped { effect, failed }) => Ok((effect, failed.is_some())),
            other => Err(Fault::Garbage(format!("a step is answered with {other:?}"))),
        }
    }

    /// Takes over the events that have been sent.
    fn hear(&mut self, outcome: &mut Outcome) -> Result<(), Fault> {
        let class = self.class;
        let number = |alias: &str| {
            class.number(alias).ok_or_else(|| Fault::Garbage(format!("an event about `{alias}`")))
        };
        for event in self.sockets()?.events.events(PATIENCE).map_err(environment)? {
            match event {
                Event::DeviceAdded { alias, .. } => outcome.added.push(number(&alias)?),
                Event::DeviceRemoved { alias, .. } => outcome.removed.push(number(&alias)?),
                Event::Started { .. } | Event::Stopped { .. } => {}
            }
        }
        Ok(())
    }

    /// The reply that the client gets who asked, if one is there or owed.
    fn reply(&mut self, owed: bool) -> Result<Reply, Fault> {
        let Some(asked) = self.asked else { return Ok(Reply::Nothing) };
        let patience = if owed { PATIENCE } else { Duration::ZERO };
        let Some(answer) = self.sockets()?.requests.answer(asked, patience).map_err(environment)?
        else {
            return Ok(Reply::Nothing);
        };
        self.asked = None;
        let number = |alias: &String| {
            let number = self.class.number(alias);
            number.ok_or_else(|| Fault::Garbage(format!("a reply about `{alias}`")))
        };
        Ok(match answer {
            Ok(control::Reply::Attached { alias }) => Reply::Attached { alias: number(&alias)? },
            Ok(control::Reply::Detached { alias }) => Reply::Detached { alias: number(&alias)? },
            Ok(control::Reply::UnplugRequested { alias }) => {
                Reply::UnplugRequested { alias: number(&alias)? }
            }
            Ok(other) => return Err(Fault::Garbage(format!("the reply is {other:?}"))),
            Err(error) => Reply::Refused { why: why(&error)? },
        })
    }

    fn request(&mut self, request: Request, owed: &Outcome) -> Result<Reply, Fault> {
        let asked = self.sockets()?.requests.send(request).map_err(environment)?;
        self.asked = Some(asked);
        self.reply(!owed.reply.is_nothing())
    }

    fn dump(&mut self) -> Result<Vec<u8>, Fault> {
        let request = Request::Dump { domain: DOMAIN.to_owned(), form: Form::Live };
        match self.ask(request)? {
            Ok(control::Reply::Xml(xml)) => {
                let domain =
                    Domain::parse(&xml).map_err(|error| Fault::Garbage(error.to_string()))?;
                Ok(self.class.in_definition(&domain))
            }
            other => Err(Fault::Garbage(format!("a dump is answered with {other:?}"))),
        }
    }

    fn places(&mut self) -> Result<Reply, Fault> {
        let inventory = self.look.inventory().map_err(environment)?;
        let text = fs::read_to_string(self.home.status_file()).map_err(environment)?;
        let status = Status::parse(&text).map_err(|error| Fault::Garbage(error.to_string()))?;
        let document = status.document();
        let intents = status.intents().flat_map(|intent| document.children(intent));
        let intents = intents.filter_map(|node| document.get(node, "alias/@name"));
        let intents = guest::sorted(intents.filter_map(|alias| self.class.number(&alias)));
        let definition = if self.sockets.is_some() { self.dump()? } else { Vec::new() };
        Ok(Reply::Places {
            frontends: self.class.frontends(&inventory),
            backends: self.class.backends(&inventory),
            file: self.class.in_definition(status.domain()),
            intents,
            definition,
        })
    }

    fn id(&self, alias: u8) -> String {
        format!("{}{alias}", self.class.prefix())
    }

    /// QEMU brings a device to its end by itself; from here on it has.
    fn await_end(&mut self, id: &str) -> Result<(), Fault> {
        let ended = within(PATIENCE, || {
            let events = self.look.events();
            Ok(events.iter().any(|event| event.deleted_device() == Some(id)).then_some(()))
        });
        ended.map_err(environment)?.ok_or(Fault::Hang(PATIENCE))
    }

    fn act(&mut self, action: Action, owed: &Outcome) -> Result<Outcome, Fault> {
        let mut outcome = Outcome::default();
        let domain = || DOMAIN.to_owned();
        match action {
            Action::Attach { bus_full } => {
                let xml = self.class.xml(bus_full);
                outcome.reply = self.request(Request::Attach { domain: domain(), xml }, owed)?;
            }
            Action::Detach { alias } => {
                let device = Named::Alias(self.id(alias));
                outcome.reply = self.request(Request::Detach { domain: domain(), device }, owed)?;
            }
            Action::Dump => outcome.reply = Reply::Devices { aliases: self.dump()? },
            Action::Inspect => outcome.reply = self.places()?,
            Action::Step => {
                // An event that the second monitor has seen may still be on its way to the daemon's.
                let mut performed = self.step()?;
                if owed.did == Some(Effect::TakeEvent) {
                    let taken = within(PATIENCE, || {
                        if performed.0.is_none() {
                            performed = self.step().map_err(std::io::Error::other)?;
                        }
                        Ok(performed.0.is_some().then_some(()))
                    });
                    taken.map_err(environment)?;
                }
                outcome.did = performed.0.map(effect);
                outcome.failed = performed.1;
                outcome.reply = self.reply(!owed.reply.is_nothing())?;
                self.hear(&mut outcome)?;
            }
            Action::GiveUp => match self.ask(Request::GiveUp { domain: domain() })? {
                Ok(_) => {}
                Err(error) => return Err(Fault::Garbage(error.message)),
            },
            Action::Eject { alias } => {
                let id = self.id(alias);
                guest::eject(self.home.dir.path(), &mut self.look, Chipset::I440fx, &id)
                    .map_err(environment)?;
            }
            Action::Finalize { alias } => {
                let id = self.id(alias);
                self.await_end(&id)?;
            }
            Action::Kill => self.kill()?,
            Action::Start => self.start()?,
            Action::Restart => {
                self.kill()?;
                self.start()?;
                self.settle(&mut outcome)?;
            }
            Action::FillDisk => fs::create_dir(self.home.obstacle()).map_err(environment)?,
            Action::FreeDisk => fs::remove_dir(self.home.obstacle()).map_err(environment)?,
        }
        // Of several devices at once, nobody minds the order.
        outcome.added.sort_unstable();
        outcome.removed.sort_unstable();
        outcome.guest_lost = !self.qemu.is_alive().map_err(environment)?;
        Ok(outcome)
    }
}

fn why(error: &control::Error) -> Result<Why, Fault> {
    Ok(match error.kind {
        Kind::NoSuchDevice => Why::NoSuchDevice,
        Kind::Storage => Why::StatusNotSaved,
        Kind::Qemu if error.message.starts_with("QEMU refuses add-frontend") => Why::BusFull,
        Kind::Qemu => Why::DuplicateId,
        _ => return Err(Fault::Garbage(format!("refused: {error}"))),
    })
}

impl System<Study> for Run {
    fn apply(&mut self, action: Action, owed: &Outcome) -> Result<Observed<Study>, Fault> {
        self.act(action, owed).map(Observed::Outcome)
    }
}
