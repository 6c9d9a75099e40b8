//! The pci_root study on the real daemon, with the QEMU of each architecture that is installed.
//!
//! The bus of a device is read from QEMU, as the `parent_bus` of what was plugged. The guest's part of an unplug is a
//! write to the eject register of the chipset.
//!
//! What cannot be driven is said by [`undriven`]: daemons and QEMUs of other versions, machines whose emulator is not
//! installed or has no firmware, and an unplug on pSeries: there the guest lets go by hypercalls.

use std::{path::PathBuf, process::Command as Program, sync::Arc};

use statusquo_model::studies::pci_root::{
    Study,
    action::{Action, Outcome, Place, Reply, Why},
    hardware::Machine,
    state::State,
};
use statusquo_vmm::{
    daemon::control::{self, Form, Kind, Named, Request},
    domain::Domain,
};

use super::{
    DOMAIN, Tally, Vmmd, environment,
    guest::{Chipset, property, write_emulator},
    life::Life,
};
use crate::{
    replay::{Factory, Fault, Observed, System},
    studies::{Daemoned, Daemonized, Tours},
    systems::vmm::pci_root::{DONE, definition, device, name, place_alias, refused, root_alias},
};

/// An emulator that a machine may need.
#[derive(Clone, Debug)]
struct Emulator {
    binary: PathBuf,
    /// Its script, in the directory of a run.
    script: &'static str,
    is_x86: bool,
}

/// For each machine its emulator, or why it cannot be driven.
fn emulator(vmmd: &Vmmd, machine: Machine) -> Result<Emulator, &'static str> {
    let (arch, script, absent, is_x86) = match machine {
        Machine::Pc | Machine::PcWithoutAcpi | Machine::Q35 => {
            let binary = vmmd.qemu.clone();
            return Ok(Emulator { binary, script: "emulator", is_x86: true });
        }
        Machine::PcI686 | Machine::Q35I686 => {
            ("i386", "emulator-i386", "i686: qemu-system-i386 is not installed", true)
        }
        Machine::Pseries | Machine::Mac99 => {
            ("ppc64", "emulator-ppc64", "ppc64: qemu-system-ppc64 is not installed", false)
        }
        Machine::Ppce500 => return Err("ppc64 ppce500: its firmware is not in the distribution"),
        Machine::ArmVirt => {
            ("aarch64", "emulator-aarch64", "aarch64: qemu-system-aarch64 is not installed", false)
        }
        Machine::S390Ccw => {
            ("s390x", "emulator-s390x", "s390x: qemu-system-s390x is not installed", false)
        }
        Machine::Q800 => return Err("m68k q800: its firmware is not in the distribution"),
    };
    let mut binary = vmmd.qemu.clone();
    binary.set_file_name(format!("qemu-system-{arch}"));
    let here = Program::new(&binary).arg("--version").output();
    match here.is_ok_and(|output| output.status.success()) {
        true => Ok(Emulator { binary, script, is_x86 }),
        false => Err(absent),
    }
}

/// The daemon on those machines of this scope that can be had here.
pub(crate) fn daemonized(study: &Study, vmmd: &Vmmd) -> Daemonized<Study> {
    let (mut emulators, mut absent) = (Vec::new(), Vec::new());
    for &machine in study.machines() {
        match emulator(vmmd, machine) {
            Ok(emulator) => emulators.push((machine, emulator)),
            Err(why) => absent.push((machine, why)),
        }
    }
    let machines: Vec<Machine> = emulators.iter().map(|(machine, _)| *machine).collect();
    let mut systems = Vec::new();
    if !emulators.is_empty() {
        let tally = Arc::new(Tally::default());
        let vmmd = vmmd.clone();
        let factory = Arc::new(Daemon { vmmd, emulators, tally: Arc::clone(&tally) });
        systems.push(Daemoned { class: classes(&machines), factory, tally });
    }
    let undriven = Arc::new(move |state: &State, action| undriven(&absent, state, action));
    Daemonized { systems, tours: Tours::Transitions { undriven } }
}

