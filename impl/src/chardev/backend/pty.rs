//! A pseudo-terminal: connected while somebody holds the slave open.

use std::{
    io,
    os::fd::BorrowedFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustix::{
    event::PollFlags,
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};

use super::{
    Backend, OpenError, Unread,
    stream::{Stream, flags_of},
};

/// How often to look whether somebody has opened the slave: the master does not announce it. (A watch
/// on the slave's path would, but closing one takes the kernel some 20 ms.)
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The master, which hangs up while nobody has the slave open.
#[derive(Debug)]
pub(super) struct Pty {
    master: Stream,
    slave: PathBuf,
    connected: bool,
    looked: Option<Instant>,
}

impl Pty {
    pub(super) fn open() -> Result<Self, OpenError> {
        Pty::try_open().map_err(|error| OpenError::System { what: "open a pseudo-terminal", error })
    }

    fn try_open() -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave = PathBuf::from(name.to_string_lossy().into_owned());
        rustix::io::ioctl_fionbio(&master, true)?;

        // A terminal that was never open does not hang up: open it once, and make it raw on the way.
        let first = rustix::fs::open(
            &slave,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut settings = tcgetattr(&first)?;
        settings.make_raw();
        tcsetattr(&first, OptionalActions::Now, &settings)?;
        drop(first);
        Ok(Pty { master: Stream::new(master), slave, connected: false, looked: None })
    }

    /// Reads what the slave has not been read of. Closing the master would discard it.
    fn take_back(&self) -> Vec<u8> {
        let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut unsent = Vec::new();
        if let Ok(slave) = rustix::fs::open(&self.slave, flags, Mode::empty()) {
            Stream::new(slave).drain(&mut unsent);
        }
        unsent
    }

    fn is_held(&self) -> bool {
        !flags_of(self.master.fd(), PollFlags::empty()).contains(PollFlags::HUP)
    }
}

impl Backend for Pty {
    fn is_connected(&self) -> bool {
        self.connected
    }

    fn look(&mut self, now: Instant, closed_to_new: bool, unread: &mut Unread) -> bool {
        let was = self.connected;
        if was && !self.is_held() {
            self.master.drain(unread);
            self.connected = false;
        }
        if !self.connected && !closed_to_new {
            self.connected = self.is_held();
            self.looked = Some(now);
        }
        was != self.connected
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        if self.connected { self.master.write(bytes) } else { 0 }
    }

    fn read(&mut self, most: usize) -> Vec<u8> {
        if self.connected { self.master.read(most) } else { Vec::new() }
    }

    fn drain(&mut self, unread: &mut Unread) {
        if self.connected {
            self.master.drain(unread);
        }
    }

    /// The connection ends with the terminal, when this backend is dropped.
    fn close(&mut self, unread: &mut Unread, unsent: &mut Vec<u8>) {
        self.drain(unread);
        if self.connected {
            unsent.extend(self.take_back());
        }
        self.connected = false;
    }

    fn take_kept(&mut self) -> Vec<u8> {
        if self.connected { self.take_back() } else { Vec::new() }
    }

    fn descriptors(&self, input: bool, output: bool) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        // A hung-up master would never let poll(2) wait.
        if self.connected {
            vec![(self.master.fd(), self.master.interest(input, output))]
        } else {
            Vec::new()
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.connected { None } else { self.looked.map(|looked| looked + LOOK_EVERY) }
    }

    fn address(&self) -> Option<String> {
        Some(self.slave.display().to_string())
    }
}
