use std::num::NonZeroUsize;

use super::{
    enumerate::{self, Answers, Set, Space, codes, set},
    lemmas::{Theory, all_but_the_contradictions, is_dominated},
    policy::Edge,
    *,
};
use crate::{check, explore::Options};

const THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

fn bounds(world: &str) -> Bounds {
    SCOPES.iter().find(|(scope, _)| scope.name == world).unwrap().1
}

/// What the machine says of a policy: everything that is not violated.
fn by_the_machine(policy: Policy, bounds: Bounds) -> Set {
    let report = check::check(&Study::new(policy, bounds), &Options::default(), |_| true).unwrap();
    let satisfied = report
        .answers
        .iter()
        .enumerate()
        .map(|(at, answer)| Set::from(answer.verdict.trace_len().is_none()) << at);
    satisfied.sum()
}

#[track_caller]
fn agree(answers: &Answers, number: usize, bounds: Bounds) {
    let policy = answers.space.policy(number);
    assert_eq!(answers.space.number(&policy), Some(number));
    let (ours, machine) = (answers.satisfied[number], by_the_machine(policy, bounds));
    let differ: Vec<_> = codes(ours ^ machine).collect();
    assert_eq!(ours, machine, "{policy}: they differ in {differ:?}");
}

/// The short names are those of the properties.
#[test]
fn codes_are_the_beginnings_of_names() {
    let properties = properties::properties();
    assert_eq!(properties.len(), CODES.len());
    for (property, code) in properties.iter().zip(CODES) {
        assert!(property.name.starts_with(&format!("{code}: ")), "{}", property.name);
    }
}

/// Enumeration and machine are two programs that share the operators and nothing else.
#[test]
fn every_small_policy_is_answered_as_the_machine_answers() {
    for world in ["changing", "constant"] {
        let answers = enumerate::enumerate(&Space::small(), &bounds(world), THREADS);
        assert_eq!(answers.satisfied.len(), 288);
        (0..288).for_each(|number| agree(&answers, number, bounds(world)));
    }
}

#[test]
fn policies_of_the_whole_space_are_answered_as_the_machine_answers() {
    for provenance in [false, true] {
        for (scope, bounds) in SCOPES {
            let answers = enumerate::enumerate(&Space::whole(provenance), &bounds, THREADS);
            assert_eq!(answers.satisfied.len(), 3_981_312, "{}", scope.name);
            // A step that shares no factor with the number of operators of any edge.
            (0..answers.satisfied.len()).step_by(66_347).for_each(|at| agree(&answers, at, bounds));
        }
    }
}

/// The same whatever the number of threads.
#[test]
fn threads_change_nothing() {
    let [one, three] = [1, 3].map(|threads| {
        let threads = NonZeroUsize::new(threads).unwrap();
        enumerate::enumerate(&Space::whole(true), &bounds("ancient"), threads).satisfied
    });
    assert!(one == three);
}

#[test]
fn lemmas_hold() {
    let theory = Theory::of(THREADS);
    for lemma in theory.lemmas() {
        assert!(lemma.holds, "{lemma:#?}");
        assert!(!lemma.witnesses.is_empty(), "{}", lemma.name);
    }
    let conflicts = theory.answers("plain", "changing").conflicts();
    for conflict in [&["BOOT", "ADOPT-OLD"][..], &["PURE", "BOOT", "ADOPT-NEW"]] {
        assert!(conflicts.contains(&set(conflict)), "{conflict:?}");
    }
    let ours = DESIGNS.iter().find(|(design, _)| design.name == "ours").unwrap().1;
    let answers = theory.answers("provenance", "changing");
    let satisfied = answers.satisfied[answers.space.number(&ours).unwrap()];
    assert_eq!(satisfied, all_but_the_contradictions());
}

/// A predicate that is right for the wrong reason would be right of these as well.
#[test]
fn who_forgets_one_consumer_is_not_dominated() {
    let hostdev = |name: &str| DESIGNS.iter().find(|(design, _)| design.name == name).unwrap().1;
    assert!(is_dominated(&hostdev("qemu-hostdev").ops));
    for edge in [Edge::Start, Edge::Attach, Edge::Network, Edge::Detach] {
        let forgets = hostdev("qemu-hostdev").with(&[(edge, policy::Op::Keep)]);
        assert!(!is_dominated(&forgets.ops), "{edge:?}");
        let violated = by_the_machine(forgets, bounds("changing")) & set(&["RESOLVED"]) == 0;
        assert!(violated, "{edge:?}");
    }
}

#[test]
fn ours_satisfies_what_can_be_satisfied_together() {
    let ours = DESIGNS.iter().find(|(design, _)| design.name == "ours").unwrap().1;
    for world in ["changing", "ancient"] {
        assert_eq!(by_the_machine(ours, bounds(world)), all_but_the_contradictions(), "{world}");
    }
    assert_eq!(by_the_machine(ours, bounds("constant")), enumerate::EVERYTHING);
}
