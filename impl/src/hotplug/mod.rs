//! Plugging, unplugging and recovery as data: a procedure says which effect is next, is told how that ended,
//! and never touches a socket or a file itself.
//!
//! A device is held in three places: the definition in memory, the status file, and QEMU. A daemon may be
//! killed between any two effects, and then the status file says what was *meant* and QEMU what *is*:
//!
//! - attach saves its intent first, so that what is found in QEMU later has a definition;
//! - detach saves no intent: what QEMU still has decides;
//! - a change is told to management before the status file is saved for the last time, for a notice that
//!   comes after it can be lost for good.
//!
//! The order is that of design `ours` of the restart study (docs/studies/restart.md,
//! docs/decisions/0007).
//!
//! ```
//! use statusquo_vmm::hotplug::{Device, Machine, Record, Request};
//! # use statusquo_vmm::hypervisor::Command;
//! let mut machine = Machine::new(Record::default());
//! let rng = Device::without_backend("rng", Command::new("device_add"));
//! machine.request(Request::Attach(rng)).unwrap();
//! // The first effect is to save the intent.
//! assert_eq!(machine.next_effect().unwrap().kind().to_string(), "save");
//! ```

mod attach;
mod bus;
mod detach;
mod device;
mod effect;
mod machine;
mod perform;
mod record;
mod recover;

pub use self::{
    bus::{BusError, name_bus},
    device::{Backend, BackendKind, Device},
    effect::{Done, Effect, EffectKind, Notice, Refusal, Tell, Told},
    machine::{Machine, Request},
    perform::{Performed, StatusFile, perform},
    record::Record,
};
