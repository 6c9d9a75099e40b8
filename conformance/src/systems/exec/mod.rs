//! Any program, in any language, that speaks the adapter protocol: `docs/guide/adapter.md`.
//!
//! A process serves one trace after the other, with a `reset` before each; one that did anything that it
//! should not is ended and never asked again.

mod process;
mod protocol;

use std::{
    ffi::OsString,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use statusquo_model::study::{Study, View};

pub use self::{
    process::DIRECTORY,
    protocol::{Answer, LINE_MAX, Names, Request, VERSION},
};
pub(crate) use self::{
    process::{Adapter, obituary},
    protocol::clip,
};
use crate::replay::{Factory, Fault, Observed, System};

/// How an adapter is run: program and arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    words: Vec<OsString>,
}

/// A command line that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Nothing to run.
    #[error("the adapter's command is empty")]
    Empty,
    /// A quote that is not closed, or a backslash at the end.
    #[error("the adapter's command `{0}` ends within quotes or after a backslash")]
    Unfinished(String),
}

impl Command {
    /// Splits a command line as a shell would, and expands nothing.
    ///
    /// # Errors
    /// When a quote is left open, or when nothing stands there.
    pub fn split(line: &str) -> Result<Self, CommandError> {
        let words = shlex::split(line).ok_or_else(|| CommandError::Unfinished(line.to_owned()))?;
        Command::of(words.into_iter().map(OsString::from).collect())
    }

    /// Program and arguments, word by word.
    ///
    /// # Errors
    /// When there is no word.
    pub fn of(words: Vec<OsString>) -> Result<Self, CommandError> {
        if words.first().is_none_or(|program| program.is_empty()) {
            return Err(CommandError::Empty);
        }
        Ok(Command { words })
    }

    /// Starts it.
    pub(crate) fn spawn(&self, deadline: Duration) -> Result<Adapter, Fault> {
        Adapter::spawn(&self.words, deadline)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        let line = shlex::try_join(words.iter().map(AsRef::as_ref));
        f.write_str(&line.unwrap_or_else(|_| words.join(" ")))
    }
}

/// Replays on processes that speak the adapter protocol.
#[derive(Debug)]
pub struct ExecFactory {
    command: Command,
    names: Names,
    deadline: Duration,
    /// What the adapter says that it is.
    name: OnceLock<String>,
    idle: Arc<Idle>,
}

/// Adapters that wait for their next trace.
type Idle = Mutex<Vec<Adapter>>;

impl ExecFactory {
    /// Of one command. `deadline` holds for each request.
    pub fn new(command: Command, names: Names, deadline: Duration) -> Self {
        ExecFactory { command, names, deadline, name: OnceLock::new(), idle: Arc::default() }
    }
}

impl<S: Study> Factory<S> for ExecFactory {
    fn name(&self) -> String {
        match self.name.get() {
            Some(name) => format!("{name} ({})", self.command),
            None => self.command.to_string(),
        }
    }

    fn start(&self) -> Result<Box<dyn System<S>>, Fault> {
        let waiting = lock(&self.idle).pop();
        let adapter = match waiting {
            Some(adapter) => adapter,
            None => self.command.spawn(self.deadline)?,
        };
        let mut system = ExecSystem { adapter: Some(adapter), idle: Arc::clone(&self.idle) };
        let name = system.drive(|adapter| reset(adapter, &self.names))?;
        self.name.get_or_init(|| name);
        Ok(Box::new(system))
    }
}

fn lock(idle: &Idle) -> MutexGuard<'_, Vec<Adapter>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Brings an adapter to the initial state. What it says that it is.
pub(crate) fn reset(adapter: &mut Adapter, names: &Names) -> Result<String, Fault> {
    let request = Request::Reset { protocol: VERSION, names: names.clone() };
    match adapter.ask(&request)? {
        Answer::Ready { protocol, name } if protocol == u64::from(VERSION) => Ok(name),
        Answer::Ready { protocol, name } => Err(Fault::Environment(format!(
            "{name} speaks version {protocol} of the adapter protocol, and this program speaks {VERSION}"
        ))),
        answer => Err(out_of_place(answer, "reset", "ready")),
    }
}

