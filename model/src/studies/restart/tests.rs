use super::*;
use crate::{
    check::{self, Verdict},
    explore::Options,
    study::Study as _,
};

fn study(design: &str, scope: &str) -> Study {
    let design = Restart::designs().iter().find(|known| known.name == design).unwrap();
    let scope = Restart::scopes().iter().find(|known| known.name == scope).unwrap();
    Restart::study(design, scope)
}

#[test]
fn ours_satisfies_everything() {
    for scope in Restart::scopes() {
        let report =
            check::check(&study("ours", scope.name), &Options::default(), |_| true).unwrap();
        for answer in &report.answers {
            let shown = answer.verdict.counterexample().map(|shown| {
                let steps = shown.path.iter().map(|seen| crate::words::words(&seen.action));
                format!("{}; {:?}", steps.collect::<Vec<_>>().join(", "), shown.state)
            });
            assert!(
                matches!(answer.verdict, Verdict::Holds),
                "{}: {}: {}: {shown:?}",
                scope.name,
                answer.property,
                answer.verdict
            );
        }
        assert_eq!(report.dead_actions, []);
    }
}

#[test]
fn each_other_design_fails() {
    for design in Restart::designs().iter().filter(|design| design.name != "ours") {
        let report = check::check(
            &Restart::study(design, &Restart::scopes()[0]),
            &Options::default(),
            |_| true,
        )
        .unwrap();
        let failed = report.answers.iter().filter(|answer| answer.verdict.trace_len().is_some());
        assert!(failed.count() >= 3, "{}", design.name);
    }
}

#[test]
fn the_intent_to_attach_is_needed_and_the_intent_to_detach_is_not() {
    for scope in Restart::scopes() {
        let audited = audit(scope, &Options::default()).unwrap();
        let is_needed: Vec<(&str, bool)> =
            audited.iter().map(|one| (one.fact, !one.needed_for.is_empty())).collect();
        assert_eq!(
            is_needed,
            [
                ("the devices of the definition", true),
                ("the intent to attach", true),
                ("the intent to detach", false)
            ],
            "{}",
            scope.name
        );
    }
}

#[test]
fn a_notice_after_the_last_save_can_be_lost() {
    let mut late = study("ours", "pci");
    late.rules.tell = rules::Tell::AfterSave;
    let property = "at rest management knows which devices there are";
    let report = check::check(&late, &Options::default(), |name| name == property).unwrap();
    assert!(report.answers[0].verdict.trace_len().is_some());
}

#[test]
fn a_guest_is_lost_because_one_backend_was_gone_before() {
    use Action::*;
    let libvirt = study("libvirt-9.0", "pci");
    // The unplug was asked for, the guest answered, the backend was removed; then the daemon is killed
    // before it saves: its successor removes the backend again, cannot, and stops the guest.
    let run = [
        Attach { bus_full: false },
        Step,
        Step,
        Step,
        Step,
        Detach { alias: 0 },
        Step,
        Eject { alias: 0 },
        Finalize { alias: 0 },
        Step,
        Step,
        Kill,
        Start,
        Step,
        Step,
        Step,
    ];
    let mut state = libvirt.initial().remove(0);
    for action in run {
        assert!(state.guest);
        state = libvirt.step(&state, action).unwrap().1;
    }
    assert!(!state.guest);
}
