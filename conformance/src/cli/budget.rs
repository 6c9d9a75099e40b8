//! Bounds on what a command may use. The clock is read here and handed to the engine as a question.

use std::{
    cell::RefCell,
    io::IsTerminal,
    sync::Mutex,
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use statusquo_model::explore::{Budget, Options, Progress};

use super::Common;

/// Bounds on each search.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Budgets")]
pub struct Budgets {
    /// Keep at most so many states
    #[arg(long, global = true, value_name = "N")]
    max_states: Option<usize>,
    /// Hold at most so many bytes: 64M, 2G
    #[arg(long, global = true, value_name = "BYTES", value_parser = bytes)]
    max_bytes: Option<usize>,
    /// Take at most so many seconds for each search
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    max_seconds: Option<Duration>,
    /// Go at most so many steps from the initial state
    #[arg(long, global = true, value_name = "STEPS")]
    max_depth: Option<u32>,
}

fn bytes(text: &str) -> Result<usize, String> {
    let (digits, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor: usize = match unit.to_ascii_uppercase().trim_end_matches("IB").trim_end_matches('B')
    {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err(format!("`{unit}` is no unit; use K, M or G")),
    };
    let number: usize = digits.parse().map_err(|_| "expected a number, such as 64M".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "that is more than there can be".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 =
        text.parse().map_err(|_| "expected a number of seconds, such as 1.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Runs a search within the budgets, with progress on standard error when somebody watches there.
pub(super) fn within<T>(common: &Common, what: &str, search: impl FnOnce(&Options<'_>) -> T) -> T {
    let start = Instant::now();
    let bar = Bar::new(what);
    let most = common.budgets.max_seconds;
    let watch = |progress: &Progress| {
        bar.show(start, progress);
        most.is_none_or(|most| start.elapsed() < most)
    };
    let budget = Budget {
        states: common.budgets.max_states,
        bytes: common.budgets.max_bytes,
        depth: common.budgets.max_depth,
    };
    search(&Options { threads: common.threads(), budget, watch: &watch })
}

/// Progress on a terminal; nothing elsewhere.
struct Bar {
    bar: Option<ProgressBar>,
    last: Mutex<RefCell<Option<Instant>>>,
}

impl Bar {
    fn new(what: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(what.to_owned());
            bar
        });
        Bar { bar, last: Mutex::default() }
    }

    fn show(&self, start: Instant, progress: &Progress) {
        let Some(bar) = &self.bar else { return };
        // Another thread is showing just now.
        let Ok(last) = self.last.try_lock() else { return };
        let now = Instant::now();
        let due = last.borrow().is_none_or(|last| now - last > Duration::from_millis(100));
        // A search that is over at once needs no progress.
        if due && start.elapsed() > Duration::from_millis(500) {
            last.replace(Some(now));
            let Progress { states, frontier, depth } = progress;
            bar.set_message(format!("{states} states, {frontier} to expand, depth {depth}"));
            bar.tick();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(bytes("64M"), Ok(64 << 20));
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        assert_eq!(bytes("17"), Ok(17));
        assert!(
            bytes("x").is_err() && bytes("1Q").is_err() && bytes("99999999999999999999").is_err()
        );
        assert!(bytes("18446744073709551615G").is_err());
    }

    #[test]
    fn seconds_are_not_negative() {
        assert_eq!(seconds("1.5"), Ok(Duration::from_millis(1500)));
        assert!(seconds("-1").is_err() && seconds("NaN").is_err() && seconds("soon").is_err());
    }
}
