//! What the designs disagree about, one field per decision.
//!
//! Everything that a thread did not dispute is as QEMU 7.2 does it, so that two rows of the matrix
//! differ only in what was argued.

use super::state::Label;
use crate::family::{Design, Status};

/// One design's decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How events travel.
    pub delivery: Delivery,
    /// What moves the chardev's book.
    pub diagram: Diagram,
    /// Whose flags decide whether bytes may move.
    pub gate: Gate,
    /// Creating and resetting the device opens the client: the thread's `guest_open` in the
    /// init functions.
    pub device_is_client: bool,
    /// What a reset of the device says about its client.
    pub reset: Reset,
    /// What loading the device's state says about its client.
    pub load: Load,
    /// The port does not hear its chardev while the machine is stopped
    /// (`virtconsole_enable_backend`, `hw/char/virtio-console.c`).
    pub detached_while_stopped: bool,
    /// `VSERPORT_CHANGE` at most once a second (`monitor/monitor.c`).
    pub rate_limit: bool,
    /// What `query-chardev` tells of the host.
    pub query: Query,
    /// The labels, by the facts, in which the design lets the guest's bytes reach the transport.
    pub write_in: &'static [Label],
    /// The labels in which it takes bytes from the transport for the guest.
    pub read_in: &'static [Label],
}

/// How events travel from the fact to those who should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Each event is handed on once, where somebody listens and can take it; else it is lost.
    Events,
    /// What an observer was last told is compared with the fact whenever he can be told.
    Beliefs,
}

/// What moves the chardev's book, the pair (backend connected, client connected).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diagram {
    /// The four labels as they are defined.
    Labels,
    /// The transitions as the thread wrote them: accept in B leads to D, and loss of the transport
    /// in A leads to B.
    AsWritten,
}

/// Whose flags decide whether bytes may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// The port's `host_connected` and `guest_connected`.
    Flags,
    /// The chardev's book.
    Book,
}

/// What a reset says about the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Nothing: who was open stays open in the books.
    Ignored,
    /// It is gone.
    Closes,
    /// It goes and comes back: close, then open, for every port.
    Reopens,
}

/// What `query-chardev` tells of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// The book.
    Book,
    /// The book for sockets, whose file name says `disconnected:`. Nothing for others: their file name is
    /// always the same (`chardev/char.c`, `chardev_new`).
    Sockets,
}

/// What loading says about the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Nothing: only the port's own flag is restored.
    Silent,
    /// `guest_open` is called for each port that was saved open, inside the load function.
    InLoad,
    /// An agent's chardev restores its book from a section of its own.
    Section,
    /// An agent's chardev is started with `migrated=1` and takes its guest for open.
    Flag,
    /// Every port's flag is announced when the machine first runs (post-load timer).
    FirstRun,
    /// The beliefs travel with the facts; whoever is wrong is told when he can be.
    Settled,
}

const QEMU_2011: Rules = Rules {
    delivery: Delivery::Events,
    diagram: Diagram::Labels,
    gate: Gate::Flags,
    device_is_client: false,
    reset: Reset::Ignored,
    load: Load::Silent,
    detached_while_stopped: false,
    rate_limit: false,
    query: Query::Sockets,
    write_in: &[Label::A, Label::C],
    read_in: &[Label::A],
};

/// The thread's sender rule: write where the client is, read where the backend is.
const LIGUORI: Rules = Rules {
    gate: Gate::Book,
    device_is_client: true,
    reset: Reset::Reopens,
    load: Load::InLoad,
    query: Query::Book,
    write_in: &[Label::A, Label::D],
    read_in: &[Label::A, Label::C],
    ..QEMU_2011
};

