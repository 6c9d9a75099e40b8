//! What the designs disagree about, one field per decision.

use crate::family::{Design, Status};

/// One design's decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The alias of the console that is a serial port, when the domain starts.
    pub console_is_called: First,
    /// What is written for that console.
    pub shows: Shows,
    /// What is done when it is detached.
    pub detach_console: DetachConsole,
    /// What happens to the consoles when the first serial port is plugged.
    pub first_serial: FirstSerial,
    /// Ports of consoles follow when one is put before them.
    pub ports_follow: bool,
    /// A live definition is what was written; else what is read is completed once more.
    pub live_is_kept: bool,
    /// A user's alias on either of a pair is that of both, and two are refused.
    pub pair_has_one_alias: bool,
    /// `console0` stays a name of the pair.
    pub pair_keeps_both_names: bool,
    /// Which aliases are checked to be unique.
    pub checked: Checked,
    /// What a device that cannot be unplugged is asked of: QEMU, or nobody.
    pub fixed_is_refused: bool,
    /// A record without an alias is passed over when a console is looked up by name; else the daemon dies.
    pub no_alias_is_passed_over: bool,
    /// A device whose unplug is pending may be detached again.
    pub pending_is_asked: bool,
    /// A detach by alias is answered when the device is gone, as one by its element is.
    pub alias_waits: bool,
    /// It is said that the two of a pair are one device.
    pub declares_the_pair: bool,
}

/// The alias of a console that is a serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// `console0`
    ByItsPlace,
    /// The serial port's.
    AsTheSerial,
}

/// What is written for a console that is a serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// A copy of the serial port.
    TheSerial,
    /// A copy of the serial port, with the console's alias.
    TheSerialByItsOwnName,
    /// The record that memory has, which is made as a copy when the definition is read.
    Itself,
}

/// What is done when the console of a pair is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetachConsole {
    /// QEMU is asked to remove a device of the console's alias, and the console's record is removed.
    ByItsAlias,
    /// QEMU is asked to remove the serial port, and the console's record is removed.
    SerialsAlias,
    /// It is the serial port that is detached.
    IsTheSerial,
    /// It is refused, with the advice to detach the serial port.
    Refused,
}

/// What happens to the consoles when the first serial port is plugged into a domain without consoles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstSerial {
    /// A record is added that is never made a console (`qemuDomainChrInsertPreAlloced`).
    BadStub,
    /// A console is added.
    Stub,
    /// Nothing, as when such a definition is read.
    Nothing,
}

/// Which user aliases are checked to be unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// All but that of a serial port with a console.
    NotTheSerial,
    /// All; a pair counts once.
    PairIsOne,
    /// All.
    Every,
}

const LIBVIRT: Rules = Rules {
    console_is_called: First::ByItsPlace,
    shows: Shows::TheSerial,
    detach_console: DetachConsole::ByItsAlias,
    first_serial: FirstSerial::BadStub,
    ports_follow: false,
    live_is_kept: false,
    pair_has_one_alias: false,
    pair_keeps_both_names: false,
    checked: Checked::NotTheSerial,
    fixed_is_refused: false,
    no_alias_is_passed_over: false,
    pending_is_asked: false,
    alias_waits: false,
    declares_the_pair: false,
};

/// The designs, with their decisions, in the order of the matrix.
pub const DESIGNS: [(Design, Rules); 7] = [
    (
        Design {
            name: "libvirt-9.0",
            status: Status::Shipped { from: "3.9.0", to: "9.1.0" },
            summary: "own-alias: the console has an alias of its own in memory, and is written with the \
                      serial port's",
            source: "libvirt 9.0.0 src/qemu/qemu_alias.c qemuAssignDeviceChrAlias; src/conf/domain_conf.c \
                     virDomainDefFormatInternalSetRootName, virDomainDefAddConsoleCompat",
        },
        LIBVIRT,
    ),
    (
        Design {
            name: "copy-serial-alias",
            status: Status::Proposed { by: "Michal Privoznik", on: "2023-03" },
            summary: "the patch as it was posted on 9.1: the console gets the serial port's alias",
            source: "libvir-list 2023-03-14, 'qemu_alias: Assign proper alias for console', BZ 2156300",
        },
        Rules { console_is_called: First::AsTheSerial, declares_the_pair: true, ..LIBVIRT },
    ),
    (
        Design {
            name: "libvirt-10.0",
            status: Status::Shipped { from: "9.2.0", to: "10.0.0" },
            summary: "as posted; a console that is a serial port is not detached, and the first serial port \
                      that is plugged makes a console",
            source: "libvirt 10.0.0 src/qemu/qemu_hotplug.c qemuDomainDetachDeviceChr, \
                     qemuDomainChrInsertPreAlloced",
        },
        Rules {
            console_is_called: First::AsTheSerial,
            detach_console: DetachConsole::Refused,
            first_serial: FirstSerial::Stub,
            declares_the_pair: true,
            ..LIBVIRT
        },
    ),
    (
        Design {
            name: "distinct-and-translated",
            status: Status::Proposed { by: "Andrea Bolognani", on: "2023-03" },
            summary: "two aliases, in memory and in what is written; translated where QEMU is spoken to",
            source: "libvir-list 2023-03-14: 'assign different aliases for the <console> and the <serial>, \
                     then handle compatibility further down'",
        },
        Rules {
            shows: Shows::TheSerialByItsOwnName,
            detach_console: DetachConsole::IsTheSerial,
            checked: Checked::Every,
            ..LIBVIRT
        },
    ),
    (
        Design {
            name: "format-without-hack",
            status: Status::Proposed { by: "Andrea Bolognani", on: "2023-03" },
            summary: "the console is a full copy of the serial port when it is read, and is written as it is",
            source: "libvir-list 2023-03-14: 'shouldn't we be able to remove the hacky code from the format \
                     part?'",
        },
        Rules { shows: Shows::Itself, ..LIBVIRT },
    ),
    (
        Design {
            name: "detach-only",
            status: Status::Proposed { by: "Michal Privoznik", on: "2023-03" },
            summary: "memory as before; detach asks QEMU for the serial port's alias",
            source: "libvir-list 2023-03-15: 'MAYBE, there's another one - writing similar hack into \
                     qemuDomainDetachDeviceChr()'",
        },
        Rules { detach_console: DetachConsole::SerialsAlias, ..LIBVIRT },
    ),
    (
        Design {
            name: "ours",
            status: Status::Ours,
            summary: "the pair is one device with one alias and two names; every request finds it by one \
                      lookup; what has no hot-plug is refused before QEMU is asked",
            source: "docs/decisions/0010-a-pair-is-one-device.md",
        },
        Rules {
            console_is_called: First::AsTheSerial,
            shows: Shows::TheSerial,
            detach_console: DetachConsole::IsTheSerial,
            first_serial: FirstSerial::Nothing,
            ports_follow: true,
            live_is_kept: true,
            pair_has_one_alias: true,
            pair_keeps_both_names: true,
            checked: Checked::PairIsOne,
            fixed_is_refused: true,
            no_alias_is_passed_over: true,
            pending_is_asked: true,
            alias_waits: true,
            declares_the_pair: true,
        },
    ),
];
