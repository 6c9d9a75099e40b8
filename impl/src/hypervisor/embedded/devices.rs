//! The device tree: buses, what hangs on them, and how it goes.

use std::collections::BTreeMap;

use super::{
    Delay, MachineType, Root,
    arguments::{identifier, loose, number},
    backends::{Access, Backends},
    catalogue::{Bus, Driver, Needs},
    place::{self, Place, UsbPorts},
};
use crate::hypervisor::{QmpError, monitor::Properties};

/// A device in the order of creation.
pub(super) type Key = u64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Devices {
    devices: BTreeMap<Key, Device>,
    buses: BTreeMap<String, BusState>,
    next: Key,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) id: Option<String>,
    pub(super) driver: &'static Driver,
    /// In QOM.
    path: String,
    bus: String,
    place: Place,
    /// When the guest lets it go, once it is asked to.
    unplug: Option<Delay>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BusState {
    pub(super) kind: Bus,
    hotpluggable: bool,
    /// `None`: the machine's own.
    owner: Option<Key>,
    /// Ports of virtio-serial.
    pub(super) ports_max: u32,
    pub(super) usb: UsbPorts,
    /// Slots of the machine's own chips, which are no devices here: slot, function, name.
    chips: Vec<(u8, u8, &'static str)>,
}

/// A device, or a part of one, that is gone for everybody but its own memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) key: Key,
    pub(super) id: Option<String>,
    pub(super) path: String,
}

impl Devices {
    pub(super) fn new(machine: MachineType) -> Self {
        let bus = |kind, hotpluggable, chips: &[_]| BusState {
            kind,
            hotpluggable,
            owner: None,
            ports_max: 0,
            usb: UsbPorts::default(),
            chips: chips.to_vec(),
        };
        let mut buses = BTreeMap::from([("isa.0".to_owned(), bus(Bus::Isa, false, &[]))]);
        let (root, root_bus, ide) = match machine {
            MachineType::Pc => {
                let chips =
                    [(0, 0, "i440FX"), (1, 0, "PIIX3"), (1, 1, "piix3-ide"), (1, 3, "PIIX4_PM")];
                ("pci.0", bus(Bus::Pci, true, &chips), 2)
            }
            MachineType::Q35 => {
                let chips =
                    [(0, 0, "mch"), (31, 0, "ICH9-LPC"), (31, 2, "ich9-ahci"), (31, 3, "ICH9-SMB")];
                ("pcie.0", bus(Bus::Pcie, false, &chips), 6)
            }
            MachineType::Bare(roots) => {
                let own =
                    |root: &Root| (root.name.to_owned(), bus(root.kind, root.hotpluggable, &[]));
                let buses = roots.iter().map(own).collect();
                return Devices { devices: BTreeMap::new(), buses, next: 0 };
            }
            MachineType::Pseries => ("pci.0", bus(Bus::Pci, true, &[]), 0),
        };
        buses.insert(root.to_owned(), root_bus);
        buses.extend((0..ide).map(|unit| (format!("ide.{unit}"), bus(Bus::Ide, false, &[]))));
        Devices { devices: BTreeMap::new(), buses, next: 0 }
    }

    /// Whether a bus of the machine's own takes devices while it runs. `None`: there is none of that name.
    pub(super) fn own(&self, name: &str) -> Option<bool> {
        let bus = self.buses.get(name).filter(|bus| bus.owner.is_none())?;
        Some(bus.hotpluggable)
    }

    pub(super) fn get(&self, key: Key) -> Option<&Device> {
        self.devices.get(&key)
    }

    /// The devices that have an id, with it.
    pub(super) fn named(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.devices.values().filter_map(|device| Some((device.id.as_deref()?, device.driver.name)))
    }

    pub(super) fn on<'a>(&'a self, bus: &'a str) -> impl Iterator<Item = &'a Device> {
        self.devices.values().filter(move |device| device.bus == bus)
    }

    /// The PCI devices, each with its bus, its slot and its function.
    pub(super) fn on_pci(&self) -> impl Iterator<Item = (&Device, &str, u8, u8)> {
        self.devices.values().filter_map(|device| match device.place {
            Place::Pci { slot, function, .. } => Some((device, &*device.bus, slot, function)),
            _ => None,
        })
    }

