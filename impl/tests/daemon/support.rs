//! The real daemon process, its clients, and monitors that are played.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use statusquo_vmm::hypervisor::process::Process;
use tempfile::TempDir;

/// Long enough for a loaded machine; nothing waits that long where all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Daemon {
    pub(crate) dir: TempDir,
    pub(crate) child: Option<Child>,
    /// What becomes the daemon, if it is not started directly.
    below: Option<fn(&Daemon) -> Command>,
    /// Seconds that a request to unplug waits.
    unplug_wait: u32,
}

impl Daemon {
    pub(crate) fn new() -> Self {
        Self::made(None, 1)
    }

    /// Whose requests to unplug do not wait for the guest.
    pub(crate) fn impatient() -> Self {
        Self::made(None, 0)
    }

    pub(crate) fn below(below: fn(&Daemon) -> Command) -> Self {
        Self::made(Some(below), 1)
    }

    fn made(below: Option<fn(&Daemon) -> Command>, unplug_wait: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut daemon = Daemon { dir, child: None, below, unplug_wait };
        daemon.start(&[]);
        daemon
    }

    pub(crate) fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_statusquo-vmmd");
        let mut command = match self.below {
            None => Command::new(program),
            Some(below) => {
                let mut command = below(self);
                command.arg(program);
                command
            }
        };
        command.arg("--state-dir").arg(self.dir.path().join("s"));
        command.arg("--runtime-dir").arg(self.runtime());
        command.env_remove("STATUSQUO_VMMD_KILL_AT");
        command
    }

    pub(crate) fn runtime(&self) -> PathBuf {
        self.dir.path().join("r")
    }

    pub(crate) fn start(&mut self, variables: &[(&str, &str)]) {
        assert!(self.start_perhaps(variables), "{}", self.log());
    }

    /// False: it has ended before it listened.
    pub(crate) fn start_perhaps(&mut self, variables: &[(&str, &str)]) -> bool {
        let mut options = fs::File::options();
        let log = options.create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = self.command();
        command
            .args(["run", "--log-level", "debug", "--reply-within", "1", "--unplug-wait"])
            .arg(self.unplug_wait.to_string());
        command.envs(variables.iter().copied()).stdout(Stdio::null()).stderr(log);
        let child = self.child.insert(command.spawn().unwrap());
        let socket = self.dir.path().join("r/control.sock");
        let start = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(start.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// None: there is no daemon any more, or it ended before it answered.
    pub(crate) fn try_ask(&self, request: Value) -> Option<Value> {
        let mut stream = UnixStream::connect(self.runtime().join("control.sock")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(stream, "{}", json!({"id": 1, "request": request})).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn connect(&self) -> Client {
        let stream = UnixStream::connect(self.runtime().join("control.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { lines: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    pub(crate) fn ask(&self, request: Value) -> Value {
        self.connect().ask(request)
    }

    /// The message of a refusal.
    #[track_caller]
    pub(crate) fn refused(&self, request: Value) -> String {
        let answer = self.ask(request);
        let message = answer["error"]["message"].as_str();
        message.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    pub(crate) fn state(&self, name: &str) -> String {
        let listed = self.ask(json!("list"));
        let domains = listed["reply"]["domains"].as_array().unwrap().clone();
        let found = domains.iter().find(|domain| domain["domain"] == name);
        found.map_or("none".to_owned(), |domain| domain["state"].as_str().unwrap().to_owned())
    }

    pub(crate) fn await_state(&self, name: &str, state: &str) {
        let start = Instant::now();
        while self.state(name) != state {
            assert!(start.elapsed() < PATIENCE, "{} is {}\n{}", name, self.state(name), self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
        for entry in fs::read_dir(self.runtime().join("domains")).into_iter().flatten().flatten() {
            if let Ok(process) = Process::of_pidfile(&entry.path().join("pid")) {
                process.end(Duration::ZERO).ok();
            }
        }
    }
}

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    pub(crate) lines: BufReader<UnixStream>,
}

impl Client {
    pub(crate) fn send(&mut self, request: Value) {
        writeln!(self.stream, "{}", json!({"id": 1, "request": request})).unwrap();
    }

    pub(crate) fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    pub(crate) fn ask(&mut self, request: Value) -> Value {
        self.send(request);
        self.next()
    }
}

pub(crate) fn resident_mb(daemon: &Daemon) -> u64 {
    let pid = daemon.child.as_ref().unwrap().id();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

/// A machine whose process sleeps and whose monitor is played here.
pub(crate) fn define(daemon: &Daemon, name: &str) {
    let emulator = daemon.dir.path().join("emulator");
    // The pidfile is the argument after `-pidfile`.
    let script = "#!/bin/sh\nwhile [ \"$1\" != -pidfile ]; do shift; done\n\
                  sleep 600 >/dev/null 2>&1 & echo $! > \"$2\"\n";
    fs::write(&emulator, script).unwrap();
    fs::set_permissions(&emulator, fs::Permissions::from_mode(0o700)).unwrap();
    let xml = format!(
        "<domain type='qemu'><name>{name}</name><memory>16384</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os><devices>\
         <emulator>{}</emulator><controller type='usb' index='0' model='none'/>\
         <controller type='virtio-serial' index='0'/><memballoon model='none'/></devices></domain>",
        emulator.display()
    );
    let answer = daemon.ask(json!({"define": {"xml": xml}}));
    assert_eq!(answer["reply"]["defined"]["domain"], name, "{answer}");
}

/// What the monitor does once the guest runs.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Peer {
    Answers,
    Hangs,
    DiesMidLine,
    SendsGarbage,
}

/// Plays monitors, one connection after the other.
pub(crate) fn play(daemon: &Daemon, name: &str, peer: Peer) {
    let directory = daemon.runtime().join("domains").join(name);
    fs::create_dir_all(&directory).unwrap();
    let listener = UnixListener::bind(directory.join("monitor.sock")).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream, peer).ok();
        }
    });
}

pub(crate) fn serve(mut stream: UnixStream, peer: Peer) -> std::io::Result<()> {
    let version = json!({"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""});
    writeln!(stream, "{}", json!({"QMP": {"version": version, "capabilities": []}}))?;
    let lines = BufReader::new(stream.try_clone()?);
    for line in lines.lines() {
        let command: Value = serde_json::from_str(&line?)?;
        let path = command["arguments"]["path"].as_str().unwrap_or_default();
        let value = match command["execute"].as_str().unwrap_or_default() {
            "qom-list" if peer != Peer::Answers => match peer {
                Peer::Hangs => continue,
                Peer::DiesMidLine => return write!(stream, "{{\"return\": [{{"),
                _ => return writeln!(stream, "%%% \u{0} garbage"),
            },
            "qom-list" if path == "/machine/peripheral" => {
                json!([{"name": "virtio-serial0", "type": "child<virtio-serial-pci>"}])
            }
            "qom-list" | "query-chardev" | "query-named-block-nodes" => json!([]),
            "human-monitor-command" => json!(""),
            _ => json!({}),
        };
        writeln!(stream, "{}", json!({"return": value, "id": command["id"]}))?;
    }
    Ok(())
}

pub(crate) fn channel(domain: &str) -> Value {
    let xml = "<channel type='null'><target type='virtio'/></channel>";
    json!({"attach": {"domain": domain, "xml": xml}})
}

pub(crate) fn has_qemu() -> bool {
    let found = Command::new("qemu-system-x86_64").arg("--version").output().is_ok();
    let required = std::env::var("STATUSQUO_REQUIRE").unwrap_or_default();
    assert!(found || !required.contains("qemu"), "QEMU is required");
    if !found {
        eprintln!("skipped: no qemu-system-x86_64");
    }
    found
}

/// Processes whose command line names this path.
pub(crate) fn named(path: &Path) -> usize {
    let path = path.as_os_str().as_encoded_bytes();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|&byte| byte == 0).any(|word| word == path)).count()
}
