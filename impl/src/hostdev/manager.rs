//! Which devices are taken, by whom and with which driver.

use std::collections::BTreeMap;

use super::Driver;
use crate::domain::{Domain, Error, Pci, Problem};

/// A device that a guest has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The guest.
    pub domain: String,
    /// The driver that holds it.
    pub driver: Driver,
}

/// What is to be done in the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The device goes from its own driver to this one: `driver_override`, `unbind`, `drivers_probe` in sysfs.
    Bind {
        /// The device.
        device: Pci,
        /// The driver.
        driver: Driver,
    },
    /// It goes back to its own driver.
    Restore {
        /// The device.
        device: Pci,
    },
}

/// The device is taken already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device} is in use by domain `{by}`: unplug it there first")]
pub struct Busy {
    /// The device.
    pub device: Pci,
    /// Who has it.
    pub by: String,
}

/// Somebody gives back what he does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device} is not taken by domain `{domain}`")]
pub struct NotTaken {
    /// The device.
    pub device: Pci,
    /// Who would give it back.
    pub domain: String,
}

/// The list of devices that are taken: `virHostdevManager`, as data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manager {
    active: BTreeMap<Pci, Taken>,
}

impl Manager {
    /// The list as the live definitions have it, for a daemon that comes up.
    ///
    /// # Errors
    /// A live definition leaves a driver open, names one that nobody knows, or two have one device.
    pub fn recover<'a>(
        running: impl IntoIterator<Item = (&'a str, &'a Domain)>,
    ) -> Result<Self, Error> {
        let mut manager = Manager::default();
        for (name, live) in running {
            for device in live.assigned()? {
                let driver = device.driver.as_deref().unwrap_or_default();
                let known = Driver::named(driver).ok_or_else(|| {
                    let expected = "the driver that holds the device of a running guest";
                    let problem = Problem::Value { value: driver.to_owned(), expected };
                    live.document().error(device.node, problem)
                })?;
                let taken = manager.prepare(name, &[(device.source, known)]);
                taken.map_err(|busy| {
                    live.document()
                        .error(device.node, Problem::AddressInUse(busy.device.to_string()))
                })?;
            }
        }
        Ok(manager)
    }

    /// A guest gets devices: all, or none.
    ///
    /// # Errors
    /// At the first that somebody has, be it the same guest.
    pub fn prepare(
        &mut self,
        domain: &str,
        devices: &[(Pci, Driver)],
    ) -> Result<Vec<Effect>, Busy> {
        let mut active = self.active.clone();
        for &(device, driver) in devices {
            if let Some(taken) = active.get(&device) {
                return Err(Busy { device, by: taken.domain.clone() });
            }
            active.insert(device, Taken { domain: domain.to_owned(), driver });
        }
        self.active = active;
        Ok(devices.iter().map(|&(device, driver)| Effect::Bind { device, driver }).collect())
    }

    /// A device goes back to the host.
    ///
    /// # Errors
    /// The guest has not got it.
    pub fn give_back(&mut self, domain: &str, device: Pci) -> Result<Effect, NotTaken> {
        match self.active.get(&device) {
            Some(taken) if taken.domain == domain => {
                self.active.remove(&device);
                Ok(Effect::Restore { device })
            }
            _ => Err(NotTaken { device, domain: domain.to_owned() }),
        }
    }

    /// Who has a device.
    pub fn taken(&self, device: Pci) -> Option<&Taken> {
        self.active.get(&device)
    }

    /// What a guest has, in order.
    pub fn taken_by(&self, domain: &str) -> impl Iterator<Item = Pci> {
        let mine = self.active.iter().filter(move |(_, taken)| taken.domain == domain);
        mine.map(|(&device, _)| device)
    }
}
