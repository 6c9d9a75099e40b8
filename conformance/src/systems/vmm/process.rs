//! A process of the embedded hypervisor, started from a definition's command line.

use serde_json::Value;
use statusquo_vmm::{
    domain::{Domain, command_line},
    hotplug,
    hypervisor::{
        Command, Hypervisor,
        embedded::{Config, Delay, Embedded, LoadError, MachineType, Stream},
    },
};

use crate::replay::{Fault, environment};

pub(super) struct Process {
    embedded: Box<Embedded>,
}

impl Process {
    /// Starts what the command line asks for, after what the machine itself has.
    pub(super) fn boot(domain: &Domain, first: Vec<Command>) -> Result<Self, Fault> {
        let machine = domain.machine();
        let machine = if machine.is_pseries() {
            MachineType::Pseries
        } else if machine.is_q35() {
            MachineType::Q35
        } else {
            MachineType::Pc
        };
        let mut commands = first;
        for pair in command_line::arguments(domain).map_err(environment)?.windows(2) {
            let name = match &*pair[0] {
                "-device" => "device_add",
                "-netdev" => "netdev_add",
                _ => continue,
            };
            let value: Value = serde_json::from_str(&pair[1]).map_err(environment)?;
            commands.push(Command::of(name, value));
        }
        let config = Config { machine, guest_answers: Delay::Turns(0), finalize: Delay::Turns(0) };
        let booted = Embedded::boot(config, &commands);
        let embedded = booted
            .map(Box::new)
            .map_err(|(at, error)| environment(format!("{:?}: {error}", commands[at])))?;
        let mut process = Process { embedded };
        process.execute(&Command::cont())?;
        Ok(process)
    }

    pub(super) fn execute(&mut self, command: &Command) -> Result<Value, Fault> {
        let reply = self.embedded.execute(command).map_err(environment)?;
        reply.map_err(|error| environment(format!("{command:?}: {error}")))
    }

    pub(super) fn plug(&mut self, device: &hotplug::Device) -> Result<(), Fault> {
        if let Some(backend) = &device.backend {
            self.execute(&backend.add)?;
        }
        self.execute(&device.frontend)?;
        Ok(())
    }

    /// A device goes, and its backend if it is a card.
    pub(super) fn unplug(&mut self, id: &str) -> Result<(), Fault> {
        self.execute(&Command::device_del(id))?;
        if id.starts_with("net") {
            self.execute(&Command::netdev_del(&format!("host{id}")))?;
        }
        Ok(())
    }

    pub(super) fn query_pci(&self) -> Result<Value, Fault> {
        // A question changes nothing but the time.
        let process = Process { embedded: self.embedded.clone() };
        { process }.execute(&Command::new("query-pci"))
    }

    /// The devices on the root bus: id, vendor and device.
    pub(super) fn on_root(&self) -> Result<Vec<(String, u64, u64)>, Fault> {
        let pci = self.query_pci()?;
        let devices = pci[0]["devices"].as_array().into_iter().flatten();
        let read = |device: &Value| {
            let number = |name: &str| device["id"][name].as_u64();
            let id = device["qdev_id"].as_str().unwrap_or_default().to_owned();
            Some((id, number("vendor")?, number("device")?))
        };
        Ok(devices.filter_map(read).collect())
    }

    pub(super) fn save(&self) -> Stream {
        self.embedded.save()
    }

    pub(super) fn load(&mut self, stream: &Stream) -> Result<(), LoadError> {
        self.embedded.load(stream)
    }
}
