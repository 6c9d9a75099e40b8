//! Aliases, devices and character devices, against the command lines that libvirt expects of itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use serde_json::Value;
use statusquo_vmm::domain::{
    Domain, Error,
    command_line::{self, Backend},
};

use super::{Section, names_in};

/// Properties by name, as QEMU's options have them: `on` and `off`, numbers in decimal.
type Options = BTreeMap<String, String>;

/// What one command line says.
#[derive(Default)]
struct Line {
    /// By id.
    devices: BTreeMap<String, Options>,
    /// By id.
    chardevs: BTreeMap<String, Options>,
    /// `-usb`
    has_legacy_usb: bool,
}

/// What we make of a definition.
struct Ours {
    /// By alias; none if it is refused, or is no `-device`.
    devices: BTreeMap<String, Option<Options>>,
    chardevs: BTreeMap<String, Options>,
}

/// Files that are about names of devices and about their backends.
fn is_about_names(file: &str) -> bool {
    ["console", "serial", "user-alias", "chardev", "channel"].iter().any(|word| file.contains(word))
}

fn is_about_usb_or_host(file: &str) -> bool {
    ["usb", "hostdev"].iter().any(|word| file.contains(word))
}

#[derive(Default)]
struct Counts {
    files: usize,
    agree: usize,
    differ: usize,
    not_modelled: usize,
}

impl Counts {
    fn put(&self, section: &mut Section, what: &str, items: &str) {
        section.count(&format!("files{what}"), self.files);
        section.count(&format!("{items}{what}: agree"), self.agree);
        section.count(&format!("{items}{what}: differ"), self.differ);
        section.count(&format!("{items}{what}: not modelled"), self.not_modelled);
    }

    fn add(&mut self, other: &Self) {
        self.files += 1;
        self.agree += other.agree;
        self.differ += other.differ;
        self.not_modelled += other.not_modelled;
    }
}

/// Each subset of files that is counted on its own.
#[derive(Default)]
struct Subsets {
    all: Counts,
    names: Counts,
    usb: Counts,
}

impl Subsets {
    fn add(&mut self, file: &str, counts: &Counts) {
        self.all.add(counts);
        if is_about_names(file) {
            self.names.add(counts);
        }
        if is_about_usb_or_host(file) {
            self.usb.add(counts);
        }
    }

    fn put(&self, section: &mut Section, items: &str) {
        self.all.put(section, "", items);
        self.names.put(section, " on consoles, serial ports, channels and user aliases", items);
        self.usb.put(section, " on USB and host devices", items);
    }
}

pub(super) fn sections(directory: &Path) -> io::Result<Vec<Section>> {
    let mut aliases = Section::new("aliases");
    let mut devices = Section::new("devices");
    let mut chardevs = Section::new("chardevs");
    let mut counts = <[Subsets; 3]>::default();
    let names = names_in(directory)?;
    let definitions: BTreeSet<&str> =
        names.iter().filter_map(|name| name.strip_suffix(".xml")).collect();
    let mut other_version = 0;
    for name in &names {
        let Some(stem) = name.strip_suffix(".args") else { continue };
        // `NAME.ARCH-VERSION.args`, or `NAME.args` for a QEMU with a list of capabilities.
        let (definition, version) = match definitions.contains(stem) {
            true => (stem, None),
            false => match stem.rsplit_once('.').filter(|(stem, _)| definitions.contains(stem)) {
                Some((definition, version)) => (definition, Some(version)),
                // A version has dots of its own.
                None => {
                    other_version += 1;
                    continue;
                }
            },
        };
        let latest = version.is_some_and(|version| version.ends_with("-latest"));
        let expected = parse(&fs::read_to_string(directory.join(name))?);
        let xml = fs::read_to_string(directory.join(format!("{definition}.xml")))?;
        let ours = match ours(&xml) {
            Ok(ours) => ours,
            Err(error) => {
                aliases.differ(name, vec![format!("refused: {error}")]);
                continue;
            }
        };
        let (count, differences) = compare_aliases(&ours, &expected);
        counts[0].add(name, &count);
        if !differences.is_empty() {
            aliases.differ(name, differences);
        }
        // What a device is called is the same for any QEMU, what it is told is not.
        if latest {
            let (count, differences) = compare_devices(&ours, &expected);
            counts[1].add(name, &count);
            if !differences.is_empty() {
                devices.differ(name, differences);
            }
            let (count, differences) = compare_chardevs(&ours, &expected);
            counts[2].add(name, &count);
            if !differences.is_empty() {
                chardevs.differ(name, differences);
            }
        }
    }
    counts[0].put(&mut aliases, "aliases");
    aliases.count("files for one version of QEMU, not compared", other_version);
    counts[1].put(&mut devices, "devices");
    counts[2].put(&mut chardevs, "character devices");
    Ok(vec![aliases, devices, chardevs])
}

fn ours(xml: &str) -> Result<Ours, Error> {
    let mut domain = Domain::parse(xml)?;
    domain.drop_assigned_aliases();
    domain.post_parse()?;
    domain.assign_addresses()?;
    domain.assign_aliases()?;
    let mut ours = Ours { devices: BTreeMap::new(), chardevs: BTreeMap::new() };
    for device in domain.devices() {
        let Some(alias) = device.alias() else { continue };
        let parts = command_line::parts(device);
        let frontend = parts.as_ref().ok().and_then(|parts| parts.frontend.as_ref());
        let options = frontend.map(options);
        let entry = ours.devices.entry(alias.into_owned()).or_insert(None);
        // A companion of a USB 2 controller has no id: its alias is that of its controller.
        if options.as_ref().is_some_and(|options| options.contains_key("id")) {
            *entry = options;
        }
        for backend in parts.into_iter().flat_map(|parts| parts.backends) {
            if let Backend::Chardev(chardev) = backend {
                let options = option_string(&chardev.to_option(), "backend");
                ours.chardevs.insert(options.get("id").cloned().unwrap_or_default(), options);
            }
        }
    }
    Ok(ours)
}

