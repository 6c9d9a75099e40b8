//! Both engines count and judge alike, for every study and design.

use std::num::NonZeroUsize;

use statusquo_model::{
    catalogue,
    family::{Family, Role},
    second_opinion::{self, Disagreement},
    studies::{
        alias::Alias, chardev::Chardev, freeze::Freeze, hostdev::Hostdev, pci_root::PciRoot,
        restart::Restart, usb::Usb,
    },
};

/// Every design at every scope that `verify` looks at; both judge so many properties at least.
fn agree<F: Family>(properties: usize) {
    let scopes = F::scopes().iter().filter(|scope| scope.role != Role::OnRequest);
    for (scope, design) in scopes.flat_map(|scope| F::designs().iter().map(move |it| (scope, it))) {
        let agreement = second_opinion::compare(&F::study(design, scope), NonZeroUsize::MIN);
        let agreement =
            agreement.unwrap_or_else(|error| panic!("{} {}: {error}", design.name, scope.name));
        assert!(agreement.properties >= properties, "{} {}", design.name, scope.name);
    }
}

macro_rules! second_opinions {
    ($($test:ident: $family:ty, $properties:literal;)*) => {
        $(#[test]
        fn $test() {
            agree::<$family>($properties);
        })*

        #[test]
        fn every_study_has_one() {
            assert_eq!(catalogue::names(), [$(<$family>::NAME),*]);
        }
    };
}

second_opinions! {
    chardev: Chardev, 7;
    restart: Restart, 6;
    alias: Alias, 1;
    pci_root: PciRoot, 1;
    usb: Usb, 4;
    hostdev: Hostdev, 3;
    freeze: Freeze, 2;
}

#[test]
fn a_disagreement_says_where() {
    let error = Disagreement::States { ours: 3, theirs: 4 };
    assert_eq!(error.to_string(), "ours finds 3 states, stateright finds 4");
}
