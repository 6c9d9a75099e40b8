//! Both engines count and judge alike, for every study and design.

use std::num::NonZeroUsize;

use statusquo_model::{
    family::{Family, Role},
    second_opinion::{self, Disagreement},
    studies::{
        chardev::Chardev, freeze::Freeze, hostdev::Hostdev, pci_root::PciRoot, restart::Restart,
    },
};

fn agree<F: Family>(properties: usize) {
    let scopes = F::scopes().iter().filter(|scope| scope.role != Role::OnRequest);
    for (scope, design) in scopes.flat_map(|scope| F::designs().iter().map(move |it| (scope, it))) {
        let agreement = second_opinion::compare(&F::study(design, scope), NonZeroUsize::MIN);
        let agreement =
            agreement.unwrap_or_else(|error| panic!("{} {}: {error}", design.name, scope.name));
        assert!(agreement.properties >= properties, "{} {}", design.name, scope.name);
    }
}

#[test]
fn chardev() {
    agree::<Chardev>(7);
}

#[test]
fn restart() {
    agree::<Restart>(6);
}

#[test]
fn pci_root() {
    agree::<PciRoot>(1);
}

#[test]
fn hostdev() {
    agree::<Hostdev>(3);
}

#[test]
fn freeze() {
    agree::<Freeze>(2);
}

#[test]
fn a_disagreement_says_where() {
    let error = Disagreement::States { ours: 3, theirs: 4 };
    assert_eq!(error.to_string(), "ours finds 3 states, stateright finds 4");
}
