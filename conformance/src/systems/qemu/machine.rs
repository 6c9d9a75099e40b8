//! One QEMU: its process, its two control sockets, and what management asks of it.

use std::{
    io,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use serde_json::{Value, json};
use statusquo_model::studies::chardev::state::Kind;

use super::{
    Program,
    board::Board,
    clock::{self, Clock},
    files,
    patience::PATIENCE,
    process::Process,
    qmp::{Qmp, Refusal},
    qtest::QTest,
    spice::Client,
    variant::Variant,
};
use crate::replay::{Fault, environment};

/// A port that no trace touches. It is there whatever is unplugged, so that `DEVICE_READY` is answered.
const SPARE_PORT: u32 = 30;
/// Turns of the main loop after which everything that was ready has been handled, and what that made ready too.
const BARRIER: u32 = 3;

/// What one chardev is started with.
#[derive(Clone, Debug)]
pub(super) struct Chardev {
    pub(super) kind: Kind,
    /// Where its socket or file is.
    pub(super) path: PathBuf,
    /// A port is plugged in that uses it.
    pub(super) plugged: bool,
}

/// A running QEMU.
#[derive(Debug)]
pub(super) struct Machine {
    program: Program,
    pub(super) qmp: Qmp,
    pub(super) qtest: QTest,
    /// The SPICE server's client, where a chardev is an agent's.
    pub(super) spice: Option<Client>,
    // Killed after the sockets are closed; it does not mind.
    pub(super) process: Process,
}

/// The chardev of a port.
pub(super) fn chardev(at: usize) -> String {
    format!("c{at}")
}

/// The device of a port.
pub(super) fn device(at: usize) -> String {
    format!("p{at}")
}

/// What all machines of one trace share: written once into its directory.
pub(super) fn write_files(dir: &Path, board: Board) -> io::Result<()> {
    std::fs::write(dir.join("firmware"), board.firmware())?;
    std::fs::write(dir.join("image"), files::empty_image())
}

impl Machine {
    /// Starts one, stopped, and negotiates. `name` tells its files from those of others in `dir`.
    pub(super) fn start(
        program: &Program,
        dir: &Path,
        name: &str,
        clock: &Clock,
        chardevs: &[Chardev],
        ring_size: usize,
        incoming: Option<&Path>,
    ) -> Result<Self, Fault> {
        let listen = |what: &str| {
            let path = dir.join(format!("{name}.{what}"));
            UnixListener::bind(&path).map(|listener| (listener, path))
        };
        let (qtest, qtest_path) = listen("qtest").map_err(environment)?;
        let (qmp, qmp_path) = listen("qmp").map_err(environment)?;
        let Program { binary, variant } = program;
        let board = variant.board();
        let mut command = Process::command(binary);
        command.args("-accel tcg -display none -nodefaults -S".split(' '));
        command.args(["-machine", board.option(), "-m", &board.memory().to_string()]);
        command.arg("-bios").arg(dir.join("firmware"));
        command.args(["-qtest-log", "none"]);
        command.arg("-qtest").arg(format!("unix:{}", qtest_path.display()));
        command.arg("-qmp").arg(format!("unix:{}", qmp_path.display()));
        // For `savevm`. A destination opens it while the source still has it.
        command.arg("-drive").arg(format!(
            "if=none,id=snapshots,format=qcow2,cache=unsafe,file.locking=off,file.filename={}",
            dir.join("image").display()
        ));
        // The older register layout: port accesses need no firmware.
        command.arg("-device").arg(
            "virtio-serial-pci,id=vser0,addr=04.0,ioeventfd=off,disable-legacy=off,disable-modern=on",
        );
        command.arg("-device").arg(format!("virtserialport,bus=vser0.0,nr={SPARE_PORT}"));
        let spice = dir.join(format!("{name}.spice"));
        let spice = chardevs.iter().any(|it| it.kind == Kind::Agent).then_some(spice);
        if let Some(path) = &spice {
            command
                .arg("-spice")
                .arg(format!("unix=on,addr={},disable-ticketing=on", path.display()));
        }
        for (at, chardev) in chardevs.iter().enumerate() {
            command.arg("-chardev").arg(option(at, chardev, ring_size, *variant));
            if chardev.plugged {
                command.arg("-device").arg(format!(
                    "{},bus=vser0.0,nr={},chardev={},id={}",
                    variant.driver(),
                    at + 1,
                    self::chardev(at),
                    device(at)
                ));
            }
        }
        if let Some(path) = incoming {
            command.arg("-incoming").arg(format!("unix:{}", path.display()));
        }
        if let Some(library) = clock::library() {
            clock.govern(&mut command, library);
        }
        let mut process = Process::spawn(command, dir.join(format!("{name}.errors")))
            .map_err(|error| Fault::Environment(format!("start {}: {error}", binary.display())))?;
        let called = |process: &mut Process| {
            let qtest = QTest::new(accept(&qtest, process, "qtest")?, board);
            let qmp = Qmp::new(accept(&qmp, process, "QMP")?)?;
            Ok((qtest, qmp, spice.as_deref().map(Client::link).transpose()?))
        };
        match called(&mut process) {
            Ok((qtest, qmp, spice)) => {
                process.has_started();
                Ok(Machine { program: program.clone(), qmp, qtest, spice, process })
            }
            Err(fault) => Err(process.does_not_start(&fault)),
        }
    }

    /// Waits until QEMU has handled all that has happened so far. Of events the sockets have taken what there is
    /// to tell: whoever emits one writes it.
    pub(super) fn barrier(&mut self) -> Result<(), Fault> {
        // The main loop answers qtest itself, and takes a line at once; QMP's thread polls for every byte.
        (0..BARRIER).try_for_each(|_| self.qtest.turn())
    }

    /// What `query-chardev` says: the file name, and whether the front-end is open.
    pub(super) fn query(&mut self, at: usize) -> Result<(String, bool), Fault> {
        let all = self.qmp.expect("query-chardev", json!({}))?;
        let found = all.as_array().into_iter().flatten().find(|one| one["label"] == chardev(at));
        let parts = found.and_then(|one| {
            Some((one["filename"].as_str()?.to_owned(), one["frontend-open"].as_bool()?))
        });
        parts.ok_or_else(|| Fault::Garbage(format!("query-chardev without {}", chardev(at))))
    }

    /// Does the port count its host as connected? Only `info qtree` tells.
    pub(super) fn port_has_host(&mut self, at: usize) -> Result<bool, Fault> {
        let tree = self.qmp.human("info qtree")?;
        let port = format!("port {}, ", at + 1);
        Ok(tree.lines().any(|line| line.contains(&port) && line.contains("host on")))
    }

    pub(super) fn status(&mut self) -> Result<String, Fault> {
        let status = self.qmp.expect("query-status", json!({}))?;
        Ok(status["status"].as_str().unwrap_or_default().to_owned())
    }

    /// `device_del`, waited for.
    pub(super) fn unplug(&mut self, at: usize) -> Result<Result<(), Refusal>, Fault> {
        let id = device(at);
        let asked = self.qmp.execute("device_del", json!({ "id": id }))?.map(drop);
        if asked.is_ok() {
            self.qmp.wait_for("DEVICE_DELETED", |data| data["device"] == *id)?;
        }
        Ok(asked)
    }

    pub(super) fn plug(&mut self, at: usize) -> Result<Result<(), Refusal>, Fault> {
        let arguments = json!({
            "driver": self.program.variant.driver(), "bus": "vser0.0", "nr": at + 1,
            "chardev": chardev(at), "id": device(at),
        });
        Ok(self.qmp.execute("device_add", arguments)?.map(drop))
    }

    pub(super) fn change(
        &mut self,
        at: usize,
        to: &Chardev,
        ring_size: usize,
    ) -> Result<Result<(), Refusal>, Fault> {
        let arguments =
            json!({ "id": chardev(at), "backend": backend(to, ring_size, self.program.variant) });
        Ok(self.qmp.execute("chardev-change", arguments)?.map(drop))
    }

    /// A command of the human monitor that prints nothing when it succeeds.
    pub(super) fn silently(&mut self, line: &str) -> Result<(), Fault> {
        match self.qmp.human(line)?.trim() {
            "" => Ok(()),
            error => Err(Fault::Garbage(format!("{line}: {error}"))),
        }
    }

    /// Sends the machine to the QEMU that listens at `path`.
    pub(super) fn migrate(&mut self, path: &Path) -> Result<(), Fault> {
        let uri = format!("unix:{}", path.display());
        self.qmp.expect("migrate", json!({ "uri": uri }))?;
        let start = Instant::now();
        loop {
            let progress = self.qmp.expect("query-migrate", json!({}))?;
            match progress["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    return Err(Fault::Garbage(format!("migration: {progress}")));
                }
                _ => self.process.is_waited_for(start)?,
            }
        }
    }

    /// Waits until the stream is loaded.
    pub(super) fn await_incoming(&mut self) -> Result<(), Fault> {
        let start = Instant::now();
        while self.status()? == "inmigrate" {
            self.process.is_waited_for(start)?;
        }
        Ok(())
    }
}

