//! Every verdict of every design is the one that is pinned.

use std::collections::BTreeSet;

use statusquo_model::{
    catalogue::{AnyFamily, FAMILIES},
    explore::Options,
    pins::{self, Pin},
};

fn family(name: &str) -> &'static dyn AnyFamily {
    let found = FAMILIES.into_iter().find(|family| family.name() == name);
    found.unwrap_or_else(|| panic!("no study {name}"))
}

fn is_as(pinned: &str, family: &dyn AnyFamily) {
    let name = family.name();
    let text = |pins: Vec<Pin>| pins.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let verdicts = family.pinned().into_iter().flat_map(|(design, scope)| {
        let found = family.verdicts(design, scope, &Options::default());
        found.unwrap_or_else(|error| panic!("{name} {} {}: {error}", design.name, scope.name))
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

/// By far the largest, so that the others are checked beside it.
const LARGEST: &str = "chardev";

#[test]
fn the_largest_matrix_is_as_pinned() {
    let largest = family(LARGEST);
    is_as(largest.pins(), largest);
}

#[test]
fn every_other_matrix_is_as_pinned() {
    for family in FAMILIES.into_iter().filter(|family| family.name() != LARGEST) {
        is_as(family.pins(), family);
    }
}

#[test]
#[should_panic(
    expected = "pinned and not found: [\"libvirt-9.0\\tpair\\ta detach that is refused gives a reason\\tviolated\\t4\"]\nfound and not pinned: [\"libvirt-9.0\\tpair\\ta detach that is refused gives a reason\\tviolated\\t3\"]"
)]
fn a_wrong_pin_is_told() {
    let family = family("alias");
    let line = "libvirt-9.0\tpair\ta detach that is refused gives a reason\tviolated\t";
    is_as(&family.pins().replacen(&format!("{line}3"), &format!("{line}4"), 1), family);
}
