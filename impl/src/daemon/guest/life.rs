//! From start to end, and what a lost monitor or a killed daemon leaves in between.

use std::{io, time::Duration};

use super::{AGAIN_AFTER, END_AFTER, Guest, PATIENCE, Running, Shared, now, pause};
use crate::{
    daemon::{
        control::{Error, Event, Kind, Reply, State, causes},
        live::Live,
        places,
        start::{self, STARTING, Unfinished},
    },
    domain::Domain,
    hotplug::Machine,
    hypervisor::{
        Command, Hypervisor, MonitorError,
        process::{Ended, Process},
        qmp::Client,
    },
    status::{self, Facts, Status, Store},
};

impl Guest {
    pub(super) fn start(&mut self) -> Result<Reply, Error> {
        if self.running.is_some() {
            return Err(Kind::WrongState.because(format!("`{}` runs already", self.name)));
        }
        let Some(definition) = &self.definition else {
            return Err(
                Kind::NoSuchDomain.because(format!("no definition of `{}` is kept", self.name))
            );
        };
        let live =
            start::live_definition(definition).map_err(|error| Kind::BadXml.because(error))?;
        let Shared { places, options, boundaries } = &*self.shared;
        let storage = |error: io::Error| Kind::Storage.because(error);
        let directory = places
            .make_domain(&self.name)
            .map_err(|error| Kind::Storage.because(causes(&error)))?;
        let launch = start::launch(&live, places, &self.name, options.ready_within)
            .map_err(|error| Kind::BadXml.because(error))?;
        let starting = directory.join(STARTING);
        boundaries
            .around("keep the definition", || places::replace(&starting, &live.to_xml()))
            .map_err(storage)?;
        // What an earlier QEMU left when it was killed.
        places::remove(&launch.pidfile).map_err(storage)?;
        let started = boundaries.around("start QEMU", || launch.start());
        let process = match started {
            Ok(process) => process,
            Err(error) => {
                places::remove(&starting).map_err(storage)?;
                return Err(Kind::Qemu.because(causes(&error)));
            }
        };
        match self.welcome(&live, process.clone()) {
            Ok(()) => Ok(Reply::Done),
            Err(error) => {
                // A guest that no later daemon would know must not be left.
                let ended = process.end(PATIENCE);
                self.running = None;
                tracing::warn!(domain = self.name, ?ended, "the start was undone: {error}");
                drop(places::remove(&starting));
                drop(Store::new(self.shared.places.status()).remove(&self.name));
                self.tell_state();
                Err(error)
            }
        }
    }

