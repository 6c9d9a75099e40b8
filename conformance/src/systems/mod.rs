//! What traces are replayed on.
//!
//! - [`model`]: the model itself, of any design: a harness that cannot replay it is broken, and one
//!   that cannot tell two designs apart is blind.
//! - [`vmm`]: our implementation, over real descriptors.
//! - [`qemu`]: the real binary.

mod hosts;
pub mod model;
pub mod qemu;
pub mod vmm;
