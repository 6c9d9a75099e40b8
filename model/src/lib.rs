//! Studies of VM stacks as exact, checkable machines.
//!
//! - [`study`]: what a study is: a deterministic Mealy machine, its parties, its properties.
//! - [`family`]: one question with all its designs and scopes.

pub mod family;
pub mod study;
