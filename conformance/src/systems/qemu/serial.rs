//! A guest's virtio-serial driver, played over qtest: what `drivers/char/virtio_console.c` does, without
//! a guest.

use super::{
    qtest::QTest,
    virtio::{self, QUEUE_BYTES, Queue},
};
use crate::replay::Fault;

const MULTIPORT: u32 = 1 << 1;
const ACKNOWLEDGED: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;

const CONTROL_IN: u16 = 2;
pub(super) const CONTROL_OUT: u16 = 3;
/// Control buffers that the driver keeps offered, and the bytes of each.
const CONTROL_BUFFERS: u16 = 16;
const CONTROL_BYTES: u64 = 64;

const DEVICE_READY: u16 = 0;
const PORT_ADD: u16 = 1;
const PORT_READY: u16 = 3;
const PORT_OPEN: u16 = 6;
/// "For the whole device" in a control message.
const NO_PORT: u32 = 0xFFFF_FFFF;

// The guest's memory: rings, control buffers, then receive and transmit buffers of each port.
pub(super) const RINGS: u64 = 0x20_0000;
pub(super) const CONTROL: u64 = 0x24_0000;
const RECEIVE: u64 = 0x25_0000;
/// A receive buffer: more than any element.
const RECEIVE_BYTES: usize = 64;
const TRANSMIT: u64 = 0x30_0000;
/// A transmit buffer: more than a unix socket holds.
const TRANSMIT_BYTES: u64 = 0x4_0000;
/// Buffers that are used in turn.
const SLOTS: u64 = 8;
const TRANSMIT_PORT: u64 = TRANSMIT_BYTES * SLOTS;

/// Something that the guest notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The port exists; the driver has answered.
    Announced(u32),
    /// Its host is connected, or is not.
    Host { port: u32, connected: bool },
}

/// The driver's state, which lives in the guest's memory and migrates with it.
#[derive(Debug)]
pub(super) struct Driver {
    running: Option<Running>,
    /// The registers are mapped: a system reset undoes it.
    mapped: bool,
    /// Port numbers, in the order of the study's ports.
    ports: usize,
}

#[derive(Debug)]
struct Running {
    control_in: Queue,
    control_out: Queue,
    gives_back: bool,
    ports: Vec<Port>,
}

#[derive(Debug)]
struct Port {
    added: bool,
    known: bool,
    receive: Queue,
    transmit: Queue,
}

impl Driver {
    pub(super) fn new(ports: usize) -> Self {
        Driver { running: None, mapped: false, ports }
    }

    /// From reset to `DRIVER_OK` and `DEVICE_READY`.
    pub(super) fn start(&mut self, qtest: &mut QTest) -> Result<(), Fault> {
        if !self.mapped {
            virtio::map(qtest)?;
            self.mapped = true;
        }
        for status in [0, ACKNOWLEDGED, ACKNOWLEDGED | DRIVER] {
            virtio::set_status(qtest, status)?;
        }
        virtio::set_features(qtest, MULTIPORT)?;
        let mut queue =
            |index: u16| Queue::set_up(qtest, index, RINGS + u64::from(index) * QUEUE_BYTES);
        queue(0)?;
        queue(1)?;
        let (control_in, control_out) = (queue(CONTROL_IN)?, queue(CONTROL_OUT)?);
        let ports = (1..=self.ports as u16).map(|port| {
            let (receive, transmit) = (queue(2 * port + 2)?, queue(2 * port + 3)?);
            Ok(Port { added: false, known: false, receive, transmit })
        });
        let ports = ports.collect::<Result<_, Fault>>()?;
        let mut running = Running { control_in, control_out, gives_back: true, ports };
        running.give_control_back(qtest)?;
        virtio::set_status(qtest, ACKNOWLEDGED | DRIVER | DRIVER_OK)?;
        running.say(qtest, NO_PORT, DEVICE_READY, 1)?;
        self.running = Some(running);
        Ok(())
    }

    /// The driver resets the device.
    pub(super) fn stop(&mut self, qtest: &mut QTest) -> Result<(), Fault> {
        virtio::set_status(qtest, 0)?;
        self.running = None;
        Ok(())
    }

    /// The machine was reset: nothing of the driver is left.
    pub(super) fn machine_was_reset(&mut self) {
        self.running = None;
        self.mapped = false;
    }

    fn running(&mut self) -> Result<&mut Running, Fault> {
        let running = self.running.as_mut();
        running.ok_or_else(|| Fault::Environment("the guest has no driver".to_owned()))
    }

    fn port(&mut self, at: usize) -> Result<&mut Port, Fault> {
        let port = self.running()?.ports.get_mut(at);
        port.ok_or_else(|| Fault::Environment(format!("the guest has no port {at}")))
    }

    pub(super) fn give_control_back(&mut self, qtest: &mut QTest) -> Result<(), Fault> {
        let running = self.running()?;
        running.gives_back = true;
        running.give_control_back(qtest)
    }

    /// Keeps every control buffer. What is offered already cannot be taken back, since the device
    /// remembers how much there was: it is used up by asking for the ports again and again.
    pub(super) fn keep_control(&mut self, qtest: &mut QTest) -> Result<(), Fault> {
        let running = self.running()?;
        running.gives_back = false;
        while running.control_in.under_way() > 0 {
            running.say(qtest, NO_PORT, DEVICE_READY, 1)?;
            let before = running.control_in.under_way();
            while running.control_in.take_used(qtest)?.is_some() {}
            if running.control_in.under_way() == before {
                return Err(Fault::Garbage("DEVICE_READY is not answered".to_owned()));
            }
        }
        Ok(())
    }