    /// The slots that lead to a bus, from the root: none for the root itself.
    pub(super) fn way_to(&self, bus: &str) -> Vec<(u8, u8)> {
        let mut way = Vec::new();
        let mut at = bus;
        while let Some(owner) = self.buses.get(at).and_then(|bus| bus.owner)
            && let Some(Device { bus, place: Place::Pci { slot, function, .. }, .. }) =
                self.devices.get(&owner)
        {
            way.push((*slot, *function));
            at = bus;
        }
        way.reverse();
        way
    }

    /// The bus that a bridge provides.
    pub(super) fn bus_of(&self, bridge: &Device) -> Option<&str> {
        let owner = self.devices.iter().find(|(_, device)| *device == bridge).map(|(&key, _)| key);
        let own = |bus: &BusState| bus.owner == owner && matches!(bus.kind, Bus::Pci | Bus::Pcie);
        let found = self.buses.iter().find(|(_, bus)| own(bus));
        owner.and_then(|_| found.map(|(name, _)| name.as_str()))
    }

    /// The machine's own PCI bus.
    pub(super) fn root_bus(&self) -> Option<&str> {
        let root = |bus: &BusState| bus.owner.is_none() && matches!(bus.kind, Bus::Pci | Bus::Pcie);
        self.buses.iter().find(|(_, bus)| root(bus)).map(|(name, _)| name.as_str())
    }

    fn find(&self, id: &str) -> Option<Key> {
        let named = |device: &Device| device.id.as_deref() == Some(id) || device.path == id;
        self.devices.iter().find(|(_, device)| named(device)).map(|(&key, _)| key)
    }

    /// `device_add`. `cold`: the machine is being built, and a bus need not allow plugging.
    pub(super) fn add(
        &mut self,
        properties: &Properties,
        backends: &mut Backends,
        cold: bool,
    ) -> Result<(), QmpError> {
        let id = properties.get("id").and_then(|id| id.as_str());
        id.map_or(Ok(()), identifier)?;
        let name = loose(properties, "driver")
            .ok_or_else(|| QmpError::generic("Parameter 'driver' is missing"))?;
        let driver = Driver::find(&name).ok_or_else(|| {
            QmpError::generic(format!("'{name}' is not a valid device model name"))
        })?;
        if !cold && !driver.pluggable {
            return Err(QmpError::generic("Parameter 'driver' expects a pluggable device type"));
        }
        let bus_name = self.choose_bus(driver, loose(properties, "bus").as_deref())?;
        if !cold && !self.buses.get(&bus_name).is_some_and(|bus| bus.hotpluggable) {
            return Err(QmpError::generic(format!(
                "Bus '{bus_name}' does not support hotplugging"
            )));
        }
        if id.is_some_and(|id| self.devices.values().any(|device| device.id.as_deref() == Some(id)))
        {
            return Err(QmpError::generic(format!(
                "Duplicate device ID '{}'",
                id.unwrap_or_default()
            )));
        }
        let claim = backends.look_up(driver, properties)?;
        let place = self.place(driver, &bus_name, properties, cold)?;
        if driver.name == "virtio-balloon-pci"
            && self.devices.values().any(|device| device.driver == driver)
        {
            return Err(QmpError::generic("Only one balloon device is supported"));
        }
        match driver.needs {
            Needs::Chardev { required: true } if claim.is_none() => {
                return Err(QmpError::generic("Property chardev is required"));
            }
            Needs::Drive { required: true } if claim.is_none() => {
                return Err(QmpError::generic("drive property not set"));
            }
            _ => {}
        }
        let key = self.next;
        let path = match id {
            Some(id) => format!("/machine/peripheral/{id}"),
            None => format!("/machine/peripheral-anon/device[{key}]"),
        };
        // Errors name who has a drive by its id, or by its path when the part that has it has no id.
        let holder = match (id, driver.parts.first()) {
            (Some(id), None) => id.to_owned(),
            (None, None) => path.clone(),
            (_, Some(part)) => part_path(&path, id, part),
        };
        if let Some(claim) = &claim {
            let shares =
                loose(properties, "share-rw").is_some_and(|value| value == "on" || value == "true");
            let access = Access { holder, writes: !driver.name.ends_with("-cd"), shares };
            // A usb-storage checks before it hands the drive to its part.
            let asks = match id {
                Some(id) if driver.plugs_into == Bus::Usb => {
                    Access { holder: id.to_owned(), ..access.clone() }
                }
                _ => access.clone(),
            };
            backends.permits(claim, &asks)?;
            backends.claim(claim, key, access, driver.name == "virtconsole");
        }
        self.insert(
            Device { id: id.map(str::to_owned), driver, path, bus: bus_name, place, unplug: None },
            properties,
        );
        Ok(())
    }

