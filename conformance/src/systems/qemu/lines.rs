//! Lines over a socket, none waited for without end.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use crate::replay::{Fault, environment};

/// How long an answer may take. Shorter than the deadline of a step, so that what hangs is named.
pub(super) const DEADLINE: Duration = Duration::from_secs(8);
/// No line is longer: a ring buffer's contents are a few hundred bytes.
const LINE_MAX: usize = 1 << 24;

/// One end of a line protocol.
#[derive(Debug)]
pub(super) struct Lines {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Lines {
    pub(super) fn new(stream: UnixStream) -> Self {
        Lines { stream, unread: Vec::new() }
    }

    pub(super) fn send(&mut self, line: &str) -> Result<(), Fault> {
        self.stream.set_write_timeout(Some(DEADLINE)).map_err(environment)?;
        self.stream.write_all(format!("{line}\n").as_bytes()).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Fault::Hang(DEADLINE),
            _ => closed(),
        })
    }

    /// The next line, or the fault that there is none in time.
    pub(super) fn receive(&mut self) -> Result<String, Fault> {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(line) = self.take_line()? {
                return Ok(line);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.read(left)? {
                return Err(Fault::Hang(DEADLINE));
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
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(closed()),
            Ok(_) if self.unread.len() > LINE_MAX => {
                Err(Fault::Garbage(format!("a line longer than {LINE_MAX} bytes")))
            }
            Ok(count) => {
                self.unread.extend(&chunk[..count]);
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
