//! The `statusquo` command.

use std::{io, process::ExitCode};

use clap::Parser;
use statusquo::{
    cli::{self, Cli},
    workdir,
};

/// What a shell says of a program that nobody read to its end.
const UNREAD: u8 = 128 + 13;

fn main() -> ExitCode {
    // The daemon that is replayed on is this program, so that nothing else has to be built: `statusquo vmmd …`.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == "vmmd") {
        let words = std::iter::once("statusquo-vmmd".into()).chain(words);
        return statusquo_vmm::daemon::cli::main(words);
    }
    let cli = Cli::parse();
    let json = cli.json();
    if let Err(error) = workdir::remove_when_interrupted() {
        eprintln!("warning: an interrupt will leave temporary files behind: {error}");
    }
    let ended = cli::run(cli);
    workdir::remove();
    if let Some(signal) = workdir::interrupted() {
        return ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX));
    }
    match ended {
        Ok(ended) => ExitCode::from(ended.code()),
        // Whoever read our output has seen enough, and not the verdict: as if SIGPIPE had ended us.
        Err(error) if is_broken_pipe(&error) => ExitCode::from(UNREAD),
        Err(error) => {
            eprintln!("error: {error:#}");
            if json {
                // The exit code says it too.
                drop(cli::print_error(&error));
            }
            ExitCode::from(cli::code_of(&error))
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
