//! The tests of this package in one binary: most of them wait for processes, and wait at the same time. Only
//! `replay` is one of its own: what it does with its descriptors has to be seen at once, and a process that is
//! just being started holds copies of them.
//!
//! `cargo test -p statusquo --test all qemu::` runs one file's.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod adapter;
mod alias;
mod cli;
mod docs;
mod interrupted;
mod libvirt;
mod mutate;
mod names;
mod qemu;
#[path = "real/main.rs"]
mod real;
mod usb_qemu;
mod vmmd;

/// A file that no line above names would not be run, and nobody would miss it.
#[test]
fn every_file_is_a_part() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_some_and(|it| it == "rs") && !["all", "replay"].contains(&name) {
            let line = format!("\nmod {name};\n");
            assert!(include_str!("all.rs").contains(&line), "{} is not run", path.display());
        }
    }
}
