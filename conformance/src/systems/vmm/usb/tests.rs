use statusquo_model::{family::Family, words::words};

use super::*;
use crate::{
    systems::vmm::testing,
    trace::{Trace, played},
};

fn study(design: &str, scope: &str) -> Study {
    let design = Usb::designs().iter().find(|known| known.name == design).unwrap();
    Usb::study(design, Usb::scopes().iter().find(|known| known.name == scope).unwrap())
}

/// Where ours goes another way than the trace, and what it shows there: the answer, the definition, the guest.
fn diverges(
    trace: &Trace<Study>,
    ours: Study,
    carried: fn(&str) -> String,
) -> Option<(usize, String)> {
    testing::diverges(trace, Arc::new(TwoHosts { study: ours, carried }), |outcome| {
        let shown = outcome.shown.map_or("absent".to_owned(), |usb| usb.to_string());
        format!("{}, {shown}", words(&outcome.result))
    })
}

const MOVED_AFTER_AN_UPGRADE: [Action; 5] = [
    Action::Install { host: 0, generation: Generation::A2 },
    Action::Define { usb: Asked::Absent },
    Action::Start,
    Action::Upgrade { host: 0 },
    Action::Migrate,
];

/// The model of another design is followed up to the step at which ours is better.
#[test]
fn what_libvirt_does_is_not_what_ours_does() {
    let of = |design: &str, scope: &str| {
        let trace = played(&study(design, scope), &MOVED_AFTER_AN_UPGRADE).unwrap();
        diverges(&trace, study("ours", scope), str::to_owned)
    };
    assert_eq!(of("ours", "q35-small"), None);
    assert_eq!(of("ours", "pseries-2.5-small"), None);
    // libvirt gives the definition of a guest without USB a controller.
    assert_eq!(of("libvirt-9.0", "q35-small"), Some((3, "done, none".to_owned())));
    // And takes one at slot 0 for one at slot 2.
    assert_eq!(of("b", "pseries-2.5-small"), Some((3, "done, pci-ohci@0.0".to_owned())));
}

/// A receiver that does not read what was left out, for one whose sender says what it should not.
#[test]
fn a_text_that_loses_something_on_its_way_is_noticed() {
    let ours = || study("ours", "pseries-2.5-small");
    let moved = played(&ours(), &MOVED_AFTER_AN_UPGRADE).unwrap();
    let forgets: fn(&str) -> String = |text| text.replace("left-out", "forgotten");
    assert_eq!(
        diverges(&moved, ours(), forgets),
        Some((4, "refused unknown-section, pci-ohci@0.0".to_owned()))
    );
    let plain = [
        Action::Define { usb: Asked::Absent },
        Action::Start,
        Action::Unplug,
        Action::Save,
        Action::Restore,
    ];
    let plain = played(&ours(), &plain).unwrap();
    // The address of the controller: it would be given the slot that is free now.
    let without_address: fn(&str) -> String = |text| {
        let mut domain = Domain::parse(text).unwrap();
        let usb = domain.usb_controller().unwrap().unwrap();
        let address = domain.document().child(usb, "address").unwrap();
        domain.document_mut().remove(address);
        domain.to_xml()
    };
    assert_eq!(diverges(&plain, ours(), str::to_owned), None);
    let lost = diverges(&plain, ours(), without_address);
    assert_eq!(lost, Some((4, "lost unknown-section, qemu-xhci@2.0".to_owned())));
}
