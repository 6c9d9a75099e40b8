//! When a default is chosen, and who remembers it.
//!
//! A definition may leave open what its guest will see. What is then chosen depends on this program's release, on
//! the QEMU at hand and on the other devices, so the same text means different hardware at different times. Two rules
//! keep a guest what it is:
//!
//! - **Defaults of today are for who defines today.** [`Reading`] says why a text is read; only
//!   [`Reading::Define`] gets new defaults. A text about a process ([`Reading::Process`]: a status file, a migration,
//!   a save image) is completed with what the daemon that wrote it would have given the process, and with nothing
//!   else.
//! - **Every automatic value is remembered with its origin.** [`Domain::origin_of`] tells a user's value from one that
//!   was chosen, by which release and when. The record is an element of our own namespace in `<metadata>`, which
//!   libvirt keeps and carries without reading it (`virXMLNodeSanitizeNamespaces` wants one such element for each
//!   namespace, and `virXMLFormatMetadata` writes it in every form of a definition). A record holds only while the
//!   value is the recorded one: who edits the value takes it over.
//!
//! So [`Domain::to_inactive`] can show what the user wrote, and defining that text again gives the same hardware; and
//! [`Domain::to_migratable`] can leave out, for old receivers, what they are known to add.
//!
//! ```
//! use statusquo_vmm::domain::{Domain, Emulator, Origin, Reading};
//!
//! let text = "<domain type='kvm'><name>demo</name><os><type arch='ppc64' machine='pseries-7.2'>hvm</type></os>
//!               <devices/></domain>";
//! let mut new = Domain::parse(text)?;
//! new.complete(Reading::Define, &Emulator::default())?;
//! let usb = new.usb_controller()?.expect("every pseries has one");
//! assert_eq!(new.document().get(usb, "@model").as_deref(), Some("qemu-xhci"));
//! assert!(matches!(new.origin_of(usb, "@model"), Origin::Auto(_)));
//!
//! // The same text in a file that an older release wrote.
//! let mut old = Domain::parse(text)?;
//! old.complete(Reading::Load, &Emulator::default())?;
//! let usb = old.usb_controller()?.expect("every pseries has one");
//! assert_eq!(old.document().get(usb, "@model").as_deref(), Some("pci-ohci"));
//! # Ok::<(), statusquo_vmm::domain::Error>(())
//! ```

mod migratable;
mod process;
mod record;
mod run;
mod usb;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use process::{UsbFact, usb_facts};
pub(super) use record::said_address;
pub use record::{Auto, Automatic, Origin};
pub use usb::UsbStart;

use super::{Class, Domain, Error, tree::NodeId};

/// Why a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reading {
    /// A user defines it: what is open gets the defaults of today (libvirt's `VIR_DOMAIN_DEF_PARSE_ABI_UPDATE`).
    Define,
    /// The daemon starts and reads what was defined some time ago: the defaults of then.
    Load,
    /// It describes a process: a status file, the text of a migration, a save image.
    Process,
}

impl Reading {
    const ALL: [Self; 3] = [Self::Define, Self::Load, Self::Process];

    fn as_str(self) -> &'static str {
        match self {
            Self::Define => "define",
            Self::Load => "load",
            Self::Process => "process",
        }
    }
}

/// Which devices a QEMU binary can be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emulator {
    /// Names of its drivers; without a list it has everything that upstream has.
    drivers: Option<BTreeSet<String>>,
}

impl Emulator {
    /// A QEMU that has these drivers: the names of `qom-list-types` with `implements: device`.
    pub fn with_drivers<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self { drivers: Some(names.into_iter().map(Into::into).collect()) }
    }

    /// Can it be asked for this driver?
    pub fn has(&self, driver: &str) -> bool {
        self.drivers.as_ref().is_none_or(|drivers| drivers.contains(driver))
    }
}

/// What a release gives to who defines today, or plugs something, and leaves it open.
///
/// Whatever was defined, started or sent before keeps what it has: a release that changes one of these changes it for
/// new guests only. Values that only one run of the host sees have their default in [`crate::hostdev`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The model of a network card; none: what libvirt has always given on this machine.
    pub net_model: Option<&'static str>,
    /// Models of the USB controller of a pseries, the best first.
    pub usb_of_pseries: &'static [&'static str],
}

