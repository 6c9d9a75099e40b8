//! A family of studies: one question, with all its designs and scopes.

use serde::Serialize;

use crate::study::Study;

/// One question, the designs that compete to answer it, and the scopes at which they are checked.
pub trait Family: 'static {
    /// The machine.
    type Study: Study;

    /// The name on the command line.
    const NAME: &'static str;
    /// The question, one sentence.
    const QUESTION: &'static str;
    /// The expected matrix: one line per design, scope and property (see [`crate::pins`]).
    const PINS: &'static str;

    /// Other names of designs, as threads and documents call them: the other name, and the design's.
    const OTHER_NAMES: &'static [(&'static str, &'static str)] = &[];

    /// Every design, in the order of the matrix.
    fn designs() -> &'static [Design];
    /// Every scope; the first is the one that `check` and `compare` use unless told otherwise.
    fn scopes() -> &'static [Scope];
    /// The machine of one design at one scope, both known to exist.
    fn study(design: &Design, scope: &Scope) -> Self::Study;
}

/// One way to behave that somebody shipped or proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Design {
    /// The name on the command line.
    pub name: &'static str,
    /// Shipped, proposed, or ours.
    pub status: Status,
    /// One sentence on what it does.
    pub summary: &'static str,
    /// Where it comes from: thread and author, or files and functions.
    pub source: &'static str,
}

/// Where a design stands in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// People run it.
    Shipped {
        /// First version.
        from: &'static str,
        /// Last version known to behave so.
        to: &'static str,
    },
    /// Somebody argued for it.
    Proposed {
        /// Who.
        by: &'static str,
        /// When, as `YYYY-MM`.
        on: &'static str,
    },
    /// What our implementation does.
    Ours,
}

/// Bounds that keep a machine finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// The name on the command line.
    pub name: &'static str,
    /// One sentence on what is in it.
    pub summary: &'static str,
    /// What `verify` does with it.
    pub role: Role,
}

/// What `verify` does with a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Every design is checked; the verdicts are pinned.
    Check,
    /// Every design is checked, and the transition suite of `ours` is generated and replayed.
    CheckAndReplay,
    /// Only by name: too large, or unbounded.
    OnRequest,
}

/// The first of every pair: the designs or scopes of a table that also holds their rules.
pub(crate) const fn firsts<A: Copy, B, const N: usize>(pairs: &[(A, B); N]) -> [A; N] {
    let mut all = [pairs[0].0; N];
    let mut at = 0;
    while at < N {
        all[at] = pairs[at].0;
        at += 1;
    }
    all
}
