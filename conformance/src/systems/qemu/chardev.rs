//! The chardev study on a real QEMU: a virtio-serial driver over qtest, hosts on real descriptors, and
//! management over QMP.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};
use serde_json::json;
use statusquo_model::studies::chardev::{
    Study,
    action::Action,
    outcome::{Outcome, Reply, Seen},
    state::{Kind, State},
};
use tempfile::TempDir;

use super::{
    Qemu,
    clock::Clock,
    elements::{Elements, HEADER},
    machine::{self, Chardev, Machine},
    process::Process,
    qmp::Refusal,
    serial::{Driver, Notice},
    spice::{self, Client, News},
};
use crate::{
    replay::{Factory, Fault, Observed, System, environment},
    systems::hosts::{Host, read_all},
    workdir,
};

/// How long something that is owed may be late, where QEMU does not come to rest.
const PATIENCE: Duration = Duration::from_secs(4);
/// Between two looks for it.
const PAUSE: Duration = Duration::from_millis(1);
/// Looks in a row that find QEMU asleep and nothing new: then nothing is on its way. A busy machine only makes
/// them take longer.
const LOOKS_AT_REST: u32 = 100;
/// An element of the guest's where nothing is to be filled; a ring buffer holds one.
const SMALL: u32 = 64;
/// More than a second.
const SECOND: Duration = Duration::from_millis(1100);
/// Less than anything that is timed.
const INSTANT: Duration = Duration::from_micros(1);

/// Makes QEMUs for one scope.
#[derive(Debug)]
pub(super) struct QemuFactory {
    qemu: Qemu,
    kinds: &'static [Kind],
    /// How the last QEMU ended that was expected to.
    last_words: Arc<Mutex<Option<String>>>,
    /// The study counts seconds: time stands still until one of them passes. Where it does not, each
    /// step comes when all notices are out, all terminals were looked at, all sockets called again.
    seconds: bool,
}

impl QemuFactory {
    pub(super) fn factory(qemu: Qemu, study: &Study) -> Arc<dyn Factory<Study>> {
        Arc::new(QemuFactory {
            qemu,
            kinds: study.kinds(),
            last_words: Arc::default(),
            seconds: study.rules().rate_limit,
        })
    }
}

impl Factory<Study> for QemuFactory {
    fn name(&self) -> String {
        format!("QEMU {}{}", self.qemu.version(), self.qemu.variant().words())
    }

