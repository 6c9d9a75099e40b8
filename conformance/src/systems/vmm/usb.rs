//! The usb study on our definitions, over two hosts with hypervisors in process.
//!
//! Ours is the daemon of every host that runs the design: it reads, completes, starts, plugs, sends, receives and
//! takes over, and its definitions are texts whenever they leave its memory. Older libvirts are played by the model;
//! what they are sent and what they write is XML ([`Peer`]). Processes and the streams between them are the embedded
//! hypervisor's for everybody.

mod peer;
mod process;
mod text;

use std::sync::Arc;

use statusquo_model::studies::usb::{
    Study, Usb,
    action::{Action, Outcome, Result as Answer},
    definition::{Asked, Definition, Refusal},
    generation::Generation,
    hardware::{Build, Hardware, Machine},
    host::Host,
};
use statusquo_vmm::{
    domain::{Class, Domain, Emulator, Error, Problem, Reading, usb_facts},
    hypervisor::embedded::{LoadError, Stream},
};

use self::{peer::Peer, process::Process};
use crate::{
    matrix::Matrix,
    replay::{Factory, Fault, Observed, System, environment},
    studies::Replayable,
    systems::libvirt::Programs,
};

impl Replayable for Usb {
    const SHIPPED: Option<&'static str> = Some("libvirt-9.0");

    fn libvirt(study: &Study, programs: Programs) -> Result<Arc<dyn Factory<Study>>, String> {
        crate::systems::libvirt::usb::factory(study, programs)
    }

    fn vmm(study: &Study) -> Option<Arc<dyn Factory<Study>>> {
        let carried = str::to_owned;
        // The other scopes have millions of steps; what they have more of is older libvirts and cards.
        study.is_small().then(|| Arc::new(TwoHosts { study: study.clone(), carried }) as _)
    }

    fn matrix() -> Option<&'static dyn Matrix> {
        Some(&crate::matrix::UsbMatrix)
    }
}

#[derive(Debug)]
struct TwoHosts {
    study: Study,
    /// What becomes of a text between two daemons: tests lose something.
    carried: fn(&str) -> String,
}

impl Factory<Study> for TwoHosts {
    fn name(&self) -> String {
        format!("vmm {}, two hosts, hypervisors in process", env!("CARGO_PKG_VERSION"))
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        Ok(Box::new(Hosts {
            machine: self.study.machine(),
            build: self.study.build(),
            generations: [self.study.generation(); 2],
            config: None,
            life: Life::Off,
            cards: 0,
            carried: self.carried,
        }))
    }
}

/// What keeps a request from being granted, or from being answered at all.
#[derive(Debug)]
enum Stop {
    Refused(Refusal),
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Stop::Fault(fault)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match &error.problem {
            Problem::NoDefault { .. } => Stop::Refused(Refusal::NoModel),
            Problem::NoDevice(_) => Stop::Refused(Refusal::NoDevice),
            Problem::AddressInUse(_) => Stop::Refused(Refusal::PlaceTaken),
            Problem::Value { expected, .. } if expected.ends_with("in the chipset") => {
                Stop::Refused(Refusal::NotThePlaceOfPiix3)
            }
            _ => Stop::Fault(Fault::Garbage(error.to_string())),
        }
    }
}

impl From<LoadError> for Stop {
    fn from(error: LoadError) -> Self {
        Stop::Refused(match error {
            LoadError::UnknownSection(_) => Refusal::UnknownSection,
            LoadError::OtherDevice { .. } => Refusal::OtherModel,
        })
    }
}

/// The configuration on host 0, as its daemon keeps it.
enum Config {
    Old(Definition),
    /// What is on disk.
    Ours(String),
}

enum Life {
    Off,
    Running { host: usize, process: Process, daemon: Daemon },
    Saved { host: usize, text: String, stream: Stream, hardware: Hardware },
    Lost,
}

/// What the daemon of the host knows of the guest.
enum Daemon {
    Old(Peer),
    Ours(Box<Domain>),
}

struct Hosts {
    machine: Machine,
    build: Build,
    generations: [Generation; 2],
    config: Option<Config>,
    life: Life,
    /// Network cards so far: each has a MAC address of its own.
    cards: u32,
    carried: fn(&str) -> String,
}

impl Hosts {
    fn model(&self, host: usize) -> Host {
        let generation = self.generations[host];
        Host { generation, machine: self.machine, build: self.build }
    }

    fn is_ours(&self, host: usize) -> bool {
        self.generations[host] == Generation::Ours
    }

    fn emulator(&self) -> Emulator {
        text::emulator(self.build)
    }

