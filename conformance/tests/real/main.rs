//! The command on the real QEMU: what it accepts, what it finds, what it compares.
//!
//! `STATUSQUO_REQUIRE=qemu` makes it an error that QEMU is not installed.

mod findings;
mod known;
mod search;
mod variants;

use std::{
    path::Path,
    process::{Command, Output},
};

use statusquo::systems::real::{Real, is_here, or_skip};

/// Runs the command, which must leave nothing behind.
fn statusquo(args: &[&str]) -> Ran {
    let dir = tempfile::Builder::new().prefix("sq").tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_statusquo"))
        .args(args)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "something is left behind");
    Ran::of(output)
}

/// How a command ended, and what it said.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What it printed as data, which is of the schema.
    #[track_caller]
    fn json(&self) -> serde_json::Value {
        let value: serde_json::Value =
            serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{self:?}"));
        let schema = serde_json::from_str(include_str!("../../schema/report.schema.json")).unwrap();
        if let Err(error) = jsonschema::validate(&schema, &value) {
            panic!("{error}: {value:#}");
        }
        value
    }
}

fn qemu_is_here() -> bool {
    is_here(Real::Qemu)
}
