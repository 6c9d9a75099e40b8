//! The chardev study on the installed QEMU, where it is installed.
//!
//! `STATUSQUO_REQUIRE=qemu` makes it an error that it is not.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use statusquo::{
    replay::{Factory, Fault, Observed, Verdict, explain, replay_one},
    search::{EndKind, Ground},
    studies::Replayable,
    systems::{
        qemu::{DEFAULT_BINARY, KEPT, Move, Qemu},
        real::{Real, or_skip},
    },
    trace::{Trace, played},
};
use statusquo_model::{
    family::Family,
    studies::chardev::{
        Chardev, Study,
        action::Action::{self, *},
        outcome::{Outcome, Reply},
        state::Kind,
    },
};

/// No step of a living QEMU takes so long, however busy the machine is.
const DEADLINE: Duration = Duration::from_secs(120);

fn qemu() -> Option<Qemu> {
    or_skip(Real::Qemu, Qemu::find(Path::new(DEFAULT_BINARY)))
}

fn study(design: &str, scope: &str) -> Study {
    let design = Chardev::designs().iter().find(|known| known.name == design).unwrap();
    let scope = Chardev::scopes().iter().find(|known| known.name == scope).unwrap();
    Chardev::study(design, scope)
}

fn replay(qemu: &Qemu, study: &Study, trace: &Trace<Study>) -> Verdict<Study> {
    let factory: Arc<dyn Factory<Study>> = Chardev::qemu(study, qemu).unwrap();
    replay_one(trace, &factory, DEADLINE).0
}

/// The model's run, and that the binary goes it step by step.
#[track_caller]
fn is_so(scope: &str, actions: &[Action]) -> Trace<Study> {
    let study = study("qemu-7.2", scope);
    let trace = played(&study, actions).unwrap();
    if let Some(qemu) = qemu() {
        match replay(&qemu, &study, &trace) {
            Verdict::Agrees => {}
            Verdict::Diverges(divergence) => panic!("{}", explain(&study, &trace, &divergence)),
            Verdict::Inconclusive(why) => panic!("{why}"),
        }
    }
    trace
}

const ON: [Action; 3] = [Cont, DriverInit, HostConnect { port: 0 }];
const QUERY: Action = Query { port: 0 };

fn after(begin: &[Action], then: &[Action]) -> Vec<Action> {
    [begin, then].concat()
}

fn shown(trace: &Trace<Study>) -> Reply {
    trace.last().unwrap().outcome.reply
}

#[test]
fn a_changed_chardev_forgets_its_guest() {
    let change = Change { port: 0, to: Kind::Server };
    let trace = is_so("server", &[Cont, DriverInit, GuestOpen { port: 0 }, change, QUERY]);
    assert_eq!(shown(&trace), Reply::Chardev { connected: false, frontend_open: false });
}

#[test]
fn a_host_that_leaves_a_stopped_machine_is_not_missed() {
    let leaves = [Stop, HostDisconnect { port: 0 }, Cont];
    let trace = is_so("server", &after(&ON, &leaves));
    assert!(trace.last().unwrap().outcome.port0.guest_told.is_empty(), "the guest is not told");
}

#[test]
fn a_write_to_a_host_that_was_not_missed_sticks() {
    let then = [
        Stop,
        HostDisconnect { port: 0 },
        Cont,
        GuestWrite { port: 0 },
        HostConnect { port: 0 },
        HostRead { port: 0 },
        HostRead { port: 0 },
        HostDisconnect { port: 0 },
    ];
    let trace = is_so("server", &after(&ON, &then));
    assert_eq!(trace[ON.len() + 5].outcome.reply, Reply::Nothing, "he reads, and nothing comes");
    assert!(trace[..trace.len() - 1].iter().all(|step| step.outcome.port0.completed == 0));
}

