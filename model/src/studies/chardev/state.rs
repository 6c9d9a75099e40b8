//! The state: per port what is the case, and what each observer has been told.

use bitfield_struct::bitfield;
use serde::{Deserialize, Serialize};

use super::rules::{Query, Rules};

/// Elements that a transport takes before it is full, and that a host leaves unread at most.
pub const TRANSPORT_MAX: u8 = 1;
/// Ports that one machine can have in this study.
pub const PORTS_MAX: usize = 3;

/// A chardev backend, as `-chardev` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Kind {
    /// `socket,server=on,wait=off`: a unix socket that the host connects to.
    Server,
    /// `socket,reconnect=…`: a unix socket of the host's, connected to as soon as it listens.
    Client,
    /// `pty`: connected while somebody holds the slave open.
    Pty,
    /// `file`: takes everything, has no peer.
    File,
    /// `null`: takes everything and forgets it, by contract.
    Null,
    /// `ringbuf`: keeps output in memory until it is read.
    Ring,
    /// `spicevmc,name=vdagent`: its peer exists while the backend believes that the guest is open.
    Agent,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 7] =
        [Kind::Server, Kind::Client, Kind::Pty, Kind::File, Kind::Null, Kind::Ring, Kind::Agent];

    /// A host that comes and goes as it likes.
    #[inline]
    pub fn has_host(self) -> bool {
        matches!(self, Kind::Server | Kind::Client | Kind::Pty)
    }

    /// No transport to wait for.
    #[inline]
    pub fn is_always_on(self) -> bool {
        matches!(self, Kind::File | Kind::Null | Kind::Ring)
    }

    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Kind::Server,
            1 => Kind::Client,
            2 => Kind::Pty,
            3 => Kind::File,
            4 => Kind::Null,
            5 => Kind::Ring,
            _ => Kind::Agent,
        }
    }

    const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// The other end of a backend's transport, as a fact of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Peer {
    /// Nobody there.
    Gone,
    /// Connected both ways.
    Connected,
    /// The host has ended its sending side and still listens: `shutdown(SHUT_WR)`.
    HalfClosed,
}

impl Peer {
    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Peer::Gone,
            1 => Peer::Connected,
            _ => Peer::HalfClosed,
        }
    }

    const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// The thread's four states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Label {
    /// Backend connected, client connected.
    A,
    /// Both disconnected.
    B,
    /// Backend connected only.
    C,
    /// Client connected only.
    D,
}

impl Label {
    /// The label that the two flags imply.
    #[inline]
    pub fn of(backend: bool, client: bool) -> Self {
        match (backend, client) {
            (true, true) => Label::A,
            (false, false) => Label::B,
            (true, false) => Label::C,
            (false, true) => Label::D,
        }
    }

    /// (backend connected, client connected).
    #[inline]
    pub fn flags(self) -> (bool, bool) {
        match self {
            Label::A => (true, true),
            Label::B => (false, false),
            Label::C => (true, false),
            Label::D => (false, true),
        }
    }
}

