//! Machine types: what a board has around its devices, and what a QEMU of it is started with.

use clap::ValueEnum;

use super::{files, order::Order};

/// A machine type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Board {
    /// i440FX
    #[default]
    Pc,
    /// virtio-serial-pci is an endpoint of the PCI Express root complex
    Q35,
    /// POWER: PCI through RTAS calls, big-endian rings; of qemu-system-ppc64
    Pseries,
}

impl Board {
    /// As it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Board::Pc => "pc",
            Board::Q35 => "q35",
            Board::Pseries => "pseries",
        }
    }

    /// As `-machine` takes it.
    pub(super) fn option(self) -> &'static str {
        match self {
            Board::Pc | Board::Q35 => self.name(),
            // Mitigations that TCG does not have: it says so on each start, and goes on without.
            Board::Pseries => {
                "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"
            }
        }
    }

    /// The QEMU that has it.
    pub(super) fn binary(self) -> &'static str {
        match self {
            Board::Pc | Board::Q35 => super::DEFAULT_BINARY,
            Board::Pseries => "qemu-system-ppc64",
        }
    }

    /// The package of that QEMU on Debian.
    pub(super) fn package(self) -> &'static str {
        match self {
            Board::Pc | Board::Q35 => "qemu-system-x86",
            Board::Pseries => "qemu-system-ppc",
        }
    }

    /// The least memory that it starts with, in MiB, and no less than the driver needs.
    pub(super) fn memory(self) -> u32 {
        match self {
            Board::Pc | Board::Q35 => 16,
            // 128 are asked for, and a multiple of 256.
            Board::Pseries => 256,
        }
    }

    /// What its vCPU begins with, and never leaves.
    pub(super) fn firmware(self) -> Vec<u8> {
        match self {
            Board::Pc | Board::Q35 => files::parked_firmware(),
            Board::Pseries => files::parked_power_firmware(),
        }
    }

    /// The order in which its guest and legacy virtio devices keep numbers in memory.
    pub(super) fn order(self) -> Order {
        match self {
            Board::Pc | Board::Q35 => Order::Little,
            Board::Pseries => Order::Big,
        }
    }

    /// Where in memory I/O port 0 is, for a CPU that has no instructions for ports. The ports are those of a
    /// PCI bus, little-endian whatever the CPU is.
    pub(super) fn ports(self) -> Option<u64> {
        match self {
            Board::Pc | Board::Q35 => None,
            // `SPAPR_PCI_BASE` in `include/hw/pci-host/spapr.h`: the window of the first bridge.
            Board::Pseries => Some(1 << 45),
        }
    }

    /// The number by which RTAS calls name its first PCI bridge, where they lead to it.
    pub(super) fn bridge(self) -> Option<u64> {
        match self {
            Board::Pc | Board::Q35 => None,
            // `SPAPR_PCI_BASE_BUID` in `include/hw/pci-host/spapr.h`.
            Board::Pseries => Some(0x0800_0000_2000_0000),
        }
    }
}
