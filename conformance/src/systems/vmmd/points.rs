//! Every crash point of the restart study, as traces that a real QEMU can be driven through.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use statusquo_model::{
    studies::restart::{
        Study,
        action::Action,
        outcome::Outcome,
        state::{Daemon, Device, Next, State},
    },
    study::Study as _,
};

use crate::trace::{Step, Trace};

/// Steps after a kill until everything is at rest.
const STEPS_MAX: usize = 64;

/// Where a kill falls: the procedure with its next effect, what each place has, and whether an event is on its way.
type Point = (Next, [Places; 2], bool);
type Places = (bool, bool, bool, bool, statusquo_model::studies::restart::state::Record);

/// Is this what QEMU does by itself? It brings a device that has left its tree to its end at once, some 60 ms
/// later: so that comes next, or only a kill comes before it.
pub fn is_drivable(study: &Study, trace: &Trace<Study>) -> bool {
    let mut state = match study.initial().first() {
        Some(state) => *state,
        None => return false,
    };
    for step in trace {
        if !is_next(&state, step.action) {
            return false;
        }
        match study.step(&state, step.action) {
            Ok((_, next)) => state = next,
            Err(_) => return false,
        }
    }
    true
}

fn is_next(state: &State, action: Action) -> bool {
    let is_ending = state.devices.iter().any(|device| device.ending);
    !is_ending || matches!(action, Action::Finalize { .. } | Action::Kill)
}

/// One trace for each crash point: the shortest way there, the kill, the recovery, and a look at every place.
///
/// Points at which nothing differs but who is owed an answer or what has been told are one.
pub fn traces(study: &Study) -> Vec<Trace<Study>> {
    let alphabet: Vec<Action> =
        study.alphabet().into_iter().filter(|action| !matches!(action, Action::Inspect)).collect();
    let mut found: BTreeMap<usize, Trace<Study>> = BTreeMap::new();
    let mut points: HashSet<Point> = HashSet::new();
    let mut seen: HashMap<State, Option<(State, Action, Outcome)>> = HashMap::new();
    let mut queue: VecDeque<State> = study.initial().into();
    seen.extend(queue.iter().map(|state| (*state, None)));
    while let Some(state) = queue.pop_front() {
        if let Daemon::Busy(next) = state.daemon
            && study.step(&state, Action::Kill).is_ok()
            && points.insert((next, state.devices.map(places), state.disk_full))
        {
            let mut trace = way(&seen, state);
            finish(study, state, &mut trace);
            found.insert(found.len(), trace);
        }
        for &action in &alphabet {
            if !is_next(&state, action) {
                continue;
            }
            if let Ok((outcome, next)) = study.step(&state, action)
                && !seen.contains_key(&next)
            {
                seen.insert(next, Some((state, action, outcome)));
                queue.push_back(next);
            }
        }
    }
    found.into_values().collect()
}

/// A device that is coming to its end.
fn ending(state: &State) -> Option<u8> {
    let mut devices = (0..).zip(&state.devices);
    devices.find(|(_, device)| device.ending).map(|(alias, _)| alias)
}

fn places(device: Device) -> Places {
    (device.frontend, device.backend, device.ending, device.deleted, device.file)
}

fn way(seen: &HashMap<State, Option<(State, Action, Outcome)>>, to: State) -> Trace<Study> {
    let mut trace = Vec::new();
    let mut at = to;
    while let Some(Some((before, action, outcome))) = seen.get(&at) {
        trace.push(Step { action: *action, outcome: outcome.clone() });
        at = *before;
    }
    trace.reverse();
    trace
}

/// Kill, start, and steps to the end; then every place is looked at.
fn finish(study: &Study, mut state: State, trace: &mut Trace<Study>) {
    let mut take = |state: &mut State, action: Action| match study.step(state, action) {
        Ok((outcome, next)) if next != *state || outcome != Outcome::default() => {
            trace.push(Step { action, outcome });
            *state = next;
            true
        }
        _ => false,
    };
    take(&mut state, Action::Kill);
    while let Some(alias) = ending(&state) {
        take(&mut state, Action::Finalize { alias });
    }
    take(&mut state, Action::Start);
    for _ in 0..STEPS_MAX {
        if !take(&mut state, Action::Step) {
            break;
        }
    }
    if state.disk_full {
        take(&mut state, Action::FreeDisk);
        for _ in 0..STEPS_MAX {
            if !take(&mut state, Action::Step) {
                break;
            }
        }
    }
    take(&mut state, Action::Inspect);
}

#[cfg(test)]
mod tests {
    use statusquo_model::{family::Family, studies::restart::Restart};

    use super::*;
    use crate::studies;

    fn study(scope: &str) -> Study {
        let scope = studies::scope::<Restart>(Some(scope)).unwrap();
        Restart::study(studies::ours::<Restart>(), scope)
    }

    #[test]
    fn every_effect_of_every_procedure_is_a_crash_point() {
        use statusquo_model::studies::restart::outcome::Effect;

        // As docs/studies/restart.md has them.
        for (scope, points) in [("pci", 166), ("usb", 126)] {
            let study = study(scope);
            let traces = traces(&study);
            assert_eq!(traces.len(), points, "{scope}");
            // What the recovery of some kill does, and what some killed procedure was about to do.
            let mut after = HashSet::new();
            let mut killed_before = HashSet::new();
            for trace in &traces {
                assert!(is_drivable(&study, trace));
                assert_eq!(trace.last().unwrap().action, Action::Inspect);
                let kill = trace.iter().rposition(|step| step.action == Action::Kill).unwrap();
                after.extend(trace[kill..].iter().filter_map(|step| step.outcome.did));
                let mut state = study.initial()[0];
                for step in &trace[..kill] {
                    state = study.step(&state, step.action).unwrap().1;
                }
                if let Ok((outcome, _)) = study.step(&state, Action::Step) {
                    killed_before.extend(outcome.did);
                }
            }
            let all = [
                Effect::Save,
                Effect::AddBackend,
                Effect::AddFrontend,
                Effect::RemoveBackend,
                Effect::RemoveFrontend,
                Effect::TakeEvent,
                Effect::Look,
                Effect::Tell,
            ];
            for effect in all {
                assert!(killed_before.contains(&effect), "{scope}: {effect:?}");
            }
            for effect in [Effect::Look, Effect::RemoveBackend, Effect::Tell, Effect::Save] {
                assert!(after.contains(&effect), "{scope}: {effect:?}");
            }
        }
    }

    #[test]
    fn an_end_that_is_put_off_is_not_drivable() {
        let study = study("usb");
        let mut state = study.initial()[0];
        let mut trace: Trace<Study> = Vec::new();
        let detach = Action::Detach { alias: 0 };
        let actions = [Action::Attach { bus_full: false }; 1].into_iter();
        let actions = actions.chain([Action::Step; 5]).chain([detach, Action::Step]);
        for action in actions.chain([Action::Kill, Action::Start]) {
            let (outcome, next) = study.step(&state, action).unwrap();
            trace.push(Step { action, outcome });
            state = next;
        }
        // Killed before the device came to its end, and started before it, too.
        assert!(!is_drivable(&study, &trace));
        trace.pop();
        assert!(is_drivable(&study, &trace));
    }
}
