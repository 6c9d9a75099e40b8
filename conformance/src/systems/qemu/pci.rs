//! The configuration space of one PCI device: through I/O ports, or by calls to the firmware's runtime.

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
    if let Some(bridge) = qtest.board().bridge() {
        let [value] = rtas(qtest, "ibm,read-pci-config", &named(bridge, register, [4]))?;
        return Ok(value);
    }
    select(qtest, register)?;
    qtest.in32(DATA)
}

pub(super) fn write16(qtest: &mut QTest, register: u8, value: u16) -> Result<(), Fault> {
    if let Some(bridge) = qtest.board().bridge() {
        let arguments = named(bridge, register, [2, value.into()]);
        return rtas(qtest, "ibm,write-pci-config", &arguments).map(|[]| ());
    }
    select(qtest, register)?;
    qtest.out16(DATA, value)
}

pub(super) fn write32(qtest: &mut QTest, register: u8, value: u32) -> Result<(), Fault> {
    if let Some(bridge) = qtest.board().bridge() {
        let arguments = named(bridge, register, [4, value]);
        return rtas(qtest, "ibm,write-pci-config", &arguments).map(|[]| ());
    }
    select(qtest, register)?;
    qtest.out32(DATA, value)
}

fn select(qtest: &mut QTest, register: u8) -> Result<(), Fault> {
    qtest.out32(ADDRESS, 0x8000_0000 | SLOT << 11 | u32::from(register))
}

/// Arguments of an RTAS call: which register of the device behind which bridge, and what of it.
fn named<const N: usize>(bridge: u64, register: u8, rest: [u32; N]) -> Vec<u32> {
    let which = [SLOT << 11 | u32::from(register), (bridge >> 32) as u32, bridge as u32];
    [&which[..], &rest].concat()
}

/// Calls the firmware's runtime (`hw/ppc/spapr_rtas.c`): what it returns besides its status.
fn rtas<const N: usize>(
    qtest: &mut QTest,
    name: &str,
    arguments: &[u32],
) -> Result<[u32; N], Fault> {
    let (status, returned) = qtest.rtas(name, arguments)?;
    match status {
        0 => Ok(returned),
        status => Err(Fault::Garbage(format!("RTAS: {name} answers {}", status as i32))),
    }
}
