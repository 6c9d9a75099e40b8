//! The exact state graph of a study: breadth-first, with shortest traces, the same at any number of
//! threads.
//!
//! States are numbered in the order in which a sequential breadth-first search that tries actions in
//! alphabet order first meets them. Threads expand a block of the frontier in parallel against a table
//! that nobody writes meanwhile; what they found is then merged in order. Neither the number of
//! threads nor the size of a block changes the numbering.

mod edges;
mod index;
mod search;
mod store;

use std::{fmt, num::NonZeroUsize};

pub(crate) use self::search::message;
use self::store::Store;
pub use self::{edges::Edges, search::explore_with};
use crate::study::Study;

/// The number of a state, in breadth-first order.
pub type StateId = u32;

/// How to explore.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Threads that expand states.
    pub threads: NonZeroUsize,
    /// What may be used.
    pub budget: Budget,
    /// Called every few thousand steps, by any thread; `false` stops the search at once. Time enters
    /// the engine only here.
    pub watch: &'a (dyn Fn(&Progress) -> bool + Sync),
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("threads", &self.threads)
            .field("budget", &self.budget)
            .finish()
    }
}

impl Default for Options<'_> {
    /// One thread, no bounds.
    fn default() -> Self {
        Options { threads: NonZeroUsize::MIN, budget: Budget::default(), watch: &|_| true }
    }
}

/// Bounds on a search; `None` is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// States kept.
    pub states: Option<usize>,
    /// Bytes held by states, table and parents, tables being resized included.
    pub bytes: Option<usize>,
    /// Steps from an initial state.
    pub depth: Option<u32>,
}

/// How far a search has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// States found.
    pub states: usize,
    /// States found and not yet expanded.
    pub frontier: usize,
    /// Steps from an initial state.
    pub depth: u32,
}

/// Why a search ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every reachable state was found and expanded.
    Complete,
    /// Every state within the depth was found; those at the depth were not expanded.
    Depth(u32),
    /// The budget of states was used up.
    States,
    /// The budget of bytes was used up.
    Bytes,
    /// The watch said so: the time is over.
    Stopped,
    /// The observer had seen enough.
    Satisfied,
    /// The study panicked.
    Panicked(Panic),
}

/// A panic in a study.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// What it said.
    pub message: String,
    /// The state it panicked in.
    pub state: StateId,
    /// The action it was trying, by its place in the alphabet; `None` while a state was judged.
    pub action: Option<usize>,
}

/// Why a study cannot be explored at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExploreError {
    /// A study without a beginning would satisfy everything.
    #[error("the study has no initial state, so nothing was checked")]
    NoInitialState,
    /// A study without actions would satisfy almost everything.
    #[error("the study's alphabet is empty, so nothing was checked")]
    EmptyAlphabet,
    /// Traces name actions, so names are unique.
    #[error("the alphabet lists {action} twice")]
    DuplicateAction {
        /// The action.
        action: String,
    },
    /// Actions are numbered in sixteen bits.
    #[error("the alphabet has {len} actions, more than {max}", max = u16::MAX)]
    AlphabetTooLarge {
        /// Its size.
        len: usize,
    },
    /// The study panicked before the first step.
    #[error("the study panicked while it listed its initial states: {message}")]
    PanickedAtStart {
        /// What it said.
        message: String,
    },
}

/// What somebody wants to see of every expanded state and every step. Each thread has its own.
pub trait Observer<S: Study>: Send {
    /// A state that is about to be expanded.
    fn state(&mut self, id: StateId, state: &S::State);
    /// A step from it.
    fn step(
        &mut self,
        id: StateId,
        state: &S::State,
        action: usize,
        outcome: &S::Outcome,
        next: &S::State,
    );
    /// Every step from it was seen.
    fn expanded(&mut self, _: StateId) {}
    /// A state that is not expanded because it lies at the bound of the depth.
    fn at_bound(&mut self, _: StateId, _: &S::State) {}
    /// Takes over what another thread's observer saw, in any order.
    fn merge(&mut self, other: Self)
    where
        Self: Sized;
    /// Nothing more needs to be seen.
    fn is_satisfied(&self) -> bool {
        false
    }
}

