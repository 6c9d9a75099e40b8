//! The QEMU machine protocol, with the events that come between replies.

use std::{collections::VecDeque, os::unix::net::UnixStream};

use serde_json::{Value, json};

use super::lines::Lines;
use crate::replay::Fault;

/// A client that has negotiated.
#[derive(Debug)]
pub(super) struct Qmp {
    lines: Lines,
    events: VecDeque<Value>,
    runs: bool,
    version: String,
}

/// A command that QEMU refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) class: String,
    pub(super) description: String,
}

impl Qmp {
    pub(super) fn new(stream: UnixStream) -> Result<Self, Fault> {
        let mut qmp = Qmp {
            lines: Lines::new(stream),
            events: VecDeque::new(),
            runs: false,
            version: String::new(),
        };
        let greeting = qmp.next()?;
        let version = &greeting["QMP"]["version"];
        let number = |part: &str| version["qemu"][part].as_u64();
        let (Some(major), Some(minor), Some(micro)) =
            (number("major"), number("minor"), number("micro"))
        else {
            return Err(Fault::Garbage(format!("no greeting of QMP's: {greeting}")));
        };
        let package = version["package"].as_str().unwrap_or_default();
        qmp.version = format!("{major}.{minor}.{micro} {package}").trim_end().to_owned();
        qmp.expect("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// The version in the greeting.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    fn next(&mut self) -> Result<Value, Fault> {
        parsed(&self.lines.receive()?)
    }

    /// Keeps what QEMU has said by itself.
    fn keep(&mut self, event: Value) -> Result<(), Fault> {
        match event["event"].as_str() {
            Some("RESUME") => self.runs = true,
            Some("STOP") => self.runs = false,
            Some(_) => {}
            None => return Err(Fault::Garbage(format!("QMP says {event} unasked"))),
        }
        self.events.push_back(event);
        Ok(())
    }

    /// Takes in what is there.
    fn hear(&mut self) -> Result<(), Fault> {
        while let Some(line) = self.lines.receive_ready()? {
            self.keep(parsed(&line)?)?;
        }
        Ok(())
    }

    /// Does the machine run, by the last event that says so? It is started stopped.
    pub(super) fn runs(&mut self) -> Result<bool, Fault> {
        self.hear()?;
        Ok(self.runs)
    }

    /// One command: its result, or why it was refused.
    pub(super) fn execute(
        &mut self,
        command: &str,
        arguments: Value,
    ) -> Result<Result<Value, Refusal>, Fault> {
        // QEMU takes every byte by itself, so none is sent that says nothing.
        let none = arguments.as_object().is_some_and(serde_json::Map::is_empty);
        let asked = if none {
            json!({ "execute": command })
        } else {
            json!({ "execute": command, "arguments": arguments })
        };
        self.lines.send(&asked.to_string())?;
        loop {
            let mut answer = self.next()?;
            if answer.get("event").is_some() {
                self.keep(answer)?;
            } else if let Some(result) = answer.get_mut("return") {
                return Ok(Ok(result.take()));
            } else if let Some(error) = answer.get("error") {
                let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
                return Ok(Err(Refusal { class: text("class"), description: text("desc") }));
            } else {
                return Err(Fault::Garbage(format!("QMP answers {answer} to {command}")));
            }
        }
    }

    /// One command that is not refused.
    pub(super) fn expect(&mut self, command: &str, arguments: Value) -> Result<Value, Fault> {
        self.execute(command, arguments)?.map_err(|Refusal { class, description }| {
            Fault::Garbage(format!("{command} is refused: {class}: {description}"))
        })
    }

    /// One command of the human monitor: what it prints.
    pub(super) fn human(&mut self, line: &str) -> Result<String, Fault> {
        let printed = self.expect("human-monitor-command", json!({ "command-line": line }))?;
        Ok(printed.as_str().unwrap_or_default().to_owned())
    }

    /// What has come so far.
    pub(super) fn take_events(&mut self) -> Result<impl Iterator<Item = Value> + use<>, Fault> {
        self.hear()?;
        Ok(std::mem::take(&mut self.events).into_iter())
    }

    /// Waits for an event, which is taken out; the others stay.
    pub(super) fn wait_for(
        &mut self,
        name: &str,
        matches: impl Fn(&Value) -> bool,
    ) -> Result<(), Fault> {
        loop {
            let found = self
                .events
                .iter()
                .position(|event| event["event"] == name && matches(&event["data"]));
            if let Some(at) = found {
                self.events.remove(at);
                return Ok(());
            }
            let event = self.next()?;
            self.keep(event)?;
        }
    }
}

fn parsed(line: &str) -> Result<Value, Fault> {
    serde_json::from_str(line).map_err(|error| Fault::Garbage(format!("QMP: {error}: {line}")))
}