    fn cannot(&self, study: &Study, state: &State, action: Action) -> Option<&'static str> {
        self.qemu.variant().cannot(study, state, action)
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        if let Some(why) = self.qemu.variant().does_not_answer(self.kinds) {
            return Err(Fault::Environment(why));
        }
        let mut replayed = Replayed::new(&self.qemu, self.kinds, self.seconds)?;
        replayed.last_words = Arc::clone(&self.last_words);
        Ok(Box::new(replayed))
    }

    fn last_words(&self) -> Option<String> {
        self.last_words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Bytes that one write on an empty unix socket takes, so that the next one is refused.
fn capacity() -> io::Result<u32> {
    static CAPACITY: OnceLock<u32> = OnceLock::new();
    if let Some(capacity) = CAPACITY.get() {
        return Ok(*capacity);
    }
    let (mut one, _other) = UnixStream::pair()?;
    one.set_nonblocking(true)?;
    let taken = one.write(&vec![0; 1 << 22])?;
    Ok(*CAPACITY.get_or_init(|| taken as u32))
}

/// One machine with its guest, its hosts and its directory.
pub(super) struct Replayed {
    pub(super) machine: Machine,
    pub(super) driver: Driver,
    pub(super) ends: Vec<End>,
    clock: Clock,
    seconds: bool,
    /// How long something that is owed may be late.
    pub(super) patience: Duration,
    last_words: Arc<Mutex<Option<String>>>,
    qemu: Qemu,
    paths: u32,
    /// What a socket holds.
    capacity: u32,
    dir: TempDir,
    _root: Arc<TempDir>,
}

/// What is known of one chardev.
pub(super) struct End {
    pub(super) chardev: Chardev,
    pub(super) host: Host,
    /// Bytes of a file that were counted.
    stored: u64,
    /// The named pipe that stands for a file.
    fifo: Option<File>,
    output: Elements,
    input: Elements,
    /// The host has read in this step.
    has_read: bool,
}

impl End {
    /// If QEMU has hung up: the host reads to the end, and is gone.
    fn cut_off(&mut self, seen: &mut Seen) -> Result<(), Fault> {
        if self.host.is_there() && self.host.is_cut_off() {
            let mut bytes = Vec::new();
            self.host.read(&mut bytes).map_err(environment)?;
            self.host = Host::Gone;
            seen.host_receives += self.output.count(&bytes)?;
            seen.host_sees.push(false);
        }
        Ok(())
    }
}

impl Replayed {
    pub(super) fn new(qemu: &Qemu, kinds: &[Kind], seconds: bool) -> Result<Self, Fault> {
        let capacity = capacity().map_err(environment)?;
        let root = workdir::root().map_err(environment)?;
        let dir = TempDir::new_in(root.path()).map_err(environment)?;
        machine::write_files(dir.path(), qemu.variant().board()).map_err(environment)?;
        let clock = Clock::new(dir.path()).map_err(environment)?;
        let mut ends = Vec::new();
        for (at, &kind) in kinds.iter().enumerate() {
            let path = dir.path().join(at.to_string());
            ends.push(End {
                fifo: fifo_for(qemu, kind, &path)?,
                chardev: Chardev { kind, path, plugged: true },
                host: Host::Gone,
                stored: 0,
                output: Elements::default(),
                input: Elements::default(),
                has_read: false,
            });
        }
        let chardevs: Vec<Chardev> = ends.iter().map(|end| end.chardev.clone()).collect();
        let machine = Machine::start(
            &qemu.program,
            dir.path(),
            "vm0",
            &clock,
            &chardevs,
            SMALL as usize,
            None,
        )?;
        let driver = Driver::new(kinds.len());
        let (paths, qemu) = (kinds.len() as u32, qemu.clone());
        Ok(Replayed {
            machine,
            driver,
            ends,
            clock,
            seconds,
            patience: PATIENCE,
            last_words: Arc::default(),
            qemu,
            paths,
            capacity,
            dir,
            _root: root,
        })
    }

    pub(super) fn new_path(&mut self) -> PathBuf {
        self.paths += 1;
        self.dir.path().join(self.paths.to_string())
    }

    /// Lets what is timed happen, where the study does not count seconds.
    pub(super) fn let_time_pass(&mut self) -> Result<(), Fault> {
        let by = if self.seconds { INSTANT } else { SECOND };
        self.clock.advance(by).map_err(environment)?;
        self.machine.barrier()
    }

    pub(super) fn perform(&mut self, action: Action, seen: &mut Outcome) -> Result<(), Fault> {
        let at = action.port().unwrap_or(0);
        let Machine { qmp, qtest, .. } = &mut self.machine;
        match action {
            Action::Stop => qmp.expect("stop", json!({})).map(drop)?,
            Action::Cont => qmp.expect("cont", json!({})).map(drop)?,
            Action::SystemReset => {
                qmp.expect("system_reset", json!({}))?;
                qmp.wait_for("RESET", |_| true)?;
                self.driver.machine_was_reset();
            }
            Action::DriverReset => self.driver.stop(qtest)?,
            Action::SaveLoad => {
                self.machine.silently("savevm here")?;
                self.machine.silently("loadvm here")?;
            }
            Action::DriverInit => self.driver.start(qtest)?,
            Action::PostControl => self.driver.give_control_back(qtest)?,
            Action::WithholdControl => self.driver.keep_control(qtest)?,
            Action::Query { .. } => {
                let (name, frontend_open) = self.machine.query(at)?;
                let connected = !name.starts_with("disconnected:");
                seen.reply = Reply::Chardev { connected, frontend_open };
            }
            Action::Unplug { .. } => match self.machine.unplug(at)? {
                Ok(()) => {
                    self.ends[at].chardev.plugged = false;
                    self.driver.forget_port(&mut self.machine.qtest, at)?;
                }
                Err(refusal) => seen.reply = reply(refusal)?,
            },
            Action::Plug { .. } => match self.machine.plug(at)? {
                Ok(()) => self.ends[at].chardev.plugged = true,
                Err(refusal) => seen.reply = reply(refusal)?,
            },
            Action::Change { to, .. } => {
                let plugged = self.ends[at].chardev.plugged;
                let to = Chardev { kind: to, path: self.new_path(), plugged };
                let fifo = fifo_for(&self.qemu, to.kind, &to.path)?;
                match self.machine.change(at, &to, SMALL as usize)? {
                    Ok(()) => {
                        self.ends[at].chardev = to;
                        self.ends[at].stored = 0;
                        self.ends[at].fifo = fifo;
                    }
                    Err(refusal) => seen.reply = reply(refusal)?,
                }
            }
            Action::GuestOpen { .. } => self.driver.say_open(qtest, at, true)?,
            Action::GuestClose { .. } => self.driver.say_open(qtest, at, false)?,
            Action::GuestWrite { .. } => {
                let end = &mut self.ends[at];
                let usual = !self.qemu.variant().is_inet() && end.fifo.is_none();
                let len = match end.chardev.kind {
                    Kind::Server | Kind::Client | Kind::File | Kind::Null if usual => self.capacity,
                    _ => SMALL,
                };
                if end.chardev.kind == Kind::Agent {
                    let element = spice::framed(end.output.header(HEADER as u32));
                    self.driver.write(qtest, at, &element, element.len() as u32)?;
                } else {
                    self.driver.write(qtest, at, &end.output.header(len), len)?;
                }
            }
            Action::GuestPost { .. } => {
                let is_agent = self.ends[at].chardev.kind == Kind::Agent;
                self.driver.post(qtest, at, if is_agent { spice::FRAMED } else { HEADER })?;
            }
            Action::HostConnect { .. } => self.ends[at].host = self.connect(at)?,
            Action::HostDisconnect { .. } => self.ends[at].host.leave().map_err(environment)?,
            Action::HostHalfClose { .. } => {
                self.ends[at].host.half_close().map_err(environment)?;
            }
            Action::HostWrite { .. } => {
                let end = &mut self.ends[at];
                let element = end.input.header(HEADER as u32);
                match &mut self.machine.spice {
                    Some(client) if end.chardev.kind == Kind::Agent => client.write(element)?,
                    _ => end.host.write(&element).map_err(environment)?,
                }
            }
            Action::HostRead { .. } => {
                self.ends[at].has_read = false;
                seen.reply = Reply::Nothing;
            }
            Action::Migrate { host, run } => self.migrate(host, run, seen)?,
            Action::SecondPasses => {
                self.clock.advance(Duration::from_secs(1)).map_err(environment)?;
            }
        }
        Ok(())
    }

    /// A host for the chardev of `at`, after QEMU has seen it.
    fn connect(&mut self, at: usize) -> Result<Host, Fault> {
        let Chardev { kind, path, .. } = self.ends[at].chardev.clone();
        let mut host = match kind {
            Kind::Server if self.qemu.variant().is_inet() => {
                let (name, _) = self.machine.query(at)?;
                Host::connect_to(tcp_address(&name)?)
            }
            Kind::Server => Host::connect(&path),
            Kind::Client => Host::listen(&path),
            _ => {
                let (name, _) = self.machine.query(at)?;
                Host::hold(name.trim_start_matches("pty:").as_ref())
            }
        }
        .map_err(environment)?;
        let mut waiting = Waiting::new(self.patience);
        loop {
            self.let_time_pass()?;
            host.accept().map_err(environment)?;
            let (name, _) = self.machine.query(at)?;
            let connected = host.is_there() && !name.starts_with("disconnected:");
            if connected || waiting.is_in_vain(&self.machine.process, false) {
                return Ok(host);
            }
        }
    }

    /// A new QEMU with new chardevs takes over; the guest's memory comes with the stream.
    fn migrate(&mut self, host: bool, run: bool, seen: &mut Outcome) -> Result<(), Fault> {
        for at in 0..self.ends.len() {
            let path = self.new_path();
            let end = &mut self.ends[at];
            end.fifo = fifo_for(&self.qemu, end.chardev.kind, &path)?;
            end.chardev.path = path;
            end.stored = 0;
        }
        let name = format!("vm{}", self.paths);
        let stream = self.new_path();
        let chardevs: Vec<Chardev> = self.ends.iter().map(|end| end.chardev.clone()).collect();
        let destination = Machine::start(
            &self.qemu.program,
            self.dir.path(),
            &name,
            &self.clock,
            &chardevs,
            SMALL as usize,
            Some(&stream),
        )?;
        let mut source = std::mem::replace(&mut self.machine, destination);
        let mut hosts = Vec::new();
        for at in 0..self.ends.len() {
            if host && self.ends[at].chardev.kind.has_host() {
                hosts.push((at, self.connect(at)?));
            }
        }
        source.migrate(&stream).map_err(|fault| source.process.explain(fault))?;
        self.machine.await_incoming()?;
        // The source ends, and with it every connection.
        let client = source.spice.take();
        drop(source);
        let news = client.map(Client::end).transpose()?.flatten();
        self.hear(news, seen)?;
        for (at, end) in self.ends.iter_mut().enumerate() {
            end.cut_off(seen.seen_mut(at))?;
            end.host = Host::Gone;
        }
        for (at, host) in hosts {
            self.ends[at].host = host;
        }
        if run {
            self.machine.qmp.expect("cont", json!({}))?;
        }
        Ok(())
    }

    /// Adds what has happened since last looked.
    fn observe(&mut self, action: Action, seen: &mut Outcome) -> Result<(), Fault> {
        let runs = self.machine.qmp.runs()?;
        for notice in self.driver.notices(&mut self.machine.qtest, runs)? {
            match notice {
                Notice::Announced(port) => seen.seen_mut(port as usize - 1).announced = true,
                Notice::Host { port, connected } => {
                    seen.seen_mut(port as usize - 1).guest_told.push(connected);
                }
            }
        }
        for event in self.machine.qmp.take_events()? {
            if event["event"] == "VSERPORT_CHANGE" {
                let id = event["data"]["id"].as_str().unwrap_or_default();
                let at = (0..self.ends.len()).find(|at| machine::device(*at) == id);
                let open = event["data"]["open"].as_bool();
                if let (Some(at), Some(open)) = (at, open) {
                    seen.seen_mut(at).management_told.push(open);
                }
            }
        }
        if let Some(client) = &mut self.machine.spice {
            let news = client.news()?;
            self.hear(news, seen)?;
        }
        for at in 0..self.ends.len() {
            self.observe_end(at, action, seen)?;
        }
        Ok(())
    }

    /// What the SPICE client was told is about the only agent that there can be.
    fn hear(
        &mut self,
        news: impl IntoIterator<Item = News>,
        seen: &mut Outcome,
    ) -> Result<(), Fault> {
        let at = self.ends.iter().position(|end| end.chardev.kind == Kind::Agent);
        let Some(at) = at else { return Ok(()) };
        for news in news {
            let seen = seen.seen_mut(at);
            if let News::Disconnected { unread } = &news {
                seen.host_receives += self.ends[at].output.count(unread)?;
            }
            seen.host_sees.push(news == News::Connected);
        }
        Ok(())
    }

    fn observe_end(&mut self, at: usize, action: Action, seen: &mut Outcome) -> Result<(), Fault> {
        if action == (Action::HostRead { port: at as u8 }) && !self.ends[at].has_read {
            self.host_reads(at, seen)?;
        }
        let (completed, mut received) = self.driver.take_back(&mut self.machine.qtest, at)?;
        // Bytes into the void: only the port knows whether it has let them through.
        let void = self.ends[at].chardev.kind == Kind::Null
            && completed > 0
            && self.machine.port_has_host(at)?;
        let end = &mut self.ends[at];
        end.cut_off(seen.seen_mut(at))?;
        let mut stored = if void { completed } else { 0 };
        if let Some(fifo) = &mut end.fifo {
            let mut bytes = Vec::new();
            read_all(fifo, &mut bytes).map_err(environment)?;
            stored += end.output.count(&bytes)?;
        } else if end.chardev.kind == Kind::File {
            let mut bytes = Vec::new();
            let mut file = File::open(&end.chardev.path).map_err(environment)?;
            file.seek(SeekFrom::Start(end.stored)).map_err(environment)?;
            file.read_to_end(&mut bytes).map_err(environment)?;
            stored += end.output.count(&bytes)?;
            end.stored += bytes.len() as u64;
        }
        if end.chardev.kind == Kind::Agent {
            received = spice::elements(&received)?;
        }
        let seen = seen.seen_mut(at);
        seen.completed += completed;
        seen.stored += stored;
        seen.guest_receives += end.input.count(&received)?;
        Ok(())
    }

    /// The host reads what is there. QEMU stands still meanwhile: otherwise it would send on what has
    /// waited, and the host might read that as well, or not.
    pub(super) fn host_reads(&mut self, at: usize, seen: &mut Outcome) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        if self.ends[at].chardev.kind == Kind::Ring {
            let arguments =
                json!({ "device": machine::chardev(at), "size": SMALL, "format": "base64" });
            let read = self.machine.qmp.expect("ringbuf-read", arguments)?;
            let text = read.as_str().unwrap_or_default();
            bytes = BASE64
                .decode(text)
                .map_err(|error| Fault::Garbage(format!("ringbuf-read: {error}: {text:?}")))?;
        } else if let Some(client) = &mut self.machine.spice
            && self.ends[at].chardev.kind == Kind::Agent
        {
            bytes = client.read()?;
        } else {
            let host = &mut self.ends[at].host;
            let read = self.machine.process.held_still(|| host.read(&mut bytes));
            read.and_then(|read| read).map_err(environment)?;
        }
        let count = self.ends[at].output.count(&bytes)?;
        if count > 0 {
            self.ends[at].has_read = true;
            seen.seen_mut(at).host_receives += count;
            seen.reply = Reply::Ok;
        }
        Ok(())
    }

    /// The driver answers what it is told.
    pub(super) fn look(&mut self, runs: bool) -> Result<(), Fault> {
        self.driver.notices(&mut self.machine.qtest, runs).map(drop)
    }

    fn step(&mut self, action: Action, owed: &Outcome) -> Result<Outcome, Fault> {
        let mut seen = Outcome::default();
        self.let_time_pass()?;
        self.perform(action, &mut seen)?;
        self.let_time_pass()?;
        let mut waiting = Waiting::new(self.patience);
        loop {
            let before = seen;
            self.observe(action, &mut seen)?;
            if seen == *owed || waiting.is_in_vain(&self.machine.process, seen != before) {
                break;
            }
            self.let_time_pass()?;
        }
        // And nothing more comes.
        self.let_time_pass()?;
        if let Action::HostRead { port } = action {
            self.ends[usize::from(port)].has_read = true;
        }
        self.observe(action, &mut seen)?;
        Ok(seen)
    }
}

