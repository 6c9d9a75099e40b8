//! Reading traces: whatever the bytes are, an answer with a place.

use std::{
    io::{self, BufRead, Read},
    marker::PhantomData,
};

use serde::Deserialize;
use serde_json::Value;
use statusquo_model::study::Study;

use super::{Header, Step, Suite, Trace, VERSION};

/// The longest line that is read, in bytes.
pub(super) const LINE_MAX: u64 = 1 << 20;

/// Bytes that are no trace, and where.
#[derive(Debug, thiserror::Error)]
#[error("line {line}, column {column}: {kind}")]
pub struct TraceError {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in bytes.
    pub column: usize,
    /// What is wrong there.
    pub kind: TraceErrorKind,
}

/// What is wrong with a trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceErrorKind {
    /// Nothing at all.
    #[error(
        "the file is empty; a trace begins with a header line `{{\"statusquo-trace\":{VERSION},…}}`"
    )]
    Empty,
    /// A header and nothing more.
    #[error("there is no trace after the header, so there is nothing to replay")]
    NoTraces,
    /// A trace without steps.
    #[error("trace {number} has no steps, so it would show nothing")]
    NoSteps {
        /// Its number.
        number: u64,
    },
    /// Not JSON, or not what the line should be.
    #[error("{message}")]
    Malformed {
        /// As the parser says it.
        message: String,
    },
    /// The first line is something else.
    #[error("this is no trace: the first line has no `statusquo-trace` version")]
    NotATrace,
    /// Written by an older program.
    #[error(
        "format version {found} is older than {VERSION}; write the traces anew with `statusquo generate`"
    )]
    TooOld {
        /// Its version.
        found: u64,
    },
    /// Written by a newer program.
    #[error("format version {found} is newer than {VERSION}; a newer statusquo reads it")]
    TooNew {
        /// Its version.
        found: u64,
    },
    /// A step before the first trace.
    #[error("a step stands before the first `{{\"trace\":1}}`")]
    StepBeforeTrace,
    /// The file ends within a line.
    #[error("the file ends in the middle of this line: it was cut off")]
    Truncated,
    /// The header promises more than there is.
    #[error(
        "the header promises {promised} {what} and there are {found}: the file was cut off or edited"
    )]
    Short {
        /// `traces` or `steps`.
        what: &'static str,
        /// How many there should be.
        promised: u64,
        /// How many there are.
        found: u64,
    },
    /// A line without end.
    #[error("the line is longer than {LINE_MAX} bytes")]
    LineTooLong,
    /// The bytes are not text.
    #[error("the line is not UTF-8")]
    NotText,
    /// The file cannot be read on.
    #[error("it cannot be read: {0}")]
    Io(#[source] io::Error),
}

/// Reads a header, and then traces one by one.
#[derive(Debug)]
pub struct Reader<R, S> {
    from: R,
    line: usize,
    header: Header,
    counted: (u64, u64),
    begun: Option<u64>,
    ended: bool,
    study: PhantomData<S>,
}

#[derive(Deserialize)]
struct Begin {
    trace: u64,
}

impl<R: BufRead, S: Study> Reader<R, S> {
    /// Reads the header.
    pub fn new(mut from: R) -> Result<Self, TraceError> {
        let mut line = 0;
        let text = next_line(&mut from, &mut line)?;
        let at = |column, kind| TraceError { line: 1, column, kind };
        let text = text.ok_or_else(|| at(1, TraceErrorKind::Empty))?;
        let value: Value = parse(&text, 1)?;
        match value.get("statusquo-trace").and_then(Value::as_u64) {
            None => return Err(at(1, TraceErrorKind::NotATrace)),
            Some(found) if found < u64::from(VERSION) => {
                return Err(at(1, TraceErrorKind::TooOld { found }));
            }
            Some(found) if found > u64::from(VERSION) => {
                return Err(at(1, TraceErrorKind::TooNew { found }));
            }
            Some(_) => {}
        }
        let header: Header = parse(&text, 1)?;
        Ok(Reader {
            from,
            line,
            header,
            counted: (0, 0),
            begun: None,
            ended: false,
            study: PhantomData,
        })
    }

