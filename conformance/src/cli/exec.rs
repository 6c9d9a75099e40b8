//! An adapter's command, as one argument or word by word.

use std::ffi::OsString;

use clap::Args;

use crate::systems::exec::{Command, CommandError};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Adapter")]
pub(super) struct Exec {
    /// A program that speaks the adapter protocol: a command line, split as a shell would
    #[arg(long = "exec", value_name = "COMMAND", conflicts_with = "words")]
    line: Option<String>,
    /// The same, word by word
    #[arg(last = true, value_name = "COMMAND")]
    words: Vec<OsString>,
}

impl Exec {
    /// The command, where one was given.
    pub(super) fn command(&self) -> Result<Option<Command>, CommandError> {
        match &self.line {
            Some(line) => Command::split(line).map(Some),
            None if self.words.is_empty() => Ok(None),
            None => Command::of(self.words.clone()).map(Some),
        }
    }
}
