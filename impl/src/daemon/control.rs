//! The words of the control socket: one JSON document a line, requests in, replies and events out.
//!
//! `impl/schema/control.schema.json` is the same as a JSON schema; a test keeps both together.

use serde::{Deserialize, Serialize};

use crate::hotplug::EffectKind;

/// The longest line of a request: a definition of any size that makes sense.
pub const LINE_MAX: usize = 1 << 20;

/// One line from a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Chosen by the client; its reply has it again.
    pub id: u64,
    /// What is asked for.
    pub request: Request,
}

/// What a client can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Is anybody there? Answered after everything that was sent to this client before.
    Ping,
    /// Every domain.
    List,
    /// From here on, this client gets every event.
    Events,
    /// Keeps a definition, or replaces the one of this name and UUID.
    Define {
        /// Domain XML.
        xml: String,
    },
    /// Forgets a definition. A running domain goes on without one.
    Undefine {
        /// The domain.
        domain: String,
    },
    /// Starts a defined domain.
    Start {
        /// The domain.
        domain: String,
    },
    /// Ends a running domain at once.
    Destroy {
        /// The domain.
        domain: String,
    },
    /// A definition.
    Dump {
        /// The domain.
        domain: String,
        /// Which.
        form: Form,
    },
    /// Plugs a device into a running domain.
    Attach {
        /// The domain.
        domain: String,
        /// The device's element.
        xml: String,
    },
    /// Unplugs a device of a running domain.
    Detach {
        /// The domain.
        domain: String,
        /// Which.
        device: Named,
    },
    /// Where the console of a running domain is: the pty on which its guest writes.
    OpenConsole {
        /// The domain.
        domain: String,
        /// The alias of a console or a port; without one, the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Only with `--stepwise`, for tests: performs the domain's next effect.
    Step {
        /// The domain.
        domain: String,
    },
    /// Only with `--stepwise`, for tests: the time to wait for the guest is over.
    GiveUp {
        /// The domain.
        domain: String,
    },
}

impl Request {
    /// The domain that is to do it, where one is named.
    pub fn domain(&self) -> Option<&str> {
        match self {
            Request::Ping | Request::List | Request::Events | Request::Define { .. } => None,
            Request::Undefine { domain }
            | Request::Start { domain }
            | Request::Destroy { domain }
            | Request::Dump { domain, .. }
            | Request::Attach { domain, .. }
            | Request::Detach { domain, .. }
            | Request::OpenConsole { domain, .. }
            | Request::Step { domain }
            | Request::GiveUp { domain } => Some(domain),
        }
    }
}

/// How a device is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Named {
    /// By its alias.
    Alias(String),
    /// By an element that is about it.
    Xml(String),
}

/// The forms of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Of the running domain, or the kept one where it does not run.
    Live,
    /// The kept one: what the next start will use.
    Inactive,
    /// The whole status file, as it would be saved now.
    Status,
    /// Of the running domain, as another host can be given it.
    Migratable,
}

/// One line to a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// The answer to a request.
    Reply {
        /// The request's.
        id: u64,
        /// What came of it.
        reply: Reply,
    },
    /// A request was refused; without an id, the line was none.
    Error {
        /// The request's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        /// Why.
        error: Error,
    },
    /// To clients that asked for events.
    Event {
        /// What happened.
        event: Event,
    },
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Done,
    /// Of `define`.
    Defined {
        /// The name in the definition.
        domain: String,
    },
    /// Of `list`, by name.
    Domains(Vec<Listed>),
    /// Of `dump`.
    Xml(String),
    /// The device is there.
    Attached {
        /// Its name.
        alias: String,
    },
    /// The device is gone.
    Detached {
        /// Its name.
        alias: String,
    },
    /// The guest was asked to let go of the device; an event tells when it has.
    UnplugRequested {
        /// Its name.
        alias: String,
    },
    /// Of `open-console`.
    Console {
        /// The device that it is.
        alias: String,
        /// Its pty.
        path: String,
    },
    /// Of `step`: the effect that was performed, if there was one.
    Stepped {
        /// Which.
        effect: Option<EffectKind>,
        /// Why it did not work.
        failed: Option<String>,
    },
}

/// A domain of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    /// Its name.
    pub domain: String,
    /// What it is about.
    pub state: State,
    /// The process, while it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// A definition is kept.
    pub persistent: bool,
}

/// What a domain is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has no process.
    #[default]
    ShutOff,
    /// Its guest runs.
    Running,
    /// Its guest stands still.
    Paused,
    /// It has a process whose monitor does not answer.
    Unresponsive,
}

impl State {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            State::ShutOff => "shut off",
            State::Running => "running",
            State::Paused => "paused",
            State::Unresponsive => "unresponsive",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A domain runs.
    Started {
        /// Which.
        domain: String,
    },
    /// A domain runs no more.
    Stopped {
        /// Which.
        domain: String,
    },
    /// A domain has a device.
    DeviceAdded {
        /// Which.
        domain: String,
        /// The device.
        alias: String,
    },
    /// A domain does not have a device any more, or never got it.
    DeviceRemoved {
        /// Which.
        domain: String,
        /// The device.
        alias: String,
    },
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// For programs.
    pub kind: Kind,
    /// For people.
    pub message: String,
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The line is no request.
    BadRequest,
    /// The line is too long; the connection ends.
    LineTooLong,
    /// Too many clients; the connection ends.
    TooManyClients,
    /// There is no domain of that name.
    NoSuchDomain,
    /// The domain runs, or does not, or has too much to do.
    WrongState,
    /// The XML cannot be read or used.
    BadXml,
    /// There is no such device, or it is not clear which.
    NoSuchDevice,
    /// The device cannot be plugged or unplugged while the machine runs.
    NotHotpluggable,
    /// The console is not on a pty, so there is nothing to open.
    NotAPty,
    /// QEMU said no.
    Qemu,
    /// QEMU does not answer.
    Unresponsive,
    /// Something could not be written.
    Storage,
}

