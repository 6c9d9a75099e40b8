//! The chardev study on our chardev layer: unix sockets, ptys and files.
//!
//! An element of the study is a fixed number of bytes, chosen so that one fills a transport whose fullness
//! the study knows. Elements carry their number, so that loss, repetition and disorder are seen.

use std::{
    fs::File,
    io,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use rustix::net::sockopt::set_socket_send_buffer_size;
use statusquo_model::studies::chardev::{
    Chardev, Study,
    action::Action,
    outcome::{Outcome, Reply},
    state::Kind,
};
use statusquo_vmm::chardev::{
    Config, Event, Machine, MachineError,
    frontend::{Guest, guest::Notice},
};
use tempfile::TempDir;

use crate::{
    replay::{Factory, Fault, Observed, System},
    studies::Replayable,
    systems::{hosts::Host, qemu::Qemu},
    workdir,
};

/// How long something that is owed may be late.
const PATIENCE: Duration = Duration::from_secs(2);
/// The kernel rounds this up to the smallest it allows: small elements fill the transport.
const SEND_BUFFER: usize = 1;
/// What the host sends at a time, and a receive buffer holds.
const INPUT: usize = 8;
/// What the guest sends at a time where nothing is filled.
const OUTPUT: usize = 64;

impl Replayable for Chardev {
    fn vmm(study: &Study) -> Option<Arc<dyn Factory<Study>>> {
        // Where a transport's fullness is modelled, one element fills it.
        let fills =
            study.backends().any(|kind| !matches!(kind, Kind::Pty | Kind::File | Kind::Null));
        Some(Arc::new(VmmFactory { kinds: study.kinds(), fills }))
    }

    const SHIPPED: Option<&'static str> = Some("qemu-7.2");
    const OF_QEMU: bool = true;

    /// What management sees of each port.
    fn aftermath(
        study: &Study,
        _: &<Study as statusquo_model::study::Study>::State,
    ) -> Vec<Action> {
        (0..study.kinds().len()).map(|port| Action::Query { port: port as u8 }).collect()
    }

    fn unseen(property: &str) -> Option<&'static str> {
        match property {
            "every backend starts in the same state" => Some(
                "it compares machines that were started with different backends; each start is replayed in \
                 its own scope",
            ),
            "every port can come to rest with both ends connected"
            | "both ends of a port are connected and bytes arrive" => Some(
                "it says that something is never reached, and no single run shows that; the runs of the \
                 suite never reach it",
            ),
            _ => None,
        }
    }

    fn qemu(study: &Study, qemu: &Qemu) -> Option<Arc<dyn Factory<Study>>> {
        Some(qemu.chardev(study))
    }
}

#[derive(Debug)]
struct VmmFactory {
    kinds: &'static [Kind],
    fills: bool,
}

impl Factory<Study> for VmmFactory {
    fn name(&self) -> String {
        format!("vmm {}", env!("CARGO_PKG_VERSION"))
    }

    fn start(&self) -> Result<Box<dyn System<Study>>, Fault> {
        let output = if self.fills { capacity().map_err(environment)? } else { OUTPUT };
        let system = Vmm::new(self.kinds, output).map_err(environment)?;
        Ok(Box::new(system))
    }
}

fn environment(error: impl std::fmt::Display) -> Fault {
    Fault::Environment(error.to_string())
}

/// Bytes that one write on an empty socket takes, so that the next one is refused.
fn capacity() -> io::Result<usize> {
    static CAPACITY: OnceLock<usize> = OnceLock::new();
    if let Some(capacity) = CAPACITY.get() {
        return Ok(*capacity);
    }
    let (mut one, _other) = UnixStream::pair()?;
    one.set_nonblocking(true)?;
    set_socket_send_buffer_size(&one, SEND_BUFFER)?;
    let taken = io::Write::write(&mut one, &vec![0; 1 << 22])?;
    Ok(*CAPACITY.get_or_init(|| taken))
}

