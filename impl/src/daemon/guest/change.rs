//! What is asked of a domain while it is free: its definition, dumps, devices.

use std::fs;

use serde_json::Value;

use super::{Asker, Guest, Running};
use crate::{
    daemon::{
        control::{Error, Form, Kind, Named, Reply, State, causes},
        places, start,
    },
    domain::{Class, Domain, LookupError, Name, Problem, is_user_alias, tree::Document},
    hotplug::{self, BackendKind, BusError, Machine, Refusal, name_bus},
    hypervisor::{Command, Hypervisor},
};

impl Guest {
    pub(super) fn define(&mut self, xml: &str) -> Result<Reply, Error> {
        let domain = start::kept(xml).map_err(|error| Kind::BadXml.because(error))?;
        let known = match (&self.definition, &self.running) {
            (Some(definition), _) => Some(definition),
            (None, Some(running)) => Some(running.file.domain()),
            (None, None) => None,
        };
        if let (Some(known), Ok(uuid)) = (known.and_then(|known| known.uuid().ok()), domain.uuid())
            && !known.eq_ignore_ascii_case(&uuid)
        {
            let why = format!("the domain `{}` exists with the uuid {known}", self.name);
            return Err(Kind::WrongState.because(why));
        }
        let path = self.shared.places.definitions().join(format!("{}.xml", self.name));
        places::replace(&path, xml).map_err(|error| {
            Kind::Storage.because(format!("write `{}`: {error}", path.display()))
        })?;
        self.definition = Some(domain);
        self.tell_state();
        Ok(Reply::Defined { domain: self.name.clone() })
    }

    pub(super) fn undefine(&mut self) -> Result<Reply, Error> {
        if self.definition.is_none() {
            return Err(
                Kind::NoSuchDomain.because(format!("no definition of `{}` is kept", self.name))
            );
        }
        let path = self.shared.places.definitions().join(format!("{}.xml", self.name));
        places::remove(&path).map_err(|error| {
            Kind::Storage.because(format!("remove `{}`: {error}", path.display()))
        })?;
        self.definition = None;
        self.tell_state();
        Ok(Reply::Done)
    }

    pub(super) fn dump(&mut self, form: Form) -> Result<Reply, Error> {
        let bad = |error: crate::domain::Error| Kind::BadXml.because(error);
        if let (Some(running), false) = (&mut self.running, form == Form::Inactive) {
            running.file.follow(&running.machine.record().clone()).map_err(bad)?;
            let live = running.file.domain();
            return Ok(Reply::Xml(match form {
                Form::Status => running.file.to_xml(),
                Form::Migratable => migratable(live).map_err(bad)?,
                Form::Live | Form::Inactive => live.to_xml(),
            }));
        }
        if form == Form::Status {
            let why = format!("`{}` does not run, so it has no status", self.name);
            return Err(Kind::WrongState.because(why));
        }
        let Some(definition) = &self.definition else {
            let why = format!("no definition of `{}` is kept", self.name);
            return Err(Kind::NoSuchDomain.because(why));
        };
        Ok(Reply::Xml(match form {
            Form::Inactive => definition.to_inactive().map_err(bad)?.to_xml(),
            Form::Migratable => migratable(definition).map_err(bad)?,
            Form::Live | Form::Status => definition.to_xml(),
        }))
    }

    pub(super) fn free_for_change(&mut self) -> Result<&mut Running, Error> {
        let name = &self.name;
        let Some(running) = &mut self.running else {
            return Err(Kind::WrongState.because(format!("`{name}` does not run")));
        };
        if running.client.is_none() || running.state == State::Unresponsive {
            let why = format!("the monitor of `{name}` does not answer; it is tried again");
            return Err(Kind::Unresponsive.because(why));
        }
        Ok(running)
    }

    pub(super) fn begin_attach(&mut self, from: Asker, xml: &str) -> Result<(), Error> {
        let running = self.free_for_change()?;
        let record = running.machine.record().clone();
        running.file.follow(&record).map_err(|error| Kind::BadXml.because(error))?;
        let xml = with_mac(xml)?;
        let Some(client) = &mut running.client else {
            let why = format!("the monitor of `{}` does not answer; it is tried again", self.name);
            return Err(Kind::Unresponsive.because(why));
        };
        let device = plug(running.file.domain(), &xml, client, &running.machine)?;
        let begun = running.machine.request(hotplug::Request::Attach(device));
        begun.map_err(|refusal| refused(&refusal))?;
        running.asker = Some(from);
        Ok(())
    }

    pub(super) fn begin_detach(&mut self, from: Asker, device: &Named) -> Result<(), Error> {
        let running = self.free_for_change()?;
        let record = running.machine.record().clone();
        running.file.follow(&record).map_err(|error| Kind::BadXml.because(error))?;
        let domain = running.file.domain();
        let name = match device {
            Named::Alias(alias) => Name::Alias(alias),
            Named::Xml(xml) => Name::Element(xml),
        };
        let found = domain.lookup(name).map_err(|error| {
            let kind = match error {
                LookupError::Element(_) => Kind::BadXml,
                _ => Kind::NoSuchDevice,
            };
            kind.because(causes(&error))
        })?;
        domain.unpluggable(found).map_err(|fixed| Kind::NotHotpluggable.because(fixed))?;
        let alias = found.alias().unwrap_or_default().into_owned();
        let begun = running.machine.request(hotplug::Request::Detach(alias));
        begun.map_err(|refusal| refused(&refusal))?;
        running.asker = Some(from);
        Ok(())
    }

