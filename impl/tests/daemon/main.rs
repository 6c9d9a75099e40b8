//! The real daemon process with what may go wrong around it: clients that flood, stop reading or go away; a second
//! daemon; monitors that hang, die in the middle of a line or send garbage; a directory that goes away; SIGKILL at
//! every boundary of a start. [`names`]: by which names devices are asked for, on a real QEMU.
//!
//! The monitors are played here, so no QEMU is needed, but for the last: `STATUSQUO_REQUIRE=qemu` makes it an error
//! that there is none.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test in real time")]

mod names;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
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
const PATIENCE: Duration = Duration::from_secs(60);

struct Daemon {
    dir: TempDir,
    child: Option<Child>,
}

impl Daemon {
    fn new() -> Self {
        let mut daemon = Daemon { dir: tempfile::tempdir().unwrap(), child: None };
        daemon.start(&[]);
        daemon
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_statusquo-vmmd"));
        command.arg("--state-dir").arg(self.dir.path().join("s"));
        command.arg("--runtime-dir").arg(self.runtime());
        command.env_remove("STATUSQUO_VMMD_KILL_AT");
        command
    }

    fn runtime(&self) -> PathBuf {
        self.dir.path().join("r")
    }

    fn start(&mut self, variables: &[(&str, &str)]) {
        let mut options = fs::File::options();
        let log = options.create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = self.command();
        command.args(["run", "--log-level", "debug", "--reply-within", "1", "--unplug-wait", "1"]);
        command.envs(variables.iter().copied()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let start = Instant::now();
        while UnixStream::connect(self.runtime().join("control.sock")).is_err() {
            assert!(start.elapsed() < PATIENCE, "{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn connect(&self) -> Client {
        let stream = UnixStream::connect(self.runtime().join("control.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { lines: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    fn ask(&self, request: Value) -> Value {
        self.connect().ask(request)
    }

    /// The message of a refusal.
    #[track_caller]
    fn refused(&self, request: Value) -> String {
        let answer = self.ask(request);
        let message = answer["error"]["message"].as_str();
        message.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    fn state(&self, name: &str) -> String {
        let listed = self.ask(json!("list"));
        let domains = listed["reply"]["domains"].as_array().unwrap().clone();
        let found = domains.iter().find(|domain| domain["domain"] == name);
        found.map_or("none".to_owned(), |domain| domain["state"].as_str().unwrap().to_owned())
    }

    fn await_state(&self, name: &str, state: &str) {
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

struct Client {
    stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Client {
    fn send(&mut self, request: Value) {
        writeln!(self.stream, "{}", json!({"id": 1, "request": request})).unwrap();
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    fn ask(&mut self, request: Value) -> Value {
        self.send(request);
        self.next()
    }
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let daemon = Daemon::new();
    let output = daemon.command().arg("run").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let pid = daemon.child.as_ref().unwrap().id();
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        format!(
            "error: another statusquo-vmmd (pid {pid}) has `{}`; stop it, or choose another --runtime-dir\n",
            daemon.runtime().display()
        )
    );
    assert_eq!(daemon.ask(json!("ping")), json!({"id": 1, "reply": "done"}));
    for path in ["control.sock", "lock"] {
        let mode = fs::metadata(daemon.runtime().join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{path}");
    }
}

#[test]
fn without_a_daemon_the_client_says_how_to_start_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_statusquo-vmmd"));
    let output = command.arg("--runtime-dir").arg(dir.path()).arg("list").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        format!(
            "error: no daemon answers at `{}`: No such file or directory (os error 2); start one with `statusquo-vmmd run`\n",
            dir.path().join("control.sock").display()
        )
    );
}

#[test]
fn what_is_no_request_is_answered_with_what_is_wrong() {
    let daemon = Daemon::new();
    let mut client = daemon.connect();
    for (line, id, message) in [
        (
            "{",
            Value::Null,
            "the line is no request: EOF while parsing an object at line 1 column 1",
        ),
        (
            r#"{"id":7,"request":"dance"}"#,
            json!(7),
            "the line is no request: unknown variant `dance`, expected one of `ping`, `list`, `events`, `define`, \
             `undefine`, `start`, `destroy`, `dump`, `attach`, `detach`, `open-console`, \
             `step`, `give-up` at line 1 column 25",
        ),
        (
            r#"{"id":8,"request":"ping","x":1}"#,
            json!(8),
            "the line is no request: unknown field `x`, expected `id` or `request` at line 1 column 28",
        ),
    ] {
        writeln!(client.stream, "{line}").unwrap();
        let answer = client.next();
        assert_eq!((&answer["id"], &answer["error"]["kind"]), (&id, &json!("bad-request")));
        assert_eq!(answer["error"]["message"], message);
    }
    assert_eq!(
        daemon.refused(json!({"start": {"domain": "nobody"}})),
        "there is no domain `nobody`; there are: none"
    );
    assert_eq!(
        daemon.refused(json!({"step": {"domain": "nobody"}})),
        "there is no domain `nobody`; there are: none"
    );
    for name in ["../x", ".x", ""] {
        let xml = format!("<domain><name>{name}</name></domain>");
        let message = daemon.refused(json!({"define": {"xml": xml}}));
        assert!(
            message.contains("cannot name a domain") || message.contains("missing"),
            "{message}"
        );
    }
    assert_eq!(
        daemon.refused(json!({"define": {"xml": "<domain><name>a</name>"}})),
        "line 1, column 23, /domain: `</domain>` is missing"
    );
}

#[test]
fn a_line_of_100_mb_ends_its_connection_and_no_other() {
    let daemon = Daemon::new();
    let mut other = daemon.connect();
    let mut client = daemon.connect();
    let chunk = vec![b'x'; 1 << 20];
    let mut refused = false;
    for _ in 0..100 {
        refused |= client.stream.write_all(&chunk).is_err();
    }
    assert!(refused, "100 MB were taken");
    // What the daemon said before it left is there, unless the kernel has thrown it away.
    let mut text = String::new();
    client.lines.read_to_string(&mut text).ok();
    if !text.is_empty() {
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            answer["error"]["message"],
            "a line has more than 1048576 bytes; the connection ends"
        );
    }
    assert_eq!(other.ask(json!("ping")), json!({"id": 1, "reply": "done"}));
    assert!(resident_mb(&daemon) < 100, "{} MB", resident_mb(&daemon));
}

fn resident_mb(daemon: &Daemon) -> u64 {
    let pid = daemon.child.as_ref().unwrap().id();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

#[test]
fn clients_that_flood_without_reading_or_go_away_cost_nobody_else() {
    let daemon = Daemon::new();
    let mut flooders = Vec::new();
    for _ in 0..8 {
        let flooder = daemon.connect().stream;
        flooder.set_nonblocking(true).unwrap();
        flooders.push(flooder);
    }
    let line = format!("{}\n", json!({"id": 1, "request": "list"})).repeat(1000);
    let mut other = daemon.connect();
    for _ in 0..50 {
        for flooder in &mut flooders {
            // What does not fit is cut off: from then on it is garbage, too.
            flooder.write_all(line.as_bytes()).ok();
        }
        assert_eq!(other.ask(json!("ping")), json!({"id": 1, "reply": "done"}));
    }
    assert!(resident_mb(&daemon) < 100, "{} MB", resident_mb(&daemon));
    drop(flooders);
    let mut half = daemon.connect();
    half.stream.write_all(br#"{"id":1,"requ"#).unwrap();
    drop(half);
    assert_eq!(other.ask(json!("ping")), json!({"id": 1, "reply": "done"}));
    // More than there is room for.
    let many: Vec<Client> = (0..80).map(|_| daemon.connect()).collect();
    assert_eq!(other.ask(json!("ping")), json!({"id": 1, "reply": "done"}));
    let mut last = many.into_iter().last().unwrap();
    assert_eq!(last.next()["error"]["kind"], "too-many-clients");
}

/// A machine whose process sleeps and whose monitor is played here.
fn define(daemon: &Daemon, name: &str) {
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
enum Peer {
    Answers,
    Hangs,
    DiesMidLine,
    SendsGarbage,
}

/// Plays monitors, one connection after the other.
fn play(daemon: &Daemon, name: &str, peer: Peer) {
    let directory = daemon.runtime().join("domains").join(name);
    fs::create_dir_all(&directory).unwrap();
    let listener = UnixListener::bind(directory.join("monitor.sock")).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream, peer).ok();
        }
    });
}

fn serve(mut stream: UnixStream, peer: Peer) -> std::io::Result<()> {
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

fn channel(domain: &str) -> Value {
    let xml = "<channel type='null'><target type='virtio'/></channel>";
    json!({"attach": {"domain": domain, "xml": xml}})
}

#[test]
fn a_monitor_that_fails_costs_no_other_domain() {
    let daemon = Daemon::new();
    let peers =
        [("hangs", Peer::Hangs), ("dies", Peer::DiesMidLine), ("garbage", Peer::SendsGarbage)];
    for (name, peer) in peers {
        define(&daemon, name);
        play(&daemon, name, peer);
        let answer = daemon.ask(json!({"start": {"domain": name}}));
        assert_eq!(answer, json!({"id": 1, "reply": "done"}), "{name}");
    }
    define(&daemon, "well");
    play(&daemon, "well", Peer::Answers);
    assert_eq!(daemon.ask(json!({"start": {"domain": "well"}})), json!({"id": 1, "reply": "done"}));
    for (name, _) in peers {
        daemon.await_state(name, "unresponsive");
        assert_eq!(
            daemon.refused(channel(name)),
            format!("the monitor of `{name}` does not answer; it is tried again")
        );
    }
    // All three are being tried again meanwhile.
    let answer = daemon.ask(channel("well"));
    assert_eq!(answer, json!({"id": 1, "reply": {"attached": {"alias": "channel0"}}}));
    // What does not answer can still be ended.
    for (name, _) in peers {
        assert_eq!(
            daemon.ask(json!({"destroy": {"domain": name}})),
            json!({"id": 1, "reply": "done"})
        );
        assert_eq!(daemon.state(name), "shut-off");
    }
    let log = daemon.log();
    for why in ["no answer from the monitor within", "unfinished line", "from the monitor: "] {
        assert!(log.contains(why), "{why}\n{log}");
    }
}

#[test]
fn a_status_directory_that_goes_away_refuses_changes_and_costs_no_guest() {
    let daemon = Daemon::new();
    define(&daemon, "demo");
    play(&daemon, "demo", Peer::Answers);
    assert_eq!(daemon.ask(json!({"start": {"domain": "demo"}})), json!({"id": 1, "reply": "done"}));
    let status = daemon.runtime().join("status");
    let aside = daemon.runtime().join("aside");
    fs::rename(&status, &aside).unwrap();
    assert_eq!(
        daemon.refused(channel("demo")),
        format!(
            "nothing was done: the status file cannot be saved: cannot create `{}`: the directory is gone, create it \
             and try again: No such file or directory (os error 2)",
            status.join("demo.xml.new").display()
        )
    );
    assert_eq!(daemon.state("demo"), "running");
    fs::rename(&aside, &status).unwrap();
    let answer = daemon.ask(channel("demo"));
    assert_eq!(answer, json!({"id": 1, "reply": {"attached": {"alias": "channel0"}}}));
}

#[test]
fn a_graceful_end_leaves_the_guests_running() {
    let mut daemon = Daemon::new();
    define(&daemon, "demo");
    play(&daemon, "demo", Peer::Answers);
    daemon.ask(json!({"start": {"domain": "demo"}}));
    let pidfile = daemon.runtime().join("domains/demo/pid");
    let guest = Process::of_pidfile(&pidfile).unwrap();
    let mut child = daemon.child.take().unwrap();
    let ended = Process::of(child.id()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!ended.is_alive().unwrap() && guest.is_alive().unwrap());
    assert!(!daemon.runtime().join("control.sock").exists());
}

fn has_qemu() -> bool {
    let found = Command::new("qemu-system-x86_64").arg("--version").output().is_ok();
    let required = std::env::var("STATUSQUO_REQUIRE").unwrap_or_default();
    assert!(found || !required.contains("qemu"), "QEMU is required");
    if !found {
        eprintln!("skipped: no qemu-system-x86_64");
    }
    found
}

/// Processes whose command line names this path.
fn named(path: &Path) -> usize {
    let path = path.as_os_str().as_encoded_bytes();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|&byte| byte == 0).any(|word| word == path)).count()
}

#[test]
fn a_start_that_is_killed_at_any_boundary_loses_no_guest() {
    if !has_qemu() {
        return;
    }
    let mut kills = 0;
    for boundary in 1.. {
        let mut daemon = Daemon::new();
        let xml = "<domain type='qemu'><name>demo</name><memory>16384</memory><vcpu>1</vcpu>\
                   <os><type arch='x86_64' machine='pc'>hvm</type></os>\
                   <devices><memballoon model='none'/></devices></domain>";
        daemon.ask(json!({"define": {"xml": xml}}));
        daemon.kill();
        let at = boundary.to_string();
        daemon.start(&[("STATUSQUO_VMMD_KILL_AT", &at)]);
        let mut client = daemon.connect();
        client.send(json!({"start": {"domain": "demo"}}));
        let answer = client.next();
        if answer["reply"] == "done" {
            // The start has no such boundary; its recovery may.
            break;
        }
        assert_eq!(answer, Value::Null, "boundary {boundary}: {}", daemon.log());
        daemon.child.take().unwrap().wait().unwrap();
        kills += 1;
        daemon.start(&[]);
        // The start is finished or was never made; a QEMU that nobody knows there is never.
        let pidfile = daemon.runtime().join("domains/demo/pid");
        let answer = daemon.ask(json!({"dump": {"domain": "demo", "form": "status"}}));
        if answer["reply"].is_null() {
            assert_eq!(answer["error"]["message"], "`demo` does not run, so it has no status");
            assert_eq!(named(&pidfile), 0, "boundary {boundary}: {}", daemon.log());
            let answer = daemon.ask(json!({"start": {"domain": "demo"}}));
            assert_eq!(answer, json!({"id": 1, "reply": "done"}));
        }
        daemon.await_state("demo", "running");
        assert_eq!(named(&pidfile), 1);
        assert_eq!(
            daemon.ask(json!({"destroy": {"domain": "demo"}})),
            json!({"id": 1, "reply": "done"})
        );
        assert_eq!(named(&pidfile), 0);
    }
    assert!(kills >= 10, "{kills} boundaries");
}
