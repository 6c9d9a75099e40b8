//! The event loop: clients on one side, the threads of the domains on the other. Nothing in it waits for either.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use super::{
    DaemonError, Options,
    boundary::{Boundaries, KILL_AT},
    client::Client,
    control::{Asked, Kind, Line, Listed, Reply, Request, State},
    guest::{Asker, Found, Guest, Order, Outbox, Said, Shared, change::with_mac, wake, woken},
    places::{self, Lock, Places},
    start::{self, STARTING},
};
use crate::{
    domain::{Domain, Emulator, Reading},
    hypervisor::process::Process,
    status::{Facts, Status, Store},
};

/// Clients at a time.
const CLIENTS_MAX: usize = 64;
/// Orders that a domain's thread has not answered yet.
const ORDERS_MAX: usize = 64;
/// How long the threads may take to finish the effect that they are at.
const END_WITHIN: Duration = Duration::from_secs(10);
/// The stack of a domain's thread. A document is as deep as its limits allow, and those fit.
const STACK: usize = 1 << 20;

/// A domain, as the loop knows it.
#[derive(Debug)]
struct Handle {
    orders: mpsc::Sender<Order>,
    wake: UnixStream,
    listed: Listed,
    /// Requests that its thread has not answered yet.
    owed: Vec<Asker>,
    thread: Option<JoinHandle<()>>,
}

/// The daemon.
#[derive(Debug)]
pub(super) struct Server {
    shared: Arc<Shared>,
    listener: UnixListener,
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    guests: BTreeMap<String, Handle>,
    said: mpsc::Receiver<Said>,
    outbox: Outbox,
    woken: UnixStream,
    asked_to_end: UnixStream,
    _lock: Lock,
}

