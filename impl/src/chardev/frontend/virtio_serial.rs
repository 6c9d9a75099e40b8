//! virtio-serial: up to 31 ports on one device, without I/O.
//!
//! The device is told facts and looks at guest memory; what it wants of the world it gives back as
//! data. Rules and names are those of `hw/char/virtio-serial-bus.c`, except where
//! `docs/studies/chardev.md` found them wanting.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    control::{ControlError, Message, What},
    guest::Memory,
};
use crate::chardev::connection::{Connection, Observer};

/// Port numbers are 0 to 30.
pub const PORTS_MAX: u32 = 31;

/// One port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The name that the guest finds it by.
    pub name: String,
    /// The chardev behind it.
    pub chardev: String,
    /// Who is there, and who knows.
    pub connection: Connection,
    /// `PORT_ADD` was sent.
    pub added: bool,
    /// The guest has answered `PORT_READY`.
    pub ready: bool,
    /// `PORT_NAME` was sent.
    pub named: bool,
    /// Bytes of the first element in the transmit ring that the transport has taken already.
    pub sent: usize,
}

/// A port that cannot be plugged: texts as `device_add` has them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlugError {
    /// The number is taken.
    #[error("virtio-serial-bus: A port already exists at id {0}")]
    IdInUse(u32),
    /// The name is taken.
    #[error("virtio-serial-bus: A port already exists by name {0}")]
    NameInUse(String),
    /// The number is too large.
    #[error("virtio-serial-bus: Out-of-range port id specified, max. allowed: {max}", max = PORTS_MAX - 1)]
    OutOfRange(u32),
}

/// The device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtioSerial {
    /// The driver has set `DRIVER_OK` and said `DEVICE_READY`.
    pub driver: bool,
    /// The ports by number.
    pub ports: BTreeMap<u32, Port>,
    /// Ports that are gone and that the guest still knows.
    pub removed: BTreeSet<u32>,
}

impl VirtioSerial {
    /// Adds a port.
    pub fn plug(&mut self, id: u32, name: &str, chardev: &str) -> Result<(), PlugError> {
        if id >= PORTS_MAX {
            return Err(PlugError::OutOfRange(id));
        }
        if self.ports.contains_key(&id) {
            return Err(PlugError::IdInUse(id));
        }
        if !name.is_empty() && self.ports.values().any(|port| port.name == name) {
            return Err(PlugError::NameInUse(name.to_owned()));
        }
        let port = Port {
            name: name.to_owned(),
            chardev: chardev.to_owned(),
            connection: Connection::default(),
            added: false,
            ready: false,
            named: false,
            sent: 0,
        };
        self.ports.insert(id, port);
        Ok(())
    }

    /// Removes a port; the guest is told when it can be.
    pub fn unplug(&mut self, id: u32) -> Option<Port> {
        let port = self.ports.remove(&id)?;
        if port.added {
            self.removed.insert(id);
        }
        Some(port)
    }

    /// The driver has gone: with it every client, and what the guest knew. None is invented.
    pub fn reset(&mut self) {
        self.driver = false;
        self.removed.clear();
        for port in self.ports.values_mut() {
            port.connection.guest_reset();
            (port.added, port.ready, port.named, port.sent) = (false, false, false, 0);
        }
    }

    /// Reads the driver's control messages; those that are none are returned.
    pub fn hear(&mut self, memory: &mut Memory) -> (bool, Vec<ControlError>) {
        let mut heard = false;
        let mut refused = Vec::new();
        while let Some(bytes) = memory.control_out.pop_front() {
            heard = true;
            let message = match Message::decode(&bytes) {
                Ok(message) => message,
                Err(error) => {
                    refused.push(error);
                    continue;
                }
            };
            match (message.what, self.ports.get_mut(&message.port)) {
                (What::DeviceReady, _) => self.driver = message.value != 0,
                (What::PortReady, Some(port)) => port.ready = message.value != 0,
                (What::PortOpen, Some(port)) => port.connection.set_client(message.value != 0),
                // A port that is not there, or something that only the device says.
                _ => {}
            }
        }
        (heard, refused)
    }

