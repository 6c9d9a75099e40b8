//! Moves of which no model says what comes of them: lying drivers, requests that must be refused, things at
//! the wrong time.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use statusquo_model::studies::chardev::{action::Action, state::Kind};

/// One move of a walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Move {
    /// A machine with these chardevs, a port each.
    Start {
        /// Behind ports 0, 1, ….
        ports: Vec<Kind>,
    },
    /// A step of the study, whether or not its model would allow it here.
    Step(Action),
    /// `chardev-change` of a port's chardev.
    Change {
        /// Whose.
        port: u8,
        /// To what.
        to: Backend,
    },
    /// `chardev-add` of a chardev that no port has yet.
    AddChardev(Backend),
    /// `chardev-remove` of that one, or of a port's.
    RemoveChardev {
        /// A port's, or that one.
        port: Option<u8>,
    },
    /// `device_add` of another device on a port's chardev, or on the one that was added.
    PlugAnother {
        /// The chardev.
        port: Option<u8>,
        /// What kind of device.
        device: Another,
    },
    /// `device_del` of that device.
    UnplugAnother,
    /// `device_del` of the virtio-serial controller.
    UnplugController,
    /// The guest lets devices go, asked or not: ACPI's eject register.
    Eject {
        /// Every slot, and not only the controller's.
        all: bool,
    },
    /// `device_add` of the controller, with its old id.
    PlugController,
    /// `yank` of a port's chardev.
    Yank {
        /// Whose.
        port: u8,
    },
    /// `chardev-send-break`.
    Break {
        /// To whose.
        port: u8,
    },
    /// `ringbuf-write`.
    RingWrite {
        /// To whose.
        port: u8,
    },
    /// `savevm`.
    Save,
    /// `loadvm` of what was saved last.
    Load,
    /// `migrate` to a peer that is not there, that stops reading, or that takes everything.
    MigrateTo(Sink),
    /// `migrate_cancel`.
    CancelMigration,
    /// `system_powerdown`, `system_wakeup`, `inject-nmi`.
    Button(Button),
    /// A control message of the guest's.
    Control {
        /// The port that it names.
        id: u32,
        /// Its event.
        event: u16,
        /// Its value.
        value: u16,
    },
    /// A control message of a length of its own.
    ControlBytes {
        /// Bytes.
        len: u32,
    },
    /// A buffer that no driver should offer.
    Buffer {
        /// In which queue.
        queue: u16,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// The guest writes a ring's index behind the driver's back.
    Index {
        /// In which queue.
        queue: u16,
        /// The device's index, and not the driver's.
        used: bool,
        /// By how much.
        by: u16,
    },
    /// The guest moves a queue while it is in use.
    QueueAt {
        /// Which.
        queue: u16,
        /// To which page.
        page: u32,
    },
    /// The guest notifies a queue.
    Notify {
        /// Which.
        queue: u16,
    },
    /// The guest writes the device's status.
    Status(u8),
    /// The guest writes the features that it wants.
    Features(u32),
    /// The guest writes into the device's configuration: bytes 8 to 11 are the emergency write.
    Config {
        /// Where.
        at: u16,
        /// What.
        value: u32,
    },
    /// The guest writes the PCI command register.
    PciCommand(u16),
    /// The host sends more than anybody has asked for.
    Flood {
        /// At whose chardev.
        port: u8,
    },
    /// Another host connects, and leaves at once or stays.
    AnotherHost {
        /// To whose chardev.
        port: u8,
        /// He stays.
        stays: bool,
        /// He speaks first.
        speaks: bool,
    },
}

/// A backend for `chardev-add` and `chardev-change`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// A socket that listens on a path of its own.
    Server,
    /// A socket that listens where the port's present one does.
    SamePath,
    /// A socket that cannot listen.
    NoDirectory,
    /// A socket that calls and is not answered.
    NobodyListens,
    /// The same, again and again.
    Reconnects,
    /// A telnet server.
    Telnet,
    /// A websocket server.
    Websocket,
    /// A socket on loopback.
    Tcp,
    /// Datagrams.
    Udp,
    /// A pseudo-terminal.
    Pty,
    /// A file.
    File,
    /// A file that cannot be opened.
    NoFile,
    /// Nothing.
    Null,
    /// A ring buffer.
    Ring,
    /// A ring buffer of a size that must be refused.
    OddRing,
    /// A multiplexer over the chardev itself.
    MuxOfItself,
    /// A multiplexer over the chardev that was added.
    MuxOfAdded,
    /// A text console.
    Console,
    /// A serial mouse.
    Mouse,
    /// A serial tablet.
    Tablet,
    /// QEMU's own SPICE agent.
    Agent,
    /// A SPICE channel, without SPICE.
    NoSpice,
    /// A smartcard's channel of SPICE.
    Smartcard,
}

/// Where a migration goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sink {
    /// Nobody listens.
    Nowhere,
    /// Somebody who never reads.
    Stalled,
    /// A file.
    Everything,
}

