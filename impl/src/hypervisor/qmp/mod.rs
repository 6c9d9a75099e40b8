//! QMP over a unix socket: the [`Hypervisor`] that a real QEMU is.
//!
//! The peer is not trusted. It may hang, die in the middle of a line, or send anything:
//! each call ends within its deadline with an error that says what was wrong,
//! and what is kept of the peer's bytes is bounded by [`Limits`].
//!
//! Why not the crate `qapi`: docs/decisions/0006-qmp-client.md.

mod session;

use std::{
    fmt, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        self, AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::session::Session;
use super::{Command, Event, Hypervisor, MonitorError, Reply};

/// What a peer may cost.
///
/// Memory is at most about a hundred times `line_max` + `event_bytes_max`, for the worst JSON (`[{"":0},…]`);
/// what QEMU sends takes far less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in one line.
    pub line_max: usize,
    /// Events that nobody has drained.
    pub events_max: usize,
    /// Their bytes.
    pub event_bytes_max: usize,
    /// For connecting, greeting and negotiation together.
    pub connect_within: Duration,
    /// For one command and its reply.
    pub reply_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            line_max: 2 << 20,
            events_max: 10_000,
            event_bytes_max: 1 << 20,
            connect_within: Duration::from_secs(5),
            reply_within: Duration::from_secs(5),
        }
    }
}

/// Which QEMU greets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// 7 of 7.2.22.
    pub major: u64,
    /// 2 of 7.2.22.
    pub minor: u64,
    /// 22 of 7.2.22.
    pub micro: u64,
    /// Who built it, for people.
    pub package: String,
}

impl Version {
    fn read(value: &Value) -> Option<Self> {
        let qemu = value.get("qemu")?;
        let number = |name| qemu.get(name)?.as_u64();
        let package = value.get("package").and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Version {
            major: number("major")?,
            minor: number("minor")?,
            micro: number("micro")?,
            package,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// A QEMU behind its monitor socket.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    limits: Limits,
    connection: Connection,
}

impl Client {
    /// Connects, reads the greeting and negotiates.
    ///
    /// # Errors
    /// When nobody listens, or when what listens does not greet in time. QEMU greets one client at a time,
    /// so a monitor that another client holds is a [`MonitorError::Timeout`] on `greeting`.
    pub fn connect(path: impl Into<PathBuf>, limits: Limits) -> Result<Self, MonitorError> {
        let path = path.into();
        let connection = Connection::open(&path, limits)?;
        Ok(Client { path, limits, connection })
    }

    /// The QEMU that greeted.
    pub fn version(&self) -> Option<&Version> {
        self.connection.session.version()
    }

    /// The process that listens, as the kernel knows it.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn peer_pid(&self) -> io::Result<u32> {
        Ok(sockopt::socket_peercred(&self.connection.socket)?
            .pid
            .as_raw_nonzero()
            .get()
            .unsigned_abs())
    }
}

/// For poll(2): readable means that [`Hypervisor::wait_event`] has something to look at, an end included.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.socket.as_fd()
    }
}

impl Hypervisor for Client {
    fn execute(&mut self, command: &Command) -> Result<Reply, MonitorError> {
        self.connection.execute(command, now() + self.limits.reply_within, self.limits.reply_within)
    }

    fn events(&mut self) -> Vec<Event> {
        self.connection.look();
        self.connection.session.take_events()
    }

    fn wait_event(&mut self, deadline: Instant) -> Result<bool, MonitorError> {
        // Also of a connection that has ended since: what was received is still worth having.
        if self.connection.session.has_events() {
            return Ok(true);
        }
        self.connection.pump(&mut &[][..], deadline, "events", Session::has_events)
    }

    fn reconnect(&mut self) -> Result<(), MonitorError> {
        // The old one first: QEMU serves one client at a time.
        self.connection.socket.shutdown(std::net::Shutdown::Both).ok();
        self.connection = Connection::open(&self.path, self.limits)?;
        Ok(())
    }
}

#[derive(Debug)]
struct Connection {
    socket: UnixStream,
    session: Session,
    end: End,
}

/// Whether the connection still serves.
#[derive(Debug)]
enum End {
    Open,
    /// Found while nobody could be told.
    Untold(MonitorError),
    Told(String),
}

impl Connection {
    fn open(path: &Path, limits: Limits) -> Result<Self, MonitorError> {
        let deadline = now() + limits.connect_within;
        let socket = connect(path, deadline, limits.connect_within)?;
        let mut connection = Connection { socket, session: Session::new(limits), end: End::Open };
        if !connection
            .pump(&mut &[][..], deadline, "greeting", |session| session.version().is_some())?
        {
            return Err(timeout("greeting", limits.connect_within));
        }
        match connection.execute(
            &Command::new("qmp_capabilities"),
            deadline,
            limits.connect_within,
        )? {
            Ok(_) => Ok(connection),
            Err(error) => {
                Err(MonitorError::Refused { command: "qmp_capabilities".to_owned(), error })
            }
        }
    }

