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
