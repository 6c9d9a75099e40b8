//! Bytes into lines, with a limit to the length of a line.

/// The bytes of a line whose end has not come yet, and how many lines were there before.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// No newline before this.
    scanned: usize,
    line_max: usize,
    number: u64,
}

/// A line is longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Lines {
    pub(crate) fn new(line_max: usize) -> Self {
        Lines { buffer: Vec::new(), scanned: 0, line_max, number: 1 }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line without its end, and its number from 1.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, TooLong> {
        let end = self.buffer[self.scanned..]
            .iter()
            .position(|&byte| byte == b'\n')
            .map(|at| self.scanned + at);
        if end.unwrap_or(self.buffer.len()) > self.line_max {
            return Err(TooLong);
        }
        let Some(end) = end else {
            self.scanned = self.buffer.len();
            return Ok(None);
        };
        let rest = self.buffer.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        self.scanned = 0;
        self.number += 1;
        Ok(Some((self.number - 1, line)))
    }

    /// The number of the line that has begun or comes next.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of a line that has begun.
    pub(crate) fn unfinished(&self) -> usize {
        self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let text = b"one\r\n\nthree\nfo";
        for cut in 0..=text.len() {
            let mut lines = Lines::new(5);
            let mut found = Vec::new();
            for part in [&text[..cut], &text[cut..]] {
                lines.push(part);
                while let Some(line) = lines.next().unwrap() {
                    found.push(line);
                }
            }
            assert_eq!(
                found,
                [(1, b"one".to_vec()), (2, vec![]), (3, b"three".to_vec())],
                "cut at {cut}"
            );
            assert_eq!((lines.number(), lines.unfinished()), (4, 2));
        }
    }

    #[test]
    fn a_line_over_the_limit_is_refused_before_its_end() {
        let mut lines = Lines::new(3);
        lines.push(b"abc");
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"d");
        assert_eq!(lines.next(), Err(TooLong));
    }
}
