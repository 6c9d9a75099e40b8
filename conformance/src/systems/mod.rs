//! What traces are replayed on.
//!
//! - [`model`]: the model itself, of any design: a harness that cannot replay it is broken, and one
//!   that cannot tell two designs apart is blind.
//! - [`exec`]: any program that speaks the adapter protocol.
//! - [`vmm`]: our implementation, over real descriptors.
//! - [`libvirt`]: a real libvirt with a real QEMU, killed and restarted at will.
//! - [`vmmd`]: our daemon with a real QEMU, killed and restarted at will.
//! - [`qemu`]: a real QEMU, driven without a guest.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

pub mod exec;
mod hosts;
pub mod libvirt;
pub mod model;
pub mod qemu;
pub mod real;
pub mod vmm;
pub mod vmmd;

/// The first line that `program --version` prints, if it prints one soon.
pub(crate) fn version(program: &str) -> Option<String> {
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
    let said = text.lines().map(str::trim).find(|line| !line.is_empty());
    Some(said.unwrap_or("installed, version unknown").to_owned())
}
