//! The studies, in reading order.
//!
//! - [`chardev`]: who is connected to a character device, and where does every byte go?
//! - [`restart`]: does a daemon killed anywhere come back knowing what QEMU has?
//! - [`pci_root`]: is the bus name used for hotplug the one QEMU has?
//! - [`usb`]: between which libvirt generations does a guest keep its USB controller?

pub mod chardev;
pub mod pci_root;
pub mod restart;
pub mod usb;
