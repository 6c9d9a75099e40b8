//! From a study to its tests, and from the tests to a verdict on a real implementation.
//!
//! - [`trace`]: runs on disk; [`generate`]: suites with a criterion, counted; [`replay`]: runs on
//!   systems, with divergences minimised and explained; [`systems`]: what to replay on.
//! - [`adapter`]: is a program a proper system?
//! - [`mutate`]: what a suite misses.
//! - [`studies`]: every study with its systems. [`report`]: matrices and traces for readers.
//! - [`matrix`]: a study's own table, where it has one.
//! - [`validate`]: is the log of a real run a run of the model?
//! - [`search`]: random walks on a real system, beyond what a model has an answer for.
//! - [`mutate`]: what a suite misses.
//! - [`studies`]: every study with its systems. [`report`]: matrices and traces for readers.
//! - [`matrix`]: a study's own table, where it has one.
//! - [`findings`]: the page of what was confirmed on shipped binaries.
//! - [`cli`]: the command line; [`workdir`]: what is left on disk, and removed.

pub mod adapter;
pub mod cli;
pub mod findings;
pub mod generate;
pub mod matrix;
pub mod mutate;
mod random;
pub mod replay;
pub mod report;
pub mod search;
mod shared_memory;
pub mod studies;
pub mod systems;
pub mod trace;
pub mod validate;
pub mod workdir;
