//! Studies of VM stacks as exact, checkable machines.
//!
//! - [`study`]: what a study is: a deterministic Mealy machine, its parties, its properties.
//! - [`family`]: one question with all its designs and scopes; [`catalogue`]: all families by name.
//! - [`studies`]: the questions themselves.
//! - [`pins`]: the expected matrix of a family; [`words`]: actions and outcomes as a reader sees them.

pub mod catalogue;
pub mod family;
pub mod pins;
pub mod studies;
pub mod study;
pub mod words;
