//! Every test of this package from outside, in one binary, so that all processors have something to do.
//!
//! `cargo test -p statusquo-model --test all pins::` runs one file's.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;
mod engine;
mod pins;
mod random;

/// A file that no line above names would not be run, and nobody would miss it.
#[test]
fn every_file_is_a_part() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_some_and(|it| it == "rs") && name != "all" {
            let line = format!("\nmod {name};\n");
            assert!(include_str!("all.rs").contains(&line), "{} is not run", path.display());
        }
    }
}
