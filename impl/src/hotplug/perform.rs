//! The thin shell: one effect at a time, on a hypervisor and a status file.

use super::{Done, Effect, EffectKind, Machine, Record, Tell};
use crate::hypervisor::{Hypervisor, MonitorError};

/// Where a domain's record is kept.
pub trait StatusFile {
    /// Replaces what is there, whole and durable, or leaves it as it is.
    ///
    /// # Errors
    /// What the system said.
    fn save(&mut self, record: &Record) -> Result<(), String>;
}

/// What one effect came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Performed {
    /// Which it was.
    pub kind: EffectKind,
    /// Why it did not work, if it did not.
    pub failed: Option<String>,
    /// What is to be told now.
    pub tell: Option<Tell>,
}

/// Performs the machine's next effect. `None`: there is nothing to do, or nothing but to wait for QEMU.
///
/// # Errors
/// When QEMU is gone: the machine's memory is then of no use, and [`Machine::recover`] has to start anew.
pub fn perform(
    machine: &mut Machine,
    hypervisor: &mut dyn Hypervisor,
    file: &mut dyn StatusFile,
) -> Result<Option<Performed>, MonitorError> {
    hear(machine, hypervisor);
    let Some(effect) = machine.next_effect() else { return Ok(None) };
    let kind = effect.kind();
    let mut tell = None;
    let done = match effect {
        Effect::Save(record) => Done::Saved(file.save(&record)),
        Effect::Qmp(_, command) => match hypervisor.execute(&command) {
            Ok(reply) => Done::Replied(reply),
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => Done::Silent(error.to_string()),
        },
        Effect::Look => match hypervisor.inventory() {
            Ok(inventory) => Done::Saw(Box::new(inventory)),
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => Done::Silent(error.to_string()),
        },
        Effect::TakeEvent(alias) if machine.has_come(&alias) => Done::Taken,
        Effect::TakeEvent(_) => return Ok(None),
        Effect::Tell(what) => {
            tell = Some(what);
            Done::Told
        }
    };
    let failed = match &done {
        Done::Saved(Err(why)) | Done::Silent(why) => Some(why.clone()),
        Done::Replied(Err(error)) => Some(error.to_string()),
        _ => None,
    };
    machine.done(done);
    Ok(Some(Performed { kind, failed, tell }))
}

/// Takes over the events that have arrived.
fn hear(machine: &mut Machine, hypervisor: &mut dyn Hypervisor) {
    for event in hypervisor.events() {
        if let Some(alias) = event.deleted_device() {
            machine.device_deleted(alias);
        }
    }
}