impl Kind {
    /// A refusal of this kind.
    pub(super) fn because(self, message: impl std::fmt::Display) -> Error {
        Error { kind: self, message: message.to_string() }
    }
}

/// An error with its causes, on one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SCHEMA: &str = include_str!("../../schema/control.schema.json");

    fn schema() -> jsonschema::Validator {
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    }

    fn requests() -> Vec<Request> {
        let (domain, xml) = ("demo".to_owned(), "<rng/>".to_owned());
        let dump = |form| Request::Dump { domain: domain.clone(), form };
        let detach = |device| Request::Detach { domain: domain.clone(), device };
        vec![
            Request::Ping,
            Request::List,
            Request::Events,
            Request::Define { xml: xml.clone() },
            Request::Undefine { domain: domain.clone() },
            Request::Start { domain: domain.clone() },
            Request::Destroy { domain: domain.clone() },
            dump(Form::Live),
            dump(Form::Inactive),
            dump(Form::Status),
            dump(Form::Migratable),
            Request::Attach { domain: domain.clone(), xml: xml.clone() },
            detach(Named::Alias("rng0".to_owned())),
            detach(Named::Xml(xml)),
            Request::OpenConsole { domain: domain.clone(), name: None },
            Request::OpenConsole { domain: domain.clone(), name: Some("serial0".to_owned()) },
            Request::Step { domain: domain.clone() },
            Request::GiveUp { domain },
        ]
    }

    fn answers() -> Vec<Line> {
        let (domain, alias) = (|| "demo".to_owned(), || "rng0".to_owned());
        let states = [State::ShutOff, State::Running, State::Paused, State::Unresponsive];
        let listed = states.map(|state| Listed {
            domain: domain(),
            state,
            pid: (state != State::ShutOff).then_some(7),
            persistent: true,
        });
        let replies = [
            Reply::Done,
            Reply::Defined { domain: domain() },
            Reply::Domains(listed.into()),
            Reply::Xml("<domain/>".to_owned()),
            Reply::Attached { alias: alias() },
            Reply::Detached { alias: alias() },
            Reply::UnplugRequested { alias: alias() },
            Reply::Console { alias: alias(), path: "/dev/pts/7".to_owned() },
            Reply::Stepped { effect: Some(EffectKind::Save), failed: Some("full".to_owned()) },
            Reply::Stepped { effect: None, failed: None },
        ];
        let kinds = [
            Kind::BadRequest,
            Kind::LineTooLong,
            Kind::TooManyClients,
            Kind::NoSuchDomain,
            Kind::WrongState,
            Kind::BadXml,
            Kind::NoSuchDevice,
            Kind::NotHotpluggable,
            Kind::NotAPty,
            Kind::Qemu,
            Kind::Unresponsive,
            Kind::Storage,
        ];
        let events = [
            Event::Started { domain: domain() },
            Event::Stopped { domain: domain() },
            Event::DeviceAdded { domain: domain(), alias: alias() },
            Event::DeviceRemoved { domain: domain(), alias: alias() },
        ];
        let replies = replies.into_iter().map(|reply| Line::Reply { id: 1, reply });
        let errors =
            kinds.into_iter().map(|kind| Line::Error { id: Some(1), error: kind.because("x") });
        let nameless = Line::Error { id: None, error: Kind::BadRequest.because("x") };
        let events = events.into_iter().map(|event| Line::Event { event });
        replies.chain(errors).chain([nameless]).chain(events).collect()
    }

    #[test]
    fn every_line_is_as_the_schema_says_and_is_read_again() {
        let schema = schema();
        for request in requests() {
            let asked = Asked { id: 1, request };
            let value = serde_json::to_value(&asked).unwrap();
            assert!(schema.is_valid(&value), "{value}");
            assert_eq!(serde_json::from_value::<Asked>(value).unwrap(), asked);
        }
        for line in answers() {
            let value = serde_json::to_value(&line).unwrap();
            assert!(schema.is_valid(&value), "{value}");
            assert_eq!(serde_json::from_value::<Line>(value).unwrap(), line);
        }
    }

    #[test]
    fn what_the_schema_refuses_is_refused() {
        let schema = schema();
        for value in [
            json!({"id": 1, "request": "dance"}),
            json!({"id": -1, "request": "ping"}),
            json!({"request": "ping"}),
            json!({"id": 1, "request": "ping", "x": 1}),
            json!({"id": 1, "request": {"start": {}}}),
            json!({"id": 1, "request": {"start": {"domain": "a", "x": 1}}}),
            json!({"id": 1, "request": {"detach": {"domain": "a", "device": {}}}}),
        ] {
            assert!(!schema.is_valid(&value), "{value}");
            assert!(serde_json::from_value::<Asked>(value.clone()).is_err(), "{value}");
        }
    }
}