    /// The bus that is named, or the one that QEMU finds first: the machine's own, else one below it.
    fn choose_bus(&self, driver: &Driver, name: Option<&str>) -> Result<String, QmpError> {
        let wanted = driver.plugs_into;
        if let Some(name) = name {
            let bus = self
                .buses
                .get(name)
                .ok_or_else(|| QmpError::generic(format!("Bus '{name}' not found")))?;
            if !bus.kind.takes(wanted) {
                let text = format!("Device '{}' can't go on {} bus", driver.name, bus.kind.name());
                return Err(QmpError::generic(text));
            }
            return Ok(name.to_owned());
        }
        let own = |full: bool| {
            let own = self
                .buses
                .iter()
                .rev()
                .filter(|(_, bus)| bus.owner.is_none() && bus.kind.takes(wanted));
            own.map(|(name, _)| name.as_str()).find(|name| self.is_full(name) == full)
        };
        let below = || {
            let roots = self
                .buses
                .iter()
                .filter(|(_, bus)| bus.owner.is_none())
                .map(|(name, _)| name.as_str());
            roots.filter_map(|root| self.search(root, wanted)).next()
        };
        let none = || format!("No '{}' bus found for device '{}'", wanted.name(), driver.name);
        let chosen = own(false).or_else(below).or_else(|| own(true));
        chosen.map(str::to_owned).ok_or_else(|| QmpError::generic(none()))
    }

    /// The first bus of a kind below another: depth first, the newest device before the older ones.
    fn search(&self, bus: &str, wanted: Bus) -> Option<&str> {
        self.devices.iter().rev().filter(|(_, device)| device.bus == bus).find_map(|(&key, _)| {
            let mut own = self.buses.iter().filter(|(_, bus)| bus.owner == Some(key));
            own.find_map(|(name, bus)| {
                if bus.kind.takes(wanted) { Some(name.as_str()) } else { self.search(name, wanted) }
            })
        })
    }

    fn is_full(&self, name: &str) -> bool {
        self.buses.get(name).is_some_and(|bus| bus.kind == Bus::Ide) && self.on(name).count() >= 2
    }