/// An answer to another question, or to none.
pub(crate) fn out_of_place(answer: Answer, asked: &str, due: &str) -> Fault {
    match answer {
        Answer::Error(why) => {
            Fault::Environment(format!("the adapter answers {asked} with an error: {}", clip(&why)))
        }
        other => {
            Fault::Garbage(format!("{asked} was answered with `{}`, not `{due}`", other.kind()))
        }
    }
}

struct ExecSystem {
    /// Until it did something that it should not.
    adapter: Option<Adapter>,
    idle: Arc<Idle>,
}

impl ExecSystem {
    fn drive<T>(
        &mut self,
        what: impl FnOnce(&mut Adapter) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let Some(adapter) = &mut self.adapter else {
            return Err(Fault::Died("it was ended after what it did before".to_owned()));
        };
        what(adapter).map_err(|fault| match fault {
            // Nothing else will show what it said.
            Fault::Environment(why) if !adapter.said().is_empty() => {
                Fault::Environment(format!("{why}; it said: {}", adapter.said().join(" | ")))
            }
            fault => fault,
        })
    }
}

impl<S: Study> System<S> for ExecSystem {
    fn apply(&mut self, action: S::Action, _owed: &S::Outcome) -> Result<Observed<S>, Fault> {
        self.drive(|adapter| apply::<S>(adapter, action))
    }

    fn view(&mut self) -> Result<View, Fault> {
        self.drive(view)
    }

    fn last_words(&self) -> Vec<String> {
        self.adapter.as_ref().map(Adapter::said).unwrap_or_default()
    }
}

/// One action, and what was observed.
pub(crate) fn apply<S: Study>(
    adapter: &mut Adapter,
    action: S::Action,
) -> Result<Observed<S>, Fault> {
    let action = serde_json::to_value(action)
        .map_err(|error| Fault::Environment(format!("the action has no name: {error}")))?;
    match adapter.ask(&Request::Apply(action))? {
        Answer::Outcome(outcome) => {
            let text = outcome.to_string();
            let parsed = serde_json::from_value(outcome).map(Observed::Outcome);
            parsed.map_err(|error| {
                let error = error.to_string();
                Fault::Garbage(format!(
                    "no outcome of this study ({}): {}",
                    clip(&error),
                    clip(&text)
                ))
            })
        }
        Answer::Blocked(why) => Ok(Observed::Blocked(clip(&why))),
        answer => Err(out_of_place(answer, "apply", "outcome")),
    }
}

/// What can be seen at rest; nothing of an adapter that answers with an error.
pub(crate) fn view(adapter: &mut Adapter) -> Result<View, Fault> {
    match adapter.ask(&Request::View {})? {
        Answer::View(view) => {
            Ok(view.into_iter().map(|(what, value)| (clip(&what), clip(&value))).collect())
        }
        Answer::Error(_) => Ok(View::new()),
        answer => Err(out_of_place(answer, "view", "view")),
    }
}

impl Drop for ExecSystem {
    fn drop(&mut self) {
        if let Some(adapter) = self.adapter.take().filter(Adapter::is_sound) {
            lock(&self.idle).push(adapter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_would() {
        let command = Command::split(r#"./adapter.py --name 'a b' "c d" e\ f"#).unwrap();
        assert_eq!(command.words, ["./adapter.py", "--name", "a b", "c d", "e f"]);
        assert_eq!(command.to_string(), "./adapter.py --name 'a b' 'c d' 'e f'");
        assert_eq!(Command::split(" "), Err(CommandError::Empty));
        assert_eq!(Command::split("''"), Err(CommandError::Empty));
        assert_eq!(
            Command::split("a 'b").unwrap_err().to_string(),
            "the adapter's command `a 'b` ends within quotes or after a backslash"
        );
    }
}
