//! Which device is meant: one lookup for a name and for a description, so that both find the same device.
//!
//! libvirt looks a device up in three ways: by alias (`virDomainDefFindDevice`), by description
//! (`virDomainChrFind` and its like, which never compare aliases), and once more by alias when a console is opened
//! (`qemuDomainOpenConsole`). They differ, and so one name may lead to two records. See docs/studies/alias.md.

use std::{borrow::Cow, fmt};

use super::{
    Class, Device, Domain, Error,
    tree::{Document, NodeId},
};

/// Characters of a name that are repeated in an error.
const SHOWN: usize = 64;
/// Names that are listed in an error.
const LISTED: usize = 16;

/// What somebody calls a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// By its alias.
    Alias(&'a str),
    /// By an element that says something about it, such as the one that a dump shows.
    Element(&'a str),
}

/// Why no device is found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// No device has that alias.
    #[error("no device is called {}; there are: {}", Quoted(.alias), Listed(.known))]
    Unknown {
        /// What was asked for.
        alias: String,
        /// The aliases that there are.
        known: Vec<String>,
    },
    /// Nothing is as the element says.
    #[error("no device is as the element <{element}> says{}", Nearest(.closest))]
    NoneSuch {
        /// The element's name.
        element: String,
        /// Devices of this class.
        closest: Vec<String>,
    },
    /// Several devices are as the element says.
    #[error("the element <{element}> is about more than one device: {}; add the alias of the one that is meant", Listed(.candidates))]
    Ambiguous {
        /// The element's name.
        element: String,
        /// Their aliases.
        candidates: Vec<String>,
    },
    /// The alias in an element is that of a device of another class.
    #[error("the element <{element}> has the alias {}, and that is a <{found}>", Quoted(.alias))]
    OtherClass {
        /// The element's name.
        element: String,
        /// The alias in it.
        alias: String,
        /// The element of the device with this alias.
        found: &'static str,
    },
    /// There is nothing to open.
    #[error("the domain has no console and no serial port")]
    NoConsole,
    /// The device is there, and has no console that could be opened.
    #[error("{} is a <{class}>: only a console, a serial or a parallel port can be opened", Quoted(.alias))]
    NotAConsole {
        /// Its alias.
        alias: String,
        /// The element of its class.
        class: &'static str,
    },
    /// The element cannot be read.
    #[error("the element that describes the device cannot be read")]
    Element(#[from] Error),
}

/// Why a device stays for as long as the machine runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the <{class}> {} cannot be unplugged while the machine runs: {why}", Quoted(.alias))]
pub struct Fixed {
    /// Its alias.
    pub alias: String,
    /// The element of its class.
    pub class: &'static str,
    /// Where it is.
    pub why: Place,
}

/// Where a device is that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a bus from which nothing can be taken.
    Bus(&'static str),
    /// It is part of the machine.
    Machine,
    /// Devices of its class are never unplugged.
    Class,
    /// A controller, and this device is on it.
    InUse(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Bus(bus) => write!(f, "it is on the bus {bus}, which has no hot-plug"),
            Place::Machine => f.write_str("it is part of the machine"),
            Place::Class => f.write_str("devices of its class have no hot-plug"),
            Place::InUse(other) => write!(f, "{} is on it, unplug that first", Quoted(other)),
        }
    }
}

/// A name in an error: whatever it is, short and on one line.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.0.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        let more = self.0.chars().count().saturating_sub(SHOWN);
        match more {
            0 => write!(f, "`{shown}`"),
            more => write!(f, "`{shown}…` (and {more} characters more)"),
        }
    }
}

/// Names in an error.
struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let shown: Vec<String> =
            self.0.iter().take(LISTED).map(|name| Quoted(name).to_string()).collect();
        f.write_str(&shown.join(", "))?;
        match self.0.len().saturating_sub(LISTED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// What there is instead of what was described.
struct Nearest<'a>(&'a [String]);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("; there is none of that class"),
            names => write!(f, "; of that class there are: {}", Listed(names)),
        }
    }
}

