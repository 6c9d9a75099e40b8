//! Our implementation as a system: real descriptors in a directory of its own.

mod chardev;
mod restart;
mod usb;
