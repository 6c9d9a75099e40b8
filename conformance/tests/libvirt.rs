//! The restart study on the installed libvirt, where it is installed.
//!
//! `STATUSQUO_REQUIRE=libvirt` makes it an error that it is not.

use std::{process::Command, sync::Arc, time::Duration};

use statusquo::{
    replay::{Factory, Observed, Verdict, replay_one},
    studies::Replayable,
    systems::{
        libvirt::Programs,
        real::{Real, or_skip},
    },
    trace::{Step, Trace, played},
};
use statusquo_model::{
    family::Family,
    studies::restart::{Restart, Study, action::Action, outcome::Reply},
    study::Study as _,
};

fn study(design: &str) -> Study {
    let design = Restart::designs().iter().find(|known| known.name == design).unwrap();
    let usb = Restart::scopes().iter().find(|known| known.name == "usb").unwrap();
    Restart::study(design, usb)
}

fn libvirt() -> Option<Arc<dyn Factory<Study>>> {
    or_skip(Real::Libvirt, Restart::libvirt(&study("libvirt-9.0"), Programs::default()))
}

/// Attach, killed between backend and frontend, and attach again.
const ORPHAN: [Action; 11] = [
    Action::Attach { bus_full: false },
    Action::Step,
    Action::Kill,
    Action::Start,
    Action::Step,
    Action::Step,
    Action::Step,
    Action::Inspect,
    Action::Attach { bus_full: false },
    Action::Step,
    Action::Step,
];

#[test]
fn a_chardev_without_its_device_stays_and_blocks_its_alias() {
    let Some(factory) = libvirt() else { return };
    let trace = played(&study("libvirt-9.0"), &ORPHAN).unwrap();
    let (verdict, steps) = replay_one(&trace, &factory, Duration::from_secs(60));
    assert_eq!((verdict, steps), (Verdict::Agrees, ORPHAN.len()));
}

#[test]
fn a_full_disk_at_restart_costs_the_guest() {
    let Some(factory) = libvirt() else { return };
    let trace = played(&study("libvirt-9.0"), &[Action::FillDisk, Action::Restart]).unwrap();
    assert!(trace[1].outcome.guest_lost);
    let (verdict, _) = replay_one(&trace, &factory, Duration::from_secs(60));
    assert_eq!(verdict, Verdict::Agrees);
}

/// libvirt waits five seconds for a device and says that all went well; the end of the device, when it comes, is a
/// job of its own.
const LATE: [Action; 15] = [
    Action::Attach { bus_full: false },
    Action::Step,
    Action::Step,
    Action::Step,
    Action::Step,
    Action::Detach { alias: 0 },
    Action::Step,
    Action::GiveUp,
    Action::Step,
    Action::Step,
    Action::Finalize { alias: 0 },
    Action::Step,
    Action::Step,
    Action::Step,
    Action::Inspect,
];

#[test]
fn a_device_that_comes_to_its_end_late_is_removed_then() {
    let Some(factory) = libvirt() else { return };
    let mut trace = played(&study("libvirt-9.0"), &LATE).unwrap();
    let replay = |trace: &Trace<Study>| replay_one(trace, &factory, Duration::from_secs(60));
    assert_eq!(replay(&trace), (Verdict::Agrees, LATE.len()));
    assert_eq!(trace[9].outcome.reply, Reply::UnplugRequested { alias: 0 });
    trace[9].outcome.reply = Reply::Detached { alias: 0 };
    let Verdict::Diverges(divergence) = replay(&trace).0 else { panic!("it must differ") };
    assert_eq!(divergence.step, 9);
}

/// What the driver says comes from the binary and not from the model that it is compared with.
#[test]
fn what_another_design_expects_diverges() {
    let Some(factory) = libvirt() else { return };
    let mut wrong = played(&study("libvirt-9.0"), &ORPHAN[..8]).unwrap();
    let clean = played(&study("libvirt-9.0"), &[Action::Inspect]).unwrap();
    wrong[7].outcome = clean[0].outcome.clone();
    let (verdict, _) = replay_one(&wrong, &factory, Duration::from_secs(60));
    let Verdict::Diverges(divergence) = verdict else { panic!("{verdict:?}") };
    assert_eq!(divergence.step, 7);
    assert!(matches!(divergence.observed, Ok(Observed::Outcome(_))));
}

