//! A graph, edge by edge, as a study.

use std::collections::BTreeSet;

use statusquo_model::{
    check::{self, Report},
    explore::Options,
    study::{Blocked, Law, Party, Property, Step, Study, View},
};

/// A graph as a study: action `a` of a state takes its edge number `a`.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    pub(crate) initial: Vec<u32>,
    /// From, action, outcome, to.
    pub(crate) edges: Vec<(u32, u8, u8, u32)>,
    pub(crate) actions: u8,
    pub(crate) laws: fn() -> Vec<Property<Graph>>,
    /// What users should not notice.
    pub(crate) disruptions: BTreeSet<u8>,
    /// After a disruption in state `s` users expect state `undisturbed[s]`, or else state 0.
    pub(crate) undisturbed: Vec<u32>,
    /// What the laws of a test ask about: where a promise is made, and what it promises.
    pub(crate) promise: [BTreeSet<u32>; 2],
    /// The actions that are weakly fair.
    pub(crate) fair: BTreeSet<u8>,
    /// The study is broken in this state.
    pub(crate) panics_at: Option<u32>,
}

impl Graph {
    pub(crate) fn new(edges: &[(u32, u8, u8, u32)], laws: fn() -> Vec<Property<Graph>>) -> Self {
        let actions = edges.iter().map(|edge| edge.1 + 1).max().unwrap_or(1);
        Graph {
            initial: vec![0],
            edges: edges.to_vec(),
            actions,
            laws,
            disruptions: BTreeSet::from([9]),
            undisturbed: Vec::new(),
            promise: [BTreeSet::new(), BTreeSet::new()],
            fair: BTreeSet::new(),
            panics_at: None,
        }
    }

    pub(crate) fn check(&self) -> Report<Graph> {
        check::check(self, &Options::default(), |_| true).unwrap()
    }
}

impl Study for Graph {
    type State = u32;
    type Action = u8;
    type Outcome = u8;

    fn initial(&self) -> Vec<u32> {
        self.initial.clone()
    }

    fn alphabet(&self) -> Vec<u8> {
        (0..self.actions).collect()
    }

    fn step(&self, state: &u32, action: u8) -> Step<Self> {
        assert_ne!(self.panics_at, Some(*state), "the study is broken");
        let edge = self.edges.iter().find(|edge| edge.0 == *state && edge.1 == action);
        edge.map(|edge| (edge.2, edge.3)).ok_or(Blocked("there is no such edge"))
    }

    fn party(&self, _: u8) -> Party {
        Party::World
    }

    fn is_disruption(&self, action: u8) -> bool {
        self.disruptions.contains(&action)
    }

    fn undisturbed(&self, state: &u32, _: u8) -> u32 {
        self.undisturbed.get(*state as usize).copied().unwrap_or(0)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        (self.laws)()
    }

    fn view(&self, state: &u32) -> View {
        vec![("state".to_owned(), state.to_string())]
    }
}

/// Two graphs are compared by what they do.
impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        self.edges == other.edges && self.initial == other.initial
    }
}

pub(crate) fn property(name: &'static str, law: Law<Graph>) -> Property<Graph> {
    Property { name, source: "test", law }
}
