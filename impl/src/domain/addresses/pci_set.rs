//! PCI buses, and which functions on them are taken: `virDomainPCIAddressSet`.

use crate::domain::{Pci, Problem};

/// How a device connects, and what a bus takes: `virDomainPCIConnectFlags`.
pub(super) mod connect {
    pub(in super::super) const AUTOASSIGN: u16 = 1;
    pub(in super::super) const PCI_DEVICE: u16 = 1 << 1;
    pub(in super::super) const PCIE_DEVICE: u16 = 1 << 2;
    pub(in super::super) const ROOT_PORT: u16 = 1 << 3;
    pub(in super::super) const UPSTREAM_PORT: u16 = 1 << 4;
    pub(in super::super) const DOWNSTREAM_PORT: u16 = 1 << 5;
    pub(in super::super) const DMI_TO_PCI_BRIDGE: u16 = 1 << 6;
    pub(in super::super) const PCI_EXPANDER_BUS: u16 = 1 << 7;
    pub(in super::super) const PCIE_EXPANDER_BUS: u16 = 1 << 8;
    pub(in super::super) const PCI_BRIDGE: u16 = 1 << 9;
    pub(in super::super) const PCIE_TO_PCI_BRIDGE: u16 = 1 << 10;
    /// Several of the kind share a slot.
    pub(in super::super) const AGGREGATE: u16 = 1 << 11;
    /// On bus 0, even where nothing else is assigned.
    pub(in super::super) const INTEGRATED: u16 = 1 << 12;

    pub(in super::super) const ENDPOINT: u16 = PCI_DEVICE | PCIE_DEVICE;
    pub(in super::super) const TYPES: u16 = (1 << 11) - 2;
}
use connect::*;

/// Models that are PCI controllers: `virDomainPCIAddressBusSetModel`.
fn bus_of(model: &str) -> Option<(u16, u32, u32)> {
    Some(match model {
        "pci-root" => (AUTOASSIGN | PCI_DEVICE | PCI_BRIDGE | PCI_EXPANDER_BUS, 1, 31),
        "pci-bridge" | "pcie-to-pci-bridge" => (AUTOASSIGN | PCI_DEVICE | PCI_BRIDGE, 1, 31),
        "pci-expander-bus" => (AUTOASSIGN | PCI_DEVICE | PCI_BRIDGE, 0, 31),
        "pcie-root" => (PCIE_DEVICE | ROOT_PORT | DMI_TO_PCI_BRIDGE | PCIE_EXPANDER_BUS, 1, 31),
        "dmi-to-pci-bridge" => (PCI_DEVICE | PCI_BRIDGE, 0, 31),
        "pcie-root-port" | "pcie-switch-downstream-port" => {
            (AUTOASSIGN | PCIE_DEVICE | UPSTREAM_PORT | PCIE_TO_PCI_BRIDGE, 0, 0)
        }
        "pcie-switch-upstream-port" => (DOWNSTREAM_PORT, 0, 31),
        "pcie-expander-bus" => (ROOT_PORT | DMI_TO_PCI_BRIDGE, 0, 31),
        _ => return None,
    })
}

/// How a PCI controller connects: `virDomainPCIControllerModelToConnectType`.
pub(super) fn controller_flags(model: &str) -> u16 {
    match model {
        "pci-bridge" => PCI_BRIDGE,
        "pci-expander-bus" => PCI_EXPANDER_BUS,
        "pcie-expander-bus" => PCIE_EXPANDER_BUS,
        "dmi-to-pci-bridge" => DMI_TO_PCI_BRIDGE,
        "pcie-to-pci-bridge" => PCIE_TO_PCI_BRIDGE,
        "pcie-root-port" => ROOT_PORT | AGGREGATE,
        "pcie-switch-upstream-port" => UPSTREAM_PORT,
        "pcie-switch-downstream-port" => DOWNSTREAM_PORT,
        _ => 0,
    }
}

