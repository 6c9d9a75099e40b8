//! `statusquo-vmmd`: a daemon that can be killed anywhere, around [`crate::hotplug`], [`crate::status`] and real
//! QEMU processes that outlive it.
//!
//! - [`control`]: the words of its socket; [`client`]: the buffers of one connection.
//! - [`server`]: one event loop for all clients; nothing in it waits.
//! - [`guest`]: one thread for each domain, in which monitor, disk and QEMU may take their time.
//! - [`start`], [`live`]: a start that no kill undoes, and the status file.
//! - [`places`]: directories and the lock; [`boundary`]: where a test may let a kill fall.
//!
//! Why one loop and these threads: docs/decisions/0009-daemon.md. A walk through: docs/guide/daemon.md.

mod boundary;
pub mod cli;
mod client;
pub mod control;
mod guest;
mod live;
mod places;
mod server;
mod start;

use std::{io, path::PathBuf, time::Duration};

pub use self::places::{Places, PlacesError};
use crate::{hypervisor::qmp::Limits, status::StoreError};

/// How a daemon behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// For tests: effects are performed when a client asks for each.
    pub stepwise: bool,
    /// How long a request to unplug waits for the guest.
    pub unplug_wait: Duration,
    /// How long a QEMU may take to come up.
    pub ready_within: Duration,
    /// What a monitor may cost.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            stepwise: false,
            // `QEMU_UNPLUG_TIMEOUT` of libvirt 9.0.0, `src/qemu/qemu_hotplug.c`
            unplug_wait: Duration::from_secs(5),
            ready_within: Duration::from_secs(30),
            limits: Limits::default(),
        }
    }
}

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The directories.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// The control socket.
    #[error("listen on `{}`", .path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The directory of status files.
    #[error("read the status files")]
    Status(#[source] StoreError),
    /// The system.
    #[error("run the daemon")]
    Io(#[source] io::Error),
}

/// Runs a daemon until a signal asks for its end.
///
/// # Errors
/// When it cannot have its directories, or the system fails it.
pub fn run(places: Places, options: Options) -> Result<(), DaemonError> {
    server::Server::new(places, options)?.run()
}
