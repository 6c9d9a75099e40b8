//! Machine types: what a board has around its devices, and what a QEMU of it is started with.

use clap::ValueEnum;

/// A machine type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Board {
    /// i440FX
    #[default]
    Pc,
    /// virtio-serial-pci is an endpoint of the PCI Express root complex
    Q35,
}

impl Board {
    /// As `-machine` takes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Board::Pc => "pc",
            Board::Q35 => "q35",
        }
    }
}
