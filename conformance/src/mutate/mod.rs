//! How good is a suite? Faults are put into the machine, one at a time, and the suite is asked to tell.
//!
//! A fault is a step of the smallest machine that goes wrong. What a suite kills is computed by running it
//! on the faulty machine, for every single fault, and not by sampling; a survivor is proven equivalent (no
//! trace tells it from the machine) or turned into a test. See [`Operator`] for the kinds of fault.

mod fault;
mod machine;
mod prove;
mod survey;

pub use self::{
    fault::{Fault, Operator},
    machine::{Machine, numbers},
    prove::{Proof, Story, prove},
    survey::{Row, Survey, survey},
};
pub(crate) use self::{prove::separator, survey::survivors};

/// More faults than somebody wants to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the machine has {faults} single faults and at most {faults_max} are asked for; name a smaller scope or raise --max-faults"
)]
pub struct TooMany {
    /// Steps times states to end in by mistake.
    pub faults: u64,
    /// The limit.
    pub faults_max: u64,
}

impl TooMany {
    pub(crate) fn check(machine: &Machine, faults_max: u64) -> Result<(), TooMany> {
        let faults = machine.faults();
        if faults > faults_max { Err(TooMany { faults, faults_max }) } else { Ok(()) }
    }
}
