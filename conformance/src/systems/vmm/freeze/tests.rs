use statusquo_model::{family::Family, words::words};

use super::*;
use crate::{systems::vmm::testing::diverges, trace::played};

fn study(design: &str, scope: &str) -> Study {
    let design = Freeze::designs().iter().find(|known| known.name == design).unwrap();
    let scope = Freeze::scopes().iter().find(|known| known.name == scope).unwrap();
    Freeze::study(design, scope)
}

/// Where ours goes another way than a policy, after these actions, and what it shows there.
fn differs(
    design: &str,
    scope: &str,
    actions: &[Action],
    carried: fn(&str) -> String,
) -> Option<(usize, String)> {
    let factory = Arc::new(TwoHosts { study: study("ours", scope), carried });
    diverges(&played(&study(design, scope), actions).unwrap(), factory, words)
}

const UNSET: Action = Action::Define { device: Asked::Unset };

/// The traces of other policies are followed up to the step at which ours is better.
#[test]
fn what_other_policies_do_is_not_what_ours_does() {
    use Action::{Detach, Migrate, Redefine, Start, Stop, Upgrade};
    let new = Release::New;
    let table: [(&str, &[Action], usize, &str); 4] = [
        // Today's default for a guest that came without its value.
        ("usb-ppc64-b", &[UNSET, Start, Migrate { to: new }], 2, "{guest-has: a, result: done}"),
        // The next boot is another guest's.
        (
            "qemu-hostdev",
            &[UNSET, Start, Stop, Upgrade { to: new }, Start],
            4,
            "{guest-has: a, result: done}",
        ),
        // A dump chooses what nobody chose.
        ("usb-ppc64", &[UNSET, Start, Redefine], 2, "{guest-has: a, result: defined{auto: a}}"),
        // The object that names a device is open.
        ("libxl-hostdev-10", &[UNSET, Start, Detach], 2, "result{given-back: auto a}"),
    ];
    let plain = str::to_owned;
    for (policy, actions, step, shown) in table {
        assert_eq!(differs("ours", "changing", actions, plain), None, "{policy}");
        let found = differs(policy, "changing", actions, plain);
        assert_eq!(found, Some((step, shown.to_owned())), "{policy}");
    }
}

/// Without the records on disk the configuration of a new release is read as one from before there were any.
#[test]
fn texts_that_lose_their_origins_are_noticed() {
    let actions = [Action::Upgrade { to: Release::New }, UNSET, Action::Start];
    let forgets: fn(&str) -> String = |text| text.replace("urn:statusquo:origin:1", "urn:other");
    assert_eq!(differs("ours", "changing", &actions, str::to_owned), None);
    let found = differs("ours", "changing", &actions, forgets);
    assert_eq!(found, Some((2, "{guest-has: a, result: done}".to_owned())));
}
