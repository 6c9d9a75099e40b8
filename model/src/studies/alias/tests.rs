use super::{
    action::{Asked, By, What, Why},
    definition::Kind,
    name::{CONSOLE0, SERIAL0},
    *,
};
use crate::{
    check::{self, Fault, Report},
    explore::Options,
    family::Role,
    study::Study as _,
};

fn study(design: &str, scope: &str) -> Study {
    let design = Alias::designs().iter().find(|known| known.name == design).unwrap();
    let scope = Alias::scopes().iter().find(|known| known.name == scope).unwrap();
    Alias::study(design, scope)
}

fn report(design: &str, scope: &str) -> Report<Study> {
    check::check(&study(design, scope), &Options::default(), |_| true).unwrap()
}

/// The thread's bug: start and detach the console; start, restart, and detach the console.
#[test]
fn the_shortest_restart_that_is_noticed_is_that_of_the_thread() {
    let report = report("libvirt-9.0", "pair");
    let answer =
        report.answers.iter().find(|it| it.property == "a restart is transparent").unwrap();
    let shown = answer.verdict.counterexample().unwrap();
    let path: Vec<Action> = shown.path.iter().map(|seen| seen.action).collect();
    assert_eq!(path, [Action::Define { with: Asked::Pair }, Action::Start]);
    let Fault::Noticed { disruption, tell } = &shown.fault else { panic!("{:?}", shown.fault) };
    assert_eq!(disruption.action, Action::Restart);
    let [told] = tell.as_slice() else { panic!("{tell:?}") };
    assert_eq!(told.action, Action::Detach { by: By::Xml(Kind::SerialConsole) });
    let refused = |why| Outcome { reply: Reply::Refused(why), ..Outcome::default() };
    assert_eq!(told.disturbed, Ok(refused(Why::BusHasNoHotplug)));
    assert_eq!(told.undisturbed, Ok(refused(Why::CauseUnknown)));
}

#[test]
fn ours_satisfies_everything_and_every_question_arises_somewhere() {
    let mut asked = std::collections::BTreeMap::new();
    for scope in Alias::scopes().iter().filter(|scope| scope.role != Role::OnRequest) {
        for answer in &report("ours", scope.name).answers {
            assert_eq!(answer.verdict.trace_len(), None, "{}: {}", scope.name, answer.property);
            *asked.entry(answer.property).or_insert(0) += answer.asked;
        }
    }
    for (property, asked) in asked {
        // The name of a device is in a refusal, or there is no such refusal.
        assert!(asked > 0, "{property} is never asked");
    }
}

#[test]
fn every_other_design_violates_something() {
    for design in Alias::designs().iter().filter(|design| design.name != "ours") {
        let violated = Alias::scopes().iter().any(|scope| {
            let report = report(design.name, scope.name);
            report.answers.iter().any(|answer| answer.verdict.trace_len().is_some())
        });
        assert!(violated, "{}", design.name);
    }
}

#[track_caller]
fn ends(design: &str, scope: &str, actions: &[Action], expected: Reply) {
    let study = study(design, scope);
    let mut state = study.initial().remove(0);
    let mut outcome = Outcome::default();
    for &action in actions {
        (outcome, state) = study.step(&state, action).unwrap();
    }
    assert_eq!(outcome.reply, expected);
}

const XML_CONSOLE: Action = Action::Detach { by: By::Xml(Kind::SerialConsole) };

fn started(with: Asked, then: &[Action]) -> Vec<Action> {
    [&[Action::Define { with }, Action::Start], then].concat()
}

/// Runs of libvirt 9.0.0 with QEMU 7.2, by hand.
#[test]
fn what_was_seen_of_libvirt_9() {
    let open = |name| Action::Open { name: Some(name) };
    let by_name = |name| Action::Detach { by: By::Alias(name) };
    let users = |with, then: &[Action], expected| {
        ends("libvirt-9.0", "users", &started(with, then), expected);
    };
    let refused = Reply::Refused;
    // A console that was made from the serial port has no port, so what the dump shows is not found.
    users(Asked::Serial, &[XML_CONSOLE], refused(Why::NoSuchDevice));
    users(Asked::Serial, &[Action::Restart, XML_CONSOLE], refused(Why::BusHasNoHotplug));
    users(Asked::Serial, &[by_name(CONSOLE0)], refused(Why::CauseUnknown));
    users(Asked::Serial, &[open(CONSOLE0)], Reply::Done);
    users(Asked::Serial, &[Action::Restart, open(CONSOLE0)], refused(Why::NoSuchConsole));
    users(Asked::PairConsoleA, &[by_name(name::UA_A)], refused(Why::CauseUnknown));
    users(Asked::PairConsoleA, &[Action::Restart, by_name(name::UA_A)], refused(Why::NoSuchDevice));
    users(Asked::BothA, &[by_name(name::UA_A)], refused(Why::BusHasNoHotplug));
    ends(
        "libvirt-9.0",
        "users",
        &[Action::Define { with: Asked::TwiceA }, Action::Redefine],
        refused(Why::DuplicateAlias),
    );
    users(Asked::TwiceA, &[], refused(Why::DuplicateId));
    users(Asked::TwiceA, &[Action::Start], refused(Why::DuplicateAlias));
    let virtio = Action::Attach { kind: Kind::VirtioConsole, alias: None };
    let attached =
        |number| Reply::Attached { alias: name::Alias::new(name::Stem::Console, number) };
    let null = |then: &[Action], expected| {
        ends("libvirt-9.0", "virtio", &started(Asked::NullSerialA, then), expected);
    };
    null(&[virtio], attached(1));
    null(&[Action::Restart, virtio], attached(0));
    let zero = Action::Detach { by: By::PortZero };
    let shifted = |then: &[Action], expected| {
        ends("libvirt-9.0", "virtio", &started(Asked::SerialAndVirtio, then), expected);
    };
    shifted(&[zero], Reply::Done);
    shifted(&[Action::Restart, zero], refused(Why::BusHasNoHotplug));
    let usb = |with, then: &[Action], expected| {
        ends("libvirt-9.0", "usb", &started(with, then), expected);
    };
    let plug = Action::Attach { kind: Kind::UsbSerial, alias: None };
    let unplug = Action::Detach { by: By::Xml(Kind::UsbSerial) };
    let stub = action::Shown { kind: Kind::Parallel, port: Some(-1), alias: None };
    let dump = Action::Dump { what: What::Live };
    usb(Asked::Nothing, &[plug, unplug, dump], Reply::Shown(vec![stub]));
    usb(Asked::Nothing, &[plug, unplug, Action::Restart, open(SERIAL0)], Reply::DaemonDied);
    usb(Asked::Nothing, &[plug, Action::Restart, unplug, dump], Reply::Shown(vec![]));
    usb(Asked::UsbPair, &[XML_CONSOLE], refused(Why::CauseUnknown));
    usb(Asked::UsbPair, &[Action::Restart, XML_CONSOLE], Reply::Done);
}

/// The daemon has freed what it uses; when it comes back, it stops the guest.
#[test]
fn a_console_that_is_detached_after_a_restart_costs_the_guest() {
    let usb = study("libvirt-9.0", "usb");
    let actions = started(Asked::UsbPair, &[Action::Restart, XML_CONSOLE]);
    let mut state = usb.initial().remove(0);
    for action in actions {
        state = usb.step(&state, action).unwrap().1;
    }
    assert!(usb.step(&state, Action::Dump { what: What::Live }).is_err());
    let (outcome, state) = usb.step(&state, Action::Restart).unwrap();
    assert!(outcome.guest_lost);
    assert_eq!(state.guest, Guest::Lost);
}
