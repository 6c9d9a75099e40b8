//! A hypervisor in process: QEMU 7.2's monitor contract as a value.
//!
//! For machines without QEMU, and for tests that stop a daemon between any two steps:
//! the value survives its daemon, can be cloned at any instant, and two of them can be compared.
//!
//! What it knows: buses and their rules for plugging, devices with ids and places, backends and who has them,
//! unplugs that wait for the guest, and the time between a device's going and its end, in which its id is free
//! but its chardev is busy. Replies carry QEMU's classes and texts; `impl/tests/real/hypervisor.rs` compares them
//! with a real QEMU.
//!
//! What it leaves out: data (no socket is opened, no file looked at), unknown properties of devices
//! (QEMU refuses them), and drivers outside of the catalogue.
//!
//! Time is counted in turns: every command is one, and whoever waits lets them pass.

mod arguments;
mod backends;
mod catalogue;
mod devices;
mod place;
mod stream;

use std::{collections::VecDeque, time::Instant};

use serde_json::{Value, json};

use self::{
    arguments::{only, text},
    backends::Backends,
    devices::{Devices, Gone},
};
use super::{
    Command, Event, Hypervisor, MonitorError, QmpError, Reply, Timestamp, monitor::properties,
};

pub use self::stream::{LoadError, Stream};

/// The machine types that are modelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MachineType {
    /// One hotpluggable PCI bus, `pci.0`.
    #[default]
    Pc,
    /// `pcie.0`, which is not hotpluggable; root ports below it are.
    Q35,
    /// ppc64: one hotpluggable PCI bus, `pci.0`, and nothing on it.
    Pseries,
    /// Some other machine, or one of another QEMU, of which only these buses are there.
    Bare(&'static [Root]),
}

/// A bus that a machine brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    name: &'static str,
    kind: catalogue::Bus,
    hotpluggable: bool,
}

impl Root {
    /// PCI.
    pub const fn pci(name: &'static str, hotpluggable: bool) -> Self {
        Root { name, kind: catalogue::Bus::Pci, hotpluggable }
    }

    /// PCI Express.
    pub const fn pcie(name: &'static str, hotpluggable: bool) -> Self {
        Root { name, kind: catalogue::Bus::Pcie, hotpluggable }
    }

    /// SCSI, of a controller on the board.
    pub const fn scsi(name: &'static str) -> Self {
        Root { name, kind: catalogue::Bus::Scsi, hotpluggable: true }
    }
}

/// How long something takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    /// So many turns after the one in which it begins; 0: within the command that begins it.
    Turns(u16),
    /// It does not happen by itself.
    Never,
}

/// What the machine is and how it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which buses there are at the start.
    pub machine: MachineType,
    /// When the running guest lets go of a PCI device. A guest that does not run lets go of nothing.
    pub guest_answers: Delay,
    /// When an unplugged device comes to its end: `DEVICE_DELETED`, and its chardev is free.
    ///
    /// In QEMU some 60 ms after the reply to `device_del`: a procedure that does not wait meets a busy chardev.
    pub finalize: Delay,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            machine: MachineType::Pc,
            guest_answers: Delay::Turns(0),
            finalize: Delay::Turns(1),
        }
    }
}

/// The machine and its monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedded {
    config: Config,
    status: Status,
    devices: Devices,
    backends: Backends,
    ending: Vec<Ending>,
    events: VecDeque<Event>,
    turns: u32,
}

/// As `query-status` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Prelaunch,
    Running,
    Paused,
    /// The process is gone.
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Ending {
    gone: Gone,
    left: Delay,
}

impl Embedded {
    /// A machine that has its own chips only and does not run yet.
    pub fn new(config: Config) -> Self {
        Embedded {
            config,
            status: Status::Prelaunch,
            devices: Devices::new(config.machine),
            backends: Backends::new(),
            ending: Vec::new(),
            events: VecDeque::new(),
            turns: 0,
        }
    }

    /// Builds the machine as its command line would: buses need not be hotpluggable.
    ///
    /// # Errors
    /// As QEMU would refuse to start: the index of the command, and why.
    pub fn boot(config: Config, commands: &[Command]) -> Result<Self, (usize, QmpError)> {
        let mut machine = Embedded::new(config);
        for (index, command) in commands.iter().enumerate() {
            machine.dispatch(command, true).map_err(|error| (index, error))?;
        }
        Ok(machine)
    }