    /// Which pty it is only QEMU knows, and it is asked each time: so nothing about it can be out of date.
    pub(super) fn open_console(&mut self, name: Option<&str>) -> Result<Reply, Error> {
        let running = self.free_for_change()?;
        let record = running.machine.record().clone();
        running.file.follow(&record).map_err(|error| Kind::BadXml.because(error))?;
        let found = running.file.domain().lookup_console(name);
        let found = found.map_err(|error| Kind::NoSuchDevice.because(causes(&error)))?;
        let alias = found.alias().unwrap_or_default().into_owned();
        let (class, backend) = (found.class.element(), found.backend());
        if backend != "pty" {
            let why = format!("the <{class}> `{alias}` is not on a pty: its type is `{backend}`");
            return Err(Kind::NotAPty.because(why));
        }
        let Some(client) = &mut running.client else {
            let why = format!("the monitor of `{}` does not answer; it is tried again", self.name);
            return Err(Kind::Unresponsive.because(why));
        };
        let reply = client
            .execute(&Command::query_chardev())
            .map_err(|error| Kind::Unresponsive.because(causes(&error)))?
            .map_err(|error| Kind::Qemu.because(error))?;
        let path = pty_of(&reply, &BackendKind::Chardev.id(&alias));
        let path =
            path.ok_or_else(|| Kind::Qemu.because(format!("QEMU names no pty of `{alias}`")))?;
        Ok(Reply::Console { alias, path })
    }
}

/// The path in `query-chardev`, where it stands as `pty:/dev/pts/7`.
fn pty_of(chardevs: &Value, label: &str) -> Option<String> {
    let mut chardevs = chardevs.as_array()?.iter();
    let found = chardevs.find(|chardev| chardev["label"] == label)?;
    Some(found["filename"].as_str()?.strip_prefix("pty:")?.to_owned())
}

/// What is asked of QEMU for a device that is to be plugged.
///
/// Where its alias only counts, the machine chooses it: an alias must be free in QEMU, too.
fn plug(
    live: &Domain,
    xml: &str,
    hypervisor: &mut dyn Hypervisor,
    machine: &Machine,
) -> Result<hotplug::Device, Error> {
    let plugged = live.plug(xml).map_err(|error| {
        let kind = match &error.problem {
            Problem::Unsupported(_) => Kind::NotHotpluggable,
            _ => Kind::BadXml,
        };
        kind.because(error)
    })?;
    let mut device = plugged.device;
    if let Some(added) = plugged.domain.device(plugged.node) {
        let bus = plugged.domain.bus_of(added).map_err(|error| Kind::BadXml.because(error))?;
        if let Some(bus) = bus {
            name_bus(&mut device, &bus, hypervisor).map_err(|error| {
                let kind = match error {
                    BusError::Fixed { .. } => Kind::NotHotpluggable,
                    BusError::Missing { .. } => Kind::Qemu,
                    BusError::Silent { .. } => Kind::Unresponsive,
                };
                kind.because(causes(&error))
            })?;
        }
    }
    let counts = plugged.domain.device(plugged.node).filter(|device| {
        !matches!(device.class, Class::Disk | Class::Controller)
            && device.alias().is_none_or(|alias| !is_user_alias(&alias))
    });
    if let Some(added) = counts {
        // `console0` is a name of the serial port that the first console shows, whatever else that is called.
        let taken = added.class == Class::Console && live.has_paired_console();
        device.alias = machine.next_alias(&device.prefix, u32::from(taken));
    }
    Ok(device)
}

/// An interface has a MAC address; who gives none gets one, once and for all (`virDomainNetGenerateMAC`).
pub(in crate::daemon) fn with_mac(xml: &str) -> Result<String, Error> {
    let bad = |error: crate::domain::Error| Kind::BadXml.because(error);
    let mut document = Document::parse(xml).map_err(bad)?;
    let root = document.root();
    let mut interfaces = Vec::new();
    if document.is(root, "interface") {
        interfaces.push(root);
    }
    for devices in document.children_named(root, "devices") {
        interfaces.extend(document.children_named(devices, "interface"));
    }
    interfaces.retain(|interface| document.get(*interface, "mac/@address").is_none());
    if interfaces.is_empty() {
        return Ok(xml.to_owned());
    }
    for interface in interfaces {
        let random = fs::read_to_string("/proc/sys/kernel/random/uuid")
            .map_err(|error| Kind::Storage.because(format!("make a MAC address: {error}")))?;
        let digit = |at| random.get(at..at + 2).unwrap_or("00");
        let (one, two, three) = (digit(0), digit(2), digit(4));
        document
            .put(interface, "mac/@address", &format!("52:54:00:{one}:{two}:{three}"))
            .map_err(bad)?;
    }
    Ok(document.to_xml())
}

/// The definition as another daemon is sent it; aliases that were assigned are the receiver's to assign.
fn migratable(domain: &Domain) -> Result<String, crate::domain::Error> {
    let mut sent = domain.to_migratable()?;
    sent.drop_assigned_aliases();
    Ok(sent.to_xml())
}

pub(super) fn refused(refusal: &Refusal) -> Error {
    let kind = match refusal {
        Refusal::Busy => Kind::WrongState,
        Refusal::NoSuchDevice { .. } => Kind::NoSuchDevice,
        Refusal::AliasTaken { .. } => Kind::BadXml,
        Refusal::Qemu { .. } => Kind::Qemu,
        Refusal::Silent { .. } => Kind::Unresponsive,
        Refusal::NotSaved { .. } => Kind::Storage,
    };
    kind.because(refusal)
}
