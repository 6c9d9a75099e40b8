use super::{claims::Verdict, *};
use crate::{check, explore::Options, study::Study as _};

fn study(design: &str, scope: &str) -> Study {
    let design = Hostdev::designs().iter().find(|known| known.name == design).unwrap();
    let scope = Hostdev::scopes().iter().find(|known| known.name == scope).unwrap();
    Hostdev::study(design, scope)
}

/// The properties that a design violates in any scope.
fn violated(design: &str) -> Vec<&'static str> {
    let mut violated = Vec::new();
    for scope in Hostdev::scopes() {
        let report =
            check::check(&study(design, scope.name), &Options::default(), |_| true).unwrap();
        let answers = report.answers.iter().filter(|answer| answer.verdict.trace_len().is_some());
        violated.extend(answers.map(|answer| answer.property));
    }
    violated.sort_unstable();
    violated.dedup();
    violated
}

/// The guest does not see the driver, so a configuration may get a new one: libvirt's own ABI check looks
/// at mode, type and address only. Who adopts new defaults cannot also boot as before, and on a host without
/// VFIO nobody switches at once.
#[test]
fn ours_gives_up_what_contradicts_the_rest() {
    assert_eq!(
        violated("ours"),
        [
            "after the upgrade no device is bound to the old default",
            "the next boot is like the last"
        ]
    );
}

#[test]
fn every_property_that_ours_satisfies_tells_some_design_apart() {
    let others: Vec<&str> = Hostdev::designs()
        .iter()
        .filter(|design| design.name != "ours")
        .flat_map(|design| violated(design.name))
        .collect();
    let ours = violated("ours");
    for property in study("ours", "qemu").properties() {
        let name = property.name;
        let is_goal = name.starts_with("a guest gets the device");
        assert!(
            is_goal || ours.contains(&name) || others.contains(&name),
            "nobody violates: {name}"
        );
    }
}

/// The table of the alternatives, by hand.
#[test]
fn ways_into_the_manager() {
    let ways = [
        "the manager gets a driver at start",
        "the manager gets a driver when a device is plugged",
        "the manager gets a driver for what a network gives at start",
        "the manager gets a driver for what a network gives when plugged",
        "what is unplugged goes back to the host",
    ];
    let table = [
        ("postparse", [true, true, false, false, true]),
        ("postparse-network", [true, true, true, true, true]),
        ("start-before-network", [true, false, false, false, false]),
        ("start-only", [true, false, true, false, false]),
        ("start-attach", [true, true, true, true, false]),
        ("start-attach-detach", [true; 5]),
        ("libvirt-9.0", [true; 5]),
        ("ours", [true; 5]),
    ];
    for (design, expected) in table {
        let report = check::check(&study(design, "xen"), &Options::default(), |_| true).unwrap();
        let found = ways.map(|way| {
            let answer = report.answers.iter().find(|answer| answer.property == way).unwrap();
            answer.verdict.trace_len().is_none()
        });
        assert_eq!(found, expected, "{design}");
    }
}

#[test]
fn the_thread_is_judged() {
    let judged = claims::judged();
    let count = |verdict| judged.iter().filter(|claim| claim.verdict == verdict).count();
    assert!(judged.iter().all(|claim| !claim.because.contains("None")), "{judged:#?}");
    let counts =
        [Verdict::Agrees, Verdict::Imprecise, Verdict::Wrong, Verdict::NotAsked].map(count);
    assert_eq!(counts, [5, 5, 3, 0], "{judged:#?}");
}
