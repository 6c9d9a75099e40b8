//! One adapter process: asked, listened to within a deadline, and ended with all that it started.

use std::{
    ffi::OsString,
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use tempfile::TempDir;

use super::protocol::{Answer, LINE_MAX, Numbered, Request, clip};
use crate::{replay::Fault, workdir};

/// Tells an adapter, and all that it starts, where files may be left: the directory is removed with it.
/// Whoever carries it in his environment is ended with the adapter.
pub const DIRECTORY: &str = "STATUSQUO_DIR";

/// How long an adapter that was told `bye` may take to end before it is killed.
const GOODBYE: Duration = Duration::from_secs(2);

/// Standard error is kept to this many bytes, and shown to this many lines.
const SAID_BYTES_MAX: usize = 4096;
const SAID_LINES_MAX: usize = 5;

/// A running adapter.
#[derive(Debug)]
pub(crate) struct Adapter {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    unread: Vec<u8>,
    said: Vec<u8>,
    asked: u64,
    deadline: Duration,
    /// It has answered everything so far, so it can be expected to understand `bye`.
    is_sound: bool,
    /// Its number may mean another process by now.
    is_reaped: bool,
    dir: TempDir,
    /// The directory that `dir` is in.
    _root: Arc<TempDir>,
}

impl Adapter {
    /// Starts the command in a process group of its own.
    pub(crate) fn spawn(words: &[OsString], deadline: Duration) -> Result<Self, Fault> {
        let [program, arguments @ ..] = words else {
            return Err(Fault::Environment("the adapter's command is empty".to_owned()));
        };
        let root = workdir::root().map_err(environment)?;
        let dir = tempfile::Builder::new()
            .prefix("adapter-")
            .tempdir_in(root.path())
            .map_err(environment)?;
        let child = Command::new(program)
            .args(arguments)
            .env(DIRECTORY, dir.path())
            .env("TMPDIR", dir.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|error| {
            Fault::Environment(format!("`{}` cannot be run: {error}", program.display()))
        })?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Fault::Environment("the adapter has no pipes".to_owned()));
        };
        let adapter = Adapter {
            child,
            stdin: Some(stdin),
            stdout,
            stderr: Some(stderr),
            unread: Vec::new(),
            said: Vec::new(),
            asked: 0,
            deadline,
            is_sound: true,
            is_reaped: false,
            dir,
            _root: root,
        };
        for fd in adapter.fds() {
            rustix::io::ioctl_fionbio(fd, true).map_err(|error| environment(error.into()))?;
        }
        Ok(adapter)
    }

    fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let ends = [
            self.stdin.as_ref().map(AsFd::as_fd),
            Some(self.stdout.as_fd()),
            self.stderr.as_ref().map(AsFd::as_fd),
        ];
        ends.into_iter().flatten()
    }

    /// One request, one answer.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Answer, Fault> {
        self.asked += 1;
        let id = self.asked;
        let line = serde_json::to_string(&Numbered { id, request })
            .map_err(|error| Fault::Environment(format!("the request is no JSON: {error}")))?;
        let (to, answer) = self.say(&line)?;
        match to {
            Some(to) if to != id => {
                self.is_sound = false;
                Err(Fault::Garbage(format!("it answers request {to} when {id} was asked")))
            }
            _ => Ok(answer),
        }
    }

    /// Any line, and the answer to it.
    pub(crate) fn say(&mut self, line: &str) -> Result<(Option<u64>, Answer), Fault> {
        let sound = std::mem::take(&mut self.is_sound);
        self.is_silent()?;
        let answer = self.converse(format!("{line}\n").as_bytes())?;
        let answer = Answer::parse(&answer)?;
        self.is_sound = sound;
        Ok(answer)
    }

    /// Nothing more will be asked: its input ends. How it ended, if it ended in time.
    pub(crate) fn close(&mut self) -> Result<ExitStatus, Fault> {
        self.stdin = None;
        self.end()
    }

    /// How it ended, if it does in time.
    pub(crate) fn end(&mut self) -> Result<ExitStatus, Fault> {
        self.is_sound = false;
        let end = Instant::now() + self.deadline;
        if !self.has_ended(end)? {
            return Err(Fault::Hang(self.deadline));
        }
        self.bury()
    }

    /// The last lines that it wrote to standard error.
    pub(crate) fn said(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.said);
        let lines: Vec<String> =
            text.lines().filter(|line| !line.trim().is_empty()).map(clip).collect();
        lines[lines.len().saturating_sub(SAID_LINES_MAX)..].to_vec()
    }

    /// May it be asked again?
    pub(super) fn is_sound(&self) -> bool {
        self.is_sound
    }

    fn is_silent(&mut self) -> Result<(), Fault> {
        let ready = self.wait(false, Duration::ZERO)?;
        if ready.stdout {
            self.listen()?;
        }
        if self.unread.is_empty() {
            return Ok(());
        }
        let unasked = String::from_utf8_lossy(&self.unread);
        let first = unasked.lines().next().unwrap_or_default();
        Err(Fault::Garbage(format!("it speaks without being asked: {}", clip(first))))
    }

    fn converse(&mut self, mut ask: &[u8]) -> Result<String, Fault> {
        let end = Instant::now() + self.deadline;
        loop {
            if let Some(line) = self.take_line()? {
                return Ok(line);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.late());
            }
            let ready = self.wait(!ask.is_empty(), left)?;
            if ready.stdout {
                self.listen()?;
            }
            if ready.stdin
                && let Some(stdin) = &mut self.stdin
            {
                match stdin.write(ask) {
                    Ok(count) => ask = &ask[count..],
                    Err(error) if is_later(&error) => {}
                    Err(_) => return Err(self.gone("it closed its standard input")),
                }
            }
        }
    }

    fn take_line(&mut self) -> Result<Option<String>, Fault> {
        let end = self.unread.iter().take(LINE_MAX).position(|byte| *byte == b'\n');
        let Some(end) = end else {
            if self.unread.len() < LINE_MAX {
                return Ok(None);
            }
            return Err(Fault::Garbage(format!("a line is longer than {LINE_MAX} bytes")));
        };
        let line: Vec<u8> = self.unread.drain(..=end).collect();
        match std::str::from_utf8(&line) {
            Ok(line) => Ok(Some(line.trim_end().to_owned())),
            Err(_) => Err(Fault::Garbage("a line is not UTF-8".to_owned())),
        }
    }

    /// Waits until something can be done, and hears standard error meanwhile.
    fn wait(&mut self, write: bool, within: Duration) -> Result<Ready, Fault> {
        let stdin = self.stdin.as_ref().filter(|_| write);
        let mut fds = vec![PollFd::new(&self.stdout, PollFlags::IN)];
        let stderr = self.stderr.as_ref().map(|stderr| {
            fds.push(PollFd::new(stderr, PollFlags::IN));
            fds.len() - 1
        });
        let stdin = stdin.map(|stdin| {
            fds.push(PollFd::new(stdin, PollFlags::OUT));
            fds.len() - 1
        });
        match poll(&mut fds, Timespec::try_from(within).ok().as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(environment(error.into())),
        }
        let is_ready = |at: usize| !fds[at].revents().is_empty();
        let ready = Ready { stdout: is_ready(0), stdin: stdin.is_some_and(is_ready) };
        if stderr.is_some_and(is_ready) {
            drop(fds);
            self.hear();
        }
        Ok(ready)
    }

    /// Reads what is there on standard output.
    fn listen(&mut self) -> Result<(), Fault> {
        let mut chunk = [0; 1 << 16];
        match self.stdout.read(&mut chunk) {
            Ok(0) => Err(self.gone("it closed its standard output")),
            Ok(count) => {
                self.unread.extend(&chunk[..count]);
                Ok(())
            }
            Err(error) if is_later(&error) => Ok(()),
            Err(error) => Err(environment(error)),
        }
    }

    /// Reads what is there on standard error, and keeps the end of it.
    fn hear(&mut self) {
        let Some(stderr) = &mut self.stderr else { return };
        let mut chunk = [0; 1 << 14];
        match stderr.read(&mut chunk) {
            Ok(count) if count > 0 => self.said.extend(&chunk[..count]),
            Err(error) if is_later(&error) => {}
            _ => self.stderr = None,
        }
        let old = self.said.len().saturating_sub(SAID_BYTES_MAX);
        self.said.drain(..old);
    }

    /// Why nothing came in time. What it started may hold its output open when it is gone itself.
    fn late(&mut self) -> Fault {
        match self.has_ended(Instant::now()) {
            Ok(true) => self.gone("it ended"),
            _ => Fault::Hang(self.deadline),
        }
    }

    /// Why nothing more comes.
    fn gone(&mut self, sign: &str) -> Fault {
        let end = Instant::now() + self.deadline;
        match self
            .has_ended(end)
            .and_then(|ended| if ended { self.bury().map(Some) } else { Ok(None) })
        {
            Ok(Some(status)) => Fault::Died(obituary(status)),
            Ok(None) => Fault::Died(format!("{sign} and did not end")),
            Err(fault) => fault,
        }
    }

    /// Has it ended by then? It is not reaped yet, so that its number remains its own.
    fn has_ended(&mut self, by: Instant) -> Result<bool, Fault> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            if self.is_reaped {
                return Ok(true);
            }
            let pid = Pid::from_child(&self.child);
            match waitid(WaitId::Pid(pid), options) {
                Ok(Some(_)) => return Ok(true),
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(environment(error.into())),
            }
            if Instant::now() >= by {
                return Ok(false);
            }
            self.hear();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends what is left of it, and reaps it.
    fn bury(&mut self) -> Result<ExitStatus, Fault> {
        self.hear();
        if !std::mem::replace(&mut self.is_reaped, true) {
            // Its members may have ended by themselves.
            let _gone = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
        self.child.wait().map_err(environment)
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        if self.is_sound {
            self.deadline = self.deadline.min(GOODBYE);
            drop(self.ask(&Request::Bye {}));
        }
        self.stdin = None;
        let patience = if self.is_sound { self.deadline } else { Duration::ZERO };
        drop(self.has_ended(Instant::now() + patience));
        drop(self.bury());
        // Whoever has left the group still carries the directory's name.
        workdir::end_processes(self.dir.path());
    }
}

struct Ready {
    stdout: bool,
    stdin: bool,
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn environment(error: io::Error) -> Fault {
    Fault::Environment(error.to_string())
}

/// How a process ended, in words.
pub(crate) fn obituary(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("no name");
            format!("signal {signal} ({name})")
        }
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "unknown".to_owned(),
    }
}
