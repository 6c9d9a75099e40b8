use super::{action::Why, *};
use crate::{
    check::{self, Verdict},
    explore::Options,
    words::words,
};

fn study(design: &str, scope: &str) -> Study {
    let design = PciRoot::designs().iter().find(|known| known.name == design).unwrap();
    let scope = PciRoot::scopes().iter().find(|known| known.name == scope).unwrap();
    PciRoot::study(design, scope)
}

/// The shortest demonstration against a property whose name begins so, as words.
fn shortest(design: &str, scope: &str, property: &str) -> Vec<String> {
    let study = study(design, scope);
    let report = check::check(&study, &Options::default(), |name| name.starts_with(property));
    let report = report.unwrap();
    let shown = report.answers[0].verdict.counterexample().unwrap();
    let steps = shown.path.iter();
    steps.map(|seen| format!("{} -> {}", words(&seen.action), words(&seen.outcome))).collect()
}

#[test]
fn ours_satisfies_everything() {
    for scope in PciRoot::scopes() {
        let report =
            check::check(&study("ours", scope.name), &Options::default(), |_| true).unwrap();
        for answer in &report.answers {
            // Some scopes have roots that can all be plugged into, and some have no older daemon.
            let fine = matches!(answer.verdict, Verdict::Holds | Verdict::Vacuous);
            assert!(fine, "{}: {}: {}", scope.name, answer.property, answer.verdict);
        }
        // A root that takes no devices has none to give back, and some machines have no ports.
        let fine = ["detach{from: root}", "attach{onto: port}", "detach{from: port}"];
        let dead: Vec<String> = report.dead_actions.iter().map(words).collect();
        assert!(dead.iter().all(|dead| fine.contains(&dead.as_str())), "{}: {dead:?}", scope.name);
    }
}

#[test]
fn the_bug_of_the_thread_is_the_shortest_trace_of_the_broken_change() {
    assert_eq!(
        shortest("user-alias-map", "x86", "the bus named"),
        [
            "define{machine: x86_64 pc, user-alias: false} -> reply done",
            "start -> {bus: pci.0, reply: done}",
            "restart -> reply done",
            "attach{onto: root} -> {bus: pci, reply: refused bus-not-found}",
        ]
    );
}

#[test]
fn a_user_alias_on_the_first_host_bridge_of_pseries_keeps_the_guest_from_starting() {
    assert_eq!(
        shortest("libvirt-9.0", "installed-ppc64", "the bus named"),
        [
            "define{machine: ppc64 pseries, user-alias: true} -> reply done",
            "start -> {bus: ua-root, reply: refused bus-not-found}",
        ]
    );
}

/// libvirt's table, for what was probed and for what a status file says (`virQEMUCapsHasPCIMultiBus`).
#[test]
fn which_daemon_takes_which_machine_for_one_with_several_buses() {
    let of = |design: &str, machine, known| study(design, "x86").rules.multibus(machine, known);
    let (old, new) = (Some(Qemu::BeforeMultibus), Some(Qemu::Multibus));
    for (design, machine, known, several) in [
        ("libvirt-3.9", Machine::Pc, new, true),
        ("libvirt-3.9", Machine::Pc, None, false),
        ("libvirt-3.9", Machine::Mac99, None, false),
        ("libvirt-3.9", Machine::ArmVirt, None, true),
        ("libvirt-3.10", Machine::Pc, None, true),
        ("libvirt-3.10", Machine::Mac99, old, false),
        ("libvirt-3.10", Machine::Mac99, None, true),
        ("libvirt-3.10", Machine::S390Ccw, new, false),
        ("libvirt-9.0", Machine::Mac99, old, true),
        ("libvirt-9.0", Machine::S390Ccw, None, true),
        ("libvirt-9.0", Machine::Q800, None, false),
    ] {
        assert_eq!(of(design, machine, known), several, "{design} {machine:?} {known:?}");
    }
}

/// In the thread only PPC is unfixable; there, only the first host bridge of pseries was ever plugged into,
/// and the broken change does not compute its name.
#[test]
fn what_def_arch_cannot_fix_could_not_be_plugged_into() {
    let rows = refusals::rows();
    let def_arch = |row: &&refusals::Row| {
        row.design == "def-arch" && row.machine.arch() == hardware::Arch::Ppc && !row.user_alias
    };
    let wrong = rows.iter().filter(def_arch).filter(|row| row.why == Some(Why::BusNotFound));
    assert_eq!(wrong.clone().filter(|row| row.possible).count(), 0);
    assert!(wrong.count() > 0);
}

#[test]
fn ours_refuses_only_what_qemu_cannot_do() {
    for tally in refusals::tallies(&refusals::rows()) {
        assert_eq!(tally.needless == 0, tally.design == "ours", "{tally:?}");
    }
}
