//! The QMP client against peers on real sockets that misbehave in every way a peer can.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use statusquo_vmm::hypervisor::{
    Command, Hypervisor, MonitorError,
    qmp::{Client, Limits},
};

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "fake"}, "capabilities": []}}"#;
const SHORT: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits { connect_within: SHORT, reply_within: SHORT, ..Limits::default() }
}

/// The peer's end of one connection.
struct Peer {
    stream: UnixStream,
    requests: BufReader<UnixStream>,
}

impl Peer {
    fn say(&mut self, text: &str) {
        // The client may have left in the middle, as it should.
        self.stream.write_all(text.as_bytes()).ok();
    }

    fn request(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.requests.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    fn reply(&mut self, request: &Value, value: Value) {
        self.say(&format!("{}\n", json!({"return": value, "id": request["id"]})));
    }

    fn negotiate(&mut self) {
        self.say(&format!("{GREETING}\n"));
        let request = self.request().unwrap();
        assert_eq!(request["execute"], "qmp_capabilities");
        self.reply(&request, json!({}));
    }
}

struct Fake {
    dir: tempfile::TempDir,
}

impl Fake {
    /// Listens, and gives each connection in turn to `act` with its number.
    fn new(act: impl Fn(usize, &mut Peer) + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("m")).unwrap();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let stream = stream.unwrap();
                act(
                    number,
                    &mut Peer { requests: BufReader::new(stream.try_clone().unwrap()), stream },
                );
            }
        });
        Fake { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("m")
    }

    fn connect(&self, limits: Limits) -> Result<Client, MonitorError> {
        Client::connect(self.path(), limits)
    }
}

/// Holds the connection until the client leaves.
fn hang(peer: &mut Peer) {
    while peer.request().is_some() {}
}

#[track_caller]
fn within<T>(limit: Duration, act: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = act();
    assert!(start.elapsed() < limit, "took {:?}", start.elapsed());
    result
}

#[test]
fn commands_events_and_refusals() {
    let fake = Fake::new(|_, peer| {
        peer.negotiate();
        let request = peer.request().unwrap();
        peer.say("{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"STOP\"}\r\n");
        peer.reply(&request, json!({}));
        let request = peer.request().unwrap();
        let error = json!({"id": request["id"], "error": {"class": "DeviceNotFound", "desc": "Device 'a' not found"}});
        peer.say(&format!("{error}\n"));
        peer.say("{\"timestamp\": {\"seconds\": 1, \"microseconds\": 3}, \"event\": \"RESUME\"}\n");
        hang(peer);
    });
    let mut client = fake.connect(limits()).unwrap();
    assert_eq!(client.version().unwrap().to_string(), "7.2.22");
    assert_eq!(client.peer_pid().unwrap(), std::process::id());
    assert_eq!(client.execute(&Command::stop()).unwrap(), Ok(json!({})));
    let refusal = client.execute(&Command::device_del("a")).unwrap().unwrap_err();
    assert_eq!(refusal.to_string(), "DeviceNotFound: Device 'a' not found");
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut names = Vec::new();
    while names.len() < 2 && client.wait_event(deadline).unwrap() {
        names.extend(client.events().into_iter().map(|event| event.name));
    }
    assert_eq!(names, ["STOP", "RESUME"]);
    assert!(!within(SHORT, || client.wait_event(Instant::now()).unwrap()));
}

#[test]
fn nobody_listens() {
    let dir = tempfile::tempdir().unwrap();
    let error = Client::connect(dir.path().join("m"), limits()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("connect to the monitor `{}`", dir.path().join("m").display())
    );
    let error = Client::connect("/".repeat(200), limits()).unwrap_err();
    assert!(matches!(error, MonitorError::Connect { .. }), "{error:?}");
}