/// The reachable states, how each was first reached, and what was counted on the way.
pub struct Exploration<S: Study> {
    study: S,
    alphabet: Vec<S::Action>,
    store: Store<S::State>,
    /// The first state of each depth; one entry more than there are depths.
    levels: Vec<StateId>,
    expanded: StateId,
    transitions: u64,
    enabled: Vec<u64>,
    end: End,
}

impl<S: Study> fmt::Debug for Exploration<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exploration")
            .field("states", &self.len())
            .field("transitions", &self.transitions)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// Explores for the graph alone.
///
/// ```
/// use statusquo_model::{explore::{self, End}, family::Family, studies::chardev::Chardev};
/// let ours = Chardev::designs().iter().find(|design| design.name == "ours").unwrap();
/// let file = Chardev::scopes().iter().find(|scope| scope.name == "file").unwrap();
/// let found = explore::explore(&Chardev::study(ours, file), &explore::Options::default()).unwrap();
/// assert_eq!(*found.end(), End::Complete);
/// ```
pub fn explore<S: Study>(study: &S, options: &Options<'_>) -> Result<Exploration<S>, ExploreError> {
    explore_with(study, options, || Blind).map(|(exploration, Blind)| exploration)
}

/// Sees nothing.
struct Blind;

impl<S: Study> Observer<S> for Blind {
    #[inline]
    fn state(&mut self, _: StateId, _: &S::State) {}
    #[inline]
    fn step(&mut self, _: StateId, _: &S::State, _: usize, _: &S::Outcome, _: &S::State) {}
    fn merge(&mut self, _: Self) {}
}

impl<S: Study> Exploration<S> {
    /// The machine that was explored.
    pub fn study(&self) -> &S {
        &self.study
    }

    /// Its actions; their places are the action numbers here.
    pub fn alphabet(&self) -> &[S::Action] {
        &self.alphabet
    }

    /// States found.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Never: there is an initial state.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// States whose steps were all taken: the first ones, in order.
    pub fn expanded(&self) -> usize {
        self.expanded as usize
    }

    /// Steps taken, those that change nothing included.
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    /// Steps from an initial state to the furthest state found.
    pub fn depth(&self) -> u32 {
        u32::try_from(self.levels.len().saturating_sub(2)).unwrap_or(u32::MAX)
    }

    /// Why the search ended.
    pub fn end(&self) -> &End {
        &self.end
    }

    /// A state by its number.
    pub fn state(&self, id: StateId) -> &S::State {
        self.store.state(id)
    }

    /// The number of a state, if it was found.
    pub fn id(&self, state: &S::State) -> Option<StateId> {
        self.store.find(state)
    }

    /// The states that a run may begin in.
    pub fn initial(&self) -> std::ops::Range<StateId> {
        0..self.levels[1]
    }

    /// Steps from an initial state.
    pub fn depth_of(&self, id: StateId) -> u32 {
        let level = self.levels.partition_point(|first| *first <= id);
        u32::try_from(level - 1).unwrap_or(u32::MAX)
    }

    /// The first shortest path to a state, as the initial state and action numbers.
    pub fn path(&self, id: StateId) -> (StateId, Vec<usize>) {
        let mut path = Vec::new();
        let mut at = id;
        while let Some((parent, action)) = self.store.parent(at) {
            path.push(action.into());
            at = parent;
        }
        path.reverse();
        (at, path)
    }

    /// Actions that no reachable state enables.
    pub fn dead_actions(&self) -> Vec<S::Action> {
        let dead = self.alphabet.iter().zip(&self.enabled).filter(|(_, count)| **count == 0);
        dead.map(|(action, _)| *action).collect()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.store.bytes()
    }
}