/// QEMU calls us: no file has to be waited for.
pub(super) fn accept(
    listener: &UnixListener,
    process: &mut Process,
    what: &str,
) -> Result<UnixStream, Fault> {
    let start = Instant::now();
    loop {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        let moment = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        match poll(&mut fds, Some(&moment)) {
            // Nobody yet; or a signal that ends this process, and whoever handles it says so.
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return listener.accept().map(|(stream, _)| stream).map_err(environment),
            Err(error) => return Err(environment(error)),
        }
        if let Some(how) = process.ended(Duration::ZERO) {
            return Err(Fault::Died(how));
        }
        if let Some(waited) = PATIENCE.is_over(Some(process.id()), start.elapsed()) {
            return Err(Fault::Garbage(format!(
                "it does not connect to its {what} socket within {waited:?}"
            )));
        }
    }
}

fn option(at: usize, chardev: &Chardev, ring_size: usize, variant: Variant) -> String {
    let Chardev { kind, path, .. } = chardev;
    let (id, path) = (self::chardev(at), path.display());
    match kind {
        // The kernel finds a port that is free; `query-chardev` tells which.
        Kind::Server if variant.is_inet() => {
            format!("socket,id={id},host=127.0.0.1,port=0,ipv4=on,ipv6=off,server=on,wait=off")
        }
        Kind::Server => format!("socket,id={id},path={path},server=on,wait=off"),
        Kind::Client => format!("socket,id={id},path={path},reconnect=1"),
        Kind::Pty => format!("pty,id={id}"),
        Kind::File => format!("file,id={id},path={path}"),
        Kind::Null => format!("null,id={id}"),
        Kind::Ring => format!("ringbuf,id={id},size={ring_size}"),
        Kind::Agent => format!("spicevmc,id={id},name=vdagent"),
    }
}

fn backend(chardev: &Chardev, ring_size: usize, variant: Variant) -> Value {
    let path = chardev.path.display().to_string();
    let address = if variant.is_inet() {
        json!({ "type": "inet", "data": { "host": "127.0.0.1", "port": "0", "ipv4": true, "ipv6": false } })
    } else {
        json!({ "type": "unix", "data": { "path": path } })
    };
    let socket = |more: Value| {
        let mut data = json!({ "addr": address });
        if let (Some(data), Some(more)) = (data.as_object_mut(), more.as_object()) {
            data.extend(more.clone());
        }
        json!({ "type": "socket", "data": data })
    };
    match chardev.kind {
        Kind::Server => socket(json!({ "server": true, "wait": false })),
        Kind::Client => socket(json!({ "server": false, "reconnect": 1 })),
        Kind::Pty => json!({ "type": "pty", "data": {} }),
        Kind::File => json!({ "type": "file", "data": { "out": path } }),
        Kind::Null => json!({ "type": "null", "data": {} }),
        Kind::Ring => json!({ "type": "ringbuf", "data": { "size": ring_size } }),
        Kind::Agent => json!({ "type": "spicevmc", "data": { "type": "vdagent" } }),
    }
}
