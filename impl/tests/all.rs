//! The tests of this package in one binary: most of them wait for processes, and wait at the same time. Only
//! `chardev` is one of its own: what it does with its descriptors has to be seen at once, and a process that is
//! just being started holds copies of them.
//!
//! `cargo test -p statusquo-vmm --test all qmp::` runs one file's.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::disallowed_methods, reason = "a test is a shell, in real time")]

mod corpus;
#[cfg(feature = "daemon")]
#[path = "daemon/main.rs"]
mod daemon;
mod fuzzed;
mod qmp;
#[path = "real/main.rs"]
mod real;
