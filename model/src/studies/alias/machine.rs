//! What a daemon does with a request, a restart or an event.

use super::{
    action::{Action, Asked, By, Outcome, Reply, Shown, What, Why},
    definition::{Class, Definition, Device, Kind, Read, Source},
    name::{Alias, CONSOLE0, Stem},
    rules::{DetachConsole, FirstSerial, Rules},
    scopes::Bounds,
    state::{Guest, Qemu, Running, State},
};
use crate::study::Blocked;

/// The record that a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// In this place of the definition.
    Record(usize),
    /// The controller that every domain has.
    Controller,
}

pub(super) struct Machine<'a> {
    pub(super) rules: &'a Rules,
    pub(super) bounds: &'a Bounds,
    pub(super) state: State,
    pub(super) outcome: Outcome,
}

const OFF: Blocked = Blocked("the guest does not run");
const LOST: Blocked = Blocked("the guest is gone, and the study ends with it");
const FREED: Blocked = Blocked("the daemon uses memory that it has freed, and may do anything");
const FULL: Blocked = Blocked("the scope has no room for another device");

impl Machine<'_> {
    pub(super) fn act(&mut self, action: Action) -> Result<(), Blocked> {
        if self.state.guest == Guest::Lost {
            return Err(LOST);
        }
        match action {
            Action::Define { with } => return self.define(with),
            Action::Start => return self.start(),
            Action::Redefine => return self.redefine(),
            Action::Restart => self.restart(),
            Action::Dump { what } => return self.dump(what),
            Action::Detach { by } => {
                let (mut running, memory) = self.running()?;
                let target = find(self.rules, &memory, by)?;
                self.outcome.reply = self.detach(&mut running, memory, target, by);
                self.state.guest = Guest::Running(running);
            }
            Action::Open { name } => {
                let (_, memory) = self.running()?;
                self.outcome.reply = open(self.rules, &memory, name);
                if self.outcome.reply == Reply::DaemonDied {
                    self.restart();
                }
            }
            Action::Attach { kind, alias } => {
                let (mut running, memory) = self.running()?;
                self.outcome.reply = self.attach(&mut running, memory, kind, alias)?;
                self.state.guest = Guest::Running(running);
            }
            Action::Unplugged { id } => {
                let (mut running, mut memory) = self.running()?;
                let device = running.qemu.get(id).ok_or(Blocked("QEMU has no such device"))?;
                match device.kind {
                    Kind::IsaSerial => return Err(Blocked("its bus has no hot-plug")),
                    Kind::Rng if !device.leaving => {
                        return Err(Blocked("the guest was not asked to let it go"));
                    }
                    _ => {}
                }
                running.qemu.remove(id);
                self.outcome.gone = vec![id];
                if let Some(Found::Record(at)) = find_alias(self.rules, &memory, id) {
                    remove(&mut memory, at);
                }
                self.keep(&mut running, memory);
                self.state.guest = Guest::Running(running);
            }
        }
        Ok(())
    }

    fn running(&self) -> Result<(Running, Definition), Blocked> {
        let Guest::Running(running) = self.state.guest else { return Err(OFF) };
        Ok((running, running.memory.ok_or(FREED)?))
    }

    /// Memory and status file.
    fn keep(&self, running: &mut Running, memory: Definition) {
        running.memory = Some(memory);
        running.file = memory.print(self.rules);
    }

    fn refuse(&mut self, why: Why) -> Result<(), Blocked> {
        self.outcome.reply = Reply::Refused(why);
        Ok(())
    }

    fn validate(&self, definition: &Definition) -> Result<(), Why> {
        if self.rules.pair_has_one_alias && definition.aliases_differ() {
            return Err(Why::AliasesDiffer);
        }
        match definition.duplicate(self.rules.checked) {
            Some(_) => Err(Why::DuplicateAlias),
            None => Ok(()),
        }
    }

    fn define(&mut self, with: Asked) -> Result<(), Blocked> {
        if self.state.config.is_some() {
            return Err(Blocked("the domain is defined"));
        }
        let asked = with.definition();
        // Before the two of a pair are made one.
        let apart = Rules { pair_has_one_alias: false, ..*self.rules };
        if self.rules.pair_has_one_alias && asked.parse(&apart, Read::Inactive).aliases_differ() {
            return self.refuse(Why::AliasesDiffer);
        }
        let config = asked.parse(self.rules, Read::Inactive);
        match self.validate(&config) {
            Ok(()) => self.state.config = Some(config),
            Err(why) => return self.refuse(why),
        }
        Ok(())
    }

    fn redefine(&mut self) -> Result<(), Blocked> {
        let Some(config) = self.state.config else {
            return Err(Blocked("there is nothing to define again"));
        };
        if matches!(self.state.guest, Guest::Running(Running { memory: None, .. })) {
            return Err(FREED);
        }
        let again = config.print(self.rules).parse(self.rules, Read::Inactive);
        match self.validate(&again) {
            Ok(()) => self.state.config = Some(again),
            Err(why) => return self.refuse(why),
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), Blocked> {
        let (Guest::Off, Some(config)) = (self.state.guest, self.state.config) else {
            return Err(Blocked("it runs, or there is nothing to start"));
        };
        // The definition becomes the live one, and what is written of it the one for the next start
        // (`virDomainObjSetDefTransient`).
        self.state.config = Some(config.print(self.rules).parse(self.rules, Read::Inactive));
        // What was accepted once is looked at again, and may have become its own dump meanwhile.
        if let Err(why) = self.validate(&config) {
            return self.refuse(why);
        }
        let memory = config.start(self.rules);
        let mut qemu = Qemu::default();
        for device in memory.devices().filter(|device| !device.kind.is_overlay()) {
            if device.alias.is_some_and(|id| !qemu.add(id, device.kind)) {
                return self.refuse(Why::DuplicateId);
            }
        }
        let mut running = Running { memory: None, file: memory, qemu };
        self.keep(&mut running, memory);
        self.state.guest = Guest::Running(running);
        Ok(())
    }

    /// The daemon is started on what its files say: `qemuStateInitialize`, `qemuProcessReconnect`.
    fn restart(&mut self) {
        let State { config, guest } = &mut self.state;
        *config = config.map(|config| config.print(self.rules).parse(self.rules, Read::Inactive));
        let Guest::Running(mut running) = *guest else { return };
        let memory = running.file.parse(self.rules, Read::Live);
        let vanished = memory.devices().any(|device| {
            let is_real = !device.kind.is_overlay() && device.kind != Kind::Parallel;
            is_real && device.alias.is_some_and(|id| running.qemu.get(id).is_none())
        });
        // Its backend went with it: `qemuProcessUpdateDevices` fails, and the guest is stopped.
        if vanished {
            *guest = Guest::Lost;
            self.outcome.guest_lost = true;
            return;
        }
        self.keep(&mut running, memory);
        self.state.guest = Guest::Running(running);
    }

    fn dump(&mut self, what: What) -> Result<(), Blocked> {
        let written = match (what, self.state.guest) {
            (What::Inactive, _) => {
                let config = self.state.config.ok_or(Blocked("nothing is defined"))?;
                if matches!(self.state.guest, Guest::Running(Running { memory: None, .. })) {
                    return Err(FREED);
                }
                config.print(self.rules)
            }
            (What::Live, _) => self.running()?.1.print(self.rules),
            (What::Status, Guest::Running(running)) => running.file,
            (What::Status, _) => return Err(OFF),
        };
        let shown = written.devices().map(|device| Shown {
            kind: device.kind,
            port: matches!(device.kind.class(), Class::Serial | Class::Parallel | Class::Console)
                .then_some(device.port),
            alias: device.alias,
        });
        self.outcome.reply = Reply::Shown(shown.collect());
        Ok(())
    }

    fn detach(
        &mut self,
        running: &mut Running,
        mut memory: Definition,
        target: Option<Found>,
        by: By,
    ) -> Reply {
        let refused = Reply::Refused;
        // Before anything is looked up (`qemuDomainDetachDeviceChr`).
        if self.rules.detach_console == DetachConsole::Refused && by == By::Xml(Kind::SerialConsole)
        {
            return refused(Why::DetachTheSerial);
        }
        let at = match target {
            None => return refused(Why::NoSuchDevice),
            Some(Found::Controller) => return refused(Why::IsAController),
            Some(Found::Record(at)) => at,
        };
        let (Some(record), Some(id)) = (memory.get(at), sends(self.rules, &memory, at)) else {
            return refused(Why::CauseUnknown);
        };
        let Some(real) = running.qemu.get(id) else { return refused(Why::CauseUnknown) };
        match real.kind {
            Kind::IsaSerial if self.rules.fixed_is_refused => {
                return refused(Why::Fixed { alias: id });
            }
            Kind::IsaSerial => return refused(Why::BusHasNoHotplug),
            Kind::Rng if real.leaving && !self.rules.pending_is_asked => {
                return refused(Why::Pending);
            }
            Kind::Rng => {
                running.qemu.leave(id);
                return Reply::Requested;
            }
            _ => {}
        }
        running.qemu.remove(id);
        self.outcome.gone = vec![id];
        let reply = match by {
            By::Alias(_) if !self.rules.alias_waits => Reply::Requested,
            _ => Reply::Done,
        };
        if record.kind == Kind::SerialConsole
            && self.rules.detach_console != DetachConsole::IsTheSerial
        {
            match by {
                // `qemuDomainChrRemove` refuses, and the record is freed all the same.
                By::Xml(_) | By::PortZero => running.memory = None,
                // The event names the serial port, and that is what is removed.
                By::Alias(_) => {
                    if let Some(Found::Record(at)) = find_alias(self.rules, &memory, id) {
                        remove(&mut memory, at);
                    }
                    self.keep(running, memory);
                }
            }
            return reply;
        }
        let at = match record.kind.is_overlay() {
            true => memory.class(Class::Serial).next().map_or(at, |(serial, _)| serial),
            false => at,
        };
        remove(&mut memory, at);
        self.keep(running, memory);
        reply
    }

    fn attach(
        &mut self,
        running: &mut Running,
        mut memory: Definition,
        kind: Kind,
        alias: Option<Alias>,
    ) -> Result<Reply, Blocked> {
        let is_first = |class| memory.class(class).next().is_none();
        let invents = self.rules.first_serial != FirstSerial::Nothing
            && kind.class() == Class::Serial
            && is_first(Class::Serial)
            && is_first(Class::Console);
        let room = self.bounds.room - usize::from(invents);
        if memory.devices().count() >= room || running.qemu.is_full() {
            return Err(FULL);
        }
        let source = match kind {
            Kind::UsbSerial => Source::Pty(None),
            _ => Source::Null,
        };
        let port = match kind.class() {
            class @ (Class::Serial | Class::Console) => memory.next_port(class),
            _ => -1,
        };
        let number = memory.next_number(kind, self.rules);
        if alias.is_none() && number > self.bounds.number_max {
            return Err(Blocked("the scope has no further names"));
        }
        let id = alias.unwrap_or(Alias::new(kind.stem(), number));
        let source = match source {
            Source::Pty(_) => Source::Pty(Some(id)),
            source => source,
        };
        let mut with = memory;
        with.append(Device { kind, port, source, alias: Some(id) });
        if with.duplicate(self.rules.checked).is_some() {
            return Ok(Reply::Refused(Why::DuplicateAlias));
        }
        if !running.qemu.add(id, kind) {
            return Ok(Reply::Refused(Why::DuplicateId));
        }
        memory = with;
        let stub = |kind| Device::asked(kind, Source::Null, None);
        if invents {
            match self.rules.first_serial {
                FirstSerial::BadStub => memory.append(stub(Kind::Stub)),
                FirstSerial::Stub => memory.append(stub(Kind::SerialConsole)),
                FirstSerial::Nothing => {}
            }
        }
        self.keep(running, memory);
        Ok(Reply::Attached { alias: id })
    }
}

