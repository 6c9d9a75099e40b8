//! One connection to a monitor without its socket: bytes in, replies and events out.

use std::collections::{BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::{Limits, Version};
use crate::hypervisor::{
    Command, Event, MonitorError, QmpError, Reply,
    lines::{Lines, TooLong},
};

/// Which command a reply belongs to.
pub(super) type Id = u64;

/// How many commands may stay unanswered before the peer counts as broken.
const ABANDONED_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Session {
    limits: Limits,
    lines: Lines,
    version: Option<Version>,
    last_id: Id,
    awaited: Option<Id>,
    /// Timed out, so a late reply is no surprise.
    abandoned: BTreeSet<Id>,
    reply: Option<Reply>,
    events: VecDeque<(Event, usize)>,
    event_bytes: usize,
}

impl Session {
    pub(super) fn new(limits: Limits) -> Self {
        Session {
            lines: Lines::new(limits.line_max),
            limits,
            version: None,
            last_id: 0,
            awaited: None,
            abandoned: BTreeSet::new(),
            reply: None,
            events: VecDeque::new(),
            event_bytes: 0,
        }
    }

    /// The bytes of a command, whose reply is awaited from now on.
    pub(super) fn request(&mut self, command: &Command) -> Vec<u8> {
        self.last_id += 1;
        self.awaited = Some(self.last_id);
        self.reply = None;
        let mut message = Map::new();
        message.insert("execute".to_owned(), command.name.as_str().into());
        if !command.arguments.is_empty() {
            message.insert("arguments".to_owned(), command.arguments.clone().into());
        }
        message.insert("id".to_owned(), self.last_id.into());
        let mut bytes = Value::Object(message).to_string().into_bytes();
        bytes.push(b'\n');
        bytes
    }

    /// Nobody waits any longer. `sent`: the peer has the command, so it may still answer.
    pub(super) fn abandon(&mut self, sent: bool) {
        if let Some(id) = self.awaited.take()
            && sent
        {
            self.abandoned.insert(id);
        }
    }

    /// Whether a further command may be sent: a peer that answers none of many is not asked again.
    pub(super) fn accepts(&self) -> bool {
        self.abandoned.len() < ABANDONED_MAX
    }

    pub(super) fn take_reply(&mut self) -> Option<Reply> {
        self.reply.take()
    }

    pub(super) fn has_reply(&self) -> bool {
        self.reply.is_some()
    }

    pub(super) fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn take_events(&mut self) -> Vec<Event> {
        self.event_bytes = 0;
        self.events.drain(..).map(|(event, _)| event).collect()
    }

    /// Bytes of a line that has begun.
    pub(super) fn unfinished(&self) -> usize {
        self.lines.unfinished()
    }

    /// Takes in what the peer sent. After an error the session is over.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<(), MonitorError> {
        self.lines.push(bytes);
        loop {
            match self.lines.next() {
                Ok(Some((line, text))) => self.line(line, &text)?,
                Ok(None) => return Ok(()),
                Err(TooLong) => {
                    let why = format!("longer than {} bytes", self.limits.line_max);
                    return Err(MonitorError::Garbage { line: self.lines.number(), why });
                }
            }
        }
    }

    fn line(&mut self, line: u64, text: &[u8]) -> Result<(), MonitorError> {
        let garbage = |why: String| MonitorError::Garbage { line, why };
        let message = match serde_json::from_slice(text) {
            Ok(Value::Object(message)) => message,
            Ok(_) => return Err(garbage("expected an object".to_owned())),
            Err(error) => return Err(garbage(not_json(&error))),
        };
        if message.contains_key("event") {
            let event = serde_json::from_value(Value::Object(message));
            return self.event(
                event.map_err(|error| garbage(format!("an event, but {error}")))?,
                text.len(),
            );
        }
        if let Some(greeting) = message.get("QMP") {
            if self.version.is_some() {
                return Err(garbage("a second greeting".to_owned()));
            }
            let version = greeting.get("version").and_then(Version::read);
            self.version =
                Some(version.ok_or_else(|| garbage("a greeting without a version".to_owned()))?);
            return Ok(());
        }
        if self.version.is_none() {
            return Err(garbage("expected QMP's greeting".to_owned()));
        }
        self.reply(message).map_err(garbage)
    }

    fn event(&mut self, event: Event, size: usize) -> Result<(), MonitorError> {
        self.event_bytes += size;
        self.events.push_back((event, size));
        let Limits { events_max, event_bytes_max: bytes_max, .. } = self.limits;
        if self.events.len() > events_max || self.event_bytes > bytes_max {
            return Err(MonitorError::Flood { events_max, bytes_max });
        }
        Ok(())
    }

    fn reply(&mut self, mut message: Map<String, Value>) -> Result<(), String> {
        let reply = match (message.remove("return"), message.remove("error")) {
            (Some(value), None) => Ok(value),
            (None, Some(error)) => Err(serde_json::from_value::<QmpError>(error)
                .map_err(|error| format!("an error, but {error}"))?),
            _ => return Err("neither greeting, event, return nor error".to_owned()),
        };
        let Some(id) = message.get("id") else {
            let what =
                reply.as_ref().map_or_else(|error| short(&error.desc), |_| "a value".to_owned());
            return Err(format!("a reply without id: {what}"));
        };
        let id = id.as_u64().ok_or_else(|| {
            format!("a reply to {}, which is no id of ours", short(&id.to_string()))
        })?;
        if self.awaited == Some(id) {
            self.awaited = None;
            self.reply = Some(reply);
        } else if !self.abandoned.remove(&id) {
            return Err(format!("a reply to command {id}, which is not waiting for one"));
        }
        Ok(())
    }
}

