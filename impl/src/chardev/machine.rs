//! The shell: chardevs, front-ends and one loop over poll(2).
//!
//! Every change of the world is followed by [`Machine::settle`], which compares beliefs with facts and
//! bytes with their receivers until nothing more can be done.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    backend::{self, Backend, Config, OpenError},
    connection::{Connection, Label, Observer},
    frontend::{
        Guest,
        guest::Memory,
        isa_serial::IsaSerial,
        virtio_serial::{PlugError, VirtioSerial},
    },
    save::{FORMAT, LoadError, Saved, SavedPort, VERSION, parse},
};

/// Input kept of peers that have left, in bytes. With more, nobody new is accepted until the guest has
/// read it.
pub const UNREAD_MAX: usize = 1 << 20;

/// What management is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A guest has opened or closed a port: QEMU's `VSERPORT_CHANGE`.
    Guest {
        /// The port's number; for an ISA serial, its place.
        port: u32,
        /// It is open now.
        open: bool,
    },
    /// A host has come or gone.
    Host {
        /// The chardev.
        chardev: String,
        /// It is connected now.
        connected: bool,
    },
}

/// A request that is refused. Texts are QEMU's where QEMU has one.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// There is no such chardev.
    #[error("Chardev '{0}' not found")]
    NoChardev(String),
    /// There is one already.
    #[error("Chardev with id '{0}' already exists")]
    ChardevExists(String),
    /// A front-end uses it.
    #[error("Device '{0}' is in use")]
    InUse(String),
    /// There is no such port.
    #[error("Device '{0}' not found")]
    NoPort(u32),
    /// The bus refuses the port.
    #[error(transparent)]
    Plug(#[from] PlugError),
    /// The backend cannot be made; an old one keeps working.
    #[error("Failed to add chardev '{id}'")]
    Open {
        /// The chardev.
        id: String,
        /// Why not.
        #[source]
        error: OpenError,
    },
    /// The saved state is not for this machine.
    #[error("load the saved state")]
    Load(#[from] LoadError),
}

/// What `query-chardev` says, and the label that it amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Somebody is at the other end.
    pub connected: bool,
    /// The guest has the front-end open.
    pub frontend_open: bool,
    /// Both, as a letter.
    pub label: Label,
}

/// A machine's character devices.
#[derive(Debug, Default)]
pub struct Machine {
    running: bool,
    launched: bool,
    chardevs: BTreeMap<String, Chardev>,
    virtio: VirtioSerial,
    isa: BTreeMap<u32, (String, IsaSerial)>,
    events: Vec<Event>,
}

#[derive(Debug)]
struct Chardev {
    backend: Box<dyn Backend>,
    /// Input of peers that have left, or that was read to be saved.
    unread: VecDeque<u8>,
    /// Output that an earlier backend kept.
    unsent: VecDeque<u8>,
    connected: bool,
}

impl Machine {
    /// A machine that has not run yet, without devices.
    pub fn new() -> Self {
        Machine::default()
    }

    /// Creates a chardev: `chardev-add`.
    pub fn add_chardev(&mut self, id: &str, config: Config) -> Result<(), MachineError> {
        if self.chardevs.contains_key(id) {
            return Err(MachineError::ChardevExists(id.to_owned()));
        }
        let backend = self.open(id, &config)?;
        let chardev =
            Chardev { backend, unread: VecDeque::new(), unsent: VecDeque::new(), connected: false };
        self.chardevs.insert(id.to_owned(), chardev);
        Ok(())
    }

    fn open(&self, id: &str, config: &Config) -> Result<Box<dyn Backend>, MachineError> {
        let opened = backend::open(config);
        let mut backend =
            opened.map_err(|error| MachineError::Open { id: id.to_owned(), error })?;
        if self.launched {
            backend.start();
        }
        Ok(backend)
    }