/// The machines that are driven, in the words of a report.
fn classes(machines: &[Machine]) -> &'static str {
    match machines.first() {
        Some(Machine::Pseries | Machine::Mac99) => "ppc64 pseries and mac99",
        Some(Machine::ArmVirt) => "aarch64 virt",
        Some(Machine::S390Ccw) => "s390x s390-ccw-virtio",
        _ if machines.contains(&Machine::PcI686) => "x86_64 and i686, pc and q35",
        _ => "x86_64 pc and q35",
    }
}

fn undriven(
    absent: &[(Machine, &'static str)],
    state: &State,
    action: Action,
) -> Option<&'static str> {
    match action {
        Action::Define { machine, .. } => {
            absent.iter().find(|(other, _)| *other == machine).map(|(_, why)| *why)
        }
        Action::Install { .. } | Action::Upgrade => {
            Some("there is one daemon here, and no older one")
        }
        Action::InstallOldQemu | Action::UpgradeQemu => {
            Some("there is one QEMU here, and none from before multi-bus")
        }
        Action::Detach { .. } => {
            let machine = state.guest.map(|guest| guest.machine);
            (machine == Some(Machine::Pseries))
                .then_some("on pSeries the guest lets a device go, and there is none that does")
        }
        _ => None,
    }
}

struct Daemon {
    vmmd: Vmmd,
    emulators: Vec<(Machine, Emulator)>,
    tally: Arc<Tally>,
}

impl Factory<Study> for Daemon {
    fn name(&self) -> String {
        format!("vmmd {}", self.vmmd.version)
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        let life = Life::begin(&self.vmmd, 0, &self.tally, |dir| {
            self.emulators.iter().try_for_each(|(_, emulator)| {
                write_emulator(&dir.join(emulator.script), &emulator.binary, emulator.is_x86, &[])
            })
        })?;
        Ok(Box::new(Run { life, emulators: self.emulators.clone(), board: None }))
    }
}

struct Run {
    life: Life,
    emulators: Vec<(Machine, Emulator)>,
    /// The machine that is defined.
    board: Option<Machine>,
}

fn domain() -> String {
    DOMAIN.to_owned()
}

impl Run {
    fn board(&self) -> Result<Machine, Fault> {
        self.board.ok_or_else(|| environment("nothing is defined"))
    }

    /// The study's definition, for a QEMU with a second monitor.
    fn definition(&self, machine: Machine, user_alias: bool) -> Result<String, Fault> {
        let found = self.emulators.iter().find(|(other, _)| *other == machine);
        let (_, emulator) = found.ok_or_else(|| environment("its emulator is not installed"))?;
        let acpi = match machine {
            Machine::PcWithoutAcpi => "",
            _ if emulator.is_x86 => "<features><acpi/></features>",
            _ => "",
        };
        let path = self.life.dir().join(emulator.script);
        let more = format!("{acpi}<devices><emulator>{}</emulator>", path.display());
        Ok(definition(DOMAIN, machine, user_alias).replacen("<devices>", &more, 1))
    }

    /// Done, and the bus that QEMU has the device on.
    fn placed(&mut self, alias: &str) -> Result<Outcome, Fault> {
        let path = format!("/machine/peripheral/{alias}");
        let bus = property(self.life.look()?, &path, "parent_bus").map_err(Fault::Garbage)?;
        let bus = bus.as_str().and_then(|path| path.rsplit('/').next());
        let bus = bus.ok_or_else(|| Fault::Garbage(format!("`{alias}` is on no bus")))?;
        Ok(Outcome { bus: Some(name(bus)?), ..DONE })
    }

    fn attach(&mut self, onto: Place) -> Result<Outcome, Fault> {
        let alias = place_alias(onto);
        let xml = device(self.board()?, onto, alias);
        match self.life.ask(Request::Attach { domain: domain(), xml })? {
            Ok(control::Reply::Attached { alias: id }) if id == alias => self.placed(alias),
            Ok(other) => Err(Fault::Garbage(format!("an attach is answered with {other:?}"))),
            Err(error) => why(&error),
        }
    }

    fn detach(&mut self, from: Place) -> Result<Outcome, Fault> {
        let alias = place_alias(from);
        self.life.forget_events()?;
        let device = Named::Alias(alias.to_owned());
        match self.life.ask(Request::Detach { domain: domain(), device })? {
            Ok(control::Reply::Detached { .. } | control::Reply::UnplugRequested { .. }) => {}
            Ok(other) => {
                return Err(Fault::Garbage(format!("a detach is answered with {other:?}")));
            }
            Err(error) => return Err(Fault::Garbage(format!("refused: {error}"))),
        }
        match self.board()? {
            Machine::Pc | Machine::PcI686 => self.life.eject(Chipset::I440fx, alias)?,
            Machine::Q35 | Machine::Q35I686 => self.life.eject(Chipset::Ich9, alias)?,
            _ => {}
        }
        self.life.await_removed(alias)?;
        match self.life.ids()?.contains(alias) {
            true => Err(Fault::Garbage(format!("QEMU has `{alias}` still"))),
            false => Ok(DONE),
        }
    }

    fn act(&mut self, action: Action) -> Result<Outcome, Fault> {
        match action {
            Action::Define { machine, user_alias } => {
                let xml = self.definition(machine, user_alias)?;
                match self.life.ask(Request::Define { xml })? {
                    Ok(control::Reply::Defined { .. }) => {}
                    other => return Err(Fault::Garbage(format!("{other:?}"))),
                }
                self.board = Some(machine);
                Ok(DONE)
            }
            Action::Start => match self.life.start()? {
                Ok(()) if self.board()?.names_root_at_start() => self.placed("rng0"),
                Ok(()) => Ok(DONE),
                Err(error) => why(&error),
            },
            Action::Stop => self.life.stop().map(|()| DONE),
            Action::Attach { onto } => self.attach(onto),
            Action::Detach { from } => self.detach(from),
            Action::Dump => {
                let text = self.life.dump(Form::Live)?;
                let definition = Domain::parse(&text);
                let definition = definition.map_err(|error| Fault::Garbage(error.to_string()))?;
                let alias = root_alias(&definition).map(|alias| name(&alias)).transpose()?;
                Ok(Outcome { reply: Reply::Alias(alias), bus: None })
            }
            Action::Restart => self.life.restart().map(|()| DONE),
            Action::Install { .. }
            | Action::InstallOldQemu
            | Action::Upgrade
            | Action::UpgradeQemu => Err(environment("there is one daemon and one QEMU here")),
        }
    }
}

/// What the daemon, or QEMU through it, has against it.
fn why(error: &control::Error) -> Result<Outcome, Fault> {
    let says = |text: &str| error.message.contains(text);
    let of_qemu = |why, text: &str| {
        let before = error.message.split(text).next().unwrap_or_default();
        let bus = before.rsplit_once("Bus '").map(|(_, bus)| name(bus)).transpose()?;
        Ok(Outcome { bus, ..refused(why) })
    };
    match error.kind {
        Kind::NotHotpluggable
            if says("takes no devices while the machine runs") || says("-root") =>
        {
            Ok(refused(Why::NotHotpluggable))
        }
        Kind::Qemu if says("' not found") => of_qemu(Why::BusNotFound, "' not found"),
        Kind::Qemu if says("' does not support hotplugging") => {
            of_qemu(Why::NoHotplugging, "' does not support hotplugging")
        }
        _ => Err(Fault::Garbage(format!("refused: {error}"))),
    }
}

impl System<Study> for Run {
    fn apply(&mut self, action: Action, _: &Outcome) -> Result<Observed<Study>, Fault> {
        let outcome = self.act(action);
        self.life.step();
        outcome.map(Observed::Outcome)
    }
}