impl Defaults {
    /// This release's.
    pub const TODAY: Self =
        Self { net_model: None, usb_of_pseries: &["qemu-xhci", "nec-xhci", "pci-ohci"] };
}

/// What of each class may be left open and is recorded when it is filled.
fn open_values(class: Class) -> &'static [&'static str] {
    match class {
        Class::Controller => &["@model", "address"],
        Class::Interface | Class::Video => &["model/@type", "address"],
        Class::Disk => &["target/@bus", "address"],
        Class::Input => &["@bus", "address"],
        _ => &["address"],
    }
}

impl Domain {
    /// Completes a definition: [`Domain::post_parse`] and [`Domain::assign_addresses`], with the defaults that the
    /// reason for reading asks for, and a record of the origin of everything that is added.
    ///
    /// To be called once on every text that is read, before anybody looks at it. Doing it twice changes nothing more.
    ///
    /// # Errors
    /// When the definition cannot be completed: no controller of this QEMU could be the default, an address is taken.
    /// The definition is then to be thrown away.
    pub fn complete(&mut self, reading: Reading, emulator: &Emulator) -> Result<(), Error> {
        self.complete_as(&Defaults::TODAY, reading, emulator)
    }

    /// The same, as a release with these defaults does it.
    ///
    /// # Errors
    /// As [`Domain::complete`].
    pub fn complete_as(
        &mut self,
        defaults: &Defaults,
        reading: Reading,
        emulator: &Emulator,
    ) -> Result<(), Error> {
        self.restore_left_out()?;
        self.restore_hidden()?;
        self.forget_what_was_edited();
        if reading != Reading::Process {
            self.forget_the_run();
        }
        self.assign_controller_indexes()?;
        let before = self.what_is_said();
        self.resolve_usb(defaults, reading, emulator)?;
        if reading == Reading::Define {
            let cards: Vec<NodeId> = self.of(Class::Interface).map(|card| card.node).collect();
            cards.into_iter().try_for_each(|card| self.fill_net_model(card, defaults))?;
        }
        self.post_parse()?;
        self.assign_addresses()?;
        self.record_what_is_new(&before, reading)
    }

    /// Today's model for a network card that has none.
    pub(in crate::domain) fn fill_net_model(
        &mut self,
        card: NodeId,
        defaults: &Defaults,
    ) -> Result<(), Error> {
        let document = self.document();
        let is_no_card = document.has(card, "@type", "hostdev")
            || document.has(card, "actual/@type", "hostdev")
            || document.has(card, "@type", "vdpa");
        match defaults.net_model.filter(|_| !is_no_card) {
            Some(model) if document.get(card, "model/@type").is_none() => {
                self.document_mut().put(card, "model/@type", model)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Which of the values that may be open are given.
    pub(in crate::domain) fn what_is_said(&self) -> BTreeMap<NodeId, BTreeSet<&'static str>> {
        let said = |node, class| {
            let given = |what: &&str| record::value(self.document(), node, what).is_some();
            open_values(class).iter().copied().filter(given).collect()
        };
        self.devices().map(|device| (device.node, said(device.node, device.class))).collect()
    }

    pub(in crate::domain) fn record_what_is_new(
        &mut self,
        before: &BTreeMap<NodeId, BTreeSet<&'static str>>,
        reading: Reading,
    ) -> Result<(), Error> {
        let now: Vec<(NodeId, Class)> = self.devices().map(|d| (d.node, d.class)).collect();
        let mut new = Vec::new();
        for (node, class) in now {
            let known = before.get(&node);
            if known.is_none() {
                new.push((node, record::PRESENCE));
            }
            for &what in open_values(class) {
                let is_new = known.is_none_or(|known| !known.contains(what));
                if is_new && record::value(self.document(), node, what).is_some() {
                    new.push((node, what));
                }
            }
        }
        self.record(&new, reading)
    }
}
