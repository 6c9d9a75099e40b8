//! libvirt's domain XML.
//!
//! - [`tree`]: an XML tree that loses nothing.

mod error;
pub mod tree;

pub use error::{Error, Problem};
