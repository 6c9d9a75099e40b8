//! One `virsh` with the QEMU driver in it: one life of the daemon.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// What has to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// `virsh`, with the QEMU driver installed beside it.
    pub virsh: PathBuf,
    /// The emulator of the guests.
    pub qemu: PathBuf,
}

impl Default for Programs {
    fn default() -> Self {
        Programs {
            virsh: PathBuf::from("virsh"),
            qemu: PathBuf::from("/usr/bin/qemu-system-x86_64"),
        }
    }
}

impl Programs {
    /// The library's version, or why there is none.
    pub fn version(&self) -> Result<String, String> {
        let output = Command::new(&self.virsh)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| {
                format!(
                    "{}: {error}; on Debian: apt-get install libvirt-clients libvirt-daemon-driver-qemu",
                    self.virsh.display()
                )
            })?;
        if !self.qemu.exists() {
            return Err(format!(
                "{}: no such file; on Debian: apt-get install qemu-system-x86",
                self.qemu.display()
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// A running `virsh`.
#[derive(Debug)]
pub(super) struct Virsh {
    child: Child,
    stdin: ChildStdin,
    said: Arc<Said>,
    commands: u32,
}

/// What it has printed.
#[derive(Debug, Default)]
struct Said {
    text: Mutex<(String, bool)>,
    more: Condvar,
}

/// A command that was given, and where its answer begins.
#[derive(Debug)]
pub(super) struct Given {
    token: String,
    from: usize,
}

impl Virsh {
    /// Starts the driver on this directory. Domains that run are found again in the background.
    pub(super) fn start(programs: &Programs, root: &Path) -> io::Result<Self> {
        let driver = [programs.virsh.as_os_str().to_owned(), "-q".into(), "-c".into()];
        let uri = format!("qemu:///embed?root={}", root.display());
        // Killed with the thread that started it, whatever becomes of us.
        let mut words: Vec<std::ffi::OsString> =
            ["setpriv", "--pdeathsig", "KILL"].map(Into::into).into();
        if rustix::process::geteuid().is_root() {
            words.extend(["unshare".into(), "-U".into()]);
        }
        words.extend(driver);
        words.push(uri.into());
        // One pipe for both: an error comes before the token that ends its command.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 2>&1", "sh"])
            .args(words)
            .env("HOME", root)
            .env("XDG_RUNTIME_DIR", root)
            .env("XDG_CACHE_HOME", root.join("cache"))
            .env("XDG_CONFIG_HOME", root.join("config"))
            .env("LC_ALL", "C")
            .env("LIBVIRT_LOG_OUTPUTS", format!("3:file:{}", root.join("libvirt.log").display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let missing = || io::Error::other("no pipe");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let said = Arc::new(Said::default());
        let pipe = child.stdout.take().ok_or_else(missing)?;
        let heard = Arc::clone(&said);
        thread::Builder::new().name("virsh".to_owned()).spawn(move || listen(pipe, &heard))?;
        Ok(Virsh { child, stdin, said, commands: 0 })
    }

    /// Gives a command and does not wait.
    pub(super) fn give(&mut self, command: &str) -> io::Result<Given> {
        self.commands += 1;
        let token = format!("done {} end", self.commands);
        let from = lock(&self.said.text).0.len();
        // virsh joins the words by single spaces, so that an echo of the command is not taken for it.
        let echo = token.replace(' ', "  ");
        self.stdin.write_all(format!("{command}\necho {echo}\n").as_bytes())?;
        self.stdin.flush()?;
        Ok(Given { token, from })
    }

    /// The answer, if it is there.
    pub(super) fn answer(&self, given: &Given) -> Option<String> {
        let text = lock(&self.said.text);
        let rest = text.0.get(given.from..)?;
        let end = rest.find(&given.token)?;
        Some(rest[..end].replace("virsh # ", "").trim().to_owned())
    }

    /// Waits for the answer.
    pub(super) fn wait(&self, given: &Given, most: Duration) -> io::Result<String> {
        let deadline = Instant::now() + most;
        loop {
            if let Some(answer) = self.answer(given) {
                return Ok(answer);
            }
            let text = lock(&self.said.text);
            if text.1 || Instant::now() >= deadline {
                let why = if text.1 { "virsh has ended" } else { "virsh does not answer" };
                let tail: String = text.0.chars().rev().take(400).collect();
                let tail: String = tail.chars().rev().collect();
                return Err(io::Error::new(
                    if text.1 { io::ErrorKind::BrokenPipe } else { io::ErrorKind::TimedOut },
                    format!("{why}; it said last: {}", tail.trim()),
                ));
            }
            drop(self.said.more.wait_timeout(text, Duration::from_millis(20)));
        }
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) {
        self.end();
    }

    /// SIGKILL, and its end is waited for.
    pub(super) fn end(&mut self) {
        // Through a namespace or not, it is the same process: setpriv and unshare become virsh.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Virsh {
    fn drop(&mut self) {
        self.end();
    }
}

fn listen(mut pipe: impl Read, said: &Said) {
    let mut chunk = [0; 4096];
    loop {
        match pipe.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                let mut text = lock(&said.text);
                text.0.push_str(&String::from_utf8_lossy(&chunk[..count]));
                said.more.notify_all();
            }
        }
    }
    lock(&said.text).1 = true;
    said.more.notify_all();
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the driver reads before it starts.
pub(super) fn configure(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root.join("etc"))?;
    fs::write(root.join("etc/qemu.conf"), "security_driver = \"none\"\nstdio_handler = \"file\"\n")
}
