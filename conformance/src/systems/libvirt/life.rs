//! How a run begins, what it must not leave behind, and what it need not find out again.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::process::{Pid, Signal, kill_process};
use statusquo_model::study::Study;
use tempfile::TempDir;

use super::{Programs, domain};
use crate::replay::{Factory, Fault, System, environment};

/// libvirt for a study that begins a run so.
pub(super) fn factory<S: Study, R: System<S> + 'static>(
    programs: Programs,
    begin: impl Fn(&Programs) -> io::Result<R> + Send + Sync + 'static,
) -> Result<Arc<dyn Factory<S>>, String> {
    factory_but_for(programs, begin, |_, _| None)
}

/// The same where some actions cannot be driven, or not in every state.
pub(super) fn factory_but_for<S: Study, R: System<S> + 'static>(
    programs: Programs,
    begin: impl Fn(&Programs) -> io::Result<R> + Send + Sync + 'static,
    cannot: fn(&S::State, S::Action) -> Option<&'static str>,
) -> Result<Arc<dyn Factory<S>>, String> {
    let version = programs.version()?;
    Ok(Arc::new(Libvirt { programs, version, begin, cannot }))
}

struct Libvirt<S: Study, B> {
    programs: Programs,
    version: String,
    begin: B,
    cannot: fn(&S::State, S::Action) -> Option<&'static str>,
}

impl<S, R, B> Factory<S> for Libvirt<S, B>
where
    S: Study,
    R: System<S> + 'static,
    B: Fn(&Programs) -> io::Result<R> + Send + Sync,
{
    fn name(&self) -> String {
        format!("libvirt {}", self.version)
    }

    fn start(&self) -> Result<Box<dyn System<S>>, Fault> {
        Ok(Box::new((self.begin)(&self.programs).map_err(environment)?))
    }

    fn cannot(&self, _: &S, state: &S::State, action: S::Action) -> Option<&'static str> {
        (self.cannot)(state, action)
    }
}

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

/// Where the embedded driver keeps what it found out of QEMU.
const EMBEDDED: &str = "cache/qemu/capabilities";

/// Asking QEMU what it can do takes libvirt seconds; the first run's answer serves the others.
pub(super) fn reuse_capabilities(common: &Path, root: &Path) -> io::Result<()> {
    reuse(common, &root.join(EMBEDDED))
}

pub(super) fn keep_capabilities(common: &Path, root: &Path) -> io::Result<()> {
    keep(common, &root.join(EMBEDDED))
}

/// The same for a driver that keeps it elsewhere.
pub(super) fn reuse(common: &Path, place: &Path) -> io::Result<()> {
    let kept = common.join("capabilities");
    if kept.exists() { copy(&kept, place) } else { Ok(()) }
}

pub(super) fn keep(common: &Path, made: &Path) -> io::Result<()> {
    let kept = common.join("capabilities");
    if kept.exists() || !made.exists() {
        return Ok(());
    }
    // Whole or not at all: others look for it meanwhile.
    let part = TempDir::new_in(common)?;
    copy(made, &part.path().join("it"))?;
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

/// Capabilities are kept by emulator.
pub(super) fn kept(programs: &Programs, common: &TempDir) -> PathBuf {
    let emulator = programs.qemu.file_name().unwrap_or_default();
    common.path().join(format!("caps-{}", emulator.to_string_lossy()))
}