    /// Gives a chardev a new backend, also while the machine is stopped: `chardev-change`. If it cannot
    /// be made, the old one keeps working. Its peer is cut off after all that was sent to him; what he
    /// sent and nobody has read stays, and what a ring buffer kept goes to the new backend.
    pub fn replace_backend(&mut self, id: &str, config: Config) -> Result<(), MachineError> {
        if !self.chardevs.contains_key(id) {
            return Err(MachineError::NoChardev(id.to_owned()));
        }
        let backend = self.open(id, &config)?;
        if let Some(chardev) = self.chardevs.get_mut(id) {
            let (mut unread, mut unsent) = (Vec::new(), Vec::new());
            chardev.backend.close(&mut unread, &mut unsent);
            chardev.unread.extend(unread);
            chardev.unsent.extend(unsent);
            chardev.backend = backend;
        }
        // The new backend has been told nothing yet.
        self.connections(id)
            .into_iter()
            .for_each(|connection| connection.told(Observer::Backend, false));
        Ok(())
    }

    /// Adds a virtio-serial port: `device_add virtserialport`.
    pub fn plug(&mut self, port: u32, name: &str, chardev: &str) -> Result<(), MachineError> {
        self.free(chardev)?;
        Ok(self.virtio.plug(port, name, chardev)?)
    }

    /// Adds an ISA serial port.
    pub fn plug_isa(&mut self, place: u32, chardev: &str) -> Result<(), MachineError> {
        self.free(chardev)?;
        if self.isa.contains_key(&place) {
            return Err(PlugError::IdInUse(place).into());
        }
        self.isa.insert(place, (chardev.to_owned(), IsaSerial::default()));
        Ok(())
    }

    fn free(&self, chardev: &str) -> Result<(), MachineError> {
        if !self.chardevs.contains_key(chardev) {
            return Err(MachineError::NoChardev(chardev.to_owned()));
        }
        let virtio = self.virtio.ports.values().map(|port| &port.chardev);
        let used =
            virtio.chain(self.isa.values().map(|(used, _)| used)).any(|used| used == chardev);
        if used { Err(MachineError::InUse(chardev.to_owned())) } else { Ok(()) }
    }

    /// Removes a virtio-serial port: `device_del`. Its chardev keeps its peer and what is unread.
    pub fn unplug(&mut self, port: u32) -> Result<(), MachineError> {
        let mut gone = self.virtio.unplug(port).ok_or(MachineError::NoPort(port))?;
        gone.connection.set_client(false);
        if let Some(open) = gone.connection.owed(Observer::Management) {
            self.events.push(Event::Guest { port, open });
        }
        if let Some(chardev) = self.chardevs.get_mut(&gone.chardev)
            && gone.connection.owed(Observer::Backend).is_some()
        {
            let mut unread = Vec::new();
            chardev.backend.client(false, &mut unread);
            chardev.unread.extend(unread);
        }
        Ok(())
    }

    /// An ISA serial's registers, for the guest.
    pub fn isa(&mut self, place: u32) -> Option<&mut IsaSerial> {
        self.isa.get_mut(&place).map(|(_, uart)| uart)
    }

    /// Runs the machine: `cont`.
    pub fn cont(&mut self) {
        self.running = true;
        self.launch();
    }

    fn launch(&mut self) {
        if !std::mem::replace(&mut self.launched, true) {
            self.chardevs.values_mut().for_each(|chardev| chardev.backend.start());
        }
    }

    /// Stops the machine: `stop`. Guest memory is not touched until it runs again.
    pub fn stop(&mut self) {
        self.running = false;
    }

    /// Resets the machine: `system_reset`. The guest's own memory is the caller's to reset.
    pub fn system_reset(&mut self) {
        self.virtio.reset();
        self.isa.values_mut().for_each(|(_, uart)| uart.reset());
    }

    /// The driver writes status 0.
    pub fn driver_reset(&mut self) {
        self.virtio.reset();
    }

    /// What is known of a chardev: `query-chardev`.
    pub fn query(&self, id: &str) -> Result<Status, MachineError> {
        let chardev =
            self.chardevs.get(id).ok_or_else(|| MachineError::NoChardev(id.to_owned()))?;
        let virtio =
            self.virtio.ports.values().find(|port| port.chardev == id).map(|port| port.connection);
        let isa =
            || self.isa.values().find(|(used, _)| used == id).map(|(_, uart)| uart.connection);
        let frontend_open = virtio.or_else(isa).is_some_and(|connection| connection.client());
        let connected = chardev.backend.is_connected();
        let mut facts = Connection::default();
        facts.set_transport(connected);
        facts.set_client(frontend_open);
        Ok(Status { connected, frontend_open, label: facts.label() })
    }

