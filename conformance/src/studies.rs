//! Every study with the systems it can be replayed on: the one place where names become types.

use std::sync::Arc;

use statusquo_model::{
    catalogue::{self, UnknownName},
    family::{Design, Family, Role, Scope, Status},
    studies::{
        alias::Alias, chardev::Chardev, freeze::Freeze, hostdev::Hostdev, pci_root::PciRoot,
        restart::Restart, usb::Usb,
    },
    study::Study,
};

use crate::{
    generate::Undriven,
    matrix::Matrix,
    replay::Factory,
    systems::{
        libvirt::Programs,
        qemu::Qemu,
        vmmd::{Tally, Vmmd},
    },
    trace::Trace,
};

/// A family, and the systems of ours that its traces can be replayed on.
pub trait Replayable: Family {
    /// Our implementation, set up as this scope asks. `None` where nothing of ours answers this study.
    fn vmm(_: &Self::Study) -> Option<Arc<dyn Factory<Self::Study>>> {
        None
    }

    /// What to do after a demonstration, so that what is wrong in its last state is seen from outside.
    fn aftermath(
        _: &Self::Study,
        _: &<Self::Study as Study>::State,
    ) -> Vec<<Self::Study as Study>::Action> {
        Vec::new()
    }

    /// Why a property cannot be confirmed on a real system even where every outcome agrees.
    fn unseen(_property: &str) -> Option<&'static str> {
        None
    }

    /// The design that a shipped binary follows.
    const SHIPPED: Option<&'static str> = None;

    /// A real libvirt, or why it cannot be had.
    fn libvirt(_: &Self::Study, _: Programs) -> Result<Arc<dyn Factory<Self::Study>>, String> {
        Err(format!("the study {} is not about libvirt", Self::NAME))
    }

    /// The shipped design is QEMU's own, and no libvirt's.
    const OF_QEMU: bool = false;

    /// A real QEMU, set up as this scope asks. `None` where the study is about more than QEMU.
    fn qemu(_: &Self::Study, _: &Qemu) -> Option<Arc<dyn Factory<Self::Study>>> {
        None
    }

    /// Our daemon, as a process with a real QEMU. `None` where the study is not about it.
    fn vmmd(_: &Self::Study, _: &Vmmd) -> Option<Daemonized<Self::Study>> {
        None
    }

    /// Prints the study's own table: `compare --matrix`.
    fn matrix() -> Option<&'static dyn Matrix> {
        None
    }
}

/// A study on our daemon.
#[expect(missing_debug_implementations, reason = "factories have none")]
pub struct Daemonized<S: Study> {
    /// The daemon, once for each class of devices. None: nothing of this scope can be driven here.
    pub systems: Vec<Daemoned<S>>,
    /// What it is led through.
    pub tours: Tours<S>,
}

/// What a daemon is led through.
#[expect(missing_debug_implementations, reason = "functions have none")]
pub enum Tours<S: Study> {
    /// The study is about kills in the middle of a change.
    CrashPoints {
        /// A trace for each crash point.
        points: Vec<Trace<S>>,
        /// Can a real QEMU be driven through this trace?
        is_drivable: fn(&S, &Trace<S>) -> bool,
    },
    /// The study's own transitions, but for what cannot be driven here.
    Transitions {
        /// What that is.
        undriven: Undriven<S>,
    },
}

/// The daemon with one class of devices.
#[expect(missing_debug_implementations, reason = "factories have none")]
pub struct Daemoned<S: Study> {
    /// The class.
    pub class: &'static str,
    /// What replays.
    pub factory: Arc<dyn Factory<S>>,
    /// What became of the processes so far.
    pub tally: Arc<Tally>,
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
        Restart::NAME => Ok(visitor.visit::<Restart>()),
        Alias::NAME => Ok(visitor.visit::<Alias>()),
        PciRoot::NAME => Ok(visitor.visit::<PciRoot>()),
        Usb::NAME => Ok(visitor.visit::<Usb>()),
        Hostdev::NAME => Ok(visitor.visit::<Hostdev>()),
        Freeze::NAME => Ok(visitor.visit::<Freeze>()),
        _ => Err(catalogue::unknown("study", name, catalogue::names())),
    }
}

/// Finds a design by name, or by what it is also called.
pub fn design<F: Family>(name: &str) -> Result<&'static Design, UnknownName> {
    let other = F::OTHER_NAMES.iter().find(|(other, _)| *other == name);
    let name = other.map_or(name, |(_, name)| name);
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
