//! What traces are replayed on.
//!
//! - [`model`]: the model itself, of any design: a harness that cannot replay it is broken, and one
//!   that cannot tell two designs apart is blind.
//! - [`vmm`]: our implementation, over real descriptors.
//! - [`libvirt`]: a real libvirt with a real QEMU, killed and restarted at will.
//! - [`vmmd`]: our daemon with a real QEMU, killed and restarted at will.
//! - [`qemu`]: a real QEMU, driven without a guest.

mod hosts;
pub mod libvirt;
pub mod model;
pub mod qemu;
pub mod vmm;
pub mod vmmd;