/// With the column only: the line is ours to count.
fn not_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    match error.column() {
        0 => what.to_owned(),
        column => format!("column {column}: {what}"),
    }
}

/// Enough to recognise, and never the megabytes of a hostile peer.
fn short(text: &str) -> String {
    const CHARS: usize = 80;
    let mut short: String = text.chars().take(CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}"#;

    fn greeted() -> Session {
        let mut session = Session::new(Limits {
            line_max: 300,
            events_max: 3,
            event_bytes_max: 200,
            ..Limits::default()
        });
        session.receive(format!("{GREETING}\n").as_bytes()).unwrap();
        session
    }

    fn event(name: &str) -> String {
        format!("{}\n", json!({"timestamp": {"seconds": 1, "microseconds": 2}, "event": name}))
    }

    #[track_caller]
    fn refuses(line: &str, why: &str) {
        let mut session = greeted();
        session.request(&Command::query_status());
        match session.receive(format!("{line}\n").as_bytes()) {
            Err(MonitorError::Garbage { line, why: found }) => {
                assert_eq!((line, found.as_str()), (2, why))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_is_one_line_with_an_id() {
        let mut session = greeted();
        assert_eq!(session.request(&Command::stop()), b"{\"execute\":\"stop\",\"id\":1}\n");
        assert_eq!(
            session.request(&Command::device_del("a")),
            b"{\"arguments\":{\"id\":\"a\"},\"execute\":\"device_del\",\"id\":2}\n"
        );
    }

    #[test]
    fn events_between_command_and_reply_are_kept_in_order() {
        let mut session = greeted();
        session.request(&Command::stop());
        session.receive(format!("{}{}", event("A"), event("B")).as_bytes()).unwrap();
        assert!(!session.has_reply());
        session
            .receive(format!("{{\"return\": {{}}, \"id\": 1}}\n{}", event("C")).as_bytes())
            .unwrap();
        assert_eq!(session.take_reply(), Some(Ok(json!({}))));
        let names: Vec<_> = session.take_events().into_iter().map(|event| event.name).collect();
        assert_eq!(names, ["A", "B", "C"]);
        assert!(!session.has_events());
    }

    #[test]
    fn a_refusal_keeps_class_and_text() {
        let mut session = greeted();
        session.request(&Command::device_del("x"));
        session.receive(b"{\"id\": 1, \"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"Device 'x' not found\"}}\n").unwrap();
        assert_eq!(session.take_reply(), Some(Err(QmpError::device_not_found("x"))));
    }

    #[test]
    fn a_late_reply_is_dropped_once() {
        let mut session = greeted();
        session.request(&Command::stop());
        session.abandon(true);
        session.request(&Command::cont());
        session.receive(b"{\"return\": 1, \"id\": 1}\n{\"return\": 2, \"id\": 2}\n").unwrap();
        assert_eq!(session.take_reply(), Some(Ok(json!(2))));
        let again = session.receive(b"{\"return\": 1, \"id\": 1}\n").unwrap_err();
        assert_eq!(
            again.to_string(),
            "line 4 from the monitor: a reply to command 1, which is not waiting for one"
        );
    }

    #[test]
    fn a_peer_that_never_answers_is_not_asked_for_ever() {
        let mut session = greeted();
        for _ in 0..ABANDONED_MAX {
            assert!(session.accepts());
            session.request(&Command::stop());
            session.abandon(true);
        }
        assert!(!session.accepts());
    }

    #[test]
    fn garbage_is_named_by_line_and_column() {
        refuses("hello", "column 1: expected value");
        refuses(r#"{"return": {}, "id": }"#, "column 22: expected value");
        refuses("[]", "expected an object");
        refuses("", "EOF while parsing a value");
        refuses("{}", "neither greeting, event, return nor error");
        refuses(GREETING, "a second greeting");
        refuses(r#"{"return": {}}"#, "a reply without id: a value");
        refuses(r#"{"error": {"class": "GenericError", "desc": "no"}}"#, "a reply without id: no");
        refuses(
            r#"{"return": {}, "error": {}, "id": 1}"#,
            "neither greeting, event, return nor error",
        );
        refuses(r#"{"error": {}, "id": 1}"#, "an error, but missing field `class`");
        refuses(r#"{"return": {}, "id": 7}"#, "a reply to command 7, which is not waiting for one");
        refuses(r#"{"return": {}, "id": "a"}"#, "a reply to \"a\", which is no id of ours");
        refuses(r#"{"event": "STOP"}"#, "an event, but missing field `timestamp`");
        refuses(&"[".repeat(200), "column 128: recursion limit exceeded");
        refuses(&format!("{{\"a\":{}", "[".repeat(200)), "column 132: recursion limit exceeded");
        refuses(&"x".repeat(301), "longer than 300 bytes");
    }

    #[test]
    fn a_greeting_comes_first_and_has_a_version() {
        let mut session = Session::new(Limits::default());
        let error = session.receive(b"{\"return\": {}, \"id\": 1}\n").unwrap_err();
        assert_eq!(error.to_string(), "line 1 from the monitor: expected QMP's greeting");
        let mut session = Session::new(Limits::default());
        let error = session.receive(b"{\"QMP\": {}}\n").unwrap_err();
        assert_eq!(error.to_string(), "line 1 from the monitor: a greeting without a version");
        assert_eq!(greeted().version().unwrap().to_string(), "7.2.22");
    }

    #[test]
    fn undrained_events_are_bounded_by_number_and_by_size() {
        let mut session = greeted();
        let error = session.receive(event("A").repeat(4).as_bytes()).unwrap_err();
        assert!(
            matches!(error, MonitorError::Flood { events_max: 3, bytes_max: 200 }),
            "{error:?}"
        );
        let mut session = greeted();
        let error = session.receive(event(&"A".repeat(150)).as_bytes()).unwrap_err();
        assert!(matches!(error, MonitorError::Flood { .. }), "{error:?}");
        // Drained in time, there may be any number.
        let mut session = greeted();
        for _ in 0..100 {
            session.receive(event("A").as_bytes()).unwrap();
            assert_eq!(session.take_events().len(), 1);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_or_understood(chunks: Vec<Vec<u8>>) {
            let mut session = greeted();
            session.request(&Command::stop());
            for chunk in &chunks {
                if session.receive(chunk).is_err() {
                    break;
                }
                prop_assert!(session.unfinished() <= 300 + chunk.len());
            }
        }

        /// However a good stream is cut, damaged in one byte or not, it never panics, and undamaged it is understood.
        #[test]
        fn cuts_do_not_matter(cuts in prop::collection::vec(1usize..40, 1..20), damage: Option<(prop::sample::Index, u8)>) {
            let mut stream = format!("{}{{\"return\": [1, \"\\u00e9\"], \"id\": 1}}\n{}", event("A"), event("B")).into_bytes();
            if let Some((at, byte)) = &damage {
                let at = at.index(stream.len());
                stream[at] = *byte;
            }
            let mut session = greeted();
            session.request(&Command::stop());
            let (mut rest, mut cuts) = (&stream[..], cuts.into_iter().cycle());
            let mut result = Ok(());
            while !rest.is_empty() && result.is_ok() {
                let (part, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                result = session.receive(part);
                rest = later;
            }
            if damage.is_none() {
                prop_assert!(result.is_ok());
                prop_assert_eq!(session.take_reply(), Some(Ok(json!([1, "é"]))));
                prop_assert_eq!(session.take_events().len(), 2);
            }
        }
    }
}
