//! What libfaketime makes for each process that it is loaded into, and removes only if that exits by itself: shared
//! memory and a semaphore, named by the process. Ours are killed, so their names are taken away for them. Once a
//! process runs it does not need them.

use std::{fs, io::ErrorKind, path::Path};

use statusquo_vmm::hypervisor::process::Process;

/// Where the C library keeps both.
const NAMES: &str = "/dev/shm";
/// A file in a process's directory whose name is this and its number says that it may leave them. It is written
/// before they are there.
pub(crate) const NOTE: &str = "faketime-";

/// Takes away what `process` has made, or has left.
pub(crate) fn forget(dir: &Path, process: u32) {
    remove_names(Path::new(NAMES), process);
    // It went with its directory, or there was none.
    drop(fs::remove_file(dir.join(format!("{NOTE}{process}"))));
}

/// Takes away what those have left that are noted in `dir` and below.
pub(crate) fn forget_noted(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            forget_noted(&entry.path());
        } else if let Some(process) = noted(&entry.file_name().to_string_lossy())
            // Somebody else may bear its number by now.
            && is_over(process)
        {
            forget(dir, process);
        }
    }
}

fn noted(name: &str) -> Option<u32> {
    name.strip_prefix(NOTE)?.parse().ok()
}

/// Has a process ended? One that nobody has reaped yet has, too.
fn is_over(process: u32) -> bool {
    Process::of(process).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn remove_names(names: &Path, process: u32) {
    for name in [format!("faketime_shm_{process}"), format!("sem.faketime_sem_{process}")] {
        // Most have none.
        drop(fs::remove_file(names.join(name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_one_process_are_removed_and_no_others() {
        let names = tempfile::tempdir().unwrap();
        let all =
            ["faketime_shm_12", "sem.faketime_sem_12", "faketime_shm_123", "sem.faketime_sem_1"];
        all.iter().for_each(|name| fs::write(names.path().join(name), "").unwrap());
        remove_names(names.path(), 12);
        let left: Vec<bool> = all.iter().map(|name| names.path().join(name).exists()).collect();
        assert_eq!(left, [false, false, true, true]);
    }

    #[test]
    fn a_process_that_nobody_has_reaped_is_over() {
        assert!(!is_over(std::process::id()) && is_over(u32::MAX));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        while !is_over(child.id()) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn what_is_noted_is_found_wherever_it_is_below() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("replay");
        fs::create_dir(&below).unwrap();
        // No process has such a number.
        fs::write(below.join(format!("{NOTE}{}", u32::MAX)), "").unwrap();
        fs::write(below.join("faketime-x"), "").unwrap();
        forget_noted(dir.path());
        let left: Vec<_> = fs::read_dir(below).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, ["faketime-x"]);
    }
}