#[test]
fn migration_tells_the_guest_twice_and_management_always() {
    let trace = is_so("server", &[Cont, DriverInit, Migrate { host: true, run: true }]);
    let told = trace.last().unwrap().outcome.port0;
    assert_eq!((told.guest_told.iter().count(), told.management_told.iter().count()), (2, 1));
}

#[test]
fn without_a_control_buffer_a_notice_is_lost() {
    let then = [WithholdControl, HostConnect { port: 0 }, PostControl, QUERY];
    let trace = is_so("server", &after(&ON[..2], &then));
    assert!(trace.iter().all(|step| step.outcome.port0.guest_told.is_empty()));
}

#[test]
fn output_without_a_host_is_dropped_and_a_ring_overwrites() {
    let write = GuestWrite { port: 0 };
    let then = [write, HostConnect { port: 0 }, HostRead { port: 0 }];
    let trace = is_so("server", &after(&ON[..2], &then));
    assert_eq!(trace[2].outcome.port0.completed, 1, "the guest sees success");
    assert_eq!(shown(&trace), Reply::Nothing);
    let ring = is_so("ring", &after(&ON[..2], &[write, write, HostRead { port: 0 }]));
    assert_eq!(ring.last().unwrap().outcome.port0.host_receives, 1, "of two");
}

#[test]
fn input_is_dropped_when_its_sender_leaves() {
    let (post, open) = (GuestPost { port: 0 }, GuestOpen { port: 0 });
    let then = [HostWrite { port: 0 }, HostDisconnect { port: 0 }, open, post];
    let trace = is_so("server", &after(&ON, &then));
    assert!(trace.iter().all(|step| step.outcome.port0.guest_receives == 0));
}

#[test]
fn a_pty_does_not_notice_that_its_slave_was_closed() {
    let trace = is_so("pty", &after(&ON, &[HostDisconnect { port: 0 }, QUERY]));
    assert!(trace[3].outcome.port0.guest_told.is_empty());
}

#[test]
fn a_pty_that_no_port_has_used_is_not_looked_at() {
    let [unplug, plug] = [Unplug { port: 0 }, Plug { port: 0 }];
    let [connect, disconnect] = [HostConnect { port: 0 }, HostDisconnect { port: 0 }];
    let told = |trace: &Trace<Study>| !trace.last().unwrap().outcome.port0.guest_told.is_empty();

    let to_come = Migrate { host: false, run: true };
    for arrives in [vec![Migrate { host: true, run: true }], vec![to_come, connect]] {
        let begin = after(&[unplug], &after(&arrives, &[DriverInit]));
        let left = is_so("pty", &after(&begin, &[disconnect, plug]));
        assert!(!told(&left), "nobody saw that the slave was held");
        let stayed = is_so("pty", &after(&begin, &[plug]));
        assert!(told(&stayed), "the port's front-end looks");
    }

    let used = is_so("pty", &after(&ON, &[unplug, disconnect, plug]));
    assert!(told(&used), "the poll goes on when the port is gone");
}

#[test]
fn input_of_a_pty_waits_for_a_host_once_a_front_end_has_seen_none() {
    let [write, post] = [HostWrite { port: 0 }, GuestPost { port: 0 }];
    let [connect, disconnect] = [HostConnect { port: 0 }, HostDisconnect { port: 0 }];
    let received = |trace: &Trace<Study>| trace.last().unwrap().outcome.port0.guest_receives;
    let open = after(&ON, &[GuestOpen { port: 0 }]);

    let read_on = is_so("pty", &after(&open, &[write, disconnect, post]));
    assert_eq!(received(&read_on), 1, "what was sent is read to its end");
    let seen = after(&open, &[Stop, write, disconnect, Cont, post]);
    assert_eq!(received(&is_so("pty", &seen)), 0, "the front-end that comes back sees no host");
    let again = is_so("pty", &after(&seen, &[connect]));
    assert_eq!(received(&again), 1, "and the next host brings it");
}

