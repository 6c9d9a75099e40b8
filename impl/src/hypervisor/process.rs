//! A QEMU process that outlives its daemon.
//!
//! QEMU detaches itself (`-daemonize`): it gets a session of its own, is nobody's child, and the process that was
//! started ends when the machine is ready or when it cannot be. A pid alone is no identity, because it is used
//! again; with the time of its start and the boot of the host it is one, see [`Process`].

use std::{
    ffi::OsString,
    fs, io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

/// How a machine is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// `qemu-system-x86_64`, or where it is.
    pub binary: PathBuf,
    /// The machine and its devices. Monitor, pidfile and detaching are added.
    pub arguments: Vec<OsString>,
    /// Where the monitor will listen.
    pub monitor: PathBuf,
    /// Where the pid will stand while the machine lives. QEMU removes it at its end, unless it is killed.
    pub pidfile: PathBuf,
    /// What QEMU has to say, appended.
    pub log: PathBuf,
    /// How long it may take to get ready.
    pub ready_within: Duration,
}

/// One life of one process on one boot of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Used again after its end.
    pub pid: u32,
    /// In the kernel's ticks since the host's boot.
    pub started: u64,
    /// Which boot.
    pub boot: String,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was gone already.
    Before,
    /// It was asked to end and did.
    Asked,
    /// It was asked, did not, and was killed.
    Killed,
}

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log cannot be written.
    #[error("open the log `{}`", .path.display())]
    Log {
        /// Where it was to be.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The binary cannot be run.
    #[error("run `{}`", .binary.display())]
    Run {
        /// What was to be run.
        binary: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// QEMU refused.
    #[error("`{}` ended with {status}: {said}", .binary.display())]
    Refused {
        /// What was run.
        binary: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// The last it wrote to the log.
        said: String,
    },
    /// It is neither ready nor has it ended. It was killed.
    #[error("`{}` is not ready after {after:?}; it was killed, see `{}`", .binary.display(), .log.display())]
    NotReady {
        /// What was run.
        binary: PathBuf,
        /// How long it was waited for.
        after: Duration,
        /// Where to look.
        log: PathBuf,
    },
    /// It says that it is ready, and is not there.
    #[error("find the process of `{}`", .path.display())]
    Pidfile {
        /// The file that should name it.
        path: PathBuf,
        /// What was wrong.
        #[source]
        error: io::Error,
    },
}

impl Launch {
    /// Starts the machine and waits until its monitor listens.
    ///
    /// # Errors
    /// When QEMU cannot be run, refuses its arguments, or is not ready in time. Nothing is left running then.
    pub fn start(&self) -> Result<Process, StartError> {
        let open = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&self.log);
        let log = open.map_err(|error| StartError::Log { path: self.log.clone(), error })?;
        let said_before = log.metadata().map_or(0, |metadata| metadata.len());
        let run = |error| StartError::Run { binary: self.binary.clone(), error };
        let mut child = Command::new(&self.binary)
            .args(&self.arguments)
            .args(self.own_arguments())
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(run)?)
            .stderr(log)
            .spawn()
            .map_err(run)?;
        match wait(&mut child, now() + self.ready_within).map_err(run)? {
            Some(status) if status.success() => Process::of_pidfile(&self.pidfile)
                .map_err(|error| StartError::Pidfile { path: self.pidfile.clone(), error }),
            Some(status) => {
                let said = last_words(&self.log, said_before);
                Err(StartError::Refused { binary: self.binary.clone(), status, said })
            }
            None => {
                child.kill().ok();
                child.wait().ok();
                if let Ok(process) = Process::of_pidfile(&self.pidfile) {
                    process.end(Duration::ZERO).ok();
                }
                let (binary, log) = (self.binary.clone(), self.log.clone());
                Err(StartError::NotReady { binary, after: self.ready_within, log })
            }
        }
    }

    fn own_arguments(&self) -> Vec<OsString> {
        // A comma ends a value, two are one.
        let mut monitor = OsString::from("unix:");
        monitor.push(self.monitor.to_string_lossy().replace(',', ",,"));
        monitor.push(",server=on,wait=off");
        let mut arguments: Vec<OsString> =
            vec!["-qmp".into(), monitor, "-pidfile".into(), self.pidfile.clone().into()];
        // A detached QEMU closes stderr unless it logs something. `strace` is a class that a machine never logs,
        // so that the guest cannot fill the disk.
        arguments.extend(["-D".into(), self.log.clone().into(), "-d".into(), "strace".into()]);
        arguments.push("-daemonize".into());
        arguments
    }
}

