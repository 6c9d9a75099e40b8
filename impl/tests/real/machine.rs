//! A real QEMU that is ended with the test.

use std::{path::PathBuf, time::Duration};

use statusquo_vmm::hypervisor::{
    process::{Launch, Process},
    qmp::{Client, Limits},
};
use tempfile::TempDir;

/// Long enough for a loaded machine; nothing waits that long where all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Skipped where there is none, and says so; with `qemu` in `STATUSQUO_REQUIRE` the test fails instead.
pub(crate) fn qemu() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|dir| dir.join("qemu-system-x86_64"))
        .find(|file| file.is_file());
    let required = std::env::var("STATUSQUO_REQUIRE").unwrap_or_default();
    assert!(
        found.is_some() || !required.split([',', ' ']).any(|word| word == "qemu"),
        "qemu is required and not there"
    );
    if found.is_none() {
        eprintln!("skipped: no qemu-system-x86_64 on PATH (apt-get install qemu-system-x86)");
    }
    found
}

pub(crate) struct Real {
    pub(crate) client: Client,
    pub(crate) process: Process,
    pub(crate) dir: TempDir,
}

impl Real {
    pub(crate) fn start(launch: &Launch, dir: TempDir) -> Self {
        let process = launch.start().unwrap_or_else(|error| panic!("{error}"));
        let limits =
            Limits { reply_within: PATIENCE, connect_within: PATIENCE, ..Limits::default() };
        Real { client: Client::connect(&launch.monitor, limits).unwrap(), process, dir }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.process.end(Duration::ZERO).ok();
    }
}
