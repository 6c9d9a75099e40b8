//! Where everything is on disk, and the lock that keeps a second daemon away.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::domain::tree::Limits;

/// The longest path that a unix socket can have: `sizeof sun_path` less the end.
const SOCKET_PATH_MAX: usize = 107;

/// The directories of one daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// What outlives the host's boot: definitions.
    pub state: PathBuf,
    /// What does not: sockets, status files, pidfiles, logs of QEMU.
    pub runtime: PathBuf,
}

/// Why a daemon cannot have its directories.
#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    /// A directory cannot be made or made private.
    #[error("prepare the directory `{}`", .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Another daemon has them.
    #[error(
        "another statusquo-vmmd{} has `{}`; stop it, or choose another --runtime-dir",
        .pid.as_ref().map(|pid| format!(" (pid {pid})")).unwrap_or_default(), .path.display()
    )]
    Taken {
        /// The runtime directory.
        path: PathBuf,
        /// The other, if it says so.
        pid: Option<String>,
    },
    /// A socket there could not be reached.
    #[error(
        "`{}` is too long for a unix socket ({} bytes, {SOCKET_PATH_MAX} at most); choose a shorter --runtime-dir",
        .path.display(), .path.as_os_str().len()
    )]
    TooLong {
        /// The socket.
        path: PathBuf,
    },
}

/// Held for as long as the daemon lives; the kernel lets go of it, however the daemon ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "it is held, not used")] File);

impl Places {
    /// The places of this user: below `/var/lib` and `/run` for root, and else where the XDG base directories are.
    pub fn of_user() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if rustix::process::geteuid().is_root() {
            return Places {
                state: "/var/lib/statusquo-vmmd".into(),
                runtime: "/run/statusquo-vmmd".into(),
            };
        }
        let home = PathBuf::from(variable("HOME").unwrap_or_else(|| "/".into()));
        let state = variable("XDG_STATE_HOME").map_or(home.join(".local/state"), PathBuf::from);
        let runtime = variable("XDG_RUNTIME_DIR").map_or_else(|| state.clone(), PathBuf::from);
        Places { state: state.join("statusquo-vmmd"), runtime: runtime.join("statusquo-vmmd/run") }
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("control.sock")
    }

    /// The directory of definitions.
    pub fn definitions(&self) -> PathBuf {
        self.state.join("definitions")
    }

    /// The directory of status files.
    pub fn status(&self) -> PathBuf {
        self.runtime.join("status")
    }

    /// What belongs to one running domain: monitor, pidfile, log.
    pub fn domain(&self, name: &str) -> PathBuf {
        self.runtime.join("domains").join(name)
    }

    /// The monitor's socket of a domain.
    pub fn monitor(&self, name: &str) -> PathBuf {
        self.domain(name).join("monitor.sock")
    }

    /// Makes the directories, private to their owner, and takes them.
    ///
    /// # Errors
    /// When they cannot be made, or another daemon has them.
    pub(super) fn take(&self) -> Result<Lock, PlacesError> {
        for path in [
            self.state.clone(),
            self.runtime.clone(),
            self.definitions(),
            self.status(),
            self.runtime.join("domains"),
        ] {
            private_directory(&path).map_err(|error| PlacesError::Directory { path, error })?;
        }
        if self.socket().as_os_str().len() > SOCKET_PATH_MAX {
            return Err(PlacesError::TooLong { path: self.socket() });
        }
        let path = self.runtime.join("lock");
        let failed = |error: io::Error| PlacesError::Directory { path: path.clone(), error };
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(failed(error.into()));
            }
            let mut pid = String::new();
            // A name for the message and no more: whoever holds the lock may be about to write it.
            let read = Read::by_ref(&mut file).take(20).read_to_string(&mut pid);
            let pid = read.ok().map(|_| pid.trim().to_owned()).filter(|pid| !pid.is_empty());
            return Err(PlacesError::Taken { path: self.runtime.clone(), pid });
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Lock(file))
    }

    /// The private directory of one domain.
    ///
    /// # Errors
    /// When it cannot be made, or a socket there could not be reached.
    pub(super) fn make_domain(&self, name: &str) -> Result<PathBuf, PlacesError> {
        let path = self.domain(name);
        private_directory(&path)
            .map_err(|error| PlacesError::Directory { path: path.clone(), error })?;
        let monitor = self.monitor(name);
        match monitor.as_os_str().len() > SOCKET_PATH_MAX {
            true => Err(PlacesError::TooLong { path: monitor }),
            false => Ok(path),
        }
    }
}

/// Makes it, with its parents, and lets only its owner in.
fn private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Replaces a file whole and durably: what stands there is the old text or the new.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new();
    let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_parent(path)
}

/// Reads a file that holds a definition, and nothing beyond what one may have.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let most = Limits::default().bytes as u64;
    let mut text = String::new();
    File::open(path)?.take(most + 1).read_to_string(&mut text)?;
    match text.len() as u64 > most {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {most} bytes"),
        )),
        false => Ok(text),
    }
}

/// Removes a file durably; it is no error if there is none.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync_parent(path)),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directories_are_private_and_have_one_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { state: dir.path().join("s"), runtime: dir.path().join("r") };
        let lock = places.take().unwrap();
        for path in [&places.state, &places.runtime, &places.status(), &places.definitions()] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        assert_eq!(
            places.take().unwrap_err().to_string(),
            format!(
                "another statusquo-vmmd (pid {}) has `{}`; stop it, or choose another --runtime-dir",
                std::process::id(),
                places.runtime.display()
            )
        );
        drop(lock);
        places.take().unwrap();
    }

    #[test]
    fn a_socket_that_nobody_could_reach_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = dir.path().join("x".repeat(100));
        let places = Places { state: dir.path().join("s"), runtime };
        assert!(matches!(places.take().unwrap_err(), PlacesError::TooLong { .. }));
    }
}