    /// What the traces are of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next trace, or `None` when all were read and they are as many as promised.
    pub fn next_trace(&mut self) -> Result<Option<Trace<S>>, TraceError> {
        let mut trace = Trace::new();
        while !self.ended {
            let Some(text) = next_line(&mut self.from, &mut self.line)? else {
                self.ended = true;
                break;
            };
            let error = |kind| TraceError { line: self.line, column: 1, kind };
            let value: Value = parse(&text, self.line)?;
            if value.get("trace").is_some() {
                let Begin { trace: number } = parse(&text, self.line)?;
                let before = self.begun.replace(number);
                match before {
                    Some(number) if trace.is_empty() => {
                        return Err(error(TraceErrorKind::NoSteps { number }));
                    }
                    Some(_) => {
                        self.counted.0 += 1;
                        return Ok(Some(trace));
                    }
                    None => {}
                }
            } else if self.begun.is_none() {
                return Err(error(TraceErrorKind::StepBeforeTrace));
            } else {
                trace.push(parse::<Step<S>>(&text, self.line)?);
                self.counted.1 += 1;
            }
        }
        let error = |kind| TraceError { line: self.line + 1, column: 1, kind };
        match self.begun.take() {
            Some(number) if trace.is_empty() => Err(error(TraceErrorKind::NoSteps { number })),
            Some(_) => {
                self.counted.0 += 1;
                Ok(Some(trace))
            }
            None if self.counted.0 == 0 => Err(error(TraceErrorKind::NoTraces)),
            None => {
                let promised = (self.header.resets, self.header.steps);
                for (what, promised, found) in
                    [("traces", promised.0, self.counted.0), ("steps", promised.1, self.counted.1)]
                {
                    if promised > 0 && promised != found {
                        return Err(error(TraceErrorKind::Short { what, promised, found }));
                    }
                }
                Ok(None)
            }
        }
    }
}

/// Reads everything.
pub fn read_suite<S: Study>(from: impl BufRead) -> Result<Suite<S>, TraceError> {
    let mut reader = Reader::<_, S>::new(from)?;
    let mut traces = Vec::new();
    while let Some(trace) = reader.next_trace()? {
        traces.push(trace);
    }
    Ok(Suite { header: reader.header, traces })
}

/// Every line with its number, whatever stands there.
pub(crate) fn lines(
    mut from: impl BufRead,
) -> impl Iterator<Item = Result<(usize, String), TraceError>> {
    let mut line = 0;
    std::iter::from_fn(move || {
        let text = next_line(&mut from, &mut line).transpose()?;
        Some(text.map(|text| (line, text)))
    })
    // After a line that cannot be read there is no telling where the next one begins.
    .scan(false, |is_over, text| {
        let before = std::mem::replace(is_over, text.is_err());
        (!before).then_some(text)
    })
}

fn next_line(from: &mut impl BufRead, line: &mut usize) -> Result<Option<String>, TraceError> {
    let mut bytes = Vec::new();
    let number = *line + 1;
    let error = |column, kind| TraceError { line: number, column, kind };
    let read = from.take(LINE_MAX + 1).read_until(b'\n', &mut bytes);
    let read = read.map_err(|why| error(1, TraceErrorKind::Io(why)))?;
    if read == 0 {
        return Ok(None);
    }
    *line = number;
    if bytes.pop() != Some(b'\n') {
        let kind = if read as u64 > LINE_MAX {
            TraceErrorKind::LineTooLong
        } else {
            TraceErrorKind::Truncated
        };
        return Err(error(read, kind));
    }
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|why| error(why.utf8_error().valid_up_to() + 1, TraceErrorKind::NotText))
}

fn parse<'t, T: Deserialize<'t>>(text: &'t str, line: usize) -> Result<T, TraceError> {
    serde_json::from_str(text).map_err(|why| {
        let message = why.to_string();
        // The line is ours to say; serde_json sees one line only.
        let message =
            message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what).to_owned();
        TraceError {
            line,
            column: why.column().max(1),
            kind: TraceErrorKind::Malformed { message },
        }
    })
}
