//! The words of QMP as plain data: commands, replies, events, and what a machine has.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The properties of a device, an object or a backend, as a JSON object.
pub type Properties = Map<String, Value>;

/// One command, without the id that a connection gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// As QEMU spells it: some commands have `-`, some `_`.
    pub name: String,
    /// By name; empty for most queries.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub arguments: Properties,
}

impl Command {
    /// A command without arguments.
    pub fn new(name: &str) -> Self {
        Command { name: name.to_owned(), arguments: Map::new() }
    }

    /// A command with all its arguments in one object, as a `-device` in JSON is.
    pub fn of(name: &str, arguments: Value) -> Self {
        Command { name: name.to_owned(), arguments: properties(arguments) }
    }

    /// With one more argument; a later value replaces an earlier one.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.arguments.insert(name.to_owned(), value.into());
        self
    }

    fn with_all(mut self, properties: Properties) -> Self {
        self.arguments.extend(properties);
        self
    }

    /// The text of an argument, when it has one.
    pub fn text(&self, argument: &str) -> Option<&str> {
        self.arguments.get(argument)?.as_str()
    }

    /// A character device. `backend` is `{"type": …, "data": {…}}`.
    pub fn chardev_add(id: &str, backend: Value) -> Self {
        Command::new("chardev-add").with("id", id).with("backend", backend)
    }
    /// Refused while a front-end has it.
    pub fn chardev_remove(id: &str) -> Self {
        Command::new("chardev-remove").with("id", id)
    }
    /// A device with its properties, `bus` among them.
    pub fn device_add(driver: &str, id: &str, properties: Properties) -> Self {
        Command::new("device_add").with("driver", driver).with("id", id).with_all(properties)
    }
    /// Asks for a device to go; [`Event::deleted_device`] tells that it has.
    pub fn device_del(id: &str) -> Self {
        Command::new("device_del").with("id", id)
    }
    /// A backend object, for example `rng-random`.
    pub fn object_add(qom_type: &str, id: &str, properties: Properties) -> Self {
        Command::new("object-add").with("qom-type", qom_type).with("id", id).with_all(properties)
    }
    /// Removes a backend object.
    pub fn object_del(id: &str) -> Self {
        Command::new("object-del").with("id", id)
    }
    /// A network backend, for example `user`.
    pub fn netdev_add(kind: &str, id: &str, properties: Properties) -> Self {
        Command::new("netdev_add").with("type", kind).with("id", id).with_all(properties)
    }
    /// Removes a network backend, even one in use.
    pub fn netdev_del(id: &str) -> Self {
        Command::new("netdev_del").with("id", id)
    }
    /// A block node, for example of driver `file` or `qcow2`.
    pub fn blockdev_add(driver: &str, node_name: &str, properties: Properties) -> Self {
        Command::new("blockdev-add")
            .with("driver", driver)
            .with("node-name", node_name)
            .with_all(properties)
    }
    /// Refused while a device or another node uses it.
    pub fn blockdev_del(node_name: &str) -> Self {
        Command::new("blockdev-del").with("node-name", node_name)
    }
    /// The character devices.
    pub fn query_chardev() -> Self {
        Command::new("query-chardev")
    }
    /// The block nodes, without their backing chains.
    pub fn query_named_block_nodes() -> Self {
        Command::new("query-named-block-nodes").with("flat", true)
    }
    /// Whether the machine runs.
    pub fn query_status() -> Self {
        Command::new("query-status")
    }
    /// The children and properties of one QOM object.
    pub fn qom_list(path: &str) -> Self {
        Command::new("qom-list").with("path", path)
    }
    /// The network backends: QEMU 7.2 has no query for them, only this text for people.
    pub fn info_network() -> Self {
        Command::new("human-monitor-command").with("command-line", "info network")
    }
    /// Lets the guest run.
    pub fn cont() -> Self {
        Command::new("cont")
    }
    /// Lets the guest stand still.
    pub fn stop() -> Self {
        Command::new("stop")
    }
    /// Ends the machine.
    pub fn quit() -> Self {
        Command::new("quit")
    }
    /// Resets the machine, which also completes every unplug that waits for the guest.
    pub fn system_reset() -> Self {
        Command::new("system_reset")
    }
}

/// What the machine answers: a value, or a refusal.
pub type Reply = Result<Value, QmpError>;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{class}: {desc}")]
pub struct QmpError {
    /// `GenericError`, `DeviceNotFound`, `CommandNotFound`, and few others.
    pub class: String,
    /// For people; the only place that tells most causes apart.
    pub desc: String,
}

impl QmpError {
    /// The class that says nothing.
    pub const GENERIC: &str = "GenericError";
    /// No device of that id.
    pub const DEVICE_NOT_FOUND: &str = "DeviceNotFound";
    /// No such command, or not now.
    pub const COMMAND_NOT_FOUND: &str = "CommandNotFound";

