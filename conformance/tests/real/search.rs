//! Walks over the study's alphabet on QEMU, compared with a model.

use super::*;

#[test]
fn the_model_of_qemu_is_not_found_wrong() {
    if !qemu_is_here() {
        return;
    }
    let ran = statusquo(&[
        "search", "chardev", "--scope", "null", "--walks", "8", "--moves", "30", "--format", "json",
    ]);
    let value = ran.json();
    assert_eq!((ran.code, &value["design"]), (Some(0), &"qemu-7.2".into()), "{value:#}");
    let searched = &value["searched"][0];
    assert_eq!((&searched["walks"], &searched["stuck"]), (&8.into(), &0.into()));
    assert!(searched["moves"].as_u64().unwrap() > 40, "{value:#}");
}

/// A wrong expectation is found out, comes down to a trace that is known, and is kept as one that diverges again.
#[test]
fn a_wrong_model_is_found_out_and_the_walk_is_shortened_and_kept() {
    if !qemu_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let keep = dir.path().to_str().unwrap();
    let ran = statusquo(&[
        "search",
        "chardev",
        "--design",
        "as-labelled",
        "--scope",
        "null",
        "--walks",
        "8",
        "--ends",
        "1",
        "--keep",
        keep,
        "--format",
        "json",
    ]);
    let value = ran.json();
    assert_eq!(ran.code, Some(1), "{value:#}");
    let end = &value["searched"][0]["ends"][0];
    // By that design a null chardev is connected from the start; QEMU's never says that it is open.
    assert_eq!(end["moves"], serde_json::json!(["cont", "driver-init"]), "{value:#}");
    assert_eq!(end["end"]["kind"], "divergence");
    let how = "expected {port0: {announced: true, guest-told: [connected]}, reply: ok}, \
               observed {port0: {announced: true}, reply: ok}";
    assert_eq!(end["end"]["how"], how);
    let kept = dir.path().join("null-seed-1-1.jsonl");
    let again = statusquo(&["replay", kept.to_str().unwrap(), "--system", "qemu"]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.out.contains("1 diverge"), "{again:?}");
    let right = statusquo(&["replay", kept.to_str().unwrap(), "--system", "model"]);
    assert_eq!(right.code, Some(0), "{right:?}");
}

#[test]
fn what_cannot_be_walked_is_said() {
    let ran = statusquo(&["search", "freeze"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("the study freeze knows of no design that was shipped"), "{ran:?}");
    let ran = statusquo(&["search", "restart", "--wild"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("wild walks are walked on QEMU"), "{ran:?}");
}
