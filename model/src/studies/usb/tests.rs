use super::{
    definition::{Asked, Refusal},
    generation::Generation::{self, *},
    hardware::{Build, Machine, Model},
    matrix::{Cell, Ending, History},
    *,
};
use crate::{check, explore::Options, family::Role};

fn cell(machine: Machine, source: Generation, destination: Generation, history: History) -> Cell {
    Cell {
        machine,
        build: Build::Upstream,
        controller: Asked::Absent,
        history,
        started_by: source,
        source,
        destination,
    }
}

#[track_caller]
fn ends(cell: Cell, ending: Ending) {
    let row = cell.row();
    assert_eq!(row.ending, ending, "{row:?}");
}

/// The rules by hand, for the cells that the sources tell in full.
#[test]
fn known_cells() {
    use Ending::*;
    use History::*;
    let fail = Refused(Refusal::UnknownSection);
    let pseries =
        |source, destination, history| cell(Machine::Pseries25, source, destination, history);
    ends(pseries(C, B, Unplugged), Same);
    ends(pseries(B, C, Fresh), Same);
    ends(pseries(B, C, Unplugged), fail);
    ends(pseries(B, B, Unplugged), fail);
    ends(pseries(A2, A2, Unplugged), Same);
    ends(pseries(A2, B, Fresh), fail);
    ends(pseries(A3, B, Fresh), Same);
    ends(pseries(C, A2, Fresh), fail);
    ends(pseries(DPrime, A2, Fresh), Same);
    ends(pseries(N, C, Fresh), Refused(Refusal::UnknownModel));
    ends(pseries(N, C, Loaded), Same);
    let q35 = |source, destination| cell(Machine::Q35, source, destination, Fresh);
    ends(q35(A2, B), Silent);
    ends(q35(A2, Ours), Same);
    ends(q35(B, C), Same);
    let pc = |source, destination| cell(Machine::I440fx, source, destination, Fresh);
    ends(pc(Z, N), Same);
    ends(pc(N, Z), Same);
    ends(pc(D, Z), Refused(Refusal::UnknownController));
}

/// Runs of QEMU 7.2 without libvirt: a stream is loaded into a process with another controller.
#[test]
fn qemu_notices_what_it_noticed() {
    use hardware::{Bus, Device, Loaded, Place, load};
    let at =
        |model, slot| Some(Device { model, place: Place { bus: Bus::Root, slot, function: 0 } });
    let built_in = |machine: Machine| machine.built_in();
    assert_eq!(load(built_in(Machine::Pseries25), at(Model::PciOhci, 0)), Loaded::Same);
    assert_eq!(load(built_in(Machine::Pseries25), at(Model::PciOhci, 1)), Loaded::NoSection);
    assert_eq!(load(built_in(Machine::Pseries26), at(Model::PciOhci, 1)), Loaded::NoSection);
    assert_eq!(load(at(Model::PciOhci, 1), at(Model::QemuXhci, 1)), Loaded::NoSection);
    assert_eq!(load(at(Model::PciOhci, 1), None), Loaded::NoSection);
    assert_eq!(load(None, at(Model::PciOhci, 1)), Loaded::Silent);
    assert_eq!(load(at(Model::NecXhci, 1), at(Model::QemuXhci, 1)), Loaded::OtherModel);
}

#[test]
fn ours_satisfies_everything_that_is_asked() {
    for scope in Usb::scopes().iter().filter(|scope| scope.role != Role::OnRequest) {
        let ours = Usb::designs().iter().find(|design| design.name == "ours").unwrap();
        let study = Usb::study(ours, scope);
        let report = check::check(&study, &Options::default(), |_| true).unwrap();
        for answer in &report.answers {
            assert_eq!(answer.verdict.trace_len(), None, "{}: {}", scope.name, answer.property);
            assert!(answer.asked > 0, "{}: {} is never asked", scope.name, answer.property);
        }
        assert_eq!(report.dead_actions, [], "{}", scope.name);
    }
}

/// Except from a daemon that was upgraded in place and believes in hardware that is not there: what it
/// sends says so without a doubt, and QEMU does not miss what the stream does not mention.
#[test]
fn ours_never_accepts_other_hardware() {
    let extent = matrix::Extent { builds: &Build::ALL, upgraded: true };
    let ours = |cell: &Cell| {
        cell.source == Ours || (cell.destination == Ours && cell.started_by == cell.source)
    };
    let mut accepted = 0;
    for row in matrix::cells(extent).filter(ours).map(|cell| cell.row()) {
        assert_ne!(row.ending, Ending::Silent, "{row:?}");
        accepted += usize::from(row.ending == Ending::Same);
    }
    assert!(accepted > 1000);
}

/// By verdict, and with a trace each. The thread is read in `docs/studies/usb.md`.
#[test]
fn claims_are_about_something_and_some_are_wrong() {
    let judged = claims::judged();
    assert!(judged.iter().all(|claim| claim.cases > 0 && !claim.trace.is_empty()));
    let of = |verdict| judged.iter().filter(|claim| claim.verdict == verdict).count();
    assert!(of(claims::Verdict::Wrong) > 0 && of(claims::Verdict::Imprecise) > 0);
}