    /// Of class `GenericError`.
    pub fn generic(desc: impl Into<String>) -> Self {
        QmpError { class: Self::GENERIC.to_owned(), desc: desc.into() }
    }

    /// Of class `DeviceNotFound`, with QEMU's text.
    pub fn device_not_found(id: &str) -> Self {
        QmpError {
            class: Self::DEVICE_NOT_FOUND.to_owned(),
            desc: format!("Device '{id}' not found"),
        }
    }
    /// Of class `CommandNotFound`, with QEMU's text.
    pub fn command_not_found(name: &str) -> Self {
        QmpError {
            class: Self::COMMAND_NOT_FOUND.to_owned(),
            desc: format!("The command {name} has not been found"),
        }
    }
    /// Whether the class is `DeviceNotFound`.
    pub fn is_device_not_found(&self) -> bool {
        self.class == Self::DEVICE_NOT_FOUND
    }
}

/// When the machine says that something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp {
    /// Since 1970; -1 when the machine's host has no clock.
    pub seconds: i64,
    /// Within the second.
    pub microseconds: i64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// For example `DEVICE_DELETED`.
    #[serde(rename = "event")]
    pub name: String,
    /// By name; empty for some events.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub data: Properties,
    /// By the machine's clock.
    pub timestamp: Timestamp,
}

impl Event {
    /// The id of the device that is gone, when this says so.
    ///
    /// Parts of a device without an id (`virtio-backend`) go with events of their own, which have only a path.
    pub fn deleted_device(&self) -> Option<&str> {
        self.named("DEVICE_DELETED", "device")
    }

    /// The id of the device that the guest refuses to give back, when this says so.
    pub fn unplug_refused(&self) -> Option<&str> {
        self.named("DEVICE_UNPLUG_GUEST_ERROR", "device")
    }

    fn named(&self, event: &str, member: &str) -> Option<&str> {
        if self.name == event { self.data.get(member)?.as_str() } else { None }
    }
}

/// What a machine has, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Under `/machine/peripheral`: every device with an id, on the command line or plugged later.
    pub devices: BTreeSet<String>,
    /// With those of the monitors (`compat_monitor0`).
    pub chardevs: BTreeSet<String>,
    /// Under `/objects`, with the machine's own (`pc.ram`).
    pub objects: BTreeSet<String>,
    /// With those deleted under a NIC that still has them: QEMU prints both alike.
    pub netdevs: BTreeSet<String>,
    /// By node name, with those that QEMU named itself (`#block123`).
    pub blocknodes: BTreeSet<String>,
}

const PERIPHERAL: &str = "/machine/peripheral";
const OBJECTS: &str = "/objects";

impl Inventory {
    /// The queries whose replies make an inventory.
    pub fn queries() -> [Command; 5] {
        [
            Command::qom_list(PERIPHERAL),
            Command::query_chardev(),
            Command::qom_list(OBJECTS),
            Command::info_network(),
            Command::query_named_block_nodes(),
        ]
    }

    /// Takes in the reply to one of [`Inventory::queries`].
    ///
    /// # Errors
    /// When the reply is not of the shape that QEMU promises; the text says where.
    pub fn learn(&mut self, query: &Command, reply: &Value) -> Result<(), String> {
        match (query.name.as_str(), query.text("path")) {
            ("qom-list", Some(PERIPHERAL)) => self.devices = children(reply)?,
            ("qom-list", Some(OBJECTS)) => self.objects = children(reply)?,
            ("query-chardev", _) => self.chardevs = members(reply, "label")?,
            ("query-named-block-nodes", _) => self.blocknodes = members(reply, "node-name")?,
            ("human-monitor-command", _) => {
                self.netdevs = netdevs(reply.as_str().ok_or("expected a text")?);
            }
            (name, _) => return Err(format!("`{name}` is no query of an inventory")),
        }
        Ok(())
    }
}

fn entries(reply: &Value) -> Result<&Vec<Value>, String> {
    reply.as_array().ok_or_else(|| "expected a list".to_owned())
}

fn member<'a>(entry: &'a Value, index: usize, name: &str) -> Result<&'a str, String> {
    let text = entry.get(name).and_then(Value::as_str);
    text.ok_or_else(|| format!("entry {index}: expected `{name}` to be a text"))
}

fn members(reply: &Value, name: &str) -> Result<BTreeSet<String>, String> {
    let named = entries(reply)?.iter().enumerate();
    named.map(|(index, entry)| Ok(member(entry, index, name)?.to_owned())).collect()
}

/// The children of a QOM object; `qom-list` lists its properties too.
fn children(reply: &Value) -> Result<BTreeSet<String>, String> {
    let mut names = BTreeSet::new();
    for (index, entry) in entries(reply)?.iter().enumerate() {
        if member(entry, index, "type")?.starts_with("child<") {
            names.insert(member(entry, index, "name")?.to_owned());
        }
    }
    Ok(names)
}

