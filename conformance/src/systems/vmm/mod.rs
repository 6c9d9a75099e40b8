//! Our implementation as a system: real descriptors in a directory of its own.

mod alias;
mod chardev;
mod pci_root;
pub(crate) mod restart;
mod usb;
