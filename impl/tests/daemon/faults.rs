//! What may go wrong around it: clients that flood, stop reading or go away; a second daemon; monitors that hang, die
//! in the middle of a line or send garbage; a directory that goes away; SIGKILL at every boundary of a start.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    process::Command,
    time::Instant,
};

use serde_json::{Value, json};
use statusquo_vmm::hypervisor::process::Process;

use super::support::{
    Client, Daemon, PATIENCE, Peer, channel, define, has_qemu, named, play, resident_mb,
};

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

/// Each is refused with its place, in bounded memory, and the next request is answered.
#[test]
fn bad_definitions_cost_nobody_anything() {
    let mut daemon = Daemon::new();
    define(&daemon, "demo");
    let deep = "<a>".repeat(100_000) + &"</a>".repeat(100_000);
    let long = format!("<domain><name n='{}'/></domain>", "x".repeat(1 << 20));
    let laughs =
        "<!DOCTYPE d [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'>]><domain><name>&b;</name></domain>";
    let refused = |xml: &str| daemon.refused(json!({"define": {"xml": xml}}));
    assert_eq!(
        refused(&deep),
        format!("line 1, column 769, {}: elements are nested deeper than 256", "/a".repeat(256))
    );
    assert_eq!(
        refused(laughs),
        "line 1, column 1, /: document types are refused, because entities could expand without bound: remove it"
    );
    // A line that could hold such an attribute is itself too long.
    let mut client = daemon.connect();
    // The daemon has seen enough before the end of it, and may have hung up by then.
    drop(writeln!(client.stream, "{}", json!({"id": 1, "request": {"define": {"xml": long}}})));
    assert_eq!(
        client.next()["error"]["message"],
        "a line has more than 1048576 bytes; the connection ends"
    );
    let mut client = daemon.connect();
    client.stream.write_all(b"{\"id\":1,\"request\":{\"define\":{\"xml\":\"\xff\"}}}\n").unwrap();
    let said = client.next()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        said.starts_with("the line is no request: ") && said.contains(" at line 1 column "),
        "{said}"
    );
    assert_eq!(client.ask(json!("ping")), json!({"id": 1, "reply": "done"}));
    // Files of a gigabyte, where a later daemon finds them.
    daemon.kill();
    let huge = |path: std::path::PathBuf, text: &[u8]| {
        fs::write(&path, text).unwrap();
        fs::File::options().write(true).open(path).unwrap().set_len(1 << 30).unwrap();
    };
    huge(daemon.dir.path().join("s/definitions/huge.xml"), b"<domain><name n='");
    huge(daemon.runtime().join("status/vast.xml"), b"<domstatus version='1' x='");
    daemon.start(&[]);
    assert_eq!(
        (daemon.state("demo"), daemon.state("huge")),
        ("shut-off".to_owned(), "none".to_owned())
    );
    let log = daemon.log();
    for why in [
        "its definition is left alone: it has more than 16777216 bytes",
        "the document has more than 16777216 bytes",
    ] {
        assert!(log.contains(why), "{why}\n{log}");
    }
    assert!(resident_mb(&daemon) < 150, "{} MB", resident_mb(&daemon));
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

/// What was asked is done all the same: the next dump is answered when nothing more is to be done.
#[test]
fn a_client_that_leaves_before_its_answer_leaves_nothing_half_done() {
    let daemon = Daemon::new();
    define(&daemon, "demo");
    play(&daemon, "demo", Peer::Answers);
    assert_eq!(daemon.ask(json!({"start": {"domain": "demo"}})), json!({"id": 1, "reply": "done"}));
    let mut client = daemon.connect();
    client.send(channel("demo"));
    drop(client);
    let start = Instant::now();
    loop {
        let answer = daemon.ask(json!({"dump": {"domain": "demo", "form": "live"}}));
        if answer["reply"]["xml"].as_str().unwrap().contains("channel0") {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{answer}");
    }
    let status = fs::read_to_string(daemon.runtime().join("status/demo.xml")).unwrap();
    assert!(status.contains("channel0") && !status.contains("<attach>"), "{status}");
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