#[test]
fn the_findings_are_confirmed_and_nothing_is_left_behind() {
    if libvirt().is_none() {
        return;
    }
    let dir = tempfile::Builder::new().prefix("sq").tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_statusquo"))
        .args(["findings", "--property", "backend is left", "--format", "json"])
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let schema = serde_json::from_str(include_str!("../schema/report.schema.json")).unwrap();
    jsonschema::validate(&schema, &found).unwrap();
    let finding = &found["findings"][0];
    assert_eq!(finding["class"], "confirmed", "{found:#}");
    assert_eq!(finding["property"], "at rest no backend is left without its device");
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

mod pci_root {
    use statusquo_model::studies::pci_root::{
        PciRoot,
        action::{Action, Place, Reply},
        hardware::Machine,
    };

    use super::*;

    type Root = <PciRoot as Family>::Study;

    fn study(scope: &str) -> Root {
        let shipped = PciRoot::designs().iter().find(|known| known.name == "libvirt-9.0").unwrap();
        let scope = PciRoot::scopes().iter().find(|known| known.name == scope).unwrap();
        PciRoot::study(shipped, scope)
    }

    /// The verdict, and with the last outcome replaced by "done".
    fn both(scope: &str, actions: &[Action]) -> Option<[Verdict<Root>; 2]> {
        let study = study(scope);
        let factory = or_skip(Real::Libvirt, PciRoot::libvirt(&study, Programs::default()))?;
        let right: Trace<Root> = played(&study, actions).unwrap();
        let mut wrong = right.clone();
        wrong.last_mut().unwrap().outcome.reply = Reply::Done;
        let replay = |trace: &Trace<Root>| replay_one(trace, &factory, Duration::from_secs(120)).0;
        Some([replay(&right), replay(&wrong)])
    }

    #[track_caller]
    fn agrees_and_nothing_else_does(scope: &str, actions: &[Action]) {
        let Some([right, wrong]) = both(scope, actions) else { return };
        assert_eq!(right, Verdict::Agrees);
        let Verdict::Diverges(divergence) = wrong else { panic!("{wrong:?}") };
        assert_eq!(divergence.step, actions.len() - 1);
        assert!(matches!(divergence.observed, Ok(Observed::Outcome(_))));
    }

    #[test]
    fn a_user_alias_keeps_a_pseries_guest_from_starting() {
        let machine = Machine::Pseries;
        agrees_and_nothing_else_does(
            "installed-ppc64",
            &[Action::Define { machine, user_alias: true }, Action::Start],
        );
    }

    #[test]
    fn without_acpi_libvirt_learns_from_qemu_that_nothing_can_be_plugged() {
        let machine = Machine::PcWithoutAcpi;
        agrees_and_nothing_else_does(
            "installed-x86",
            &[
                Action::Define { machine, user_alias: true },
                Action::Start,
                Action::Restart,
                Action::Attach { onto: Place::Root },
            ],
        );
    }
}

mod usb {
    use statusquo_model::studies::usb::{
        Usb,
        action::{Action, Result as Answer},
        definition::Asked,
        hardware::Model,
    };

    use super::*;

    /// A guest goes to the other host and comes back, and into a file and back; what it has stays.
    #[test]
    fn a_guest_keeps_its_controller_there_and_back() {
        let design = Usb::designs().iter().find(|known| known.name == "libvirt-9.0").unwrap();
        let scope = Usb::scopes().iter().find(|known| known.name == "i440fx-small").unwrap();
        let study = Usb::study(design, scope);
        let factory = or_skip(Real::Libvirt, Usb::libvirt(&study, Programs::default()));
        let Some(factory) = factory else { return };
        let actions = [
            Action::Define { usb: Asked::Absent },
            Action::Start,
            Action::Redefine,
            Action::Migrate,
            Action::Save,
            Action::Restore,
            Action::Migrate,
            Action::Stop,
        ];
        let right = played(&study, &actions).unwrap();
        let has = right[3].outcome.guest_has.unwrap();
        assert_eq!((has.model, right[3].outcome.result), (Model::Piix3Uhci, Answer::Done));
        let deadline = Duration::from_secs(120);
        assert_eq!(replay_one(&right, &factory, deadline), (Verdict::Agrees, actions.len()));
        // What the guest has is asked of QEMU, and is no echo of the model.
        let mut wrong = right[..4].to_vec();
        wrong[3].outcome.guest_has = None;
        let (verdict, _) = replay_one(&wrong, &factory, deadline);
        let Verdict::Diverges(divergence) = verdict else { panic!("{verdict:?}") };
        assert_eq!(divergence.observed, Ok(Observed::Outcome(right[3].outcome)));
    }
}

/// Programs that are no libvirt: what is said of them. None of it needs libvirt.
mod bad {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use statusquo::replay::Fault;
    use statusquo_model::studies::{
        pci_root::{PciRoot, action::Action, hardware::Machine},
        usb::Usb,
    };

    use super::*;

    fn fake(dir: &Path, name: &str, does: &str) -> std::path::PathBuf {
        let path = dir.join(name);
        let text =
            format!("#!/bin/sh\nif [ \"$1\" = --version ]; then echo 9.0.0; exit; fi\n{does}\n");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn programs(virsh: &Path, libvirtd: &Path) -> Programs {
        let (virsh, libvirtd) = (virsh.to_owned(), libvirtd.to_owned());
        Programs { virsh, libvirtd, qemu: "/bin/sh".into() }
    }

    /// One step of the pci_root study.
    fn defined(virsh: &Path, deadline: Duration) -> Fault {
        let design = PciRoot::designs().iter().find(|known| known.name == "libvirt-9.0").unwrap();
        let scope = PciRoot::scopes().iter().find(|known| known.name == "installed-x86").unwrap();
        let study = PciRoot::study(design, scope);
        let factory = PciRoot::libvirt(&study, programs(virsh, Path::new("/bin/sh"))).unwrap();
        let action = Action::Define { machine: Machine::Pc, user_alias: false };
        let (outcome, _) = study.step(&study.initial()[0], action).unwrap();
        let (verdict, _) = replay_one(&vec![Step { action, outcome }], &factory, deadline);
        let Verdict::Diverges(divergence) = verdict else { panic!("{verdict:?}") };
        divergence.observed.unwrap_err()
    }

    #[test]
    fn a_virsh_that_is_not_here_is_named_with_its_package() {
        let absent =
            programs(Path::new("/nowhere/virsh"), Path::new("/bin/sh")).version().unwrap_err();
        assert_eq!(
            absent,
            "/nowhere/virsh: No such file or directory (os error 2); \
             on Debian: apt-get install libvirt-clients libvirt-daemon-driver-qemu"
        );
    }

    #[test]
    fn a_virsh_that_exits_is_shown_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let virsh =
            fake(dir.path(), "virsh", "echo 'error: no connection driver available'; exit 1");
        let fault = defined(&virsh, Duration::from_secs(60));
        let Fault::Died(how) = &fault else { panic!("{fault:?}") };
        assert!(how.contains("error: no connection driver available"), "{how}");
    }

    #[test]
    fn a_virsh_that_does_not_answer_hangs() {
        let dir = tempfile::tempdir().unwrap();
        let virsh = fake(dir.path(), "virsh", "exec sleep 600");
        let deadline = Duration::from_secs(2);
        assert_eq!(defined(&virsh, deadline), Fault::Hang(deadline));
    }

    #[test]
    fn a_libvirtd_that_does_not_come_up_is_shown_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let design = Usb::designs().iter().find(|known| known.name == "libvirt-9.0").unwrap();
        let scope = Usb::scopes().iter().find(|known| known.name == "i440fx-small").unwrap();
        let study = Usb::study(design, scope);
        let virsh = fake(dir.path(), "virsh", "exit 1");
        let absent = Usb::libvirt(&study, programs(&virsh, Path::new("/nowhere/libvirtd")));
        assert_eq!(
            absent.err().unwrap(),
            "/nowhere/libvirtd: no such file; on Debian: apt-get install libvirt-daemon"
        );
        let libvirtd =
            fake(dir.path(), "libvirtd", "echo 'cannot bind: no space left' >&2; exit 7");
        let factory = Usb::libvirt(&study, programs(&virsh, &libvirtd)).unwrap();
        let Err(Fault::Environment(why)) = factory.start() else { panic!("it starts") };
        let says = "/libvirtd does not start: exit status: 7; it said: cannot bind: no space left";
        assert!(why.ends_with(says), "{why}");
    }
}