/// One machine with its guest, its hosts and its directory.
struct Vmm {
    // Dropped before the directory that its sockets are in.
    machine: Machine,
    guest: Guest,
    ends: Vec<End>,
    dir: TempDir,
    _root: Arc<TempDir>,
    paths: u32,
    /// Bytes of one element of the guest's.
    output: usize,
}

/// What is known of one chardev.
struct End {
    kind: Kind,
    plugged: bool,
    host: Host,
    path: PathBuf,
    /// Bytes of a file, or elements given to the void, that were counted.
    stored: u64,
    output: Sequence,
    input: Sequence,
}

/// Numbers of elements, to see that none comes twice or too early.
#[derive(Default)]
struct Sequence {
    next: u64,
    seen: u64,
}

impl Sequence {
    fn element(&mut self, len: usize) -> Vec<u8> {
        self.next += 1;
        let mut bytes = self.next.to_le_bytes().to_vec();
        bytes.resize(len, 0);
        bytes
    }

    /// How many elements these bytes are.
    fn count(&mut self, bytes: &[u8], len: usize) -> Result<u8, Fault> {
        let elements = bytes.chunks_exact(len);
        if !elements.remainder().is_empty() {
            return Err(Fault::Garbage(format!(
                "{} bytes are no whole number of elements of {len}",
                bytes.len()
            )));
        }
        let mut count = 0;
        for element in elements {
            let mut number = [0; 8];
            number.copy_from_slice(&element[..8]);
            let number = u64::from_le_bytes(number);
            if number <= self.seen || number > self.next {
                return Err(Fault::Garbage(format!(
                    "element {number} came after element {}",
                    self.seen
                )));
            }
            self.seen = number;
            count += 1;
        }
        Ok(count)
    }
}

fn chardev(at: usize) -> String {
    format!("c{at}")
}

fn port(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap_or(u32::MAX)
}

impl Vmm {
    fn new(kinds: &[Kind], output: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let root = workdir::root()?;
        let dir = TempDir::new_in(root.path())?;
        let mut vmm = Vmm {
            machine: Machine::new(),
            guest: Guest::default(),
            ends: Vec::new(),
            dir,
            _root: root,
            paths: 0,
            output,
        };
        for (at, &kind) in kinds.iter().enumerate() {
            let path = vmm.new_path();
            vmm.machine.add_chardev(&chardev(at), config(kind, &path)?)?;
            vmm.machine.plug(port(at), &format!("org.example.{at}"), &chardev(at))?;
            vmm.ends.push(End {
                kind,
                plugged: true,
                host: Host::Gone,
                path,
                stored: 0,
                output: Sequence::default(),
                input: Sequence::default(),
            });
        }
        Ok(vmm)
    }

    fn new_path(&mut self) -> PathBuf {
        self.paths += 1;
        self.dir.path().join(self.paths.to_string())
    }