    /// Ours reads a text.
    fn read(&self, xml: &str, reading: Reading) -> Result<Domain, Stop> {
        let mut domain = Domain::parse(xml)?;
        domain.complete(reading, &self.emulator())?;
        domain.assign_aliases()?;
        Ok(domain)
    }

    fn define(&mut self, asked: Asked) -> Result<(), Stop> {
        self.config = Some(if self.is_ours(0) {
            let domain = self.read(&text::of_user(self.machine, asked), Reading::Define)?;
            Config::Ours(domain.to_inactive()?.to_xml())
        } else {
            Config::Old(self.model(0).define(asked)?)
        });
        Ok(())
    }

    fn redefine(&mut self) -> Result<(), Stop> {
        let Life::Running { daemon, .. } = &self.life else { return Err(not_running()) };
        self.config = Some(match daemon {
            Daemon::Ours(live) => {
                let domain = self.read(&live.to_xml(), Reading::Define)?;
                Config::Ours(domain.to_inactive()?.to_xml())
            }
            Daemon::Old(peer) => Config::Old(self.model(0).redefine(peer.guest.live)?),
        });
        Ok(())
    }

    fn start(&mut self) -> Result<(), Stop> {
        let (process, daemon) = match &self.config {
            None => return Err(Stop::Fault(environment("nothing is defined"))),
            Some(Config::Ours(config)) => {
                let live = self.read(config, Reading::Load)?;
                (Process::start(&live, &self.emulator())?, Daemon::Ours(Box::new(live)))
            }
            Some(Config::Old(config)) => {
                let guest = self.model(0).start(*config)?;
                let peer = Peer::new(self.model(0), guest);
                (peer.process()?, Daemon::Old(peer))
            }
        };
        self.life = Life::Running { host: 0, process, daemon };
        Ok(())
    }

    fn plug(&mut self) -> Result<(), Stop> {
        self.cards += 1;
        let card = text::card(self.cards, None);
        let (generations, machine, build) = (self.generations, self.machine, self.build);
        let Life::Running { host, process, daemon } = &mut self.life else {
            return Err(not_running());
        };
        match daemon {
            Daemon::Ours(live) => {
                let plugged = live.plug(&card)?;
                process.plug(&plugged.device)?;
                **live = plugged.domain;
            }
            Daemon::Old(peer) => {
                let generation = generations[*host];
                let guest = Host { generation, machine, build }.plug(&peer.guest)?;
                let slot = guest.live.cards & !peer.guest.live.cards;
                process.plug_at(&card, peer.bus_of_cards(), slot.trailing_zeros())?;
                peer.guest = guest;
            }
        }
        Ok(())
    }

    fn unplug(&mut self) -> Result<(), Stop> {
        let Life::Running { process, daemon, .. } = &mut self.life else {
            return Err(not_running());
        };
        match daemon {
            Daemon::Ours(live) => {
                let mut cards = Vec::new();
                for card in live.of(Class::Interface) {
                    let slot = live.document().number(card.node, "address/@slot")?;
                    cards.push((slot, card.node));
                }
                let lowest = cards.into_iter().min();
                let Some((Some(slot), node)) = lowest else {
                    return Err(Stop::Fault(environment("there is no card with an address")));
                };
                process.unplug_card(slot)?;
                live.remove_device(node);
            }
            Daemon::Old(peer) => {
                process.unplug_card(peer.guest.live.cards.trailing_zeros())?;
                peer.guest = Host::unplug(&peer.guest);
            }
        }
        Ok(())
    }

    /// What the daemon of a running guest sends.
    fn migratable(&self) -> Result<(usize, String, Stream, Hardware), Stop> {
        let Life::Running { host, process, daemon } = &self.life else {
            return Err(not_running());
        };
        let text = match daemon {
            Daemon::Ours(live) => live.to_migratable()?.to_xml(),
            Daemon::Old(peer) => peer.migratable(self.model(*host)),
        };
        Ok((*host, (self.carried)(&text), process.save(), process.hardware()?))
    }

    /// The daemon of a host receives a text and a stream.
    fn receive(
        &self,
        host: usize,
        text: &str,
        stream: &Stream,
        sent: Hardware,
    ) -> Result<(Process, Daemon), Stop> {
        if self.is_ours(host) {
            let live = self.read(text, Reading::Process)?;
            let mut process = Process::start(&live, &self.emulator())?;
            process.load(stream)?;
            return Ok((process, Daemon::Ours(Box::new(live))));
        }
        let peer = Peer::receive(self.model(host), text, sent)?;
        let mut process = peer.process()?;
        process.load(stream)?;
        Ok((process, Daemon::Old(peer)))
    }

    fn arrives(
        &mut self,
        host: usize,
        (process, daemon): (Process, Daemon),
        had: Hardware,
    ) -> Result<Answer, Stop> {
        let changed = process.hardware()? != had;
        self.life = Life::Running { host, process, daemon };
        Ok(if changed { Answer::SilentlyChanged } else { Answer::Done })
    }