impl Domain {
    /// The device that is meant. A console that only shows a serial port means that serial port.
    ///
    /// # Errors
    /// No device is meant, or more than one.
    pub fn lookup(&self, name: Name<'_>) -> Result<Device<'_>, LookupError> {
        match name {
            Name::Alias(alias) => self.find(alias).ok_or_else(|| self.unknown(alias)),
            Name::Element(xml) => {
                let document = Document::parse(xml)?;
                self.lookup_element(&document, document.root())
            }
        }
    }

    /// The device that an element is about: the one with its alias, or else the only one that is as it says.
    ///
    /// What the element does not say is not compared. So `<console type='pty'/>` is any console on a pty, and
    /// what a dump shows is one device.
    ///
    /// # Errors
    /// No device is meant, or more than one.
    pub fn lookup_element(
        &self,
        document: &Document,
        element: NodeId,
    ) -> Result<Device<'_>, LookupError> {
        let name: String = document.name(element).chars().take(SHOWN).collect();
        let class = Class::of(document.name(element));
        if let Some(alias) = document.get(element, "alias/@name") {
            let device = self.find(&alias).ok_or_else(|| self.unknown(&alias))?;
            let as_shown = Some(device.class) == class
                || (class == Some(Class::Console) && self.console_of(device).is_some());
            let found = device.class.element();
            let alias = alias.into_owned();
            let error = || LookupError::OtherClass { element: name, alias, found };
            return as_shown.then_some(device).ok_or_else(error);
        }
        let of_class = || class.into_iter().flat_map(|class| self.of(class));
        let meant = |device: Device<'_>| describes(document, element, self.document(), device.node);
        let mut found: Vec<Device<'_>> = of_class().filter(|device| meant(*device)).collect();
        let names = |devices: &[Device<'_>]| devices.iter().map(|device| called(*device)).collect();
        match found.len() {
            0 => {
                let closest: Vec<Device<'_>> = of_class().collect();
                Err(LookupError::NoneSuch { element: name, closest: names(&closest) })
            }
            1 => {
                let device = found.remove(0);
                Ok(self.overlaid_serial(device.node).unwrap_or(device))
            }
            _ => Err(LookupError::Ambiguous { element: name, candidates: names(&found) }),
        }
    }

    /// The console or serial port to open: the one with this name, or the first (`qemuDomainOpenConsole`).
    ///
    /// # Errors
    /// There is none, or the name is that of another device.
    pub fn lookup_console(&self, name: Option<&str>) -> Result<Device<'_>, LookupError> {
        let Some(alias) = name else {
            let first = self.of(Class::Console).next().or_else(|| self.of(Class::Serial).next());
            let first = first.ok_or(LookupError::NoConsole)?;
            return Ok(self.overlaid_serial(first.node).unwrap_or(first));
        };
        let device = self.lookup(Name::Alias(alias))?;
        match device.class {
            Class::Console | Class::Serial | Class::Parallel => Ok(device),
            class => {
                let class = class.element();
                Err(LookupError::NotAConsole { alias: alias.to_owned(), class })
            }
        }
    }

