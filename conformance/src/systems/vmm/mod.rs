//! Our implementation as a system: real descriptors in a directory of its own.

mod alias;
mod chardev;
mod freeze;
mod hostdev;
mod pci_root;
mod process;
pub(crate) mod restart;
#[cfg(test)]
mod testing;
mod usb;