impl Server {
    pub(super) fn new(places: Places, options: Options) -> Result<Self, DaemonError> {
        let lock = places.take()?;
        let kill_at = std::env::var(KILL_AT).ok().and_then(|number| number.parse().ok());
        let boundaries = Boundaries::new(kill_at);
        let socket = places.socket();
        let failed = |error| DaemonError::Listen { path: socket.clone(), error };
        // Whoever left it is gone: the lock says so.
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let (waker, woken) = pair().map_err(DaemonError::Io)?;
        let (end, asked_to_end) = pair().map_err(DaemonError::Io)?;
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            let end = end.try_clone().map_err(DaemonError::Io)?;
            signal_hook::low_level::pipe::register(signal, end).map_err(DaemonError::Io)?;
        }
        let (sender, said) = mpsc::channel();
        let listener = UnixListener::bind(&socket).map_err(failed)?;
        // The directory lets nobody in; the socket does not either.
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let mut server = Server {
            shared: Arc::new(Shared { places, options, boundaries }),
            listener,
            clients: BTreeMap::new(),
            next_client: 1,
            guests: BTreeMap::new(),
            said,
            outbox: Outbox { said: sender, wake: Arc::new(waker) },
            woken,
            asked_to_end,
            _lock: lock,
        };
        server.find_all()?;
        Ok(server)
    }

    /// Everything that an earlier daemon has left.
    fn find_all(&mut self) -> Result<(), DaemonError> {
        let places = self.shared.places.clone();
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        let entry = |name: String| (name, Found { definition: None, status: None });
        for (name, text) in texts(&places.definitions(), ".xml").map_err(DaemonError::Io)? {
            match text.map_err(|error| error.to_string()).and_then(|text| definition(&name, &text))
            {
                Ok(definition) => {
                    found.insert(name, Found { definition: Some(definition), status: None });
                }
                Err(why) => tracing::error!(domain = name, "its definition is left alone: {why}"),
            }
        }
        let loaded = Store::new(places.status()).load(stale).map_err(DaemonError::Status)?;
        for quarantined in &loaded.quarantined {
            tracing::error!("status file {quarantined}");
        }
        for status in loaded.running {
            let Some(name) = name_of(&status) else { continue };
            let (_, new) = entry(name.clone());
            found.entry(name).or_insert(new).status = Some(status);
        }
        for directory in fs::read_dir(places.runtime.join("domains")).map_err(DaemonError::Io)? {
            let directory = directory.map_err(DaemonError::Io)?;
            if let Ok(name) = directory.file_name().into_string()
                && directory.path().join(STARTING).exists()
            {
                let (name, new) = entry(name);
                found.entry(name).or_insert(new);
            }
        }
        for (name, found) in found {
            self.add(name, found, None).map_err(DaemonError::Io)?;
        }
        tracing::info!(domains = self.guests.len(), socket = %places.socket().display(), "ready");
        Ok(())
    }

    /// Starts the thread of a domain; its first order is there before it looks.
    fn add(
        &mut self,
        name: String,
        found: Found,
        first: Option<(Asker, Request)>,
    ) -> io::Result<()> {
        let (orders, receiver) = mpsc::channel();
        let owed = first.iter().map(|(from, _)| *from).collect();
        if let Some((from, request)) = first {
            drop(orders.send(Order::Request(from, request)));
        }
        let (waker, woken) = pair()?;
        // A process that was left running is not reached yet.
        let facts = found.status.as_ref().and_then(|status| status.facts().ok());
        let listed = Listed {
            domain: name.clone(),
            state: if facts.is_some() { State::Unresponsive } else { State::ShutOff },
            pid: facts.map(|facts| facts.pid),
            persistent: found.definition.is_some(),
        };
        let (shared, outbox) = (Arc::clone(&self.shared), self.outbox.clone());
        let thread = std::thread::Builder::new().name(name.clone()).stack_size(STACK).spawn({
            let name = name.clone();
            move || {
                // Also where a panic ends it.
                let _ended = Ending { outbox: outbox.clone(), name: name.clone() };
                Guest::new(name, shared, receiver, woken, outbox, found).run();
            }
        })?;
        let handle = Handle { orders, wake: waker, listed, owed, thread: Some(thread) };
        self.guests.insert(name, handle);
        Ok(())
    }

    /// Until a signal asks for the end.
    pub(super) fn run(&mut self) -> Result<(), DaemonError> {
        loop {
            let busy: Vec<u64> = self.clients.keys().copied().collect();
            let (accepts, ended, ready) = {
                let mut fds = vec![
                    PollFd::new(&self.listener, PollFlags::IN),
                    PollFd::new(&self.woken, PollFlags::IN),
                    PollFd::new(&self.asked_to_end, PollFlags::IN),
                ];
                fds.extend(busy.iter().map(|id| {
                    let client = &self.clients[id];
                    PollFd::new(&client.stream, client.interest())
                }));
                match poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(DaemonError::Io(error.into())),
                }
                let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
                let ready: Vec<PollFlags> = fds[3..].iter().map(PollFd::revents).collect();
                (is_ready(&fds[0]), is_ready(&fds[2]), ready)
            };
            if ended {
                return self.end();
            }
            woken(&self.woken);
            self.hear();
            for (id, ready) in busy.into_iter().zip(ready) {
                self.attend(id, ready);
            }
            self.clients.retain(|_, client| !client.is_over());
            if accepts {
                self.accept();
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if let Err(error) = stream.set_nonblocking(true) {
                tracing::warn!("a client cannot be served: {error}");
                continue;
            }
            let mut client = Client::new(stream);
            if self.clients.len() >= CLIENTS_MAX {
                let why = format!("there are {CLIENTS_MAX} clients already; the connection ends");
                client.refuse(None, Kind::TooManyClients.because(why));
                continue;
            }
            self.clients.insert(self.next_client, client);
            self.next_client += 1;
        }
    }

    fn attend(&mut self, id: u64, ready: PollFlags) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if ready.contains(PollFlags::OUT) {
            client.write();
        }
        if ready.intersects(PollFlags::IN) {
            client.read();
        } else if ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            // Nobody is left to read an answer.
            client.leave();
        }
        self.take_lines(id);
    }

    /// Lines that are whole, as long as their answers have room.
    fn take_lines(&mut self, id: u64) {
        while let Some(line) = self.clients.get_mut(&id).and_then(Client::next) {
            match serde_json::from_slice::<Asked>(&line) {
                Ok(asked) => self.serve(Asker { client: id, id: asked.id }, asked.request),
                Err(error) => {
                    let asked: Option<u64> = serde_json::from_slice::<serde_json::Value>(&line)
                        .ok()
                        .and_then(|value| value.get("id")?.as_u64());
                    if let Some(client) = self.clients.get_mut(&id) {
                        let why = format!("the line is no request: {error}");
                        client.refuse(asked, Kind::BadRequest.because(why));
                    }
                }
            }
        }
    }

    fn answer(&mut self, to: Asker, answer: Result<Reply, super::control::Error>) {
        let Some(client) = self.clients.get_mut(&to.client) else { return };
        client.say(&match answer {
            Ok(reply) => Line::Reply { id: to.id, reply },
            Err(error) => Line::Error { id: Some(to.id), error },
        });
    }

    fn serve(&mut self, from: Asker, request: Request) {
        let answer = match &request {
            Request::Ping => Ok(Reply::Done),
            Request::List => {
                let listed = self.guests.values().map(|guest| guest.listed.clone());
                Ok(Reply::Domains(listed.collect()))
            }
            Request::Events => {
                if let Some(client) = self.clients.get_mut(&from.client) {
                    client.events = true;
                }
                Ok(Reply::Done)
            }
            Request::Define { xml } => match complete(xml) {
                Ok((name, xml)) => {
                    let request = Request::Define { xml };
                    if self.guests.contains_key(&name) {
                        return self.order(from, &name, request);
                    }
                    let none = Found { definition: None, status: None };
                    match self.add(name.clone(), none, Some((from, request))) {
                        Ok(()) => return self.owes(from),
                        Err(error) => {
                            Err(Kind::Storage.because(format!("a thread for `{name}`: {error}")))
                        }
                    }
                }
                Err(error) => Err(error),
            },
            other => match other.domain().map(str::to_owned) {
                Some(name) => return self.order(from, &name, request),
                None => Err(Kind::BadRequest.because("a request without a domain")),
            },
        };
        self.answer(from, answer);
    }

    fn order(&mut self, from: Asker, name: &str, request: Request) {
        let Some(guest) = self.guests.get_mut(name) else {
            let known: Vec<&str> = self.guests.keys().take(16).map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let why = format!("there is no domain `{}`; there are: {known}", short(name));
            return self.answer(from, Err(Kind::NoSuchDomain.because(why)));
        };
        // The end of a domain is never refused for want of room.
        if guest.owed.len() >= ORDERS_MAX && !matches!(request, Request::Destroy { .. }) {
            let why = format!("`{name}` has {ORDERS_MAX} requests to answer already");
            return self.answer(from, Err(Kind::WrongState.because(why)));
        }
        if guest.orders.send(Order::Request(from, request)).is_err() {
            let why = format!("`{name}` was just forgotten; try again");
            return self.answer(from, Err(Kind::WrongState.because(why)));
        }
        guest.owed.push(from);
        wake(&guest.wake);
        self.owes(from);
    }

    /// A client waits for one answer more.
    fn owes(&mut self, to: Asker) {
        if let Some(client) = self.clients.get_mut(&to.client) {
            client.unanswered += 1;
        }
    }

    /// What the domains' threads have to say.
    fn hear(&mut self) {
        let mut freed = Vec::new();
        while let Ok(said) = self.said.try_recv() {
            match said {
                Said::Reply { domain, to, answer } => {
                    if let Some(guest) = self.guests.get_mut(&domain) {
                        guest.owed.retain(|owed| *owed != to);
                    }
                    if let Some(client) = self.clients.get_mut(&to.client) {
                        client.unanswered -= 1;
                    }
                    self.answer(to, answer);
                    freed.push(to.client);
                }
                Said::Event(event) => {
                    for client in self.clients.values_mut().filter(|client| client.events) {
                        client.say(&Line::Event { event: event.clone() });
                    }
                }
                Said::Now(listed) => {
                    if let Some(guest) = self.guests.get_mut(&listed.domain) {
                        guest.listed = listed;
                    }
                }
                Said::Ended(name) => self.forget(&name),
            }
        }
        // Lines that were read before their answers had room.
        freed.dedup();
        for id in freed {
            self.take_lines(id);
        }
    }

    /// The thread of a domain has ended: nothing is left of the domain, or the thread has failed.
    fn forget(&mut self, name: &str) {
        let Some(guest) = self.guests.remove(name) else { return };
        if guest.thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(
                domain = name,
                "its thread has failed; the guest goes on, restart the daemon"
            );
        }
        for asker in guest.owed {
            if let Some(client) = self.clients.get_mut(&asker.client) {
                client.unanswered -= 1;
            }
            let why = format!("`{name}` was just forgotten; try again");
            self.answer(asker, Err(Kind::WrongState.because(why)));
        }
    }

    /// A graceful end: each thread finishes the effect that it is at. The guests go on.
    fn end(&mut self) -> Result<(), DaemonError> {
        tracing::info!("asked to end; the guests go on");
        for guest in self.guests.values() {
            drop(guest.orders.send(Order::End));
            wake(&guest.wake);
        }
        let deadline = now() + END_WITHIN;
        while !self.guests.is_empty() {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                let names: Vec<&str> = self.guests.keys().map(String::as_str).collect();
                tracing::warn!("not waited for: {}", names.join(", "));
                break;
            }
            self.hear();
            let mut fds = [PollFd::new(&self.woken, PollFlags::IN)];
            let moment = left.min(Duration::from_millis(100));
            match poll(&mut fds, Timespec::try_from(moment).ok().as_ref()) {
                Ok(_) | Err(Errno::INTR) => woken(&self.woken),
                Err(error) => return Err(DaemonError::Io(error.into())),
            }
        }
        let socket = self.shared.places.socket();
        fs::remove_file(&socket).map_err(|error| DaemonError::Listen { path: socket, error })
    }
}