#[test]
fn a_half_closed_peer_is_cut_off() {
    let then = [GuestOpen { port: 0 }, HostHalfClose { port: 0 }, GuestPost { port: 0 }];
    let trace = is_so("server", &after(&ON, &then));
    assert!(!trace.last().unwrap().outcome.port0.host_sees.is_empty());
}

#[test]
fn a_paused_destination_does_not_know_its_guest() {
    let then = [GuestOpen { port: 0 }, Migrate { host: true, run: false }, QUERY];
    let trace = is_so("server", &after(&ON[..2], &then));
    assert!(matches!(shown(&trace), Reply::Chardev { frontend_open: false, .. }));
}

#[test]
fn a_paused_guest_is_touched() {
    let write = GuestWrite { port: 0 };
    let trace = is_so("server", &after(&ON, &[write, write, Stop, HostRead { port: 0 }]));
    assert_eq!(trace.last().unwrap().outcome.port0.completed, 1);
    let trace = is_so("server", &after(&ON, &[write, write, Migrate { host: true, run: false }]));
    assert_eq!(trace.last().unwrap().outcome.port0.completed, 1);
}

/// One is with the host, one is held, one waits in the ring.
const THREE_WRITES: [Action; 3] = [GuestWrite { port: 0 }; 3];
/// One waits in the ring of a port that is throttled and holds nothing: a reset has dropped it.
const BEHIND_A_THROTTLE: [Action; 5] = [
    GuestWrite { port: 0 },
    GuestWrite { port: 0 },
    SystemReset,
    DriverInit,
    GuestWrite { port: 0 },
];

fn completed(trace: &Trace<Study>) -> u8 {
    trace.last().unwrap().outcome.port0.completed
}

#[test]
fn a_load_flushes_the_ring_behind_what_the_port_held() {
    let hop = Migrate { host: true, run: false };
    let once = is_so("client", &after(&ON, &[&THREE_WRITES[..], &[hop]].concat()));
    assert_eq!(completed(&once), 1, "the new host has what the port held");
    // What waited in the ring is held now, so the next load has it to give.
    let twice = is_so("client", &after(&ON, &[&THREE_WRITES[..], &[hop, hop]].concat()));
    assert_eq!(completed(&twice), 1);
    let gone = [hop, HostDisconnect { port: 0 }, Cont];
    assert_eq!(completed(&is_so("client", &after(&ON, &[&THREE_WRITES[..], &gone].concat()))), 0);
}

#[test]
fn a_migrated_ring_waits_for_a_kick_where_the_port_held_nothing() {
    for host in [false, true] {
        let hop = [Migrate { host, run: true }];
        let trace = is_so("server", &after(&ON, &[&BEHIND_A_THROTTLE[..], &hop].concat()));
        assert_eq!(completed(&trace), 0, "throttling does not migrate, and nobody looks");
    }
    let read = [Migrate { host: true, run: true }, HostRead { port: 0 }];
    let trace = is_so("server", &after(&ON, &[&BEHIND_A_THROTTLE[..], &read].concat()));
    assert_eq!(
        (shown(&trace), completed(&trace)),
        (Reply::Nothing, 0),
        "a host that reads is none"
    );
}

#[test]
fn a_host_that_hangs_up_wakes_a_port_that_does_not_hear_of_it() {
    let away = [Stop, HostDisconnect { port: 0 }, HostConnect { port: 0 }, SaveLoad];
    let trace = is_so("client", &after(&ON, &[&BEHIND_A_THROTTLE[..], &away].concat()));
    // It took the element from the ring and found nobody to give it to.
    assert_eq!(completed(&trace), 1, "a load tries again what the port holds");
}

