//! What a daemon makes of a request, given its rules.

use super::{
    action::{Outcome, Place, Reply, Why},
    hardware::{Kind, Machine, Name, Qemu},
    rules::{AfterRestart, NameFrom, Rules, UserAlias},
    state::{Config, Guest},
};

impl Outcome {
    pub(super) const DONE: Outcome = Outcome { reply: Reply::Done, bus: None };

    pub(super) fn refused(why: Why) -> Self {
        Outcome { reply: Reply::Refused(why), bus: None }
    }

    pub(super) fn naming(self, bus: Name) -> Self {
        Outcome { bus: Some(bus), ..self }
    }

    /// Was it refused?
    pub fn why(&self) -> Option<Why> {
        match self.reply {
            Reply::Refused(why) => Some(why),
            Reply::Done | Reply::Alias(_) => None,
        }
    }
}

impl Rules {
    /// Why this definition is not accepted, with the QEMU that is on disk.
    fn objects_to(&self, config: &Config, binary: Qemu) -> Option<Why> {
        let machine = config.machine;
        let pci = matches!(machine.kind(), Kind::PciRoot | Kind::HostBridge);
        let forbidden = match self.user_alias {
            UserAlias::Forbidden => pci,
            UserAlias::ForbiddenOnOld => pci && !self.multibus(machine, Some(binary)),
            UserAlias::Dropped | UserAlias::Sent | UserAlias::Translated => false,
        };
        (config.user_alias && forbidden).then_some(Why::UserAliasForbidden)
    }

    pub(super) fn define(
        &self,
        machine: Machine,
        user_alias: bool,
        binary: Qemu,
    ) -> Result<Config, Why> {
        let user_alias = user_alias && self.user_alias != UserAlias::Dropped;
        let config = Config { machine, user_alias, started_before: false };
        self.objects_to(&config, binary).map_or(Ok(config), Err)
    }

    /// The guest, and the bus that its command line names.
    pub(super) fn start(
        &self,
        config: &Config,
        binary: Qemu,
    ) -> Result<(Guest, Option<Name>), Outcome> {
        if let Some(why) = self.objects_to(config, binary) {
            return Err(Outcome::refused(why));
        }
        if self.needs_new_qemu && binary == Qemu::BeforeMultibus {
            return Err(Outcome::refused(Why::QemuTooOld));
        }
        let machine = config.machine;
        let alias = match (config.user_alias, machine.kind()) {
            (true, _) => Name::UaRoot,
            (false, Kind::Esp) => Name::Scsi,
            (false, _) if !self.multibus(machine, Some(binary)) => Name::Pci,
            (false, Kind::PcieRoot) => Name::Pcie0,
            (false, Kind::PciRoot | Kind::HostBridge) => Name::Pci0,
        };
        let saved = (self.after_restart == AfterRestart::Saved).then_some(binary);
        let guest = Guest {
            qemu: binary,
            machine,
            alias,
            probed: Some(binary),
            saved,
            plugged: [false; 2],
        };
        if !machine.names_root_at_start() {
            return Ok((guest, None));
        }
        let bus = self.root_bus(&guest);
        if bus == machine.root(binary) {
            Ok((guest, Some(bus)))
        } else {
            Err(Outcome::refused(Why::BusNotFound).naming(bus))
        }
    }

    /// The name by which QEMU is told of the root's bus (`qemuBuildDeviceAddressPCIGetBus`).
    pub(super) fn root_bus(&self, guest: &Guest) -> Name {
        let machine = guest.machine;
        if self.name == NameFrom::Asked {
            return machine.root(guest.qemu);
        }
        let by_user = guest.alias == Name::UaRoot;
        let computed = || if self.multibus(machine, guest.probed) { Name::Pci0 } else { Name::Pci };
        match (machine.kind(), self.user_alias) {
            (Kind::Esp, _) if by_user && !self.translates_esp => Name::UaRoot0,
            (Kind::Esp, _) => Name::Scsi0,
            (_, UserAlias::Sent | UserAlias::Dropped) => guest.alias,
            (Kind::PcieRoot, _) if by_user => Name::Pcie0,
            (Kind::HostBridge, _) if by_user && self.translates_host_bridge => Name::Pci0,
            (Kind::PcieRoot | Kind::HostBridge, _) => guest.alias,
            (Kind::PciRoot, _) if self.name == NameFrom::Computed => computed(),
            (Kind::PciRoot, UserAlias::Translated) if by_user => computed(),
            (Kind::PciRoot, UserAlias::ForbiddenOnOld) if by_user => Name::Pci0,
            (Kind::PciRoot, _) => guest.alias,
        }
    }

    /// What comes of plugging a device. `None`: the guest has no such place.
    pub(super) fn attach(&self, guest: &Guest, onto: Place) -> Option<Outcome> {
        let machine = guest.machine;
        if onto == Place::Port {
            // The id of what the definition has is its alias; nothing has to be known.
            return machine.port(guest.qemu).map(|bus| Outcome::DONE.naming(bus));
        }
        let can = machine.root_is_hotpluggable(guest.qemu);
        // libvirt takes every pci-root for one that can be plugged into.
        let known = self.name == NameFrom::Asked || machine.kind() == Kind::PcieRoot;
        if !can && known {
            return Some(Outcome::refused(Why::NotHotpluggable));
        }
        let bus = self.root_bus(guest);
        let answer = if bus != machine.root(guest.qemu) {
            Outcome::refused(Why::BusNotFound)
        } else if can {
            Outcome::DONE
        } else {
            Outcome::refused(Why::NoHotplugging)
        };
        Some(answer.naming(bus))
    }

    /// Can a device be plugged there?
    pub(super) fn can_attach(&self, guest: &Guest, onto: Place) -> bool {
        self.attach(guest, onto).is_some_and(|outcome| outcome.reply == Reply::Done)
    }

    /// What this daemon knows of a guest that it finds when it comes up.
    pub(super) fn reconnect(&self, guest: &Guest, binary: Qemu) -> Guest {
        let probed = match self.after_restart {
            AfterRestart::Flags => None,
            AfterRestart::Saved => guest.saved,
            AfterRestart::Reprobed => Some(binary),
        };
        let saved = if self.after_restart == AfterRestart::Saved { guest.saved } else { None };
        Guest { probed, saved, ..*guest }
    }
}
