//! The alias and pci_root suites on the real daemon with a real QEMU, where there is one. `STATUSQUO_REQUIRE=qemu` makes
//! it an error that there is none.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use statusquo::{
    replay::{Divergence, Observed, Verdict, replay_one},
    studies::{self, Replayable},
    systems::{
        real::{Real, or_skip},
        vmmd::Vmmd,
    },
    trace::played,
};
use statusquo_model::{
    family::Family,
    studies::{
        alias::{
            Alias,
            action::{Action as Ask, Asked, By, Reply, Why},
            definition::Kind,
            name::SERIAL0,
        },
        pci_root::{
            PciRoot,
            action::{Action, Place, Reply as Answer, Why as Reason},
            hardware::{Machine, Name},
        },
    },
    study::Study,
};

const PATIENCE: Duration = Duration::from_secs(120);
const STATUSQUO: &str = env!("CARGO_BIN_EXE_statusquo");

fn vmmd() -> Option<Vmmd> {
    let qemu = Path::new(Vmmd::default_qemu());
    or_skip(Real::Qemu, Vmmd::new(STATUSQUO.into(), vec!["vmmd".to_owned()], qemu))
}

fn study<F: Family>(design: &str, scope: &str) -> F::Study {
    let design = studies::design::<F>(design).unwrap();
    F::study(design, studies::scope::<F>(Some(scope)).unwrap())
}

/// The daemon is asked what the suite of this design asks: where it answers otherwise.
fn divergence<F: Replayable>(
    vmmd: &Vmmd,
    design: &str,
    scope: &str,
    actions: &[<F::Study as Study>::Action],
) -> Divergence<F::Study> {
    let study = study::<F>(design, scope);
    let system = F::vmmd(&study, vmmd).unwrap().systems.remove(0);
    let (verdict, _) = replay_one(&played(&study, actions).unwrap(), &system.factory, PATIENCE);
    let Verdict::Diverges(divergence) = verdict else {
        panic!("the daemon agrees, or cannot be driven")
    };
    divergence
}

#[test]
fn the_bug_of_the_console_thread_is_not_the_daemons() {
    let Some(vmmd) = vmmd() else { return };
    let detach = Ask::Detach { by: By::Xml(Kind::SerialConsole) };
    let actions =
        [Ask::Define { with: Asked::Pair }, Ask::Start, Ask::Restart, Ask::Restart, detach];
    // own-alias says so before a restart only, so the restarts are left out of its run.
    let run = [actions[0], actions[1], actions[4]];
    let found = divergence::<Alias>(&vmmd, "own-alias", "pair", &run);
    assert_eq!((found.step, found.kind()), (2, "wrong outcome"));
    assert_eq!(found.expected.reply, Reply::Refused(Why::CauseUnknown));
    let Ok(Observed::Outcome(outcome)) = found.observed else { panic!("{:?}", found.observed) };
    assert_eq!(outcome.reply, Reply::Refused(Why::Fixed { alias: SERIAL0 }));
    // The daemon says the same after it was asked to end, and after it was killed.
    let ours = study::<Alias>("ours", "pair");
    let system = Alias::vmmd(&ours, &vmmd).unwrap().systems.remove(0);
    let (verdict, steps) = replay_one(&played(&ours, &actions).unwrap(), &system.factory, PATIENCE);
    assert_eq!((verdict, steps), (Verdict::Agrees, 5));
}

#[test]
fn the_bug_of_the_pci_root_thread_is_not_the_daemons() {
    let Some(vmmd) = vmmd() else { return };
    let define = Action::Define { machine: Machine::Pc, user_alias: false };
    let attach = Action::Attach { onto: Place::Root };
    let run = [define, Action::Start, Action::Restart, attach];
    let found = divergence::<PciRoot>(&vmmd, "user-alias-map", "x86", &run);
    assert_eq!((found.step, found.kind()), (3, "wrong outcome"));
    assert_eq!(found.expected.reply, Answer::Refused(Reason::BusNotFound));
    assert_eq!(found.expected.bus, Some(Name::Pci));
    let Ok(Observed::Outcome(outcome)) = found.observed else { panic!("{:?}", found.observed) };
    assert_eq!((outcome.reply, outcome.bus), (Answer::Done, Some(Name::Pci0)));
}

/// The command, whose directories are in this one.
fn statusquo(dir: &Path, words: &[&str]) -> Output {
    Command::new(STATUSQUO).args(words).env("TMPDIR", dir).output().unwrap()
}

#[test]
fn the_command_says_what_it_drove_and_what_not_and_leaves_nothing() {
    if vmmd().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| {
        let output = statusquo(dir.path(), words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, _) = run(&["replay", "alias", "--system", "vmmd", "--scope", "pair"]);
    assert_eq!(code, Some(0), "{said}");
    for part in [
        "1 of 1 traces agree, 0 diverge, 0 inconclusive; 19 of 19 goals covered; 19 steps",
        "3 restarts: 1 by SIGTERM, 2 by SIGKILL; 1 QEMUs",
    ] {
        assert!(said.contains(part), "{said}");
    }
    // A part of a suite, on machines of which some are not here.
    let part = ["replay", "pci_root", "--system", "vmmd", "--scope", "x86", "--max-steps", "30"];
    let (code, said, _) = run(&part);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(", there is one daemon here, and no older one;"), "{said}");
    assert!(said.contains(" of 397 goals covered;") || said.contains("i386 is not"), "{said}");
    let none = ["replay", "pci_root", "--system", "vmmd", "--scope", "on-board-scsi"];
    let (code, _, said) = run(&none);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.starts_with("error: nothing can be driven here\n"), "{said}");
    assert!(said.contains("m68k q800: its firmware is not in the distribution"), "{said}");
    let wrong = ["replay", "alias", "--system", "vmmd", "--scope", "pair", "--design", "own-alias"];
    let (code, said, _) = run(&wrong);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("expected: reply{refused: cause-unknown}"), "{said}");
    assert!(said.contains("observed: reply{refused: fixed{alias: serial0}}"), "{said}");
    let restart = ["replay", "restart", "--system", "vmmd", "--max-steps", "9"];
    let (code, _, said) = run(&restart);
    assert_eq!(code, Some(2));
    assert_eq!(
        said,
        "error: --max-steps goes with a study's transitions; restart is replayed by its crash points\n"
    );
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(named(dir.path()), 0);
}

/// Processes whose command line names something in this directory.
fn named(dir: &Path) -> usize {
    let dir = dir.display().to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(&dir)).count()
}
