//! What a daemon asks of a running machine, whoever runs it.
//!
//! The contract is QEMU's monitor protocol, QMP, and nothing more: commands, replies, events.
//! So a procedure that is right here is right on QEMU, and the other way round.
//!
//! - [`monitor`]: the words of the protocol as plain data.
//! - [`qmp`]: a real QEMU, over its monitor socket.
//! - [`embedded`]: the same contract in process, as a value.
//! - [`process`]: a QEMU that outlives whoever started it.
//! - [`words`]: with which words a process was started.
//!
//! A procedure depends on [`Hypervisor`] only.
//! Two rules follow from QMP and hold for every implementation:
//!
//! - A reply says what was *accepted*. `device_del` of a PCI device is a request; what is *done* is an event.
//! - Events reach whoever is connected when they happen. After a lost connection or [`Hypervisor::reconnect`],
//!   only [`Hypervisor::inventory`] knows.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use statusquo_vmm::hypervisor::{Command, Hypervisor, MonitorError, QmpError, embedded::{Config, Embedded}};
//! use serde_json::json;
//!
//! /// Takes a channel away, with its chardev: the event between the two commands is what makes it right.
//! fn detach(machine: &mut dyn Hypervisor, id: &str, chardev: &str) -> Result<Result<(), QmpError>, MonitorError> {
//!     if let Err(refusal) = machine.execute(&Command::device_del(id))? {
//!         return Ok(Err(refusal));
//!     }
//!     let deadline = Instant::now() + Duration::from_secs(5);
//!     while !machine.events().iter().any(|event| event.deleted_device() == Some(id)) {
//!         if !machine.wait_event(deadline)? {
//!             return Ok(Err(QmpError::generic("the device is still there")));
//!         }
//!     }
//!     Ok(machine.execute(&Command::chardev_remove(chardev))?.map(drop))
//! }
//!
//! let device = |value| Command::of("device_add", value);
//! let controller = device(json!({"driver": "virtio-serial-pci", "id": "virtio-serial0"}));
//! let mut machine = Embedded::boot(Config::default(), &[controller]).map_err(|(_, error)| error)?;
//! machine.execute(&Command::chardev_add("charchannel0", json!({"type": "null", "data": {}})))??;
//! machine.execute(&device(json!({"driver": "virtserialport", "id": "channel0", "chardev": "charchannel0"})))??;
//! assert!(machine.inventory()?.devices.contains("channel0"));
//!
//! detach(&mut machine, "channel0", "charchannel0")??;
//! assert!(!machine.inventory()?.chardevs.contains("charchannel0"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{
    fmt, io,
    path::PathBuf,
    time::{Duration, Instant},
};

pub mod embedded;
pub(crate) mod lines;
pub mod monitor;
pub mod process;
pub mod qmp;
pub mod words;

pub use self::monitor::{Command, Event, Inventory, QmpError, Reply, Timestamp};

/// A running machine behind its monitor.
pub trait Hypervisor: fmt::Debug {
    /// Sends one command and waits for its reply, for a bounded time.
    ///
    /// The inner result is the machine's answer. The outer error means that there is none:
    /// whether the command took effect is then unknown, see [`MonitorError::is_fatal`].
    ///
    /// # Errors
    /// When the monitor does not answer, answers nonsense, or is gone.
    fn execute(&mut self, command: &Command) -> Result<Reply, MonitorError>;

    /// The events that have arrived, oldest first. Never waits, and each event is returned once.
    fn events(&mut self) -> Vec<Event>;

    /// Waits until an event is there to be drained (`true`) or the deadline has passed (`false`).
    ///
    /// # Errors
    /// When the monitor sends nonsense or is gone.
    fn wait_event(&mut self, deadline: Instant) -> Result<bool, MonitorError>;

    /// Leaves the connection for a new one. Events not yet drained are lost, as those that happen in between.
    ///
    /// # Errors
    /// When there is nobody to connect to, or no monitor behind it.
    fn reconnect(&mut self) -> Result<(), MonitorError>;