    /// Where a host finds a chardev: a path, the slave of a pty, an address.
    pub fn address(&self, id: &str) -> Option<String> {
        self.chardevs.get(id)?.backend.address()
    }

    /// The agent's end of a channel, once each time it is opened.
    pub fn take_agent(&mut self, id: &str) -> Option<UnixStream> {
        self.chardevs.get_mut(id)?.backend.take_agent()
    }

    /// Reads all that a ring buffer holds: `ringbuf-read`.
    pub fn ring_read(&mut self, id: &str) -> Result<Vec<u8>, MachineError> {
        let chardev =
            self.chardevs.get_mut(id).ok_or_else(|| MachineError::NoChardev(id.to_owned()))?;
        Ok(chardev.backend.take_kept())
    }

    /// Lets clients that wait for their back-off try at once.
    pub fn hurry(&mut self) {
        self.chardevs.values_mut().for_each(|chardev| chardev.backend.hurry());
    }

    /// What management was told since it last asked.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The state that migrates. Input that is on its way is read first, so that it travels too.
    pub fn save(&mut self) -> String {
        let Machine { virtio, chardevs, launched, .. } = self;
        let ports = virtio.ports.iter().map(|(&id, port)| {
            let connection = port.connection;
            let (mut unread, mut unsent) = (Vec::new(), Vec::new());
            if let Some(chardev) = chardevs.get_mut(&port.chardev) {
                chardev.backend.drain(&mut unread);
                chardev.unread.extend(unread);
                chardev.unsent.extend(chardev.backend.take_kept());
                unread = chardev.unread.iter().copied().collect();
                unsent = chardev.unsent.iter().copied().collect();
            }
            SavedPort {
                id,
                name: port.name.clone(),
                open: connection.client(),
                added: port.added,
                ready: port.ready,
                named: port.named,
                guest_told: connection.belief(Observer::Guest),
                management_told: connection.belief(Observer::Management),
                sent: port.sent,
                unread,
                unsent,
            }
        });
        let ports = ports.collect();
        let removed = virtio.removed.iter().copied().collect();
        let saved = Saved {
            format: FORMAT.to_owned(),
            version: VERSION,
            launched: *launched,
            driver: virtio.driver,
            removed,
            ports,
        };
        serde_json::to_string(&saved).unwrap_or_default()
    }

    /// Takes over a saved state; on an error nothing has changed. The backends learn what the guest has
    /// open with the next [`Machine::settle`], before the machine runs.
    pub fn load(&mut self, text: &str) -> Result<(), MachineError> {
        let saved = parse(text)?;
        let here: Vec<_> =
            self.virtio.ports.iter().map(|(id, port)| (*id, port.name.clone())).collect();
        let there: Vec<_> = saved.ports.iter().map(|port| (port.id, port.name.clone())).collect();
        if here != there {
            return Err(LoadError::OtherPorts { saved: there, here }.into());
        }
        if saved.launched {
            self.launch();
        }
        self.virtio.driver = saved.driver;
        self.virtio.removed = saved.removed.into_iter().collect();
        for saved in saved.ports {
            let Some(port) = self.virtio.ports.get_mut(&saved.id) else { continue };
            port.connection.set_client(saved.open);
            port.connection.told(Observer::Guest, saved.guest_told);
            port.connection.told(Observer::Management, saved.management_told);
            (port.added, port.ready, port.named, port.sent) =
                (saved.added, saved.ready, saved.named, saved.sent);
            if let Some(chardev) = self.chardevs.get_mut(&port.chardev) {
                chardev.unread = saved.unread.into();
                chardev.unsent = saved.unsent.into();
            }
        }
        Ok(())
    }

    /// Takes over the undelivered bytes of a chardev whose port is unplugged: they are not in the
    /// port's state. For whoever moves a chardev to another machine.
    pub fn take_undelivered(&mut self, id: &str) -> (Vec<u8>, Vec<u8>) {
        self.chardevs.get_mut(id).map_or_else(Default::default, |chardev| {
            let mut unread = Vec::new();
            chardev.backend.drain(&mut unread);
            chardev.unread.extend(unread);
            chardev.unsent.extend(chardev.backend.take_kept());
            (chardev.unread.drain(..).collect(), chardev.unsent.drain(..).collect())
        })
    }

