use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::study::{Judgement, Law, Study as _};

/// A plain search, to see the size of a scope.
fn explore(study: &Study) -> usize {
    let mut seen = std::collections::BTreeSet::new();
    let key = |s: &State| (s.ports.map(|port| port.into_bits()), s.bus.into_bits());
    let mut queue: VecDeque<State> = study.initial().into();
    queue.iter().for_each(|s| {
        seen.insert(key(s));
    });
    let alphabet = study.alphabet();
    let properties = study.properties();
    let mut violated: BTreeMap<&str, String> = BTreeMap::new();
    while let Some(s) = queue.pop_front() {
        for property in &properties {
            if let Law::Always(judge) = property.law
                && judge(study, &s) == Judgement::Violated
            {
                violated.entry(property.name).or_insert_with(|| format!("{s:?}"));
            }
        }
        for &action in &alphabet {
            if let Ok((outcome, next)) = study.step(&s, action) {
                for property in &properties {
                    if let Law::AlwaysStep(judge) = property.law
                        && judge(study, &s, action, &outcome, &next) == Judgement::Violated
                    {
                        violated.entry(property.name).or_insert_with(|| {
                            format!("{action:?} {} {s:?}", crate::words::words(&outcome))
                        });
                    }
                }
                if seen.insert(key(&next)) {
                    queue.push_back(next);
                }
            }
        }
    }
    for v in &violated {
        println!("   violated {}: {:.150}", v.0, v.1);
    }
    seen.len()
}

#[test]
fn sizes() {
    for design in Chardev::designs() {
        for scope in Chardev::scopes().iter().filter(|s| s.name != "unbounded") {
            if design.name != "ours" && design.name != "qemu-7.2" && scope.name != "server" {
                continue;
            }
            let study = Chardev::study(design, scope);
            println!("{} {} alphabet {}", design.name, scope.name, study.alphabet().len());
            println!("      states {}", explore(&study));
        }
    }
}