    fn place(
        &mut self,
        driver: &'static Driver,
        name: &str,
        properties: &Properties,
        cold: bool,
    ) -> Result<Place, QmpError> {
        let Some(bus) = self.buses.get(name) else { return Ok(Place::Anywhere) };
        match bus.kind {
            Bus::Pci | Bus::Pcie => {
                let taken = self.on(name).filter_map(|device| match device.place {
                    Place::Pci { slot, function, multifunction } => Some(place::Taken {
                        slot,
                        function,
                        multifunction,
                        driver: device.driver.name,
                        id: device.id.clone(),
                    }),
                    _ => None,
                });
                let chips = bus.chips.iter().map(|&(slot, function, driver)| place::Taken {
                    slot,
                    function,
                    multifunction: true,
                    driver,
                    id: None,
                });
                let single_slot = bus.kind == Bus::Pcie && bus.owner.is_some();
                place::pci(
                    driver.name,
                    properties,
                    &taken.chain(chips).collect::<Vec<_>>(),
                    cold,
                    single_slot,
                )
            }
            Bus::VirtioSerial => {
                let taken = self.on(name).filter_map(|device| match &device.place {
                    Place::Port { nr, .. } => Some(*nr),
                    _ => None,
                });
                let taken = taken.collect();
                // Names are unique over all of these buses.
                let port_name = |device: &Device| match &device.place {
                    Place::Port { name, .. } => name.clone(),
                    _ => None,
                };
                let names = self.devices.values().filter_map(port_name).collect();
                place::port(driver.name == "virtconsole", properties, &taken, &names, bus.ports_max)
            }
            Bus::Usb => {
                let wanted = loose(properties, "port");
                if wanted.is_none() && driver.name != "usb-hub" && bus.usb.wants_a_hub() {
                    self.insert_hub(name);
                }
                let Some(bus) = self.buses.get(name) else { return Ok(Place::Anywhere) };
                // Taken when the device is inserted, so that a later refusal changes nothing.
                Ok(Place::Usb { port: bus.usb.choose(wanted.as_deref(), name)? })
            }
            Bus::Scsi => {
                let owner = bus.owner.and_then(|owner| self.devices.get(&owner));
                if owner.is_some_and(|owner| owner.driver.plugs_into == Bus::Usb) {
                    return Err(QmpError::generic("no free target"));
                }
                let taken = self.on(name).filter_map(|device| match device.place {
                    Place::Scsi { unit, lun } => Some((unit, lun, device.id.clone())),
                    _ => None,
                });
                place::scsi(
                    number(properties, "scsi-id")?,
                    number(properties, "lun")?,
                    &taken.collect::<Vec<_>>(),
                )
            }
            Bus::Ide | Bus::Isa | Bus::Hda => Ok(Place::Anywhere),
        }
    }

    /// QEMU chains a hub of its own to the last free port.
    fn insert_hub(&mut self, bus: &str) {
        let Some(driver) = Driver::find("usb-hub") else { return };
        let Some(port) = self.buses.get(bus).and_then(|bus| bus.usb.choose(None, "").ok()) else {
            return;
        };
        let path = format!("/machine/unattached/device[{}]", self.next);
        let place = Place::Usb { port };
        self.insert(
            Device { id: None, driver, path, bus: bus.to_owned(), place, unplug: None },
            &Properties::new(),
        );
    }

    fn insert(&mut self, device: Device, properties: &Properties) {
        let key = self.next;
        self.next += 1;
        if let (Place::Usb { port }, Some(bus)) = (&device.place, self.buses.get_mut(&device.bus)) {
            bus.usb.take(port);
            if device.driver.name == "usb-hub" {
                bus.usb.add_hub(port);
            }
        }
        // A companion controller shares the bus of its master.
        if let Some(kind) = device.driver.provides.filter(|_| !properties.contains_key("masterbus"))
        {
            let name = match &device.id {
                Some(id) if device.driver.is_bridge() => id.clone(),
                Some(id) => format!("{id}.0"),
                None => {
                    let same = self.buses.values().filter(|bus| bus.kind == kind).count();
                    format!("{}.{same}", kind.name().to_lowercase())
                }
            };
            let count = |property| number(properties, property).ok().flatten();
            let ports = ["p2", "p3"].into_iter().filter_map(count).max();
            let bus = BusState {
                kind,
                hotpluggable: kind.hotpluggable()
                    && loose(properties, "hotplug").as_deref() != Some("off"),
                owner: Some(key),
                ports_max: count("max_ports").unwrap_or(31).clamp(1, 31),
                usb: UsbPorts::new(ports.unwrap_or(device.driver.ports.into()).min(15)),
                chips: Vec::new(),
            };
            self.buses.insert(name, bus);
        }
        self.devices.insert(key, device);
    }

