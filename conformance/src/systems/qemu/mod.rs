//! Real QEMU as a system: TCG, no guest, control over private sockets.
//!
//! [`machine`] starts one and speaks QMP and qtest with it; [`serial`] plays the guest's driver over
//! [`virtio`]; [`spice`] is the client for which an agent is there; [`clock`] makes its time stand still;
//! [`chardev`] turns actions into all that and what happens into outcomes.
//!
//! [`Variant`] says what else it can be: another [`board`], a virtconsole, TCP, a named pipe. How a board's
//! registers and configuration space are reached, and in which order its guest keeps numbers, is known to [`qtest`],
//! [`pci`] and [`order`], and nobody else.
//!
//! Not drivable here: an isa-serial, of which the study says too little (`docs/studies/chardev.md`, "Variants").

mod board;
mod chardev;
mod clock;
#[cfg(test)]
mod confused;
mod elements;
mod files;
mod lines;
mod machine;
mod order;
mod patience;
mod pci;
mod process;
mod qmp;
mod qtest;
mod serial;
mod spice;
#[cfg(test)]
mod uart;
mod variant;
mod virtio;
mod walks;
mod wild;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use statusquo_model::studies::chardev::{Study, state::Kind};
use tempfile::TempDir;

pub(in crate::systems) use self::files::parked_firmware;
pub use self::{variant::Variant, walks::QemuGround, wild::Move};

use self::{
    clock::Clock,
    machine::{Chardev, Machine},
    serial::Driver,
};
use crate::{
    replay::{Factory, Fault},
    workdir,
};

/// The binary where none is named.
pub const DEFAULT_BINARY: &str = "qemu-system-x86_64";

/// What a QEMU of another target says of a machine.
const NO_SUCH_MACHINE: &str = "unsupported machine type";

macro_rules! kept {
    ($file:literal) => {
        ($file, include_str!(concat!("../../../corpus/walks/", $file)))
    };
}

/// Walks that ended a QEMU, as they are kept in the corpus: file, and text.
pub const KEPT: [(&str, &str); 8] = [
    kept!("unplugged-before-the-first-run.json"),
    kept!("loaded-twice-then-ejected.json"),
    kept!("loaded-while-an-unplug-is-asked-for.json"),
    kept!("websocket-replaced-during-its-handshake.json"),
    kept!("smartcard-opened-twice.json"),
    kept!("saved-after-a-refused-load.json"),
    kept!("kicked-after-a-refused-load.json"),
    kept!("migration-to-a-peer-that-stops-reading.json"),
];

/// A QEMU that was tried out.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: Program,
    version: Arc<str>,
}

/// What is started, and as what.
#[derive(Clone, Debug)]
struct Program {
    binary: PathBuf,
    variant: Variant,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("system qemu: {why}; on Debian: apt-get install {package} faketime")]
pub struct Missing {
    why: String,
    package: &'static str,
}

impl Qemu {
    /// Starts `binary` once, sets up a driver, and reads the version from the greeting.
    pub fn find(binary: &Path) -> Result<Self, Missing> {
        Self::find_as(binary, Variant::default())
    }

    /// The same with another machine, front-end or transport.
    pub fn find_as(binary: &Path, variant: Variant) -> Result<Self, Missing> {
        let package = variant.board().package();
        Self::try_out(binary, variant).map_err(|why| Missing { why, package })
    }

    fn try_out(binary: &Path, variant: Variant) -> Result<Self, String> {
        let found = if binary.components().count() > 1 {
            binary.exists().then(|| binary.to_owned())
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).map(|dir| dir.join(binary)).find(|path| path.exists())
        };
        let binary = found.ok_or_else(|| format!("{} is not here", binary.display()))?;
        if clock::library().is_none() {
            return Err(
                "libfaketime is not here, so that time cannot be made to stand still".to_owned()
            );
        }
        let program = Program { binary, variant };
        let version = try_out(&program).map_err(|fault| {
            let (binary, board) = (program.binary.display(), variant.board());
            let fault = fault.to_string();
            if fault.contains(NO_SUCH_MACHINE) {
                format!("{binary} has no machine {}; {} has it", board.name(), board.binary())
            } else {
                format!("{binary}: {fault}")
            }
        })?;
        Ok(Qemu { program, version: version.into() })
    }

    /// Where it is.
    pub fn binary(&self) -> &Path {
        &self.program.binary
    }

    /// What is built around the ports.
    pub fn variant(&self) -> Variant {
        self.program.variant
    }

    /// What its greeting says.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where to walk at random.
    pub fn ground(&self) -> QemuGround {
        QemuGround::new(self.clone())
    }

    /// The system for one scope of the chardev study.
    pub fn chardev(&self, study: &Study) -> Arc<dyn Factory<Study>> {
        chardev::QemuFactory::factory(self.clone(), study)
    }
}

/// Everything that a replay needs of it.
fn try_out(program: &Program) -> Result<String, Fault> {
    let files = |error: std::io::Error| {
        Fault::Environment(format!(
            "make its files below {}: {error}",
            std::env::temp_dir().display()
        ))
    };
    let root = workdir::root().map_err(files)?;
    let dir = TempDir::new_in(root.path()).map_err(files)?;
    machine::write_files(dir.path(), program.variant.board()).map_err(files)?;
    let clock = Clock::new(dir.path()).map_err(files)?;
    let null = Chardev { kind: Kind::Null, path: PathBuf::new(), plugged: true };
    let mut machine = Machine::start(program, dir.path(), "vm", &clock, &[null], 64, None)?;
    let mut driver = Driver::new(1);
    let version = machine.qmp.version().to_owned();
    let mut tried = |machine: &mut Machine| {
        driver.start(&mut machine.qtest)?;
        if driver.notices(&mut machine.qtest, true)?.is_empty() {
            return Err(Fault::Garbage("virtio-serial announces no port".to_owned()));
        }
        // Commands that not every build has.
        machine.port_has_host(0)?;
        machine.query(0)?;
        machine.status().map(drop)
    };
    match tried(&mut machine) {
        Ok(()) => Ok(version),
        Err(fault) => Err(machine.process.does_not_start(&fault)),
    }
}
