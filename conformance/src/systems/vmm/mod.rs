//! Our implementation as a system: real descriptors in a directory of its own.

pub(crate) mod alias;
mod chardev;
mod freeze;
mod hostdev;
pub(crate) mod pci_root;
mod process;
pub(crate) mod restart;
#[cfg(test)]
mod testing;
mod usb;
