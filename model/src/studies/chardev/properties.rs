//! What every design is asked.

use super::{
    Study as Chardevs,
    action::Action,
    outcome::{Edges, Outcome},
    state::{Label, Late, Port, State},
};
use crate::study::{Judgement, Law, Property};

const THREAD: &str = "qemu-devel 2011-07, 'virtio-serial-bus: replay guest_open on migration'";
const LAW: &str =
    "the first law: a disruption that users should not notice changes nothing they observe";
const STREAM: &str = "a character device is a stream: virtio 1.2, section 5.3";

const ALIVE: &str = "whoever may ask for something must not be able to end the machine with it";

/// Every property, in the order of the matrix.
pub(super) fn properties() -> Vec<Property<Chardevs>> {
    use Law::*;
    let property = |name, source, law| Property { name, source, law };
    vec![
        property("QEMU survives what is asked of it", ALIVE, Always(survives)),
        property("every backend starts in the same state", THREAD, Always(same_start)),
        property("the label agrees with the port's flags", THREAD, Always(labels_agree)),
        property("the guest knows whether its host is connected", THREAD, Always(guest_knows)),
        property(
            "the backend knows whether the guest has the port open",
            THREAD,
            Always(backend_knows),
        ),
        property(
            "management knows whether the guest has the port open",
            THREAD,
            Always(management_knows),
        ),
        property("management sees whether the host is connected", THREAD, Always(management_sees)),
        property("notices to the guest alternate", THREAD, AlwaysStep(guest_notices_alternate)),
        property(
            "notices to management alternate",
            THREAD,
            AlwaysStep(management_notices_alternate),
        ),
        property(
            "no byte of the guest's is silently lost",
            STREAM,
            AlwaysStep(guest_loses_nothing),
        ),
        property("no byte of the host's is silently lost", STREAM, AlwaysStep(host_loses_nothing)),
        property("no byte is delivered twice", STREAM, AlwaysStep(nothing_twice)),
        property(
            "bytes move only where the design's rules allow",
            THREAD,
            AlwaysStep(bytes_keep_the_rules),
        ),
        property("reset invents no client", THREAD, AlwaysStep(reset_invents_no_client)),
        property("a paused guest is not touched", THREAD, AlwaysStep(paused_guest_is_not_touched)),
        property(
            "a draining peer un-sticks a throttled port",
            STREAM,
            LeadsTo {
                // One port speaks for all: with several, one could be stuck while the other is not.
                from: |_, s| s.bus.running() && s.bus.driver() && waits(s.ports[0]),
                goal: |_, s| {
                    !s.bus.running() || !waits(s.ports[0]) || s.ports[0].unread_by_host() > 0
                },
                fair: |_, action| matches!(action, Action::HostRead { .. }),
            },
        ),
        property(
            "every port can come to rest with both ends connected",
            THREAD,
            AlwaysPossible {
                from: |_, s| !s.bus.dead(),
                goal: |study, s| s.bus.running() && study.ports(s).all(is_quiet),
            },
        ),
        property(
            "stop and cont are transparent",
            LAW,
            Transparent(|_, action| action == Action::Cont),
        ),
        property(
            "migration is transparent",
            LAW,
            Transparent(|_, action| matches!(action, Action::Migrate { run: true, .. })),
        ),
        property(
            "a paused destination answers as the source did",
            LAW,
            AlwaysStep(destination_answers_alike),
        ),
        property(
            "save and load are transparent",
            LAW,
            Transparent(|_, action| action == Action::SaveLoad),
        ),
        property(
            "both ends of a port are connected and bytes arrive",
            "so that the rest is not vacuous",
            Sometimes(|study, s| {
                study.ports(s).any(|port| {
                    port.fact() == Label::A
                        && (port.unread_by_host() > 0 || port.kind().is_always_on())
                        && port.plugged()
                })
            }),
        ),
    ]
}

fn at_rest(study: &Chardevs, s: &State) -> bool {
    s.bus.running() && !s.bus.post_load() && study.ports(s).all(|port| port.late() == Late::Nothing)
}

/// Judges every port of the scope.
#[inline]
fn each(study: &Chardevs, s: &State, judge: impl Fn(Port) -> Judgement) -> Judgement {
    study.ports(s).map(judge).fold(Judgement::NotAsked, Judgement::and)
}

fn survives(_: &Chardevs, s: &State) -> Judgement {
    Judgement::when(true, !s.bus.dead())
}

