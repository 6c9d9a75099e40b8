//! What no daemon can have together, whatever it remembers and whatever it writes where.
//!
//! The policies of [`super::enumerate`] are ways to treat one field. Here a daemon of a release gives a guest any
//! value that was a default by then, or that its user asked for, at every start, plug and arrival anew, and refuses
//! what arrives if it likes.

use super::{
    Freeze, Study,
    action::{Action, Asked, Outcome, Result},
    field::{Field, Release, Value},
    policy::Realized,
    state::{Config, Device, State},
};
use crate::{
    check::strategy::{self, Conflict, Game},
    family::Family,
    study::Study as _,
};

/// What can be asked of what a guest gets; the other properties are about texts.
pub const ABOUT_GUESTS: [&str; 8] =
    ["OBEYED", "MIG", "MIG-SAME", "BOOT", "ADOPT-OLD", "ADOPT-NEW", "OLDACC", "OLDACC-KNOWN"];

/// The smallest sets of [`ABOUT_GUESTS`] that no daemon satisfies together in a world.
///
/// # Panics
/// When there is no such world: the names are literals.
pub fn conflicts(world: &str) -> Vec<Conflict<Study>> {
    let ours = Freeze::designs().last().expect("there are designs");
    let scope = Freeze::scopes().iter().find(|known| known.name == world).expect("a scope");
    let study = Freeze::study(ours, scope);
    let names: Vec<&'static str> = study
        .properties()
        .iter()
        .map(|property| property.name)
        .filter(|name| name.split(':').next().is_some_and(|code| ABOUT_GUESTS.contains(&code)))
        .collect();
    let answers = |s: &State, action| study.answers(s, action);
    strategy::conflicts(&Game { study: &study, answers: &answers }, &names)
}

impl Study {
    /// What a daemon can give who does not ask: nothing that was not a default yet.
    fn gives(&self, release: Release, asked: Option<Value>) -> Vec<Value> {
        let known = Release::ALL.into_iter().filter(|known| *known <= release);
        let mut values: Vec<Value> = known.map(|known| self.bounds.default.of(known)).collect();
        values.extend(asked.filter(|_| release != Release::Ancient));
        values.sort_unstable();
        values.dedup();
        values
    }

    fn answers(&self, s: &State, action: Action) -> Vec<(Outcome, State)> {
        match (action, s.config, s.running) {
            (Action::Start, Some(config), None) if config.asked != Asked::Nothing => {
                let asked = config.asked.field();
                let values = self.gives(s.daemon, asked.and_then(Field::value));
                let started = values.into_iter().map(|has| {
                    let device = Device {
                        realized: truly(has),
                        automatic: asked.is_none_or(|field| field == Field::Unset),
                        fresh: config.by == s.daemon,
                        persistent: asked.is_some(),
                    };
                    let last_boot = asked.map_or(config.last_boot, |_| Some(has));
                    let config = Some(Config { last_boot, ..config });
                    done(State { config, running: Some(Some(device)), ..*s })
                });
                started.collect()
            }
            (Action::Attach { device }, _, Some(None)) => {
                let asked = device.field().and_then(Field::value);
                if s.daemon == Release::Ancient && asked.is_some() {
                    return self.step(s, action).into_iter().collect();
                }
                let plugged = self.gives(s.daemon, asked).into_iter().map(|has| {
                    let (realized, automatic) = (truly(has), asked.is_none());
                    let device = Device { realized, automatic, fresh: true, persistent: false };
                    done(State { running: Some(Some(device)), ..*s })
                });
                plugged.collect()
            }
            (Action::Migrate { to }, _, Some(Some(device))) => {
                let refused = Outcome {
                    result: Result::Refused,
                    guest_has: Some(device.realized.has),
                    read_unset: false,
                };
                let mut answers = vec![(refused, *s)];
                if to == Release::Ancient {
                    // It gives every guest what it always gave, and the guest is not followed there.
                    let gone = State { config: None, running: None, ..*s };
                    let outcome = Outcome { guest_has: Some(Value::A), ..done(gone).0 };
                    answers.push((outcome, gone));
                    return answers;
                }
                let fresh = device.fresh && to == s.daemon;
                // Whoever reads the text can give what the text says.
                let arrived = self.gives(to, Some(device.realized.has)).into_iter().map(|has| {
                    let device =
                        Device { realized: truly(has), fresh, persistent: false, ..device };
                    done(State { daemon: to, config: None, running: Some(Some(device)) })
                });
                answers.extend(arrived);
                answers
            }
            _ => self.step(s, action).into_iter().collect(),
        }
    }
}

fn truly(has: Value) -> Realized {
    Realized { live: Field::Auto(has), has }
}

fn done(next: State) -> (Outcome, State) {
    let guest_has = next.device().map(|device| device.realized.has);
    (Outcome { result: Result::Done, guest_has, read_unset: false }, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::freeze::enumerate::codes;

    fn found(world: &str) -> Vec<Vec<&'static str>> {
        let code = |name: &'static str| name.split(':').next().unwrap();
        let all = conflicts(world).into_iter();
        all.map(|(names, _)| names.into_iter().map(code).collect()).collect()
    }

    /// The conflicts that are left with provenance are nobody's fault.
    #[test]
    fn the_two_conflicts_with_provenance_are_every_daemon_s() {
        assert_eq!(
            found("changing"),
            [vec!["BOOT", "ADOPT-OLD"], vec!["MIG", "ADOPT-NEW", "OLDACC"]]
        );
        let theory = crate::studies::freeze::lemmas::Theory::of(crate::check::all_threads());
        let by_policies = theory.answers("provenance", "changing").conflicts();
        let by_policies: Vec<Vec<_>> =
            by_policies.into_iter().map(|conflict| codes(conflict).collect()).collect();
        assert_eq!(found("changing"), by_policies);
    }

    #[test]
    fn a_default_that_never_changes_costs_nothing() {
        assert_eq!(found("constant"), [[""; 0]; 0]);
    }
}
