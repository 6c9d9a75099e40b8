//! Nothing that a run started outlives it, however the run ends.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use statusquo::systems::real::{Real, is_here};

/// Long enough for whatever a busy machine does; no test waits for it to be over.
const PATIENCE: Duration = Duration::from_secs(300);

fn statusquo(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_statusquo"));
    command.args(args).env("TMPDIR", dir).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Does not outlive a test that fails.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The processes whose command line or environment names a directory of a run below `dir`.
fn processes(dir: &Path) -> Vec<(u32, String)> {
    let mark = format!("{}/statusquo-", dir.display());
    let read =
        |path: PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let found = entries.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let words = read(entry.path().join("cmdline"));
        let named = words.contains(&mark) || read(entry.path().join("environ")).contains(&mark);
        named.then(|| (pid, words.replace('\0', " ")))
    });
    found.collect()
}

/// Shared memory that bears the number of such a process.
fn shared_memory(of: impl Fn(u32) -> bool) -> BTreeSet<String> {
    let names = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let bears_one = |name: &String| {
        let number = name.rsplit_once("faketime_shm_").or(name.rsplit_once("faketime_sem_"));
        number.is_some_and(|(_, number)| number.parse().is_ok_and(&of))
    };
    names.filter(bears_one).collect()
}

#[track_caller]
fn nothing_is_left(dir: &Path) {
    let left: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!((left, processes(dir)), (vec![], vec![]));
}

/// Runs the command until it has come far enough, ends it with each signal, and looks.
fn end_with_each_signal(args: &[&str], is_under_way: impl Fn(&Path) -> bool + Sync) {
    // Of a process that bore the same number once.
    let before = shared_memory(|_| true);
    let end = |signal: Signal| {
        let dir = tempfile::Builder::new().prefix("sq").tempdir().unwrap();
        let mut run = Run(statusquo(dir.path(), args).spawn().unwrap());
        let mut seen = BTreeSet::new();
        wait_until("the run is under way", || {
            assert_eq!(run.0.try_wait().unwrap(), None, "{args:?} was over too soon");
            seen.extend(processes(dir.path()).into_iter().map(|(process, _)| process));
            is_under_way(dir.path())
        });
        kill_process(Pid::from_child(&run.0), signal).unwrap();
        let status = run.0.wait().unwrap();
        if signal == Signal::KILL {
            assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
            assert_ne!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing to clear away");
            // A stranger's directory of a like name, and a stranger, stay.
            let strange = dir.path().join("statusquo-of-somebody-else");
            fs::create_dir(&strange).unwrap();
            let mut stranger =
                Command::new("sleep").arg("600").env("ANY", &strange).spawn().unwrap();
            let next = ["replay", "chardev", "--scope", "null", "--system", "model"];
            assert!(statusquo(dir.path(), &next).status().unwrap().success());
            assert_eq!(stranger.try_wait().unwrap(), None);
            stranger.kill().unwrap();
            stranger.wait().unwrap();
            fs::remove_dir(&strange).unwrap();
        } else {
            assert_eq!(status.code(), Some(128 + signal.as_raw()), "{args:?}");
        }
        nothing_is_left(dir.path());
        let left = &shared_memory(|process| seen.contains(&process)) - &before;
        assert_eq!(left, BTreeSet::new(), "{args:?}");
    };
    // Each run mostly waits, and knows nothing of the others.
    std::thread::scope(|scope| {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
            let end = &end;
            scope.spawn(move || end(signal));
        }
    });
}

/// Files of the run that are not its own bookkeeping.
fn files(dir: &Path) -> usize {
    let runs = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    let inside = runs.filter_map(|run| fs::read_dir(run).ok()).flat_map(Iterator::flatten);
    inside.filter(|entry| entry.file_name() != "owner.json").count()
}

#[test]
fn of_an_adapter_nothing_is_left_and_of_what_it_started() {
    // The sleeper leaves the adapter's process group, and its session.
    let adapter = "sh -c 'setsid sleep 600 & echo > \"$STATUSQUO_DIR\"/started; exec sleep 600'";
    let args = ["replay", "chardev", "--scope", "null", "--deadline", "600", "--exec", adapter];
    end_with_each_signal(&args, |dir| {
        processes(dir).iter().filter(|(_, words)| words.starts_with("sleep 600")).count() == 2
    });
}

#[test]
fn of_our_implementation_nothing_is_left() {
    let args = ["replay", "chardev", "--design", "ours", "--scope", "server"];
    end_with_each_signal(&args, |dir| files(dir) > 0);
}

#[test]
fn of_qemu_nothing_is_left() {
    if !is_here(Real::Qemu) {
        return;
    }
    let args = ["replay", "chardev", "--design", "qemu-7.2", "--scope", "null", "--system", "qemu"];
    let is_qemu = |(_, words): &(u32, String)| {
        words.starts_with("qemu-system") || words.contains("/qemu-system")
    };
    end_with_each_signal(&args, |dir| processes(dir).iter().any(is_qemu));
}

#[test]
fn of_libvirt_nothing_is_left() {
    if !is_here(Real::Libvirt) {
        return;
    }
    let is_guest =
        |(_, words): &(u32, String)| words.contains("qemu-system") && words.contains("-name");
    end_with_each_signal(&["findings", "restart"], |dir| processes(dir).iter().any(is_guest));
}

/// Two daemons, their clients, and a guest that outlives both.
#[test]
fn of_two_libvirts_nothing_is_left() {
    if !is_here(Real::Libvirt) {
        return;
    }
    let args = [
        "replay",
        "usb",
        "--design",
        "libvirt-9.0",
        "--scope",
        "i440fx-small",
        "--system",
        "libvirt",
        "--deadline",
        "600",
    ];
    end_with_each_signal(&args, |dir| {
        let all = processes(dir);
        let count = |what: &str| all.iter().filter(|(_, words)| words.contains(what)).count();
        count("libvirtd ") >= 2 && count("-name guest=t") >= 1
    });
}