/// Waits for something that is owed, and no longer than it can still come.
struct Waiting {
    since: Instant,
    patience: Duration,
    at_rest: u32,
}

impl Waiting {
    fn new(patience: Duration) -> Self {
        Waiting { since: Instant::now(), patience, at_rest: 0 }
    }

    /// It has not come at this look, though something else may be `new`: is it no use to look again? Pauses
    /// where it is.
    fn is_in_vain(&mut self, process: &Process, new: bool) -> bool {
        std::thread::sleep(PAUSE);
        self.at_rest = if process.sleeps() && !new { self.at_rest + 1 } else { 0 };
        self.at_rest > LOOKS_AT_REST || self.since.elapsed() > self.patience
    }
}

/// Makes a named pipe where one stands for a file. Its reader is there first, so that QEMU can open it.
fn fifo_for(qemu: &Qemu, kind: Kind, path: &Path) -> Result<Option<File>, Fault> {
    if kind != Kind::File || !qemu.variant().is_fifo() {
        return Ok(None);
    }
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).map_err(environment)?;
    // For both, or it would be at its end whenever QEMU has it not open.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map(|fd| Some(File::from(fd))).map_err(environment)
}

/// Where a chardev listens, by its file name: `disconnected:tcp:127.0.0.1:1234,server=on`.
fn tcp_address(name: &str) -> Result<SocketAddr, Fault> {
    let address = name.split("tcp:").nth(1).and_then(|rest| rest.split(',').next());
    let address = address.and_then(|address| address.parse().ok());
    address.ok_or_else(|| Fault::Garbage(format!("query-chardev names no TCP address: {name}")))
}

