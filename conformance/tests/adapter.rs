//! Adapters, good and bad: this program is its own adapter, see [`adapter`].

#[expect(dead_code, reason = "an example has a `main`, and here it is a module")]
#[path = "../examples/adapter.rs"]
mod example;

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
    process,
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use statusquo::{
    adapter::{Checked, Options, Verdict, check},
    replay::{self, Factory, explain, replay_one},
    systems::{
        exec::{Command, ExecFactory, Names},
        real::{Real, is_here},
    },
    trace::{Trace, played},
};
use statusquo_model::{
    family::Family,
    studies::chardev::{Chardev, Study, action::Action, outcome::Outcome},
};

/// What the adapter of this program does wrong.
const HOW: &str = "HOW";
/// A file that counts the processes.
const COUNTER: &str = "COUNTER";

/// Not a test: what the tests below start. Its answers go to descriptor 3, because the harness writes to
/// standard output.
#[test]
#[ignore = "the adapter of the other tests"]
fn adapter() {
    let Ok(how) = std::env::var(HOW) else { return };
    let answers = OpenOptions::new().write(true).open("/proc/self/fd/3").unwrap();
    let mut port = example::Port::default();
    let (mut resets, mut looks) = (0, 0);
    let mut asked = 0;
    let odd = how == "differs-by-process" && count_processes() == 1;
    let mut raw = answers.try_clone().unwrap();
    let mut write = |text: &str| raw.write_all(text.as_bytes()).unwrap();
    let answer = |request: &Value| -> example::Answer {
        asked += 1;
        let is = |what: &str| request.get("apply").is_some_and(|action| *action == what);
        let is_view = request.get("view").is_some();
        match how.as_str() {
            "speaks-version-2" if request.get("reset").is_some() => {
                return Ok(json!({ "ready": { "protocol": 2, "name": "the next" } }));
            }
            "does-not-save" if is("save-load") => return Err("it cannot be saved".to_owned()),
            "keeps-the-guest" if request.get("reset").is_some() => {
                resets += 1;
                if resets > 1 {
                    return Ok(json!({ "ready": { "protocol": 1, "name": "null port in Rust" } }));
                }
            }
            "looks-and-stops" if is_view => {
                let shown = port.answer(request);
                port.answer(&json!({ "apply": "stop" }))?;
                return shown;
            }
            "counts-looks" if is_view => {
                looks += 1;
                return Ok(json!({ "view": { "running": format!("looked {looks} times") } }));
            }
            "shows-nothing" if is_view => return Ok(json!({ "view": {} })),
            "misnames" if is_view => return Ok(json!({ "view": { "port0 guest told": "yes" } })),
            "knows-all-actions" if is("no-such-action") => {
                return Ok(json!({ "outcome": { "reply": "ok" } }));
            }
            "knows-all-studies" if request["reset"]["study"] == "no-such-study" => {
                return Ok(json!({ "ready": { "protocol": 1, "name": "all" } }));
            }
            "takes-all-lines" if request.get("no-such-request").is_some() => {
                return Ok(json!({ "bye": {} }));
            }
            "differs-by-process" if odd && is("stop") => {
                return Ok(json!({ "outcome": { "reply": "nothing" } }));
            }
            "leaves-with-1" if request.get("bye").is_some() => process::exit(1),
            // From here on: at the second step of the trace below.
            "hangs" if is("driver-init") => loop {
                std::thread::park();
            },
            "exits" if is("driver-init") => {
                eprintln!("one\n\ntwo\n\u{1b}[31mthree\nfour\nfive\nno memory left");
                process::exit(3);
            }
            "aborts" if is("driver-init") => process::abort(),
            "closes" if is("driver-init") => process::exit(0),
            "garbles" if is("driver-init") => write("Segmentation fault\n"),
            "never-ends-its-line" if is("driver-init") => write(&"x".repeat((1 << 20) + 1)),
            "speaks-twice" if is("driver-init") => {
                let mut said = port.answer(request)?;
                said["id"] = request["id"].clone();
                write(&format!("{said}\nhello\n"));
                return Ok(said);
            }
            "loses-count" if is("driver-init") => write("{\"id\":7,\"outcome\":{}}\n"),
            "invents-words" if is("driver-init") => {
                return Ok(json!({ "outcome": { "reply": "perhaps" } }));
            }
            "refuses" if is("driver-init") => return Err("no driver is installed".to_owned()),
            "is-blocked" if is("driver-init") => {
                return Ok(json!({ "blocked": "the door is shut" }));
            }
            "talks" if is("driver-init") => {
                (0..200_000).for_each(|line| eprintln!("line {line} of what nobody reads"));
            }
            "lies" if is("driver-init") => {
                eprintln!("the driver is there, but nobody is told");
                port.answer(request)?;
                return Ok(json!({ "outcome": { "reply": "nothing" } }));
            }
            _ => {}
        }
        port.answer(request)
    };
    let served = example::serve(io::stdin().lock(), answers, answer);
    match how.as_str() {
        // Where it was asked for more than `reset` and `bye` it does, so that not every check waits.
        "never-leaves" if asked <= 2 => loop {
            std::thread::park();
        },
        _ => served.unwrap(),
    }
    process::exit(0);
}

