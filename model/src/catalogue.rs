//! Every family by name, and what to say about a name that nothing has.

use std::num::NonZeroUsize;

use crate::{
    check,
    explore::Options,
    family::{Design, Family, Role, Scope},
    pins::{self, Pin},
    second_opinion::{self, Agreement, Disagreement},
    studies,
};

/// A name that nothing has, and the nearest that something has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {kind} is named `{name}`{}", suggestion(.nearest, .known))]
pub struct UnknownName {
    /// What was looked for: study, design, scope, property.
    pub kind: &'static str,
    /// What was asked for.
    pub name: String,
    /// The most similar name there is, if any is similar.
    pub nearest: Option<String>,
    /// Every name there is.
    pub known: Vec<String>,
}

/// A family without its types: what can be asked of every study by name.
pub trait AnyFamily: Sync {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// The expected matrix (see [`crate::pins`]).
    fn pins(&self) -> &'static str;

    /// Every design at every scope that is pinned.
    fn pinned(&self) -> Vec<(&'static Design, &'static Scope)>;

    /// The verdicts of one design at one scope, as they would be pinned, and what stateright says of the same.
    fn second_opinion(
        &self,
        design: &Design,
        scope: &Scope,
        options: &Options<'_>,
    ) -> Result<(Vec<Pin>, Agreement), Disagreement>;
}

impl<F: Family + Sync> AnyFamily for F {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn pins(&self) -> &'static str {
        F::PINS
    }

    fn pinned(&self) -> Vec<(&'static Design, &'static Scope)> {
        let scopes = F::scopes().iter().filter(|scope| scope.role != Role::OnRequest);
        scopes.flat_map(|scope| F::designs().iter().map(move |design| (design, scope))).collect()
    }

    fn second_opinion(
        &self,
        design: &Design,
        scope: &Scope,
        options: &Options<'_>,
    ) -> Result<(Vec<Pin>, Agreement), Disagreement> {
        let report = check::check(&F::study(design, scope), options, |_| true)?;
        let agreement = second_opinion::compare(&report, NonZeroUsize::MIN)?;
        Ok((pins::of(design.name, scope.name, &report), agreement))
    }
}

/// All families, in reading order. Not a constant: each crate that names one would compile all of them again.
pub static FAMILIES: [&dyn AnyFamily; 7] = [
    &studies::chardev::Chardev,
    &studies::restart::Restart,
    &studies::alias::Alias,
    &studies::pci_root::PciRoot,
    &studies::usb::Usb,
    &studies::hostdev::Hostdev,
    &studies::freeze::Freeze,
];

/// The names of all families, in reading order.
pub fn names() -> Vec<&'static str> {
    FAMILIES.map(AnyFamily::name).into()
}

/// The error for a name that is not among those known, with the nearest of them.
pub fn unknown<'a>(
    kind: &'static str,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> UnknownName {
    let known: Vec<String> = known.into_iter().map(str::to_owned).collect();
    let nearest = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(candidate, name), candidate))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.clone());
    UnknownName { kind, name: name.to_owned(), nearest, known }
}

fn suggestion(nearest: &Option<String>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => format!("; there are: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let error = unknown("study", "chardevs", names());
        assert_eq!(error.to_string(), "no study is named `chardevs`; did you mean `chardev`?");
        let error = unknown("study", "xyz", names());
        assert!(error.to_string().starts_with("no study is named `xyz`; there are: chardev"));
    }
}
