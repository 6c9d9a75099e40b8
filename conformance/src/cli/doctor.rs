//! `statusquo doctor`.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;

use super::{Common, Ended, print, print_json};

#[derive(Debug, Args)]
pub(super) struct Doctor {}

/// A program of a real system.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Found {
    program: &'static str,
    what_for: &'static str,
    /// The first line of `--version`.
    version: Option<String>,
    /// How to get it on Debian.
    install: String,
}

const PROGRAMS: [(&str, &str, &str); 5] = [
    (
        "qemu-system-x86_64",
        "the chardev study on the real QEMU, and the guests of the real libvirt",
        "qemu-system-x86",
    ),
    ("faketime", "time that stands still for the chardev study", "faketime"),
    ("prlimit", "what a walk makes QEMU allocate stays within bounds", "util-linux"),
    (
        "virsh",
        "the restart study on the real libvirt",
        "libvirt-clients libvirt-daemon-driver-qemu",
    ),
    ("setpriv", "nothing that was started stays behind", "util-linux"),
];

impl Doctor {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Ended> {
        let found = PROGRAMS.map(|(program, what_for, package)| Found {
            program,
            what_for,
            version: version(program),
            install: format!("apt-get install {package}"),
        });
        if common.json() {
            print_json(&found)?;
        } else {
            let rows: Vec<Vec<String>> = found
                .iter()
                .map(|found| {
                    let state = match &found.version {
                        Some(version) => version.clone(),
                        None => format!("missing; on Debian: {}", found.install),
                    };
                    vec![found.program.to_owned(), state, format!("({})", found.what_for)]
                })
                .collect();
            print(&crate::report::table(&rows, false))?;
            print("the models and our implementation need none of them")?;
        }
        Ok(Ended::AsExpected)
    }
}

/// The first line that `program --version` prints, if it prints one soon.
fn version(program: &str) -> Option<String> {
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let start = Instant::now();
    while child.try_wait().ok()?.is_none() {
        if start.elapsed() > Duration::from_secs(5) {
            drop(child.kill());
            drop(child.wait());
            return Some("installed, but `--version` does not return".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().next().unwrap_or("installed, version unknown").to_owned())
}