/// One port with its chardev.
#[bitfield(u32)]
#[derive(PartialEq, Eq, Hash)]
pub struct Port {
    /// The backend behind it.
    #[bits(3)]
    pub kind: Kind,
    /// The device exists.
    pub plugged: bool,
    /// Fact: who is at the other end of the transport.
    #[bits(2)]
    pub peer: Peer,
    /// Fact: a guest application has the port open.
    pub open: bool,
    /// The chardev's book, transport side: QEMU's `be_open`.
    pub backend_open: bool,
    /// The chardev's book, client side: QEMU's `fe_open`, `frontend-open` in `query-chardev`.
    pub frontend_open: bool,
    /// The port's flag `host_connected`.
    pub host_connected: bool,
    /// The port's flag `guest_connected`.
    pub guest_connected: bool,
    /// The port hears the chardev: QEMU detaches it while the machine is stopped.
    pub attached: bool,
    /// The guest has been told of the port and has answered `PORT_READY`.
    pub known: bool,
    /// What the guest was last told of the host: `PORT_OPEN`.
    pub guest_told: bool,
    /// What management was last told of the guest: `VSERPORT_CHANGE`.
    pub management_told: bool,
    /// A notice was sent less than a second ago: the next one waits.
    pub limited: bool,
    /// The notice that waits for the second to pass.
    #[bits(2)]
    pub late: Late,
    /// `host_connected` as the migration stream had it, until the machine runs.
    pub host_connected_at_source: bool,
    /// Elements in the guest's transmit ring, not yet taken.
    #[bits(2)]
    pub transmit: u8,
    /// Output that QEMU holds itself: one element taken from the ring, or a ring buffer's rest.
    pub held: bool,
    /// The port does not look at its ring until it is woken.
    pub throttled: bool,
    /// Somebody will wake it when the transport takes bytes again.
    pub watch: bool,
    /// Elements given to the transport and not yet read by the host.
    #[bits(1)]
    pub unread_by_host: u8,
    /// Elements sent by the host and not yet delivered to the guest.
    #[bits(1)]
    pub unread_by_guest: u8,
    /// No front-end has used this pty yet, so nobody looks whether its slave is held
    /// (`chardev/char-pty.c`, `pty_chr_update_read_handler` is what starts that).
    pub overlooked: bool,
    /// The guest has posted a receive buffer.
    pub posted: bool,
    /// `PORT_ADD` is in the guest's control queue.
    pub added: bool,
    /// What the last part of a load will find of it.
    #[bits(2)]
    pub awaited: Awaited,
    /// A front-end came to this pty while nobody held its slave: what was sent before stays there until somebody
    /// does (`pty_chr_state`, which takes the watch away).
    pub hung_up: bool,
}

/// What QEMU's post-load timer, which keeps a pointer to every port that was loaded, will find of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Awaited {
    /// It was not loaded, or the timer has run.
    No,
    /// The port.
    Here,
    /// Freed memory: the port was unplugged in between.
    Gone,
}

impl Awaited {
    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Awaited::No,
            1 => Awaited::Here,
            _ => Awaited::Gone,
        }
    }

    const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// A notice held back by the rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Late {
    /// None.
    Nothing,
    /// The guest opened the port.
    Opened,
    /// The guest closed the port.
    Closed,
}

impl Late {
    const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Late::Nothing,
            1 => Late::Opened,
            _ => Late::Closed,
        }
    }

    const fn into_bits(self) -> u8 {
        self as u8
    }
}

impl Port {
    /// Fact: somebody takes what the guest writes.
    #[inline]
    pub fn is_connected(self) -> bool {
        self.peer() != Peer::Gone
    }

    /// What `query-chardev` says of the host.
    #[inline]
    pub(super) fn shown_connected(self, rules: &Rules) -> bool {
        let told = rules.query == Query::Book || matches!(self.kind(), Kind::Server | Kind::Client);
        !told || self.backend_open()
    }

    /// What is the case, by the thread's letters.
    #[inline]
    pub fn fact(self) -> Label {
        Label::of(self.is_connected(), self.open())
    }

    /// What the chardev's book says.
    #[inline]
    pub fn book(self) -> Label {
        Label::of(self.backend_open(), self.frontend_open())
    }

    /// What the port's flags say.
    #[inline]
    pub fn flags(self) -> Label {
        Label::of(self.host_connected(), self.guest_connected())
    }

    /// Output on its way: in the ring, held, or in the transport.
    #[inline]
    pub fn output(self) -> u8 {
        self.transmit() + u8::from(self.held()) + self.unread_by_host()
    }
}

/// What the ports share: the machine and the guest's driver.
#[bitfield(u8)]
#[derive(PartialEq, Eq, Hash)]
pub struct Bus {
    /// The machine runs; otherwise it is stopped, or waits for `cont` since it was started.
    pub running: bool,
    /// The machine has run, or was loaded from one that had a guest.
    pub launched: bool,
    /// The guest's driver has set `DRIVER_OK`.
    pub driver: bool,
    /// The driver gives control buffers back as they are used.
    pub control: bool,
    /// The migration stream was read, and its last part waits until the machine runs.
    pub post_load: bool,
    /// QEMU has crashed, and the study ends with it.
    pub dead: bool,
    #[bits(2)]
    _spare: u8,
}

impl State {
    /// QEMU has crashed.
    pub(super) fn dead() -> Self {
        State { ports: [Port::new(); PORTS_MAX], bus: Bus::new().with_dead(true) }
    }
}

/// Everything that the study remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The ports; those beyond the scope's stay default.
    pub ports: [Port; PORTS_MAX],
    /// What they share.
    pub bus: Bus,
}