    /// The device with this alias: `virDomainDefFindDevice`.
    ///
    /// A serial port and the console that shows it are one device with two names, its alias and `console0`: libvirt
    /// accepts the second one until it is restarted. The serial port is found.
    pub fn find(&self, alias: &str) -> Option<Device<'_>> {
        let mut found = self.devices().filter(|device| device.alias().is_some_and(|a| a == alias));
        match found.next() {
            Some(device) => Some(self.overlaid_serial(device.node).unwrap_or(device)),
            None if alias == "console0" => {
                let console = self.of(Class::Console).next()?;
                self.overlaid_serial(console.node)
            }
            None => None,
        }
    }

    /// The serial port that this console shows: the first of both, if the console is a serial one
    /// (`virDomainDefFormatInternalSetRootName`).
    pub fn overlaid_serial(&self, console: NodeId) -> Option<Device<'_>> {
        let first = self.of(Class::Console).next()?;
        let is_overlay = self.os_type() == "hvm"
            && first.node == console
            && matches!(&*first.kind(), "" | "serial");
        is_overlay.then(|| self.of(Class::Serial).next())?
    }

    /// Does the first console show a serial port?
    pub fn has_paired_console(&self) -> bool {
        let first = self.of(Class::Console).next();
        first.is_some_and(|console| self.overlaid_serial(console.node).is_some())
    }

    /// The console that shows this serial port.
    pub fn console_of(&self, serial: Device<'_>) -> Option<Device<'_>> {
        let console = self.of(Class::Console).next()?;
        let shown = self.overlaid_serial(console.node)?;
        (shown.node == serial.node).then_some(console)
    }

    /// Can the device be unplugged while the machine runs? Whether QEMU and the guest let it go is another matter.
    ///
    /// libvirt 9.0 asks QEMU, whose answer names the bus and not the device.
    ///
    /// # Errors
    /// It cannot, and where it is.
    pub fn unpluggable(&self, device: Device<'_>) -> Result<(), Fixed> {
        let kind = device.kind();
        let why = match (device.class, &*kind) {
            (Class::Serial, "isa-serial" | "isa-debug") | (Class::Parallel, _) => {
                Some(Place::Bus("isa.0"))
            }
            (Class::Serial, "spapr-vio-serial") => Some(Place::Bus("spapr-vio")),
            (Class::Serial, "sclp-serial") | (Class::Console, "sclp" | "sclplm") => {
                Some(Place::Bus("sclp"))
            }
            (Class::Serial, "system-serial" | "") => Some(Place::Machine),
            (Class::Disk, "ide" | "fdc" | "sata") => Some(Place::Bus(match &*kind {
                "ide" => "ide",
                "fdc" => "floppy",
                _ => "sata",
            })),
            (Class::Input, _) if device.get("@bus").as_deref() == Some("ps2") => {
                Some(Place::Machine)
            }
            (Class::Controller, "pci") if is_root(device) => Some(Place::Machine),
            // The first USB controller is a function of the board's bridge, or has companions.
            (Class::Controller, "usb") if device.index().is_ok_and(|it| it != Some(0)) => None,
            (Class::Controller, "scsi" | "virtio-serial") => None,
            (
                Class::Controller
                | Class::Sound
                | Class::Video
                | Class::Hub
                | Class::Smartcard
                | Class::Memballoon
                | Class::Tpm
                | Class::Iommu
                | Class::Panic
                | Class::Nvram
                | Class::Graphics
                | Class::Audio
                | Class::Crypto,
                _,
            ) => Some(Place::Class),
            _ => None,
        };
        let why = why.or_else(|| match self.first_on(device) {
            Ok(Some(other)) if device.class == Class::Controller => {
                Some(Place::InUse(called(other)))
            }
            _ => None,
        });
        match why {
            None => Ok(()),
            Some(why) => {
                let alias = device.alias().unwrap_or("-".into()).into_owned();
                Err(Fixed { alias, class: device.class.element(), why })
            }
        }
    }

    /// Removes the device with this alias; of a pair, both elements. What is not there is no error.
    pub fn remove_named(&mut self, alias: &str) {
        let Some(device) = self.find(alias) else { return };
        let node = device.node;
        if let Some(console) = self.console_of(device).map(|console| console.node) {
            self.remove_device(console);
        }
        self.remove_device(node);
    }

    fn unknown(&self, alias: &str) -> LookupError {
        let mut known: Vec<String> = Vec::new();
        for alias in self.devices().filter_map(|device| device.alias()) {
            if !known.iter().any(|other| *other == *alias) {
                known.push(alias.into_owned());
            }
        }
        LookupError::Unknown { alias: alias.to_owned(), known }
    }
}

fn is_root(controller: Device<'_>) -> bool {
    matches!(controller.get("@model").as_deref(), Some("pci-root" | "pcie-root"))
}

fn called(device: Device<'_>) -> String {
    match device.alias() {
        Some(alias) => alias.into_owned(),
        None => device.domain.document().path(device.node),
    }
}

