//! Every property of one design, judged in one search.

mod judge;
mod liveness;
mod verdict;

use std::num::NonZeroUsize;

use self::judge::Judge;
pub use self::verdict::{Counterexample, Fault, Seen, Told, Verdict};
use crate::{
    equivalence,
    explore::{Edges, End, Exploration, ExploreError, Options, StateId, explore_with},
    study::{Law, Property, Study},
};

/// What was found out about one design.
#[derive(Debug)]
pub struct Report<S: Study> {
    /// The search, for whoever wants to go on with the graph.
    pub exploration: Exploration<S>,
    /// One answer per property, in the study's order.
    pub answers: Vec<Answer<S>>,
    /// Actions that no reachable state enables.
    pub dead_actions: Vec<S::Action>,
    /// Outcome classes that no step produced.
    pub dead_outcomes: Vec<&'static str>,
}

/// The answer to one property.
#[derive(Debug)]
pub struct Answer<S: Study> {
    /// The property's sentence.
    pub property: &'static str,
    /// Who asks.
    pub source: &'static str,
    /// The kind of law.
    pub kind: &'static str,
    /// How often the question arose.
    pub asked: u64,
    /// The answer.
    pub verdict: Verdict<S>,
}

/// Checks the properties that `wanted` selects by name.
///
/// ```
/// use statusquo_model::{check, explore::Options, family::Family, studies::chardev::Chardev};
/// let ours = Chardev::designs().iter().find(|design| design.name == "ours").unwrap();
/// let file = Chardev::scopes().iter().find(|scope| scope.name == "file").unwrap();
/// let report = check::check(&Chardev::study(ours, file), &Options::default(), |_| true).unwrap();
/// assert!(report.answers.iter().all(|answer| answer.verdict.trace_len().is_none()));
/// ```
pub fn check<S: Study>(
    study: &S,
    options: &Options<'_>,
    wanted: impl Fn(&str) -> bool,
) -> Result<Report<S>, ExploreError> {
    let properties: Vec<Property<S>> =
        study.properties().into_iter().filter(|property| wanted(property.name)).collect();
    let (exploration, judge) =
        explore_with(study, options, || Judge::new(study, &properties, study.alphabet()))?;
    let edges = (*exploration.end() == End::Complete && properties.iter().any(needs_edges))
        .then(|| exploration.edges(options.threads));
    let mut noticed = edges.as_ref().map(|edges| transparency(&exploration, edges, &properties));
    let answers = properties
        .iter()
        .enumerate()
        .map(|(number, property)| {
            let asked;
            let verdict = match (&property.law, &edges) {
                (Law::Always(_) | Law::AlwaysStep(_) | Law::Sometimes(_) | Law::NoDeadlock, _) => {
                    asked = judge.asked(number);
                    judge.verdict(number, &property.law, &exploration)
                }
                (_, None) => {
                    asked = 0;
                    Verdict::of_truncation(exploration.end(), exploration.len())
                }
                (Law::Transparent(_), Some(_)) => {
                    let law = noticed.as_mut().and_then(|laws| laws[number].take());
                    (asked, _) = law.as_ref().map_or((0, ()), |law| (law.asked, ()));
                    match law.and_then(|law| law.noticed) {
                        Some(noticed) => Verdict::Violated(Box::new(noticed)),
                        None => Verdict::of_silence(&End::Complete, exploration.len(), asked),
                    }
                }
                (Law::AlwaysPossible { from, goal }, Some(edges)) => {
                    let (count, trap) =
                        liveness::always_possible(&exploration, edges, *from, *goal);
                    asked = count;
                    found(&exploration, trap.map(|state| (state, Fault::Trap)), asked)
                }
                (Law::LeadsTo { from, goal, fair }, Some(edges)) => {
                    let (count, lasso) =
                        liveness::leads_to(&exploration, edges, *from, *goal, *fair);
                    asked = count;
                    match lasso {
                        Some(lasso) => Verdict::Violated(Box::new(lasso)),
                        None => Verdict::of_silence(&End::Complete, exploration.len(), asked),
                    }
                }
            };
            Answer {
                property: property.name,
                source: property.source,
                kind: property.law.kind(),
                asked,
                verdict,
            }
        })
        .collect();
    let complete = *exploration.end() == End::Complete;
    Ok(Report {
        dead_actions: if complete { exploration.dead_actions() } else { Vec::new() },
        dead_outcomes: if complete { judge.dead_outcomes() } else { Vec::new() },
        answers,
        exploration,
    })
}

fn needs_edges<S: Study>(property: &Property<S>) -> bool {
    matches!(property.law, Law::Transparent(_) | Law::AlwaysPossible { .. } | Law::LeadsTo { .. })
}

fn transparency<S: Study>(
    exploration: &Exploration<S>,
    edges: &Edges<S::Outcome>,
    properties: &[Property<S>],
) -> Vec<Option<equivalence::Transparency<S>>> {
    let laws: Vec<_> = properties
        .iter()
        .map(|property| match property.law {
            Law::Transparent(disrupts) => Some(disrupts),
            _ => None,
        })
        .collect();
    equivalence::transparency(exploration, edges, &laws)
}

fn found<S: Study>(
    exploration: &Exploration<S>,
    fault: Option<(StateId, Fault<S>)>,
    asked: u64,
) -> Verdict<S> {
    match fault {
        Some((state, fault)) => Verdict::Violated(Box::new(demonstrate(exploration, state, fault))),
        None => Verdict::of_silence(exploration.end(), exploration.len(), asked),
    }
}

/// The shortest run to a state, with what is wrong there.
pub(crate) fn demonstrate<S: Study>(
    exploration: &Exploration<S>,
    state: StateId,
    fault: Fault<S>,
) -> Counterexample<S> {
    Counterexample { path: run(exploration, state), state: exploration.state(state).clone(), fault }
}

/// The shortest run to a state.
pub fn run<S: Study>(exploration: &Exploration<S>, state: StateId) -> Vec<Seen<S>> {
    let (start, path) = exploration.path(state);
    let mut at = exploration.state(start).clone();
    let mut seen = Vec::with_capacity(path.len());
    for number in path {
        let action = exploration.alphabet()[number];
        if let Ok((outcome, next)) = exploration.study().step(&at, action) {
            seen.push(Seen { action, outcome });
            at = next;
        }
    }
    seen
}

/// One thread per core, as far as the system says.
pub fn all_threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
