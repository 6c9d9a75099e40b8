//! The command line.

mod adapter;
mod budget;
mod check;
mod compare;
mod doctor;
mod exec;
mod explore;
mod findings;
mod generate;
mod mutate;
mod replay;
mod search;
mod validate;
mod verify;
mod vmmd;

use std::{io, num::NonZeroUsize, path::PathBuf, sync::Arc};

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use tempfile::TempDir;

use statusquo_model::{
    catalogue,
    study::{Property, Study},
};

pub use self::budget::Budgets;
use crate::{
    report,
    systems::real::{self, REQUIRE},
    workdir,
};

/// Check the designs of VM stacks, compare them, and replay their behaviour on the real thing.
#[derive(Debug, Parser)]
#[command(name = "statusquo", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

const EXIT_CODES: &str = "Exit codes:
  0  as expected: pinned, held, agreed
  1  violated, diverged, or not as pinned
  2  usage or bad input
  3  incomplete: out of budget, inconclusive, or skipped though required
  141  nobody read the output to its end";

/// What every command understands.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// How to print: text for people, json for programs (conformance/schema)
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Threads to use [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = threads)]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    budgets: Budgets,
}

/// More would wait for each other, and a system that has no more to give ends the process.
const THREADS_MAX: usize = 1024;

fn threads(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse::<NonZeroUsize>() {
        Ok(threads) if threads.get() <= THREADS_MAX => Ok(threads),
        _ => Err(format!("expected a number from 1 to {THREADS_MAX}")),
    }
}

impl Common {
    fn threads(&self) -> NonZeroUsize {
        self.threads.unwrap_or_else(statusquo_model::check::all_threads)
    }

    fn json(&self) -> bool {
        self.format == Format::Json
    }
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For a mailing list: tables as Markdown (compare and findings; elsewhere as text).
    Markdown,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The main job: check every design against its pins, generate suites, replay them on ours
    #[command(after_help = "Examples:
  statusquo verify
  statusquo verify chardev --junit report.xml
  statusquo verify --print-pins > model/src/studies/chardev/pins.tsv")]
    Verify(verify::Verify),
    /// Check the properties of one design, with the shortest trace of each violation
    #[command(after_help = "Examples:
  statusquo check chardev --design as-written
  statusquo check chardev --design qemu-7.2 --scope server --property 'a draining peer'
  statusquo check chardev --design ours --scope unbounded --max-seconds 1")]
    Check(check::Check),
    /// Print design x property; for two designs, the shortest trace that tells them apart
    #[command(after_help = "Examples:
  statusquo compare chardev
  statusquo compare chardev --format markdown
  statusquo compare chardev --designs no-replay,replay-in-load")]
    Compare(compare::Compare),
    /// Write a suite of traces that covers a design, and count what it covers
    #[command(after_help = "Examples:
  statusquo generate chardev --scope server -o server.jsonl
  statusquo generate chardev --design qemu-7.2 --scope agent --criterion states")]
    Generate(generate::Generate),
    /// Put every single fault into a machine, and count those that a suite tells
    #[command(after_help = "Examples:
  statusquo mutate chardev --scope server                       what a tour of all steps misses
  statusquo mutate chardev --scope server --criterion checked   nothing
  statusquo mutate chardev --scope server -o repaired.jsonl     the suite with the tests that it lacks")]
    Mutate(mutate::Mutate),
    /// Replay traces on a system and explain the first divergence of each
    #[command(after_help = "Examples:
  statusquo replay chardev                                  the suite of ours, on our implementation
  statusquo replay server.jsonl --system vmm
  statusquo replay chardev --scope null --exec './adapter.py --verbose'
  statusquo replay chardev --system model --on qemu-7.2     must diverge: the designs differ
  statusquo replay chardev --design qemu-7.2 --system qemu --scope server --part 7/100   one night's share
  statusquo replay restart --system vmmd                    every crash point of our daemon, on a real QEMU
  statusquo replay restart --system vmmd --kills 500        and SIGKILL at random instants
  statusquo replay alias --system vmmd                      a part of each suite, the daemon restarted between requests
  statusquo replay pci_root --system vmmd --every-transition    all that the QEMUs of this machine can be driven through")]
    Replay(replay::Replay),
    /// Serve stateright's Explorer for a design, on loopback, until interrupted
    #[command(after_help = "Example:
  statusquo explore chardev --design qemu-7.2 --scope server --listen 127.0.0.1:3000")]
    Explore(explore::Explore),
    /// Replay what a shipped design violates on the binary that people run
    #[command(
        after_help = "Examples:\n  statusquo findings\n  statusquo findings restart --against libvirt --property 'guest is lost'"
    )]
    Findings(findings::Findings),
    /// Say whether the log of a real run is a run of the model
    #[command(after_help = "Examples:
  statusquo validate chardev run.jsonl --design qemu-7.2 --scope server
  statusquo validate chardev run.jsonl --scope null --hidden driver-init,guest-post

