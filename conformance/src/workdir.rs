//! One directory for everything that replays leave on disk, gone when the process ends: also when it is
//! interrupted, and when a hung system still holds its sockets.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use tempfile::TempDir;

static ROOT: Mutex<Option<TempDir>> = Mutex::new(None);

/// The directory, made when it is first asked for.
pub fn root() -> io::Result<PathBuf> {
    let mut root = ROOT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if root.is_none() {
        *root = Some(tempfile::Builder::new().prefix("statusquo-").tempdir()?);
    }
    root.as_ref()
        .map(TempDir::path)
        .map(Path::to_owned)
        .ok_or_else(|| io::Error::other("no directory"))
}

/// Removes it with all that is in it.
pub fn remove() {
    let root = ROOT.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    // If it cannot be removed there is nobody left to tell.
    drop(root);
}

/// From here on an interrupted process removes it too, and exits as the signal asks.
pub fn remove_when_interrupted() -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            remove();
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}
