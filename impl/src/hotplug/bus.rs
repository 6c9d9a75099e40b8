//! Before a device is plugged: its bus by the name that QEMU has, and whether it takes devices at all.

use super::Device;
use crate::{
    domain::Bus,
    hypervisor::{Command, Hypervisor, MonitorError},
};

/// Why a device is not plugged. QEMU was asked about the bus only, and nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The bus has no hot-plug.
    #[error(
        "`{alias}` cannot be plugged into the bus `{bus}`, which takes no devices while the machine runs"
    )]
    Fixed {
        /// The device.
        alias: String,
        /// Its bus.
        bus: String,
    },
    /// QEMU has no such bus.
    #[error("QEMU has no bus for `{alias}`: it knows none of {}", .names.join(", "))]
    Missing {
        /// The device.
        alias: String,
        /// What the bus might have been called.
        names: Vec<String>,
    },
    /// QEMU does not answer.
    #[error("ask QEMU about the bus of `{alias}`")]
    Silent {
        /// The device.
        alias: String,
        /// What happened instead.
        #[source]
        error: MonitorError,
    },
}

/// Names the bus of a device as this QEMU does, and refuses one that takes no devices.
///
/// Nothing has to be known of QEMU's version, and nothing has to have been saved: a bus of the machine's own is in
/// its object tree under its name, and has a hotplug handler or none. Whether it has one depends on more than the
/// machine type: i440FX has none without ACPI.
///
/// A bus of the definition keeps its name: it is the id that QEMU was given.
///
/// # Errors
/// See [`BusError`].
pub fn name_bus(
    device: &mut Device,
    bus: &Bus,
    hypervisor: &mut dyn Hypervisor,
) -> Result<(), BusError> {
    let Bus::Own(names) = bus else { return Ok(()) };
    let alias = device.alias.clone();
    for name in *names {
        let question =
            Command::new("qom-get").with("path", *name).with("property", "hotplug-handler");
        match hypervisor.execute(&question) {
            Err(error) => return Err(BusError::Silent { alias, error }),
            // No such object, or one that is no bus.
            Ok(Err(_)) => {}
            Ok(Ok(handler)) if handler.as_str().is_none_or(str::is_empty) => {
                return Err(BusError::Fixed { alias, bus: (*name).to_owned() });
            }
            Ok(Ok(_)) => {
                // On SCSI of the board the name is that of the controller's only bus, too.
                device.frontend.arguments.insert("bus".to_owned(), (*name).into());
                return Ok(());
            }
        }
    }
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    Err(BusError::Missing { alias, names })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::embedded::{Config, Embedded, MachineType, Root};

    const OLD: &[&str] = &["pci.0", "pci"];
    const OLD_QEMU: MachineType = MachineType::Bare(const { &[Root::pci("pci", true)] });
    const MAC99: MachineType = MachineType::Bare(const { &[Root::pci("pci.0", false)] });

    #[track_caller]
    fn check(machine: MachineType, bus: &Bus, expected: &str) {
        let mut device = Device::without_backend(
            "rng",
            Command::new("device_add").with("driver", "virtio-rng-pci").with("bus", "ua-root"),
        );
        device.alias = "rng1".to_owned();
        let mut embedded = Embedded::new(Config { machine, ..Config::default() });
        let found = match name_bus(&mut device, bus, &mut embedded) {
            Ok(()) => device.frontend.text("bus").unwrap().to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn qemu_is_asked_and_a_bus_that_takes_nothing_is_named() {
        let own = Bus::Own(OLD);
        check(MachineType::Pc, &own, "pci.0");
        check(OLD_QEMU, &own, "pci");
        check(
            MAC99,
            &own,
            "`rng1` cannot be plugged into the bus `pci.0`, which takes no devices while the machine runs",
        );
        check(
            MachineType::Q35,
            &Bus::Own(&["pcie.0"]),
            "`rng1` cannot be plugged into the bus `pcie.0`, which takes no devices while the machine runs",
        );
        check(MachineType::Q35, &own, "QEMU has no bus for `rng1`: it knows none of pci.0, pci");
        check(MachineType::Q35, &Bus::Defined("pci.1".to_owned()), "ua-root");
    }

    #[test]
    fn silence_is_no_answer() {
        let mut device = Device::without_backend("rng", Command::new("device_add"));
        let mut embedded = Embedded::new(Config::default());
        embedded.kill();
        let error = name_bus(&mut device, &Bus::Own(OLD), &mut embedded).unwrap_err();
        assert!(matches!(error, BusError::Silent { .. }));
        assert_eq!(device.frontend.text("bus"), None);
    }
}