/// Tells the loop that a thread has ended, however it did.
struct Ending {
    outbox: Outbox,
    name: String,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.outbox.say(Said::Ended(std::mem::take(&mut self.name)));
    }
}

fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (one, other) = UnixStream::pair()?;
    one.set_nonblocking(true)?;
    other.set_nonblocking(true)?;
    Ok((one, other))
}

fn short(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

/// Why the process of a status file is not there any more, if it is not.
fn stale(facts: &Facts) -> Option<String> {
    let (pid, started) = (facts.pid, facts.started.unwrap_or_default());
    let process = Process { pid, started, boot: facts.boot.clone() };
    match process.is_alive() {
        Ok(true) => None,
        Ok(false) => Some(format!("process {pid} is gone")),
        // No answer is no reason to give a guest up.
        Err(error) => {
            tracing::warn!("is process {pid} alive? {error}");
            None
        }
    }
}

fn name_of(status: &Status) -> Option<String> {
    status.domain().name().ok().map(|name| name.into_owned())
}

/// The files of a directory whose names end so, by what comes before.
fn texts(directory: &Path, suffix: &str) -> io::Result<Vec<(String, io::Result<String>)>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().and_then(|name| name.strip_suffix(suffix)) {
            texts.push((name.to_owned(), places::read(&entry.path())));
        }
    }
    texts.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(texts)
}

