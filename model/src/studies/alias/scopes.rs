//! Bounds that keep the machine finite.

use super::{
    action::{Action, Asked, By, What},
    definition::Kind,
    name::{Alias, CONSOLE0, SERIAL0, Stem, UA_A, UA_B},
};
use crate::family::{Role, Scope};

/// What is in a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Domains that may be defined.
    asked: &'static [Asked],
    /// Detached by an element of the dump.
    elements: &'static [Kind],
    /// A virtio console with port 0 is detached.
    port_zero: bool,
    /// Names by which devices are detached.
    pub(super) names: &'static [Alias],
    /// Names by which consoles are opened, and without one.
    opened: &'static [Alias],
    /// Devices that are plugged.
    plugged: &'static [(Kind, Option<Alias>)],
    /// Records of a definition, at most.
    pub(super) room: usize,
    /// The largest number that a new alias may end with.
    pub(super) number_max: u8,
    /// Devices that leave by themselves.
    unplugged: &'static [Alias],
}

const CONSOLE1: Alias = Alias::new(Stem::Console, 1);
const CONSOLE2: Alias = Alias::new(Stem::Console, 2);
const CHANNEL0: Alias = Alias::new(Stem::Channel, 0);
const CHANNEL1: Alias = Alias::new(Stem::Channel, 1);
const RNG0: Alias = Alias::new(Stem::Rng, 0);
const CONTROLLER: Alias = Alias::new(Stem::Controller, 0);
const PAIR: &[Kind] = &[Kind::SerialConsole, Kind::IsaSerial];

/// The scopes, with their bounds, in the order of the command line.
pub(super) const SCOPES: [(Scope, Bounds); 5] = [
    (
        Scope {
            name: "pair",
            summary: "a serial port and its console, both written, on a pty",
            role: Role::CheckAndReplay,
        },
        Bounds {
            asked: &[Asked::Pair],
            elements: PAIR,
            port_zero: false,
            names: &[CONSOLE0, SERIAL0, CONTROLLER],
            opened: &[CONSOLE0, SERIAL0],
            plugged: &[],
            room: 4,
            number_max: 0,
            unplugged: &[],
        },
    ),
    (
        Scope {
            name: "users",
            summary: "user aliases on the serial port, on the console, on both, on others; elements left out",
            role: Role::CheckAndReplay,
        },
        Bounds {
            asked: &[
                Asked::Serial,
                Asked::ConsoleA,
                Asked::SerialA,
                Asked::PairConsoleA,
                Asked::BothA,
                Asked::AAndB,
                Asked::OtherSourceA,
                Asked::TwiceA,
            ],
            elements: PAIR,
            port_zero: false,
            names: &[CONSOLE0, SERIAL0, UA_A, UA_B],
            opened: &[CONSOLE0, SERIAL0, UA_A, UA_B],
            plugged: &[(Kind::Channel, Some(UA_A))],
            room: 4,
            number_max: 0,
            unplugged: &[],
        },
    ),
    (
        Scope {
            name: "virtio",
            summary: "a serial port and virtio consoles on backends that are all alike",
            role: Role::CheckAndReplay,
        },
        Bounds {
            asked: &[Asked::SerialAndVirtio, Asked::NullSerialA],
            elements: &[Kind::SerialConsole, Kind::VirtioConsole],
            port_zero: true,
            names: &[CONSOLE0, CONSOLE1, CONSOLE2],
            opened: &[CONSOLE1],
            plugged: &[(Kind::VirtioConsole, None)],
            room: 4,
            number_max: 2,
            unplugged: &[CONSOLE1],
        },
    ),
    (
        Scope {
            name: "usb",
            summary: "a USB serial port that comes and goes, with and without a console",
            role: Role::CheckAndReplay,
        },
        Bounds {
            asked: &[Asked::Nothing, Asked::UsbPair],
            elements: &[Kind::SerialConsole, Kind::UsbSerial],
            port_zero: false,
            names: &[CONSOLE0, SERIAL0],
            opened: &[CONSOLE0, SERIAL0],
            plugged: &[(Kind::UsbSerial, None)],
            room: 4,
            number_max: 1,
            unplugged: &[SERIAL0],
        },
    ),
    (
        Scope {
            name: "events",
            summary: "channels and an rng that leave with and without being asked to",
            role: Role::CheckAndReplay,
        },
        Bounds {
            asked: &[Asked::Nothing],
            elements: &[Kind::Channel],
            port_zero: false,
            names: &[CHANNEL0, CHANNEL1, RNG0, UA_A, CONTROLLER],
            opened: &[CHANNEL0],
            plugged: &[(Kind::Channel, None), (Kind::Channel, Some(UA_A)), (Kind::Rng, None)],
            room: 4,
            number_max: 1,
            unplugged: &[CHANNEL0, CHANNEL1, RNG0, UA_A],
        },
    ),
];

impl Bounds {
    /// Every action, the shortest story first.
    pub(super) fn alphabet(&self) -> Vec<Action> {
        let mut all: Vec<Action> = self.asked.iter().map(|&with| Action::Define { with }).collect();
        all.push(Action::Start);
        let detach = |by| Action::Detach { by };
        all.extend(self.elements.iter().map(|&kind| detach(By::Xml(kind))));
        all.extend(self.port_zero.then_some(detach(By::PortZero)));
        all.extend(self.names.iter().map(|&name| detach(By::Alias(name))));
        all.push(Action::Open { name: None });
        all.extend(self.opened.iter().map(|&name| Action::Open { name: Some(name) }));
        all.extend(self.plugged.iter().map(|&(kind, alias)| Action::Attach { kind, alias }));
        all.extend(self.unplugged.iter().map(|&id| Action::Unplugged { id }));
        all.extend([What::Live, What::Inactive, What::Status].map(|what| Action::Dump { what }));
        all.extend([Action::Redefine, Action::Restart]);
        all
    }
}
