//! A declared sink.

use std::{os::fd::BorrowedFd, time::Instant};

use rustix::event::PollFlags;

use super::{Backend, Unread};

/// Takes everything. What is written here was asked to be forgotten.
#[derive(Debug, Default)]
pub(super) struct Null {
    started: bool,
}

impl Backend for Null {
    fn is_connected(&self) -> bool {
        self.started
    }

    fn look(&mut self, _: Instant, _: bool, _: &mut Unread) -> bool {
        false
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        if self.started { bytes.len() } else { 0 }
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
