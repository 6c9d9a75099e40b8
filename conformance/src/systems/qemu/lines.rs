//! Lines over a socket, none waited for without end.

use std::{
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use rustix::{
    net::{RecvFlags, recv, sockopt::socket_peercred},
    process::Pid,
};

use super::patience::{PATIENCE, Patience};
use crate::replay::{Fault, environment};

/// Between two looks at one that is late.
const MOMENT: Duration = Duration::from_millis(100);
/// No line is longer: a ring buffer's contents are a few hundred bytes.
const LINE_MAX: usize = 1 << 24;

/// One end of a line protocol.
#[derive(Debug)]
pub(super) struct Lines {
    stream: UnixStream,
    /// Who is at the other end, where the kernel knows.
    other: Option<Pid>,
    unread: Vec<u8>,
}

impl Lines {
    pub(super) fn new(stream: UnixStream) -> Self {
        let other = socket_peercred(&stream).ok().map(|credentials| credentials.pid);
        Lines { stream, other, unread: Vec::new() }
    }

    pub(super) fn send(&mut self, line: &str) -> Result<(), Fault> {
        self.stream.set_write_timeout(Some(PATIENCE.asleep)).map_err(environment)?;
        self.stream.write_all(format!("{line}\n").as_bytes()).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Fault::Hang(PATIENCE.asleep),
            _ => closed(),
        })
    }

    /// The next line, or the fault that there is none in time.
    pub(super) fn receive(&mut self) -> Result<String, Fault> {
        self.receive_with(PATIENCE)
    }

    /// A line that is there already.
    pub(super) fn receive_ready(&mut self) -> Result<Option<String>, Fault> {
        if let Some(line) = self.take_line()? {
            return Ok(Some(line));
        }
        let mut chunk = [0; 1 << 12];
        let came = recv(&self.stream, &mut chunk, RecvFlags::DONTWAIT);
        self.take_in(came.map(|(count, _)| &chunk[..count]).map_err(io::Error::from))?;
        self.take_line()
    }

    fn receive_with(&mut self, patience: Patience) -> Result<String, Fault> {
        let start = Instant::now();
        loop {
            if let Some(line) = self.take_line()? {
                return Ok(line);
            }
            let left = patience.asleep.saturating_sub(start.elapsed()).max(MOMENT);
            if !self.read(left)?
                && let Some(waited) = patience.is_over(self.other, start.elapsed())
            {
                return Err(Fault::Hang(waited));
            }
        }
    }

    fn take_line(&mut self) -> Result<Option<String>, Fault> {
        let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let line: Vec<u8> = self.unread.drain(..=end).collect();
        let line = String::from_utf8(line);
        line.map(|line| Some(line.trim_end().to_owned()))
            .map_err(|_| Fault::Garbage("a line that is not UTF-8".to_owned()))
    }

    /// Reads once; `false` if nothing came in time.
    fn read(&mut self, within: Duration) -> Result<bool, Fault> {
        self.stream.set_read_timeout(Some(within)).map_err(environment)?;
        let mut chunk = [0; 1 << 16];
        let came = self.stream.read(&mut chunk);
        self.take_in(came.map(|count| &chunk[..count]))
    }

    /// Keeps what came; `false` if nothing has.
    fn take_in(&mut self, came: io::Result<&[u8]>) -> Result<bool, Fault> {
        match came {
            Ok([]) => Err(closed()),
            Ok(_) if self.unread.len() > LINE_MAX => {
                Err(Fault::Garbage(format!("a line longer than {LINE_MAX} bytes")))
            }
            Ok(bytes) => {
                self.unread.extend(bytes);
                Ok(true)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(false),
                ErrorKind::Interrupted => Ok(true),
                _ => Err(closed()),
            },
        }
    }
}

/// Whoever owns the process says how it ended.
fn closed() -> Fault {
    Fault::Died("it closed its control socket".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_taken_and_not_waited_for() {
        let (one, mut other) = UnixStream::pair().unwrap();
        let mut lines = Lines::new(one);
        assert_eq!(lines.receive_ready(), Ok(None));
        other.write_all(b"one\ntwo\nhal").unwrap();
        assert_eq!(lines.receive_ready(), Ok(Some("one".to_owned())));
        assert_eq!(lines.receive_ready(), Ok(Some("two".to_owned())));
        assert_eq!(lines.receive_ready(), Ok(None), "half a line is none");
        other.write_all(b"f\n").unwrap();
        assert_eq!(lines.receive_ready(), Ok(Some("half".to_owned())));
        drop(other);
        assert_eq!(lines.receive_ready(), Err(closed()));
    }

    #[test]
    fn who_has_something_to_do_is_waited_for() {
        // The other end is this very process, which is busy with the test.
        let (one, mut other) = UnixStream::pair().unwrap();
        let mut lines = Lines::new(one);
        let patience =
            Patience { asleep: Duration::from_millis(1), busy: Duration::from_millis(350) };
        assert_eq!(lines.receive_with(patience), Err(Fault::Hang(patience.busy)));
        // Nobody is known to be there.
        lines.other = None;
        assert_eq!(lines.receive_with(patience), Err(Fault::Hang(patience.asleep)));
        other.write_all(b"late\n").unwrap();
        assert_eq!(lines.receive_with(patience), Ok("late".to_owned()));
    }
}