    fn execute(
        &mut self,
        command: &Command,
        deadline: Instant,
        within: Duration,
    ) -> Result<Reply, MonitorError> {
        self.open_still()?;
        if !self.session.accepts() {
            return Err(self.give_up(timeout(&command.name, within)));
        }
        let bytes = self.session.request(command);
        let mut unsent = &bytes[..];
        let answered = self.pump(&mut unsent, deadline, &command.name, Session::has_reply);
        match answered.map(|_| self.session.take_reply()) {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => {
                self.session.abandon(unsent.is_empty());
                if !unsent.is_empty() && unsent.len() < bytes.len() {
                    self.end = End::Told(format!("`{}` was sent in part", command.name));
                }
                Err(timeout(&command.name, within))
            }
            Err(error) => Err(error),
        }
    }

    /// Sends and receives until `done` (`true`) or the deadline (`false`).
    ///
    /// It reads while it writes: a peer that is busy sending events would not read otherwise.
    fn pump(
        &mut self,
        unsent: &mut &[u8],
        deadline: Instant,
        waiting_for: &str,
        done: impl Fn(&Session) -> bool,
    ) -> Result<bool, MonitorError> {
        self.open_still()?;
        loop {
            if unsent.is_empty() && done(&self.session) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(now());
            let mut interest = PollFlags::IN;
            if !unsent.is_empty() {
                interest |= PollFlags::OUT;
            }
            let ready = match ready(&self.socket, interest, left) {
                Ok(ready) => ready,
                Err(error) => return Err(self.give_up(error.into())),
            };
            if ready.is_empty() && left.is_zero() {
                return Ok(false);
            }
            if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                self.read(waiting_for).map_err(|error| self.give_up(error))?;
            }
            if ready.contains(PollFlags::OUT) && !unsent.is_empty() {
                match net::send(&self.socket, unsent, SendFlags::NOSIGNAL) {
                    Ok(sent) => *unsent = &unsent[sent..],
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    // What it said before it went is still to be read, and its end after that.
                    Err(Errno::PIPE) => *unsent = &[],
                    Err(error) => return Err(self.give_up(io::Error::from(error).into())),
                }
            }
            // A peer that is never quiet does not get more than its time.
            if left.is_zero() {
                return Ok(unsent.is_empty() && done(&self.session));
            }
        }
    }

    /// Reads once, if there is something.
    fn read(&mut self, waiting_for: &str) -> Result<bool, MonitorError> {
        let mut chunk = [0; 1 << 16];
        match net::recv(&self.socket, &mut chunk, RecvFlags::empty()) {
            Ok((0, _)) | Err(Errno::CONNRESET) => Err(MonitorError::Hangup {
                waiting_for: waiting_for.to_owned(),
                unfinished: self.session.unfinished(),
            }),
            Ok((count, _)) => self.session.receive(&chunk[..count]).map(|()| true),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Takes in what has arrived, for a bounded time; an end that is found is told by the next call that can.
    fn look(&mut self) {
        const READS_MAX: usize = 64;
        if !matches!(self.end, End::Open) {
            return;
        }
        for _ in 0..READS_MAX {
            match self.read("events") {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    self.end = End::Untold(error);
                    return;
                }
            }
        }
    }

    fn open_still(&mut self) -> Result<(), MonitorError> {
        match std::mem::replace(&mut self.end, End::Open) {
            End::Open => Ok(()),
            End::Untold(error) => Err(self.give_up(error)),
            End::Told(why) => {
                self.end = End::Told(why.clone());
                Err(MonitorError::Closed { why })
            }
        }
    }

    fn give_up(&mut self, error: MonitorError) -> MonitorError {
        self.end = End::Told(error.to_string());
        error
    }
}

fn timeout(waiting_for: &str, after: Duration) -> MonitorError {
    MonitorError::Timeout { waiting_for: waiting_for.to_owned(), after }
}

/// A socket whose connect(2) does not block: a listener with a full backlog blocks for ever.
fn connect(path: &Path, deadline: Instant, within: Duration) -> Result<UnixStream, MonitorError> {
    const AGAIN_AFTER: Duration = Duration::from_millis(10);
    let failed =
        |error: Errno| MonitorError::Connect { path: path.to_owned(), error: error.into() };
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket: OwnedFd =
        net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed)?;
    loop {
        match net::connect(&socket, &address) {
            Ok(()) => return Ok(socket.into()),
            Err(Errno::AGAIN) => {
                let left = deadline.saturating_duration_since(now());
                if left.is_zero() {
                    return Err(timeout("connect", within));
                }
                pause(left.min(AGAIN_AFTER))?;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// What the socket is ready for; empty when the time is over, or a signal came before.
fn ready(socket: &impl AsFd, interest: PollFlags, within: Duration) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(socket, interest)];
    wait(&mut fds, within)?;
    Ok(fds[0].revents())
}

/// There is no event for room in a listener's backlog.
fn pause(time: Duration) -> io::Result<()> {
    wait(&mut [], time)
}

fn wait(fds: &mut [PollFd<'_>], within: Duration) -> io::Result<()> {
    // A time that does not fit is as good as none.
    match poll(fds, Timespec::try_from(within).ok().as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the shell: its deadlines are real")]
fn now() -> Instant {
    Instant::now()
}
