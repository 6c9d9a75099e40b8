//! From a definition to a process, so that a kill at any point loses neither.
//!
//! The definition that a start will use is written beside the monitor before QEMU is started, and removed when the
//! status file is there. What a killed daemon has left half started, the next one finds by it: [`unfinished`].

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::places::Places;
use crate::{
    domain::{Domain, Emulator, Error, Reading, command_line},
    hypervisor::{
        process::{Launch, Process},
        words::Words,
    },
};

/// What a start is about to use.
pub(super) const STARTING: &str = "starting.xml";

/// The definition that a kept text means: what its user left open is what was chosen then, whatever would be chosen
/// today.
pub(super) fn kept(text: &str) -> Result<Domain, Error> {
    let mut domain = Domain::parse(text)?;
    domain.complete(Reading::Load, &Emulator::default())?;
    Ok(domain)
}

/// The live definition that a start makes of a kept one.
pub(super) fn live_definition(kept: &Domain) -> Result<Domain, Error> {
    let mut live = kept.clone();
    live.assign_aliases()?;
    live.validate()?;
    Ok(live)
}

/// How its QEMU is started.
pub(super) fn launch(
    live: &Domain,
    places: &Places,
    name: &str,
    ready_within: Duration,
) -> Result<Launch, Error> {
    let directory = places.domain(name);
    Ok(Launch {
        binary: binary(live),
        arguments: command_line::arguments(live)?.into_iter().map(Into::into).collect(),
        monitor: places.monitor(name),
        pidfile: directory.join("pid"),
        log: directory.join("qemu.log"),
        ready_within,
    })
}

fn binary(domain: &Domain) -> PathBuf {
    match domain.emulator().filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(&*path),
        None => {
            let machine = domain.machine();
            let arch = if machine.arch.is_empty() { "x86_64" } else { &*machine.arch };
            PathBuf::from(format!("qemu-system-{arch}"))
        }
    }
}

/// What a start that was cut short has left.
#[derive(Debug)]
pub(super) enum Unfinished {
    /// QEMU was never started, or did not come up.
    Nothing,
    /// It runs.
    Runs(Process),
    /// It is neither up nor gone.
    Comes,
}

/// Looks once what became of a start. Its QEMU is known by its pidfile, or before that by its command line, which
/// names the pidfile. A process that has none yet may be it.
pub(super) fn unfinished(pidfile: &Path) -> io::Result<Unfinished> {
    if let Ok(process) = Process::of_pidfile(pidfile)
        && names(process.pid, pidfile) == Some(true)
    {
        return Ok(Unfinished::Runs(process));
    }
    let mut entries = fs::read_dir("/proc")?.flatten();
    let comes = entries.any(|entry| {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        pid.is_some_and(|pid: u32| pid != std::process::id() && names(pid, pidfile) != Some(false))
    });
    Ok(if comes { Unfinished::Comes } else { Unfinished::Nothing })
}

/// Does the command line of this process name this file, if it has one yet?
fn names(pid: u32, path: &Path) -> Option<bool> {
    let words = Words::of(pid)?.command_line;
    Some(words.split(|&byte| byte == 0).any(|word| word == path.as_os_str().as_encoded_bytes()))
}
