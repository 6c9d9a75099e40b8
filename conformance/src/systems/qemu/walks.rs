//! Walks on a real QEMU: whatever is done, it must live and go on answering.

use std::{
    io::Write,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use statusquo_model::{
    studies::chardev::{action::Action, outcome::Outcome, state::Kind},
    words::words,
};

use super::{
    Qemu,
    chardev::Replayed,
    machine::{chardev, device},
    pci,
    serial::{self, CONTROL},
    virtio,
    wild::{self, Another, Backend, Button, Flaw, Move, Sink},
};
use crate::{
    replay::{Fault, environment},
    search::{End, EndKind, Ground, Ran, coarse},
};

/// How long an unplugged device is waited for; the guest may never let it go.
const DELETION: Duration = Duration::from_millis(150);
/// How long a host is waited for.
const CONNECTION: Duration = Duration::from_millis(50);
/// How long a migration may take to come to a standstill, where it does.
const STALL: Duration = Duration::from_secs(10);
/// What a destination says that ends because of what it was sent.
const REFUSED: &str = "load of migration failed";
/// The chardev and the device that do not belong to a port of the study.
const ADDED: &str = "added";
const ANOTHER: &str = "another";
const CONTROLLER: &str = "vser0";
/// Where hostile descriptors and tables are put.
const SCRATCH: u64 = 0xE0_0000;
const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Where walks are made: on one QEMU each.
#[derive(Debug)]
pub struct QemuGround {
    qemu: Qemu,
}

impl QemuGround {
    pub(super) fn new(qemu: Qemu) -> Self {
        QemuGround { qemu }
    }
}

impl Ground for QemuGround {
    type Move = Move;

    fn beginnings(&self) -> Vec<Vec<Move>> {
        wild::beginnings()
    }

    fn alphabet(&self) -> Vec<Move> {
        wild::alphabet()
    }

    fn walk(&self, moves: &[Move]) -> Ran {
        let mut ran = Ran::default();
        let Some((Move::Start { ports }, moves)) = moves.split_first() else { return ran };
        let mut walker = match Walker::new(&self.qemu, ports) {
            Ok(walker) => walker,
            // Nothing is known of QEMU.
            Err(fault) => {
                ran.stuck = Some(fault.to_string());
                return ran;
            }
        };
        ran.shown.push((0, "start".to_owned()));
        for (at, one) in (1..).zip(moves) {
            match walker.take(one) {
                Ok(shown) => ran.shown.push((at, shown)),
                Err(fault) => {
                    let on = name(one);
                    ran.end = walker.end(fault).map(|(kind, how)| End { at, on, kind, how });
                    break;
                }
            }
        }
        ran
    }
}

/// One QEMU with what the walk has added to it.
struct Walker {
    on: Replayed,
    /// Peers that are kept, and never read from.
    kept: Vec<UnixStream>,
    stalled: Option<UnixListener>,
    saved: bool,
}

impl Walker {
    fn new(qemu: &Qemu, ports: &[Kind]) -> Result<Self, Fault> {
        let mut on = Replayed::new(qemu, ports, false)?;
        on.patience = CONNECTION;
        Ok(Walker { on, kept: Vec::new(), stalled: None, saved: false })
    }

    /// How QEMU has ended, if it has.
    fn end(&mut self, fault: Fault) -> Option<(EndKind, String)> {
        let process = &mut self.on.machine.process;
        match fault {
            Fault::Died(how) => {
                let ended = process.ended(Duration::from_secs(5));
                let kind = if process.has_crashed() { EndKind::Crash } else { EndKind::Exit };
                // Another than the present one: whoever noticed says how.
                let kind = match &ended {
                    None if how.starts_with("signal") => EndKind::Crash,
                    _ => kind,
                };
                let how = without_chatter(&ended.unwrap_or(how));
                // A destination may refuse what it is not made for, and the source goes on.
                (kind != EndKind::Exit || !how.contains(REFUSED)).then_some((kind, how))
            }
            Fault::Hang(patience) => {
                Some((EndKind::Hang, format!("no answer within {patience:?}")))
            }
            Fault::Garbage(_) | Fault::Environment(_) => None,
        }
    }

    /// Makes a move, and says coarsely what came of it.
    fn take(&mut self, one: &Move) -> Result<String, Fault> {
        let came = match self.perform(one) {
            Ok(came) => came,
            // It could not be done here; QEMU goes on.
            Err(Fault::Environment(_)) => "not here".to_owned(),
            Err(Fault::Garbage(what)) => coarse(&what),
            Err(fault) => return Err(fault),
        };
        self.on.let_time_pass()?;
        let status = self.on.machine.status()?;
        let runs = status == "running";
        // What the driver cannot make sense of after all that was done to its rings does not matter.
        if let Err(fault @ (Fault::Died(_) | Fault::Hang(_))) = self.on.look(runs) {
            return Err(fault);
        }
        self.on.machine.qmp.take_events()?.for_each(drop);
        Ok(format!("{}: {came}: {status}", words(one)))
    }

    fn qmp(&mut self, command: &str, arguments: Value) -> Result<String, Fault> {
        Ok(match self.on.machine.qmp.execute(command, arguments)? {
            Ok(_) => "done".to_owned(),
            Err(refusal) => coarse(&refusal.description),
        })
    }

    fn perform(&mut self, one: &Move) -> Result<String, Fault> {
        let qtest = &mut self.on.machine.qtest;
        match *one {
            Move::Start { .. } => Err(Fault::Environment("it has begun".to_owned())),
            Move::Step(action) => self.step(action),
            Move::Change { port, to } => {
                let id = chardev(port.into());
                let backend = self.backend(to, Some(port));
                self.qmp("chardev-change", json!({ "id": id, "backend": backend }))
            }
            Move::AddChardev(to) => {
                let backend = self.backend(to, None);
                self.qmp("chardev-add", json!({ "id": ADDED, "backend": backend }))
            }
            Move::RemoveChardev { port } => {
                self.qmp("chardev-remove", json!({ "id": id_of(port) }))
            }
            Move::PlugAnother { port, device } => {
                let driver = match device {
                    Another::Port => "virtserialport",
                    Another::Console => "virtconsole",
                    Another::Serial => "pci-serial",
                };
                self.qmp(
                    "device_add",
                    json!({ "driver": driver, "id": ANOTHER, "chardev": id_of(port) }),
                )
            }
            Move::UnplugAnother => self.unplug(ANOTHER),
            Move::UnplugController => self.unplug(CONTROLLER),
            Move::Eject { all } => {
                let slots = if all { u32::MAX } else { 1 << pci::SLOT };
                qtest.out32(virtio::ACPI_EJECT, slots)?;
                Ok("done".to_owned())
            }
            Move::PlugController => self.qmp(
                "device_add",
                json!({
                    "driver": "virtio-serial-pci", "id": CONTROLLER, "addr": "04.0", "ioeventfd": "off",
                    "disable-legacy": "off", "disable-modern": "on",
                }),
            ),
            Move::Yank { port } => self.qmp(
                "yank",
                json!({ "instances": [{ "type": "chardev", "id": chardev(port.into()) }] }),
            ),
            Move::Break { port } => {
                self.qmp("chardev-send-break", json!({ "id": chardev(port.into()) }))
            }
            Move::RingWrite { port } => self.qmp(
                "ringbuf-write",
                json!({ "device": chardev(port.into()), "data": "x".repeat(100) }),
            ),
            Move::Save => {
                let said = self.on.machine.qmp.human("savevm walk")?;
                self.saved |= said.trim().is_empty();
                Ok(coarse(&said))
            }
            Move::Load if self.saved => Ok(coarse(&self.on.machine.qmp.human("loadvm walk")?)),
            Move::Load => Err(Fault::Environment("nothing was saved".to_owned())),
            Move::MigrateTo(sink) => self.migrate_to(sink),
            Move::CancelMigration => self.qmp("migrate_cancel", json!({})),
            Move::Button(button) => {
                let command = match button {
                    Button::Power => "system_powerdown",
                    Button::Wake => "system_wakeup",
                    Button::Nmi => "inject-nmi",
                };
                self.qmp(command, json!({}))
            }
            Move::Control { id, event, value } => {
                self.on.driver.say(qtest, id, event, value)?;
                Ok("done".to_owned())
            }
            Move::ControlBytes { len } => self.offer(serial::CONTROL_OUT, &[(CONTROL, len, 0, 0)], 0),
            Move::Buffer { queue, flaw } => self.flawed(queue, flaw),
            Move::Index { queue, used, by } => {
                let at = if used { virtio::used(base(queue)) } else { avail(queue) } + 2;
                let index = u16::from_le_bytes(qtest.read(at)?).wrapping_add(by);
                qtest.write(at, &index.to_le_bytes())?;
                virtio::notify(qtest, queue)?;
                Ok("done".to_owned())
            }
            Move::QueueAt { queue, page } => {
                virtio::set_page(qtest, queue, page)?;
                virtio::notify(qtest, queue)?;
                Ok("done".to_owned())
            }
            Move::Notify { queue } => {
                virtio::notify(qtest, queue)?;
                Ok("done".to_owned())
            }
            Move::Status(value) => {
                virtio::set_status(qtest, value)?;
                Ok("done".to_owned())
            }
            Move::Features(value) => {
                virtio::set_features(qtest, value)?;
                Ok("done".to_owned())
            }
            Move::Config { at, value } => {
                virtio::write_config(qtest, at, value)?;
                Ok("done".to_owned())
            }
            Move::PciCommand(value) => {
                pci::write16(qtest, pci::COMMAND, value)?;
                Ok("done".to_owned())
            }
            Move::Flood { port } => {
                let end = self.end_of(port)?;
                // More than any buffer, and less than a socket holds: writing must not wait.
                end.host.write(&[0x2A; 20_000]).map_err(environment)?;
                Ok("done".to_owned())
            }
            Move::AnotherHost { port, stays, speaks } => {
                let path = self.end_of(port)?.chardev.path.clone();
                let mut host = UnixStream::connect(path).map_err(environment)?;
                host.set_nonblocking(true).map_err(environment)?;
                if speaks {
                    host.write_all(b"GET / HTTP/1.1\r\nUpgrade: web").map_err(environment)?;
                }
                self.on.machine.barrier()?;
                if stays {
                    self.kept.push(host);
                }
                Ok("done".to_owned())
            }
        }
    }

    fn end_of(&mut self, port: u8) -> Result<&mut super::chardev::End, Fault> {
        let end = self.on.ends.get_mut(usize::from(port));
        end.ok_or_else(|| Fault::Environment(format!("there is no port {port}")))
    }

    fn backend(&mut self, backend: Backend, port: Option<u8>) -> Value {
        let own = self.on.new_path();
        let end = port.and_then(|port| self.on.ends.get_mut(usize::from(port)));
        let present = end.as_ref().map_or_else(|| own.clone(), |end| end.chardev.path.clone());
        let json = backend.json(&text(&own), &text(&present), &id_of(port), ADDED);
        // Hosts go on to where the new one listens.
        if let (Some(end), Backend::Server | Backend::Telnet | Backend::Websocket) = (end, backend)
        {
            (end.chardev.path, end.chardev.kind) = (own, Kind::Server);
        }
        json
    }

    /// A step of the study; what may never come is not waited for.
    fn step(&mut self, action: Action) -> Result<String, Fault> {
        if action.port().is_some_and(|at| at >= self.on.ends.len()) {
            return Err(Fault::Environment("there is no such port".to_owned()));
        }
        let mut seen = Outcome::default();
        match action {
            Action::Unplug { port } => {
                let said = self.unplug(&device(port.into()))?;
                self.on.ends[usize::from(port)].chardev.plugged &= said != "deleted";
                self.on.driver.forget_port(&mut self.on.machine.qtest, port.into())?;
                return Ok(said);
            }
            Action::SystemReset => {
                let said = self.qmp("system_reset", json!({}))?;
                self.on.driver.machine_was_reset();
                return Ok(said);
            }
            Action::HostRead { port } => {
                self.on.host_reads(port.into(), &mut seen)?;
            }
            action => self.on.perform(action, &mut seen)?,
        }
        Ok(words(&seen.reply))
    }

    fn unplug(&mut self, id: &str) -> Result<String, Fault> {
        let said = self.qmp("device_del", json!({ "id": id }))?;
        let start = Instant::now();
        while said == "done" && start.elapsed() < DELETION {
            self.on.machine.barrier()?;
            let mut events = self.on.machine.qmp.take_events()?;
            if events.any(|event| event["event"] == "DEVICE_DELETED") {
                return Ok("deleted".to_owned());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(said)
    }

    fn migrate_to(&mut self, sink: Sink) -> Result<String, Fault> {
        let path = self.on.new_path();
        let uri = match sink {
            Sink::Nowhere => format!("unix:{}", path.display()),
            Sink::Everything => format!("exec:cat >{}", path.display()),
            Sink::Stalled => {
                self.stalled = Some(UnixListener::bind(&path).map_err(environment)?);
                format!("unix:{}", path.display())
            }
        };
        let said = self.qmp("migrate", json!({ "uri": uri }))?;
        if sink == Sink::Stalled && said == "done" {
            self.let_it_stall()?;
        }
        Ok(said)
    }

    /// Goes on asking until QEMU's own thread has come to the part of the stream that nobody reads: how soon
    /// that is depends on what else the machine does.
    fn let_it_stall(&mut self) -> Result<(), Fault> {
        let start = Instant::now();
        while start.elapsed() < STALL {
            self.on.let_time_pass()?;
            let progress = self.on.machine.qmp.expect("query-migrate", json!({}))?;
            if matches!(progress["status"].as_str(), Some("failed" | "completed" | "cancelled")) {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Offers a chain of (address, length, flags, next), from `head` on.
    fn offer(
        &mut self,
        queue: u16,
        chain: &[(u64, u32, u16, u16)],
        head: u16,
    ) -> Result<String, Fault> {
        let qtest = &mut self.on.machine.qtest;
        let base = base(queue);
        for (at, descriptor) in (0..).zip(chain) {
            qtest.write(base + 16 * at, &bytes(*descriptor))?;
        }
        let index = u16::from_le_bytes(qtest.read(avail(queue) + 2)?);
        let slot = u64::from(index % virtio::usual_size(queue));
        qtest.write(avail(queue) + 4 + 2 * slot, &head.to_le_bytes())?;
        qtest.write(avail(queue) + 2, &index.wrapping_add(1).to_le_bytes())?;
        virtio::notify(qtest, queue)?;
        Ok("done".to_owned())
    }

    fn flawed(&mut self, queue: u16, flaw: Flaw) -> Result<String, Fault> {
        // Even queues are written by the device, odd ones by the guest.
        let way = if queue.is_multiple_of(2) { WRITE } else { 0 };
        let chain = match flaw {
            Flaw::Empty => vec![(SCRATCH, 0, way, 0)],
            Flaw::NoMemory => vec![(1 << 40, 64, way, 0)],
            Flaw::Registers => vec![(0xFEE0_0000, 64, way | NEXT, 1), (0xFEC0_0000, 64, way, 0)],
            Flaw::Loop => vec![(SCRATCH, 64, way | NEXT, 1), (SCRATCH, 64, way | NEXT, 0)],
            Flaw::Direction => vec![(SCRATCH, 64, way ^ WRITE, 0)],
            Flaw::Huge => {
                let len = virtio::usual_size(queue);
                let more = |at: u16| if at + 1 < len { NEXT } else { 0 };
                (0..len).map(|at| (0x10_0000, 0xE0_0000, way | more(at), at + 1)).collect()
            }
            Flaw::Indirect => {
                let table = (SCRATCH, 16 * 16, INDIRECT, 0);
                self.on.machine.qtest.write(SCRATCH, &bytes(table))?;
                vec![table]
            }
            Flaw::Head => return self.offer(queue, &[], 0x7FFF),
        };
        self.offer(queue, &chain, 0)
    }
}

/// Which move it is, without its particulars.
fn name(one: &Move) -> String {
    let text = words(one);
    text.split(['{', ':']).map(str::trim).take(2).collect::<Vec<_>>().join(" ")
}

/// Without what QEMU says while all is well.
fn without_chatter(how: &str) -> String {
    const CHATTER: [&str; 3] =
        ["char device redirected", "Unable to connect character device", "virtio-serial-bus: "];
    let (how, said) = how.split_once("; it said: ").unwrap_or((how, ""));
    let said: Vec<&str> = said
        .split(" | ")
        .filter(|line| !line.is_empty() && !CHATTER.iter().any(|chatter| line.contains(chatter)))
        .collect();
    if said.is_empty() { how.to_owned() } else { format!("{how}; it said: {}", said.join(" | ")) }
}

fn bytes((address, len, flags, next): (u64, u32, u16, u16)) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&address.to_le_bytes());
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes[12..14].copy_from_slice(&flags.to_le_bytes());
    bytes[14..].copy_from_slice(&next.to_le_bytes());
    bytes
}

fn base(queue: u16) -> u64 {
    serial::RINGS + u64::from(queue) * virtio::QUEUE_BYTES
}

fn avail(queue: u16) -> u64 {
    base(queue) + 16 * u64::from(virtio::usual_size(queue))
}

fn id_of(port: Option<u8>) -> String {
    port.map_or_else(|| ADDED.to_owned(), |port| chardev(port.into()))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