fn same_start(study: &Chardevs, s: &State) -> Judgement {
    let asked = !s.bus.launched() && study.is_initial(s);
    Judgement::when(asked, !asked || study.same_start())
}

fn labels_agree(study: &Chardevs, s: &State) -> Judgement {
    let rest = at_rest(study, s);
    each(study, s, |port| Judgement::when(rest && port.plugged(), port.book() == port.flags()))
}

fn guest_knows(study: &Chardevs, s: &State) -> Judgement {
    let asked = at_rest(study, s) && s.bus.driver() && s.bus.control();
    each(study, s, |port| {
        let knows = port.known() && port.guest_told() == port.is_connected();
        Judgement::when(asked && port.plugged(), knows)
    })
}

fn backend_knows(study: &Chardevs, s: &State) -> Judgement {
    let rest = at_rest(study, s);
    each(study, s, |port| {
        Judgement::when(rest && port.plugged(), port.frontend_open() == port.open())
    })
}

fn management_knows(study: &Chardevs, s: &State) -> Judgement {
    let rest = at_rest(study, s);
    each(study, s, |port| {
        Judgement::when(rest && port.plugged(), port.management_told() == port.open())
    })
}

fn management_sees(study: &Chardevs, s: &State) -> Judgement {
    let rest = at_rest(study, s);
    each(study, s, |port| {
        Judgement::when(rest, port.shown_connected(study.rules()) == port.is_connected())
    })
}

fn alternate(told: bool, notices: Edges) -> Judgement {
    let mut last = told;
    let kept = notices.iter().all(|notice| std::mem::replace(&mut last, notice) != notice);
    Judgement::when(!notices.is_empty(), kept)
}

/// Judges a step at every port: before, what was seen, after.
#[inline]
fn each_step(
    study: &Chardevs,
    (before, outcome, after): (&State, &Outcome, &State),
    judge: impl Fn(usize, Port, &super::outcome::Seen, Port) -> Judgement,
) -> Judgement {
    // What a crash does to everything else is not asked again.
    if after.bus.dead() {
        return Judgement::NotAsked;
    }
    (0..study.ports_len())
        .map(|at| judge(at, before.ports[at], outcome.seen(at), after.ports[at]))
        .fold(Judgement::NotAsked, Judgement::and)
}

fn guest_notices_alternate(
    study: &Chardevs,
    before: &State,
    _: Action,
    outcome: &Outcome,
    after: &State,
) -> Judgement {
    each_step(study, (before, outcome, after), |_, before, seen, _| {
        alternate(before.guest_told() && !seen.announced, seen.guest_told)
    })
}

fn management_notices_alternate(
    study: &Chardevs,
    before: &State,
    _: Action,
    outcome: &Outcome,
    after: &State,
) -> Judgement {
    each_step(study, (before, outcome, after), |_, before, seen, _| {
        alternate(before.management_told(), seen.management_told)
    })
}

/// What the guest sent and nobody got, and how much of that it knows of.
fn output_balance(
    action: Action,
    at: usize,
    before: Port,
    seen: &super::outcome::Seen,
    after: Port,
) -> (i16, i16) {
    let here = action.port() == Some(at);
    let sent = here && matches!(action, Action::GuestWrite { .. });
    let balance = i16::from(before.output()) + i16::from(sent)
        - i16::from(after.output())
        - i16::from(seen.host_receives)
        - i16::from(seen.stored);
    let waived = match action {
        // The host does not want what it has not read.
        Action::HostDisconnect { .. } if here => before.unread_by_host(),
        // The guest gives up its own ring; what was taken from the ring is not in it.
        Action::SystemReset | Action::DriverReset => before.transmit() + u8::from(before.held()),
        Action::Unplug { .. } if here => before.transmit() + u8::from(before.held()),
        _ => 0,
    };
    (balance, waived.into())
}

fn guest_loses_nothing(
    study: &Chardevs,
    before: &State,
    action: Action,
    outcome: &Outcome,
    after: &State,
) -> Judgement {
    each_step(study, (before, outcome, after), |at, before, seen, after| {
        let (lost, waived) = output_balance(action, at, before, seen, after);
        let asked = before.output() > 0 || matches!(action, Action::GuestWrite { .. });
        Judgement::when(asked, lost <= waived)
    })
}

