//! The real binary, as a stranger uses it: what it prints, and how it exits.

use std::{fs, path::Path, process::Command};

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run_in(dir: &Path, args: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_statusquo"))
        .args(args)
        .current_dir(dir)
        .env("TMPDIR", dir)
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(args: &[&str]) -> Ran {
    run_in(Path::new("."), args)
}

#[track_caller]
fn refuses(args: &[&str], message: &str) {
    let ran = run(args);
    assert_eq!((ran.code, ran.err.trim_end()), (2, message), "{args:?}");
    assert_eq!(ran.out, "");
}

#[test]
fn names_that_nothing_has_are_answered_with_the_nearest() {
    refuses(&["check", "chardevs"], "error: no study is named `chardevs`; did you mean `chardev`?");
    refuses(
        &["check", "chardev", "--design", "qemu-72"],
        "error: no design is named `qemu-72`; did you mean `qemu-7.2`?",
    );
    refuses(
        &["compare", "chardev", "--designs", "our,qemu-7.2"],
        "error: no design is named `our`; did you mean `ours`?",
    );
    refuses(
        &["generate", "chardev", "--scope", "servers"],
        "error: no scope is named `servers`; did you mean `server`?",
    );
    refuses(
        &["explore", "chardev", "--listen", "192.0.2.1:0"],
        "error: 192.0.2.1:0 is not a loopback address; the Explorer listens on 127.0.0.1 or [::1] only",
    );
    let ran = run(&["replay", "nothing.jsonl"]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.err.starts_with("error: there is no file of that name either: no study is named"),
        "{}",
        ran.err
    );
}

#[test]
fn a_rejected_design_exits_with_1_and_shows_the_slip() {
    let ran = run(&[
        "check",
        "chardev",
        "--design",
        "as-written",
        "--scope",
        "server",
        "--property",
        "label",
    ]);
    assert_eq!(ran.code, 1);
    let trace: Vec<&str> = ran.out.lines().skip(1).take(3).collect();
    assert_eq!(
        trace,
        [
            "FAIL the label agrees with the port's flags: violated in 2 steps",
            "     1  migrate{host: true, run: true}",
            "     2  host-disconnect{port: 0}",
        ]
    );
}

#[test]
fn ours_exits_with_0_and_a_budget_with_3() {
    assert_eq!(run(&["check", "chardev", "--design", "ours", "--scope", "agent"]).code, 0);
    let ran = run(&[
        "check",
        "chardev",
        "--design",
        "ours",
        "--scope",
        "unbounded",
        "--max-states",
        "1000",
    ]);
    assert_eq!(ran.code, 3, "{}", ran.out);
    assert!(
        ran.out.contains("1000 states") && ran.out.contains("out of budget: states"),
        "{}",
        ran.out
    );
    let ran = run(&[
        "check",
        "chardev",
        "--design",
        "ours",
        "--scope",
        "unbounded",
        "--max-seconds",
        "0.2",
    ]);
    assert_eq!(ran.code, 3, "{}", ran.out);
    assert!(ran.out.contains("out of budget: time"), "{}", ran.out);
    let ran =
        run(&["check", "chardev", "--design", "ours", "--scope", "server", "--max-depth", "2"]);
    assert_eq!(ran.code, 3, "{}", ran.out);
    assert!(ran.out.contains("holds up to depth 2"), "{}", ran.out);
}

#[test]
fn the_same_json_at_any_number_of_threads() {
    let json = |threads| {
        let ran = run(&[
            "check",
            "chardev",
            "--scope",
            "server",
            "--format",
            "json",
            "--threads",
            threads,
        ]);
        assert_eq!(ran.code, 1);
        let lines = ran.out.lines().filter(|line| !line.contains("\"seconds\""));
        lines.collect::<Vec<_>>().join("\n")
    };
    let once = json("1");
    for threads in ["1", "2", "3", "2"] {
        assert!(json(threads) == once);
    }
}

#[test]
fn json_is_as_its_schema_says() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../schema/report.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("good.log"), "{\"action\":\"cont\"}\n").unwrap();
    fs::write(dir.path().join("bad.log"), "{\"action\":\"driver-init\"}\n").unwrap();
    let commands: [&[&str]; 17] = [
        &["check", "chardev", "--scope", "agent"],
        &["check", "chardev", "--scope", "server", "--design", "qemu-7.2"],
        &["check", "chardev", "--scope", "unbounded", "--max-states", "1000"],
        &["compare", "chardev", "--scope", "agent"],
        &["compare", "chardev", "--scope", "agent", "--designs", "no-replay,replay-in-load"],
        &["generate", "chardev", "--scope", "agent", "--output", "suite.jsonl"],
        &["replay", "suite.jsonl", "--system", "model", "--on", "qemu-7.2"],
        &["replay", "suite.jsonl", "--system", "model"],
        &["verify", "chardev", "--max-states", "10"],
        &["adapter", "check", "chardev", "--scope", "null", "--exec", "false"],
        &["check", "chardevs"],
        &["mutate", "chardev", "--scope", "null"],
        &["validate", "chardev", "good.log"],
        &["validate", "chardev", "bad.log"],
        &["validate", "chardev", "good.log", "--hidden", "cont,migrate", "--max-possible", "2"],
        &["generate", "chardev", "--max-states", "10"],
        &["doctor"],
    ];
    let mut last = serde_json::Value::Null;
    for command in commands {
        let ran = run_in(dir.path(), &[command, &["--format", "json"]].concat());
        let printed = serde_json::from_str(&ran.out).unwrap();
        let wrong: Vec<String> =
            validator.iter_errors(&printed).map(|error| error.to_string()).collect();
        assert_eq!(wrong, [""; 0], "{command:?}");
        last = printed;
    }
    // A schema that takes everything would say nothing.
    last.as_object_mut().unwrap().remove("version");
    assert!(!validator.is_valid(&last));
}

