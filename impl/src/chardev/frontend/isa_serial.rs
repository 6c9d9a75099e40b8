//! A 16550 as a front-end: registers and two FIFOs, without I/O and without interrupts.
//!
//! The client is there while the driver holds DTR, and the host is told to it by the modem status
//! lines DCD and DSR. So the same two rules hold here as for virtio-serial.

use std::collections::VecDeque;

use crate::chardev::connection::Connection;

/// Bytes that each FIFO holds.
pub const FIFO: usize = 16;

const RBR_THR: u8 = 0;
const IER: u8 = 1;
const IIR_FCR: u8 = 2;
const LCR: u8 = 3;
const MCR: u8 = 4;
const LSR: u8 = 5;
const MSR: u8 = 6;
const SCR: u8 = 7;

const MCR_DTR: u8 = 1;
const LSR_DATA_READY: u8 = 1;
const LSR_THR_EMPTY: u8 = 1 << 5;
const LSR_IDLE: u8 = 1 << 6;
const LCR_DLAB: u8 = 1 << 7;
const MSR_DSR: u8 = 1 << 5;
const MSR_DCD: u8 = 1 << 7;

/// The device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IsaSerial {
    /// Who is there, and who knows.
    pub connection: Connection,
    registers: [u8; 8],
    divisor: [u8; 2],
    receive: VecDeque<u8>,
    transmit: VecDeque<u8>,
}

impl IsaSerial {
    /// The driver reads a register (0 to 7).
    pub fn read(&mut self, register: u8) -> u8 {
        let dlab = self.registers[usize::from(LCR)] & LCR_DLAB != 0;
        match register & 7 {
            RBR_THR | IER if dlab => self.divisor[usize::from(register & 1)],
            RBR_THR => self.receive.pop_front().unwrap_or(0),
            // No interrupt is pending: this front-end is polled.
            IIR_FCR => 1,
            LSR => {
                let ready = if self.receive.is_empty() { 0 } else { LSR_DATA_READY };
                let empty = if self.transmit.is_empty() { LSR_THR_EMPTY | LSR_IDLE } else { 0 };
                ready | empty
            }
            MSR if self.connection.transport() => MSR_DSR | MSR_DCD,
            MSR => 0,
            register => self.registers[usize::from(register)],
        }
    }

    /// The driver writes a register. A byte for a full FIFO is not taken: `false`, as LSR says before.
    pub fn write(&mut self, register: u8, value: u8) -> bool {
        let dlab = self.registers[usize::from(LCR)] & LCR_DLAB != 0;
        match register & 7 {
            RBR_THR | IER if dlab => self.divisor[usize::from(register & 1)] = value,
            RBR_THR if self.transmit.len() >= FIFO => return false,
            RBR_THR => self.transmit.push_back(value),
            MCR => {
                self.registers[usize::from(MCR)] = value;
                self.connection.set_client(value & MCR_DTR != 0);
            }
            IER | LCR | SCR => self.registers[usize::from(register & 7)] = value,
            _ => {}
        }
        true
    }

    /// The machine was reset: the driver is gone, and no client is invented.
    pub fn reset(&mut self) {
        let mut connection = self.connection;
        connection.guest_reset();
        *self = IsaSerial { connection, ..IsaSerial::default() };
    }

    /// What is to be sent: the shell takes as much as the transport takes.
    pub fn output(&mut self) -> &mut VecDeque<u8> {
        &mut self.transmit
    }

    /// How many bytes from the host there is room for: none without a client.
    pub fn room(&self) -> usize {
        if self.connection.client() { FIFO - self.receive.len() } else { 0 }
    }

    /// Bytes from the host, no more than there is room for.
    pub fn input(&mut self, bytes: &[u8]) {
        self.receive.extend(&bytes[..bytes.len().min(FIFO - self.receive.len())]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dtr_is_the_client() {
        let mut uart = IsaSerial::default();
        assert_eq!(uart.room(), 0);
        assert!(uart.write(MCR, MCR_DTR));
        assert!(uart.connection.client());
        assert_eq!(uart.room(), FIFO);
        uart.input(b"ab");
        assert_eq!(uart.read(LSR) & LSR_DATA_READY, LSR_DATA_READY);
        assert_eq!((uart.read(RBR_THR), uart.read(RBR_THR), uart.read(RBR_THR)), (b'a', b'b', 0));
        uart.reset();
        assert!(!uart.connection.client());
    }

    #[test]
    fn a_full_fifo_takes_nothing() {
        let mut uart = IsaSerial::default();
        for byte in 0..16 {
            assert!(uart.write(RBR_THR, byte));
        }
        assert!(!uart.write(RBR_THR, 16));
        assert_eq!(uart.read(LSR), 0);
        assert_eq!(uart.output().len(), FIFO);
    }

    #[test]
    fn the_divisor_is_not_data() {
        let mut uart = IsaSerial::default();
        uart.write(LCR, LCR_DLAB);
        uart.write(RBR_THR, 12);
        assert_eq!(uart.read(RBR_THR), 12);
        uart.write(LCR, 3);
        assert!(uart.output().is_empty());
    }

    #[test]
    fn the_host_is_seen_in_the_modem_status() {
        let mut uart = IsaSerial::default();
        assert_eq!(uart.read(MSR), 0);
        uart.connection.set_transport(true);
        assert_eq!(uart.read(MSR), MSR_DSR | MSR_DCD);
    }
}
