//! Every test of this package from outside, in one binary, so that all processors have something to do.
//!
//! `cargo test -p statusquo-model --test all pins::` runs one file's.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
mod engine;
mod pins;
mod random;
