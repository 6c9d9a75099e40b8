//! Every family by name, and what to say about a name that nothing has.

use crate::{family::Family, studies};

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

/// The names of all families, in reading order.
pub fn names() -> Vec<&'static str> {
    vec![
        studies::chardev::Chardev::NAME,
        studies::restart::Restart::NAME,
        studies::alias::Alias::NAME,
        studies::pci_root::PciRoot::NAME,
        studies::usb::Usb::NAME,
        studies::hostdev::Hostdev::NAME,
        studies::freeze::Freeze::NAME,
    ]
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
