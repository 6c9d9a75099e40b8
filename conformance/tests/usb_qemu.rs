//! The usb study's QEMU on the real one: whose stream is taken, and what a process says it has.
//!
//! `STATUSQUO_REQUIRE=qemu` makes it an error that QEMU is not installed.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};
use statusquo::systems::real::{Real, or_skip};
use statusquo_model::studies::usb::hardware::{
    Bus, Device, Hardware, Loaded, Machine, Model, Place, load, shown,
};
use statusquo_vmm::domain::usb_facts;

/// A QEMU that stands still, spoken to over its standard streams.
struct Qemu {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Qemu {
    fn start(machine: Machine, usb: &[String], incoming: Option<&Path>) -> Option<Self> {
        let (binary, name) = match machine {
            Machine::Pseries25 => ("qemu-system-ppc64", "pseries-2.5"),
            Machine::Pseries26 => ("qemu-system-ppc64", "pseries-7.2"),
            Machine::I440fx => ("qemu-system-x86_64", "pc-i440fx-7.2"),
            Machine::Q35 => ("qemu-system-x86_64", "pc-q35-7.2"),
        };
        // What pseries would emulate of a POWER9 that TCG cannot.
        let extra = match machine {
            Machine::Pseries26 => ",cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken",
            _ => "",
        };
        let mut command = Command::new(binary);
        command
            .args(["-S", "-nodefaults", "-display", "none", "-accel", "tcg", "-m", "256"])
            .args(["-qmp", "stdio", "-machine", &format!("{name}{extra}")])
            .args(usb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(file) = incoming {
            command.args(["-incoming", &format!("exec:cat {}", file.display())]);
        }
        let mut child = command.spawn().ok()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut qemu = Qemu { child, stdin, stdout };
        // A process that ends while it loads may not greet.
        let _ = qemu.line();
        Some(qemu)
    }

    fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stdout.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap()),
        }
    }

    fn execute(&mut self, name: &str, arguments: Value) -> Option<Value> {
        let command = json!({"execute": name, "arguments": arguments});
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{command}").and_then(|()| stdin.flush()).ok()?;
        loop {
            let mut line = self.line()?;
            if line.get("return").is_some() {
                return Some(line["return"].take());
            }
            assert!(line.get("error").is_none(), "{name}: {line}");
        }
    }

    /// The state, in a file.
    fn save(&mut self, file: &Path) {
        self.execute("qmp_capabilities", json!({})).unwrap();
        self.execute("migrate", json!({"uri": format!("exec:cat > {}", file.display())})).unwrap();
        loop {
            let found = self.execute("query-migrate", json!({})).unwrap();
            match found["status"].as_str() {
                Some("completed") => return,
                Some("failed" | "cancelled") => panic!("{found}"),
                _ => std::thread::yield_now(),
            }
        }
    }

    /// Ended loading: with an error, which it prints, or not.
    fn loaded(mut self) -> Result<(), String> {
        if self.execute("qmp_capabilities", json!({})).is_some() {
            while let Some(found) = self.execute("query-status", json!({})) {
                if found["status"] != "inmigrate" {
                    return Ok(());
                }
                std::thread::yield_now();
            }
        }
        self.stdin = None;
        self.child.wait().unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        Err(said)
    }
}

fn at(slot: u8) -> Place {
    Place { bus: Bus::Root, slot, function: 0 }
}

fn device(model: Model, place: Place) -> Hardware {
    Some(Device { model, place })
}

/// How QEMU is asked for this hardware: by `-usb` where the machine has it and that is wanted.
fn arguments(machine: Machine, hardware: Hardware, by_usb: bool) -> Vec<String> {
    let Some(Device { model, place }) = hardware else { return Vec::new() };
    if by_usb {
        assert_eq!(hardware, machine.built_in());
        return vec!["-usb".to_owned()];
    }
    let bus = if machine == Machine::Q35 { "pcie.0" } else { "pci.0" };
    let one = |driver: &str, more: &str, function: u8| {
        let value = format!("{driver},bus={bus},addr={:#x}.{function:#x}{more}", place.slot);
        ["-device".to_owned(), value]
    };
    match model {
        Model::Piix3Uhci => one("piix3-usb-uhci", ",id=usb", place.function).to_vec(),
        Model::PciOhci => one("pci-ohci", ",id=usb", place.function).to_vec(),
        Model::NecXhci => one("nec-usb-xhci", ",id=usb", place.function).to_vec(),
        Model::QemuXhci => one("qemu-xhci", ",id=usb", place.function).to_vec(),
        Model::Ich9 => [
            one("ich9-usb-ehci1", ",id=usb", 7),
            one("ich9-usb-uhci1", ",masterbus=usb.0,firstport=0,multifunction=on", 0),
            one("ich9-usb-uhci2", ",masterbus=usb.0,firstport=2", 1),
            one("ich9-usb-uhci3", ",masterbus=usb.0,firstport=4", 2),
        ]
        .concat(),
        Model::None => Vec::new(),
    }
}