    fn perform(
        &mut self,
        action: Action,
        seen: &mut Outcome,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let at = action.port().unwrap_or(0);
        match action {
            Action::Stop => self.machine.stop(),
            Action::Cont => self.machine.cont(),
            Action::SystemReset => {
                self.machine.system_reset();
                self.guest.reset();
            }
            Action::DriverReset => {
                self.machine.driver_reset();
                self.guest.reset();
            }
            Action::SaveLoad => {
                let saved = self.machine.save();
                self.machine.load(&saved)?;
            }
            Action::DriverInit => self.guest.start_driver(),
            Action::PostControl => self.guest.post_control(),
            Action::WithholdControl => self.guest.withhold_control(),
            Action::Query { .. } => {
                let status = self.machine.query(&chardev(at))?;
                seen.reply = Reply::Chardev {
                    connected: status.connected,
                    frontend_open: status.frontend_open,
                };
            }
            Action::Unplug { .. } => match self.machine.unplug(port(at)) {
                Err(MachineError::NoPort(_)) => seen.reply = Reply::DeviceNotFound,
                unplugged => {
                    unplugged?;
                    self.ends[at].plugged = false;
                    self.guest.forget_port(port(at));
                }
            },
            Action::Plug { .. } if self.ends[at].plugged => {
                // The chardev is in use as well; the bus is asked first, as in QEMU.
                seen.reply = match self.machine.plug(port(at), "again", &chardev(at)) {
                    Err(MachineError::InUse(_) | MachineError::Plug(_)) => Reply::DuplicateDevice,
                    other => other.map(|()| Reply::Ok)?,
                };
            }
            Action::Plug { .. } => {
                self.machine.plug(port(at), &format!("org.example.{at}"), &chardev(at))?;
                self.ends[at].plugged = true;
            }
            Action::Change { to, .. } => {
                let path = self.new_path();
                self.machine.replace_backend(&chardev(at), config(to, &path)?)?;
                let end = &mut self.ends[at];
                end.host.wait_until_cut_off(PATIENCE);
                cut_off(at, end, self.output, seen)?;
                (end.kind, end.path, end.stored) = (to, path, 0);
            }
            Action::GuestOpen { .. } => self.guest.open(port(at)),
            Action::GuestClose { .. } => self.guest.close(port(at)),
            Action::GuestWrite { .. } => {
                let end = &mut self.ends[at];
                let element = end.output.element(self.output);
                self.guest.write(port(at), element);
            }
            Action::GuestPost { .. } => self.guest.post(port(at), INPUT),
            Action::HostConnect { .. } => self.connect(at)?,
            Action::HostDisconnect { .. } => self.ends[at].host.leave()?,
            Action::HostHalfClose { .. } => self.ends[at].host.half_close()?,
            Action::HostWrite { .. } => {
                let end = &mut self.ends[at];
                let element = end.input.element(INPUT);
                end.host.write(&element)?;
            }
            Action::HostRead { .. } => {}
            Action::Migrate { host, run } => self.migrate(host, run, seen)?,
            Action::SecondPasses => return Err("our machine has no rate limit".into()),
        }
        Ok(())
    }

    fn connect(&mut self, at: usize) -> io::Result<()> {
        let end = &mut self.ends[at];
        end.host = match end.kind {
            Kind::Server => Host::connect(&end.path)?,
            Kind::Client => {
                self.machine.hurry();
                Host::listen(&end.path)?
            }
            _ => {
                let slave = self.machine.address(&chardev(at));
                Host::hold(&PathBuf::from(slave.unwrap_or_default()))?
            }
        };
        Ok(())
    }

    /// A new machine with new chardevs takes over state and guest.
    fn migrate(
        &mut self,
        host: bool,
        run: bool,
        seen: &mut Outcome,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let saved = self.machine.save();
        let mut destination = Machine::new();
        for at in 0..self.ends.len() {
            let path = self.new_path();
            destination.add_chardev(&chardev(at), config(self.ends[at].kind, &path)?)?;
            if self.ends[at].plugged {
                destination.plug(port(at), &format!("org.example.{at}"), &chardev(at))?;
            } else {
                let (unread, unsent) = self.machine.take_undelivered(&chardev(at));
                destination.put_undelivered(&chardev(at), &unread, &unsent);
            }
            self.ends[at].path = path;
            self.ends[at].stored = 0;
        }
        // The source ends; with it every connection.
        self.machine = destination;
        for (at, end) in self.ends.iter_mut().enumerate() {
            end.host.wait_until_cut_off(PATIENCE);
            cut_off(at, end, self.output, seen)?;
        }
        for at in 0..self.ends.len() {
            if host && self.ends[at].kind.has_host() {
                self.connect(at)?;
            }
        }
        self.machine.load(&saved)?;
        if run {
            self.machine.cont();
        }
        Ok(())
    }

