//! The host's end of one chardev, on real descriptors.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::OpenOptionsExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    net::{
        AddressFamily,
        sockopt::{set_socket_linger, socket_domain},
    },
    termios::{QueueSelector, tcflush},
};

/// Whoever is at the other end.
#[derive(Debug, Default)]
pub(crate) enum Host {
    /// Nobody.
    #[default]
    Gone,
    /// A peer on a socket; he may listen for the next connection himself.
    Socket { stream: UnixStream, listener: Option<Listener> },
    /// Somebody who listens and has not been called yet.
    Listening(Listener),
    /// Somebody who holds a terminal open.
    Terminal(File),
}

/// A listener whose file goes with it.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

impl Host {
    /// Connects to a listening chardev.
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        Host::from_stream(UnixStream::connect(path)?)
    }

    /// The same where it listens on TCP. A socket's calls are the same whatever its family.
    ///
    /// This host hangs up by a reset, which QEMU notices as it notices the end of a unix socket. An orderly end is
    /// another thing on TCP: QEMU waits for `POLLHUP`, which comes only once both sides have ended, and so
    /// learns of it when it reads.
    pub(crate) fn connect_to(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        set_socket_linger(&stream, Some(Duration::ZERO))?;
        Host::from_stream(OwnedFd::from(stream).into())
    }

    pub(crate) fn from_stream(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Host::Socket { stream, listener: None })
    }

    /// Listens for a chardev that calls.
    pub(crate) fn listen(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Host::Listening(Listener { listener, path: path.to_owned() }))
    }

    /// Takes the chardev's call, if it has called.
    pub(crate) fn accept(&mut self) -> io::Result<()> {
        let Host::Listening(listener) = self else { return Ok(()) };
        match listener.listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                if let Host::Listening(listener) = std::mem::take(self) {
                    *self = Host::Socket { stream, listener: Some(listener) };
                }
                Ok(())
            }
        }
    }

    /// Opens the slave of a pty.
    pub(crate) fn hold(slave: &Path) -> io::Result<Self> {
        let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits();
        let flags = i32::try_from(flags).map_err(io::Error::other)?;
        Ok(Host::Terminal(
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(slave)?,
        ))
    }

    /// Leaves, and does not want what is unread.
    pub(crate) fn leave(&mut self) -> io::Result<()> {
        if let Host::Terminal(terminal) = self {
            tcflush(&*terminal, QueueSelector::IFlush)?;
        }
        // Stop listening before hanging up, or the chardev calls again at once.
        if let Host::Socket { stream, listener } = self {
            *listener = None;
            // Hung up is hung up, even where another thread is just starting a process that still holds a copy.
            // On TCP this would be the orderly end that `connect_to` speaks of.
            if socket_domain(&*stream)? == AddressFamily::UNIX {
                drop(stream.shutdown(Shutdown::Both));
            }
        }
        *self = Host::Gone;
        Ok(())
    }

    pub(crate) fn half_close(&mut self) -> io::Result<()> {
        match self {
            // Nor does it listen for another, or the chardev, which takes this for the end, calls again.
            Host::Socket { stream, listener } => {
                *listener = None;
                stream.shutdown(Shutdown::Write)
            }
            _ => Err(io::Error::other("only a socket has two directions")),
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Host::Socket { stream, .. } => stream.write_all(bytes),
            Host::Terminal(terminal) => terminal.write_all(bytes),
            Host::Gone | Host::Listening(_) => Err(io::Error::other("the host is not connected")),
        }
    }

    /// Reads all that is there now.
    pub(crate) fn read(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        let from: &mut dyn Read = match self {
            Host::Socket { stream, .. } => stream,
            Host::Terminal(terminal) => terminal,
            Host::Gone | Host::Listening(_) => return Ok(()),
        };
        read_all(from, into)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Host::Socket { stream, .. } => Some(stream.as_fd()),
            Host::Terminal(terminal) => Some(terminal.as_fd()),
            Host::Gone | Host::Listening(_) => None,
        }
    }

    /// The other side has hung up. What it sent can still be read.
    pub(crate) fn is_cut_off(&self) -> bool {
        let Some(fd) = self.fd() else { return false };
        // A TCP socket has hung up only once both sides have: there the end of what it sends is the sign.
        let signs = PollFlags::HUP | PollFlags::RDHUP;
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().intersects(signs)
    }

    /// Waits, where somebody is there and will be hung up on. A descriptor that was closed is closed later
    /// where another thread is just starting a process: until that runs, it holds a copy.
    pub(crate) fn wait_until_cut_off(&self, most: Duration) {
        let start = Instant::now();
        while self.is_there() && !self.is_cut_off() && start.elapsed() < most {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn is_there(&self) -> bool {
        self.fd().is_some()
    }
}

/// Reads all that is there now.
pub(crate) fn read_all(from: &mut dyn Read, into: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 4096];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => into.extend(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A terminal without a master, a socket that was reset: there is nothing more.
            Err(_) => return Ok(()),
        }
    }
}