    /// The guest lets a device go, now. `false`: there is no such device that a guest could let go.
    pub fn guest_unplug(&mut self, id: &str) -> bool {
        let gone = self.devices.eject(id);
        let any = !gone.is_empty();
        self.begin_end(gone);
        self.finish();
        any
    }

    /// The guest does not answer the request to let a device go. A reset still completes it.
    pub fn guest_ignores(&mut self, id: &str) -> bool {
        self.devices.ignore(id)
    }

    /// A device that has left the tree comes to its end, now. `false`: there is none of that id.
    pub fn finalize(&mut self, id: &str) -> bool {
        let mut any = false;
        // Its parts, which have no id, end with it.
        let path = format!("/machine/peripheral/{id}");
        for ending in &mut self.ending {
            if ending.gone.path.starts_with(&path) {
                ending.left = Delay::Turns(0);
                any = true;
            }
        }
        self.finish();
        any
    }

    /// From now on, the guest answers requests so.
    pub fn guest_answers(&mut self, delay: Delay) {
        self.config.guest_answers = delay;
    }

    /// The process is killed.
    pub fn kill(&mut self) {
        self.status = Status::Ended;
        self.events.clear();
    }

    /// Whether the process is there.
    pub fn is_alive(&self) -> bool {
        self.status != Status::Ended
    }

    /// Whether the guest runs.
    pub fn is_running(&self) -> bool {
        self.status == Status::Running
    }

    fn dispatch(&mut self, command: &Command, cold: bool) -> Reply {
        let (devices, backends) = (&mut self.devices, &mut self.backends);
        match command.name.as_str() {
            "chardev-add" => backends.chardev_add(command),
            "chardev-remove" => backends.chardev_remove(command),
            "query-chardev" => only(command, &[]).map(|()| backends.query_chardev()),
            "object-add" => backends.object_add(command),
            "object-del" => backends.object_del(command),
            "netdev_add" => backends.netdev_add(command),
            "netdev_del" => backends.netdev_del(command),
            "blockdev-add" => backends.blockdev_add(command),
            "blockdev-del" => backends.blockdev_del(command),
            "query-named-block-nodes" => {
                only(command, &["flat"]).map(|()| backends.query_named_block_nodes())
            }
            "device_add" => devices.add(&command.arguments, backends, cold).map(|()| json!({})),
            "device_del" => {
                let gone = devices.remove(text(command, "id")?, self.config.guest_answers)?;
                self.begin_end(gone);
                Ok(json!({}))
            }
            "query-pci" => only(command, &[]).map(|()| self.devices.query_pci()),
            "qom-list" => self.qom_list(text(command, "path")?),
            "qom-get" => self.qom_get(text(command, "path")?, text(command, "property")?),
            "human-monitor-command" => self.human(text(command, "command-line")?),
            "query-status" => only(command, &[]).map(|()| self.query_status()),
            "cont" => only(command, &[]).map(|()| self.run(Status::Running, "RESUME")),
            "stop" => only(command, &[]).map(|()| self.run(Status::Paused, "STOP")),
            "system_reset" => only(command, &[]).map(|()| self.reset()),
            "quit" => only(command, &[]).map(|()| self.quit()),
            name => Err(QmpError::command_not_found(name)),
        }
    }

    fn qom_list(&self, path: &str) -> Reply {
        let child =
            |(name, kind): (&str, &str)| json!({"name": name, "type": format!("child<{kind}>")});
        let children: Vec<Value> = match path {
            "/machine/peripheral" => self.devices.named().map(child).collect(),
            "/objects" => self.backends.objects().map(|(name, kind)| child((name, kind))).collect(),
            "/chardevs" => {
                self.backends.chardev_names().map(|name| child((name, "chardev"))).collect()
            }
            _ => return Err(QmpError::device_not_found(path)),
        };
        let itself = json!({"name": "type", "type": "string"});
        Ok(std::iter::once(itself).chain(children).collect())
    }

    /// What one of the machine's own buses says of itself; QEMU finds it by its name alone.
    fn qom_get(&self, path: &str, property: &str) -> Reply {
        let hotpluggable =
            self.devices.own(path).ok_or_else(|| QmpError::device_not_found(path))?;
        match property {
            // Which object it is, is the machine's business.
            "hotplug-handler" if hotpluggable => Ok("/machine/unattached/device[0]".into()),
            "hotplug-handler" => Ok("".into()),
            _ => Err(QmpError::generic(format!("Property '{path}.{property}' not found"))),
        }
    }