#[derive(Clone, Debug)]
struct Bus {
    model: String,
    flags: u16,
    slot_min: u32,
    slot_max: u32,
    slots: [Slot; 32],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    functions: u8,
    aggregate: bool,
}

impl Bus {
    fn new(model: &str) -> Result<Self, Problem> {
        let unknown = || Problem::Unsupported(format!("PCI controller model `{model}`"));
        let (flags, slot_min, slot_max) = bus_of(model).ok_or_else(unknown)?;
        let slots = [Slot::default(); 32];
        Ok(Self { model: model.to_owned(), flags, slot_min, slot_max, slots })
    }
}

/// The buses by index.
#[derive(Clone, Debug)]
pub(super) struct Set {
    buses: Vec<Bus>,
    /// Buses may be added: the pass that finds out how many are needed.
    pub(super) grows: bool,
    /// Grow by PCI roots (pSeries) and not by bridges.
    roots: bool,
}

impl Set {
    /// `qemuDomainPCIAddressSetCreate`, without the devices. `models` may have gaps.
    pub(super) fn new(
        models: &[Option<String>],
        roots: bool,
        grows: bool,
    ) -> Result<Self, Problem> {
        let express = models.iter().flatten().any(|model| model == "pcie-root");
        let default = match (roots, express) {
            (true, _) => "pci-root",
            (_, true) => "pcie-root-port",
            _ => "pci-bridge",
        };
        let buses = models.iter().enumerate().map(|(index, model)| match model {
            Some(model) => Bus::new(model),
            None if index == 0 => Bus::new("pci-root"),
            None => Bus::new(default),
        });
        Ok(Self { buses: buses.collect::<Result<_, _>>()?, grows, roots })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buses.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.buses.len()
    }

    pub(super) fn model(&self, bus: usize) -> String {
        self.buses[bus].model.clone()
    }

    /// `virDomainPCIAddressSlotInUse`
    pub(super) fn slot_in_use(&self, bus: u32, slot: u32) -> bool {
        let bus = self.buses.get(bus as usize);
        bus.and_then(|bus| bus.slots.get(slot as usize)).is_none_or(|slot| slot.functions != 0)
    }

    /// `virDomainPCIAddressBusIsFullyReserved`, for all buses.
    pub(super) fn is_full(&self) -> bool {
        self.buses.iter().all(|bus| {
            let (first, last) = (bus.slot_min as usize, bus.slot_max as usize);
            bus.slots[first..=last].iter().all(|slot| slot.functions != 0)
        })
    }

    /// Takes an address: `virDomainPCIAddressReserveAddrInternal`.
    pub(super) fn reserve(
        &mut self,
        mut address: Pci,
        flags: u16,
        from_config: bool,
    ) -> Result<(), Problem> {
        if self.grows {
            self.grow(&mut address, flags)?;
        }
        let refused = |expected| Problem::Value { value: address.to_string(), expected };
        let bus = self.buses.get_mut(address.bus as usize);
        let bus = bus.ok_or_else(|| refused("on a PCI bus of this domain"))?;
        // `virDomainPCIAddressValidate`
        if address.domain != 0 {
            return Err(refused("in PCI domain 0"));
        }
        if !(bus.slot_min..=bus.slot_max).contains(&address.slot) || address.function > 7 {
            return Err(refused("a slot and function of that bus"));
        }
        if !compatible(bus.flags, flags, address.bus, from_config) {
            return Err(refused("on a bus that takes this kind of device"));
        }
        let slot = &mut bus.slots[address.slot as usize];
        let function = 1 << address.function;
        if slot.functions & function != 0 {
            return Err(Problem::AddressInUse(address.to_string()));
        }
        if slot.functions == 0 && flags & AGGREGATE != 0 {
            slot.aggregate = true;
        }
        slot.functions |= function;
        Ok(())
    }