#[test]
fn options_that_say_nothing_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ran =
        run_in(dir.path(), &["generate", "chardev", "--scope", "null", "--output", "suite.jsonl"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let refuses = |args: &[&str], message: &str| {
        let ran = run_in(dir.path(), args);
        assert_eq!((ran.code, ran.err.trim_end()), (2, message), "{args:?}");
    };
    refuses(
        &["replay", "chardev", "--scope", "null", "--on", "qemu-7.2"],
        "error: --on names the design whose model answers: it goes with `--system model`",
    );
    for (option, value) in [("--scope", "null"), ("--design", "ours")] {
        refuses(
            &["replay", "suite.jsonl", option, value],
            &format!(
                "error: {option} goes with a study's name; the traces of a file say themselves what they are of"
            ),
        );
    }
}

#[test]
fn a_budget_that_is_too_small_exits_with_3_wherever_it_ends() {
    for args in [
        &["generate", "chardev", "--max-states", "100"][..],
        &["replay", "chardev", "--scope", "null", "--max-states", "10"],
        &["check", "chardev", "--design", "ours", "--max-states", "100"],
        &["verify", "--max-states", "10"],
    ] {
        let ran = run(args);
        assert_eq!(ran.code, 3, "{args:?}: {}{}", ran.out, ran.err);
    }
}

#[test]
fn two_designs_are_told_apart_by_the_shortest_run() {
    let ran =
        run(&["compare", "chardev", "--designs", "no-replay,replay-in-load", "--scope", "agent"]);
    assert_eq!(ran.code, 0);
    let diff = ran.out.split_once("no-replay against").unwrap().1;
    insta::assert_snapshot!(diff);
    let ran = run(&["compare", "chardev", "--designs", "ours,ours", "--scope", "agent"]);
    assert!(ran.out.contains("ours against ours: equivalent at this scope"), "{}", ran.out);
}

#[test]
fn bad_traces_are_refused_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let header = r#"{"statusquo-trace":1,"study":"chardev","design":"ours","scope":"server","criterion":"kept"}"#;
    let refuses = |name: &str, text: &str, message: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        let ran = run_in(dir.path(), &["replay", name]);
        assert_eq!(ran.code, 2, "{name}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(message), "{name}: {}", ran.err);
    };
    refuses("empty", "", "line 1, column 1: the file is empty");
    refuses("other", "{}\n", "line 1, column 1: this is no trace");
    refuses("binary", "\u{0}\u{1}\n", "line 1, column 1: expected value");
    refuses("old", "{\"statusquo-trace\":0}\n", "format version 0 is older than 1");
    refuses("new", "{\"statusquo-trace\":2}\n", "format version 2 is newer than 1");
    refuses("none", &format!("{header}\n"), "there is no trace after the header");
    refuses(
        "cut",
        &format!("{header}\n{{\"trace\":1}}\n{{\"action\":"),
        "line 3, column 10: the file ends in the middle",
    );
    refuses(
        "step",
        &format!("{header}\n{{\"action\":\"stop\"}}\n"),
        "line 2, column 1: a step stands before the first",
    );
    refuses(
        "word",
        &format!(
            "{header}\n{{\"trace\":1}}\n{{\"action\":\"halt\",\"outcome\":{{\"reply\":\"ok\"}}}}\n"
        ),
        "line 3, column 16: unknown variant `halt`",
    );
    refuses(
        "guard",
        &format!(
            "{header}\n{{\"trace\":1}}\n{{\"action\":{{\"guest-open\":{{\"port\":0}}}},\"outcome\":{{\"reply\":\"ok\"}}}}\n"
        ),
        "trace 1, step 1: guest-open{port: 0} is not enabled because the machine does not run",
    );
    refuses(
        "outcome",
        &format!(
            "{header}\n{{\"trace\":1}}\n{{\"action\":\"stop\",\"outcome\":{{\"reply\":\"nothing\"}}}}\n"
        ),
        "the model's outcome of stop is reply ok, the trace has reply nothing",
    );
    refuses(
        "scope",
        &format!(
            "{header}\n{{\"trace\":1}}\n{{\"action\":{{\"query\":{{\"port\":5}}}},\"outcome\":{{\"reply\":\"ok\"}}}}\n"
        ),
        "trace 1, step 1: query{port: 5} is not enabled because the scope has no such action",
    );
    let scope = ["--design", "ours", "--scope", "server"];
    let ran =
        run_in(dir.path(), &[&["mutate", "chardev", "--suite", "scope"][..], &scope].concat());
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("because the scope has no such action"), "{}", ran.err);
    let unknown = header.replace("chardev", "weather");
    refuses("study", &format!("{unknown}\n{{\"trace\":1}}\n"), "no study is named `weather`");
    let unknown = header.replace("ours", "theirs");
    refuses(
        "design",
        &format!(
            "{unknown}\n{{\"trace\":1}}\n{{\"action\":\"stop\",\"outcome\":{{\"reply\":\"ok\"}}}}\n"
        ),
        "no design is named `theirs`",
    );
}

