//! The host's end of a character device. Nothing here blocks.

mod agent;
mod file;
mod null;
mod pty;
mod ring;
mod socket;
mod stream;

use std::{fmt, io, net::SocketAddr, os::fd::BorrowedFd, path::PathBuf, time::Instant};

use rustix::event::PollFlags;

/// What a backend is made from, as `-chardev` and `chardev-add` describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// `socket,path=…,server=on,wait=off`. The socket file is private, and removed in the end.
    UnixServer {
        /// Where to listen.
        path: PathBuf,
        /// `SO_SNDBUF` of each connection: how much may be sent and not yet read, in bytes.
        send_buffer: Option<usize>,
    },
    /// `socket,path=…,reconnect=…`: tries again with back-off, from 10 ms doubling to 1 s.
    UnixClient {
        /// Where somebody listens, now or later.
        path: PathBuf,
        /// As for the server.
        send_buffer: Option<usize>,
    },
    /// `socket,host=…,port=…,server=on`. Loopback only.
    TcpServer {
        /// Where to listen; port 0 for any free one.
        address: SocketAddr,
    },
    /// `socket,host=…,port=…,reconnect=…`. Loopback only.
    TcpClient {
        /// Where somebody listens, now or later.
        address: SocketAddr,
    },
    /// `pty`: connected while somebody holds the slave open. Unlike QEMU's, it notices when he leaves.
    Pty,
    /// `file`: written from its beginning.
    File {
        /// Where.
        path: PathBuf,
    },
    /// `null`: takes everything, by contract.
    Null,
    /// `ringbuf`, except that it does not overwrite: when it is full, output waits until it is read.
    Ring {
        /// Bytes.
        size: usize,
    },
    /// `spicevmc,name=vdagent`: a channel that exists while the backend has been told that the guest has
    /// the port open.
    Agent {
        /// As for the server.
        send_buffer: Option<usize>,
    },
}

/// Why a backend cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Others could reach it.
    #[error("{0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// Something else is at the socket's path.
    #[error("`{}` exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// A ring buffer of nothing.
    #[error("a ring buffer needs at least one byte")]
    EmptyRing,
    /// The system refuses.
    #[error("{what} `{}`", .path.display())]
    Path {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The system refuses something that has no path.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        error: io::Error,
    },
}

/// What became of input that nobody has read when a peer left.
pub type Unread = Vec<u8>;

/// The host's end.
pub trait Backend: fmt::Debug + Send {
    /// Somebody is there who takes what is written.
    fn is_connected(&self) -> bool;

    /// Looks who has come and who has gone, without waiting. What a peer that left had sent is added to
    /// `unread`. Says whether anything changed. Accepts nobody while `closed_to_new`.
    fn look(&mut self, now: Instant, closed_to_new: bool, unread: &mut Unread) -> bool;

    /// Writes what is taken at once; how many bytes that were.
    fn write(&mut self, bytes: &[u8]) -> usize;

    /// Reads at most so many bytes of what is there.
    fn read(&mut self, most: usize) -> Vec<u8>;

    /// Takes whatever is there to be read, without ending the connection.
    fn drain(&mut self, unread: &mut Unread);

    /// Ends the connection; what was sent to the peer he can still read. Unread input is added to
    /// `unread`, and what was kept for a reader, to `unsent`.
    fn close(&mut self, unread: &mut Unread, unsent: &mut Vec<u8>);

    /// The machine runs: what has no transport to wait for connects now.
    fn start(&mut self) {}

    /// The backend is told whether the guest has the port open. Only an agent's does anything about it.
    fn client(&mut self, _open: bool, _unread: &mut Unread) {}

    /// Output that a backend keeps and that must travel with the machine; it keeps none of it.
    fn take_kept(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// What to wait for: descriptors, given that input or output is wanted.
    fn descriptors(&self, input: bool, output: bool) -> Vec<(BorrowedFd<'_>, PollFlags)>;

    /// When to look again although no descriptor says so.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Looks again as soon as possible, whatever the back-off says.
    fn hurry(&mut self) {}

    /// Where a host finds it: the slave of a pty, the address of a listener.
    fn address(&self) -> Option<String> {
        None
    }

    /// The other end of an agent's channel, once each time it is opened.
    fn take_agent(&mut self) -> Option<std::os::unix::net::UnixStream> {
        None
    }
}

/// Makes a backend.
pub fn open(config: &Config) -> Result<Box<dyn Backend>, OpenError> {
    Ok(match config {
        Config::UnixServer { path, send_buffer } => {
            Box::new(socket::Server::unix(path, *send_buffer)?)
        }
        Config::UnixClient { path, send_buffer } => {
            Box::new(socket::Client::unix(path, *send_buffer))
        }
        Config::TcpServer { address } => Box::new(socket::Server::tcp(*address)?),
        Config::TcpClient { address } => Box::new(socket::Client::tcp(*address)?),
        Config::Pty => Box::new(pty::Pty::open()?),
        Config::File { path } => Box::new(file::FileBackend::open(path)?),
        Config::Null => Box::<null::Null>::default(),
        Config::Ring { size: 0 } => return Err(OpenError::EmptyRing),
        Config::Ring { size } => Box::new(ring::Ring::new(*size)),
        Config::Agent { send_buffer } => Box::new(agent::Agent::new(*send_buffer)),
    })
}
