//! Both engines count and judge alike, for every study and design.

use statusquo_model::{
    catalogue::{self, FAMILIES},
    second_opinion::Disagreement,
};

/// Every design at every scope that is pinned; both judge so many properties at least.
fn agree(name: &str, properties: usize) {
    let family = FAMILIES.into_iter().find(|family| family.name() == name);
    let family = family.unwrap_or_else(|| panic!("no study {name}"));
    for (design, scope) in family.pinned() {
        let agreement = family.second_opinion(design, scope);
        let agreement =
            agreement.unwrap_or_else(|error| panic!("{} {}: {error}", design.name, scope.name));
        assert!(agreement.properties >= properties, "{} {}", design.name, scope.name);
    }
}

macro_rules! second_opinions {
    ($($test:ident: $properties:literal;)*) => {
        $(#[test]
        fn $test() {
            agree(stringify!($test), $properties);
        })*

        #[test]
        fn every_study_has_one() {
            assert_eq!(catalogue::names(), [$(stringify!($test)),*]);
        }
    };
}

second_opinions! {
    chardev: 7;
    restart: 6;
    alias: 1;
    pci_root: 1;
    usb: 4;
    hostdev: 3;
    freeze: 2;
}

#[test]
fn a_disagreement_says_where() {
    let error = Disagreement::States { ours: 3, theirs: 4 };
    assert_eq!(error.to_string(), "ours finds 3 states, stateright finds 4");
}
