//! A policy: what each edge between two places does to the attribute.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::field::{Default, Field, Release, Value};
use crate::words::words;

/// The way from one place to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edge {
    /// What a user writes, or attaches, is parsed (`ABI_UPDATE`).
    Define,
    /// The persistent definition is written to disk.
    Save,
    /// It is read from disk, by this or a later daemon; texts that name a device are parsed so too.
    Load,
    /// The live definition is completed before a process starts from it.
    Start,
    /// The same for a device that is plugged.
    Attach,
    /// The same for a device that a network or another pool gives.
    Network,
    /// A device that is to be unplugged is named by a text.
    Detach,
    /// The live definition is written to the status file.
    StatusSave,
    /// It is read by a restarted daemon, maybe of another release.
    StatusLoad,
    /// It is written for another host, or into a save image.
    Send,
    /// It is read there.
    Receive,
    /// It is shown to the user, who may define what is shown.
    Dump,
}

/// What an edge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// Nothing.
    Keep,
    /// Puts today's default where nothing stands.
    Fill,
    /// Puts the default of the older release where nothing stands: a constant.
    FillLegacy,
    /// Takes it from what is carried beside it about the same process, whatever the text says.
    Derive,
    /// Leaves out today's default.
    Strip,
    /// Leaves out the default of the older release.
    StripLegacy,
    /// Leaves out everything.
    Lose,
}

use Op::*;

impl Edge {
    /// All of them, in the order of a guest's life. It is the order of enumeration as well.
    pub const ALL: [Edge; 12] = [
        Edge::Define,
        Edge::Save,
        Edge::Load,
        Edge::Start,
        Edge::Attach,
        Edge::Network,
        Edge::Detach,
        Edge::StatusSave,
        Edge::StatusLoad,
        Edge::Send,
        Edge::Receive,
        Edge::Dump,
    ];

    /// What makes sense there: who reads may fill, who writes may leave out, and only where there is a
    /// process already is there something to derive from.
    pub const fn operators(self) -> &'static [Op] {
        match self {
            Edge::Define | Edge::Load | Edge::Start | Edge::Attach | Edge::Network => {
                &[Keep, Fill, FillLegacy]
            }
            Edge::Detach | Edge::StatusLoad | Edge::Receive => &[Keep, Fill, FillLegacy, Derive],
            Edge::Save | Edge::StatusSave | Edge::Send | Edge::Dump => {
                &[Keep, Strip, StripLegacy, Lose]
            }
        }
    }
}

/// One way to treat the attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Every value carries its origin, and only what a daemon chose may be left out.
    pub provenance: bool,
    /// What each edge does, in the order of [`Edge::ALL`].
    pub ops: [Op; 12],
}

impl Policy {
    /// Keeps everything everywhere.
    pub const KEEP: Policy = Policy { provenance: false, ops: [Keep; 12] };

    /// What the edge does.
    pub fn op(&self, edge: Edge) -> Op {
        self.ops[edge as usize]
    }

    /// The same, with other operators on these edges.
    pub const fn with(mut self, changes: &[(Edge, Op)]) -> Policy {
        let mut at = 0;
        while at < changes.len() {
            self.ops[changes[at].0 as usize] = changes[at].1;
            at += 1;
        }
        self
    }
}

impl fmt::Display for Policy {
    /// What is not kept: `define fill, send strip`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = Edge::ALL.iter().filter(|&&edge| self.op(edge) != Keep);
        let said: Vec<String> =
            said.map(|edge| format!("{} {}", words(edge), words(&self.op(*edge)))).collect();
        if self.provenance {
            f.write_str("provenance; ")?;
        }
        if said.is_empty() { f.write_str("keep everywhere") } else { f.write_str(&said.join(", ")) }
    }
}

/// A daemon of one release under one policy.
#[derive(Clone, Copy, Debug)]
pub struct Daemon<'a> {
    /// What it does.
    pub policy: &'a Policy,
    /// What it puts where nothing stands.
    pub default: Default,
    /// Its release; never [`Release::Ancient`], which knows nothing of all this.
    pub release: Release,
}

/// A device that a guest has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Realized {
    /// What the live definition says.
    pub live: Field,
    /// What the process has.
    pub has: Value,
}

impl Daemon<'_> {
    fn filled(&self, value: Value) -> Field {
        if self.policy.provenance { Field::Auto(value) } else { Field::Set(value) }
    }

    /// What becomes of a field on an edge; `truth` is what the process has, where there is one.
    pub fn pass(&self, edge: Edge, field: Field, truth: Option<Value>) -> Field {
        let is_daemons = !self.policy.provenance || matches!(field, Field::Auto(_));
        let without = |value: Value| {
            if is_daemons && field.value() == Some(value) { Field::Unset } else { field }
        };
        let or = |value: Value| if field == Field::Unset { self.filled(value) } else { field };
        match self.policy.op(edge) {
            Keep => field,
            Fill => or(self.default.of(self.release)),
            FillLegacy => or(Value::A),
            Derive => match truth {
                Some(truth) if field.value() != Some(truth) => self.filled(truth),
                _ => field,
            },
            Strip => without(self.default.of(self.release)),
            StripLegacy => without(Value::A),
            Lose => {
                if is_daemons {
                    Field::Unset
                } else {
                    field
                }
            }
        }
    }

    /// A copy of a definition is its text, parsed.
    pub fn copy(&self, memory: Field) -> Field {
        self.pass(Edge::Load, self.pass(Edge::Save, memory, None), None)
    }

    /// A process comes to be. Where nobody has decided, QEMU does; what is written stays unwritten.
    pub fn realize(&self, live: Field) -> Realized {
        Realized { live, has: live.value().unwrap_or(self.default.of(self.release)) }
    }

    /// From a definition.
    pub fn start(&self, memory: Field) -> Realized {
        self.realize(self.pass(Edge::Start, self.copy(memory), None))
    }

    /// Plugged, from a text.
    pub fn attach(&self, text: Field) -> Realized {
        self.realize(self.pass(Edge::Attach, self.pass(Edge::Define, text, None), None))
    }

    /// From a pool, which says nothing of it.
    pub fn allocate(&self) -> Realized {
        self.realize(self.pass(Edge::Network, Field::Unset, None))
    }

    /// The object that stands for a device which a text names without the attribute.
    pub fn named(&self, truth: Value) -> Field {
        let parsed = self.pass(Edge::Load, Field::Unset, None);
        self.pass(Edge::Detach, parsed, Some(truth))
    }

    /// The migratable text.
    pub fn send(&self, device: Realized) -> Field {
        self.pass(Edge::Send, device.live, Some(device.has))
    }

    /// A process that another host describes.
    pub fn receive(&self, text: Field, truth: Value) -> Realized {
        let read = self.pass(Edge::Receive, text, Some(truth));
        self.realize(self.pass(Edge::Start, read, None))
    }

    /// What a restarted daemon makes of the status file that `self` wrote.
    pub fn reconnect(&self, next: &Daemon<'_>, device: Realized) -> Realized {
        let file = self.pass(Edge::StatusSave, device.live, Some(device.has));
        Realized { live: next.pass(Edge::StatusLoad, file, Some(device.has)), ..device }
    }

    /// The configuration that results when the dump of a device is defined.
    pub fn redefine(&self, device: Realized) -> Field {
        let text = self.pass(Edge::Dump, device.live, Some(device.has));
        self.pass(Edge::Save, self.pass(Edge::Define, text, None), None)
    }
}