/// How many processes there were before this one.
fn count_processes() -> usize {
    let counter = std::env::var_os(COUNTER).unwrap();
    let mut counter =
        OpenOptions::new().append(true).read(true).create(true).open(counter).unwrap();
    counter.write_all(b"x").unwrap();
    usize::try_from(counter.metadata().unwrap().len()).unwrap() - 1
}

fn command(how: &str, counter: &Path) -> Command {
    let this = std::env::current_exe().unwrap();
    let run = "exec \"$0\" --ignored --exact adapter::adapter --nocapture 3>&1 >/dev/null";
    let mut words: Vec<OsString> = vec!["env".into(), format!("{HOW}={how}").into()];
    words.push(format!("{COUNTER}={}", counter.display()).into());
    words.extend(["sh".into(), "-c".into(), run.into(), this.into()]);
    Command::of(words).unwrap()
}

fn names() -> Names {
    Names { study: "chardev".to_owned(), design: "ours".to_owned(), scope: "null".to_owned() }
}

fn study() -> Study {
    let ours = Chardev::designs().iter().find(|known| known.name == "ours").unwrap();
    let null = Chardev::scopes().iter().find(|known| known.name == "null").unwrap();
    Chardev::study(ours, null)
}

/// The checks that do not hold, with their evidence.
fn failing(how: &str) -> Vec<(&'static str, Verdict, String)> {
    let dir = tempfile::tempdir().unwrap();
    let command = command(how, &dir.path().join("processes"));
    // Whatever leaves late is waited for.
    let deadline = Duration::from_secs(if how == "never-leaves" { 3 } else { 10 });
    let options = Options { walks: 2, steps: 25, deadline, ..Options::default() };
    let report = check(&study(), &names(), &command, &options);
    let fails = report.checks.into_iter().filter(|it| it.verdict != Verdict::Holds);
    fails.map(|Checked { check, verdict, evidence, .. }| (check, verdict, evidence)).collect()
}

#[test]
fn a_proper_adapter_passes_every_check() {
    assert_eq!(failing("properly"), []);
}

#[test]
fn a_check_that_nothing_was_shown_to_says_so() {
    let vacuous = |check| (check, Verdict::Vacuous, "it shows no facts".to_owned());
    assert_eq!(failing("shows-nothing"), [vacuous("pure-view"), vacuous("view-names")]);
}

#[test]
fn what_does_not_speak_the_protocol_is_not_checked_further() {
    let found = failing("speaks-version-2");
    let why = "the system could not be driven: the next speaks version 2 of the adapter protocol, \
               and this program speaks 1";
    assert_eq!(found[0], ("handshake", Verdict::Fails, why.to_owned()));
    assert_eq!(found.len(), 11);
    let rest = &found[1..];
    assert!(rest.iter().all(|it| it.1 == Verdict::NotChecked && it.2 == "there was no handshake"));
}

#[test]
fn an_action_that_is_not_answered_is_named() {
    let found = failing("does-not-save");
    let why = "save-load, in the initial state: the system could not be driven: the adapter answers \
               apply with an error: it cannot be saved";
    assert_eq!(found[0], ("alphabet", Verdict::Fails, why.to_owned()));
    let rest: Vec<_> = found[1..].iter().map(|it| (it.0, it.1)).collect();
    assert_eq!(
        rest,
        ["reset", "repeatable", "processes-agree", "pure-view", "view-names"]
            .map(|check| (check, Verdict::NotChecked))
    );
}

