//! A file that output is written to.

use std::{fs::File, io::Write, os::fd::BorrowedFd, path::Path, time::Instant};

use rustix::event::PollFlags;

use super::{Backend, OpenError, Unread};

/// Output only; a full disk is back-pressure.
#[derive(Debug)]
pub(super) struct FileBackend {
    file: File,
    started: bool,
}

impl FileBackend {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let file = File::create(path);
        let error = |error| OpenError::Path { what: "create", path: path.to_owned(), error };
        Ok(FileBackend { file: file.map_err(error)?, started: false })
    }
}

impl Backend for FileBackend {
    fn is_connected(&self) -> bool {
        self.started
    }

    fn look(&mut self, _: Instant, _: bool, _: &mut Unread) -> bool {
        false
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.started && taken < bytes.len() {
            match self.file.write(&bytes[taken..]) {
                Ok(count) if count > 0 => taken += count,
                _ => break,
            }
        }
        taken
    }

    fn read(&mut self, _: usize) -> Vec<u8> {
        Vec::new()
    }

    fn drain(&mut self, _: &mut Unread) {}

    fn close(&mut self, _: &mut Unread, _: &mut Vec<u8>) {
        self.started = false;
    }

    fn start(&mut self) {
        self.started = true;
    }

    fn descriptors(&self, _: bool, _: bool) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        Vec::new()
    }
}
