//! The host's side of devices: chardevs, objects, netdevs and block nodes, and who uses them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    arguments::{as_text, identifier, is_identifier, only, required, text},
    catalogue::{Driver, Needs},
    devices::Key,
};
use crate::hypervisor::{Command, QmpError, Reply, monitor::Properties};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backends {
    chardevs: BTreeMap<String, Chardev>,
    objects: BTreeMap<String, String>,
    /// In order, because a deleted one may linger beside a new one of the same id.
    netdevs: Vec<Netdev>,
    nodes: BTreeMap<String, Node>,
    /// How many terminals and unnamed nodes there have been.
    ptys: u32,
    unnamed: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Chardev {
    filename: String,
    open: bool,
    user: Option<User>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Monitor,
    /// A mux over it, a random source, …
    Backend,
    Device(Key),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Netdev {
    id: String,
    kind: String,
    user: Option<Key>,
    /// `netdev_del` takes it from its NIC, which keeps a dead peer until it goes itself.
    deleted: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    driver: String,
    read_only: bool,
    /// A command made it, not its parent.
    own: bool,
    children: Vec<String>,
    users: BTreeMap<Key, Access>,
}

/// How a device has a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    /// As permission errors name the device.
    pub(super) holder: String,
    /// What it wants; a read-only node gives it to nobody.
    pub(super) writes: bool,
    /// It lets others write: `share-rw`.
    pub(super) shares: bool,
}

/// A backend that a new device will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Chardev(String),
    Netdev(String),
    Node(String),
}

const CHARDEV_TYPES: &[&str] = &[
    "file",
    "serial",
    "parallel",
    "pipe",
    "socket",
    "udp",
    "pty",
    "null",
    "mux",
    "msmouse",
    "wctablet",
    "braille",
    "testdev",
    "stdio",
    "spicevmc",
    "spiceport",
    "qemu-vdagent",
    "dbus",
    "vc",
    "ringbuf",
    "memory",
];
const NETDEV_TYPES: &[&str] = &[
    "user",
    "tap",
    "l2tpv3",
    "socket",
    "stream",
    "dgram",
    "vde",
    "bridge",
    "hubport",
    "vhost-user",
    "vhost-vdpa",
];
const OBJECT_TYPES: &[&str] = &[
    "rng-random",
    "rng-builtin",
    "rng-egd",
    "secret",
    "iothread",
    "memory-backend-ram",
    "throttle-group",
    "tls-creds-x509",
];
const BLOCK_DRIVERS: &[&str] =
    &["file", "host_device", "null-co", "null-aio", "raw", "qcow2", "nbd"];

impl Backends {
    /// What every machine has: its memory, and the monitor's own chardev.
    pub(super) fn new() -> Self {
        let monitor = Chardev {
            filename: "unix:monitor,server=on".to_owned(),
            open: true,
            user: Some(User::Monitor),
        };
        Backends {
            chardevs: [("compat_monitor0".to_owned(), monitor)].into(),
            objects: [("pc.ram".to_owned(), "memory-backend-ram".to_owned())].into(),
            netdevs: Vec::new(),
            nodes: BTreeMap::new(),
            ptys: 0,
            unnamed: 0,
        }
    }