/// Each wrong adapter is caught by the checks that are for it, and by no other.
#[test]
fn every_wrong_adapter_is_caught() {
    let wrong: [(&str, &[&str], &str); 10] = [
        (
            "keeps-the-guest",
            &["reset", "repeatable"],
            "step 1, plug{port: 0}: a fresh process: reply duplicate-device; walk 2 of one process: reply ok",
        ),
        (
            "differs-by-process",
            &["reset", "processes-agree", "pure-view"],
            "step 5, stop: a fresh process: reply nothing; walk 1 of one process: reply ok",
        ),
        (
            "looks-and-stops",
            &["pure-view"],
            "before step 5, stop, it shows port0 guest was told: no, running: yes and at once port0 guest was told: no, running: no",
        ),
        (
            "counts-looks",
            &["pure-view"],
            "before step 1, query{port: 0}, it shows running: looked 1 times and at once running: looked 2 times",
        ),
        (
            "misnames",
            &["view-names"],
            "no fact is named `port0 guest told`; did you mean `port0 guest was told`?",
        ),
        ("knows-all-actions", &["unknown-action"], "it was answered with `outcome`"),
        ("knows-all-studies", &["unknown-study"], "it was answered with `ready`"),
        (
            "takes-all-lines",
            &["malformed-line"],
            r#"{"id":2,"no-such-request":{}}: it was answered with `bye`"#,
        ),
        ("leaves-with-1", &["goodbye"], "bye: the system died: exit code 1"),
        ("never-leaves", &["goodbye"], "after bye: no answer within 3s: the system hangs"),
    ];
    // They mostly wait, so all at once.
    let found = std::thread::scope(|scope| {
        let running = wrong.map(|(how, ..)| scope.spawn(move || failing(how)));
        running.map(|one| one.join().unwrap())
    });
    for ((how, checks, evidence), found) in wrong.into_iter().zip(found) {
        let names: Vec<_> = found.iter().map(|(check, ..)| *check).collect();
        assert_eq!(names, checks, "{how}: {found:#?}");
        assert!(found.iter().all(|it| it.1 == Verdict::Fails), "{how}: {found:#?}");
        assert_eq!(found[0].2, evidence, "{how}");
    }
}

fn trace() -> Trace<Study> {
    let actions = [Action::Cont, Action::DriverInit, Action::GuestOpen { port: 0 }];
    played(&study(), &actions).unwrap()
}

/// The trace above on this wrong adapter: the kind of divergence, and its explanation.
fn told(how: &str, deadline: Duration) -> String {
    let command = command(how, Path::new("/dev/null"));
    let factory: Arc<dyn Factory<Study>> = Arc::new(ExecFactory::new(command, names(), deadline));
    match replay_one(&trace(), &factory, deadline + Duration::from_secs(60)).0 {
        replay::Verdict::Agrees => "agrees".to_owned(),
        replay::Verdict::Inconclusive(why) => format!("inconclusive: {why}"),
        replay::Verdict::Diverges(divergence) => {
            let text = explain(&study(), &trace(), &divergence);
            let observed = text.split_once("observed: ").unwrap().1;
            format!("{}, step {}: {observed}", divergence.kind(), divergence.step + 1)
        }
    }
}

#[test]
fn whatever_an_adapter_does_is_told_in_words() {
    let kinds = [
        "exits",
        "aborts",
        "closes",
        "garbles",
        "never-ends-its-line",
        "speaks-twice",
        "loses-count",
        "invents-words",
        "refuses",
        "is-blocked",
        "lies",
    ];
    let told: Vec<String> = (kinds.iter())
        .map(|how| format!("{how}\n{}", told(how, Duration::from_secs(60)).trim_end()))
        .collect();
    insta::assert_snapshot!(told.join("\n\n"));
    // Standard error that nobody reads stops nobody.
    assert_eq!(self::told("talks", Duration::from_secs(60)), "agrees");
    let hangs = self::told("hangs", Duration::from_millis(700));
    // On a busy machine it may already be late with its first answer.
    assert!(hangs.contains("no answer within 700ms: the system hangs"), "{hangs}");
}

#[test]
fn what_cannot_be_run_is_named() {
    let command = Command::of(vec!["/no/such/adapter".into()]).unwrap();
    let factory: Arc<dyn Factory<Study>> =
        Arc::new(ExecFactory::new(command, names(), Duration::from_secs(1)));
    let (verdict, _) = replay_one(&trace(), &factory, Duration::from_secs(10));
    let replay::Verdict::Inconclusive(why) = verdict else { panic!("{verdict:?}") };
    assert_eq!(why, "`/no/such/adapter` cannot be run: No such file or directory (os error 2)");
}