/// Is everything that `said` says so of the other element? Order and what is said beyond it do not matter.
fn describes(one: &Document, said: NodeId, other: &Document, is: NodeId) -> bool {
    let attributes = one.attributes(said).all(|(name, value)| other.has(is, name, &value));
    let text = one.text(said);
    let same_text = |text: &Cow<'_, str>| text.trim() == other.text(is).trim();
    attributes
        && (text.trim().is_empty() || same_text(&text))
        && one.children(said).all(|child| {
            let name = one.name(child);
            other
                .children(is)
                .any(|found| other.is(found, name) && describes(one, child, other, found))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(devices: &str) -> Domain {
        let mut domain = Domain::parse(&format!(
            "<domain><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{devices}</devices></domain>"
        ))
        .unwrap();
        domain.post_parse().unwrap();
        domain.assign_aliases().unwrap();
        domain.mirror_console().unwrap();
        domain
    }

    const PAIR: &str = "<serial type='pty'><source path='/dev/pts/1'/></serial>\
         <console type='pty'><source path='/dev/pts/1'/></console>\
         <console type='pty'><source path='/dev/pts/2'/><target type='virtio'/></console>\
         <channel type='null'><target type='virtio' name='org.example.0'/></channel>\
         <rng model='virtio'><alias name='ua-rng'/><backend model='random'>/dev/urandom</backend></rng>";

    #[track_caller]
    fn check(devices: &str, name: Name<'_>, expected: &str) {
        let domain = domain(devices);
        let before = domain.to_xml();
        let found = match domain.lookup(name) {
            Ok(device) => {
                format!("{} {}", device.class.element(), device.alias().unwrap_or_default())
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected);
        assert_eq!(domain.to_xml(), before);
    }

    #[test]
    fn an_alias_and_an_element_find_the_same_device() {
        let by_alias = |alias, expected| check(PAIR, Name::Alias(alias), expected);
        by_alias("serial0", "serial serial0");
        by_alias("console0", "serial serial0");
        by_alias("console1", "console console1");
        by_alias("channel0", "channel channel0");
        let by_element = |xml, expected| check(PAIR, Name::Element(xml), expected);
        by_element("<serial type='pty'/>", "serial serial0");
        by_element("<console><target type='serial'/></console>", "serial serial0");
        by_element("<console><alias name='console0'/></console>", "serial serial0");
        by_element("<console><target port='1'/></console>", "console console1");
        by_element("<channel><target name='org.example.0'/></channel>", "channel channel0");
        by_element("<rng><backend>/dev/urandom</backend></rng>", "rng ua-rng");
        // What a dump shows is found again, whatever it is.
        let all = domain(PAIR);
        for device in all.devices() {
            let found = all.lookup(Name::Element(&device.to_xml())).map(|found| found.node);
            let meant = all.overlaid_serial(device.node).unwrap_or(device);
            assert_eq!(found.ok(), Some(meant.node), "{}", device.to_xml());
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        check(
            PAIR,
            Name::Alias("serial7"),
            "no device is called `serial7`; there are: `serial0`, `console1`, `channel0`, `ua-rng`, `input0`, `input1`, `usb`, `pci.0`, `virtio-serial0`, `balloon0`",
        );
        check(
            PAIR,
            Name::Element("<channel><target name='other'/></channel>"),
            "no device is as the element <channel> says; of that class there are: `channel0`",
        );
        check(
            PAIR,
            Name::Element("<tpm/>"),
            "no device is as the element <tpm> says; there is none of that class",
        );
        check(
            PAIR,
            Name::Element("<console type='pty'/>"),
            "the element <console> is about more than one device: `serial0`, `console1`; add the alias of the one that is meant",
        );
        check(
            PAIR,
            Name::Element("<channel><alias name='serial0'/></channel>"),
            "the element <channel> has the alias `serial0`, and that is a <serial>",
        );
        check(
            PAIR,
            Name::Element("<serial"),
            "the element that describes the device cannot be read",
        );
        check(
            "",
            Name::Element("<unheard-of/>"),
            "no device is as the element <unheard-of> says; there is none of that class",
        );
    }

    #[test]
    fn names_that_are_no_names_are_shown_short_and_harmless() {
        let long = "x".repeat(10_000);
        let domain = domain("");
        let said = domain.lookup(Name::Alias(&long)).unwrap_err().to_string();
        assert!(said.len() < 300, "{said}");
        assert!(said.contains("(and 9936 characters more)"), "{said}");
        let said = domain.lookup(Name::Alias("<a>\n&\u{1b}[0m")).unwrap_err().to_string();
        assert!(said.starts_with("no device is called `<a>\\n&\\u{1b}[0m`"), "{said}");
        let many = "<channel type='null'><target type='virtio'/></channel>".repeat(40);
        let many = self::domain(&many);
        let said = many.lookup(Name::Element("<channel type='null'/>")).unwrap_err().to_string();
        assert!(said.contains("`channel15` and 24 more;"), "{said}");
    }

    #[test]
    fn a_console_is_opened_by_both_of_its_names_and_without_one() {
        let open = |devices: &str, name| {
            domain(devices).lookup_console(name).map_or_else(
                |error| error.to_string(),
                |device| device.alias().unwrap_or_default().into_owned(),
            )
        };
        for name in [None, Some("serial0"), Some("console0")] {
            assert_eq!(open(PAIR, name), "serial0", "{name:?}");
        }
        assert_eq!(open(PAIR, Some("console1")), "console1");
        assert_eq!(
            open(PAIR, Some("ua-rng")),
            "`ua-rng` is a <rng>: only a console, a serial or a parallel port can be opened"
        );
        assert_eq!(open("", None), "the domain has no console and no serial port");
        let usb = "<serial type='pty'><target type='usb-serial'/></serial>";
        assert_eq!(open(usb, None), "serial0");
    }

    #[test]
    fn a_pair_goes_together() {
        let usb = "<serial type='pty'><target type='usb-serial'/></serial>";
        let mut domain = domain(&format!("<console type='pty'/>{usb}<rng model='virtio'/>"));
        assert_eq!(domain.of(Class::Console).count(), 1);
        domain.remove_named("serial0");
        domain.remove_named("nobody");
        assert_eq!(domain.of(Class::Console).count() + domain.of(Class::Serial).count(), 0);
        assert_eq!(domain.of(Class::Rng).count(), 1);
    }

    #[test]
    fn what_stays_is_refused_with_its_bus() {
        let domain = domain(
            "<serial type='null'/><serial type='null'><target type='usb-serial'/></serial><input type='tablet' bus='usb'/>",
        );
        let may = |alias| {
            let device = domain.find(alias).unwrap();
            domain.unpluggable(device).map_err(|error| error.to_string())
        };
        assert_eq!(
            may("serial0").unwrap_err(),
            "the <serial> `serial0` cannot be unplugged while the machine runs: it is on the bus isa.0, which has no hot-plug"
        );
        assert_eq!(
            may("pci.0").unwrap_err(),
            "the <controller> `pci.0` cannot be unplugged while the machine runs: it is part of the machine"
        );
        assert_eq!(
            may("usb").unwrap_err(),
            "the <controller> `usb` cannot be unplugged while the machine runs: devices of its class have no hot-plug"
        );
        assert_eq!(may("console0"), may("serial0"));
        assert_eq!(may("serial1"), Ok(()));
        assert_eq!(may("input0"), Ok(()));
        let domain = self::domain(
            "<controller type='usb' index='1' model='qemu-xhci'/><controller type='virtio-serial' index='1'/>\
             <controller type='scsi' index='1' model='virtio-scsi'/><controller type='usb' index='2' model='qemu-xhci'/>\
             <disk><target dev='sda' bus='scsi'/><address type='drive' controller='1'/></disk>\
             <channel type='null'><target type='virtio'/><address type='virtio-serial' controller='1' port='3'/></channel>\
             <input type='tablet' bus='usb'><address type='usb' bus='1' port='1'/></input>",
        );
        let may = |alias: &str| {
            let device = domain.find(alias).unwrap();
            domain.unpluggable(device).map_err(|error| error.why)
        };
        assert_eq!(may("usb1"), Err(Place::InUse("input0".to_owned())));
        assert_eq!(may("virtio-serial1"), Err(Place::InUse("channel0".to_owned())));
        assert_eq!(may("scsi1"), Err(Place::InUse("scsi1-0-0-0".to_owned())));
        assert_eq!(may("usb2"), Ok(()));
    }
}
