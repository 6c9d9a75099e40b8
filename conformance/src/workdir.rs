//! One directory for everything that replays leave on disk, gone when the process ends: also when it is
//! interrupted, and when a hung system still holds its sockets. With it go the processes that were started
//! on it: their command lines or their environment name it, and nothing else does.
//!
//! A process that is killed with SIGKILL leaves both. The next one that needs a directory finds them by the
//! owner that each directory names, and clears them away.

use std::{
    collections::BTreeSet,
    fs, io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use statusquo_vmm::hypervisor::{process::Process, words::Words};
use tempfile::TempDir;

use crate::shared_memory;

/// What the names of the directories begin with.
const PREFIX: &str = "statusquo-";
/// Says which process a directory belongs to.
const OWNER: &str = "owner.json";

static INTERRUPTED: AtomicI32 = AtomicI32::new(0);
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
            INTERRUPTED.store(signal, Ordering::SeqCst);
            remove();
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}

/// The signal that ends the process, if one does: what fails then fails because of it.
pub fn interrupted() -> Option<i32> {
    let signal = INTERRUPTED.load(Ordering::SeqCst);
    (signal != 0).then_some(signal)
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
                sweep(&std::env::temp_dir());
                let new = Arc::new(tempfile::Builder::new().prefix(PREFIX).tempdir()?);
                let owner = serde_json::to_string(&Process::of(std::process::id())?)?;
                fs::write(new.path().join(OWNER), owner)?;
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
        clear(dir.path());
    }
}

/// Ends what runs on a directory and removes it. What a replay that is still running started meanwhile is ended
/// too; what it would start from now on finds no place for its files.
fn clear(dir: &Path) {
    end_processes(dir);
    shared_memory::forget_noted(dir);
    remove_busy(dir);
    end_processes(dir);
}

/// Clears away what processes of ours have left that are gone, and nothing else.
fn sweep(temporary: &Path) {
    for entry in fs::read_dir(temporary).into_iter().flatten().flatten() {
        let dir = entry.path();
        let is_named = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let owner = fs::read_to_string(dir.join(OWNER)).unwrap_or_default();
        if is_named
            && let Ok(owner) = serde_json::from_str::<Process>(&owner)
            && owner.is_alive().is_ok_and(|alive| !alive)
        {
            clear(&dir);
        }
    }
}

/// Ends the processes whose command lines or environments name this directory. One may just be starting
/// another.
pub(crate) fn end_processes(dir: &Path) {
    let mut ended = BTreeSet::new();
    for _ in 0..ATTEMPTS_MAX {
        let (named, some_are_coming) = processes_of(dir);
        if named.is_empty() && !some_are_coming {
            break;
        }
        for pid in named {
            // It may have ended meanwhile.
            let _gone = kill_process(pid, Signal::KILL);
            ended.insert(pid.as_raw_nonzero().get().unsigned_abs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    ended.into_iter().for_each(|pid| shared_memory::forget(dir, pid));
}

/// Those that name the directory, and those of which nobody can say yet.
fn processes_of(dir: &Path) -> (Vec<Pid>, bool) {
    let dir = memchr::memmem::Finder::new(dir.as_os_str().as_encoded_bytes());
    let (mut named, mut some_are_coming) = (Vec::new(), false);
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let process = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(process) = process.filter(|&process| process != std::process::id()) else {
            continue;
        };
        // What belongs to others cannot be read, and is not ours to end.
        let Some(words) = Words::of(process) else {
            some_are_coming = true;
            continue;
        };
        if [words.command_line, words.environment].iter().any(|it| dir.find(it).is_some()) {
            named.extend(i32::try_from(process).ok().and_then(Pid::from_raw));
        }
    }
    (named, some_are_coming)
}

/// Replays that nobody waits for may still be making files. Where the directory was moved away they find
/// no place for another; what they were about to make meanwhile goes with a further attempt.
fn remove_busy(dir: &Path) {
    let moved = dir.with_extension("removed");
    let dir = if fs::rename(dir, &moved).is_ok() { &moved } else { dir };
    for _ in 0..ATTEMPTS_MAX {
        if fs::remove_dir_all(dir).is_ok() || !dir.exists() {
            return;
        }
        std::thread::yield_now();
    }
    eprintln!("warning: {} could not be removed", dir.display());
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn sleeper(dir: &Path) -> std::process::Child {
        let named = dir.join("log");
        fs::write(&named, "").unwrap();
        Command::new("tail").arg("-f").arg(named).stdout(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn what_a_killed_process_has_left_is_cleared_away_and_nothing_else() {
        let temporary = tempfile::tempdir().unwrap();
        let left = temporary.path().join("statusquo-left");
        let mine = temporary.path().join("statusquo-mine");
        let foreign = temporary.path().join("statusquo-foreign");
        [&left, &mine, &foreign].iter().for_each(|dir| fs::create_dir(dir).unwrap());
        let owner = Process::of(std::process::id()).unwrap();
        let gone = Process { started: owner.started + 1, ..owner.clone() };
        fs::write(left.join(OWNER), serde_json::to_string(&gone).unwrap()).unwrap();
        fs::write(mine.join(OWNER), serde_json::to_string(&owner).unwrap()).unwrap();
        let (mut its, mut ours) = (sleeper(&left), sleeper(&mine));
        sweep(temporary.path());
        assert!(!left.exists() && mine.exists() && foreign.exists());
        assert!(!its.wait().unwrap().success());
        assert_eq!(ours.try_wait().unwrap(), None);
        end_processes(&mine);
        assert!(!ours.wait().unwrap().success());
    }

    #[test]
    fn who_carries_the_directory_in_his_environment_is_ended_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let child = |dir: &Path| Command::new("sleep").arg("60").env("ANY", dir).spawn().unwrap();
        let mut foreign = child(Path::new("/nowhere"));
        // One has just been started each time, and its environment is not there yet.
        for _ in 0..20 {
            let mut its = child(dir.path());
            end_processes(dir.path());
            assert!(!its.wait().unwrap().success());
        }
        assert_eq!(foreign.try_wait().unwrap(), None);
        foreign.kill().unwrap();
        foreign.wait().unwrap();
    }

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
