use super::*;
use crate::{
    check::{self, Verdict},
    explore::{self, Budget, Options},
    family::Family,
    study::{OneByOne, Steps as _, Study as _},
};

fn study(design: &str, scope: &str) -> Study {
    let design = Chardev::designs().iter().find(|known| known.name == design).unwrap();
    let scope = Chardev::scopes().iter().find(|known| known.name == scope).unwrap();
    Chardev::study(design, scope)
}

fn length(design: &str, scope: &str, property: &str) -> Option<usize> {
    let report =
        check::check(&study(design, scope), &Options::default(), |name| name == property).unwrap();
    assert_eq!(report.answers.len(), 1, "{property}");
    report.answers[0].verdict.trace_len()
}

#[test]
fn all_steps_at_once_are_the_steps_one_by_one() {
    let mut states = 0;
    for design in Chardev::designs() {
        for scope in Chardev::scopes() {
            let study = Chardev::study(design, scope);
            let budget = Budget { states: Some(20_000), ..Budget::default() };
            let options = Options { budget, ..Options::default() };
            let found = explore::explore(&study, &options).unwrap();
            let mut together = study.steps(found.alphabet());
            let mut apart = OneByOne::new(&study, found.alphabet());
            for id in 0..found.len() {
                let state = found.state(id.try_into().unwrap());
                let (mut left, mut right) = (Vec::new(), Vec::new());
                together.visit(state, |number, outcome, next| left.push((number, *outcome, next)));
                apart.visit(state, |number, outcome, next| right.push((number, *outcome, next)));
                assert_eq!(left, right, "{} {} {state:?}", design.name, scope.name);
                states += 1;
            }
        }
    }
    assert!(states > 200_000, "{states} states were looked at");
}

#[test]
fn the_slip_of_the_thread_is_found() {
    assert_eq!(length("as-written", "server", "the label agrees with the port's flags"), Some(2));
    assert_eq!(length("as-labelled", "server", "the label agrees with the port's flags"), None);
}

#[test]
fn the_bug_of_the_thread_is_found_and_the_patch_mends_it() {
    let property = "the backend knows whether the guest has the port open";
    let agent = |design: &str| {
        let study = study(design, "agent");
        let mut state = study.initial().remove(0);
        for action in [
            Action::Cont,
            Action::DriverInit,
            Action::GuestOpen { port: 0 },
            Action::Migrate { host: false, run: true },
        ] {
            state = study.step(&state, action).unwrap().1;
        }
        state.ports[0].frontend_open() == state.ports[0].open()
    };
    assert!(!agent("no-replay"));
    assert!(
        agent("replay-in-load") && agent("backend-section") && agent("qemu-7.2") && agent("ours")
    );
    // The strawman lies the other way round: nobody has the port open.
    let flag = study("migrated-flag", "agent");
    let state = flag.initial().remove(0);
    let (_, state) = flag.step(&state, Action::Migrate { host: false, run: true }).unwrap();
    assert!(state.ports[0].frontend_open() && !state.ports[0].open());
    assert!(length("migrated-flag", "agent", property).is_some());
}

#[test]
fn ours_satisfies_everything_and_little_of_it_is_vacuous() {
    for scope in Chardev::scopes().iter().filter(|scope| scope.role != family::Role::OnRequest) {
        let report =
            check::check(&study("ours", scope.name), &Options::default(), |_| true).unwrap();
        let vacuous =
            report.answers.iter().filter(|answer| answer.verdict == Verdict::Vacuous).count();
        let held = report.answers.iter().filter(|answer| answer.verdict == Verdict::Holds).count();
        assert_eq!(held + vacuous, report.answers.len(), "{}", scope.name);
        assert!(vacuous <= 2, "{}: {vacuous} vacuous", scope.name);
        assert_eq!(report.dead_actions, [], "{}", scope.name);
    }
}

#[test]
fn a_paused_destination_goes_on_as_if_it_had_only_been_stopped() {
    // The law is asked of destinations that run at once, for every design; ours keeps it for others too.
    let study = study("ours", "server");
    let found = explore::explore(&study, &Options::default()).unwrap();
    for id in 0..found.len() as u32 {
        for host in [false, true] {
            let action = Action::Migrate { host, run: false };
            let (_, moved) = study.step(found.state(id), action).unwrap();
            assert_eq!(moved, study.undisturbed(found.state(id), action));
        }
    }
}

#[test]
fn a_state_is_small() {
    assert_eq!(size_of::<State>(), 16);
}
