//! Every study with the systems it can be replayed on: the one place where names become types.

use std::sync::Arc;

use statusquo_model::{
    catalogue::{self, UnknownName},
    family::{Design, Family, Role, Scope, Status},
    studies::{chardev::Chardev, usb::Usb},
};

use crate::{matrix::Matrix, replay::Factory};

/// A family, and the systems of ours that its traces can be replayed on.
pub trait Replayable: Family {
    /// Our implementation, set up as this scope asks; nothing while it does not answer this question.
    fn vmm(_study: &Self::Study) -> Option<Arc<dyn Factory<Self::Study>>> {
        None
    }

    /// Prints the study's own table: `compare --matrix`.
    fn matrix() -> Option<&'static dyn Matrix> {
        None
    }
}

impl Replayable for Usb {
    fn matrix() -> Option<&'static dyn Matrix> {
        Some(&crate::matrix::UsbMatrix)
    }
}

/// Something done to a family, whatever its types.
pub trait Visitor {
    /// What comes of it.
    type Output;
    /// Does it.
    fn visit<F: Replayable>(self) -> Self::Output;
}

/// Finds a study by name and hands it to the visitor.
pub fn visit<V: Visitor>(name: &str, visitor: V) -> Result<V::Output, UnknownName> {
    match name {
        Chardev::NAME => Ok(visitor.visit::<Chardev>()),
        Usb::NAME => Ok(visitor.visit::<Usb>()),
        _ => Err(catalogue::unknown("study", name, catalogue::names())),
    }
}

/// Finds a design by name.
pub fn design<F: Family>(name: &str) -> Result<&'static Design, UnknownName> {
    let known = || F::designs().iter().map(|design| design.name);
    let found = F::designs().iter().find(|design| design.name == name);
    found.ok_or_else(|| catalogue::unknown("design", name, known()))
}

/// Finds a scope by name; the first one without a name.
pub fn scope<F: Family>(name: Option<&str>) -> Result<&'static Scope, UnknownName> {
    let known = || F::scopes().iter().map(|scope| scope.name);
    let Some(name) = name else { return Ok(&F::scopes()[0]) };
    let found = F::scopes().iter().find(|scope| scope.name == name);
    found.ok_or_else(|| catalogue::unknown("scope", name, known()))
}

/// The design that our implementation follows.
pub fn ours<F: Family>() -> &'static Design {
    let ours = F::designs().iter().find(|design| design.status == Status::Ours);
    ours.expect("every family has a design of ours")
}

/// The scopes that `verify` looks at.
pub fn scopes_to_verify<F: Family>() -> impl Iterator<Item = &'static Scope> {
    F::scopes().iter().filter(|scope| scope.role != Role::OnRequest)
}