/// The designs, with their decisions, in the order of the matrix.
pub const DESIGNS: &[(Design, Rules)] = &[
    (
        Design {
            name: "as-written",
            status: Status::Proposed { by: "Anthony Liguori", on: "2011-07" },
            summary: "the thread's four states with the transitions exactly as written",
            source: "qemu-devel 2011-07-27 14:16, 'virtio-serial-bus: replay guest_open on migration'",
        },
        Rules { diagram: Diagram::AsWritten, ..LIGUORI },
    ),
    (
        Design {
            name: "as-labelled",
            status: Status::Proposed { by: "Anthony Liguori", on: "2011-07" },
            summary: "the same four states with the transitions that their labels imply; init and \
                      reset connect the client",
            source: "qemu-devel 2011-07-27 14:16 and 15:01, same thread",
        },
        LIGUORI,
    ),
    (
        Design {
            name: "no-replay",
            status: Status::Shipped { from: "0.13", to: "0.15" },
            summary: "migration restores the port's flag and tells the backend nothing",
            source: "hw/virtio-serial-bus.c before the patch, virtio_serial_load",
        },
        QEMU_2011,
    ),
    (
        Design {
            name: "replay-in-load",
            status: Status::Proposed { by: "Alon Levy, with Markus Armbruster", on: "2011-07" },
            summary: "the load function calls guest_open for each port that was open",
            source: "qemu-devel 2011-07-26, patch 106870",
        },
        Rules { load: Load::InLoad, ..QEMU_2011 },
    ),
    (
        Design {
            name: "backend-section",
            status: Status::Proposed { by: "Amit Shah", on: "2011-07" },
            summary: "the agent's chardev migrates its own knowledge in a section of its own",
            source: "qemu-devel 2011-07-27 10:20, same thread",
        },
        Rules { load: Load::Section, ..QEMU_2011 },
    ),
    (
        Design {
            name: "migrated-flag",
            status: Status::Proposed { by: "Alon Levy, as a strawman", on: "2011-07" },
            summary: "the destination's agent chardev is started with migrated=1 and assumes an open guest",
            source: "qemu-devel 2011-07-27 12:27, same thread",
        },
        Rules { load: Load::Flag, ..QEMU_2011 },
    ),
    (
        Design {
            name: "reset-reopens",
            status: Status::Proposed { by: "Anthony Liguori", on: "2011-07" },
            summary: "replay in load, and a device reset is a close followed by an open",
            source: "qemu-devel 2011-07-27 15:01, same thread",
        },
        Rules { load: Load::InLoad, reset: Reset::Reopens, ..QEMU_2011 },
    ),
    (
        Design {
            name: "reset-closes",
            status: Status::Proposed { by: "Alon Levy, objecting", on: "2011-07" },
            summary: "replay in load, and a device reset is a close only",
            source: "qemu-devel 2011-07-27 15:32, same thread",
        },
        Rules { load: Load::InLoad, reset: Reset::Closes, ..QEMU_2011 },
    ),
    (
        Design {
            name: "qemu-7.2",
            status: Status::Shipped { from: "7.2", to: "7.2.22" },
            summary: "ports are detached while the machine is stopped; a timer announces every port \
                      when it first runs",
            source: "QEMU 7.2 chardev/char.c, chardev/char-socket.c, hw/char/virtio-serial-bus.c, \
                     hw/char/virtio-console.c, monitor/monitor.c",
        },
        Rules {
            reset: Reset::Closes,
            load: Load::FirstRun,
            detached_while_stopped: true,
            rate_limit: true,
            ..QEMU_2011
        },
    ),
    (
        Design {
            name: "ours",
            status: Status::Ours,
            summary: "a byte moves when its receiver is there; whoever believes what is not so is \
                      told as soon as he can be",
            source: "docs/decisions/0004-a-byte-moves-when-its-receiver-is-there.md",
        },
        Rules {
            delivery: Delivery::Beliefs,
            diagram: Diagram::Labels,
            gate: Gate::Flags,
            device_is_client: false,
            reset: Reset::Closes,
            load: Load::Settled,
            detached_while_stopped: false,
            rate_limit: false,
            query: Query::Book,
            write_in: &[Label::A, Label::C],
            read_in: &[Label::A, Label::D],
        },
    ),
];
