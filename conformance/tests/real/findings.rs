//! The pages of findings, made anew and compared.

use std::fs;

use super::*;

/// One finding's worth of pages, so that the test is short: the evidence is edited, and that is found.
#[test]
fn edited_evidence_is_found() {
    if !qemu_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let docs = dir.path();
    fs::create_dir(docs.join("findings")).unwrap();
    let compare = |more: &[&str]| {
        let docs = docs.to_str().unwrap();
        statusquo(&[&["findings", "--against", "qemu", "--docs", docs][..], more].concat())
    };
    let written = compare(&["--update"]);
    assert!(written.out.contains("findings/chardev.md: written anew"), "{written:?}");
    let page = docs.join("findings/chardev.md");
    let text = fs::read_to_string(&page).unwrap();
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/findings/chardev.md");
    let kept = fs::read_to_string(kept).unwrap();
    // The page names the version that it is of: another one may well do otherwise.
    let title = |text: &str| text.lines().find(|line| line.starts_with("# ")).map(str::to_owned);
    if title(&text) == title(&kept) {
        assert_eq!(text, kept, "the page that is kept is another");
    } else {
        eprintln!(
            "not compared: {:?} is here, and the page is of {:?}",
            title(&text),
            title(&kept)
        );
        return;
    }
    assert!(text.contains("signal 11 (SIGSEGV)"));
    fs::write(&page, text.replacen("signal 11 (SIGSEGV)", "exit code 0", 1)).unwrap();
    let differs = compare(&["--format", "json"]);
    assert_eq!(differs.code, Some(1), "{differs:?}");
    let pages = &differs.json()["pages"];
    assert_eq!(pages[0]["file"], "findings/chardev.md");
    let difference = &pages[0]["differs"];
    assert!(difference["kept"].as_str().unwrap().contains("exit code 0"), "{pages:#}");
    assert!(difference["anew"].as_str().unwrap().contains("signal 11 (SIGSEGV)"), "{pages:#}");
    fs::remove_dir_all(docs.join("findings")).unwrap();
    let none = compare(&[]);
    assert_eq!(none.code, Some(2), "{none:?}");
    assert!(none.err.contains("there are no pages to compare with"), "{none:?}");
}