#[test]
fn a_property_that_no_finding_can_be_of_is_no_pass() {
    let ran = run(&["findings", "restart", "--property", "zzz"]);
    assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
    assert!(ran.err.starts_with("error: no property is named `zzz`"), "{}", ran.err);
}

#[test]
fn who_reads_no_further_is_told_no_verdict() {
    use std::{os::unix::process::ExitStatusExt, process::Stdio};
    let mut command = Command::new(env!("CARGO_BIN_EXE_statusquo"));
    command.args(["check", "chardev", "--scope", "null"]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(141), None));
}

#[test]
fn so_many_steps_are_no_more_than_a_trace_more() {
    let args = ["replay", "chardev", "--scope", "null", "--system", "model", "--max-steps"];
    for most in [1, 7, 250] {
        let ran = run(&[&args[..], &[&most.to_string()]].concat());
        let steps = ran.out.split_once(" steps in").unwrap().0.rsplit(' ').next().unwrap();
        let steps: u32 = steps.parse().unwrap();
        // The trace in which they are reached is taken whole, and has 200 at most.
        let most = if most <= 200 { most } else { most + 199 };
        assert!(ran.code == 0 && steps > 0 && steps <= most, "{most}: {}", ran.out);
    }
}

#[test]
fn what_a_header_says_to_be_covered_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let header = r#"{"statusquo-trace":1,"study":"chardev","design":"ours","scope":"server","criterion":"transitions","covered":9,"goals":9}"#;
    let stop = r#"{"action":"stop","outcome":{"reply":"ok"}}"#;
    let text = format!("{header}\n{{\"trace\":1}}\n{stop}\n{stop}\n");
    fs::write(dir.path().join("lies"), text).unwrap();
    let ran = run_in(dir.path(), &["replay", "lies"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("1 of 9 goals covered; 2 steps"), "{}", ran.out);
}

