//! The `statusquo-vmmd` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    statusquo_vmm::daemon::cli::main(std::env::args_os())
}
