//! One `virsh` with the QEMU driver in it: one life of the daemon.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
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
    /// The daemon, for studies that need two hosts.
    pub libvirtd: PathBuf,
}

impl Default for Programs {
    fn default() -> Self {
        Programs {
            virsh: PathBuf::from("virsh"),
            qemu: PathBuf::from("/usr/bin/qemu-system-x86_64"),
            // Beside the administrator's programs, which not every PATH has.
            libvirtd: PathBuf::from("/usr/sbin/libvirtd"),
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
    stdin: File,
    said: Arc<Said>,
    commands: u32,
}

/// How long the last words of one that has ended may be on their way.
const LAST_WORDS: Duration = Duration::from_secs(5);

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
        Self::start_with(programs, root, &embedded(root), &["-q"], None)
    }

    /// A client of a daemon that listens there.
    pub(super) fn connect(programs: &Programs, root: &Path, uri: &str) -> io::Result<Self> {
        Self::start_with(programs, root, uri, &["-q"], None)
    }

    /// The same on a terminal, without which it opens no console. It says more.
    pub(super) fn start_on_terminal(programs: &Programs, root: &Path) -> io::Result<Self> {
        let (ours, its) = terminal()?;
        Self::start_with(programs, root, &embedded(root), &[], Some((ours, its)))
    }

    fn start_with(
        programs: &Programs,
        root: &Path,
        uri: &str,
        options: &[&str],
        terminal: Option<(OwnedFd, OwnedFd)>,
    ) -> io::Result<Self> {
        let mut driver = vec![programs.virsh.as_os_str().to_owned()];
        driver.extend(options.iter().map(Into::into));
        driver.push("-c".into());
        let mut words = as_an_ordinary_user();
        words.extend(driver);
        words.push(uri.into());
        let (ours, its) = match terminal {
            Some((ours, its)) => (Some(ours), Stdio::from(its)),
            None => (None, Stdio::piped()),
        };
        // One pipe for both: an error comes before the token that ends its command.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 2>&1", "sh"])
            .args(words)
            .env("HOME", root)
            .env("XDG_RUNTIME_DIR", root)
            .env("XDG_CACHE_HOME", root.join("cache"))
            .env("XDG_CONFIG_HOME", root.join("config"))
            .env("LC_ALL", "C")
            .env("LIBVIRT_AUTOSTART", "0")
            .env("LIBVIRT_LOG_OUTPUTS", format!("3:file:{}", root.join("libvirt.log").display()))
            .env("TERM", "dumb")
            .stdin(its)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let missing = || io::Error::other("no pipe");
        let stdin = match ours {
            Some(ours) => ours,
            None => child.stdin.take().ok_or_else(missing)?.into(),
        };
        let stdin = File::from(stdin);
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
        let words = format!("{command}\necho {echo}\n");
        match self.stdin.write_all(words.as_bytes()).and_then(|()| self.stdin.flush()) {
            Ok(()) => Ok(Given { token, from }),
            // It has ended: what it said before is on its way, and says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.wait_for(LAST_WORDS, |_| None)
            }
            Err(error) => Err(error),
        }
    }

    /// Opens a console, and closes it again where it is open.
    pub(super) fn console(&mut self, command: &str, most: Duration) -> io::Result<String> {
        let from = lock(&self.said.text).0.len();
        self.stdin.write_all(format!("{command}\n").as_bytes())?;
        let has = |text: &str, what: &str| text.get(from..).and_then(|rest| rest.find(what));
        let begun = |text: &str| has(text, "Escape character").or(has(text, "error:"));
        let at = self.wait_for(most, begun)?;
        // At an open console it is the end. What is typed before it is open is thrown away, so it is typed again;
        // at the prompt it takes the next character with it.
        let prompt = |text: &str| text.get(from + at..).and_then(|rest| rest.find("virsh #"));
        let deadline = Instant::now() + most;
        loop {
            self.stdin.write_all(b"\x1d")?;
            match self.wait_for(Duration::from_millis(100), prompt) {
                Ok(_) => break,
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut && Instant::now() < deadline => {}
                Err(error) => return Err(error),
            }
        }
        self.stdin.write_all(b"\n")?;
        let mut given = self.give("")?;
        given.from = from;
        self.wait(&given, most)
    }

    /// Waits until something was said.
    fn wait_for<T>(&self, most: Duration, what: impl Fn(&str) -> Option<T>) -> io::Result<T> {
        let deadline = Instant::now() + most;
        loop {
            let text = lock(&self.said.text);
            if let Some(found) = what(&text.0) {
                return Ok(found);
            }
            if text.1 || Instant::now() >= deadline {
                return Err(silence(&text));
            }
            drop(self.said.more.wait_timeout(text, Duration::from_millis(20)));
        }
    }

    /// The answer, if it is there.
    pub(super) fn answer(&self, given: &Given) -> Option<String> {
        answer(&lock(&self.said.text).0, given)
    }

    /// Waits for the answer.
    pub(super) fn wait(&self, given: &Given, most: Duration) -> io::Result<String> {
        self.wait_for(most, |text| answer(text, given))
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

/// The driver below this directory, in the client itself.
fn embedded(root: &Path) -> String {
    format!("qemu:///embed?root={}", root.display())
}

/// The words before a command's own: it is killed with the thread that started it, whatever becomes of us, and as
/// root it runs in a user namespace of its own, where it takes itself for an ordinary user.
pub(super) fn as_an_ordinary_user() -> Vec<OsString> {
    let mut words: Vec<OsString> = ["setpriv", "--pdeathsig", "KILL"].map(Into::into).into();
    if rustix::process::geteuid().is_root() {
        words.extend(["unshare".into(), "-U".into()]);
    }
    words
}

/// What was said in answer to a command, once it is all there.
fn answer(text: &str, given: &Given) -> Option<String> {
    let rest = text.get(given.from..)?;
    let end = rest.find(&given.token)?;
    Some(rest[..end].replace("virsh # ", "").trim().to_owned())
}

fn silence((text, over): &(String, bool)) -> io::Error {
    let why = if *over { "virsh has ended" } else { "virsh does not answer" };
    let kind = if *over { io::ErrorKind::BrokenPipe } else { io::ErrorKind::TimedOut };
    let tail: String = text.chars().rev().take(400).collect();
    let tail: String = tail.chars().rev().collect();
    io::Error::new(kind, format!("{why}; it said last: {}", tail.trim()))
}

/// Our end of a terminal, and its.
fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::{
        fs::{Mode, OFlags, open},
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
        termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr},
    };
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let path = ptsname(&ours, Vec::new())?;
    let its = open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    // Nobody reads our end, so nothing may be echoed to it.
    let mut attributes = tcgetattr(&its)?;
    attributes.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
    tcsetattr(&its, OptionalActions::Now, &attributes)?;
    Ok((ours, its))
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
