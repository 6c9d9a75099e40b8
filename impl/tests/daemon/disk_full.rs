//! A status directory on a file system that is really full.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::PathBuf,
    process::Command,
};

use serde_json::json;
use statusquo_vmm::{hypervisor::Hypervisor, status::Status};

use super::{
    devices::Bench,
    support::{Daemon, channel, has_qemu},
};

const NAMESPACES: [&str; 3] = ["--user", "--map-root-user", "--mount"];

/// A daemon whose status directory is a file system of 64 KiB, in a mount namespace of its own.
fn small() -> Option<Daemon> {
    let allowed = Command::new("unshare").args(NAMESPACES).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no user and mount namespaces here");
        return None;
    }
    Some(Daemon::below(|daemon| {
        let script =
            "mount -t tmpfs -o size=64k,mode=700 status \"$1\" || exit 9; shift; exec \"$@\"";
        let status = daemon.runtime().join("status");
        fs::create_dir_all(&status).unwrap();
        let mut command = Command::new("unshare");
        command.args(NAMESPACES).args(["sh", "-c", script, "sh"]).arg(status);
        command
    }))
}

/// The status directory as the daemon sees it.
fn status(daemon: &Daemon) -> PathBuf {
    let pid = daemon.child.as_ref().unwrap().id();
    let inside = daemon.runtime().join("status");
    PathBuf::from(format!("/proc/{pid}/root")).join(inside.strip_prefix("/").unwrap())
}

/// Takes every block that is left.
fn fill(daemon: &Daemon) {
    let mut file = fs::File::create(status(daemon).join("filler")).unwrap();
    let error = loop {
        if let Err(error) = file.write_all(&[0; 512]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
}

#[test]
fn a_full_disk_refuses_a_change_before_qemu_is_asked_and_costs_no_guest() {
    if !has_qemu() {
        return;
    }
    let Some(daemon) = small() else { return };
    let mut bench = Bench::new(daemon);
    let look = |bench: &mut Bench| {
        let inventory = bench.look.inventory().unwrap();
        (inventory.devices.contains("channel0"), inventory.chardevs.contains("charchannel0"))
    };
    let before = fs::read_to_string(status(&bench.daemon).join("demo.xml")).unwrap();
    fill(&bench.daemon);
    let path = bench.daemon.runtime().join("status/demo.xml.new");
    assert_eq!(
        bench.daemon.refused(channel("demo")),
        format!(
            "nothing was done: the status file cannot be saved: cannot write `{}`: no space is left, the last saved \
             status is kept: No space left on device (os error 28)",
            path.display()
        )
    );
    // The guest lives, QEMU has nothing, and the last status is whole.
    assert_eq!(bench.daemon.state("demo"), "running");
    assert_eq!(look(&mut bench), (false, false));
    assert_eq!(fs::read_to_string(status(&bench.daemon).join("demo.xml")).unwrap(), before);
    // Again, while it is still full, and when there is room.
    assert!(bench.daemon.refused(channel("demo")).contains("no space is left"));
    fs::remove_file(status(&bench.daemon).join("filler")).unwrap();
    let answer = bench.daemon.ask(channel("demo"));
    assert_eq!(answer, json!({"id": 1, "reply": {"attached": {"alias": "channel0"}}}));
    assert_eq!(look(&mut bench), (true, true));
    // A device whose end cannot be written down is gone all the same, and is written down when there is room.
    fill(&bench.daemon);
    let detach = json!({"detach": {"domain": "demo", "device": {"alias": "channel0"}}});
    assert_eq!(bench.daemon.ask(detach)["reply"]["detached"]["alias"], "channel0");
    assert_eq!(look(&mut bench), (false, false));
    fs::remove_file(status(&bench.daemon).join("filler")).unwrap();
    let deadline = std::time::Instant::now() + super::support::PATIENCE;
    loop {
        let text = fs::read_to_string(status(&bench.daemon).join("demo.xml")).unwrap();
        if !text.contains("channel0") {
            assert_eq!(Status::parse(&text).unwrap().intents().count(), 0);
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{text}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(bench.daemon.state("demo"), "running");
}
