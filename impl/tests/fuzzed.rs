//! The properties of the fuzz targets, on their seeds, on what they have found, and on texts of our own.

pub(crate) mod properties;
mod round_trips;

use std::{fs, path::Path};

/// Each seed, and each text that once failed, is kept in `fuzz/seeds`.
#[track_caller]
fn check(target: &str, holds: fn(&[u8]) -> bool) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let mut accepted = 0;
    let mut refused = 0;
    for entry in fs::read_dir(seeds).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        match holds(&fs::read(path).unwrap()) {
            true => accepted += 1,
            false => refused += 1,
        }
    }
    assert!(accepted >= 5, "{accepted} accepted, {refused} refused");
}

#[test]
fn definitions() {
    check("domain", properties::domain);
}

#[test]
fn status_files() {
    check("status", properties::status);
}
