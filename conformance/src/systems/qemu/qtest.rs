//! The qtest protocol: port and memory accesses as if a CPU made them (`softmmu/qtest.c`).
//!
//! Memory is read and written as bytes, since qtest's numbers are of the order of the binary's target, which
//! a PCI device's registers are not.

use std::os::unix::net::UnixStream;

use super::{board::Board, lines::Lines, order::Order};
use crate::replay::Fault;

/// Where the arguments of RTAS calls are in the guest's memory, and what they return.
const RTAS_ARGUMENTS: u64 = 0x1F_0000;
const RTAS_RETURNS: u64 = 0x1F_0100;

/// A client of the qtest server.
#[derive(Debug)]
pub(super) struct QTest {
    lines: Lines,
    board: Board,
    /// The order of numbers in the guest's memory.
    pub(super) order: Order,
}

impl QTest {
    pub(super) fn new(stream: UnixStream, board: Board) -> Self {
        QTest { lines: Lines::new(stream), board, order: board.order() }
    }

    pub(super) fn board(&self) -> Board {
        self.board
    }

    fn command(&mut self, line: &str) -> Result<String, Fault> {
        self.lines.send(line)?;
        let answer = self.lines.receive()?;
        let value = answer.strip_prefix("OK").map(|value| value.trim().to_owned());
        value.ok_or_else(|| Fault::Garbage(format!("qtest answers {answer:?} to {line:?}")))
    }

    /// One turn of the main loop: a question that touches nothing.
    pub(super) fn turn(&mut self) -> Result<(), Fault> {
        self.command("endianness").map(drop)
    }

    fn number(&mut self, line: &str) -> Result<u32, Fault> {
        let answer = self.command(line)?;
        let digits = answer.trim_start_matches("0x");
        u32::from_str_radix(digits, 16)
            .map_err(|_| Fault::Garbage(format!("qtest answers {answer:?} to {line:?}")))
    }

    /// A write to an I/O port, by an instruction if the CPU has it.
    fn out(&mut self, instruction: &str, port: u16, bytes: &[u8], value: u32) -> Result<(), Fault> {
        match self.board.ports() {
            Some(window) => self.write(window + u64::from(port), bytes),
            None => self.command(&format!("{instruction} {port:#x} {value:#x}")).map(drop),
        }
    }

    pub(super) fn out8(&mut self, port: u16, value: u8) -> Result<(), Fault> {
        self.out("outb", port, &value.to_le_bytes(), value.into())
    }

    pub(super) fn out16(&mut self, port: u16, value: u16) -> Result<(), Fault> {
        self.out("outw", port, &value.to_le_bytes(), value.into())
    }

    pub(super) fn out32(&mut self, port: u16, value: u32) -> Result<(), Fault> {
        self.out("outl", port, &value.to_le_bytes(), value)
    }

    pub(super) fn in16(&mut self, port: u16) -> Result<u16, Fault> {
        match self.board.ports() {
            Some(window) => self.read(window + u64::from(port)).map(u16::from_le_bytes),
            None => self.number(&format!("inw {port:#x}")).map(|value| value as u16),
        }
    }

    pub(super) fn in32(&mut self, port: u16) -> Result<u32, Fault> {
        match self.board.ports() {
            Some(window) => self.read(window + u64::from(port)).map(u32::from_le_bytes),
            None => self.number(&format!("inl {port:#x}")),
        }
    }

    /// A call to the runtime of a POWER machine's firmware: its status, and what else it returns.
    pub(super) fn rtas<const N: usize>(
        &mut self,
        name: &str,
        arguments: &[u32],
    ) -> Result<(u32, [u32; N]), Fault> {
        let bytes: Vec<u8> = arguments.iter().flat_map(|one| one.to_be_bytes()).collect();
        self.write(RTAS_ARGUMENTS, &bytes)?;
        let (count, returns) = (arguments.len(), N + 1);
        self.command(&format!(
            "rtas {name} {count} {RTAS_ARGUMENTS:#x} {returns} {RTAS_RETURNS:#x}"
        ))?;
        let mut word = |at: u64| self.read(RTAS_RETURNS + 4 * at).map(u32::from_be_bytes);
        let status = word(0)?;
        let mut returned = [0; N];
        for (at, one) in (1..).zip(&mut returned) {
            *one = word(at)?;
        }
        Ok((status, returned))
    }

    pub(super) fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.command(&format!("write {address:#x} {:#x} 0x{hex}", bytes.len())).map(drop)
    }

    pub(super) fn zero(&mut self, address: u64, len: u64) -> Result<(), Fault> {
        self.command(&format!("memset {address:#x} {len:#x} 0x0")).map(drop)
    }

    pub(super) fn read<const N: usize>(&mut self, address: u64) -> Result<[u8; N], Fault> {
        let line = format!("read {address:#x} {N:#x}");
        let answer = self.command(&line)?;
        let garbage = || Fault::Garbage(format!("qtest answers {answer:?} to {line:?}"));
        let hex = answer.strip_prefix("0x").filter(|hex| hex.len() == 2 * N && hex.is_ascii());
        let hex = hex.ok_or_else(garbage)?;
        let mut bytes = [0; N];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).map_err(|_| garbage())?;
        }
        Ok(bytes)
    }
}
