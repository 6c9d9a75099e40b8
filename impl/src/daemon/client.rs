//! One client of the control socket: bounded buffers, and nothing that waits.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
};

use rustix::event::PollFlags;

use super::control::{Error, Kind, LINE_MAX, Line};
use crate::hypervisor::lines::Lines;

/// Bytes of answers that are waiting; more, and no further request of this client is read.
const ANSWERS_MAX: usize = 256 << 10;
/// Bytes that may wait at all: who asked for events and does not read them is let go.
const WAITING_MAX: usize = 8 << 20;
/// Requests that are not answered yet; more, and no further one is read.
const UNANSWERED_MAX: usize = 32;
/// Bytes that are taken from one client before the others have their turn.
const TURN: usize = 64 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: UnixStream,
    lines: Lines,
    out: Vec<u8>,
    /// Requests that a guest's thread has.
    pub(super) unanswered: usize,
    /// It gets events.
    pub(super) events: bool,
    /// Nothing more is read; what is written ends the connection.
    ending: bool,
    gone: bool,
}

impl Client {
    pub(super) fn new(stream: UnixStream) -> Self {
        Client {
            stream,
            lines: Lines::new(LINE_MAX),
            out: Vec::new(),
            unanswered: 0,
            events: false,
            ending: false,
            gone: false,
        }
    }

    /// What is waited for.
    pub(super) fn interest(&self) -> PollFlags {
        let mut interest = PollFlags::empty();
        if self.takes_requests() {
            interest |= PollFlags::IN;
        }
        if !self.out.is_empty() {
            interest |= PollFlags::OUT;
        }
        interest
    }

    /// Has it room for the answer to a further request?
    pub(super) fn takes_requests(&self) -> bool {
        !self.ending && self.unanswered < UNANSWERED_MAX && self.out.len() < ANSWERS_MAX
    }

    /// Is the connection over?
    pub(super) fn is_over(&self) -> bool {
        self.gone || (self.ending && self.out.is_empty())
    }

    pub(super) fn leave(&mut self) {
        self.gone = true;
    }

    /// Takes what has arrived, once.
    pub(super) fn read(&mut self) {
        let mut chunk = [0; TURN];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.gone = true,
            Ok(count) => self.lines.push(&chunk[..count]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.gone = true,
        }
    }

    /// The next whole line. A line that is too long ends the connection.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        if !self.takes_requests() {
            return None;
        }
        match self.lines.next() {
            Ok(line) => line.map(|(_, line)| line),
            Err(_) => {
                let why = format!("a line has more than {LINE_MAX} bytes; the connection ends");
                self.say(&Line::Error { id: None, error: Kind::LineTooLong.because(why) });
                self.end();
                None
            }
        }
    }

    /// Ends the connection when everything is written.
    pub(super) fn end(&mut self) {
        self.ending = true;
    }

    pub(super) fn refuse(&mut self, id: Option<u64>, error: Error) {
        self.say(&Line::Error { id, error });
    }

    pub(super) fn say(&mut self, line: &Line) {
        match serde_json::to_vec(line) {
            Ok(text) => self.out.extend(text),
            Err(error) => tracing::error!("an answer cannot be written: {error}"),
        }
        self.out.push(b'\n');
        if self.out.len() > WAITING_MAX {
            tracing::warn!("a client does not read what it asked for; it is let go");
            self.gone = true;
        }
        self.write();
    }

    /// Writes what can be written now.
    pub(super) fn write(&mut self) {
        let mut written = 0;
        while written < self.out.len() && !self.gone {
            match self.stream.write(&self.out[written..]) {
                Ok(0) => self.gone = true,
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.gone = true,
            }
        }
        self.out.drain(..written);
    }
}