/// A device with a chardev.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Another {
    /// `virtserialport`.
    Port,
    /// `virtconsole`.
    Console,
    /// `pci-serial`: a 16550.
    Serial,
}

/// What a person in front of the machine could do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Button {
    /// `system_powerdown`.
    Power,
    /// `system_wakeup`.
    Wake,
    /// `inject-nmi`.
    Nmi,
}

/// What is wrong with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flaw {
    /// It has no bytes.
    Empty,
    /// It is where no memory is.
    NoMemory,
    /// It is where a device is.
    Registers,
    /// It never ends.
    Loop,
    /// It is for the other direction.
    Direction,
    /// It is all of memory, many times.
    Huge,
    /// Its table is indirect, and in itself.
    Indirect,
    /// There is no such descriptor.
    Head,
}

const BACKENDS: [Backend; 23] = [
    Backend::Server,
    Backend::SamePath,
    Backend::NoDirectory,
    Backend::NobodyListens,
    Backend::Reconnects,
    Backend::Telnet,
    Backend::Websocket,
    Backend::Tcp,
    Backend::Udp,
    Backend::Pty,
    Backend::File,
    Backend::NoFile,
    Backend::Null,
    Backend::Ring,
    Backend::OddRing,
    Backend::MuxOfItself,
    Backend::MuxOfAdded,
    Backend::Console,
    Backend::Mouse,
    Backend::Tablet,
    Backend::Agent,
    Backend::NoSpice,
    Backend::Smartcard,
];
const FLAWS: [Flaw; 8] = [
    Flaw::Empty,
    Flaw::NoMemory,
    Flaw::Registers,
    Flaw::Loop,
    Flaw::Direction,
    Flaw::Huge,
    Flaw::Indirect,
    Flaw::Head,
];
/// Queues of the device's control and of the walk's first port.
const QUEUES: [u16; 4] = [2, 3, 4, 5];

/// What a walk may begin with: a machine that was just started, or one whose guest and hosts are there.
pub(super) fn beginnings() -> Vec<Vec<Move>> {
    use Kind::*;
    let ports: [&[Kind]; 5] =
        [&[Server, Null], &[Ring, Server], &[Pty, File], &[Server, Server], &[Client, Pty]];
    let mut all = Vec::new();
    for ports in ports {
        let start = Move::Start { ports: ports.to_vec() };
        let mut up = vec![start.clone(), Move::Step(Action::Cont), Move::Step(Action::DriverInit)];
        for port in 0..ports.len() as u8 {
            up.push(Move::Step(Action::HostConnect { port }));
            up.push(Move::Step(Action::GuestOpen { port }));
        }
        all.extend([vec![start], up.clone(), up]);
    }
    all
}

/// Every other move. What makes a guest or changes who is there comes up more often than what is refused.
pub(super) fn alphabet() -> Vec<Move> {
    use Action::*;
    let mut all = Vec::new();
    let steps = |actions: &[Action]| actions.iter().map(|&action| Move::Step(action)).collect();
    let whole: Vec<Move> = steps(&[
        Stop,
        Cont,
        Cont,
        SystemReset,
        DriverInit,
        DriverInit,
        DriverReset,
        PostControl,
        WithholdControl,
        SaveLoad,
        Migrate { host: false, run: false },
        Migrate { host: true, run: false },
        Migrate { host: true, run: true },
    ]);
    (0..6).for_each(|_| all.extend(whole.iter().cloned()));
    for port in 0..2 {
        let at: Vec<Move> = steps(&[
            Unplug { port },
            Plug { port },
            GuestOpen { port },
            GuestClose { port },
            GuestWrite { port },
            GuestPost { port },
            HostConnect { port },
            HostDisconnect { port },
            HostHalfClose { port },
            HostWrite { port },
            HostRead { port },
        ]);
        (0..4).for_each(|_| all.extend(at.iter().cloned()));
        all.extend(BACKENDS.map(|to| Move::Change { port, to }));
        all.extend([
            Move::Yank { port },
            Move::Break { port },
            Move::RingWrite { port },
            Move::Flood { port },
            Move::RemoveChardev { port: Some(port) },
        ]);
        for (stays, speaks) in [(false, false), (false, true), (true, true)] {
            all.push(Move::AnotherHost { port, stays, speaks });
        }
    }
    all.extend(BACKENDS.map(Move::AddChardev));
    all.push(Move::RemoveChardev { port: None });
    for port in [None, None, Some(0)] {
        let another = [Another::Port, Another::Console, Another::Serial];
        all.extend(another.map(|device| Move::PlugAnother { port, device }));
    }
    for _ in 0..5 {
        all.extend([
            Move::UnplugAnother,
            Move::UnplugController,
            Move::Eject { all: false },
            Move::PlugController,
            Move::Save,
            Move::Load,
            Move::CancelMigration,
        ]);
    }
    all.push(Move::Eject { all: true });
    // A peer that stalls hangs QEMU every time (`corpus/walks`): walks are not spent on that.
    all.extend([Sink::Nowhere, Sink::Everything].map(Move::MigrateTo));
    all.extend([Button::Power, Button::Wake, Button::Nmi].map(Move::Button));
    for id in [0, 1, 2, 30, 31, 77, u32::MAX] {
        all.extend([0, 3, 6, 9].map(|event| Move::Control { id, event, value: 1 }));
    }
    all.extend([0, 3, 7, 9, 4096].map(|len| Move::ControlBytes { len }));
    for queue in QUEUES {
        all.extend(FLAWS.map(|flaw| Move::Buffer { queue, flaw }));
        all.extend(
            [(false, 1), (false, 200), (true, 1), (true, 40_000)].map(|(used, by)| Move::Index {
                queue,
                used,
                by,
            }),
        );
        all.extend([0, 0x200, 0xA0, 0xFEE00, u32::MAX].map(|page| Move::QueueAt { queue, page }));
        all.push(Move::Notify { queue });
    }
    all.extend([63, 64, 1023, 1024, u16::MAX].map(|queue| Move::Notify { queue }));
    all.extend([0, 3, 4, 7, 0x47, 0x87].map(Move::Status));
    all.extend([0, 2, 6, u32::MAX].map(Move::Features));
    all.extend(
        [(8, 0x41), (0, u32::MAX), (4, u32::MAX), (12, 1)]
            .map(|(at, value)| Move::Config { at, value }),
    );
    all.extend([0, 1, 5].map(Move::PciCommand));
    all
}