/// What was loaded is settled before the main loop polls: a host that has closed half is gone only then.
#[test]
fn a_load_is_settled_before_the_end_of_the_input_is_read() {
    let open = [GuestOpen { port: 0 }, GuestPost { port: 0 }, Stop, HostHalfClose { port: 0 }];
    let trace = is_so("client", &after(&ON, &[&open[..], &[SaveLoad, Cont]].concat()));
    let told = trace.last().unwrap().outcome.port0.guest_told;
    assert_eq!(told, [false].into_iter().collect());
}

#[test]
fn a_notice_of_a_port_that_is_gone() {
    let port = 0;
    let then = [GuestOpen { port }, GuestClose { port }, Unplug { port }, SecondPasses];
    let trace = is_so("null", &after(&ON[..2], &then));
    assert_eq!(trace.last().unwrap().outcome.port0.management_told.iter().count(), 1);
}

#[test]
fn a_second_hop_a_port_that_is_replugged_and_a_client_that_is_half_closed() {
    let hop = Migrate { host: true, run: true };
    let then = [hop, Stop, Migrate { host: false, run: false }, Cont, QUERY];
    is_so("server", &after(&ON, &then));
    let half_closed = [
        GuestOpen { port: 0 },
        GuestWrite { port: 0 },
        GuestPost { port: 0 },
        HostHalfClose { port: 0 },
    ];
    is_so("client", &after(&ON, &half_closed));
    is_so("client", &after(&ON, &[Unplug { port: 0 }, Plug { port: 0 }, Plug { port: 0 }, QUERY]));
    is_so("file", &after(&ON[..2], &[DriverReset, DriverInit, SystemReset, DriverInit, SaveLoad]));
}

const WITH_AGENT: [Action; 3] = [Cont, DriverInit, GuestOpen { port: 0 }];

/// The thread's question. The server takes the agent for gone until the machine runs, and then for there; whose
/// agent it is hears that its host was gone.
#[test]
fn a_migrated_agent_is_there_again_when_the_machine_runs() {
    let host_sees = |trace: &Trace<Study>| -> Vec<bool> {
        trace.iter().flat_map(|step| step.outcome.port0.host_sees.iter()).collect()
    };
    let hop = Migrate { host: false, run: false };
    let paused = is_so("agent", &after(&WITH_AGENT, &[hop, QUERY]));
    assert_eq!(shown(&paused), Reply::Chardev { connected: true, frontend_open: false });
    assert_eq!(host_sees(&paused), [true, false]);
    let bytes = [GuestWrite { port: 0 }, HostRead { port: 0 }, GuestPost { port: 0 }];
    let then = [&[hop, Cont, QUERY], &bytes[..], &[HostWrite { port: 0 }]].concat();
    let runs = is_so("agent", &after(&WITH_AGENT, &then));
    assert_eq!(runs[5].outcome.reply, Reply::Chardev { connected: true, frontend_open: true });
    assert_eq!(host_sees(&runs), [true, false, true]);
    assert_eq!(runs[4].outcome.port0.guest_told, [false, true].into_iter().collect());
    let (read, received) = (runs[7].outcome.port0, runs[9].outcome.port0);
    assert_eq!((read.host_receives, received.guest_receives), (1, 1), "bytes go both ways");
}

/// What was so in 2011 is not so any more: whoever expects it is told where.
#[test]
fn the_bug_of_the_thread_is_gone() {
    let Some(qemu) = qemu() else { return };
    let silent = study("no-replay", "agent");
    let hop = played(&silent, &after(&WITH_AGENT, &[Migrate { host: false, run: true }])).unwrap();
    let Verdict::Diverges(divergence) = replay(&qemu, &silent, &hop) else { panic!("it agrees") };
    assert_eq!(
        explain(&silent, &hop, &divergence),
        "    1  cont\n    2  driver-init  ->  {port0: {announced: true}, reply: ok}\n    \
         3  guest-open{port: 0}  ->  {port0: {guest-told: [connected], host-sees: [connected], \
         management-told: [opened]}, reply: ok}\n    4  migrate{host: false, run: true}\n       \
         expected: {port0: {guest-told: [disconnected], host-sees: [disconnected]}, reply: ok}\n       \
         observed: {port0: {guest-told: [disconnected, connected], host-sees: [disconnected, connected], \
         management-told: [opened]}, reply: ok}\n       \
         in the model this step changes port0 frontend-open: yes -> no, port0 label by the facts: A -> D, \
         port0 label by the book: A -> B, port0 label by the flags: A -> D, port0 guest was told: yes -> no\n"
    );
}

