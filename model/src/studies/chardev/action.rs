//! What the parties do, one atomic step each.

use serde::{Deserialize, Serialize};

use super::state::Kind;
use crate::study::Party;

/// One step of one party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// `stop`.
    Stop,
    /// `cont`, also the first one.
    Cont,
    /// `system_reset`.
    SystemReset,
    /// `query-chardev`, for one chardev.
    Query {
        /// The port it serves.
        port: u8,
    },
    /// `device_del` of the port; its chardev stays.
    Unplug {
        /// Which.
        port: u8,
    },
    /// `device_add` of the port, with the same chardev.
    Plug {
        /// Which.
        port: u8,
    },
    /// `chardev-change`.
    Change {
        /// The port whose chardev gets a new backend.
        port: u8,
        /// The new backend.
        to: Kind,
    },
    /// The state is saved and loaded back in place: `savevm` and `loadvm` with nothing between.
    SaveLoad,
    /// The driver sets `DRIVER_OK`, sends `DEVICE_READY`, and `PORT_READY` for each port it is told of.
    DriverInit,
    /// The driver writes status 0.
    DriverReset,
    /// The driver gives control buffers back again.
    PostControl,
    /// The driver keeps every control buffer.
    WithholdControl,
    /// An application opens the port: `PORT_OPEN` 1.
    GuestOpen {
        /// Which.
        port: u8,
    },
    /// The application closes it: `PORT_OPEN` 0.
    GuestClose {
        /// Which.
        port: u8,
    },
    /// The guest puts one element into the transmit ring. The device does not care who opened what.
    GuestWrite {
        /// Which.
        port: u8,
    },
    /// The guest posts one receive buffer. Withholding them is not doing this.
    GuestPost {
        /// Which.
        port: u8,
    },
    /// The host connects: `connect`, or a listener appears, or the slave is opened.
    HostConnect {
        /// Which.
        port: u8,
    },
    /// The host leaves without reading what is left for it.
    HostDisconnect {
        /// Which.
        port: u8,
    },
    /// The host ends its sending side only.
    HostHalfClose {
        /// Which.
        port: u8,
    },
    /// The host sends one element.
    HostWrite {
        /// Which.
        port: u8,
    },
    /// The host reads all that is there (for a ring buffer: `ringbuf-read`).
    HostRead {
        /// Which.
        port: u8,
    },
    /// The machine moves to a new QEMU, by migration or by save and restore. Its chardevs are new.
    Migrate {
        /// Hosts are connected to the destination's chardevs before the stream is loaded.
        host: bool,
        /// The machine runs there at once.
        run: bool,
    },
    /// A second goes by in which nothing else happens.
    SecondPasses,
}

impl Action {
    /// The port that the action is about, if it is about one.
    pub fn port(self) -> Option<usize> {
        use Action::*;
        match self {
            Query { port }
            | Unplug { port }
            | Plug { port }
            | Change { port, .. }
            | GuestOpen { port }
            | GuestClose { port }
            | GuestWrite { port }
            | GuestPost { port }
            | HostConnect { port }
            | HostDisconnect { port }
            | HostHalfClose { port }
            | HostWrite { port }
            | HostRead { port } => Some(port.into()),
            Stop
            | Cont
            | SystemReset
            | SaveLoad
            | DriverInit
            | DriverReset
            | PostControl
            | WithholdControl
            | Migrate { .. }
            | SecondPasses => None,
        }
    }

    /// Who acts.
    pub fn party(self) -> Party {
        use Action::*;
        match self {
            Stop
            | Cont
            | SystemReset
            | Query { .. }
            | Unplug { .. }
            | Plug { .. }
            | Change { .. }
            | SaveLoad => Party::Management,
            DriverInit
            | DriverReset
            | PostControl
            | WithholdControl
            | GuestOpen { .. }
            | GuestClose { .. }
            | GuestWrite { .. }
            | GuestPost { .. } => Party::Guest,
            HostConnect { .. }
            | HostDisconnect { .. }
            | HostHalfClose { .. }
            | HostWrite { .. }
            | HostRead { .. } => Party::Host,
            Migrate { .. } | SecondPasses => Party::World,
        }
    }
}