    pub(super) fn chardev_add(&mut self, command: &Command) -> Reply {
        let id = text(command, "id")?;
        let backend = required(&command.arguments, "backend", "backend")?;
        let empty = Map::new();
        let members = backend.as_object().unwrap_or(&empty);
        let kind = as_text(required(members, "type", "backend.type")?, "backend.type")?;
        if !CHARDEV_TYPES.contains(&kind) {
            return Err(QmpError::generic(format!(
                "Parameter 'type' does not accept value '{kind}'"
            )));
        }
        let data = required(members, "data", "backend.data")?;
        only(command, &["id", "backend"])?;
        if self.chardevs.contains_key(id) {
            return Err(QmpError::generic(format!("Chardev with id '{id}' already exists")));
        }
        if kind == "mux" {
            let base = as_text(
                required(data.as_object().unwrap_or(&empty), "chardev", "backend.data.chardev")?,
                "chardev",
            )?;
            let failed =
                |why: String| QmpError::generic(format!("Failed to add chardev '{id}': {why}"));
            let below = self
                .chardevs
                .get_mut(base)
                .ok_or_else(|| failed(format!("mux: base chardev {base} not found")))?;
            if below.user.is_some() {
                return Err(failed(format!("Device '{base}' is in use")));
            }
            below.user = Some(User::Backend);
        }
        let mut reply = Map::new();
        let mut filename = kind.to_owned();
        if kind == "pty" {
            // No such terminal can exist: nobody opens another's by mistake.
            let path = format!("/dev/pts/embedded/{}", self.ptys);
            self.ptys += 1;
            filename = format!("pty:{path}");
            reply.insert("pty".to_owned(), path.into());
        } else if kind == "socket"
            && let Some(path) = data.pointer("/addr/data/path").and_then(Value::as_str)
        {
            let server = data.get("server").and_then(Value::as_bool).unwrap_or(true);
            filename =
                format!("disconnected:unix:{path}{}", if server { ",server=on" } else { "" });
        }
        // A mux is always busy, even with nobody on it.
        let user = (kind == "mux").then_some(User::Backend);
        self.chardevs.insert(id.to_owned(), Chardev { filename, open: kind == "mux", user });
        Ok(Value::Object(reply))
    }

    pub(super) fn chardev_remove(&mut self, command: &Command) -> Reply {
        let id = text(command, "id")?;
        only(command, &["id"])?;
        match self.chardevs.get(id) {
            None => Err(QmpError::generic(format!("Chardev '{id}' not found"))),
            Some(Chardev { user: Some(_), .. }) => {
                Err(QmpError::generic(format!("Chardev '{id}' is busy")))
            }
            Some(_) => {
                self.chardevs.remove(id);
                Ok(json!({}))
            }
        }
    }

    pub(super) fn query_chardev(&self) -> Value {
        let entry = |(label, chardev): (&String, &Chardev)| json!({"label": label, "filename": chardev.filename, "frontend-open": chardev.open});
        self.chardevs.iter().map(entry).collect()
    }

    pub(super) fn chardev_names(&self) -> impl Iterator<Item = &String> {
        self.chardevs.keys()
    }

    pub(super) fn object_add(&mut self, command: &Command) -> Reply {
        let kind = text(command, "qom-type")?;
        let id = text(command, "id")?;
        if !OBJECT_TYPES.contains(&kind) {
            return Err(QmpError::generic(format!(
                "Parameter 'qom-type' does not accept value '{kind}'"
            )));
        }
        identifier(id)?;
        if self.objects.contains_key(id) {
            let text =
                format!("attempt to add duplicate property '{id}' to object (type 'container')");
            return Err(QmpError::generic(text));
        }
        self.objects.insert(id.to_owned(), kind.to_owned());
        Ok(json!({}))
    }

    /// A random source goes even while a device has it: QEMU does not look.
    pub(super) fn object_del(&mut self, command: &Command) -> Reply {
        let id = text(command, "id")?;
        only(command, &["id"])?;
        match self.objects.remove(id) {
            Some(_) => Ok(json!({})),
            None => Err(QmpError::generic(format!("object '{id}' not found"))),
        }
    }

    pub(super) fn objects(&self) -> impl Iterator<Item = (&String, &String)> {
        self.objects.iter()
    }

    pub(super) fn netdev_add(&mut self, command: &Command) -> Reply {
        let kind = text(command, "type")?;
        let id = text(command, "id")?;
        if !NETDEV_TYPES.contains(&kind) {
            return Err(QmpError::generic(format!(
                "Parameter 'type' does not accept value '{kind}'"
            )));
        }
        identifier(id)?;
        if self.netdevs.iter().any(|netdev| netdev.id == id && !netdev.deleted) {
            return Err(QmpError::generic(format!("Duplicate ID '{id}'")));
        }
        self.netdevs.push(Netdev {
            id: id.to_owned(),
            kind: kind.to_owned(),
            user: None,
            deleted: false,
        });
        Ok(json!({}))
    }

    pub(super) fn netdev_del(&mut self, command: &Command) -> Reply {
        let id = text(command, "id")?;
        only(command, &["id"])?;
        let index = self.netdevs.iter().position(|netdev| netdev.id == id && !netdev.deleted);
        let index = index.ok_or_else(|| QmpError::device_not_found(id))?;
        if self.netdevs[index].user.is_some() {
            self.netdevs[index].deleted = true;
        } else {
            self.netdevs.remove(index);
        }
        Ok(json!({}))
    }