    /// A QEMU that has just been started and stands still: its status is saved, and it may run.
    pub(super) fn welcome(&mut self, live: &Domain, process: Process) -> Result<(), Error> {
        let Shared { places, options, boundaries } = &*self.shared;
        let monitor = places.monitor(&self.name);
        let client = boundaries
            .around("connect", || Client::connect(&monitor, options.limits))
            .map_err(|error| Kind::Unresponsive.because(causes(&error)))?;
        let facts = Facts {
            pid: process.pid,
            started: Some(process.started),
            boot: process.boot.clone(),
            state: status::State::Starting,
            reason: "booted".to_owned(),
            monitor: monitor.display().to_string(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            qemu: client.version().map(ToString::to_string).unwrap_or_default(),
        };
        let status = Status::new(&facts, live).map_err(|error| Kind::BadXml.because(error))?;
        let file = Live::new(Store::new(places.status()), status);
        boundaries
            .around("save the status", || file.write())
            .map_err(|error| Kind::Storage.because(causes(&error)))?;
        let starting = places.domain(&self.name).join(STARTING);
        boundaries
            .around("forget the start", || places::remove(&starting))
            .map_err(|error| Kind::Storage.because(error))?;
        self.running = Some(Running::new(process, file, Some(client)));
        self.let_run().map_err(|error| Kind::Unresponsive.because(causes(&error)))?;
        self.tell(Event::Started { domain: self.name.clone() });
        Ok(())
    }

    /// Lets a guest run that was only just started.
    pub(super) fn let_run(&mut self) -> Result<(), MonitorError> {
        let Some(Running { client: Some(client), .. }) = &mut self.running else { return Ok(()) };
        let reply = self.shared.boundaries.around("cont", || client.execute(&Command::cont()))?;
        if let Err(error) = reply {
            return Err(MonitorError::Refused { command: "cont".to_owned(), error });
        }
        self.set_state(State::Running, status::State::Running);
        Ok(())
    }

    /// A daemon was killed while it started this domain: the start is finished, or was never made.
    pub(super) fn finish_start(&mut self) {
        let starting = self.shared.places.domain(&self.name).join(STARTING);
        let Ok(text) = places::read(&starting) else { return };
        if self.running.is_none() {
            let finished = self.find_started(&text);
            match finished {
                Ok(true) => {
                    tracing::info!(domain = self.name, "a start that was cut short is finished")
                }
                Ok(false) => {
                    tracing::info!(domain = self.name, "a start was cut short before QEMU ran")
                }
                Err(why) => {
                    // It is kept for whoever looks; the next daemon tries again.
                    tracing::error!(domain = self.name, "a start was cut short: {why}");
                    return;
                }
            }
        }
        if let Err(error) = places::remove(&starting) {
            tracing::warn!(domain = self.name, "remove `{}`: {error}", starting.display());
        }
    }

    pub(super) fn find_started(&mut self, text: &str) -> Result<bool, String> {
        let pidfile = self.shared.places.domain(&self.name).join("pid");
        let deadline = now() + self.shared.options.ready_within;
        let process = loop {
            match start::unfinished(&pidfile).map_err(|error| error.to_string())? {
                Unfinished::Nothing => return Ok(false),
                Unfinished::Runs(process) => break process,
                Unfinished::Comes if now() < deadline => pause(Duration::from_millis(20)),
                Unfinished::Comes => return Err("its QEMU does not come up".to_owned()),
            }
        };
        let live = Domain::parse(text).map_err(|error| error.to_string())?;
        loop {
            match self.welcome(&live, process.clone()) {
                Ok(()) => return Ok(true),
                Err(_) if process.is_alive().is_ok_and(|alive| !alive) => return Ok(false),
                Err(_) if now() < deadline => pause(Duration::from_millis(20)),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    pub(super) fn destroy(&mut self) -> Result<Reply, Error> {
        let Some(running) = &self.running else {
            return Err(Kind::WrongState.because(format!("`{}` does not run", self.name)));
        };
        let ended: io::Result<Ended> =
            self.shared.boundaries.around("end QEMU", || running.process.end(PATIENCE));
        ended.map_err(|error| Kind::Qemu.because(error))?;
        self.ended();
        Ok(Reply::Done)
    }

    /// The process is gone.
    pub(super) fn ended(&mut self) {
        let Some(running) = self.running.take() else { return };
        if let Err(error) = running.file.remove_file() {
            // The next daemon finds it stale and sets it aside.
            tracing::warn!(domain = self.name, "{}", causes(&error));
        }
        if let Some(asker) = running.asker {
            self.answer(asker, Err(Kind::WrongState.because(format!("`{}` has ended", self.name))));
        }
        self.tell(Event::Stopped { domain: self.name.clone() });
        self.tell_state();
    }

    /// The connection is of no use any more; what QEMU has done is found out when it answers again.
    pub(super) fn lose(&mut self, error: &MonitorError) {
        let Some(running) = &mut self.running else { return };
        tracing::warn!(domain = self.name, "the monitor is lost: {}", causes(error));
        running.client = None;
        running.not_before = Some(now() + END_AFTER);
        let why = Kind::Unresponsive.because(format!(
            "the monitor of `{}` is lost: {}",
            self.name,
            causes(error)
        ));
        if let Some(asker) = running.asker.take() {
            self.answer(asker, Err(why));
        }
    }

    /// Reaches the monitor again, or finds that the process is gone.
    pub(super) fn reach(&mut self) {
        let Some(running) = &mut self.running else { return };
        match running.process.is_alive() {
            Ok(true) => {}
            Ok(false) => return self.ended(),
            Err(error) => {
                tracing::warn!(domain = self.name, "is the process alive? {error}");
                running.not_before = Some(now() + AGAIN_AFTER);
                return;
            }
        }
        let reached = running.connect(&self.shared);
        match reached {
            Ok(client) => {
                running.client = Some(client);
                running.machine = Machine::recover(running.file.saved().clone());
                let word = running.file.facts().map(|facts| facts.state).unwrap_or_default();
                tracing::info!(
                    domain = self.name,
                    pid = running.process.pid,
                    "the monitor is reached"
                );
                if word == status::State::Starting {
                    if let Err(error) = self.let_run() {
                        self.lose(&error);
                    }
                    return;
                }
                // What has happened meanwhile, no event tells any more.
                let reply = match &mut running.client {
                    Some(client) => client.execute(&Command::query_status()),
                    None => return,
                };
                match reply.map(|reply| {
                    reply.ok().and_then(|value| Some(value.get("status")?.as_str()?.to_owned()))
                }) {
                    Ok(status) => match status.as_deref() {
                        Some("shutdown") => running.shut_down = true,
                        Some("paused") => self.set_state(State::Paused, status::State::Paused),
                        _ => self.set_state(State::Running, status::State::Running),
                    },
                    Err(error) => self.lose(&error),
                }
                return;
            }
            Err(why) => {
                tracing::warn!(domain = self.name, "{why}");
                running.not_before = Some(now() + AGAIN_AFTER);
                running.state = State::Unresponsive;
            }
        }
        self.tell_state();
    }
}