    /// Adds what has happened since last looked.
    fn observe(&mut self, action: Action, seen: &mut Outcome) -> Result<(), Fault> {
        if let Action::HostRead { port } = action {
            self.host_read(port.into(), seen)?;
        }
        self.machine.settle(&mut self.guest, Instant::now()).map_err(environment)?;
        for notice in self.guest.notices() {
            match notice {
                Notice::Announced(port) => seen.seen_mut(port as usize - 1).announced = true,
                Notice::Host { port, connected } => {
                    seen.seen_mut(port as usize - 1).guest_told.push(connected)
                }
                Notice::Removed(_) => {}
            }
        }
        for event in self.machine.events() {
            if let Event::Guest { port, open } = event {
                seen.seen_mut(port as usize - 1).management_told.push(open);
            }
        }
        for (at, end) in self.ends.iter_mut().enumerate() {
            end.host.accept().map_err(environment)?;
            // An agent's old end is cut off before it gets a new one.
            cut_off(at, end, self.output, seen)?;
            if let Some(agent) = self.machine.take_agent(&chardev(at)) {
                end.host = Host::from_stream(agent).map_err(environment)?;
                seen.seen_mut(at).host_sees.push(true);
            }
            let completed = self.guest.completed(port(at)) as u8;
            let received = self.guest.received(port(at)).concat();
            let stored = match end.kind {
                Kind::File => {
                    let len = File::open(&end.path)
                        .and_then(|file| file.metadata())
                        .map_err(environment)?
                        .len();
                    let more = len - std::mem::replace(&mut end.stored, len);
                    (more / self.output as u64) as u8
                }
                Kind::Null => completed,
                _ => 0,
            };
            let seen = seen.seen_mut(at);
            seen.completed += completed;
            seen.stored += stored;
            seen.guest_receives += end.input.count(&received, INPUT)?;
        }
        Ok(())
    }

    fn host_read(&mut self, at: usize, seen: &mut Outcome) -> Result<(), Fault> {
        let end = &mut self.ends[at];
        let mut bytes = Vec::new();
        if end.kind == Kind::Ring {
            bytes = self.machine.ring_read(&chardev(at)).map_err(environment)?;
        } else {
            end.host.read(&mut bytes).map_err(environment)?;
        }
        seen.seen_mut(at).host_receives += end.output.count(&bytes, self.output)?;
        seen.reply = if seen.seen(at).host_receives == 0 { Reply::Nothing } else { Reply::Ok };
        Ok(())
    }
}

/// If the chardev has hung up: the host reads to the end, and is gone.
fn cut_off(at: usize, end: &mut End, len: usize, seen: &mut Outcome) -> Result<(), Fault> {
    if !end.host.is_there() || !end.host.is_cut_off() {
        if matches!(end.host, Host::Listening(_)) && !end.kind.has_host() {
            end.host = Host::Gone;
        }
        return Ok(());
    }
    let mut bytes = Vec::new();
    end.host.read(&mut bytes).map_err(environment)?;
    end.host = Host::Gone;
    seen.seen_mut(at).host_receives += end.output.count(&bytes, len)?;
    seen.seen_mut(at).host_sees.push(false);
    Ok(())
}

impl System<Study> for Vmm {
    fn apply(&mut self, action: Action, owed: &Outcome) -> Result<Observed<Study>, Fault> {
        let mut seen = Outcome::default();
        self.perform(action, &mut seen).map_err(environment)?;
        let start = Instant::now();
        loop {
            self.observe(action, &mut seen)?;
            if seen == *owed || start.elapsed() > PATIENCE {
                break;
            }
            // Something is owed: wait for a descriptor to say so, or a little.
            self.machine
                .turn(&mut self.guest, Some(Duration::from_millis(1)))
                .map_err(environment)?;
        }
        // And nothing more comes.
        if !matches!(action, Action::HostRead { .. }) {
            self.observe(action, &mut seen)?;
        }
        Ok(Observed::Outcome(seen))
    }
}

fn config(kind: Kind, path: &std::path::Path) -> io::Result<Config> {
    let path = path.to_owned();
    let send_buffer = Some(SEND_BUFFER);
    Ok(match kind {
        Kind::Server => Config::UnixServer { path, send_buffer },
        Kind::Client => Config::UnixClient { path, send_buffer },
        Kind::Pty => Config::Pty,
        Kind::File => Config::File { path },
        Kind::Null => Config::Null,
        // As much as one element of a socket's, so that it may move to a socket.
        Kind::Ring => Config::Ring { size: capacity()? },
        Kind::Agent => Config::Agent { send_buffer },
    })
}
