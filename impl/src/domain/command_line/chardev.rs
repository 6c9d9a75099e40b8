//! The backend of a character device: `qemuBuildChardevStr`, `qemuMonitorJSONAttachCharDevGetProps`.

use serde_json::{Map, Value, json};

use super::{properties::is_on, unsupported};
use crate::{
    domain::{Class, Device, Error, Problem, tree::NodeId},
    hypervisor::Command,
};

/// A character device of the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Chardev {
    id: String,
    kind: Kind,
    log: Option<(String, Option<bool>)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// `null`, `vc`, `pty`, `stdio`: nothing to say.
    Plain(&'static str),
    /// `serial` or `parallel`, a device of the host.
    Port(&'static str, String),
    File(String, Option<bool>),
    Pipe(String),
    Unix(String, Socket),
    Tcp {
        host: String,
        port: String,
        telnet: bool,
        socket: Socket,
    },
    Udp {
        host: String,
        port: String,
        from: Option<(String, String)>,
    },
    SpiceVmc(&'static str),
    SpicePort(String),
    Agent {
        clipboard: Option<bool>,
        mouse: Option<bool>,
    },
    Dbus(String),
}

#[derive(Clone, Debug, PartialEq)]
struct Socket {
    server: bool,
    reconnect: Option<u32>,
}

impl Chardev {
    /// Reads the backend of `device`, which is written at `at`: the device itself, or an element of it.
    pub(super) fn of(device: Device<'_>, at: NodeId, id: String) -> Result<Self, Error> {
        let document = device.domain.document();
        let get = |path: &str| document.get(at, path).map(|value| value.into_owned());
        let missing = |name| document.error(at, Problem::MissingAttribute(name));
        let path = || get("source/@path").ok_or_else(|| missing("path"));
        let named = |path: &'static str, name| get(path).ok_or_else(|| missing(name));
        let backend = get("@type").ok_or_else(|| missing("type"))?;
        // Connecting and binding can be two elements.
        let sources = |mode: &str| {
            let mut sources = document.children_named(at, "source");
            let is = |&source: &NodeId| match document.attribute(source, "mode") {
                Some(found) => found == mode,
                None => mode == "connect",
            };
            sources.find(is)
        };
        let address = |source: NodeId, default: Option<&str>| {
            let host = document.attribute(source, "host").map(|host| host.into_owned());
            let port = document.attribute(source, "service").map(|port| port.into_owned());
            let port = port.or(default.map(str::to_owned));
            let missing = || document.error(source, Problem::MissingAttribute("service"));
            Ok::<_, Error>((host.unwrap_or_default(), port.ok_or_else(missing)?))
        };
        let socket = || {
            let reconnect = match get("source/reconnect/@enabled").as_deref() {
                Some("yes") => document.number(at, "source/reconnect/@timeout")?,
                Some("no") => Some(0),
                _ => None,
            };
            Ok::<_, Error>(Socket {
                server: get("source/@mode").as_deref() == Some("bind"),
                reconnect,
            })
        };
        let kind = match &*backend {
            "null" => Kind::Plain("null"),
            "vc" => Kind::Plain("vc"),
            "pty" => Kind::Plain("pty"),
            "stdio" => Kind::Plain("stdio"),
            "dev" if device.class == Class::Parallel => Kind::Port("parallel", path()?),
            "dev" => Kind::Port("serial", path()?),
            "file" => Kind::File(path()?, get("source/@append").as_deref().and_then(is_on)),
            "pipe" => Kind::Pipe(path()?),
            "unix" => Kind::Unix(path()?, socket()?),
            "tcp" => {
                if get("source/@tls").as_deref() == Some("yes") {
                    return Err(unsupported(device, "TLS for a character device".to_owned()));
                }
                let source = document.child(at, "source").ok_or_else(|| missing("source"))?;
                let (host, port) = address(source, None)?;
                let telnet = get("protocol/@type").as_deref() == Some("telnet");
                Kind::Tcp { host, port, telnet, socket: socket()? }
            }
            "udp" => {
                let to = sources("connect").ok_or_else(|| missing("source"))?;
                let (host, port) = address(to, None)?;
                let from = sources("bind").map(|from| address(from, Some("0"))).transpose()?;
                Kind::Udp { host, port, from }
            }
            "spicevmc" if device.class == Class::Channel => Kind::SpiceVmc("vdagent"),
            "spiceport" => Kind::SpicePort(named("source/@channel", "channel")?),
            "dbus" => Kind::Dbus(named("source/@channel", "channel")?),
            "qemu-vdagent" => Kind::Agent {
                clipboard: get("source/clipboard/@copypaste").as_deref().and_then(is_on),
                mouse: match get("source/mouse/@mode").as_deref() {
                    Some("client") => Some(true),
                    Some("server") => Some(false),
                    _ => None,
                },
            },
            other => {
                return Err(unsupported(device, format!("character device of type `{other}`")));
            }
        };
        let log =
            get("log/@file").map(|file| (file, get("log/@append").as_deref().and_then(is_on)));
        Ok(Self { id, kind, log })
    }

    /// As the value of `-chardev`.
    pub fn to_option(&self) -> String {
        let id = escaped(&self.id);
        let on_off = |on: bool| if on { "on" } else { "off" };
        let socket = |socket: &Socket| {
            let mut text = String::new();
            if socket.server {
                text += ",server=on,wait=off";
            }
            if let Some(seconds) = socket.reconnect {
                text += &format!(",reconnect={seconds}");
            }
            text
        };
        let mut text = match &self.kind {
            Kind::Plain(kind) => format!("{kind},id={id}"),
            Kind::Port(kind, path) => format!("{kind},id={id},path={}", escaped(path)),
            Kind::File(path, append) => {
                let append = append.map(|on| format!(",append={}", on_off(on)));
                format!("file,id={id},path={}{}", escaped(path), append.unwrap_or_default())
            }
            Kind::Pipe(path) => format!("pipe,id={id},path={}", escaped(path)),
            Kind::Unix(path, how) => {
                format!("socket,id={id},path={}{}", escaped(path), socket(how))
            }
            Kind::Tcp { host, port, telnet, socket: how } => {
                let telnet = if *telnet { ",telnet=on" } else { "" };
                let (host, port) = (escaped(host), escaped(port));
                format!("socket,id={id},host={host},port={port}{telnet}{}", socket(how))
            }
            Kind::Udp { host, port, from } => {
                let (local, local_port) = from.clone().unwrap_or(("".to_owned(), "0".to_owned()));
                let [host, port, local, local_port] =
                    [host, port, &local, &local_port].map(|part| escaped(part));
                format!(
                    "udp,id={id},host={host},port={port},localaddr={local},localport={local_port}"
                )
            }
            Kind::SpiceVmc(name) => format!("spicevmc,id={id},name={name}"),
            Kind::SpicePort(name) => format!("spiceport,id={id},name={}", escaped(name)),
            Kind::Agent { clipboard, mouse } => {
                let clipboard = clipboard.map(|on| format!(",clipboard={}", on_off(on)));
                let mouse = mouse.map(|on| format!(",mouse={}", on_off(on)));
                let parts = [clipboard, mouse].into_iter().flatten().collect::<String>();
                format!("qemu-vdagent,id={id},name=vdagent{parts}")
            }
            Kind::Dbus(name) => format!("dbus,id={id},name={}", escaped(name)),
        };
        if let Some((file, append)) = &self.log {
            text += &format!(",logfile={}", escaped(file));
            if let Some(append) = append {
                text += &format!(",logappend={}", on_off(*append));
            }
        }
        text
    }

    /// As `chardev-add`; none if QEMU cannot make it while it runs.
    pub fn to_command(&self) -> Option<Command> {
        let socket = |address: Value, how: &Socket, telnet: Option<bool>| {
            let mut data = json!({"addr": address, "server": how.server});
            if how.server {
                data["wait"] = json!(false);
            }
            if let Some(telnet) = telnet {
                data["telnet"] = json!(telnet);
            }
            if let Some(seconds) = how.reconnect {
                data["reconnect"] = json!(seconds);
            }
            ("socket", data)
        };
        let inet =
            |host: &str, port: &str| json!({"type": "inet", "data": {"host": host, "port": port}});
        let (kind, mut data) = match &self.kind {
            Kind::Plain("stdio") | Kind::Pipe(_) | Kind::SpicePort(_) => return None,
            Kind::Plain(kind) => (*kind, json!({})),
            Kind::Port(kind, path) => (*kind, json!({"device": path})),
            Kind::File(path, append) => {
                let mut data = json!({"out": path});
                if let Some(append) = append {
                    data["append"] = json!(append);
                }
                ("file", data)
            }
            Kind::Unix(path, how) => {
                socket(json!({"type": "unix", "data": {"path": path}}), how, None)
            }
            Kind::Tcp { host, port, telnet, socket: how } => {
                socket(inet(host, port), how, Some(*telnet))
            }
            Kind::Udp { host, port, from } => {
                let mut data = json!({"remote": inet(host, port)});
                if let Some((host, port)) = from {
                    data["local"] = inet(host, port);
                }
                ("udp", data)
            }
            Kind::SpiceVmc(name) => ("spicevmc", json!({"type": name})),
            Kind::Agent { clipboard, mouse } => {
                let mut data = Map::new();
                data.extend(clipboard.map(|on| ("clipboard".to_owned(), json!(on))));
                data.extend(mouse.map(|on| ("mouse".to_owned(), json!(on))));
                ("qemu-vdagent", Value::Object(data))
            }
            Kind::Dbus(name) => ("dbus", json!({"name": name})),
        };
        if let Some((file, append)) = &self.log {
            data["logfile"] = json!(file);
            if let Some(append) = append {
                data["logappend"] = json!(append);
            }
        }
        Some(Command::chardev_add(&self.id, json!({"type": kind, "data": data})))
    }
}

/// A comma ends a value, two are one: `virQEMUBuildBufferEscapeComma`.
pub(super) fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}
