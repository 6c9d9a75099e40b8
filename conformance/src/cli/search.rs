//! `statusquo search`.

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use statusquo_model::{studies::chardev::state::PORTS_MAX, words::words};

use super::{Common, Ended, print, print_json};
use crate::{
    report,
    search::{self, End, EndKind, Ground, Options, coarse},
    systems::qemu::{DEFAULT_BINARY, Move, Qemu},
};

#[derive(Debug, Args)]
pub(super) struct Search {
    /// The study: chardev
    #[arg(default_value = "chardev", value_parser = ["chardev"])]
    study: String,
    /// The binary
    #[arg(long, value_name = "PATH", default_value = DEFAULT_BINARY)]
    qemu: PathBuf,
    /// What the walks follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long to go on
    #[arg(long, value_name = "MINUTES", default_value_t = 5.0)]
    minutes: f64,
    /// No more walks than this
    #[arg(long, value_name = "N")]
    walks: Option<NonZeroUsize>,
    /// Moves of a walk, before those that it goes on from
    #[arg(long, value_name = "N", default_value = "40")]
    moves: NonZeroUsize,
    /// Keep the shortest walk to each end here, a file each
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
    /// Walk a kept walk again, and nothing else
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "minutes", "walks", "moves", "keep"])]
    again: Option<PathBuf>,
}

/// A kept walk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Kept {
    /// The version of this format.
    pub(super) statusquo_walk: u32,
    pub(super) study: String,
    /// What it shows, in a sentence.
    pub(super) shows: String,
    /// What it ended.
    pub(super) system: String,
    pub(super) kind: EndKind,
    /// The end that is expected, without what differs from run to run.
    pub(super) how: String,
    pub(super) moves: Vec<Move>,
}

/// The version that is written, and the only one that is read.
const VERSION: u32 = 1;

impl Kept {
    /// Reads one, and says where it is wrong.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        let kept: Kept = serde_json::from_str(text).context("this is no walk")?;
        if kept.statusquo_walk != VERSION {
            bail!("a walk of version {}, and this reads version {VERSION}", kept.statusquo_walk);
        }
        match kept.moves.first() {
            Some(Move::Start { ports }) if matches!(ports.len(), 1..=PORTS_MAX) => Ok(kept),
            _ => bail!("a walk begins with `start`, and one to {PORTS_MAX} ports"),
        }
    }

    /// Walks it again: whether QEMU ended as it did then, and how it ended now.
    pub(super) fn again(&self, qemu: &Qemu) -> (bool, Option<End>) {
        let ran = qemu.ground().walk(&self.moves);
        let same = ran
            .end
            .as_ref()
            .is_some_and(|end| end.kind == self.kind && end.at + 1 == self.moves.len());
        (same, ran.end)
    }
}

/// A walk in lines, its end after them.
pub(super) fn lines(moves: &[Move], end: Option<&End>) -> String {
    let mut text = String::new();
    for (number, one) in (0..).zip(moves) {
        text.push_str(&format!("  {number:>3}  {}\n", words(one)));
    }
    text.push_str(&match end {
        Some(end) => format!("       {}: {}", words(&end.kind), end.how),
        None => "       QEMU survives".to_owned(),
    });
    text
}

impl Search {
    pub(super) fn run(&self, common: &Common) -> anyhow::Result<Ended> {
        let qemu = Qemu::find(&self.qemu)?;
        match &self.again {
            Some(path) => self.walk_again(&qemu, path, common),
            None => self.search(&qemu, common),
        }
    }

    fn walk_again(&self, qemu: &Qemu, path: &Path, common: &Common) -> anyhow::Result<Ended> {
        let kept = Kept::read(path)?;
        let (same, end) = kept.again(qemu);
        if common.json() {
            print_json(&json!({
                "version": report::VERSION, "study": self.study, "system": qemu.version(),
                "moves": kept.moves, "end": end, "as-kept": same,
            }))?;
        } else {
            print(&format!("QEMU {}: {}", qemu.version(), kept.shows))?;
            print(&lines(&kept.moves, end.as_ref()))?;
            if !same {
                print(&format!("when it was kept: {}: {}", words(&kept.kind), kept.how))?;
            }
        }
        Ok(if same { Ended::Violated } else { Ended::AsExpected })
    }

    fn search(&self, qemu: &Qemu, common: &Common) -> anyhow::Result<Ended> {
        if !(self.minutes > 0.0 && self.minutes < 1e6) {
            bail!("--minutes: expected more than none");
        }
        let start = Instant::now();
        let options = Options {
            seed: self.seed,
            jobs: common.threads().get(),
            until: start + Duration::from_secs_f64(self.minutes * 60.0),
            walks: self.walks.map_or(usize::MAX, NonZeroUsize::get),
            moves: self.moves.get(),
        };
        let text = !common.json();
        let found = search::search(&qemu.ground(), &options, &|moves, end| {
            if text {
                // Whoever reads may be gone; the search is for the files then.
                drop(print(&lines(moves, Some(end))));
            }
        });
        if let Some(directory) = &self.keep {
            fs::create_dir_all(directory)
                .with_context(|| format!("create {}", directory.display()))?;
            for (number, (moves, end)) in (1..).zip(&found.ends) {
                let last = moves.last().map_or_else(String::new, words);
                let kept = Kept {
                    statusquo_walk: VERSION,
                    study: self.study.clone(),
                    shows: format!("{} at {last}", words(&end.kind)),
                    system: format!("QEMU {}", qemu.version()),
                    kind: end.kind,
                    how: coarse(&end.how),
                    moves: moves.clone(),
                };
                let path = directory.join(format!("seed-{}-{number}.json", self.seed));
                let text = serde_json::to_string_pretty(&kept)?;
                fs::write(&path, text + "\n")
                    .with_context(|| format!("write {}", path.display()))?;
            }
        }
        let minutes = start.elapsed().as_secs_f64() / 60.0;
        if common.json() {
            let ends: Vec<_> = found
                .ends
                .iter()
                .map(|(moves, end)| json!({ "moves": moves, "end": end }))
                .collect();
            print_json(&json!({
                "version": report::VERSION, "study": self.study, "system": qemu.version(),
                "seed": self.seed, "walks": found.walks, "moves": found.moves, "shown": found.shown,
                "runs": found.runs, "minutes": minutes, "ends": ends,
            }))?;
        } else {
            print(&format!(
                "QEMU {}, seed {}: {} walks, {} moves, {} different things shown, {minutes:.1} minutes; \
                 {} ends, shortened in {} runs",
                qemu.version(),
                self.seed,
                found.walks,
                found.moves,
                found.shown,
                found.ends.len(),
                found.runs
            ))?;
        }
        Ok(if found.ends.is_empty() { Ended::AsExpected } else { Ended::Violated })
    }
}
