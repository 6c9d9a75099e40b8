//! Our implementation as a system: real descriptors in a directory of its own.

pub(crate) mod alias;
mod chardev;
pub(crate) mod pci_root;
pub(crate) mod restart;
mod usb;
