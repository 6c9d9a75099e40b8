//! The studies, in reading order.
//!
//! - [`chardev`]: who is connected to a character device, and where does every byte go?
//! - [`restart`]: does a daemon killed anywhere come back knowing what QEMU has?
//! - [`usb`]: between which libvirt generations does a guest keep its USB controller?

pub mod chardev;
pub mod restart;
pub mod usb;
