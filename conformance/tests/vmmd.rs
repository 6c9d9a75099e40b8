//! The real daemon with a real QEMU, where there is one. `STATUSQUO_REQUIRE=qemu` makes it an error that there is none.

use std::{fs, path::Path, process::Command, time::Duration};

use statusquo::{
    replay::{Observed, Verdict, replay_one},
    studies::{Daemonized, Replayable, Tours},
    systems::{
        real::{Real, or_skip},
        vmmd::{Vmmd, soak},
    },
};
use statusquo_model::{
    family::Family,
    studies::restart::{Restart, Study, outcome::Reply},
};

const PATIENCE: Duration = Duration::from_secs(120);

fn vmmd() -> Option<Vmmd> {
    let program = env!("CARGO_BIN_EXE_statusquo").into();
    let qemu = Path::new(Vmmd::default_qemu());
    or_skip(Real::Qemu, Vmmd::new(program, vec!["vmmd".to_owned()], qemu))
}

fn daemonized(vmmd: &Vmmd, scope: &str) -> Daemonized<Study> {
    let ours = Restart::designs().iter().find(|design| design.name == "ours").unwrap();
    let scope = Restart::scopes().iter().find(|known| known.name == scope).unwrap();
    Restart::vmmd(&Restart::study(ours, scope), vmmd).unwrap()
}

/// What the daemon does agrees with the model; the same trace with another expectation at its end does not.
#[test]
fn a_wrong_expectation_is_a_divergence() {
    let Some(vmmd) = vmmd() else { return };
    for scope in ["usb", "pci"] {
        let daemonized = daemonized(&vmmd, scope);
        let Tours::CrashPoints { points, .. } = &daemonized.tours else {
            panic!("no crash points")
        };
        let longest = points.iter().max_by_key(|trace| trace.len()).unwrap();
        for system in &daemonized.systems {
            let (verdict, _) = replay_one(longest, &system.factory, PATIENCE);
            assert_eq!(verdict, Verdict::Agrees, "{}", system.class);
            let mut wrong = longest.clone();
            let last = wrong.last_mut().unwrap();
            let Reply::Places { backends, .. } = &mut last.outcome.reply else {
                panic!("{last:?}")
            };
            backends.push(9);
            let (verdict, _) = replay_one(&wrong, &system.factory, PATIENCE);
            let Verdict::Diverges(divergence) = verdict else { panic!("{verdict:?}") };
            assert_eq!(divergence.step, wrong.len() - 1);
            assert_eq!(divergence.kind(), "wrong outcome");
            let Ok(Observed::Outcome(outcome)) = divergence.observed else { panic!("no outcome") };
            assert_eq!(outcome, longest.last().unwrap().outcome);
        }
    }
}

#[test]
fn kills_at_random_instants_leave_all_places_agreeing() {
    let Some(vmmd) = vmmd() else { return };
    let soaked = soak::soak(&vmmd, 6, 7, 2).unwrap();
    assert_eq!((soaked.kills, &soaked.wrong), (6, &vec![]));
}

/// What is printed is what the schema says, and JUnit says the same.
#[test]
fn kills_are_reported_as_json_and_as_junit() {
    if vmmd().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let junit = dir.path().join("junit.xml");
    let words = ["replay", "restart", "--system", "vmmd", "--kills", "2", "--seed", "7"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_statusquo"));
    command.args(words).args(["--format", "json", "--junit"]).arg(&junit);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let schema = serde_json::from_str(include_str!("../schema/report.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&printed), "{printed}");
    let soaked = &printed["soaked"];
    assert_eq!((&soaked["kills"], &soaked["seed"]), (&2.into(), &7.into()));
    assert_eq!(soaked["wrong"], serde_json::json!([]));
    let mut wrong = printed.clone();
    wrong["soaked"]["kills"] = "2".into();
    assert!(!validator.is_valid(&wrong));
    let text = fs::read_to_string(junit).unwrap();
    assert!(text.contains(r#"tests="1""#) && text.contains(r#"failures="0""#), "{text}");
    assert!(text.contains("restart soak on vmmd"), "{text}");
}

#[test]
fn options_of_the_daemon_go_with_the_daemon() {
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_statusquo")).args(words).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(
        run(&["replay", "restart", "--kills", "3"]),
        (Some(2), "error: --kills goes with `--system vmmd`\n".to_owned())
    );
    assert_eq!(
        run(&["replay", "chardev", "--system", "vmmd", "--kills", "3"]),
        (
            Some(2),
            "error: --kills goes with `restart`, all of it: without --scope and --design\n"
                .to_owned()
        )
    );
    let (code, text) = run(&["replay", "restart", "--system", "vmmd", "--vmmd", "/nowhere"]);
    assert_eq!(code, Some(3));
    assert_eq!(text, "error: system vmmd: run /nowhere: No such file or directory (os error 2)\n");
    let (code, text) = run(&["replay", "restart", "--system", "vmmd", "--qemu", "/nowhere"]);
    assert_eq!(code, Some(3));
    assert!(
        text.contains("run /nowhere") && text.contains("apt-get install qemu-system-x86"),
        "{text}"
    );
}