fn remove(memory: &mut Definition, at: usize) {
    match memory.get(at) {
        Some(device) if device.kind.class() == Class::Serial => memory.remove_serial(at),
        _ => memory.remove(at),
    }
}

/// The id that QEMU is asked to remove for the record in this place; `None`: not asked at all.
pub(super) fn sends(rules: &Rules, memory: &Definition, at: usize) -> Option<Alias> {
    let record = memory.get(at)?;
    match (record.kind, rules.detach_console) {
        (Kind::SerialConsole, DetachConsole::IsTheSerial | DetachConsole::SerialsAlias) => {
            memory.stands_for(at)
        }
        _ => record.alias,
    }
}

/// What a request to detach is about.
pub(super) fn find(rules: &Rules, memory: &Definition, by: By) -> Result<Option<Found>, Blocked> {
    let element = match by {
        By::Alias(alias) => return Ok(find_alias(rules, memory, alias)),
        By::PortZero => {
            Device { port: 0, ..Device::asked(Kind::VirtioConsole, Source::Null, None) }
        }
        By::Xml(kind) => {
            let printed = memory.print(rules);
            let shown = printed.devices().find(|device| device.kind == kind);
            *shown.ok_or(Blocked("the dump shows no such element to copy"))?
        }
    };
    let found = memory.devices().position(|device| match rules.pair_has_one_alias {
        // Types of consoles are compared.
        true => {
            device.equals(&element)
                && (device.kind.class() != Class::Console || device.kind == element.kind)
        }
        false => device.equals(&element),
    });
    Ok(found.map(Found::Record))
}