    /// Everything that has an id and can be plugged, as the machine reports it.
    ///
    /// # Errors
    /// As [`Hypervisor::execute`], and when a query is refused or its reply is not of the known shape.
    fn inventory(&mut self) -> Result<Inventory, MonitorError> {
        let mut inventory = Inventory::default();
        for command in Inventory::queries() {
            match self.execute(&command)? {
                Ok(value) => inventory
                    .learn(&command, &value)
                    .map_err(|why| MonitorError::Unexpected { command: command.name, why })?,
                Err(error) => return Err(MonitorError::Refused { command: command.name, error }),
            }
        }
        Ok(inventory)
    }
}

impl<H: Hypervisor + ?Sized> Hypervisor for Box<H> {
    fn execute(&mut self, command: &Command) -> Result<Reply, MonitorError> {
        (**self).execute(command)
    }
    fn events(&mut self) -> Vec<Event> {
        (**self).events()
    }
    fn wait_event(&mut self, deadline: Instant) -> Result<bool, MonitorError> {
        (**self).wait_event(deadline)
    }
    fn reconnect(&mut self) -> Result<(), MonitorError> {
        (**self).reconnect()
    }
    fn inventory(&mut self) -> Result<Inventory, MonitorError> {
        (**self).inventory()
    }
}

impl<H: Hypervisor + ?Sized> Hypervisor for &mut H {
    fn execute(&mut self, command: &Command) -> Result<Reply, MonitorError> {
        (**self).execute(command)
    }
    fn events(&mut self) -> Vec<Event> {
        (**self).events()
    }
    fn wait_event(&mut self, deadline: Instant) -> Result<bool, MonitorError> {
        (**self).wait_event(deadline)
    }
    fn reconnect(&mut self) -> Result<(), MonitorError> {
        (**self).reconnect()
    }
    fn inventory(&mut self) -> Result<Inventory, MonitorError> {
        (**self).inventory()
    }
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// Nobody listens at the monitor's address.
    #[error("connect to the monitor `{}`", .path.display())]
    Connect {
        /// The monitor's socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The peer said nothing in time. The connection is still good: a late reply is recognised and dropped.
    #[error("`{waiting_for}`: no answer from the monitor within {after:?}")]
    Timeout {
        /// The command, or `greeting`.
        waiting_for: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The peer closed the connection, perhaps in the middle of a line.
    #[error("`{waiting_for}`: the monitor closed the connection{}", partial(*.unfinished))]
    Hangup {
        /// The command, `greeting` or `events`.
        waiting_for: String,
        /// Bytes of a line whose end never came.
        unfinished: usize,
    },
    /// The peer sent what is not QMP.
    #[error("line {line} from the monitor: {why}")]
    Garbage {
        /// Counted from 1, the greeting.
        line: u64,
        /// What is wrong, with the column where there is one.
        why: String,
    },
    /// More events than are kept while nobody drains them.
    #[error(
        "more than {events_max} events or {bytes_max} bytes of events are waiting; reconnect and take the inventory"
    )]
    Flood {
        /// The limit in events.
        events_max: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// The system failed to move bytes.
    #[error("talk to the monitor")]
    Io(#[from] io::Error),
    /// An earlier error ended the connection.
    #[error("the connection to the monitor was given up ({why}); reconnect")]
    Closed {
        /// The earlier error.
        why: String,
    },
    /// A query that must succeed was refused.
    #[error("`{command}` was refused")]
    Refused {
        /// The query.
        command: String,
        /// The machine's answer.
        #[source]
        error: QmpError,
    },
    /// A reply that is QMP but not of the shape that the command promises.
    #[error("`{command}`: {why}")]
    Unexpected {
        /// The query.
        command: String,
        /// What was found, and where.
        why: String,
    },
}

impl MonitorError {
    /// Whether the connection is over, so that only [`Hypervisor::reconnect`] helps.
    pub fn is_fatal(&self) -> bool {
        !matches!(
            self,
            MonitorError::Timeout { .. }
                | MonitorError::Refused { .. }
                | MonitorError::Unexpected { .. }
        )
    }
}

fn partial(unfinished: usize) -> String {
    if unfinished == 0 {
        String::new()
    } else {
        format!(" after {unfinished} bytes of an unfinished line")
    }
}
