//! The chardev layer through its public API, on real sockets, terminals and files.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use statusquo_vmm::chardev::{
    Config, Event, Label, Machine, MachineError,
    frontend::{Guest, guest::Notice},
};

struct Bench {
    machine: Machine,
    guest: Guest,
    dir: tempfile::TempDir,
}

impl Bench {
    /// A running machine with one port, whose guest is ready and has the port open.
    fn open(config: impl FnOnce(&Path) -> Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut machine = Machine::new();
        machine.add_chardev("c0", config(dir.path())).unwrap();
        machine.plug(1, "org.example.0", "c0").unwrap();
        machine.cont();
        let mut bench = Bench { machine, guest: Guest::default(), dir };
        bench.guest.start_driver();
        bench.settle();
        bench.guest.open(1);
        bench.settle();
        bench.guest.notices();
        bench.machine.events();
        bench
    }

    fn server() -> Self {
        Bench::open(|dir| Config::UnixServer { path: dir.join("s"), send_buffer: None })
    }

    fn connect(&mut self) -> UnixStream {
        let host = UnixStream::connect(self.dir.path().join("s")).unwrap();
        self.settle();
        host
    }

    #[expect(clippy::disallowed_methods, reason = "a test is a shell")]
    fn settle(&mut self) {
        self.machine.settle(&mut self.guest, Instant::now()).unwrap();
    }

    /// Turns until something is so.
    #[expect(clippy::disallowed_methods, reason = "a test is a shell")]
    fn until(&mut self, what: impl Fn(&mut Self) -> bool) {
        let start = Instant::now();
        while !what(self) {
            assert!(start.elapsed() < Duration::from_secs(10), "it never came");
            self.machine.turn(&mut self.guest, Some(Duration::from_millis(20))).unwrap();
        }
    }

    fn label(&self) -> Label {
        self.machine.query("c0").unwrap().label
    }
}

#[test]
fn a_peer_that_leaves_is_read_to_the_end() {
    let mut bench = Bench::server();
    let mut host = bench.connect();
    host.write_all(b"last words").unwrap();
    drop(host);
    bench.settle();
    assert_eq!(bench.label(), Label::D);
    // The next peer's bytes come after those of the one who has left.
    let mut next = bench.connect();
    next.write_all(b"next").unwrap();
    bench.guest.post(1, 100);
    bench.guest.post(1, 100);
    bench.settle();
    assert_eq!(bench.guest.received(1), [b"last words".to_vec(), b"next".to_vec()]);
}

#[test]
fn a_half_closed_peer_is_still_there() {
    let mut bench = Bench::server();
    let mut host = bench.connect();
    host.shutdown(Shutdown::Write).unwrap();
    bench.guest.post(1, 10);
    bench.settle();
    assert_eq!(bench.label(), Label::A);
    bench.guest.write(1, b"answer".to_vec());
    bench.settle();
    assert_eq!(bench.guest.completed(1), 1);
    let mut bytes = [0; 6];
    host.read_exact(&mut bytes).unwrap();
    drop(host);
    bench.settle();
    assert_eq!(bench.label(), Label::D);
}

#[test]
fn an_element_is_sent_once_across_two_peers() {
    let mut bench = Bench::server();
    let mut host = bench.connect();
    let element: Vec<u8> = (0..1 << 20).map(|at| (at % 251) as u8).collect();
    bench.guest.write(1, element.clone());
    bench.settle();
    assert_eq!(bench.guest.completed(1), 0, "more than a socket takes");
    let mut got = vec![0; 1000];
    host.read_exact(&mut got).unwrap();
    // He takes what he was sent along, and the next one gets the rest.
    host.set_nonblocking(true).unwrap();
    let mut chunk = [0; 4096];
    while let Ok(count) = host.read(&mut chunk) {
        got.extend(&chunk[..count]);
    }
    drop(host);
    let next = bench.connect();
    next.set_nonblocking(true).unwrap();
    let read_on = |got: &mut Vec<u8>| {
        let mut chunk = [0; 65536];
        while let Ok(count @ 1..) = (&next).read(&mut chunk) {
            got.extend(&chunk[..count]);
        }
    };
    while got.len() < element.len() {
        read_on(&mut got);
        bench.settle();
    }
    assert!(got == element);
    assert_eq!(bench.guest.completed(1), 1);
}

#[test]
fn tcp_listens_on_loopback_only() {
    let mut bench = Bench::open(|_| Config::TcpServer { address: "127.0.0.1:0".parse().unwrap() });
    let address = bench.machine.address("c0").unwrap();
    let mut host = TcpStream::connect(address).unwrap();
    bench.until(|bench| bench.label() == Label::A);
    host.write_all(b"over tcp").unwrap();
    bench.guest.post(1, 100);
    bench.until(|bench| !bench.guest.memory.ports[&1].received.is_empty());
    assert_eq!(bench.guest.received(1), [b"over tcp".to_vec()]);
    let far = Config::TcpServer { address: "0.0.0.0:0".parse().unwrap() };
    let error = bench.machine.add_chardev("far", far).unwrap_err();
    assert!(
        matches!(&error, MachineError::Open { error, .. } if error.to_string() == "0.0.0.0:0 is not a loopback address")
    );
}

