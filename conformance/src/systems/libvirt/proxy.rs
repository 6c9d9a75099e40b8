//! Between libvirt and QEMU's monitor: holds chosen commands back, and the replies of those it lets go.

use std::{
    collections::VecDeque,
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// A monitor that is listened in on. One client at a time, as QEMU has it.
#[derive(Debug)]
pub(super) struct Proxy {
    session: Arc<Mutex<Arc<Session>>>,
    path: PathBuf,
}

/// One client's time.
#[derive(Debug, Default)]
struct Session {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Commands that are held.
    held: Vec<&'static str>,
    /// The one that is held now, and how far it has come.
    parked: Option<Parked>,
    /// Events that are held, as QEMU sent them.
    events: VecDeque<Value>,
    hold_events: bool,
    over: bool,
}

#[derive(Debug)]
struct Parked {
    command: Value,
    at: At,
}

#[derive(Debug)]
enum At {
    /// libvirt has sent it, and QEMU has not got it.
    Waiting,
    /// QEMU has got it.
    Sent,
    /// QEMU has answered, and libvirt does not know.
    Answered(String),
    /// libvirt gets the answer.
    Delivered(String),
}

/// A command with QEMU's answer to it.
#[derive(Clone, Debug)]
pub(super) struct Executed {
    pub(super) command: Value,
    pub(super) reply: Value,
}

impl Executed {
    pub(super) fn name(&self) -> &str {
        name(&self.command)
    }
}

fn name(command: &Value) -> &str {
    command["execute"].as_str().unwrap_or_default()
}

impl Proxy {
    /// Moves QEMU's socket aside and listens in its place.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let real = path.with_extension("real");
        fs::rename(path, &real)?;
        let listener = UnixListener::bind(path)?;
        let session = Arc::new(Mutex::new(Arc::new(Session::default())));
        let current = Arc::clone(&session);
        thread::Builder::new().name("monitor".to_owned()).spawn(move || {
            for client in listener.incoming() {
                let session = Arc::clone(&lock(&current));
                if lock(&session.state).over {
                    // The last one was told to end, and nobody has asked for another.
                    break;
                }
                let Ok(client) = client else { break };
                serve(client, &real, &session);
            }
        })?;
        Ok(Proxy { session, path: path.to_owned() })
    }

    /// Whoever is connected is gone; the next client finds these commands held.
    pub(super) fn next_session(&self, held: &[&'static str], hold_events: bool) {
        let new = Session::default();
        lock(&new.state).held = held.to_vec();
        lock(&new.state).hold_events = hold_events;
        let old = std::mem::replace(&mut *lock(&self.session), Arc::new(new));
        lock(&old.state).over = true;
        old.changed.notify_all();
    }

    /// Holds these from now on.
    pub(super) fn hold(&self, held: &[&'static str]) {
        let session = self.current();
        lock(&session.state).held = held.to_vec();
        session.changed.notify_all();
    }

    fn current(&self) -> Arc<Session> {
        Arc::clone(&lock(&self.session))
    }

    /// Delivers the answer that is held, if there is one.
    pub(super) fn deliver(&self) {
        let session = self.current();
        let mut state = lock(&session.state);
        if let Some(Parked { at, .. }) = &mut state.parked
            && let At::Answered(reply) = at
        {
            *at = At::Delivered(std::mem::take(reply));
            session.changed.notify_all();
        }
    }

    /// A command is held, and QEMU has not got it.
    pub(super) fn is_parked(&self) -> bool {
        let session = self.current();
        lock(&session.state).parked.as_ref().is_some_and(|it| matches!(it.at, At::Waiting))
    }

    /// Waits until a command is held (`true`), or `done` says that none will come.
    pub(super) fn wait_parked(&self, most: Duration, done: impl Fn() -> bool) -> io::Result<bool> {
        self.wait(most, "no monitor command", |state| {
            let waits = matches!(&state.parked, Some(parked) if matches!(parked.at, At::Waiting));
            if waits { Some(true) } else { done().then_some(false) }
        })
    }

    /// Lets the held command go to QEMU and waits for the answer, which is held in turn.
    pub(super) fn execute(&self, most: Duration) -> io::Result<Executed> {
        {
            let session = self.current();
            let mut state = lock(&session.state);
            match &mut state.parked {
                Some(parked) if matches!(parked.at, At::Waiting) => parked.at = At::Sent,
                _ => return Err(io::Error::other("no monitor command is held")),
            }
            session.changed.notify_all();
        }
        self.wait(most, "no answer from QEMU", |state| {
            let parked = state.parked.as_ref()?;
            let At::Answered(reply) = &parked.at else { return None };
            let reply = serde_json::from_str(reply).unwrap_or(Value::Null);
            Some(Executed { command: parked.command.clone(), reply })
        })
    }

    /// Waits until QEMU has said that this device is gone.
    pub(super) fn wait_deleted(&self, alias: &str, most: Duration) -> io::Result<()> {
        self.wait(most, "no DEVICE_DELETED", |state| {
            state.events.iter().any(|event| deleted(event) == Some(alias)).then_some(())
        })
    }

    /// Lets the events go that were held.
    pub(super) fn release_events(&self) {
        let session = self.current();
        lock(&session.state).hold_events = false;
        session.changed.notify_all();
    }

    /// Holds the events that come from now on.
    pub(super) fn hold_events(&self) {
        lock(&self.current().state).hold_events = true;
    }

    fn wait<T>(
        &self,
        most: Duration,
        what: &str,
        look: impl Fn(&State) -> Option<T>,
    ) -> io::Result<T> {
        let session = self.current();
        let deadline = Instant::now() + most;
        let mut state = lock(&session.state);
        loop {
            if let Some(found) = look(&state) {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("{what} within {most:?}"),
                ));
            }
            let waited = session.changed.wait_timeout(state, Duration::from_millis(5));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let session = self.current();
        lock(&session.state).over = true;
        session.changed.notify_all();
        // The listener wakes up, sees that it is over, and ends.
        drop(UnixStream::connect(&self.path));
    }
}

fn deleted(event: &Value) -> Option<&str> {
    (event["event"] == "DEVICE_DELETED").then(|| event["data"]["device"].as_str()).flatten()
}

/// Serves one client until it or QEMU goes.
fn serve(client: UnixStream, real: &Path, session: &Arc<Session>) {
    let Some((qemu, to_qemu, to_client)) = connect(&client, real) else { return };
    let back = {
        let session = Arc::clone(session);
        thread::Builder::new()
            .name("monitor".to_owned())
            .spawn(move || answers(qemu, to_client, &session))
    };
    commands(&client, to_qemu, session);
    drop(back.map(thread::JoinHandle::join));
}

fn connect(client: &UnixStream, real: &Path) -> Option<(UnixStream, UnixStream, UnixStream)> {
    let qemu = UnixStream::connect(real).ok()?;
    Some((qemu.try_clone().ok()?, qemu, client.try_clone().ok()?))
}

/// From libvirt to QEMU.
fn commands(client: &UnixStream, mut qemu: UnixStream, session: &Session) {
    for line in BufReader::new(client).lines() {
        let Ok(line) = line else { break };
        let command: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
        let mut state = lock(&session.state);
        if is_held(&state, &command) {
            state.parked = Some(Parked { command, at: At::Waiting });
            session.changed.notify_all();
            while !state.over
                && matches!(&state.parked, Some(parked) if matches!(parked.at, At::Waiting))
            {
                state = session.wait(state);
            }
        }
        let over = state.over;
        drop(state);
        if over || qemu.write_all(format!("{line}\n").as_bytes()).is_err() {
            break;
        }
    }
    drop(qemu.shutdown(std::net::Shutdown::Both));
}

/// The children of the peripheral container are what a restarted daemon looks at.
fn is_held(state: &State, command: &Value) -> bool {
    let name = name(command);
    let looks_elsewhere =
        name == "qom-list" && command["arguments"]["path"] != "/machine/peripheral";
    state.held.contains(&name) && !looks_elsewhere
}

/// From QEMU to libvirt.
fn answers(qemu: UnixStream, mut client: UnixStream, session: &Session) {
    let Ok(reader) = qemu.try_clone() else { return };
    // Events that were held go out when they may, whether QEMU says something or not.
    drop(reader.set_read_timeout(Some(Duration::from_millis(5))));
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    loop {
        match reader.read_line(&mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                if !send_held(&mut client, session) {
                    break;
                }
                continue;
            }
            Err(_) => break,
        }
        let message: Value = serde_json::from_str(&line).unwrap_or(Value::Null);
        let text = std::mem::take(&mut line);
        let mut state = lock(&session.state);
        if state.over {
            break;
        }
        if message.get("event").is_some() && (state.hold_events || !state.events.is_empty()) {
            state.events.push_back(message);
            session.changed.notify_all();
            continue;
        }
        let is_answer = message.get("event").is_none();
        if is_answer
            && let Some(parked) = &mut state.parked
            && matches!(parked.at, At::Sent)
        {
            // Held, while what QEMU says meanwhile is read on.
            parked.at = At::Answered(text);
            session.changed.notify_all();
            continue;
        }
        drop(state);
        if client.write_all(text.as_bytes()).is_err() || !send_held(&mut client, session) {
            break;
        }
    }
    drop(client.shutdown(std::net::Shutdown::Both));
}

/// Sends what was held and may go now: an answer first, then events.
fn send_held(client: &mut UnixStream, session: &Session) -> bool {
    let mut state = lock(&session.state);
    if state.over {
        return false;
    }
    if let Some(Parked { at: At::Delivered(reply), .. }) = &state.parked {
        if client.write_all(reply.as_bytes()).is_err() {
            return false;
        }
        state.parked = None;
    }
    if !state.hold_events {
        for event in std::mem::take(&mut state.events) {
            if client.write_all(format!("{event}\r\n").as_bytes()).is_err() {
                return false;
            }
        }
    }
    true
}

impl Session {
    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, Duration::from_millis(20));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
