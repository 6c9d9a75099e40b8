//! Devices of the host that a guest gets: which driver of the host's kernel takes them, and who has them.
//!
//! A definition may leave the driver open. It is a fact of one run of one host, and no guest sees it; so it is decided
//! when the guest starts or the device is plugged, is marked in the live definition, and no configuration gets to know
//! it (`docs/decisions/0012-the-driver-of-a-hostdev-is-a-fact-of-the-run.md`).
//!
//! - [`Host::resolve`]: the one check in front of the manager. It fills what is open and refuses what cannot work, and
//!   nothing leads past it.
//! - [`Manager`]: which devices are taken, by whom and with which driver. It is data: what is to be done in the host
//!   comes out as [`Effect`]s.
//! - [`take`], [`give_back`]: both for a definition. All or nothing, and what was not taken is not given back.
//!
//! ```
//! use statusquo_vmm::{
//!     domain::{Domain, Origin},
//!     hostdev::{Driver, Effect, Host, Hypervisor, Manager, Preference, take},
//! };
//!
//! let mut live = Domain::parse(
//!     "<domain type='kvm'><name>demo</name><os><type arch='x86_64' machine='q35'>hvm</type></os><devices>
//!        <hostdev mode='subsystem' type='pci' managed='yes'>
//!          <source><address domain='0' bus='3' slot='0' function='0'/></source>
//!        </hostdev></devices></domain>",
//! )?;
//! let host = Host { hypervisor: Hypervisor::Qemu, legacy: false, vfio: true, prefers: Preference::Vfio };
//! let mut manager = Manager::default();
//! let effects = take(&mut live, "demo", &host, &mut manager)?;
//! assert!(matches!(&effects[..], [Effect::Bind { driver: Driver::Vfio, .. }]));
//! let device = live.assigned()?.remove(0);
//! assert_eq!(device.driver.as_deref(), Some("vfio"));
//! assert!(matches!(live.origin_of(device.node, "driver/@name"), Origin::Auto(_)));
//! // The configuration stays as it was written.
//! assert!(!live.to_inactive()?.to_xml().contains("<driver"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod manager;

use std::fmt;

pub use manager::{Busy, Effect, Manager, NotTaken, Taken};

use crate::domain::{Domain, Error, Pci, Reading, tree::NodeId};

/// Which driver of the host's kernel holds a device while a guest has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Driver {
    /// Legacy assignment by KVM, which Linux 4.12 and QEMU 2.10 have no more.
    Kvm,
    /// VFIO.
    Vfio,
    /// Xen's.
    Xen,
}

impl Driver {
    /// All of them.
    pub const ALL: [Driver; 3] = [Driver::Kvm, Driver::Vfio, Driver::Xen];

    /// As a definition says it: `virDomainHostdevSubsysPCIDriver`.
    pub fn name(self) -> &'static str {
        match self {
            Driver::Kvm => "kvm",
            Driver::Vfio => "vfio",
            Driver::Xen => "xen",
        }
    }

    /// What the kernel calls it: `virPCIStubDriver`.
    pub fn kernel_name(self) -> &'static str {
        match self {
            Driver::Kvm => "pci-stub",
            Driver::Vfio => "vfio-pci",
            Driver::Xen => "xen-pciback",
        }
    }

    /// The driver of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|driver| driver.name() == name)
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who runs guests on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypervisor {
    /// QEMU, with KVM or without.
    Qemu,
    /// Xen.
    Xen,
}

/// What a release takes first, where the host has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preference {
    /// Legacy assignment, as all did before there was VFIO.
    Legacy,
    /// VFIO.
    Vfio,
}

/// What a host can do, and what this release prefers there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its hypervisor.
    pub hypervisor: Hypervisor,
    /// The kernel has legacy assignment.
    pub legacy: bool,
    /// The host has IOMMU groups, and `/dev/vfio/vfio`.
    pub vfio: bool,
    /// The default is a matter of the release.
    pub prefers: Preference,
}

/// Why a device is not taken. Nothing has been touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another hypervisor's driver, one that this host's kernel no longer has, or none at all.
    #[error("driver `{name}` cannot take {device} here: leave the driver open, or use {instead}")]
    Unsupported {
        /// The device.
        device: Pci,
        /// What the definition says.
        name: String,
        /// What would work.
        instead: String,
    },
    /// The host lacks something.
    #[error(
        "no guest can get {device}: the host has no VFIO (is the IOMMU on, and the module vfio-pci loaded?)"
    )]
    HostCannot {
        /// The device.
        device: Pci,
    },
    /// Another guest has it, or this one has it twice.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The definition does not say which device it is.
    #[error("the definition does not name a device of the host")]
    Definition(#[from] Error),
}