/// Devices that are no device of a definition, or one that has no alias there.
fn is_extra(id: &str, options: &Options) -> bool {
    let driver = options.get("driver").map_or("", |driver| driver);
    id.contains("-codec")
        || driver == "zpci"
        || driver.ends_with("-cpu")
        || driver == "isa-fdc"
        || driver.starts_with("pvpanic")
        || driver == "vmcoreinfo"
        || driver == "ivshmem-plain" && id.is_empty()
}

fn compare_aliases(ours: &Ours, expected: &Line) -> (Counts, Vec<String>) {
    let mut counts = Counts::default();
    let mut differences = Vec::new();
    for (id, options) in &expected.devices {
        match ours.devices.get(id) {
            Some(_) => counts.agree += 1,
            None if is_extra(id, options) => counts.not_modelled += 1,
            None => {
                counts.differ += 1;
                differences.push(format!(
                    "{id} ({}) is not one of ours",
                    options.get("driver").map_or("?", |d| d)
                ));
            }
        }
    }
    for (alias, frontend) in &ours.devices {
        if frontend.is_some() && !expected.devices.contains_key(alias) {
            // A QEMU without a device for the machine's USB controller makes it itself.
            if alias == "usb" && expected.has_legacy_usb {
                continue;
            }
            counts.differ += 1;
            differences.push(format!("{alias} is ours only"));
        }
    }
    (counts, differences)
}

/// Names that say where something is on the host, or that libvirt numbers.
const OURS_TO_NAME: [&str; 2] = ["drive", "chardev"];

fn compare_devices(ours: &Ours, expected: &Line) -> (Counts, Vec<String>) {
    let mut counts = Counts::default();
    let mut differences = Vec::new();
    for (id, options) in &expected.devices {
        let Some(found) = ours.devices.get(id) else { continue };
        let Some(found) = found else {
            counts.not_modelled += 1;
            continue;
        };
        let names: BTreeSet<&String> = options.keys().chain(found.keys()).collect();
        let mut differs = Vec::new();
        for name in names {
            let (theirs, own) = (options.get(name), found.get(name));
            let both_name =
                OURS_TO_NAME.contains(&name.as_str()) && theirs.is_some() == own.is_some();
            if theirs != own && !both_name {
                let show = |value: Option<&String>| value.map_or("-".to_owned(), String::clone);
                differs.push(format!("{name}={} for {}", show(own), show(theirs)));
            }
        }
        if differs.is_empty() {
            counts.agree += 1;
        } else {
            counts.differ += 1;
            differences.push(format!("{id}: {}", differs.join(", ")));
        }
    }
    (counts, differences)
}

fn compare_chardevs(ours: &Ours, expected: &Line) -> (Counts, Vec<String>) {
    let mut counts = Counts::default();
    let mut differences = Vec::new();
    for (id, options) in &expected.chardevs {
        if id == "charmonitor" {
            continue;
        }
        let Some(found) = ours.chardevs.get(id) else {
            counts.not_modelled += 1;
            continue;
        };
        let names: BTreeSet<&String> = options.keys().chain(found.keys()).collect();
        let mut differs = Vec::new();
        for name in names {
            let (theirs, own) = (options.get(name), found.get(name));
            // libvirt opens files and listening sockets itself and passes them.
            let passed =
                matches!(name.as_str(), "fd" | "path" | "logfile" | "append" | "logappend");
            if theirs != own && !passed {
                let show = |value: Option<&String>| value.map_or("-".to_owned(), String::clone);
                differs.push(format!("{name}={} for {}", show(own), show(theirs)));
            }
        }
        if differs.is_empty() {
            counts.agree += 1;
        } else {
            counts.differ += 1;
            differences.push(format!("{id}: {}", differs.join(", ")));
        }
    }
    (counts, differences)
}

/// Reads a command line as libvirt writes it: one option a line, ended by a backslash.
fn parse(text: &str) -> Line {
    let mut line = Line::default();
    for option in text.lines() {
        let option = option.trim_end_matches('\\').trim();
        line.has_legacy_usb |= option == "-usb";
        let Some((name, value)) = option.split_once(' ') else { continue };
        let value = value.trim_matches('\'');
        let target = match name {
            "-device" => &mut line.devices,
            "-chardev" => &mut line.chardevs,
            _ => continue,
        };
        let options = match serde_json::from_str::<Value>(value) {
            Ok(value) => options(&value),
            Err(_) => option_string(value, if name == "-device" { "driver" } else { "backend" }),
        };
        if let Some(id) = options.get("id") {
            target.insert(id.clone(), options);
        }
    }
    line
}

fn options(value: &Value) -> Options {
    let text = |value: &Value| match value {
        Value::Bool(on) => if *on { "on" } else { "off" }.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let object = value.as_object().into_iter().flatten();
    object.map(|(name, value)| (name.clone(), text(value))).collect()
}

/// `a,b=c,d=e,,f`
fn option_string(text: &str, first: &str) -> Options {
    let text = text.replace(",,", "\u{0}");
    let mut options = Options::new();
    for (place, part) in text.split(',').enumerate() {
        let (name, value) = match part.split_once('=') {
            Some(pair) => pair,
            None if place == 0 => (first, part),
            None => (part, "on"),
        };
        options.insert(name.to_owned(), value.replace('\u{0}', ","));
    }
    options
}