Each line shows as much of a step as was seen: {\"action\":{\"guest-open\":{}},\"outcome\":{\"reply\":\"ok\"}}
or of what could be seen at rest: {\"view\":{\"running\":\"yes\"}}.")]
    Validate(validate::Validate),
    /// Put a program that speaks the adapter protocol to the test
    Adapter(adapter::Adapter),
    /// Walk at random on a real system, and compare every answer with the model's; shorten what differs
    #[command(after_help = "Examples:
  statusquo search chardev --minutes 10 --seed 7 --keep walks
  statusquo search alias --minutes 5                      on the libvirt of this machine
  statusquo search chardev --design ours --scope server   must diverge: QEMU does not do as ours
  statusquo search chardev --wild                         beyond the study: does QEMU live?
  statusquo search chardev --again conformance/corpus/walks/unplugged-before-the-first-run.json")]
    Search(search::Search),
    /// Say which real systems are here, which versions, and how to install what is missing
    Doctor(doctor::Doctor),
    /// Print a completion script for a shell
    #[command(after_help = "Example:
  statusquo completions bash > /etc/bash_completion.d/statusquo")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Which study, at which scope.
#[derive(Clone, Debug, Args)]
struct Which {
    /// The study's name
    study: String,
    /// The scope's name [default: the study's first]
    #[arg(long)]
    scope: Option<String>,
}

/// A file to write to; standard output without one.
#[derive(Clone, Debug, Args)]
struct Output {
    /// Write here instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How a command ended when nothing went wrong with the command itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// Exit code 0.
    AsExpected,
    /// Exit code 3.
    Incomplete,
    /// Exit code 1.
    Violated,
}

impl Ended {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Ended::AsExpected => 0,
            Ended::Violated => 1,
            Ended::Incomplete => 3,
        }
    }
}

/// A machine that was not explored to the end, where a part of it is of no use.
#[derive(Debug, thiserror::Error)]
#[error(
    "{what} was not explored to the end ({end}), so no suite can be said to cover it; raise the budget"
)]
pub(crate) struct Unfinished {
    /// Study, design and scope.
    what: String,
    /// What ended the search.
    end: String,
}

/// A real system that is not here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Missing(pub(crate) String);

/// The exit code of a command that failed: 3 where a budget was too small, and 2 for usage and bad input.
pub fn code_of(error: &anyhow::Error) -> u8 {
    let unfinished = error.chain().any(|cause| {
        cause.is::<Unfinished>()
            || cause.is::<crate::mutate::TooMany>()
            || cause.is::<Missing>()
            || cause.is::<crate::systems::qemu::Missing>()
    });
    if unfinished { Ended::Incomplete.code() } else { 2 }
}

impl Cli {
    /// Is what is printed read by a program?
    pub fn json(&self) -> bool {
        self.common.json()
    }
}

/// Tells programs, too, that and why a command failed.
pub fn print_error(error: &anyhow::Error) -> anyhow::Result<()> {
    print_json(&serde_json::json!({
        "version": report::VERSION, "error": format!("{error:#}"), "exit-code": code_of(error),
    }))
}

/// Runs one command. What an error means for the exit code, [`code_of`] says.
pub fn run(cli: Cli) -> anyhow::Result<Ended> {
    let Cli { command, common } = cli;
    // Systems share it from the first to the last.
    let _dir = match command {
        Command::Verify(_) | Command::Replay(_) | Command::Findings(_) | Command::Search(_) => {
            let dir = directory()?;
            missing_but_required()?;
            Some(dir)
        }
        Command::Adapter(_) | Command::Doctor(_) => Some(directory()?),
        _ => None,
    };
    match command {
        Command::Verify(verify) => verify.run(&common),
        Command::Check(check) => check.run(&common),
        Command::Compare(compare) => compare.run(&common),
        Command::Generate(generate) => generate.run(&common),
        Command::Mutate(mutate) => mutate.run(&common),
        Command::Replay(replay) => replay.run(&common),
        Command::Explore(explore) => explore.run(&common),
        Command::Findings(findings) => findings.run(&common),
        Command::Validate(validate) => validate.run(&common),
        Command::Adapter(adapter) => adapter.run(&common),
        Command::Search(search) => search.run(&common),
        Command::Doctor(doctor) => doctor.run(&common),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "statusquo", &mut script);
            print(&String::from_utf8_lossy(&script))?;
            Ok(Ended::AsExpected)
        }
    }
}

/// Is this property asked for by a part of its name? All are where nothing is.
fn is_wanted(part: Option<&str>, property: &str) -> bool {
    part.is_none_or(|part| property.contains(part))
}

/// A part of a name that is in none of these is a mistake.
fn some_are_wanted<S: Study>(part: Option<&str>, properties: &[Property<S>]) -> anyhow::Result<()> {
    let mut names = properties.iter().map(|property| property.name);
    match part {
        Some(part) if !names.any(|name| is_wanted(Some(part), name)) => {
            let known = properties.iter().map(|property| property.name);
            Err(catalogue::unknown("property", part, known).into())
        }
        _ => Ok(()),
    }
}

/// Where systems leave what they need.
fn directory() -> anyhow::Result<Arc<TempDir>> {
    workdir::root().with_context(|| {
        let place = std::env::temp_dir();
        format!(
            "make a directory for this run below {} (TMPDIR names another place)",
            place.display()
        )
    })
}

/// Nothing is as expected where somebody insists on a system that is not here.
fn missing_but_required() -> anyhow::Result<()> {
    for real in real::required().context(REQUIRE)? {
        if let Err(why) = real.find() {
            return Err(Missing(format!("{REQUIRE} asks for {}: {why}", real.name())).into());
        }
    }
    Ok(())
}

/// Prints to standard output; the reader may have gone.
fn print(text: &str) -> anyhow::Result<()> {
    use io::Write;
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(if text.ends_with('\n') { b"" } else { b"\n" })?;
    out.flush()?;
    Ok(())
}

fn print_json<T: serde::Serialize>(value: &T) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}
