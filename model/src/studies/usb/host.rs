//! What one daemon does with a guest: define, load, start, describe, receive, remember.
//!
//! Every answer follows from [`Generation`]'s rules; this is the one place where they are put
//! together.

use super::{
    addresses,
    definition::{Asked, Controller, Definition, Refusal, Text},
    generation::{Dropped, Fit, Generation},
    hardware::{self, Build, Device, Hardware, Loaded, Machine, Model, Place},
};

/// A daemon with its QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    /// The libvirt.
    pub generation: Generation,
    /// The machine type of every guest here.
    pub machine: Machine,
    /// The QEMU.
    pub build: Build,
}

/// A running guest: what the daemon believes, and what the process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guest {
    /// The live definition.
    pub live: Definition,
    /// The ground truth.
    pub hardware: Hardware,
    /// The address allocator's pointer: the slot given last; 0 for none, or where there is no pointer.
    pub last_slot: u8,
}

/// How a guest arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// It, where it is now.
    pub guest: Guest,
    /// Has it a device that it had not?
    pub silently_changed: bool,
}

/// Why a text is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// A user defines.
    Define,
    /// The daemon starts and loads what was defined.
    Load,
    /// A process is described: a status file, a migration, a save image.
    Process,
}

impl Host {
    /// `virsh define`, by a user who also asks for one network card.
    pub fn define(&self, asked: Asked) -> Result<Definition, Refusal> {
        self.parse_new(asked, Reason::Define)
    }

    /// The same text, loaded as the configuration of an older daemon that had resolved nothing.
    pub fn load_new(&self, asked: Asked) -> Result<Definition, Refusal> {
        self.parse_new(asked, Reason::Load)
    }

    /// A configuration is loaded by a daemon that starts.
    pub fn load(&self, config: Definition) -> Result<Definition, Refusal> {
        self.parse(config, Reason::Load)
    }

    /// A definition that was printed, or edited, is defined.
    pub fn redefine(&self, printed: Definition) -> Result<Definition, Refusal> {
        self.parse(printed, Reason::Define)
    }

    fn parse_new(&self, asked: Asked, reason: Reason) -> Result<Definition, Refusal> {
        if !self.generation.knows_machine(self.machine) {
            return Err(Refusal::UnknownMachine);
        }
        let cards = addresses::first_card(self.generation, self.machine);
        self.parse(Definition { usb: asked.controller(), cards }, reason)
    }

    fn parse(&self, text: Definition, reason: Reason) -> Result<Definition, Refusal> {
        let Host { generation, machine, build } = *self;
        if !generation.knows_machine(machine) {
            return Err(Refusal::UnknownMachine);
        }
        if let Some(usb) = text.usb {
            if !generation.knows_controllers() {
                return Err(Refusal::UnknownController);
            }
            if usb.model.is_some_and(|model| !generation.knows_model(model)) {
                return Err(Refusal::UnknownModel);
            }
        }
        let mut read = text;
        if generation == Generation::Ours {
            read.usb = Some(self.ours_completes(text.usb, reason)?);
            // Slot 0 is a fact about a process that has it, and it stays.
            if read.usb.and_then(|usb| usb.place).is_some_and(|place| place.is_all_zero()) {
                return Ok(read);
            }
        } else {
            if read.usb.is_none() {
                let added = generation.adds(machine, build);
                read.usb = added.map(|model| Controller { model, place: None });
            }
            if let Some(usb) = &mut read.usb
                && usb.model.is_none()
            {
                usb.model = generation.resolves(machine, build, reason == Reason::Define);
            }
        }
        addresses::assign(generation, machine, &mut read)?;
        Ok(read)
    }

    /// Ours leaves nothing open. Defaults of today are for those who define today; what an older daemon
    /// left out of the text about a process is completed with what that daemon gave the process.
    fn ours_completes(
        &self,
        text: Option<Controller>,
        reason: Reason,
    ) -> Result<Controller, Refusal> {
        let Host { machine, build, .. } = *self;
        let place = text.and_then(|usb| usb.place);
        let model = match text {
            Some(Controller { model: Some(model), .. }) => model,
            _ if machine == Machine::I440fx => Model::Piix3Uhci,
            // A and B did not add anything that they then left out; C says more than nothing.
            None if machine == Machine::Q35 && reason == Reason::Process => Model::None,
            None if machine == Machine::Q35 => {
                let newest = Generation::N.adds(machine, build).flatten();
                newest.unwrap_or(Model::None)
            }
            _ => {
                let update = reason == Reason::Define;
                let model = Generation::Ours.resolves(machine, build, update);
                model.ok_or(Refusal::NoModel)?
            }
        };
        Ok(Controller { model: Some(model), place })
    }