impl Backend {
    /// As `chardev-add` takes it. `own` is a path of its own, `present` one that is in use; `itself` and
    /// `added` are ids.
    pub(super) fn json(self, own: &str, present: &str, itself: &str, added: &str) -> Value {
        let unix = |path: &str, more: Value| {
            let mut data = json!({ "addr": { "type": "unix", "data": { "path": path } } });
            if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
                data.extend(more);
            }
            json!({ "type": "socket", "data": data })
        };
        let server = |more: Value| {
            let mut backend = unix(own, json!({ "server": true, "wait": false }));
            if let (Some(data), Value::Object(more)) = (backend["data"].as_object_mut(), more) {
                data.extend(more);
            }
            backend
        };
        let plain = |kind: &str| json!({ "type": kind, "data": {} });
        match self {
            Backend::Server => server(json!({})),
            Backend::SamePath => unix(present, json!({ "server": true, "wait": false })),
            Backend::NoDirectory => {
                unix(&format!("{own}/none/x"), json!({ "server": true, "wait": false }))
            }
            Backend::NobodyListens => unix(&format!("{own}.none"), json!({ "server": false })),
            Backend::Reconnects => {
                unix(&format!("{own}.none"), json!({ "server": false, "reconnect": 1 }))
            }
            Backend::Telnet => server(json!({ "telnet": true })),
            Backend::Websocket => server(json!({ "websocket": true })),
            Backend::Tcp => json!({ "type": "socket", "data": {
                "addr": { "type": "inet", "data": { "host": "127.0.0.1", "port": "0" } },
                "server": true, "wait": false,
            } }),
            Backend::Udp => json!({ "type": "udp", "data": {
                "remote": { "type": "inet", "data": { "host": "127.0.0.1", "port": "9" } },
            } }),
            Backend::Pty => plain("pty"),
            Backend::File => json!({ "type": "file", "data": { "out": own } }),
            Backend::NoFile => {
                json!({ "type": "file", "data": { "out": format!("{own}/none/x") } })
            }
            Backend::Null => plain("null"),
            Backend::Ring => json!({ "type": "ringbuf", "data": { "size": 64 } }),
            Backend::OddRing => json!({ "type": "ringbuf", "data": { "size": 65 } }),
            Backend::MuxOfItself => json!({ "type": "mux", "data": { "chardev": itself } }),
            Backend::MuxOfAdded => json!({ "type": "mux", "data": { "chardev": added } }),
            Backend::Console => plain("vc"),
            Backend::Mouse => plain("msmouse"),
            Backend::Tablet => plain("wctablet"),
            Backend::Agent => json!({ "type": "qemu-vdagent", "data": { "clipboard": true } }),
            Backend::NoSpice => json!({ "type": "spiceport", "data": { "fqdn": "none" } }),
            Backend::Smartcard => {
                json!({ "type": "spicevmc", "data": { "type": "smartcard" } })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_read_as_they_are_written() {
        for one in beginnings().concat().into_iter().chain(alphabet()) {
            let text = serde_json::to_string(&one).unwrap();
            assert_eq!(serde_json::from_str::<Move>(&text).unwrap(), one, "{text}");
        }
    }

    #[test]
    fn every_backend_and_every_flaw_is_tried() {
        let all = alphabet();
        for to in BACKENDS {
            assert!(
                all.contains(&Move::Change { port: 0, to }) && all.contains(&Move::AddChardev(to))
            );
        }
        assert!(FLAWS.iter().all(|&flaw| all.contains(&Move::Buffer { queue: 3, flaw })));
    }
}
