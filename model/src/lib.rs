//! Studies of VM stacks as exact, checkable machines.
//!
//! - [`study`]: what a study is: a deterministic Mealy machine, its parties, its properties.
//! - [`family`]: one question with all its designs and scopes; [`catalogue`]: all families by name.
//! - [`explore`]: the exact state graph; [`check`]: its properties; [`equivalence`]: who can tell two
//!   states, or two designs, apart.
//! - [`studies`]: the questions themselves.
//! - [`pins`]: the expected matrix of a family; [`words`]: actions and outcomes as a reader sees them.

pub mod catalogue;
pub mod check;
pub mod equivalence;
pub mod explore;
pub mod family;
pub mod pins;
pub mod second_opinion;
pub mod studies;
pub mod study;
pub mod words;
