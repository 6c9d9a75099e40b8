//! Models, addresses and drivers, against the definitions that libvirt expects itself to write.

use std::{collections::BTreeSet, fs, io, path::Path};

use statusquo_vmm::domain::{Class, Domain, Error};

use super::{Section, names_in};

/// The classes that are compared.
const CLASSES: [Class; 14] = [
    Class::Controller,
    Class::Disk,
    Class::Interface,
    Class::Serial,
    Class::Parallel,
    Class::Channel,
    Class::Console,
    Class::Input,
    Class::Hostdev,
    Class::Video,
    Class::Memballoon,
    Class::Rng,
    Class::Hub,
    Class::Redirdev,
];

#[derive(Default)]
struct Counts {
    files: usize,
    agree: usize,
    differ: usize,
}

pub(super) fn sections(inputs: &Path, outputs: &Path) -> io::Result<Vec<Section>> {
    let mut section = Section::new("definitions");
    let mut counts = <[Counts; 3]>::default();
    let names = names_in(inputs)?;
    let definitions: BTreeSet<&str> =
        names.iter().filter_map(|name| name.strip_suffix(".xml")).collect();
    let mut not_compared = 0;
    for name in names_in(outputs)? {
        let Some(stem) = name.strip_suffix(".xml") else { continue };
        let stem = stem.strip_suffix("-active").or(stem.strip_suffix("-inactive")).unwrap_or(stem);
        let definition = match definitions.contains(stem) {
            true => Some(stem),
            false => stem
                .rsplit_once('.')
                .filter(|(stem, version)| {
                    version.ends_with("-latest") && definitions.contains(stem)
                })
                .map(|(definition, _)| definition),
        };
        let Some(definition) = definition else {
            not_compared += 1;
            continue;
        };
        let input = fs::read_to_string(inputs.join(format!("{definition}.xml")))?;
        let output = fs::read_to_string(outputs.join(&name))?;
        let subsets = [true, name.contains("usb"), name.contains("hostdev")];
        let compared = match ours(&input) {
            Ok(ours) => Domain::parse(&output).map(|theirs| compare(&ours, &theirs)),
            Err(error) => Err(error),
        };
        let (agree, differences) = match compared {
            Ok(compared) => compared,
            Err(error) => (0, vec![format!("refused: {error}")]),
        };
        for (counts, _) in counts.iter_mut().zip(subsets).filter(|(_, is)| *is) {
            counts.files += 1;
            counts.agree += agree;
            counts.differ += differences.len();
        }
        if !differences.is_empty() {
            section.differ(&name, differences);
        }
    }
    for (counts, what) in counts.iter().zip(["", " on USB", " on host devices"]) {
        section.count(&format!("files{what}"), counts.files);
        section.count(&format!("devices{what}: agree"), counts.agree);
        section.count(&format!("devices{what}: differ"), counts.differ);
    }
    section
        .count("files for another version of QEMU or of another form, not compared", not_compared);
    Ok(vec![section])
}

fn ours(xml: &str) -> Result<Domain, Error> {
    let mut domain = Domain::parse(xml)?;
    domain.drop_assigned_aliases();
    domain.post_parse()?;
    domain.assign_addresses()?;
    Ok(domain)
}

/// How many devices agree, and what differs.
fn compare(ours: &Domain, theirs: &Domain) -> (usize, Vec<String>) {
    let mut agree = 0;
    let mut differences = Vec::new();
    for class in CLASSES {
        let (own, expected) = (descriptions(ours, class), descriptions(theirs, class));
        let mut left = own;
        for description in &expected {
            match left.iter().position(|other| is_same(other, description)) {
                Some(at) => {
                    left.remove(at);
                    agree += 1;
                }
                None => differences.push(format!("theirs: {description}")),
            }
        }
        differences.extend(left.into_iter().map(|description| format!("ours:   {description}")));
    }
    (agree, differences)
}

/// Two differences are those of every test, and not looked at again:
/// a USB port is given only to a new domain (`VIR_DOMAIN_DEF_PARSE_ABI_UPDATE`), which these are not;
/// and a QEMU without any capability has no device for the USB controller of a PC, which then has no model.
fn is_same(ours: &str, theirs: &str) -> bool {
    let without_port = |text: &str| match text.split_once(" at type=usb") {
        Some((device, _)) => device.to_owned(),
        None => text.to_owned(),
    };
    let has_port = |text: &str| text.contains(" at type=usb") && text.contains(" port=");
    ours == theirs
        || !has_port(theirs) && without_port(ours) == without_port(theirs)
        || ours.replace(" model=piix3-uhci", "") == theirs
            && ours.starts_with("controller type=usb index=0 model=piix3-uhci")
}

/// What a definition says of the devices of one class.
fn descriptions(domain: &Domain, class: Class) -> Vec<String> {
    let paths: &[&str] = match class {
        Class::Controller => &[
            "@type",
            "@index",
            "@model",
            "@ports",
            "model/@name",
            "target/@chassis",
            "target/@port",
            "target/@chassisNr",
            "master/@startport",
        ],
        Class::Disk => &["@device", "target/@dev", "target/@bus"],
        Class::Interface => &["@type", "model/@type"],
        Class::Serial | Class::Parallel | Class::Channel | Class::Console => {
            &["@type", "target/@type", "target/@port", "target/@name", "target/model/@name"]
        }
        Class::Input => &["@type", "@bus"],
        Class::Hostdev => &["@type", "@model", "driver/@name"],
        Class::Video => &["model/@type"],
        Class::Memballoon | Class::Rng => &["@model"],
        _ => &["@type", "@bus"],
    };
    let mut descriptions = Vec::new();
    for device in domain.of(class) {
        let mut text = class.element().to_owned();
        for path in paths {
            let default = if *path == "@device" { Some("disk".into()) } else { None };
            if let Some(value) = device.get(path).or(default) {
                text += &format!(" {}={value}", path.trim_start_matches('@'));
            }
        }
        if let Some(node) = domain.document().child(device.node, "address") {
            text += " at";
            let is_pci = domain.document().has(node, "type", "pci");
            if is_pci && domain.document().attribute(node, "slot").is_none() {
                text += " slot=0";
            }
            for (name, value) in domain.document().attributes(node) {
                // One number in two spellings.
                let number = match value.strip_prefix("0x") {
                    Some(hex) => u64::from_str_radix(hex, 16).ok(),
                    None => value.parse().ok(),
                };
                match number {
                    Some(0) if matches!(name, "domain" | "bus" | "target" | "function") => {}
                    Some(0) if is_pci && name == "slot" => text += " slot=0",
                    Some(number) => text += &format!(" {name}={number}"),
                    None => text += &format!(" {name}={value}"),
                }
            }
        }
        descriptions.push(text);
    }
    descriptions
}
