//! The real daemon, `statusquo-vmmd`, with a real QEMU: both are processes, and a kill is SIGKILL.
//!
//! - [`restart`]: the restart study, effect by effect: the daemon runs `--stepwise`, so a kill falls exactly at the
//!   boundary that the trace has.
//! - [`points`]: the traces that visit every crash point.
//! - [`soak`]: kills at random instants of a daemon that runs freely.
//! - [`alias`], [`pci_root`]: what the daemon answers, restarted between requests while its QEMU stays; `life` is what
//!   both need.
//!
//! The domain's emulator is a script that adds to QEMU a firmware that parks the processor, a second monitor to look
//! with, and the qtest socket, over which the guest's part of a PCI unplug is played: a write to the eject register of
//! `hw/acpi/pcihp.c`.

pub(crate) mod alias;
mod control;
mod guest;
mod life;
pub(crate) mod pci_root;
pub mod points;
pub mod restart;
pub mod soak;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use statusquo_vmm::hypervisor::process::Process;
use tempfile::TempDir;

use self::control::Connection;
use crate::{replay::environment, systems::qemu, workdir};

/// How long anything may take that a loaded machine slows down. Shorter than the deadline of a step would be of no
/// use: what is waited for in a step is waited for twice at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The domain of every run.
const DOMAIN: &str = "guest";

/// How the daemon and its QEMU are run.
#[derive(Clone, Debug)]
pub struct Vmmd {
    program: PathBuf,
    /// What makes the program the daemon.
    words: Vec<String>,
    qemu: PathBuf,
    version: String,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("system vmmd: {0}")]
pub struct Missing(String);

impl Vmmd {
    /// The daemon of this program, which is `statusquo vmmd` unless another one is named, and a QEMU.
    pub fn find(program: Option<&Path>, qemu: &Path) -> Result<Self, Missing> {
        let (program, words) = match program {
            Some(program) => (program.to_owned(), Vec::new()),
            None => {
                let own = std::env::current_exe()
                    .map_err(|error| Missing(format!("which program is this? {error}")))?;
                (own, vec!["vmmd".to_owned()])
            }
        };
        Self::new(program, words, qemu)
    }

    /// A daemon that is this program with these words before its own.
    pub fn new(program: PathBuf, words: Vec<String>, qemu: &Path) -> Result<Self, Missing> {
        let first_line = |program: &Path, words: &[String]| {
            let output = Command::new(program).args(words).arg("--version").output();
            let output =
                output.map_err(|error| Missing(format!("run {}: {error}", program.display())))?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = text.lines().next().map(str::to_owned);
            line.filter(|_| output.status.success())
                .ok_or_else(|| Missing(format!("{} does not say its version", program.display())))
        };
        let daemon = first_line(&program, &words)?;
        let daemon = daemon.rsplit(' ').next().unwrap_or_default().to_owned();
        let line = first_line(qemu, &[]).map_err(|Missing(why)| {
            Missing(format!("{why}; on Debian: apt-get install qemu-system-x86"))
        })?;
        // "QEMU emulator version 7.2.22 (Debian …)"
        let version = line.split("version ").nth(1).and_then(|rest| rest.split(' ').next());
        let version = format!("{daemon}, QEMU {}", version.unwrap_or("of unknown version"));
        Ok(Vmmd { program, words, qemu: qemu.to_owned(), version })
    }

    /// The default QEMU.
    pub fn default_qemu() -> &'static str {
        qemu::DEFAULT_BINARY
    }
}

/// What became of processes, over all traces.
#[derive(Debug, Default)]
pub struct Tally {
    /// Daemons that were asked to end, and did.
    pub ended: AtomicU64,
    /// Daemons that were killed.
    pub killed: AtomicU64,
    /// QEMUs that came up.
    pub qemus: AtomicU64,
}

/// A directory with a daemon that comes and goes and a QEMU that stays until the run ends.
#[derive(Debug)]
struct Home {
    vmmd: Vmmd,
    daemon: Option<Child>,
    stepwise: bool,
    /// Seconds that an unplug waits for the guest.
    unplug_wait: u8,
    dir: TempDir,
    _common: Arc<TempDir>,
}

impl Home {
    fn new(vmmd: &Vmmd, stepwise: bool) -> io::Result<Self> {
        let common = workdir::root()?;
        let dir = TempDir::new_in(common.path())?;
        let vmmd = vmmd.clone();
        Ok(Home { vmmd, daemon: None, stepwise, unplug_wait: 0, dir, _common: common })
    }

    fn runtime(&self) -> PathBuf {
        self.dir.path().join("r")
    }

    fn status_file(&self) -> PathBuf {
        self.runtime().join(format!("status/{DOMAIN}.xml"))
    }

    /// A directory where the new status file would be written: the disk is full.
    fn obstacle(&self) -> PathBuf {
        self.runtime().join(format!("status/{DOMAIN}.xml.new"))
    }

    /// Starts the daemon and waits until it answers.
    fn start_daemon(&mut self) -> io::Result<Connection> {
        let log =
            File::options().create(true).append(true).open(self.dir.path().join("daemon.log"))?;
        let mut command = Command::new(&self.vmmd.program);
        command.args(&self.vmmd.words).arg("--state-dir").arg(self.dir.path().join("s"));
        command.arg("--runtime-dir").arg(self.runtime());
        command.args(["run", "--log-level", "debug", "--unplug-wait"]);
        command.arg(self.unplug_wait.to_string());
        command.args(self.stepwise.then_some("--stepwise"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.daemon = Some(command.spawn()?);
        self.connect()
    }

    fn connect(&mut self) -> io::Result<Connection> {
        let socket = self.runtime().join("control.sock");
        control::within(PATIENCE, || {
            if let Some(daemon) = &mut self.daemon
                && let Some(status) = daemon.try_wait()?
            {
                return Err(io::Error::other(format!(
                    "the daemon ended with {status}: {}",
                    self.log_end()
                )));
            }
            Connection::open(&socket).map(Some).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                _ => Err(error),
            })
        })?
        .ok_or_else(|| io::Error::other("the daemon does not listen"))
    }

    fn log_end(&self) -> String {
        let text = fs::read(self.dir.path().join("daemon.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// SIGKILL.
    fn kill_daemon(&mut self) -> io::Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill()?;
            daemon.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, after which it finishes what it is at.
    fn end_daemon(&mut self) -> io::Result<()> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        kill_process(Pid::from_child(&daemon), Signal::TERM)?;
        let ended = control::within(PATIENCE, || daemon.try_wait());
        match ended {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => {
                Err(io::Error::other(format!("asked to end, the daemon ended with {status}")))
            }
            other => {
                self.daemon = Some(daemon);
                self.kill_daemon()?;
                other.and(Err(io::Error::other("asked to end, the daemon went on")))
            }
        }
    }

    /// The guest, from the moment on in which it has a pidfile.
    fn qemu(&self) -> Option<Process> {
        Process::of_pidfile(&self.runtime().join(format!("domains/{DOMAIN}/pid"))).ok()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // The daemon first, or it would tidy up after its guest.
        drop(self.kill_daemon());
        if let Some(qemu) = self.qemu() {
            drop(qemu.end(Duration::ZERO));
        }
    }
}
