//! The studies, in reading order.
//!
//! - [`chardev`]: who is connected to a character device, and where does every byte go?
//! - [`restart`]: does a daemon killed anywhere come back knowing what QEMU has?
//! - [`alias`]: does every way to name a device reach the same device before and after a restart?
//! - [`pci_root`]: is the bus name used for hotplug the one QEMU has?
//! - [`usb`]: between which libvirt generations does a guest keep its USB controller?
//! - [`hostdev`]: when is the driver of an assigned PCI device decided?
//! - [`freeze`]: when is a default frozen, and who must remember it?

pub mod alias;
pub mod chardev;
pub mod freeze;
pub mod hostdev;
pub mod pci_root;
pub mod restart;
pub mod usb;
