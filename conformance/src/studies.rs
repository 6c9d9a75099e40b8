//! Every study with the systems it can be replayed on: the one place where names become types.

use std::sync::Arc;

use statusquo_model::{
    catalogue::{self, UnknownName},
    family::{Design, Family, Role, Scope, Status},
    studies::chardev::Chardev,
};

use crate::{replay::Factory, systems::qemu::Qemu};

/// A family, and the systems of ours that its traces can be replayed on.
pub trait Replayable: Family {
    /// Our implementation, set up as this scope asks.
    fn vmm(study: &Self::Study) -> Arc<dyn Factory<Self::Study>>;
    /// A real QEMU, set up as this scope asks.
    fn qemu(study: &Self::Study, qemu: &Qemu) -> Arc<dyn Factory<Self::Study>>;
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
