//! A private `libvirtd`: one host, for studies that need two.

use std::{
    fs, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    Programs,
    life::{keep, kept, reuse},
    virsh::{Virsh, as_an_ordinary_user},
};
use crate::replay::{Fault, environment};

/// How long anything may take that a loaded machine slows down.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of its log that are shown.
const LAST_LINES: usize = 5;

/// One daemon with everything that it has below one directory, and a client of it.
pub(super) struct Daemon {
    // Dropped in this order: the client, the daemon.
    virsh: Option<Virsh>,
    process: Process,
    pub(super) root: PathBuf,
    /// Where what QEMU can do is kept for others.
    kept: PathBuf,
}

/// Killed and reaped when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Daemon {
    /// Starts one and waits until it answers.
    pub(super) fn start(programs: &Programs, root: PathBuf, common: &TempDir) -> io::Result<Self> {
        for dir in ["run", "config/libvirt", "cache", "data"] {
            fs::create_dir_all(root.join(dir))?;
        }
        let config = root.join("config/libvirt");
        fs::write(
            config.join("qemu.conf"),
            "security_driver = \"none\"\nstdio_handler = \"file\"\n",
        )?;
        // Both hosts are this one: without names of their own, nobody would migrate between them.
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        fs::write(config.join("libvirtd.conf"), format!("host_uuid = \"{}\"\n", uuid.trim()))?;
        let kept = kept(programs, common);
        fs::create_dir_all(&kept)?;
        reuse(&kept, &root.join(CAPABILITIES))?;
        let log = fs::File::create(log(&root))?;
        let words = as_an_ordinary_user();
        let (first, rest) = words.split_first().ok_or_else(|| io::Error::other("no words"))?;
        let process = Command::new(first)
            .args(rest)
            .arg(&programs.libvirtd)
            .args(["--timeout", "0"])
            .env("HOME", &root)
            .env("XDG_RUNTIME_DIR", root.join("run"))
            .env("XDG_CONFIG_HOME", root.join("config"))
            .env("XDG_CACHE_HOME", root.join("cache"))
            .env("XDG_DATA_HOME", root.join("data"))
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| does_not_start(programs, error))?;
        let mut daemon = Daemon { virsh: None, process: Process(process), root, kept };
        daemon.wait_until_up().map_err(|error| does_not_start(programs, error))?;
        daemon.virsh = Some(Virsh::connect(programs, &daemon.root, &daemon.uri())?);
        Ok(daemon)
    }

    fn wait_until_up(&mut self) -> io::Result<()> {
        let start = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            if let Some(status) = self.process.0.try_wait()? {
                return Err(io::Error::other(format!("{status}{}", self.said())));
            }
            if start.elapsed() > PATIENCE {
                let error = format!("no socket within {PATIENCE:?}{}", self.said());
                return Err(io::Error::new(io::ErrorKind::TimedOut, error));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn socket(&self) -> PathBuf {
        self.root.join("run/libvirt/libvirt-sock")
    }

    /// Where clients, and the daemon of another host, reach it.
    pub(super) fn uri(&self) -> String {
        format!("qemu+unix:///session?socket={}", self.socket().display())
    }

    /// Gives a command and waits; the error that it ends with.
    pub(super) fn ask(&mut self, command: &str) -> Result<Result<String, String>, Fault> {
        let virsh = self.virsh.as_mut().ok_or_else(|| environment("there is no client"))?;
        let answer = virsh.give(command).and_then(|given| virsh.wait(&given, PATIENCE));
        let answer = answer.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Fault::Hang(PATIENCE),
            _ => Fault::Died(format!("{error}{}", self.said())),
        })?;
        let errors: Vec<&str> =
            answer.lines().skip_while(|line| !line.starts_with("error:")).collect();
        Ok(if errors.is_empty() { Ok(answer) } else { Err(errors.join(" ")) })
    }

    /// What QEMU can do was found out: others need not ask again.
    pub(super) fn keep_capabilities(&self) -> io::Result<()> {
        keep(&self.kept, &self.root.join(CAPABILITIES))
    }

    /// The last lines of its log.
    fn said(&self) -> String {
        let text = fs::read_to_string(log(&self.root)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        if last.is_empty() { String::new() } else { format!("; it said: {}", last.join(" | ")) }
    }
}

/// Where it keeps what it found out of QEMU.
const CAPABILITIES: &str = "cache/libvirt/qemu/cache/capabilities";

fn log(root: &Path) -> PathBuf {
    root.join("libvirtd.log")
}

fn does_not_start(programs: &Programs, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{} does not start: {error}", programs.libvirtd.display()))
}