#[test]
fn a_full_backlog_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m");
    let _listener = UnixListener::bind(&path).unwrap();
    // Nobody accepts: fill it with connections that do not block either.
    let mut held = Vec::new();
    let error = within(Duration::from_secs(300), || {
        loop {
            let limits = Limits { connect_within: Duration::from_millis(1), ..limits() };
            match Client::connect(&path, limits) {
                Err(MonitorError::Timeout { waiting_for, .. }) if waiting_for == "greeting" => {
                    let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
                    let socket = rustix::net::socket_with(
                        rustix::net::AddressFamily::UNIX,
                        rustix::net::SocketType::STREAM,
                        rustix::net::SocketFlags::NONBLOCK,
                        None,
                    );
                    let socket = socket.unwrap();
                    if rustix::net::connect(&socket, &address).is_ok() {
                        held.push(socket);
                    }
                }
                other => break other.unwrap_err(),
            }
        }
    });
    assert_eq!(error.to_string(), "`connect`: no answer from the monitor within 1ms");
}

#[test]
fn a_peer_that_does_not_greet() {
    let fake = Fake::new(|_, peer| hang(peer));
    let error = within(SHORT * 5, || fake.connect(limits()).unwrap_err());
    assert_eq!(error.to_string(), "`greeting`: no answer from the monitor within 1s");
}

#[test]
fn a_peer_that_hangs_on_a_command_and_answers_late() {
    let fake = Fake::new(|_, peer| {
        peer.negotiate();
        let first = peer.request().unwrap();
        let second = peer.request().unwrap();
        peer.reply(&first, json!("late"));
        peer.reply(&second, json!("in time"));
        hang(peer);
    });
    let mut client = fake.connect(limits()).unwrap();
    let error = within(SHORT * 5, || client.execute(&Command::stop()).unwrap_err());
    assert_eq!(error.to_string(), "`stop`: no answer from the monitor within 1s");
    assert!(!error.is_fatal());
    assert_eq!(client.execute(&Command::cont()).unwrap(), Ok(json!("in time")));
}

#[test]
fn a_peer_that_does_not_read_cuts_a_command_off() {
    let fake = Fake::new(|_, peer| {
        peer.negotiate();
        thread::sleep(SHORT * 5);
    });
    let mut client = fake.connect(limits()).unwrap();
    let huge = Command::new("device_add").with("id", "x".repeat(8 << 20));
    let error = within(SHORT * 5, || client.execute(&huge).unwrap_err());
    assert_eq!(error.to_string(), "`device_add`: no answer from the monitor within 1s");
    let error = client.execute(&Command::stop()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the connection to the monitor was given up (`device_add` was sent in part); reconnect"
    );
}

#[test]
fn a_peer_that_dies_in_the_middle_of_a_line() {
    let fake = Fake::new(|_, peer| {
        peer.negotiate();
        peer.request();
        peer.say("{\"return\": ");
    });
    let mut client = fake.connect(limits()).unwrap();
    let error = client.execute(&Command::stop()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`stop`: the monitor closed the connection after 11 bytes of an unfinished line"
    );
    assert!(error.is_fatal());
    let error = client.wait_event(Instant::now()).unwrap_err();
    assert!(matches!(error, MonitorError::Closed { .. }), "{error:?}");
}

#[test]
fn a_peer_that_dies_while_nobody_asks() {
    let fake = Fake::new(|_, peer| {
        peer.negotiate();
        peer.say(
            "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"SHUTDOWN\"}\n",
        );
    });
    let mut client = fake.connect(limits()).unwrap();
    thread::sleep(SHORT / 3);
    assert_eq!(client.events().len(), 1);
    let error = client.execute(&Command::stop()).unwrap_err();
    assert_eq!(error.to_string(), "`events`: the monitor closed the connection");
}

