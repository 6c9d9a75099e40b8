//! Known divergences, from the list to the exit code.

use std::fs;

use super::*;

/// The step in which QEMU 7.2 is known not to do what ours does.
const CONT: [&str; 4] =
    ["cont", "{port0: {guest-told: [disconnected]}, reply: ok}", "reply ok", "a test"];

/// A run of ours that ends in that step, on QEMU, with a list of one.
fn replayed(from: &str, to: &str, [action, expected, observed, reason]: [&str; 4]) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let (trace, list) = (dir.path().join("trace.jsonl"), dir.path().join("known.toml"));
    let step =
        |action: &str, outcome: &str| format!("{{\"action\":{action},\"outcome\":{outcome}}}\n");
    let ok = "{\"reply\":\"ok\"}";
    let port = |what: &str| format!("{{\"reply\":\"ok\",\"port0\":{what}}}");
    let text = [
        "{\"statusquo-trace\":1,\"study\":\"chardev\",\"design\":\"ours\",\"scope\":\"server\",\"criterion\":\"kept\"}\n{\"trace\":1}\n".to_owned(),
        step("\"cont\"", ok),
        step("\"driver-init\"", &port("{\"announced\":true}")),
        step("{\"host-connect\":{\"port\":0}}", &port("{\"guest-told\":[\"connected\"]}")),
        step("\"stop\"", ok),
        step("{\"host-disconnect\":{\"port\":0}}", ok),
        step("\"cont\"", &port("{\"guest-told\":[\"disconnected\"]}")),
    ];
    fs::write(&trace, text.concat()).unwrap();
    let entry = format!(
        "[[divergence]]\nsystem = 'QEMU'\nfrom = '{from}'\nto = '{to}'\nstudy = 'chardev'\ndesign = 'ours'\n\
         action = '{action}'\nexpected = '{expected}'\nobserved = '{observed}'\nreason = '{reason}'\nsource = 'here'\n"
    );
    fs::write(&list, entry).unwrap();
    let (trace, list) = (trace.to_str().unwrap(), list.to_str().unwrap());
    statusquo(&["replay", trace, "--system", "qemu", "--known", list])
}

#[test]
fn a_known_divergence_is_accepted_and_named() {
    if !qemu_is_here() {
        return;
    }
    let ran = replayed("1.0", "99", CONT);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("1 of 1 traces agree, 0 diverge"), "{ran:?}");
    let named = "known, 1 times: cont: reply ok instead of {port0: {guest-told: [disconnected]}, reply: ok}: a test";
    assert!(ran.out.contains(named), "{ran:?}");
}

#[test]
fn of_another_version_it_is_not_accepted() {
    if !qemu_is_here() {
        return;
    }
    for (from, to) in [("1.0", "7.1.99"), ("99", "100")] {
        let ran = replayed(from, to, CONT);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.out.contains("0 of 1 traces agree, 1 diverge"), "{ran:?}");
        assert!(!ran.out.contains("known, "), "{ran:?}");
    }
}

#[test]
fn another_difference_than_the_known_one_is_not_accepted() {
    if !qemu_is_here() {
        return;
    }
    let [action, expected, _, reason] = CONT;
    let ran = replayed("1.0", "99", [action, expected, "reply nothing", reason]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("1 diverge"), "{ran:?}");
}

#[test]
fn one_that_does_not_happen_any_more_is_reported() {
    if !qemu_is_here() {
        return;
    }
    let [_, _, _, reason] = CONT;
    let ran = replayed("1.0", "99", ["stop", "reply ok", "reply nothing", reason]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let says =
        "no longer so, take it out of divergences.toml: stop: reply nothing instead of reply ok";
    assert!(ran.out.contains(says), "{ran:?}");
}