    fn migrate(&mut self) -> Result<Answer, Stop> {
        let (host, text, stream, had) = self.migratable()?;
        let there = 1 - host;
        let arrived = self.receive(there, &text, &stream, had)?;
        self.arrives(there, arrived, had)
    }

    fn restore(&mut self) -> Result<Answer, Stop> {
        let Life::Saved { host, text, stream, hardware } = &self.life else {
            return Err(Stop::Fault(environment("the guest is not saved")));
        };
        let (host, had) = (*host, *hardware);
        match self.receive(host, text, stream, had) {
            Ok(arrived) => self.arrives(host, arrived, had),
            Err(Stop::Refused(refusal)) => {
                self.life = Life::Lost;
                Ok(Answer::Lost(refusal))
            }
            Err(fault) => Err(fault),
        }
    }

    fn upgrade(&mut self, host: usize) -> Result<Answer, Stop> {
        let old = self.model(host);
        self.generations[host] = Generation::Ours;
        if host == 0
            && let Some(Config::Old(config)) = &self.config
        {
            let written = peer::config(old, *config);
            match self.read(&written, Reading::Load) {
                Ok(domain) => self.config = Some(Config::Ours(domain.to_inactive()?.to_xml())),
                Err(Stop::Refused(refusal)) => {
                    self.config = None;
                    return Ok(Answer::Lost(refusal));
                }
                Err(fault) => return Err(fault),
            }
        }
        let Life::Running { host: here, process, daemon: Daemon::Old(peer) } = &mut self.life
        else {
            return Ok(Answer::Done);
        };
        if *here != host {
            return Ok(Answer::Done);
        }
        let mut live = Domain::parse(&peer.status())?;
        live.take_over(&usb_facts(&process.query_pci()?))?;
        let taken = self.read(&live.to_xml(), Reading::Process);
        match taken {
            Ok(live) => {
                if let Life::Running { daemon, .. } = &mut self.life {
                    *daemon = Daemon::Ours(Box::new(live));
                }
                Ok(Answer::Done)
            }
            Err(Stop::Refused(refusal)) => {
                self.life = Life::Lost;
                Ok(Answer::Lost(refusal))
            }
            Err(fault) => Err(fault),
        }
    }

    fn act(&mut self, action: Action) -> Result<Answer, Stop> {
        match action {
            Action::Install { host, generation } => {
                self.generations[usize::from(host)] = generation;
            }
            Action::Upgrade { host } => return self.upgrade(usize::from(host)),
            Action::Define { usb } => self.define(usb)?,
            Action::Redefine => self.redefine()?,
            Action::Start => self.start()?,
            Action::Stop => self.life = Life::Off,
            Action::Plug => self.plug()?,
            Action::Unplug => self.unplug()?,
            Action::Migrate => return self.migrate(),
            Action::Save => {
                let (host, text, stream, hardware) = self.migratable()?;
                self.life = Life::Saved { host, text, stream, hardware };
            }
            Action::Restore => return self.restore(),
        }
        Ok(Answer::Done)
    }

    /// What everybody sees after a step.
    fn outcome(&self, result: Answer) -> Result<Outcome, Stop> {
        let (shown, guest_has) = match &self.life {
            Life::Running { process, daemon, .. } => {
                let shown = match daemon {
                    Daemon::Ours(live) => text::controller(live)?,
                    Daemon::Old(peer) => peer.guest.live.usb,
                };
                (shown, process.hardware()?)
            }
            _ => {
                let shown = match &self.config {
                    None => None,
                    Some(Config::Old(config)) => config.usb,
                    Some(Config::Ours(config)) => {
                        text::controller(&self.read(config, Reading::Load)?)?
                    }
                };
                (shown, None)
            }
        };
        Ok(Outcome { result, shown, guest_has })
    }
}

fn not_running() -> Stop {
    Stop::Fault(environment("the guest does not run"))
}

impl System<Study> for Hosts {
    fn apply(&mut self, action: Action, _: &Outcome) -> Result<Observed<Study>, Fault> {
        let fault = |stop| match stop {
            Stop::Fault(fault) => fault,
            Stop::Refused(refusal) => Fault::Garbage(format!("{refusal:?} where nothing is asked")),
        };
        let answer = match self.act(action) {
            Ok(answer) => answer,
            Err(Stop::Refused(refusal)) => Answer::Refused(refusal),
            Err(Stop::Fault(fault)) => return Err(fault),
        };
        self.outcome(answer).map(Observed::Outcome).map_err(fault)
    }
}

#[cfg(test)]
mod tests;