#[test]
fn a_peer_that_sends_garbage() {
    let fake = Fake::new(|_, peer| {
        peer.negotiate();
        peer.request();
        peer.say("\u{0}\u{1b}[31mhello\n");
        hang(peer);
    });
    let mut client = fake.connect(limits()).unwrap();
    let error = client.execute(&Command::stop()).unwrap_err();
    assert_eq!(error.to_string(), "line 3 from the monitor: column 1: expected value");
    let fake = Fake::new(|_, peer| peer.say("SSH-2.0-OpenSSH_9.2\r\n"));
    let error = fake.connect(limits()).unwrap_err();
    assert_eq!(error.to_string(), "line 1 from the monitor: column 1: expected value");
}

#[test]
fn a_flood_of_events_ends_in_bounded_time_and_memory() {
    let event = "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"FLOOD\"}\n"
        .repeat(1000);
    let fake = Fake::new(move |_, peer| {
        peer.negotiate();
        while peer.stream.write_all(event.as_bytes()).is_ok() {}
    });
    let limits = Limits { reply_within: Duration::from_secs(20), ..limits() };
    let mut client = fake.connect(limits).unwrap();
    let error = within(Duration::from_secs(10), || client.execute(&Command::stop()).unwrap_err());
    assert_eq!(
        error.to_string(),
        "more than 10000 events or 1048576 bytes of events are waiting; reconnect and take the inventory"
    );
    assert_eq!(client.events().len(), 10_001);
    // A peer that floods slower than it is drained only costs the caller his time.
    client.reconnect().unwrap();
    let deadline = Instant::now() + SHORT;
    within(SHORT * 10, || {
        while client.wait_event(deadline).is_ok_and(|any| any) && Instant::now() < deadline {
            client.events();
        }
    });
}

#[test]
fn a_line_of_a_gigabyte_is_refused_after_the_limit() {
    let (count, counted) = std::sync::mpsc::channel();
    let fake = Fake::new(move |_, peer| {
        peer.negotiate();
        peer.request();
        let megabyte = vec![b'x'; 1 << 20];
        let sent = (0..1024).take_while(|_| peer.stream.write_all(&megabyte).is_ok()).count();
        count.send(sent).unwrap();
    });
    let limits = Limits { reply_within: Duration::from_secs(20), ..limits() };
    let mut client = fake.connect(limits).unwrap();
    let error = within(Duration::from_secs(10), || client.execute(&Command::stop()).unwrap_err());
    assert_eq!(error.to_string(), "line 3 from the monitor: longer than 2097152 bytes");
    drop(client);
    let sent = counted.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(sent < 16, "{sent} MiB were taken");
}

#[test]
fn reconnecting_begins_anew() {
    let fake = Fake::new(|number, peer| {
        peer.negotiate();
        if number == 0 {
            peer.request();
            return;
        }
        while let Some(request) = peer.request() {
            peer.reply(&request, json!(number));
        }
    });
    let mut client = fake.connect(limits()).unwrap();
    let error = client.execute(&Command::stop()).unwrap_err();
    assert_eq!(error.to_string(), "`stop`: the monitor closed the connection");
    client.reconnect().unwrap();
    assert_eq!(client.execute(&Command::stop()).unwrap(), Ok(json!(1)));
    client.reconnect().unwrap();
    assert_eq!(client.execute(&Command::stop()).unwrap(), Ok(json!(2)));
}

#[test]
fn an_inventory_says_which_query_failed() {
    let fake = Fake::new(|_, peer| {
        peer.negotiate();
        let request = peer.request().unwrap();
        peer.reply(&request, json!({"not": "a list"}));
        let request = peer.request().unwrap();
        let error =
            json!({"id": request["id"], "error": {"class": "GenericError", "desc": "not today"}});
        peer.say(&format!("{error}\n"));
        hang(peer);
    });
    let mut client = fake.connect(limits()).unwrap();
    assert_eq!(client.inventory().unwrap_err().to_string(), "`qom-list`: expected a list");
    let error = client.inventory().unwrap_err();
    assert_eq!(error.to_string(), "`qom-list` was refused");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "GenericError: not today");
}
