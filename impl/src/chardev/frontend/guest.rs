//! The guest: its memory, and a driver that uses it.
//!
//! The queues stand for virtqueues in guest memory: they move with the guest when it migrates, and the
//! device touches them only while the machine runs.

use std::collections::{BTreeMap, VecDeque};

use super::control::{Message, What};

/// One port's rings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortRings {
    /// Receive buffers posted: how many bytes each holds.
    pub posted: VecDeque<usize>,
    /// Receive buffers used.
    pub received: VecDeque<Vec<u8>>,
    /// Elements to transmit.
    pub transmit: VecDeque<Vec<u8>>,
    /// Elements given back, as a count.
    pub completed: usize,
}

/// What the device may touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Control buffers posted.
    pub control_posted: usize,
    /// Control messages of the device's.
    pub control_in: VecDeque<Vec<u8>>,
    /// Control messages of the driver's.
    pub control_out: VecDeque<Vec<u8>>,
    /// Each port's rings, by its number.
    pub ports: BTreeMap<u32, PortRings>,
}

/// A guest with a driver that answers the device as Linux's does, and notes what it is told.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    /// Its memory.
    pub memory: Memory,
    /// The driver gives control buffers back.
    keeps_control: bool,
    driver: bool,
    notices: Vec<Notice>,
}

/// What the guest is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// There is a port; with the name that it has.
    Announced(u32),
    /// The host's end of a port is connected, or not.
    Host {
        /// The port.
        port: u32,
        /// Its host is connected.
        connected: bool,
    },
    /// The port is gone.
    Removed(u32),
}

/// Control buffers that the driver keeps posted.
const CONTROL_BUFFERS: usize = 16;

impl Guest {
    /// Sets `DRIVER_OK` and says `DEVICE_READY`.
    pub fn start_driver(&mut self) {
        self.driver = true;
        self.keeps_control = false;
        self.memory.control_posted = CONTROL_BUFFERS;
        self.say(Message::new(u32::MAX, What::DeviceReady, 1));
    }

    /// The driver has said `DRIVER_OK`.
    pub fn has_driver(&self) -> bool {
        self.driver
    }

    /// Forgets everything: the machine, or the device, was reset.
    pub fn reset(&mut self) {
        *self = Guest::default();
    }

    /// Opens a port.
    pub fn open(&mut self, port: u32) {
        self.say(Message::new(port, What::PortOpen, 1));
    }

    /// Closes a port.
    pub fn close(&mut self, port: u32) {
        self.say(Message::new(port, What::PortOpen, 0));
    }

    /// Puts an element into the transmit ring.
    pub fn write(&mut self, port: u32, bytes: Vec<u8>) {
        self.memory.ports.entry(port).or_default().transmit.push_back(bytes);
    }

    /// Posts a receive buffer.
    pub fn post(&mut self, port: u32, bytes: usize) {
        self.memory.ports.entry(port).or_default().posted.push_back(bytes);
    }

    /// Elements that the device has given back, since last asked.
    pub fn completed(&mut self, port: u32) -> usize {
        self.memory.ports.get_mut(&port).map_or(0, |rings| std::mem::take(&mut rings.completed))
    }

    /// What was received, since last asked.
    pub fn received(&mut self, port: u32) -> Vec<Vec<u8>> {
        self.memory
            .ports
            .get_mut(&port)
            .map_or_else(Vec::new, |rings| rings.received.drain(..).collect())
    }

    /// What the guest was told, since last asked.
    pub fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Takes every control buffer out of the queue and keeps it.
    pub fn withhold_control(&mut self) {
        self.keeps_control = true;
        self.memory.control_posted = 0;
    }

    /// Gives control buffers back again.
    pub fn post_control(&mut self) {
        self.keeps_control = false;
        self.memory.control_posted = CONTROL_BUFFERS;
    }

    /// A port's rings are gone with it.
    pub fn forget_port(&mut self, port: u32) {
        self.memory.ports.remove(&port);
    }

    /// Reads what the device has written, answers, and gives buffers back; says whether it did anything.
    pub fn run(&mut self) -> bool {
        let mut ran = false;
        while let Some(bytes) = self.memory.control_in.pop_front() {
            ran = true;
            if !self.keeps_control {
                self.memory.control_posted += 1;
            }
            let Ok(message) = Message::decode(&bytes) else { continue };
            match message.what {
                What::PortAdd => {
                    self.say(Message::new(message.port, What::PortReady, 1));
                    self.notices.push(Notice::Announced(message.port));
                }
                What::PortRemove => self.notices.push(Notice::Removed(message.port)),
                What::PortOpen => {
                    self.notices
                        .push(Notice::Host { port: message.port, connected: message.value != 0 });
                }
                _ => {}
            }
        }
        ran
    }

    fn say(&mut self, message: Message) {
        self.memory.control_out.push_back(message.encode());
    }
}
