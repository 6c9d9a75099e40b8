//! Every verdict of every design is the one that is pinned.

use std::collections::BTreeSet;

use statusquo_model::{
    catalogue, check,
    explore::Options,
    family::{Family, Role},
    pins,
    studies::{
        alias::Alias, chardev::Chardev, freeze::Freeze, hostdev::Hostdev, pci_root::PciRoot,
        restart::Restart, usb::Usb,
    },
};

fn as_pinned<F: Family>() {
    let pinned = pins::parse(F::PINS).expect("the study's own pins");
    let pinned: BTreeSet<String> = pinned.iter().map(ToString::to_string).collect();
    let mut found = BTreeSet::new();
    for scope in F::scopes().iter().filter(|scope| scope.role != Role::OnRequest) {
        for design in F::designs() {
            let report = check::check(&F::study(design, scope), &Options::default(), |_| true);
            let report =
                report.unwrap_or_else(|error| panic!("{} {}: {error}", design.name, scope.name));
            found
                .extend(pins::of(design.name, scope.name, &report).iter().map(ToString::to_string));
        }
    }
    let missing: Vec<_> = pinned.difference(&found).collect();
    let unexpected: Vec<_> = found.difference(&pinned).collect();
    assert!(
        missing.is_empty() && unexpected.is_empty(),
        "pinned and not found: {missing:#?}\nfound and not pinned: {unexpected:#?}\n\
         `statusquo verify {} --print-pins` writes them anew",
        F::NAME
    );
}

macro_rules! matrices {
    ($($test:ident: $family:ty;)*) => {
        $(#[test]
        fn $test() {
            as_pinned::<$family>();
        })*

        #[test]
        fn every_study_has_one() {
            assert_eq!(catalogue::names(), [$(<$family>::NAME),*]);
        }
    };
}

matrices! {
    chardev: Chardev;
    restart: Restart;
    alias: Alias;
    pci_root: PciRoot;
    usb: Usb;
    hostdev: Hostdev;
    freeze: Freeze;
}
