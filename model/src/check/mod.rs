//! Every property of one design, judged in one search.

mod judge;
mod liveness;
pub mod strategy;
mod verdict;

use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
};

use self::judge::Judge;
pub use self::verdict::{Counterexample, Fault, Seen, Told, Verdict};
use crate::{
    equivalence,
    explore::{self, Edges, End, Exploration, ExploreError, Options, StateId, explore_with},
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
    let properties = study.properties().into_iter().filter(|property| wanted(property.name));
    check_all(study, options, properties.collect())
}

// Without the caller's closure in its type, so that it is compiled once for each study.
fn check_all<S: Study>(
    study: &S,
    options: &Options<'_>,
    properties: Vec<Property<S>>,
) -> Result<Report<S>, ExploreError> {
    let (exploration, judge) =
        explore_with(study, options, || Judge::new(study, &properties, study.alphabet()))?;
    let edges = (*exploration.end() == End::Complete && properties.iter().any(needs_edges))
        .then(|| exploration.edges(options.threads));
    let mut noticed =
        edges.as_ref().map(|edges| transparency(&exploration, edges, &properties, options));
    let answers = properties
        .iter()
        .enumerate()
        .map(|(number, property)| {
            let (asked, verdict) = match (&property.law, &edges) {
                (Law::Always(_) | Law::AlwaysStep(_) | Law::Sometimes(_) | Law::NoDeadlock, _) => {
                    let verdict = judge.verdict(number, &property.law, &exploration);
                    (judge.asked(number), verdict)
                }
                (_, None) => (0, Verdict::of_truncation(exploration.end(), exploration.len())),
                (Law::Transparent(_), Some(_)) => {
                    let judged = match &mut noticed {
                        Some(Ok(laws)) => Ok(laws[number].take()),
                        Some(Err(why)) => Err(why.clone()),
                        None => Ok(None),
                    };
                    let judged =
                        judged.map(|law| law.map_or((0, None), |law| (law.asked, law.noticed)));
                    answer(&exploration, judged)
                }
                (Law::AlwaysPossible { from, goal }, Some(edges)) => {
                    let judged = caught(|| {
                        let (asked, trap) =
                            liveness::always_possible(&exploration, edges, *from, *goal);
                        (asked, trap.map(|state| demonstrate(&exploration, state, Fault::Trap)))
                    });
                    answer(&exploration, judged)
                }
                (Law::LeadsTo { from, goal, fair }, Some(edges)) => {
                    let judged =
                        caught(|| liveness::leads_to(&exploration, edges, *from, *goal, *fair));
                    answer(&exploration, judged)
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
    options: &Options<'_>,
) -> Result<Vec<Option<equivalence::Transparency<S>>>, Verdict<S>> {
    let laws: Vec<_> = properties
        .iter()
        .map(|property| match property.law {
            Law::Transparent(disrupts) => Some(disrupts),
            _ => None,
        })
        .collect();
    let judged = caught(|| equivalence::transparency(exploration, edges, &laws, options))?;
    judged.map_err(|end| Verdict::of_truncation(&end, exploration.len()))
}

/// A panic is an answer here too: the search met only the reachable states, and no law's predicates.
fn caught<S: Study, T>(judge: impl FnOnce() -> T) -> Result<T, Verdict<S>> {
    catch_unwind(AssertUnwindSafe(judge)).map_err(|panic| Verdict::NotChecked {
        why: format!("the study panicked: {}", explore::message(panic.as_ref())),
    })
}

/// How often a law was asked on a complete graph, and what came of it.
fn answer<S: Study>(
    exploration: &Exploration<S>,
    judged: Result<(u64, Option<Counterexample<S>>), Verdict<S>>,
) -> (u64, Verdict<S>) {
    match judged {
        Ok((asked, Some(shown))) => (asked, Verdict::Violated(Box::new(shown))),
        Ok((asked, None)) => (asked, Verdict::of_silence(&End::Complete, exploration.len(), asked)),
        Err(verdict) => (0, verdict),
    }
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