/// A refusal in the study's words.
fn reply(refusal: Refusal) -> Result<Reply, Fault> {
    let Refusal { class, description } = refusal;
    if class == "DeviceNotFound" {
        Ok(Reply::DeviceNotFound)
    } else if description.starts_with("Duplicate device ID") {
        Ok(Reply::DuplicateDevice)
    } else if description == "Chardev user does not support chardev hotswap" {
        Ok(Reply::HotswapNotSupported)
    } else {
        Err(Fault::Garbage(format!("an unknown refusal: {class}: {description}")))
    }
}

impl System<Study> for Replayed {
    fn apply(&mut self, action: Action, owed: &Outcome) -> Result<Observed<Study>, Fault> {
        let fault = match self.step(action, owed) {
            Ok(seen) => return Ok(Observed::Outcome(seen)),
            Err(fault) => self.machine.process.explain(fault),
        };
        // A crash that is foretold is an outcome; any other is a fault, which says how QEMU ended.
        match fault {
            Fault::Died(how) if owed.reply == Reply::Died && self.machine.process.has_crashed() => {
                *self.last_words.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
                Ok(Observed::Outcome(Outcome::died()))
            }
            fault => Err(fault),
        }
    }
}

impl std::fmt::Debug for Replayed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replayed").field("machine", &self.machine).finish_non_exhaustive()
    }
}
