//! A pseudo-terminal: connected while somebody holds the slave open.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    time::Instant,
};

use rustix::{
    event::PollFlags,
    fs::{Mode, OFlags, inotify},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};

use super::{
    Backend, OpenError, Unread,
    stream::{Stream, flags_of},
};

/// The master, which hangs up while nobody has the slave open, and a watch for the opening, which the
/// master does not announce.
#[derive(Debug)]
pub(super) struct Pty {
    master: Stream,
    slave: PathBuf,
    openings: OwnedFd,
    connected: bool,
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

        let openings =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
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
        inotify::add_watch(&openings, &slave, inotify::WatchFlags::OPEN)?;
        Ok(Pty { master: Stream::new(master), slave, openings, connected: false })
    }

    fn is_held(&self) -> bool {
        !flags_of(self.master.fd(), PollFlags::empty()).contains(PollFlags::HUP)
    }

    fn forget_openings(&self) {
        let mut buffer = [0; 1024];
        while matches!(rustix::io::read(&self.openings, &mut buffer[..]), Ok(count) if count > 0) {}
    }
}

impl Backend for Pty {
    fn is_connected(&self) -> bool {
        self.connected
    }

    fn look(&mut self, _: Instant, closed_to_new: bool, unread: &mut Unread) -> bool {
        let was = self.connected;
        if was && !self.is_held() {
            self.master.drain(unread);
            self.connected = false;
        }
        if !self.connected && !closed_to_new {
            // First forgotten, then looked at: an opening in between is not missed.
            self.forget_openings();
            self.connected = self.is_held();
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
    fn close(&mut self, unread: &mut Unread, _: &mut Vec<u8>) {
        self.drain(unread);
        self.connected = false;
    }

    fn descriptors(&self, input: bool, output: bool) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        if self.connected {
            vec![(self.master.fd(), self.master.interest(input, output))]
        } else {
            vec![(self.openings.as_fd(), PollFlags::IN)]
        }
    }

    fn address(&self) -> Option<String> {
        Some(self.slave.display().to_string())
    }
}
