//! One connection over a descriptor: a socket, or the master of a pty.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Unread;

/// A connection that is open for writing, and perhaps for reading.
#[derive(Debug)]
pub(super) struct Stream {
    fd: OwnedFd,
    /// The peer has ended his sending side; what he sent was read.
    input_ended: bool,
    /// A write found nobody.
    broken: bool,
}

/// Bytes read at a time.
const CHUNK: usize = 4096;

impl Stream {
    /// Takes a descriptor that does not block.
    pub(super) fn new(fd: OwnedFd) -> Self {
        Stream { fd, input_ended: false, broken: false }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The peer has left altogether. Ending only his sending side is not leaving; over TCP the two look
    /// alike until a write fails.
    pub(super) fn is_gone(&self) -> bool {
        let flags = flags_of(self.fd.as_fd(), PollFlags::empty());
        self.broken || flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && !self.broken {
            match rustix::io::write(&self.fd, &bytes[taken..]) {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => break,
                Ok(count) => taken += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => self.broken = true,
            }
        }
        taken
    }

    pub(super) fn read(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        loop {
            match rustix::io::read(&self.fd, &mut bytes[..]) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(count) => {
                    self.input_ended |= count == 0 && most > 0;
                    bytes.truncate(count);
                    return bytes;
                }
                Err(_) => return Vec::new(),
            }
        }
    }

    /// Reads until there is nothing more.
    pub(super) fn drain(&mut self, unread: &mut Unread) {
        loop {
            let bytes = self.read(CHUNK);
            if bytes.is_empty() {
                break;
            }
            unread.extend(bytes);
        }
    }

    pub(super) fn interest(&self, input: bool, output: bool) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, input && !self.input_ended);
        flags.set(PollFlags::OUT, output);
        flags
    }
}

/// What poll(2) says of a descriptor just now.
pub(super) fn flags_of(fd: BorrowedFd<'_>, wanted: PollFlags) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(fd, wanted)];
    match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Ok(_) => fds[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

/// Bounds what a socket takes before its peer reads.
pub(super) fn bound(fd: BorrowedFd<'_>, send_buffer: Option<usize>) -> io::Result<()> {
    send_buffer
        .map_or(Ok(()), |bytes| Ok(rustix::net::sockopt::set_socket_send_buffer_size(fd, bytes)?))
}
