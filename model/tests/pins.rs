//! Every verdict of every design is the one that is pinned, and stateright counts and judges alike: one search
//! of ours for both.

use std::collections::BTreeSet;

use statusquo_model::{
    catalogue::{self, AnyFamily, FAMILIES},
    explore::Options,
    pins::{self, Pin},
    second_opinion::Disagreement,
};

fn family(name: &str) -> &'static dyn AnyFamily {
    let found = FAMILIES.into_iter().find(|family| family.name() == name);
    found.unwrap_or_else(|| panic!("no study {name}"))
}

/// Every design at every scope that is pinned; both engines judge so many properties at least.
fn is_as(pinned: &str, family: &dyn AnyFamily, properties: usize) {
    let name = family.name();
    let text = |pins: Vec<Pin>| pins.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let verdicts = family.pinned().into_iter().flat_map(|(design, scope)| {
        let judged = family.second_opinion(design, scope, &Options::default());
        let (verdicts, agreement) =
            judged.unwrap_or_else(|error| panic!("{name} {} {}: {error}", design.name, scope.name));
        assert!(agreement.properties >= properties, "{name} {} {}", design.name, scope.name);
        verdicts
    });
    let found = text(verdicts.collect());
    let pinned = text(pins::parse(pinned).expect("the study's own pins"));
    let missing: Vec<_> = pinned.difference(&found).collect();
    let unexpected: Vec<_> = found.difference(&pinned).collect();
    assert!(
        missing.is_empty() && unexpected.is_empty(),
        "pinned and not found: {missing:?}\nfound and not pinned: {unexpected:?}\n\
         `statusquo verify {name} --print-pins` writes them anew",
    );
}

macro_rules! matrices {
    ($($test:ident: $properties:literal;)*) => {
        $(#[test]
        fn $test() {
            let family = family(stringify!($test));
            is_as(family.pins(), family, $properties);
        })*

        #[test]
        fn every_study_is_here() {
            assert_eq!(catalogue::names(), [$(stringify!($test)),*]);
        }
    };
}

matrices! {
    chardev: 7;
    restart: 6;
    alias: 1;
    pci_root: 1;
    usb: 4;
    hostdev: 3;
    freeze: 2;
}

#[test]
#[should_panic(
    expected = "pinned and not found: [\"libvirt-9.0\\tpair\\ta detach that is refused gives a reason\\tviolated\\t4\"]\nfound and not pinned: [\"libvirt-9.0\\tpair\\ta detach that is refused gives a reason\\tviolated\\t3\"]"
)]
fn a_wrong_pin_is_told() {
    let family = family("alias");
    let line = "libvirt-9.0\tpair\ta detach that is refused gives a reason\tviolated\t";
    is_as(&family.pins().replacen(&format!("{line}3"), &format!("{line}4"), 1), family, 1);
}

#[test]
fn a_disagreement_says_where() {
    let error = Disagreement::States { ours: 3, theirs: 4 };
    assert_eq!(error.to_string(), "ours finds 3 states, stateright finds 4");
}
