//! The status file of a running domain, and the record of its devices in it.

use std::collections::BTreeSet;

use crate::{
    domain::{Domain, Error, hotplug_device, tree::NodeId},
    hotplug::{Device, Record, StatusFile},
    status::{Facts, Status, Store, StoreError},
};

/// A status document that follows the record of a [`crate::hotplug::Machine`].
#[derive(Debug)]
pub(super) struct Live {
    store: Store,
    status: Status,
    /// Aliases of the devices that the document has because a record had them.
    followed: BTreeSet<String>,
    /// What the file says.
    saved: Record,
}

impl Live {
    /// From a status that was just made or read.
    pub(super) fn new(store: Store, status: Status) -> Self {
        let saved = record_of(&status);
        let followed = saved.devices.iter().map(|device| device.alias.clone()).collect();
        Live { store, status, followed, saved }
    }

    pub(super) fn saved(&self) -> &Record {
        &self.saved
    }

    pub(super) fn domain(&self) -> &Domain {
        self.status.domain()
    }

    pub(super) fn facts(&self) -> Result<Facts, Error> {
        self.status.facts()
    }

    pub(super) fn to_xml(&self) -> String {
        self.status.to_xml()
    }

    /// Writes the document as it is.
    pub(super) fn write(&self) -> Result<(), StoreError> {
        self.store.save(&self.status)
    }

    /// Changes the facts, also on disk if that can be written; the next save has them in any case.
    pub(super) fn set_facts(&mut self, facts: &Facts) -> Result<(), String> {
        self.status.set_facts(facts).map_err(|error| error.to_string())?;
        // The file says of the devices what was last saved of them: only that is written here.
        let mut document = self.status.clone();
        let mut followed = self.followed.clone();
        follow(&mut document, &mut followed, &self.saved).map_err(|error| error.to_string())?;
        self.store.save(&document).map_err(|error| super::control::causes(&error))
    }

    pub(super) fn remove_file(&self) -> Result<(), StoreError> {
        match self.domain().name() {
            Ok(name) => self.store.remove(&name),
            Err(_) => Ok(()),
        }
    }

    /// Makes the document say what the record does.
    pub(super) fn follow(&mut self, record: &Record) -> Result<(), Error> {
        follow(&mut self.status, &mut self.followed, record)?;
        // Edits only add to what a document holds in memory.
        self.status = self.status.compacted()?;
        Ok(())
    }
}

impl StatusFile for Live {
    fn save(&mut self, record: &Record) -> Result<(), String> {
        self.follow(record).map_err(|error| error.to_string())?;
        self.write().map_err(|error| super::control::causes(&error))?;
        self.saved = record.clone();
        Ok(())
    }
}

fn follow(
    status: &mut Status,
    followed: &mut BTreeSet<String>,
    record: &Record,
) -> Result<(), Error> {
    let wanted: BTreeSet<&String> = record.devices.iter().map(|device| &device.alias).collect();
    let gone: Vec<String> =
        followed.iter().filter(|alias| !wanted.contains(alias)).cloned().collect();
    for alias in gone {
        status.domain_mut().remove_named(&alias);
        followed.remove(&alias);
    }
    for device in &record.devices {
        if !followed.contains(&device.alias) {
            add(status.domain_mut(), device)?;
            followed.insert(device.alias.clone());
        }
    }
    let intents: Vec<NodeId> = status.intents().collect();
    for intent in intents {
        if status.document().is(intent, "attach") {
            status.remove_intent(intent);
        }
    }
    for device in &record.intents {
        let intent = status.add_intent("<attach/>")?;
        let document = status.document_mut();
        let node = document.append_xml(intent, &device.xml)?;
        document.put(node, "alias/@name", &device.alias)?;
    }
    Ok(())
}

fn add(domain: &mut Domain, device: &Device) -> Result<(), Error> {
    let node = domain.add_device(&device.xml)?;
    domain.document_mut().put(node, "alias/@name", &device.alias)?;
    Ok(())
}

/// What a status says of the devices that can be plugged.
///
/// Others stay in the document and are left alone, also those that are not understood: an older daemon must not take
/// away what a newer one has plugged.
fn record_of(status: &Status) -> Record {
    let domain = status.domain();
    let devices = domain.devices().filter_map(|device| match hotplug_device(device) {
        Ok(device) if !device.alias.is_empty() => Some(device),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!("a device is left alone: {error}");
            None
        }
    });
    let intents = status.intents().filter(|intent| status.document().is(*intent, "attach"));
    let intents = intents.flat_map(|intent| status.document().children(intent));
    let intents = intents.filter_map(|node| {
        let mut domain = domain.clone();
        let added = domain.add_device(&status.document().fragment(node));
        let device = added.map(|node| domain.device(node).map(hotplug_device));
        match device {
            Ok(Some(Ok(device))) => Some(device),
            Ok(Some(Err(error))) | Err(error) => {
                tracing::warn!("an intent is left alone: {error}");
                None
            }
            Ok(None) => None,
        }
    });
    Record { devices: devices.collect(), intents: intents.collect() }
}
