//! The time that a QEMU sees: it stands still until it is moved.
//!
//! `VSERPORT_CHANGE` is limited to one a second, a pty's slave is looked for once a second, and a lost
//! socket is called again after a second: by the monotonic clock, since Debian's QEMU comes without the
//! accelerator that would let qtest step it. libfaketime answers the clock calls from a file, so a second
//! passes when a trace says so, and never because the machine was busy.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::shared_memory;

/// Where distributions put the library for threaded programs.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// The library, where it is installed.
pub(super) fn library() -> Option<&'static Path> {
    LIBRARIES.iter().map(Path::new).find(|path| path.exists())
}

/// One clock, which several processes may see.
#[derive(Debug)]
pub(super) struct Clock {
    file: PathBuf,
    now: Duration,
}

impl Clock {
    pub(super) fn new(dir: &Path) -> io::Result<Self> {
        let clock = Clock { file: dir.join("clock"), now: Duration::ZERO };
        clock.show()?;
        Ok(clock)
    }

    /// Lets `command` see this clock.
    pub(super) fn govern(&self, command: &mut Command, library: &Path) {
        command
            .env("STATUSQUO_PRELOAD", library)
            .env("STATUSQUO_NOTE", self.file.with_file_name(shared_memory::NOTE))
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("TZ", "UTC");
    }

    pub(super) fn advance(&mut self, by: Duration) -> io::Result<()> {
        self.now += by;
        self.show()
    }

    /// The file is replaced, never seen half written.
    fn show(&self) -> io::Result<()> {
        let seconds = self.now.as_secs();
        let (day, hour) = (1 + seconds / 86_400, seconds / 3600 % 24);
        if day > 28 {
            return Err(io::Error::other("a trace of four weeks"));
        }
        let (minute, second, micros) = (seconds / 60 % 60, seconds % 60, self.now.subsec_micros());
        let next = self.file.with_extension("next");
        let text = format!("2020-01-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}\n");
        fs::write(&next, text)?;
        fs::rename(&next, &self.file)
    }
}