    /// Any control message.
    pub(super) fn say(
        &mut self,
        qtest: &mut QTest,
        port: u32,
        event: u16,
        value: u16,
    ) -> Result<(), Fault> {
        self.running()?.say(qtest, port, event, value)
    }

    pub(super) fn say_open(
        &mut self,
        qtest: &mut QTest,
        at: usize,
        open: bool,
    ) -> Result<(), Fault> {
        self.running()?.say(qtest, at as u32 + 1, PORT_OPEN, open.into())
    }

    /// Puts one element of `len` bytes into the transmit ring, which begins so.
    pub(super) fn write(
        &mut self,
        qtest: &mut QTest,
        at: usize,
        begin: &[u8],
        len: u32,
    ) -> Result<(), Fault> {
        let queue = &mut self.port(at)?.transmit;
        let slot = u64::from(queue.next()) % SLOTS;
        let address = TRANSMIT + at as u64 * TRANSMIT_PORT + slot * TRANSMIT_BYTES;
        qtest.write(address, begin)?;
        queue.offer(qtest, address, len, false)?;
        queue.notify(qtest)
    }

    /// Posts one receive buffer, as long as an element.
    pub(super) fn post(&mut self, qtest: &mut QTest, at: usize, len: usize) -> Result<(), Fault> {
        let queue = &mut self.port(at)?.receive;
        let address = receive_buffer(at, queue.next());
        queue.offer(qtest, address, len as u32, true)?;
        queue.notify(qtest)
    }

    /// What came back since last asked: transmit descriptors, and received bytes.
    pub(super) fn take_back(
        &mut self,
        qtest: &mut QTest,
        at: usize,
    ) -> Result<(u8, Vec<u8>), Fault> {
        let (mut completed, mut received) = (0, Vec::new());
        let Some(port) = self.running.as_mut().and_then(|running| running.ports.get_mut(at)) else {
            return Ok((completed, received));
        };
        while port.transmit.take_used(qtest)?.is_some() {
            completed += 1;
        }
        while let Some((descriptor, len)) = port.receive.take_used(qtest)? {
            let bytes = qtest.read::<RECEIVE_BYTES>(receive_buffer(at, descriptor))?;
            received.extend(&bytes[..(len as usize).min(RECEIVE_BYTES)]);
        }
        Ok((completed, received))
    }

    /// The port is gone, with its buffers.
    pub(super) fn forget_port(&mut self, qtest: &mut QTest, at: usize) -> Result<(), Fault> {
        if self.running.is_none() {
            return Ok(());
        }
        let port = self.port(at)?;
        (port.added, port.known) = (false, false);
        port.receive.withdraw(qtest)?;
        port.transmit.forget(qtest)
    }

    /// Looks into the control queue. While the guest `runs` it answers what it finds there.
    pub(super) fn notices(&mut self, qtest: &mut QTest, runs: bool) -> Result<Vec<Notice>, Fault> {
        let mut notices = Vec::new();
        let Some(running) = &mut self.running else { return Ok(notices) };
        loop {
            while let Some((descriptor, len)) = running.control_in.take_used(qtest)? {
                let [p0, p1, p2, p3, e0, e1, v0, v1] =
                    qtest.read::<8>(CONTROL + u64::from(descriptor) * CONTROL_BYTES)?;
                if len < 8 {
                    return Err(Fault::Garbage(format!("a control message of {len} bytes")));
                }
                let order = qtest.order;
                let id = order.get32([p0, p1, p2, p3]);
                let (event, value) = (order.get16([e0, e1]), order.get16([v0, v1]));
                // A port beyond the study's is there for the driver's own purposes.
                let port = (id as usize).checked_sub(1).and_then(|at| running.ports.get_mut(at));
                let Some(port) = port else { continue };
                match event {
                    PORT_ADD => port.added = true,
                    PORT_OPEN if port.known => {
                        notices.push(Notice::Host { port: id, connected: value != 0 });
                    }
                    _ => {}
                }
            }
            if !runs {
                break;
            }
            running.give_control_back(qtest)?;
            let new = running.ports.iter_mut().zip(1..).find(|(port, _)| port.added && !port.known);
            let Some((port, id)) = new else { break };
            port.known = true;
            notices.push(Notice::Announced(id));
            running.say(qtest, id, PORT_READY, 1)?;
        }
        Ok(notices)
    }
}

impl Running {
    fn say(&mut self, qtest: &mut QTest, port: u32, event: u16, value: u16) -> Result<(), Fault> {
        let address = CONTROL + CONTROL_BYTES * (128 + u64::from(self.control_out.next()));
        let order = qtest.order;
        let mut message = [0; 8];
        message[..4].copy_from_slice(&order.put32(port));
        message[4..6].copy_from_slice(&order.put16(event));
        message[6..].copy_from_slice(&order.put16(value));
        qtest.write(address, &message)?;
        self.control_out.offer(qtest, address, 8, false)?;
        self.control_out.notify(qtest)?;
        while self.control_out.take_used(qtest)?.is_some() {}
        Ok(())
    }

    fn give_control_back(&mut self, qtest: &mut QTest) -> Result<(), Fault> {
        while self.gives_back && self.control_in.under_way() < CONTROL_BUFFERS {
            let address = CONTROL + u64::from(self.control_in.next()) * CONTROL_BYTES;
            self.control_in.offer(qtest, address, CONTROL_BYTES as u32, true)?;
        }
        Ok(())
    }
}

fn receive_buffer(at: usize, descriptor: u16) -> u64 {
    RECEIVE + (at as u64 * SLOTS + u64::from(descriptor) % SLOTS) * RECEIVE_BYTES as u64
}
