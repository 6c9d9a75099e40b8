//! The studies, in reading order.
//!
//! - [`chardev`]: who is connected to a character device, and where does every byte go?

pub mod chardev;
