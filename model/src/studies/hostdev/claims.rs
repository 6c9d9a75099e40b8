//! What the thread says, and what the model says of it.
//!
//! A claim is put as demands: a property that a design must satisfy, or must violate, if the claim is right.
//! Its limits are demands that go beyond the case the speaker had in mind. A claim whose demands are not
//! met is wrong; one that is met except for a limit is imprecise.

use serde::Serialize;

use super::Hostdev;
use crate::{
    check::{self, Verdict as Answer},
    explore::Options,
    family::Family,
    words::words,
};

/// One statement of one speaker.
#[derive(Debug)]
pub struct Claim {
    /// Who.
    pub speaker: &'static str,
    /// The statement, in our words.
    pub says: &'static str,
    /// What must be so.
    demands: &'static [Demand],
    /// What must be so as well if the claim is to be taken at its word.
    limits: &'static [Demand],
}

/// A design, a scope and a property, and whether it must hold.
#[derive(Clone, Copy, Debug)]
struct Demand {
    design: &'static str,
    scope: &'static str,
    property: &'static str,
    holds: bool,
}

const fn holds(design: &'static str, scope: &'static str, property: &'static str) -> Demand {
    Demand { design, scope, property, holds: true }
}

const fn fails(design: &'static str, scope: &'static str, property: &'static str) -> Demand {
    Demand { design, scope, property, holds: false }
}

/// What comes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is so.
    Agrees,
    /// It is so in the case meant.
    Imprecise,
    /// It is not.
    Wrong,
    /// The model does not speak of it.
    NotAsked,
}

/// A claim with its verdict.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// Who.
    pub speaker: &'static str,
    /// The statement.
    pub says: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// The answer that decides it: design, scope, property, and the run if it is violated.
    pub because: String,
}

const STUMP: &str = "Stump";
const KREMPA: &str = "Krempa";
const PATCH: &str = "the patch";

const ROUND_TRIP: &str = "a round trip adds no driver";
const ADOPTED: &str = "an existing configuration gets the new default";
const ADOPTED_NEW: &str = "a new configuration gets the new default";
const AT_ONCE: &str = "after the upgrade no device is bound to the old default";
const BOOT: &str = "the next boot is like the last";
const AT_START: &str = "the manager gets a driver at start";
const PLUGGED: &str = "the manager gets a driver when a device is plugged";
const NETWORK: &str = "the manager gets a driver for what a network gives at start";
const NETWORK_PLUGGED: &str = "the manager gets a driver for what a network gives when plugged";
const GOES_BACK: &str = "what is unplugged goes back to the host";
const UNTOUCHED: &str = "what cannot work is refused before the host is touched";
const ALIKE: &str = "started and plugged, the same device is answered alike";
const VANISHES: &str = "no guest vanishes when its daemon starts";