/// `virDomainDefFindDevice`, all consoles included.
pub(super) fn find_alias(rules: &Rules, memory: &Definition, alias: Alias) -> Option<Found> {
    if alias.stem == Stem::Controller {
        return Some(Found::Controller);
    }
    let found = memory.devices().position(|device| device.alias == Some(alias));
    let both = rules.pair_keeps_both_names && alias == CONSOLE0;
    let pair = memory.pair().filter(|_| both).map(|(_, console)| console);
    found.or(pair).map(Found::Record)
}

/// The record that is opened: `qemuDomainOpenConsole`.
pub(super) fn find_console(
    rules: &Rules,
    memory: &Definition,
    name: Option<Alias>,
) -> Result<Option<usize>, Crash> {
    let mut consoles = memory.class(Class::Console);
    let Some(name) = name else {
        let first = consoles.next().or_else(|| memory.class(Class::Serial).next());
        return Ok(first.map(|(at, _)| at));
    };
    if let Some((at, _)) = consoles.find(|(_, device)| device.alias == Some(name)) {
        return Ok(Some(at));
    }
    for class in [Class::Serial, Class::Parallel] {
        for (at, device) in memory.class(class) {
            match device.alias {
                Some(alias) if alias == name => return Ok(Some(at)),
                None if !rules.no_alias_is_passed_over => return Err(Crash),
                _ => {}
            }
        }
    }
    let pair = memory.pair().map(|(_, console)| console);
    Ok(pair.filter(|_| rules.pair_keeps_both_names && name == CONSOLE0))
}

/// An alias that is not there was compared.
pub(super) struct Crash;

fn open(rules: &Rules, memory: &Definition, name: Option<Alias>) -> Reply {
    match find_console(rules, memory, name) {
        Err(Crash) => Reply::DaemonDied,
        Ok(None) => Reply::Refused(Why::NoSuchConsole),
        Ok(Some(at)) => match memory.get(at).map(|device| device.source) {
            Some(Source::Pty(_)) => Reply::Done,
            _ => Reply::Refused(Why::NotAPty),
        },
    }
}
