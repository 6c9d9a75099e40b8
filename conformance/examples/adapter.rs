//! One virtio port on the null backend, as an adapter; `docs/guide/adapter.md` tells the protocol.
//!
//! `statusquo replay chardev --scope null -- target/debug/examples/adapter`

use std::io::{self, BufRead, Write};

use serde_json::{Value, json};

/// The guest's end of the port, and the machine that it is in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Port {
    running: bool,
    launched: bool,
    driver: bool,
    control: bool,
    unplugged: bool,
    open: bool,
    known: bool,
    posted: bool,
    told: bool,
}

/// What is answered, or why nothing can be.
pub(crate) type Answer = Result<Value, String>;

impl Port {
    fn act(&mut self, verb: &str, of: &Value) -> Answer {
        let mut seen = json!({});
        let guest = self.running && self.driver;
        let gone = Port { open: false, known: false, posted: false, ..*self };
        match verb {
            "save-load" => {}
            "stop" => self.running = false,
            "cont" => (self.running, self.launched) = (true, true),
            "migrate" => {
                self.running = of["run"] == true;
                self.launched |= self.running;
            }
            "system-reset" => *self = Port { driver: false, control: false, ..gone },
            "driver-reset" if guest => *self = Port { driver: false, control: false, ..gone },
            "driver-init" if self.running && !guest => (self.driver, self.control) = (true, true),
            "post-control" if guest && !self.control => self.control = true,
            "withhold-control" if guest && self.control => self.control = false,
            "guest-open" | "guest-close" if guest && self.known => self.open = verb == "guest-open",
            "guest-post" if guest && self.known && !self.posted => self.posted = true,
            "guest-write" if guest && self.known => seen = json!({ "completed": 1, "stored": 1 }),
            "query" => {
                let (connected, open) = (self.launched, self.open);
                let said = json!({ "chardev": { "connected": connected, "frontend_open": open } });
                return Ok(json!({ "outcome": { "reply": said } }));
            }
            "plug" | "unplug" if self.unplugged == (verb == "unplug") => {
                let why = if self.unplugged { "device-not-found" } else { "duplicate-device" };
                return Ok(json!({ "outcome": { "reply": why } }));
            }
            "plug" | "unplug" => *self = Port { unplugged: verb == "unplug", ..gone },
            "driver-reset" | "driver-init" | "post-control" | "withhold-control" | "guest-open"
            | "guest-close" | "guest-post" | "guest-write" => {
                return Ok(json!({ "blocked": "the guest cannot do that now" }));
            }
            _ => return Err(format!("no action is named {verb}")),
        }
        if self.running && self.driver && self.control && !self.unplugged && !self.known {
            self.known = true;
            seen["announced"] = json!(true);
            seen["guest-told"] = json!(["connected"]);
        }
        if self.told != self.open {
            self.told = self.open;
            seen["management-told"] = json!([if self.open { "opened" } else { "closed" }]);
        }
        Ok(json!({ "outcome": { "reply": "ok", "port0": seen } }))
    }

    /// The answer to one request, without its number.
    ///
    /// # Errors
    /// What is said to whoever asks for what there is not.
    pub(crate) fn answer(&mut self, request: &Value) -> Answer {
        let yes = |flag| if flag { "yes" } else { "no" };
        if let Some(of) = request.get("reset") {
            if (&of["study"], &of["scope"]) != (&json!("chardev"), &json!("null")) {
                return Err("this is the study chardev, scope null".to_owned());
            }
            *self = Port::default();
            Ok(json!({ "ready": { "protocol": 1, "name": "null port in Rust" } }))
        } else if let Some(action) = request.get("apply") {
            let of = action.as_object().and_then(|action| action.iter().next());
            let (verb, of) =
                of.map_or((action.as_str(), &Value::Null), |(verb, of)| (Some(verb), of));
            self.act(verb.unwrap_or_default(), of)
        } else if request.get("view").is_some() {
            let known = yes(self.known);
            Ok(json!({ "view": { "running": yes(self.running), "port0 guest was told": known } }))
        } else if request.get("bye").is_some() {
            Ok(json!({ "bye": {} }))
        } else {
            Err("no such request".to_owned())
        }
    }
}

/// Answers until there is nothing more, or until it is told to end.
///
/// # Errors
/// When nobody listens.
pub(crate) fn serve(
    requests: impl BufRead,
    mut answers: impl Write,
    mut answer: impl FnMut(&Value) -> Answer,
) -> io::Result<()> {
    for line in requests.lines() {
        let request: Result<Value, _> = serde_json::from_str(&line?);
        let (id, said) = match &request {
            Ok(request) => (request["id"].clone(), answer(request)),
            Err(error) => (Value::Null, Err(error.to_string())),
        };
        let mut said = said.unwrap_or_else(|why| json!({ "error": why }));
        said["id"] = id;
        writeln!(answers, "{said}")?;
        answers.flush()?;
        if said.get("bye").is_some() {
            break;
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let mut port = Port::default();
    serve(io::stdin().lock(), io::stdout().lock(), |request| port.answer(request))
}
