//! The control socket, from the client's side.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use statusquo_vmm::daemon::control::{Asked, Error, Event, Line, Reply, Request};

/// Tries until something comes of it, or the time is over.
pub(super) fn within<T>(
    patience: Duration,
    mut attempt: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let start = Instant::now();
    loop {
        if let Some(found) = attempt()? {
            return Ok(Some(found));
        }
        if start.elapsed() > patience {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One connection, of which nothing is waited for without end.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    unread: Vec<u8>,
    lines: VecDeque<Line>,
    asked: u64,
}

impl Connection {
    pub(super) fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        Ok(Connection { stream, unread: Vec::new(), lines: VecDeque::new(), asked: 0 })
    }

    pub(super) fn send(&mut self, request: Request) -> io::Result<u64> {
        self.asked += 1;
        let line = serde_json::to_string(&Asked { id: self.asked, request })?;
        self.stream.write_all(format!("{line}\n").as_bytes())?;
        Ok(self.asked)
    }

    /// The answer to a request that was sent, if it comes in time. Events that come before are kept.
    pub(super) fn answer(
        &mut self,
        id: u64,
        patience: Duration,
    ) -> io::Result<Option<Result<Reply, Error>>> {
        let deadline = Instant::now() + patience;
        let mut looked = 0;
        loop {
            while let Some(line) = self.lines.get(looked) {
                let is_it = match line {
                    Line::Reply { id: of, .. } => *of == id,
                    Line::Error { id: of, .. } => of.is_none_or(|of| of == id),
                    Line::Event { .. } => false,
                };
                if is_it {
                    return Ok(self.lines.remove(looked).and_then(|line| match line {
                        Line::Reply { reply, .. } => Some(Ok(reply)),
                        Line::Error { error, .. } => Some(Err(error)),
                        Line::Event { .. } => None,
                    }));
                }
                looked += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.read(left.max(Duration::from_millis(1)))? && left.is_zero() {
                return Ok(None);
            }
        }
    }

    /// Asks and waits.
    pub(super) fn ask(
        &mut self,
        request: Request,
        patience: Duration,
    ) -> io::Result<Result<Reply, Error>> {
        let id = self.send(request)?;
        self.answer(id, patience)?.ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    /// The events that were there when this was called.
    pub(super) fn events(&mut self, patience: Duration) -> io::Result<Vec<Event>> {
        drop(self.ask(Request::Ping, patience)?);
        let lines = std::mem::take(&mut self.lines);
        Ok(lines
            .into_iter()
            .filter_map(|line| match line {
                Line::Event { event } => Some(event),
                _ => None,
            })
            .collect())
    }

    /// Reads once; `false` if nothing came in time.
    fn read(&mut self, patience: Duration) -> io::Result<bool> {
        self.stream.set_read_timeout(Some(patience))?;
        let mut chunk = [0; 1 << 16];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(false),
                    _ => Err(error),
                };
            }
        }
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            self.lines.push_back(serde_json::from_slice(&line)?);
        }
        Ok(true)
    }
}