impl Process {
    /// The process that has this pid now.
    ///
    /// # Errors
    /// `NotFound` when there is none, or a dead one that nobody has waited for.
    pub fn of(pid: u32) -> io::Result<Self> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, format!("no process {pid}"));
        let stat = match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone()),
            // The process ended between open and read.
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {
                return Err(gone());
            }
            Err(error) => return Err(error),
        };
        let started = started(&stat).ok_or_else(gone)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Process { pid, started, boot })
    }

    /// The process that a pidfile names.
    ///
    /// # Errors
    /// When the file cannot be read, is no pidfile, or names no living process.
    pub fn of_pidfile(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        let pid = text.trim().parse().map_err(|_| {
            let text: String = text.chars().take(20).collect();
            io::Error::new(io::ErrorKind::InvalidData, format!("expected a pid, found {text:?}"))
        })?;
        Process::of(pid)
    }

    /// Whether this very process still lives, and not another one of its number.
    ///
    /// # Errors
    /// When `/proc` cannot be read: that is no answer.
    pub fn is_alive(&self) -> io::Result<bool> {
        match Process::of(self.pid) {
            Ok(now) => Ok(now == *self),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends the process: it is asked, and after `patience` it is killed.
    ///
    /// # Errors
    /// When the system does not allow it, or when even a killed process stays (it hangs in the kernel).
    pub fn end(&self, patience: Duration) -> io::Result<Ended> {
        const KILLED_WITHIN: Duration = Duration::from_secs(10);
        let Some(handle) = self.hold()? else { return Ok(Ended::Before) };
        if !patience.is_zero() && (!signal(&handle, Signal::TERM)? || exits(&handle, patience)?) {
            return Ok(Ended::Asked);
        }
        if !signal(&handle, Signal::KILL)? || exits(&handle, KILLED_WITHIN)? {
            return Ok(Ended::Killed);
        }
        let text =
            format!("process {} was killed {KILLED_WITHIN:?} ago and is still there", self.pid);
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }

    /// A handle that cannot come to mean another process.
    fn hold(&self) -> io::Result<Option<OwnedFd>> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let Some(pid) = pid else { return Ok(None) };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Asked after opening: from here on the number cannot have changed hands.
        Ok(self.is_alive()?.then_some(handle))
    }
}