#[test]
fn a_client_finds_a_listener_that_comes_later() {
    let mut bench =
        Bench::open(|dir| Config::UnixClient { path: dir.join("l"), send_buffer: None });
    assert_eq!(bench.label(), Label::D);
    let listener = std::os::unix::net::UnixListener::bind(bench.dir.path().join("l")).unwrap();
    bench.until(|bench| bench.label() == Label::A);
    let (host, _) = listener.accept().unwrap();
    assert_eq!(bench.guest.notices(), [Notice::Host { port: 1, connected: true }]);
    drop((host, listener));
    fs::remove_file(bench.dir.path().join("l")).unwrap();
    bench.until(|bench| bench.label() == Label::D);
}

#[test]
fn a_slave_that_is_closed_is_noticed() {
    let mut bench = Bench::open(|_| Config::Pty);
    let slave = bench.machine.address("c0").unwrap();
    let host = fs::OpenOptions::new().read(true).write(true).open(&slave).unwrap();
    bench.until(|bench| bench.label() == Label::A);
    drop(host);
    bench.until(|bench| bench.label() == Label::D);
}

#[test]
fn a_backend_that_cannot_be_made_leaves_the_old_one_at_work() {
    let mut bench = Bench::server();
    let mut host = bench.connect();
    let nowhere = Config::File { path: bench.dir.path().join("no/such/file") };
    let error = bench.machine.replace_backend("c0", nowhere).unwrap_err();
    assert_eq!(error.to_string(), "Failed to add chardev 'c0'");
    bench.guest.write(1, b"still".to_vec());
    bench.settle();
    let mut bytes = [0; 5];
    host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"still");
}

#[test]
fn what_a_ring_buffer_keeps_goes_to_its_successor() {
    let mut bench = Bench::open(|_| Config::Ring { size: 8 });
    bench.guest.write(1, b"12345678".to_vec());
    bench.guest.write(1, b"wait".to_vec());
    bench.settle();
    assert_eq!(bench.guest.completed(1), 1, "nothing is overwritten");
    let path = bench.dir.path().join("log");
    bench.machine.replace_backend("c0", Config::File { path: path.clone() }).unwrap();
    bench.settle();
    assert_eq!(fs::read(path).unwrap(), b"12345678wait");
}

#[test]
fn a_state_for_other_ports_changes_nothing() {
    let mut bench = Bench::server();
    let mut other = Machine::new();
    other.add_chardev("c0", Config::Null).unwrap();
    other.plug(2, "org.example.1", "c0").unwrap();
    let error = bench.machine.load(&other.save()).unwrap_err();
    assert!(matches!(error, MachineError::Load(_)));
    assert_eq!(bench.label(), Label::D);
    bench.settle();
    assert_eq!(bench.machine.events(), []);
}

#[test]
fn a_socket_file_goes_with_its_listener_and_nothing_else_is_overwritten() {
    let bench = Bench::server();
    let path = bench.dir.path().join("s");
    assert!(path.exists());
    let dir = bench.dir;
    drop(bench.machine);
    assert!(!path.exists());
    fs::write(&path, "mine").unwrap();
    let mut machine = Machine::new();
    let error =
        machine.add_chardev("c0", Config::UnixServer { path: path.clone(), send_buffer: None });
    assert!(error.is_err());
    assert_eq!(fs::read(&path).unwrap(), b"mine");
    drop(dir);
}

#[test]
fn an_isa_serial_carries_bytes_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = Machine::new();
    machine
        .add_chardev("c0", Config::UnixServer { path: dir.path().join("s"), send_buffer: None })
        .unwrap();
    machine.plug_isa(0, "c0").unwrap();
    machine.cont();
    let mut bench = Bench { machine, guest: Guest::default(), dir };
    let mut host = bench.connect();
    let uart = bench.machine.isa(0).unwrap();
    uart.write(4, 1); // DTR: the client is there
    b"login: ".iter().for_each(|byte| assert!(uart.write(0, *byte)));
    host.write_all(b"root").unwrap();
    bench.settle();
    let mut bytes = [0; 7];
    host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"login: ");
    let uart = bench.machine.isa(0).unwrap();
    let typed: Vec<u8> = (0..4).map(|_| uart.read(0)).collect();
    assert_eq!(typed, b"root");
    let opened = Event::Guest { port: 0, open: true };
    assert!(bench.machine.events().contains(&opened));
}