    /// Takes the first free address: `virDomainPCIAddressReserveNextAddr`, `virDomainPCIAddressGetNextAddr`.
    ///
    /// With a `function` only that one, else 0 or, where the kind shares slots, the first free.
    pub(super) fn reserve_next(
        &mut self,
        flags: u16,
        function: Option<u32>,
    ) -> Result<Pci, Problem> {
        if self.buses.is_empty() {
            return Err(Problem::Unsupported("a PCI device on a machine without PCI".to_owned()));
        }
        let found = self.buses.iter().enumerate().find_map(|(index, bus)| {
            let index = u32::try_from(index).ok()?;
            if !compatible(bus.flags, flags, index, false) {
                return None;
            }
            (bus.slot_min..=bus.slot_max).find_map(|slot| {
                let function = free_function(bus.slots[slot as usize], flags, function)?;
                Some(Pci { bus: index, slot, function, ..Pci::default() })
            })
        });
        let mut address = match found {
            Some(address) => address,
            None if self.grows => {
                let bus = u32::try_from(self.buses.len()).unwrap_or(u32::MAX);
                let mut address = Pci { bus, function: function.unwrap_or(0), ..Pci::default() };
                self.grow(&mut address, flags)?;
                address.slot = self.buses[address.bus as usize].slot_min;
                address
            }
            None => return Err(Problem::NoAddress("PCI")),
        };
        address.multifunction = false;
        self.reserve(address, flags, false)?;
        Ok(address)
    }

    /// Adds buses up to the one of `address`, of the kind that its device needs: `virDomainPCIAddressSetGrow`.
    fn grow(&mut self, address: &mut Pci, flags: u16) -> Result<(), Problem> {
        let mut add = (address.bus as usize + 1).saturating_sub(self.buses.len());
        if add == 0 {
            return Ok(());
        }
        if address.bus > 255 {
            return Err(Problem::NoAddress("PCI"));
        }
        let model = if flags & PCI_DEVICE != 0 {
            if self.roots {
                "pci-root"
            } else {
                // A machine with express buses only: a root port, and a bridge behind it.
                if !self.buses.iter().any(|bus| bus.flags & PCI_BRIDGE != 0) {
                    if add == 1 {
                        add += 1;
                        address.bus += 1;
                    }
                    // Nothing else may come to this port.
                    let mut port = Bus::new("pcie-root-port")?;
                    port.flags = PCIE_TO_PCI_BRIDGE;
                    self.buses.push(port);
                    self.buses.push(Bus::new("pcie-to-pci-bridge")?);
                    add -= 2;
                }
                "pci-bridge"
            }
        } else if flags & (PCIE_DEVICE | UPSTREAM_PORT) != 0 {
            "pcie-root-port"
        } else {
            return Err(Problem::NoAddress("PCI controller"));
        };
        for _ in 0..add {
            self.buses.push(Bus::new(model)?);
        }
        Ok(())
    }
}

/// `virDomainPCIAddressFlagsCompatible`
fn compatible(mut bus_flags: u16, mut flags: u16, bus: u32, from_config: bool) -> bool {
    if flags & INTEGRATED != 0 {
        if bus != 0 {
            return false;
        }
        bus_flags |= AUTOASSIGN;
    }
    if from_config {
        // What the user placed may be of the other kind.
        if bus_flags & ENDPOINT != 0 {
            bus_flags |= ENDPOINT;
        }
        if flags & PCI_BRIDGE != 0 {
            flags |= PCI_DEVICE;
        }
    } else if flags & AUTOASSIGN != 0 && bus_flags & AUTOASSIGN == 0 {
        return false;
    }
    flags & bus_flags & TYPES != 0
}

/// `virDomainPCIAddressFindUnusedFunctionOnBus`
fn free_function(slot: Slot, flags: u16, function: Option<u32>) -> Option<u32> {
    let first = function.unwrap_or(0);
    if slot.functions == 0 {
        return Some(first);
    }
    if flags & AGGREGATE == 0 || !slot.aggregate {
        return None;
    }
    let mut candidates = first..if function.is_some() { first + 1 } else { 8 };
    candidates.find(|function| slot.functions & (1 << function) == 0)
}
