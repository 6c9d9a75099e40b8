//! Definitions: what is written, what is read from it, and what a daemon holds in memory.

use serde::{Deserialize, Serialize};

use super::{
    name::{Alias, Stem},
    rules::{Checked, First, Rules, Shows},
};

/// Devices of a definition at most.
const DEVICES_MAX: usize = 6;

/// A device that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `<serial>` on the ISA bus.
    IsaSerial,
    /// `<serial>` on USB.
    UsbSerial,
    /// `<parallel>`. Nobody asks for one.
    Parallel,
    /// `<channel>` on virtio-serial.
    Channel,
    /// `<console>` that is the first serial port.
    SerialConsole,
    /// A record among the consoles that was never made one: its type says parallel, because that is 0.
    Stub,
    /// `<console>` on virtio-serial.
    VirtioConsole,
    /// `<rng>`, on PCI.
    Rng,
}

/// The arrays of a definition, in the order in which an alias is searched (`virDomainDefFindDevice`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// `<serial>`
    Serial,
    /// `<parallel>`
    Parallel,
    /// `<channel>`
    Channel,
    /// `<console>`
    Console,
    /// `<rng>`
    Rng,
}

impl Kind {
    /// The array that it is in.
    pub fn class(self) -> Class {
        match self {
            Kind::IsaSerial | Kind::UsbSerial => Class::Serial,
            Kind::Parallel => Class::Parallel,
            Kind::Channel => Class::Channel,
            Kind::SerialConsole | Kind::Stub | Kind::VirtioConsole => Class::Console,
            Kind::Rng => Class::Rng,
        }
    }

    /// A record without a device of its own in QEMU.
    pub fn is_overlay(self) -> bool {
        matches!(self, Kind::SerialConsole | Kind::Stub)
    }

    /// The end of its alias when it is assigned: `qemu_alias.c`.
    pub fn stem(self) -> Stem {
        match self.class() {
            Class::Serial => Stem::Serial,
            Class::Channel | Class::Parallel => Stem::Channel,
            Class::Console => Stem::Console,
            Class::Rng => Stem::Rng,
        }
    }
}

/// The host's end of a character device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// `type='null'`: all are equal (`virDomainChrSourceDefIsEqual`).
    Null,
    /// `type='pty'`. Its path is known once it is that of a chardev.
    Pty(Option<Alias>),
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// What it is.
    pub kind: Kind,
    /// `<target port>`; −1 is unset.
    pub port: i8,
    /// Its backend.
    pub source: Source,
    /// Its alias.
    pub alias: Option<Alias>,
}

impl Device {
    /// As a user writes it.
    pub const fn asked(kind: Kind, source: Source, alias: Option<Alias>) -> Self {
        Device { kind, port: -1, source, alias }
    }

    /// `virDomainChrEquals`: types of consoles are not compared, aliases never.
    pub fn equals(&self, other: &Device) -> bool {
        let is_stub = |device: &Device| device.kind == Kind::Stub;
        let class = self.kind.class();
        class == other.kind.class()
            && is_stub(self) == is_stub(other)
            && self.source == other.source
            && match class {
                Class::Serial => self.kind == other.kind && self.port == other.port,
                Class::Parallel | Class::Console => self.port == other.port,
                // By name, and each has another.
                Class::Channel | Class::Rng => self.alias == other.alias,
            }
    }
}

/// Devices, by class and in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Definition {
    devices: [Option<Device>; DEVICES_MAX],
}

/// Which aliases are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// All: the status file.
    Live,
    /// The user's: everything else.
    Inactive,
}

impl Definition {
    /// These devices.
    pub fn of(devices: &[Device]) -> Self {
        let mut all = Definition::default();
        devices.iter().for_each(|&device| all.append(device));
        all
    }

    /// All of them, in order.
    pub fn devices(&self) -> impl DoubleEndedIterator<Item = &Device> {
        self.devices.iter().flatten()
    }

    fn devices_mut(&mut self) -> impl Iterator<Item = &mut Device> {
        self.devices.iter_mut().flatten()
    }

    /// Those of one array, each with its place among all.
    pub fn class(&self, class: Class) -> impl Iterator<Item = (usize, &Device)> {
        self.devices().enumerate().filter(move |(_, device)| device.kind.class() == class)
    }

    /// The first of an array.
    pub fn first(&self, class: Class) -> Option<Device> {
        self.class(class).next().map(|(_, device)| *device)
    }

    /// The device in this place.
    pub fn get(&self, at: usize) -> Option<Device> {
        self.devices.get(at).copied().flatten()
    }