#[test]
fn the_examples_do_what_the_model_says() {
    let suite = suite();
    let mut commands = vec![command("properly", Path::new("/dev/null"))];
    if is_here(Real::Python) {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/adapter.py");
        commands.push(Command::of(vec![python.into()]).unwrap());
    }
    for command in commands {
        let factory: Arc<dyn Factory<Study>> =
            Arc::new(ExecFactory::new(command, names(), Duration::from_secs(60)));
        let replayed = replay::replay(&suite, &factory, &replay::Options::default());
        assert_eq!(replayed.counts(), (suite.len(), 0, 0), "{}", factory.name());
        // One process after the other answers them; they differ from what another design expects.
        let mut wrong = suite[0].clone();
        let last = wrong.last_mut().unwrap();
        last.outcome = Outcome {
            reply: statusquo_model::studies::chardev::outcome::Reply::Nothing,
            ..last.outcome
        };
        let (verdict, steps) = replay_one(&wrong, &factory, Duration::from_secs(60));
        assert!(matches!(verdict, replay::Verdict::Diverges(_)) && steps + 1 == wrong.len());
    }
}

/// The suite that takes every transition.
fn suite() -> Vec<Trace<Study>> {
    use statusquo::generate::{Criterion, Cut, generate};
    let study = study();
    let exploration =
        statusquo_model::explore::explore(&study, &statusquo_model::explore::Options::default())
            .unwrap();
    let edges = exploration.edges(std::num::NonZeroUsize::MIN);
    let names = ("chardev", "ours", "null");
    generate(&exploration, &edges, Criterion::Transitions, names, Cut::default()).unwrap().traces
}

#[test]
fn every_line_of_both_sides_is_as_the_schema_says() {
    let schema: Value =
        serde_json::from_str(include_str!("../schema/adapter.schema.json")).unwrap();
    let validator = |of: &str| {
        let mut schema = schema.clone();
        schema["$ref"] = format!("#/$defs/{of}").into();
        schema.as_object_mut().unwrap().remove("oneOf");
        jsonschema::validator_for(&schema).unwrap()
    };
    let (request, answer) = (validator("request"), validator("answer"));
    let mut requests = vec![
        json!({ "reset": { "protocol": 1, "study": "chardev", "design": "ours", "scope": "null" } }),
    ];
    requests.extend(suite()[0].iter().map(|step| json!({ "apply": step.action })));
    requests.extend([
        json!({ "view": {} }),
        json!({ "apply": "x" }),
        json!({ "apply": "driver-init" }),
        json!({ "bye": {} }),
    ]);
    let mut lines = String::new();
    for (id, line) in (1..).zip(&mut requests) {
        line["id"] = id.into();
        assert!(request.is_valid(line), "{line}");
        lines.push_str(&format!("{line}\n"));
    }
    let mut answers = Vec::new();
    let mut port = example::Port::default();
    example::serve(lines.as_bytes(), &mut answers, |request| port.answer(request)).unwrap();
    let answers = String::from_utf8(answers).unwrap();
    assert_eq!(answers.lines().count(), requests.len());
    for line in answers.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(answer.is_valid(&line), "{line}");
    }
    for wrong in
        [json!({ "id": 1 }), json!({ "outcome": 1 }), json!({ "id": 1, "bye": {}, "error": "" })]
    {
        assert!(!answer.is_valid(&wrong), "{wrong}");
    }
}

/// What the guide shows was said is what is said.
#[test]
fn the_guide_shows_a_real_conversation() {
    let guide =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/adapter.md"))
            .unwrap();
    let shown = guide.split_once("```text\n").unwrap().1.split_once("```").unwrap().0;
    let mut port = example::Port::default();
    let (mut asked, mut said) = (String::new(), Vec::new());
    for line in shown.lines() {
        match line.split_at(2) {
            ("> ", request) => asked.push_str(&format!("{request}\n")),
            ("< ", answer) => said.push(serde_json::from_str::<Value>(answer).unwrap()),
            _ => panic!("{line}"),
        }
    }
    let mut answers = Vec::new();
    example::serve(asked.as_bytes(), &mut answers, |request| port.answer(request)).unwrap();
    let answers: Vec<Value> = String::from_utf8(answers)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers, said);
}

#[test]
fn the_guide_lists_every_check() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/adapter.md");
    let guide = fs::read_to_string(guide).unwrap();
    for (check, asks) in statusquo::adapter::NAMES {
        assert!(guide.contains(&format!("| `{check}` | {asks} |\n")), "{check}");
    }
}
