//! A part of a suite, for one of several machines or nights.

use std::{fmt, num::NonZeroUsize, str::FromStr};

/// `K/N`: of every N traces the K-th. The N parts together are the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    number: NonZeroUsize,
    of: NonZeroUsize,
}

impl Part {
    /// The whole in one part.
    pub const WHOLE: Part = Part { number: NonZeroUsize::MIN, of: NonZeroUsize::MIN };

    /// What of `all` is in it, in the same order.
    pub fn take<T>(self, all: Vec<T>) -> Vec<T> {
        all.into_iter().skip(self.number.get() - 1).step_by(self.of.get()).collect()
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// Why a text names no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected K/N with 1 <= K <= N, as in 2/10")]
pub struct NoPart;

impl FromStr for Part {
    type Err = NoPart;

    fn from_str(text: &str) -> Result<Self, NoPart> {
        let (number, of) = text.split_once('/').ok_or(NoPart)?;
        let number: NonZeroUsize = number.parse().map_err(|_| NoPart)?;
        let of = of.parse().map_err(|_| NoPart)?;
        if number <= of { Ok(Part { number, of }) } else { Err(NoPart) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole() {
        let all: Vec<u32> = (0..23).collect();
        let mut together: Vec<u32> = (1..=5)
            .flat_map(|number| {
                let part: Part = format!("{number}/5").parse().unwrap();
                assert_eq!(part.to_string(), format!("{number}/5"));
                part.take(all.clone())
            })
            .collect();
        together.sort();
        assert_eq!(together, all);
        assert_eq!(Part::WHOLE.take(all.clone()), all);
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for text in ["", "1", "0/3", "4/3", "1/0", "a/3", "1/3/5", "-1/3"] {
            assert_eq!(text.parse::<Part>(), Err(NoPart), "{text}");
        }
    }
}
