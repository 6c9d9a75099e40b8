//! A QEMU process that does not outlive its owner.

use std::{
    fs::{self, File},
    io,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::patience::PATIENCE;
use crate::{replay::Fault, shared_memory};

/// Lines of standard error that are shown.
const LAST_LINES: usize = 5;
/// Between two looks.
const PAUSE: Duration = Duration::from_micros(500);
/// How long a process may take to die.
const DYING: Duration = Duration::from_secs(5);
/// What runs in the child before the program. It may have 8 GiB, more than any QEMU of ours needs: what a guest can
/// make it take beyond that is refused, and does not come out of everybody else's. A library is loaded into the
/// program alone, and what that may leave is noted before there is any of it.
const BEFORE: &str = r#"set -e
ulimit -c 0
ulimit -v 8388608
if [ -n "$STATUSQUO_PRELOAD" ]; then
    : > "$STATUSQUO_NOTE$$"
    export LD_PRELOAD="$STATUSQUO_PRELOAD"
fi
exec "$@""#;

/// Killed and reaped when dropped; the kernel kills it if its owner dies first.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    errors: PathBuf,
}

impl Process {
    /// `binary` with a limit on its memory, and under `setpriv`, which asks the kernel to end it with the thread that
    /// started it: what `prctl` would do between fork and exec, where no safe code can run.
    pub(super) fn command(binary: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "sh", "-c", BEFORE, "sh"]);
        command.arg(binary);
        command
    }

    pub(super) fn spawn(mut command: Command, errors: PathBuf) -> io::Result<Self> {
        let file = File::create(&errors)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Process { child, errors })
    }

    fn dir(&self) -> &Path {
        self.errors.parent().unwrap_or(Path::new(""))
    }

    /// It runs: what a preloaded library has made for it has no need of a name any more.
    pub(super) fn has_started(&self) {
        shared_memory::forget(self.dir(), self.child.id());
    }

    /// How it ended, if it ends within `patience`.
    pub(super) fn ended(&mut self, patience: Duration) -> Option<String> {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(self.obituary(status)),
                Ok(None) if start.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                _ => return None,
            }
        }
    }

    /// Says of a process that has closed its sockets how it ended.
    pub(super) fn explain(&mut self, fault: Fault) -> Fault {
        match fault {
            // Give it a moment to be dead.
            Fault::Died(how) => Fault::Died(self.ended(DYING).unwrap_or(how)),
            fault => fault,
        }
    }

    /// What is wrong with one that was just started, with the last lines of its log.
    pub(super) fn does_not_start(&mut self, fault: &Fault) -> Fault {
        let patience = if matches!(fault, Fault::Died(_)) { DYING } else { Duration::ZERO };
        Fault::Environment(match self.ended(patience) {
            Some(how) => format!("it ends while it starts: {how}"),
            None => format!("while it starts: {fault}{}", self.said()),
        })
    }

    /// A signal has ended it.
    pub(super) fn has_crashed(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(status)) if status.signal().is_some())
    }

    fn obituary(&self, status: ExitStatus) -> String {
        let how = match (status.signal(), status.code()) {
            (Some(signal), _) => {
                let name = signal_hook::low_level::signal_name(signal).unwrap_or("no name");
                format!("signal {signal} ({name})")
            }
            (None, Some(code)) => format!("exit code {code}"),
            (None, None) => "unknown".to_owned(),
        };
        how + &self.said()
    }

    /// The last lines of its log.
    fn said(&self) -> String {
        let text = fs::read(&self.errors).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
        if last.is_empty() { String::new() } else { format!("; it said: {}", last.join(" | ")) }
    }

    pub(super) fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Every thread of it sleeps: see [`sleeps`].
    pub(super) fn sleeps(&self) -> bool {
        sleeps(self.id())
    }

    /// Pauses before the next look for something that was waited for since `start`, or says that it hangs.
    pub(super) fn is_waited_for(&self, start: Instant) -> Result<(), Fault> {
        if let Some(waited) = PATIENCE.is_over(Some(self.id()), start.elapsed()) {
            return Err(Fault::Hang(waited));
        }
        std::thread::sleep(PAUSE);
        Ok(())
    }

    /// Does something while the process stands still.
    pub(super) fn held_still<T>(&self, what: impl FnOnce() -> T) -> io::Result<T> {
        let pid = self.id();
        kill_process(pid, Signal::STOP)?;
        waitpid(Some(pid), WaitOptions::UNTRACED)?;
        let done = what();
        kill_process(pid, Signal::CONT)?;
        Ok(done)
    }
}

/// Every thread of a process sleeps: what has reached it was handled, and what has not is not on the way inside
/// of it. However busy the machine is, a thread that has something to do and no processor is not asleep.
pub(super) fn sleeps(process: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero()));
    threads.is_ok_and(|mut threads| {
        threads.all(|thread| thread.is_ok_and(|thread| is_asleep(&thread.path())))
    })
}

/// The third field of a thread's `stat`, after its name in parentheses (proc(5)). One that has just ended
/// has nothing to do either.
fn is_asleep(thread: &Path) -> bool {
    let Ok(stat) = fs::read_to_string(thread.join("stat")) else { return true };
    stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('S'))
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill, and still something to reap.
        drop(self.child.kill());
        drop(self.child.wait());
        shared_memory::forget(self.dir(), self.child.id());
    }
}