/// Every statement of the thread that the model can judge, and one that it cannot.
pub const CLAIMS: [Claim; 13] = [
    Claim {
        speaker: STUMP,
        says: "filled in post-parse, every round trip of a Xen guest writes the driver",
        demands: &[fails("postparse-network", "xen", ROUND_TRIP)],
        limits: &[],
    },
    Claim {
        speaker: STUMP,
        says: "filling in post-parse guarantees that the driver is set when the manager gets the device",
        demands: &[holds("postparse", "xen", AT_START), holds("postparse", "xen", PLUGGED)],
        limits: &[holds("postparse", "xen", NETWORK), holds("postparse", "xen", NETWORK_PLUGGED)],
    },
    Claim {
        speaker: STUMP,
        says: "the QEMU driver never sets a default in post-parse",
        demands: &[holds("libvirt-9.0", "qemu", ROUND_TRIP)],
        limits: &[],
    },
    Claim {
        speaker: STUMP,
        says: "it waits until start or attach, and then always sets the same value",
        demands: &[holds("libvirt-9.0", "qemu", BOOT)],
        limits: &[holds("libvirt-9.0", "kvm-to-vfio", BOOT)],
    },
    Claim {
        speaker: STUMP,
        says: "the first libxl commit already refused every other driver",
        demands: &[holds("postparse", "xen", UNTOUCHED)],
        limits: &[],
    },
    Claim {
        speaker: KREMPA,
        says: "what is written into the definition at parse does not change later",
        demands: &[
            holds("postparse", "kvm-to-vfio", BOOT),
            holds("frozen-in-config", "kvm-to-vfio", BOOT),
        ],
        limits: &[],
    },
    Claim {
        speaker: KREMPA,
        says: "decided at run time, an open driver may change under an existing configuration unless its default never does",
        demands: &[fails("start-attach", "kvm-to-vfio", BOOT), holds("start-attach", "xen", BOOT)],
        limits: &[],
    },
    Claim {
        speaker: STUMP,
        says: "since no configuration had a driver, everybody switched to VFIO at once",
        demands: &[holds("libvirt-9.0", "kvm-to-vfio", ADOPTED)],
        limits: &[holds("libvirt-9.0", "kvm-to-vfio", AT_ONCE)],
    },
    Claim {
        speaker: STUMP,
        says: "had the driver stood in the configurations, nobody would have switched without an edit",
        demands: &[
            fails("frozen-in-config", "kvm-to-vfio", ADOPTED),
            fails("postparse", "kvm-to-vfio", ADOPTED),
        ],
        limits: &[],
    },
    Claim {
        speaker: STUMP,
        says: "it can be said later that an open driver means the legacy one",
        demands: &[
            holds("unset-means-legacy", "kvm-to-vfio", BOOT),
            holds("unset-means-legacy", "kvm-to-vfio", ROUND_TRIP),
        ],
        limits: &[holds("unset-means-legacy", "kvm-to-vfio", ADOPTED_NEW)],
    },
    Claim {
        speaker: STUMP,
        says: "the change makes libxl behave as QEMU does",
        demands: &[
            holds("start-attach", "xen", ROUND_TRIP),
            holds("start-attach", "kvm-to-vfio", ADOPTED),
        ],
        limits: &[holds("start-attach", "xen", GOES_BACK), holds("start-attach", "xen", ALIKE)],
    },
    Claim {
        speaker: PATCH,
        says: "start and attach are all the ways into the manager",
        demands: &[
            holds("start-attach", "xen", AT_START),
            holds("start-attach", "xen", PLUGGED),
            holds("start-attach", "xen", NETWORK),
            holds("start-attach", "xen", NETWORK_PLUGGED),
            holds("start-attach", "xen", GOES_BACK),
        ],
        limits: &[],
    },
    Claim {
        speaker: PATCH,
        says: "post-parse is where an unsupported driver is refused",
        demands: &[holds("start-attach", "xen", VANISHES)],
        limits: &[holds("start-attach", "xen", UNTOUCHED)],
    },
];

impl Claim {
    /// Asks the model.
    pub fn judge(&self) -> Judged {
        let mut verdict = Verdict::NotAsked;
        let mut because = String::new();
        for (demands, otherwise) in
            [(self.demands, Verdict::Wrong), (self.limits, Verdict::Imprecise)]
        {
            for demand in demands {
                let (met, told) = demand.ask();
                if verdict == Verdict::NotAsked {
                    (verdict, because) = (Verdict::Agrees, told.clone());
                }
                if verdict == Verdict::Agrees && !met {
                    (verdict, because) = (otherwise, told);
                }
            }
        }
        Judged { speaker: self.speaker, says: self.says, verdict, because }
    }
}

impl Demand {
    /// Is it met, and what was answered?
    fn ask(&self) -> (bool, String) {
        let design = Hostdev::designs().iter().find(|design| design.name == self.design);
        let scope = Hostdev::scopes().iter().find(|scope| scope.name == self.scope);
        let (Some(design), Some(scope)) = (design, scope) else {
            return (false, format!("there is no {} in {}", self.design, self.scope));
        };
        let study = Hostdev::study(design, scope);
        let where_ = format!("{} in scope {}: {}", self.design, self.scope, self.property);
        let report = check::check(&study, &Options::default(), |name| name == self.property);
        let answer = report.ok().and_then(|report| report.answers.into_iter().next());
        match answer.map(|answer| answer.verdict) {
            Some(Answer::Holds) => (self.holds, format!("{where_}: holds")),
            Some(Answer::Violated(shown)) => {
                let steps = shown
                    .path
                    .iter()
                    .map(|seen| format!("{} -> {}", words(&seen.action), words(&seen.outcome)));
                let steps: Vec<String> = steps.collect();
                (!self.holds, format!("{where_}: fails: {}", steps.join("; ")))
            }
            other => (false, format!("{where_}: {other:?}")),
        }
    }
}

/// Every claim with its verdict.
pub fn judged() -> Vec<Judged> {
    CLAIMS.iter().map(Claim::judge).collect()
}
