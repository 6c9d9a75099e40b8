//! A daemon that comes and goes between requests while its QEMU stays.
//!
//! Whether it is asked to end or is killed alternates, from where the number of steps says: the same trace always gives
//! the same.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use statusquo_vmm::{
    daemon::control::{self, Event, Form, Reply, Request, State},
    hypervisor::{Hypervisor, process::Process, qmp::Client},
};

use super::{
    DOMAIN, Home, PATIENCE, Tally, Vmmd,
    control::{Connection, within},
    environment,
    guest::{self, Chipset},
};
use crate::replay::Fault;

/// One domain under one daemon after the other.
pub(super) struct Life {
    // The second monitor closes before the guest ends.
    look: Option<Client>,
    home: Home,
    requests: Connection,
    events: Connection,
    /// Events that nobody has waited for yet.
    heard: Vec<Event>,
    qemu: Option<Process>,
    steps: u64,
    restarts: u64,
    tally: Arc<Tally>,
}

impl Life {
    /// A daemon without domains. `prepare` writes the emulators of the domains to come.
    pub(super) fn begin(
        vmmd: &Vmmd,
        unplug_wait: u8,
        tally: &Arc<Tally>,
        prepare: impl FnOnce(&std::path::Path) -> std::io::Result<()>,
    ) -> Result<Self, Fault> {
        let mut home = Home::new(vmmd, false).map_err(environment)?;
        home.unplug_wait = unplug_wait;
        prepare(home.dir.path()).map_err(environment)?;
        let requests = home.start_daemon().map_err(environment)?;
        let events = home.connect().map_err(environment)?;
        let mut life = Life {
            look: None,
            home,
            requests,
            events,
            heard: Vec::new(),
            qemu: None,
            steps: 0,
            restarts: 0,
            tally: Arc::clone(tally),
        };
        life.listen()?;
        Ok(life)
    }

    pub(super) fn dir(&self) -> &std::path::Path {
        self.home.dir.path()
    }

    pub(super) fn status_file(&self) -> std::path::PathBuf {
        self.home.status_file()
    }

    /// A trace goes one step on.
    pub(super) fn step(&mut self) {
        self.steps += 1;
    }

    fn listen(&mut self) -> Result<(), Fault> {
        let asked = self.events.ask(Request::Events, PATIENCE).map_err(environment)?;
        asked.map(drop).map_err(environment)
    }

    pub(super) fn ask(&mut self, request: Request) -> Result<Result<Reply, control::Error>, Fault> {
        // An unplug waits for the guest, too.
        self.requests.ask(request, 2 * PATIENCE).map_err(|error| match error.kind() {
            std::io::ErrorKind::TimedOut => Fault::Hang(2 * PATIENCE),
            _ => Fault::Died(format!("the daemon: {error}; its log ends: {}", self.home.log_end())),
        })
    }

    /// A definition, which must be there.
    pub(super) fn dump(&mut self, form: Form) -> Result<String, Fault> {
        match self.ask(Request::Dump { domain: DOMAIN.to_owned(), form })? {
            Ok(Reply::Xml(xml)) => Ok(xml),
            other => Err(Fault::Garbage(format!("a dump is answered with {other:?}"))),
        }
    }

    /// The domain is started; its QEMU is looked at from now on.
    pub(super) fn start(&mut self) -> Result<Result<(), control::Error>, Fault> {
        match self.ask(Request::Start { domain: DOMAIN.to_owned() })? {
            Ok(Reply::Done) => {}
            Ok(other) => return Err(Fault::Garbage(format!("a start is answered with {other:?}"))),
            Err(error) => return Ok(Err(error)),
        }
        self.tally.qemus.fetch_add(1, Ordering::SeqCst);
        let qemu = self.home.qemu();
        self.qemu = Some(qemu.ok_or_else(|| environment("QEMU wrote no pidfile"))?);
        self.look = Some(guest::look(self.dir()).map_err(environment)?);
        Ok(Ok(()))
    }