    fn insert(&mut self, at: usize, device: Device) {
        self.devices[at..].rotate_right(1);
        self.devices[at] = Some(device);
    }

    /// Adds at the end of its array.
    pub fn append(&mut self, device: Device) {
        let class = device.kind.class();
        let at = self.devices().take_while(|other| other.kind.class() <= class).count();
        self.insert(at, device);
    }

    fn prepend(&mut self, device: Device) {
        let class = device.kind.class();
        let at = self.devices().take_while(|other| other.kind.class() < class).count();
        self.insert(at, device);
    }

    /// Removes the record in this place.
    pub fn remove(&mut self, at: usize) {
        self.devices[at] = None;
        self.devices[at..].rotate_left(1);
    }

    /// Removes a serial port as `qemuDomainChrRemove` does: with the console that is it.
    pub fn remove_serial(&mut self, at: usize) {
        let serial = self.get(at);
        let console = self.class(Class::Console).next().map(|(at, device)| (at, device.kind));
        if let Some((console, Kind::SerialConsole)) = console
            && self.first(Class::Serial) == serial
        {
            self.remove(console);
        }
        self.remove(at);
    }

    /// The first console, if it stands for the first serial port.
    pub fn pair(&self) -> Option<(Device, usize)> {
        let serial = self.first(Class::Serial)?;
        let (at, console) = self.class(Class::Console).next()?;
        console.kind.is_overlay().then_some((serial, at))
    }

    /// The device in QEMU that the record in this place stands for.
    pub fn stands_for(&self, at: usize) -> Option<Alias> {
        let device = self.get(at)?;
        match device.kind.is_overlay() {
            true => self.first(Class::Serial)?.alias,
            false => device.alias,
        }
    }

    /// One more than the largest port of an array: `virDomainChrDefPostParse`.
    pub fn next_port(&self, class: Class) -> i8 {
        self.class(class).map(|(_, device)| device.port).max().map_or(0, |port| port + 1)
    }

    /// The first user alias that two devices have: `virDomainDefValidateAliases`.
    pub fn duplicate(&self, checked: Checked) -> Option<Alias> {
        let pair = self.pair();
        let skipped = |at: usize, device: &Device| match checked {
            Checked::NotTheSerial => pair.is_some() && self.first(Class::Serial) == Some(*device),
            Checked::PairIsOne => pair.is_some_and(|(_, console)| console == at),
            Checked::Every => false,
        };
        let counted: Vec<Alias> = self
            .devices()
            .enumerate()
            .filter(|(at, device)| !skipped(*at, device))
            .filter_map(|(_, device)| device.alias.filter(|alias| alias.is_user()))
            .collect();
        let mut rest = counted.as_slice();
        while let [first, others @ ..] = rest {
            if others.contains(first) {
                return Some(*first);
            }
            rest = others;
        }
        None
    }

    /// As it is written: `virDomainDefFormatInternalSetRootName`.
    pub fn print(&self, rules: &Rules) -> Definition {
        let mut printed = Definition::default();
        let pair = self.pair();
        for (at, device) in self.devices().enumerate() {
            let itself = match device.kind {
                // Whatever was never made a console is written as what 0 means.
                Kind::Stub => Device { kind: Kind::Parallel, ..*device },
                _ => *device,
            };
            let shown = match (pair, rules.shows) {
                (Some((serial, console)), Shows::TheSerial) if console == at => {
                    Device { kind: Kind::SerialConsole, ..serial }
                }
                (Some((serial, console)), Shows::TheSerialByItsOwnName) if console == at => {
                    Device { kind: Kind::SerialConsole, alias: device.alias, ..serial }
                }
                _ => itself,
            };
            printed.append(shown);
        }
        printed
    }

    /// As it is understood when it is read: `virDomainDefParseXML`, `virDomainDefPostParse`.
    pub fn parse(&self, rules: &Rules, read: Read) -> Definition {
        if read == Read::Live && rules.live_is_kept {
            return *self;
        }
        let mut parsed = *self;
        for device in parsed.devices_mut() {
            device.alias = device.alias.filter(|alias| read == Read::Live || alias.is_user());
        }
        // A console's port is its place, whatever is written.
        parsed.number_consoles();
        for class in [Class::Serial, Class::Parallel] {
            let is_unset = |device: &Device| device.kind.class() == class && device.port < 0;
            for at in 0..DEVICES_MAX {
                if let Some(device) = parsed.get(at).filter(is_unset) {
                    let port = parsed.next_port(class);
                    parsed.devices[at] = Some(Device { port, ..device });
                }
            }
        }
        parsed.pair_console(rules);
        if rules.ports_follow {
            parsed.number_consoles();
        }
        if rules.pair_has_one_alias {
            parsed.pair_aliases();
        }
        parsed
    }

