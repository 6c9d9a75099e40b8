//! The search itself.

use std::{
    any::Any,
    collections::BTreeSet,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{
    End, Exploration, ExploreError, Observer, Options, Panic, Progress, StateId,
    store::{Candidate, Inserted, Store, hash_of},
};
use crate::{
    study::{Steps, Study},
    words::words,
};

/// States expanded between two merges.
const BLOCK: usize = 1 << 12;
/// States that a thread remembers having met in its part of a block.
const RECENT: usize = 1 << 12;
const RECENT_SHIFT: u32 = u64::BITS - 12;
/// Successors that are looked for in the table together, so that one does not wait for another's memory.
const BATCH: usize = 256;
/// States expanded between two looks at the watch.
const WATCH_EVERY: usize = 64;

/// Explores, and shows every expanded state and every step to observers made by `observer`.
pub fn explore_with<S: Study, O: Observer<S>>(
    study: &S,
    options: &Options<'_>,
    observer: impl Fn() -> O + Sync,
) -> Result<(Exploration<S>, O), ExploreError> {
    let alphabet = alphabet(study)?;
    let enabled = vec![0; alphabet.len()];
    let mut exploration = Exploration {
        study: study.clone(),
        alphabet,
        store: Store::new(),
        levels: vec![0],
        expanded: 0,
        transitions: 0,
        enabled,
        end: End::Complete,
    };
    let initial = catch_unwind(AssertUnwindSafe(|| study.initial()))
        .map_err(|panic| ExploreError::PanickedAtStart { message: message(panic.as_ref()) })?;
    for state in initial {
        exploration.store.insert(hash_of(&state), state, None);
    }
    if exploration.is_empty() {
        return Err(ExploreError::NoInitialState);
    }
    exploration.levels.push(exploration.found());
    let mut seen = observer();
    let alphabet = exploration.alphabet.clone();
    // Each thread keeps its own for the whole search.
    let mut steps: Vec<_> = (0..options.threads.get()).map(|_| study.steps(&alphabet)).collect();
    exploration.end = search(&mut exploration, options, &mut steps, &mut seen, &observer);
    if exploration.levels.last() != Some(&exploration.found()) {
        exploration.levels.push(exploration.found());
    }
    Ok((exploration, seen))
}

fn alphabet<S: Study>(study: &S) -> Result<Vec<S::Action>, ExploreError> {
    let alphabet = study.alphabet();
    if alphabet.is_empty() {
        return Err(ExploreError::EmptyAlphabet);
    }
    if alphabet.len() > usize::from(u16::MAX) {
        return Err(ExploreError::AlphabetTooLarge { len: alphabet.len() });
    }
    let mut names = BTreeSet::new();
    match alphabet.iter().map(words).find(|name| !names.insert(name.clone())) {
        Some(action) => Err(ExploreError::DuplicateAction { action }),
        None => Ok(alphabet),
    }
}

impl<S: Study> Exploration<S> {
    fn found(&self) -> StateId {
        // The store never holds more states than there are numbers.
        StateId::try_from(self.store.len()).unwrap_or(StateId::MAX)
    }

    fn progress(&self) -> Progress {
        Progress {
            states: self.store.len(),
            frontier: self.store.len() - self.expanded as usize,
            depth: u32::try_from(self.levels.len() - 2).unwrap_or(u32::MAX),
        }
    }
}

fn search<S: Study, O: Observer<S>>(
    exploration: &mut Exploration<S>,
    options: &Options<'_>,
    steps: &mut [impl Steps<S> + Send],
    seen: &mut O,
    observer: &(impl Fn() -> O + Sync),
) -> End {
    let over = |exploration: &Exploration<S>| {
        let Options { budget, .. } = options;
        if budget.states.is_some_and(|most| exploration.len() > most) {
            Some(End::States)
        } else if budget.bytes.is_some_and(|most| exploration.store.bytes_to_grow() > most) {
            Some(End::Bytes)
        } else {
            None
        }
    };
    if let Some(end) = over(exploration) {
        return end;
    }
    loop {
        let depth = exploration.levels.len() - 2;
        if options.budget.depth.is_some_and(|most| depth >= most as usize) {
            return look_at_bound(exploration, options, seen);
        }
        let level_end = exploration.found();
        while exploration.expanded < level_end {
            let from = exploration.expanded;
            let to = level_end.min(from + BLOCK as StateId);
            if let Err(end) = expand_block(exploration, options, steps, (from, to), seen, observer)
            {
                return end;
            }
            exploration.expanded = to;
            if seen.is_satisfied() {
                return End::Satisfied;
            }
        }
        if exploration.found() == level_end {
            return End::Complete;
        }
        exploration.levels.push(exploration.found());
    }
}

/// Shows the states that will not be expanded.
fn look_at_bound<S: Study, O: Observer<S>>(
    exploration: &Exploration<S>,
    options: &Options<'_>,
    seen: &mut O,
) -> End {
    let mut at = exploration.expanded;
    let looked = catch_unwind(AssertUnwindSafe(|| {
        for id in exploration.expanded..exploration.found() {
            let look = ((id - exploration.expanded) as usize).is_multiple_of(WATCH_EVERY);
            if look && !(options.watch)(&exploration.progress()) {
                return End::Stopped;
            }
            at = id;
            seen.at_bound(id, exploration.store.state(id));
        }
        End::Depth(options.budget.depth.unwrap_or(0))
    }));
    looked.unwrap_or_else(|panic| {
        End::Panicked(Panic { message: message(panic.as_ref()), state: at, action: None })
    })
}

/// What one thread found in its part of a block.
struct Part<S: Study, O> {
    observer: O,
    /// States that the table did not have when the block began.
    candidates: Vec<Candidate<S::State>>,
    transitions: u64,
    enabled: Vec<u64>,
    failure: Option<Panic>,
}

fn expand_block<S: Study, O: Observer<S>>(
    exploration: &mut Exploration<S>,
    options: &Options<'_>,
    steps: &mut [impl Steps<S> + Send],
    (from, to): (StateId, StateId),
    seen: &mut O,
    observer: &(impl Fn() -> O + Sync),
) -> Result<(), End> {
    let stop = AtomicBool::new(false);
    let threads = useful_threads(options.threads, (to - from) as usize);
    let parts: Vec<Part<S, O>> = {
        let shared = &*exploration;
        let share = (to - from).div_ceil(threads);
        let ranges = (0..threads).map(|k| {
            let first = (from + k * share).min(to);
            (first, (first + share).min(to))
        });
        let work = |range, steps| expand_part(shared, options, range, steps, observer(), &stop);
        let work = &work;
        let work_of_each = ranges.zip(steps);
        if threads == 1 {
            work_of_each.map(|(range, steps)| work(range, steps)).collect()
        } else {
            thread::scope(|scope| {
                let handles: Vec<_> = work_of_each
                    .map(|(range, steps)| scope.spawn(move || work(range, steps)))
                    .collect();
                handles.into_iter().filter_map(|handle| handle.join().ok()).collect()
            })
        }
    };
    if stop.load(Ordering::Relaxed) {
        return Err(End::Stopped);
    }
    let mut end = None;
    for part in parts {
        seen.merge(part.observer);
        exploration.transitions += part.transitions;
        exploration.enabled.iter_mut().zip(part.enabled).for_each(|(sum, count)| *sum += count);
        for Candidate { hash, state, parent, action } in part.candidates {
            if end.is_some() {
                break;
            }
            if let Some(most) = options.budget.bytes
                && exploration.store.bytes_to_grow() > most
            {
                if exploration.store.find_hashed(hash, &state).is_none() {
                    end = Some(End::Bytes);
                }
                continue;
            }
            if options.budget.states.is_some_and(|most| exploration.len() >= most) {
                if exploration.store.find_hashed(hash, &state).is_none() {
                    end = Some(End::States);
                }
                continue;
            }
            if let Inserted::Full = exploration.store.insert(hash, state, Some((parent, action))) {
                end = Some(End::States);
            }
        }
        // One thread would not have come to the parts that follow.
        if let Some(panic) = part.failure {
            end = end.or(Some(End::Panicked(panic)));
            break;
        }
    }
    end.map_or(Ok(()), Err)
}

fn useful_threads(threads: NonZeroUsize, states: usize) -> StateId {
    // A thread costs as much as a few hundred states.
    let most = states.div_ceil(256).max(1);
    StateId::try_from(threads.get().min(most)).unwrap_or(1)
}

fn expand_part<S: Study, O: Observer<S>>(
    exploration: &Exploration<S>,
    options: &Options<'_>,
    (from, to): (StateId, StateId),
    steps: &mut impl Steps<S>,
    observer: O,
    stop: &AtomicBool,
) -> Part<S, O> {
    let mut part = Part {
        observer,
        candidates: Vec::new(),
        transitions: 0,
        enabled: vec![0; exploration.alphabet.len()],
        failure: None,
    };
    let mut recent: Vec<Option<S::State>> = vec![None; RECENT];
    let mut at = (from, Doing::Judging(None));
    let expanded = catch_unwind(AssertUnwindSafe(|| {
        let Part { observer, candidates, transitions, enabled, .. } = &mut part;
        let mut unlooked = 0;
        for id in from..to {
            if ((id - from) as usize).is_multiple_of(WATCH_EVERY) {
                if !(options.watch)(&exploration.progress()) {
                    stop.store(true, Ordering::Relaxed);
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
            at = (id, Doing::Judging(None));
            let state = exploration.store.state(id);
            observer.state(id, state);
            at.1 = Doing::Stepping;
            steps.visit(state, |number, outcome, next| {
                at.1 = Doing::Judging(Some(number));
                *transitions += 1;
                enabled[number] += 1;
                observer.step(id, state, number, outcome, &next);
                at.1 = Doing::Stepping;
                if next == *state {
                    return;
                }
                let hash = hash_of(&next);
                // Neighbours lead to the same states: most need not be looked for in the large table.
                let recent = &mut recent[(hash >> RECENT_SHIFT) as usize];
                if recent.as_ref() == Some(&next) {
                    return;
                }
                *recent = Some(next.clone());
                candidates.push(Candidate { hash, state: next, parent: id, action: number as u16 });
            });
            at.1 = Doing::Judging(None);
            observer.expanded(id);
            if candidates.len() - unlooked >= BATCH {
                exploration.store.retain_unknown(candidates, unlooked);
                unlooked = candidates.len();
            }
        }
        exploration.store.retain_unknown(candidates, unlooked);
    }));
    if let Err(panic) = expanded {
        let (state, doing) = at;
        let action = match doing {
            Doing::Judging(action) => action,
            Doing::Stepping => first_panic(exploration, state),
        };
        part.failure = Some(Panic { message: message(panic.as_ref()), state, action });
    }
    part
}

/// What a thread is about when a study panics.
#[derive(Clone, Copy)]
enum Doing {
    /// A state, or a step by its action's number, is shown to the observer.
    Judging(Option<usize>),
    /// The study takes its steps, in an order of its own.
    Stepping,
}

/// The first action that panics in a state.
fn first_panic<S: Study>(exploration: &Exploration<S>, id: StateId) -> Option<usize> {
    let state = exploration.store.state(id);
    exploration.alphabet.iter().position(|&action| {
        catch_unwind(AssertUnwindSafe(|| exploration.study.step(state, action).is_ok())).is_err()
    })
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