#[test]
fn a_changed_agent_is_never_told() {
    let change = Change { port: 0, to: Kind::Agent };
    let open = GuestOpen { port: 0 };
    let trace = is_so("agent", &after(&WITH_AGENT, &[change, QUERY, GuestWrite { port: 0 }, open]));
    assert_eq!(trace[4].outcome.reply, Reply::Chardev { connected: true, frontend_open: false });
    assert_eq!(trace[5].outcome.port0.completed, 1, "the guest sees success");
    assert!(!trace[6].outcome.port0.host_sees.is_empty(), "until the guest says so again");
}

/// A SPICE server does not try again by itself: what it is given meanwhile waits for the next message.
#[test]
fn what_an_agent_is_sent_while_it_is_stopped_is_late() {
    let then = [GuestPost { port: 0 }, Stop, HostWrite { port: 0 }, Cont, GuestWrite { port: 0 }];
    let trace = is_so("agent", &after(&WITH_AGENT, &then));
    let received: Vec<u8> = trace.iter().map(|step| step.outcome.port0.guest_receives).collect();
    assert_eq!(received, [0, 0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn what_an_agent_has_sent_is_lost_at_a_destination() {
    let write = GuestWrite { port: 0 };
    let then = [write, write, write, Migrate { host: false, run: true }, HostRead { port: 0 }];
    let trace = is_so("agent", &after(&WITH_AGENT, &then));
    let hop = trace[6].outcome.port0;
    assert_eq!((hop.host_receives, hop.completed), (1, 2), "one of three is read");
    assert_eq!(shown(&trace), Reply::Nothing);
}

/// Where a QEMU has no SPICE, the agent's scope is named, and the others are driven.
#[test]
fn a_qemu_without_spice_drives_the_other_scopes() {
    if qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let without = fake(
        dir.path(),
        "without-spice",
        &format!(
            "#!/bin/sh\nfor it; do case $it in -spice)\n\
             echo \"-spice: spice support is disabled\" >&2; exit 1 ;; esac; done\n\
             exec {DEFAULT_BINARY} \"$@\"\n"
        ),
    );
    let of_scopes = |more: &[&str]| {
        let usual = ["findings", "chardev", "--property", "alternate", "--qemu"];
        statusquo(&[&usual[..], &[without.to_str().unwrap()], more].concat())
    };
    let all = of_scopes(&["--format", "json"]);
    let value = is_of_the_schema(&all);
    assert_eq!((all.status.code(), &value["findings"][0]["class"]), (Some(0), &"confirmed".into()));
    assert_eq!(
        value["skipped"],
        serde_json::json!([
            "scope agent: the system could not be driven: it ends while it starts: exit code 1; \
             it said: -spice: spice support is disabled"
        ])
    );
    let agent = of_scopes(&["--scope", "agent"]);
    let error = String::from_utf8_lossy(&agent.stderr).into_owned();
    assert_eq!(agent.status.code(), Some(3), "{error}");
    assert!(error.contains("-spice: spice support is disabled"), "{error}");
}

/// Deaths are outcomes where they are foretold, and faults where they are not.
#[test]
fn a_port_unplugged_before_the_first_run_ends_qemu() {
    let actions = [Migrate { host: false, run: false }, Unplug { port: 0 }, Cont];
    let mut trace = is_so("null", &actions);
    assert_eq!(shown(&trace), Reply::Died);
    let Some(qemu) = qemu() else { return };
    trace.last_mut().unwrap().outcome = Outcome::default();
    let study = study("qemu-7.2", "null");
    let Verdict::Diverges(divergence) = replay(&qemu, &study, &trace) else { panic!("it lives") };
    assert_eq!((divergence.step, divergence.kind()), (2, "died"));
    let Err(Fault::Died(how)) = &divergence.observed else { panic!("{divergence:?}") };
    assert!(how.contains("signal 11 (SIGSEGV)"), "{how}");
    assert!(explain(&study, &trace, &divergence).contains("observed: the system died: signal 11"));
}

#[test]
fn a_wrong_expectation_is_caught() {
    let Some(qemu) = qemu() else { return };
    let study = study("qemu-7.2", "server");
    let right = played(&study, &after(&ON, &[GuestOpen { port: 0 }, QUERY])).unwrap();
    for (step, wrong) in [
        (2, Outcome::default()),
        (3, Outcome { reply: Reply::Nothing, ..right[3].outcome }),
        (3, Outcome::died()),
        (
            4,
            Outcome {
                reply: Reply::Chardev { connected: true, frontend_open: false },
                ..right[4].outcome
            },
        ),
    ] {
        let mut trace = right.clone();
        trace[step].outcome = wrong;
        let Verdict::Diverges(divergence) = replay(&qemu, &study, &trace) else {
            panic!("step {step} agrees with {wrong:?}")
        };
        assert_eq!(divergence.step, step);
        assert_eq!(divergence.observed, Ok(Observed::Outcome(right[step].outcome)));
    }
}

/// What another design expects is not what QEMU does, and the report says so in words.
#[test]
fn other_designs_diverge_and_the_report_reads_well() {
    let Some(qemu) = qemu() else { return };
    let ours = study("ours", "server");
    let stale = played(&ours, &after(&ON, &[Stop, HostDisconnect { port: 0 }, Cont])).unwrap();
    let Verdict::Diverges(divergence) = replay(&qemu, &ours, &stale) else { panic!("it agrees") };
    assert_eq!(
        explain(&ours, &stale, &divergence),
        "    1  cont\n    2  driver-init  ->  {port0: {announced: true}, reply: ok}\n    \
         3  host-connect{port: 0}  ->  {port0: {guest-told: [connected]}, reply: ok}\n    4  stop\n    \
         5  host-disconnect{port: 0}\n    6  cont\n       \
         expected: {port0: {guest-told: [disconnected]}, reply: ok}\n       observed: reply ok\n       \
         in the model this step changes running: no -> yes, port0 guest was told: yes -> no\n       \
         the model answers so to stop here\n"
    );
    let labelled = study("as-labelled", "server");
    let begin = played(&labelled, &[QUERY]).unwrap();
    let Verdict::Diverges(divergence) = replay(&qemu, &labelled, &begin) else {
        panic!("it agrees")
    };
    assert_eq!(divergence.step, 0, "it starts in D, and QEMU does not");
}

#[test]
fn kept_walks_end_as_they_did() {
    let Some(qemu) = qemu() else { return };
    // A hang takes its time; the page of findings shows it.
    for (file, text) in KEPT.iter().filter(|(file, _)| !file.contains("stops-reading")) {
        let kept: serde_json::Value = serde_json::from_str(text).unwrap();
        let moves: Vec<Move> = serde_json::from_value(kept["moves"].clone()).unwrap();
        let end = qemu.ground().walk(&moves).end.unwrap_or_else(|| panic!("{file}: QEMU lives"));
        assert_eq!((end.kind, end.at + 1), (EndKind::Crash, moves.len()), "{file}: {}", end.how);
        let before = qemu.ground().walk(&moves[..moves.len() - 1]);
        assert_eq!(before.end, None, "{file}: it is the last move that does it");
        assert_eq!(before.shown.len(), moves.len() - 1);
    }
}

fn statusquo(args: &[&str]) -> Output {
    let dir = tempfile::Builder::new().prefix("sq").tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_statusquo"))
        .args(args)
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "something is left behind");
    output
}

fn is_of_the_schema(output: &Output) -> serde_json::Value {
    let value: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let schema = serde_json::from_str(include_str!("../schema/report.schema.json")).unwrap();
    jsonschema::validate(&schema, &value).unwrap();
    value
}

#[track_caller]
fn a_part_agrees(scope: &str, steps: &str, at_least: u64) {
    if qemu().is_none() {
        return;
    }
    let replayed = statusquo(&[
        "replay",
        "chardev",
        "--design",
        "qemu-7.2",
        "--system",
        "qemu",
        "--scope",
        scope,
        "--max-steps",
        steps,
        "--format",
        "json",
    ]);
    let value = is_of_the_schema(&replayed);
    let suite = &value["replayed"][0];
    assert_eq!(suite["diverge"], 0, "{value:#}");
    assert!(suite["covered"].as_u64().unwrap() >= at_least && suite["covered"] != suite["goals"]);
    assert_eq!((replayed.status.code(), &suite["note"]), (Some(0), &"".into()));
}

#[test]
fn a_part_of_the_suite_agrees_and_is_counted() {
    a_part_agrees("null", "400", 250);
}

#[test]
fn a_part_of_the_agents_suite_agrees_and_nothing_is_left_out() {
    a_part_agrees("agent", "300", 200);
}

#[test]
fn a_crash_is_found_and_kept_with_its_end() {
    if qemu().is_none() {
        return;
    }
    let walk = "unplugged-before-the-first-run.json";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/walks").join(walk);
    let again =
        statusquo(&["search", "chardev", "--again", file.to_str().unwrap(), "--format", "json"]);
    let value = is_of_the_schema(&again);
    assert_eq!((again.status.code(), &value["end"]["kind"]), (Some(1), &"crash".into()));
    let searched = statusquo(&[
        "search", "chardev", "--wild", "--walks", "2", "--moves", "3", "--format", "json",
    ]);
    assert_eq!(is_of_the_schema(&searched)["searched"][0]["walks"], 2);
    let findings = statusquo(&[
        "findings",
        "chardev",
        "--scope",
        "null",
        "--property",
        "survives",
        "--format",
        "json",
    ]);
    let finding = &is_of_the_schema(&findings)["findings"][0];
    assert_eq!(
        (&finding["class"], &finding["ended"]),
        (&"confirmed".into(), &"signal 11 (SIGSEGV)".into())
    );
}

#[test]
fn a_walk_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (text, says) in [
        ("", "this is no walk"),
        (
            r#"{"statusquo-walk":9,"study":"chardev","shows":"","system":"","kind":"crash","how":"","moves":[]}"#,
            "version 9",
        ),
        (
            r#"{"statusquo-walk":1,"study":"chardev","shows":"","system":"","kind":"crash","how":"","moves":[]}"#,
            "begins with `start`",
        ),
    ] {
        let path = dir.path().join("walk.json");
        fs::write(&path, text).unwrap();
        let output = statusquo(&["search", "chardev", "--again", path.to_str().unwrap()]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        // Where there is no QEMU, that is said first.
        let missing = output.status.code() == Some(3) && error.contains("system qemu");
        assert!(missing || output.status.code() == Some(2) && error.contains(says), "{error}");
    }
}

/// A program in QEMU's place.
fn fake(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A QEMU in Python that connects its sockets and then answers as `answers` says.
fn pretender(dir: &Path, name: &str, answers: &str) -> PathBuf {
    let text = format!(
        "#!/usr/bin/env python3\nimport json, socket, sys, time\n\
         def connect(option):\n    s = socket.socket(socket.AF_UNIX)\n    \
         s.connect(sys.argv[sys.argv.index(option) + 1].split(':', 1)[1])\n    return s\n\
         print('pretending', file=sys.stderr, flush=True)\n\
         qtest, qmp = connect('-qtest'), connect('-qmp')\nlines = qmp.makefile('r')\n\
         def greet():\n    version = {{'qemu': {{'major': 1, 'minor': 2, 'micro': 3}}, 'package': ''}}\n    \
         qmp.sendall(json.dumps({{'QMP': {{'version': version}}}}).encode() + b'\\n')\n{answers}\n"
    );
    fake(dir, name, &text)
}

#[test]
fn bad_systems_are_named_with_what_they_said() {
    if qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let refuses = "greet()\nfor line in lines:\n    \
                   qmp.sendall(b'{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no such command\"}}\\n')";
    let forbidden = dir.join("forbidden");
    fs::write(&forbidden, "#!/bin/sh\n").unwrap();
    let cases = [
        (dir.join("absent"), "absent is not here"),
        (forbidden, "it ends while it starts: exit code 126; it said: sh: "),
        (
            fake(dir, "exits", "#!/bin/sh\necho out of memory >&2\nexit 7\n"),
            "it ends while it starts: exit code 7; it said: out of memory",
        ),
        (
            fake(dir, "dies", "#!/bin/sh\nkill -SEGV $$\n"),
            "it ends while it starts: signal 11 (SIGSEGV)",
        ),
        (
            fake(dir, "silent", "#!/bin/sh\necho waiting >&2\nexec sleep 600\n"),
            "it does not connect to its qtest socket within 8s; it said: waiting",
        ),
        (
            pretender(dir, "mute", "time.sleep(600)"),
            "while it starts: no answer within 8s: the system hangs; it said: pretending",
        ),
        (
            pretender(dir, "garbage", "qmp.sendall(b'\\xff\\xfe\\n')\ntime.sleep(600)"),
            "the system's answer makes no sense: a line that is not UTF-8; it said: pretending",
        ),
        (
            pretender(dir, "other", "qmp.sendall(b'{}\\n')\ntime.sleep(600)"),
            "no greeting of QMP's: {}",
        ),
        (
            pretender(dir, "refuses", refuses),
            "qmp_capabilities is refused: CommandNotFound: no such command; it said: pretending",
        ),
        (
            fake(
                dir,
                "lacks",
                &format!("#!/bin/sh\nexec {DEFAULT_BINARY} -device nosuch \"$@\"\n"),
            ),
            "'nosuch' is not a valid device model name",
        ),
    ];
    let is_named = |path: &Path, says: &str| {
        let output = statusquo(&[
            "replay",
            "chardev",
            "--design",
            "qemu-7.2",
            "--system",
            "qemu",
            "--scope",
            "null",
            "--max-steps",
            "1",
            "--qemu",
            path.to_str().unwrap(),
        ]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{}: {error}", path.display());
        assert!(
            error.contains("system qemu: ") && error.contains(says),
            "{}: {error}",
            path.display()
        );
    };
    // Two of them are waited for, so all at once.
    std::thread::scope(|scope| {
        for (path, says) in &cases {
            scope.spawn(|| is_named(path, says));
        }
    });
}

#[test]
fn a_place_without_room_is_named() {
    if qemu().is_none() {
        return;
    }
    // No file may grow beyond a few blocks, as on a full disk.
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" replay chardev --design qemu-7.2 --system qemu --scope null --max-steps 1"])
        .arg(env!("CARGO_BIN_EXE_statusquo"))
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("system qemu: ") && error.contains("make its files below"), "{error}");
}

/// Where nothing may be written, which root is refused too.
#[test]
fn a_place_that_is_forbidden_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_statusquo"))
        .args(["replay", "chardev", "--scope", "null", "--system", "qemu"])
        .env("TMPDIR", "/proc/self")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("make a directory for this run below /proc/self"), "{error}");
    assert!(error.contains("TMPDIR names another place"), "{error}");
}
