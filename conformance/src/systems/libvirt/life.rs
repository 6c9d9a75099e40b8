//! What a run must not leave behind, and what it need not find out again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::domain;

/// A guest that ends with its trace, from the moment on in which libvirt may have started it.
pub(super) struct Qemu {
    pub(super) root: PathBuf,
    pub(super) pid: Option<i32>,
}

impl Qemu {
    /// None yet below this directory.
    pub(super) fn nobody(root: &Path) -> Self {
        Qemu { root: root.to_owned(), pid: None }
    }

    /// Looks for the process that libvirt has started last.
    pub(super) fn find(&mut self) {
        self.pid = domain::pid(&self.root);
    }

    pub(super) fn is_alive(&self) -> bool {
        self.pid.is_some_and(|pid| domain::is_ours(pid, &self.root))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.pid = self.pid.or_else(|| domain::pid(&self.root));
        if self.is_alive()
            && let Some(pid) = self.pid.and_then(Pid::from_raw)
        {
            // It may have ended meanwhile.
            let _gone = kill_process(pid, Signal::KILL);
        }
    }
}

/// Asking QEMU what it can do takes libvirt seconds; the first run's answer serves the others.
pub(super) fn reuse_capabilities(common: &Path, root: &Path) -> io::Result<()> {
    let kept = common.join("capabilities");
    if kept.exists() { copy(&kept, &root.join("cache/qemu/capabilities")) } else { Ok(()) }
}

pub(super) fn keep_capabilities(common: &Path, root: &Path) -> io::Result<()> {
    let (made, kept) = (root.join("cache/qemu/capabilities"), common.join("capabilities"));
    if kept.exists() || !made.exists() {
        return Ok(());
    }
    // Whole or not at all: others look for it meanwhile.
    let part = TempDir::new_in(common)?;
    copy(&made, &part.path().join("it"))?;
    match fs::rename(part.path().join("it"), &kept) {
        Err(_) if kept.exists() => Ok(()),
        renamed => renamed,
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
