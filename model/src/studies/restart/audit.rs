//! The persistence audit: which facts of the status file are needed, and for what.

use super::{Restart, rules::SaveBefore, state::Record};
use crate::{
    check::{self, Verdict},
    explore::{ExploreError, Options},
    family::{Family, Scope, Status},
};

/// One fact of the status file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// The fact.
    pub fact: &'static str,
    /// What fails without it, with the length of the shortest demonstration. Nothing: it is redundant.
    pub needed_for: Vec<(&'static str, usize)>,
}

const FACTS: [(Record, &str); 3] = [
    (Record::Present, "the devices of the definition"),
    (Record::Attaching, "the intent to attach"),
    (Record::Detaching, "the intent to detach"),
];

/// Takes one fact after the other from what our design saves, and asks what then fails that held before.
///
/// The audited design saves every fact there is, also the intent to detach, which ours leaves out because
/// of what is found here.
pub fn audit(scope: &Scope, options: &Options<'_>) -> Result<Vec<Audited>, ExploreError> {
    let ours = Restart::designs().iter().find(|design| design.status == Status::Ours);
    let mut study = Restart::study(ours.unwrap_or(&Restart::designs()[0]), scope);
    study.rules.save_before = SaveBefore::Intents;
    let failures = |study| -> Result<Vec<(&'static str, usize)>, ExploreError> {
        let report = check::check(&study, options, |_| true)?;
        let violated = report.answers.into_iter().filter_map(|answer| match answer.verdict {
            Verdict::Violated(_) => Some((answer.property, answer.verdict.trace_len()?)),
            _ => None,
        });
        Ok(violated.collect())
    };
    let before = failures(study.clone())?;
    FACTS
        .iter()
        .map(|&(record, fact)| {
            let needed_for = failures(study.forgetting(record))?
                .into_iter()
                .filter(|(property, _)| !before.iter().any(|(failed, _)| failed == property))
                .collect();
            Ok(Audited { fact, needed_for })
        })
        .collect()
}
