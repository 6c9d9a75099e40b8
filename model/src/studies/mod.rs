//! The studies, in reading order.
//!
//! - [`chardev`]: who is connected to a character device, and where does every byte go?
//! - [`usb`]: between which libvirt generations does a guest keep its USB controller?

pub mod chardev;
pub mod usb;
