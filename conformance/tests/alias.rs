//! The alias study on the installed libvirt, where it is installed, and on ours.
//!
//! `STATUSQUO_REQUIRE=libvirt` makes it an error that it is not.

use std::{sync::Arc, time::Duration};

use statusquo::{
    replay::{Factory, Observed, Verdict, replay_one},
    studies::{self, Replayable},
    systems::{
        libvirt::Programs,
        real::{Real, or_skip},
    },
    trace::{Trace, played},
};
use statusquo_model::{
    check::{self, Fault},
    explore::Options,
    family::Family,
    studies::alias::{
        Alias, Study,
        action::{Action, Asked, By, Outcome, Reply, What, Why},
        definition::Kind,
        name::{Alias as Name, SERIAL0, Stem},
    },
};

const PATIENCE: Duration = Duration::from_secs(120);

fn study(design: &str, scope: &str) -> Study {
    let design = studies::design::<Alias>(design).unwrap();
    Alias::study(design, studies::scope::<Alias>(Some(scope)).unwrap())
}

fn libvirt() -> Option<Arc<dyn Factory<Study>>> {
    or_skip(Real::Libvirt, Alias::libvirt(&study("libvirt-9.0", "pair"), Programs::default()))
}

#[track_caller]
fn agrees(trace: &Trace<Study>, factory: &Arc<dyn Factory<Study>>) {
    let (verdict, steps) = replay_one(trace, factory, PATIENCE);
    assert_eq!((verdict, steps), (Verdict::Agrees, trace.len()));
}

#[test]
fn the_design_that_libvirt_shipped_is_found_by_the_name_of_the_thread_too() {
    assert_eq!(studies::design::<Alias>("own-alias").unwrap().name, "libvirt-9.0");
}

/// The two runs of the thread, as the checker finds them, both on the binary: BZ 2156300.
#[test]
fn the_bug_of_the_thread_is_on_the_binary() {
    let Some(factory) = libvirt() else { return };
    let study = study("libvirt-9.0", "pair");
    let wanted = |name: &str| name == "a restart is transparent";
    let report = check::check(&study, &Options::default(), wanted).unwrap();
    let shown = report.answers[0].verdict.counterexample().unwrap();
    let Fault::Noticed { disruption, tell } = &shown.fault else { panic!("{:?}", shown.fault) };
    let path: Vec<Action> = shown.path.iter().map(|seen| seen.action).collect();
    let told: Vec<Action> = tell.iter().map(|told| told.action).collect();
    let base = played(&study, &[path.clone(), told.clone()].concat()).unwrap();
    let disturbed = played(&study, &[path, vec![disruption.action], told].concat()).unwrap();
    let last = |trace: &Trace<Study>| trace.last().unwrap().outcome.reply.clone();
    assert_eq!(last(&base), Reply::Refused(Why::CauseUnknown));
    assert_eq!(last(&disturbed), Reply::Refused(Why::BusHasNoHotplug));
    agrees(&base, &factory);
    agrees(&disturbed, &factory);
}

const DETACH_CONSOLE: Action = Action::Detach { by: By::Xml(Kind::SerialConsole) };

#[test]
fn a_console_that_is_detached_after_a_restart_costs_the_guest() {
    let Some(factory) = libvirt() else { return };
    let study = study("libvirt-9.0", "usb");
    let actions = [
        Action::Define { with: Asked::UsbPair },
        Action::Start,
        Action::Restart,
        DETACH_CONSOLE,
        Action::Restart,
    ];
    let trace = played(&study, &actions).unwrap();
    assert!(trace[4].outcome.guest_lost);
    agrees(&trace, &factory);
}

#[test]
fn a_serial_port_that_came_and_went_kills_the_daemon() {
    let Some(factory) = libvirt() else { return };
    let study = study("libvirt-9.0", "usb");
    let actions = [
        Action::Define { with: Asked::Nothing },
        Action::Start,
        Action::Attach { kind: Kind::UsbSerial, alias: None },
        Action::Detach { by: By::Xml(Kind::UsbSerial) },
        Action::Dump { what: What::Live },
        Action::Restart,
        Action::Open { name: Some(SERIAL0) },
        Action::Dump { what: What::Status },
    ];
    let trace = played(&study, &actions).unwrap();
    assert_eq!(trace[6].outcome.reply, Reply::DaemonDied);
    agrees(&trace, &factory);
}

/// What the driver says comes from the binary and not from the model that it is compared with.
#[test]
fn what_another_design_expects_diverges() {
    let Some(factory) = libvirt() else { return };
    let actions = [Action::Define { with: Asked::Pair }, Action::Start, DETACH_CONSOLE];
    let ours = played(&study("ours", "pair"), &actions).unwrap();
    let (verdict, _) = replay_one(&ours, &factory, PATIENCE);
    let Verdict::Diverges(divergence) = verdict else { panic!("{verdict:?}") };
    assert_eq!(divergence.step, 2);
    let unknown = Outcome { reply: Reply::Refused(Why::CauseUnknown), ..Outcome::default() };
    assert_eq!(divergence.observed, Ok(Observed::Outcome(unknown)));
}

/// On ours, the same runs: refused with the device's name, and a pair that goes together.
#[test]
fn ours_answers_alike_before_and_after_a_restart() {
    let factory = Alias::vmm(&study("ours", "pair")).unwrap();
    let pair = study("ours", "pair");
    let begin = [Action::Define { with: Asked::Pair }, Action::Start];
    for disturbed in [vec![], vec![Action::Restart], vec![Action::Redefine]] {
        let trace =
            played(&pair, &[begin.to_vec(), disturbed, vec![DETACH_CONSOLE]].concat()).unwrap();
        let fixed = Reply::Refused(Why::Fixed { alias: SERIAL0 });
        assert_eq!(trace.last().unwrap().outcome.reply, fixed);
        agrees(&trace, &factory);
    }
    let usb = study("ours", "usb");
    let begin = [Action::Define { with: Asked::UsbPair }, Action::Start, Action::Restart];
    let look = [Action::Restart, Action::Dump { what: What::Status }];
    let trace = played(&usb, &[&begin[..], &[DETACH_CONSOLE], &look].concat()).unwrap();
    assert_eq!(trace[3].outcome.gone, [Name::new(Stem::Serial, 0)]);
    assert_eq!(trace[5].outcome.reply, Reply::Shown(vec![]));
    agrees(&trace, &factory);
}