    fn number_consoles(&mut self) {
        let consoles = self.devices_mut().filter(|device| device.kind.class() == Class::Console);
        for (place, console) in (0..).zip(consoles) {
            console.port = place;
        }
    }

    /// `virDomainDefAddConsoleCompat`
    fn pair_console(&mut self, rules: &Rules) {
        let console = self.class(Class::Console).next().map(|(at, device)| (at, *device));
        let serial = self.first(Class::Serial);
        // What stands in for the serial port.
        let stand_in = |serial: Device| match rules.shows {
            Shows::Itself => Device { kind: Kind::SerialConsole, ..serial },
            _ => Device::asked(Kind::SerialConsole, Source::Null, None),
        };
        match (console, serial) {
            (Some((at, console)), None) if console.kind == Kind::SerialConsole => {
                let serial = Device { kind: Kind::IsaSerial, port: 0, ..console };
                self.devices[at] = Some(stand_in(serial));
                self.prepend(serial);
            }
            (Some((_, console)), Some(serial))
                if console.kind == Kind::SerialConsole && console.source == serial.source => {}
            (Some((at, console)), Some(serial)) if console.kind == Kind::SerialConsole => {
                let lost = stand_in(serial);
                let alias = if rules.pair_has_one_alias { console.alias } else { lost.alias };
                self.devices[at] = Some(Device { alias, ..lost });
            }
            (_, Some(serial)) if serial.kind == Kind::IsaSerial => self.prepend(stand_in(serial)),
            _ => {}
        }
    }

    /// A user's alias on either is that of both.
    fn pair_aliases(&mut self) {
        let Some((serial, console)) = self.pair() else { return };
        let user = |alias: Option<Alias>| alias.filter(|alias| alias.is_user());
        let console_alias = self.get(console).and_then(|device| device.alias);
        let alias = user(serial.alias).or(user(console_alias)).or(serial.alias);
        for device in self.devices_mut().take(console + 1) {
            if *device == serial || device.kind.is_overlay() {
                device.alias = alias;
            }
        }
    }

    /// Do the two of a pair have different user aliases?
    pub fn aliases_differ(&self) -> bool {
        let user = |alias: Option<Alias>| alias.filter(|alias| alias.is_user());
        let Some((serial, console)) = self.pair() else { return false };
        let console = user(self.get(console).and_then(|device| device.alias));
        matches!((user(serial.alias), console), (Some(one), Some(other)) if one != other)
    }

    /// Every device gets its alias, and every pty its path, as when the domain starts:
    /// `qemuAssignDeviceAliases`, `qemuProcessFindCharDevicePTYsMonitor`.
    pub fn start(&self, rules: &Rules) -> Definition {
        let mut started = *self;
        let mut last = None;
        let mut place = 0;
        for device in started.devices_mut() {
            let class = device.kind.class();
            place = if last == Some(class) { place + 1 } else { 0 };
            last = Some(class);
            let assigned = Alias::new(device.kind.stem(), place);
            device.alias = device.alias.or(Some(assigned));
        }
        if let Some((_, at)) = self.pair()
            && let Some(serial) = started.first(Class::Serial)
        {
            let own = self.get(at).and_then(|device| device.alias);
            let alias = match rules.console_is_called {
                First::ByItsPlace => started.get(at).and_then(|device| device.alias),
                First::AsTheSerial => own.or(serial.alias),
            };
            if let Some(console) = &mut started.devices[at] {
                console.alias = alias;
            }
        }
        for device in started.devices_mut() {
            if let Source::Pty(_) = device.source {
                device.source = Source::Pty(device.alias);
            }
        }
        if let Some((serial, at)) = started.pair()
            && let Some(console) = &mut started.devices[at]
        {
            console.source = serial.source;
        }
        started
    }

    /// The number of the next device of a kind that is plugged: `qemuGetNextChrDevIndex` and its like.
    pub fn next_number(&self, kind: Kind, rules: &Rules) -> u8 {
        let counts = |alias: Alias| {
            alias.stem == kind.stem()
                || (kind.class() == Class::Console && alias.stem == Stem::Serial)
        };
        let of_class = self.class(kind.class());
        let used = of_class.filter_map(|(_, device)| device.alias.filter(|alias| counts(*alias)));
        let next = used.map(|alias| alias.number + 1).max().unwrap_or(0);
        // `console0` is a name of the pair.
        let reserved =
            rules.pair_keeps_both_names && kind.class() == Class::Console && self.pair().is_some();
        next.max(u8::from(reserved))
    }
}
