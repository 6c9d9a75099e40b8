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

/// A file that its package's `all.rs` does not name would not be run, and nobody would miss it.
#[test]
fn every_file_is_a_part() {
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (package, alone) in [("model", "all"), ("impl", "chardev"), ("conformance", "replay")] {
        let tests = workspace.join(package).join("tests");
        let named = std::fs::read_to_string(tests.join("all.rs")).unwrap();
        for entry in tests.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if path.extension().is_some_and(|it| it == "rs") && !["all", alone].contains(&name) {
                assert!(
                    named.contains(&format!("\nmod {name};\n")),
                    "{} is not run",
                    path.display()
                );
            }
        }
    }
}
