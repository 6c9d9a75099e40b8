//! Everything that each design refuses: machine by QEMU by alias by history.

use serde::Serialize;

use super::{
    PciRoot, Study,
    action::{Action, Outcome, Place, Why},
    hardware::{Machine, Name, Qemu},
    rules::{DESIGNS, Older},
    scopes::{Bounds, SCOPES},
};
use crate::{
    family::Family,
    study::{Blocked, Study as _},
};

/// What happens to the daemon between the start of the guest and the plug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// Nothing.
    Fresh,
    /// It is restarted.
    Restarted,
    /// The binary of QEMU is upgraded, then the daemon is restarted.
    QemuUpgraded,
    /// The guest was started by this one, and the daemon is upgraded.
    StartedBy(Older),
}

impl History {
    /// Every history.
    pub const ALL: [History; 6] = [
        History::Fresh,
        History::Restarted,
        History::QemuUpgraded,
        History::StartedBy(Older::V3_1),
        History::StartedBy(Older::V3_9),
        History::StartedBy(Older::V3_10Rc),
    ];
}

/// One line: a device is to be plugged into the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// The design.
    pub design: &'static str,
    /// The machine.
    pub machine: Machine,
    /// The QEMU that the guest is started with.
    pub qemu: Qemu,
    /// The root controller is called `ua-root`.
    pub user_alias: bool,
    /// What happened before.
    pub history: History,
    /// The request that is refused; none if the device is plugged.
    pub refused: Option<Request>,
    /// Why.
    pub why: Option<Why>,
    /// The bus that was named to QEMU last.
    pub bus: Option<Name>,
    /// QEMU could do it.
    pub possible: bool,
}

/// What is asked of the daemon, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// The guest is defined.
    Define,
    /// It is started.
    Start,
    /// A device is plugged into its root.
    Attach,
}

impl Row {
    /// Refused although QEMU could: for a reason that the names do not give.
    pub fn is_needless(&self) -> bool {
        self.refused.is_some() && self.possible && self.why != Some(Why::QemuTooOld)
    }
}

/// Every line, design by design. Older daemons that could not start the guest have no line.
pub fn rows() -> Vec<Row> {
    let whole = Bounds { old_qemu: true, ..SCOPES[0].1 };
    let mut rows = Vec::new();
    for (design, rules) in &DESIGNS {
        let study = Study { rules: *rules, bounds: whole };
        for machine in Machine::ALL {
            let qemus: &[Qemu] = match machine.changed_its_name() {
                true => &[Qemu::BeforeMultibus, Qemu::Multibus],
                false => &[Qemu::Multibus],
            };
            for &qemu in qemus {
                for user_alias in [false, true] {
                    let histories = History::ALL.into_iter();
                    rows.extend(histories.filter_map(|history| {
                        row(&study, design.name, machine, qemu, user_alias, history)
                    }));
                }
            }
        }
    }
    rows
}

fn row(
    study: &Study,
    design: &'static str,
    machine: Machine,
    qemu: Qemu,
    user_alias: bool,
    history: History,
) -> Option<Row> {
    let mut state = study.initial().pop()?;
    let mut take = |action: Action| -> Result<Outcome, Blocked> {
        let (outcome, next) = study.step(&state, action)?;
        state = next;
        Ok(outcome)
    };
    if qemu == Qemu::BeforeMultibus {
        take(Action::InstallOldQemu).ok()?;
    }
    if let History::StartedBy(daemon) = history {
        study.older().find(|older| *older == daemon)?;
        take(Action::Install { daemon }).ok()?;
    }
    let between: &[Action] = match history {
        History::Fresh => &[],
        History::Restarted => &[Action::Restart],
        History::QemuUpgraded if qemu == Qemu::Multibus => return None,
        History::QemuUpgraded => &[Action::UpgradeQemu, Action::Restart],
        History::StartedBy(_) => &[Action::Upgrade],
    };
    let possible = machine.root_is_hotpluggable(qemu);
    let done = Row {
        design,
        machine,
        qemu,
        user_alias,
        history,
        refused: None,
        why: None,
        bus: None,
        possible,
    };
    let refused = |request, outcome: Outcome, possible| {
        let (refused, why, bus) = (Some(request), outcome.why(), outcome.bus);
        Row { refused, why, bus, possible, ..done.clone() }
    };
    for (request, action) in
        [(Request::Define, Action::Define { machine, user_alias }), (Request::Start, Action::Start)]
    {
        let outcome = take(action).ok()?;
        if outcome.why().is_some() {
            // What an older daemon refuses is not this design's doing.
            let by_older = matches!(history, History::StartedBy(_));
            return (!by_older).then(|| refused(request, outcome, true));
        }
    }
    for &action in between {
        take(action).ok()?;
    }
    let outcome = take(Action::Attach { onto: Place::Root }).ok()?;
    Some(match outcome.why() {
        Some(_) => refused(Request::Attach, outcome, possible),
        None => Row { bus: outcome.bus, ..done },
    })
}

/// What the lines of a design come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tally {
    /// The design.
    pub design: &'static str,
    /// All lines.
    pub lines: usize,
    /// The device is plugged.
    pub plugged: usize,
    /// It is refused, and QEMU cannot do it.
    pub impossible: usize,
    /// It is refused for the version of QEMU.
    pub unsupported: usize,
    /// It is refused, and QEMU could.
    pub needless: usize,
}

/// One for each design.
pub fn tallies(rows: &[Row]) -> Vec<Tally> {
    let tally = |design: &'static str| {
        let of = || rows.iter().filter(move |row| row.design == design);
        let unsupported = of().filter(|row| row.why == Some(Why::QemuTooOld)).count();
        let needless = of().filter(|row| row.is_needless()).count();
        let plugged = of().filter(|row| row.refused.is_none()).count();
        let lines = of().count();
        let impossible = lines - plugged - needless - unsupported;
        Tally { design, lines, plugged, impossible, unsupported, needless }
    };
    PciRoot::designs().iter().map(|design| tally(design.name)).collect()
}
