//! Our domain XML against libvirt's own test data.
//!
//! ```text
//! apt-get source --download-only libvirt && tar xf libvirt_*.orig.tar.xz
//! cargo run -p statusquo-vmm --example corpus -- libvirt-9.0.0/tests
//! ```
//!
//! Three sections, each with counts. A difference needs a reason in `reasons.tsv`; one without a reason, or a reason
//! without a difference, ends with 1.

mod check;

use std::{path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    let given = std::env::args_os().nth(1).or_else(|| std::env::var_os("STATUSQUO_LIBVIRT_TESTS"));
    let Some(directory) = given.map(PathBuf::from) else {
        eprintln!(
            "usage: corpus DIR, the directory `tests` of libvirt's source (or STATUSQUO_LIBVIRT_TESTS)"
        );
        return ExitCode::from(2);
    };
    match check::run(&directory) {
        Ok(report) => {
            print!("{report}");
            if report.is_as_expected() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
