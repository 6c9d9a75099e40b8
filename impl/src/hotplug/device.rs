//! A device as it is plugged: a frontend, and what it needs from the host.

use serde::{Deserialize, Serialize};

use crate::hypervisor::{Command, Inventory};

/// A device of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name in the definition and its id in QEMU. Empty until it is given one.
    pub alias: String,
    /// What its alias begins with: `channel`, `serial`, `rng`, `net`.
    pub prefix: String,
    /// What has to be there before it, and go after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    /// `device_add`; the id is filled in with the alias.
    pub frontend: Command,
    /// The device as the user wrote it, for the definition.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub xml: String,
}

/// Something of the host's that one device uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// What it is.
    pub kind: BackendKind,
    /// The command that makes it; the id is filled in.
    pub add: Command,
    /// The property of the frontend that names it.
    pub property: String,
}

/// The kinds of backend, each with its command to add and to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendKind {
    /// `chardev-add`, id `char<alias>`.
    Chardev,
    /// `object-add`, id `obj<alias>`.
    Object,
    /// `netdev_add`, id `host<alias>`.
    Netdev,
    /// `blockdev-add`, node name `drive-<alias>`.
    BlockNode,
}

impl BackendKind {
    /// Every kind.
    pub const ALL: [BackendKind; 4] =
        [BackendKind::Chardev, BackendKind::Object, BackendKind::Netdev, BackendKind::BlockNode];

    /// What an alias is prefixed with (libvirt `src/qemu/qemu_alias.c`).
    fn prefix(self) -> &'static str {
        match self {
            BackendKind::Chardev => "char",
            BackendKind::Object => "obj",
            BackendKind::Netdev => "host",
            BackendKind::BlockNode => "drive-",
        }
    }

    /// The id of the backend of the device with this alias.
    pub fn id(self, alias: &str) -> String {
        format!("{}{alias}", self.prefix())
    }

    /// The alias of the device whose backend has this id, if it is named as ours are.
    pub fn alias_of(self, id: &str) -> Option<&str> {
        let alias = id.strip_prefix(self.prefix())?;
        let prefix = alias.trim_end_matches(|digit: char| digit.is_ascii_digit());
        (!prefix.is_empty() && prefix.len() < alias.len()).then_some(alias)
    }

    /// The command that removes it.
    pub fn remove(self, alias: &str) -> Command {
        let id = self.id(alias);
        match self {
            BackendKind::Chardev => Command::chardev_remove(&id),
            BackendKind::Object => Command::object_del(&id),
            BackendKind::Netdev => Command::netdev_del(&id),
            BackendKind::BlockNode => Command::blockdev_del(&id),
        }
    }

    /// Those of this kind that QEMU has.
    pub(super) fn of(self, inventory: &Inventory) -> &std::collections::BTreeSet<String> {
        match self {
            BackendKind::Chardev => &inventory.chardevs,
            BackendKind::Object => &inventory.objects,
            BackendKind::Netdev => &inventory.netdevs,
            BackendKind::BlockNode => &inventory.blocknodes,
        }
    }

    pub(super) fn of_mut(
        self,
        inventory: &mut Inventory,
    ) -> &mut std::collections::BTreeSet<String> {
        match self {
            BackendKind::Chardev => &mut inventory.chardevs,
            BackendKind::Object => &mut inventory.objects,
            BackendKind::Netdev => &mut inventory.netdevs,
            BackendKind::BlockNode => &mut inventory.blocknodes,
        }
    }

    fn id_argument(self) -> &'static str {
        match self {
            BackendKind::BlockNode => "node-name",
            _ => "id",
        }
    }
}

impl Device {
    /// A device that needs nothing from the host.
    pub fn without_backend(prefix: &str, frontend: Command) -> Self {
        Device {
            alias: String::new(),
            prefix: prefix.to_owned(),
            backend: None,
            frontend,
            xml: String::new(),
        }
    }

    /// A device with its backend, which the frontend names in `property`.
    pub fn with_backend(
        prefix: &str,
        frontend: Command,
        kind: BackendKind,
        add: Command,
        property: &str,
    ) -> Self {
        let backend = Backend { kind, add, property: property.to_owned() };
        Device { backend: Some(backend), ..Device::without_backend(prefix, frontend) }
    }

    /// With its source text.
    #[must_use]
    pub fn with_xml(self, xml: &str) -> Self {
        Device { xml: xml.to_owned(), ..self }
    }

    /// The command that adds the backend.
    pub fn add_backend(&self) -> Option<Command> {
        let backend = self.backend.as_ref()?;
        let id = backend.kind.id(&self.alias);
        Some(backend.add.clone().with(backend.kind.id_argument(), id))
    }

    /// The command that adds the frontend.
    pub fn add_frontend(&self) -> Command {
        let command = self.frontend.clone().with("id", self.alias.clone());
        match &self.backend {
            Some(backend) => command.with(&backend.property, backend.kind.id(&self.alias)),
            None => command,
        }
    }

    /// The command that removes the backend.
    pub(super) fn remove_backend(&self) -> Option<Command> {
        self.backend.as_ref().map(|backend| backend.kind.remove(&self.alias))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_like_ours_have_an_alias() {
        let of = |id| BackendKind::Chardev.alias_of(id);
        assert_eq!(of("charchannel0"), Some("channel0"));
        assert_eq!(of("charserial12"), Some("serial12"));
        for id in ["compat_monitor0", "char", "char0", "charua", "charmonitor"] {
            assert_eq!(of(id), None, "{id}");
        }
        assert_eq!(BackendKind::BlockNode.alias_of("drive-virtio-disk3"), Some("virtio-disk3"));
        assert_eq!(BackendKind::Object.alias_of("pc.ram"), None);
    }
}
