//! A channel whose other end exists only while the guest has the port open.

use std::{
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    time::Instant,
};

use rustix::event::PollFlags;

use super::{
    Backend, Unread,
    stream::{Stream, bound},
};

/// Both ends are made when the backend learns that the guest is there; the agent fetches his.
#[derive(Debug)]
pub(super) struct Agent {
    send_buffer: Option<usize>,
    stream: Option<Stream>,
    other_end: Option<UnixStream>,
    wanted: bool,
}

impl Agent {
    pub(super) fn new(send_buffer: Option<usize>) -> Self {
        Agent { send_buffer, stream: None, other_end: None, wanted: false }
    }

    fn connect(&mut self) -> std::io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        bound(ours.as_fd(), self.send_buffer)?;
        self.stream = Some(Stream::new(ours.into()));
        self.other_end = Some(theirs);
        Ok(())
    }
}

impl Backend for Agent {
    fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    /// An agent that drops his end while the guest is there gets a new one.
    fn look(&mut self, _: Instant, closed_to_new: bool, unread: &mut Unread) -> bool {
        let gone = self.stream.as_ref().is_some_and(Stream::is_gone);
        if gone {
            self.close(unread, &mut Vec::new());
        }
        // Without descriptors left the next look tries again.
        let opened =
            self.wanted && self.stream.is_none() && !closed_to_new && self.connect().is_ok();
        gone || opened
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
        self.drain(unread);
        self.stream = None;
        self.other_end = None;
    }

    fn client(&mut self, open: bool, unread: &mut Unread) {
        self.wanted = open;
        if !open {
            self.close(unread, &mut Vec::new());
        }
    }

    fn descriptors(&self, input: bool, output: bool) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let stream = self.stream.as_ref();
        stream.map(|stream| (stream.fd(), stream.interest(input, output))).into_iter().collect()
    }

    fn take_agent(&mut self) -> Option<UnixStream> {
        self.other_end.take()
    }
}