    /// Tells the guest what it can be told now; says whether it told anything.
    pub fn tell(&mut self, memory: &mut Memory) -> bool {
        let mut told = false;
        if !self.driver {
            return false;
        }
        while memory.control_posted > 0
            && let Some(id) = self.removed.pop_first()
        {
            memory.control_posted -= 1;
            memory.control_in.push_back(Message::new(id, What::PortRemove, 1).encode());
            told = true;
        }
        for (&id, port) in self.ports.iter_mut().filter(|(id, _)| !self.removed.contains(id)) {
            while let Some(message) = port.next_message(id).filter(|_| memory.control_posted > 0) {
                memory.control_posted -= 1;
                memory.control_in.push_back(message.encode());
                match message.what {
                    What::PortAdd => port.added = true,
                    What::PortName => port.named = true,
                    _ => port.connection.told(Observer::Guest, message.value != 0),
                }
                told = true;
            }
        }
        told
    }
}

impl Port {
    /// What the guest should be told next: that the port is there, its name, who is at its other end.
    fn next_message(&self, id: u32) -> Option<Message> {
        if !self.added {
            return Some(Message::new(id, What::PortAdd, 1));
        }
        if !self.ready {
            return None;
        }
        if !self.named && !self.name.is_empty() {
            return Some(Message {
                name: self.name.clone(),
                ..Message::new(id, What::PortName, 1)
            });
        }
        let connected = self.connection.owed(Observer::Guest)?;
        Some(Message::new(id, What::PortOpen, connected.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chardev::frontend::guest::{Guest, Notice};

    fn settle(device: &mut VirtioSerial, guest: &mut Guest) {
        loop {
            let (heard, _) = device.hear(&mut guest.memory);
            if !(heard | device.tell(&mut guest.memory) | guest.run()) {
                break;
            }
        }
    }

    #[test]
    fn a_port_is_announced_and_then_its_host() {
        let mut device = VirtioSerial::default();
        let mut guest = Guest::default();
        device.plug(1, "org.example.0", "c0").unwrap();
        guest.start_driver();
        settle(&mut device, &mut guest);
        assert_eq!(guest.notices(), [Notice::Announced(1)]);
        for connected in [true, false] {
            device.ports.get_mut(&1).unwrap().connection.set_transport(connected);
            settle(&mut device, &mut guest);
            assert_eq!(guest.notices(), [Notice::Host { port: 1, connected }]);
        }
    }

    #[test]
    fn a_notice_waits_for_a_buffer() {
        let mut device = VirtioSerial::default();
        let mut guest = Guest::default();
        device.plug(1, "", "c0").unwrap();
        guest.start_driver();
        settle(&mut device, &mut guest);
        guest.notices();
        guest.withhold_control();
        device.ports.get_mut(&1).unwrap().connection.set_transport(true);
        settle(&mut device, &mut guest);
        assert_eq!(guest.notices(), []);
        guest.post_control();
        settle(&mut device, &mut guest);
        assert_eq!(guest.notices(), [Notice::Host { port: 1, connected: true }]);
    }

    #[test]
    fn ports_are_refused_as_device_add_refuses_them() {
        let mut device = VirtioSerial::default();
        device.plug(1, "n", "c0").unwrap();
        let text = |error: Result<(), PlugError>| error.unwrap_err().to_string();
        assert_eq!(
            text(device.plug(1, "m", "c1")),
            "virtio-serial-bus: A port already exists at id 1"
        );
        assert_eq!(
            text(device.plug(2, "n", "c1")),
            "virtio-serial-bus: A port already exists by name n"
        );
        assert_eq!(
            text(device.plug(31, "o", "c1")),
            "virtio-serial-bus: Out-of-range port id specified, max. allowed: 30"
        );
    }
}