    /// Gives a chardev the undelivered bytes of another.
    pub fn put_undelivered(&mut self, id: &str, unread: &[u8], unsent: &[u8]) {
        if let Some(chardev) = self.chardevs.get_mut(id) {
            chardev.unread.extend(unread);
            chardev.unsent.extend(unsent);
        }
    }

    /// Does whatever can be done now: looks who has come and gone, tells whoever believes what is not
    /// so, and moves bytes to receivers that are there. Says whether anything was done.
    pub fn settle(&mut self, guest: &mut Guest, now: Instant) -> io::Result<bool> {
        let mut settled = false;
        loop {
            // The facts first: an agent comes and goes with what its backend is told, and nobody else
            // needs to hear of what did not last.
            let mut busy = false;
            while self.look(now) | self.tell_backends() {
                busy = true;
            }
            busy |= self.tell_management();
            if self.running {
                let (heard, _) = self.virtio.hear(&mut guest.memory);
                busy |= heard;
                busy |= self.virtio.tell(&mut guest.memory);
                busy |= guest.run();
            }
            busy |= self.flush_unsent();
            if self.running {
                busy |= self.move_bytes(&mut guest.memory);
                busy |= self.move_isa_bytes();
            }
            if !busy {
                return Ok(settled);
            }
            settled = true;
        }
    }

    /// Settles; if there was nothing to do, waits until something happens or `most` has passed, and
    /// settles again.
    #[expect(clippy::disallowed_methods, reason = "the shell is where time enters")]
    pub fn turn(&mut self, guest: &mut Guest, most: Option<Duration>) -> io::Result<bool> {
        let settled = self.settle(guest, Instant::now())?;
        let deadline =
            self.chardevs.values().filter_map(|chardev| chardev.backend.deadline()).min();
        let due = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let wait =
            if settled { Some(Duration::ZERO) } else { [due, most].into_iter().flatten().min() };
        let mut fds: Vec<PollFd<'_>> = self
            .chardevs
            .iter()
            .flat_map(|(id, chardev)| {
                let (input, output) = self.wants(id, chardev, &guest.memory);
                chardev.backend.descriptors(input, output)
            })
            .map(|(fd, flags): (_, PollFlags)| PollFd::from_borrowed_fd(fd, flags))
            .collect();
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        drop(fds);
        Ok(self.settle(guest, Instant::now())? | settled)
    }

    /// Whether a chardev's input, and room for its output, are waited for.
    fn wants(&self, id: &str, chardev: &Chardev, memory: &Memory) -> (bool, bool) {
        let port = self.virtio.ports.iter().find(|(_, port)| port.chardev == id);
        let rings = port.and_then(|(number, _)| memory.ports.get(number));
        let uart = self.isa.values().find(|(used, _)| used == id).map(|(_, uart)| uart);
        let posted = port.is_some_and(|(_, port)| port.connection.client())
            && rings.is_some_and(|rings| !rings.posted.is_empty());
        let input = self.running
            && chardev.unread.is_empty()
            && (posted || uart.is_some_and(|uart| uart.room() > 0));
        let queued = rings.is_some_and(|rings| !rings.transmit.is_empty());
        let uart_queued =
            self.isa.values().any(|(used, uart)| used == id && !uart.clone().output().is_empty());
        (input, !chardev.unsent.is_empty() || self.running && (queued || uart_queued))
    }

    fn connections(&mut self, chardev: &str) -> Vec<&mut Connection> {
        let virtio = self.virtio.ports.values_mut().filter(|port| port.chardev == chardev);
        let isa = self.isa.values_mut().filter(|(used, _)| used == chardev);
        virtio
            .map(|port| &mut port.connection)
            .chain(isa.map(|(_, uart)| &mut uart.connection))
            .collect()
    }

    /// Who has come and gone.
    fn look(&mut self, now: Instant) -> bool {
        let mut changed = false;
        let ids: Vec<String> = self.chardevs.keys().cloned().collect();
        for id in ids {
            let Some(chardev) = self.chardevs.get_mut(&id) else { continue };
            let mut unread = Vec::new();
            let full = chardev.unread.len() >= UNREAD_MAX;
            changed |= chardev.backend.look(now, full, &mut unread);
            chardev.unread.extend(unread);
            let connected = chardev.backend.is_connected();
            if std::mem::replace(&mut chardev.connected, connected) != connected {
                self.events.push(Event::Host { chardev: id.clone(), connected });
                changed = true;
            }
            self.connections(&id)
                .into_iter()
                .for_each(|connection| connection.set_transport(connected));
        }
        changed
    }