#[test]
fn kept_traces_agree_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut replayed = 0;
    for trace in fs::read_dir(corpus).unwrap() {
        let path = trace.unwrap().path();
        // Beside the traces are walks and the known divergences.
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let ran = run_in(dir.path(), &["replay", path.to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{}: {}{}", path.display(), ran.out, ran.err);
        replayed += 1;
    }
    assert!(replayed > 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_suite_on_a_file_is_replayed_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let ran = run_in(dir.path(), &["generate", "chardev", "--scope", "null", "-o", "null.jsonl"]);
    assert_eq!(
        ran.out,
        "chardev ours, scope null: 371 of 371 transitions, 6 resets, 525 steps, lower bound 421\n"
    );
    let ran = run_in(dir.path(), &["replay", "null.jsonl", "--junit", "junit.xml"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let junit = fs::read_to_string(dir.path().join("junit.xml")).unwrap();
    assert!(junit.contains("tests=\"1\"") && junit.contains("failures=\"0\""), "{junit}");
    // The designs differ, so their models must not agree.
    let ran =
        run_in(dir.path(), &["replay", "null.jsonl", "--system", "model", "--on", "qemu-7.2"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("expected:"), "{}", ran.out);
}

#[test]
fn parts_are_the_whole_and_what_was_not_gone_is_not_covered() {
    let replayed = |more: &[&str]| {
        let ran = run(&[
            &["replay", "chardev", "--scope", "null", "--format", "json", "--system", "model"],
            more,
        ]
        .concat());
        let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let one = &json["replayed"][0];
        let number = |name: &str| one[name].as_u64().unwrap();
        (ran.code, number("agree"), number("covered"), number("goals"), number("steps"))
    };
    let (code, traces, covered, goals, steps) = replayed(&[]);
    assert_eq!((code, covered, goals), (0, 371, 371));
    let parts = ["1/3", "2/3", "3/3"].map(|part| replayed(&["--part", part]));
    assert!(parts.iter().all(|part| part.0 == 0 && part.2 < 371 && part.3 == 371), "{parts:?}");
    let sum = |of: fn(&(i32, u64, u64, u64, u64)) -> u64| parts.iter().map(of).sum::<u64>();
    assert_eq!((sum(|part| part.1), sum(|part| part.4)), (traces, steps));

    // Another design's model goes along for a while only.
    let (code, agree, less, goals, fewer) = replayed(&["--on", "qemu-7.2"]);
    assert_eq!((code, goals), (1, 371));
    assert!(agree < traces && fewer < steps && less <= fewer, "{less} covered in {fewer} steps");

    let refused = run(&["replay", "chardev", "--scope", "null", "--part", "9/9"]);
    assert_eq!(
        (refused.code, refused.err.trim_end()),
        (2, "error: scope null: part 9/9 has no trace; take fewer parts")
    );
}

#[test]
fn a_tour_misses_faults_that_a_checked_suite_tells() {
    let mutate = |more: &[&str]| {
        run(&[&["mutate", "chardev", "--scope", "file", "--format", "json"], more].concat())
    };
    let missed =
        |ran: &Ran| serde_json::from_str::<serde_json::Value>(&ran.out).unwrap()["missed"].as_u64();
    let ran = mutate(&[]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(missed(&ran) > Some(0));
    let ran = mutate(&["--criterion", "checked"]);
    assert_eq!((ran.code, missed(&ran)), (0, Some(0)), "{}", ran.err);
    let ran = mutate(&["--max-faults", "10"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("name a smaller scope or raise --max-faults"), "{}", ran.err);
}

#[test]
fn the_matrix_of_usb_has_one_object_for_each_cell() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../schema/usb-matrix.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let wanted = ["compare", "usb", "--matrix", "--where", "machine=q35", "--format", "json"];
    let mut printed: serde_json::Value = serde_json::from_str(&run(&wanted).out).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(&printed).map(|error| error.to_string()).collect();
    assert_eq!(wrong, [""; 0]);
    let rows = printed["matrix"].as_array().unwrap();
    assert_eq!(Some(rows.len() as u64), printed["cells"].as_u64());
    let places: std::collections::BTreeSet<String> = rows
        .iter()
        .map(|row| {
            let keys = ["build", "controller", "history", "started-by", "source", "destination"];
            keys.map(|key| row[key].to_string()).join(" ")
        })
        .collect();
    assert_eq!(places.len(), rows.len());
    let of = |outcome: &str| rows.iter().filter(|row| row["outcome"] == outcome).count() as u64;
    for outcome in ["same", "silent", "refused", "no-guest"] {
        assert_eq!(Some(of(outcome)), printed["outcomes"][outcome].as_u64(), "{outcome}");
    }
    // A schema that takes everything would say nothing.
    printed["matrix"][0].as_object_mut().unwrap().remove("error");
    assert!(!validator.is_valid(&printed));
}

#[test]
fn a_cell_that_is_not_there_is_asked_for() {
    let ran = run(&["compare", "usb", "--matrix", "--where", "machine=pdp11"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("no cell has machine=pdp11"), "{}", ran.err);
    let ran = run(&["compare", "usb", "--matrix", "--where", "colour=red"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("no cell has a key `colour`"), "{}", ran.err);
}

#[test]
fn the_tables_of_freeze_are_as_their_schema_says() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../schema/freeze-matrix.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let ran = run(&["compare", "freeze", "--matrix", "--format", "json"]);
    let mut printed: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(&printed).map(|error| error.to_string()).collect();
    assert_eq!(wrong, [""; 0]);
    for counted in printed["counted"].as_array().unwrap() {
        let all = counted["exactly"].as_array().unwrap().iter();
        let sum: u64 = all.map(|one| one["policies"].as_u64().unwrap()).sum();
        assert_eq!(Some(sum), counted["policies"].as_u64());
    }
    let any = printed["any-daemon"].as_array().unwrap();
    let demands: Vec<&serde_json::Value> = any
        .iter()
        .flat_map(|one| one["conflicts"].as_array().unwrap().iter().map(|it| &it["demands"]))
        .collect();
    let expected = serde_json::json!([["BOOT", "ADOPT-OLD"], ["MIG", "ADOPT-NEW", "OLDACC"]]);
    assert_eq!(serde_json::json!(demands), expected);
    // A schema that takes everything would say nothing.
    printed["lemmas"][0].as_object_mut().unwrap().remove("holds");
    assert!(!validator.is_valid(&printed));
}
