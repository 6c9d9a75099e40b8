//! A legacy virtio PCI device, and the guest's side of its split rings (virtio 0.9.5).
//!
//! The registers are a PCI device's, little-endian; the rings are of the guest's own order.

use super::{pci, qtest::QTest};
use crate::replay::Fault;

/// Where the device's registers are put.
const IO: u16 = 0xC000;

/// Vendor 1af4, device 1003.
const VIRTIO_CONSOLE: u32 = 0x1003_1AF4;

const GUEST_FEATURES: u16 = IO + 4;
const QUEUE_PFN: u16 = IO + 8;
const QUEUE_NUM: u16 = IO + 12;
const QUEUE_SELECT: u16 = IO + 14;
const QUEUE_NOTIFY: u16 = IO + 16;
const STATUS: u16 = IO + 18;
/// The device's own configuration.
const CONFIG: u16 = IO + 20;
/// Where a guest says which slots of bus 0 it lets go (`hw/acpi/pcihp.c`).
pub(super) const ACPI_EJECT: u16 = 0xAE08;

/// Maps the registers: nothing runs that would have done it.
pub(super) fn map(qtest: &mut QTest) -> Result<(), Fault> {
    let id = pci::read32(qtest, pci::ID)?;
    if id != VIRTIO_CONSOLE {
        let slot = pci::SLOT;
        return Err(Fault::Garbage(format!("PCI slot {slot} has {id:#010x}, no virtio-serial")));
    }
    pci::write32(qtest, pci::IO_BAR, u32::from(IO) | 1)?;
    pci::write16(qtest, pci::COMMAND, 5) // I/O, bus master
}

pub(super) fn set_status(qtest: &mut QTest, status: u8) -> Result<(), Fault> {
    qtest.out8(STATUS, status)
}

/// Says that there is something in a queue, or that there may be.
pub(super) fn notify(qtest: &mut QTest, queue: u16) -> Result<(), Fault> {
    qtest.out16(QUEUE_NOTIFY, queue)
}

/// Says where a queue is.
pub(super) fn set_page(qtest: &mut QTest, queue: u16, page: u32) -> Result<(), Fault> {
    qtest.out16(QUEUE_SELECT, queue)?;
    qtest.out32(QUEUE_PFN, page)
}

pub(super) fn write_config(qtest: &mut QTest, at: u16, value: u32) -> Result<(), Fault> {
    qtest.out32(CONFIG + at, value)
}

/// Entries of a queue, as QEMU's device has them.
pub(super) fn usual_size(queue: u16) -> u16 {
    if matches!(queue, 2 | 3) { 32 } else { 128 }
}

/// Where the device's half of a queue is.
pub(super) fn used(base: u64) -> u64 {
    base + USED
}

pub(super) fn set_features(qtest: &mut QTest, features: u32) -> Result<(), Fault> {
    qtest.out32(GUEST_FEATURES, features)
}

/// The guest's side of one ring. Descriptors are used in turn: there are never many under way, and one
/// that the device does not give back is not missed.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    index: u16,
    num: u16,
    base: u64,
    offered: u16,
    used: u16,
}

/// Bytes that each queue may have, rings and all.
pub(super) const QUEUE_BYTES: u64 = 0x2000;
const USED: u64 = 0x1000;
/// The device writes into the buffer.
const WRITE: u16 = 2;

impl Queue {
    pub(super) fn set_up(qtest: &mut QTest, index: u16, base: u64) -> Result<Self, Fault> {
        qtest.out16(QUEUE_SELECT, index)?;
        let num = qtest.in16(QUEUE_NUM)?;
        if !matches!(num, 8..=128) {
            return Err(Fault::Garbage(format!("queue {index} has {num} entries")));
        }
        qtest.zero(base, QUEUE_BYTES)?;
        qtest.out32(QUEUE_PFN, (base >> 12) as u32)?;
        Ok(Queue { index, num, base, offered: 0, used: 0 })
    }

    /// Offers a buffer without saying so.
    pub(super) fn offer(
        &mut self,
        qtest: &mut QTest,
        address: u64,
        len: u32,
        device_writes: bool,
    ) -> Result<(), Fault> {
        let descriptor = self.offered % self.num;
        let order = qtest.order;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&order.put64(address));
        bytes[8..12].copy_from_slice(&order.put32(len));
        bytes[12..14].copy_from_slice(&order.put16(if device_writes { WRITE } else { 0 }));
        qtest.write(self.base + 16 * u64::from(descriptor), &bytes)?;
        qtest.write(self.avail() + 4 + 2 * u64::from(descriptor), &order.put16(descriptor))?;
        self.offered = self.offered.wrapping_add(1);
        qtest.write(self.avail() + 2, &order.put16(self.offered))
    }

    pub(super) fn notify(&self, qtest: &mut QTest) -> Result<(), Fault> {
        notify(qtest, self.index)
    }

    /// The next buffer that came back: its descriptor, and how much is in it.
    pub(super) fn take_used(&mut self, qtest: &mut QTest) -> Result<Option<(u16, u32)>, Fault> {
        let order = qtest.order;
        let index = order.get16(qtest.read(self.base + USED + 2)?);
        if index == self.used {
            return Ok(None);
        }
        if index.wrapping_sub(self.used) > self.num {
            return Err(Fault::Garbage(format!(
                "queue {}: more came back than it holds",
                self.index
            )));
        }
        let at = self.base + USED + 4 + 8 * u64::from(self.used % self.num);
        let [a, b, c, d, len @ ..] = qtest.read::<8>(at)?;
        self.used = self.used.wrapping_add(1);
        let descriptor = order.get32([a, b, c, d]);
        match u16::try_from(descriptor) {
            Ok(descriptor) if descriptor < self.num => Ok(Some((descriptor, order.get32(len)))),
            _ => Err(Fault::Garbage(format!("queue {}: descriptor {descriptor}", self.index))),
        }
    }

    /// Takes back what was offered and not used, as if it had not been offered. It holds for a device
    /// that looks at the index again before it takes a buffer.
    pub(super) fn withdraw(&mut self, qtest: &mut QTest) -> Result<(), Fault> {
        self.offered = self.used;
        qtest.write(self.avail() + 2, &qtest.order.put16(self.offered))
    }

    /// Forgets what is under way: the device has dropped it.
    pub(super) fn forget(&mut self, qtest: &mut QTest) -> Result<(), Fault> {
        self.used = qtest.order.get16(qtest.read(self.base + USED + 2)?);
        Ok(())
    }

    /// Which descriptor the next buffer gets.
    pub(super) fn next(&self) -> u16 {
        self.offered % self.num
    }

    /// Offered and not come back.
    pub(super) fn under_way(&self) -> u16 {
        self.offered.wrapping_sub(self.used)
    }

    fn avail(&self) -> u64 {
        self.base + 16 * u64::from(self.num)
    }
}
