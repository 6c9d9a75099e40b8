//! `statusquo search`.

mod modelled;

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
    search::{self, End, EndKind, Found, Ground, Options, coarse},
    studies,
    systems::qemu::{DEFAULT_BINARY, Move, Qemu},
};

#[derive(Debug, Args)]
pub(super) struct Search {
    /// The study whose alphabet is walked
    #[arg(default_value = "chardev")]
    study: String,
    /// The design whose answers are expected [default: the shipped one]
    #[arg(long)]
    design: Option<String>,
    /// Only this scope [default: every scope that `verify` replays and that can be driven, one after the other]
    #[arg(long)]
    scope: Option<String>,
    /// Walk on QEMU beyond the study, where no model has an answer: all that is asked of it is that it lives
    #[arg(long, conflicts_with_all = ["design", "scope"])]
    wild: bool,
    /// For a study of QEMU: the binary, of x86: walks are walked on a pc
    #[arg(long, value_name = "PATH", default_value = DEFAULT_BINARY)]
    qemu: PathBuf,
    /// What the walks follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long to go on
    #[arg(long, value_name = "MINUTES", default_value_t = 5.0)]
    minutes: f64,
    /// No more walks than this, in each scope
    #[arg(long, value_name = "N")]
    walks: Option<NonZeroUsize>,
    /// Moves of a walk, before those that it goes on from
    #[arg(long, value_name = "N", default_value = "40")]
    moves: NonZeroUsize,
    /// Go no further once so many different ends were found, in each scope
    #[arg(long, value_name = "N", default_value = "20")]
    ends: NonZeroUsize,
    /// Keep the shortest walk to each end here, a file each
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
    /// Walk a kept wild walk again, and nothing else
    #[arg(long, value_name = "FILE", conflicts_with_all = ["wild", "design", "scope", "seed", "minutes", "walks", "moves", "ends", "keep"])]
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

/// How often a walk that ends by another signal than it was kept with is walked again.
const TRIES: usize = 4;

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

    /// Walks it again: whether QEMU ended as it did then, and how it ended now. Memory that is used after it was
    /// freed is found out by the kernel or by the allocator, as it comes: another signal gets another try.
    pub(super) fn again(&self, qemu: &Qemu) -> (bool, Option<End>) {
        let signal = |how: &str| how.split(';').next().unwrap_or_default().to_owned();
        let mut ran = self.once_more(qemu);
        for _ in 1..TRIES {
            match &ran {
                (true, Some(end)) if signal(&end.how) != signal(&self.how) => {}
                _ => break,
            }
            ran = self.once_more(qemu);
        }
        ran
    }

    fn once_more(&self, qemu: &Qemu) -> (bool, Option<End>) {
        let end = qemu.ground().walk(&self.moves).end;
        let is_same = |end: &End| end.kind == self.kind && end.at + 1 == self.moves.len();
        (end.as_ref().is_some_and(is_same), end)
    }
}

/// A walk in lines, its end after them.
pub(super) fn lines<M: Serialize>(moves: &[M], end: Option<&End>) -> String {
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
        if !(self.minutes > 0.0 && self.minutes < 1e6) {
            bail!("--minutes: expected more than none");
        }
        match &self.again {
            Some(path) => walk_again(&self.of_qemu()?, path, common),
            None if self.wild => self.wild(&self.of_qemu()?, common),
            None => studies::visit(&self.study, modelled::Visitor { search: self, common })?,
        }
    }

    fn of_qemu(&self) -> anyhow::Result<Qemu> {
        if self.study != "chardev" {
            bail!("wild walks are walked on QEMU: the study is chardev");
        }
        Ok(Qemu::find(&self.qemu)?)
    }

    fn options(&self, minutes: f64, common: &Common) -> Options {
        Options {
            seed: self.seed,
            jobs: common.threads().get(),
            until: Instant::now() + Duration::from_secs_f64(minutes * 60.0),
            walks: self.walks.map_or(usize::MAX, NonZeroUsize::get),
            moves: self.moves.get(),
            ends: self.ends.get(),
        }
    }

    fn wild(&self, qemu: &Qemu, common: &Common) -> anyhow::Result<Ended> {
        let start = Instant::now();
        let found = searched(&qemu.ground(), &self.options(self.minutes, common), common);
        if let Some(directory) = &self.keep {
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
                let text = serde_json::to_string_pretty(&kept)? + "\n";
                keep(directory, &format!("seed-{}-{number}.json", self.seed), &text)?;
            }
        }
        let minutes = start.elapsed().as_secs_f64() / 60.0;
        let walked = Walked { scope: None, found, minutes };
        self.show(&format!("QEMU {}", qemu.version()), None, &[walked], common)
    }

    fn show<M: Serialize>(
        &self,
        system: &str,
        design: Option<&str>,
        walked: &[Walked<M>],
        common: &Common,
    ) -> anyhow::Result<Ended> {
        if common.json() {
            let searched: Vec<_> = walked.iter().map(Walked::json).collect();
            print_json(&json!({
                "version": report::VERSION, "study": self.study, "system": system, "design": design,
                "seed": self.seed, "searched": searched,
            }))?;
        } else {
            for one in walked {
                print(&format!("{system}, seed {}: {}", self.seed, one.text()))?;
            }
        }
        let ended = |one: &Walked<M>| match &one.found {
            found if !found.ends.is_empty() => Ended::Violated,
            found if found.stuck.0 > 0 || found.moves == 0 => Ended::Incomplete,
            _ => Ended::AsExpected,
        };
        Ok(walked.iter().map(ended).max().unwrap_or(Ended::Incomplete))
    }
}

/// What the search of one scope gave.
struct Walked<M> {
    scope: Option<&'static str>,
    found: Found<M>,
    minutes: f64,
}

impl<M: Serialize> Walked<M> {
    fn text(&self) -> String {
        let Found { ends, walks, moves, shown, runs, stuck } = &self.found;
        let scope = self.scope.map_or_else(String::new, |scope| format!("scope {scope}: "));
        let mut text = format!(
            "{scope}{walks} walks, {moves} moves, {shown} different things shown, {:.1} minutes; {} ends, \
             shortened in {runs} runs",
            self.minutes,
            ends.len()
        );
        if let (count, Some(why)) = stuck {
            text.push_str(&format!("; {count} walks could not be driven to their end: {why}"));
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        let Found { ends, walks, moves, shown, runs, stuck } = &self.found;
        let ends: Vec<_> =
            ends.iter().map(|(moves, end)| json!({ "moves": moves, "end": end })).collect();
        json!({
            "scope": self.scope, "walks": walks, "moves": moves, "shown": shown, "runs": runs,
            "minutes": self.minutes, "stuck": stuck.0, "why-stuck": stuck.1, "ends": ends,
        })
    }
}

/// Searches, and shows each end as it is found where people read.
fn searched<G: Ground>(ground: &G, options: &Options, common: &Common) -> Found<G::Move> {
    let text = !common.json();
    search::search(ground, options, &|moves, end| {
        if text {
            // Whoever reads may be gone; the search is for the files then.
            drop(print(&lines(moves, Some(end))));
        }
    })
}

fn keep(directory: &Path, file: &str, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let path = directory.join(file);
    fs::write(&path, text).with_context(|| format!("write {}", path.display()))
}

fn walk_again(qemu: &Qemu, path: &Path, common: &Common) -> anyhow::Result<Ended> {
    let kept = Kept::read(path)?;
    let (same, end) = kept.again(qemu);
    if common.json() {
        print_json(&json!({
            "version": report::VERSION, "study": kept.study, "system": qemu.version(),
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