fn definition(name: &str, text: &str) -> Result<Domain, String> {
    let domain = start::kept(text).map_err(|error| error.to_string())?;
    match domain.name() {
        Ok(found) if found == name => Ok(domain),
        Ok(found) => Err(format!("it is of the domain `{found}`")),
        Err(error) => Err(error.to_string()),
    }
}

/// A definition as it is kept: as its user wrote it, with a UUID, and with a record of everything that is added to it.
fn complete(xml: &str) -> Result<(String, String), super::control::Error> {
    let bad = |error: crate::domain::Error| Kind::BadXml.because(error);
    let mut domain = Domain::parse(&with_mac(xml)?).map_err(bad)?;
    let name = domain.name().map_err(bad)?.into_owned();
    // It becomes the name of files and directories.
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | ' ');
    if name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
        let why = format!(
            "`{}` cannot name a domain: up to 64 bytes of letters, digits, blanks and -_.+, not beginning with a dot",
            short(&name)
        );
        return Err(Kind::BadXml.because(why));
    }
    if domain.uuid().is_err() {
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")
            .map_err(|error| Kind::Storage.because(format!("make a uuid: {error}")))?;
        let root = domain.root();
        let document = domain.document_mut();
        let after = document.child(root, "name").and_then(|name| document.next_element(name));
        let element = format!("<uuid>{}</uuid>", uuid.trim());
        match after {
            Some(next) => document.insert_xml(next, &element),
            None => document.append_xml(root, &element),
        }
        .map_err(bad)?;
    }
    // What looks like a user's alias and is none would be dropped with the others.
    domain.validate().map_err(bad)?;
    domain.drop_assigned_aliases();
    domain.complete(Reading::Define, &Emulator::default()).map_err(bad)?;
    domain.validate().map_err(bad)?;
    Ok((name, domain.to_inactive().map_err(bad)?.to_xml()))
}

#[expect(clippy::disallowed_methods, reason = "this is the shell: its deadlines are real")]
fn now() -> Instant {
    Instant::now()
}