    fn tell_backends(&mut self) -> bool {
        let Machine { virtio, isa, chardevs, .. } = self;
        let virtio = virtio.ports.values_mut().map(|port| (&port.chardev, &mut port.connection));
        let isa = isa.values_mut().map(|(chardev, uart)| (&*chardev, &mut uart.connection));
        let mut told = false;
        for (chardev, connection) in virtio.chain(isa) {
            if let (Some(open), Some(chardev)) =
                (connection.owed(Observer::Backend), chardevs.get_mut(chardev))
            {
                let mut unread = Vec::new();
                chardev.backend.client(open, &mut unread);
                chardev.unread.extend(unread);
                connection.told(Observer::Backend, open);
                told = true;
            }
        }
        told
    }

    fn tell_management(&mut self) -> bool {
        let Machine { virtio, isa, events, .. } = self;
        let virtio = virtio.ports.iter_mut().map(|(id, port)| (*id, &mut port.connection));
        let isa = isa.iter_mut().map(|(place, (_, uart))| (*place, &mut uart.connection));
        let before = events.len();
        for (port, connection) in virtio.chain(isa) {
            if let Some(open) = connection.owed(Observer::Management) {
                events.push(Event::Guest { port, open });
                connection.told(Observer::Management, open);
            }
        }
        events.len() > before
    }

    /// What an earlier backend kept needs no guest.
    fn flush_unsent(&mut self) -> bool {
        let mut moved = false;
        for chardev in self.chardevs.values_mut() {
            if !chardev.unsent.is_empty() && chardev.backend.is_connected() {
                let taken = chardev.backend.write(chardev.unsent.make_contiguous());
                chardev.unsent.drain(..taken);
                moved |= taken > 0;
            }
        }
        moved
    }

    fn move_bytes(&mut self, memory: &mut Memory) -> bool {
        let Machine { virtio, chardevs, .. } = self;
        if !virtio.driver {
            return false;
        }
        let mut moved = false;
        for (id, port) in &mut virtio.ports {
            let (Some(chardev), Some(rings)) =
                (chardevs.get_mut(&port.chardev), memory.ports.get_mut(id))
            else {
                continue;
            };
            while chardev.unsent.is_empty()
                && chardev.backend.is_connected()
                && let Some(element) = rings.transmit.front()
            {
                let rest = element.get(port.sent..).unwrap_or_default();
                let taken = chardev.backend.write(rest);
                moved |= taken > 0;
                port.sent += taken;
                if taken < rest.len() {
                    break;
                }
                port.sent = 0;
                rings.transmit.pop_front();
                rings.completed += 1;
                moved = true;
            }
            while port.connection.client()
                && let Some(&room) = rings.posted.front()
            {
                let bytes = chardev.input(room);
                if bytes.is_empty() {
                    break;
                }
                rings.posted.pop_front();
                rings.received.push_back(bytes);
                moved = true;
            }
        }
        moved
    }

    fn move_isa_bytes(&mut self) -> bool {
        let Machine { isa, chardevs, .. } = self;
        let mut moved = false;
        for (chardev, uart) in isa.values_mut() {
            let Some(chardev) = chardevs.get_mut(chardev) else { continue };
            if chardev.unsent.is_empty() && chardev.backend.is_connected() {
                let taken = chardev.backend.write(uart.output().make_contiguous());
                uart.output().drain(..taken);
                moved |= taken > 0;
            }
            let room = uart.room();
            let bytes = if room > 0 { chardev.input(room) } else { Vec::new() };
            uart.input(&bytes);
            moved |= !bytes.is_empty();
        }
        moved
    }
}

impl Chardev {
    /// At most so many bytes for the guest: first those of peers that have left.
    fn input(&mut self, most: usize) -> Vec<u8> {
        if self.unread.is_empty() {
            self.backend.read(most)
        } else {
            self.unread.drain(..most.min(self.unread.len())).collect()
        }
    }
}