/// The backends in what `info network` prints: one line each, `ID: index=N,type=TYPE,…`, indented under a NIC.
fn netdevs(text: &str) -> BTreeSet<String> {
    let named =
        text.lines().filter_map(|line| line.trim_start_matches([' ', '\\']).split_once(": index="));
    named.filter(|(_, rest)| !rest.contains("type=nic,")).map(|(id, _)| id.to_owned()).collect()
}

/// An object literal as [`Properties`]: `properties(json!({"bus": "pci.0"}))`. Anything but an object is empty.
pub fn properties(object: Value) -> Properties {
    match object {
        Value::Object(properties) => properties,
        _ => Map::new(),
    }
}

/// The backend of a socket that QEMU listens on, without waiting for a peer.
pub fn unix_server(path: &str) -> Value {
    json!({"type": "socket", "data": {
        "addr": {"type": "unix", "data": {"path": path}}, "server": true, "wait": false,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_command_is_its_name_and_arguments() {
        let command = Command::device_add(
            "e1000",
            "net0",
            properties(json!({"bus": "pci.0", "netdev": "hostnet0"})),
        );
        let text = serde_json::to_string(&command).unwrap();
        insta::assert_snapshot!(text, @r#"{"name":"device_add","arguments":{"bus":"pci.0","driver":"e1000","id":"net0","netdev":"hostnet0"}}"#);
        assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), command);
        assert_eq!(serde_json::to_string(&Command::cont()).unwrap(), r#"{"name":"cont"}"#);
    }

    /// Replies as QEMU 7.2.22 gave them.
    #[test]
    fn an_inventory_is_read_from_the_replies() {
        let replies = [
            json!([{"name": "type", "type": "string"}, {"name": "vser0", "type": "child<virtio-serial-pci>"}]),
            json!([{"frontend-open": true, "filename": "unix:/d/m,server=on", "label": "compat_monitor0"}]),
            json!([{"name": "type", "type": "string"}, {"name": "pc.ram", "type": "child<memory-backend-ram>"}]),
            json!(
                "net0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56\r\n \\ hostnet0: index=0,type=user,net=10.0.2.0,restrict=off\r\nfree: index=0,type=user,net=10.0.2.0,restrict=off\r\n"
            ),
            json!([{"node-name": "n0", "drv": "null-co"}]),
        ];
        let mut inventory = Inventory::default();
        for (query, reply) in Inventory::queries().iter().zip(&replies) {
            inventory.learn(query, reply).unwrap();
        }
        let expected = Inventory {
            devices: set(&["vser0"]),
            chardevs: set(&["compat_monitor0"]),
            objects: set(&["pc.ram"]),
            netdevs: set(&["hostnet0", "free"]),
            blocknodes: set(&["n0"]),
        };
        assert_eq!(inventory, expected);
    }

    #[test]
    fn a_reply_of_another_shape_says_where() {
        let mut inventory = Inventory::default();
        let mut learn = |query: Command, reply: Value| inventory.learn(&query, &reply).unwrap_err();
        assert_eq!(learn(Command::query_chardev(), json!({})), "expected a list");
        assert_eq!(
            learn(Command::query_chardev(), json!([{"label": "a"}, {"label": 1}])),
            "entry 1: expected `label` to be a text"
        );
        assert_eq!(
            learn(Command::qom_list(PERIPHERAL), json!([{"name": "a"}])),
            "entry 0: expected `type` to be a text"
        );
        assert_eq!(learn(Command::info_network(), json!(null)), "expected a text");
        assert_eq!(
            learn(Command::query_status(), json!({})),
            "`query-status` is no query of an inventory"
        );
    }

    #[test]
    fn only_a_deleted_device_with_an_id_has_one() {
        let event = |text: &str| serde_json::from_str::<Event>(text).unwrap();
        let part = event(
            r#"{"timestamp":{"seconds":1,"microseconds":2},"event":"DEVICE_DELETED","data":{"path":"/machine/peripheral/rng0/virtio-backend"}}"#,
        );
        let whole = event(
            r#"{"timestamp":{"seconds":1,"microseconds":2},"event":"DEVICE_DELETED","data":{"device":"rng0","path":"/machine/peripheral/rng0"}}"#,
        );
        let other = event(r#"{"timestamp":{"seconds":1,"microseconds":2},"event":"STOP"}"#);
        assert_eq!(part.deleted_device(), None);
        assert_eq!(whole.deleted_device(), Some("rng0"));
        assert_eq!((other.deleted_device(), other.data.len()), (None, 0));
        assert_eq!(whole.timestamp, Timestamp { seconds: 1, microseconds: 2 });
    }
}
