//! The expected matrix of a family, as text that a reviewer reads: one line per design, scope and
//! property. A design that must be rejected is pinned to the length of its shortest trace.

use std::fmt;

use crate::{check::Report, study::Study};

/// One expectation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// The design's name.
    pub design: String,
    /// The scope's name.
    pub scope: String,
    /// The property's sentence, or one of the counts: [`STATES`], [`TRANSITIONS`].
    pub property: String,
    /// The verdict's word, or the count.
    pub verdict: String,
    /// Steps of the shortest trace, for a violation.
    pub length: Option<usize>,
}

/// The pseudo-property whose verdict is the number of reachable states.
pub const STATES: &str = "(states)";
/// The pseudo-property whose verdict is the number of transitions.
pub const TRANSITIONS: &str = "(transitions)";

/// A line that is not a pin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "pins line {line}: expected `design<TAB>scope<TAB>property<TAB>verdict[<TAB>length]`, found {found:?}"
)]
pub struct PinError {
    /// Counted from 1.
    pub line: usize,
    /// The line.
    pub found: String,
}

/// Reads a pins file. Empty lines and lines that begin with `#` are comments.
pub fn parse(text: &str) -> Result<Vec<Pin>, PinError> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(at, line)| {
            let error = || PinError { line: at + 1, found: line.to_owned() };
            let fields: Vec<&str> = line.split('\t').collect();
            let (&[design, scope, property, verdict] | &[design, scope, property, verdict, _]) =
                fields.as_slice()
            else {
                return Err(error());
            };
            let length =
                fields.get(4).map(|length| length.parse().map_err(|_| error())).transpose()?;
            let [design, scope, property, verdict] =
                [design, scope, property, verdict].map(str::to_owned);
            Ok(Pin { design, scope, property, verdict, length })
        })
        .collect()
}

/// What would have to be pinned for this report to be expected.
pub fn of<S: Study>(design: &str, scope: &str, report: &Report<S>) -> Vec<Pin> {
    let pin = |property: &str, verdict: String, length| Pin {
        design: design.to_owned(),
        scope: scope.to_owned(),
        property: property.to_owned(),
        verdict,
        length,
    };
    let found = &report.exploration;
    let counts = [
        pin(STATES, found.len().to_string(), None),
        pin(TRANSITIONS, found.transitions().to_string(), None),
    ];
    let answers = report
        .answers
        .iter()
        .map(|answer| pin(answer.property, answer.verdict.word(), answer.verdict.trace_len()));
    counts.into_iter().chain(answers).collect()
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}\t{}", self.design, self.scope, self.property, self.verdict)?;
        self.length.map_or(Ok(()), |length| write!(f, "\t{length}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        let text = "# matrix\n\nours\tserver\tbeliefs agree\tholds\nqemu-7.2\tserver\tbeliefs agree\tviolated\t4\n";
        let pins = parse(text).unwrap();
        assert_eq!(pins.len(), 2);
        assert_eq!(pins[1].length, Some(4));
        let printed: String = pins.iter().map(|pin| format!("{pin}\n")).collect();
        assert_eq!(parse(&printed).unwrap(), pins);
    }

    #[test]
    fn a_line_that_is_no_pin_is_named() {
        assert_eq!(
            parse("a\tb\tc\td\ne\tf\n"),
            Err(PinError { line: 2, found: "e\tf".to_owned() })
        );
        assert_eq!(parse("a\tb\tc\td\tlong\n").unwrap_err().line, 1);
    }
}