/// What the model says of it, and what QEMU does.
fn run(
    machine: Machine,
    source: (Hardware, bool),
    destination: (Hardware, bool),
) -> Option<String> {
    let predicted = load(source.0, destination.0);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state");
    let mut from = Qemu::start(machine, &arguments(machine, source.0, source.1), None)?;
    from.save(&file);
    // A process says what it has, however it was asked for it.
    let facts = usb_facts(&from.execute("query-pci", json!({})).unwrap());
    let fact = facts.iter().find(|fact| !fact.model.starts_with("ich9-uhci"));
    let has = fact.map(|fact| {
        let (slot, function) = fact.on_root.unwrap();
        let model = statusquo_model::words::words(&source.0.unwrap().model);
        let named = if fact.model == "ich9-ehci1" { "ich9" } else { fact.model };
        assert_eq!(named, model);
        (slot, function)
    });
    let wanted = source.0.map(|device| (device.place.slot.into(), device.place.function.into()));
    assert_eq!(has, wanted, "{facts:?}");
    let there = arguments(machine, destination.0, destination.1);
    let to = Qemu::start(machine, &there, Some(&file))?;
    let answer = to.loaded();
    let text = match &answer {
        Ok(()) => "taken".to_owned(),
        Err(said) if said.contains("Unknown savevm section") => "unknown section".to_owned(),
        Err(said) if said.contains("error while loading state") => "other model".to_owned(),
        Err(said) => panic!("{said}"),
    };
    let expected = match predicted {
        Loaded::Same | Loaded::Silent => "taken",
        Loaded::NoSection => "unknown section",
        Loaded::OtherModel => "other model",
    };
    let by = |(hardware, by_usb): (Hardware, bool)| match (hardware, by_usb) {
        (_, true) => "`-usb`".to_owned(),
        (hardware, false) => shown(hardware),
    };
    let line = format!("{} {} to {}: {text}", machine.name(), by(source), by(destination));
    assert_eq!(text, expected, "{line}");
    let silent = if predicted == Loaded::Silent { ", in silence" } else { "" };
    Some(line + silent)
}

#[test]
fn a_real_qemu_takes_and_refuses_what_the_model_says() {
    use Machine::{I440fx, Pseries25, Pseries26, Q35};
    let own = |machine: Machine| (machine.built_in(), true);
    let named = |model, place| (device(model, place), false);
    let none = (None, false);
    let ohci = |slot| named(Model::PciOhci, at(slot));
    let xhci = |slot| named(Model::QemuXhci, at(slot));
    let nec = |slot| named(Model::NecXhci, at(slot));
    let uhci = named(Model::Piix3Uhci, Place::PIIX3);
    let set = named(Model::Ich9, Place::ICH9);
    let cases = [
        (Pseries25, own(Pseries25), own(Pseries25)),
        (Pseries25, own(Pseries25), ohci(0)),
        (Pseries25, own(Pseries25), ohci(1)),
        (Pseries25, ohci(0), own(Pseries25)),
        (Pseries26, own(Pseries26), ohci(1)),
        (Pseries26, own(Pseries26), nec(0)),
        (Pseries26, ohci(2), ohci(1)),
        (Pseries26, ohci(2), ohci(2)),
        (Pseries26, ohci(1), xhci(1)),
        (Pseries26, ohci(1), none),
        (Pseries26, none, ohci(1)),
        (I440fx, own(I440fx), uhci),
        (I440fx, uhci, own(I440fx)),
        (I440fx, uhci, none),
        (Q35, none, set),
        (Q35, none, xhci(3)),
        (Q35, set, none),
        (Q35, named(Model::Piix3Uhci, at(3)), set),
        (Q35, nec(3), xhci(3)),
        (Q35, xhci(3), xhci(4)),
    ];
    let mut lines = Vec::new();
    for (machine, source, destination) in cases {
        let ran = run(machine, source, destination)
            .ok_or_else(|| format!("there is no QEMU for {}", machine.name()));
        lines.extend(or_skip(Real::Qemu, ran));
    }
    if lines.len() == cases.len() {
        insta::assert_snapshot!(lines.join("\n"));
    }
}