    /// One line for a backend without a NIC, two for a pair.
    pub(super) fn info_network(
        &self,
        nic: impl Fn(Key) -> Option<(String, &'static str)>,
    ) -> String {
        let mut text = String::new();
        for Netdev { id, kind, user, .. } in &self.netdevs {
            if let Some((name, model)) = user.and_then(&nic) {
                text += &format!("{name}: index=0,type=nic,model={model}\r\n \\ ");
            }
            text += &format!("{id}: index=0,type={kind}\r\n");
        }
        text
    }

    pub(super) fn blockdev_add(&mut self, command: &Command) -> Reply {
        let mut nodes = BTreeMap::new();
        let mut unnamed = self.unnamed;
        if command.arguments.get("node-name").is_none() && command.arguments.contains_key("driver")
        {
            return Err(QmpError::generic("'node-name' must be specified for the root node"));
        }
        let name = self.node(&command.arguments, &mut nodes, &mut unnamed)?;
        if let Some(root) = nodes.get_mut(&name) {
            root.own = true;
        }
        self.nodes.append(&mut nodes);
        self.unnamed = unnamed;
        Ok(json!({}))
    }

    /// A node and the ones it brings along.
    fn node(
        &self,
        arguments: &Properties,
        new: &mut BTreeMap<String, Node>,
        unnamed: &mut u32,
    ) -> Result<String, QmpError> {
        let driver = as_text(required(arguments, "driver", "driver")?, "driver")?;
        if !BLOCK_DRIVERS.contains(&driver) {
            return Err(QmpError::generic(format!(
                "Parameter 'driver' does not accept value '{driver}'"
            )));
        }
        let name = match arguments.get("node-name") {
            Some(name) => as_text(name, "node-name")?.to_owned(),
            None => {
                *unnamed += 1;
                format!("#block{:03}", *unnamed - 1)
            }
        };
        let mut node = Node { driver: driver.to_owned(), ..Node::default() };
        node.read_only = arguments.get("read-only").and_then(Value::as_bool).unwrap_or(false);
        for role in ["file", "backing"] {
            match arguments.get(role) {
                Some(Value::String(child)) if self.nodes.contains_key(child) => {
                    node.children.push(child.clone())
                }
                Some(Value::String(child)) => {
                    return Err(QmpError::generic(format!(
                        "Cannot find device='{child}' nor node-name='{child}'"
                    )));
                }
                Some(Value::Object(child)) => node.children.push(self.node(child, new, unnamed)?),
                _ => {}
            }
        }
        if !name.starts_with('#') && !is_identifier(&name) {
            return Err(QmpError::generic(format!("Invalid node-name: '{name}'")));
        }
        if self.nodes.contains_key(&name) || new.contains_key(&name) {
            return Err(QmpError::generic(format!("Duplicate nodes with node-name='{name}'")));
        }
        new.insert(name.clone(), node);
        Ok(name)
    }

    pub(super) fn blockdev_del(&mut self, command: &Command) -> Reply {
        let name = text(command, "node-name")?;
        only(command, &["node-name"])?;
        let missing = || QmpError::generic(format!("Failed to find node with node-name='{name}'"));
        let node = self.nodes.get(name).ok_or_else(missing)?;
        if !node.users.is_empty() {
            return Err(QmpError::generic(format!("Node {name} is in use")));
        }
        if !node.own {
            return Err(QmpError::generic(format!("Node {name} is not owned by the monitor")));
        }
        if self.nodes.values().any(|parent| parent.children.iter().any(|child| child == name)) {
            return Err(QmpError::generic(format!("Block device {name} is in use")));
        }
        self.drop_node(name);
        Ok(json!({}))
    }

    fn drop_node(&mut self, name: &str) {
        let Some(node) = self.nodes.remove(name) else { return };
        for child in node.children {
            if self.nodes.get(&child).is_some_and(|child| !child.own) {
                self.drop_node(&child);
            }
        }
    }

    pub(super) fn query_named_block_nodes(&self) -> Value {
        let entry = |(name, node): (&String, &Node)| json!({"node-name": name, "drv": node.driver, "ro": node.read_only});
        self.nodes.iter().map(entry).collect()
    }

    /// What a device's properties name, when it is there and free.
    pub(super) fn look_up(
        &self,
        driver: &Driver,
        properties: &Properties,
    ) -> Result<Option<Claim>, QmpError> {
        let property = match driver.needs {
            Needs::Nothing => return Ok(None),
            Needs::Chardev { .. } => "chardev",
            Needs::Netdev => "netdev",
            Needs::Drive { .. } => "drive",
            Needs::Rng => "rng",
        };
        let Some(name) = super::arguments::loose(properties, property) else { return Ok(None) };
        let owner = driver.property_owner();
        let absent = || {
            QmpError::generic(format!("Property '{owner}.{property}' can't find value '{name}'"))
        };
        match driver.needs {
            Needs::Nothing => Ok(None),
            Needs::Chardev { .. } => match self.chardevs.get(&name).ok_or_else(absent)?.user {
                None => Ok(Some(Claim::Chardev(name))),
                Some(_) => Err(QmpError::generic(format!(
                    "Property '{owner}.chardev' can't take value '{name}': Device '{name}' is in use"
                ))),
            },
            Needs::Netdev => {
                let found = self.netdevs.iter().find(|netdev| netdev.id == name && !netdev.deleted);
                match found.ok_or_else(absent)?.user {
                    None => Ok(Some(Claim::Netdev(name))),
                    Some(_) => Err(QmpError::generic(format!(
                        "Property '{owner}.netdev' can't take value '{name}', it's in use"
                    ))),
                }
            }
            Needs::Drive { .. } => match self.nodes.get(&name) {
                Some(_) => Ok(Some(Claim::Node(name))),
                None => Err(absent()),
            },
            Needs::Rng if self.objects.contains_key(&name) => Ok(None),
            Needs::Rng => Err(QmpError::device_not_found(&name)),
        }
    }

    /// Whether a device may have a node: who writes must be let by all others.
    ///
    /// Only the node itself is looked at; QEMU looks at its children too, which two nodes may share.
    pub(super) fn permits(&self, claim: &Claim, new: &Access) -> Result<(), QmpError> {
        let Claim::Node(name) = claim else { return Ok(()) };
        let Some(node) = self.nodes.get(name).filter(|node| !node.read_only) else { return Ok(()) };
        let refused = |writer: &Access, other: &Access| {
            Err(QmpError::generic(format!(
                "Permission conflict on node '{name}': permissions 'write' are both required by block device '{}' \
                 (uses node '{name}' as 'root' child) and unshared by block device '{}' \
                 (uses node '{name}' as 'root' child).",
                writer.holder, other.holder,
            )))
        };
        let mut others = node.users.values().rev();
        match (
            others.clone().find(|old| old.writes && !new.shares),
            others.find(|old| new.writes && !old.shares),
        ) {
            (Some(writer), _) => refused(writer, new),
            (None, Some(other)) => refused(new, other),
            (None, None) => Ok(()),
        }
    }

    pub(super) fn claim(&mut self, claim: &Claim, device: Key, access: Access, open: bool) {
        match claim {
            Claim::Chardev(name) => {
                if let Some(chardev) = self.chardevs.get_mut(name) {
                    (chardev.user, chardev.open) = (Some(User::Device(device)), open);
                }
            }
            Claim::Netdev(name) => {
                if let Some(netdev) =
                    self.netdevs.iter_mut().find(|netdev| netdev.id == *name && !netdev.deleted)
                {
                    netdev.user = Some(device);
                }
            }
            Claim::Node(name) => {
                if let Some(node) = self.nodes.get_mut(name) {
                    node.users.insert(device, access);
                }
            }
        }
    }

    /// A NIC lets go of its peer when it is unplugged.
    pub(super) fn release_netdev(&mut self, device: Key) {
        self.netdevs.retain(|netdev| !(netdev.user == Some(device) && netdev.deleted));
        for netdev in &mut self.netdevs {
            if netdev.user == Some(device) {
                netdev.user = None;
            }
        }
    }

    /// The rest is let go when the device's memory is.
    pub(super) fn release(&mut self, device: Key) {
        for chardev in self.chardevs.values_mut() {
            if chardev.user == Some(User::Device(device)) {
                (chardev.user, chardev.open) = (None, false);
            }
        }
        for node in self.nodes.values_mut() {
            node.users.remove(&device);
        }
    }
}
