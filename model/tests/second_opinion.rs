//! Both engines count and judge alike, for every study and design.

use std::num::NonZeroUsize;

use statusquo_model::{
    family::{Family, Role},
    second_opinion::{self, Disagreement},
    studies::chardev::Chardev,
};

fn agree<F: Family>() {
    let mut compared = 0;
    for scope in F::scopes().iter().filter(|scope| scope.role == Role::CheckAndReplay) {
        for design in F::designs() {
            let agreement = second_opinion::compare(&F::study(design, scope), NonZeroUsize::MIN);
            let agreement =
                agreement.unwrap_or_else(|error| panic!("{} {}: {error}", design.name, scope.name));
            assert!(agreement.properties >= 7, "{} {}", design.name, scope.name);
            compared += 1;
        }
    }
    assert!(compared >= 7 * F::designs().len());
    // The largest scope for the largest design and for ours.
    for design in F::designs().iter().rev().take(2) {
        let study = F::study(design, &F::scopes()[0]);
        assert!(
            second_opinion::compare(&study, NonZeroUsize::MIN).expect("both engines agree").states
                > 10_000
        );
    }
}

#[test]
fn chardev() {
    agree::<Chardev>();
}

#[test]
fn a_disagreement_says_where() {
    let error = Disagreement::States { ours: 3, theirs: 4 };
    assert_eq!(error.to_string(), "ours finds 3 states, stateright finds 4");
}