    fn human(&self, line: &str) -> Reply {
        if line != "info network" {
            return Ok(format!("unknown command: '{line}'\r\n").into());
        }
        let nic = |key| {
            let device = self.devices.get(key)?;
            Some((
                device.id.clone().unwrap_or_else(|| format!("{}.{key}", device.driver.name)),
                device.driver.name,
            ))
        };
        Ok(self.backends.info_network(nic).into())
    }

    fn query_status(&self) -> Value {
        let status = match self.status {
            Status::Prelaunch => "prelaunch",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Ended => "shutdown",
        };
        json!({"status": status, "singlestep": false, "running": self.is_running()})
    }

    fn run(&mut self, status: Status, event: &str) -> Value {
        // A machine that never ran stays as it is when it is stopped, but it says so all the same.
        if self.status != status {
            self.emit(event, json!({}));
            self.status = status;
        }
        json!({})
    }

    fn reset(&mut self) -> Value {
        self.emit("RESET", json!({"guest": false, "reason": "host-qmp-system-reset"}));
        let gone = self.devices.eject_all();
        self.begin_end(gone);
        json!({})
    }

    fn quit(&mut self) -> Value {
        self.emit("SHUTDOWN", json!({"guest": false, "reason": "host-qmp-quit"}));
        self.status = Status::Ended;
        json!({})
    }

    /// Devices have left the tree; their ends begin.
    fn begin_end(&mut self, gone: Vec<Gone>) {
        for gone in gone {
            self.backends.release_netdev(gone.key);
            self.ending.push(Ending { gone, left: self.config.finalize });
        }
    }

    /// Time passes.
    fn turn(&mut self) {
        if self.is_running() {
            let gone = self.devices.turn();
            self.begin_end(gone);
        }
        self.finish();
        for ending in &mut self.ending {
            if let Delay::Turns(left) = &mut ending.left {
                *left -= 1;
            }
        }
        self.turns += 1;
    }

    /// Ends that are due.
    fn finish(&mut self) {
        let due = |ending: &Ending| ending.left == Delay::Turns(0);
        let (ended, ending) = std::mem::take(&mut self.ending).into_iter().partition(due);
        self.ending = ending;
        for Ending { gone: Gone { key, id, path }, .. } in ended {
            self.backends.release(key);
            let data = match id {
                Some(id) => json!({"device": id, "path": path}),
                None => json!({"path": path}),
            };
            self.emit("DEVICE_DELETED", data);
        }
    }

    /// Whether waiting changes anything.
    fn awaits(&self) -> bool {
        let ends = self.ending.iter().any(|ending| ending.left != Delay::Never);
        ends || (self.is_running() && self.devices.expects_answer())
    }

    fn emit(&mut self, name: &str, data: Value) {
        let timestamp = Timestamp { seconds: 0, microseconds: self.turns.into() };
        self.events.push_back(Event { name: name.to_owned(), data: properties(data), timestamp });
    }

    fn hangup(&self, waiting_for: &str) -> MonitorError {
        MonitorError::Hangup { waiting_for: waiting_for.to_owned(), unfinished: 0 }
    }
}

impl Hypervisor for Embedded {
    fn execute(&mut self, command: &Command) -> Result<Reply, MonitorError> {
        if !self.is_alive() {
            return Err(self.hangup(&command.name));
        }
        let reply = self.dispatch(command, false);
        self.turn();
        Ok(reply)
    }

    fn events(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    /// Lets turns pass until something happens. There is no clock: a machine that will say nothing says so at once.
    fn wait_event(&mut self, _deadline: Instant) -> Result<bool, MonitorError> {
        while self.events.is_empty() && self.is_alive() && self.awaits() {
            self.turn();
        }
        match self.events.is_empty() {
            false => Ok(true),
            true if self.is_alive() => Ok(false),
            true => Err(self.hangup("events")),
        }
    }

    fn reconnect(&mut self) -> Result<(), MonitorError> {
        self.events.clear();
        if self.is_alive() { Ok(()) } else { Err(self.hangup("connect")) }
    }
}

#[cfg(test)]
mod tests;
