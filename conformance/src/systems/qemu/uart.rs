//! What QEMU's 16550 does with a byte that waits for its host. The study has no such front-end
//! (`docs/studies/chardev.md`, "Variants"); what that page says of one is shown here.

use std::{
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    DEFAULT_BINARY,
    board::Board,
    files::{empty_image, parked_firmware},
    machine::accept,
    patience::PATIENCE,
    process::Process,
    qmp::Qmp,
    qtest::QTest,
};
use crate::systems::real::{Real, is_here};

/// The first serial port of a PC: what is to be sent, and the line status.
const THR: u16 = 0x3F8;
const LSR: u16 = 0x3FD;
/// `THRE` and `TEMT`: nothing is under way.
const IDLE: u8 = 0x60;
/// The register takes a byte.
const THRE: u8 = 0x20;
/// More bytes than any socket takes one by one.
const MANY: usize = 100_000;

/// A QEMU with an isa-serial on a socket.
struct Uart {
    qmp: Qmp,
    qtest: QTest,
    socket: PathBuf,
    _process: Process,
}

impl Uart {
    fn start(dir: &TempDir, name: &str, incoming: Option<&str>) -> Self {
        let at = |what: &str| dir.path().join(format!("{name}.{what}"));
        let unix = |what: &str| format!("unix:{}", at(what).display());
        let listen = |what: &str| UnixListener::bind(at(what)).unwrap();
        let (qtest, qmp, socket) = (listen("qtest"), listen("qmp"), at("socket"));
        let (firmware, image) = (dir.path().join("firmware"), dir.path().join("image"));
        std::fs::write(&firmware, parked_firmware()).unwrap();
        std::fs::write(&image, empty_image()).unwrap();
        let mut command = Process::command(DEFAULT_BINARY.as_ref());
        command.args("-accel tcg -display none -nodefaults -m 16 -S -machine pc".split(' '));
        command.arg("-bios").arg(firmware).args(["-qtest-log", "none"]);
        command.args(["-qtest", &unix("qtest"), "-qmp", &unix("qmp")]);
        let path = socket.display();
        command.args(["-chardev", &format!("socket,id=c0,path={path},server=on,wait=off")]);
        command.args(["-device", "isa-serial,chardev=c0,id=p0"]);
        let image =
            format!("if=none,format=qcow2,file.locking=off,file.filename={}", image.display());
        command.args(["-drive", &image]);
        if let Some(uri) = incoming {
            command.args(["-incoming", uri]);
        }
        let mut process = Process::spawn(command, at("errors")).unwrap();
        let qtest = QTest::new(accept(&qtest, &mut process, "qtest").unwrap(), Board::Pc);
        let qmp = Qmp::new(accept(&qmp, &mut process, "QMP").unwrap()).unwrap();
        Uart { qmp, qtest, socket, _process: process }
    }

    fn ask(&mut self, command: &str, arguments: Value) -> Value {
        self.qmp.expect(command, arguments).unwrap()
    }

    /// Everything that was ready has been handled.
    fn barrier(&mut self) {
        (0..5).for_each(|_| self.qtest.turn().unwrap());
    }

    fn connect(&mut self) -> UnixStream {
        let host = UnixStream::connect(&self.socket).unwrap();
        self.barrier();
        host
    }

    fn status(&mut self) -> u8 {
        self.barrier();
        self.qtest.in16(LSR).unwrap() as u8
    }

    /// What a driver does: a byte goes when the register takes one. How many it took of so many.
    fn send(&mut self, count: usize) -> usize {
        for sent in 0..count {
            if self.qtest.in16(LSR).unwrap() as u8 & THRE == 0 {
                return sent;
            }
            self.qtest.out8(THR, b'x').unwrap();
        }
        count
    }

    /// Sends until a byte waits for the host.
    fn fill(&mut self) {
        assert!(self.send(MANY) < MANY, "a socket takes it all");
        assert_eq!(self.status(), 0, "a byte is under way, and the register takes no other");
    }

    fn change(&mut self, backend: Value) {
        self.ask("chardev-change", json!({ "id": "c0", "backend": backend }));
    }

    fn ring(&mut self) -> Value {
        self.ask("ringbuf-read", json!({ "device": "c0", "size": 64 }))
    }
}

/// A UART with a host who does not read, until a byte waits for him.
fn waiting(dir: &TempDir) -> (Uart, UnixStream) {
    let mut uart = Uart::start(dir, "source", None);
    let host = uart.connect();
    uart.ask("cont", json!({}));
    uart.fill();
    (uart, host)
}

#[test]
fn without_a_host_bytes_are_dropped_and_look_sent() {
    if is_here(Real::Qemu) {
        let dir = tempfile::tempdir().unwrap();
        let mut uart = Uart::start(&dir, "source", None);
        uart.ask("cont", json!({}));
        assert_eq!((uart.send(100), uart.status()), (100, IDLE));
        let (mut waiting, host) = waiting(&tempfile::tempdir().unwrap());
        drop(host);
        assert_eq!((waiting.status(), waiting.send(100)), (IDLE, 100), "he has left");
    }
}

#[test]
fn a_byte_that_waits_when_its_chardev_is_replaced_silences_the_uart_until_it_is_reset() {
    if !is_here(Real::Qemu) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut uart, _host) = waiting(&dir);
    uart.change(json!({ "type": "ringbuf", "data": { "size": 64 } }));
    assert_eq!((uart.status(), uart.send(1)), (0, 0), "a ring buffer takes everything");
    uart.qtest.out8(THR, b'y').unwrap();
    for again in ["stop", "cont"] {
        uart.ask(again, json!({}));
    }
    for again in ["savevm here", "loadvm here"] {
        assert_eq!(uart.qmp.human(again).unwrap(), "");
    }
    assert_eq!((uart.status(), uart.ring()), (0, json!("")));
    uart.ask("system_reset", json!({}));
    uart.qmp.wait_for("RESET", |_| true).unwrap();
    assert_eq!((uart.send(3), uart.status(), uart.ring()), (3, IDLE, json!("xxx")));
}

/// A file can be waited for: it is asked, and takes what waits.
#[test]
fn where_the_new_chardev_can_be_waited_for_it_goes_on() {
    if is_here(Real::Qemu) {
        let dir = tempfile::tempdir().unwrap();
        let (mut uart, _host) = waiting(&dir);
        let out = dir.path().join("out");
        uart.change(json!({ "type": "file", "data": { "out": out } }));
        assert_eq!((uart.status(), uart.send(3), uart.status()), (IDLE, 3, IDLE));
        assert!(std::fs::read(out).unwrap().ends_with(b"xxx"));
    }
}

#[test]
fn a_byte_that_waits_silences_the_uart_of_a_destination_without_a_host() {
    if !is_here(Real::Qemu) {
        return;
    }
    for early in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (mut source, _host) = waiting(&dir);
        let stream = format!("unix:{}", dir.path().join("stream").display());
        let mut uart = Uart::start(&dir, "destination", Some(&stream));
        let mut host = early.then(|| uart.connect());
        source.ask("migrate", json!({ "uri": stream }));
        let start = std::time::Instant::now();
        while uart.ask("query-status", json!({}))["status"] == "inmigrate" {
            assert!(start.elapsed() < PATIENCE.busy, "{}", source.ask("query-migrate", json!({})));
        }
        uart.ask("cont", json!({}));
        host.get_or_insert_with(|| uart.connect());
        let goes_on = if early { (IDLE, 3) } else { (0, 0) };
        assert_eq!((uart.status(), uart.send(3)), goes_on, "the host is there early: {early}");
    }
}
