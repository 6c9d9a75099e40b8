//! The configuration space of one PCI device.

use super::qtest::QTest;
use crate::replay::Fault;

/// Where virtio-serial is: slot 4, function 0 on bus 0.
pub(super) const SLOT: u32 = 4;
/// Vendor and device.
pub(super) const ID: u8 = 0;
/// Which accesses the device answers, and whether it makes any.
pub(super) const COMMAND: u8 = 4;
/// Where its I/O registers are.
pub(super) const IO_BAR: u8 = 0x10;

/// Configuration mechanism #1.
const ADDRESS: u16 = 0xCF8;
const DATA: u16 = 0xCFC;

pub(super) fn read32(qtest: &mut QTest, register: u8) -> Result<u32, Fault> {
    select(qtest, register)?;
    qtest.in32(DATA)
}

pub(super) fn write16(qtest: &mut QTest, register: u8, value: u16) -> Result<(), Fault> {
    select(qtest, register)?;
    qtest.out16(DATA, value)
}

pub(super) fn write32(qtest: &mut QTest, register: u8, value: u32) -> Result<(), Fault> {
    select(qtest, register)?;
    qtest.out32(DATA, value)
}

fn select(qtest: &mut QTest, register: u8) -> Result<(), Fault> {
    qtest.out32(ADDRESS, 0x8000_0000 | SLOT << 11 | u32::from(register))
}