/// `false`: it is gone.
fn signal(handle: &OwnedFd, signal: Signal) -> io::Result<bool> {
    match pidfd_send_signal(handle, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn exits(handle: &OwnedFd, within: Duration) -> io::Result<bool> {
    let deadline = now() + within;
    loop {
        let left = deadline.saturating_duration_since(now());
        let mut fds = [PollFd::new(handle, PollFlags::IN)];
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// How a child ended, if it did before the deadline.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    // Our own child: its number is ours until it has been waited for.
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    if exits(&handle, deadline.saturating_duration_since(now()))? {
        child.wait().map(Some)
    } else {
        Ok(None)
    }
}

/// The fields of a `/proc/PID/stat` after the process's name, which may hold anything but is over at the last `)`.
pub(super) fn stat_fields(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace().collect())
}

/// The start of a living process, from its `/proc/PID/stat`.
fn started(stat: &str) -> Option<u64> {
    const STATE: usize = 0;
    const START: usize = 19;
    let fields = stat_fields(stat)?;
    let dead = matches!(*fields.get(STATE)?, "Z" | "X" | "x");
    if dead { None } else { fields.get(START)?.parse().ok() }
}

/// The end of what was written since, for an error.
fn last_words(log: &Path, since: u64) -> String {
    const BYTES_MAX: usize = 2000;
    let bytes = fs::read(log).unwrap_or_default();
    let new = bytes.get(usize::try_from(since).unwrap_or(usize::MAX)..).unwrap_or_default();
    let tail = &new[new.len().saturating_sub(BYTES_MAX)..];
    String::from_utf8_lossy(tail).trim().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "this is the shell: its deadlines are real")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "12 (a) R b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21";
        assert_eq!(started(stat), Some(777));
        assert_eq!(started(&stat.replace(") S", ") Z")), None);
        assert_eq!(started("12 (a) S 1 2"), None);
        assert_eq!(started(""), None);
    }

    #[test]
    fn a_process_is_itself_until_its_end() {
        let mut child = sleeper();
        let process = Process::of(child.id()).unwrap();
        assert!(process.is_alive().unwrap());
        let text = serde_json::to_string(&process).unwrap();
        assert_eq!(serde_json::from_str::<Process>(&text).unwrap(), process);
        // A zombie counts as gone although its number is still taken.
        child.kill().unwrap();
        exits(
            &pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap(),
            Duration::from_secs(10),
        )
        .unwrap();
        assert!(!process.is_alive().unwrap());
        child.wait().unwrap();
        assert!(!process.is_alive().unwrap());
        assert_eq!(process.end(Duration::from_secs(1)).unwrap(), Ended::Before);
    }

    #[test]
    fn another_process_of_the_same_number_is_left_alone() {
        let mut child = sleeper();
        let process = Process::of(child.id()).unwrap();
        for other in [
            Process { started: process.started - 1, ..process.clone() },
            Process { boot: "another".to_owned(), ..process.clone() },
        ] {
            assert!(!other.is_alive().unwrap());
            assert_eq!(other.end(Duration::ZERO).unwrap(), Ended::Before);
        }
        assert!(process.is_alive().unwrap());
        assert_eq!(process.end(Duration::from_secs(10)).unwrap(), Ended::Asked);
        child.wait().unwrap();
    }

    #[test]
    fn who_does_not_listen_is_killed() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo; sleep 60"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        io::Read::read_exact(&mut child.stdout.take().unwrap(), &mut [0]).unwrap();
        let process = Process::of(child.id()).unwrap();
        assert_eq!(process.end(Duration::from_millis(100)).unwrap(), Ended::Killed);
        child.wait().unwrap();
    }

    #[test]
    fn a_pidfile_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        assert_eq!(Process::of_pidfile(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::write(&path, "hello\n").unwrap();
        assert_eq!(
            Process::of_pidfile(&path).unwrap_err().to_string(),
            r#"expected a pid, found "hello\n""#
        );
        fs::write(&path, "4294967295\n").unwrap();
        assert_eq!(Process::of_pidfile(&path).unwrap_err().to_string(), "no process 4294967295");
    }

    fn launch(dir: &Path, script: &str, ready_within: Duration) -> Launch {
        use std::os::unix::fs::PermissionsExt;
        let binary = dir.join("qemu");
        fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o700)).unwrap();
        let (monitor, pidfile, log) = (dir.join("m"), dir.join("pid"), dir.join("log"));
        Launch { binary, arguments: vec![], monitor, pidfile, log, ready_within }
    }

    #[test]
    fn a_machine_that_cannot_be_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let start = |script: &str| {
            launch(dir.path(), script, Duration::from_secs(2)).start().unwrap_err().to_string()
        };
        let qemu = dir.path().join("qemu").display().to_string();
        let log = dir.path().join("log").display().to_string();
        assert_eq!(
            start("echo no such bus >&2; exit 1"),
            format!("`{qemu}` ended with exit status: 1: no such bus")
        );
        assert_eq!(
            start("exit 0"),
            format!("find the process of `{}`", dir.path().join("pid").display())
        );
        // The started process and the one that it detached are both gone.
        let hang = "sleep 60 & echo $! > \"$4\"; exec sleep 60";
        assert_eq!(
            start(hang),
            format!("`{qemu}` is not ready after 2s; it was killed, see `{log}`")
        );
        assert_eq!(
            Process::of_pidfile(&dir.path().join("pid")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        let missing =
            Launch { binary: dir.path().join("none"), ..launch(dir.path(), "", Duration::ZERO) };
        assert!(matches!(missing.start().unwrap_err(), StartError::Run { .. }));
    }
}
