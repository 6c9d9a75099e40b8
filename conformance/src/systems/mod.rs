//! What traces are replayed on.
//!
//! - [`model`]: the model itself, of any design: a harness that cannot replay it is broken, and one
//!   that cannot tell two designs apart is blind.
//! - [`vmm`]: our implementation, over real descriptors.

pub mod model;
pub mod vmm;
