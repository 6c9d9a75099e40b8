//! Writing traces.

use std::io::{self, Write};

use statusquo_model::study::Study;

use super::Suite;

/// Writes a suite. The same suite gives the same bytes.
pub fn write_suite<S: Study>(suite: &Suite<S>, mut to: impl Write) -> io::Result<()> {
    let mut line = |value: &dyn erased::Line| -> io::Result<()> {
        let mut text = value.json()?;
        text.push('\n');
        to.write_all(text.as_bytes())
    };
    line(&suite.header)?;
    for (number, trace) in (1_u64..).zip(&suite.traces) {
        line(&serde_json::json!({ "trace": number }))?;
        for step in trace {
            line(step)?;
        }
    }
    to.flush()
}

mod erased {
    use std::io;

    /// Anything that is one line.
    pub(super) trait Line {
        fn json(&self) -> io::Result<String>;
    }

    impl<T: serde::Serialize> Line for T {
        fn json(&self) -> io::Result<String> {
            serde_json::to_string(self).map_err(io::Error::other)
        }
    }
}
