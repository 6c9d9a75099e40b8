use super::*;
use crate::{
    check::{self, Verdict},
    explore::Options,
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