fn input_balance(
    action: Action,
    at: usize,
    before: Port,
    seen: &super::outcome::Seen,
    after: Port,
) -> i16 {
    let sent = action.port() == Some(at) && matches!(action, Action::HostWrite { .. });
    i16::from(before.unread_by_guest()) + i16::from(sent)
        - i16::from(after.unread_by_guest())
        - i16::from(seen.guest_receives)
}

fn host_loses_nothing(
    study: &Chardevs,
    before: &State,
    action: Action,
    outcome: &Outcome,
    after: &State,
) -> Judgement {
    each_step(study, (before, outcome, after), |at, before, seen, after| {
        let lost = input_balance(action, at, before, seen, after);
        // A host that is cut off with bytes unread is told: its next call fails with ECONNRESET.
        let told = seen.host_sees.iter().any(|up| !up);
        let asked = before.unread_by_guest() > 0 || matches!(action, Action::HostWrite { .. });
        Judgement::when(asked, lost <= 0 || told)
    })
}

fn nothing_twice(
    study: &Chardevs,
    before: &State,
    action: Action,
    outcome: &Outcome,
    after: &State,
) -> Judgement {
    each_step(study, (before, outcome, after), |at, before, seen, after| {
        let (output, _) = output_balance(action, at, before, seen, after);
        let input = input_balance(action, at, before, seen, after);
        let asked = seen.guest_receives + seen.host_receives + seen.stored > 0;
        Judgement::when(asked, output >= 0 && input >= 0)
    })
}

fn bytes_keep_the_rules(
    study: &Chardevs,
    before: &State,
    action: Action,
    outcome: &Outcome,
    after: &State,
) -> Judgement {
    let rules = study.rules();
    each_step(study, (before, outcome, after), |at, before, seen, after| {
        let gone = before.unread_by_guest() > after.unread_by_guest() || seen.guest_receives > 0;
        let cut = seen.host_sees.iter().any(|up| !up)
            || action.port() == Some(at) && matches!(action, Action::HostDisconnect { .. });
        let read = gone && !cut;
        let written = seen.stored > 0
            || after.unread_by_host() + seen.host_receives > before.unread_by_host();
        // A step may itself bring the receiver; either side of it may allow the move.
        let may =
            |labels: &[Label]| labels.contains(&before.fact()) || labels.contains(&after.fact());
        Judgement::when(read, may(rules.read_in)).and(Judgement::when(written, may(rules.write_in)))
    })
}

fn reset_invents_no_client(
    study: &Chardevs,
    before: &State,
    action: Action,
    outcome: &Outcome,
    after: &State,
) -> Judgement {
    let reset = matches!(action, Action::SystemReset | Action::DriverReset);
    each_step(study, (before, outcome, after), |_, before, seen, after| {
        let invented = after.frontend_open() && !after.open()
            || seen.management_told.iter().any(|open| open)
            || seen.host_sees.iter().any(|up| up);
        Judgement::when(reset && before.plugged(), !invented)
    })
}

fn paused_guest_is_not_touched(
    study: &Chardevs,
    before: &State,
    _: Action,
    outcome: &Outcome,
    after: &State,
) -> Judgement {
    let paused = !after.bus.running() && before.bus.driver();
    each_step(study, (before, outcome, after), |_, _, seen, _| {
        let touched = !seen.guest_told.is_empty()
            || seen.guest_receives > 0
            || seen.completed > 0
            || seen.announced;
        Judgement::when(paused, !touched)
    })
}

fn destination_answers_alike(
    study: &Chardevs,
    before: &State,
    action: Action,
    outcome: &Outcome,
    after: &State,
) -> Judgement {
    let Action::Migrate { host, run: false } = action else { return Judgement::NotAsked };
    each_step(study, (before, outcome, after), |_, before, _, after| {
        let shown = after.shown_connected(study.rules());
        let reconnected = !before.kind().has_host() || shown == host;
        let same = before.frontend_open() == after.frontend_open();
        Judgement::when(before.plugged(), same && reconnected)
    })
}

/// Output waits although somebody is there to take it. He has something to read first, or else the
/// port is stuck.
fn waits(port: Port) -> bool {
    let output = port.held() || port.transmit() > 0;
    output && port.is_connected() && port.plugged()
}

fn is_quiet(port: Port) -> bool {
    port.plugged() && port.fact() == Label::A && port.output() == 0 && port.unread_by_guest() == 0
}
