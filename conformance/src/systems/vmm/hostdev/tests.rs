use statusquo_model::{family::Family, words::words};

use super::*;
use crate::{systems::vmm::testing::diverges, trace::played};

fn study(design: &str, scope: &str) -> Study {
    let design = Hostdev::designs().iter().find(|known| known.name == design).unwrap();
    let scope = Hostdev::scopes().iter().find(|known| known.name == scope).unwrap();
    Hostdev::study(design, scope)
}

/// Where ours goes another way than a design, after these actions, and what it shows there.
fn differs(design: &str, scope: &str, actions: &[Action]) -> Option<(usize, String)> {
    lossy(design, scope, actions, str::to_owned)
}

fn lossy(
    design: &str,
    scope: &str,
    actions: &[Action],
    carried: fn(&str) -> String,
) -> Option<(usize, String)> {
    let factory = Arc::new(OneHost { study: study("ours", scope), carried });
    diverges(&played(&study(design, scope), actions).unwrap(), factory, words)
}

const UNSET: Action = Action::Define { device: Asked::Unset };

/// The traces of other designs are followed up to the step at which ours is better.
#[test]
fn what_other_designs_do_is_not_what_ours_does() {
    use Action::{Attach, Define, Detach, Dump, Start, StartVetoed};
    let xen = Define { device: Asked::Driver(Modelled::Xen) };
    let none = Define { device: Asked::Nothing };
    let table: [(&str, &str, &[Action], usize, &str); 6] = [
        ("frozen-in-config", "kvm-to-vfio", &[UNSET, Dump], 1, "{result: done, shown: open}"),
        ("libvirt-9.0", "qemu", &[xen, Start], 1, "result{refused: unsupported}"),
        ("libvirt-9.0", "xen", &[UNSET, StartVetoed], 1, "result done"),
        ("start-attach", "xen", &[UNSET, Start, Detach], 2, "result done"),
        (
            "start-only",
            "qemu",
            &[none, Start, Attach { device: Asked::Unset }],
            2,
            "{bound: vfio, result: done}",
        ),
        (
            "unset-means-legacy",
            "kvm-to-vfio",
            &[Action::Upgrade, UNSET, Action::HostGainsVfio, Start],
            3,
            "{bound: vfio, result: done}",
        ),
    ];
    for (design, scope, actions, step, shown) in table {
        assert_eq!(differs("ours", scope, actions), None, "{design}");
        let found = differs(design, scope, actions);
        assert_eq!(found, Some((step, shown.to_owned())), "{design} in {scope}");
    }
}

/// A dump that has lost its marks makes a choice of what nobody chose.
#[test]
fn a_dump_that_loses_its_marks_is_noticed() {
    let actions = [UNSET, Action::Start, Action::Redefine, Action::Dump];
    let forgets: fn(&str) -> String = |dump| dump.replace("urn:statusquo:origin:1", "urn:other");
    assert_eq!(lossy("ours", "qemu", &actions, str::to_owned), None);
    let found = lossy("ours", "qemu", &actions, forgets);
    assert_eq!(found, Some((3, "{bound: vfio, result: done, shown: driver vfio}".to_owned())));
}