    /// The domain is ended.
    pub(super) fn stop(&mut self) -> Result<(), Fault> {
        self.look = None;
        self.qemu = None;
        match self.ask(Request::Destroy { domain: DOMAIN.to_owned() })? {
            Ok(Reply::Done) => Ok(()),
            other => Err(Fault::Garbage(format!("a stop is answered with {other:?}"))),
        }
    }

    /// The second monitor.
    pub(super) fn look(&mut self) -> Result<&mut Client, Fault> {
        self.look.as_mut().ok_or_else(|| environment("the guest does not run"))
    }

    /// The devices that QEMU has; none where there is no QEMU.
    pub(super) fn ids(&mut self) -> Result<BTreeSet<String>, Fault> {
        match (&mut self.look, &self.qemu) {
            (Some(look), Some(qemu)) if qemu.is_alive().map_err(environment)? => {
                Ok(look.inventory().map_err(environment)?.devices)
            }
            _ => Ok(BTreeSet::new()),
        }
    }

    /// Is there a guest that runs?
    pub(super) fn runs(&self) -> Result<bool, Fault> {
        let alive = self.qemu.as_ref().map_or(Ok(false), Process::is_alive);
        alive.map_err(environment)
    }

    /// The daemon ends or is killed, and another one finds what it has left.
    pub(super) fn restart(&mut self) -> Result<(), Fault> {
        self.restarts += 1;
        let (count, ended) = match (self.steps + self.restarts) % 2 {
            0 => (&self.tally.ended, self.home.end_daemon()),
            _ => (&self.tally.killed, self.home.kill_daemon()),
        };
        ended.map_err(|error| Fault::Garbage(error.to_string()))?;
        count.fetch_add(1, Ordering::SeqCst);
        self.heard.clear();
        self.requests = self.home.start_daemon().map_err(environment)?;
        self.events = self.home.connect().map_err(environment)?;
        self.listen()?;
        let Some(pid) = self.qemu.as_ref().map(|qemu| qemu.pid) else { return Ok(()) };
        let requests = &mut self.requests;
        let reached = within(PATIENCE, || {
            let listed = requests.ask(Request::List, PATIENCE)?;
            let Ok(Reply::Domains(domains)) = listed else { return Ok(None) };
            let found = domains.into_iter().find(|listed| listed.domain == DOMAIN);
            Ok(found.filter(|listed| listed.state != State::Unresponsive))
        });
        match reached.map_err(environment)? {
            Some(listed) if listed.pid == Some(pid) => Ok(()),
            Some(listed) => Err(Fault::Garbage(format!("the guest is {listed:?} after a restart"))),
            None => Err(Fault::Hang(PATIENCE)),
        }
    }

    /// Only what comes from here on is waited for.
    pub(super) fn forget_events(&mut self) -> Result<(), Fault> {
        drop(self.events.events(PATIENCE).map_err(environment)?);
        self.heard.clear();
        Ok(())
    }

    /// Waits until the daemon says that this device is gone.
    pub(super) fn await_removed(&mut self, alias: &str) -> Result<(), Fault> {
        let Life { events, heard, .. } = self;
        let is_it =
            |event: &Event| matches!(event, Event::DeviceRemoved { alias: of, .. } if of == alias);
        let came = within(PATIENCE, || {
            heard.extend(events.events(PATIENCE)?);
            let at = heard.iter().position(is_it);
            Ok(at.map(|at| heard.remove(at)))
        });
        came.map_err(environment)?.map(drop).ok_or(Fault::Hang(PATIENCE))
    }

    /// The guest lets go of a PCI device.
    pub(super) fn eject(&mut self, chipset: Chipset, alias: &str) -> Result<(), Fault> {
        let look = self.look.as_mut().ok_or_else(|| environment("the guest does not run"))?;
        guest::eject(self.home.dir.path(), look, chipset, alias).map_err(environment)
    }
}
