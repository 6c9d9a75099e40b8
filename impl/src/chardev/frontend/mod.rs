//! The guest's end, without I/O.
//!
//! - [`virtio_serial`]: ports that a guest opens and closes; [`control`]: its messages;
//!   [`guest`]: the guest's memory and a small driver.
//! - [`isa_serial`]: a 16550, whose client is there while the driver holds DTR.

pub mod control;
pub mod guest;
pub mod isa_serial;
pub mod virtio_serial;

pub use self::guest::Guest;
