//! The qtest protocol: port and memory accesses as if a CPU made them (`softmmu/qtest.c`).

use std::os::unix::net::UnixStream;

use super::lines::Lines;
use crate::replay::Fault;

/// A client of the qtest server.
#[derive(Debug)]
pub(super) struct QTest(Lines);

impl QTest {
    pub(super) fn new(stream: UnixStream) -> Self {
        QTest(Lines::new(stream))
    }

    fn command(&mut self, line: &str) -> Result<String, Fault> {
        self.0.send(line)?;
        let answer = self.0.receive()?;
        let value = answer.strip_prefix("OK").map(|value| value.trim().to_owned());
        value.ok_or_else(|| Fault::Garbage(format!("qtest answers {answer:?} to {line:?}")))
    }

    fn number(&mut self, line: &str) -> Result<u32, Fault> {
        let answer = self.command(line)?;
        let digits = answer.trim_start_matches("0x");
        u32::from_str_radix(digits, 16)
            .map_err(|_| Fault::Garbage(format!("qtest answers {answer:?} to {line:?}")))
    }

    pub(super) fn out8(&mut self, port: u16, value: u8) -> Result<(), Fault> {
        self.command(&format!("outb {port:#x} {value:#x}")).map(drop)
    }

    pub(super) fn out16(&mut self, port: u16, value: u16) -> Result<(), Fault> {
        self.command(&format!("outw {port:#x} {value:#x}")).map(drop)
    }

    pub(super) fn out32(&mut self, port: u16, value: u32) -> Result<(), Fault> {
        self.command(&format!("outl {port:#x} {value:#x}")).map(drop)
    }

    pub(super) fn in16(&mut self, port: u16) -> Result<u16, Fault> {
        self.number(&format!("inw {port:#x}")).map(|value| value as u16)
    }

    pub(super) fn in32(&mut self, port: u16) -> Result<u32, Fault> {
        self.number(&format!("inl {port:#x}"))
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