    /// `device_del`. What goes at once is returned; what the guest must let go waits for `answer`.
    pub(super) fn remove(&mut self, id: &str, answer: Delay) -> Result<Vec<Gone>, QmpError> {
        let key = self.find(id).ok_or_else(|| QmpError::device_not_found(id))?;
        let Some(device) = self.devices.get_mut(&key) else { return Ok(Vec::new()) };
        if device.unplug.is_some() {
            return Err(QmpError::generic(format!(
                "Device {id} is already in the process of unplug"
            )));
        }
        let Some(bus) = self.buses.get(&device.bus) else { return Ok(Vec::new()) };
        if !bus.hotpluggable {
            return Err(QmpError::generic(format!(
                "Bus '{}' does not support hotplugging",
                device.bus
            )));
        }
        if !device.driver.pluggable {
            return Err(QmpError::generic(format!("Device '{id}' does not support hotplugging")));
        }
        if bus.kind.asks_the_guest() {
            device.unplug = Some(answer);
            return Ok(Vec::new());
        }
        Ok(self.unlink(key))
    }

    /// The guest lets a device go, asked or not.
    pub(super) fn eject(&mut self, id: &str) -> Vec<Gone> {
        let asks = |device: &Device| {
            self.buses.get(&device.bus).is_some_and(|bus| bus.kind.asks_the_guest())
        };
        match self.find(id) {
            Some(key) if self.devices.get(&key).is_some_and(asks) => self.unlink(key),
            _ => Vec::new(),
        }
    }

    /// The guest will not answer the request that it has.
    pub(super) fn ignore(&mut self, id: &str) -> bool {
        let key = self.find(id);
        match key
            .and_then(|key| self.devices.get_mut(&key))
            .and_then(|device| device.unplug.as_mut())
        {
            Some(unplug) => {
                *unplug = Delay::Never;
                true
            }
            None => false,
        }
    }

    /// Every request is complete: what a reset does.
    pub(super) fn eject_all(&mut self) -> Vec<Gone> {
        self.eject_if(|_| true)
    }

    /// The guest has had one more turn.
    pub(super) fn turn(&mut self) -> Vec<Gone> {
        let gone = self.eject_if(|unplug| unplug == Delay::Turns(0));
        for device in self.devices.values_mut() {
            if let Some(Delay::Turns(left)) = &mut device.unplug {
                *left -= 1;
            }
        }
        gone
    }

    /// Whether the guest will answer a request some time.
    pub(super) fn expects_answer(&self) -> bool {
        self.devices.values().any(|device| matches!(device.unplug, Some(Delay::Turns(_))))
    }

    fn eject_if(&mut self, condition: impl Fn(Delay) -> bool) -> Vec<Gone> {
        let asked = self.devices.iter().filter(|(_, device)| device.unplug.is_some_and(&condition));
        let keys: Vec<Key> = asked.map(|(&key, _)| key).collect();
        keys.into_iter().flat_map(|key| self.unlink(key)).collect()
    }

    /// Takes a device and all that hangs on it out of the tree, the newest first and itself last.
    fn unlink(&mut self, key: Key) -> Vec<Gone> {
        let Some(device) = self.devices.get(&key) else { return Vec::new() };
        let mut gone = Vec::new();
        let hangs_below = |other: &Device| match (&device.place, &other.place) {
            (Place::Usb { port: hub }, Place::Usb { port }) => {
                device.bus == other.bus
                    && port.strip_prefix(hub.as_str()).is_some_and(|rest| rest.starts_with('.'))
            }
            _ => self.buses.get(&other.bus).is_some_and(|bus| bus.owner == Some(key)),
        };
        let below = self.devices.iter().rev().filter(|(_, other)| hangs_below(other));
        for child in below.map(|(&key, _)| key).collect::<Vec<_>>() {
            gone.extend(self.unlink(child));
        }
        self.buses.retain(|_, bus| bus.owner != Some(key));
        let Some(device) = self.devices.remove(&key) else { return gone };
        if let (Place::Usb { port }, Some(bus)) = (&device.place, self.buses.get_mut(&device.bus)) {
            bus.usb.release(port);
        }
        for part in device.driver.parts {
            gone.push(Gone {
                key,
                id: None,
                path: part_path(&device.path, device.id.as_deref(), part),
            });
        }
        gone.push(Gone { key, id: device.id, path: device.path });
        gone
    }
}

fn part_path(path: &str, id: Option<&str>, part: &str) -> String {
    format!("{path}/{}", part.replace("{id}", id.unwrap_or("device")))
}
