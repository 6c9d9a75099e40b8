//! The bounds at which the study is checked.

use super::{action::Action, rules::Rules, state::Kind};
use crate::family::{Role, Scope};

/// What one scope contains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    /// The backends at the start, one port each.
    pub(super) kinds: &'static [Kind],
    /// The backends that `chardev-change` may ask for.
    pub(super) change_to: &'static [Kind],
    /// Elements that a transmit ring holds.
    pub(super) ring_max: u8,
    /// The driver may keep its control buffers.
    pub(super) control: bool,
    /// Ports may be unplugged and plugged.
    pub(super) plug: bool,
    /// The one-second window of the rate limit is modelled.
    pub(super) time: bool,
}

const ONE: Bounds = Bounds {
    kinds: &[Kind::Server],
    change_to: &[Kind::Null],
    ring_max: 1,
    control: true,
    plug: true,
    time: true,
};

const fn one(
    name: &'static str,
    summary: &'static str,
    kinds: &'static [Kind],
    change_to: &'static [Kind],
) -> (Scope, Bounds) {
    (Scope { name, summary, role: Role::CheckAndReplay }, Bounds { kinds, change_to, ..ONE })
}

/// QEMU itself looks for these hosts once a second: whoever waits for them cannot also count seconds.
const fn without_seconds((scope, bounds): (Scope, Bounds)) -> (Scope, Bounds) {
    (scope, Bounds { time: false, ..bounds })
}

const fn scope(name: &'static str, summary: &'static str, role: Role) -> Scope {
    Scope { name, summary, role }
}

/// The scopes with their bounds; the first is the default.
pub(super) const SCOPES: &[(Scope, Bounds)] = &[
    (
        scope("pair", "a socket and an agent channel on one bus", Role::Check),
        Bounds {
            kinds: &[Kind::Server, Kind::Agent],
            change_to: &[],
            plug: false,
            time: false,
            ..ONE
        },
    ),
    one(
        "server",
        "one port on a unix socket that the host connects to",
        &[Kind::Server],
        &[Kind::Server, Kind::File],
    ),
    without_seconds(one(
        "client",
        "one port on a socket that QEMU connects to, again and again",
        &[Kind::Client],
        &[],
    )),
    without_seconds(one("pty", "one port on a pseudo-terminal", &[Kind::Pty], &[Kind::File])),
    one("file", "one port that writes a file", &[Kind::File], &[]),
    one("null", "one port on the null backend", &[Kind::Null], &[]),
    one("ring", "one port on a ring buffer", &[Kind::Ring], &[Kind::Server]),
    one(
        "agent",
        "one port whose peer is there while the guest has it open",
        &[Kind::Agent],
        &[Kind::Agent],
    ),
    (
        scope("million", "two sockets on one bus, for measurements", Role::OnRequest),
        Bounds {
            kinds: &[Kind::Server, Kind::Server],
            change_to: &[],
            plug: false,
            time: false,
            ..ONE
        },
    ),
    (
        scope(
            "unbounded",
            "three sockets, deep rings: more states than will ever be seen",
            Role::OnRequest,
        ),
        Bounds {
            kinds: &[Kind::Server, Kind::Client, Kind::Agent],
            change_to: &Kind::ALL,
            ring_max: 3,
            ..ONE
        },
    ),
];

/// The scopes without their bounds.
pub(super) const fn scopes() -> [Scope; SCOPES.len()] {
    let mut all = [SCOPES[0].0; SCOPES.len()];
    let mut at = 0;
    while at < SCOPES.len() {
        all[at] = SCOPES[at].0;
        at += 1;
    }
    all
}

impl Bounds {
    /// Every action in this scope: the machine's first, then port by port.
    pub(super) fn alphabet(&self, rules: &Rules) -> Vec<Action> {
        use Action::*;
        let mut all = vec![Stop, Cont, SystemReset, DriverInit, DriverReset];
        if self.control {
            all.extend([PostControl, WithholdControl]);
        }
        for (port, &kind) in (0..).zip(self.kinds) {
            all.extend([
                GuestOpen { port },
                GuestClose { port },
                GuestWrite { port },
                GuestPost { port },
            ]);
            let any =
                |is: fn(Kind) -> bool| is(kind) || self.change_to.iter().any(|&kind| is(kind));
            if any(Kind::has_host) {
                all.extend([HostConnect { port }, HostDisconnect { port }]);
            }
            if any(|kind| matches!(kind, Kind::Server | Kind::Client)) {
                all.push(HostHalfClose { port });
            }
            if any(|kind| !kind.is_always_on()) {
                all.push(HostWrite { port });
            }
            if any(|kind| !matches!(kind, Kind::File | Kind::Null)) {
                all.push(HostRead { port });
            }
            all.push(Query { port });
            if self.plug {
                all.extend([Unplug { port }, Plug { port }]);
            }
            all.extend(self.change_to.iter().map(|&to| Change { port, to }));
        }
        all.push(SaveLoad);
        for (host, run) in [(false, false), (false, true), (true, false), (true, true)] {
            all.push(Migrate { host, run });
        }
        if self.time && rules.rate_limit {
            all.push(SecondPasses);
        }
        all
    }
}
