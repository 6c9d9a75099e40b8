//! One directory for everything that replays leave on disk, gone when the process ends: also when it is
//! interrupted, and when a hung system still holds its sockets.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use tempfile::TempDir;

static ROOT: Mutex<Root> = Mutex::new(Root::Made(Weak::new()));

/// Attempts to empty a directory in which others may still be making files.
const ATTEMPTS_MAX: u32 = 100;

enum Root {
    /// Made when somebody asks, and gone with the last who did.
    Made(Weak<TempDir>),
    /// The process is about to end: a replay that is still running must not make it anew.
    Closed,
}

/// The directory, for as long as somebody holds it. An error once it was removed for good.
pub fn root() -> io::Result<Arc<TempDir>> {
    made(&mut lock(&ROOT))
}

/// Removes it with all that is in it, for good.
pub fn remove() {
    close(&mut lock(&ROOT));
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

fn lock(root: &Mutex<Root>) -> MutexGuard<'_, Root> {
    root.lock().unwrap_or_else(PoisonError::into_inner)
}

fn made(root: &mut Root) -> io::Result<Arc<TempDir>> {
    match root {
        Root::Closed => Err(io::Error::other("the process is ending")),
        Root::Made(dir) => match dir.upgrade() {
            Some(dir) => Ok(dir),
            None => {
                let new = Arc::new(tempfile::Builder::new().prefix("statusquo-").tempdir()?);
                *dir = Arc::downgrade(&new);
                Ok(new)
            }
        },
    }
}

fn close(root: &mut Root) {
    if let Root::Made(dir) = std::mem::replace(root, Root::Closed)
        && let Some(dir) = dir.upgrade()
    {
        remove_busy(dir.path());
    }
}

/// Replays that nobody waits for may still be making files. Where the directory was moved away they find
/// no place for another; what they were about to make meanwhile goes with a further attempt.
fn remove_busy(dir: &Path) {
    let moved = dir.with_extension("removed");
    let dir = if std::fs::rename(dir, &moved).is_ok() { &moved } else { dir };
    for _ in 0..ATTEMPTS_MAX {
        if std::fs::remove_dir_all(dir).is_ok() || !dir.exists() {
            return;
        }
        std::thread::yield_now();
    }
    eprintln!("warning: {} could not be removed", dir.display());
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_removed_is_not_made_again() {
        let mut root = Root::Made(Weak::new());
        let dir = made(&mut root).unwrap();
        assert_eq!(made(&mut root).unwrap().path(), dir.path());
        fs::create_dir(dir.path().join("replay")).unwrap();
        close(&mut root);
        assert!(!dir.path().exists());
        assert_eq!(made(&mut root).unwrap_err().to_string(), "the process is ending");
        close(&mut root);
    }

    #[test]
    fn it_goes_with_the_last_who_holds_it() {
        let mut root = Root::Made(Weak::new());
        let path = made(&mut root).unwrap().path().to_owned();
        assert!(!path.exists());
        let (one, other) = (made(&mut root).unwrap(), made(&mut root).unwrap());
        drop(one);
        assert!(other.path().exists());
    }

    #[test]
    fn a_directory_that_is_still_written_to_is_removed() {
        let mut root = Root::Made(Weak::new());
        let dir = made(&mut root).unwrap();
        let path = dir.path().to_owned();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                // A replay that was given up: it makes files until it can no more.
                for number in 0_u32.. {
                    let dir = path.join(number.to_string());
                    if fs::create_dir(&dir)
                        .and_then(|()| fs::write(dir.join("socket"), b""))
                        .is_err()
                        && !path.exists()
                    {
                        break;
                    }
                }
            });
            close(&mut root);
            writer.join().unwrap();
        });
        assert!(!path.exists() && !path.with_extension("removed").exists());
    }
}
