//! Sockets: one listener or one caller, one peer at a time.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::event::PollFlags;

use super::{
    Backend, OpenError, Unread,
    stream::{Stream, bound},
};

const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Listens, and serves one peer at a time; the next one waits in the backlog.
#[derive(Debug)]
pub(super) struct Server {
    listener: Listener,
    send_buffer: Option<usize>,
    stream: Option<Stream>,
}

#[derive(Debug)]
enum Listener {
    Unix { listener: UnixListener, path: PathBuf },
    Tcp(TcpListener),
}

impl Server {
    pub(super) fn unix(path: &Path, send_buffer: Option<usize>) -> Result<Self, OpenError> {
        let error = |what| move |error| OpenError::Path { what, path: path.to_owned(), error };
        match fs::symlink_metadata(path) {
            // Left behind by somebody who did not end well.
            Ok(old) if old.file_type().is_socket() => {
                fs::remove_file(path).map_err(error("remove"))?
            }
            Ok(_) => return Err(OpenError::NotASocket(path.to_owned())),
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(error("listen on"))?;
        // From here on the file is removed in the end, whatever happens.
        let server = Server {
            listener: Listener::Unix { listener, path: path.to_owned() },
            send_buffer,
            stream: None,
        };
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(error("protect"))?;
        if let Listener::Unix { listener, .. } = &server.listener {
            listener.set_nonblocking(true).map_err(error("listen on"))?;
        }
        Ok(server)
    }

    pub(super) fn tcp(address: SocketAddr) -> Result<Self, OpenError> {
        let address = loopback(address)?;
        let open = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener =
            open().map_err(|error| OpenError::System { what: "listen on the address", error })?;
        Ok(Server { listener: Listener::Tcp(listener), send_buffer: None, stream: None })
    }
}

fn loopback(address: SocketAddr) -> Result<SocketAddr, OpenError> {
    if address.ip().is_loopback() { Ok(address) } else { Err(OpenError::NotLoopback(address)) }
}

impl Listener {
    fn accept(&self) -> io::Result<OwnedFd> {
        match self {
            Listener::Unix { listener, .. } => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Unix { listener, .. } => listener.as_fd(),
            Listener::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix { path, .. } = self {
            // It may be gone with its directory.
            drop(fs::remove_file(path));
        }
    }
}

/// What servers and clients do alike with their one stream.
macro_rules! with_stream {
    () => {
        fn is_connected(&self) -> bool {
            self.stream.is_some()
        }

        fn write(&mut self, bytes: &[u8]) -> usize {
            self.stream.as_mut().map_or(0, |stream| stream.write(bytes))
        }

        fn read(&mut self, most: usize) -> Vec<u8> {
            self.stream.as_mut().map_or_else(Vec::new, |stream| stream.read(most))
        }

        fn drain(&mut self, unread: &mut Unread) {
            if let Some(stream) = &mut self.stream {
                stream.drain(unread);
            }
        }

        fn close(&mut self, unread: &mut Unread, _: &mut Vec<u8>) {
            if let Some(mut stream) = self.stream.take() {
                stream.drain(unread);
            }
        }
    };
}

/// Ends the stream if its peer has left; says whether it did.
fn look_at(stream: &mut Option<Stream>, unread: &mut Unread) -> bool {
    let gone = stream.as_ref().is_some_and(Stream::is_gone);
    if gone && let Some(mut stream) = stream.take() {
        stream.drain(unread);
    }
    gone
}

impl Backend for Server {
    with_stream!();

    fn look(&mut self, _: Instant, closed_to_new: bool, unread: &mut Unread) -> bool {
        let left = look_at(&mut self.stream, unread);
        if self.stream.is_some() || closed_to_new {
            return left;
        }
        // Whoever cannot be served is not: the next look tries again.
        let accepted =
            self.listener.accept().and_then(|fd| bound(fd.as_fd(), self.send_buffer).map(|()| fd));
        self.stream = accepted.ok().map(Stream::new);
        left || self.stream.is_some()
    }

    fn descriptors(&self, input: bool, output: bool) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        match &self.stream {
            Some(stream) => vec![(stream.fd(), stream.interest(input, output))],
            None => vec![(self.listener.fd(), PollFlags::IN)],
        }
    }

    fn address(&self) -> Option<String> {
        match &self.listener {
            Listener::Unix { path, .. } => Some(path.display().to_string()),
            Listener::Tcp(listener) => {
                listener.local_addr().ok().map(|address| address.to_string())
            }
        }
    }
}

/// Calls, and calls again.
#[derive(Debug)]
pub(super) struct Client {
    target: Target,
    send_buffer: Option<usize>,
    stream: Option<Stream>,
    backoff: Duration,
    next: Option<Instant>,
}

#[derive(Debug)]
enum Target {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Client {
    pub(super) fn unix(path: &Path, send_buffer: Option<usize>) -> Self {
        Client::new(Target::Unix(path.to_owned()), send_buffer)
    }

    pub(super) fn tcp(address: SocketAddr) -> Result<Self, OpenError> {
        Ok(Client::new(Target::Tcp(loopback(address)?), None))
    }

    fn new(target: Target, send_buffer: Option<usize>) -> Self {
        Client { target, send_buffer, stream: None, backoff: BACKOFF_MIN, next: None }
    }

    fn connect(&self) -> io::Result<Stream> {
        let fd: OwnedFd = match &self.target {
            Target::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                stream.into()
            }
            // On loopback there is an answer at once.
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nonblocking(true)?;
                stream.into()
            }
        };
        bound(fd.as_fd(), self.send_buffer)?;
        Ok(Stream::new(fd))
    }
}

impl Backend for Client {
    with_stream!();

    fn look(&mut self, now: Instant, closed_to_new: bool, unread: &mut Unread) -> bool {
        let left = look_at(&mut self.stream, unread);
        if left {
            (self.backoff, self.next) = (BACKOFF_MIN, None);
        }
        if self.stream.is_some() || closed_to_new || self.next.is_some_and(|next| now < next) {
            return left;
        }
        match self.connect() {
            Ok(stream) => {
                self.stream = Some(stream);
                (self.backoff, self.next) = (BACKOFF_MIN, None);
                true
            }
            Err(_) => {
                self.next = Some(now + self.backoff);
                self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
                left
            }
        }
    }

    fn descriptors(&self, input: bool, output: bool) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let stream = self.stream.as_ref();
        stream.map(|stream| (stream.fd(), stream.interest(input, output))).into_iter().collect()
    }

    fn deadline(&self) -> Option<Instant> {
        if self.stream.is_some() { None } else { self.next }
    }

    fn hurry(&mut self) {
        (self.backoff, self.next) = (BACKOFF_MIN, None);
    }

    fn address(&self) -> Option<String> {
        Some(match &self.target {
            Target::Unix(path) => path.display().to_string(),
            Target::Tcp(address) => address.to_string(),
        })
    }
}