    /// Starts a process for a definition: the command line, and what QEMU makes of it.
    pub fn start(&self, definition: Definition) -> Result<Guest, Refusal> {
        let hardware = self.realise(&definition)?;
        Ok(Guest { live: definition, hardware, last_slot: 0 })
    }

    fn realise(&self, definition: &Definition) -> Result<Hardware, Refusal> {
        let Host { generation, machine, build } = *self;
        let Some(usb) = definition.usb else {
            // Never on q35: `!qemuDomainMachineIsQ35`.
            return Ok(machine.built_in());
        };
        let model = match usb.model {
            Some(Model::None) => return Ok(None),
            Some(model) => model,
            None => match generation.device_for_unset(machine, build) {
                Some(model) => model,
                None => {
                    let chose = generation.command_line_chooses();
                    let why = if chose { Refusal::NoDevice } else { Refusal::NoModel };
                    return machine.built_in().map(Some).ok_or(why);
                }
            },
        };
        let Some(place) = usb.place else { return Err(Refusal::PlaceTaken) };
        let device = Device { model, place };
        // `-usb` and `-device` with its address are the same to the guest; only ours knows that.
        let same = generation == Generation::Ours && machine.built_in() == Some(device);
        if same || build.has(model) { Ok(Some(device)) } else { Err(Refusal::NoDevice) }
    }

    /// A network card is plugged.
    pub fn plug(&self, guest: &Guest) -> Result<Guest, Refusal> {
        let slot = addresses::plug(self.generation, self.machine, &guest.live, guest.last_slot)?;
        let cards = guest.live.cards | 1 << slot;
        let last_slot = match self.generation.fit() {
            Fit::First => 0,
            Fit::Next => slot,
        };
        Ok(Guest { live: Definition { cards, ..guest.live }, last_slot, ..*guest })
    }

    /// The network card in the lowest slot is unplugged.
    pub fn unplug(guest: &Guest) -> Guest {
        let cards = guest.live.cards & guest.live.cards.wrapping_sub(1);
        Guest { live: Definition { cards, ..guest.live }, ..*guest }
    }

    /// The text that goes to a destination, or into a save image (`qemuDomainDefFormatLive`).
    pub fn migratable(&self, guest: &Guest) -> Text {
        let ours = self.generation == Generation::Ours;
        let machine = self.machine;
        let drops = self.generation.drops();
        let left_out = |usb: &Controller| match (drops, usb.model) {
            // The one thing that older daemons can only be told by saying nothing.
            _ if ours && usb.place.is_some_and(|place| place.is_all_zero()) => true,
            (Dropped::Nothing, _) => false,
            (Dropped::Unset, model) => model.is_none(),
            (_, Some(Model::Piix3Uhci)) => {
                drops == Dropped::Piix3OnI440fx && machine == Machine::I440fx
            }
            (_, model) => model.is_none() && machine == Machine::I440fx,
        };
        let usb = guest.live.usb.filter(|usb| !left_out(usb));
        Text {
            definition: Definition { usb, ..guest.live },
            process: ours.then_some(guest.hardware),
        }
    }

    /// A process arrives with the text about it. What QEMU notices is refused; what it does not notice
    /// is accepted.
    pub fn receive(&self, text: &Text, sent: Hardware) -> Result<Arrived, Refusal> {
        let mut definition = text.definition;
        if let (Generation::Ours, Some(process)) = (self.generation, text.process) {
            definition.usb = Some(of_process(process));
        }
        let asked = definition.usb.and_then(|usb| usb.place);
        let definition = self.parse(definition, Reason::Process)?;
        let mut guest = self.start(definition)?;
        if asked.is_none()
            && self.generation.arrival_moves_the_pointer()
            && let Some(Controller { place: Some(given), .. }) = guest.live.usb
            && given != Place::PIIX3
        {
            guest.last_slot = given.slot;
        }
        match hardware::load(sent, guest.hardware) {
            Loaded::Same => Ok(Arrived { guest, silently_changed: false }),
            Loaded::Silent => Ok(Arrived { guest, silently_changed: true }),
            Loaded::NoSection => Err(Refusal::UnknownSection),
            Loaded::OtherModel => Err(Refusal::OtherModel),
        }
    }

    /// This daemon takes over a process of an older one, with the status file about it. Ours asks QEMU.
    pub fn reconnect(&self, guest: &Guest) -> Result<Guest, Refusal> {
        let mut status = guest.live;
        if self.generation == Generation::Ours {
            status.usb = Some(of_process(guest.hardware));
        }
        let live = self.parse(status, Reason::Process)?;
        Ok(Guest { live, last_slot: 0, ..*guest })
    }
}

/// What a process has, as a definition says it.
fn of_process(hardware: Hardware) -> Controller {
    match hardware {
        None => Controller { model: Some(Model::None), place: None },
        Some(Device { model, place }) => Controller { model: Some(model), place: Some(place) },
    }
}