impl Host {
    /// The driver that takes a device where nobody has chosen one.
    pub fn default_driver(&self) -> Option<Driver> {
        match (self.hypervisor, self.prefers) {
            (Hypervisor::Xen, _) => Some(Driver::Xen),
            (Hypervisor::Qemu, Preference::Legacy) if self.legacy => Some(Driver::Kvm),
            (Hypervisor::Qemu, _) if self.vfio => Some(Driver::Vfio),
            (Hypervisor::Qemu, _) => self.legacy.then_some(Driver::Kvm),
        }
    }

    fn can(&self, driver: Driver) -> bool {
        match (self.hypervisor, driver) {
            (Hypervisor::Xen, driver) => driver == Driver::Xen,
            (Hypervisor::Qemu, Driver::Kvm) => self.legacy,
            (Hypervisor::Qemu, Driver::Vfio) => self.vfio,
            (Hypervisor::Qemu, Driver::Xen) => false,
        }
    }

    /// The driver that takes a device: the one that is asked for, or today's default of this host.
    ///
    /// # Errors
    /// It is not one of this hypervisor's, or the host cannot.
    pub fn resolve(&self, device: Pci, asked: Option<&str>) -> Result<Driver, Refused> {
        let Some(name) = asked else {
            return self.default_driver().ok_or(Refused::HostCannot { device });
        };
        match Driver::named(name) {
            Some(driver) if self.can(driver) => Ok(driver),
            Some(Driver::Vfio) if self.hypervisor == Hypervisor::Qemu => {
                Err(Refused::HostCannot { device })
            }
            _ => {
                let works = Driver::ALL.into_iter().filter(|&driver| self.can(driver));
                let names: Vec<&str> = works.map(Driver::name).collect();
                let instead =
                    if names.is_empty() { "another host".to_owned() } else { names.join(" or ") };
                Err(Refused::Unsupported { device, name: name.to_owned(), instead })
            }
        }
    }
}

/// A device of the host in a definition: a `<hostdev>`, or an `<interface>` that is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The element.
    pub node: NodeId,
    /// The address in the host.
    pub source: Pci,
    /// The driver that the text names.
    pub driver: Option<String>,
    /// A network has given it.
    pub of_network: bool,
}

impl Assigned {
    fn driver_path(&self) -> &'static str {
        if self.of_network { "actual/driver/@name" } else { "driver/@name" }
    }

    fn resolve(&self, host: &Host) -> Result<Driver, Refused> {
        host.resolve(self.source, self.driver.as_deref())
    }
}

/// Takes every device of a definition that is about to start: the drivers are in the definition then, those that
/// nobody chose with their mark.
///
/// # Errors
/// The first that cannot be taken; the definition, the manager and the host are as they were.
pub fn take(
    live: &mut Domain,
    name: &str,
    host: &Host,
    manager: &mut Manager,
) -> Result<Vec<Effect>, Refused> {
    let devices = live.assigned()?;
    take_these(live, &devices, name, host, manager)
}

/// The same for one device, which is plugged.
///
/// # Errors
/// As [`take`].
pub fn take_one(
    live: &mut Domain,
    node: NodeId,
    name: &str,
    host: &Host,
    manager: &mut Manager,
) -> Result<Vec<Effect>, Refused> {
    let mut devices = live.assigned()?;
    devices.retain(|device| device.node == node);
    take_these(live, &devices, name, host, manager)
}

fn take_these(
    live: &mut Domain,
    devices: &[Assigned],
    name: &str,
    host: &Host,
    manager: &mut Manager,
) -> Result<Vec<Effect>, Refused> {
    let drivers: Vec<(Pci, Driver)> = devices
        .iter()
        .map(|device| Ok((device.source, device.resolve(host)?)))
        .collect::<Result<_, Refused>>()?;
    let mut filled = live.clone();
    for (device, (_, driver)) in devices.iter().zip(&drivers) {
        if device.driver.is_none() {
            filled.document_mut().put(device.node, device.driver_path(), driver.name())?;
            filled.record_auto(device.node, device.driver_path(), Reading::Process)?;
        }
    }
    let effects = manager.prepare(name, &drivers)?;
    *live = filled;
    Ok(effects)
}

/// Gives back every device that this guest has: what was not taken is not given back.
pub fn give_back(name: &str, manager: &mut Manager) -> Vec<Effect> {
    let taken: Vec<Pci> = manager.taken_by(name).collect();
    taken.into_iter().filter_map(|device| manager.give_back(name, device).ok()).collect()
}

#[cfg(test)]
mod tests;
